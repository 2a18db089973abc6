"""What is stored of each piece of ground as one hash: of sites that were always seen together it is the same

Without it, as until the first new scene from then on, it is reckoned from the table of observations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored", sa.Column("history", sa.String(length=64), nullable=True))
