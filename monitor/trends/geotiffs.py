"""Read a folder of GeoTIFFs on one grid, one a date, with the date, month or year in each name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import dask.array as da
import numpy as np
import rasterio
import rasterio.windows
import xarray as xr

from monitor.errors import BadData
from monitor.imagery.day_in_name import day_in_name
from monitor.trends.bands import INDEX_IN_FILE_NAMES, INDEX_NAMES, OFFSETS, SCALES, UNNAMED, UNSCALED
from monitor.trends.blocks import block_shape, with_crs
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR
from monitor.trends.maps import mid_season


def open_geotiffs(folder: Path) -> xr.Dataset:
    """Open the images of a folder without reading them.

    Bands are on (time, y, x), by their descriptions (``band_1`` and so on without, ``value`` for a single one), lazy,
    scaled as each file states, NaN for nodata; CRS in ``spatial_ref`` where there is one. Raises ``BadData`` where a
    file cannot be read or has no date in its name, two are of one date, or they differ in grid or bands.
    """
    paths = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        raise BadData(f"{folder} is no Zarr store and holds no GeoTIFF (.tif)")
    time = np.array([_date_in(path) for path in paths])
    order = np.argsort(time, kind="stable")
    paths, time = [paths[i] for i in order], time[order]
    for earlier, later, same in zip(paths, paths[1:], time[1:] == time[:-1], strict=False):
        if same:
            raise BadData(f"{earlier.name} and {later.name} in {folder} are of the same date; keep one of them")
    headers = [_header(path) for path in paths]
    first = headers[0]
    for path, other in zip(paths[1:], headers[1:], strict=True):
        for field, here, there in zip(first._fields, first, other, strict=True):
            if here != there and field not in ("scales", "offsets"):
                fix = FIXES.get(field, "resample all files to one grid")
                raise BadData(f"{path}: {field} is {there}, in {paths[0].name} it is {here}; {fix}")
    height, width = first.shape
    kind = np.result_type(first.type, np.float32)
    transform = first.transform
    if transform.b or transform.d:
        raise BadData(f"{paths[0]}: the grid is rotated; resample the files to one that is not")
    like = xr.DataArray(np.broadcast_to(np.zeros((), kind), (len(paths), height, width)), dims=("time", "y", "x"))
    shape = block_shape(like)
    chunks = ((len(paths),), *(_cut(n, shape[d]) for d, n in (("y", height), ("x", width))))
    cube = xr.Dataset(
        {
            name: (
                like.dims,
                da.map_blocks(_read, chunks=chunks, dtype=kind, meta=np.empty((0, 0, 0), kind), paths=paths, band=band),
                first.unscaled
                | {
                    SCALES: [header.scales[band - 1] for header in headers],
                    OFFSETS: [header.offsets[band - 1] for header in headers],
                },
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
    return with_crs(cube, first.crs)


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
    scales: tuple[float, ...]
    offsets: tuple[float, ...]


def _header(path: Path) -> _ImageHeader:
    try:
        with rasterio.open(path, driver="GTiff") as file:
            names = tuple(name or f"{UNNAMED}{i}" for i, name in enumerate(file.descriptions, start=1))
            if file.count == 1 and not file.descriptions[0]:
                names = ("value",)
            if len({*names, "time", "y", "x", "spatial_ref"}) < len(names) + 4:
                msg = f"{path}: bands are called {', '.join(names)}: each needs another name, which no coordinate has"
                raise BadData(msg)
            kind = np.result_type(*file.dtypes)
            plain = kind.kind in "iu" and set(file.scales) == {1.0}
            unscaled = {UNSCALED: str(kind)} if plain else {}
            if not (np.isfinite((*file.scales, *file.offsets)).all() and all(file.scales)):
                raise BadData(f"{path}: scale {file.scales} and offset {file.offsets} are not usable; correct them")
            return _ImageHeader(
                file.shape, file.transform, file.crs, names, str(kind), unscaled, file.scales, file.offsets
            )
    except rasterio.errors.RasterioIOError as error:
        raise BadData(f"{path} cannot be read as GeoTIFF: {error}") from error


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
            raise BadData(f"{path} cannot be read: {error}") from error
        # in double precision: equal values under two offsets must be ties
        out[layer] = np.ma.filled(values.astype(np.float64), np.nan) * scale + offset
    return out


_MONTH: Final = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)[-_.](?P<month>0[1-9]|1[0-2])(?!\d)")
_YEAR: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_YEAR_AND_MONTH: Final = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<month>0[1-9]|1[0-2])(?!\d)")


def _date_in(path: Path) -> np.datetime64:
    """Date in the name of a file; the middle of the month or year if there is no day."""
    try:
        day = day_in_name(path.stem)
    except BadData as error:
        raise BadData(f"{path}: {error}") from error
    if day is not None:
        return np.datetime64(day, "ns")
    month, year, together = (pattern.search(path.stem) for pattern in (_MONTH, _YEAR, _YEAR_AND_MONTH))
    if year and not month:
        middle: np.datetime64 = mid_season(np.array([int(year[1])]), DAYS_PER_YEAR / 2)[0]
        return middle
    if month := month or together:
        return np.datetime64(f"{month['year']}-{month['month']}-15", "ns")
    raise BadData(f"{path}: no date in its name; rename it like ndvi_2021-07-15.tif or ndvi_2021.tif")
