"""Zonal means of scenes: clear counts and means of bands, indices and cover over zones of pixels.

Sites and control units go through the same function, so that only the ground differs. Bands, indices and cover are
computed pixel by pixel and summed in one pass: the values of all pixels of a scene would take many times its memory.
"""

import numpy as np
import xarray as xr

from monitor.cover import kernels
from monitor.cover.fraction import Endmembers
from monitor.cube.layout import Zones
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES
from monitor.imagery import bands


def zonal_means(
    pixels: xr.DataArray, zones: Zones, *, scale: xr.DataArray, offset: xr.DataArray, endmembers: Endmembers
) -> xr.DataArray:
    """Count the clear pixels of the zones of scenes, and average bands, indices and cover over them.

    Parameters
    ----------
    pixels : (time, band, pixel) DataArray of uint16, numpy or dask
        Layers of :data:`monitor.cube.packed.PACKED_LAYERS` along ``band``.
    zones : Zones
    scale, offset : (time, observed) DataArrays
        For the bands of :data:`monitor.imagery.bands.OBSERVED`: reflectance = scale * integer + offset. [1]
    endmembers : Endmembers, end members of the biome, for the cover

    Returns
    -------
    (time, zone, measure) DataArray of float32
        :data:`monitor.cube.records.MEASURES`, lazy where `pixels` are; a mean is NaN where a zone has no clear pixel
        with a value. Sums are taken in float64, in the order of the pixels. [1]
    """
    means: xr.DataArray = xr.apply_ufunc(
        _zonal_means, pixels, scale, offset, kwargs={"zones": zones, "endmembers": endmembers},
        input_core_dims=[["band", "pixel"], ["observed"], ["observed"]], output_core_dims=[["zone", "measure"]],
        dask="parallelized", output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"zone": len(zones), "measure": len(MEASURES)}},
    )  # fmt: skip
    return means.assign_coords(measure=list(MEASURES))


def _zonal_means(
    pixels: np.ndarray, scale: np.ndarray, offset: np.ndarray, *, zones: Zones, endmembers: Endmembers
) -> np.ndarray:
    """Zonal means of plain arrays, (time, band, pixel) and (time, observed)."""
    # Shifted as integers, then scaled: the same ground under another offset gives the same bits.
    shift = (offset.astype(np.float64) / scale.astype(np.float64)).astype(np.float32)
    means = np.empty((len(pixels), len(zones), len(MEASURES)), np.float32)
    for scene, layers in enumerate(pixels):
        kernels.zonal_means(
            layers[: len(bands.OBSERVED)], layers[PACKED_LAYERS.index("clear")], zones.runs, zones.edges,
            scale[scene].astype(np.float32), shift[scene], endmembers.soil, endmembers.vegetation,
            MEASURES.index(endmembers.index), means[scene],
        )  # fmt: skip
    return means
