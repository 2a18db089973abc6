"""The record of one site as open files, and back: what was observed, and what was computed from it at ingest.

:func:`site_data_members` writes the members of an evidence pack that hold the scenes of a site: ``landscape.json``
(what was fixed when its landscape was created), ``pixels-2019.nc`` and so on, ``unit-means.nc`` and ``scenes.csv``.
:func:`rebuild_store` makes a store of them that has this site only, and the same rows under the same numbers, so that
every function of the night runs on it unchanged, and every snapshot that an assessment names has the same rows.

Context pictures are left out: no verdict reads them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import icechunk
import msgspec
import numpy as np
from odc.geo.geobox import GeoBox

from monitor.cube.grid import grid_from_json, grid_to_json
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES, UNIT_MEASURES, Member, SiteScene
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.evidence import site_netcdf
from monitor.evidence.scene_table import MAX_ROWS, SCENES, SceneRow, pixels_sha256, read_scenes_csv, scenes_csv
from monitor.evidence.site_netcdf import Arrays, layer_variable

LANDSCAPE: Final = "landscape.json"
UNIT_MEANS: Final = "unit-means"
PIXELS: Final = "pixels"
SUPERSEDED: Final = "-superseded"
"""Ends the name of a file of rows that a later row of the same acquisition replaced."""

MAX_GRID_PIXELS: Final = 40_000_000
"""Largest grid that is read: 400,000 ha in pixels of 10 m. [pixel]"""
MAX_UNITS: Final = 1000
MAX_LANDSCAPE_BYTES: Final = 2**26
"""Largest ``landscape.json`` that is read. [byte]"""
_EPSG: Final = re.compile(r"EPSG:[0-9]{4,6}")
_WKT: Final = re.compile(r"(PROJCRS|PROJCS|BOUNDCRS|COMPD_CS|COMPOUNDCRS)\[.{1,20000}", re.DOTALL)
_NAME: Final = re.compile(r"[\w][\w.-]{0,150}")
_GROUND: Final = re.compile(r"[0-9a-z]{1,64}")


class Members(Protocol):
    """The members of a pack, as :class:`monitor.evidence.container.Container` gives them."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the members."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a small member."""
        ...

    def copy(self, name: str, path: Path) -> None:
        """Copy a member of any size to a new file."""
        ...


def site_data_members(stored: StoredSite, snapshot: str, folder: Path) -> Iterator[tuple[str, bytes | Path]]:
    """The scenes of a site as members of a pack; the same store and snapshot give the same bytes.

    Parameters
    ----------
    stored : StoredSite
    snapshot : str, see :mod:`monitor.cube.stored_site`; rows after it are left out
    folder : Path
        Existing folder for large members, which the caller deletes when all members are written.

    Yields
    ------
    tuple
        Name, and content or file.

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    OSError, RuntimeError
        A file cannot be written.
    """
    rows = stored.every_row(snapshot)
    yield LANDSCAPE, _landscape_json(stored, snapshot)
    checksums: dict[int, str] = {}
    site = str(stored.landscape.fixed["site"][stored.landscape.grounds.index(stored.derived.name)])
    for name, some, along in _files(stored.columns_of(rows)):
        path = folder / name
        if name.startswith(PIXELS):
            checksums |= site_netcdf.write_pixels(path, stored, some, along=along, title=f"Pixels of site {site}")
        elif stored.units:
            title = f"Means of the control units of site {site}"
            site_netcdf.write_units(path, stored, some, along=along, title=title)
        else:
            continue
        yield name, path
    yield SCENES, scenes_csv(stored, rows, [checksums[row] for row in rows.tolist()])


def _files(columns: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray, str]]:
    """NetCDF files of some rows, in order: name, numbers of the rows in it, and name of its first dimension.

    `columns` are ``row``, ``acquisition`` and ``moment`` of all rows of the site, ascending by row.
    """
    row, moment = columns["row"], columns["moment"]
    newest = {name: at for at, name in enumerate(columns["acquisition"].tolist())}  # the last one stays
    counts = np.zeros(row.size, bool)
    counts[[*newest.values()]] = True
    order = np.lexsort((columns["acquisition"], moment))
    years = moment.astype("datetime64[Y]")
    parts = (("", "time", order[counts[order]]), (SUPERSEDED, "row", np.flatnonzero(~counts)))
    for year in np.unique(years):
        for end, along, chosen in parts:
            if (in_year := chosen[years[chosen] == year]).size:
                yield f"{PIXELS}-{year}{end}.nc", row[in_year], along
    for end, along, chosen in parts:
        if chosen.size:
            yield f"{UNIT_MEANS}{end}.nc", row[chosen], along


class _Grid(msgspec.Struct, forbid_unknown_fields=True):
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]


class _Landscape(msgspec.Struct, forbid_unknown_fields=True):
    """Content of ``landscape.json``."""

    landscape: str
    """Name of the landscape."""
    rows: int
    """Number of its rows up to the snapshot, those without the site too."""
    site: str
    ground: str
    biome: str
    biome_definition: dict[str, Any] | None
    grid: _Grid
    context: _Grid
    inside: list[tuple[int, int, int]]
    """Pixels inside the site as runs: row of the grid, first column, column after the last."""
    units: list[str]
    controls: dict[str, Any]


def _landscape_json(stored: StoredSite, snapshot: str) -> bytes:
    landscape = stored.landscape
    inside = stored.inside
    steps = np.diff(inside.astype(np.int8), axis=1, prepend=0, append=0)
    (row, first), (_, stop) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    content = {
        "landscape": landscape.name,
        "rows": int(snapshot.rpartition(":")[2]),
        "site": str(landscape.fixed["site"][landscape.grounds.index(stored.derived.name)]),
        "ground": stored.derived.name,
        "biome": landscape.biome,
        "biome_definition": landscape.biome_definition,
        "grid": grid_to_json(stored.grid),
        "context": grid_to_json(stored.context),
        "inside": np.column_stack([row, first, stop]).tolist(),
        "units": stored.units,
        "controls": stored.controls,
    }
    return (json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n").encode()


def rebuild_store(members: Members, folder: Path) -> StoredSite:
    """Make a store of the scenes of a site, from the members that :func:`site_data_members` yields.

    Parameters
    ----------
    members : Members
        Nothing in them is trusted, and nothing but them and `folder` is read or written.
    folder : Path
        Existing empty folder, for the store and for copies of members while they are read.

    Returns
    -------
    StoredSite
        Its rows have the numbers that they had, and the same values.

    Raises
    ------
    BadData
        A member is missing or not as it should be, or they contradict each other; the message names the member.
    """
    fixed = _read_landscape(_content(members, LANDSCAPE))
    grid, inside = _checked_grid(fixed)
    table = _content(members, SCENES)
    scenes = read_scenes_csv(table, limit=fixed.rows)
    icechunk.set_logs_filter("error")  # it warns of concurrent commits; nothing else writes to this folder
    store = LandscapeStore(folder / fixed.landscape)
    member = Member(
        ground=fixed.ground, site=fixed.site, grid=grid, inside=inside, context=_grid(fixed.context, "context"),
        units=tuple(fixed.units), controls=fixed.controls,
    )  # fmt: skip
    store.create([member], biome=fixed.biome, definition=fixed.biome_definition)
    checksums = _append_scenes(store, members, fixed, grid, inside, scenes, folder)
    stored = StoredSite(store, fixed.ground)
    _compare_tables(table, scenes_csv(stored, np.array([scene.row for scene in scenes], np.int64), checksums))
    return stored


def _content(members: Members, name: str) -> bytes:
    if name not in members.names:
        msg = f"the pack has no member {name}"
        raise BadData(msg)
    return members.read(name)


def _read_landscape(content: bytes) -> _Landscape:
    """``landscape.json``, checked but for its grids."""
    try:
        if len(content) > MAX_LANDSCAPE_BYTES:
            raise ValueError(f"it has {len(content)} bytes; {MAX_LANDSCAPE_BYTES} can be read")
        fixed = msgspec.json.decode(content, type=_Landscape)
        for name, pattern in (("landscape", _NAME), ("ground", _GROUND)):
            if not pattern.fullmatch(getattr(fixed, name)):
                raise ValueError(f"{name} is {getattr(fixed, name)[:100]!r}")
        if not 0 <= fixed.rows <= MAX_ROWS:
            raise ValueError(f"rows is {fixed.rows}; {MAX_ROWS} can be read")
        if len(fixed.units) > MAX_UNITS or len({*fixed.units}) < len(fixed.units):
            raise ValueError(f"it has {len(fixed.units)} units, or some twice; {MAX_UNITS} can be read")
        if any(not 0 < len(unit) <= 100 or not unit.isprintable() for unit in fixed.units):
            raise ValueError("a unit has no name, or one that cannot be printed")
    except (ValueError, RecursionError) as error:  # those of msgspec too
        msg = f"{LANDSCAPE}: {error}"
        raise BadData(msg) from error
    return fixed


def _grid(stored: _Grid, name: str) -> GeoBox:
    """A grid of ``landscape.json``: north up, of square pixels, in a projected system that reads no file."""
    a, b, x, d, e, y = stored.transform
    try:
        if not (_EPSG.fullmatch(stored.crs) or (_WKT.fullmatch(stored.crs) and "grid" not in stored.crs.lower())):
            raise ValueError(f"crs {stored.crs[:100]!r} is neither EPSG nor plain WKT")
        if not (0 < a < 1e6 and b == d == 0 and e == -a and abs(x) < 1e9 and abs(y) < 1e9):
            raise ValueError(f"transform {stored.transform} is not that of square pixels, north up")
        height, width = stored.shape
        if not (0 < height and 0 < width and height * width <= MAX_GRID_PIXELS):
            raise ValueError(f"shape {stored.shape} is beyond {MAX_GRID_PIXELS} pixels")
        return grid_from_json(msgspec.to_builtins(stored))
    except (ValueError, TypeError, RuntimeError) as error:  # pyproj's are RuntimeError
        msg = f"{LANDSCAPE}, {name}: {error}"
        raise BadData(msg) from error


def _checked_grid(fixed: _Landscape) -> tuple[GeoBox, np.ndarray]:
    """The site's grid, and (y, x) bool of the pixels inside the site."""
    grid = _grid(fixed.grid, "grid")
    inside = np.zeros(grid.shape, bool)
    before = (-1, 0)
    for row, first, stop in fixed.inside:
        if not ((row, first) > before and 0 <= row < grid.shape[0] and 0 <= first < stop <= grid.shape[1]):
            msg = f"{LANDSCAPE}, inside: the run {(row, first, stop)} is outside the grid, empty or out of order"
            raise BadData(msg)
        inside[row, first:stop] = True
        before = (row, stop)
    if not inside.any():
        msg = f"{LANDSCAPE}, inside: no pixel lies inside the site"
        raise BadData(msg)
    return grid, inside


