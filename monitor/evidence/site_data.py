"""The stored scenes of one site as a Zarr group in a pack, and back.

The group ``data.zarr`` has the arrays of a landscape's store (:mod:`monitor.cube.store`) for one site, without the
dimension ``site``, and coordinates that follow from them for whoever opens it with xarray. :func:`rebuild_store` makes
a store that has this site only, and the same rows under the same numbers, so that every function of the night runs on
it unchanged, and every snapshot that an assessment names has the same rows.

Context pictures are left out: no verdict reads them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import icechunk
import msgspec
import numpy as np
from odc.geo.geobox import GeoBox

from monitor.cube.arrays import encode_rows
from monitor.cube.granules import MAX_GRANULES, Granules
from monitor.cube.grid import crs_of, grid_from_json, grid_to_json
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import COUNTS, MEANS, STATES, UNIT_MEASURES, Member
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.evidence.container import Container
from monitor.evidence.faults import Fault, PackRefused
from monitor.evidence.zarr_files import METADATA, Array, as_json
from monitor.series.columns import decode_texts

if TYPE_CHECKING:
    from pathlib import Path

DATA: Final = "data.zarr"
ROOT: Final = f"{DATA}/{METADATA}"
MAX_ROWS: Final = 50_000
"""Rows of a landscape: of 64 sites, ten years and two sensors there are some thousands."""
MAX_PIXELS: Final = 2 * 10**10
"""Rows of the landscape times pixels of the site: ten years of 10,000 ha have about a tenth."""
MAX_GRID_PIXELS: Final = 40_000_000  # pixels of a grid: 400,000 ha in pixels of 10 m
MAX_SITE_PIXELS: Final = 10_000_000
"""Pixels of a site: 100,000 ha, ten times the area above which registration advises to divide a site."""
MAX_MEANS: Final = 10**6
"""Rows of the landscape times control units: ten years of 60 units have about a sixth."""
MAX_TEXT: Final = 300
"""Longest name of a site, unit, acquisition, and longest value of a granule. [character]"""
BATCH_BYTES: Final = 2**24
"""Pixels that are appended to a store at a time, one row at least. [byte]"""

ARRAYS: Final[Mapping[str, tuple[tuple[str, ...], str, dict[str, Any]]]] = {
    "number": (("time",), "int32", {"long_name": "number of the row in the store of the landscape"}),
    "acquisition": (("time",), "string", {"long_name": "id of the acquisition"}),
    "granules": (("time",), "string", {"long_name": "granules of the acquisition, as JSON"}),
    "granule_bits": (("time",), "uint32", {"long_name": "granules used; highest byte: the preferred one"}),
    "state": (("time",), "uint8", {"flag_values": list(range(len(STATES))), "flag_meanings": " ".join(STATES)}),
    "counts": (("time", "count"), "int32", {"long_name": "clear pixels; control units seen, -1: unknown"}),
    "digest": (("time",), "uint64", {"long_name": "first 8 bytes of the SHA-256 of pixels and unit_means of the row"}),
    "site_means": (("time", "measure"), "float64", {"long_name": "means over the clear pixels of the site"}),
    "control_means": (("time", "measure"), "float64", {"long_name": "means of the control units that were seen"}),
    "unit_means": (("time", "unit", "unit_measure"), "float32", {"long_name": "means of each control unit"}),
    "pixels": (("time", "band", "pixel"), "uint16", {"long_name": "pixels inside the site, integers as delivered"}),
    "row": (("pixel",), "int32", {"long_name": "row of the pixel in the grid, from the north"}),
    "column": (("pixel",), "int32", {"long_name": "column of the pixel in the grid, from the west"}),
    "unit": (("unit",), "string", {"long_name": "id of the control unit"}),
    "time": (("time",), "int64", {"units": "microseconds since 1970-01-01", "standard_name": "time"}),
    "scene": (("time",), "string", {"long_name": "id of the preferred granule at its provider"}),
    "scale": (("time",), "float64", {"long_name": "surface reflectance = scale * integer + offset"}),
    "offset": (("time",), "float64", {"long_name": "surface reflectance = scale * integer + offset"}),
    "bandpass": (("time",), "int8", {"long_name": "1: adjusted from the bands of Landsat to those of Sentinel-2"}),
    "superseded": (("time",), "int8", {"long_name": "1: a later row of the same acquisition counts"}),
    "x": (("pixel",), "float64", {"standard_name": "projection_x_coordinate", "units": "m"}),
    "y": (("pixel",), "float64", {"standard_name": "projection_y_coordinate", "units": "m"}),
    "band": (("band",), "string", {}),
    "measure": (("measure",), "string", {}),
    "unit_measure": (("unit_measure",), "string", {}),
    "count": (("count",), "string", {}),
}
"""Dimensions, type and attributes of each array. Those from ``time`` on follow from the ones before."""
COORDINATES: Final = "number acquisition scene scale offset bandpass superseded state row column x y"
"""Arrays that are coordinates, as xarray reads it of a group."""
_GROUP: Final = {"zarr_format": 3, "node_type": "group"}

_EPSG: Final = re.compile(r"EPSG:[0-9]{4,6}")
_WKT: Final = re.compile(r"(PROJCRS|PROJCS|BOUNDCRS)\[.{1,20000}", re.DOTALL)
_READS_FILES: Final = re.compile(r"EXTENSION\s*\[|PARAMETERFILE\s*\[|grids=", re.IGNORECASE)
"""Parts of WKT that name files of shifts."""
_YEARS: Final = range(1972, 2200)
"""Years in which a scene can have been acquired; the first Landsat flew in 1972."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\0]*\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS)]


