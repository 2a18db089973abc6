"""The head of the chain of each month, sent to a witness outside the programme."""

from datetime import date, timedelta

from jobs.proof.chain import chain_lines
from jobs.runtime.settings import Settings
from monitor.alerts.recipients import Recipient
from monitor.ledger.transaction import Transaction


def witness(settings: Settings) -> Recipient | None:
    """Who receives the heads; None: nobody."""
    name = settings.evidence.witness
    if "@" not in name:
        return Recipient(name, "") if name else None
    used = [*settings.operators.channels, *settings.alerts.channels, *settings.channels]
    return Recipient(next(channel for channel in used if settings.channels[channel].kind == "smtp"), name)


def send_head(t: Transaction, settings: Settings, *, night: date) -> None:
    """Put the last head before the month of a night into the outbox, once a month."""
    first = night.replace(day=1)
    line = next((one for one in reversed(chain_lines(t)) if one["night"] < first.isoformat()), None)
    recipient = witness(settings)
    if line is not None and recipient is not None:
        month = (first - timedelta(days=1)).isoformat()[:7]
        payload = {name: line[name] for name in ("number", "night", "hash")} | {"month": month}
        t.add_notice(f"head/{month}", "head", payload, day=night.isoformat(), recipients=[recipient])
