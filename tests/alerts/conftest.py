"""A ledger of each kind, and a mail server."""

from tests.ledger.conftest import migrated, postgresql

__all__ = ["migrated", "postgresql"]
