"""Queries and changes of the ledger within one transaction."""

from monitor.ledger.alerts import Alerts
from monitor.ledger.assessments import Assessments
from monitor.ledger.chain import Chain
from monitor.ledger.episodes import Episodes
from monitor.ledger.grounds import Grounds
from monitor.ledger.outbox import Outbox
from monitor.ledger.runs import Runs


class Transaction(Episodes, Grounds, Assessments, Alerts, Outbox, Runs, Chain):
    """One transaction, see :class:`monitor.ledger.rows.Rows`: it sees the state at its beginning and its changes."""
