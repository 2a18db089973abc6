"""Interface of a provider of imagery.

A source lists the scenes over an area, proposes the grid of a new site, and reads scenes on given grids. It never
masks, scales or averages: pixels are integers as the provider delivers them, so that the store can be checked against
the provider's copy.

To add a provider, implement :class:`Source` in a new folder and open it in ``jobs/imagery/sources.py``.
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

    id: str  # id in the catalogue of the source
    acquisition: str
    """Platform and datatake, for instance ``S2A/20200103T035141``, see :mod:`monitor.imagery.acquisition_id`. Granules
    of one overpass share it and are merged; acquisition and ``tile`` together are counted once."""
    tile: str = ""  # granule of the acquisition, `48SUF` or `034` (row of a Landsat path); empty: the only one
    time: datetime  # start of the acquisition, timezone-aware, UTC
    sensor: str  # sensor, for instance `sentinel-2a`
    baseline: str  # processing baseline, for instance `05.09`; the newest replaces older ones; empty: unknown
    source: str  # name of the source that offered it
    scale: float  # reflectance = scale * integer + offset [1]
    offset: float  # reflectance = scale * integer + offset [1]
    quality: str
    """Kind of the quality layer: ``scl`` (Sentinel-2 scene classes), ``scl_cs`` (scene classes, and in the high byte
    1 + Cloud Score+ ``cs_cdf`` in percent, 0 where there is none), ``qa_pixel`` (Landsat bits), ``fmask`` (HLS),
    ``oa_fmask`` (classes of Digital Earth Australia), or ``none`` (every pixel with a value counts as ground)."""
    crs: str = ""
    """Native coordinate system, for instance ``EPSG:32648``; empty: unknown. Granules in the coordinate system of the
    site are preferred, others only fill gaps."""
    orbit: str = ""  # relative orbit or Landsat path; empty: unknown
    footprint: BaseGeometry | None = field(default=None, repr=False)
    """Outline of the scene, longitude and latitude; None: it covers the whole requested area. [degree]"""
    handle: Any = field(default=None, repr=False, compare=False)
    """Private data with which the source reads the scene; None: incomplete, since the scene is stored."""

    def touches(self, area: BaseGeometry) -> bool:
        """Whether the scene may have pixels in an area, longitude and latitude. [degree]"""
        return self.footprint is None or bool(self.footprint.intersects(area))


type IsStored = Callable[[Scene], bool]  # whether all sites that a scene touches have it, at least in its baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixels of one scene on one grid, as delivered."""

    grid: GeoBox
    pixels: np.ndarray  # (band, y, x) uint16, bands as in `monitor.imagery.bands.OBSERVED`; 0 where there is no value
    quality: np.ndarray  # (y, x) uint16 quality layer, of the kind `Scene.quality`; 0 where there is no value


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Estimated requests and bytes of a run."""

    requests: int  # requests, without searches and retries
    megabytes: float  # size of the pixels [MB]
    eecu_seconds: float  # computing time of Earth Engine; rough, see its `EECU_PER_MEGAPIXEL` [EECU s]


class Source(Protocol):
    """A provider of imagery; the defaults are those of one that only delivers files."""

    name: str  # name in logs and records; unique among the sources of a run
    ring: tuple[float, float] = (300.0, 10_000.0)  # nearest and farthest distance of control ground from a site [m]
    reduces_on_server: bool = False  # whether it averages control units (`reduce`), so that their pixels are not read

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Coordinate system, resolution and alignment for the grid of a new site, as a grid of any size.

        The provider's own grid if that avoids resampling. The geometry is in longitude and latitude. [degree]
        """
        ...

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes that touch an area, ascending by time; both days are included.

        `stored` says whether a scene is stored already, as nearly all of ten years are; default: none is. Such a scene
        may be returned without handle, scale, offset, quality and coordinate system. If it must be read again together
        with a new granule of its overpass, another search is made without `stored`.

        Raises TryLater if the provider is down or asks to wait longer than the budget, and BadConfiguration if it
        refuses access, or lacks a collection.
        """
        ...

    def check_collections(self) -> None:
        """Check that the provider has every configured collection; called if a search returned nothing at all.

        Does nothing where a search reports a missing collection. Raises UnknownCollection for one that does not exist,
        and TryLater if the provider is down.
        """
        return

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[Iterable[Frame] | SceneRejected]:
        """Read scenes, which have a handle, on grids, by the nearest pixel, never interpolated.

        Frames may be made on demand. A source reads one of its own blocks once for all grids that touch it, and many
        scenes are given at once so that it can request them together. Yields for each scene in turn its frames on all
        grids in their order; if it cannot be read, the reason is yielded instead of the frames or raised among them, so
        that it does not stop the other scenes.

        Raises TryLater if the provider is down, so that the scenes that remain wait unread, and BadConfiguration if it
        refuses the credentials.
        """
        ...

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: Callable[[Any], Any]
    ) -> Iterator[np.ndarray | SceneRejected]:
        """Means over the clear pixels of control units, computed by the provider; only if :attr:`reduces_on_server`.

        Scenes have a valid scale and offset. `lattice` gives coordinate system and pixels of the units. `recipe`
        converts an image of reflectances, with the bands of :data:`monitor.imagery.bands.OBSERVED`, to the layers to be
        averaged, in the provider's own objects. Yields for each scene in turn (unit, 1 + layer) float64: the number of
        clear pixels, then the means over them, NaN without clear pixels. Errors as of :meth:`read`.
        """
        raise BadConfiguration(f"{self.name} has no server that could reduce")

    def cost(self, scenes: int, grid: GeoBox, units: int) -> Cost | None:
        """Estimate the cost of reading scenes of one site and of reducing control units of its size.

        None where it depends on the layout of the provider's files, which is known only once they are opened.
        """
        return None
