"""Reference formulas and zonal means in double precision, pixel by pixel in Python, to compare the product with."""

import math
from itertools import pairwise

import numpy as np
import xarray as xr

from monitor.cover.zonal_means import zonal_means
from monitor.cube.layout import Zones
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES
from monitor.imagery.bands import NODATA, OBSERVED, SATURATED

NAN = math.nan


def difference(a, b):
    return (a - b) / (a + b) if a + b > 0 else NAN


def evi2(red, nir):
    below = nir + 2.4 * red + 1
    return 2.5 * (nir - red) / below if below > 0 else NAN


def msavi2(red, nir):
    inner = (2 * nir + 1) ** 2 - 8 * (nir - red)
    return (2 * nir + 1 - math.sqrt(inner)) / 2 if inner >= 0 else NAN


FORMULAS = {
    "ndvi": lambda red, nir: difference(nir, red), "evi2": evi2, "msavi2": msavi2,
    "kndvi": lambda red, nir: math.tanh(difference(nir, red) ** 2),
    "ndmi": lambda nir, swir16: difference(nir, swir16), "nbr": lambda nir, swir22: difference(nir, swir22),
}  # fmt: skip
NEEDED = {"ndmi": ("nir", "swir16"), "nbr": ("nir", "swir22")}
"""Bands of a formula, where they are not red and near infrared."""


def cover(index, ends):
    share = (index - ends.soil) / (ends.vegetation - ends.soil)
    return share if math.isnan(share) else min(max(share, 0.0), 1.0)


def product(packed, edges, *, scale, offset, endmembers, lazy=False):
    """:func:`monitor.cover.zonal_means.zonal_means` of one scene, in zones that lie one after the other."""
    pixels = xr.DataArray(packed[None], dims=("time", "band", "pixel"))
    both = [xr.DataArray(np.asarray(one)[None], dims=("time", "observed")) for one in (scale, offset)]
    found = zonal_means(
        pixels.chunk(time=1) if lazy else pixels, Zones.consecutive(np.diff(edges).tolist()), scale=both[0],
        offset=both[1],
        endmembers=endmembers,
    )  # fmt: skip
    assert (found.chunks is not None) == lazy
    return found.values[0]


def means(packed, edges, *, scale, offset, endmembers):
    """Counts and means of zones in double precision, pixel by pixel."""
    found = np.full((len(edges) - 1, len(MEASURES)), NAN)
    for zone, (first, last) in enumerate(pairwise(edges)):
        clear = [i for i in range(first, last) if packed[PACKED_LAYERS.index("clear"), i]]
        pixels = [measures(packed[: len(OBSERVED), i], scale, offset, endmembers) for i in clear]
        found[zone, 0] = len(clear)
        for m, name in enumerate(MEASURES[1:], start=1):
            seen = [pixel[name] for pixel in pixels if not math.isnan(pixel[name])]
            found[zone, m] = math.fsum(seen) / len(seen) if seen else NAN
    return found


def measures(integers, scale, offset, endmembers):
    pixel = {
        band: NAN if raw in (NODATA, SATURATED) else float(raw) * a + b
        for band, raw, a, b in zip(OBSERVED, integers, scale, offset, strict=True)
    }
    for name, formula in FORMULAS.items():
        pixel[name] = formula(*(pixel[band] for band in NEEDED.get(name, ("red", "nir"))))
    return pixel | {"cover": cover(pixel[endmembers.index], endmembers)}
