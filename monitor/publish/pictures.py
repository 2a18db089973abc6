"""Maps and pictures of a site as files: cloud-optimised GeoTIFFs for a GIS, small PNGs for its page."""

import zlib
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Final, NamedTuple

import numpy as np
import rioxarray  # noqa: F401  gives DataArrays their ``rio``
import xarray as xr
from rasterio import Env
from rasterio.io import MemoryFile


class Layer(NamedTuple):
    """Colours and labels of one map of a site."""

    name: str
    """Variable of ``SiteView.maps`` and name of the file."""
    low: float
    high: float
    """Values at the ends of the colour scale, the same for every site and night; values beyond take the end colours."""
    palette: str
    """Name in :data:`PALETTES`."""
    title: tuple[str, str]
    """English, Chinese."""
    legend_unit: tuple[str, str]
    """English, Chinese."""
    factor: float = 100.0
    """Legend value per stored value."""
    unit: str = "1"
    """Unit of the values in the GeoTIFF."""

    @property
    def ends(self) -> tuple[str, str]:
        """Labels of the two ends of the legend."""
        low, high = (f"{value * self.factor:{'+' if self.low < 0 else ''}.3g}" for value in (self.low, self.high))
        return low.replace("-", "−"), high


MAP_LAYERS: Final = (
    Layer("loss", 0.0, 1.0, "OrRd", ("Lost a quarter of its cover or more", "覆盖减少四分之一以上"),
          ("% probable", "概率，%")),
    Layer("failing", 0.0, 1.0, "OrRd", ("Regrowth absent", "未见恢复"), ("% probable", "概率，%")),
    Layer("uplift", -0.3, 0.3, "BrBG", ("Uplift over the control", "相对对照的增量"),
          ("points of cover", "覆盖度百分点")),
    Layer("slope", -0.06, 0.06, "BrBG", ("Trend of cover", "覆盖度趋势"), ("points a year", "百分点/年"),
          unit="1/year"),
    Layer("cover", 0.0, 1.0, "YlGn", ("Vegetation cover", "植被覆盖度"), ("%", "%")),
    Layer("ndvi", 0.0, 0.9, "YlGn", ("NDVI", "NDVI"), ("no unit", "无量纲"), factor=1.0),
)  # fmt: skip

PALETTES: Final = {
    "OrRd": "fff7ec fee8c8 fdd49e fdbb84 fc8d59 ef6548 d7301f b30000 7f0000",
    "BrBG": "543005 8c510a bf812d dfc27d f6e8c3 f5f5f5 c7eae5 80cdc1 35978f 01665e 003c30",
    "YlGn": "ffffe5 f7fcb9 d9f0a3 addd8e 78c679 41ab5d 238443 006837 004529",
}
"""Evenly spaced colours from low to high, by ColorBrewer (C. A. Brewer, colorbrewer2.org, Apache-2.0), distinguishable
in all common forms of colour vision."""

MAX_BLOCK: Final = 512
"""Largest side of a block of a map. [pixel]"""

SHADES: Final = 255
"""Colours of a map, without the transparent one."""

PALETTE, COLOUR, COLOUR_AND_OPACITY = 3, 2, 6
"""Colour types of PNG: indices of a palette; red, green, blue; red, green, blue and opacity."""

PNG_LEVEL: Final = 1
"""Compression level of PNGs, 1 to 9: pictures of noisy ground hardly get smaller with a higher one, maps are small."""


