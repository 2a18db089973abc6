"""One night: new scenes, assessments, alerts, messages and pages, site by site. Safe to run twice.

    python -m jobs.nightly --as-of 2026-06-30

What is left to do is what the source offers minus what is stored, so a missed night is caught up by the next one and a
new site's history is fetched like any other scene.
"""

if __name__ == "__main__":  # first of all: logs and the folder of compiled kernels are set before libraries are loaded
    import sys

    from jobs.cli import main

    main(["run", *sys.argv[1:]])


import hashlib
import json
import os
import signal
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import structlog

from jobs import __version__
from jobs.calibration import Constants, Pool, set_due
from jobs.cost_estimate import asked
from jobs.detectability import Prospect
from jobs.detectability import to_json as sight
from jobs.episodes import budget, in_episode, on
from jobs.executor import engine
from jobs.exits import Exit
from jobs.fetch import Outcome, Task, ground_key, lattice, left_of, looked_at
from jobs.lock import held
from jobs.logs import redacted
from jobs.pipeline import Progress, chosen_sites, gather, is_new, now, observed, opened, prepare, result, take_over
from jobs.precheck import check_clock, check_history
from jobs.publish import publish
from jobs.records import (
    alert_from_json,
    alert_to_json,
    assessment_from_json,
    notice_from_json,
    notice_to_json,
    site_from_json,
)
from jobs.registry import drift, take_in
from jobs.settings import Settings
from jobs.snapshot_expiry import expire
from jobs.sources import open_sources
from jobs.terrain_and_rain import rain_reasons
from monitor.alerts.alert import Event, Notice, State
from monitor.alerts.lifecycle import doubtful, step
from monitor.alerts.messages import write_message
from monitor.controls.screening import too_few
from monitor.errors import MonitorError, TryLater
from monitor.imagery.auxiliary.terrain import with_slope
from monitor.ledger.ledger import Ledger, Transaction
from monitor.maps.failing import failing
from monitor.publish.products import as_json
from monitor.series.columns import Columns, until
from monitor.sites.site import Site
from monitor.verdict.assess import assess_and_look_back
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.failing_area import tells_failing_ground, with_failing_ground
from monitor.verdict.reasons import Reason

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
        held(settings.store.root, "a night") as lock,
        opened(settings, lock.check) as ledger,
        engine(settings.engine.scheduler) as work,
    ):
        check_clock(ledger)
        run = f"night-{as_of}-{os.urandom(4).hex()}"
        with ledger.transaction() as t:
            t.begin_run(run, "night", as_of.isoformat(), now=now())
        registry = take_in(ledger, settings.registry.path, now=now())
        sites = chosen_sites(settings, ledger, only)
        sources = open_sources(settings.source)
        rain = rain_reasons(settings, ledger, sites, as_of=as_of)
        every = chosen_sites(settings, ledger, [])
        with ledger.transaction() as t:
            constants = Constants(t, every, as_of=as_of)
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
                yield from gather(settings, ledger, sources, some, work, until=as_of, progress=tell)
                before += len(some)
                if before < len(sites):
                    sent += send(settings, ledger)[0]

        for outcome in fetched_now():
            site, fetched = outcome.site, outcome.fetched
            results[site.id] = result(outcome)
            if outcome.never_offered:
                never_offered.append(site.id)
            if fetched is None:
                continue
            judged = None if (pool := Pool.of(site)) in constants.due else constants.of(pool)
            try:
                series = observed(site, fetched)
                results[site.id] = result(outcome, series)
                with ledger.transaction() as t:
                    take_over(t, outcome, fetched)
                    if judged is not None and t.is_current(site.id):  # it may have been retired meanwhile
                        results[site.id] |= _judge(
                            settings, t, outcome, series, judged, rain.get(site.id), as_of=as_of, run=run
                        )
            except MonitorError as error:
                results[site.id] = _failed(site.id, error)
                continue
            if judged is None:
                waiting.append(outcome)
        if waiting:
            constants = set_due(settings, ledger, every, as_of=as_of)
        for outcome in waiting:
            lock.check()
            site, fetched = outcome.site, outcome.fetched
            assert fetched is not None
            judged = constants.of(Pool.of(site))
            try:
                series = observed(site, fetched)
                with ledger.transaction() as t:
                    if t.is_current(site.id):
                        results[site.id] |= _judge(
                            settings, t, outcome, series, judged, rain.get(site.id), as_of=as_of, run=run
                        )
            except MonitorError as error:
                results[site.id] = _failed(site.id, error)
        more, unsent = send(settings, ledger)
        broken = {}
        lock.check()
        if pages:
            broken = {site: error for site, error in publish(settings, ledger, work, as_of=as_of).items() if error}
        expire(settings, ledger)
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


