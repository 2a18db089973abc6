"""Read NetCDF files and Zarr stores by the CF conventions, and by common substitutes for them."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr

from monitor.errors import BadData
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR
from monitor.trends.maps import mid_season

DIMENSION_NAMES: Final = {"t": "time", "year": "time", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
"""Names of dimensions, and the names used here."""
CRS_ATTRIBUTES: Final = frozenset(("crs_wkt", "spatial_ref", "grid_mapping_name"))
"""Attributes that identify a variable as a CRS."""
NODATA_ATTRIBUTES: Final = ("nodata", "nodatavals")
"""Nodata attributes of odc-stac, Open Data Cube and rasterio, which are not in the conventions."""


def open_dataset(path: Path) -> xr.Dataset:
    """Open the maps of a NetCDF file or Zarr store without reading them; ``BadData``: it or its attributes cannot be
    used.

    Variables are on time, y and x (under any name of :data:`DIMENSION_NAMES`), in this order, with all coordinates; NaN
    for nodata. Attributes: ``dimensions`` of every variable of the file, and ``crs`` if the file has it.
    """
    is_zarr_store = path.is_dir()
    if is_zarr_store:
        _refuse_pickle(path)
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if is_zarr_store else {"engine": "netcdf4"}
    try:
        with warnings.catch_warnings():  # xarray warns of what is corrected or reported here
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", xr.SerializationWarning)
            cube = xr.open_dataset(path, decode_cf=False, chunks=None, **options)
            for variable in cube.data_vars.values():
                if variable.dtype.kind in "iuf":
                    _normalise_attributes(variable, netcdf=not is_zarr_store)
            cube = xr.decode_cf(cube, decode_coords="all")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        why = str(error).split(". Try opening")[0]  # the rest is for programmers
        fix = ". Give it times as 'days since 1970-01-01'" if "decode time" in why else ""
        raise BadData(f"{path} cannot be opened as {'Zarr' if is_zarr_store else 'NetCDF'}: {why}{fix}") from error
    cube = _named(cube)
    maps = [str(name) for name, variable in cube.data_vars.items() if set(variable.dims) == {"time", "y", "x"}]
    dimensions = {str(name): tuple(map(str, variable.dims)) for name, variable in cube.data_vars.items()}
    crs = {key: cube.attrs[key] for key in ("crs",) if key in cube.attrs}
    cube = _linked(cube, maps)[maps].transpose("time", "y", "x", missing_dims="ignore")
    cube.attrs = {"dimensions": dimensions, **crs}
    if "time" in cube.coords:
        time = cube["time"].values
        if time.dtype.kind in "iuf":
            cube = cube.assign_coords(time=_years(path, time))
        elif time.dtype.kind == "O" and all(
            getattr(t, "calendar", "") == "julian" and 1901 <= t.year <= 2099 for t in time
        ):
            # as in AppEEARS; in these years all dates are the same in the common calendar
            cube = cube.assign_coords(time=np.array([t.isoformat() for t in time], "datetime64[ns]"))
    return cube


def _named(cube: xr.Dataset) -> xr.Dataset:
    """Rename the dimensions to time, y and x, and drop other dimensions of size 1."""
    for old in map(str, cube.dims):
        new = DIMENSION_NAMES.get(old.lower(), old.lower())
        if old != new and new in ("time", "y", "x") and new not in cube.dims:
            if new in cube.variables and cube[new].dims == (old,):
                cube = cube.swap_dims({old: new})
            else:
                cube = cube.drop_vars(new, errors="ignore").rename({old: new})
    single = [d for d, size in cube.sizes.items() if size == 1 and d not in ("time", "y", "x")]
    # a variable with the CRS may be on them too
    return cube.isel(dict.fromkeys(single, 0)).drop_vars(single, errors="ignore")


def _linked(cube: xr.Dataset, maps: Iterable[str]) -> xr.Dataset:
    """Link each map to its CRS: the one that it names (CF 1.11, section 5.6), else the only one of the file."""
    unnamed = [str(name) for name, v in cube.variables.items() if not v.dims and CRS_ATTRIBUTES & v.attrs.keys()]
    for name in maps:
        layer = cube[name]
        named = str(layer.encoding.get("grid_mapping", layer.attrs.get("grid_mapping", ""))).split(":")[0].split()
        mapping = [variable for variable in named[:1] if variable in cube.variables] or unnamed
        if len(mapping) == 1:
            cube = cube.set_coords(mapping)
            cube[name].encoding["grid_mapping"] = mapping[0]
            cube[name].attrs.pop("grid_mapping", None)
    return cube


def _normalise_attributes(variable: xr.DataArray, *, netcdf: bool) -> None:
    """Convert scale, offset and nodata attributes of a variable to numbers, nodata in the precision of the values.

    A NetCDF variable without nodata gets the default of NetCDF, which marks what was never written (bytes have none).
    The attributes of :data:`NODATA_ATTRIBUTES` count as nodata too.
    """
    for name in ("scale_factor", "add_offset", "_FillValue", "missing_value"):
        if name in variable.attrs:
            value = np.asarray(variable.attrs[name])
            numbers = value if value.dtype.kind in "iuf" else value.astype(float)
            if variable.dtype.kind == "f" and name in ("_FillValue", "missing_value"):
                numbers = numbers.astype(variable.dtype)
            variable.attrs[name] = numbers.ravel()[0] if numbers.size == 1 else numbers
    for name in NODATA_ATTRIBUTES:
        mark = _nodata(variable, variable.attrs.get(name))
        if mark is not None and "_FillValue" in variable.attrs:
            marks = np.append(variable.attrs.get("missing_value", mark), mark).astype(variable.dtype)
            variable.attrs["missing_value"] = marks if marks[0] != mark else mark
        elif mark is not None:
            variable.attrs["_FillValue"] = mark
    if netcdf and variable.dtype.itemsize > 1 and not {"_FillValue", "missing_value"} & variable.attrs.keys():
        variable.attrs["_FillValue"] = variable.dtype.type(netCDF4.default_fillvals[variable.dtype.str[1:]])


def _nodata(variable: xr.DataArray, attribute: Any) -> Any:
    """Nodata value in the type of a variable; None if it is not a number or not representable.

    Several equal values, one for each band, count as one.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            (value,) = set(np.ravel(attribute).astype(float).tolist())
        except (ValueError, TypeError):
            return None
        if variable.dtype.kind == "f":
            return None if np.isnan(value) else variable.dtype.type(value)  # NaN is missing anyway
        unsigned = str(variable.attrs.get("_Unsigned")).lower() == "true"
        kind = np.dtype(f"u{variable.dtype.itemsize}") if unsigned else variable.dtype
        cast = np.array(value).astype(kind)
    return cast.view(variable.dtype)[()] if cast == value else None


