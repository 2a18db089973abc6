"""Interface of a provider of imagery.

A source lists the scenes over an area, proposes the grid of a new site, and reads scenes on given grids. It never
masks, scales or averages: pixels are integers as the provider delivers them, so that the store can be checked against
the provider's copy.

To add a provider, implement :class:`Source` in a folder of its own and open it in ``jobs/imagery/sources.py``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadConfiguration, SceneRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One acquisition offered by a source."""

    id: str
    """Id in the catalogue of the source."""
    acquisition: str
    """Platform and datatake, for instance ``S2A/20200103T035141``, see :mod:`monitor.imagery.acquisition_id`. Granules
    of one overpass share it and are merged; acquisition and ``tile`` together are counted once."""
    tile: str = ""
    """Granule of the acquisition, for instance ``48SUF`` or ``034`` (row of a Landsat path); empty: the only one."""
    time: datetime
    """Start of the acquisition, timezone-aware, UTC."""
    sensor: str
    """Sensor, for instance ``sentinel-2a``."""
    baseline: str
    """Processing baseline, for instance ``05.09``; the newest replaces older ones. Empty: unknown."""
    source: str
    """Name of the source that offered it."""
    scale: float
    """Reflectance = scale * integer + offset. [1]"""
    offset: float
    """Reflectance = scale * integer + offset. [1]"""
    quality: str
    """Kind of the quality layer: ``scl`` (Sentinel-2 scene classes), ``scl_cs`` (scene classes, and in the high byte
    1 + Cloud Score+ ``cs_cdf`` in percent, 0 where there is none), ``qa_pixel`` (Landsat bits), ``fmask`` (HLS),
    ``oa_fmask`` (classes of Digital Earth Australia), or ``none`` (every pixel with a value counts as ground)."""
    crs: str = ""
    """Native coordinate system, for instance ``EPSG:32648``; empty: unknown. Granules in the coordinate system of the
    site are preferred, others only fill gaps."""
    orbit: str = ""
    """Relative orbit or Landsat path; empty: unknown."""
    footprint: BaseGeometry | None = field(default=None, repr=False)
    """Outline of the scene, longitude and latitude; None: it covers the whole requested area. [degree]"""
    handle: Any = field(default=None, repr=False, compare=False)
    """Private data with which the source reads the scene; None: incomplete, since the scene is stored."""

    def touches(self, area: BaseGeometry) -> bool:
        """Whether the scene may have pixels in an area, longitude and latitude. [degree]"""
        return self.footprint is None or bool(self.footprint.intersects(area))


type IsStored = Callable[[Scene], bool]
"""Whether every site that a scene touches has it already, with its baseline or a newer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixels of one scene on one grid, as delivered."""

    grid: GeoBox
    pixels: np.ndarray
    """(band, y, x) uint16, bands in the order of :data:`monitor.imagery.bands.OBSERVED`; 0 where there is no value."""
    quality: np.ndarray
    """(y, x) uint16 quality layer, of the kind ``Scene.quality``; 0 where there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Estimated requests and bytes of a run."""

    requests: int
    """Requests, without searches and retries."""
    megabytes: float
    """Size of the pixels. [MB]"""
    eecu_seconds: float
    """Computing time of Earth Engine; rough, see its :data:`~monitor.imagery.earthengine.source.EECU_PER_MEGAPIXEL`.
    [EECU s]"""


class Source(Protocol):
    """A provider of imagery; the defaults are those of one that only delivers files."""

    name: str
    """Name in logs and records; unique among the sources of a run."""
    ring: tuple[float, float] = (300.0, 10_000.0)
    """Nearest and farthest distance of control ground from a site. [m]"""
    reduces_on_server: bool = False
    """Whether the provider computes the means of control units itself (:meth:`reduce`), so that their pixels are not
    read."""

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Coordinate system, resolution and alignment for the grid of a new site, as a grid of any size.

        The provider's own grid if that avoids resampling. The geometry is in longitude and latitude. [degree]
        """
        ...

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes that touch an area, ascending by time.

        Parameters
        ----------
        area : shapely geometry, longitude and latitude [degree]
        since, until : date, both included
        stored : callable, optional
            Whether a scene is stored already, as nearly all of ten years are. Such a scene may be returned without
            handle, scale, offset, quality and coordinate system. If it must be read again together with a new granule
            of its overpass, another search is made without `stored`. Default: none is.

        Raises
        ------
        TryLater, BadConfiguration
            The provider is down or asks to wait longer than the budget; it refuses access, or lacks a collection.
        """
        ...

    def check_collections(self) -> None:
        """Check that the provider has every configured collection; called if a search returned nothing at all.

        Does nothing where a search reports a missing collection.

        Raises
        ------
        UnknownCollection, TryLater
            The provider does not have a collection, or is down.
        """
        return

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[Iterable[Frame] | SceneRejected]:
        """Read scenes on grids, by the nearest pixel, never interpolated.

        Frames may be made on demand. A source reads one of its own blocks once for all grids that touch it, and many
        scenes are given at once so that it can request them together.

        Parameters
        ----------
        scenes : sequence of Scene, results of :meth:`search`, with a handle
        grids : sequence of GeoBox, grids to read on

        Yields
        ------
        iterable of Frame or SceneRejected
            For each scene in turn, its frames on all grids in their order. If it cannot be read, the reason is yielded
            instead of the frames or raised among them, so that it does not stop the other scenes.

        Raises
        ------
        TryLater, BadConfiguration
            The provider is down: the scenes that remain wait unread; it refuses the credentials.
        """
        ...

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: Callable[[Any], Any]
    ) -> Iterator[np.ndarray | SceneRejected]:
        """Means over the clear pixels of control units, computed by the provider; only if :attr:`reduces_on_server`.

        Parameters
        ----------
        scenes : sequence of Scene, with valid scale and offset
        units : sequence of shapely geometry, longitude and latitude [degree]
        lattice : GeoBox, lattice of the units: coordinate system and pixels
        recipe : callable
            Converts an image of reflectances, with the bands of :data:`monitor.imagery.bands.OBSERVED`, to the layers
            to be averaged, in the provider's own objects.

        Yields
        ------
        (unit, 1 + layer) float64 array or SceneRejected
            For each scene in turn, the number of clear pixels, then the means over them, NaN without clear pixels.

        Raises
        ------
        TryLater, BadConfiguration
            As :meth:`read`; `BadConfiguration` also if the provider computes no means.
        """
        raise BadConfiguration(f"{self.name} has no server that could reduce")

    def cost(self, scenes: int, grid: GeoBox, units: int) -> Cost | None:
        """Estimate the cost of reading scenes of one site and of reducing control units.

        Parameters
        ----------
        scenes : int, number of scenes
        grid : GeoBox, grid of the site
        units : int, number of control units of the site's size

        Returns
        -------
        Cost or None
            None where the cost depends on the layout of the provider's files, which is known only once they are opened.
        """
        return None