def plan(settings: Settings, *, as_of: date, only: Sequence[str] = ()) -> dict[str, Any]:
    """What a night would fetch and send; nothing is fetched and nothing is written."""
    with closing(Ledger("sqlite://" if is_new(settings) else settings.ledger.url)) as ledger:
        check_history(ledger, settings.store.root)
        check_clock(ledger)
        registry = drift(ledger, settings.registry.path)
        sites = chosen_sites(settings, ledger, only, ahead=registry.fresh)
        sources = open_sources(settings.source)
        tasks: list[Task] = []
        left_out: dict[str, MonitorError] = {}
        for some in _known_first(ledger, sites):
            more, without = prepare(settings, ledger, sources, some, until=as_of)
            tasks += more
            left_out |= without
        with ledger.reading() as t:
            waiting = len(t.unsent())
    told: list[dict[str, Any]] = []
    grids = [lattice(task.site, sources.first) for task in tasks]
    known = [task.known.baselines if task.known else {} for task in tasks]
    lefts = [left_of(*one) for one in zip(tasks, grids, known, strict=True)]
    again = looked_at(zip(tasks, lefts, strict=True), sources.all)
    for task, grid, stored, left in zip(tasks, grids, known, lefts, strict=True):
        if task.site.id in again:
            left = left_of(again[task.site.id], grid, stored)
        scenes = [one.main.id for one in left]  # an overpass counts once, as in the manifest of a night
        told.append({"site": task.site.id, "scenes": scenes, **asked(task, left, grid, sources)})
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


