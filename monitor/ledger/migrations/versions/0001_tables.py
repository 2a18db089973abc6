"""The tables that a new ledger is created with, from the models; later changes are migrations that follow this one."""

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
