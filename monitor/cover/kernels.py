"""NDVI, cover and mask of pixels in one pass from the integers of a scene, as stored.

Bit for bit what :mod:`monitor.cover.indices` and :mod:`monitor.cover.fraction` make of the decoded bands, without the
nine arrays they make on the way: the pass is as fast as memory.
"""

import numpy as np
from numba import njit

from monitor.cover.fraction import Endmembers


def ndvi_and_cover(
    red: np.ndarray,
    nir: np.ndarray,
    clear: np.ndarray,
    *,
    scale: float,
    offset: float,
    nodata: int,
    endmembers: Endmembers,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NDVI and vegetation cover of the clear pixels of one scene.

    Parameters
    ----------
    red, nir : arrays of uint16 or int16, of one shape
        As stored.
    clear : bool array of that shape
        Where the ground was seen.
    scale, offset : float
        Reflectance = scale * integer + offset. [1]
    nodata : int
        Integer that marks no value.
    endmembers : Endmembers
        Of the biome; its index must be ``ndvi``.

    Returns
    -------
    ndvi, cover : float32 arrays of the shape of `red`
        NaN where not seen or red + nir is not positive. [1]
    seen : bool array of that shape
        Where there is a number.

    Raises
    ------
    ValueError
        `endmembers` are of another index, or the shapes differ.
    """
    if endmembers.index != "ndvi":
        msg = f"cover of this biome is made of {endmembers.index!r}, not of 'ndvi'; use monitor.cover.fraction.cover"
        raise ValueError(msg)
    if not red.shape == nir.shape == clear.shape:
        msg = f"red, nir and clear differ in shape: {red.shape}, {nir.shape}, {clear.shape}"
        raise ValueError(msg)
    index, cover = np.empty(red.shape, np.float32), np.empty(red.shape, np.float32)
    seen = np.empty(red.shape, np.bool_)
    span = np.float32(endmembers.vegetation - endmembers.soil)
    _scene(
        np.ascontiguousarray(red).ravel(),
        np.ascontiguousarray(nir).ravel(),
        np.ascontiguousarray(clear).ravel(),
        red.dtype.type(nodata),
        np.float32(scale),
        np.float32(offset),
        np.float32(endmembers.soil),
        span,
        index.ravel(),
        cover.ravel(),
        seen.ravel(),
    )
    return index, cover, seen


@njit(nogil=True, cache=True, error_model="numpy")
def _scene(
    red: np.ndarray,
    nir: np.ndarray,
    clear: np.ndarray,
    none: int,
    scale: np.float32,
    offset: np.float32,
    soil: np.float32,
    span: np.float32,
    index: np.ndarray,
    cover: np.ndarray,
    seen: np.ndarray,
) -> None:
    zero, one, nan = np.float32(0), np.float32(1), np.float32(np.nan)
    for i in range(red.size):
        r, n = np.float32(red[i]) * scale + offset, np.float32(nir[i]) * scale + offset
        total = n + r
        there = clear[i] & (red[i] != none) & (nir[i] != none) & (total > zero)
        value = (n - r) / total
        share = (value - soil) / span
        share = share if share > zero else zero
        share = share if share < one else one
        index[i] = value if there else nan
        cover[i] = share if there else nan
        seen[i] = there
