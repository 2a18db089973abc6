"""Means of pieces of ground straight from the integers of scenes, as stored, in one pass.

What :func:`monitor.cover.means.means` says of a decoded cube, without the fifteen arrays it makes on the way: of a
programme's control units a night draws the means of a thousand million pixels.
"""

from typing import Final

import numpy as np
from numba import njit

from monitor.cover.fraction import Endmembers
from monitor.cover.indices import INDICES
from monitor.cover.means import MEASURES
from monitor.cube.packed import LAYERS
from monitor.imagery import bands

_N_BANDS: Final = len(bands.OBSERVED)
_N_MEASURES: Final = len(MEASURES)
_CLEAR: Final = LAYERS.index("clear")
_FIRST_INDEX: Final = 1 + _N_BANDS
_COVER: Final = MEASURES.index("cover")


def piece_means(
    packed: np.ndarray, edges: np.ndarray, *, scale: np.ndarray, offset: np.ndarray, endmembers: Endmembers
) -> np.ndarray:
    """Clear counts and means of pieces of ground in one scene.

    Parameters
    ----------
    packed : (layer, pixel) uint16 array
        Layers of :data:`monitor.cube.packed.LAYERS`; the pixels of each piece next to each other.
    edges : (piece + 1,) int array
        Piece k is made of the pixels from ``edges[k]`` up to ``edges[k + 1]``.
    scale, offset : (band,) float arrays
        Reflectance = scale * integer + offset. [1]
    endmembers : Endmembers
        Of the biome, for the cover.

    Returns
    -------
    (piece, measure) float32 array
        Measures of :data:`monitor.cover.means.MEASURES`; a mean is NaN where a piece has no clear pixel with a value.
        Sums are taken in float64, in the order of the pixels.
    """
    span = np.float32(endmembers.vegetation - endmembers.soil)
    source = _FIRST_INDEX + list(INDICES).index(endmembers.index)
    # Shifted as integers, then scaled: the same ground under another offset gives the same bits.
    shift = (np.asarray(offset, dtype=np.float64) / np.asarray(scale, dtype=np.float64)).astype(np.float32)
    return _piece_means(
        packed, np.asarray(edges, dtype=np.int64), np.asarray(scale, dtype=np.float32), shift,
        np.float32(endmembers.soil), span, source,
    )  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def _piece_means(
    packed: np.ndarray,
    edges: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    soil: np.float32,
    span: np.float32,
    source: int,
) -> np.ndarray:
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    nan = np.float32(np.nan)
    found = np.empty((edges.size - 1, _N_MEASURES), np.float32)
    value = np.empty(_N_MEASURES, np.float32)
    total, count = np.empty(_N_MEASURES, np.float64), np.empty(_N_MEASURES, np.int64)
    for piece in range(edges.size - 1):
        total[:] = 0.0
        count[:] = 0
        clear = 0
        for i in range(edges[piece], edges[piece + 1]):
            if packed[_CLEAR, i] == 0:
                continue
            clear += 1
            for band in range(_N_BANDS):
                raw = packed[band, i]
                there = (raw != bands.NODATA) & (raw != bands.SATURATED)
                value[1 + band] = (np.float32(raw) + shift[band]) * scale[band] if there else nan
            red, nir, swir16, swir22 = value[3], value[4], value[5], value[6]
            ndvi = (nir - red) / (nir + red) if nir + red > zero else nan
            below = nir + np.float32(2.4) * red + one
            evi2 = np.float32(2.5) * (nir - red) / below if below > zero else nan
            b = two * nir + one
            inner = b * b - np.float32(8) * (nir - red)
            msavi2 = (b - np.sqrt(inner)) / two if inner >= zero else nan
            value[_FIRST_INDEX] = ndvi
            value[_FIRST_INDEX + 1] = evi2
            value[_FIRST_INDEX + 2] = msavi2
            value[_FIRST_INDEX + 3] = np.tanh(ndvi * ndvi)
            value[_FIRST_INDEX + 4] = (nir - swir16) / (nir + swir16) if nir + swir16 > zero else nan
            value[_FIRST_INDEX + 5] = (nir - swir22) / (nir + swir22) if nir + swir22 > zero else nan
            share = (value[source] - soil) / span
            if share < zero:
                share = zero
            elif share > one:
                share = one
            value[_COVER] = share
            for m in range(1, _N_MEASURES):
                if not np.isnan(value[m]):
                    total[m] += np.float64(value[m])
                    count[m] += 1
        found[piece, 0] = clear
        for m in range(1, _N_MEASURES):
            found[piece, m] = np.float32(total[m] / count[m]) if count[m] else nan
    return found
