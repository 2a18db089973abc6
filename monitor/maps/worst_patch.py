"""The first place of a site to look at: the largest patch on which regrowth is most likely absent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPatch:
    """The ground of a site where regrowth is most likely absent: the first place to look."""

    latitude: float
    """Of a point inside, WGS 84. [degree]"""
    longitude: float
    hectares: float
    ring: tuple[tuple[float, float], ...]
    """Outline: closed, longitude and latitude (EPSG:4326)."""
