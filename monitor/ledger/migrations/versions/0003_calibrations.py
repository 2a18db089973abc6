"""Constants of the verdict set on placebos, and what is left of the false-alarm budget in each episode

Assessments made before stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("tile", sa.String(length=20), nullable=False),
        sa.Column("biome", sa.String(length=40), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("as_of", sa.String(length=10), nullable=False),
        sa.Column("grounds", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("placebos", sa.Integer(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.UniqueConstraint("tile", "biome", "season", "grounds"),
    )
    op.add_column("episodes", sa.Column("budget", sa.Float(), nullable=False, server_default="1"))
