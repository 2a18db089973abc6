"""Maps and pictures of a site as files: cloud-optimised GeoTIFFs for a GIS, small PNGs and JPEGs for its page."""

import io
import zlib
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any, Final, NamedTuple

import numpy as np
import rioxarray  # noqa: F401  gives DataArrays their ``rio``
import xarray as xr
from PIL import Image
from rasterio import Env
from rasterio.io import MemoryFile

from monitor.cube.context_pictures import Stretch, for_the_eye
from monitor.publish.svg import round_below


class Layer(NamedTuple):
    """Colours and labels of one map of a site."""

    name: str  # variable of `SiteView.maps` and name of the file
    low: float
    high: float
    """Values at the ends of the colour scale, the same for every site and night; values beyond take the end colours."""
    palette: str  # name in `PALETTES`
    title: tuple[str, str]  # English, Chinese
    legend_unit: tuple[str, str]  # English, Chinese
    factor: float = 100.0  # legend value per stored value
    unit: str = "1"  # unit of the values in the GeoTIFF

    @property
    def ends(self) -> tuple[str, str]:
        """Labels of the two ends of the legend."""
        low, high = (f"{value * self.factor:{'+' if self.low < 0 else ''}.3g}" for value in (self.low, self.high))
        return low.replace("-", "−"), high


MAP_LAYERS: Final = (
    Layer("loss", 0.0, 1.0, "OrRd", ("Lost a quarter of its cover or more", "覆盖减少四分之一以上"),
          ("% probable", "概率，%")),
    Layer("failing", 0.0, 1.0, "OrRd", ("Regrowth absent", "未见成效"), ("% probable", "概率，%")),
    Layer("uplift", -0.3, 0.3, "BrBG", ("Uplift over the control", "相对对照的增量"),
          ("points of cover", "覆盖度百分点")),
    Layer("slope", -0.06, 0.06, "BrBG", ("Trend of cover", "覆盖度趋势"), ("points a year", "百分点/年"),
          unit="1/year"),
    Layer("cover", 0.0, 1.0, "YlGn", ("Vegetation cover", "植被覆盖度"), ("%", "%")),
    Layer("ndvi", 0.0, 0.9, "YlGn", ("NDVI", "NDVI"), ("no unit", "无量纲"), factor=1.0),
)  # fmt: skip
FILM_LAYER: Final = next(layer for layer in MAP_LAYERS if layer.name == "uplift")  # colours of the film
PALETTES: Final = {
    "OrRd": "fff7ec fee8c8 fdd49e fdbb84 fc8d59 ef6548 d7301f b30000 7f0000",
    "BrBG": "543005 8c510a bf812d dfc27d f6e8c3 f5f5f5 c7eae5 80cdc1 35978f 01665e 003c30",
    "YlGn": "ffffe5 f7fcb9 d9f0a3 addd8e 78c679 41ab5d 238443 006837 004529",
}
"""Evenly spaced colours from low to high, by ColorBrewer (C. A. Brewer, colorbrewer2.org, Apache-2.0), distinguishable
in all common forms of colour vision."""
MAX_BLOCK: Final = 512
"""Largest side of a block of a map; a larger map has overviews. [pixel]"""
SHADES: Final = 255  # colours of a map, without the transparent one
PALETTE: Final = 3  # colour type of PNG: indices of a palette
PHOTOGRAPH_SIDE: Final = 480
"""Longer side of a natural-colour picture on a page. [pixel]"""
PHOTOGRAPH_FORMS: Final = ((1.0, (85, 75, 65, 55)), (0.8, (55,)), (0.6, (55,)), (0.5, (45,)))
"""Shares of that side [1], and JPEG qualities with each, tried in this order until the file is small enough."""
MAX_PHOTOGRAPH_BYTES: Final = 24_000
"""Largest file of such a picture: a page with four of them and six maps stays below 250 kB. [byte]"""
MAX_MAP_SIDE: Final = 160
"""Longer side of a map on a page; a larger one is reduced by whole pixels, the GeoTIFF has them all. [pixel]"""
MAX_FRAME_SIDE: Final = 40  # longer side of a frame of the film [pixel]
NOT_SEEN: Final = (205, 202, 198)  # colour of ground that was not seen

type Window = tuple[float, float, float, float]
"""Left, top, width and height of a part of a picture. [pixel]"""
PNG_LEVEL: Final = 6  # compression level of PNGs, 1 to 9


