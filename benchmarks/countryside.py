"""A programme that does not exist: sites with their scenes and clouds, as local COGs and STAC items.

Sites lie in counties, up to 64 of them on a chessboard with ground for their control units around, each county in a
square of the UTM grid of its own. A scene is one Sentinel-2 L2A granule over one county: six bands and the scene
classes, tiles of 512 pixels, deflated. What grows follows the season; after the start two of three sites grow beyond
the ground around them. Clouds are blobs that cover a quarter of the scenes of the history; the scenes of the nights
that are timed are clear, so that every product of every site changes.
"""

import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo import CRS
from shapely.geometry import box, mapping

from monitor.sites.projection import lonlat

EPSG = 32648
SIDE = 8  # sites along one side of a county
PITCH, BORDER = 2.0, 2.5  # from site to site, and around them: in sides of a site
BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22"}
COARSE = ("B11", "B12", "SCL")  # layers of 20 m; the others have 10 m
DARK = {"red": (0.16, -0.12), "nir": (0.2, 0.3)}
"""Reflectance of bare ground, and what a full cover adds; other bands: 0.12."""
NOISE = 0.01  # standard deviation of reflectance from pixel to pixel [1]
MIXED, CLEAR, OVERCAST = (0.0, 0.0, 0.2, 0.5), (0.0,), (1.0,)
"""Shares of a scene under clouds: of a history, and of nights."""
UPLIFT = 0.12  # green that a site gains in the years after the start, where it does [1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Countryside:
    """Sites of one size, a registry, a catalogue and a configuration in one folder."""

    root: Path
    sites: int
    hectares: float
    start: date  # of the work, everywhere

    @property
    def side(self) -> int:
        """Of a site. [pixel]"""
        return round(math.sqrt(self.hectares * 100))

    @property
    def counties(self) -> int:
        """Of up to 64 sites each, as even as can be."""
        return math.ceil(self.sites / SIDE**2)

    @property
    def across(self) -> int:
        """Sites along one side of a county."""
        return min(SIDE, math.ceil(math.sqrt(self.sites)))

    @property
    def extent(self) -> int:
        """Side of a scene. [pixel of 10 m, an even number]"""
        return 2 * math.ceil((PITCH * self.across + 2 * BORDER) * self.side / 2)

    @property
    def config(self) -> Path:
        """Configuration of the monitor."""
        return self.root / "regrowth.toml"

    @property
    def newest(self) -> date:
        """Day of the newest scenes of the catalogue."""
        return max(date.fromisoformat(path.stem) for path in (self.root / "catalogue").iterdir())

    def corner(self, county: int) -> tuple[float, float]:
        """Upper left of a county's scenes. [m]"""
        return 320_000.0 + 100_000 * (county % 4), 4_290_000.0 - 100_000 * (county // 4)

    def place(self, number: int) -> tuple[int, int, int]:
        """County of a site, and row and column of its upper left pixel there."""
        county, at = divmod(number, SIDE**2)
        row, column = divmod(at, self.across)
        first = BORDER * self.side
        return county, round(first + PITCH * self.side * row), round(first + PITCH * self.side * column)

    def lay_out(self) -> None:
        """Registry and configuration; the catalogue is empty."""
        self.root.mkdir(parents=True)
        features = []
        for number in range(self.sites):
            county, row, column = self.place(number)
            left, top = self.corner(county)
            left, top = left + 10 * column, top - 10 * row
            outline = lonlat(box(left, top - 10 * self.side, left + 10 * self.side, top), CRS(f"EPSG:{EPSG}"))
            properties = {
                "id": f"site-{number:05d}", "name": f"Plot {number}", "start": self.start.isoformat(),
                "intervention": "planting", "biome": "loess", "province": "Shaanxi", "programme_year": self.start.year,
            }  # fmt: skip
            features.append({"type": "Feature", "properties": properties, "geometry": mapping(outline)})
        registry = {"type": "FeatureCollection", "features": features}
        (self.root / "sites.geojson").write_text(json.dumps(registry), encoding="utf-8")
        self.config.write_text(
            f'[registry]\npath = "sites.geojson"\n[source]\nkind = "stac"\nsince = "2015-01-01"\nurl = "catalogue"\n'
            f'collections = ["sentinel-2-l2a"]\nallow_hosts = ["{self.root}"]\n',
            encoding="utf-8",
        )
        (self.root / "catalogue").mkdir()

    def pass_over(self, days: Sequence[date], *, clouds: Sequence[float]) -> None:
        """Scenes of some days over every county join the catalogue; `clouds` are shares of a scene, drawn from."""
        wanted = [(county, day) for county in range(self.counties) for day in days]
        fresh = get_context("spawn")  # a fork of a process in which nights have left threads may wait for ever
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=fresh) as workers:
            items = list(workers.map(partial(_scene, self, clouds), *zip(*wanted, strict=True)))
        text = json.dumps({"type": "FeatureCollection", "features": items})
        (self.root / "catalogue" / f"{days[-1]}.json").write_text(text, encoding="utf-8")

    def forget_files(self) -> None:
        """Scenes stay in the catalogue, their files go: whatever was stored is never read again."""
        shutil.rmtree(self.root / "scenes")


