"""One night: new scenes, assessments, alerts, messages and pages, site by site. Safe to run twice.

    python -m jobs.nightly --as-of 2026-06-30

What is left to do is what the source offers minus what is stored, so a missed night is caught up by the next one and a
new site's history is fetched like any other scene.
"""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import batched
from pathlib import Path
from typing import Any

import dask
import structlog
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from jobs import __version__
from jobs.exits import Exit
from jobs.fetch import Fetched, Known, area, fetch, ground_key, left_to_do
from jobs.lock import held
from jobs.pages import publish
from jobs.records import (
    alert_from_json,
    alert_to_json,
    assessment_from_json,
    notice_from_json,
    notice_to_json,
    observation,
    series,
    site_from_json,
    site_to_json,
)
from jobs.settings import Settings
from jobs.sources import open_source
from monitor.alerts.alert import Notice
from monitor.alerts.lifecycle import step
from monitor.alerts.messages import write_message
from monitor.controls.units import ControlSet
from monitor.cube.grid import site_grid
from monitor.errors import BadConfiguration, BadData, MonitorError, TryLater
from monitor.imagery.source import Scene, Source
from monitor.ledger.ledger import Ledger, Transaction
from monitor.publish.products import as_json
from monitor.sites.registry import folder_name, read_sites
from monitor.sites.site import Site
from monitor.verdict.assess import assess
from monitor.verdict.calibration import DEFAULT

log = structlog.get_logger()

TOGETHER = 16
"""Sites in flight at once; each is written to the ledger when its batch is done."""

