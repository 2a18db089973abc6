"""Mark of the file beside a store that has the observations of its ground too

Until a site has a new scene there is none, and its observations are read from their table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored", sa.Column("kept", sa.String(length=32), nullable=True))
