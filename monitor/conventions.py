"""Metadata of the CF conventions 1.11 that every NetCDF file and Zarr store written here has."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 - gives Datasets their .rio
import xarray as xr

CONVENTIONS: Final = "CF-1.11"
"""Value of the attribute ``Conventions``."""

NAMING: Final = ("units", "standard_name", "long_name")
"""Attributes of an axis that stay where there is no CRS. Others may name variables that are not written."""


def follow_cf(dataset: xr.Dataset) -> xr.Dataset:
    """Dataset whose axes and CRS are described as the CF conventions demand [1]_.

    Parameters
    ----------
    dataset : xr.Dataset
        Variables on (y, x), also with other dimensions; CRS in the coordinate ``spatial_ref``, if there is one. Values
        and encoding of the variables are not changed.

    Returns
    -------
    xr.Dataset
        ``x`` and ``y`` with axis, standard name and units by the CRS, or with a long name at least; ``spatial_ref`` as
        int32; no ``_FillValue`` on coordinates; attribute ``Conventions``.

    References
    ----------
    .. [1] B. Eaton et al., NetCDF Climate and Forecast (CF) Metadata Conventions 1.11, 2023, sections 2.5.1, 4 and
       5.6, https://cfconventions.org.
    """
    dataset = dataset.copy()
    if "spatial_ref" in dataset.coords:
        reference = dataset["spatial_ref"]
        dataset = dataset.assign_coords(spatial_ref=xr.DataArray(np.int32(0), attrs=reference.attrs))
    for name in {"y", "x"} & dataset.coords.keys():
        known: Mapping[Any, Any] = dataset[name].attrs
        dataset[name].attrs = {key: known[key] for key in NAMING if isinstance(known.get(key), str)}
        if not {"standard_name", "long_name"} & known.keys():
            dataset[name].attrs["long_name"] = f"{name} coordinate"
    if {"y", "x", "spatial_ref"} <= dataset.coords.keys():
        dataset = dataset.rio.write_coordinate_system()
    for coordinate in dataset.coords.values():
        coordinate.encoding["_FillValue"] = None
    return dataset.assign_attrs(Conventions=CONVENTIONS)


def history_line(at: datetime, program: str, command: str) -> str:
    """One line of the attribute ``history``: when (in UTC), by which program and version, and with which command."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {program}: {command}"