def cog(values: xr.DataArray, layer: Layer, tags: Mapping[str, str], error: xr.DataArray | None = None) -> bytes:
    """Encode a map as a cloud-optimised GeoTIFF: float32, nodata NaN, the same bytes for the same map.

    `values` are (y, x), NaN where unknown, with CRS and transform in ``spatial_ref``. Name and unit of the layer become
    the name of the band and the tag ``units``, beside further tags of the file. The standard error of `values`, if
    given, is a second band, ``<layer>_se``.
    """
    # With coordinates rioxarray would compute the transform again, which takes longer than writing the file.
    bare = values.drop_vars(["y", "x"], errors="ignore").astype(np.float32, copy=False)
    names: tuple[str, ...] = (layer.name,)
    if error is not None:
        both = np.stack([bare.values, error.values.astype(np.float32, copy=False)])
        bare, names = xr.DataArray(both, dims=("band", *bare.dims), coords=bare.coords), (*names, f"{layer.name}_se")
    bare.attrs = {"_FillValue": np.nan, "long_name": names, "units": layer.unit, **tags}
    how: dict[str, Any] = {
        "driver": "COG", "level": 1, "predictor": "YES", "overviews": "AUTO", "blocksize": MAX_BLOCK
    }  # fmt: skip
    if max(values.shape) <= MAX_BLOCK:  # one block, which rioxarray writes after all tags: a COG in half the time
        height, width = (-(-side // 16) * 16 for side in values.shape)
        how = {
            "driver": "GTiff", "zlevel": 1, "predictor": 3, "tiled": True, "blockxsize": width, "blockysize": height
        }  # fmt: skip
    # GDAL would parse the long list of options of a driver for each file, only to validate these few.
    with Env(GDAL_VALIDATE_CREATION_OPTIONS=False), MemoryFile() as memory:
        bare.rio.to_raster(memory.name, compress="DEFLATE", **how)
        return bytes(memory.getbuffer())


def map_png(values: np.ndarray, layer: Layer) -> bytes:
    """Encode a (y, x) map as a PNG in the colours of its layer, transparent where it is NaN."""
    return _map_png(_reduced(values, -(-max(values.shape) // MAX_MAP_SIDE)), layer)


def film_times(window: Window) -> int:
    """Pixels of a film along each side of a pixel of its picture, where this window is shown."""
    return -(-int(max(window[2:])) // MAX_FRAME_SIDE)


def film_png(frames: np.ndarray, window: Window) -> tuple[bytes, Window]:
    """Encode a window of the frames (year, y, x) of a film as one PNG: side by side, a column apart.

    Also returned is the window of the first frame in the PNG.
    """
    left, top, width, height = map(int, window)
    times = film_times(window)
    parts = [_reduced(frame[top : top + height, left : left + width], times) for frame in frames]
    rows, columns = parts[0].shape
    gap = np.full((rows, 1), np.nan)
    film = np.concatenate([piece for part in parts for piece in (part, gap)], axis=1)
    return _map_png(film, FILM_LAYER), (0.0, 0.0, float(columns), float(rows))


def film_rgb(frame: np.ndarray) -> np.ndarray:
    """(y, x, 3) uint8 colours of a frame (y, x) of a film; 0 where nothing was seen."""
    share = np.clip((frame - FILM_LAYER.low) / (FILM_LAYER.high - FILM_LAYER.low), 0.0, 1.0)
    seen = np.isfinite(frame)
    colours = _colours(FILM_LAYER, np.where(seen, share, 0.0).ravel()).reshape(*frame.shape, 3)
    return np.where(seen[..., None], colours, 0).astype(np.uint8)


def film_picture(rgb: np.ndarray, window: Window) -> bytes:
    """Encode a window of a picture in the colours of the film as PNG; of a large one every second pixel, or fewer."""
    left, top, width, height = map(int, window)
    part = rgb[top : top + height, left : left + width]
    times = -(-max(part.shape) // MAX_MAP_SIDE)
    part = np.where(part.any(axis=2, keepdims=True), part, np.array(NOT_SEEN, np.uint8))[::times, ::times]
    file = io.BytesIO()
    Image.fromarray(part).quantize(SHADES).save(file, "PNG", optimize=True)
    return file.getvalue()


def _reduced(values: np.ndarray, times: int) -> np.ndarray:
    """Means of blocks of (y, x) values, `times` a side; NaN where nothing was seen."""
    if times <= 1:
        return values
    blocks = np.pad(values, [(0, -side % times) for side in values.shape], constant_values=np.nan)
    blocks = blocks.reshape(blocks.shape[0] // times, times, -1, times)
    number = np.isfinite(blocks).sum(axis=(1, 3))
    return np.where(number > 0, np.nansum(blocks, axis=(1, 3)) / np.maximum(number, 1), np.nan)


def _map_png(values: np.ndarray, layer: Layer) -> bytes:
    share = np.clip((values - layer.low) / (layer.high - layer.low), 0.0, 1.0)
    seen = np.isfinite(values)
    step = np.where(seen, 1 + np.rint(np.where(seen, share, 0.0) * (SHADES - 1)), 0).astype(np.uint8)
    shades = _colours(layer, np.linspace(0, 1, SHADES)).tobytes()
    return _png(step, [(b"PLTE", b"\0\0\0" + shades), (b"tRNS", b"\0")])


def photograph(rgb: np.ndarray, window: Window, stretch: Stretch) -> bytes:
    """Encode the part of a natural-colour picture in a window as a JPEG for people.

    `rgb` is (y, x, 3) uint8 as stored (:mod:`monitor.cube.context_pictures`), 0 where nothing was seen, and `stretch`
    that of the pictures that it is compared with (:func:`monitor.cube.context_pictures.stretch_of`).
    """
    left, top, width, height = (round(value) for value in window)
    part = rgb[top : top + height, left : left + width]
    seen = part.any(axis=2, keepdims=True)
    part = np.where(seen, for_the_eye(part, stretch), np.array(NOT_SEEN, np.uint8))
    # what was not seen is not blended into what was
    enlarge = Image.Resampling.BICUBIC if seen.all() else Image.Resampling.NEAREST
    image = Image.fromarray(part)
    for share, qualities in PHOTOGRAPH_FORMS:
        scale = share * PHOTOGRAPH_SIDE / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        shown = image.resize(size, enlarge if scale > 1 else Image.Resampling.BOX)
        for quality in qualities:
            file = io.BytesIO()
            shown.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= MAX_PHOTOGRAPH_BYTES:
                return file.getvalue()
    return file.getvalue()


def seen_window(pictures: Sequence[np.ndarray], outline: np.ndarray) -> Window:
    """The part of some pictures in which all of them show something, and the site in any case.

    Pictures are (y, x, 3) uint8 of one size, 0 where nothing was seen; the outline of the site is (n, 2). [pixel]
    """
    height, width = pictures[0].shape[:2]
    (left, top), (right, bottom) = (0.0, 0.0), (float(width), float(height))
    for rgb in pictures:
        seen = rgb.any(axis=2)
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if rows.size:
            left, top = max(left, float(columns[0])), max(top, float(rows[0]))
            right, bottom = min(right, float(columns[-1] + 1)), min(bottom, float(rows[-1] + 1))
    site = frame(outline, (width, height))
    left, top = min(left, site[0]), min(top, site[1])
    right, bottom = max(right, site[0] + site[2]), max(bottom, site[1] + site[3])
    return left, top, right - left, bottom - top


def scale_bar(width: float) -> int:
    """Length of the scale bar of a picture of this width: 1, 2 or 5 times a power of ten. [m]

    >>> scale_bar(1280.0), scale_bar(90.0), scale_bar(12000.0)
    (200, 20, 2000)
    """
    return max(1, round(round_below(width / 4)))


def ramp(layer: Layer) -> str:
    """Colours and places of the colour bar of a layer, as CSS colour stops."""
    shares = np.linspace(0, 1, 9)
    stops = zip(_colours(layer, shares).tolist(), shares.tolist(), strict=True)
    return ",".join("#{:02x}{:02x}{:02x} {}%".format(*colour, round(100 * share)) for colour, share in stops)


def outline_path(outline: np.ndarray, window: Window | None = None) -> str:
    """SVG path of an outline (n, 2), rings separated by a row of NaN; only of the rings that reach into a window."""
    breaks = np.flatnonzero(np.isnan(outline[:, 0]))
    rings = [ring[np.isfinite(ring[:, 0])] for ring in np.split(outline, breaks)]
    if window is not None:
        first, last = np.array(window[:2]), np.array(window[:2]) + window[2:]
        rings = [ring for ring in rings if ring.size]
        rings = [ring for ring in rings if (ring.max(axis=0) > first).all() and (ring.min(axis=0) < last).all()]
    return "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in ring.tolist()) + "Z" for ring in rings if ring.size)


def frame(outline: np.ndarray | None, size: tuple[int, int]) -> Window:
    """The part of a map to show: the site and a margin of a tenth. [pixel]

    `size` is the width and height of the map [pixel], all of which is shown without an outline (n, 2).
    """
    if outline is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    first, last = np.nanmin(outline, axis=0), np.nanmax(outline, axis=0)
    margin = 1 + 0.1 * float((last - first).max())
    left, top = np.maximum(np.floor(first - margin), 0)
    right, bottom = np.minimum(np.ceil(last + margin), size)
    return float(left), float(top), float(right - left), float(bottom - top)


def _png(pixels: np.ndarray, more: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Encode pixels (y, x), indices of a palette, as a PNG; `more`: names and contents of chunks before them.

    See Portable Network Graphics (PNG) Specification, W3C Recommendation, 2003, sections 5 and 11.
    """
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)
    header = pack(">IIBBBBB", width, height, 8, PALETTE, 0, 0, 0)
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
