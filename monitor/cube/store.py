"""The stored scenes of a landscape: one icechunk repository, arrays over the pixels of its sites, one row a scene.

Rows are only appended, in order of arrival: a late, reprocessed or repeated scene is a new row, and for each
acquisition and site the newest row counts. What was known on a past night is therefore the first rows of the arrays,
whatever was stored since. Along ``time`` (one row an overpass):

- ``pixels`` (time, band, pixel) uint16: integers as delivered, the quality layer, and 1 where the ground was seen
  (:data:`monitor.cube.packed.PACKED_LAYERS`), of the pixels inside each site;
- ``site_means`` and ``control_means`` (time, site, measure) float64: means over clear pixels, and their mean over the
  control units that were seen, to six decimals; NaN where nothing was seen;
- ``unit_means`` (time, unit, unit_measure) float32: means of each control unit;
- ``state`` (time, site): whether the scene counts for a site, or why not; 0 where the row says nothing of the site;
- ``granules`` (time) and ``granule_bits`` (time, site): what the row was made from.

Beside the rows, for people only: ``pictures`` (picture, context_pixel, colour) uint8, natural colour of each site and
its surroundings in a few clear scenes (:mod:`monitor.cube.context_pictures`), 0 where nothing was seen.

A committed row is complete: pixels, means and metadata are in one commit. The store can be opened by
``xarray.open_zarr(session.store)`` without this package.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Final

import dask.array as da
import icechunk
import msgspec
import numpy as np
import xarray as xr
import zarr
from dask import delayed
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from zarr.codecs import Crc32cCodec, ZstdCodec

from monitor.cube.grid import crs_of, grid_from_json, grid_to_json
from monitor.cube.packed import PACKED_LAYERS, unpack
from monitor.errors import BadData, StoreBroken, TryLater, as_disk_full
from monitor.imagery import bands
from monitor.imagery.source import Scene

CHUNK_PIXELS: Final = 100_000
"""Pixels in a stored chunk, of one scene. [pixel]"""
CHUNK_CONTEXT: Final = 400_000
"""Pixels of pictures in a stored chunk. [pixel]"""
CHUNK_ROWS: Final = 64
"""Rows of the small arrays in a stored chunk: a night rewrites them, a history is read in one piece."""
CUBE_CHUNK_BYTES: Final = 32_000_000
"""Size of the dask chunks of a cube as read. [byte]"""
CHUNK_CACHE_BYTES: Final = 100_000_000
"""Stored chunks of pixels that are kept in memory for the other sites in them, at most. [byte]"""

MEASURES: Final = (
    "n_pixels", *bands.OBSERVED, "ndvi", "evi2", "msavi2", "kndvi", "ndmi", "nbr", "cover",
)  # fmt: skip
"""What is given of a site or unit in a scene, as :data:`monitor.cover.zonal_means.MEASURES` computes it."""
MEANS: Final = MEASURES[1:]
"""Measures of ``site_means`` and ``control_means``; how many pixels and units there were stands in ``counts``."""
UNIT_MEASURES: Final = ("n_pixels", "red", "ndvi", "ndmi", "nbr", "cover")
"""Measures of ``unit_means``: those that units are chosen, screened and compared by."""
DERIVED_FOLDER: Final = "derived"
"""Folder beside the landscapes for what can be made again from them."""
COUNTS: Final = ("n_pixels", "n_units")
"""Clear pixels of the site and units that were seen; -1 units: not known, the scene could not be read."""

STATES: Final = (
    "NOT_COVERED", "ACCEPTED", "CLOUD", "SNOW", "NODATA", "RADIOMETRY", "MISSING", "BROKEN", "CONTROL_HIDDEN",
    "CONTROL_POOR", "FEW_PIXELS", "NO_ANSWER",
)  # fmt: skip
"""Meaning of the flags of ``state``: whether a scene counts for a site, or why not. Only ever added to at the end."""

MAX_GRANULES: Final = 24
"""Granules of one overpass at most; ``granule_bits`` has the preferred one in its highest byte. A landscape of 100 km
and its surroundings touch at most nine tiles of Sentinel-2, in two zones."""

CHUNK_CODECS: Final = (ZstdCodec(), Crc32cCodec())
"""How chunks are packed: a checksum behind each is compared whenever it is read. Most bits of reflectances do not pack:
a damaged byte of them would pass for another value."""

_CONFIG: Final = icechunk.RepositoryConfig(num_updates_per_repo_info_file=10)
_OPEN: Final[dict[str, Any]] = {"zarr_format": 3, "use_consolidated": False}
_TROUBLE: Final = (icechunk.IcechunkError, OSError, KeyError, ValueError, RuntimeError, zarr.errors.BaseZarrError)
"""What a damaged store, or one that cannot be written to, makes libraries raise; RuntimeError: numcodecs 0.17."""


def encode_texts(values: Iterable[str]) -> np.ndarray:
    """Texts as (n,) bytes in UTF-8, as wide as the longest: thousands of them are read at once, and few looked at.

    A text that ends in NUL would lose it.
    """
    return np.array([text.encode("utf-8", "surrogatepass") for text in values], np.bytes_)


_REASONS: Final = encode_texts("" if state == "ACCEPTED" else state for state in STATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored scene as one site saw it: the scene, how it was judged, and the means drawn from it."""

    scene: str
    acquisition: str
    time: str
    """ISO 8601, UTC."""
    sensor: str
    baseline: str
    """Of the preferred granule."""
    source: str
    scale: float
    offset: float
    quality: str
    orbit: str
    """Relative orbit or path; empty: not known."""
    granules: dict[str, str]
    """Baseline of each granule that went in, by tile."""
    bandpass: bool
    """Whether its reflectances are brought from Landsat's bands to those of Sentinel-2."""
    accepted: bool
    reason: str
    """Empty for an accepted scene."""
    clear_fraction: float
    """Share of the site that was seen. [1]"""
    n_pixels: int
    """Pixels of the site that were seen."""
    measures: dict[str, float | None]
    """Means over the clear pixels of the site, by name; None: not known."""
    digest: str
    """Hash of the pixels and unit means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScene:
    """One scene of one site on its way into the store."""

    record: Record
    pixels: np.ndarray
    """(layer, pixel) uint16 of the pixels inside the site, row by row."""
    units: np.ndarray
    """(unit, measure) float32 of :data:`monitor.cover.zonal_means.MEASURES`, NaN where a unit was not seen."""
    granules: tuple[Scene, ...] = ()
    """Of the overpass over this site, the preferred one first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A site and its surroundings from above in one scene."""

    name: str
    """``now``, ``before`` (the start) or the year of a growing season."""
    time: str
    """Of the scene, ISO 8601, UTC."""
    clear: float
    """Share of the picture that shows the ground. [1]"""
    rgb: np.ndarray
    """(y, x, 3) uint8 natural colour on the site's context grid; 0 where nothing was seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """A site of a landscape, as it was when the landscape was laid out."""

    ground: str
    """Key of its outline, start and biome, see :func:`monitor.sites.site.ground_key`."""
    site: str
    grid: GeoBox
    inside: np.ndarray
    """(y, x) bool: pixels of the grid that are stored."""
    context: GeoBox
    """Grid of its pictures."""
    units: tuple[str, ...]
    """Ids of its control units."""
    controls: dict[str, Any]
    """The frozen units as plain values, so that the store can be understood by itself."""