def _append_scenes(
    store: LandscapeStore, members: Members, fixed: _Landscape, grid: GeoBox, inside: np.ndarray,
    scenes: Sequence[SceneRow], folder: Path,
) -> list[str]:  # fmt: skip
    """Append all rows, those without the site as empty ones, and return the checksum of the pixels of each scene."""
    names, files, places = _opened_files(members, fixed, grid, scenes, folder)
    layers = [layer_variable(name) for name in PACKED_LAYERS]
    steps: list[tuple[int, Sequence[str], int | None]] = [
        (number, ("row", "scale", "offset", "bandpass"), None) for number in range(len(files))
    ]
    for scene in scenes:
        pixels, units = places[scene.row]
        steps.append((*pixels[:1], layers, pixels[1]))
        steps += [] if units is None else [(units[0], ("unit_means",), units[1])]
    arrays = site_netcdf.read_arrays(files, steps)
    by_row = {scene.row: scene for scene in scenes}
    for number, name in enumerate(names):
        _check_coordinates(name, next(arrays), [by_row[row] for row in _rows_in(places, number)])
    checksums: list[str] = []
    size = 2 * len(PACKED_LAYERS) * int(inside.sum())
    step = max(min(site_netcdf.BATCH_BYTES // size, 512), 1)
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    for start in range(0, fixed.rows, step):
        batch: list[dict[str, SiteScene]] = []
        for row in range(start, min(start + step, fixed.rows)):
            batch.append({})
            if row not in by_row:
                continue
            scene = by_row[row]
            pixels = np.stack([layer[inside].astype(np.uint16) for layer in next(arrays)])
            units = np.full((max(len(fixed.units), 1), len(MEASURES)), np.nan, np.float32)
            if fixed.units:
                (units[:, columns],) = next(arrays)
            checksums.append(pixels_sha256(pixels))
            entry = SiteScene(record=scene.record, pixels=pixels, units=units, granules=scene.granules)
            batch[-1][fixed.ground] = entry
        store.append(batch, f"rows from {start}")
    return checksums
