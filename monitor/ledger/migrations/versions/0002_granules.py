"""Granules, sensor and orbit of each acquisition

Acquisitions stored before this are taken to have one unnamed granule, so that they are not fetched again.
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
    op.execute("delete from stored")
