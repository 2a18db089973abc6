"""``landscape.json``: what was fixed of a site when its landscape was created, as a member of an evidence pack."""

import json
import re
from typing import Any, Final

import msgspec
import numpy as np
from odc.geo.geobox import GeoBox

from monitor.cube.grid import grid_from_json, grid_to_json
from monitor.cube.records import Member
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.evidence.scene_table import MAX_ROWS

LANDSCAPE: Final = "landscape.json"
MAX_GRID_PIXELS: Final = 40_000_000
"""Largest grid that is read: 400,000 ha in pixels of 10 m. [pixel]"""
MAX_UNITS: Final = 1000
MAX_NAME: Final = 200
"""Longest name of a site, biome or unit. [character]"""
_EPSG: Final = re.compile(r"EPSG:[0-9]{4,6}")
_WKT: Final = re.compile(r"(PROJCRS|PROJCS|BOUNDCRS)\[.{1,20000}", re.DOTALL)
_READS_FILES: Final = re.compile(r"EXTENSION\s*\[|PARAMETERFILE\s*\[|grids=", re.IGNORECASE)
"""Parts of WKT that name files of shifts."""
_LANDSCAPE_NAME: Final = re.compile(r"\w[\w.-]{0,150}")
_GROUND: Final = re.compile(r"[0-9a-z]{1,64}")


class _Grid(msgspec.Struct, forbid_unknown_fields=True):
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]


class Landscape(msgspec.Struct, forbid_unknown_fields=True):
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


def landscape_json(stored: StoredSite, snapshot: str) -> bytes:
    """``landscape.json`` of a site and a snapshot, see :mod:`monitor.cube.stored_site`."""
    landscape = stored.landscape
    steps = np.diff(stored.inside.astype(np.int8), axis=1, prepend=0, append=0)
    (row, first), (_, stop) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    content = {
        "landscape": landscape.name,
        "rows": int(snapshot.rpartition(":")[2]),
        "site": stored.site,
        "ground": stored.ground,
        "biome": landscape.biome,
        "biome_definition": landscape.biome_definition,
        "grid": grid_to_json(stored.grid),
        "context": grid_to_json(stored.context),
        "inside": np.column_stack([row, first, stop]).tolist(),
        "units": stored.units,
        "controls": stored.controls,
    }
    return (json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n").encode()


def read_landscape(content: bytes) -> tuple[Landscape, Member]:
    """The content of ``landscape.json``, and the site as a member of a landscape.

    Raises
    ------
    BadData
        It is not such a file, or states what is impossible.
    """
    try:
        fixed = msgspec.json.decode(content, type=Landscape)
        _check_names(fixed)
        if not 0 <= fixed.rows <= MAX_ROWS:
            msg = f"rows is {fixed.rows}; {MAX_ROWS} can be read"
            raise ValueError(msg)
        grid = _grid("grid", fixed.grid)
        member = Member(
            ground=fixed.ground, site=fixed.site, grid=grid, inside=_inside(fixed, grid),
            context=_grid("context", fixed.context), units=tuple(fixed.units), controls=fixed.controls,
        )  # fmt: skip
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: of pyproj, and nested too deeply
        msg = f"{LANDSCAPE}: {error}"
        raise BadData(msg) from error
    return fixed, member


def _check_names(fixed: Landscape) -> None:
    for name, pattern in (("landscape", _LANDSCAPE_NAME), ("ground", _GROUND)):
        if not pattern.fullmatch(getattr(fixed, name)):
            msg = f"{name} is {getattr(fixed, name)[:100]!r}"
            raise ValueError(msg)
    if len(fixed.units) > MAX_UNITS or len({*fixed.units}) < len(fixed.units):
        msg = f"it has {len(fixed.units)} units, or some twice; {MAX_UNITS} can be read"
        raise ValueError(msg)
    for name in (fixed.site, fixed.biome, *fixed.units):
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            msg = f"the name {name[:100]!r} is empty, too long, or cannot be printed"
            raise ValueError(msg)


def _grid(name: str, stored: _Grid) -> GeoBox:
    """A grid: north up, of square pixels, in a projected system that needs no other file."""
    a, b, x, d, e, y = stored.transform
    if not (_EPSG.fullmatch(stored.crs) or (_WKT.fullmatch(stored.crs) and not _READS_FILES.search(stored.crs))):
        msg = f"crs {stored.crs[:100]!r} of {name} is neither EPSG nor plain WKT"
        raise ValueError(msg)
    if not (0 < a < 1e6 and b == d == 0 and e == -a and abs(x) < 1e9 and abs(y) < 1e9):
        msg = f"transform {stored.transform} of {name} is not that of square pixels, north up"
        raise ValueError(msg)
    height, width = stored.shape
    if height <= 0 or width <= 0 or height * width > MAX_GRID_PIXELS:
        msg = f"shape {stored.shape} of {name} is beyond {MAX_GRID_PIXELS} pixels"
        raise ValueError(msg)
    return grid_from_json(msgspec.to_builtins(stored))


def _inside(fixed: Landscape, grid: GeoBox) -> np.ndarray:
    """(y, x) bool of the pixels inside the site."""
    inside = np.zeros(grid.shape, bool)
    before = (-1, 0)
    for row, first, stop in fixed.inside:
        if not ((row, first) > before and 0 <= row < grid.shape[0] and 0 <= first < stop <= grid.shape[1]):
            msg = f"the run {(row, first, stop)} of inside is outside the grid, empty or out of order"
            raise ValueError(msg)
        inside[row, first:stop] = True
        before = (row, stop)
    if not inside.any():
        msg = "no pixel lies inside the site"
        raise ValueError(msg)
    return inside
