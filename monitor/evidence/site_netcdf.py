"""The pixels and unit means of a site as NetCDF files, described by the CF conventions [1]_.

Pixels are the integers as delivered, on the site's own grid, one file a calendar year, so that QGIS, R and
``xarray.open_dataset`` show a scene at once. Rows that a later row of the same acquisition replaced are in files of
their own, on ``row`` instead of ``time``: there a time may occur twice.

The same values give the same bytes on the same versions of the libraries: netCDF4 stores no time of writing.

References
----------
.. [1] B. Eaton et al., NetCDF Climate and Forecast (CF) Metadata Conventions 1.11, 2023, https://cfconventions.org.
"""

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from monitor.conventions import CONVENTIONS, follow_cf
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import UNIT_MEASURES
from monitor.cube.stored_site import StoredSite
from monitor.evidence.scene_table import pixels_sha256
from monitor.imagery import bands

COMPRESSION: Final[Mapping[str, Any]] = {"zlib": True, "complevel": 6, "shuffle": True}
CHUNK_BYTES: Final = 2**18
"""Size of a chunk, before compression: as many scenes as fit, at least one. [byte]"""
BATCH_BYTES: Final = 2**24
"""Pixels of the site in memory at a time, at most, but one scene at least. [byte]"""
FULL_BYTES: Final = 2**20
"""Free space below which a failed write is taken for that of a full disk. [byte]"""
SCENE_ARRAYS: Final = {"time": "<i8", "row": "<i4", "scale": "<f8", "offset": "<f8", "bandpass": "|i1"}
"""Numbers along the first dimension of every file, and their types."""
UNIT_ARRAY: Final = "unit_means"
CLEAR_FILL: Final = 255
"""Value of the layer ``clear`` outside the site."""
_NOTE: Final = (
    "integers as delivered by the source of the imagery; surface reflectance = scale * integer + offset, of each "
    "scene; 65535: the sensor was saturated; no value outside the site"
)
_SCENE_TEXTS: Final = {
    "scene": "id of the scene as its source gives it",
    "quality": "kind of the quality layer",
}
"""Coordinates of a scene that are texts, and what they are."""
_SCENE_NUMBERS: Final = {
    "scale": "factor from integers to surface reflectance",
    "offset": "surface reflectance of the integer 0",
}


