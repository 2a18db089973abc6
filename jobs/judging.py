"""Assess one site, and raise, change or resolve its alerts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from jobs import __version__
from jobs.alerting import update_alerts
from jobs.episodes import current_episode, episode_alpha, in_episode
from jobs.field_csv import stored_rows
from jobs.records import from_json, to_json
from monitor import derived
from monitor.alerts.alert import Alert
from monitor.alerts.recipients import AddressBook
from monitor.controls.screening import left_out_json
from monitor.errors import BadData
from monitor.imagery.auxiliary.terrain import with_slope
from monitor.ingest.task import Outcome
from monitor.ledger.transaction import Payload, Transaction
from monitor.maps.site_verdict import VerdictInputs, series_verdict, verdict_with_areas
from monitor.maps.worst_patch import WorstPatch
from monitor.series.columns import Columns, content_hash, observed_until
from monitor.series.field_rows import local_factor
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.promise import promise_of, with_promise
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment, Series, Status, assessment_to_json
from monitor.verdict.calibration import Calibration
from monitor.verdict.loss_ground import LossGround, lost_together, neighbours
from monitor.verdict.lots import lot_of, member_of
from monitor.verdict.reasons import Reason
from monitor.verdict.site_conditions import SiteConditions, detectability_json


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
    series = observed_until(observed, as_of)
    site = with_slope(in_episode(outcome.site, episodes, episode["number"]), fetched.terrain)
    inputs = VerdictInputs(
        site=site, episode=episode["number"], alpha=episode_alpha(alpha, episode), constants=constants,
        controls=fetched.controls, left_out=fetched.left_out, rain=rain,
        field_factor=local_factor(stored_rows(t.field_rows(site.id)), series, until=as_of), code_version=__version__,
    )  # fmt: skip
    of_site = fetched.stored, fetched.snapshot, series, inputs
    verdict = series_verdict(*of_site, as_of)
    loss = _neighbours(t, site, around, verdict.assessment)
    promises = t.promises(site.id)
    digest = _digest(series, inputs, [*verdict.background, *([repr(loss)] if loss else [])])
    latest = t.latest_assessment(site.id)
    newest = latest is None or latest[0] <= as_of.isoformat()
    if not newest:
        _check_not_thinned(t, site.id, as_of.isoformat(), digest)
    if newest:  # an assessment of an earlier day is stored, but no page shows it
        conditions = SiteConditions.seen(
            site, series, as_of=as_of, since=imagery_since, alpha=inputs.alpha, constants=constants
        )
        _save(
            t, ground_key(outcome.site), "detectability", [conditions, site.start],
            lambda: detectability_json(conditions, site.start), module="monitor.verdict.site_conditions",
        )  # fmt: skip
    assessment, patch = verdict_with_areas(verdict, loss, *of_site)
    if newest and assessment.status is not Status.INSUFFICIENT_DATA:  # that says nothing about the ground
        _save_worst_patch(t, ground_key(outcome.site), patch)
    values = assessment_to_json(assessment)
    fresh = t.add_assessment(
        site.id, as_of.isoformat(), digest, values, version=site.version, snapshot=fetched.snapshot, run=run,
        left_out=left_out_json(fetched.left_out),
    )  # fmt: skip
    if newest:
        _save_seasons(t, ground_key(outcome.site), site, series, constants, as_of)
    if not promises:
        t.add_promise(
            site.id, promise_of(outcome.site), begins=outcome.site.start.isoformat(), by=None, why=None,
            recorded=as_of.isoformat(),
        )  # fmt: skip
    if fresh and newest:
        previous = None if latest is None else from_json(latest[2], Assessment)
        earlier = _under_earlier_promises(t, outcome, promises, episodes, inputs, series, around, as_of)
        update_alerts(t, assessment, previous, book.of_site(outcome.site), earlier)
    return {"status": assessment.status.value, "alert": assessment.alert.value}


def _under_earlier_promises(
    t: Transaction,
    outcome: Outcome,
    promises: Sequence[Mapping[str, Any]],
    episodes: Sequence[Mapping[str, Any]],
    inputs: VerdictInputs,
    series: Columns,
    around: Sequence[Site],
    as_of: date,
) -> dict[int, Assessment]:
    """Assessments under the earlier promises that open alerts were raised under, by number.

    None under a promise of another biome, whose ground is not observed any more.
    """
    fetched, earlier = outcome.fetched, {}
    assert fetched is not None
    alerts = [from_json(values, Alert) for values in t.alerts_of(outcome.site.id)]
    for number in sorted({alert.held_by for alert in alerts if alert.held_by is not None}):
        promised = with_promise(outcome.site, promises[number - 1]["payload"])
        if ground_key(promised) == ground_key(outcome.site):
            site = with_slope(in_episode(promised, episodes, inputs.episode), fetched.terrain)
            of_site = fetched.stored, fetched.snapshot, series, replace(inputs, site=site)
            verdict = series_verdict(*of_site, as_of)
            earlier[number], _ = verdict_with_areas(verdict, _neighbours(t, site, around, verdict.assessment), *of_site)
    return earlier


def _check_not_thinned(t: Transaction, site: str, day: str, digest: str) -> None:
    """Raise BadData if an assessment is new, and would count for later days whose own were thinned."""
    if t.is_thinned_since(day) and not t.has_assessment(site, day, digest):
        msg = (
            f"the assessments of {day} or of days after it were thinned and are stored in the chain of nights only. "
            f"None of {day} is added, since it would count for those days too. Choose a later day by --as-of"
        )
        raise BadData(msg)


def _save(
    t: Transaction, ground: str, kind: str, inputs: Sequence[object], make: Callable[[], Payload], *, module: str
) -> None:
    """Store what is computed about a ground, if inputs or code (:func:`monitor.derived.key`) have changed."""
    key = derived.key(inputs, module=module)
    if (t.ground_data(ground, kind) or {}).get("made_from") != key:
        t.save_ground_data(ground, kind, {"made_from": key, **make()})


def _save_seasons(
    t: Transaction, ground: str, site: Site, series: Columns, constants: Calibration, as_of: date
) -> None:
    """Store the yearly amplitudes of a site, for the verdict on its lot."""
    if lot_of(site) is None:
        return
    _, ended = GrowingSeason.of(site).last_ended(as_of)
    seen = Series.of(observed_until(series, ended))
    _save(
        t, ground, "seasons", [site.version, site.start, constants.hash, seen.digest, ended],
        lambda: {"member": to_json(member_of(seen, site, calibration=constants, as_of=ended))},
        module="monitor.verdict.lots",
    )  # fmt: skip


def _neighbours(t: Transaction, site: Site, around: Sequence[Site], assessment: Assessment) -> LossGround | None:
    """How many sites nearby lost cover with a site, as known the day before; None without a loss.

    The day before, so that the verdicts of a night do not depend on the order in which its sites are judged.
    """
    if assessment.loss_on is None:
        return None
    losses = t.losses_before(neighbours(site, around), assessment.as_of.isoformat())
    dates = [None if loss is None else date.fromisoformat(loss) for loss in losses.values()]
    return LossGround(neighbours=len(dates), together=lost_together(assessment.loss_on, dates))


def _save_worst_patch(t: Transaction, ground: str, patch: WorstPatch | None) -> None:
    """Store the first place to look at, if it is another one than before; an empty entry where there is none."""
    stored = t.ground_data(ground, "worst_patch")
    before = from_json(stored, WorstPatch) if stored else None
    if patch != before:
        t.save_ground_data(ground, "worst_patch", to_json(patch) if patch else {})


def _digest(series: Columns, inputs: VerdictInputs, reasons: Sequence[str]) -> str:
    """Hash of everything that an assessment depends on, the code that judges included."""
    site = inputs.site
    content = [
        site.version, site.start, site.slope_degrees, inputs.episode, inputs.alpha, inputs.constants.hash,
        inputs.field_factor, reasons, content_hash(series),
    ]  # fmt: skip
    return derived.key(content, module="monitor.maps.site_verdict")
