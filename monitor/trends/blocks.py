"""Divide a cube into blocks of all dates and part of the area, so that one of any size needs the same memory."""

from pathlib import Path
from typing import Any, Final

import pyproj.exceptions
import rasterio.errors
import xarray as xr
from rioxarray.exceptions import RioXarrayError

from monitor.errors import BadData
from monitor.trends.cf import mask_outside_limits

MAX_BLOCK_BYTES: Final = 32 * 2**20
"""Maximum size of a block of one variable; each thread holds one block. [byte]"""


def in_blocks(path: Path, cube: xr.Dataset) -> xr.Dataset:
    """Divide a cube into blocks, all variables in the same ones, mask values outside the limits of the file, and set
    the CRS.

    Lazy; the CRS is in ``spatial_ref`` where there is one. Raises ``BadData`` where CRS or limits of the file cannot be
    read.
    """
    try:
        crs = cube.rio.crs
    except (RioXarrayError, rasterio.errors.CRSError, pyproj.exceptions.CRSError, ValueError, TypeError) as error:
        msg = f"{path}: its CRS cannot be read ({error}); write it again, for instance by rio.write_crs"
        raise BadData(msg) from error
    shape = block_shape(max(cube.data_vars.values(), key=lambda band: band.dtype.itemsize))
    lazy = {name: mask_outside_limits(path, band.chunk(shape)) for name, band in cube.data_vars.items()}
    return with_crs(xr.Dataset(lazy), crs)


def block_shape(layer: xr.DataArray) -> dict[str, int]:
    """Shape of a block: all dates, as many whole stored chunks as fit, else as many rows as fit."""
    stored = layer.encoding.get("chunksizes") or layer.encoding.get("chunks") or layer.shape
    near = dict(zip(("time", "y", "x"), stored, strict=True)) if len(stored) == layer.ndim else dict(layer.sizes)
    pixels = max(MAX_BLOCK_BYTES // max(layer.sizes["time"] * layer.dtype.itemsize, 1), 1)
    y, x = (min(max(near[d], 1), max(layer.sizes[d], 1)) for d in ("y", "x"))
    if y * x <= pixels:
        x = min(x * max(pixels // (y * x), 1), max(layer.sizes["x"], 1))
        y = min(y * max(pixels // (y * x), 1), max(layer.sizes["y"], 1))
    else:
        x = min(x, pixels)
        y = max(pixels // x, 1)
    return {"time": -1, "y": y, "x": x}


def with_crs(cube: xr.Dataset, crs: Any) -> xr.Dataset:
    """Store the CRS in ``spatial_ref``, and in no other coordinate."""
    cube = cube.drop_vars([c for c in cube.coords if c not in cube.dims])
    return cube if crs is None else cube.rio.write_crs(crs, grid_mapping_name="spatial_ref")
