"""The formulas of vegetation indices and cover, each written once, for one pixel; and the loops over pixels.

Numbers in, one number out: float32 stays float32 and float64 stays float64; NaN where an input is NaN, a denominator is
not positive or a root is of a negative number. An index has its loop in ``_LOOPS`` and its line in :func:`zonal_means`.
The functions on DataArrays and the zonal means of a night all come here; :mod:`monitor.cover.earthengine` alone states
the formulas again, for Earth Engine.

All compiled code of this folder is in this one file: numba compiles a cached function again when its own file has
changed, not when a function that it calls in another file has (numba 0.68).
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from monitor.imagery import bands
from monitor.kernel_cache import njit

_N_BANDS: Final = len(bands.OBSERVED)
_RED, _NIR, _SWIR16, _SWIR22 = (1 + bands.OBSERVED.index(name) for name in ("red", "nir", "swir16", "swir22"))
_FIRST_INDEX: Final = 1 + _N_BANDS
_COVER: Final = _FIRST_INDEX + 6

_compiled = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(nogil=True, cache=True, error_model="numpy", inline="always")


@_inlined
def normalized_difference(a: np.floating, b: np.floating) -> np.floating:
    """(a - b) / (a + b)."""
    total = a + b
    return (a - b) / total if total > 0 else np.float32(np.nan)


@_inlined
def ndvi(red: np.floating, nir: np.floating) -> np.floating:
    """Normalised difference vegetation index (Tucker 1979, doi:10.1016/0034-4257(79)90013-0)."""
    return normalized_difference(nir, red)


@_inlined
def evi2(red: np.floating, nir: np.floating) -> np.floating:
    """Two-band enhanced vegetation index (Jiang et al. 2008, doi:10.1016/j.rse.2008.06.006)."""
    denominator = nir + np.float32(2.4) * red + np.float32(1)
    return np.float32(2.5) * (nir - red) / denominator if denominator > 0 else np.float32(np.nan)


@_inlined
def msavi2(red: np.floating, nir: np.floating) -> np.floating:
    """Modified soil-adjusted vegetation index (Qi et al. 1994, doi:10.1016/0034-4257(94)90134-1)."""
    b = np.float32(2) * nir + np.float32(1)
    inner = b * b - np.float32(8) * (nir - red)
    return (b - np.sqrt(inner)) / np.float32(2) if inner >= 0 else np.float32(np.nan)


@_inlined
def kndvi(red: np.floating, nir: np.floating) -> np.floating:
    """Kernel NDVI, tanh(NDVI squared) (Camps-Valls et al. 2021, doi:10.1126/sciadv.abc7447)."""
    index = ndvi(red, nir)
    curved: np.floating = np.tanh(index * index)
    return curved


@_inlined
def ndmi(nir: np.floating, swir16: np.floating) -> np.floating:
    """Normalised difference moisture index (Gao 1996, doi:10.1016/S0034-4257(96)00067-3)."""
    return normalized_difference(nir, swir16)


@_inlined
def nbr(nir: np.floating, swir22: np.floating) -> np.floating:
    """Normalised burn ratio (Key and Benson 2006, USDA RMRS-GTR-164-CD)."""
    return normalized_difference(nir, swir22)


@_inlined
def cover(index: np.floating, soil: float, vegetation: float) -> np.floating:
    """Vegetation cover by the dimidiate model, cut to 0..1 (Gutman and Ignatov 1998, doi:10.1080/014311698215333)."""
    share = (index - np.float32(soil)) / np.float32(vegetation - soil)
    if share < 0:
        return np.float32(0)
    return np.float32(1) if share > 1 else share


@_compiled
def _ndvis(red: np.ndarray, nir: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = ndvi(red[i], nir[i])


@_compiled
def _evi2s(red: np.ndarray, nir: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = evi2(red[i], nir[i])


@_compiled
def _msavi2s(red: np.ndarray, nir: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = msavi2(red[i], nir[i])


@_compiled
def _kndvis(red: np.ndarray, nir: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = kndvi(red[i], nir[i])


@_compiled
def _ndmis(nir: np.ndarray, swir16: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = ndmi(nir[i], swir16[i])


@_compiled
def _nbrs(nir: np.ndarray, swir22: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = nbr(nir[i], swir22[i])


@_compiled
def _covers(index: np.ndarray, soil: float, vegetation: float, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = cover(index[i], soil, vegetation)


_LOOPS: Final[dict[str, Callable[..., None]]] = {
    "ndvi": _ndvis, "evi2": _evi2s, "msavi2": _msavi2s, "kndvi": _kndvis, "ndmi": _ndmis, "nbr": _nbrs,
    "cover": _covers,
}  # fmt: skip


def evaluate(*layers: np.ndarray, formula: str, constants: tuple[float, ...] = ()) -> np.ndarray:
    """Evaluate a formula of this module, by its name in ``_LOOPS``, on arrays of shapes that broadcast. [1]

    `constants` are further arguments, the same for all pixels. The result is float32, or float64 where a layer does not
    fit in float32. A plain function that takes the name of the formula, so that a dask graph of it can be pickled.
    """
    kind = np.result_type(np.float32, *layers)
    same = np.broadcast_arrays(*layers)
    out = np.empty(same[0].shape, kind)
    _LOOPS[formula](*(np.ascontiguousarray(layer, kind).ravel() for layer in same), *constants, out.reshape(-1))
    return out


@_compiled
def zonal_means(
    pixels: np.ndarray, clear: np.ndarray, runs: np.ndarray, edges: np.ndarray, scale: np.ndarray, shift: np.ndarray,
    soil: float, vegetation: float, cover_of: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Clear counts and means of zones of pixels, into `out`; see :func:`monitor.cover.zonal_means.zonal_means`.

    `pixels` (band, pixel) uint16; `clear` (pixel,), not 0 where the ground was seen; `runs` (run, 3) and `edges`
    (zone + 1,) int64 of :class:`monitor.cube.layout.Zones`; `scale`, `shift` (band,) float32, reflectance = (integer +
    shift) * scale [1]; `cover_of`: the column of `out` with the index of the cover. `out` is (zone, measure) float32:
    the count, then means of bands, indices and cover (:data:`monitor.cube.records.MEASURES`).
    """
    nan = np.float32(np.nan)
    value = np.empty(out.shape[1], np.float32)
    total, count = np.empty(out.shape[1], np.float64), np.empty(out.shape[1], np.int64)
    for zone in range(edges.size - 1):
        total[:] = 0.0
        count[:] = 0
        seen = 0
        for run in range(edges[zone], edges[zone + 1]):
            for i in range(runs[run, 0], runs[run, 1], runs[run, 2]):
                if clear[i] == 0:
                    continue
                seen += 1
                for band in range(_N_BANDS):
                    raw = pixels[band, i]
                    valued = (raw != bands.NODATA) & (raw != bands.SATURATED)
                    value[1 + band] = (np.float32(raw) + shift[band]) * scale[band] if valued else nan
                red, nir = value[_RED], value[_NIR]
                value[_FIRST_INDEX] = ndvi(red, nir)
                value[_FIRST_INDEX + 1] = evi2(red, nir)
                value[_FIRST_INDEX + 2] = msavi2(red, nir)
                value[_FIRST_INDEX + 3] = kndvi(red, nir)
                value[_FIRST_INDEX + 4] = ndmi(nir, value[_SWIR16])
                value[_FIRST_INDEX + 5] = nbr(nir, value[_SWIR22])
                value[_COVER] = cover(value[cover_of], soil, vegetation)
                for m in range(1, out.shape[1]):
                    if not np.isnan(value[m]):
                        total[m] += np.float64(value[m])
                        count[m] += 1
        out[zone, 0] = seen
        for m in range(1, out.shape[1]):
            out[zone, m] = np.float32(total[m] / count[m]) if count[m] else nan
