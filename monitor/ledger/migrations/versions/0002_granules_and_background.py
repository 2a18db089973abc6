"""Granules, sensor and orbit of each acquisition, a second ring, and terrain and rain of each piece of ground

What was taken over of the stores before is taken over anew by the next night; no pixel is fetched again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("observations", sa.Column("sensor", sa.String(length=40), nullable=False, server_default=""))
    op.add_column("observations", sa.Column("orbit", sa.String(length=20), nullable=False, server_default=""))
    op.add_column("observations", sa.Column("granules", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("observations", sa.Column("control_cover_2", sa.Float(), nullable=True))
    op.add_column("observations", sa.Column("reference_cover", sa.Float(), nullable=True))
    op.create_table(
        "background",
        sa.Column("ground", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("ground", "kind"),
    )
    op.execute("delete from stored")
