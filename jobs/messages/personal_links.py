"""Personal links of managers: one is made with the first message that has it, and is valid until it is revoked."""

from datetime import datetime, timedelta

from jobs.runtime.clock import now
from jobs.runtime.settings import Settings
from monitor.alerts.links import link_address
from monitor.alerts.recipients import Recipient
from monitor.ledger.transaction import Transaction


def personal_address(t: Transaction, settings: Settings, recipient: Recipient, *, key: str | None) -> str | None:
    """Address of the page "my sites" of a manager, valid from now on for ``[answers] valid_days``.

    None: no pages are served, or the manager has no personal link (``Transaction.make_personal_link`` makes one).
    """
    link = t.personal_link(*recipient)
    if key is None or link is None:
        return None
    expires = datetime.fromisoformat(now()) + timedelta(days=settings.answers.valid_days)
    return link_address(settings.answers.base_url, key, link, expires, folder="m")
