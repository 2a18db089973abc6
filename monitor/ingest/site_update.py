"""The state of one site during an update of its landscape."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
import structlog
from odc.geo.geobox import GeoBox

from monitor.controls.screening import left_out
from monitor.controls.selection import ControlSet, Unit
from monitor.cover.observe import Refusal
from monitor.cube.grid import inside
from monitor.cube.overpass import Overpass
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadConfiguration, MonitorError, TryLater
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.imagery.source import Scene, Source
from monitor.ingest.missing import missing_overpasses, new_site_grid
from monitor.ingest.task import Baselines, FetchResult, Outcome, SiteTask, UnreadScene

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One overpass as seen by one site and its control units, granules merged."""

    overpass: Overpass
    scene: Scene  # granule that gives scale, offset and time
    pixels: np.ndarray  # (layer, pixel) uint16 of the pixels inside the site; zeros if no granule can be read
    site_means: np.ndarray  # (measure,) float32 means of the site
    unit_means: np.ndarray  # (unit, measure) float32 means of the units; NaN if no granule can be read
    unread: tuple[tuple[Scene, Refusal], ...] = ()  # granules that cannot be read today, and why
    refusal: Refusal | None = None  # why none of its granules can be read; None: at least one can


@dataclass(eq=False)
class SiteUpdate:
    """One site on its way through an update: opened, given control units, observed, stored."""

    task: SiteTask
    landscape: LandscapeStore
    state: str = "done"  # see `Outcome`
    error: str | None = None  # why the site failed or is deferred
    store: StoredSite = field(init=False)
    snapshot: str = ""  # snapshot of the store after the last commit of this site
    grid: GeoBox = field(init=False)
    baselines: Baselines = field(default_factory=dict)
    missing: list[Overpass] = field(init=False)  # overpasses that are offered and not stored
    controls: ControlSet | None = None  # the control units; None: not chosen yet
    tried: int | None = None  # see `FetchResult`
    terrain: Terrain | None = None
    observations: list[Observation] = field(default_factory=list)  # of the current step, not stored yet
    read_already: dict[str, Observation] = field(default_factory=dict)  # by acquisition; made to choose units
    new: list[str] = field(default_factory=list)  # acquisitions stored so far
    unread: dict[str, UnreadScene] = field(default_factory=dict)  # by acquisition, scenes that wait

    @property
    def alive(self) -> bool:
        """Whether the site is neither failed nor deferred."""
        return self.error is None

    @cached_property
    def inside(self) -> np.ndarray:
        """(y, x) bool: pixels of the grid that are inside the site."""
        return inside(self.task.site.geometry, self.grid)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The control units; none while they cannot be chosen."""
        return self.controls.units if self.controls is not None else ()

    def fail(self, state: str, error: str) -> None:
        """Mark the site as ``failed`` or ``deferred``, unless it is already."""
        if self.alive:
            self.state, self.error = state, error

    def open(
        self, landscape: LandscapeStore, source: Source, check_time: Callable[[datetime], None], *, unchanged: bool
    ) -> None:
        """Find grid, control units and missing overpasses; `source` gives the grid of a new site.

        `unchanged`: whether the store is as it was when the task was made. Raises TryLater if a source could not be
        searched for a new site, or the clock is behind the newest snapshot (`check_time`); BadData if a new site
        contains no pixel centre; StoreBroken if the store cannot be read.
        """
        task, self.landscape = self.task, landscape
        self.controls, self.terrain = task.controls, task.terrain
        if not landscape.exists:
            if task.missing_source:
                raise TryLater(task.missing_source)
            self.grid = new_site_grid(task.site, source)
            self.missing = missing_overpasses(task, self.grid, self.baselines)
            return
        self.store = StoredSite(landscape, task.ground)
        self.snapshot, self.grid = self.store.snapshot, self.store.grid
        if self.controls is None:
            self.controls = ControlSet.from_json(self.store.controls)
        as_read = unchanged and task.stored.landscape is not None
        self.baselines = task.stored.baselines if as_read else self.store.baselines()
        self.missing = missing_overpasses(task, self.grid, None if as_read else self.baselines)
        if self.missing:
            check_time(landscape.written)

    def keep_waiting(self) -> None:
        """Stay in the store where the site waits without control units, since none could be chosen."""
        assert self.task.waiting_in is not None
        self.landscape = LandscapeStore(self.task.waiting_in)
        self.store = StoredSite(self.landscape, self.task.ground)
        self.snapshot, self.grid, self.missing = self.store.snapshot, self.store.grid, []

    def outcome(self) -> Outcome:
        """How the update of the site ended."""
        if self.error is not None or self.controls is None:
            return Outcome(site=self.task.site, state=self.state, error=self.error)
        out = left_out(self.controls.units, self.task.others)
        fetched = FetchResult(
            stored=self.store, snapshot=self.snapshot, new=tuple(self.new), controls=self.controls,
            new_controls=self.task.controls is None and not self.controls.waits, tried=self.tried,
            left_out=out, new_left_out=out != self.task.left_out, terrain=self.terrain,
            new_terrain=self.task.terrain is None, unread=self.unread,
        )  # fmt: skip
        return Outcome(site=self.task.site, state="done", fetched=fetched)


@contextmanager
def errors_fail(updates: Sequence[SiteUpdate]) -> Iterator[None]:
    """Turn an error within the ``with`` block into the failure of these sites, so that it stops no other site.

    BadConfiguration is raised: every other site would fail too.
    """
    try:
        yield
    except BadConfiguration:
        raise
    except TryLater as error:
        for update in updates:
            update.fail("deferred", str(error))
    except Exception as error:
        expected = isinstance(error, MonitorError)
        if not expected:
            log.exception("a bug in an update", sites=[update.task.site.id for update in updates])
        why = str(error) if expected else f"a bug, {type(error).__name__}: {error}"
        for update in updates:
            update.fail("failed", f"site {update.task.site.id!r}: {why}")


def for_each(updates: Iterable[SiteUpdate], action: Callable[[SiteUpdate], None]) -> None:
    """Do something for every site that is alive; one that fails stops no other."""
    for update in updates:
        if update.alive:
            with errors_fail([update]):
                action(update)
