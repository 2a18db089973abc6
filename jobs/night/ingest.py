"""Update sites: landscapes are locked, their steps computed in one stream, and what was observed is recorded."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import batched
from typing import Any, Final, cast

import numpy as np
import structlog
import xarray as xr
from dask import delayed
from dask.delayed import Delayed

from jobs.imagery.eecu_budget import OverBudget, spend
from jobs.imagery.sources import Sources
from jobs.imagery.terrain_and_rain import elevation_model
from jobs.night.site_tasks import site_tasks
from jobs.reports.manifest import Rejected, SiteResult
from jobs.runtime.clock import check_snapshot_time, now
from jobs.runtime.executor import Compute, exclude_from_garbage_collection
from jobs.runtime.lock import NEW_LANDSCAPES, hold_landscape
from jobs.runtime.logs import redacted
from jobs.runtime.progress import SceneProgress
from jobs.runtime.settings import Settings
from monitor.controls.screening import left_out_json
from monitor.cube.bucket import Place, landscape_folders
from monitor.cube.records import encode_texts
from monitor.errors import MonitorError, NeverOffered, TryLater
from monitor.imagery.auxiliary.elevation import ElevationModel
from monitor.ingest.site_update import SiteUpdate
from monitor.ingest.steps import Step
from monitor.ingest.task import FetchResult, Outcome, SiteTask
from monitor.ingest.update import update_landscape
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.series.build import Compared, landscape_series
from monitor.series.columns import decode_texts
from monitor.sites.site import Site, ground_key

log = structlog.get_logger()

LANDSCAPES_AT_ONCE: Final = 256  # landscapes that are updated together, each under its lock

MAX_NAMED: Final = 20  # most sites deferred for one reason that the log names

type Updated = tuple[Site, FetchResult]  # a site whose update is done, and what was fetched

type LandscapeUpdate = Generator[list[Step], None, list[SiteUpdate]]  # see `monitor.ingest.update.update_landscape`


def update_sites(
    settings: Settings,
    ledger: Ledger,
    sources: Sources,
    sites: Sequence[Site],
    compute: Compute,
    *,
    until: date,
    what: str = "a night",
    progress: SceneProgress | None = None,
) -> Iterator[list[Outcome]]:
    """Fetch and store the missing scenes of sites until a day; yield their outcomes, landscape by landscape.

    An error in one site stops no other. Landscapes in which another run is storing scenes are deferred, and no others.
    `what` holds the locks of the landscapes. Raises BadConfiguration if a source refuses the credentials. Raises
    TryLater if another process has taken the ledger.
    """
    root = settings.store.root
    tasks, left_out = site_tasks(
        ledger, sources, sites, root=root, named_controls=settings.registry.controls, until=until
    )
    exclude_from_garbage_collection()
    progress = progress or SceneProgress()
    sources.progress = progress
    elevation = elevation_model(settings.terrain, settings.source)
    postponed = [_postponed(site, left_out[site.id]) for site in sites if site.id in left_out]
    how = _Run(compute, ledger.guard, progress, partial(spend, settings.source, ledger))
    deferred: dict[str, list[str]] = {}
    locks = partial(hold_landscape, ledger, root, what)
    existing = {*landscape_folders(root)}
    stored, new = ([task for task in tasks if (task.folder in existing) is known] for known in (True, False))
    for outcomes in _outcomes(stored, new, postponed, sources, elevation, how, locks):
        ledger.guard()
        for outcome in outcomes:
            if outcome.state == "deferred":
                deferred.setdefault(outcome.error or "", []).append(outcome.site.id)
            elif outcome.error is not None:
                log.error("site not updated", site=outcome.site.id, state=outcome.state, error=outcome.error)
        yield outcomes
    for error, ids in deferred.items():
        log.error("sites deferred", sites=ids[:MAX_NAMED], n_sites=len(ids), error=error)


def _postponed(site: Site, error: MonitorError) -> Outcome:
    state, never = "deferred" if isinstance(error, TryLater) else "failed", isinstance(error, NeverOffered)
    return Outcome(site=site, state=state, error=redacted(str(error)), never_offered=never)


def _outcomes(
    stored: Sequence[SiteTask],
    new: Sequence[SiteTask],
    postponed: Sequence[Outcome],
    sources: Sources,
    elevation: ElevationModel | None,
    run: "_Run",
    locks: Callable[[str], AbstractContextManager[Callable[[], None]]],
) -> Iterator[list[Outcome]]:
    @contextmanager
    def hold(folder: Place) -> Iterator[Callable[[], None]]:
        with locks(folder.name) as check_lock:

            def check() -> None:
                run.guard()
                check_lock()

            yield check

    with ExitStack() as stack:
        try:
            if new:
                stack.enter_context(locks(NEW_LANDSCAPES))
        except TryLater as error:
            postponed = [*postponed, *(_postponed(task.site, error) for task in new)]
            new = []
        yield from ([outcome] for outcome in postponed)
        begun = _by_landscape(new)
        offered = [len({(scene.source, scene.id) for task in tasks for scene in task.offered}) for tasks in begun]
        run.progress.expect(sum(offered))
        every = [*((members, 0) for members in _by_landscape(stored)), *zip(begun, offered, strict=True)]
        for landscapes in batched(every, LANDSCAPES_AT_ONCE):
            updates = [
                update_landscape(members, sources, elevation, hold=hold, check_time=check_snapshot_time)
                for members, _ in landscapes
            ]
            yield from run.outcomes(updates, [scenes for _, scenes in landscapes])


def _by_landscape(tasks: Iterable[SiteTask]) -> list[list[SiteTask]]:
    groups: dict[Place, list[SiteTask]] = {}
    for task in tasks:
        groups.setdefault(task.folder, []).append(task)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _Run:
    """Computes the steps of landscapes."""

    compute: Compute
    guard: Callable[[], None]  # raises if another process has taken the ledger
    progress: SceneProgress
    spend: Callable[[Step], str | None]  # records what a step will use, or returns why it must wait

    def outcomes(self, landscapes: Sequence[LandscapeUpdate], expected: Sequence[int]) -> Iterator[list[Outcome]]:
        """Run the updates of several landscapes round by round, the steps of all of them computed in one stream.

        Yields the outcomes of a landscape's sites as soon as its last step is done. `expected`: scenes of each that the
        progress expects already; what they need beyond is added.
        """
        waiting: list[tuple[int, Step]] = []
        open_steps: Counter[int] = Counter()
        unread = list(expected)

        def add(landscape: int, steps: Sequence[Step]) -> None:
            waiting.extend((landscape, step) for step in steps)
            open_steps[landscape] += len(steps)
            unread[landscape] -= sum(step.scenes for step in steps)
            if unread[landscape] < 0:
                self.progress.expect(-unread[landscape])
                unread[landscape] = 0

        def advance(landscape: int) -> Iterator[list[Outcome]]:
            """Get the next steps of a landscape if none is open, or the outcomes at its end."""
            try:
                while not open_steps[landscape]:
                    add(landscape, next(landscapes[landscape]))
            except StopIteration as end:
                self.progress.expect(-unread[landscape])
                yield from _finish(end.value)

        for landscape in range(len(landscapes)):
            yield from advance(landscape)
        while waiting:
            steps = waiting.copy()
            waiting.clear()
            for number, result in self.compute(self._graph(step) for _, step in steps):
                landscape, step = steps[number]
                failed = isinstance(result, BaseException) and not isinstance(result, TimeoutError)
                by_site = step.split_by_site() if failed else []
                if len(by_site) > 1:  # one of its sites may be the cause
                    add(landscape, by_site)
                elif isinstance(result, OverBudget):
                    step.defer(result.why)
                else:
                    self.guard()
                    step.take(result)
                self.progress.count_finished(step.scenes)
                open_steps[landscape] -= 1
                yield from advance(landscape)

    def _graph(self, step: Step) -> Delayed:
        """Graph of a step that begins now, or of why its month cannot afford it."""
        why = self.spend(step)
        return step.graph() if why is None else cast("Delayed", delayed(OverBudget(why)))


def _finish(updates: Sequence[SiteUpdate]) -> Iterator[list[Outcome]]:
    """Outcomes of a landscape's sites, errors without secrets; the memory of its store is released afterwards."""
    outcomes = [update.outcome() for update in updates]
    yield [one if one.error is None else replace(one, error=redacted(one.error)) for one in outcomes]
    for update in updates:
        update.landscape.release()


