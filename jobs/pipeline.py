"""One night, and the fetching of history ahead of it.

What is left to do is what the source offers minus what is stored, so a missed night is caught up by the next one and a
new site's history is fetched like any other scene.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from functools import partial
from typing import Any

import structlog

from jobs import __version__
from jobs.calibration import Calibrations, Pool, calibrate_due
from jobs.clock import check_clock, now, today
from jobs.cost_estimate import estimate_cost
from jobs.executor import open_executor
from jobs.exits import Exit
from jobs.fetch import Outcome, SiteTask, missing_overpasses, new_site_grid, search_again
from jobs.ingest import Progress, observation_series, record_observations, site_result, site_tasks, update_sites
from jobs.installation import check_history, ledger_is_new, open_ledger, selected_sites
from jobs.judging import judge
from jobs.lock import hold_lock
from jobs.outbox import send
from jobs.pages import publish
from jobs.registry import apply_registry, read_and_compare
from jobs.settings import Settings
from jobs.snapshot_expiry import expire_snapshots
from jobs.sources import open_sources
from jobs.terrain_and_rain import rain_reasons
from monitor.errors import MonitorError, StoreBroken, TryLater
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site, ground_key

log = structlog.get_logger()


def night(
    settings: Settings,
    *,
    as_of: date,
    only: Sequence[str] = (),
    pages: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run one night.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    as_of : date
        Scenes acquired up to the end of this day (UTC) are used.
    only : sequence of str
        Ids of sites; empty: all.
    pages : bool
        Whether pages, maps and tables are written.
    progress : callable, optional
        Told about sites done.

    Returns
    -------
    dict
        The manifest: what ``regrowth run --json`` prints.
    """
    with (
        hold_lock(settings.store.root, "a night") as lock,
        open_ledger(settings, lock.check) as ledger,
        open_executor(settings.engine.scheduler) as work,
    ):
        check_clock(ledger)
        run = f"night-{as_of}-{os.urandom(4).hex()}"
        with ledger.transaction() as t:
            t.begin_run(run, "night", as_of.isoformat(), now=now())
        registry = apply_registry(ledger, settings.registry.path, now=now())
        sites = selected_sites(settings, ledger, only)
        sources = open_sources(settings.source)
        rain = rain_reasons(settings, ledger, sites, as_of=as_of)
        every = selected_sites(settings, ledger, [])
        with ledger.transaction() as t:
            constants = Calibrations(t, every, as_of=as_of)
        results: dict[str, dict[str, Any]] = {}
        never_offered: list[str] = []
        waiting: list[Outcome] = []  # for constants that are set once all scenes are there
        sent = 0

        def fetched_now() -> Iterator[Outcome]:
            """Known sites first; what is found of them is sent before the history of new ones is fetched."""
            nonlocal sent
            before = 0
            for some in _known_first(ledger, sites):
                tell = None if progress is None else partial(_report, progress, before, len(sites))
                yield from update_sites(settings, ledger, sources, some, work, until=as_of, progress=tell)
                before += len(some)
                if before < len(sites):
                    sent += send(settings, ledger)[0]

        for outcome in fetched_now():
            site, fetched = outcome.site, outcome.fetched
            results[site.id] = site_result(outcome)
            if outcome.never_offered:
                never_offered.append(site.id)
            if fetched is None:
                continue
            judged = None if (pool := Pool.of(site)) in constants.due else constants.of(pool)
            try:
                series = observation_series(site, fetched)
                results[site.id] = site_result(outcome, series)
                with ledger.transaction() as t:
                    record_observations(t, outcome, fetched)
                    if judged is not None and t.is_current(site.id):  # it may have been retired meanwhile
                        results[site.id] |= judge(
                            settings, t, outcome, series, judged, rain.get(site.id), as_of=as_of, run=run
                        )
            except MonitorError as error:
                results[site.id] = _failed(site.id, error)
                continue
            if judged is None:
                waiting.append(outcome)
        if waiting:
            constants = calibrate_due(settings, ledger, every, as_of=as_of)
        for outcome in waiting:
            lock.check()
            site, fetched = outcome.site, outcome.fetched
            assert fetched is not None
            judged = constants.of(Pool.of(site))
            try:
                series = observation_series(site, fetched)
                with ledger.transaction() as t:
                    if t.is_current(site.id):
                        results[site.id] |= judge(
                            settings, t, outcome, series, judged, rain.get(site.id), as_of=as_of, run=run
                        )
            except MonitorError as error:
                results[site.id] = _failed(site.id, error)
        more, unsent = send(settings, ledger)
        broken = {}
        lock.check()
        if pages:
            broken = {site: error for site, error in publish(settings, ledger, work, as_of=as_of).items() if error}
        expire_snapshots(settings, ledger)
        manifest = {
            "run": run,
            "as_of": as_of.isoformat(),
            "version": __version__,
            "sites": [results[site.id] for site in sites],
            "registry": registry.to_json(),
            "never_offered": never_offered,
            "messages_sent": sent + more,
            "messages_waiting": unsent,
            "pages_failed": broken,
        }
        with ledger.transaction() as t:
            t.end_run(run, manifest, now=now())
        log.info("night done", as_of=as_of.isoformat(), sites=len(sites), messages=sent + more)
        return manifest


