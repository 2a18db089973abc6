"""Judge one site, and raise, change or resolve its alert."""

import hashlib
import json
from dataclasses import replace
from datetime import date
from typing import Any

from jobs import __version__
from jobs.detectability import detectability_json
from jobs.episodes import current_episode, episode_alpha, in_episode
from jobs.fetch import Outcome
from jobs.records import from_json, to_json
from jobs.settings import Settings
from monitor.alerts.alert import Alert, Notice
from monitor.alerts.lifecycle import next_alert
from monitor.alerts.messages import assessment_to_json
from monitor.controls.screening import too_few_units
from monitor.imagery.auxiliary.terrain import with_slope
from monitor.ledger.transaction import Transaction
from monitor.maps.failing import failing_map
from monitor.series.columns import Columns, observed_until
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import assess_with_late_season
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.failing_area import reports_failing_area, with_failing_area
from monitor.verdict.reasons import Reason
from monitor.verdict.site_conditions import SiteConditions


def judge(
    settings: Settings,
    t: Transaction,
    outcome: Outcome,
    observed: Columns,
    constants: Calibration,
    rain: Reason | None,
    *,
    as_of: date,
    run: str,
) -> dict[str, str]:
    """One site's assessment, alert and notice, of its observations."""
    assert outcome.fetched is not None
    ground, episodes = ground_key(outcome.site), t.episodes(outcome.site.id)
    episode = current_episode(as_of, episodes)
    number = episode["number"]
    site = with_slope(in_episode(outcome.site, episodes, number), outcome.fetched.terrain)
    alpha = episode_alpha(settings.alerts.alpha, episode)
    seen = observed_until(observed, as_of)
    found, look = assess_with_late_season(
        Series.of(seen), site, calibration=constants, alpha=alpha, cohorts=site.cohorts, as_of=as_of
    )
    beside = [Reason.FEW_PIXELS.value] if (seen["reason"] == Reason.FEW_PIXELS.value.encode()).any() else []
    fetched = outcome.fetched
    few = not fetched.waits and too_few_units(fetched.controls, fetched.left_out, as_of)
    if few or (seen["reason"] == Reason.CONTROL_FEW.value.encode()).any():  # units never come back
        beside.append(Reason.CONTROL_FEW.value)
    beside += [rain.value] if rain is not None else []
    if site.slope_degrees is None:
        beside.append(Reason.TERRAIN_UNKNOWN.value)
    found = replace(found, reasons=(*found.reasons, *beside), episode=number)
    content: list[Any] = [
        site.version,
        constants.hash,
        __version__,
        alpha,
        site.slope_degrees,
        beside,
        *((number, site.start.isoformat()) if number > 1 else ()),
    ]
    digest = hashlib.sha256(json.dumps(content).encode() + seen["chain"][-1:].tobytes())
    latest = t.latest_assessment(site.id)
    newest = latest is None or latest[0] <= as_of.isoformat()
    if newest:  # a day before the newest is judged for the record: no page says it
        conditions = SiteConditions.seen(
            site, seen, as_of=as_of, since=min(source.since for source in settings.source), alpha=alpha,
            constants=constants,
        )  # fmt: skip
        if (t.ground_data(ground, "detectability") or {}).get("made_from") != conditions.key:
            t.save_ground_data(ground, "detectability", detectability_json(conditions, site.start))
    if look is not None and reports_failing_area(found, site):
        fails = failing_map(fetched.stored, fetched.snapshot, site, seen, look.day, lambda: look, constants=constants)
        if fails is not None:
            found = with_failing_area(found, fails.ground, site, constants)
    fresh = t.add_assessment(
        site.id, as_of.isoformat(), digest.hexdigest(), assessment_to_json(found), version=site.version,
        snapshot=outcome.fetched.snapshot, run=run,
    )  # fmt: skip
    if fresh and newest:
        _tell(t, site, found)
    return {"status": found.status.value, "alert": found.alert.value}


def _tell(t: Transaction, site: Site, found: Assessment) -> None:
    stored = t.last_alert(site.id)
    last = None if stored is None else from_json(stored, Alert)
    alert, event = next_alert(last, found)
    if alert is None or alert == last:
        return
    t.save_alert(to_json(alert))
    if event is not None:
        number = t.count_notices(alert.id) + 1
        notice = Notice(id=f"{alert.id}/{number}", alert=alert, event=event, day=found.as_of)
        t.add_notice(to_json(notice), site=site.id)
