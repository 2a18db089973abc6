"""Sample cubes of other packages: their trends equal those of other programs on what plain xarray reads."""

from importlib import metadata

import numpy as np
import pymannkendall
import pytest
import rasterio
import scipy.stats
import xarray as xr

from jobs.commands.trends import trends
from monitor.errors import BadData
from tests.test_conventions import faults

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

CLEAR = [4, 5, 7]
SOME = {"y": slice(5, None, 30), "x": slice(5, None, 30)}
"""Pixels that are compared: the other programs take them one by one."""


def assert_trends_agree(out, series):
    """Compare the trends of some pixels with scipy and pymannkendall, which know of no missing values."""
    year = (series["time"].values - series["time"].values[0]) / np.timedelta64(1, "D") / 365.25
    for at in np.ndindex(series.sizes["y"], series.sizes["x"]):
        here, pixel = {"y": at[0], "x": at[1]}, series.values[(slice(None), *at)]
        seen = np.isfinite(pixel)
        t, y = year[seen], pixel[seen].astype(float)
        slopes, test = scipy.stats.theilslopes(y, t), pymannkendall.original_test(y)
        assert out["n"].isel(here) == seen.sum()
        np.testing.assert_allclose(out["slope"].isel(here), slopes.slope, atol=2e-6)
        np.testing.assert_allclose(out["tau"].isel(here), scipy.stats.kendalltau(t, y).statistic, atol=1e-3)
        np.testing.assert_allclose(out["s"].isel(here), test.s, atol=4)  # ties of single precision
        np.testing.assert_allclose(out["p"].isel(here), test.p, atol=2e-3)


@pytest.mark.parametrize(("file", "options", "near", "far"), [
    ("10m", {"bands": "red=B4,nir=B8"}, "B8", "B4"),
    ("20m", {"variable": "ndmi", "bands": "nir=B8A,swir16=B11"}, "B8A", "B11"),
])  # fmt: skip
def test_cubes_of_nrt_with_integers_without_a_scale_beside_scene_classes(file, options, near, far, tmp_path):
    package = metadata.distribution("nrt")
    path = package.locate_file(f"nrt/data/sentinel2_cube_subset_romania_{file}.nc")
    with xr.open_dataset(path) as cube:
        values = (cube[[near, far]] * 1e-4).where(cube["SCL"].isin(CLEAR)).isel(SOME).load()
    with pytest.raises(BadData, match=r"holds integers .uint16. without a scale; state their meaning by --scale"):
        trends(path, tmp_path / "out.nc", **options, mask="SCL=4,5,7")
    trends(path, tmp_path / "out.nc", **options, scale=0.0001, mask="SCL=4,5,7")
    assert faults(tmp_path / "out.nc") == []
    index = (values[near] - values[far]) / (values[near] + values[far])
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as out:
        assert "ETRS89 / LAEA Europe" in out.rio.crs.to_wkt()  # as the file writes it, with TOWGS84
        assert_trends_agree(out.isel(SOME), index)


def test_composites_of_spectral_recovery_by_the_bands_of_the_burn_ratio(shared_data, tmp_path):
    folder = shared_data / "bc06_wildfire" / "annual_composites"
    trends(folder, tmp_path / "out.nc", variable="nbr", bands="swir22=swir2")
    paths = sorted(folder.glob("*.tif"))
    layers = []
    for path in paths:
        with rasterio.open(path) as file:
            nir, swir = file.read([4, 6]).astype(float)
        seen = (nir != 0) & (swir != 0)
        layers.append(np.where(seen, (nir - swir) / np.where(seen, nir + swir, 1), np.nan))
    hours = np.array([(int(path.stem) - 2000) * 8766 for path in paths])  # years of 365.25 days
    time = np.datetime64("2000-07-01T15", "ns") + hours * np.timedelta64(1, "h")
    index = xr.DataArray(np.stack(layers), dims=("time", "y", "x"), coords={"time": time}).isel(SOME)
    assert faults(tmp_path / "out.nc") == []
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as out:
        assert out.rio.crs.to_epsg() == 26910
        assert_trends_agree(out.isel(SOME), index)


@pytest.mark.parametrize(
    "options",
    [{}, {"scale": 0.5}, {"scale": 1.0, "offset": 0.0}, {"mask": "band_1=1"}, {"bands": "red=band_4,nir=band_3"}],
    ids=str,
)
def test_composites_stretched_for_display_are_refused_whatever_the_options(shared_data, tmp_path, options):
    with pytest.raises(BadData, match="stretched for display"):
        trends(
            shared_data / "bc06_stretched", tmp_path / "out.nc",
            **({"bands": "red=band_3,nir=band_4"} | options),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
