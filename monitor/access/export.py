"""Cube and series of a site in one NetCDF file or Zarr store, by the CF and ACDD conventions."""

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dask
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from monitor import __version__
from monitor.access.cube import attributes, site_cube
from monitor.access.installation import Installation
from monitor.access.series import not_published, published_series
from monitor.access.stored import installation_of, published_site, stored_site
from monitor.conventions import discovery, history_line
from monitor.cube.bucket import local_folder
from monitor.errors import BadData, as_disk_full
from monitor.files import appearing

SUFFIXES: Final = (".nc", ".zarr")  #: suffixes of files that can be written
_TIME_UNITS: Final = (("seconds", 10**9), ("milliseconds", 10**6), ("microseconds", 10**3), ("nanoseconds", 1))
"""Units of time, coarsest first, and their length. [ns]"""
_NDVI: Final = {"standard_name": "normalized_difference_vegetation_index", "units": "1", "cell_methods": "area: mean"}
_COVER: Final = {"standard_name": "vegetation_area_fraction", "units": "1", "cell_methods": "area: mean"}
SERIES_VARIABLES: Final = {
    "ndvi": ("site_ndvi", {**_NDVI, "long_name": "mean NDVI over the clear pixels of the site"}),
    "cover": ("site_cover", {**_COVER, "long_name": "mean vegetation cover over the clear pixels of the site"}),
    "control_ndvi": ("control_ndvi", {**_NDVI, "long_name": "mean NDVI of the control ground"}),
    "control_cover": ("control_cover", {**_COVER, "long_name": "mean vegetation cover of the control ground"}),
    "control_2": ("control_cover_2", {**_COVER, "long_name": "mean vegetation cover of the second ring of controls"}),
    "reference_cover": (
        "reference_cover", {**_COVER, "long_name": "mean cover of ground that had the planned cover before the start"},
    ),
    "clear_fraction": ("clear_fraction", {"units": "1", "long_name": "share of the site that was seen"}),
    "second_index": ("second_index", {"units": "1", "long_name": "mean NBR, or NDMI, of the site"}),
    "control_second_index": ("control_second_index", {"units": "1", "long_name": "the same of the control ground"}),
}  # fmt: skip
"""Columns of the series that are exported, with the names and attributes of their variables along time."""


def export(path: str | Path, site: str, out: str | Path) -> Path:
    """Write cube and series of a site as one NetCDF file or Zarr store, whole or not at all, as ``regrowth export``.

    It follows CF-1.11 and ACDD-1.3. A run may store new scenes at the same time.

    Parameters
    ----------
    path : str or Path
        The configuration file of the installation, or its output root. The environment is not read.
    site : str
        Id of the site.
    out : str or Path
        New ``NAME.nc`` (NetCDF) or ``NAME.zarr``; nothing is ever replaced.

    Returns
    -------
    Path
        Absolute path of the file.

    Raises
    ------
    BadConfiguration
        `path` is not an installation.
    BadData
        The site is unknown or not published yet; or `out` exists, has another suffix, or lies in the store.
    StoreBroken
        The store of the site cannot be read.
    DiskFull
        The disk is full.

    Examples
    --------
    >>> export("outputs/demo", "demo-02", "demo-02.nc")  # doctest: +SKIP
    """
    places = installation_of(path, site)
    if not isinstance(out, str | Path):
        raise BadData(f"out is of type {type(out).__name__}; give the path of a new NAME.nc or NAME.zarr")
    out = Path(out).expanduser().absolute()
    check_target(places, out)
    write_dataset(site_dataset(places, site), out, at=datetime.now(UTC), command=f"monitor.export {site} {out.name}")
    return out


def check_target(places: Installation, out: Path) -> None:
    """Refuse a file of another format, and one inside the store."""
    if out.suffix.lower() not in SUFFIXES:
        raise BadData(f"OUT ends in {out.suffix!r}; it must end in .nc (NetCDF) or .zarr")
    if local_folder(places.store).resolve() in out.resolve().parents:
        raise BadData(f"OUT {out} is inside the store; write elsewhere")


