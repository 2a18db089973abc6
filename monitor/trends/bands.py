"""Which bands of a cube a variable is, or is computed from, and which values they can have."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

from monitor.cover.indices import INDICES
from monitor.errors import BadData
from monitor.imagery.bands import NODATA, OBSERVED

BAND_NAMES: Final = {
    "red": ("red", "b04"),
    "nir": ("nir", "b08"),
    "swir16": ("swir16", "swir1"),
    "swir22": ("swir22", "swir2"),
}
"""Names of the bands that an index needs, in any case: common names, then those of Sentinel-2."""
SHORT_BAND_NAMES: Final = {"red": "b4", "nir": "b8"}
"""Names without the zero. Landsat uses them for other bands: one of :data:`SENTINEL_2_ONLY` must be there too."""
SENTINEL_2_ONLY: Final = frozenset(("b8a", "b12"))  # bands of Sentinel-2 that Landsat does not have
REFLECTANCES: Final = frozenset(
    (*OBSERVED, *(name for names in BAND_NAMES.values() for name in names), *SHORT_BAND_NAMES.values())
)
"""Names of bands of surface reflectance."""
INDEX_NAMES: Final = frozenset((*INDICES, "evi", "savi", "osavi", "msavi", "gndvi", "ndre", "nbr2", "ndwi", "mndwi"))
"""Names of indices with values of about -1 to 1, so that integers need a scale."""
POSSIBLE_REFLECTANCE: Final = (-0.2, 2.0)
"""Possible surface reflectances: 0 to 1, with a margin for noise over dark ground and for tilted bright ground. [1]"""
MAX_INDEX: Final = 10.0
"""Largest possible absolute value of an index: values beyond 1 come from a divisor near 0, or from scaling. [1]"""
UNNAMED: Final = "band_"
"""Prefix of the name of a band without one; its number follows."""
SCALES: Final = "scales"
"""Attribute of a band of GeoTIFFs: factor of the numbers of each file."""
OFFSETS: Final = "offsets"
"""Attribute of a band: offset added to the numbers of each file of a folder, or by request to those of a cube."""
UNSCALED: Final = "integers"
"""Attribute of a band of GeoTIFFs with integers and no scale: their type."""
INDEX_IN_FILE_NAMES: Final = "said"
"""Attribute of an unnamed band of GeoTIFFs: the index in the file names."""


def choose(path: Path, cube: xr.Dataset, variable: str | None, named: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Name of a variable, and the bands to compute it from by role, in the order of its function; none: it is in the
    cube.

    `variable` is a name in any case; None: the only variable, or ``ndvi``. With `named`, the bands of roles (``red``,
    ``nir``, ``swir16``, ``swir22``) in any case, the variable is computed even if the cube has it. Raises ``BadData``
    without such a variable, role or band; `path` and `cube` are for errors too.
    """
    given = {role: _named_band(path, cube, role, name) for role, name in named.items()}
    names = {str(name).lower(): str(name) for name in cube.data_vars}
    wanted = "ndvi" if variable is None else variable
    if named and wanted.lower() not in INDICES:
        msg = f"--bands names the bands of an index, and {wanted!r} is none: give --variable {', '.join(INDICES)}"
        raise BadData(msg)
    if not named:
        if variable is None and len(names) == 1:
            return next(iter(names.values())), {}
        if wanted in cube.data_vars:
            return wanted, {}
        if wanted.lower() in names:
            return names[wanted.lower()], {}
    if wanted.lower() in INDICES:
        known = _common_bands(names) | given
        roles = INDICES[wanted.lower()][1]
        if known.keys() >= set(roles):
            return wanted.lower(), {role: known[role] for role in roles}
    if variable is not None and list(names) == ["value"] and not named:
        return "value", {}
    raise BadData(_absent(path, cube, wanted))


