"""The stages of a night, of fetching history ahead of it, and of a dry run.

The scenes to fetch are those that the sources offer minus those that are stored: the next night catches up on a missed
one, and the history of a new site is fetched like any other scene.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

from jobs.imagery.cost_estimate import estimate_cost
from jobs.imagery.eecu_budget import eecu_use
from jobs.imagery.freshness import source_results
from jobs.imagery.sources import Sources, open_sources
from jobs.imagery.terrain_and_rain import rain_reasons
from jobs.messages.channels import check_secrets
from jobs.messages.handovers import add_handover_notes
from jobs.messages.operator_notices import notify_operators
from jobs.messages.outbox import answer_key, send
from jobs.messages.reminders import remind_managers
from jobs.messages.weekly import add_briefs
from jobs.messages.witness import send_head
from jobs.night.ingest import (
    Updated,
    by_landscape,
    fetched_result,
    new_scenes,
    observation_series,
    record_observations,
    site_result,
    update_sites,
)
from jobs.night.judging import Night, judge_landscape
from jobs.night.self_check import self_check
from jobs.night.site_tasks import site_tasks
from jobs.night.snapshot_expiry import expire_snapshots
from jobs.pages.publishing import publish
from jobs.proof.chain import append_line
from jobs.register.alerting import address_book
from jobs.register.begin import begun_night, new_run, record_run
from jobs.register.calibration import Calibrations, Pool, calibrate_due
from jobs.register.lots import judge_lots
from jobs.register.promises import as_promised, notify_edits
from jobs.register.registry import apply_registry, read_and_compare
from jobs.reports.failed_night import report_killed_nights
from jobs.reports.manifest import MAX_UNREAD, Manifest, SiteResult, exit_status, summary, waiting_scenes
from jobs.runtime.clock import check_clock, now, today
from jobs.runtime.executor import Compute, open_executor
from jobs.runtime.installation import open_ledger, selected_sites
from jobs.runtime.logs import redacted
from jobs.runtime.progress import Report, SceneProgress, report_nothing
from jobs.runtime.records import to_json
from jobs.runtime.settings import Settings
from monitor.cube.bucket import landscape_folders
from monitor.errors import MonitorError, TryLater
from monitor.ingest.control_choice import control_shortage
from monitor.ingest.missing import missing_overpasses, new_site_grid, search_again
from monitor.ingest.task import Outcome, SiteTask, UnreadScene
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site, ground_key
from monitor.verdict.calibration import Calibration
from monitor.verdict.reasons import Reason

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Night:
    """State that the stages of one night share, and the results so far."""

    settings: Settings
    ledger: Ledger
    run: str
    as_of: date
    rain: Mapping[str, Reason | None]  # by site what the rain of the season adds to the reasons of its assessment
    constants: Calibrations
    results: dict[str, SiteResult] = field(default_factory=dict)
    never_offered: list[str] = field(default_factory=list)  # sites without any scene offered by any source, ever
    unread: dict[str, Mapping[str, UnreadScene]] = field(default_factory=dict)  # waiting, by acquisition
    new_scenes: set[tuple[str, str]] = field(default_factory=set)  # source and id of the scenes stored so far
    without_constants: list[Sequence[Updated]] = field(default_factory=list)  # judged at the end


def night(
    settings: Settings,
    *,
    as_of: date,
    only: Sequence[str] = (),
    pages: bool = True,
    progress: Report = report_nothing,
    begun: tuple[Ledger, str] | None = None,
) -> Manifest:
    """Run one night with the scenes acquired up to the end of a day (UTC); its manifest is stored in the ledger.

    `only`: ids of sites; empty: all. `begun`: the ledger in which the night has begun, and the id of its run. Raises
    TryLater if another run holds the ledger, the clock is behind the last run, or ledger or scheduler do not answer;
    BadConfiguration if a setting or credential is wrong, or the ledger does not belong to the stores; BadData without a
    site.
    """
    began = time.monotonic()
    answer_key(settings)  # before anything is fetched
    check_secrets(settings)
    run = begun[1] if begun else new_run("night", as_of)
    with (
        nullcontext(begun[0]) if begun else begun_night(settings, as_of, run) as ledger,
        open_executor(settings.engine.scheduler, settings.engine.tls_files) as compute,
    ):
        report_killed_nights(settings, ledger, run)
        registry = apply_registry(ledger, settings)
        with ledger.transaction() as t:
            notify_edits(t, registry, address_book(settings), as_of)
        sites, every_site = (as_promised(ledger, selected_sites(ledger, ids), as_of) for ids in (only, ()))
        try:
            sources = open_sources(settings.source)
        except MonitorError:
            send(settings, ledger)  # waiting messages do not depend on the sources
            raise
        rain = rain_reasons(settings.rain, settings.source, ledger, sites, as_of=as_of)
        with ledger.transaction() as t:
            constants = Calibrations(t, every_site, as_of=as_of)
        landscape_folders(settings.store.root)  # a bucket that cannot be used ends the night before it is checked
        checked = None if only else self_check(settings, ledger, run=run, as_of=as_of)
        state = _Night(settings=settings, ledger=ledger, run=run, as_of=as_of, rain=rain, constants=constants)
        sent = _update_and_assess(state, sources, sites, compute, SceneProgress(progress))
        _calibrate_and_assess(state, every_site)
        fresh = [] if only else source_results(sources, Counter(name for name, _ in state.new_scenes), as_of)
        notify_operators(settings, ledger, sites, fresh, as_of=as_of)
        with ledger.transaction() as t:
            if not only:
                judge_lots(t, every_site, book=address_book(settings), as_of=as_of, run=run)
                add_handover_notes(t, settings, every_site, day=as_of)
                add_briefs(t, settings, every_site, day=as_of)
            remind_managers(t, settings, sites, day=as_of)
        with ledger.transaction() as t:
            append_line(t, night=as_of)
            send_head(t, settings, night=as_of)
        last = send(settings, ledger)
        ledger.guard()
        unread = waiting_scenes(state.unread, as_of)
        manifest = Manifest(
            run=run, as_of=as_of, sites=[state.results[site.id] for site in sites], registry=registry.to_json(),
            never_offered=state.never_offered, messages_sent=sent + last.sent, messages_waiting=last.waiting,
            self_check=checked, unread_count=len(unread), unread=unread[:MAX_UNREAD], sources=fresh,
            seconds=time.monotonic() - began,
        )  # fmt: skip
        if pages:
            outcomes = publish(settings, ledger, compute, as_of=as_of, night=manifest)
            manifest = replace(manifest, pages_failed={site: error for site, error in outcomes.items() if error})
        expire_snapshots(settings.store.root, ledger)
        _end_run(ledger, manifest)
        log.info("night done", as_of=as_of.isoformat(), sites=len(sites), messages=sent + last.sent)
        return manifest


def _end_run(ledger: Ledger, manifest: Manifest) -> None:
    status, counts = exit_status(manifest), summary(manifest)
    with ledger.transaction() as t:
        t.end_run(manifest.run, status=status, manifest=to_json(manifest), summary=counts, now=now())


def _update_and_assess(
    state: _Night, sources: Sources, sites: Sequence[Site], compute: Compute, progress: SceneProgress
) -> int:
    """Fetch and store the scenes of all sites, and judge each landscape at once if its constants are known.

    Messages about known sites are sent before the history of new ones is fetched. Returns the number of messages sent.
    """
    done = sent = 0
    shared = (state.settings, state.ledger, sources)
    for group in _known_first(state.ledger, sites):
        for outcomes in update_sites(*shared, group, compute, until=state.as_of, progress=progress):
            _assess_fetched(state, outcomes)
            done += len(outcomes)
        if done < len(sites):
            sent += send(state.settings, state.ledger, night=False).sent
    return sent


def _assess_fetched(state: _Night, outcomes: Sequence[Outcome]) -> None:
    """Record what was fetched for sites of a landscape, and judge them unless their constants are still to be set."""
    state.never_offered.extend(outcome.site.id for outcome in outcomes if outcome.never_offered)
    state.results.update({outcome.site.id: site_result(outcome) for outcome in outcomes})
    for updated in by_landscape(outcomes):
        state.unread.update({site.id: fetched.unread for site, fetched in updated})
        pool = Pool.of(updated[0][0])
        constants = None if pool in state.constants.due else state.constants.of(pool)
        results = _assess(state, updated, constants, record=True)
        state.results.update(results)
        if constants is None:
            state.without_constants.append([one for one in updated if results[one[0].id].state == "done"])


def _calibrate_and_assess(state: _Night, every_site: Sequence[Site]) -> None:
    """Set the constants that are due, now that all scenes are stored, and judge the sites that waited for them."""
    if not state.without_constants:
        return
    constants = calibrate_due(state.settings, state.ledger, every_site, as_of=state.as_of)
    for updated in filter(None, state.without_constants):
        state.ledger.guard()
        state.results.update(_assess(state, updated, constants.of(Pool.of(updated[0][0])), record=False))


def _assess(
    state: _Night, updated: Sequence[Updated], constants: Calibration | None, *, record: bool
) -> dict[str, SiteResult]:
    """Results of sites of a landscape: record what was fetched (`record`) and judge them, if constants are known."""
    night = Night(
        as_of=state.as_of, run=state.run, alpha=state.settings.alerts.alpha, rain=state.rain,
        imagery_since=min(source.since for source in state.settings.source), book=address_book(state.settings),
    )  # fmt: skip

    def assess(updated: Sequence[Updated]) -> dict[str, SiteResult]:
        series = observation_series(updated)
        results = {site.id: fetched_result(site, fetched, series, k) for k, (site, fetched) in enumerate(updated)}
        with state.ledger.transaction() as t:
            if record:
                record_observations(t, updated)
                state.new_scenes.update(new_scenes(updated, series))
            if constants is not None:
                around = state.constants.members[Pool.of(updated[0][0])]
                for name, judged in judge_landscape(t, updated, series, constants, around, night).items():
                    results[name] = replace(results[name], **judged)
        return results

    return _by_halves(updated, assess, state.results)


def _by_halves(
    updated: Sequence[Updated],
    work: Callable[[Sequence[Updated]], dict[str, SiteResult]],
    before: Mapping[str, SiteResult],
) -> dict[str, SiteResult]:
    """Results of some work on sites of a landscape; `before`: their results until then.

    Where it fails, each half is tried by itself, until the site that is the cause is alone.
    """
    try:
        return work(updated)
    except TryLater as error:  # the ledger is in use: no site is the cause
        why, outcome = str(error), "deferred"
    except Exception as error:
        if len(updated) > 1:
            half = len(updated) // 2
            return _by_halves(updated[:half], work, before) | _by_halves(updated[half:], work, before)
        why, outcome = str(error), "failed"
        if not isinstance(error, MonitorError):
            log.exception("a bug while a site was judged", site=updated[0][0].id)
            why = redacted(f"a bug, {type(error).__name__}: {error}")
    log.error("not judged", sites=[site.id for site, _ in updated], error=why)
    return {site.id: replace(before[site.id], state=outcome, error=f"site {site.id!r}: {why}") for site, _ in updated}


def _known_first(ledger: Ledger, sites: Sequence[Site]) -> list[list[Site]]:
    """Sites with a store, then those without; empty groups are left out."""
    with ledger.reading() as t:
        stored = t.snapshots()
    groups = [[site for site in sites if (ground_key(site) in stored) is known] for known in (True, False)]
    return [group for group in groups if group]


def fetch_history(
    settings: Settings, *, until: date | None = None, only: Sequence[str] = (), progress: Report = report_nothing
) -> Manifest:
    """Fetch scenes up to a day (None: today), without assessments, alerts or pages; returns a manifest.

    Arguments and errors as for :func:`night`; landscapes that another run updates are deferred.
    """
    began, until = time.monotonic(), until or today()
    engine = settings.engine
    with open_ledger(settings) as ledger, open_executor(engine.scheduler, engine.tls_files) as compute:
        run = new_run("backfill", until)
        record_run(ledger, run, "backfill", until)
        registry = apply_registry(ledger, settings)
        sites = selected_sites(ledger, only)
        sources = open_sources(settings.source)
        results: dict[str, SiteResult] = {}
        never_offered: list[str] = []
        unread: dict[str, Mapping[str, UnreadScene]] = {}
        scenes = SceneProgress(progress)
        for outcomes in update_sites(
            settings, ledger, sources, sites, compute, until=until, what="a backfill", progress=scenes
        ):
            results |= {outcome.site.id: site_result(outcome) for outcome in outcomes}
            never_offered += [outcome.site.id for outcome in outcomes if outcome.never_offered]
            for updated in by_landscape(outcomes):
                unread |= {site.id: fetched.unread for site, fetched in updated}
                results |= _by_halves(updated, partial(_record_fetched, ledger), results)
        waiting = waiting_scenes(unread, until)
        manifest = Manifest(
            run=run, as_of=until, sites=[results[site.id] for site in sites], registry=registry.to_json(),
            never_offered=never_offered, unread_count=len(waiting), unread=waiting[:MAX_UNREAD],
            seconds=time.monotonic() - began,
        )  # fmt: skip
        _end_run(ledger, manifest)
        return manifest


def _record_fetched(ledger: Ledger, updated: Sequence[Updated]) -> dict[str, SiteResult]:
    """Record what was fetched for sites of a landscape, without judging them; returns their results."""
    series = observation_series(updated)
    with ledger.transaction() as t:
        record_observations(t, updated)
    return {site.id: fetched_result(site, fetched, series, k) for k, (site, fetched) in enumerate(updated)}


def plan(settings: Settings, *, as_of: date, only: Sequence[str] = ()) -> dict[str, Any]:
    """Fetches and messages of a night, as JSON values; nothing is fetched or written. Errors as for :func:`night`.

    ``sites``: new ``scenes`` of each and their cost; ``deferred`` and ``failed``: by site why nothing would be fetched;
    ``few_controls``: by new site why it would get too few control units; ``messages`` waiting; ``earthengine``: its
    budget, None without that source.
    """
    root = settings.store.root
    with open_ledger(settings, create=False) as ledger:
        check_clock(ledger)
        registry = read_and_compare(ledger, settings)
        sites = selected_sites(ledger, only, ahead=registry.fresh)
        sources = open_sources(settings.source)
        tasks: list[SiteTask] = []
        problems: dict[str, MonitorError] = {}
        for group in _known_first(ledger, sites):
            group_tasks, group_problems = site_tasks(
                ledger, sources, group, root=root, named_controls=settings.registry.controls, until=as_of
            )
            tasks += group_tasks
            problems |= group_problems
        with ledger.reading() as t:
            waiting = t.count_messages("waiting", "held")
            use = eecu_use(t, settings.source)
    deferred = {site: str(error) for site, error in problems.items() if isinstance(error, TryLater)}
    return {
        "as_of": as_of.isoformat(),
        "sites": _planned_fetches(tasks, sources),
        "deferred": deferred,
        "failed": {site: str(error) for site, error in problems.items() if site not in deferred},
        "few_controls": _few_controls(tasks, sources),
        "registry": registry.to_json(),
        "messages": waiting,
        "earthengine": None if use is None else use.to_json(),
    }


def _few_controls(tasks: Sequence[SiteTask], sources: Sources) -> dict[str, str]:
    """By new site why it would get too few control units from what the sources offer."""
    ring, said = sources.first.ring, {}
    for task in tasks:
        if task.controls is None and (short := control_shortage(task, new_site_grid(task.site, sources.first), ring)):
            said[task.site.id] = short.sentence
    return said


def _planned_fetches(tasks: Sequence[SiteTask], sources: Sources) -> list[dict[str, Any]]:
    """For each site the scenes that a night would fetch, and what they cost."""
    grids = [new_site_grid(task.site, sources.first) for task in tasks]
    missing = [missing_overpasses(task, grid) for task, grid in zip(tasks, grids, strict=True)]
    again = search_again(zip(tasks, missing, strict=True), sources.all)
    fetches: list[dict[str, Any]] = []
    for task, grid, overpasses in zip(tasks, grids, missing, strict=True):
        if task.site.id in again:
            overpasses = missing_overpasses(again[task.site.id], grid)
        scenes = [overpass.main.id for overpass in overpasses]  # an overpass counts once, as in a manifest
        fetches.append({"site": task.site.id, "scenes": scenes, **estimate_cost(task, overpasses, grid, sources)})
    return fetches