def mask_outside_limits(path: Path, variable: xr.DataArray) -> xr.DataArray:
    """Mask values outside the limits that the file sets (CF 1.11, section 2.5.1); values at a limit stay.

    The variable has the attributes and the encoding that it was opened with, and stays lazy if it was. Raises
    ``BadData`` where the limits are not two numbers.
    """
    limits = {
        name: variable.attrs[name] for name in ("valid_range", "valid_min", "valid_max") if name in variable.attrs
    }
    if not limits:
        return variable
    pair = limits.get("valid_range", (limits.get("valid_min", -np.inf), limits.get("valid_max", np.inf)))
    try:
        low, high = np.asarray(pair, float).ravel()
    except (ValueError, TypeError) as error:
        msg = f"{path}: {variable.name!r} sets limits that are not two numbers ({limits}); correct or remove them"
        raise BadData(msg) from error
    low, high = -np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high
    if {"scale_factor", "add_offset"} & variable.encoding.keys():
        scale, offset = (float(variable.encoding.get(k, d)) for k, d in (("scale_factor", 1), ("add_offset", 0)))
        if all(np.asarray(limit).dtype.kind in "iu" for limit in limits.values()):  # limits of the packed numbers
            size = 2.0 ** (8 * np.dtype(variable.encoding.get("dtype", variable.dtype)).itemsize)
            if str(variable.encoding.get("_Unsigned")).lower() == "true":
                low, high = (x + size * (-size < x < 0) for x in (low, high))
            low, high = sorted((low * scale + offset, high * scale + offset))
        low, high = low - abs(scale) / 2, high + abs(scale) / 2  # so that no rounding moves a value across them
    elif variable.dtype.kind == "f":
        low, high = variable.dtype.type(low), variable.dtype.type(high)
    valid = variable.where((variable >= low) & (variable <= high))
    valid.encoding = variable.encoding
    return valid


def _years(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Convert bare numbers to times if they can only be years."""
    if numbers.size and not ((numbers >= 1900) & (numbers <= 2100) & (numbers % 1 == 0)).all():
        msg = f"{path}: 'time' holds bare numbers ({numbers[0]}, ...); give it CF units such as 'days since 1970-01-01'"
        raise BadData(msg)
    return mid_season(numbers.astype(np.int64), DAYS_PER_YEAR / 2)


def is_zarr(folder: Path) -> bool:
    """Whether a folder holds the metadata of a Zarr group; False for a single v2 array or a missing folder."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _refuse_pickle(store: Path) -> None:
    """Refuse a Zarr store whose arrays name the codec pickle."""
    for path in (*store.glob("*/.zarray"), *store.glob("*/zarr.json")):
        if b'"pickle"' in path.read_bytes():
            raise BadData(f"{path} names the codec pickle, which can run any program; store the cube as numbers")
