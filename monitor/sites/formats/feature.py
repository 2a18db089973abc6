"""Features as readers return them, unrepaired, and the error for a file that is refused as a whole.

Outlines are arrays of rings: a geometry library would close, drop or reject what the checks have to report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from monitor.errors import BadData

MAX_SITES: Final = 10_000
MAX_VERTICES: Final = 200_000
MAX_BYTES: Final = 50 * 1000 * 1000  # largest size of a file, and of the unpacked contents of an archive [byte]

type Polygons = list[list[np.ndarray]]
"""Polygons, each a list of rings (outer first), each an (n, 2) array of x and y."""


class FileRefused(BadData):
    """The file cannot be used as a registry; none of its sites is read."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}. {fix}")
        self.code, self.message, self.fix = code, message, fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of a registry file, as drawn."""

    properties: Mapping[str, Any]  # values by column name of the file
    polygons: Polygons = field(default_factory=list, repr=False)  # longitude and latitude; empty: see `broken` [degree]
    broken: str = ""  # why there are no polygons; empty: there are polygons
    winding_checked: bool = False  # whether the format requires counter-clockwise outer rings and clockwise holes
    winding_wrong: bool = False  # whether the file had wrong winding that `polygons` no longer has (shapefiles)
    unclosed: bool = False  # whether the reader had to close a ring (GeoPackage, shapefile)


_SIMPLIFY: Final = "Simplify the outlines to about 5 m (QGIS: Vector > Geometry Tools > Simplify), or split the file."
_TOO_MANY: Final = {
    "features": (
        "TOO_MANY_SITES", MAX_SITES, "sites a file", "Split it into several files, by province or programme year.",
    ),
    "vertices": ("TOO_MANY_VERTICES", MAX_VERTICES, "a file", _SIMPLIFY),
}  # fmt: skip


def too_many(parts: str, name: str, count: int | None = None) -> FileRefused:
    """Error for a file with too many ``features`` or ``vertices``; `count` is None where only the excess is known."""
    code, limit, unit, fix = _TOO_MANY[parts]
    number = f"{count:,}" if count else f"more than {limit:,}"
    return FileRefused(code, f"{name} holds {number} {parts}; the limit is {limit:,} {unit}", fix)


def too_big(name: str, what: str) -> FileRefused:
    """Error for a file, or unpacked archive, with too many bytes."""
    message = f"{name}: {what}; the limit is {MAX_BYTES // 10**6} MB"
    return FileRefused("TOO_BIG", message, "Split it into several files.")