class _Grid(msgspec.Struct, forbid_unknown_fields=True):
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]


class Attributes(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Attributes of the group: properties of the site that were fixed when its landscape was created, and sizes."""

    landscape: Annotated[str, msgspec.Meta(pattern=r"^\w[\w.-]{0,150}\Z")]
    site: _Name
    ground: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z]{1,64}\Z")]
    biome: _Name
    biome_definition: dict[str, Any] | None
    controls: dict[str, Any]
    grid: _Grid
    rows: _Count
    """Rows of the landscape up to the snapshot, those without the site too."""
    scenes: _Count
    """Rows that have the site."""
    pixels: Annotated[int, msgspec.Meta(ge=1, le=MAX_SITE_PIXELS)]
    units: _Count
    code: str = msgspec.field(name="proj:code")
    coordinates: str


def site_data_members(stored: StoredSite, snapshot: str) -> Iterator[tuple[str, bytes]]:
    """The scenes of a site as members of a pack, name and content; the same store and snapshot give the same bytes.

    Rows after the snapshot (:mod:`monitor.cube.stored_site`) are left out. Raises ``StoreBroken`` where the store
    cannot be read, or has no such snapshot.
    """
    rows, landscape = stored.every_row(snapshot), stored.landscape
    values = _values(stored, rows)
    attributes = {
        "landscape": landscape.name, "site": stored.site, "ground": stored.ground, "biome": landscape.biome,
        "biome_definition": landscape.biome_definition, "controls": stored.controls,
        "grid": grid_to_json(stored.grid), "rows": int(snapshot.rpartition(":")[2]), "scenes": rows.size,
        "pixels": values["row"].size, "units": len(stored.units), "proj:code": str(crs_of(stored.grid)),
        "coordinates": COORDINATES,
    }  # fmt: skip
    yield ROOT, as_json({**_GROUP, "attributes": attributes})
    for name, array in _arrays(rows.size, values["row"].size, len(stored.units)).items():

        def read(place: tuple[slice, ...], name: str = name) -> np.ndarray:
            if name != "pixels":
                return values[name][place]
            return stored.inner_pixels(rows[place[0]].tolist())[:, *place[1:]]

        for file, content in array.files(read):
            yield f"{DATA}/{file}", content


def _arrays(scenes: int, pixels: int, units: int) -> dict[str, Array]:
    """All arrays of a group, by name."""
    sizes = {"time": scenes, "pixel": pixels, "unit": units, "band": len(PACKED_LAYERS), "measure": len(MEANS),
             "unit_measure": len(UNIT_MEASURES), "count": len(COUNTS)}  # fmt: skip
    return {
        name: Array(name=name, dims=dims, shape=tuple(sizes[dim] for dim in dims), dtype=dtype, attributes=attributes)
        for name, (dims, dtype, attributes) in ARRAYS.items()
    }


def _values(stored: StoredSite, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Values of all arrays but ``pixels``."""
    columns = stored.columns_of(rows)
    newest = {name: at for at, name in enumerate(columns["acquisition"].tolist())}  # the last one stays
    return stored.arrays_of(rows) | {
        "number": rows,
        "time": columns["moment"].astype("datetime64[us]").astype(np.int64),
        "scene": np.array(decode_texts(columns["scene"]), object),
        "superseded": ~np.isin(np.arange(rows.size), [*newest.values()]),
        **{name: columns[name] for name in ("scale", "offset", "bandpass")},
        **{name: np.array(labels, object) for name, labels in (
            ("unit", stored.units), ("band", PACKED_LAYERS), ("measure", MEANS), ("unit_measure", UNIT_MEASURES),
            ("count", COUNTS),
        )},
    }  # fmt: skip


def rebuild_store(pack: Container, folder: "Path") -> StoredSite:
    """Make a store of the scenes of a site, from the members that :func:`site_data_members` yields, in an empty folder.

    Nothing in the pack is trusted, and nothing but it and `folder` is read or written. The rows have the numbers that
    they had, and the same values; whether the pixels have the recorded digests is for the caller to compare. Raises
    ``PackRefused`` about a member that is missing or not as it should be, or contradicts others.
    """
    fixed, grid = _read_site(pack)
    arrays = _arrays(fixed.scenes, fixed.pixels, fixed.units)
    _check_files(pack, arrays)
    values = {name: _read(pack, array) for name, array in arrays.items() if name != "pixels"}
    _check_values(values, fixed, grid)
    inside = np.zeros(grid.shape, bool)
    inside[values["row"], values["column"]] = True
    member = Member(
        ground=fixed.ground, site=fixed.site, grid=grid, inside=inside, context=grid,
        units=tuple(values["unit"].tolist()), controls=fixed.controls,
    )  # fmt: skip
    icechunk.set_logs_filter("error")  # it warns of concurrent commits; nothing else writes to this folder
    store = LandscapeStore(folder / fixed.landscape)
    store.create([member], biome=fixed.biome, definition=fixed.biome_definition)
    _append(store, fixed, values, _pixels(pack, arrays["pixels"]))
    stored = StoredSite(store, fixed.ground)
    for name, made in _values(stored, values["number"]).items():
        if not np.array_equal(values[name], made, equal_nan=made.dtype.kind == "f"):
            _refuse(f"{DATA}/{name}", "its values are not those that follow from the other members")
    return stored


def _refuse(member: str, difference: object) -> NoReturn:
    raise PackRefused(Fault(member, str(difference)))


def _read_site(pack: Container) -> tuple[Attributes, GeoBox]:
    """Attributes of the group, and its grid, within their limits."""
    try:
        group = pack.read_json(ROOT)
        fixed = msgspec.convert(group.pop("attributes"), Attributes)
        grid = _grid(fixed.grid)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:  # RuntimeError: of pyproj
        _refuse(ROOT, error)
    if {**group, "code": fixed.code, "coordinates": fixed.coordinates} != {
        **_GROUP, "code": fixed.grid.crs, "coordinates": COORDINATES,
    }:  # fmt: skip
        _refuse(ROOT, f"it does not have {_GROUP}, the proj:code of its grid and the coordinates of a pack")
    if (
        fixed.scenes > fixed.rows or fixed.pixels > grid.shape[0] * grid.shape[1]
        or fixed.rows * fixed.pixels > MAX_PIXELS or fixed.rows * fixed.units > MAX_MEANS
    ):  # fmt: skip
        _refuse(ROOT, f"{fixed.rows} rows, {fixed.pixels} pixels and {fixed.units} units cannot be, or are too many")
    return fixed, grid


def _grid(stored: _Grid) -> GeoBox:
    """A grid: north up, of square pixels, in a projected system that needs no other file."""
    a, b, x, d, e, y = stored.transform
    if not (_EPSG.fullmatch(stored.crs) or (_WKT.fullmatch(stored.crs) and not _READS_FILES.search(stored.crs))):
        raise ValueError(f"crs {stored.crs[:100]!r} is neither EPSG nor plain WKT")
    if not (0 < a < 1e6 and b == d == 0 and e == -a and abs(x) < 1e9 and abs(y) < 1e9):
        raise ValueError(f"transform {stored.transform} is not that of square pixels, north up")
    height, width = stored.shape
    if height <= 0 or width <= 0 or height * width > MAX_GRID_PIXELS:
        raise ValueError(f"shape {stored.shape} is beyond {MAX_GRID_PIXELS} pixels")
    return grid_from_json(msgspec.to_builtins(stored))


def _check_files(pack: Container, arrays: Mapping[str, Array]) -> None:
    """Compare the files of the group with those that arrays of this size have."""
    files = [name for name in pack.names if name.startswith(f"{DATA}/")]
    if sum(array.chunks + 1 for array in arrays.values()) > len(files):
        _refuse(ROOT, f"it states more than the {len(files)} files of the pack hold")
    wanted = {ROOT} | {f"{DATA}/{name}/{METADATA}" for name in arrays}
    wanted |= {f"{DATA}/{name}" for array in arrays.values() for name, _ in array.places()}
    if others := sorted({*files} ^ wanted):
        _refuse(others[0], f"it is {'not' if others[0] in files else 'missing'} in a group of this size")
    for name, array in arrays.items():
        file = f"{DATA}/{name}/{METADATA}"
        if pack.read(file) != array.metadata():
            _refuse(file, f"it is not that of {name} with the shape {array.shape}")


def _chunk(pack: Container, array: Array, name: str, place: tuple[slice, ...]) -> np.ndarray:
    try:
        return array.decode(pack.read(f"{DATA}/{name}"), place)
    except ValueError as error:
        _refuse(f"{DATA}/{name}", error)


def _read(pack: Container, array: Array) -> np.ndarray:
    """Values of an array."""
    values = np.empty(array.shape, object if array.dtype == "string" else array.dtype)
    for name, place in array.places():
        values[place] = _chunk(pack, array, name, place)
    return values


def _pixels(pack: Container, array: Array) -> Iterator[np.ndarray]:
    """(band, pixel) pixels of each scene."""
    parts: list[np.ndarray] = []
    for name, place in array.places():
        parts.append(_chunk(pack, array, name, place))
        if place[2].stop == array.shape[2]:
            yield from np.concatenate(parts, axis=2)
            parts = []


def _check_values(values: Mapping[str, np.ndarray], fixed: Attributes, grid: GeoBox) -> None:
    """Raise where values are impossible, so that a store of them could not be read."""
    number, row, column = (values[name].astype(np.int64) for name in ("number", "row", "column"))
    height, width = grid.shape
    valid: dict[str, Any] = {
        "number": (np.diff(number, prepend=-1) > 0) & (number < fixed.rows),
        "row": (row >= 0) & (row < height),
        "column": (column >= 0) & (column < width) & (np.diff(row * width + column, prepend=-1) > 0),
        "state": (values["state"] > 0) & (values["state"] < len(STATES)),
        "counts": (values["counts"] >= (0, -1)) & (values["counts"][:, :1] <= fixed.pixels),
        "unit": [0 < len(text) <= MAX_TEXT for text in values["unit"]] + [len({*values["unit"]}) == fixed.units],
        "acquisition": [0 < len(text) <= MAX_TEXT and "\0" not in text for text in values["acquisition"]],
    }
    for name, here in valid.items():
        if not np.all(here):
            _refuse(f"{DATA}/{name}", f"place {int(np.argmin(np.ravel(here)))} has an impossible value")
    try:
        _check_granules(values, grid)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _refuse(f"{DATA}/granules", error)


def _check_granules(values: Mapping[str, np.ndarray], grid: GeoBox) -> None:
    """Raise ValueError or TypeError where granules of a row are not such, or its bits name others than it has."""
    for granule in chain.from_iterable(map(json.loads, values["granules"])):
        time = datetime.fromisoformat(granule["time"])
        if time.utcoffset() != timedelta(0) or time.isoformat() != granule["time"] or time.year not in _YEARS:
            raise ValueError(f"{granule['time'][:80]!r} is not a time in UTC")
        if any(len(str(value)) > MAX_TEXT for value in granule.values()):
            raise ValueError(f"a value has more than {MAX_TEXT} characters")
    granules = Granules.decode(values["granules"], values["acquisition"], abs(grid.resolution.x))
    bits, n = values["granule_bits"].astype(np.int64), np.diff([*granules.first, len(granules.tiles)])
    preferred = bits >> MAX_GRANULES
    if np.any((n < 1) | (n > MAX_GRANULES) | (preferred >= n) | (bits % (1 << MAX_GRANULES) >> n > 0)):
        raise ValueError(f"a row does not have 1 to {MAX_GRANULES} granules, or granule_bits names others")
    scale = granules.columns["scale"][granules.first + preferred]
    if np.any((values["state"] == STATES.index("ACCEPTED")) & ~(scale > 0)):
        raise ValueError("the scale of a scene that counts is not positive")


def _append(
    store: LandscapeStore, fixed: Attributes, values: Mapping[str, np.ndarray], pixels: Iterator[np.ndarray]
) -> None:
    """Append all rows, those without the site as empty ones."""
    number, of_site = values["number"], ("site_means", "control_means", "counts", "state", "granule_bits", "digest")
    step = max(BATCH_BYTES // (2 * len(PACKED_LAYERS) * fixed.pixels), 1)
    for start in range(0, fixed.rows, step):
        rows = encode_rows([{}] * min(step, fixed.rows - start), store.fixed, store.grounds)
        part = slice(*np.searchsorted(number, [start, start + step]))
        places = number[part] - start
        for name in of_site:
            rows[name][places, 0] = values[name][part]
        for name in ("time", "acquisition", "granules"):
            rows[name][places] = values[name][part]
        rows["unit_means"][places, : fixed.units] = values["unit_means"][part]
        for place in places.tolist():
            rows["pixels"][place] = next(pixels)
        store.append_encoded(rows, f"rows from {start}")
