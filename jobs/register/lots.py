"""Judge the lots of a programme each night, and raise, change or resolve their alerts.

The yearly amplitudes of a site are stored when the site is judged. A lot is judged again only where one of its members
has a new season or changed; its verdict is appended to the ledger together with these amplitudes and the constants of
the model, from which it can be recomputed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from jobs.register.alerting import NIGHT, record_event
from jobs.register.episodes import current_episode
from jobs.runtime.records import from_json, to_json
from monitor import derived
from monitor.alerts.alert import LOT, Alert, AlertEvent, AlertState, alert_id
from monitor.alerts.lifecycle import close, next_lot_alert
from monitor.alerts.recipients import FILES, AddressBook, Recipient
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import AlertLevel
from monitor.verdict.kernels.constants import FAILED
from monitor.verdict.kernels.lot_model import DRIFT, SHOCKS, SPREAD
from monitor.verdict.lots import BAR, Lot, LotVerdict, Member, Use, lot_verdict, lot_verdicts, lots_of, use_of

MODEL: Final = {
    "spread": SPREAD, "drift": DRIFT, "shocks": SHOCKS, "failed": FAILED, "bar": BAR,
    "prior": {"mean": DEFAULT.theta_mean, "sd": DEFAULT.theta_sd, "confident": DEFAULT.confident},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LotRecord:
    """One verdict on a lot as the ledger stores it."""

    lot: Lot
    hectares: float  # area of all its sites [ha]
    verdict: LotVerdict
    looks: list[LotVerdict]  # at the end of each season, ascending; the last one is `verdict`, if there is one
    uses: dict[str, Use]  # by id of each site whether it was used
    members: list[Member]  # yearly amplitudes of the members, the evidence
    model: dict[str, Any] = field(default_factory=dict)  # constants of the model


def judge_lots(t: Transaction, sites: Sequence[Site], *, book: AddressBook, as_of: date, run: str) -> None:
    """Judge the lots of which inputs or code have changed, append their verdicts, and update their alerts.

    A lot that was judged on a later day is left as it is.
    """
    lots, latest = lots_of(sites), t.latest_lot_verdicts()
    stored, episodes = t.all_ground_data("seasons"), t.all_episodes()
    recipients = book.of_operators() or [Recipient(FILES, "")]
    for lot, theirs in lots.items():
        replanted = {site.id for site in theirs if current_episode(as_of, episodes[site.id])["number"] > 1}
        seasons = {site.id: stored[ground]["member"] for site in theirs if (ground := ground_key(site)) in stored}
        hectares = {site.id: site.hectares for site in theirs}
        digest = derived.key([lot, hectares, seasons, sorted(replanted)], module=__name__)
        day, known, known_record = latest.get(lot.id, ("", "", {}))
        if day > as_of.isoformat():
            continue
        if digest == known:  # its alert may have been closed since, while it had no sites, or put off until today
            verdict = from_json(known_record, LotRecord).verdict
        else:
            members = [from_json(values, Member) for site, values in seasons.items() if site not in replanted]
            record = _record(lot, theirs, members, replanted, as_of)
            t.add_lot_verdict(lot.id, as_of.isoformat(), digest, to_json(record), run=run)
            verdict = record.verdict
        _update_alert(t, lot, verdict, recipients, as_of)
    _close_alerts(t, {lot.id for lot in lots}, as_of)


def latest_records(t: Transaction) -> list[LotRecord]:
    """Newest verdict on each lot that was ever judged, by id; some have no sites any more."""
    return [from_json(payload, LotRecord) for _, _, payload in t.latest_lot_verdicts().values()]


def lot_rows(t: Transaction, sites: Sequence[Site]) -> list[dict[str, Any]]:
    """Rows of ``lots`` in ``regrowth programme --json``: one a lot that was judged and still has sites."""
    members = lots_of(sites)
    rows = []
    for record in latest_records(t):
        if record.lot not in members:
            continue
        lot, v, theirs = record.lot, record.verdict, members[record.lot]
        row = {
            "lot": lot.id, "sites": len(theirs), "hectares": round(sum(site.hectares for site in theirs), 2),
            "theta": v.theta, "theta_low": v.theta_low, "theta_high": v.theta_high, "p_failing": v.p_failing,
            "alert": v.alert.value, "alert_since": v.alert_since and v.alert_since.isoformat(),
            "as_of": v.as_of.isoformat(), "sites_used": v.sites, "hectares_used": v.hectares and round(v.hectares, 2),
            "reasons": list(v.reasons), "partner": lot.partner, "programme_year": lot.programme_year,
            "intervention": lot.intervention,
        }  # fmt: skip
        rows.append(row)
    return rows


def _record(
    lot: Lot, sites: Sequence[Site], members: list[Member], replanted: set[str], as_of: date
) -> LotRecord:  # fmt: skip
    """Verdict on a lot at the last season's end."""
    looks = lot_verdicts(members, as_of=as_of)
    last = max((member.ended(season.season) for member in members for season in member.seasons), default=as_of)
    verdict = looks[-1] if looks else lot_verdict(members, as_of=min(last, as_of))
    uses = {site.id: Use.REPLANTED if site.id in replanted else Use.UNSEEN for site in sites}
    uses |= {member.site: use_of(member, verdict.as_of) for member in members}
    return LotRecord(
        lot=lot, hectares=sum(site.hectares for site in sites), verdict=verdict, looks=looks, uses=uses,
        members=members, model=MODEL,
    )  # fmt: skip


def _update_alert(t: Transaction, lot: Lot, verdict: LotVerdict, recipients: Sequence[Recipient], day: date) -> None:
    """Open, change or resolve the alert of a lot. Where nothing can be said, it stays as it is.

    So does an alert that was open when the promise of a site of the lot was changed, unless it gets worse.
    """
    if verdict.theta is None:
        return
    stored = t.alert(alert_id(lot.id, LOT))
    last = None if stored is None else from_json(stored, Alert)
    if last is not None and last.held_by is not None and verdict.alert is AlertLevel.NONE:
        return
    step = next_lot_alert(last, lot.id, verdict.alert, looked=verdict.as_of, day=day)
    if step is None:
        return
    alert, event = step
    if event is None:
        t.save_alert(to_json(alert))
    else:
        record_event(t, alert, event, day=day, by=NIGHT, recipients=recipients)


def _close_alerts(t: Transaction, current: set[str], day: date) -> None:
    """Resolve the alerts of lots that have no sites any more."""
    for alert in (from_json(values, Alert) for values in t.alerts()):
        stays = alert.state is AlertState.RESOLVED or alert.held_by is not None
        if alert.rule == LOT and alert.site not in current and not stays:
            closed = close(alert, day=day, why="the lot has no sites any more")
            record_event(t, closed, AlertEvent.CLOSED, day=day, by=NIGHT)
