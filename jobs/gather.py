"""The sites of a run: which they are, what each needs, and fetching for all of them in parallel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

import structlog
from dask import compute, delayed
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from jobs.fetch import Fetched, Known, area, fetch, ground_key
from jobs.records import observation, site_from_json, site_to_json
from jobs.settings import Settings
from monitor.controls.units import ControlSet
from monitor.errors import BadConfiguration, BadData, MonitorError, TryLater
from monitor.imagery.source import Scene, Source
from monitor.ledger.ledger import Ledger, Transaction
from monitor.sites.registry import folder_name, read_sites
from monitor.sites.site import Site

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
    """Moment of now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def opened(settings: Settings) -> closing[Ledger]:
    """The ledger, closed at the end of a ``with`` block."""
    return closing(Ledger(settings.ledger.url))


def chosen_sites(
    settings: Settings, ledger: Ledger, only: Sequence[str], *, add: bool = False, peek: bool = False
) -> list[Site]:
    """Sites of the ledger.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    only : sequence of str
        Ids; empty: all.
    add : bool
        Whether a ledger that has no site yet takes them from the registry file: so does the first night.
    peek : bool
        Whether they are then read from that file without being added: so does a dry run.

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
    sites = [site_from_json(values) for values in stored] or (read_sites(settings.registry.path).sites if peek else [])
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
    refused = [entry.label for entry in report.refused]
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


def prepare(settings: Settings, ledger: Ledger, source: Source, sites: Sequence[Site], *, until: date) -> list[Task]:
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
        every = [site_from_json(values) for values in t.sites()] or sites
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
        lazy = [delayed(partial(_work, task, source), pure=False, traverse=False)() for task in batch]
        for outcome in compute(*lazy, scheduler="threads"):
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
        return Outcome(
            task=task, state="failed", error=f"site {task.site.id!r}: a bug, {type(error).__name__}: {error}"
        )
    return Outcome(task=task, state="done", fetched=fetched)


def take_over(t: Transaction, task: Task, fetched: Fetched) -> None:
    """What a fetch found, in the ledger."""
    controls = fetched.controls
    t.freeze_controls(task.ground, task.site.id, controls.to_json(), digest=controls.hash, now=now())
    if fetched.records is not None:
        t.take_over(task.ground, task.site.id, fetched.snapshot, [observation(r) for r in fetched.records])


def result(outcome: Outcome) -> dict[str, Any]:
    """One site's entry in the manifest of a run."""
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
