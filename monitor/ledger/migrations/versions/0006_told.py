"""Which assessment a message told: of one that had to wait it is not that of its own day

Of messages that were sent before this migration it is not known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("told", sa.String(length=10), nullable=True))
