"""NetCDF files and Zarr stores of anyone, by the CF conventions and by what such files hold in their stead."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr
import zarr
from affine import Affine

from monitor.errors import BadData
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR
from monitor.trends.maps import mid_season

DIMENSION_NAMES: Final = {"t": "time", "year": "time", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
"""Other names of the dimensions."""

CRS_ATTRIBUTES: Final = frozenset(("crs_wkt", "spatial_ref", "grid_mapping_name"))
"""Attributes of which a variable that tells a CRS has one."""

NODATA_ATTRIBUTES: Final = ("nodata", "nodatavals")
"""Attributes by which odc-stac, Open Data Cube and rasterio name what is no value, outside the conventions."""


def open_dataset(path: Path) -> xr.Dataset:
    """Open the maps of a NetCDF file or Zarr store; nothing of them is read.

    Parameters
    ----------
    path : Path
        The file or store.

    Returns
    -------
    xr.Dataset
        Variables on time, y and x (under any name of :data:`DIMENSION_NAMES`), in this order, with all coordinates;
        NaN where the file marks no value. Attributes: ``dimensions`` of every variable of the file, and ``crs`` where
        the file tells its CRS by that.

    Raises
    ------
    BadData
        The file cannot be opened, asks for code to be run, or says of its numbers what nothing can be made of.
    """
    engine = "zarr" if path.is_dir() else "netcdf4"
    if engine == "zarr":
        _refuse_pickle_codecs(path)
    elif not path.is_file():
        msg = f"{path} is neither a file nor a folder"
        raise BadData(msg)
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    try:
        with warnings.catch_warnings():  # those of xarray are about what is mended or told here
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", xr.SerializationWarning)
            cube = xr.open_dataset(path, engine=engine, decode_cf=False, chunks=None, **options)
            for one in cube.data_vars.values():
                if one.dtype.kind in "iuf":
                    _normalise_attributes(path, one, netcdf=engine == "netcdf4")
            cube = xr.decode_cf(cube, decode_coords="all")
    except OverflowError as error:
        msg = f"{path}: a time lies beyond any calendar ({error}); mark what is no date by _FillValue, or leave it out"
        raise BadData(msg) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).split(". Try opening")[0]  # what follows is for those who write programs
        mend = ". Give it times as 'days since 1970-01-01'" if "decode time" in why else ""
        msg = f"{path} cannot be opened as {'Zarr' if engine == 'zarr' else 'NetCDF'}: {why}{mend}"
        raise BadData(msg) from error
    cube = _named(cube)
    maps = [str(name) for name, one in cube.data_vars.items() if set(one.dims) == {"time", "y", "x"}]
    told = {"dimensions": {str(name): tuple(map(str, one.dims)) for name, one in cube.data_vars.items()}}
    for attrs in (cube.attrs, *(cube[name].attrs for name in maps)):
        if np.ndim(attrs.get("crs", "")) == 0 and not attrs.get("crs"):  # left empty: none is told
            attrs.pop("crs", None)
    told |= {"crs": cube.attrs["crs"]} if "crs" in cube.attrs else {}
    cube = _linked(cube, maps)[maps].transpose("time", "y", "x", missing_dims="ignore")
    cube.attrs = told
    if "time" in cube.coords:
        time = cube["time"].values
        if time.dtype.kind in "iuf":
            cube = cube.assign_coords(time=_years(path, time))
        elif time.dtype.kind == "O" and all(
            getattr(t, "calendar", "") == "julian" and 1901 <= t.year <= 2099 for t in time
        ):
            # as AppEEARS has it; in these years no date is another one in the common calendar
            cube = cube.assign_coords(time=np.array([t.isoformat() for t in time], "datetime64[ns]"))
    return cube


def _named(cube: xr.Dataset) -> xr.Dataset:
    """The same with its dimensions called time, y and x, and without others of one place."""
    for old in map(str, cube.dims):
        new = DIMENSION_NAMES.get(old.lower(), old.lower())
        if old != new and new in ("time", "y", "x") and new not in cube.dims:
            if new in cube.variables and cube[new].dims == (old,):
                cube = cube.swap_dims({old: new})
            else:
                cube = cube.drop_vars(new, errors="ignore").rename({old: new})
    single = [d for d, size in cube.sizes.items() if size == 1 and d not in ("time", "y", "x")]
    # what tells a CRS may lie there, too
    return cube.isel(dict.fromkeys(single, 0)).drop_vars(single, errors="ignore")


def _linked(cube: xr.Dataset, maps: Iterable[str]) -> xr.Dataset:
    """The same with each map linked to its CRS: that which it names (CF 1.11, 5.6), else the only one of the file."""
    lone = [str(name) for name, one in cube.variables.items() if not one.dims and CRS_ATTRIBUTES & one.attrs.keys()]
    for name in maps:
        one = cube[name]
        named = str(one.encoding.get("grid_mapping", one.attrs.get("grid_mapping", ""))).split(":")[0].split()
        here = [found for found in named[:1] if found in cube.variables] or lone
        if len(here) == 1:
            cube = cube.set_coords(here)
            cube[name].encoding["grid_mapping"] = here[0]
            cube[name].attrs.pop("grid_mapping", None)
    return cube


def _normalise_attributes(path: Path, one: xr.DataArray, *, netcdf: bool) -> None:
    """Make numbers of scale, offset and marks of no value, of the kind that they are compared with.

    What names no mark has NetCDF's own, which is what was never written (bytes have none). The attributes of
    :data:`NODATA_ATTRIBUTES` count as marks, too.
    """
    for name in ("scale_factor", "add_offset", "_FillValue", "missing_value"):
        if name not in one.attrs:
            continue
        told = np.asarray(one.attrs[name])
        try:
            numbers = told if told.dtype.kind in "iuf" else told.astype(float)
        except (ValueError, TypeError):
            numbers = np.empty(0)
        if name in ("scale_factor", "add_offset"):
            usable = numbers.size == 1 and np.isfinite(numbers).all() and (name != "scale_factor" or numbers.all())
        else:
            usable = numbers.size > 0
            if one.dtype.kind == "f":
                numbers = numbers.astype(one.dtype)
        if not usable:
            msg = f"{path}: {one.name!r} has {name} = {one.attrs[name]}, of which nothing can be made; mend it"
            raise BadData(msg)
        one.attrs[name] = numbers.ravel()[0] if numbers.size == 1 else numbers
    for beside in NODATA_ATTRIBUTES:
        mark = _mark(one, one.attrs.get(beside))
        if mark is not None and "_FillValue" in one.attrs:
            marks = np.append(one.attrs.get("missing_value", mark), mark).astype(one.dtype)
            one.attrs["missing_value"] = marks if marks[0] != mark else mark
        elif mark is not None:
            one.attrs["_FillValue"] = mark
    if netcdf and one.dtype.itemsize > 1 and not {"_FillValue", "missing_value"} & one.attrs.keys():
        one.attrs["_FillValue"] = one.dtype.type(netCDF4.default_fillvals[one.dtype.str[1:]])


def _mark(one: xr.DataArray, told: Any) -> Any:
    """A mark of no value in the kind of the numbers of a variable; None where it is none, or none that they can have.

    Of several, one for each band, that are all alike it is that one.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            (value,) = set(np.ravel(told).astype(float).tolist())
        except (ValueError, TypeError):
            return None
        if one.dtype.kind == "f":
            return None if np.isnan(value) else one.dtype.type(value)  # NaN needs no mark
        unsigned = str(one.attrs.get("_Unsigned")).lower() == "true"
        kind = np.dtype(f"u{one.dtype.itemsize}") if unsigned else one.dtype
        cast = np.array(value).astype(kind)
    return cast.view(one.dtype)[()] if cast == value else None