def scenes_per_chunk(grid: GeoBox, n: int) -> int:
    """Scenes in a chunk of the pixels of n scenes."""
    return max(min(CHUNK_BYTES // (2 * int(np.prod(grid.shape))), n), 1)


def units_per_chunk(units: int, n: int) -> int:
    """Scenes in a chunk of the unit means of n scenes."""
    return max(min(CHUNK_BYTES // (4 * units * len(UNIT_MEASURES)), n), 1)


def batches(stored: StoredSite, rows: np.ndarray, multiple: int = 1) -> Iterator[slice]:
    """Parts of some rows whose pixels fit into memory together, in multiples of scenes."""
    size = 2 * len(PACKED_LAYERS) * int(stored.inside.sum())
    step = max(BATCH_BYTES // (size * multiple), 1) * multiple
    return (slice(start, start + step) for start in range(0, len(rows), step))


def write_pixels(
    path: Path, stored: StoredSite, rows: np.ndarray, *, along: str, attributes: Mapping[str, str]
) -> dict[int, str]:
    """Write the pixels of some rows.

    Parameters
    ----------
    path : Path, new file
    stored : StoredSite
    rows : (n,) int array
        Numbers of rows that have the site, ascending by what `along` says.
    along : str
        First dimension: ``time``, or ``row`` for rows that may share a time.
    attributes : mapping
        Global attributes: ``title`` and ``history``.

    Returns
    -------
    dict
        :func:`monitor.evidence.scene_table.pixels_sha256` of each row.

    Raises
    ------
    StoreBroken
        The store cannot be read.
    OSError
        The file cannot be written.
    """
    grid, inside = stored.grid, stored.inside
    checksums: dict[int, str] = {}
    with _new_file(path) as file:
        file.setncatts({"Conventions": CONVENTIONS, **attributes})
        _write_scenes(file, stored, rows, along)
        _write_grid(file, stored)
        chunk = scenes_per_chunk(grid, len(rows))
        layers = [_layer(file, name, along, (chunk, *map(int, grid.shape))) for name in PACKED_LAYERS]
        for part in batches(stored, rows, chunk):
            pixels = stored.inner_pixels(rows[part].tolist())
            for at, layer in enumerate(layers):
                values = np.full((len(pixels), *grid.shape), layer.getncattr("_FillValue"), layer.dtype)
                values[:, inside] = pixels[:, at]
                layer[part] = values
            checksums |= zip(rows[part].tolist(), map(pixels_sha256, pixels), strict=True)
    return checksums


@contextmanager
def _new_file(path: Path) -> Iterator[Any]:
    """A new NetCDF file; errors of the library, which do not say that the disk is full, as OSError."""
    try:
        with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
            yield file
    except RuntimeError as error:
        is_full = shutil.disk_usage(path.parent).free < FULL_BYTES
        msg = f"cannot be written: {error}"
        raise OSError(errno.ENOSPC if is_full else errno.EIO, msg, str(path)) from error


def layer_variable(name: str) -> str:
    """Name of the variable of a layer; ``quality`` is the kind of the quality layer, of each scene."""
    return "quality_layer" if name == "quality" else name


def _layer(file: Any, name: str, along: str, chunk: tuple[int, ...]) -> Any:
    """Create the variable of a layer of the pixels."""
    clear = name == "clear"
    layer = file.createVariable(
        layer_variable(name), "u1" if clear else "u2", (along, "y", "x"),
        chunksizes=chunk, fill_value=CLEAR_FILL if clear else 0, **COMPRESSION,
    )  # fmt: skip
    layer.set_auto_maskandscale(False)
    layer.set_var_chunk_cache(size=2**20)  # chunks are written whole
    if clear:
        layer.setncatts({
            "long_name": "whether the ground was seen", "flag_values": np.array([0, 1], np.uint8),
            "flag_meanings": "not_seen seen",
        })  # fmt: skip
    elif name in bands.OBSERVED:
        layer.setncatts({"long_name": f"surface reflectance as delivered, {name}", "units": "1", "comment": _NOTE})
    else:
        layer.setncatts({"long_name": "quality layer as delivered", "comment": "its kind is in quality"})
    layer.setncatts({"grid_mapping": "spatial_ref", "coordinates": _coordinates(along)})
    return layer


def write_units(path: Path, stored: StoredSite, rows: np.ndarray, *, along: str, attributes: Mapping[str, str]) -> None:
    """Write the means of the control units in some rows; parameters and errors as for :func:`write_pixels`."""
    units = stored.units
    with _new_file(path) as file:
        file.setncatts({"Conventions": CONVENTIONS, **attributes})
        _write_scenes(file, stored, rows, along)
        for name, what, texts in (
            ("unit", "id of the control unit", units),
            ("measure", "what is averaged over the clear pixels of a unit", UNIT_MEASURES),
        ):
            file.createDimension(name, len(texts))
            _write_texts(file, name, name, what, np.array([text.encode() for text in texts], np.bytes_))
        chunk = (units_per_chunk(len(units), len(rows)), len(units), len(UNIT_MEASURES))
        means = file.createVariable(
            UNIT_ARRAY, "f4", (along, "unit", "measure"), chunksizes=chunk, fill_value=np.nan, **COMPRESSION
        )
        means.set_auto_maskandscale(False)
        means.setncatts({
            "long_name": "means of control units as recorded; n_pixels: number of clear pixels", "units": "1",
            "coordinates": _coordinates(along),
        })  # fmt: skip
        means[:] = stored.unit_means_of(rows)


def _coordinates(along: str) -> str:
    other = "row" if along == "time" else "time"
    return " ".join((other, *_SCENE_TEXTS, *_SCENE_NUMBERS, "bandpass"))


def _write_scenes(file: Any, stored: StoredSite, rows: np.ndarray, along: str) -> None:
    """Write what is known of each scene, along the first dimension."""
    columns = stored.columns_of(rows)
    file.createDimension(along, len(rows))
    time = file.createVariable("time", "i8", (along,))
    time.setncatts({
        "standard_name": "time", "long_name": "time of acquisition", "units": "microseconds since 1970-01-01",
        "calendar": "standard", "units_metadata": "leap_seconds: none",
    })  # fmt: skip
    if along == "time":
        time.setncattr("axis", "T")
    time[:] = columns["moment"].astype("datetime64[us]").astype(np.int64)
    row = file.createVariable("row", "i4", (along,))
    row.setncatts({"long_name": "number of the row in the store and in scenes.csv", "units": "1"})
    row[:] = rows
    for name, what in _SCENE_TEXTS.items():
        _write_texts(file, name, along, what, columns[name])
    for name, what in _SCENE_NUMBERS.items():
        number = file.createVariable(name, "f8", (along,))
        number.setncatts({"long_name": what, "units": "1"})
        number[:] = columns[name]
    adjusted = file.createVariable("bandpass", "i1", (along,))
    adjusted.setncatts({
        "long_name": "whether reflectances are adjusted from the bands of Landsat to those of Sentinel-2",
        "flag_values": np.array([0, 1], np.int8), "flag_meanings": "not_adjusted adjusted",
    })  # fmt: skip
    adjusted[:] = columns["bandpass"]


def _write_texts(file: Any, name: str, along: str, what: str, texts: np.ndarray) -> None:
    """Write texts (UTF-8 bytes) as characters, which every reader knows."""
    texts = np.array(texts.tolist(), np.bytes_)  # as wide as these need, whatever else the store holds
    width = texts.dtype.itemsize
    file.createDimension(f"{name}_length", width)
    variable = file.createVariable(name, "S1", (along, f"{name}_length"))
    variable.setncatts({"long_name": what, "_Encoding": "utf-8"})
    variable.set_auto_chartostring(False)
    variable[:] = texts.view("S1").reshape(len(texts), width)


def _write_grid(file: Any, stored: StoredSite) -> None:
    """Write the axes, the CRS and which pixels lie inside the site."""
    described = follow_cf(xr.Dataset(coords=xr_coords(stored.grid)))
    for name in ("y", "x"):
        axis = described[name]
        file.createDimension(name, axis.size)
        variable = file.createVariable(name, "f8", (name,))
        variable.setncatts(axis.attrs)
        variable[:] = axis.values
    reference = file.createVariable("spatial_ref", "i4", ())
    reference.setncatts(described["spatial_ref"].attrs)
    reference.assignValue(0)
    shape = tuple(map(int, stored.grid.shape))
    inside = file.createVariable("inside", "i1", ("y", "x"), chunksizes=shape, **COMPRESSION)
    inside.setncatts({
        "long_name": "whether the centre of the pixel lies inside the site", "flag_values": np.array([0, 1], np.int8),
        "flag_meanings": "outside inside", "grid_mapping": "spatial_ref",
    })  # fmt: skip
    inside[:] = stored.inside


def expected_arrays(grid: GeoBox | None, n: int, units: int) -> dict[str, dict[str, Any]]:
    """Arrays of a file of n scenes: of pixels, or with `grid` None of unit means."""
    plain: dict[str, Any] = {"chunks": None, "filters": []}
    arrays = {name: {"dtype": dtype, "shape": [n], **plain} for name, dtype in SCENE_ARRAYS.items()}
    packed = {"filters": ["shuffle", "zlib"]}
    if grid is None:
        shape = [n, units, len(UNIT_MEASURES)]
        chunks = [units_per_chunk(units, n), *shape[1:]]
        return arrays | {UNIT_ARRAY: {"dtype": "<f4", "shape": shape, "chunks": chunks, **packed}}
    shape = [n, *map(int, grid.shape)]
    chunks = [scenes_per_chunk(grid, n), *shape[1:]]
    height, width = shape[1:]
    arrays |= {
        "x": {"dtype": "<f8", "shape": [width], **plain},
        "y": {"dtype": "<f8", "shape": [height], **plain},
        "inside": {"dtype": "|i1", "shape": [height, width], "chunks": [height, width], **packed},
    }
    return arrays | {
        layer_variable(name): {"dtype": "|u1" if name == "clear" else "<u2", "shape": shape, "chunks": chunks, **packed}
        for name in PACKED_LAYERS
    }
