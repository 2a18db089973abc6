"""Values that go into and come out of the store of a landscape: what a scene showed of one site, pictures, members.

Texts of stored columns are fixed-width bytes in UTF-8 (:func:`encode_texts`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox

from monitor.imagery import bands
from monitor.imagery.source import Scene

MEASURES: Final = (
    "n_pixels", *bands.OBSERVED, "ndvi", "evi2", "msavi2", "kndvi", "ndmi", "nbr", "cover",
)  # fmt: skip
"""Count of clear pixels, then means over them: bands as reflectance, indices and cover computed pixel by pixel.

The order along ``measure`` of :func:`monitor.cover.zonal_means.zonal_means` and of the store."""
MEANS: Final = MEASURES[1:]  # measures of the stored `site_means` and `control_means`; the counts are in `counts`
UNIT_MEASURES: Final = ("n_pixels", "red", "ndvi", "ndmi", "nbr", "cover")
"""Measures of the stored ``unit_means``: those by which control units are selected, screened and compared."""
COUNTS: Final = ("n_pixels", "n_units")  # clear pixels of the site, and control units that were seen; -1 units: unknown

STATES: Final = (
    "NOT_COVERED", "ACCEPTED", "CLOUD", "SNOW", "NODATA", "RADIOMETRY", "MISSING", "BROKEN", "CONTROL_HIDDEN",
    "CONTROL_POOR", "FEW_PIXELS", "NO_ANSWER",
)  # fmt: skip
"""Meanings of the stored flags ``state``: whether a scene counts for a site, or why not. New ones go at the end."""


def encode_texts(values: Iterable[str]) -> np.ndarray:
    """Encode texts as an (n,) array of UTF-8 bytes, as wide as the longest; a NUL at the end of a text is lost.

    Thousands are read at once and few are used: :func:`monitor.series.columns.decode_texts` decodes them.
    """
    return np.array([text.encode("utf-8", "surrogatepass") for text in values], np.bytes_)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteScene:
    """One overpass as seen by one site, as it is stored: pixels, means, and whether it counts."""

    acquisition: str
    granules: tuple[Scene, ...]  # granules of the overpass over this site, the preferred one first
    scene: Scene  # the granule that gives id, time, scale and offset
    used: Mapping[str, str]  # processing baseline of each granule that was read, by tile
    pixels: np.ndarray  # (layer, pixel) uint16 of the pixels inside the site, see `monitor.cube.packed.PACKED_LAYERS`
    units: np.ndarray  # (unit, measure) float32 means of the control units, see `MEASURES`; NaN: not seen
    reason: str = ""  # why the scene does not count, one of `STATES`; empty: it counts
    n_pixels: int = 0  # clear pixels of the site
    n_units: int = -1  # control units that were seen; -1: unknown
    site_means: np.ndarray = field(default_factory=lambda: np.full(len(MEANS), np.nan))
    """(mean,) :data:`MEANS` of the site, six decimals; NaN: unknown."""
    control_means: np.ndarray = field(default_factory=lambda: np.full(len(MEANS), np.nan))
    """(mean,) the same of its control units."""
    digest: str  # hash of the pixels and unit means, see `digest`

    @property
    def clear_fraction(self) -> float:
        """Clear share of the site, four decimals. [1]"""
        return round(self.n_pixels / int(self.pixels.shape[1]), 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """Natural colour picture of a site and its surroundings in one scene."""

    name: str  # `now`, `before` (the start) or the year of a growing season
    time: str  # time of the scene, ISO 8601, UTC
    clear: float  # clear share of the picture [1]
    rgb: np.ndarray  # (y, x, 3) uint8 on the site's context grid, 0 where there is no value; empty if not read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """A site of a landscape, as it was when the landscape was created."""

    ground: str  # key of its outline, start and biome, see `monitor.sites.site.ground_key`
    site: str
    grid: GeoBox
    inside: np.ndarray  # (y, x) bool: pixels of the grid that are stored
    context: GeoBox  # grid of the context pictures
    units: tuple[str, ...]  # ids of the control units
    controls: dict[str, Any]  # the frozen control units, so that the store can be read without the ledger


def digest(pixels: np.ndarray, units: np.ndarray) -> str:
    """Hash of what is stored of a scene for a site: its pixels (layer, pixel) and its unit means (unit, measure)."""
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    content = np.ascontiguousarray(pixels).tobytes() + np.ascontiguousarray(units[:, columns]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]