Progress = Callable[[int, int], None]
"""Told how many sites are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One site's part of a fetch: all that a worker needs."""

    site: Site
    ground: str
    folder: Path
    offered: tuple[Scene, ...]
    controls: ControlSet | None
    known: Known | None
    others: tuple[BaseGeometry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one site's part."""

    task: Task
    state: str
    """``done``, ``failed`` or ``deferred``."""
    error: str | None = None
    fetched: Fetched | None = None


def today() -> date:
    """Today, UTC."""
    return datetime.now(UTC).date()


def now() -> str:
    """This moment, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
    with held(settings.store.root, "a night"), opened(settings) as ledger:
        run = _run_id("night", as_of)
        with ledger.transaction() as t:
            t.begin_run(run, "night", as_of.isoformat(), now=now())
        sites = chosen_sites(settings, ledger, only)
        source, _ = open_source(settings)
        results: dict[str, dict[str, Any]] = {}
        for outcome in gather(settings, ledger, source, sites, until=as_of, progress=progress):
            try:
                results[outcome.task.site.id] = _settle(settings, ledger, outcome, as_of=as_of, run=run)
            except MonitorError as error:
                results[outcome.task.site.id] = _failed(outcome.task.site.id, error)
        sent = send(settings, ledger)
        if pages:
            publish(settings, ledger, as_of=as_of)
        manifest = {
            "run": run,
            "as_of": as_of.isoformat(),
            "version": __version__,
            "sites": [results[site.id] for site in sites],
            "messages_sent": sent,
        }
        with ledger.transaction() as t:
            t.end_run(run, manifest, now=now())
        log.info("night done", as_of=as_of.isoformat(), sites=len(sites), messages=sent)
        return manifest


def backfill(
    settings: Settings, *, until: date | None = None, only: Sequence[str] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """Fetch ahead of the night, without verdicts, alerts or pages; the manifest is like a night's."""
    until = until or today()
    with held(settings.store.root, "a backfill"), opened(settings) as ledger:
        sites = chosen_sites(settings, ledger, only)
        source, _ = open_source(settings)
        results: dict[str, dict[str, Any]] = {}
        for outcome in gather(settings, ledger, source, sites, until=until, progress=progress):
            site = outcome.task.site.id
            if outcome.fetched is not None:
                with ledger.transaction() as t:
                    _take_over(t, outcome.task, outcome.fetched)
            results[site] = _result(outcome)
        return {"as_of": until.isoformat(), "sites": [results[site.id] for site in sites]}


def plan(settings: Settings, *, as_of: date, only: Sequence[str] = ()) -> dict[str, Any]:
    """What a night would fetch and send; nothing is fetched and nothing is written."""
    with opened(settings) as ledger:
        sites = chosen_sites(settings, ledger, only, add=False)
        source, _ = open_source(settings)
        tasks = prepare(settings, ledger, source, sites, until=as_of)
        with ledger.transaction() as t:
            waiting = len(t.unsent())
    told = []
    for task in tasks:
        scenes = left_to_do(task.offered, task.known.baselines if task.known else {})
        lattice: GeoBox = source.grid(task.site.geometry)
        grid = site_grid(task.site.geometry, crs=lattice.crs, resolution=abs(lattice.resolution.x))
        megabytes = len(scenes) * grid.shape[0] * grid.shape[1] * 14 / 1e6
        told.append({"site": task.site.id, "scenes": [scene.id for scene in scenes], "megabytes": round(megabytes, 1)})
    return {"as_of": as_of.isoformat(), "sites": told, "messages": waiting}


def exit_status(manifest: dict[str, Any]) -> Exit:
    """Exit status of a night or a backfill."""
    states = [site["state"] for site in manifest["sites"]]
    if not states or all(state == "done" for state in states):
        return Exit.DONE
    if all(state == "deferred" for state in states):
        return Exit.TRY_LATER
    return Exit.SOME_FAILED if any(state != "failed" for state in states) else Exit.ALL_FAILED


def opened(settings: Settings) -> closing[Ledger]:
    """The ledger, closed at the end of a ``with`` block."""
    return closing(Ledger(settings.ledger.url))


def chosen_sites(settings: Settings, ledger: Ledger, only: Sequence[str], *, add: bool = True) -> list[Site]:
    """Sites of the ledger; a ledger that has none yet takes them from the registry file.

    Raises
    ------
    BadData
        There is no site, or none of the given id.
    """
    with ledger.transaction() as t:
        stored = t.sites()
    if not stored and add:
        add_sites(ledger, settings.registry.path)
        with ledger.transaction() as t:
            stored = t.sites()
    sites = [site_from_json(values) for values in stored]
    if not sites:
        msg = f"there is no site to judge: add one to {settings.registry.path.name}, then: regrowth sites add FILE"
        raise BadData(msg)
    unknown = sorted(set(only) - {site.id for site in sites})
    if unknown:
        msg = f"no site {unknown[0]!r} in the ledger; 'regrowth sites list' names those there are"
        raise BadData(msg)
    return [site for site in sites if not only or site.id in only]


def add_sites(ledger: Ledger, path: Path) -> dict[str, list[str]]:
    """Put what changed in a registry file into the ledger, as new versions.

    Returns
    -------
    dict
        Ids by what happened: ``added``, ``changed``, ``retired``, ``unchanged``, ``refused``.
    """
    report = read_sites(path)
    refused = [checked.site for checked in report.checked if not checked.ok]
    happened: dict[str, list[str]] = {"added": [], "changed": [], "retired": [], "unchanged": [], "refused": refused}
    with ledger.transaction() as t:
        have = t.versions()
        for site in report.sites:
            if have.get(site.id) == site.version:
                happened["unchanged"].append(site.id)
                continue
            happened["changed" if site.id in have else "added"].append(site.id)
            t.add_site(site.id, site.version, site_to_json(site), start=site.start.isoformat(), now=now())
        for gone in sorted(set(have) - {site.id for site in report.sites} - set(refused)):
            t.retire_site(gone)
            happened["retired"].append(gone)
    return happened


def prepare(
    settings: Settings, ledger: Ledger, source: Source, sites: Sequence[Site], *, until: date
) -> list[Task]:
    """What each site needs: one search for all sites that lie near each other, then what the ledger knows of each."""
    since = settings.source[0].since
    groups: dict[tuple[int, int], list[Site]] = {}
    for site in sites:
        point = site.geometry.centroid
        groups.setdefault((int(point.x // 1), int(point.y // 1)), []).append(site)
    offers: dict[str, tuple[Scene, ...]] = {}
    for members in groups.values():
        found = source.search(unary_union([area(site, source) for site in members]).envelope, since, until)
        for site in members:
            over = [s for s in found if s.footprint is None or s.footprint.intersects(site.geometry)]
            offers[site.id] = tuple(over)
    tasks = []
    with ledger.transaction() as t:
        every = [site_from_json(values) for values in t.sites()]
        for site in sites:
            ground = ground_key(site)
            frozen = t.controls(ground)
            snapshot = t.snapshot(ground)
            baselines = {row["acquisition"]: row["baseline"] for row in t.observations(ground)} if snapshot else {}
            tasks.append(
                Task(
                    site=site,
                    ground=ground,
                    folder=settings.store.root / folder_name(site.id) / ground,
                    offered=offers[site.id],
                    controls=None if frozen is None else ControlSet.from_json(frozen),
                    known=None if snapshot is None else Known(snapshot=snapshot, baselines=baselines),
                    others=tuple(other.geometry for other in every if other.id != site.id),
                )
            )
    return tasks


def gather(
    settings: Settings,
    ledger: Ledger,
    source: Source,
    sites: Sequence[Site],
    *,
    until: date,
    progress: Progress | None,
) -> Iterator[Outcome]:
    """Fetch for all sites, in parallel by dask, one broken site never stopping the others."""
    tasks = prepare(settings, ledger, source, sites, until=until)
    done = 0
    for batch in batched(tasks, TOGETHER):
        lazy = [dask.delayed(_work, pure=False, traverse=False)(task, source) for task in batch]
        for outcome in dask.compute(*lazy, scheduler="threads"):
            done += 1
            if progress is not None:
                progress(done, len(tasks))
            if isinstance(outcome.error, str):
                log.error("site not updated", site=outcome.task.site.id, error=outcome.error)
            yield outcome


def _work(task: Task, source: Source) -> Outcome:
    try:
        fetched = fetch(
            task.site, source, task.offered, task.folder, controls=task.controls, known=task.known, others=task.others
        )
    except BadConfiguration:
        raise
    except TryLater as error:
        return Outcome(task=task, state="deferred", error=str(error))
    except MonitorError as error:
        return Outcome(task=task, state="failed", error=f"site {task.site.id!r}: {error}")
    except Exception as error:
        log.exception("a bug while fetching", site=task.site.id)
        return Outcome(task=task, state="failed", error=f"site {task.site.id!r}: a bug, {type(error).__name__}: {error}")
    return Outcome(task=task, state="done", fetched=fetched)


def _take_over(t: Transaction, task: Task, fetched: Fetched) -> None:
    controls = fetched.controls
    t.freeze_controls(task.ground, task.site.id, controls.to_json(), digest=controls.hash, now=now())
    if fetched.records is not None:
        t.take_over(task.ground, task.site.id, fetched.snapshot, [observation(r) for r in fetched.records])


def _settle(settings: Settings, ledger: Ledger, outcome: Outcome, *, as_of: date, run: str) -> dict[str, Any]:
    """One site's night in the ledger: observations, assessment, alert and notice in one transaction."""
    if outcome.fetched is None:
        return _result(outcome)
    task, site = outcome.task, outcome.task.site
    with ledger.transaction() as t:
        _take_over(t, task, outcome.fetched)
        seen = [row for row in t.observations(task.ground) if row["time"][:10] <= as_of.isoformat()]
        found = assess(series(seen), site, calibration=DEFAULT, alpha=settings.alerts.alpha, as_of=as_of)
        content = [site.version, DEFAULT.hash, __version__, settings.alerts.alpha]
        content += [[row["acquisition"], row["digest"], row["cover"], row["control_cover"]] for row in seen]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        latest = t.latest(site.id)
        fresh = t.add_assessment(
            site.id, as_of.isoformat(), digest, as_json(found), version=site.version,
            snapshot=outcome.fetched.snapshot, run=run,
        )  # fmt: skip
        if fresh and (latest is None or latest[0] <= as_of.isoformat()):
            _tell(t, site, found)
    return {**_result(outcome), "status": found.status.value, "alert": found.alert.value}


def _tell(t: Transaction, site: Site, found: Any) -> None:
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


def send(settings: Settings, ledger: Ledger) -> int:
    """Hand over what is in the outbox; a notice that can not be handed over is tried again by the next run."""
    with ledger.transaction() as t:
        waiting = [notice_from_json(values) for values in t.unsent()]
    sent = 0
    for notice in waiting:
        with ledger.transaction() as t:
            sites = {values["id"]: values for values in t.sites()}
            latest = t.latest(notice.alert.site)
        if latest is None or notice.alert.site not in sites:
            continue
        site, found = site_from_json(sites[notice.alert.site]), assessment_from_json(latest[2])
        try:
            write_message(notice, site, found, settings.outputs.root)
        except OSError as error:
            with ledger.transaction() as t:
                t.mark_unsent(notice.id, error=str(error))
            log.error("message not written", notice=notice.id, error=str(error))
            continue
        with ledger.transaction() as t:
            t.mark_sent(notice.id, now=now())
        sent += 1
    return sent


def _result(outcome: Outcome) -> dict[str, Any]:
    new = outcome.fetched.new if outcome.fetched else ()
    return {
        "site": outcome.task.site.id,
        "state": outcome.state,
        "error": outcome.error,
        "scenes_new": [record.scene for record in new],
        "scenes_rejected": [{"scene": r.scene, "reason": r.reason} for r in new if not r.accepted],
        "status": None,
        "alert": None,
    }


def _failed(site: str, error: MonitorError) -> dict[str, Any]:
    log.error("site not judged", site=site, error=str(error))
    nothing: dict[str, Any] = {"scenes_new": [], "scenes_rejected": [], "status": None, "alert": None}
    return {"site": site, "state": "failed", "error": f"site {site!r}: {error}", **nothing}


def _run_id(kind: str, as_of: date) -> str:
    return f"{kind}-{as_of}-{os.urandom(4).hex()}"


def stop_on_sigterm() -> None:
    """A polite stop is as safe as a hard one: what is committed stays, the next run goes on from there."""

    def stop(_signal: int, _frame: object) -> None:
        log.warning("stopped by a signal; the next run goes on from here")
        os._exit(Exit.STOPPED)

    signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["run", *sys.argv[1:]])