def cog(values: xr.DataArray, layer: Layer, tags: Mapping[str, str]) -> bytes:
    """Encode a map as a cloud-optimised GeoTIFF: float32, nodata NaN, the same bytes for the same map.

    Parameters
    ----------
    values : xr.DataArray
        (y, x), NaN where there is no value; CRS and transform in ``spatial_ref``.
    layer : Layer
        Its name and unit become the name of the band and the tag ``units``.
    tags : mapping
        Further tags of the file, by name.
    """
    # With coordinates rioxarray would compute the transform again, which takes longer than writing the file.
    bare = values.drop_vars(["y", "x"], errors="ignore").astype(np.float32, copy=False)
    bare.attrs = {"_FillValue": np.nan, "long_name": (layer.name,), "units": layer.unit, **tags}
    # GDAL would parse the long list of options of this driver for each file, only to validate these few.
    with Env(GDAL_VALIDATE_CREATION_OPTIONS=False), MemoryFile() as memory:
        bare.rio.to_raster(
            memory.name,
            driver="COG",
            compress="DEFLATE",
            predictor="YES",
            level=1,
            overviews="AUTO",
            # a small map is one block of its own size: compressing 512 x 512 empty pixels took most of the time
            blocksize=min(MAX_BLOCK, -(-max(values.shape) // 16) * 16),
        )
        return bytes(memory.getbuffer())


def map_png(values: np.ndarray, layer: Layer) -> bytes:
    """Encode a (y, x) map as a PNG in the colours of its layer, transparent where it is NaN."""
    share = np.clip((values - layer.low) / (layer.high - layer.low), 0.0, 1.0)
    seen = np.isfinite(values)
    step = np.where(seen, 1 + np.rint(np.where(seen, share, 0.0) * (SHADES - 1)), 0).astype(np.uint8)
    shades = _colours(layer, np.linspace(0, 1, SHADES)).tobytes()
    return _png(step, PALETTE, [(b"PLTE", b"\0\0\0" + shades), (b"tRNS", b"\0")])


def chip_png(rgb: np.ndarray) -> bytes:
    """Encode a natural-colour picture (y, x, 3) as a PNG, transparent where it is 0 (not seen)."""
    seen = rgb.any(axis=2)
    if seen.all():
        return _png(rgb, COLOUR)
    return _png(np.dstack([rgb, np.where(seen, np.uint8(255), np.uint8(0))]), COLOUR_AND_OPACITY)


def ramp(layer: Layer) -> str:
    """Colours and places of the colour bar of a layer, as CSS colour stops."""
    shares = np.linspace(0, 1, 9)
    stops = zip(_colours(layer, shares).tolist(), shares.tolist(), strict=True)
    return ",".join("#{:02x}{:02x}{:02x} {}%".format(*colour, round(100 * share)) for colour, share in stops)


def outline_path(outline: np.ndarray) -> str:
    """SVG path of an outline (n, 2), rings separated by a row of NaN."""
    rings: list[list[str]] = [[]]
    for x, y in outline:
        if np.isfinite(x):
            rings[-1].append(f"{x:.1f},{y:.1f}")
        else:
            rings.append([])
    return "".join("M" + "L".join(ring) + "Z" for ring in rings if ring)


def frame(outline: np.ndarray | None, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, width and height of the part of a map to show: the site and a margin of a tenth. [pixel]

    `size` is the width and height of the map [pixel], all of which is shown without an outline (n, 2).
    """
    if outline is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    first, last = np.nanmin(outline, axis=0), np.nanmax(outline, axis=0)
    margin = 1 + 0.1 * float((last - first).max())
    left, top = np.maximum(np.floor(first - margin), 0)
    right, bottom = np.minimum(np.ceil(last + margin), size)
    return float(left), float(top), float(right - left), float(bottom - top)


def _png(pixels: np.ndarray, kind: int, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encode pixels (y, x) or (y, x, sample), 0 to 255, as a PNG; `more`: names and contents of chunks before them.

    See Portable Network Graphics (PNG) Specification, W3C Recommendation, 2003, sections 5, 9 and 11.
    """
    height, width = pixels.shape[:2]
    rows = pixels.astype(np.uint8, copy=False).reshape(height, -1)
    step = rows.shape[1] // width
    if kind != PALETTE:  # each sample less that of its neighbour on the left: filter 1, "Sub"
        rows = np.concatenate([rows[:, :step], rows[:, step:] - rows[:, :-step]], axis=1)
    lines = np.concatenate([np.full((height, 1), kind != PALETTE, np.uint8), rows], axis=1)
    header = pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    pixel_data = zlib.compress(lines.tobytes(), PNG_LEVEL)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixel_data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(content)) + name + content + pack(">I", zlib.crc32(name + content)) for name, content in chunks
    )


def _colours(layer: Layer, shares: np.ndarray) -> np.ndarray:
    """Colours (n, 3) at shares (n,) of the scale of a layer, uint8; a scale has 256 steps."""
    colours = np.array([[*bytes.fromhex(colour)] for colour in PALETTES[layer.palette].split()])
    steps = np.minimum((shares * 256).astype(int), 255) / 255
    places = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(steps, places, channel) for channel in colours.T], axis=1).round().astype(np.uint8)
