"""Judge the sites of a landscape on a day, and raise, change or resolve their alerts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import xarray as xr

from jobs import __version__
from jobs.register.alerting import update_alerts
from jobs.register.episodes import current_episode, episode_alpha, in_episode
from jobs.runtime.records import from_json, stored_rows, to_json
from monitor import derived
from monitor.alerts.alert import Alert
from monitor.alerts.recipients import AddressBook
from monitor.controls.screening import left_out_json
from monitor.cube.scenes import of_one_site
from monitor.imagery.auxiliary.terrain import with_slope
from monitor.ingest.task import FetchResult
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction
from monitor.maps.site_verdict import OfSite, VerdictInputs, series_verdicts, verdict_with_areas
from monitor.maps.worst_patch import WorstPatch
from monitor.series.columns import Columns, content_hash, observed_until
from monitor.series.field_rows import local_factor
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.promise import promise_of, with_promise
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment, Series, Status, assessment_to_json
from monitor.verdict.calibration import Calibration
from monitor.verdict.growth import GrowthPoint, growth_points, growth_to_json
from monitor.verdict.loss_ground import LossGround, lost_together, neighbours
from monitor.verdict.lots import lot_of, member_of
from monitor.verdict.reasons import Reason
from monitor.verdict.site_conditions import SiteConditions, detectability_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """Inputs that all verdicts of a night share."""

    as_of: date  # observations up to this day are used
    run: str  # id of the run
    alpha: float  # probability of a false alarm in ten years at a site [1]
    imagery_since: date  # first day that any source is searched for
    rain: Mapping[str, Reason | None]  # by site what the rain of the season adds to the reasons
    book: AddressBook  # who receives the messages


def judge_landscape(
    t: Transaction,
    updated: Sequence[tuple[Site, FetchResult]],
    observed: xr.Dataset,
    constants: Calibration,
    around: Sequence[Site],
    night: Night,
) -> dict[str, dict[str, str]]:
    """Judge sites of a landscape; store their assessments, detectability and alerts; return status and alert by site.

    The ledger is read once for all of them, and written once. `updated`: sites as promised on the day of the night; a
    site that is retired by now is left out. `observed`: see :func:`monitor.series.build.landscape_series`. `around`:
    sites of the same 100 km square and biome. Raises MonitorError if store or ledger cannot be read, or a site cannot
    be judged.
    """
    ids = [site.id for site, _ in updated]
    current, episodes, promises = t.versions(ids), t.all_episodes(ids), t.all_promises(ids)
    field, latest, alerts = t.field_rows(ids), t.latest_assessments(ids), t.alerts_by_site(ids)
    data, as_of = t.data_of([ground_key(site) for site, _ in updated]), night.as_of
    sites: list[OfSite] = []
    for place, (registered, fetched) in enumerate(updated):
        series = observed_until(of_one_site(observed, place), as_of)
        episode = current_episode(as_of, episodes[registered.id])
        site = with_slope(in_episode(registered, episodes[registered.id], episode["number"]), fetched.terrain)
        measured = stored_rows(field.get(site.id, []))
        inputs = VerdictInputs(
            site=site, episode=episode["number"], alpha=episode_alpha(night.alpha, episode), constants=constants,
            controls=fetched.controls, left_out=fetched.left_out, rain=night.rain.get(site.id),
            field_factor=local_factor(measured, series, until=as_of), code_version=__version__,
        )  # fmt: skip
        sites.append((fetched.stored, fetched.snapshot, series, inputs))
    verdicts = series_verdicts(sites, Series.of_sites(observed, as_of), as_of)
    growth = growth_points(verdicts[0].judged)
    made: list[StoredAssessment] = []
    changed: dict[tuple[str, str], Payload] = {}
    done: dict[str, Assessment] = {}
    for (registered, fetched), of_site, verdict, points in zip(updated, sites, verdicts, growth, strict=True):
        if registered.id not in current:  # it was retired meanwhile
            continue
        _, _, series, inputs = of_site
        site, ground, known = inputs.site, ground_key(registered), latest.get(registered.id)
        loss = _neighbours(t, site, around, verdict.assessment)
        digest = _digest(series, inputs, [*verdict.background, *([repr(loss)] if loss else [])])
        assessment, patch = verdict_with_areas(verdict, loss, *of_site)
        if known is None or known.as_of <= as_of.isoformat():  # no page shows one of an earlier day
            data_now = _derived_data(site, registered, series, inputs, assessment, patch, points, data[ground], night)
            changed |= {(ground, kind): payload for kind, payload in data_now.items()}
        made.append(
            StoredAssessment(
                site=site.id, as_of=as_of.isoformat(), digest=digest, version=site.version, snapshot=fetched.snapshot,
                left_out=left_out_json(fetched.left_out), payload=assessment_to_json(assessment),
            )
        )  # fmt: skip
        done[site.id] = assessment
    fresh = t.add_assessments(made, run=night.run)
    t.save_data(changed)
    for (registered, _), of_site in zip(updated, sites, strict=True):
        if registered.id not in done:
            continue
        if registered.id not in promises:
            t.add_promise(
                registered.id, promise_of(registered), begins=registered.start.isoformat(), by=None, why=None,
                recorded=as_of.isoformat(),
            )  # fmt: skip
        known = latest.get(registered.id)
        if registered.id in fresh and (known is None or known.as_of <= as_of.isoformat()):
            theirs = [from_json(values, Alert) for values in alerts[registered.id]]
            held = sorted({alert.held_by for alert in theirs if alert.held_by is not None})
            promised = {number: promises[registered.id][number - 1] for number in held}
            earlier = _under_earlier_promises(t, registered, promised, episodes[registered.id], of_site, around, as_of)
            previous = None if known is None else from_json(known.payload, Assessment)
            recipients = night.book.of_site(registered)
            update_alerts(t, theirs, done[registered.id], previous, recipients, earlier)
    return {site: {"status": one.status.value, "alert": one.alert.value} for site, one in done.items()}


def _under_earlier_promises(
    t: Transaction,
    registered: Site,
    promises: Mapping[int, Mapping[str, Any]],
    episodes: Sequence[Mapping[str, Any]],
    of_site: OfSite,
    around: Sequence[Site],
    as_of: date,
) -> dict[int, Assessment]:
    """Assessments under the earlier promises that open alerts were raised under, by number.

    Promises of another biome have none: their ground is not observed any more.
    """
    stored, snapshot, series, inputs = of_site
    earlier = {}
    for number, row in promises.items():
        promised = with_promise(registered, row["payload"])
        if ground_key(promised) == ground_key(registered):
            site = replace(in_episode(promised, episodes, inputs.episode), slope_degrees=inputs.site.slope_degrees)
            under = stored, snapshot, series, replace(inputs, site=site)
            (verdict,) = series_verdicts([under], Series.of(series), as_of)
            earlier[number], _ = verdict_with_areas(verdict, _neighbours(t, site, around, verdict.assessment), *under)
    return earlier


def _derived_data(
    site: Site, registered: Site, series: Columns, inputs: VerdictInputs, assessment: Assessment,
    patch: WorstPatch | None, points: Sequence[GrowthPoint], stored: Mapping[str, Payload], night: Night,
) -> dict[str, Payload]:  # fmt: skip
    """Changed derived results of a site besides its assessment, by kind."""
    constants, changed = inputs.constants, dict[str, Payload]()

    def renew(kind: str, content: Sequence[object], make: Callable[[], Payload], module: str) -> None:
        """Compute what is stored again if inputs or code (:func:`monitor.derived.key`) have changed."""
        key = derived.key(content, module=module)
        if stored.get(kind, {}).get("made_from") != key:
            changed[kind] = {"made_from": key, **make()}

    conditions = SiteConditions.seen(
        site, series, as_of=night.as_of, since=night.imagery_since, alpha=inputs.alpha, constants=constants,
        strips=inputs.controls.strips,
    )  # fmt: skip
    renew(
        "detectability", [conditions, site.start], lambda: detectability_json(conditions, site.start),
        "monitor.verdict.site_conditions",
    )  # fmt: skip
    if site.plan.A > 0 or lot_of(site) is not None:  # for the verdicts on its lot and on the programme
        _, ended = GrowingSeason.of(site).last_ended(night.as_of)
        seen = Series.of(observed_until(series, ended))
        renew(
            "seasons", [site.version, site.start, constants.hash, seen.digest, ended],
            lambda: {"member": to_json(member_of(seen, site, calibration=constants, as_of=ended))},
            "monitor.verdict.lots",
        )  # fmt: skip
    if assessment.status is not Status.INSUFFICIENT_DATA:  # that says nothing about the ground
        payload = to_json(patch) if patch else {}
        if payload != (stored.get("worst_patch") or {}):
            changed["worst_patch"] = payload
    if (payload := growth_to_json(points)) != stored.get("growth"):
        changed["growth"] = payload
    return changed


def _neighbours(t: Transaction, site: Site, around: Sequence[Site], assessment: Assessment) -> LossGround | None:
    """Loss of cover at sites nearby, as known the day before; None without a loss at the site.

    Of the day before, so that verdicts do not depend on the order in which sites are judged.
    """
    if assessment.loss_on is None:
        return None
    near = neighbours(site, around)
    states = t.states(near, until=(assessment.as_of - timedelta(days=1)).isoformat())
    losses = [states[other].loss_on if other in states else None for other in near]
    dates = [None if loss is None else date.fromisoformat(loss) for loss in losses]
    return LossGround(neighbours=len(dates), together=lost_together(assessment.loss_on, dates))


def _digest(series: Columns, inputs: VerdictInputs, reasons: Sequence[str]) -> str:
    """Hash of everything that an assessment depends on, the code that judges included."""
    site = inputs.site
    content = [
        site.version, site.start, site.slope_degrees, inputs.episode, inputs.alpha, inputs.constants.hash,
        inputs.field_factor, reasons, content_hash(series),
    ]  # fmt: skip
    return derived.key(content, module="monitor.maps.site_verdict")
