"""What a provider of imagery offers: scenes, and their pixels on a grid that is asked for.

A source does three things: it says which scenes it offers over an area, on which grid a new site
is best kept, and it reads scenes on given grids. It never masks, scales or averages: pixels come
as the provider delivers them, in integers, so that what is stored can be checked against the
provider's own copy.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.errors import SceneRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One acquisition offered by a source."""

    id: str
    """As the source calls it."""
    acquisition: str
    """Platform and datatake, for instance ``S2A/20200103T035141``: the same whatever the catalogue calls the scene.
    Granules of one overpass share it and are merged; with ``tile`` it is counted once."""
    tile: str = ""
    """Granule of the acquisition, for instance ``48SUF`` or ``034`` (row of a Landsat path); empty: there is one."""
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
    """What the quality layer holds: ``scl`` (Sentinel-2 scene classes), ``scl_cs`` (the same, and in the high byte
    1 + Cloud Score+ ``cs_cdf`` in percent, 0 where there is none) or ``qa_pixel`` (Landsat bits)."""
    crs: str = ""
    """Native system of the pixels, for instance ``EPSG:32648``; empty: not known. The granule in the site's own
    system is preferred, others only fill."""
    orbit: str = ""
    """Relative orbit, or path, from which the ground is seen; empty: not known."""
    footprint: BaseGeometry | None = field(default=None, repr=False)
    """Where the scene has pixels, longitude and latitude; None: everywhere that was asked for."""
    handle: Any = field(default=None, repr=False, compare=False)
    """What the source itself needs in order to read the scene; None: it was not looked at, since it is stored."""

    def touches(self, area: BaseGeometry) -> bool:
        """Whether it may have pixels in an area (longitude and latitude, degree)."""
        return self.footprint is None or bool(self.footprint.intersects(area))


type IsStored = Callable[[Scene], bool]
"""Whether every site of a search that a scene touches has it, of its baseline or a newer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixels of one scene on one grid, as delivered."""

    grid: GeoBox
    pixels: np.ndarray
    """(band, y, x) uint16, bands in the order of :data:`monitor.imagery.bands.OBSERVED`; 0 where there is no value."""
    quality: np.ndarray
    """(y, x) uint16, the quality layer named by ``Scene.quality``; 0 where there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a night or a backfill will ask for, before it is asked."""

    requests: int
    """Besides searches and retries."""
    megabytes: float
    """Of pixels. [MB]"""
    eecu_seconds: float
    """Of Earth Engine's servers; rough, see :data:`monitor.imagery.earthengine.source.EECU_PER_MEGAPIXEL`. [EECU s]"""


class Source(Protocol):
    """A provider of imagery."""

    name: str
    ring: tuple[float, float]
    """Nearest and farthest distance from a site at which control ground is looked for. [m]"""
    reduces_on_server: bool
    """Whether the provider draws the means of control units itself (:meth:`reduce`), so that their pixels are not
    read."""

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Any grid of the system, resolution and lattice that suit the ground: the provider's own if that saves
        resampling.
        """
        ...

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes that touch an area (longitude, latitude), both days included, ascending by time.

        Parameters
        ----------
        area : shapely geometry
            Longitude and latitude. [degree]
        since, until : date
            Both included.
        stored : callable, optional
            Tells which scenes need not be looked at: of ten years all but the newest. Such a one may come back without
            a handle, its scale, offset, quality and crs unknown; all else of it is right. It is looked at by another
            search after all where it is read again together with what is new of its overpass. Default: none.

        Raises
        ------
        TryLater
            The provider is down or asks to wait longer than the budget.
        BadConfiguration
            The provider refuses the credentials, or does not have a collection.
        """
        ...

    def check_collections(self) -> None:
        """See that the provider has every collection that is asked for: asked where a search has found nothing at all.

        Raises
        ------
        UnknownCollection
            It does not have one. A source whose search says so by itself has nothing to do here.
        TryLater
            The provider is down.
        """
        ...

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[Iterable[Frame] | SceneRejected]:
        """For each scene in turn its frames on all grids, in their order, or the reason why it cannot be read.

        Nearest pixels are taken, never interpolated ones. Frames may be made one by one as they are asked for; a
        source reads a block of its own once for all grids that touch it. Many scenes are given at once so that a
        source can ask for them together.

        A :class:`monitor.errors.SceneRejected` is yielded in place of the frames, or raised among them, so that one
        broken scene does not stop the others. ``TryLater`` and ``BadConfiguration`` are raised.
        """
        ...

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: Callable[[Any], Any]
    ) -> Iterator[np.ndarray | SceneRejected]:
        """For each scene in turn the means over the clear pixels of each unit; only where :attr:`reduces_on_server`.

        Parameters
        ----------
        scenes : sequence of Scene
            With the scale and offset that hold for them.
        units : sequence of shapely geometry
            Longitude and latitude. [degree]
        lattice : GeoBox
            System and pixels that the units are made of.
        recipe : callable
            Makes the layers to be averaged, in the provider's own terms, of an image of reflectances with the bands
            of :data:`monitor.imagery.bands.OBSERVED`.

        Yields
        ------
        (unit, 1 + layer) float64 array or SceneRejected
            Count of clear pixels, then means over them, NaN where there is none.
        """
        ...

    def cost(self, scenes: int, grid: GeoBox, units: int) -> Cost | None:
        """What reading scenes of one site, and reducing units as large as it, will ask for.

        Parameters
        ----------
        scenes, units : int
            How many.
        grid : GeoBox
            Of the site.

        Returns
        -------
        Cost or None
            None: what is fetched depends on how the provider's files lie, which shows only as they are opened.
        """
        ...
