"""What is kept of a piece of ground in one scene: means over its clear pixels.

A site and a control unit go through the same function, so that nothing but the ground differs.
"""

from typing import Final

import numpy as np
import xarray as xr

from monitor.cover.fraction import Endmembers, cover
from monitor.cover.indices import INDICES, indices
from monitor.imagery import bands

MEASURES: Final = ("n_pixels", *bands.OBSERVED, *INDICES, "cover")
"""Count of clear pixels, then means over them: bands as reflectance, indices and cover taken pixel by pixel."""


def means(cube: xr.Dataset, pieces: np.ndarray, endmembers: Endmembers) -> xr.DataArray:
    """Clear counts and means of pieces of ground.

    Parameters
    ----------
    cube : xr.Dataset
        Bands as reflectance and the boolean ``clear`` on (time, y, x); numpy or dask.
    pieces : (y, x) int array
        Number of the piece that each pixel belongs to; -1 for none.
    endmembers : Endmembers
        Of the biome, for the cover.

    Returns
    -------
    xr.DataArray
        (time, unit, measure) float32 with the names of :data:`MEASURES`; means are NaN where a piece has no clear
        pixel or its sensor lacks the band. Lazy where the cube is.

    Notes
    -----
    Sums are taken in float64 over the pixels of one piece in one order, so that threads, processes and chunks give
    the same bits.
    """
    found = indices(cube)
    found["cover"] = cover(found[endmembers.index], endmembers)
    seen = {band: cube[band].where(cube["clear"]) for band in bands.OBSERVED}
    layers = xr.Dataset({**seen, **found.data_vars}).to_dataarray("measure")
    count = int(pieces.max()) + 1 if pieces.size else 0
    where = [np.flatnonzero(pieces == piece) for piece in range(count)]
    chunked = {"measure": -1, "y": -1, "x": -1}
    counted = xr.apply_ufunc(
        _counts, cube["clear"].chunk({"y": -1, "x": -1}) if cube.chunks else cube["clear"], kwargs={"where": where},
        input_core_dims=[["y", "x"]], output_core_dims=[["unit"]], dask="parallelized", output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"unit": count}},
    )  # fmt: skip
    averaged = xr.apply_ufunc(
        _averages, layers.chunk(chunked) if cube.chunks else layers, kwargs={"where": where},
        input_core_dims=[["measure", "y", "x"]], output_core_dims=[["unit", "measure"]], dask="parallelized",
        output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": {"unit": count}},
    )  # fmt: skip
    counted = counted.expand_dims(measure=["n_pixels"], axis=-1)
    return xr.concat([counted, averaged], dim="measure").transpose("time", "unit", "measure").rename("means")


def _counts(clear: np.ndarray, *, where: list[np.ndarray]) -> np.ndarray:
    flat = clear.reshape(*clear.shape[:-2], -1)
    return np.stack([flat[..., piece].sum(axis=-1) for piece in where], axis=-1).astype(np.float32)


def _averages(layers: np.ndarray, *, where: list[np.ndarray]) -> np.ndarray:
    flat = layers.reshape(*layers.shape[:-2], -1)
    averaged = []
    for piece in where:
        values = flat[..., piece].astype(np.float64)
        seen = np.isfinite(values)
        total = np.where(seen, values, 0.0).sum(axis=-1)
        n = seen.sum(axis=-1)
        averaged.append(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0))
    return np.stack(averaged, axis=-2).astype(np.float32)
