"""A source that paints its scenes, so that sources, granules, baselines and outages can be distinguished."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from jobs.night import pipeline
from jobs.runtime.installation import open_ledger
from monitor.errors import SceneRejected, TryLater
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene
from monitor.series.observations import observations_csv
from monitor.sites.projection import lonlat, projected
from monitor.sites.site import Plan
from tests import builders
from tests.builders import feature, plan_properties
from tests.landscape import series_of

CRS = "EPSG:32648"
START = date(2018, 4, 1)
PLAN = Plan(A=0.25, k=0.9, L=0.3, too_early_years=1.5)
"""Start and plan of sites whose cover is painted by it, see :func:`growing` and :func:`planted_sites`."""
FIRST, NIGHT = date(2018, 5, 15), date(2020, 9, 30)
DAYS = [FIRST + timedelta(days=d) for d in range(0, 880, 22)]
FEW = DAYS[::4]  # enough where the verdict does not matter
SITE = (12_000, 12_000, 12_120, 12_120)
ROW = [(x, 12_000, x + 120, 12_120) for x in (8_000, 8_700, 9_400)]
"""Three neighbours, in metres from the corner of the painted land."""
LEFT, BOTTOM = 400_000.0, 4_000_000.0
SOIL = np.array([900, 1300, 1700, 2300, 3000, 2800])
LEAF = np.array([300, 600, 400, 4200, 1900, 900])


def ground(x0, y0, x1, y1):
    """Outline in longitude and latitude of a rectangle, metres from the corner of the painted land."""
    return lonlat(box(LEFT + x0, BOTTOM + y0, LEFT + x1, BOTTOM + y1), CRS)


def within(grid, *rectangles):
    """Which pixels of a grid lie in one of the rectangles, metres from the corner of the painted land."""
    x, y = _places(grid)
    x, y = x - LEFT, y - BOTTOM
    return np.any([(x > x0) & (x < x1) & (y > y0) & (y < y1) for x0, y0, x1, y1 in rectangles], axis=0)


def growing(day, grid, theta, left=1.0):
    """Frame without clouds of ground whose cover grew by `theta` times :data:`PLAN`; the share `left` of it remains."""
    x, y = _places(grid)
    x, y = x - LEFT, y - BOTTOM
    season = np.exp(-(((day.timetuple().tm_yday - 215) / 45.0) ** 2) / 2)
    noise = np.random.default_rng(day.toordinal()).normal(0, 0.02, x.shape)
    rough = 0.04 * np.sin(x / 170) * np.cos(y / 230)
    uplift = 1.3 * PLAN.uplift((day - START).days / 365.25) * theta
    share = np.clip(((0.25 + rough + uplift) * season + 0.05 + noise) * left, 0, 1)[None]
    pixels = np.rint(SOIL[:, None, None] * (1 - share) + LEAF[:, None, None] * share).astype(np.uint16)
    return Frame(grid=grid, pixels=pixels, quality=np.full(x.shape, 4, np.uint16))


def planted_sites(folder, rectangles):
    """Settings of an installation in a folder, with a planted site in each of the rectangles by id."""
    plan = plan_properties(PLAN)
    features = [feature(id, ground(*place), start=START.isoformat(), **plan) for id, place in rectangles.items()]
    return builders.installed(folder, features, 'kind = "sample"\nsince = "2015-01-01"')


def installed(root, sites=(SITE,)):
    """Settings of an installation in a folder, with sites s1, s2, ... in rectangles that recover by themselves."""
    features = [
        feature(f"s{n}", ground(*outline), start="2019-06-01", intervention="assisted_regeneration")
        for n, outline in enumerate(sites, start=1)
    ]
    return builders.installed(root, features, 'kind = "sample"\nsince = "2018-01-01"')


def night(settings, *, as_of=NIGHT, pages=False, **more):
    """A night; without pages unless a test reads them."""
    return pipeline.night(settings, as_of=as_of, pages=pages, **more)


def states(manifest):
    return {one.site: one.state for one in manifest.sites}


def verdicts(settings):
    """Entries of ``status.json`` by site."""
    return {one["site"]: one for one in json.loads((settings.outputs.root / "status.json").read_bytes())}


def observations(settings, site="s1"):
    """Content of ``observations.csv`` of a site."""
    return observations_csv(site, series_of(settings, site)["line"].tolist())


def assessments(settings, site="s1"):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return t.assessments_of(site)


def status(settings, site="s1"):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return t.latest_assessment(site).payload


@dataclass
class Painted:
    """Scenes of painted land; `days` are acquired by one satellite over one or several tiles."""

    days: Sequence[date]
    name: str = "painted"
    tiles: dict[str, tuple[float, float, float, float]] = field(default_factory=lambda: {"48SUF": (0, 0, 30e3, 30e3)})
    baseline: str = "02.09"
    offset: float = 0.0
    down: bool = False
    broken: frozenset[str] = frozenset()
    cloudy: frozenset[date] = frozenset()  # days on which nothing but cloud is seen
    flawed: frozenset[date] = frozenset()  # days on which pixels carry an offset that the metadata do not state
    landsat: bool = False
    """Seen by Landsat 8: its integers, its quality bits and its bands; the near infrared is a fiftieth brighter than
    the known bandpass gives."""
    sensor: str = "sentinel-2a"
    ring: tuple[float, float] = (50.0, 1000.0)
    reduces_on_server: bool = False
    searches: int = 0
    read_scenes: list[str] = field(default_factory=list)

    def grid(self, geometry):
        return GeoBox((1, 1), Affine(10.0, 0, LEFT, 0, -10.0, BOTTOM), CRS)

    def search(self, area, since, until, stored=None):
        self.searches += 1
        if self.down:
            raise TryLater(f"{self.name} does not answer")
        found = []
        for day in self.days:
            for tile, extent in self.tiles.items():
                footprint = ground(*extent)
                if since <= day <= until and footprint.intersects(area):
                    scene = self.scene(day, tile, footprint)
                    if stored is not None and stored(scene):
                        scene = replace(scene, handle=None, scale=np.nan, offset=np.nan, quality="", crs="")
                    found.append(scene)
        return found

    def check_collections(self):
        pass

    def scene(self, day, tile, footprint):
        when = datetime.combine(day, time(3, 51, 41), UTC)
        if self.landsat:
            return Scene(
                id=f"{self.name}-{day}", acquisition=f"LC08/129/{day:%Y%m%d}", tile="034", time=when,
                sensor="landsat-8", baseline="02.20200824", source=self.name, scale=2.75e-5, offset=-0.2,
                quality="qa_pixel", crs=CRS, orbit="129", footprint=footprint, handle=day,
            )  # fmt: skip
        return Scene(
            id=f"{self.name}-{tile}-{day}-{self.baseline}", acquisition=f"S2A/{when:%Y%m%dT%H%M%S}", tile=tile,
            time=when, sensor=self.sensor, baseline=self.baseline, source=self.name, scale=1e-4, offset=self.offset,
            quality="scl", crs=CRS, orbit="018", footprint=footprint, handle=day,
        )  # fmt: skip

    def read(self, scenes, grids: Sequence[GeoBox]) -> Iterator[list[Frame] | SceneRejected]:
        for scene in scenes:
            self.read_scenes.append(scene.id)
            if scene.id in self.broken:
                yield SceneRejected("BROKEN", f"scene {scene.id!r} is torn")
                continue
            yield [self._frame(scene, grid) for grid in grids]

    def reduce(self, scenes, units, lattice, recipe):
        raise NotImplementedError

    def cost(self, scenes, grid, units):
        return None

    def _frame(self, scene, grid):
        rough = _rough(grid)
        years = (scene.handle - date(2018, 1, 1)).days / 365.25
        season = np.exp(-(((scene.handle.timetuple().tm_yday - 215) / 45.0) ** 2) / 2)
        share = np.clip((0.25 + 0.1 * rough + 0.01 * years) * season + 0.05, 0, 1)[None]
        colour = SOIL[:, None, None] * (1 - share) + LEAF[:, None, None] * share
        if self.landsat:
            slope, intercept = np.array([bands.BANDPASS[band] for band in bands.OBSERVED]).T[..., None, None]
            more = np.where(np.array(bands.OBSERVED) == "nir", 1.02, 1.0)[:, None, None]
            pixels = np.rint((more * (slope * colour / 1e4 + intercept) + 0.2) / 2.75e-5).astype(np.uint16)
        else:
            pixels = np.rint(colour - self.offset * 1e4 + 1000 * (scene.handle in self.flawed)).astype(np.uint16)
        seen = _seen(scene.footprint, grid)
        pixels[:, ~seen] = bands.NODATA
        good = 21824 if self.landsat else 9 if scene.handle in self.cloudy else 4
        return Frame(grid=grid, pixels=pixels, quality=np.where(seen, good, 0).astype(np.uint16))


def _places(grid):
    height, width = grid.shape
    x = grid.affine.c + (np.arange(width) + 0.5) * 10.0
    y = grid.affine.f - (np.arange(height) + 0.5) * 10.0
    return np.meshgrid(x, y)


@lru_cache(maxsize=64)
def _rough(grid):
    x, y = _places(grid)
    return np.modf(np.abs(np.sin(x * 0.013 + y * 0.007)) * 97.0)[0].astype(np.float32)


@lru_cache(maxsize=64)
def _seen(footprint, grid):
    return shapely.contains_xy(projected(footprint, CRS), *_places(grid))
