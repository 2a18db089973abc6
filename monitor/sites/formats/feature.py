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
MAX_BYTES: Final = 50 * 1000 * 1000
"""Largest size of a file, and of the unpacked contents of an archive. [byte]"""

type Polygons = list[list[np.ndarray]]
"""Polygons, each a list of rings (outer first), each an (n, 2) array of x and y."""


class FileRefused(BadData):
    """The file cannot be used as a registry; none of its sites is read."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}. {fix}")
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of a registry file, as drawn."""

    properties: Mapping[str, Any]
    """Values by column name of the file."""
    polygons: Polygons = field(default_factory=list, repr=False)
    """Longitude and latitude, unchecked; empty: see `broken`. [degree]"""
    broken: str = ""
    """Why there are no polygons; empty: there are polygons."""
    winding_checked: bool = False
    """Whether the format requires counter-clockwise outer rings and clockwise holes; `polygons` has them as drawn."""
    winding_wrong: bool = False
    """Whether the file had wrong winding that `polygons` no longer has (shapefiles)."""
    unclosed: bool = False
    """Whether the reader had to close a ring (GeoPackage, shapefile)."""


def too_many_sites(name: str, count: int | None = None) -> FileRefused:
    """Error for a file with too many features; `count` is None where only the excess is known."""
    number = f"{count:,}" if count else f"more than {MAX_SITES:,}"
    return FileRefused(
        "TOO_MANY_SITES",
        f"{name} holds {number} features; the limit is {MAX_SITES:,} sites a file",
        "Split it into several files, by province or programme year.",
    )


def too_many_vertices(name: str, count: int | None = None) -> FileRefused:
    """Error for a file with too many vertices; `count` is None where only the excess is known."""
    number = f"{count:,}" if count else f"more than {MAX_VERTICES:,}"
    return FileRefused(
        "TOO_MANY_VERTICES",
        f"{name} holds {number} vertices; the limit is {MAX_VERTICES:,} a file",
        "Simplify the outlines to about 5 m (QGIS: Vector > Geometry Tools > Simplify), or split the file.",
    )


def too_big(name: str, what: str) -> FileRefused:
    """Error for a file, or unpacked archive, with too many bytes."""
    return FileRefused(
        "TOO_BIG", f"{name}: {what}; the limit is {MAX_BYTES // 10**6} MB", "Split it into several files."
    )