def _judge(
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
    episode = on(as_of, episodes)
    number = episode["number"]
    site = with_slope(in_episode(outcome.site, episodes, number), outcome.fetched.terrain)
    alpha = budget(settings.alerts.alpha, episode)
    seen = until(observed, as_of)
    found, look = assess_and_look_back(
        Series.of(seen), site, calibration=constants, alpha=alpha, cohorts=site.cohorts, as_of=as_of
    )
    beside = [Reason.FEW_PIXELS.value] if (seen["reason"] == Reason.FEW_PIXELS.value.encode()).any() else []
    fetched = outcome.fetched
    few = not fetched.waits and too_few(fetched.controls, fetched.left_out, as_of)
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
    latest = t.latest(site.id)
    newest = latest is None or latest[0] <= as_of.isoformat()
    if newest:  # a day before the newest is judged for the record: no page says it
        prospect = Prospect.seen(
            site, seen, as_of=as_of, since=min(source.since for source in settings.source), alpha=alpha,
            constants=constants,
        )  # fmt: skip
        if (t.background(ground, "sight") or {}).get("made_from") != prospect.key:
            t.save_background(ground, "sight", sight(prospect, site.start))
    if look is not None and tells_failing_ground(found, site):
        fails = failing(fetched.stored, fetched.snapshot, site, seen, look.day, lambda: look, constants=constants)
        if fails is not None:
            found = with_failing_ground(found, fails.ground, site, constants)
    fresh = t.add_assessment(
        site.id, as_of.isoformat(), digest.hexdigest(), as_json(found), version=site.version,
        snapshot=outcome.fetched.snapshot, run=run,
    )  # fmt: skip
    if fresh and newest:
        _tell(t, site, found)
    return {"status": found.status.value, "alert": found.alert.value}


def _tell(t: Transaction, site: Site, found: Assessment) -> None:
    stored = t.last_alert(site.id)
    last = None if stored is None else alert_from_json(stored)
    alert, event = step(last, found)
    if alert is None or alert == last:
        return
    t.save_alert(alert_to_json(alert))
    if event is not None:
        number = t.notices_of(alert.id) + 1
        notice = Notice(id=f"{alert.id}/{number}", alert=alert, event=event, day=found.as_of)
        t.post(notice_to_json(notice), site=site.id)


def send(settings: Settings, ledger: Ledger, *, release: bool = False) -> tuple[int, int]:
    """Hand over what is in the outbox; what cannot be handed over is tried again by the next run.

    What comes of a night in which too many sites fell at once is held until a person releases it (`release`). What is
    no news any more by the time it could be sent is withdrawn (:func:`_stale`).

    Returns
    -------
    tuple of int
        How many were handed over, and how many still wait.
    """
    with ledger.transaction() as t:
        waiting = [notice_from_json(values) for values in t.unsent()]
        held = set() if release else _held(t, waiting)
        sites = {values["id"]: values for values in t.sites()} if waiting else {}
    sent = withdrawn = 0
    for notice in waiting:
        if notice.id in held:
            continue
        ledger.guard()
        with ledger.transaction() as t:
            latest, episodes = t.latest(notice.alert.site), t.episodes(notice.alert.site)
            why = _stale(t, notice, sites)
            if why is not None:
                t.withdraw(notice.id, why=why, now=now())
        if why is not None:
            log.info("message withdrawn", notice=notice.id, why=why)
            withdrawn += 1
            continue
        assert latest is not None  # that raised the alert
        found = assessment_from_json(latest[2])
        site = in_episode(site_from_json(sites[notice.alert.site]), episodes, found.episode)
        try:
            write_message(notice, site, found, settings.outputs.root)
        except Exception as error:
            with ledger.transaction() as t:
                t.mark_unsent(notice.id, error=redacted(f"{type(error).__name__}: {error}"))
            log.exception("message not written", notice=notice.id)
            continue
        with ledger.transaction() as t:
            t.mark_sent(notice.id, now=now(), told=latest[0])
        sent += 1
    return sent, len(waiting) - withdrawn - sent


def _stale(t: Transaction, notice: Notice, sites: Container[str]) -> str | None:
    """Why a notice that has waited tells nobody anything; None where it does."""
    if notice.alert.site not in sites:
        return "its site is retired"
    if notice.event is Event.RESOLVED:
        return None if t.told(notice.alert.id) else "nobody was told of its alert"
    last = t.last_alert(notice.alert.site)
    live = last is not None and last["id"] == notice.alert.id and last["state"] != State.RESOLVED
    return None if live else "its alert is resolved by now"


def _held(t: Transaction, waiting: Sequence[Notice]) -> set[str]:
    """Notices of nights in which too many sites fell at once; operators are told by the log and the exit status."""
    bad = [notice for notice in waiting if notice.event is not Event.RESOLVED]
    held: set[str] = set()
    for day in sorted({notice.day for notice in bad}):
        of_the_day = [notice for notice in bad if notice.day == day]
        judged = t.judged_before(day.isoformat())
        fell = judged & {notice.alert.site for notice in of_the_day}
        if doubtful(len(fell), len(judged)):
            why = (
                f"{len(fell)} of {len(judged)} sites fell on {day}; look at their scenes, then: regrowth alerts release"
            )
            log.error("messages are held", messages=len(of_the_day), why=why)
            for notice in of_the_day:
                t.mark_unsent(notice.id, error=f"held: {why}")
            held |= {notice.id for notice in of_the_day}
    return held


def _failed(site: str, error: MonitorError) -> dict[str, Any]:
    log.error("site not judged", site=site, error=str(error))
    nothing: dict[str, Any] = {"scenes_new": [], "scenes_rejected": [], "status": None, "alert": None}
    state = "deferred" if isinstance(error, TryLater) else "failed"
    return {"site": site, "state": state, "error": f"site {site!r}: {error}", **nothing}


def stop_on_sigterm() -> None:
    """A polite stop is as safe as a hard one: what is committed stays, the next run goes on from there."""

    def stop(_signal: int, _frame: object) -> None:
        log.warning("stopped by a signal; the next run goes on from here")
        os._exit(Exit.STOPPED)

    signal.signal(signal.SIGTERM, stop)
