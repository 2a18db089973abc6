"""Trends on disk: NetCDF, Zarr, one GeoTIFF of many bands, or a folder of GeoTIFFs, by the name asked for.

What is written appears under its name only when it is whole.
"""

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 - gives Datasets their .rio
import xarray as xr
from affine import Affine

from monitor.errors import BadData
from monitor.trends.maps import HARMONIC, MONOTONIC, TITLE

OUTPUT_SUFFIXES: Final = (".nc", ".zarr", ".tif", ".tiff", "")
"""Endings that :func:`delayed_write` can write; none: a folder of GeoTIFFs."""

CREATION_OPTIONS: Final = {
    "driver": "GTiff", "interleave": "band", "compress": "deflate", "zlevel": 1, "bigtiff": "IF_SAFER",
    "windowed": True,
}  # fmt: skip

MIN_TILE: Final = 256
"""Side of the tiles of a GeoTIFF, where blocks are as large. [pixel]"""

MAX_UNEVENNESS: Final = 0.25
"""Farthest a coordinate may lie from an even grid: degrees in float32, of pixels of 10 m, do by a tenth. [pixel]"""


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A place beside `out` to write to, which takes its name when all went well and is removed otherwise.

    What bore the name is replaced: a file by a file, a folder only if it holds nothing but trends written here before.

    Raises
    ------
    BadData
        `out` is a folder that holds anything else, or a file where a folder is to be.
    """
    if out.is_dir() and not _is_ours(out):
        msg = f"{out} is a folder with other things in it; name a new one, or empty it"
        raise BadData(msg)
    if out.is_file() and out.suffix.lower() in (".zarr", ""):
        msg = f"{out} is a file; name another place, or remove it"
        raise BadData(msg)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        partial = Path(folder) / f"new{out.suffix}"
        yield partial
        if out.is_dir():
            out.rename(Path(folder) / "old")
        partial.replace(out)


def delayed_write(trends: xr.Dataset, partial: Path) -> Any:
    """What dask must compute for the trends to be written: what is delayed, or a list of it.

    Raises
    ------
    BadData
        The trends lie on no even grid, as those in GeoTIFFs must.
    """
    mapping = {"grid_mapping": "spatial_ref"} if "spatial_ref" in trends.coords else {}
    trends = trends.drop_encoding()
    if partial.suffix.lower() == ".nc":
        for variable in trends.data_vars.values():
            # a block is written whole, as one chunk: none is read again to be filled up
            blocks = tuple(max(sizes) for sizes in variable.chunks or ())
            variable.encoding = {"zlib": True, "complevel": 1, "chunksizes": blocks or None, **mapping}
        return trends.to_netcdf(partial, engine="netcdf4", compute=False)
    for variable in trends.data_vars.values():
        variable.encoding = dict(mapping)
    if partial.suffix.lower() == ".zarr":
        return trends.to_zarr(partial, mode="w", consolidated=False, compute=False)
    trends = _placed(_north_up(trends))
    if partial.suffix:
        names = tuple(map(str, trends.data_vars))
        stack = trends.astype(trends["slope"].dtype).to_dataarray("band").assign_attrs(long_name=names)
        return _geotiff(stack.drop_vars("band"), partial)
    partial.mkdir()
    return [_geotiff(variable, partial / f"{name}.tif") for name, variable in trends.data_vars.items()]


def _geotiff(layer: xr.DataArray, path: Path) -> Any:
    if layer.dtype.kind == "f":
        layer = layer.rio.write_nodata(np.nan)
    # what is written in parts is packed anew for each part, and the old packing stays in the file: so a block is made
    # of whole tiles, or, where it is lower than they are, of whole rows or long pieces of them
    rows, columns = (max(layer.chunksizes.get(along, (1,))) for along in ("y", "x"))
    tiled = min(rows, columns) >= MIN_TILE
    if tiled:
        layer = layer.chunk(y=round(rows / MIN_TILE) * MIN_TILE, x=round(columns / MIN_TILE) * MIN_TILE)
    return layer.rio.to_raster(
        path, lock=threading.Lock(), compute=False, recalc_transform=False, tiled=tiled, **CREATION_OPTIONS
    )


def _north_up(trends: xr.Dataset) -> xr.Dataset:
    """GeoTIFFs begin in the north."""
    if "y" in trends.coords and trends["y"][0] < trends["y"][-1]:
        return trends.isel(y=slice(None, None, -1))
    return trends


def _placed(trends: xr.Dataset) -> xr.Dataset:
    """The same with its place written as a GeoTIFF has it: a corner, and one size of all pixels.

    Raises
    ------
    BadData
        The coordinates are not evenly spaced, or there is one alone and nothing tells how large its pixel is.
    """
    if not {"x", "y"} <= trends.coords.keys():
        if "spatial_ref" in trends.coords:
            msg = "a CRS without coordinates along x and y does not place a GeoTIFF; write .nc, or give IN coordinates"
            raise BadData(msg)
        return trends
    known = trends["spatial_ref"].attrs.get("GeoTransform", "") if "spatial_ref" in trends.coords else ""
    sizes = dict(zip("xy", map(float, known.split()[1::4]), strict=False))
    corner = {}
    for along in ("x", "y"):
        at = trends[along].values
        if at.size > 1:
            at = at.astype(float) if at.dtype.kind in "iuf" else np.full(at.size, np.nan)
            sizes[along] = step = (at[-1] - at[0]) / (at.size - 1)
            if not (np.abs(at - (at[0] + step * np.arange(at.size))) <= MAX_UNEVENNESS * abs(step)).all() or not step:
                msg = (
                    f"the coordinates along {along} are not evenly spaced, as a GeoTIFF needs them; write .nc or .zarr"
                )
                raise BadData(msg)
        elif along not in sizes:
            msg = f"one place along {along} does not tell the size of a pixel, which a GeoTIFF needs: write .nc"
            raise BadData(msg)
        corner[along] = at[0] - sizes[along] / 2
    placed: xr.Dataset = trends.rio.write_transform(Affine(sizes["x"], 0, corner["x"], 0, sizes["y"], corner["y"]))
    return placed


def _is_ours(folder: Path) -> bool:
    """Nothing in it, or trends that were written here before: nobody's own cube is replaced."""
    try:
        store = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = {f"{name}.tif" for name in (*MONOTONIC, *HARMONIC)}
        # beside what a viewer leaves with an image that it has shown
        return all(path.name.removesuffix(".aux.xml") in names for path in folder.iterdir())
    except ValueError:
        return False
    return str(store.get("attributes", {}).get("title", "")).startswith(TITLE)
