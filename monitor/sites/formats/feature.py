"""What every reader hands on: features as they were drawn, nothing mended, and how a file is refused whole.

Outlines stay plain arrays of rings, since a geometry library would close, drop or reject what the
checks have to name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from monitor.errors import BadData

MAX_SITES: Final = 10_000
MAX_VERTICES: Final = 200_000
MAX_BYTES: Final = 50 * 1000 * 1000
"""Of the file, and of what an archive holds."""

type Polygons = list[list[np.ndarray]]
"""Polygons, each a list of rings (outer first), each an (n, 2) array of x and y."""


class FileRefused(BadData):
    """The file cannot be used as a registry at all; no site of it is read."""

    def __init__(self, *, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}. {fix}")
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of a registry file, as drawn."""

    properties: Mapping[str, Any]
    """Under the names that the file uses."""
    polygons: Polygons = field(repr=False)
    """Longitude and latitude, unchecked; empty where `broken` says why. [degree]"""
    broken: str = ""
    """Why there are no polygons, in words; empty where there are."""
    winding_checked: bool = False
    """The format prescribes outer rings anticlockwise and holes clockwise, and `polygons` shows what it has."""
    winding_wrong: bool = False
    """The reader saw wrong winding that `polygons` no longer shows (shapefiles)."""
    unclosed: bool = False
    """The reader had to close a ring in order to read it (GeoPackage, shapefile)."""


def count_vertices(features: list[Feature]) -> int:
    """Vertices of all outlines."""
    return sum(len(ring) for feature in features for polygon in feature.polygons for ring in polygon)


def too_many_sites(name: str, count: int | None = None) -> FileRefused:
    """Build the refusal of a file with too many features."""
    found = f"{count:,}" if count else f"more than {MAX_SITES:,}"
    return FileRefused(
        code="TOO_MANY_SITES",
        message=f"{name} holds {found} features; the limit is {MAX_SITES:,} sites a file",
        fix="Split it into several files, by province or programme year.",
    )


def too_many_vertices(name: str, count: int | None = None) -> FileRefused:
    """Build the refusal of a file with too many vertices."""
    found = f"{count:,}" if count else f"more than {MAX_VERTICES:,}"
    return FileRefused(
        code="TOO_MANY_VERTICES",
        message=f"{name} holds {found} vertices; the limit is {MAX_VERTICES:,} a file",
        fix="Simplify the outlines to about 5 m (QGIS: Vector > Geometry Tools > Simplify), or split the file.",
    )


def too_big(name: str, what: str) -> FileRefused:
    """Build the refusal of a file, or of what an archive would unpack to, that has too many bytes."""
    return FileRefused(
        code="TOO_BIG",
        message=f"{name}: {what}; the limit is {MAX_BYTES // 10**6} MB",
        fix="Split it into several files.",
    )
