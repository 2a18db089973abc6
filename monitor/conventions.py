"""Metadata of the CF conventions 1.11 that every NetCDF file and Zarr store written here has."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 - gives Datasets their .rio
import shapely
import xarray as xr

CONVENTIONS: Final = "CF-1.11"
"""Value of the attribute ``Conventions``."""

ACDD: Final = "ACDD-1.3"
"""Added to ``Conventions`` where a file is described for catalogues as well."""

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


def discovery(dataset: xr.Dataset) -> xr.Dataset:
    """Dataset with the attributes by which catalogues find it: where and when it is, as ACDD demands [1]_.

    Parameters
    ----------
    dataset : xr.Dataset
        On (time, y, x), from :func:`follow_cf`, with a CRS, ``time`` in UTC.

    Returns
    -------
    xr.Dataset
        With ``geospatial_*`` in degrees (WGS 84), ``time_coverage_*`` unless there is no time, and the content type of
        variables that are floats.

    References
    ----------
    .. [1] Attribute Convention for Data Discovery 1.3, ESIP, 2015,
       https://wiki.esipfed.org/Attribute_Convention_for_Data_Discovery_1-3.
    """
    dataset = dataset.copy()
    west, south, east, north = map(float, dataset.rio.transform_bounds("EPSG:4326"))
    attributes: dict[str, Any] = {
        "Conventions": f"{CONVENTIONS}, {ACDD}",
        "geospatial_bounds": shapely.box(south, west, north, east).wkt,  # latitude first, as EPSG:4326 has it
        "geospatial_bounds_crs": "EPSG:4326",
        "geospatial_lat_min": south, "geospatial_lat_max": north, "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": west, "geospatial_lon_max": east, "geospatial_lon_units": "degrees_east",
    }  # fmt: skip
    if dataset.sizes["time"]:
        first, last = dataset["time"].values[[0, -1]].astype("datetime64[s]")
        days = int((last - first) / np.timedelta64(1, "D"))
        attributes |= {
            "time_coverage_start": f"{first}Z", "time_coverage_end": f"{last}Z", "time_coverage_duration": f"P{days}D",
        }  # fmt: skip
    dataset = dataset.assign_attrs(attributes)
    for values in dataset.data_vars.values():
        if values.dtype.kind == "f":
            values.attrs["coverage_content_type"] = "physicalMeasurement"
    return dataset


def history_line(at: datetime, program: str, command: str) -> str:
    """One line of the attribute ``history``: when (in UTC), by which program and version, and with which command."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {program}: {command}"
