"""The stored scenes of one site of a landscape, as columns, pixels, pictures or a cube.

Of each acquisition the newest row that has the site counts. A `snapshot` is the name of the landscape and a number of
rows, as text: what a past night knew.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from monitor.cube.granules import MAX_GRANULES
from monitor.cube.grid import grid_from_json
from monitor.cube.packed import PACKED_LAYERS, unpack
from monitor.cube.records import UNIT_MEASURES, Picture
from monitor.cube.scenes import newest_rows, of_one_site, scenes_of_rows, stored_scenes
from monitor.cube.store import LandscapeStore
from monitor.errors import StoreBroken

CUBE_CHUNK_BYTES: Final = 32_000_000  # size of the dask chunks of a cube [byte]


class StoredSite:
    """The stored scenes of the site of a ground key (:func:`monitor.sites.site.ground_key`).

    Results are derived from its scenes in the folder `derived`, by default the one beside the landscape; in another one
    everything is computed again, and what a night has stored stays as it is. Raises StoreBroken if the landscape has no
    such site, and from every property and method if the store cannot be read.
    """

    def __init__(self, landscape: LandscapeStore, ground: str, *, derived: Path | None = None) -> None:
        if ground not in landscape.grounds:
            raise StoreBroken(
                f"the store {landscape.name} has no site of the ground {ground}; the next run fetches its history again"
            )
        self.landscape = landscape
        self.ground = ground
        self._derived = landscape.derived if derived is None else derived
        self.number = landscape.grounds.index(ground)

    @property
    def derived(self) -> Path:
        """Path, without suffix, of results derived from the site's scenes."""
        return self._derived / self.ground

    @property
    def snapshot(self) -> str:
        """The newest snapshot."""
        return f"{self.landscape.name}:{self.landscape.rows}"

    @property
    def site(self) -> str:
        """Id of the site when the landscape was created."""
        return str(self.landscape.fixed["site"][self.number])

    @cached_property
    def grid(self) -> GeoBox:
        """The site's own fixed grid."""
        return grid_from_json(json.loads(self.landscape.fixed["grid"][self.number]))

    @cached_property
    def context(self) -> GeoBox:
        """Grid of the pictures: the site and its surroundings."""
        return grid_from_json(json.loads(self.landscape.fixed["context"][self.number]))

    @property
    def controls(self) -> dict[str, Any]:
        """The frozen control units, as given when the landscape was created."""
        with self.landscape.guarded():
            controls: dict[str, Any] = json.loads(self.landscape.read("controls", self.number).item())
            return controls

    @property
    def units(self) -> list[str]:
        """Ids of the control units, in order."""
        return [str(name) for name in self.landscape.fixed["unit"][self._span("first_unit")]]

    def _span(self, edges: str) -> slice:
        """The site's part of the pixels, units or context pixels of the landscape."""
        return slice(*map(int, self.landscape.fixed[edges][self.number : self.number + 2]))

    @property
    def pixel_span(self) -> slice:
        """The site's part of the pixels of the landscape."""
        return self._span("first_pixel")

    def row_limit(self, snapshot: str | None) -> int:
        """Number of rows of a snapshot."""
        name, _, rows = (snapshot or self.snapshot).rpartition(":")
        if name != self.landscape.name or not rows.isdigit() or int(rows) > self.landscape.rows:
            raise StoreBroken(
                f"the store {self.landscape.name} does not have the snapshot {snapshot}: it has "
                f"{self.landscape.rows} rows. It may be an older copy"
            )
        return int(rows)

    def _rows(self, snapshot: str | None) -> np.ndarray:
        """Numbers of the rows that count, ascending by (time, acquisition)."""
        rows: np.ndarray = newest_rows(self.landscape, np.array([self.number]), self.row_limit(snapshot))[0]
        return rows

    def _preferred(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the preferred granules of some rows."""
        bits = self.landscape.whole("granule_bits")[rows, self.number]
        return np.asarray(self.landscape.granules().first[rows] + (bits >> MAX_GRANULES))

    def columns(self, snapshot: str | None = None) -> dict[str, np.ndarray]:
        """All stored values of each acquisition, ascending by (time, acquisition), as (n,) arrays.

        The values of :func:`monitor.cube.scenes.scenes_of_rows`, named as :func:`monitor.cube.scenes.of_one_site` says.
        Raises StoreBroken if the store has no such snapshot.
        """
        return of_one_site(self.scenes(snapshot))

    def scenes(self, snapshot: str | None = None) -> xr.Dataset:
        """The same as a landscape of one site, see :func:`monitor.cube.scenes.stored_scenes`."""
        return stored_scenes(self.landscape, [self.number], self.row_limit(snapshot))

    def every_row(self, snapshot: str | None = None) -> np.ndarray:
        """Numbers of all rows of the landscape that have the site, superseded ones too, in order of arrival."""
        limit = self.row_limit(snapshot)
        with self.landscape.guarded():
            return np.flatnonzero(self.landscape.whole("state")[:limit, self.number])

    def columns_of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The values of :meth:`columns` of some rows that have the site, in their order."""
        return of_one_site(scenes_of_rows(self.landscape, np.array([self.number]), rows[None]))

    def has_unmasked(self, snapshot: str | None = None) -> bool:
        """Whether any scene that counts has no quality layer; parameters and errors as for :meth:`columns`."""
        with self.landscape.guarded():
            quality = self.landscape.granules().columns["quality"]
            if not (quality == b"none").any():
                return False
            return bool((quality[self._preferred(self._rows(snapshot))] == b"none").any())

    def baselines(self, snapshot: str | None = None) -> Mapping[str, Mapping[str, str]]:
        """Baseline of each stored granule, by acquisition and tile; sites with the same granules share one object."""
        rows, landscape = self._rows(snapshot), self.landscape
        with landscape.guarded():
            granules = landscape.granules()
            bits = landscape.whole("granule_bits")[rows, self.number] & ((1 << MAX_GRANULES) - 1)
            shared = landscape.memory.setdefault("baselines", {})
            key = rows.tobytes(), bits.tobytes()
            if key not in shared:
                acquisitions, first = landscape.whole("acquisition"), granules.first[rows].tolist()
                shared[key] = {
                    str(acquisitions[row]): {
                        granules.tiles[start + k]: granules.baselines[start + k]
                        for k in range(MAX_GRANULES)
                        if used >> k & 1
                    }
                    for row, start, used in zip(rows.tolist(), first, bits.tolist(), strict=True)
                }
            baselines: Mapping[str, Mapping[str, str]] = shared[key]
            return baselines

    def arrays_of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Stored arrays of some rows but ``pixels``, without the dimension ``site``, and the places of the pixels."""
        landscape, k, pixels = self.landscape, self.number, self.pixel_span
        of_site = ("site_means", "control_means", "counts", "state", "granule_bits", "digest")
        with landscape.guarded():
            return {
                **{name: landscape.whole(name)[rows, k] for name in of_site},
                **{name: landscape.whole(name)[rows] for name in ("acquisition", "granules")},
                **{name: landscape.fixed[name][pixels] for name in ("row", "column", "x", "y")},
                "unit_means": self.unit_means_of(rows),
            }

    def inner_pixels(self, rows: Sequence[int]) -> np.ndarray:
        """(row, layer, pixel) uint16 of some rows, only pixels inside the site, row by row; nothing is remembered."""
        return self.landscape.scenes(rows, self.pixel_span)

    def pixels(self, rows: Sequence[int]) -> np.ndarray:
        """(row, layer, y, x) uint16 of some rows, 0 outside the site; several threads may read at once."""
        return self.on_grid(self.inner_pixels(rows))

    def on_grid(self, stored: np.ndarray) -> np.ndarray:
        """(..., y, x) of stored (..., pixel); 0 outside the site."""
        row, column = self._places
        pixels = np.zeros((*stored.shape[:-1], *self.grid.shape), stored.dtype)
        pixels[..., row, column] = stored
        return pixels

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each pixel of the site."""
        place = self.pixel_span
        row, column = (self.landscape.fixed[name][place] for name in ("row", "column"))
        return row, column

    @property
    def inside(self) -> np.ndarray:
        """(y, x) bool: pixels of the grid that belong to the site."""
        return self.on_grid(np.ones(len(self._places[0]), bool))

    def pictures(self, *, pixels: bool = True, names: Collection[str] | None = None) -> dict[str, Picture]:
        """Pictures by name, some or all; with `pixels` false, without their colours."""
        landscape, place = self.landscape, self._span("first_context")
        with landscape.guarded():
            times, clear = (landscape.whole(name)[:, self.number] for name in ("picture_time", "picture_clear"))
            pictures = {}
            for slot, name in enumerate(map(str, landscape.whole("picture"))):
                if not times[slot] or (names is not None and name not in names):
                    continue
                rgb = np.zeros((0, 0, 3), np.uint8)
                if pixels:
                    rgb = landscape.picture(slot)[place].reshape(*self.context.shape, 3)
                pictures[name] = Picture(name=name, time=str(times[slot]), clear=float(clear[slot]), rgb=rgb)
            return pictures

    def cube(self, snapshot: str | None = None, *, layers: Collection[str] = PACKED_LAYERS) -> xr.Dataset:
        """The stored scenes as a cube (:mod:`monitor.cube.packed`), in dask chunks of :data:`CUBE_CHUNK_BYTES`.

        (time, y, x), ascending by time and acquisition, with ``scene`` and ``accepted`` along time.
        """
        columns = self.columns(snapshot)
        rows = columns["row"].tolist()
        shape = (len(PACKED_LAYERS), *self.grid.shape)
        scenes = max(1, CUBE_CHUNK_BYTES // int(2 * np.prod(shape)))
        blocks = [
            da.from_delayed(delayed(self.pixels, pure=False)(part), (len(part), *shape), np.uint16)
            for part in (rows[start : start + scenes] for start in range(0, len(rows), scenes))
        ]
        packed = da.concatenate(blocks) if blocks else da.zeros((0, *shape), np.uint16, chunks=-1)
        cube = unpack(
            packed, ("y", "x"), times=[datetime.fromisoformat(time.decode()) for time in columns["time"].tolist()],
            scale=columns["scale"].tolist(), offset=columns["offset"].tolist(), bandpass=columns["bandpass"].tolist(),
            layers=layers,
        )  # fmt: skip
        cube = cube.assign_coords(xr_coords(self.grid))
        names = np.array([scene.decode("utf-8", "surrogatepass") for scene in columns["scene"].tolist()], dtype=object)
        cube = cube.assign_coords(scene=("time", names), accepted=("time", columns["accepted"]))
        return cube.assign_attrs(site=self.site, snapshot=snapshot or self.snapshot)

    def check_stored(self, acquisitions: np.ndarray, stored: np.ndarray) -> None:
        """Raise StoreBroken if some acquisitions are not among the stored ones."""
        if absent := sorted(set(acquisitions.tolist()) - set(stored.tolist())):
            raise StoreBroken(
                f"the store {self.landscape.name} lacks {len(absent)} scenes that were seen in it, "
                f"{absent[0].decode()} among them; it may be an older copy: the next run fetches them"
            )

    def unit_means(self, snapshot: str | None = None) -> xr.DataArray:
        """Means of the control units, (time, unit, measure) float32, ascending by time; NaN where not seen."""
        columns = self.columns(snapshot)
        coords = {"time": columns["moment"], "unit": self.units, "measure": list(UNIT_MEASURES)}
        return xr.DataArray(self.unit_means_of(columns["row"]), dims=("time", "unit", "measure"), coords=coords)

    def unit_means_of(self, rows: np.ndarray) -> np.ndarray:
        """(row, unit, measure) float32 of :data:`monitor.cube.records.UNIT_MEASURES`; no row before `rows` is read."""
        with self.landscape.guarded():
            units = self._span("first_unit")
            return self.landscape.unit_means(rows[:, None], np.arange(units.start, units.stop)[None])
