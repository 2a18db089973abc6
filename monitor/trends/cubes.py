"""Open any cube for a trend: a NetCDF file, a Zarr store, or a folder of GeoTIFFs with a date in each name.

Reading is lazy, in blocks of all dates of at most :data:`MAX_BLOCK_BYTES`: a cube of any size needs the same memory.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import dask.array as da
import numpy as np
import pyproj.exceptions
import rasterio
import rasterio.windows
import xarray as xr
from affine import Affine
from rioxarray.exceptions import RioXarrayError

from monitor.cover.indices import ndvi
from monitor.errors import BadData
from monitor.imagery.bands import NODATA, OBSERVED
from monitor.imagery.day_in_name import day_in_name
from monitor.trends.cf import is_zarr, mask_outside_limits, open_dataset, parse_transform, refuse_missing_chunks
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR
from monitor.trends.maps import mid_season

MAX_BLOCK_BYTES: Final = 32 * 2**20
"""Maximum size of a block of one variable; each thread holds one block. [byte]"""

BAND_NAMES: Final = {"red": ("red", "b04"), "nir": ("nir", "b08")}
"""Names of the two bands of NDVI, in any case: common names, then those of Sentinel-2."""

SHORT_BAND_NAMES: Final = {"red": "b4", "nir": "b8"}
"""Names without the zero. Landsat uses them for other bands: one of :data:`SENTINEL_2_ONLY` must be there too."""

SENTINEL_2_ONLY: Final = frozenset(("b8a", "b12"))
"""Bands of Sentinel-2 that Landsat does not have."""

REFLECTANCES: Final = frozenset(
    (*OBSERVED, "swir1", "swir2", *BAND_NAMES["red"], *BAND_NAMES["nir"], *SHORT_BAND_NAMES.values())
)
"""Names of bands of surface reflectance."""

INDEX_NAMES: Final = frozenset(
    ("ndvi", "evi", "evi2", "savi", "osavi", "msavi", "gndvi", "ndre", "nbr", "nbr2", "ndmi", "ndwi", "mndwi")
)
"""Names of indices with values of about -1 to 1, so that integers need a scale."""

UNNAMED: Final = "band_"
"""Prefix of the name of a band without one; its number follows."""

POSSIBLE_REFLECTANCE: Final = (-0.2, 2.0)
"""Possible surface reflectances: 0 to 1, with a margin for noise over dark ground and for tilted bright ground. [1]"""

MAX_INDEX: Final = 10.0
"""Largest possible absolute value of an index: values beyond 1 come from a divisor near 0, or from scaling. [1]"""

PLAUSIBLE_SHARE: Final = 0.5
"""Minimum share of possible numbers; with fewer, the variable is not what it is taken for. [1]"""

OFFSETS: Final = "offsets"
"""Attribute of a band of GeoTIFFs: offset added to the numbers of each file."""

UNSCALED: Final = "integers"
"""Attribute of a band of GeoTIFFs with integers and no scale: their type."""

INDEX_IN_FILE_NAMES: Final = "said"
"""Attribute of an unnamed band of GeoTIFFs: the index in the file names."""


class OpenedSeries(NamedTuple):
    """A series, with checks that are known only once it has been read."""

    series: xr.DataArray
    """(time, y, x), lazy, time first in memory, CRS in ``spatial_ref`` where there is one."""
    stretched: xr.DataArray
    """(time,) bool, lazy: whether all bands run from exactly 0 to exactly 1, which means stretched for display."""
    numbers: xr.DataArray
    """(2,), lazy: count of the numbers of the bands except 0, and of those that are possible values."""


def open_series(path: Path, variable: str | None = None) -> OpenedSeries:
    """Open one variable of a cube.

    Parameters
    ----------
    path : Path
        NetCDF file, Zarr store, or folder of GeoTIFFs on one grid whose names hold a date, a month or a year.
    variable : str, optional
        Its name, in any case. ``ndvi`` is computed if only red and near infrared are there. None: the only variable, or
        ``ndvi``.

    Returns
    -------
    OpenedSeries
        NaN where nothing was seen: by the nodata and limits of the file, where NDVI is outside -1 to 1 or another index
        beyond :data:`MAX_INDEX`, and where reflectance is 0, with or without its offset, or impossible
        (:data:`POSSIBLE_REFLECTANCE`).

    Raises
    ------
    BadData
        The cube cannot be read or has no such variable; it holds no real numbers, or an index (:data:`INDEX_NAMES`) or
        reflectance in integers without a scale; parts of it were never written.
    """
    if not path.exists():
        msg = f"{path}: there is no such file or folder"
        raise BadData(msg)
    images = path.is_dir() and not is_zarr(path)
    cube = _geotiffs(path) if images else open_dataset(path)
    if 0 in cube.sizes.values():
        msg = f"{path} is empty: the sizes of its dimensions are {dict(cube.sizes)}"
        raise BadData(msg)
    name, bands = _choose(path, cube, variable)
    sources = bands or (name,)
    for source in sources:
        if cube[source].dtype.kind not in "biuf":
            msg = f"{path}: {source!r} holds no real numbers ({cube[source].dtype}), and only those have a trend"
            raise BadData(msg)
    kinds = ("red", "nir") if bands else (_kind(cube[name], variable),)
    for source, kind in zip(sources, kinds, strict=True):
        if kind in INDEX_NAMES or kind in REFLECTANCES:
            _refuse_unscaled(path, cube[source])
    displayed = tuple(map(str, cube.data_vars)) if name.startswith(UNNAMED) else bands
    if not images:
        refuse_missing_chunks(path, [cube[source] for source in sources])
        cube = _lazy(path, cube[[*(displayed or sources)]])
    seen = [_seen(cube[source], kind) for source, kind in zip(sources, kinds, strict=True)]
    possible = [_possible(band, kind) for band, kind in zip(seen, kinds, strict=True)]
    series = _possible(ndvi(*possible), "ndvi") if bands else possible[0]
    units = cube[name].attrs.get("units", "") if name in cube else ""
    series = series.rename(name)
    series.attrs = {"units": str(units) if np.ndim(units) == 0 and units else "1"}
    numbers = xr.concat([sum(map(_count, layers), xr.DataArray(0)) for layers in (seen, possible)], "of")
    return OpenedSeries(series, _stretched([cube[band] for band in displayed]), numbers)


def check_values(path: Path, name: str, checks: xr.Dataset) -> None:
    """Refuse a cube whose values, once read, cannot be what the variable is taken for.

    Parameters
    ----------
    path, name
        The cube, and the name of the variable.
    checks : xr.Dataset
        Computed: ``stretched`` and ``numbers`` of :class:`OpenedSeries`, and ``most_values``, the largest number of
        values of a pixel.

    Raises
    ------
    BadData
        Layers are stretched for display, no pixel has two values, or most numbers are impossible.
    """
    least, most = POSSIBLE_REFLECTANCE
    layers = int(checks["stretched"].sum())
    if layers:
        msg = (
            f"{path}: {layers} layers run from exactly 0 to exactly 1 in every band, so they were "
            "stretched for display and are no reflectance; use the unstretched ones"
        )
        raise BadData(msg)
    if checks["most_values"] < 2:
        msg = (
            f"{path}: no pixel of {name!r} has two values. If there are any, they are impossible: reflectance is "
            f"within {least} to {most} and not 0, NDVI within -1 to 1, other indices within -{MAX_INDEX:g} to "
            f"{MAX_INDEX:g}; scaled integers need the attributes scale_factor and add_offset; and values outside "
            "valid_min, valid_max or valid_range do not count: check that those of the file are right"
        )
        raise BadData(msg)
    count, possible = checks["numbers"].values
    if possible < PLAUSIBLE_SHARE * count:
        msg = (
            f"{path}: of {count} numbers {count - possible} cannot be what {name!r} is taken for, so the others mean "
            f"nothing: reflectance is within {least} to {most}, NDVI within -1 to 1, other indices within "
            f"-{MAX_INDEX:g} to {MAX_INDEX:g}. State their meaning by scale_factor and add_offset, and what marks no "
            "value by _FillValue (scale, offset and nodata of a GeoTIFF)"
        )
        raise BadData(msg)


def _kind(band: xr.DataArray, variable: str | None) -> str:
    """Kind of a band: its name, or the index at the end of it; for a band without a name the requested variable."""
    name = str(band.name)
    if name == "value":
        name = str(band.attrs.get(INDEX_IN_FILE_NAMES, name) if variable in (None, name) else variable)
    last = re.split(r"[^a-z0-9]+", name.lower())[-1]
    return last if last in INDEX_NAMES else name.lower()


def _seen(band: xr.DataArray, kind: str) -> xr.DataArray:
    """Mask reflectances of 0, with or without the offset: pixels not seen are stored as 0."""
    if kind not in REFLECTANCES:
        return band
    offset = np.asarray(band.attrs.get(OFFSETS, band.encoding.get("add_offset", 0)), band.dtype)
    return band.where((band != NODATA) & (band != xr.DataArray(offset, dims=("time",)[: offset.ndim])))


def _possible(band: xr.DataArray, kind: str) -> xr.DataArray:
    """Mask values that this kind of band cannot have."""
    if kind in REFLECTANCES:
        low, high = POSSIBLE_REFLECTANCE
        return band.where((band >= low) & (band <= high))
    most = 1 if kind == "ndvi" else MAX_INDEX
    return band.where(abs(band) <= most) if kind in INDEX_NAMES else band


def _count(band: xr.DataArray) -> xr.DataArray:
    return ((abs(band) < np.inf) & (band != NODATA)).sum()


def _stretched(bands: Sequence[xr.DataArray]) -> xr.DataArray:
    """Whether each layer runs from exactly 0 to exactly 1 in every band; False without bands."""
    stretched = xr.DataArray(bool(bands))
    for band in bands:
        stretched = stretched & (band.min(("y", "x")) == 0) & (band.max(("y", "x")) == 1)
    return stretched


def _choose(path: Path, cube: xr.Dataset, variable: str | None) -> tuple[str, tuple[str, ...]]:
    """Name of the variable, and the bands to compute it from (empty: none)."""
    names = {str(name).lower(): str(name) for name in cube.data_vars}
    if variable is None and len(names) == 1:
        return next(iter(names.values())), ()
    wanted = "ndvi" if variable is None else variable
    if wanted in cube.data_vars:
        return wanted, ()
    if wanted.lower() in names:
        return names[wanted.lower()], ()
    if wanted.lower() == "ndvi":
        short = {band: (name,) if SENTINEL_2_ONLY & names.keys() else () for band, name in SHORT_BAND_NAMES.items()}
        bands = [
            next((names[alias] for alias in (*aliases, *short[band]) if alias in names), None)
            for band, aliases in BAND_NAMES.items()
        ]
        if all(bands):
            return "ndvi", tuple(str(band) for band in bands)
    if variable is not None and list(names) == ["value"]:
        return "value", ()
    if names:
        msg = f"{path} has no {wanted!r}; it has {', '.join(sorted(names.values()))}. Name one of them by --variable."
        if wanted.lower() == "ndvi":
            msg += " To compute NDVI, call its two bands red and nir"
            msg += ": B4 and B8 are those of Sentinel-2, and others of Landsat." if "b4" in names else "."
    else:
        others = ", ".join(f"{name} on ({', '.join(dims)})" for name, dims in cube.attrs["dimensions"].items())
        msg = f"{path} has no {wanted!r}; it has nothing on (time, y, x){others and ', but '}{others}"
    raise BadData(msg)


def _refuse_unscaled(path: Path, band: xr.DataArray) -> None:
    stored = np.dtype(band.encoding.get("dtype", band.dtype))  # with nodata, integers are read as floats
    scaled = {"scale_factor", "add_offset"} & band.encoding.keys()
    kind = stored if stored.kind in "iu" and not scaled else band.attrs.get(UNSCALED)
    if kind is not None:
        msg = (
            f"{path}: {band.name!r} holds integers ({kind}) without a scale; state their meaning by the "
            "attributes scale_factor and add_offset (of a GeoTIFF scale and offset; Sentinel-2: 0.0001, and -0.1 from "
            "baseline 04.00 on)"
        )
        raise BadData(msg)


def _lazy(path: Path, cube: xr.Dataset) -> xr.Dataset:
    """Divide a cube into blocks, mask values outside the limits of the file, and set CRS and transform.

    Raises
    ------
    BadData
        The CRS or the limits cannot be read.
    """
    try:
        crs, mapping = cube.rio.crs, cube.coords.get(cube.rio.grid_mapping)
    except (RioXarrayError, rasterio.errors.CRSError, pyproj.exceptions.CRSError, ValueError, TypeError) as error:
        msg = f"{path}: its CRS cannot be read ({error}); write it again, for instance by rio.write_crs"
        raise BadData(msg) from error
    text = None if mapping is None or 1 not in cube.sizes.values() else mapping.attrs.get("GeoTransform")
    transform = parse_transform(text)
    if transform is not None and all(side in cube.coords and cube[side].dtype.kind in "iuf" for side in ("y", "x")):
        # for one row it is needed for the pixel size; its corner may be that of a larger cube that the row was cut from
        x = cube["x"].min() if transform.a > 0 else cube["x"].max()
        y = cube["y"].min() if transform.e > 0 else cube["y"].max()
        left, top = float(x) - transform.a / 2, float(y) - transform.e / 2
        transform = Affine(transform.a, 0, left, 0, transform.e, top)
    lazy = {name: mask_outside_limits(path, band.chunk(_blocks(band))) for name, band in cube.data_vars.items()}
    return _with_crs(xr.Dataset(lazy), crs, transform)


def _blocks(layer: xr.DataArray) -> dict[str, int]:
    """Shape of a block: all dates, as many whole stored chunks as fit, else as many rows as fit."""
    stored = layer.encoding.get("chunksizes") or layer.encoding.get("chunks") or layer.shape
    near = dict(zip(("time", "y", "x"), stored, strict=True)) if len(stored) == layer.ndim else dict(layer.sizes)
    pixels = max(MAX_BLOCK_BYTES // max(layer.sizes["time"] * layer.dtype.itemsize, 1), 1)
    y, x = (min(max(near[d], 1), max(layer.sizes[d], 1)) for d in ("y", "x"))
    if y * x <= pixels:
        x = min(x * max(pixels // (y * x), 1), max(layer.sizes["x"], 1))
        y = min(y * max(pixels // (y * x), 1), max(layer.sizes["y"], 1))
    else:
        x = min(x, pixels)
        y = max(pixels // x, 1)
    return {"time": -1, "y": y, "x": x}


def _with_crs(cube: xr.Dataset, crs: Any, transform: Affine | None) -> xr.Dataset:
    """Store the CRS, and the transform if given, in ``spatial_ref`` and in no other coordinate."""
    cube = cube.drop_vars([c for c in cube.coords if c not in cube.dims])
    if crs is None:
        return cube
    cube = cube.rio.write_crs(crs, grid_mapping_name="spatial_ref")
    return cube if transform is None else cube.rio.write_transform(transform, grid_mapping_name="spatial_ref")


def _geotiffs(folder: Path) -> xr.Dataset:
    """Open a folder of GeoTIFFs, one a date, on one grid."""
    images = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    paths = sorted(p for p in images if p.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        msg = f"{folder} is no Zarr store and holds no GeoTIFF (.tif)"
        raise BadData(msg)
    time = np.array([_date_in(path) for path in paths])
    order = np.argsort(time, kind="stable")
    paths, time = [paths[i] for i in order], time[order]
    for earlier, later, same in zip(paths, paths[1:], time[1:] == time[:-1], strict=False):
        if same:
            msg = f"{earlier.name} and {later.name} in {folder} are of the same date; keep one of them"
            raise BadData(msg)
    first = _header(paths[0])
    headers = [first]
    for path in paths[1:]:
        other = _header(path)
        headers.append(other)
        for field, here, there in zip(first._fields, first, other, strict=True):
            if here != there and field != "offsets":
                fix = FIXES.get(field, "resample all files to one grid")
                msg = f"{path}: {field} is {there}, in {paths[0].name} it is {here}; {fix}"
                raise BadData(msg)
    height, width = first.shape
    transform = first.transform
    if transform.b or transform.d:
        msg = f"{paths[0]}: the grid is rotated; resample the files to one that is not"
        raise BadData(msg)
    kind = np.result_type(first.type, np.float32)
    like = xr.DataArray(np.broadcast_to(np.zeros((), kind), (len(paths), height, width)), dims=("time", "y", "x"))
    shape = _blocks(like)
    chunks = ((len(paths),), *(_cut(n, shape[d]) for d, n in (("y", height), ("x", width))))
    cube = xr.Dataset(
        {
            name: (
                like.dims,
                da.map_blocks(_read, chunks=chunks, dtype=kind, meta=np.empty((0, 0, 0), kind), paths=paths, band=band),
                first.unscaled | {OFFSETS: [header.offsets[band - 1] for header in headers]},
            )
            for band, name in enumerate(first.names, start=1)
        },
        coords={
            "time": time,
            "y": transform.f + transform.e * (np.arange(height) + 0.5),
            "x": transform.c + transform.a * (np.arange(width) + 0.5),
        },
    )
    if first.names == ("value",):
        indices = INDEX_NAMES.intersection(re.split(r"[^a-z0-9]+", paths[0].stem.lower()))
        cube["value"].attrs |= {INDEX_IN_FILE_NAMES: min(indices)} if indices else {}
    return _with_crs(cube, first.crs, transform)


FIXES: Final = {
    "names": "give all files the same bands in the same order",
    "type": "store the numbers of all files in the same way",
    "unscaled": "give all files the scale and offset that their integers have",
}
"""Fix of each difference between files other than grids."""


class _ImageHeader(NamedTuple):
    shape: tuple[int, int]
    transform: Any
    crs: Any
    names: tuple[str, ...]
    type: str
    unscaled: dict[str, str]
    """Type of integers without a scale."""
    offsets: tuple[float, ...]


def _header(path: Path) -> _ImageHeader:
    try:
        with rasterio.open(path, driver="GTiff") as file:
            names = tuple(name or f"{UNNAMED}{i}" for i, name in enumerate(file.descriptions, start=1))
            if file.count == 1 and not file.descriptions[0]:
                names = ("value",)
            taken = [name for name in names if names.count(name) > 1 or name in ("time", "y", "x", "spatial_ref")]
            if taken:
                msg = f"{path}: bands are called {', '.join(taken)}: give each a name of its own that no coordinate has"
                raise BadData(msg)
            kind = np.result_type(*file.dtypes)
            plain = kind.kind in "iu" and set(file.scales) == {1.0}
            unscaled = {UNSCALED: str(kind)} if plain else {}
            if not (np.isfinite((*file.scales, *file.offsets)).all() and all(file.scales)):
                msg = f"{path}: scale {file.scales} and offset {file.offsets} are not usable; correct them"
                raise BadData(msg)
            return _ImageHeader(file.shape, file.transform, file.crs, names, str(kind), unscaled, file.offsets)
    except rasterio.errors.RasterioIOError as error:
        msg = f"{path} cannot be read as GeoTIFF: {error}"
        raise BadData(msg) from error


def _cut(whole: int, part: int) -> tuple[int, ...]:
    return tuple(min(part, whole - start) for start in range(0, whole, part))


def _read(*, paths: Sequence[Path], band: int, block_info: Any) -> np.ndarray:
    """Read one band of all dates of one block, scaled as the file states, NaN for nodata."""
    _, rows, columns = block_info[None]["array-location"]
    window = rasterio.windows.Window.from_slices(rows, columns)
    out = np.empty(block_info[None]["chunk-shape"], block_info[None]["dtype"])
    for layer, path in enumerate(paths):
        try:
            with rasterio.open(path, driver="GTiff") as file:
                values = file.read(band, window=window, masked=True)
                scale, offset = file.scales[band - 1], file.offsets[band - 1]
        except rasterio.errors.RasterioError as error:
            msg = f"{path} cannot be read: {error}"
            raise BadData(msg) from error
        # in double precision: equal values under two offsets must be ties
        out[layer] = np.ma.filled(values.astype(np.float64), np.nan) * scale + offset
    return out


_MONTH: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.])(0[1-9]|1[0-2])(?!\d)")
_YEAR: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_YEAR_AND_MONTH: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)(0[1-9]|1[0-2])(?!\d)")


def _date_in(path: Path) -> np.datetime64:
    """Date in the name of a file; the middle of the month or year if there is no day."""
    try:
        day = day_in_name(path.stem)
    except BadData as error:
        msg = f"{path}: {error}"
        raise BadData(msg) from error
    if day is not None:
        return np.datetime64(day, "ns")
    month, year, together = (pattern.search(path.stem) for pattern in (_MONTH, _YEAR, _YEAR_AND_MONTH))
    if month:
        return np.datetime64(f"{month[1]}-{month[3]}-15", "ns")
    if year:
        middle: np.datetime64 = mid_season(np.array([int(year[1])]), DAYS_PER_YEAR / 2)[0]
        return middle
    if together:
        return np.datetime64(f"{together[1]}-{together[2]}-15", "ns")
    msg = f"{path}: no date in its name; rename it like ndvi_2021-07-15.tif or ndvi_2021.tif"
    raise BadData(msg)