def mask_outside_limits(path: Path, one: xr.DataArray) -> xr.DataArray:
    """Give NaN to what is outside the limits that the file sets (CF 1.11, 2.5.1).

    Parameters
    ----------
    path : Path
        The file.
    one : xr.DataArray
        A variable of it, with the attributes and the encoding that it was opened with.

    Returns
    -------
    xr.DataArray
        The same, lazy where it is; what lies at a limit stays.

    Raises
    ------
    BadData
        The limits are no two numbers.
    """
    told = {name: one.attrs[name] for name in ("valid_range", "valid_min", "valid_max") if name in one.attrs}
    if not told:
        return one
    asked = told.get("valid_range", (told.get("valid_min", -np.inf), told.get("valid_max", np.inf)))
    try:
        low, high = np.asarray(asked, float).ravel()
    except (ValueError, TypeError) as error:
        msg = f"{path}: {one.name!r} sets limits that are no two numbers ({told}); mend them or take them out"
        raise BadData(msg) from error
    low, high = -np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high
    if {"scale_factor", "add_offset"} & one.encoding.keys():
        scale, offset = (float(one.encoding.get(k, d)) for k, d in (("scale_factor", 1), ("add_offset", 0)))
        if all(np.asarray(limit).dtype.kind in "iu" for limit in told.values()):  # they are of the packed numbers
            size = 2.0 ** (8 * np.dtype(one.encoding.get("dtype", one.dtype)).itemsize)
            if str(one.encoding.get("_Unsigned")).lower() == "true":
                low, high = (x + size * (-size < x < 0) for x in (low, high))
            low, high = sorted((low * scale + offset, high * scale + offset))
        low, high = low - abs(scale) / 2, high + abs(scale) / 2  # no rounding moves a number over them
    elif one.dtype.kind == "f":
        low, high = one.dtype.type(low), one.dtype.type(high)
    valid = one.where((one >= low) & (one <= high))
    valid.encoding = one.encoding
    return valid


