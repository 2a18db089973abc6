"""Write trends as NetCDF, Zarr, one GeoTIFF of many bands, or a folder of GeoTIFFs, by the suffix of the output."""

import json
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import rioxarray  # noqa: F401 - gives Datasets their .rio
import xarray as xr
from affine import Affine

from monitor.conventions import follow_cf
from monitor.errors import BadData
from monitor.trends.maps import HARMONIC, MONOTONIC, TITLE

CREATION_OPTIONS: Final = {
    "driver": "GTiff",
    "interleave": "band",
    "compress": "deflate",
    "zlevel": 1,
    "bigtiff": "IF_SAFER",
    "windowed": True,
}
MIN_TILE: Final = 256
"""Side of the tiles of a GeoTIFF, used if blocks are at least as large. [pixel]"""
MAX_UNEVENNESS: Final = 0.25
"""Maximum distance of a coordinate from an even grid; degrees in float32 are off by a tenth of a 10 m pixel. [pixel]"""


def refuse_other_contents(out: Path) -> None:
    """Refuse to replace anything but an output: a file by a file, a folder only if it holds only such trends."""
    if out.is_dir() and not _is_ours(out):
        raise BadData(f"{out} is a folder with other things in it; name a new one, or empty it")
    if out.is_file() and out.suffix.lower() in (".zarr", ""):
        raise BadData(f"{out} is a file; use another name, or remove it")


def delayed_write(trends: xr.Dataset, partial: Path) -> Any:
    """Delayed writing of lazy maps (y, x): an object, or a list of objects, for ``dask.compute``.

    The suffix of the path is .nc, .zarr, .tif or .tiff, or empty for a folder of GeoTIFFs. Raises ``BadData`` where
    GeoTIFFs need an even grid.
    """
    mapping = {"grid_mapping": "spatial_ref"} if "spatial_ref" in trends.coords else {}
    trends = follow_cf(trends.drop_encoding())
    if partial.suffix.lower() == ".nc":
        for variable in trends.data_vars.values():
            # a block is written as one chunk, so that none has to be read again and completed
            blocks = tuple(max(sizes) for sizes in variable.chunks or ())
            variable.encoding = {"zlib": True, "complevel": 1, "chunksizes": blocks or None, **mapping}
        return trends.to_netcdf(partial, engine="netcdf4", compute=False)
    for variable in trends.data_vars.values():
        variable.encoding = dict(mapping)
    if partial.suffix.lower() == ".zarr":
        return trends.to_zarr(partial, mode="w", consolidated=False, compute=False)
    if "y" in trends.coords and trends["y"][0] < trends["y"][-1]:
        trends = trends.isel(y=slice(None, None, -1))  # GeoTIFFs begin in the north
    trends = _with_transform(trends)
    if partial.suffix:
        names = tuple(map(str, trends.data_vars))
        stack = trends.astype(trends["slope"].dtype).to_dataarray("band").assign_attrs(long_name=names)
        return _geotiff(stack.drop_vars("band"), partial)
    partial.mkdir()
    return [_geotiff(variable, partial / f"{name}.tif") for name, variable in trends.data_vars.items()]


def _geotiff(layer: xr.DataArray, path: Path) -> Any:
    if layer.dtype.kind == "f":
        layer = layer.rio.write_nodata(np.nan)
    # a tile written in parts is compressed again for each part, and the old bytes stay in the file: so a block consists
    # of whole tiles, or, if it is lower than they are, of whole rows or long pieces of rows
    rows, columns = (max(layer.chunksizes.get(along, (1,))) for along in ("y", "x"))
    tiled = min(rows, columns) >= MIN_TILE
    if tiled:
        layer = layer.chunk(y=round(rows / MIN_TILE) * MIN_TILE, x=round(columns / MIN_TILE) * MIN_TILE)
    return layer.rio.to_raster(
        path, lock=threading.Lock(), compute=False, recalc_transform=False, tiled=tiled, **CREATION_OPTIONS
    )


def _with_transform(trends: xr.Dataset) -> xr.Dataset:
    """Write the transform that a GeoTIFF needs: a corner and one pixel size.

    Raises ``BadData`` where coordinates are missing beside a CRS, not evenly spaced, or only one along a side.
    """
    if not {"x", "y", "spatial_ref"} & trends.coords.keys():
        return trends
    sizes, corner = {}, {}
    for along in ("x", "y"):
        values = trends[along].values.astype(float) if along in trends.coords else np.empty(0)
        step = (values[-1] - values[0]) / (values.size - 1) if values.size > 1 else 0.0
        unevenness = np.abs(values - (values[:1] + step * np.arange(values.size)))
        if not step or not (unevenness <= MAX_UNEVENNESS * abs(step)).all():
            raise BadData(f"a GeoTIFF needs evenly spaced coordinates along {along}, two or more; write .nc or .zarr")
        sizes[along], corner[along] = step, values[0] - step / 2
    transform = Affine(sizes["x"], 0, corner["x"], 0, sizes["y"], corner["y"])
    placed: xr.Dataset = trends.rio.write_transform(transform)
    return placed


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty or holds only trends written here, so that no other cube is replaced."""
    try:
        store = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = {f"{name}.tif" for name in (*MONOTONIC, *HARMONIC)}
        # .aux.xml: left by viewers of the images
        return all(path.name.removesuffix(".aux.xml") in names for path in folder.iterdir())
    except ValueError:
        return False
    return str(store.get("attributes", {}).get("title", "")).startswith(TITLE)
