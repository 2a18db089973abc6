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
from monitor.cover.zonal_means import MEASURES
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, record_of
from monitor.imagery.source import Scene
from monitor.trends import maps
from monitor.trends.cubes import open_series
from monitor.trends.state import Scenes, Used, at_hand, bring_up_to_date
from monitor.trends.state import maps as site_maps
from tests.cover.reference import product

SIDE, YEARS = 3, range(2019, 2023)
DIMS = ("time", "y", "x")
STEPPE = ENDMEMBERS["steppe"]


def results() -> dict[str, list[float]]:
    """NDVI of the series, of the maps, of the function on DataArrays, and its trend; of the same greening ground."""
    packed = np.full((len(YEARS), len(LAYERS), SIDE, SIDE), 1000, np.uint16)
    packed[:, LAYERS.index("nir")] = 1500 + 400 * np.arange(len(YEARS))[:, None, None] + np.arange(SIDE)
    series = [
        product(
            scene.reshape(len(LAYERS), -1), np.array([0, 4, SIDE * SIDE]), scale=np.full(6, 1e-4), offset=np.zeros(6),
            endmembers=STEPPE,
        )[:, MEASURES.index("ndvi")]
        for scene in packed
    ]  # fmt: skip
    red, nir = (xr.DataArray(packed[:, LAYERS.index(name)] * np.float32(1e-4), dims=DIMS) for name in ("red", "nir"))
    with TemporaryDirectory() as folder:
        found = {
            "series": np.stack(series),
            "map": site_map(packed, Path(folder)),
            "trends": trend(red, nir, Path(folder)),
            "python": indices.ndvi(red, nir).values,
        }
    return {name: np.asarray(values, float).ravel().tolist() for name, values in found.items()}


def site_map(packed: np.ndarray, folder: Path) -> np.ndarray:
    entries = []
    for year, pixels in zip(YEARS, packed, strict=True):
        day = datetime(year, 7, 1, tzinfo=UTC)
        scene = Scene(
            id=f"{day:%Y%m%d}", acquisition=f"s2/{year}", time=day, sensor="sentinel-2a", baseline="05.09",
            source="files", scale=1e-4, offset=0.0, quality="scl",
        )  # fmt: skip
        record = record_of(
            scene, accepted=True, reason="", clear_fraction=1.0, n_pixels=SIDE * SIDE, measures={}, digest=scene.id
        )
        entries.append(Entry(record=record, pixels=pixels, units=np.ones((1, 1), np.float32)))
    seasons = {(year, False): Scenes.of([Used(f"s2/{year}", f"{year}0701", 0.3)]) for year in YEARS}
    state = bring_up_to_date(
        folder / "maps", seasons, at_hand(entries, STEPPE), made_by="test", snapshot="",
        grid=GeoBox((SIDE, SIDE), Affine(10, 0, 0, 0, -10, 0), "EPSG:32648"),
    )  # fmt: skip
    return site_maps(state, np.ones((SIDE, SIDE), bool))["ndvi"]


def trend(red: xr.DataArray, nir: xr.DataArray, folder: Path) -> np.ndarray:
    """Of a cube with both bands, opened as `regrowth trends` opens it."""
    days = [np.datetime64(f"{year}-07-01", "ns") for year in YEARS]
    places = {"time": days, "y": -np.arange(SIDE, dtype=float), "x": np.arange(SIDE, dtype=float)}
    xr.Dataset({"red": red, "nir": nir}).assign_coords(places).to_netcdf(folder / "cube.nc")
    return maps.slope(open_series(folder / "cube.nc", "ndvi").series).values
