"""From a provider's frames to packed layers, and from packed layers to the cube all stages share.

A cube is an ``xarray.Dataset`` on (time, y, x), time ascending and in UTC. It holds the bands of
:data:`monitor.imagery.bands.OBSERVED` as float32 surface reflectance, NaN where there is no value, the ``quality``
layer as delivered, and a boolean ``clear`` that says which pixels show the ground.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from monitor.cube import masks
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene

LAYERS: Final = (*bands.OBSERVED, "quality", "clear")
"""Order along ``layer`` of what is stored of a scene."""


def pack(frame: Frame, scene: Scene) -> np.ndarray:
    """Layers of one scene on one grid.

    Returns
    -------
    (layer, y, x) uint16 array
        In the order of :data:`LAYERS`: integers as delivered, then the quality layer, then 1 where clear.
    """
    seen = masks.clear(frame.pixels, frame.quality, scene.quality, resolution=abs(frame.grid.resolution.x))
    return np.concatenate([frame.pixels, frame.quality[None], seen[None].astype(np.uint16)])


def unpack(
    packed: da.Array | np.ndarray,
    grid: GeoBox,
    *,
    times: Sequence[datetime],
    scale: Sequence[float],
    offset: Sequence[float],
) -> xr.Dataset:
    """The cube of packed scenes.

    Parameters
    ----------
    packed : (time, layer, y, x) uint16 array, numpy or dask
        See :func:`pack`; in order of time.
    grid : GeoBox
        Of the layers.
    times : sequence of datetime
        Of the scenes, aware.
    scale, offset : sequence of float
        Reflectance = scale * integer + offset, a scene each. [1]

    Returns
    -------
    xr.Dataset
        As the module says; lazy where `packed` is.
    """
    factor = xr.DataArray(np.asarray(scale, dtype=np.float32), dims="time")
    shift = xr.DataArray(np.asarray(offset, dtype=np.float32), dims="time")
    dims = ("time", "y", "x")
    data: dict[str, Any] = {}
    for index, layer in enumerate(LAYERS):
        values = packed[:, index]
        if layer in bands.OBSERVED:
            array = xr.DataArray(values, dims=dims)
            reflectance = array.astype(np.float32) * factor + shift
            data[layer] = reflectance.where(array != bands.NODATA).assign_attrs(units="1")
        else:
            data[layer] = xr.DataArray(values.astype(bool) if layer == "clear" else values, dims=dims)
    utc = [time.astimezone(UTC).replace(tzinfo=None) for time in times]
    coords: dict[Any, Any] = {**xr_coords(grid), "time": ("time", np.array(utc, dtype="datetime64[ns]"))}
    return xr.Dataset(data, coords=coords)