def record_observations(t: Transaction, updated: Sequence[Updated]) -> None:
    """Record in the ledger what updates changed: units, terrain, units left out, unread scenes, and snapshots."""
    changed: dict[tuple[str, str], dict[str, Any]] = {}
    stored = t.data_of([ground_key(site) for site, _ in updated])
    for site, fetched in updated:
        controls, ground = fetched.controls, ground_key(site)
        unread = {acquisition: scene.since for acquisition, scene in fetched.unread.items()}
        if unread != stored[ground].get("unread", {}):
            changed[ground, "unread"] = unread
        if fetched.tried is not None:
            changed[ground, "tried"] = {"season": fetched.tried}
        if fetched.new_controls:
            t.freeze_controls(ground, site.id, controls.to_json(), digest=controls.hash, now=now())
        if fetched.terrain is not None and fetched.new_terrain:
            changed[ground, "terrain"] = fetched.terrain.to_json()
        if fetched.new_left_out:
            changed[ground, "left_out"] = left_out_json(fetched.left_out)
    t.save_data(changed)
    t.save_snapshots({ground_key(site): (site.id, fetched.snapshot) for site, fetched in updated})


def observation_series(sites: Sequence[Updated]) -> xr.Dataset:
    """Observation series of some sites of one landscape after its update."""
    landscape = sites[0][1].stored.landscape
    compared = [
        Compared(ground=fetched.stored.ground, start=site.start, controls=fetched.controls, left_out=fetched.left_out)
        for site, fetched in sites
    ]
    file = landscape.derived / f"{landscape.name}.series"
    return landscape_series(landscape, compared, stored=file)