def _known_first(ledger: Ledger, sites: Sequence[Site]) -> list[list[Site]]:
    """Sites that are stored, then those that are not."""
    with ledger.reading() as t:
        stored = t.snapshots()
    groups = [[site for site in sites if (ground_key(site) in stored) is known] for known in (True, False)]
    return [group for group in groups if group]


def _report(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def fetch_history(
    settings: Settings, *, until: date | None = None, only: Sequence[str] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """Fetch ahead of the night, without verdicts, alerts or pages; the manifest is like a night's."""
    until = until or today()
    with open_ledger(settings) as ledger, open_executor(settings.engine.scheduler) as work:
        check_clock(ledger)
        run = f"backfill-{until}-{os.urandom(4).hex()}"
        with ledger.transaction() as t:
            t.begin_run(run, "backfill", until.isoformat(), now=now())
        registry = apply_registry(ledger, settings.registry.path, now=now())
        sites = selected_sites(settings, ledger, only)
        sources = open_sources(settings.source)
        results: dict[str, dict[str, Any]] = {}
        never_offered: list[str] = []
        for outcome in update_sites(
            settings, ledger, sources, sites, work, until=until, progress=progress, what="a backfill"
        ):
            site, fetched = outcome.site.id, outcome.fetched
            results[site] = site_result(outcome)
            if fetched is not None:
                try:
                    if fetched.new:
                        results[site] = site_result(outcome, observation_series(outcome.site, fetched))
                    with ledger.transaction() as t:
                        record_observations(t, outcome, fetched)
                except StoreBroken as error:
                    results[site] |= {"state": "failed", "error": f"site {site!r}: {error}"}
            if outcome.never_offered:
                never_offered.append(site)
        manifest = {
            "as_of": until.isoformat(),
            "sites": [results[site.id] for site in sites],
            "registry": registry.to_json(),
            "never_offered": never_offered,
        }
        with ledger.transaction() as t:
            t.end_run(run, manifest, now=now())
        return manifest


def plan(settings: Settings, *, as_of: date, only: Sequence[str] = ()) -> dict[str, Any]:
    """What a night would fetch and send; nothing is fetched and nothing is written."""
    with closing(Ledger("sqlite://" if ledger_is_new(settings) else settings.ledger.url)) as ledger:
        check_history(ledger, settings.store.root)
        check_clock(ledger)
        registry = read_and_compare(ledger, settings.registry.path)
        sites = selected_sites(settings, ledger, only, ahead=registry.fresh)
        sources = open_sources(settings.source)
        tasks: list[SiteTask] = []
        left_out: dict[str, MonitorError] = {}
        for some in _known_first(ledger, sites):
            more, without = site_tasks(settings, ledger, sources, some, until=as_of)
            tasks += more
            left_out |= without
        with ledger.reading() as t:
            waiting = len(t.unsent_notices())
    told: list[dict[str, Any]] = []
    grids = [new_site_grid(task.site, sources.first) for task in tasks]
    known = [task.known.baselines if task.known else {} for task in tasks]
    lefts = [missing_overpasses(*one) for one in zip(tasks, grids, known, strict=True)]
    again = search_again(zip(tasks, lefts, strict=True), sources.all)
    for task, grid, stored, left in zip(tasks, grids, known, lefts, strict=True):
        if task.site.id in again:
            left = missing_overpasses(again[task.site.id], grid, stored)
        scenes = [one.main.id for one in left]  # an overpass counts once, as in the manifest of a night
        told.append({"site": task.site.id, "scenes": scenes, **estimate_cost(task, left, grid, sources)})
    by_state: dict[str, dict[str, str]] = {"deferred": {}, "failed": {}}
    for site, error in left_out.items():
        by_state["deferred" if isinstance(error, TryLater) else "failed"][site] = str(error)
    return {
        "as_of": as_of.isoformat(),
        "sites": told,
        **by_state,
        "registry": registry.to_json(),
        "messages": waiting,
    }


def exit_status(manifest: dict[str, Any]) -> Exit:
    """Exit status of a night or a backfill."""
    states = [site["state"] for site in manifest["sites"]]
    if states and len(manifest.get("never_offered", ())) == len(states):
        return Exit.CONFIGURATION
    registry = manifest.get("registry", {})
    to_correct = any(registry.get(name) for name in ("error", "refused", "start_edited"))
    unfinished = to_correct or manifest.get("pages_failed") or manifest.get("messages_waiting")
    if unfinished and all(state == "done" for state in states):
        return Exit.SOME_FAILED
    if not states or all(state == "done" for state in states):
        return Exit.DONE
    if all(state == "deferred" for state in states):
        return Exit.TRY_LATER
    return Exit.SOME_FAILED if any(state != "failed" for state in states) else Exit.ALL_FAILED


def _failed(site: str, error: MonitorError) -> dict[str, Any]:
    log.error("site not judged", site=site, error=str(error))
    nothing: dict[str, Any] = {"scenes_new": [], "scenes_rejected": [], "status": None, "alert": None}
    state = "deferred" if isinstance(error, TryLater) else "failed"
    return {"site": site, "state": state, "error": f"site {site!r}: {error}", **nothing}
