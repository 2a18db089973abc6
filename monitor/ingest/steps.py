"""Steps: overpasses of a landscape that are read by one dask graph and handled together.

A step builds its graph from lazy Datasets (:func:`monitor.cover.observe.observe`); whoever drives the update computes
it by any scheduler, and gives the result back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple, cast

import structlog
import xarray as xr
from dask import delayed
from dask.delayed import Delayed

from monitor.controls.selection import Unit
from monitor.cover.fraction import Endmembers
from monitor.cover.observe import Refusal, observe
from monitor.cube.layout import PixelLayout
from monitor.cube.overpass import Overpass
from monitor.cube.packed import PACKED_LAYERS
from monitor.imagery import bands
from monitor.imagery.source import Scene, Source
from monitor.ingest.observations import GranuleView, merge_views
from monitor.ingest.site_update import Observation, SiteUpdate
from monitor.ingest.task import RankedSources

log = structlog.get_logger()

COMMIT_SIZE: Final = 32  # overpasses committed together: bounds memory, and what a killed run has to read again
MAX_STEP_BYTES: Final = 128 << 20  # most pixels of all sites that are committed together [byte]

type ScenesRead = Mapping[tuple[SiteUpdate, str, str], GranuleView | Refusal]
"""View of each site of each granule, by source and id."""


class Reading(NamedTuple):
    """Scenes of one source and family of sensors that are needed by the same sites."""

    source: Source
    scenes: list[Scene]
    updates: list[SiteUpdate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """See the module."""

    rows: list[dict[SiteUpdate, Overpass]]  # for each overpass the sites that need it, ascending by time
    readings: list[Reading]  # the granules that are read for them
    units: Mapping[SiteUpdate, tuple[Unit, ...]]  # units around each site whose means are computed
    layouts: dict[tuple[str, ...], PixelLayout]  # by the ids of the sites read together, for all steps of a landscape
    sources: RankedSources  # gives the sources where the tasks run
    handle: Callable[[Sequence[SiteUpdate]], None]  # handles the observations of the sites

    @property
    def updates(self) -> list[SiteUpdate]:
        """The sites of the step."""
        return list(dict.fromkeys(update for row in self.rows for update in row))

    @property
    def scenes(self) -> int:
        """Number of scenes that are read; a scene counts again for each group of sites that it is read for."""
        return sum(len(reading.scenes) for reading in self.readings)

    def graph(self) -> Delayed:
        """Lazy Datasets of all readings, or the error of building them."""
        try:
            endmembers = Endmembers.of(self.updates[0].task.site)  # a landscape has one biome
            lazy = [observe(self.sources, r.source, r.scenes, self._layout(r), endmembers) for r in self.readings]
        except Exception as error:
            log.exception("a bug while a graph is built", sites=len(self.updates))
            return cast("Delayed", delayed(error, traverse=False))
        return cast("Delayed", delayed(lazy))

    def take(self, result: Any) -> None:
        """Handle the computed Datasets, or the exception raised instead."""
        updates = self.updates
        if isinstance(result, BaseException):
            for update in updates:
                update.fail("failed", f"its scenes could not be read: {type(result).__name__}: {result}")
            return
        scenes = self._split(result)
        for update, overpass in (pair for row in self.rows for pair in row.items()):
            if update.alive:
                self._add_observation(update, overpass, scenes)
        self.handle([update for update in updates if update.alive])
        for update in updates:
            update.observations.clear()

    def defer(self, why: str) -> None:
        """Leave the step, and with it its sites, to a later run."""
        for update in self.updates:
            update.fail("deferred", why)

    def split_by_site(self) -> list["Step"]:
        """One step for each site."""
        own = [[{update: row[update]} for row in self.rows if update in row] for update in self.updates]
        return [replace(self, rows=rows, readings=_readings(rows, self.sources)) for rows in own]

    def _layout(self, reading: Reading) -> PixelLayout:
        key = tuple(update.task.site.id for update in reading.updates)
        if key not in self.layouts:
            sites = [(u.grid, u.inside, [unit.geometry for unit in self.units[u]]) for u in reading.updates]
            self.layouts[key] = PixelLayout.of(sites, averaged=reading.source.reduces_on_server)
        return self.layouts[key]

    def _split(self, datasets: Sequence[xr.Dataset]) -> ScenesRead:
        """Split the computed Datasets by site and granule."""
        scenes: dict[tuple[SiteUpdate, str, str], GranuleView | Refusal] = {}
        logged: set[Refusal] = set()  # of a source that is down, all scenes have one and the same
        for reading, dataset in zip(self.readings, datasets, strict=True):
            layout = self._layout(reading)
            names = ("pixels", "site_means", "unit_means", "refused")
            pixels, site_means, unit_means, refused = (dataset[name].values for name in names)
            for i, scene in enumerate(reading.scenes):
                for refusal in {refusal for refusal in refused[i] if refusal is not None} - logged:
                    logged.add(refusal)
                    log.warning("a scene cannot be used", scene=scene.id, reason=refusal.reason, why=refusal.why)
                for k, update in enumerate(reading.updates):
                    first, stop, _ = layout.sites.runs[k]
                    units = slice(*layout.first_unit[k : k + 2])
                    scenes[update, scene.source, scene.id] = refused[i, k] or (
                        pixels[i, :, first:stop],
                        site_means[i, k],
                        unit_means[i, units],
                    )
        return scenes

    def _add_observation(self, update: SiteUpdate, overpass: Overpass, scenes: ScenesRead) -> None:
        if _read_already(update, overpass) is not None:
            update.observations.append(replace(update.read_already.pop(overpass.acquisition), overpass=overpass))
            return
        views = [(scene, scenes[update, scene.source, scene.id]) for scene in overpass.granules]
        update.observations.append(merge_views(update, overpass, views, len(self.units[update])))


def make_steps(
    needed: Mapping[SiteUpdate, Sequence[Overpass]],
    units: Mapping[SiteUpdate, tuple[Unit, ...]],
    sources: RankedSources,
    handle: Callable[[Sequence[SiteUpdate]], None],
) -> list[Step]:
    """Split what sites need into steps of at most :data:`COMMIT_SIZE` overpasses or :data:`MAX_STEP_BYTES` of pixels.

    `needed` gives the overpasses that each site needs; `units`, `sources`, `handle`: see :class:`Step`.
    """
    by_acquisition: dict[str, dict[SiteUpdate, Overpass]] = {}
    for update, overpasses in needed.items():
        for overpass in overpasses:
            by_acquisition.setdefault(overpass.acquisition, {})[update] = overpass
    first = {name: min(overpass.main.time for overpass in row.values()) for name, row in by_acquisition.items()}
    ordered = [by_acquisition[name] for name in sorted(by_acquisition, key=lambda name: (first[name], name))]
    batches: list[list[dict[SiteUpdate, Overpass]]] = []
    sizes = {update: 2 * len(PACKED_LAYERS) * int(update.inside.sum()) for update in needed}
    size = MAX_STEP_BYTES
    for row in ordered:
        if size >= MAX_STEP_BYTES or len(batches[-1]) >= COMMIT_SIZE:
            batches.append([])
            size = 0
        batches[-1].append(row)
        size += sum(sizes[update] for update in row)
    layouts: dict[tuple[str, ...], PixelLayout] = {}
    shared = partial(Step, units=units, layouts=layouts, sources=sources, handle=handle)
    return [shared(rows=rows, readings=_readings(rows, sources)) for rows in batches]


def _read_already(update: SiteUpdate, overpass: Overpass) -> Observation | None:
    """The earlier observation of an overpass, if it was made from the same granules."""
    earlier = update.read_already.get(overpass.acquisition)
    if earlier is None or [s.id for s in earlier.overpass.granules] != [s.id for s in overpass.granules]:
        return None
    return earlier


def _readings(rows: Sequence[Mapping[SiteUpdate, Overpass]], sources: RankedSources) -> list[Reading]:
    """Each granule that a site needs and has not read already, once, with the sites that need it: by source, by family
    of sensors (on Sentinel-2 pixels Landsat has other coefficients), then by time.
    """
    scenes: dict[tuple[str, str], Scene] = {}
    users: dict[tuple[str, str], list[SiteUpdate]] = {}
    for row in rows:
        for update, overpass in row.items():
            for scene in overpass.granules if _read_already(update, overpass) is None else ():
                scenes.setdefault((scene.source, scene.id), scene)
                users.setdefault((scene.source, scene.id), []).append(update)
    families = {key: bands.sensor_family(scene.sensor, scene.quality) for key, scene in scenes.items()}
    groups: dict[tuple[str, str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for key in sorted(scenes, key=lambda key: (scenes[key].time, scenes[key].acquisition, key)):
        sites = tuple(update.task.site.id for update in users[key])
        groups.setdefault((key[0], families[key], sites), []).append(key)
    return [
        Reading(sources.by_name(source), [scenes[key] for key in keys], users[keys[0]])
        for (source, _, _), keys in sorted(groups.items())
    ]