def by_landscape(outcomes: Iterable[Outcome]) -> list[list[Updated]]:
    """Sites that were updated, those of one store together, in order of id."""
    groups: dict[Place, list[Updated]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.site.id):
        if outcome.fetched is not None:
            groups.setdefault(outcome.fetched.stored.landscape.path, []).append((outcome.site, outcome.fetched))
    return list(groups.values())


def site_result(outcome: Outcome) -> SiteResult:
    """Result of a site before its new scenes and its assessment are known."""
    unread = len(outcome.fetched.unread) if outcome.fetched else 0
    return SiteResult(site=outcome.site.id, state=outcome.state, error=outcome.error, scenes_unread=unread)


def new_scenes(updated: Sequence[Updated], series: xr.Dataset) -> set[tuple[str, str]]:
    """Source and id of the scenes stored by an update of sites of a landscape, given its series."""
    found: set[tuple[str, str]] = set()
    for place, (_, fetched) in enumerate(updated):
        if fetched.new:
            new = np.isin(series["acquisition"].values, encode_texts(fetched.new)) & series["there"].values[place]
            found.update(
                zip(*(decode_texts(series[name].values[place, new]) for name in ("source", "scene")), strict=True)
            )
    return found


def fetched_result(site: Site, fetched: FetchResult, series: xr.Dataset, place: int) -> SiteResult:
    """Result of an updated site with its new scenes, by its place in its landscape's series."""
    scenes, rejected = [], []
    if fetched.new:
        new = np.isin(series["acquisition"].values, encode_texts(fetched.new)) & series["there"].values[place]
        scenes, reasons = (decode_texts(series[name].values[place, new]) for name in ("scene", "reason"))
        accepted = series["accepted"].values[place, new].tolist()
        found = zip(scenes, reasons, accepted, strict=True)
        rejected = [Rejected(scene, reason) for scene, reason, used in found if not used]
    return SiteResult(
        site=site.id, state="done", scenes_new=scenes, scenes_rejected=rejected, scenes_unread=len(fetched.unread)
    )
