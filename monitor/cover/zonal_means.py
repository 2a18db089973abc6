"""Zonal means of a scene: clear counts and means of bands, indices and cover over runs of pixels.

A site and a control unit go through the same function, so that nothing but the ground differs. It works on the integers
of a scene as stored, in one pass: a programme's control units have a thousand million pixels a night.
"""

from typing import Final

import numpy as np

from monitor.cover import kernels
from monitor.cover.fraction import Endmembers
from monitor.cover.indices import INDICES
from monitor.cube.packed import LAYERS
from monitor.imagery import bands

MEASURES: Final = ("n_pixels", *bands.OBSERVED, *INDICES, "cover")
"""Count of clear pixels, then means over them: bands as reflectance, indices and cover taken pixel by pixel."""


def zonal_means(
    packed: np.ndarray, edges: np.ndarray, *, scale: np.ndarray, offset: np.ndarray, endmembers: Endmembers
) -> np.ndarray:
    """Clear counts and means of the zones of one scene.

    Parameters
    ----------
    packed : (layer, pixel) uint16 array
        Layers of :data:`monitor.cube.packed.LAYERS`; the pixels of each zone next to each other.
    edges : (zone + 1,) int array
        Zone k is made of the pixels from ``edges[k]`` up to ``edges[k + 1]``.
    scale, offset : (band,) float arrays
        Reflectance = scale * integer + offset. [1]
    endmembers : Endmembers
        Of the biome, for the cover.

    Returns
    -------
    (zone, measure) float32 array
        Measures of :data:`MEASURES`; a mean is NaN where a zone has no clear pixel with a value. Sums are taken in
        float64, in the order of the pixels. [1]
    """
    # Shifted as integers, then scaled: the same ground under another offset gives the same bits.
    shift = (np.asarray(offset, dtype=np.float64) / np.asarray(scale, dtype=np.float64)).astype(np.float32)
    means = np.empty((len(edges) - 1, len(MEASURES)), np.float32)
    kernels.zonal_means(
        packed[: len(bands.OBSERVED)], packed[LAYERS.index("clear")], np.asarray(edges, dtype=np.int64),
        np.asarray(scale, dtype=np.float32), shift, endmembers.soil, endmembers.vegetation,
        MEASURES.index(endmembers.index), means,
    )  # fmt: skip
    return means
