"""Maps and chips of a site as files: cloud-optimised GeoTIFFs for a GIS, small PNGs for its page."""

import io
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
import odc.geo.xr  # noqa: F401  (gives arrays their grid)
import xarray as xr
from matplotlib.image import imsave
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from monitor.publish.view import Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """How one map of a site is coloured and named."""

    name: str
    """Variable of ``SiteView.maps`` and name of the file."""
    unit: str
    low: float
    high: float
    """Values outside take the end colours; the same for every site and night, so that maps compare."""
    palette: str
    """Name in :data:`matplotlib.colormaps`; told apart by all common forms of colour vision."""
    factor: float = 1.0
    """From the stored value to the one in the legend."""
    title: tuple[str, str]
    """English, Chinese."""
    legend_unit: tuple[str, str]
    """English, Chinese."""

    @property
    def ends(self) -> tuple[str, str]:
        """What the two ends of the legend say."""
        low, high = (f"{value * self.factor:{'+' if self.low < 0 else ''}.3g}" for value in (self.low, self.high))
        return low.replace("-", "−"), high


LAYERS: Final = (
    Layer(
        name="uplift", unit="1", low=-0.3, high=0.3, palette="BrBG", factor=100.0,
        title=("Uplift over the control", "相对对照的增量"), legend_unit=("points of cover", "覆盖度百分点"),
    ),
    Layer(
        name="slope", unit="1/year", low=-0.06, high=0.06, palette="BrBG", factor=100.0,
        title=("Trend of cover", "覆盖度趋势"), legend_unit=("points a year", "百分点/年"),
    ),
    Layer(
        name="cover", unit="1", low=0.0, high=1.0, palette="YlGn", factor=100.0,
        title=("Vegetation cover", "植被覆盖度"), legend_unit=("%", "%"),
    ),
    Layer(
        name="ndvi", unit="1", low=0.0, high=0.9, palette="YlGn",
        title=("NDVI", "NDVI"), legend_unit=("no unit", "无量纲"),
    ),
)  # fmt: skip


def grid_of(values: xr.DataArray | xr.Dataset) -> GeoBox:
    """The grid that a map lies on, from its coordinates and CRS."""
    grid: GeoBox = values.odc.geobox
    return grid


def cog(values: xr.DataArray, layer: Layer) -> bytes:
    """A map as a cloud-optimised GeoTIFF: float32, nodata NaN, the same bytes for the same map.

    Parameters
    ----------
    values : (y, x) DataArray
        With a CRS; NaN where there is no value.
    layer : Layer
        Gives the band its name and unit.
    """
    grid = grid_of(values)
    options = {"driver": "COG", "compress": "DEFLATE", "predictor": "YES", "overviews": "AUTO"}
    with MemoryFile() as memory:
        with memory.open(
            height=values.sizes["y"], width=values.sizes["x"], count=1, dtype="float32", nodata=np.nan,
            crs=str(grid.crs), transform=grid.affine, **options,
        ) as file:  # fmt: skip
            file.write(values.transpose("y", "x").to_numpy().astype(np.float32), 1)
            file.set_band_description(1, layer.name)
            file.set_band_unit(1, layer.unit)
        return bytes(memory.getbuffer())


def map_png(values: xr.DataArray, layer: Layer) -> bytes:
    """A map in the colours of its layer, transparent where there is no value."""
    array = values.transpose("y", "x").to_numpy()
    share = np.clip((array - layer.low) / (layer.high - layer.low), 0.0, 1.0)
    rgba = mpl.colormaps[layer.palette](np.nan_to_num(share))
    rgba[..., 3] = np.isfinite(array)
    return _png(rgba)


def chip_pngs(chips: list[Chip]) -> list[bytes]:
    """Natural-colour pictures under one common stretch, so that brighter ground is brighter ground; transparent
    where not seen.
    """
    if not chips:
        return []
    seen = np.concatenate([c.rgb[np.isfinite(c.rgb)] for c in chips])
    bright = max(float(np.percentile(seen, 99)), 0.1) if seen.size else 1.0
    pictures = []
    for chip in chips:
        light = np.clip(chip.rgb / bright, 0.0, 1.0) ** (1 / 1.4)
        known = np.isfinite(chip.rgb).all(axis=2)
        pictures.append(_png(np.dstack([np.nan_to_num(light), known])))
    return pictures


def legend_stops(layer: Layer) -> list[tuple[int, str]]:
    """Place [%] and colour of the stops of a layer's colour bar."""
    shares = np.linspace(0, 1, 9)
    colours = (255 * mpl.colormaps[layer.palette](shares)[:, :3]).round().astype(int)
    return [(round(100 * s), "#{:02x}{:02x}{:02x}".format(*c)) for s, c in zip(shares, colours, strict=True)]


def outline_path(outline: np.ndarray) -> str:
    """The outline of a site as an SVG path in pixels of its chips."""
    rings: list[list[str]] = [[]]
    for x, y in outline:
        if np.isfinite(x):
            rings[-1].append(f"{x:.1f},{y:.1f}")
        else:
            rings.append([])
    return "".join("M" + "L".join(ring) + "Z" for ring in rings if ring)


def frame(outline: np.ndarray | None, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What a map shows: the site and a tenth around it, for beyond its outline a map has no values.

    Parameters
    ----------
    outline : (n, 2) array, optional
        See :class:`monitor.publish.view.SiteView`; None: the whole map.
    size : tuple of int
        Width and height of the map. [pixel]

    Returns
    -------
    tuple of float
        Left, top, width, height. [pixel]
    """
    if outline is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    first, last = np.nanmin(outline, axis=0), np.nanmax(outline, axis=0)
    margin = 1 + 0.1 * float((last - first).max())
    left, top = np.maximum(np.floor(first - margin), 0)
    right, bottom = np.minimum(np.ceil(last + margin), size)
    return float(left), float(top), float(right - left), float(bottom - top)


def _png(rgba: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    imsave(buffer, (255 * rgba).round().astype(np.uint8), format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return buffer.getvalue()
