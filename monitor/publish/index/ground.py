"""The newest stored pictures of the sites of a landscape, in grey: the ground under the map of the index."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from affine import Affine
from PIL import Image
from rasterio.warp import Resampling, reproject

from monitor.cube.context_pictures import CONTEXT_MARGIN
from monitor.cube.grid import crs_of
from monitor.sites.site import Site

if TYPE_CHECKING:  # opening stores starts threads, and products only name the picture
    from monitor.cube.stored_site import StoredSite

type Bounds = tuple[float, float, float, float]
"""West, south, east and north. [degree]"""

METRES_A_DEGREE: Final = 111_200.0  # length of a degree of latitude [m]
GROUND_SIDE: Final = 640
"""Longer side of a picture of the ground, at most. [pixel]"""
PIXEL: Final = 10.0  # side of its pixels, at least [m]
GREYS: Final = (130, 240)
"""Greys of the darkest and the brightest twentieth: pale, so that the statuses have the only colours."""
QUALITY: Final = 60  # of the WebP file: about 1.6 kB a square kilometre


class Ground(NamedTuple):
    """A picture under the map."""

    file: str
    """Path under the output root."""
    bounds: Bounds


def ground_bounds(sites: Sequence[Site]) -> Bounds:
    """Bounds of the pictures of some sites."""
    west, south, east, north = np.array([site.geometry.bounds for site in sites]).T
    up = CONTEXT_MARGIN / METRES_A_DEGREE
    across = up / np.cos(np.radians(float(north.max())))
    edges = (west.min() - across, south.min() - up, east.max() + across, north.max() + up)
    left, bottom, right, top = (round(float(edge), 6) for edge in edges)
    return left, bottom, right, top


def draw_ground(stored: Sequence["StoredSite"], bounds: Bounds) -> bytes | None:
    """WebP of the newest pictures of some sites of one landscape, transparent elsewhere; None: no site has one.

    Its rows and columns are even steps of latitude and longitude. Raises ``StoreBroken`` where the store cannot be
    read.
    """
    pictures = [(one.context, picture) for one in stored for picture in one.pictures(names=("now",)).values()]
    if not pictures:
        return None
    west, south, east, north = bounds
    metres = np.array([(east - west) * np.cos(np.radians((south + north) / 2)), north - south]) * METRES_A_DEGREE
    width, height = np.maximum(1, np.rint(metres / max(PIXEL, metres.max() / GROUND_SIDE))).astype(int).tolist()
    grey = np.zeros((height, width), np.uint8)
    onto = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
    for context, picture in sorted(pictures, key=lambda one: one[1].time):
        drawn = np.zeros_like(grey)
        seen = np.rint(picture.rgb.mean(axis=2)).astype(np.uint8)
        reproject(
            seen, drawn, src_transform=context.affine, src_crs=crs_of(context).to_wkt(), src_nodata=0,
            dst_transform=onto, dst_crs="EPSG:4326", dst_nodata=0, resampling=Resampling.bilinear,
        )  # fmt: skip
        grey = np.where(drawn > 0, drawn, grey)
    return _webp(grey)


def _webp(grey: np.ndarray) -> bytes:
    """Pale picture of a (y, x) array of brightness, transparent where it is 0."""
    seen = grey > 0
    dark, bright = np.percentile(grey[seen], (5, 95)) if seen.any() else (0.0, 1.0)
    share = np.clip((grey - dark) / max(bright - dark, 1.0), 0, 1)
    shown = np.where(seen, np.interp(share, (0, 1), GREYS), GREYS[1]).astype(np.uint8)
    buffer = io.BytesIO()
    layers = [Image.fromarray(values) for values in (shown, np.where(seen, np.uint8(255), np.uint8(0)))]
    Image.merge("LA", layers).convert("RGBA").save(buffer, "WEBP", quality=QUALITY, alpha_quality=50, method=4)
    return buffer.getvalue()