def site_dataset(places: Installation, site: str) -> xr.Dataset:
    """The cube of a site (:func:`monitor.open_site`) with its published series as variables along time; lazy.

    Parameters
    ----------
    places : Installation
        See :func:`monitor.access.installation.find_installation`.
    site : str
        Id of the site.

    Returns
    -------
    xr.Dataset
        Variables on (time, y, x), and those of :data:`SERIES_VARIABLES` on (time), NaN where a scene was rejected. [1]

    Raises
    ------
    BadData
        The site is unknown, not stored yet, or not judged yet.
    StoreBroken
        The store of the site cannot be read.
    """
    published = published_site(places, site)
    stored = stored_site(places, site, published)
    series = published_series(places, site)
    if series is None:
        raise not_published(places, site)
    cube = site_cube(stored, series).assign_attrs(attributes(places, stored, site, published))
    return cube.assign(_series_variables(cube["scene"].values, series))


def _series_variables(scenes: np.ndarray, series: pd.DataFrame) -> dict[str, Any]:
    """Variables along time of a series, NaN for scenes that are not in it."""
    rows = series.drop_duplicates("scene").set_index("scene").reindex(scenes)
    described = SERIES_VARIABLES.items()
    return {name: ("time", rows[column].to_numpy(np.float64), attrs) for column, (name, attrs) in described}


def write_dataset(data: xr.Dataset, out: Path, *, at: datetime, command: str) -> None:
    """Write a Dataset as NetCDF or Zarr, by suffix: completely or not at all, block by block.

    Parameters
    ----------
    data : xr.Dataset
        From :func:`site_dataset`.
    out : Path
        New file or folder that ends in one of :data:`SUFFIXES`.
    at : datetime
        Now, with a time zone.
    command : str
        What was run, for the attribute ``history``.

    Raises
    ------
    BadData
        `out` exists, or cannot be written.
    DiskFull
        The disk is full.
    """
    if out.exists() or out.is_symlink():  # a link that leads nowhere too
        raise BadData(f"{out} exists; give another name, or remove it first")
    history = history_line(at, f"regrowth-monitor {__version__}", command)
    data = discovery(data).assign_attrs(history=history, date_created=f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    before = netCDF4.get_chunk_cache()
    netCDF4.set_chunk_cache(2**20)  # nothing is read again; the default is 64 MB for each variable
    try:
        with appearing(out) as partial:
            dask.compute(_delayed_write(data, partial))
    except (OSError, RuntimeError) as error:
        if full := as_disk_full(error, out.parent):
            raise full from error
        raise BadData(f"{out} cannot be written: {error}") from error
    finally:
        netCDF4.set_chunk_cache(*before)


def _delayed_write(data: xr.Dataset, partial: Path) -> Any:
    if partial.suffix.lower() == ".nc":
        return _encoded(data).to_netcdf(partial, engine="netcdf4", compute=False)
    with warnings.catch_warnings():  # zarr 3.4 warns that this metadata is not standard, xarray that it is absent
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        return _encoded(data, compress=False).to_zarr(partial, consolidated=True, compute=False)


def _encoded(data: xr.Dataset, *, compress: bool = True) -> xr.Dataset:
    """The Dataset, with how each variable is encoded in a file.

    Coordinates have no fill value; times are whole numbers; maps name their CRS; floats are NaN where there is no
    value. With `compress` (Zarr does so by itself) maps are deflated, each dask block as one chunk.
    """
    data = data.drop_encoding()
    for name, variable in data.variables.items():
        encoding = variable.encoding
        encoding["_FillValue"] = np.nan if variable.dtype.kind == "f" and name in data.data_vars else None
        if variable.dtype.kind == "M":
            encoding |= {"dtype": "int64", "units": _time_units(variable.values), "calendar": "standard"}
        if {"y", "x"} <= set(variable.dims):
            encoding["grid_mapping"] = "spatial_ref"
            if compress:
                blocks = tuple(max(sizes) for sizes in variable.chunks or ()) or None
                encoding |= {"zlib": True, "complevel": 1, "chunksizes": blocks}
    return data


def _time_units(times: np.ndarray) -> str:
    """Coarsest units in which all times are whole numbers."""
    nanoseconds = times.astype("datetime64[ns]").astype(np.int64)
    unit = next(unit for unit, length in _TIME_UNITS if not (nanoseconds % length).any())
    return f"{unit} since 1970-01-01"