def record_of(scene: Scene, **judged: Any) -> Record:
    """Record of an acquisition by its preferred granule, and how it was judged (see :class:`Record`).

    Without `acquisition` and `granules` it is that of the one granule.
    """
    told: dict[str, Any] = {
        "scene": scene.id, "acquisition": scene.acquisition, "time": scene.time.isoformat(), "sensor": scene.sensor,
        "baseline": scene.baseline, "source": scene.source, "scale": scene.scale, "offset": scene.offset,
        "quality": scene.quality, "orbit": scene.orbit, "granules": {scene.tile: scene.baseline},
        "bandpass": False,
    }  # fmt: skip
    return Record(**{**told, **judged})


def digest(pixels: np.ndarray, units: np.ndarray) -> str:
    """Hash of what is stored of a scene for a site: (layer, pixel) uint16 of its pixels, and its unit means."""
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    content = np.ascontiguousarray(pixels).tobytes() + np.ascontiguousarray(units[:, columns]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def landscape_at_snapshot(root: Path, snapshot: str, opened: "LandscapeStore | None" = None) -> "LandscapeStore":
    """The landscape in a folder that a snapshot names: `opened` where it is that one, with all rows of the snapshot."""
    name, _, rows = snapshot.rpartition(":")
    if opened is not None and opened.path == root / name and opened.rows >= int(rows):
        return opened
    return LandscapeStore(root / name)


class LandscapeStore:
    """The stored scenes of one landscape.

    One process writes at a time: the caller holds the lock of the store's root, since commits on a local file system do
    not exclude each other (icechunk 2.3 warns of it).

    Parameters
    ----------
    path : Path
        Folder of the repository; its name is that of the landscape.

    Notes
    -----
    The small arrays are read once for all sites: what others write is seen by a new object only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._repository: Any = None
        self._group: zarr.Group | None = None
        self._session: Any = None
        self._known: dict[str, Any] = {}
        """What was read, by name of the array; see also :meth:`_granules` and :meth:`StoredSite.baselines`."""
        self._chunks: dict[tuple[int, int], np.ndarray] = {}
        """Stored chunks of pixels, by row and number; the oldest first."""

    @property
    def exists(self) -> bool:
        """Whether the landscape was laid out and committed."""
        if not self.path.is_dir():
            return False
        with self._guarded():
            try:
                return bool(self._opened().attrs)
            except (icechunk.RepositoryNotFoundError, zarr.errors.GroupNotFoundError):
                return False

    def create(self, members: Sequence[Member], *, biome: str) -> None:
        """Lay out the arrays of a new landscape; a creation that was cut short is taken up again.

        Parameters
        ----------
        members : sequence of Member
            Its sites, for good; their grids share one projected system.
        biome : str
            Of all of them.
        """
        self._begin()
        crs = crs_of(members[0].grid)
        sizes = [int(member.inside.sum()) for member in members]
        n_units = sum(len(member.units) for member in members)
        places = [np.argwhere(member.inside) for member in members]
        with self._guarded():
            self._session = self._writable()
            attributes = {"landscape": self.name, "biome": biome, "proj:code": str(crs), "Conventions": "CF-1.11"}
            self._group = zarr.create_group(self._session.store, attributes=attributes)
            self._fixed("site", ("site",), [member.site for member in members])
            self._fixed("ground", ("site",), [member.ground for member in members])
            self._fixed("grid", ("site",), [json.dumps(grid_to_json(member.grid)) for member in members])
            self._fixed("controls", ("site",), [json.dumps(member.controls) for member in members])
            self._fixed("context", ("site",), [json.dumps(grid_to_json(member.context)) for member in members])
            self._fixed("first_pixel", ("edge",), np.cumsum([0, *sizes]))
            contexts = [int(np.prod(member.context.shape)) for member in members]
            self._fixed("first_context", ("edge",), np.cumsum([0, *contexts]))
            self._fixed("first_unit", ("edge",), np.cumsum([0, *(len(member.units) for member in members)]))
            self._fixed("unit", ("unit",), [unit for member in members for unit in member.units] or [""])
            self._fixed("row", ("pixel",), np.concatenate([place[:, 0] for place in places]).astype(np.int32))
            self._fixed("column", ("pixel",), np.concatenate([place[:, 1] for place in places]).astype(np.int32))
            for name, centres in zip(("x", "y"), _centres(members, places), strict=True):
                self._fixed(name, ("pixel",), centres, {"units": "m", "standard_name": f"projection_{name}_coordinate"})
            self._fixed("spatial_ref", (), np.int64(0), {"crs_wkt": crs.to_wkt(), "grid_mapping_name": "crs"})
            for name, labels in (
                ("band", PACKED_LAYERS),
                ("measure", MEANS),
                ("unit_measure", UNIT_MEASURES),
                ("count", COUNTS),
            ):
                self._fixed(name, (name,), list(labels))
            chunk = -(-sum(sizes) // max(1, round(sum(sizes) / CHUNK_PIXELS)))
            self._rows(
                "pixels",
                ("band", "pixel"),
                (len(PACKED_LAYERS), sum(sizes)),
                "uint16",
                chunks=(1, len(PACKED_LAYERS), chunk),
            )
            units = max(n_units, 1)
            self._rows(
                "unit_means",
                ("unit", "unit_measure"),
                (units, len(UNIT_MEASURES)),
                "float32",
                fill=np.nan,
                chunks=(1, units, len(UNIT_MEASURES)),
            )
            many = len(members)
            for name in ("site_means", "control_means"):
                self._rows(name, ("site", "measure"), (many, len(MEANS)), "float64", fill=np.nan)
            self._rows("counts", ("site", "count"), (many, len(COUNTS)), "int32")
            flags = {"flag_values": list(range(len(STATES))), "flag_meanings": " ".join(STATES)}
            self._rows("state", ("site",), (many,), "uint8", attributes=flags)
            self._rows("granule_bits", ("site",), (many,), "uint32")
            self._rows("digest", ("site",), (many,), "uint64")
            self._rows("time", (), (), "int64", attributes={"units": "microseconds since 1970-01-01"})
            self._rows("acquisition", (), (), "string", fill="")
            self._rows("granules", (), (), "string", fill="")
            self._rows("picture", (), (), "string", fill="", along="picture")
            self._rows("picture_time", ("site",), (many,), "string", fill="", along="picture")
            self._rows("picture_clear", ("site",), (many,), "float32", fill=np.nan, along="picture")
            self._rows(
                "pictures",
                ("context_pixel", "colour"),
                (sum(contexts), 3),
                "uint8",
                chunks=(1, min(sum(contexts), CHUNK_CONTEXT), 3),
                along="picture",
            )
            self._commit(f"lay out {self.name}: {', '.join(member.site for member in members)[:400]}")

    def _fixed(self, name: str, dims: tuple[str, ...], values: Any, attributes: dict[str, Any] | None = None) -> None:
        group: Any = self._group
        text = isinstance(values, list)
        shape = (len(values),) if text else np.shape(values)
        array = group.create_array(
            name,
            shape=shape,
            chunks=shape,
            dtype="string" if text else values.dtype,
            dimension_names=dims,
            attributes=attributes or {},
            compressors=CHUNK_CODECS,
        )
        array = array.with_config({"write_empty_chunks": True})
        array[...] = np.array(values, dtype=object) if text else values

    def _rows(
        self,
        name: str,
        dims: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: str,
        *,
        fill: Any = 0,
        chunks: tuple[int, ...] | None = None,
        attributes: dict[str, Any] | None = None,
        along: str = "time",
    ) -> None:
        group: Any = self._group
        group.create_array(
            name,
            shape=(0, *shape),
            chunks=chunks or (CHUNK_ROWS, *shape),
            dtype=dtype,
            fill_value=fill,
            dimension_names=(along, *dims),
            attributes=attributes or {},
            compressors=CHUNK_CODECS,
        )

    @property
    def rows(self) -> int:
        """How many rows are stored."""
        with self._guarded():
            if "rows" not in self._known:
                self._known["rows"] = int(_array(self._opened(), "time").shape[0])
            found: int = self._known["rows"]
            return found

    @property
    def is_newest(self) -> bool:
        """Whether nothing was stored since this object first read the store."""
        if self._session is None:
            return True
        with self._guarded():
            return bool(self._session.snapshot_id == self._open().lookup_branch("main"))

    def release(self) -> None:
        """Let go of what was read; it is read again where it is asked for."""
        self._forget()

    @property
    def written(self) -> datetime:
        """When the newest snapshot was written, UTC."""
        with self._guarded():
            found: datetime = self._open().lookup_snapshot(self._open().lookup_branch("main")).written_at
            return found

    @cached_property
    def grounds(self) -> tuple[str, ...]:
        """Keys of the ground of its sites, in order."""
        with self._guarded():
            return tuple(map(str, self._layout["ground"]))

    def site(self, ground: str) -> "StoredSite":
        """What is stored of one of its sites.

        Raises
        ------
        StoreBroken
            The landscape has no such site.
        """
        return StoredSite(self, self.grounds.index(ground) if ground in self.grounds else self._no(ground))

    def _no(self, ground: str) -> int:
        msg = f"the store {self.name} has no site of the ground {ground}; the next run fetches its history anew"
        raise StoreBroken(msg)

    def append(
        self,
        rows: Sequence[Mapping[str, SiteScene]],
        message: str,
        pictures: Mapping[str, Sequence[Picture]] | None = None,
    ) -> int:
        """Store overpasses, all or none, each as one new row.

        Parameters
        ----------
        rows : sequence of mapping
            Of each overpass, by the key of its ground, what each site saw. A site that is missing has nothing in the
            row: it was not covered, or has the scene already.
        message : str
            Of the commit.
        pictures : mapping, optional
            By the key of the ground, pictures that take the place of those of the same name.

        Returns
        -------
        int
            How many rows are stored now.
        """
        if not rows:
            return self.rows
        made = self._new_rows(rows)  # outside the guard: what goes wrong here is a bug and no broken store
        with self._guarded():
            try:
                if self._session is None or self._session.read_only:
                    self._forget()
                group = self._opened()
                before = int(_array(group, "time").shape[0])
                for name, values in made.items():
                    array: Any = group[name]
                    array.resize((before + len(rows), *array.shape[1:]))
                    array.with_config({"write_empty_chunks": True})[before:] = values
                self._put_pictures(group, pictures or {})
                self._commit(message)
            except BaseException:
                self._forget()
                raise
            return before + len(rows)

    def _put_pictures(self, group: zarr.Group, pictures: Mapping[str, Sequence[Picture]]) -> None:
        if not pictures:
            return
        names = [str(name) for name in _array(group, "picture")[:]]
        names += sorted({one.name for some in pictures.values() for one in some} - {*names})
        arrays = {name: _array(group, name) for name in ("picture", "picture_time", "picture_clear", "pictures")}
        for array in arrays.values():
            array.resize((len(names), *array.shape[1:]))
        arrays["picture"][:] = np.array(names, dtype=object)
        edges = self._layout["first_context"]
        for slot, name in enumerate(names):
            chosen = {
                self.grounds.index(ground): one for ground, some in pictures.items() for one in some if one.name == name
            }
            if not chosen:
                continue
            # one piece from the first site to the last: chunk by chunk for each site would rewrite them many times
            first, last = int(edges[min(chosen)]), int(edges[max(chosen) + 1])
            piece = np.asarray(arrays["pictures"][slot, first:last])
            times, clear = (np.asarray(arrays[of][slot]) for of in ("picture_time", "picture_clear"))
            for site, one in chosen.items():
                piece[int(edges[site]) - first : int(edges[site + 1]) - first] = one.rgb.reshape(-1, 3)
                times[site], clear[site] = one.time, one.clear
            arrays["pictures"][slot, first:last] = piece
            arrays["picture_time"][slot], arrays["picture_clear"][slot] = times, clear

    def _new_rows(self, rows: Sequence[Mapping[str, SiteScene]]) -> dict[str, np.ndarray]:
        """Arrays of new rows, by name."""
        layout, n = self._layout, len(rows)
        sites, units = len(layout["ground"]), max(int(layout["first_unit"][-1]), 1)
        made: dict[str, np.ndarray] = {
            "pixels": np.zeros((n, len(PACKED_LAYERS), int(layout["first_pixel"][-1])), np.uint16),
            "unit_means": np.full((n, units, len(UNIT_MEASURES)), np.nan, np.float32),
            "site_means": np.full((n, sites, len(MEANS)), np.nan),
            "control_means": np.full((n, sites, len(MEANS)), np.nan),
            "counts": np.zeros((n, sites, len(COUNTS)), np.int32),
            "state": np.zeros((n, sites), np.uint8),
            "granule_bits": np.zeros((n, sites), np.uint32),
            "digest": np.zeros((n, sites), np.uint64),
        }
        texts: dict[str, list[Any]] = {"time": [], "acquisition": [], "granules": []}
        columns = [MEASURES.index(name) for name in UNIT_MEASURES]
        for at, row in enumerate(rows):
            by_name = granules_of(row)
            names, scenes = list(by_name), list(by_name.values())
            if len(scenes) > MAX_GRANULES:
                msg = f"overpass {scenes[0].acquisition!r} has {len(scenes)} granules; {MAX_GRANULES} can be stored"
                raise BadData(msg)
            records = [entry.record for entry in row.values()]
            texts["time"].append(min(_microseconds(record.time) for record in records))
            texts["acquisition"].append(records[0].acquisition)
            texts["granules"].append(json.dumps([_granule(scene) for scene in scenes], ensure_ascii=False))
            for ground, entry in row.items():
                site, record = self.grounds.index(ground), entry.record
                if entry.pixels.dtype != np.uint16:
                    msg = f"scene {record.scene!r}: pixels are {entry.pixels.dtype}, not the integers as delivered"
                    raise TypeError(msg)
                pixels = slice(*layout["first_pixel"][site : site + 2])
                some = slice(*layout["first_unit"][site : site + 2])
                made["pixels"][at, :, pixels] = entry.pixels
                made["unit_means"][at, some] = entry.units[: some.stop - some.start, columns]
                for name, prefix in (("site_means", ""), ("control_means", "control_")):
                    told = [record.measures.get(prefix + measure) for measure in MEANS]
                    made[name][at, site] = np.array(told, np.float64)
                n_units = record.measures.get("n_units")
                made["counts"][at, site] = record.n_pixels, -1 if n_units is None else n_units
                made["state"][at, site] = STATES.index("ACCEPTED" if record.accepted else record.reason)
                bits = sum(
                    1 << k
                    for k, one in enumerate(scenes)
                    if one in entry.granules and record.granules.get(one.tile) == one.baseline
                )
                made["granule_bits"][at, site] = bits | names.index((record.source, record.scene)) << MAX_GRANULES
                made["digest"][at, site] = int(record.digest, 16)
        made["time"] = np.array(texts["time"], np.int64)
        for name in ("acquisition", "granules"):
            made[name] = np.array(texts[name], dtype=object)
        return made

    def dataset(self, rows: int | None = None) -> xr.Dataset:
        """The first rows, or all, as ``xarray.open_zarr`` opens them: lazy, one dask chunk a stored chunk."""
        with self._guarded():
            self._opened()
            found: xr.Dataset = xr.open_zarr(self._session.store, consolidated=False, chunks={})
        return found if rows is None else found.isel(time=slice(rows))

    def expire(self, kept: timedelta) -> int:
        """Let go of snapshots older than the newest by more than `kept`; all rows stay.

        Returns
        -------
        int
            How many snapshots went. What a run that is killed here leaves behind goes as the next ones do.
        """
        with self._guarded():
            repository = self._open()
            history = list(repository.ancestry(branch="main"))
            until = history[0].written_at - kept
            going = [one for one in history[1:] if one.written_at < until and one.parent_id is not None]
            if not going:
                return 0
            repository.expire_snapshots(until)
            repository.garbage_collect(until)
            self._forget()
            return len(going)

    def _begin(self) -> None:
        with self._guarded():
            with suppress(icechunk.RepositoryNotFoundError):
                self._open()
                return
            if self.path.is_dir() and any(self.path.iterdir()):
                msg = (
                    f"the store {self.name} has lost its file 'repo'. Nothing in it was changed. Put that file back "
                    "from a backup, or name another folder by [store] root: scenes are then fetched again, and this "
                    "one stays as it is"
                )
                raise StoreBroken(msg)
            # What is killed midway in the making of a repository can neither be opened nor made again in its place.
            fresh = self.path.with_name(f".{self.path.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            (self.path.parent / DERIVED_FOLDER).mkdir(exist_ok=True)
            icechunk.Repository.create(icechunk.local_filesystem_storage(str(fresh)))
            fresh.replace(self.path)

    def _open(self) -> Any:
        if self._repository is None:
            self._repository = icechunk.Repository.open(
                icechunk.local_filesystem_storage(str(self.path)), config=_CONFIG
            )
        return self._repository

    def _writable(self) -> Any:
        return self._open().writable_session("main")

    def _commit(self, message: str) -> None:
        self._session.commit(message)
        self._known = {}

    def _forget(self) -> None:
        self._group = self._session = None
        self._known, self._chunks = {}, {}

    def _opened(self) -> zarr.Group:
        if self._group is None:
            self._session = self._writable()
            self._group = zarr.open_group(self._session.store, mode="r+", **_OPEN)
        return self._group

    @cached_property
    def _layout(self) -> "_Fixed":
        """What is fixed for good: sites, their pixels and units; each array is read when it is first asked for."""
        return _Fixed(self)

    def _read(self, name: str, place: Any) -> np.ndarray:
        """Values of an array; a missing chunk is damage, for every chunk is written."""
        array = _array(self._opened(), name).with_config({"read_missing_chunks": False})
        return np.asarray(array[place])

    def _whole(self, name: str) -> np.ndarray:
        """All rows of a small array."""
        if name not in self._known:
            self._known[name] = self._read(name, slice(None))
        found: np.ndarray = self._known[name]
        return found

    def _granules(self) -> "_Granules":
        """The granules of all rows."""
        if "granules of rows" not in self._known:
            pixel = abs(grid_from_json(json.loads(self._layout["grid"][0])).resolution.x)
            self._known["granules of rows"] = _Granules.of(self._whole("granules"), self._whole("acquisition"), pixel)
        found: _Granules = self._known["granules of rows"]
        return found

    def _unit_means(self, rows: np.ndarray, units: slice) -> np.ndarray:
        """(row, unit, measure) float32 of some rows and units; all rows are read from the first one asked for on."""
        wanted = int(rows.min(initial=self.rows))
        if wanted < self._known.get("first row of unit means", wanted + 1):
            self._known["unit_means"] = self._read("unit_means", slice(wanted, None))
            self._known["first row of unit means"] = wanted
        found: np.ndarray = self._known["unit_means"][:, units][rows - self._known["first row of unit means"]]
        return found

    def _pixels(self, rows: Sequence[int], place: slice) -> np.ndarray:
        """(row, layer, pixel) uint16 of some rows.

        Sites are read one after the other and share stored chunks, which are unpacked whole: few enough of them are
        kept for the next site.
        """
        array = _array(self._opened(), "pixels").with_config({"read_missing_chunks": False})
        width = array.chunks[2]
        first = place.start // width
        parts = range(first, -(-place.stop // width))
        if len(rows) * len(parts) * len(PACKED_LAYERS) * width * array.dtype.itemsize > CHUNK_CACHE_BYTES:
            return np.asarray(array.oindex[np.asarray(rows), :, place])
        found = np.empty((len(rows), len(PACKED_LAYERS), len(parts) * width), np.uint16)
        for part in parts:
            missing = sorted({row for row in rows if (row, part) not in self._chunks})
            if missing:
                start, stop = missing[0], missing[-1] + 1
                these: Any = slice(start, stop) if stop - start == len(missing) else np.asarray(missing)
                read = np.asarray(array.oindex[these, :, slice(part * width, (part + 1) * width)])
                self._chunks |= {(row, part): values for row, values in zip(missing, read, strict=True)}
            for at, row in enumerate(rows):
                values = self._chunks[row, part]
                found[at, :, (part - first) * width :][:, : values.shape[1]] = values
        most = max(CHUNK_CACHE_BYTES // (len(PACKED_LAYERS) * width * array.dtype.itemsize), 1)
        for key in [*self._chunks][: max(len(self._chunks) - most, 0)]:
            del self._chunks[key]
        return found[:, :, place.start - first * width : place.stop - first * width]

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            self._forget()  # what was written and could not be committed is not in the next commit
            if isinstance(error, RuntimeError) and "compression" not in str(error):
                raise  # no damaged chunk that its codec met, but a bug
            if full := as_disk_full(error, self.path.parent):
                raise full from error
            told = next(iter(str(error).splitlines()), "no more is known")
            if "timestamp ordering" in told:  # icechunk 2.3
                msg = (
                    f"the store {self.name} has a snapshot newer than the clock shows ({told.partition('. ')[2]}): "
                    "check the clock (timedatectl). The store is sound, and takes new scenes from that time on"
                )
                raise TryLater(msg) from error
            msg = (
                f"the store {self.name} cannot be read ({type(error).__name__}: {told}). Nothing in it was changed. "
                "Check the disk, then try again: regrowth run; if it stays so, name another folder by [store] root: "
                "scenes are then fetched again, and this one stays as it is."
            )
            raise StoreBroken(msg) from error


class _Fixed(dict[str, np.ndarray]):
    """Arrays of a landscape that never change, by name."""

    def __init__(self, landscape: LandscapeStore) -> None:
        super().__init__()
        self._landscape = landscape

    def __missing__(self, name: str) -> np.ndarray:
        with self._landscape._guarded():
            self[name] = self._landscape._read(name, slice(None))
        return self[name]


class StoredSite:
    """The stored scenes of one site of a landscape: of each acquisition the newest row that has the site.

    A `snapshot` is the name of the landscape and a number of rows, as text: what a past night knew.
    """

    def __init__(self, landscape: LandscapeStore, number: int) -> None:
        self.landscape = landscape
        self._number = number

    @property
    def derived(self) -> Path:
        """Where what is derived of the site is put: beside the landscapes, by the key of the ground."""
        return self.landscape.path.parent / DERIVED_FOLDER / self.landscape.grounds[self._number]

    @property
    def snapshot(self) -> str:
        """What is stored now."""
        return f"{self.landscape.name}:{self.landscape.rows}"

    @cached_property
    def grid(self) -> GeoBox:
        """The site's own fixed grid."""
        with self.landscape._guarded():
            return grid_from_json(json.loads(self.landscape._layout["grid"][self._number]))

    @property
    def controls(self) -> dict[str, Any]:
        """The frozen control units, as given when the landscape was laid out."""
        with self.landscape._guarded():
            stored: dict[str, Any] = json.loads(self.landscape._read("controls", self._number).item())
            return stored

    @property
    def units(self) -> list[str]:
        """Ids of the control units, in order."""
        with self.landscape._guarded():
            return [str(name) for name in self.landscape._layout["unit"][self._of_units]]

    @property
    def _of_units(self) -> slice:
        return slice(*map(int, self.landscape._layout["first_unit"][self._number : self._number + 2]))

    @property
    def _of_pixels(self) -> slice:
        return slice(*map(int, self.landscape._layout["first_pixel"][self._number : self._number + 2]))

    def _until(self, snapshot: str | None) -> int:
        """How many rows a snapshot has."""
        name, _, rows = (snapshot or self.snapshot).rpartition(":")
        if name != self.landscape.name or not rows.isdigit() or int(rows) > self.landscape.rows:
            msg = (
                f"the store {self.landscape.name} does not have what is asked for ({snapshot}): it has "
                f"{self.landscape.rows} rows. It may be an older copy"
            )
            raise StoreBroken(msg)
        return int(rows)

    def _rows(self, snapshot: str | None) -> np.ndarray:
        """Numbers of the rows that count, ascending by (time, acquisition) of what the site saw."""
        until = self._until(snapshot)
        land, k = self.landscape, self._number
        with land._guarded():
            granules = land._granules()
            there = np.flatnonzero(land._whole("state")[:until, k])
            newest = np.full(len(granules.first), -1)
            newest[granules.acquisition[there]] = there  # ascending: the last one stays
            rows = newest[newest >= 0]
            return rows[np.argsort(granules.order[self._preferred(rows)])]

    def _preferred(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the preferred granules of some rows."""
        bits = self.landscape._whole("granule_bits")[rows, self._number]
        return np.asarray(self.landscape._granules().first[rows] + (bits >> MAX_GRANULES))

    def columns(self, snapshot: str | None = None) -> dict[str, np.ndarray]:
        """What is known of each acquisition, ascending by (time, acquisition).

        Parameters
        ----------
        snapshot : str, optional
            As it stood then; None: as it stands.

        Returns
        -------
        dict
            (n,) arrays: ``row``, ``acquisition``, ``digest``, ``accepted`` and ``reason`` as stored, ``clear_fraction``
            [1], ``n_pixels``, ``n_units`` (-1: not known), :data:`MEANS` of the site and, as ``control_*``, of its
            control units (NaN: not known), ``bandpass``; and of the preferred granule ``time`` (ISO 8601, UTC),
            ``moment`` (datetime64[ns], UTC), ``date``, ``scene``, ``source``, ``baseline``, ``sensor``, ``quality``,
            ``orbit`` (empty: not known), ``scale``, ``offset``. Texts are bytes, see :func:`encode_texts`.

        Raises
        ------
        StoreBroken
            The store cannot be read, or has no such snapshot.
        """
        rows, k, land = self._rows(snapshot), self._number, self.landscape
        with land._guarded():
            preferred, granules = self._preferred(rows), land._granules()
            state, counts = land._whole("state")[rows, k], land._whole("counts")[rows, k]
            digests = land._whole("digest")[rows, k].astype(">u8").tobytes().hex()
            size = self._of_pixels.stop - self._of_pixels.start
            found = {
                "row": rows,
                "acquisition": granules.acquisitions[granules.acquisition[rows]],
                **{name: values[preferred] for name, values in granules.columns.items()},
                "accepted": state == STATES.index("ACCEPTED"),
                "reason": _REASONS[state],
                "clear_fraction": np.array([round(n / size, 4) for n in counts[:, 0].tolist()], np.float64),
                "n_pixels": counts[:, 0].astype(np.int64),
                "n_units": counts[:, 1].astype(np.int64),
                "digest": np.array([digests[at : at + 16] for at in range(0, len(digests), 16)], "S16"),
            }
            for prefix, name in (("", "site_means"), ("control_", "control_means")):
                values = land._whole(name)[rows, k]
                found |= {prefix + measure: values[:, at] for at, measure in enumerate(MEANS)}
        return found

    def records(self, snapshot: str | None = None) -> list[Record]:
        """The same as records, by order of arrival."""
        found = self.columns(snapshot)
        plain = {
            name: [text.decode("utf-8", "surrogatepass") for text in values.tolist()]
            if values.dtype.kind == "S"
            else values.tolist()
            for name, values in found.items()
        }
        baselines = self.baselines(snapshot)
        names = [field.name for field in fields(Record) if field.name not in ("granules", "measures")]
        records = []
        for at in np.argsort(found["row"]).tolist():
            n_units = plain["n_units"][at]
            means = {name: plain[name][at] for prefix in ("", "control_") for name in map(prefix.__add__, MEANS)}
            records.append(
                Record(
                    **{name: plain[name][at] for name in names},
                    granules=dict(baselines[plain["acquisition"][at]]),
                    measures={
                        **({} if n_units < 0 else {"n_units": float(n_units)}),
                        **{name: value for name, value in means.items() if value == value},
                    },
                )
            )
        return records

    def baselines(self, snapshot: str | None = None) -> Mapping[str, Mapping[str, str]]:
        """By acquisition the baseline of each stored granule, by tile; sites that have the same share one object."""
        rows, land = self._rows(snapshot), self.landscape
        with land._guarded():
            granules = land._granules()
            bits = land._whole("granule_bits")[rows, self._number] & ((1 << MAX_GRANULES) - 1)
            shared = land._known.setdefault("baselines", {})
            key = rows.tobytes(), bits.tobytes()
            if key not in shared:
                shared[key] = {
                    str(land._whole("acquisition")[row]): {
                        granules.tiles[first + at]: granules.baselines[first + at]
                        for at in range(MAX_GRANULES)
                        if some >> at & 1
                    }
                    for row, first, some in zip(
                        rows.tolist(), granules.first[rows].tolist(), bits.tolist(), strict=True
                    )
                }
            found: Mapping[str, Mapping[str, str]] = shared[key]
            return found

    def pixels(self, rows: Sequence[int]) -> np.ndarray:
        """(row, layer, y, x) uint16 of some rows; 0 outside the site."""
        land = self.landscape
        with land._guarded():
            place = self._of_pixels
            stored = land._pixels(rows, place)
            found = np.zeros((len(rows), len(PACKED_LAYERS), *self.grid.shape), np.uint16)
            found[:, :, land._layout["row"][place], land._layout["column"][place]] = stored
            return found

    @cached_property
    def context(self) -> GeoBox:
        """Grid of the pictures: the site and its surroundings."""
        with self.landscape._guarded():
            return grid_from_json(json.loads(self.landscape._layout["context"][self._number]))

    def pictures(self, *, pixels: bool = True, names: Collection[str] | None = None) -> dict[str, Picture]:
        """Pictures by name, some or all; with `pixels` false, what is known of them without their colours."""
        land, k = self.landscape, self._number
        with land._guarded():
            stored = [str(name) for name in land._whole("picture")]
            times, clear = (land._whole(name)[:, k] for name in ("picture_time", "picture_clear"))
            place = slice(*map(int, land._layout["first_context"][k : k + 2]))
            found = {}
            for slot, name in enumerate(stored):
                if not times[slot] or (names is not None and name not in names):
                    continue
                rgb = np.zeros((0, 0, 3), np.uint8)
                if pixels:  # of all sites at once: they share stored chunks
                    if f"picture {slot}" not in land._known:
                        land._known[f"picture {slot}"] = np.asarray(_array(land._opened(), "pictures")[slot])
                    rgb = land._known[f"picture {slot}"][place].reshape(*self.context.shape, 3)
                found[name] = Picture(name=name, time=str(times[slot]), clear=float(clear[slot]), rgb=rgb)
            return found

    def cube(
        self,
        snapshot: str | None = None,
        *,
        layers: Collection[str] = PACKED_LAYERS,
        acquisitions: Collection[str] | None = None,
        lazy: bool = True,
    ) -> xr.Dataset:
        """The stored scenes as a cube.

        Parameters
        ----------
        snapshot : str, optional
            As it stood then; None: as it stands.
        layers : collection of str
            Those wanted, of :data:`monitor.cube.packed.PACKED_LAYERS`.
        acquisitions : collection of str, optional
            Those wanted; None: all.
        lazy : bool
            In dask chunks of :data:`CUBE_CHUNK_BYTES`; else in memory: for a few scenes of a small site dask takes
            several times as long as the arithmetic.

        Returns
        -------
        xr.Dataset
            As :mod:`monitor.cube.packed` says, with ``scene`` and ``accepted``
            along time, ascending by time and acquisition.

        Raises
        ------
        StoreBroken
            The store cannot be read, or lacks one of the acquisitions.
        """
        found = self.columns(snapshot)
        if acquisitions is not None:
            wanted = encode_texts(acquisitions)
            if absent := sorted(set(wanted.tolist()) - set(found["acquisition"].tolist())):
                msg = (
                    f"the store {self.landscape.name} lacks {len(absent)} scenes that were seen in it, "
                    f"{absent[0].decode()} among them; it may be an older copy: the next run fetches them"
                )
                raise StoreBroken(msg)
            kept = np.isin(found["acquisition"], wanted)
            found = {name: values[kept] for name, values in found.items()}
        rows = found["row"].tolist()
        shape = (len(PACKED_LAYERS), *self.grid.shape)
        packed: da.Array | np.ndarray
        if lazy:
            together = max(1, CUBE_CHUNK_BYTES // int(2 * np.prod(shape)))
            cuts = [rows[start : start + together] for start in range(0, len(rows), together)]
            blocks = [
                da.from_delayed(delayed(self.pixels, pure=False)(some), (len(some), *shape), np.uint16) for some in cuts
            ]
            packed = da.concatenate(blocks) if blocks else da.zeros((0, *shape), np.uint16)
        else:
            packed = self.pixels(rows) if rows else np.zeros((0, *shape), np.uint16)
        cube = unpack(
            packed, ("y", "x"), times=[datetime.fromisoformat(time.decode()) for time in found["time"].tolist()],
            scale=found["scale"].tolist(), offset=found["offset"].tolist(), bandpass=found["bandpass"].tolist(),
            layers=layers,
        )  # fmt: skip
        cube = cube.assign_coords(xr_coords(self.grid))
        scenes = np.array([scene.decode("utf-8", "surrogatepass") for scene in found["scene"].tolist()], dtype=object)
        cube = cube.assign_coords(scene=("time", scenes), accepted=("time", found["accepted"]))
        with self.landscape._guarded():
            site = str(self.landscape._layout["site"][self._number])
        return cube.assign_attrs(site=site, snapshot=snapshot or self.snapshot)

    def unit_means(self, snapshot: str | None = None) -> xr.DataArray:
        """Means of the control units, (time, unit, measure) float32, time ascending; NaN where not seen."""
        found = self.columns(snapshot)
        coords = {"time": found["moment"], "unit": self.units, "measure": list(UNIT_MEASURES)}
        return xr.DataArray(self.unit_means_of(found["row"]), dims=("time", "unit", "measure"), coords=coords)

    def unit_means_of(self, rows: np.ndarray) -> np.ndarray:
        """(row, unit, measure) float32 of :data:`UNIT_MEASURES` of some rows; no row before them is read."""
        with self.landscape._guarded():
            return self.landscape._unit_means(rows, self._of_units)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Granules:
    """The granules of the rows of a landscape, those of a row together."""

    first: np.ndarray
    """(row,) number of the first granule of each row."""
    acquisition: np.ndarray
    """(row,) number of its acquisition."""
    acquisitions: np.ndarray
    """(acquisition,) names, ascending."""
    order: np.ndarray
    """(granule,) place of each by (time, acquisition)."""
    tiles: list[str]
    baselines: list[str]
    columns: dict[str, np.ndarray]
    """(granule,) values of :meth:`StoredSite.columns` that a scene takes from its preferred granule."""

    @classmethod
    def of(cls, rows: np.ndarray, acquisitions: np.ndarray, resolution: float) -> "_Granules":
        """Of the stored texts of rows."""
        decoded = [_GRANULES.decode(text) for text in rows]
        every = [one for some in decoded for one in some]
        counts = np.array([len(some) for some in decoded], np.int64)
        names, number = np.unique(encode_texts(map(str, acquisitions)), return_inverse=True)
        time = encode_texts(one.time for one in every)
        utc = [one.time.removesuffix("+00:00") for one in every]
        moment = np.array(utc, "datetime64[ns]")
        order = np.empty(len(every), np.int64)
        order[np.lexsort((np.repeat(number, counts), time))] = np.arange(len(every))
        return cls(
            first=np.cumsum(counts) - counts,
            acquisition=number,
            acquisitions=names,
            order=order,
            tiles=[one.tile for one in every],
            baselines=[one.baseline for one in every],
            columns={
                "time": time,
                "moment": moment,
                "date": moment.astype("datetime64[D]"),
                "scene": encode_texts(one.id for one in every),
                **{
                    name: encode_texts(getattr(one, name) for one in every)
                    for name in ("source", "baseline", "sensor", "quality", "orbit")
                },
                "scale": np.array([one.scale for one in every], np.float64),
                "offset": np.array([one.offset for one in every], np.float64),
                "bandpass": np.array(
                    [bands.is_adjusted_to_msi(one.sensor, one.quality, resolution) for one in every], bool
                ),
            },
        )


def _centres(members: Sequence[Member], places: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """X and y of the centres of the stored pixels, in the projected system of the grids. [m]"""
    x, y = [], []
    for member, place in zip(members, places, strict=True):
        affine = member.grid.affine
        x.append(affine.c + affine.a * (place[:, 1] + 0.5))
        y.append(affine.f + affine.e * (place[:, 0] + 0.5))
    return np.concatenate(x), np.concatenate(y)


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]


def _microseconds(time: str) -> int:
    return int(np.datetime64(datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64))


def granules_of(row: Mapping[str, SiteScene]) -> dict[tuple[str, str], Scene]:
    """Granules of an overpass over all sites, by source and id."""
    return {(scene.source, scene.id): scene for entry in row.values() for scene in entry.granules}


def _granule(scene: Scene) -> dict[str, Any]:
    texts_of = {name: str(getattr(scene, name) or "") for name in ("id", "tile", "baseline", "source", "sensor",
                                                                   "quality", "orbit")}  # fmt: skip
    # Of a scene that was refused for them they may be no numbers; it has no pixels that they scale.
    numbers = {name: float(getattr(scene, name)) for name in ("scale", "offset")}
    return {
        "time": scene.time.isoformat(),
        **texts_of,
        **{name: value if isfinite(value) else 0.0 for name, value in numbers.items()},
    }


class _Granule(msgspec.Struct, kw_only=True):
    """As :func:`_granule` writes it."""

    id: str
    tile: str
    time: str
    baseline: str
    source: str
    sensor: str
    scale: float
    offset: float
    quality: str
    orbit: str


_GRANULES: Final = msgspec.json.Decoder(list[_Granule])
