"""A period in which the sites of an account were registered too early to say, and came to their statuses."""

from datetime import date

from monitor.publish.moves import Move
from monitor.publish.period import Period, period_of
from monitor.publish.programme import Account

REGISTERED = "2020-11-03"


def moved(account: Account, last: date, path: dict[int, float] | None = None) -> Period:
    """The account of the year up to a day, on which each site came to its status."""
    nights = [REGISTERED, last.isoformat()]
    counted = [
        (one, "disturbed" if one.status == "loss_suspected" else one.status) for one in account.sites if one.hectares
    ]
    moves = [
        Move(REGISTERED, one.site.id, None, "too_early", one.hectares, "new", None, one.site) for one, _ in counted
    ]
    moves += [
        Move(
            nights[1], one.site.id, "too_early", status, one.hectares, REASONS.get(status, "other"), one.site, one.site
        )
        for one, status in counted
        if status != "too_early"
    ]
    return period_of(moves, nights, date(last.year, 1, 1), last, path or {})


REASONS = {
    "on_track": "taking_hold", "recovered": "taking_hold", "failing": "fell_below", "lagging": "fell_below",
    "disturbed": "loss", "insufficient_data": "not_seen",
}  # fmt: skip
