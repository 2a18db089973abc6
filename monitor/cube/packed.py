"""From a provider's frames to packed layers, and from packed layers to the cube all stages share.

A cube is an ``xarray.Dataset`` on (time, y, x), time ascending and in UTC. It holds the bands of
:data:`monitor.imagery.bands.OBSERVED` as float32 surface reflectance, NaN where there is no value or the sensor was
saturated, the ``quality`` layer as delivered, and a boolean ``clear`` that says which pixels show the ground.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr

from monitor.cube import masks
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene

PACKED_LAYERS: Final = (*bands.OBSERVED, "quality", "clear")  # order of the stored layers of a scene


def pack(frame: Frame, scene: Scene) -> np.ndarray:
    """Stack the bands and the quality layer of one scene with its clear mask (:func:`monitor.cube.masks.clear`).

    (layer, y, x) uint16 in the order of :data:`PACKED_LAYERS`: integers as delivered (0 = no value, 65535 = saturated),
    the quality layer, and 1 where clear. Raises SceneRejected (``RADIOMETRY``) if the bands were stretched or scaled
    already.
    """
    if bands.is_stretched(frame.pixels):
        reason = "RADIOMETRY"
        msg = (
            f"scene {scene.id!r}: its bands all reach {frame.pixels.max()}, each in other pixels: stretched for "
            "display or scaled already, not the integers of a surface reflectance product"
        )
        raise SceneRejected(reason, msg)
    resolution = abs(frame.grid.resolution.x)
    seen = masks.clear(
        frame.pixels, frame.quality, scene.quality, resolution=resolution, scale=scene.scale, offset=scene.offset
    )
    return np.concatenate([frame.pixels, frame.quality[None], seen[None].astype(np.uint16)])


def unpack(
    packed: da.Array | np.ndarray, dims: Sequence[str], *, times: Sequence[datetime], scale: Sequence[float],
    offset: Sequence[float], bandpass: Sequence[bool] | None = None, layers: Collection[str] = PACKED_LAYERS,
) -> xr.Dataset:  # fmt: skip
    """Unpack (time, layer, ...) scenes of :func:`pack` into the cube, without coordinates in space; lazy if they are.

    `dims` are the dimensions after ``layer``. Of each scene: its time, with a time zone; `scale` and `offset`,
    reflectance = scale * integer + offset [1]; `bandpass`, whether it is adjusted from the bands of Landsat to those of
    Sentinel-2 (:data:`monitor.imagery.bands.BANDPASS`), None: none is.
    """
    moved = bandpass if bandpass is not None else [False] * len(scale)
    choose = np.where if isinstance(packed, np.ndarray) else da.where
    data: dict[str, Any] = {}
    for layer in (name for name in PACKED_LAYERS if name in layers):
        values = packed[:, PACKED_LAYERS.index(layer)]
        if layer in bands.OBSERVED:
            both = [
                bands.scaled_to_msi(layer, a, b) if move else (a, b)
                for a, b, move in zip(scale, offset, moved, strict=True)
            ]
            # Shifted as integers, then scaled: the same ground under another offset gives the same bits.
            # A rejected scene whose scale is unknown has scale 0 and no values.
            shifted = np.array([(a, b / a if a else 0.0) for a, b in both], dtype=np.float32)
            factor, shift = shifted.reshape(-1, 2).T.reshape(2, -1, *(1 for _ in dims))
            reflectance = (values.astype(np.float32) + shift) * factor
            known = choose(bands.has_value(values), reflectance, np.float32(np.nan))
            data[layer] = (("time", *dims), known, {"units": "1"})
        else:
            data[layer] = (("time", *dims), values.astype(bool) if layer == "clear" else values)
    utc = [time.astimezone(UTC).replace(tzinfo=None) for time in times]
    return xr.Dataset(data, coords={"time": np.array(utc, dtype="datetime64[ns]")})
