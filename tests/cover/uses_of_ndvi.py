"""Small results of all that uses NDVI: the series of a night, the maps of a site, trends, the Python function."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from monitor.cover import indices
from monitor.cover.fraction import ENDMEMBERS
from monitor.cube.packed import PACKED_LAYERS, unpack
from monitor.cube.records import MEASURES
from monitor.maps.seasons import cover_and_ndvi
from monitor.maps.site_maps import site_maps
from monitor.trends import maps
from monitor.trends.cubes import open_series
from monitor.trends.kernels.season_sums import SUMS, add_scenes
from tests.cover.reference import product

SIDE, YEARS = 3, range(2019, 2023)
DIMS = ("time", "y", "x")
STEPPE = ENDMEMBERS["steppe"]


def results() -> dict[str, list[float]]:
    """NDVI of one greening ground in the series, in the maps and from the function on DataArrays, and its trend."""
    packed = np.full((len(YEARS), len(PACKED_LAYERS), SIDE, SIDE), 1000, np.uint16)
    packed[:, PACKED_LAYERS.index("nir")] = 1500 + 400 * np.arange(len(YEARS))[:, None, None] + np.arange(SIDE)
    series = [
        product(
            scene.reshape(len(PACKED_LAYERS), -1), np.array([0, 4, SIDE * SIDE]), scale=np.full(6, 1e-4),
            offset=np.zeros(6), endmembers=STEPPE,
        )[:, MEASURES.index("ndvi")]
        for scene in packed
    ]  # fmt: skip
    red, nir = (
        xr.DataArray(packed[:, PACKED_LAYERS.index(name)] * np.float32(1e-4), dims=DIMS) for name in ("red", "nir")
    )
    with TemporaryDirectory() as folder:
        found = {
            "series": np.stack(series),
            "map": site_map(packed),
            "trends": trend(red, nir, Path(folder)),
            "python": indices.ndvi(red, nir).values,
        }
    return {name: np.asarray(values, float).ravel().tolist() for name, values in found.items()}


def site_map(packed: np.ndarray) -> np.ndarray:
    """NDVI of the last season, of scenes as they are stored."""
    sums = {}
    for year, scene in zip(YEARS, packed, strict=True):
        day = datetime(year, 7, 1, tzinfo=UTC)
        cube = unpack(scene[None], DIMS[1:], times=[day], scale=[1e-4], offset=[0.0])
        covered, green = (np.moveaxis(layer.values, 0, -1) for layer in cover_and_ndvi(cube, STEPPE))
        none = np.zeros((SIDE, SIDE, len(SUMS)), np.float32)
        sums[year, False] = np.moveaxis(add_scenes(none, covered, green, np.array([0.3])), -1, 0)
    grid = GeoBox((SIDE, SIDE), Affine(10, 0, 0, 0, -10, 0), "EPSG:32648")
    return site_maps(sums, np.ones((SIDE, SIDE), bool), grid)["ndvi"].values


def trend(red: xr.DataArray, nir: xr.DataArray, folder: Path) -> np.ndarray:
    """Of a cube with both bands, opened as `regrowth trends` opens it."""
    days = [np.datetime64(f"{year}-07-01", "ns") for year in YEARS]
    places = {"time": days, "y": -np.arange(SIDE, dtype=float), "x": np.arange(SIDE, dtype=float)}
    xr.Dataset({"red": red, "nir": nir}).assign_coords(places).to_netcdf(folder / "cube.nc")
    return maps.trend(open_series(folder / "cube.nc", "ndvi").series)["slope"].values
