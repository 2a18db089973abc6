"""What a provider of imagery offers: scenes, and their pixels on a grid that is asked for.

A source does three things: it says which scenes it offers over an area, on which grid a new site
is best kept, and it reads scenes on given grids. It never masks, scales or averages: pixels come
as the provider delivers them, in integers, so that what is stored can be checked against the
provider's own copy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One acquisition offered by a source."""

    id: str
    """As the source calls it."""
    acquisition: str
    """Platform, datatake and tile: the same whatever the catalogue calls the scene; counts once."""
    time: datetime
    """Start of the acquisition, aware, UTC."""
    sensor: str
    """For instance ``sentinel-2a``."""
    baseline: str
    """Processing baseline, for instance ``05.09``; the newest replaces older ones. Empty: none known."""
    source: str
    """Name of the source that offered it."""
    scale: float
    """Reflectance = scale * integer + offset. [1]"""
    offset: float
    """See ``scale``. [1]"""
    quality: str
    """What the quality layer holds: ``scl`` (Sentinel-2 scene classes) or ``qa_pixel`` (Landsat bits)."""
    footprint: BaseGeometry | None = field(default=None, repr=False)
    """Where the scene has pixels, longitude and latitude; None: everywhere that was asked for."""
    handle: Any = field(default=None, repr=False, compare=False)
    """What the source itself needs in order to read the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixels of one scene on one grid, as delivered."""

    grid: GeoBox
    pixels: np.ndarray
    """(band, y, x) uint16, bands in the order of :data:`monitor.imagery.bands.OBSERVED`; 0 where there is no value."""
    quality: np.ndarray
    """(y, x) uint16, the quality layer named by ``Scene.quality``; 0 where there is no value."""


class Source(Protocol):
    """A provider of imagery."""

    name: str
    ring: tuple[float, float]
    """Nearest and farthest distance from a site at which control ground is looked for. [m]"""

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Any grid of the system, resolution and lattice that suit the ground: the provider's own if that saves
        resampling.
        """
        ...

    def search(self, area: BaseGeometry, since: date, until: date) -> list[Scene]:
        """Scenes that touch an area (longitude, latitude), both days included, ascending by time.

        Raises
        ------
        TryLater
            The provider is down or asks to wait longer than the budget.
        BadConfiguration
            The provider refuses the credentials.
        """
        ...

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[list[Frame] | Exception]:
        """For each scene in turn its frames on all grids, or the reason why it can not be read.

        A :class:`monitor.errors.SceneRejected` is yielded, not raised, so that one broken scene
        does not stop the others.
        """
        ...
