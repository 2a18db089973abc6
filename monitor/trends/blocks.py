"""Divide a cube into blocks of all dates and part of the area, so that one of any size needs the same memory."""

from pathlib import Path
from typing import Any, Final

import pyproj.exceptions
import rasterio.errors
import xarray as xr
from affine import Affine
from rioxarray.exceptions import RioXarrayError

from monitor.errors import BadData
from monitor.trends.cf import mask_outside_limits, parse_transform

MAX_BLOCK_BYTES: Final = 32 * 2**20
"""Maximum size of a block of one variable; each thread holds one block. [byte]"""


def in_blocks(path: Path, cube: xr.Dataset) -> xr.Dataset:
    """Divide a cube into blocks, mask values outside the limits of the file, and set CRS and transform.

    Parameters
    ----------
    path : Path
        File of the cube, for errors.
    cube : xr.Dataset
        Variables on (time, y, x), as :func:`monitor.trends.cf.open_dataset` returns them.

    Returns
    -------
    xr.Dataset
        The same, lazy, all variables in the same blocks; CRS in ``spatial_ref`` where there is one.

    Raises
    ------
    BadData
        The CRS or the limits cannot be read.
    """
    try:
        crs, mapping = cube.rio.crs, cube.coords.get(cube.rio.grid_mapping)
    except (RioXarrayError, rasterio.errors.CRSError, pyproj.exceptions.CRSError, ValueError, TypeError) as error:
        msg = f"{path}: its CRS cannot be read ({error}); write it again, for instance by rio.write_crs"
        raise BadData(msg) from error
    text = None if mapping is None or 1 not in cube.sizes.values() else mapping.attrs.get("GeoTransform")
    transform = parse_transform(text)
    if transform is not None and all(side in cube.coords and cube[side].dtype.kind in "iuf" for side in ("y", "x")):
        # for one row it is needed for the pixel size; its corner may be that of a larger cube that the row was cut from
        x = cube["x"].min() if transform.a > 0 else cube["x"].max()
        y = cube["y"].min() if transform.e > 0 else cube["y"].max()
        left, top = float(x) - transform.a / 2, float(y) - transform.e / 2
        transform = Affine(transform.a, 0, left, 0, transform.e, top)
    shape = block_shape(max(cube.data_vars.values(), key=lambda band: band.dtype.itemsize))
    lazy = {name: mask_outside_limits(path, band.chunk(shape)) for name, band in cube.data_vars.items()}
    return with_crs(xr.Dataset(lazy), crs, transform)


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


def with_crs(cube: xr.Dataset, crs: Any, transform: Affine | None) -> xr.Dataset:
    """Store the CRS, and the transform if given, in ``spatial_ref`` and in no other coordinate."""
    cube = cube.drop_vars([c for c in cube.coords if c not in cube.dims])
    if crs is None:
        return cube
    cube = cube.rio.write_crs(crs, grid_mapping_name="spatial_ref")
    return cube if transform is None else cube.rio.write_transform(transform, grid_mapping_name="spatial_ref")