def parse_transform(text: Any) -> Affine | None:
    """Read the ``GeoTransform`` of a grid mapping; None if nothing can be made of it, or it is rotated."""
    try:
        found = Affine.from_gdal(*map(float, str(text).split()))
    except (ValueError, TypeError):
        return None
    sound = np.isfinite(tuple(found)).all() and found.a and found.e and not (found.b or found.d)
    return found if sound else None


def _years(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Bare numbers for times: taken for years if they can be nothing else."""
    if numbers.size and not ((numbers >= 1900) & (numbers <= 2100) & (numbers % 1 == 0)).all():
        msg = f"{path}: 'time' holds bare numbers ({numbers[0]}, ...); give it CF units such as 'days since 1970-01-01'"
        raise BadData(msg)
    return mid_season(numbers.astype(np.int64), DAYS_PER_YEAR / 2)


def refuse_missing_chunks(path: Path, variables: Iterable[xr.DataArray]) -> None:
    """Refuse a Zarr store that lacks chunks of variables, unless what is read in their stead is marked as no value.

    Parameters
    ----------
    path : Path
        NetCDF, which has a mark for what was never written, or Zarr.
    variables : iterable of xr.DataArray
        Of the file, as it was opened.

    Raises
    ------
    BadData
        Chunks are missing.
    """
    if not path.is_dir():
        return
    store = zarr.open_group(path, mode="r")
    for one in variables:
        stored = store[str(one.name)]
        if not isinstance(stored, zarr.Array) or stored.nchunks_initialized == stored.nchunks:
            continue
        marks = [one.encoding[name] for name in ("_FillValue", "missing_value") if name in one.encoding]
        if not (stored.fill_value != stored.fill_value or any(np.isin(stored.fill_value, mark) for mark in marks)):
            left = stored.nchunks - stored.nchunks_initialized
            msg = (
                f"{path}: {left} of {stored.nchunks} chunks of {one.name!r} are missing, and would be read as "
                f"{stored.fill_value}, which no _FillValue says is not seen; write all chunks, or mark what is none"
            )
            raise BadData(msg)


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _refuse_pickle_codecs(store: Path) -> None:
    """Refuse a store whose metadata ask for a codec that runs code."""
    for pattern in ("zarr.json", ".zarray", ".zmetadata"):
        for path in store.rglob(pattern):
            try:
                asked = _codecs(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, RecursionError) as error:
                msg = f"{path} is not JSON: {error}"
                raise BadData(msg) from error
            if any("pickle" in name for name in asked):
                msg = f"{path} asks for pickle, which can run any program; store the cube as numbers"
                raise BadData(msg)


def _codecs(metadata: Any) -> list[str]:
    """Everything that is called ``id`` or ``name`` anywhere in the metadata."""
    if isinstance(metadata, Mapping):
        own = [v for k, v in metadata.items() if k in ("id", "name") and isinstance(v, str)]
        return own + [name for value in metadata.values() for name in _codecs(value)]
    if isinstance(metadata, list):
        return [name for value in metadata for name in _codecs(value)]
    return []