def listed(cube: xr.Dataset) -> str:
    """Names of what a cube has, for an error."""
    return ", ".join(sorted(map(str, cube.data_vars)))


def _named_band(path: Path, cube: xr.Dataset, role: str, name: str) -> str:
    if role not in BAND_NAMES:
        msg = f"--bands {role}={name}: an index needs the bands {', '.join(BAND_NAMES)}, and none called {role!r}"
        raise BadData(msg)
    return layer_called(path, cube, name, f"--bands {role}={name}")


def layer_called(path: Path, cube: xr.Dataset, name: str, option: str) -> str:
    """Name of the layer that an option names in any case; ``BadData``: the grid of the cube has no such layer."""
    if name in cube.data_vars:
        return name
    same = [str(layer) for layer in cube.data_vars if str(layer).lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    elsewhere: Mapping[str, tuple[str, ...]] = cube.attrs.get("dimensions", {})
    if name in elsewhere:
        msg = (
            f"{path}: {option}: {name!r} is on ({', '.join(elsewhere[name])}), not on (time, y, x) as the bands are; "
            "resample it to their grid"
        )
    else:
        msg = f"{path}: {option}: there is no {name!r}; there is {listed(cube)}"
    raise BadData(msg)


def _common_bands(names: Mapping[str, str]) -> dict[str, str]:
    """Band of each role that has a common name; `names` are those of the cube by their lower case."""
    bands: dict[str, str] = {}
    for role, aliases in BAND_NAMES.items():
        short = (SHORT_BAND_NAMES[role],) if role in SHORT_BAND_NAMES and SENTINEL_2_ONLY & names.keys() else ()
        there = [names[alias] for alias in (*aliases, *short) if alias in names]
        if there:
            bands[role] = there[0]
    return bands


def _absent(path: Path, cube: xr.Dataset, wanted: str) -> str:
    if not cube.data_vars:
        others = ", ".join(f"{name} on ({', '.join(dims)})" for name, dims in cube.attrs["dimensions"].items())
        return f"{path} has no {wanted!r}; it has nothing on (time, y, x){others and ', but '}{others}"
    msg = f"{path} has no {wanted!r}; it has {listed(cube)}. Name one of them by --variable."
    if wanted.lower() in INDICES:
        bands = ",".join(f"{role}=NAME" for role in INDICES[wanted.lower()][1])
        msg += f" To compute {wanted.lower()}, name its bands by --bands {bands}"
        b4 = any(str(name).lower() == "b4" for name in cube.data_vars)
        msg += " (B4 and B8 are red and near infrared of Sentinel-2, and others of Landsat)." if b4 else "."
    return msg


def kind_of(band: xr.DataArray, variable: str | None) -> str:
    """Kind of a band: its name, or the index at the end of it; for a band without a name the requested variable."""
    name = str(band.name)
    if name == "value":
        name = str(band.attrs.get(INDEX_IN_FILE_NAMES, name) if variable in (None, name) else variable)
    last = re.split(r"[^a-z0-9]+", name.lower())[-1]
    return last if last in INDEX_NAMES else name.lower()


def where_seen(band: xr.DataArray, kind: str) -> xr.DataArray:
    """Mask reflectances of 0, with or without the offset: pixels not seen are stored as 0."""
    if kind not in REFLECTANCES:
        return band
    offset = np.asarray(band.attrs.get(OFFSETS, band.encoding.get("add_offset", 0)), band.dtype)
    return band.where((band != NODATA) & (band != xr.DataArray(offset, dims=("time",)[: offset.ndim])))


def where_possible(band: xr.DataArray, kind: str) -> xr.DataArray:
    """Mask values that this kind of band cannot have."""
    if kind in REFLECTANCES:
        low, high = POSSIBLE_REFLECTANCE
        return band.where((band >= low) & (band <= high))
    most = 1 if kind == "ndvi" else MAX_INDEX
    return band.where(abs(band) <= most) if kind in INDEX_NAMES else band