def _scene(made: Countryside, clouds: Sequence[float], county: int, day: date) -> dict[str, Any]:
    """Files and item of one granule."""
    rng = np.random.default_rng([county, day.toordinal()])
    letters = "ABCDEFGHJKLMNPQRSTUV"
    tile = f"48S{letters[county // len(letters)]}{letters[county % len(letters)]}"
    name = f"S2A_MSIL2A_{day:%Y%m%d}T034531_N0511_R104_T{tile}_{day:%Y%m%d}T072000"
    folder = made.root / "scenes" / name
    folder.mkdir(parents=True)
    green = _green(made, county, day)
    left, top = made.corner(county)
    assets: dict[str, Any] = {}
    for key in (*BANDS, "SCL"):
        pixel = 20 if key in COARSE else 10
        shape = (made.extent * 10 // pixel,) * 2
        if key == "SCL":
            pixels = _classes(shape, rng, clouds)
        else:
            dark, more = DARK.get(BANDS[key], (0.12, 0.0))
            here = green if more else np.float32(0)
            level = 1000 + 1e4 * (dark + more * here) + 1e4 * NOISE * _noise(shape, rng)
            pixels = np.clip(level, 1, 65535).astype(np.uint16)
        transform = Affine(pixel, 0, left, 0, -pixel, top)
        path = folder / f"{key}.tif"
        with rasterio.open(
            path, "w", driver="COG", height=shape[0], width=shape[1], count=1, dtype=pixels.dtype, nodata=0,
            crs=f"EPSG:{EPSG}", transform=transform, compress="deflate", level=1, blocksize=512, overviews="none",
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        assets[key] = {
            "href": str(path), "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"],
            "proj:shape": list(shape), "proj:transform": list(transform)[:6],
            **({"eo:bands": [{"name": key, "common_name": BANDS[key]}]} if key in BANDS else {}),
        }  # fmt: skip
    outline = lonlat(box(left, top - 10 * made.extent, left + 10 * made.extent, top), CRS(f"EPSG:{EPSG}"))
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "geometry": mapping(outline), "bbox": list(outline.bounds), "links": [], "assets": assets,
        "properties": {
            "datetime": f"{day}T03:45:31Z", "platform": "sentinel-2a", "proj:epsg": EPSG, "s2:mgrs_tile": tile,
            "s2:processing_baseline": "05.11", "s2:datatake_id": f"GS2A_{day:%Y%m%d}T034531_023678_N05.11",
            "sat:relative_orbit": 104,
        },
    }  # fmt: skip


def _green(made: Countryside, county: int, day: date) -> np.ndarray:
    """(y, x) float32 share of green: ground that differs from place to place, by the season, sites after the start."""
    season = math.exp(-0.5 * ((day.timetuple().tm_yday - 205) / 45) ** 2)
    green = _patches(made.extent, county) + np.float32(0.3 * season)
    grown = min(max((day - made.start).days / 1000, 0), 1) * UPLIFT * season
    for number in range(county * SIDE**2, min(made.sites, (county + 1) * SIDE**2)):
        if number % 3:
            _, row, column = made.place(number)
            green[row : row + made.side, column : column + made.side] += np.float32(grown)
    return green


@lru_cache(maxsize=4)
def _patches(extent: int, county: int) -> np.ndarray:
    """Ground as it always was: 0.1 to 0.3, in patches of 200 m."""
    coarse = np.random.default_rng([county, 0]).uniform(0.1, 0.3, (extent // 20 + 1,) * 2).astype(np.float32)
    return np.kron(coarse, np.ones((20, 20), np.float32))[:extent, :extent]


@lru_cache(maxsize=4)
def _field(side: int) -> np.ndarray:
    return np.random.default_rng(side).standard_normal((side, side), dtype=np.float32)


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The same noise elsewhere: to draw it again would take longer than all the rest."""
    return np.roll(_field(shape[0]), tuple(rng.integers(0, shape[0], 2)), axis=(0, 1))


def _classes(shape: tuple[int, int], rng: np.random.Generator, clouds: Sequence[float]) -> np.ndarray:
    """Scene classes: vegetation, and clouds over one of the shares of the scene."""
    share = rng.choice(clouds)
    blobs = rng.uniform(size=(shape[0] // 64 + 1, shape[1] // 64 + 1)) < share
    cloud = np.kron(blobs, np.ones((64, 64), bool))[: shape[0], : shape[1]]
    return np.where(cloud, 9, 4).astype(np.uint8)
