"""The embedded sample imagery: a real Sentinel-2 series with simulated vegetation changes of known size.

The wheel ``nrt`` 0.2.1 (extra ``demo``) contains 140 real acquisitions, 2015 to 2021, of one square kilometre of forest
in Romania (EPSG:3035, 10 m, Sentinel-2 L2A, scene classes included). Nothing is being restored there, so the
demonstration mixes spectra: every pixel becomes ``w`` times the real pixel plus ``1 - w`` times bare loess
(:data:`SOIL_REFLECTANCE`) with the brightness of the scene. Before the start, and on all control ground, ``w``
corresponds to the cover :data:`BASELINE`; afterwards it follows the fate of the site. Clouds, noise, registration and
season stay real. Control ground begins 20 m outside a site, since the square is too small for a ring of 10 km.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from monitor.errors import BROKEN_SCENE, BadConfiguration, SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame, IsStored, Scene, Source
from monitor.sites.projection import lonlat
from monitor.sites.site import Plan

LAEA: Final = CRS("EPSG:3035")  # coordinate system of the series
PLAN: Final = Plan(A=0.30, k=0.9, L=0.3, too_early_years=2.0)  # plan of every site of the demonstration
START: Final = date(2017, 4, 1)  # start of every site except the one that is too early
BASELINE: Final = 0.25  # vegetation cover of all ground before the start, at the peak of the season [1]
SOIL_REFLECTANCE: Final = {"blue": 1000, "green": 1400, "red": 1900, "nir": 2500, "swir16": 3200}
"""Reflectance of bare dry loess, times 10,000: assumed round values, increasing smoothly to the infrared, NDVI .14."""
DEMONSTRATION_NOTICE: Final = {
    "en": "Demonstration. The imagery is real (Sentinel-2, Romania, 2015-2021); the fates of the sites are injected by "
    "mixing each pixel with bare soil, so that the true answer is known. No site here is being restored.",
    "zh": "演示。影像是真实的（哨兵二号，罗马尼亚，2015—2021 年）；各地块的结局是把每个像元与裸土光谱混合后人为设定的，"
    "因此真实答案已知。这里没有真正的修复地块。",
}
"""Notice at the top of the pages of the demonstration, by language."""
SAMPLE_NOTICE: Final = {
    "en": "Sample imagery is set as a source: one square kilometre in Romania (Sentinel-2, 2015-2020), with bare soil "
    "mixed into every pixel, for trying the monitor out. It shows no other place, and no result from it is about a "
    "real site.",
    "zh": "影像来源含内置样例：罗马尼亚境内一平方公里（哨兵二号，2015—2020 年），每个像元都混入了裸土光谱，仅供试用。"
    "它不覆盖其他任何地方，由它得出的结论都不针对真实地块。",
}
"""Notice at the top of pages made from sample imagery outside the demonstration, by language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Simulated development of a site of the demonstration."""

    name: str  # status expected at the end
    story: str  # description
    theta: float = 1.0  # share of the planned uplift that is achieved, until a loss [1]
    start: date = START  # start of the intervention
    lost: date | None = None  # day from which the uplift decreases to zero, within four weeks
    drop: date | None = None  # day on which the cover decreases by `DISTURBANCE_DROP`
    cloudy: bool = False  # whether cloud hides the site in all but a few scenes after the start
    intervention: str = "assisted_regeneration"
    slope_degrees: float | None = None  # slope of the terrain; None: not stated [degree]

    @property
    def truth(self) -> float | None:
        """True share of the planned uplift at the end; None if no single share describes it. [1]"""
        if self.drop is not None or self.cloudy or self.name == "too_early":
            return None
        return 0.0 if self.lost else self.theta


DISTURBANCE_DROP: Final = 0.22  # decrease of cover in the disturbance [1]

FATES: Final = (
    Fate(name="on_track", story="grows as promised"),
    Fate(name="on_track", story="grows a tenth better than promised", theta=1.1, intervention="planting"),
    Fate(name="lagging", story="grows at a third of the promise", theta=0.35),
    Fate(name="failing", story="never takes hold", theta=0.0),
    Fate(name="failing", story="slightly worse than doing nothing", theta=-0.1, intervention="planting"),
    Fate(name="failing", story="a good first year, then lost", lost=date(2018, 5, 5)),
    Fate(name="disturbed", story="grows as promised, then loses cover in days", drop=date(2020, 6, 28)),
    Fate(name="too_early", story="planted in the last year", start=date(2020, 4, 1)),
    Fate(name="insufficient_data", story="hidden by cloud since the start", cloudy=True),
    Fate(name="on_track", story="erosion control on a slope, grows as promised", intervention="erosion_control",
         slope_degrees=22.0),
)  # fmt: skip

SIZE: Final = 8  # side of a site [pixel]
PLACE_CORNERS: Final = (
    (14, 34), (17, 59), (36, 26), (41, 43), (44, 2), (52, 90), (59, 14), (74, 75), (83, 38), (86, 14),
)  # fmt: skip
"""Row and column of the upper left pixel of each place of a site: windows without a pixel whose median summer NDVI
changed by more than .06 between 2016 and 2020. Part of the forest was logged in those years (a quarter of all pixels
changed by more than .1), so control ground, which may be anywhere, changes as it does in reality."""


def deal_fates(seed: int) -> list[tuple[int, Fate]]:
    """Assign the fates to places at random: pairs of place number and fate, ascending by place."""
    order = np.random.default_rng(seed).permutation(len(FATES))
    return [(place, FATES[int(index)]) for place, index in enumerate(order)]


class Sample(Source):
    """The embedded sample imagery as a source; `seed` assigns the fates to places, see :func:`deal_fates`.

    Raises BadConfiguration on first use if the sample is not installed.
    """

    name = "sample"
    ring = (20.0, 1500.0)

    def __init__(self, seed: int = 1) -> None:
        self.places = deal_fates(seed)

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """The native grid (EPSG:3035, 10 m), so that nothing is resampled."""
        return self._series[1]

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes of the series, ascending by time; none if the area is outside the square kilometre."""
        footprint = self._footprint
        if not footprint.intersects(area):
            return []
        days = [day.astype(object) for day in self._series[0].time.values.astype("datetime64[D]")]
        return [
            Scene(
                id=f"romania-{day}", acquisition=f"sentinel-2/{day}/romania",
                time=datetime(day.year, day.month, day.day, tzinfo=UTC), sensor="sentinel-2", baseline="",
                source=self.name, scale=1e-4, offset=0.0, quality="scl", footprint=footprint, handle=index,
            )
            for index, day in enumerate(days)
            if since <= day <= until
        ]  # fmt: skip

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[list[Frame] | SceneRejected]:
        """Read mixed scenes on grids of the native lattice, without values outside the square kilometre."""
        native = self._series[1]
        for scene in scenes:
            if not isinstance(scene.handle, int):
                yield SceneRejected(BROKEN_SCENE, f"scene {scene.id!r} is not one of the embedded series")
                continue
            pixels, quality = self._mixed(scene.handle, scene.time.date())
            yield [_cut(pixels, quality, native, grid) for grid in grids]

    def place(self, index: int) -> BaseGeometry:
        """Outline of the site at a place, longitude and latitude. [degree]

        It is a third of a pixel inside the outer edge, so that it contains exactly the centres of the site's pixels.
        """
        row, column = PLACE_CORNERS[index]
        _, native = self._series
        inset = 1 / 3
        left, top = native.affine @ (column + inset, row + inset)
        right, bottom = native.affine @ (column + SIZE - inset, row + SIZE - inset)
        return lonlat(box(left, bottom, right, top), LAEA)

    def weight(self, fate: Fate, day: date) -> float:
        """Share of the real pixel in the mixture on a day. [1]"""
        years = (day - fate.start).days / 365.25
        uplift = fate.theta * PLAN.uplift(years)
        if fate.lost and day >= fate.lost:
            uplift *= max(0.0, 1.0 - (day - fate.lost).days / 28.0)
        if fate.drop and day >= fate.drop:
            uplift -= DISTURBANCE_DROP
        shares, covers = self._mixture
        return float(np.interp(BASELINE + uplift, covers, shares))

    @property
    def _series(self) -> tuple[xr.Dataset, GeoBox]:
        return _embedded_series()

    @cached_property
    def _footprint(self) -> BaseGeometry:
        left, bottom, right, top = self._series[1].extent.boundingbox.bbox
        return lonlat(box(left, bottom, right, top), LAEA)

    @cached_property
    def _summer(self) -> dict[str, float]:
        """Median reflectance (times 10,000) of the forest in clear scenes of June to August."""
        series = self._series[0]
        months = series.time.dt.month.values
        ground = np.isin(series.quality.values, (4, 5))
        chosen = (ground.mean(axis=(1, 2)) > 0.95) & (months >= 6) & (months <= 8)
        return {name: float(np.median(series[name].values[chosen])) for name in SOIL_REFLECTANCE}

    @cached_property
    def _mixture(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the real pixel in a mixture, and their summer cover by the dimidiate model, NDVI .09 and .86."""
        shares = np.linspace(0.0, 1.0, 2001)
        red, nir = (shares * self._summer[b] + (1 - shares) * SOIL_REFLECTANCE[b] for b in ("red", "nir"))
        ndvi = (nir - red) / (nir + red)
        return shares, (ndvi - 0.09) / (0.86 - 0.09)

    def _mixed(self, index: int, day: date) -> tuple[np.ndarray, np.ndarray]:
        scene = self._series[0].isel(time=index)
        quality = scene.quality.values.copy()
        control = Fate(name="control", story="", theta=0.0)
        share = np.full(quality.shape, self.weight(control, day))
        for place, fate in self.places:
            row, column = PLACE_CORNERS[place]
            window = (slice(row, row + SIZE), slice(column, column + SIZE))
            share[window] = self.weight(fate, day)
            if fate.cloudy and day >= fate.start and index % 16:
                quality[window] = 9
        ground = np.isin(quality, (4, 5))
        visible = np.median(scene.green.values[ground]) if ground.any() else self._summer["green"]
        brightness = float(np.clip(visible / self._summer["green"], 0.5, 2.0))
        pixels = np.zeros((len(bands.OBSERVED), *quality.shape), dtype=np.uint16)
        for band, soil in SOIL_REFLECTANCE.items():
            real = scene[band].values
            mixed = np.rint(share * real + (1.0 - share) * soil * brightness)
            pixels[bands.OBSERVED.index(band)] = np.where(real == bands.NODATA, bands.NODATA, mixed)
        return pixels, quality


@cache
def _embedded_series() -> tuple[xr.Dataset, GeoBox]:
    """The embedded series, which is read once a process, and its grid."""
    fine, coarse = (_open(resolution) for resolution in ("10m", "20m"))
    x, y = fine.x.values, fine.y.values
    if coarse.x.values[0] - x[0] != 5.0 or y[0] - coarse.y.values[0] != 5.0:
        msg = "the 10 m and 20 m files of the sample do not share a corner; reinstall nrt==0.2.1 (extra 'demo')"
        raise BadConfiguration(msg)
    layers = {"blue": fine.B2, "green": fine.B3, "red": fine.B4, "nir": fine.B8, "quality": fine.SCL}
    data = {name: (("time", "y", "x"), _integers(layer.values)) for name, layer in layers.items()}
    swir = _integers(coarse.B11.values).repeat(2, axis=1).repeat(2, axis=2)
    data["swir16"] = (("time", "y", "x"), swir)
    native = GeoBox((y.size, x.size), Affine(10.0, 0.0, x[0] - 5.0, 0.0, -10.0, y[0] + 5.0), LAEA)
    return xr.Dataset(data, coords={"time": fine.time, "y": y, "x": x}), native


def _open(resolution: str) -> xr.Dataset:
    file = f"nrt/data/sentinel2_cube_subset_romania_{resolution}.nc"
    try:
        path = Path(str(metadata.distribution("nrt").locate_file(file)))
        with xr.open_dataset(path, engine="netcdf4") as dataset:
            return dataset.load()
    except (metadata.PackageNotFoundError, OSError) as error:
        msg = "the embedded sample is not installed: pip install 'regrowth-monitor[demo]' brings it (nrt==0.2.1)"
        raise BadConfiguration(msg) from error


def _integers(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.rint(values), nan=bands.NODATA).clip(0, 65535).astype(np.uint16)


def _cut(pixels: np.ndarray, quality: np.ndarray, native: GeoBox, grid: GeoBox) -> Frame:
    column, row = ~native.affine @ (grid.affine.c, grid.affine.f)
    if grid.crs != native.crs or abs(column - round(column)) > 1e-6 or abs(row - round(row)) > 1e-6:
        raise ValueError(f"the sample is read on its own lattice only (EPSG:3035, 10 m), not on {grid}")
    top, left = round(row), round(column)
    height, width = grid.shape
    rows = slice(max(top, 0), min(top + height, native.shape[0]))
    columns = slice(max(left, 0), min(left + width, native.shape[1]))
    cut = np.zeros((pixels.shape[0], height, width), dtype=np.uint16)
    classes = np.zeros((height, width), dtype=np.uint16)
    if rows.start < rows.stop and columns.start < columns.stop:
        target = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        cut[(slice(None), *target)] = pixels[:, rows, columns]
        classes[target] = quality[rows, columns]
    return Frame(grid=grid, pixels=cut, quality=classes)
