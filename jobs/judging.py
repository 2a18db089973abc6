"""Assess one site, and raise, change or resolve its alerts."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from jobs import __version__
from jobs.alerting import update_alerts
from jobs.detectability import detectability_json
from jobs.episodes import current_episode, episode_alpha, in_episode
from jobs.field_csv import stored_rows
from jobs.records import from_json, to_json
from monitor.alerts.recipients import AddressBook
from monitor.controls.screening import left_out_json, too_few_units
from monitor.imagery.auxiliary.terrain import with_slope
from monitor.ingest.task import FetchResult, Outcome
from monitor.ledger.transaction import Transaction
from monitor.maps.failing import failing_map
from monitor.maps.loss import loss_map
from monitor.maps.worst_patch import WorstPatch, worst_patch
from monitor.series.columns import Columns, observed_until
from monitor.series.field_rows import local_factor
from monitor.sites.biomes import biome_of
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import LateSeasonState, assess_with_late_season, with_field_cover
from monitor.verdict.assessment import Assessment, Series, Status, assessment_to_json
from monitor.verdict.calibration import Calibration
from monitor.verdict.dry_matter import dry_matter_reason
from monitor.verdict.failing_area import reports_failing_area, with_failing_area
from monitor.verdict.loss_ground import LossGround, lost_together, neighbours, with_loss_ground
from monitor.verdict.lots import lot_of, member_of
from monitor.verdict.reasons import Reason
from monitor.verdict.site_conditions import SiteConditions


def judge(
    t: Transaction,
    outcome: Outcome,
    observed: Columns,
    constants: Calibration,
    rain: Reason | None,
    *,
    around: Sequence[Site],
    alpha: float,
    imagery_since: date,
    book: AddressBook,
    as_of: date,
    run: str,
) -> dict[str, str]:
    """Assess one site on a day; store the assessment, the detectability of failure, and the alerts.

    Parameters
    ----------
    t, run
        Transaction of the ledger, and id of the run.
    outcome, observed
        Of the update of the site, with what was fetched, and all its observations.
    constants : Calibration
        Of the pool of the site.
    rain : Reason or None
        What the rain of the season adds to the reasons.
    around : sequence of Site
        Sites of the same 100 km square and biome.
    alpha : float
        Probability of a false alarm during the lifetime of the site. [1]
    imagery_since : date
        First day that any source is searched for.
    book : AddressBook
        Who receives the messages.
    as_of : date
        Observations up to this day are used.

    Returns
    -------
    dict
        ``status`` and ``alert``, for the manifest.

    Raises
    ------
    MonitorError
        The store or the ledger cannot be read.
    """
    fetched = outcome.fetched
    assert fetched is not None
    episodes = t.episodes(outcome.site.id)
    episode = current_episode(as_of, episodes)
    site = with_slope(in_episode(outcome.site, episodes, episode["number"]), fetched.terrain)
    alpha = episode_alpha(alpha, episode)
    series = observed_until(observed, as_of)
    judged = Series.of(series)
    assessment, late_season = assess_with_late_season(
        judged, site, calibration=constants, alpha=alpha, cohorts=site.cohorts, as_of=as_of
    )
    reasons = _further_reasons(site, fetched, series, rain, as_of)
    factor = local_factor(stored_rows(t.field_rows(site.id)), series, until=as_of)
    assessment = replace(
        with_field_cover(assessment, factor or biome_of(site).field_factor),
        reasons=(*assessment.reasons, *reasons), episode=episode["number"], alpha=alpha, series_digest=judged.digest,
        code_version=__version__,
    )  # fmt: skip
    loss = _neighbours(t, site, around, assessment)
    digest = _digest(site, series, constants, alpha, [*reasons, *([repr(loss)] if loss else [])],
                     episode["number"], factor)  # fmt: skip
    latest = t.latest_assessment(site.id)
    newest = latest is None or latest[0] <= as_of.isoformat()
    if newest:  # an assessment of an earlier day is stored, but no page shows it
        conditions = SiteConditions.seen(
            site, series, as_of=as_of, since=imagery_since, alpha=alpha, constants=constants
        )
        _save_detectability(t, ground_key(outcome.site), conditions, site)
    assessment, patch = _look_at_loss(assessment, loss, fetched, site, series, constants)
    if assessment.status is not Status.DISTURBED:
        assessment, patch = _look_at_pixels(assessment, late_season, fetched, site, series, constants)
    if newest and assessment.status is not Status.INSUFFICIENT_DATA:  # that says nothing about the ground
        _save_worst_patch(t, ground_key(outcome.site), patch)
    values = assessment_to_json(assessment)
    fresh = t.add_assessment(
        site.id, as_of.isoformat(), digest, values, version=site.version, snapshot=fetched.snapshot, run=run,
        left_out=left_out_json(fetched.left_out),
    )  # fmt: skip
    if newest:
        _save_seasons(t, ground_key(outcome.site), site, series, constants, as_of)
    if fresh and newest:
        previous = None if latest is None else from_json(latest[2], Assessment)
        update_alerts(t, assessment, previous, book.of_site(outcome.site))
    return {"status": assessment.status.value, "alert": assessment.alert.value}


def _look_at_pixels(
    assessment: Assessment,
    late_season: LateSeasonState | None,
    fetched: FetchResult,
    site: Site,
    series: Columns,
    constants: Calibration,
) -> tuple[Assessment, WorstPatch | None]:
    """The assessment with the failing area, and the first place to look at, where a map of them is due."""
    if late_season is None or not reports_failing_area(assessment, site):
        return assessment, None
    stored, day = fetched.stored, late_season.day
    failing = failing_map(stored, fetched.snapshot, site, series, day, lambda: late_season, constants=constants)
    if failing is None:
        return assessment, None
    patch = worst_patch(failing.chance, failing.times, site.geometry, stored.grid)
    return with_failing_area(assessment, failing.ground, site, constants), patch


def _save_detectability(t: Transaction, ground: str, conditions: SiteConditions, site: Site) -> None:
    """Store the detectability of failure, if the conditions are others than before."""
    if (t.ground_data(ground, "detectability") or {}).get("made_from") != conditions.key:
        t.save_ground_data(ground, "detectability", detectability_json(conditions, site.start))


def _save_seasons(
    t: Transaction, ground: str, site: Site, series: Columns, constants: Calibration, as_of: date
) -> None:
    """Store the yearly amplitudes of a site, for the verdict on its lot, where a season has ended or has changed."""
    if lot_of(site) is None:
        return
    _, ended = GrowingSeason.of(site).last_ended(as_of)
    seen = Series.of(observed_until(series, ended))
    content = [site.version, site.start.isoformat(), constants.hash, seen.digest, ended.isoformat(), __version__]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if (t.ground_data(ground, "seasons") or {}).get("made_from") != key:
        member = member_of(seen, site, calibration=constants, cohorts=site.cohorts, as_of=ended)
        t.save_ground_data(ground, "seasons", {"made_from": key, "member": to_json(member)})


def _neighbours(t: Transaction, site: Site, around: Sequence[Site], assessment: Assessment) -> LossGround | None:
    """How many sites nearby lost cover with a site, as known the day before; None without a loss.

    The day before, so that the verdicts of a night do not depend on the order in which its sites are judged.
    """
    if assessment.loss_on is None:
        return None
    losses = t.losses_before(neighbours(site, around), assessment.as_of.isoformat())
    dates = [None if loss is None else date.fromisoformat(loss) for loss in losses.values()]
    return LossGround(neighbours=len(dates), together=lost_together(assessment.loss_on, dates))


def _look_at_loss(
    assessment: Assessment,
    loss: LossGround | None,
    fetched: FetchResult,
    site: Site,
    series: Columns,
    constants: Calibration,
) -> tuple[Assessment, WorstPatch | None]:
    """The assessment with the area of a sudden loss, and its largest patch; unchanged without a loss."""
    if loss is None:
        return assessment, None
    stored = fetched.stored
    area, patch = loss_map(stored, fetched.snapshot, site, series, assessment, constants), None
    if area is not None:
        patch = worst_patch(area.chance, area.times, site.geometry, stored.grid)
        loss = replace(loss, hectares=area.hectares, low=area.low, high=area.high)
    return with_loss_ground(assessment, loss), patch


def _save_worst_patch(t: Transaction, ground: str, patch: WorstPatch | None) -> None:
    """Store the first place to look at, if it is another one than before; an empty entry where there is none."""
    stored = t.ground_data(ground, "worst_patch")
    before = from_json(stored, WorstPatch) if stored else None
    if patch != before:
        t.save_ground_data(ground, "worst_patch", to_json(patch) if patch else {})


def _further_reasons(site: Site, fetched: FetchResult, series: Columns, rain: Reason | None, as_of: date) -> list[str]:
    """Reasons beside those of the verdict: few pixels or control units, rain, terrain, clouds, dry matter."""
    reasons = [Reason.FEW_PIXELS.value] if (series["reason"] == Reason.FEW_PIXELS.value.encode()).any() else []
    few_units = not fetched.waits and too_few_units(fetched.controls, fetched.left_out, as_of)
    if few_units or (series["reason"] == Reason.CONTROL_FEW.value.encode()).any():  # units never come back
        reasons.append(Reason.CONTROL_FEW.value)
    reasons += [rain.value] if rain is not None else []
    if site.slope_degrees is None:
        reasons.append(Reason.TERRAIN_UNKNOWN.value)
    if fetched.stored.has_unmasked(fetched.snapshot):
        reasons.append(Reason.CLOUDS_UNMASKED.value)
    if (dry := dry_matter_reason(site, series, as_of=as_of)) is not None:
        reasons.append(dry.value)
    return reasons


def _digest(
    site: Site,
    series: Columns,
    constants: Calibration,
    alpha: float,
    reasons: Sequence[str],
    episode: int,
    factor: FieldFactor | None,
) -> str:
    """Hash of everything that an assessment depends on."""
    content: list[Any] = [site.version, constants.hash, __version__, alpha, site.slope_degrees, reasons]
    content += [episode, site.start.isoformat()] if episode > 1 else []
    content += [to_json(factor)] if factor is not None else []
    return hashlib.sha256(json.dumps(content).encode() + series["chain"][-1:].tobytes()).hexdigest()
