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


def means(cube: xr.Dataset, pieces: xr.DataArray, endmembers: Endmembers) -> xr.DataArray:
    """Clear counts and means of pieces of ground.

    Parameters
    ----------
    cube : xr.Dataset
        Bands as reflectance and the boolean ``clear`` on time and the dimensions of `pieces`; numpy or dask.
    pieces : DataArray of int
        Number of the piece that each pixel belongs to, on (y, x) or any other dimensions in space; -1: none.
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
    count = {"n_pixels": cube["clear"].astype(np.float32)}
    layers = xr.Dataset({**count, **seen, **found.data_vars}).to_dataarray("measure")
    if cube.chunks:
        layers = layers.chunk({"measure": -1, **dict.fromkeys(pieces.dims, -1)})
    together: xr.DataArray = xr.apply_ufunc(
        _averages, layers, kwargs={"pieces": pieces.values}, input_core_dims=[["measure", *pieces.dims]],
        output_core_dims=[["unit", "measure"]], dask="parallelized", output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"unit": int(pieces.max()) + 1}},
    )  # fmt: skip
    return together.transpose("time", "unit", "measure").rename("means")


def _averages(layers: np.ndarray, *, pieces: np.ndarray) -> np.ndarray:
    flat = layers.reshape(*layers.shape[: layers.ndim - pieces.ndim], -1)
    labels = pieces.ravel()
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    n_pieces = int(labels.max()) + 1
    if (order[1:] == order[:-1] + 1).all() and order.size:
        values = flat[..., order[0] : order[-1] + 1].astype(np.float64)
    else:
        values = flat[..., order].astype(np.float64)
    seen = np.isfinite(values)
    edges = np.searchsorted(labels[order], np.arange(n_pieces + 1))
    filled = edges[:-1] < edges[1:]
    total = np.zeros((*flat.shape[:-1], n_pieces))
    n = np.zeros(total.shape, dtype=np.int64)
    if filled.any():
        total[..., filled] = np.add.reduceat(np.where(seen, values, 0.0), edges[:-1][filled], axis=-1)
        n[..., filled] = np.add.reduceat(seen, edges[:-1][filled], axis=-1, dtype=np.int64)
    mean = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    mean[..., 0, :] = total[..., 0, :]  # the first measure is the count
    averaged: np.ndarray = np.moveaxis(mean, -1, -2).astype(np.float32)
    return averaged
