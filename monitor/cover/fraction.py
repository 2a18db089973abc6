"""Vegetation cover of a pixel by the dimidiate model, with end members frozen by biome.

The cover of a pixel is where its index lies between bare soil and full vegetation:
``f = (VI - VI_soil) / (VI_vegetation - VI_soil)``, cut to 0..1 (Gutman and Ignatov 1998, doi:10.1080/014311698215333);
the formula itself is :func:`monitor.cover.kernels.cover`. The end members belong to the biome and are never fitted to a
scene: with percentiles of each scene, trends would mean nothing. The absolute value is uncertain by 0.10 to 0.15;
differences in time on fixed end members are far more precise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor.cover.indices import INDICES
from monitor.cover.kernels import evaluate
from monitor.errors import BadData
from monitor.sites.biomes import BIOMES, ByBiome, biome_of
from monitor.sites.site import Biome, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Endmembers:
    """Index that cover is computed from in a biome, and its values for bare soil and full vegetation."""

    index: str  #: name of the index in :data:`monitor.cover.indices.INDICES`
    soil: float  #: index of bare soil [1]
    vegetation: float  #: index of full vegetation cover [1]

    @classmethod
    def of_biome(cls, biome: Biome) -> "Endmembers":
        """Endmembers of a biome."""
        return cls(index=biome.index, soil=biome.bare_soil, vegetation=biome.full_cover)

    @classmethod
    def of(cls, site: Site) -> "Endmembers":
        """Endmembers of the biome of a site."""
        return cls.of_biome(biome_of(site))


ENDMEMBERS: Final = ByBiome({name: Endmembers.of_biome(biome) for name, biome in BIOMES.items()})
"""Endmembers by built-in biome. Those of a site are :meth:`Endmembers.of`, since a configuration may define others."""


def cover(index: xr.DataArray, endmembers: Endmembers) -> xr.DataArray:
    """Vegetation cover from an index.

    Parameters
    ----------
    index : xr.DataArray
        The index that `endmembers` names, any dimensions. [1]
    endmembers : Endmembers, end members of the biome

    Returns
    -------
    xr.DataArray
        Same dimensions, 0..1; NaN where the index is NaN. [1]
    """
    scaled: xr.DataArray = xr.apply_ufunc(
        evaluate, index, kwargs={"formula": "cover", "constants": (endmembers.soil, endmembers.vegetation)},
        keep_attrs="drop_conflicts", dask="parallelized", output_dtypes=[np.result_type(np.float32, index.dtype)],
    )  # fmt: skip
    return scaled.rename("cover").assign_attrs(units="1", long_name="fractional vegetation cover")


def cover_of_bands(bands: Mapping[Any, xr.DataArray], endmembers: Endmembers) -> xr.DataArray:
    """Vegetation cover from bands.

    Parameters
    ----------
    bands : mapping of str to xr.DataArray
        Those that the index of `endmembers` needs, and ``clear``, if any of the ground was not seen. [1]
    endmembers : Endmembers, end members of the biome

    Returns
    -------
    xr.DataArray
        Same dimensions, 0..1; NaN where a band is NaN or ``clear`` is false. [1]
    """
    index, needed = INDICES[endmembers.index]
    values = index(*(bands[name] for name in needed))
    return cover(values.where(bands["clear"]) if "clear" in bands else values, endmembers)


def vegetation_cover(bands: xr.Dataset | Mapping[str, xr.DataArray], biome: str | None = None) -> xr.DataArray:
    """Vegetation cover as the nights compute it in a biome: by its index between bare soil and full cover.

    Absolute cover is uncertain by 0.10 to 0.15; differences in time are far more precise.

    Parameters
    ----------
    bands : xr.Dataset or mapping of str to xr.DataArray
        ``red`` and ``nir``, surface reflectance on one grid, any dimensions, numpy or dask; and ``clear``, true where
        the ground was seen, unless all of it was. The cube of :func:`monitor.open_site` is one. [1]
    biome : str, optional
        One of ``docs/biomes.md``, such as ``loess`` or ``sandy``. Default: that of the cube.

    Returns
    -------
    xr.DataArray
        Same dimensions, 0..1, lazy where the bands are; NaN where the ground was not seen or a band is NaN. [1]

    Raises
    ------
    BadData
        The biome is unknown or not given, or a band is absent or not of reflectances.

    Examples
    --------
    >>> bands = {"red": xr.DataArray([0.08, 0.04]), "nir": xr.DataArray([0.12, 0.40])}
    >>> vegetation_cover(bands, "loess").values.round(2)
    array([0.14, 0.95])
    """
    if not isinstance(bands, Mapping):
        fix = "give an xarray.Dataset with red and nir, as monitor.open_site does, or {'red': red, 'nir': nir}"
        raise BadData(f"the bands are of type {type(bands).__name__}; {fix}")
    biome = getattr(bands, "attrs", {}).get("biome") if biome is None else biome
    if not isinstance(biome, str):
        wrong = "no biome is given" if biome is None else f"the biome is of type {type(biome).__name__}, not a text"
        raise BadData(f"{wrong}; give one of {', '.join(ENDMEMBERS)}")
    endmembers = ENDMEMBERS[biome]
    needed = INDICES[endmembers.index][1]
    if absent := [name for name in needed if name not in bands]:
        among = f"band {absent[0]!r} is missing among {', '.join(map(str, bands))}"
        raise BadData(f"{among}; cover needs {' and '.join(needed)}")
    for name in needed:
        if np.issubdtype(getattr(bands[name], "dtype", float), np.integer):
            fix = "cover needs reflectance from 0 to 1: apply scale and offset of the product first"
            raise BadData(f"{name} holds whole numbers ({bands[name].dtype}); {fix}")
    return cover_of_bands(bands, endmembers)
