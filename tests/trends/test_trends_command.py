"""``regrowth trends``: anyone's cube in, maps out; bad input is refused and leaves nothing behind."""

import json
import os
import re
import subprocess
import sys
import time as clock

import netCDF4
import numpy as np
import pytest
import rasterio
import scipy.stats
import typer
import xarray as xr
import zarr
from dask.callbacks import Callback
from rasterio.transform import from_origin

from jobs.commands.trends import trends
from monitor.errors import BadData
from monitor.trends import blocks, cubes, maps
from monitor.trends.maps import HARMONIC, MONOTONIC

# rioxarray 0.23 multiplies affine 3 transforms the old way.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

DAY = np.timedelta64(1, "D")


@pytest.fixture
def cube():
    """A cube of five years, red falling and near infrared rising, packed as integers when saved."""
    rng = np.random.default_rng(8)
    time = np.datetime64("2019-01-03", "ns") + np.arange(90) * 20 * DAY
    year = (time - time[0]) / DAY / 365.25
    shape = (time.size, 6, 8)
    red = np.round(0.20 - 0.02 * year[:, None, None] + 0.01 * rng.standard_normal(shape), 4)
    nir = np.round(0.25 + 0.02 * year[:, None, None] + 0.01 * rng.standard_normal(shape), 4)
    unseen = rng.random(shape) < 0.3
    made = xr.Dataset(
        {name: (("time", "y", "x"), np.where(unseen, np.nan, band)) for name, band in (("red", red), ("nir", nir))},
        coords={"time": time, "y": 5_000_055.0 - 10 * np.arange(6), "x": 300_005.0 + 10 * np.arange(8)},
    )
    packed = {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -32768}
    for name in made.data_vars:
        made[name].encoding = dict(packed)
    return made.rio.write_crs("EPSG:32648")


@pytest.fixture
def geotiffs(tmp_path):
    """A folder of GeoTIFFs, from the name and the bands of each."""

    def make(files, *, names=("red", "nir"), crs="EPSG:32648", folder="images", scale=None, offset=0.0, **profile):
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        for file, bands in files.items():
            bands = np.asarray(bands)
            shape = {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2]}
            place = {"crs": crs, "transform": from_origin(3e5, 5e6, 10, 10)} | profile
            with rasterio.open(where / file, "w", driver="GTiff", dtype=bands.dtype, **shape, **place) as out:
                out.write(bands)
                if names:
                    out.descriptions = names
                if scale is not None:
                    out.scales, out.offsets = (scale,), (offset,)
        return where

    return make


def written(cube, path):
    """The path of a file or store of a cube."""
    cube.to_netcdf(path) if path.suffix == ".nc" else cube.to_zarr(path, consolidated=False)
    return path


def maps_of(source, out, **options):
    """The maps that the command writes."""
    trends(source, out, **options)
    with xr.open_dataset(out, decode_coords="all") as maps:
        return maps.load()


def refused(match, source, out, **options):
    """A command that fails and leaves nothing behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(BadData, match=match):
        trends(source, out, **options)
    assert sorted(out.parent.iterdir()) == before


def expected_slope(series, time):
    """Theil-Sen slope a year of every pixel, by scipy."""
    year = (time - time[0]) / DAY / 365.25
    out = np.empty(series.shape[1:])
    for y, x in np.ndindex(out.shape):
        seen = np.isfinite(series[:, y, x])
        out[y, x] = scipy.stats.theilslopes(series[seen, y, x], year[seen]).slope
    return out


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_ndvi_is_computed_where_only_red_and_near_infrared_are_there(cube, kind, tmp_path, capsys):
    source = written(cube, tmp_path / f"in.{kind}")
    out = maps_of(source, tmp_path / "out.nc", variable="ndvi", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["variable"] == "ndvi"
    assert (report["layers"], report["first"], report["last"]) == (90, "2019-01-03", "2023-11-18")
    ndvi = (cube["nir"] - cube["red"]) / (cube["nir"] + cube["red"])
    np.testing.assert_allclose(out["slope"], expected_slope(ndvi.values, cube["time"].values), atol=1e-6)
    np.testing.assert_array_equal(out["n"], ndvi.notnull().sum("time"))
    np.testing.assert_array_equal(out["x"], cube["x"])
    assert out.rio.crs.to_epsg() == 32648


def test_short_names_of_bands_are_those_of_sentinel_2_only_where_one_of_its_own_stands_beside_them(cube, tmp_path):
    plain = maps_of(written(cube, tmp_path / "in.nc"), tmp_path / "out.nc", variable="ndvi")
    short = cube.rename(red="B4", nir="B8")
    sentinel = written(short.assign(B8A=short["B8"], B11=short["B8"]), tmp_path / "sentinel.nc")
    xr.testing.assert_equal(maps_of(sentinel, tmp_path / "sentinel-out.nc"), plain)
    landsat = written(short.assign(B5=short["B8"], B10=short["B8"], B11=short["B8"]), tmp_path / "landsat.nc")
    refused(r"by --bands red=NAME,nir=NAME \(B4 and B8 are red and near infrared of Sent", landsat, tmp_path / "out.nc")


def test_every_format_holds_the_same_maps(cube, tmp_path):
    cube.to_netcdf(tmp_path / "in.nc")
    for name in ("out.nc", "out.zarr", "out.tif", "folder"):
        trends(tmp_path / "in.nc", tmp_path / name, variable="nir")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as netcdf:
        with xr.open_zarr(tmp_path / "out.zarr", consolidated=False, decode_coords="all") as zarr:
            xr.testing.assert_equal(netcdf.load(), zarr.load())
            assert zarr.rio.crs.to_epsg() == 32648
        with rasterio.open(tmp_path / "out.tif") as file:
            assert file.crs.to_epsg() == 32648
            assert file.transform == from_origin(3e5, 5_000_060, 10, 10)
            assert file.descriptions == tuple(netcdf.data_vars)
            for band, name in enumerate(netcdf.data_vars, start=1):
                np.testing.assert_array_equal(file.read(band), netcdf[name], err_msg=name)
        for name in netcdf.data_vars:
            with rasterio.open(tmp_path / "folder" / f"{name}.tif") as file:
                np.testing.assert_array_equal(file.read(1), netcdf[name], err_msg=name)


def test_maps_from_south_to_north_are_turned_for_geotiffs_and_stay_in_netcdf(cube, tmp_path):
    cube.to_netcdf(tmp_path / "down.nc")
    cube.isel(y=slice(None, None, -1)).to_netcdf(tmp_path / "up.nc")
    for way in ("down", "up"):
        trends(tmp_path / f"{way}.nc", tmp_path / f"{way}-out.tif", variable="red")
    with rasterio.open(tmp_path / "down-out.tif") as down, rasterio.open(tmp_path / "up-out.tif") as up:
        assert up.transform == down.transform
        np.testing.assert_array_equal(up.read(), down.read())
    down, up = (maps_of(tmp_path / f"{way}.nc", tmp_path / "out.nc", variable="red") for way in ("down", "up"))
    np.testing.assert_array_equal(up["y"], down["y"][::-1])
    np.testing.assert_array_equal(up["slope"], down["slope"][::-1])


def test_yearly_takes_the_growing_seasons_alone(cube, tmp_path):
    source = written(cube, tmp_path / "in.nc")
    out = maps_of(source, tmp_path / "out.nc", variable="nir", yearly=True, season=(121, 288))
    day = cube["time"].dt.dayofyear
    means = cube["nir"].where((day >= 121) & (day <= 288)).groupby("time.year").mean()
    whole_years = np.datetime64("2019-07-01", "ns") + np.arange(5) * np.timedelta64(8766, "h")
    np.testing.assert_allclose(out["slope"], expected_slope(means.values, whole_years), atol=1e-7)
    assert (out["n"] == 5).all()


def test_names_used_elsewhere_for_time_and_space_are_understood(cube, tmp_path):
    renamed = cube.rename(time="t", y="lat", x="lon", red="B04", nir="B08")
    here, there = (
        maps_of(written(one, tmp_path / f"{name}.nc"), tmp_path / f"{name}-out.nc", variable="NDVI")
        for name, one in (("in", renamed), ("same", cube))
    )
    np.testing.assert_array_equal(here["slope"], there["slope"])


def test_nothing_is_read_to_open_a_cube(cube, tmp_path):
    cube.to_netcdf(tmp_path / "in.nc")

    def fail(*_):
        pytest.fail("read before it was needed")

    with Callback(start=fail):
        opened = cubes.open_series(tmp_path / "in.nc", "ndvi")
    assert opened.series.chunks is not None
    opened.series.compute()


@pytest.mark.parametrize("stored", [(1, 512, 512), (1, 20_000, 30_000), (300, 1, 1), (64, 256, 256), None], ids=str)
def test_a_block_of_a_large_cube_stays_small(stored):
    like = xr.DataArray(np.broadcast_to(np.float32(0), (300, 20_000, 30_000)), dims=("time", "y", "x"))
    like.encoding = {"chunks": stored} if stored else {}
    block = blocks.block_shape(like)
    assert block["time"] == -1
    assert blocks.MAX_BLOCK_BYTES / 8 < 300 * 4 * block["y"] * block["x"] <= blocks.MAX_BLOCK_BYTES
    if stored and stored[1] == 256:
        assert block["x"] % 256 == 0 or block["x"] < 256


PEAK = """
import resource, sys
from jobs.cli import main
try:
    main()
except SystemExit as ended:
    print(ended.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("form", "out"), [("zarr", "out.nc"), ("nc", "out.zarr")])
def test_a_cube_larger_than_what_memory_is_given_takes_no_more_than_a_small_one(form, out, tmp_path, root):
    """0.8 GB with data in one corner, in a process of its own: what it holds at most, beside a cube of 6 MB."""
    peaks = {}
    for side in (256, 3072):
        cube = zarr_of_a_corner(tmp_path / f"{side}.zarr", layers=22, side=side)
        if form == "nc":
            path = tmp_path / f"{side}.nc"
            xr.open_zarr(cube, consolidated=False).to_netcdf(
                path, encoding={"ndvi": {"chunksizes": (22, 256, 256), "zlib": True, "complevel": 1}}
            )
            cube = path
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "trends", str(cube), str(tmp_path / f"{side}-{out}")],
            cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        code, peaks[side] = map(int, done.stderr.split()[-2:])
        assert code == 0, done.stderr
    assert peaks[3072] - peaks[256] < 350  # [MB]; the blocks of each thread, and what becomes of them


def zarr_of_a_corner(path, *, layers, side):
    """A store whose chunks are all missing, so never seen, but the first."""
    group = zarr.open_group(str(path), mode="w")
    shape, chunks = (layers, side, side), (layers, 256, 256)
    names = ("time", "y", "x")
    data = group.create_array("ndvi", shape=shape, chunks=chunks, dtype="f4", fill_value=np.nan, dimension_names=names)
    data[:, :256, :256] = np.random.default_rng(1).random((layers, 256, 256), np.float32)
    for name, length in zip(names, shape, strict=True):
        units = {"units": "days since 2001-07-01"} if name == "time" else {}
        one = group.create_array(name, shape=(length,), dtype="i8", dimension_names=(name,), attributes=units)
        one[:] = np.arange(length) * {"time": 365, "y": -10, "x": 10}[name]
    return path


def test_dates_months_and_years_are_read_from_the_names_of_files(geotiffs, tmp_path):
    layer = np.full((1, 2, 2), 0.5, np.float32)
    named = ["S2_20190629T212529_20201006.tif", "ndvi_2020-03.tif", "b_2021.tiff", "c_2022_11_05.tif"]
    folder = geotiffs({name: layer for name in named}, names=None)
    (folder / "notes.txt").write_text("not an image")
    time = cubes.open_series(folder, "ndvi").series["time"].values
    assert time.astype("datetime64[D]").astype(str).tolist() == ["2019-06-29", "2020-03-15", "2021-07-01", "2022-11-05"]


@pytest.mark.parametrize(("file", "day"), [
    ("MOD13Q1.061__250m_16_days_NDVI_doy2018018000000_aid0001.tif", "2018-01-18"),
    ("MOD13Q1.A2020366.h27v05.061.2021012000000.tif", "2020-12-31"),
    ("HLS.S30.T48SUF.2018018T034051.v2.0.B04.tif", "2018-01-18"),
    ("c_gls_NDVI300_201801180000_GLOBE_OLCI_V2.0.1.tif", "2018-01-18"),
    ("LC08_L2SP_129034_20200103_20200824_02_T1_SR_B4.tif", "2020-01-03"),
    ("20190629_A2018001.tif", "2019-06-29"),
])  # fmt: skip
def test_files_of_well_known_products_are_dated_as_their_makers_do(geotiffs, tmp_path, file, day):
    folder = geotiffs({file: np.full((1, 2, 2), 0.5, np.float32)}, names=None)
    time = cubes.open_series(folder, "value").series["time"].values
    assert time.astype("datetime64[D]").astype(str).tolist() == [day]


@pytest.mark.parametrize(("name", "says"), [
    *((f"MOD13Q1.{day}", f"{day} in its name is not a date") for day in ("A2018400", "A2019366", "A2018000")),
    *((f"ndvi_{day}", f"{day} in its name is a date in a form that is not read")
      for day in ("29-06-2019", "29.6.2019", "2019-6-29", "2019_06_9")),
])  # fmt: skip
def test_a_day_that_does_not_exist_or_in_a_form_that_is_not_read_is_not_taken_for_its_year(geotiffs, name, says):
    folder = geotiffs({f"{name}.tif": np.full((1, 2, 2), 0.5, np.float32)}, names=None)
    with pytest.raises(BadData, match=says):
        cubes.open_series(folder, "value")


def test_equal_reflectances_of_files_with_other_offsets_are_ties(geotiffs, tmp_path):
    rng = np.random.default_rng(3)
    levels = rng.integers(2000, 2030, (30, 1, 4, 5)).astype(np.int16)
    for at, level in enumerate(levels):  # the same in each file, half of them stored with 1000 more
        moved = 1000 * (at % 2)
        image = {f"{1990 + at}.tif": level + np.int16(moved)}
        folder = geotiffs(image, names=("index",), scale=1e-4, offset=-1e-4 * moved)
    signs = np.sign(np.int64(levels[None, :, 0]) - np.int64(levels[:, None, 0]))
    score = (signs * np.triu(np.ones((30, 30), int), 1)[:, :, None, None]).sum((0, 1))
    np.testing.assert_array_equal(maps_of(folder, tmp_path / "out.nc")["s"], score)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize(
    "how", ["of the band", "of the file", "unlinked", "with its axes", "by the other band", "on a side of its own"]
)
def test_a_crs_is_written_however_the_file_states_it(cube, kind, how, tmp_path):
    plain = cube.drop_vars("spatial_ref")
    for band in plain.data_vars.values():
        band.encoding.pop("grid_mapping", None)
    if how == "of the band":
        plain["red"].attrs["crs"] = plain["nir"].attrs["crs"] = "EPSG:32648"
    elif how == "of the file":
        plain.attrs["crs"] = "EPSG:32648"
    else:
        own = ("one",) if how == "on a side of its own" else ()
        plain["crs"] = xr.DataArray(np.zeros((1,) * len(own), int), dims=own, attrs=cube["spatial_ref"].attrs)
        if own:
            plain["red"].attrs["grid_mapping"] = plain["nir"].attrs["grid_mapping"] = "crs"
        if how == "with its axes":
            plain["red"].attrs["grid_mapping"] = plain["nir"].attrs["grid_mapping"] = "crs: x y"
        if how == "by the other band":
            plain["red"].attrs["grid_mapping"] = "crs"
    out = maps_of(written(plain, tmp_path / f"in.{kind}"), tmp_path / "out.nc", variable="nir")
    assert out.rio.crs.to_epsg() == 32648
    assert "crs" not in out.variables


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize(("type", "attrs", "unseen"), [
    ("u1", {"nodata": 255}, [255]), ("i2", {"nodatavals": (-999.0,)}, [-999]),
    ("i2", {"nodata": -999, "_FillValue": np.int16(-1)}, [-999, -1]),
    ("i2", {"nodata": -999, "_FillValue": np.int16(-1), "missing_value": np.int16(-2)}, [-999, -1, -2]),
    ("i1", {"nodata": 255, "_Unsigned": "true"}, [-1]), ("f4", {"nodatavals": [-9999.0, -9999.0]}, [-9999.0]),
    ("f4", {"nodata": "-9999"}, [-9999.0]), ("f4", {"nodata": -3.4028235e38}, [-3.4028235e38]),
    ("f4", {"nodata": 1e20, "_FillValue": np.float32(np.nan)}, [1e20, np.nan]), ("f4", {"nodata": -9999.0}, [-9999.0]),
    ("f4", {"nodata": np.nan}, [np.nan]), ("u1", {"nodata": 999}, []), ("i2", {"nodata": np.nan}, []),
    ("u1", {"nodata": "none"}, []),
])  # fmt: skip
def test_what_a_file_calls_nodata_was_not_seen(kind, type, attrs, unseen, tmp_path):
    time = np.datetime64("2001-07-01", "ns") + np.arange(12) * 366 * DAY
    values = np.tile(np.arange(10, 22), (2, 2, 1)).T.astype(type)
    for at, mark in enumerate(unseen):
        values[3 + at, 0, 0] = mark
    made = xr.Dataset({"greenness": (("time", "y", "x"), values, attrs)}, coords={"time": time})
    out = maps_of(written(made, tmp_path / f"in.{kind}"), tmp_path / "out.nc")
    assert out["n"].values.ravel().tolist() == [12 - len(unseen), 12, 12, 12]
    np.testing.assert_allclose(out["slope"], 365.25 / 366, rtol=1e-5)


def test_yearly_files_rise_by_what_they_rise_a_year(geotiffs, tmp_path):
    folder = geotiffs({f"{2001 + i}.tif": np.full((1, 3, 4), 0.1 * i) for i in range(8)}, names=None)
    out = maps_of(folder, tmp_path / "out.nc")
    np.testing.assert_allclose(out["slope"], 0.1, rtol=1e-6)
    np.testing.assert_array_equal(out["s"], 28)


def test_scale_and_nodata_of_a_geotiff_are_applied(geotiffs, tmp_path):
    layers = [np.array([[[1000 + 100 * i, -9999]]], np.int16) for i in range(4)]
    files = {f"{2001 + i}.tif": layer for i, layer in enumerate(layers)}
    out = maps_of(geotiffs(files, names=("ndvi",), scale=0.0001, nodata=-9999), tmp_path / "out.nc")
    np.testing.assert_allclose(out["slope"], [[0.01, np.nan]], rtol=1e-6)
    np.testing.assert_array_equal(out["n"], [[4, 0]])


@pytest.mark.parametrize("kind", ["tif", "nc", "nc with a fill"])
def test_ndvi_in_integers_without_a_scale_is_refused_though_its_zeros_could_be_ndvi(geotiffs, tmp_path, kind):
    layers = {f"{2001 + i}.tif": np.array([[[1000 + 100 * i, 0]]], np.int16) for i in range(4)}
    given = geotiffs(layers, names=("ndvi",))
    if kind != "tif":
        given, made = tmp_path / "in.nc", yearly(np.concatenate([*layers.values()]))
        made.to_netcdf(given, encoding={"ndvi": {"_FillValue": -9999}} if kind == "nc with a fill" else None)
    refused(r"'ndvi' holds integers \(int16\) without a scale", given, tmp_path / "out.nc")


def test_integers_of_an_index_are_refused_by_name_of_variable_or_file_and_others_are_not(geotiffs, tmp_path):
    layers = [np.array([[[10 + i, 20]]], np.int16) for i in range(4)]
    for name in ("evi", "NDMI"):
        given = geotiffs({f"{2001 + i}.tif": layer for i, layer in enumerate(layers)}, names=(name,), folder=name)
        refused(rf"'{name}' holds integers \(int16\) without a scale", given, tmp_path / "out.nc")
    for name, index in (("ndvi_{}", True), ("S2-EVI-{}-07", True), ("cover_{}", False)):
        files = {f"{name.format(2001 + i)}.tif": layer for i, layer in enumerate(layers)}
        given = geotiffs(files, names=None, folder=name[:2])
        if index:
            for variable in (None, "value", "ndvi"):
                says = r"'value' holds integers \(int16\) without a scale"
                refused(says, given, tmp_path / "out.nc", variable=variable)
        else:
            out = maps_of(given, tmp_path / "out.nc")
            np.testing.assert_allclose(out["slope"], [[1.0, 0.0]], rtol=1e-2)


def yearly(values, **attrs):
    """Four years of two pixels."""
    time = np.array([f"{2001 + i}-07-01" for i in range(4)], "datetime64[ns]")
    coords = {"time": time, "y": [0.0], "x": [0.0, 1.0]}
    return xr.DataArray(values, dims=("time", "y", "x"), coords=coords, name="ndvi", attrs=attrs)


LIMITS = {
    "packed range": {"valid_range": np.array([-10000, 10000], np.int16), "scale_factor": 1e-5},
    "packed least": {"valid_min": np.int16(-10000), "scale_factor": 1e-5, "add_offset": 0.01},
    "real range": {"valid_range": np.array([-0.1, 0.1]), "scale_factor": 1e-5},
    "turned": {"valid_max": np.int16(10000), "scale_factor": -1e-5},
}


@pytest.mark.parametrize("form", ["nc", "zarr"])
@pytest.mark.parametrize("attrs", LIMITS.values(), ids=LIMITS)
def test_limits_of_the_file_are_applied_and_lie_inside(tmp_path, attrs, form):
    outside = 12000 if "valid_max" in attrs else -12000
    packed = yearly(np.array([[[10000, 1000 * i]] for i in range(4)], np.int16))
    packed[1, 0, 1] = outside
    if "valid_min" in attrs:
        packed[:, 0, 0] = -10000
    packed.attrs = attrs
    out = maps_of(written(packed.to_dataset(), tmp_path / f"in.{form}"), tmp_path / "out.nc")
    assert out["n"].values.tolist() == [[4, 3]]
    np.testing.assert_allclose(out["slope"], [[0.0, 0.01 * np.sign(attrs["scale_factor"])]], rtol=1e-2)


def test_limits_of_numbers_without_a_sign_are_read_so(tmp_path):
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        for name, size in (("time", 4), ("y", 1), ("x", 1)):
            file.createDimension(name, size)
        file.createVariable("time", "i4", ("time",))[:] = [2001, 2002, 2003, 2004]
        one = file.createVariable("ndvi", "i2", ("time", "y", "x"), fill_value=-1)
        one.setncatts({"_Unsigned": "true", "scale_factor": 1e-5, "valid_range": np.array([0, -6], "i2")})
        one.set_auto_maskandscale(False)
        one[:, 0, 0] = np.array([10000, 20000, 65531, 40000], "u2").view("i2")  # the third is above 65530
    out = maps_of(tmp_path / "in.nc", tmp_path / "out.nc")
    assert out["n"].item() == 3
    np.testing.assert_allclose(out["slope"], 0.1, rtol=1e-2)


MARKS = {
    "limits in double precision": {"valid_range": np.array([-0.2, 0.9])},
    "one limit that is none": {"valid_min": np.nan, "valid_max": 0.9},
    "a mark in double precision": {"missing_value": -99.99},
    "a mark in words": {"missing_value": "-99.99"},
    "two marks": {"missing_value": np.array([-99.99, 5.0])},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("attrs", MARKS.values(), ids=MARKS)
def test_limits_and_marks_are_compared_in_the_precision_of_the_numbers(tmp_path, attrs):
    values = np.array([[[-0.2, 0.9]], [[-0.2, -99.99]], [[-0.2, 0.9]], [[-0.2, 0.9]]], np.float32)
    out = maps_of(written(yearly(values, **attrs).rename("cover"), tmp_path / "in.nc"), tmp_path / "out.nc")
    assert out["n"].values.tolist() == [[4, 3 + (attrs.keys() == {"valid_min", "valid_max"})]]


@pytest.mark.parametrize("form", ["nc", "tif"])
def test_zeros_under_an_offset_are_unseen_in_a_band_and_values_of_ndvi(geotiffs, tmp_path, form):
    for name, seen in (("red", 3), ("ndvi", 4)):
        packed = np.array([[[5000]], [[0]], [[6000]], [[7000]]], np.uint16)
        if form == "nc":
            given = tmp_path / f"{name}.nc"
            attrs = {"scale_factor": 1e-4, "add_offset": -0.1}
            yearly(np.repeat(packed, 2, axis=2), **attrs).rename(name).to_netcdf(given)
        else:
            files = {f"{2001 + i}.tif": layer[None] for i, layer in enumerate(packed)}
            given = geotiffs(files, names=(name,), folder=name, scale=1e-4, offset=-0.1)
        out = maps_of(given, tmp_path / "out.nc")
        assert (out["n"] == seen).all(), name


def test_the_calendar_of_appeears_and_years_in_any_number_are_understood(cube, tmp_path):
    days = {"units": "days since 2019-01-03", "calendar": "julian"}
    julian = cube.assign_coords(time=("time", np.arange(90) * 20, days))
    out, same = (
        maps_of(written(one, tmp_path / f"{name}.nc"), tmp_path / f"{name}-out.nc", variable="ndvi")
        for name, one in (("in", cube), ("julian", julian))
    )
    xr.testing.assert_equal(out, same)
    kinds = {"whole": int, "float": float, "unsigned": np.uint16}
    for name, years in ((name, np.arange(1998, 2002).astype(kind)) for name, kind in kinds.items()):
        values = 0.1 * np.arange(4.0)[:, None, None] + np.zeros((1, 2))
        yearly(values).assign_coords(time=years).to_netcdf(tmp_path / f"{name}.nc")
        out = maps_of(tmp_path / f"{name}.nc", tmp_path / "out.nc")
        np.testing.assert_allclose(out["slope"], 0.1, rtol=1e-6)


def test_capitals_a_time_beside_the_dimension_and_a_single_band_do_not_hide_the_map(cube, tmp_path):
    ndvi = cube["red"].drop_encoding().drop_vars("spatial_ref").rename("ndvi")
    forms = {
        "plain": ndvi.to_dataset(),
        "capitals": ndvi.rename(time="Time", y="Lat", x="Lon").to_dataset(),
        "beside": ndvi.rename(time="when").drop_vars("when").rename(when="year").to_dataset()
        .assign_coords(time=("year", ndvi["time"].values)),
        "flat": ndvi.rename(y="lat", x="lon").to_dataset().assign_coords(x=(("lat", "lon"), np.zeros((6, 8)))),
        "band": ndvi.expand_dims(band=[1]).to_dataset(),
    }  # fmt: skip
    outs = {name: maps_of(written(form, tmp_path / f"{name}.nc"), tmp_path / "out.nc") for name, form in forms.items()}
    for name, out in outs.items():
        np.testing.assert_array_equal(out["slope"], outs["plain"]["slope"], err_msg=name)
        np.testing.assert_array_equal(out["y"], outs["plain"]["y"], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("out", ["out.nc", "out.zarr", "out.tif", "folder"])
def test_each_block_is_fitted_once_and_a_geotiff_is_about_as_small_as_written_at_once(monkeypatch, tmp_path, out):
    time = np.datetime64("2019-01-03", "ns") + np.arange(40) * 20 * DAY
    values = np.random.default_rng(3).normal(0.4, 0.1, (40, 200, 300)).astype(np.float32)
    da = xr.DataArray(
        values, dims=("time", "y", "x"), coords={"time": time, "y": -np.arange(200.0), "x": np.arange(300.0)}
    )
    da.rename("ndvi").to_netcdf(tmp_path / "in.nc")
    monkeypatch.setattr(blocks, "MAX_BLOCK_BYTES", 40 * 300 * 4 * 9)  # nine rows
    fitted = []
    fit = maps._trend
    monkeypatch.setattr(maps, "_trend", lambda block, **known: fitted.append(block.shape) or fit(block, **known))
    trends(tmp_path / "in.nc", tmp_path / out)
    assert len(fitted) == 23
    size = least = 0
    for path in tmp_path.rglob("*.tif"):
        with rasterio.open(path) as file, rasterio.open(tmp_path / "at once", "w", **file.profile) as at_once:
            at_once.write(file.read())
        size, least = size + path.stat().st_size, least + (tmp_path / "at once").stat().st_size
    assert size <= 1.3 * least


def test_half_written_output_is_removed_when_the_command_is_stopped(tmp_path):
    time = np.datetime64("2019-01-03", "ns") + np.arange(300) * 5 * DAY
    values = np.random.default_rng(3).normal(0.4, 0.1, (300, 300, 300)).astype(np.float32)
    xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time}, name="ndvi").to_netcdf(tmp_path / "in.nc")
    words = [sys.executable, "-m", "jobs.cli", "trends", str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as command:
        for _ in range(600):
            if any(tmp_path.glob(".out.nc.*")):
                break
            clock.sleep(0.05)
        command.terminate()
        assert command.wait(60) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["in.nc"]


def test_what_netcdf_marks_as_never_written_was_not_seen(tmp_path):
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        for name, size in (("time", 4), ("y", 1), ("x", 2)):
            file.createDimension(name, size)
        file.createVariable("time", "i4", ("time",))[:] = [2001, 2002, 2003, 2004]
        file.createVariable("cover", "f4", ("time", "y", "x"))[:, 0, 0] = [0.1, 0.2, 0.3, 0.4]
    out = maps_of(tmp_path / "in.nc", tmp_path / "out.nc")
    assert out["n"].values.tolist() == [[4, 0]]
    assert np.isnan(out["slope"].values[0, 1])


@pytest.mark.parametrize("name", ["evi", "nbr", "mean_savi"])
def test_an_index_in_scaled_floats_is_refused_and_what_divides_by_nothing_is_left_out(geotiffs, tmp_path, name):
    scaled = [np.array([[[1000.0 + 300 * i, -200.0]]]) for i in range(4)]
    yearly(np.concatenate(scaled)).rename(name).to_netcdf(tmp_path / "in.nc")
    folder = geotiffs({f"{2001 + i}.tif": layer for i, layer in enumerate(scaled)}, names=(name,))
    for given in (tmp_path / "in.nc", folder):
        refused("other indices within -10 to 10", given, tmp_path / "out.nc")
    wild = yearly(np.array([[[0.1, 1.2]], [[0.2, 1.2]], [[0.3, 4000.0]], [[0.4, 1.2]]])).rename(name)
    out = maps_of(written(wild, tmp_path / "in.nc"), tmp_path / "out.nc")
    assert out["n"].values.tolist() == [[4, 3]]


@pytest.mark.parametrize("names", [("ndvi", "ndvi"), ("ndvi", "x"), ("time", "ndvi"), ("spatial_ref", "ndvi")])
def test_bands_with_the_name_of_another_or_of_a_coordinate_are_refused(geotiffs, tmp_path, names):
    folder = geotiffs({f"{year}.tif": np.full((2, 3, 3), 0.2) for year in (2001, 2002)}, names=names)
    refused("each needs another name", folder, tmp_path / "out.nc", variable="ndvi")


def test_files_that_systems_and_viewers_leave_beside_images_are_ignored(geotiffs, tmp_path):
    folder = geotiffs({f"{year}.tif": np.full((1, 3, 3), 0.01 * (year - 2000)) for year in (2001, 2002)}, names=None)
    (folder / "._2001.tif").write_bytes(b"what a disk of another system knows of the file")
    trends(folder, tmp_path / "out")
    (tmp_path / "out" / "slope.tif.aux.xml").write_text("<PAMDataset/>")
    trends(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "slope.tif.aux.xml").exists()


@pytest.mark.parametrize(("cut", "says"), [
    (lambda cube: cube.drop_vars(["x", "y"]), "needs evenly spaced coordinates along x"),
    (lambda cube: cube.isel(x=slice(0, 1)), "evenly spaced coordinates along x, two or more"),
], ids=["without coordinates", "a single column"])  # fmt: skip
def test_ground_without_coordinates_or_of_one_column_is_written_as_netcdf_only(cube, tmp_path, cut, says):
    source = written(cut(cube), tmp_path / "in.nc")
    refused(says, source, tmp_path / "out.tif", variable="nir")
    trends(source, tmp_path / "out.nc", variable="nir")


def test_numbers_that_can_be_no_ndvi_are_left_out_if_few_and_refused_if_most(tmp_path):
    scaled = yearly(np.array([[[0.0, 3000.0]], [[0.0, 0.0]], [[0.0, 4000.0]], [[0.0, 5000.0]]]))
    scaled.to_netcdf(tmp_path / "in.nc")
    refused("of 3 numbers 3 cannot be what 'ndvi' is taken for", tmp_path / "in.nc", tmp_path / "out.nc")
    unmarked = yearly(np.array([[[0.0, 0.3]], [[0.1, -9999.0]], [[0.2, 0.4]], [[0.3, 0.5]]]))
    out = maps_of(written(unmarked, tmp_path / "in.nc"), tmp_path / "out.nc")
    assert out["n"].values.tolist() == [[4, 3]]


@pytest.mark.parametrize("out", ["out.tif", "out.nc"])
@pytest.mark.parametrize("upwards", [False, True], ids=["downwards", "upwards"])
def test_what_was_cut_from_a_larger_cube_lies_where_its_coordinates_say(cube, tmp_path, upwards, out):
    cut = cube.rio.write_transform(from_origin(3e5, 5_000_060, 10, 10)).isel(y=slice(2, 6), x=slice(3, 8))
    (cut.isel(y=slice(None, None, -1)) if upwards else cut).to_netcdf(tmp_path / "in.nc")
    trends(tmp_path / "in.nc", tmp_path / out, variable="nir")
    with rasterio.open(tmp_path / out if out.endswith("tif") else f"netcdf:{tmp_path / out}:slope") as file:
        assert file.bounds == (3e5 + 30, 5_000_060 - 60, 3e5 + 80, 5_000_040)


@pytest.mark.parametrize("x", [[0, 10, 20, 40], [0, 10, np.nan, 30], [0, 0, 0, 0]], ids=["gap", "none", "one place"])
def test_ground_on_an_uneven_grid_cannot_be_written_as_a_geotiff(cube, tmp_path, x):
    uneven = written(cube.isel(x=slice(4)).assign_coords(x=np.array(x, float)), tmp_path / "in.nc")
    says = r"in.nc: a GeoTIFF needs evenly spaced coordinates along x"
    refused(says, uneven, tmp_path / "out.tif", variable="nir")
    out = maps_of(uneven, tmp_path / "out.nc", variable="nir")
    np.testing.assert_array_equal(out["x"], x)


def test_degrees_in_single_precision_lie_evenly_enough(cube, tmp_path):
    lon = (105.12345 + 1e-4 * np.arange(8)).astype(np.float32)
    trends(written(cube.assign_coords(x=lon), tmp_path / "in.nc"), tmp_path / "out.tif", variable="nir")
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.transform.a == pytest.approx(1e-4, rel=0.02)


def test_a_season_that_no_year_has_is_a_mistake_of_the_command(cube, tmp_path):
    cube.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(typer.BadParameter, match="between 1 and 366"):
        trends(tmp_path / "in.nc", tmp_path / "out.nc", variable="nir", yearly=True, season=(0, 400))


def test_composites_of_a_burnt_valley_agree_with_scipy_pixel_by_pixel(shared_data, tmp_path):
    folder = shared_data / "bc06_wildfire" / "annual_composites"
    trends(folder, tmp_path / "out.nc", variable="ndvi")
    paths = sorted(folder.glob("*.tif"))
    layers = []
    for path in paths:
        with rasterio.open(path) as file:
            red, nir = file.read([3, 4]).astype(float)
        seen = (red != 0) & (nir != 0) & (red + nir > 0)
        layers.append(np.where(seen, (nir - red) / np.where(seen, nir + red, 1), np.nan))
    some = np.stack(layers)[:, 10:90:8, 10:110:10]
    time = np.array([int(path.stem) for path in paths]) * 365.25 * DAY.astype("timedelta64[h]").astype(float)
    hours = np.datetime64("2000-01-01", "ns") + (time - time[0]).astype("timedelta64[h]")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as out:
        assert out.sizes == {"y": 97, "x": 118}
        assert out.rio.crs.to_epsg() == 26910
        np.testing.assert_allclose(out["slope"][10:90:8, 10:110:10], expected_slope(some, hours), atol=1e-6)
        np.testing.assert_array_equal(out["n"][10:90:8, 10:110:10], np.isfinite(some).sum(axis=0))


def test_composites_stretched_for_display_are_refused(shared_data, tmp_path):
    refused("stretched for display", shared_data / "bc06_stretched", tmp_path / "out.nc", variable="band_4")


def test_images_of_one_day_are_refused_on_real_data(shared_data, tmp_path):
    with rasterio.open(shared_data / "phenopy" / "ndvi_test.tif") as file:
        values = file.read()
    dates = (shared_data / "phenopy" / "dates_ndvi.csv").read_text().split("\n")
    time = np.array([line.split(",")[0].strip().replace(" ", "T") for line in dates if line.strip()], "datetime64[ns]")
    order = np.argsort(time)
    da = xr.DataArray(values[order], dims=("time", "y", "x"), coords={"time": time[order]}, name="ndvi")
    refused("193 layers of 88 days", written(da, tmp_path / "in.nc"), tmp_path / "out.nc")


def integers(cube):
    return (cube * 10_000).fillna(0).astype("uint16").map(lambda band: band.drop_encoding())


def marked_integers(cube):
    """Beside a mark of no value integers are read as floats; some of them could be NDVI."""
    made = (cube * 10_000).fillna(0).map(lambda band: band.drop_encoding())
    for name in made.data_vars:
        made[name].encoding = {"dtype": "int16", "_FillValue": -9999}
    return made


def floats_of_integers(cube):
    return (cube * 10_000).map(lambda band: band.drop_encoding())


BAD_CUBES = {
    "empty": (lambda cube: cube.isel(time=slice(0)), "is empty"),
    "no pixels": (lambda cube: cube.isel(x=slice(0)), "is empty"),
    "one date": (lambda cube: cube.isel(time=slice(1)), "has one date; a trend needs two"),
    "never seen": (lambda cube: cube * np.nan, "no pixel of 'ndvi' has two values"),
    "infinite": (lambda cube: (cube * np.inf).map(lambda band: band.drop_encoding()), "no pixel of 'ndvi' has two"),
    "repeated": (lambda cube: cube.isel(time=[0, 1, 1, 2]), "more than once"),
    "unsorted": (lambda cube: cube.isel(time=[0, 2, 1]), "sort the layers"),
    "unsorted, by its file": (lambda cube: cube.isel(time=[0, 2, 1]), "in.nc: series 'ndvi'"),
    "integers": (integers, "integers .uint16. without a scale"),
    "integers beside a fill": (marked_integers, "integers .int16. without a scale"),
    "scaled floats": (floats_of_integers, "State the meaning of scaled integers by scale_factor"),
    "words": (lambda cube: cube.map(lambda band: band.astype(str).drop_encoding()), "holds no real numbers"),
    "another calendar": (lambda cube: cube.convert_calendar("360_day", align_on="date"), "none of the common calendar"),
    "no dates": (lambda cube: cube.drop_vars("time"), "without a date"),
    "no time in one layer": (
        lambda cube: cube.assign_coords(
            time=("time", [0, -(2**31), *range(2, 90)], {"units": "days since 2019-01-01"})
        ),
        "cannot be opened as NetCDF",
    ),
    "other bands": (lambda cube: cube.drop_vars("red"), "has no 'ndvi'; it has nir"),
    "no map": (lambda cube: cube.isel(time=0, drop=True), "has no 'ndvi'; it has nothing on .time, y, x."),
    "other dimensions": (lambda cube: cube.rename(time="date"), "y, x., but red on .date, y, x., nir on .date, y, x."),
    "no mark": (
        lambda cube: cube.assign(red=cube["red"].drop_encoding().assign_attrs(missing_value="none")),
        "cannot be opened as NetCDF: could not convert",
    ),
    "no system": (
        lambda cube: cube.assign_coords(spatial_ref=xr.DataArray(0, attrs={"crs_wkt": "somewhere"})),
        "its CRS cannot be read",
    ),
    "no coordinates": (
        lambda cube: cube.assign(red=cube["red"].assign_attrs(grid_mapping=5).drop_encoding()),
        "in.nc cannot be opened as NetCDF",
    ),
    "no limits": (
        lambda cube: cube.assign(red=cube["red"].assign_attrs(valid_range="0 to 1")),
        "'red' sets limits that are not two numbers",
    ),
    "months": (
        lambda cube: cube.assign_coords(time=("time", np.arange(90), {"units": "months since 2019-01-01"})),
        "in.nc cannot be opened as NetCDF: unable to decode time units 'months since .*'. Give it times as 'days",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_CUBES.values(), ids=BAD_CUBES)
def test_a_bad_cube_is_refused_and_leaves_nothing_behind(cube, tmp_path, spoil, message):
    spoil(cube).to_netcdf(tmp_path / "in.nc")
    for out in ("out.nc", "folder"):
        refused(message, tmp_path / "in.nc", tmp_path / out, variable="ndvi")


def test_what_was_there_stays_whole_when_a_rerun_fails_and_is_replaced_when_it_does_not(cube, tmp_path):
    cube.to_netcdf(tmp_path / "good.nc")
    (cube * np.nan).to_netcdf(tmp_path / "bad.nc")
    for out in ("out.nc", "folder", "out.zarr"):
        trends(tmp_path / "good.nc", tmp_path / out, variable="nir")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / out).rglob("*")}
        refused("no pixel of 'nir' has two", tmp_path / "bad.nc", tmp_path / out, variable="nir")
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / out).rglob("*")} == before
        trends(tmp_path / "good.nc", tmp_path / out, variable="nir")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.nc", "folder", "good.nc", "out.nc", "out.zarr"]


def test_a_folder_or_cube_of_the_user_is_not_replaced(cube, tmp_path):
    cube.to_netcdf(tmp_path / "in.nc")
    cube.to_zarr(tmp_path / "mine.zarr", consolidated=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ndvi_2020.tif").write_text("ten years of work")
    for out in ("mine", "mine.zarr"):
        refused("other things in it", tmp_path / "in.nc", tmp_path / out, variable="nir")
    assert (tmp_path / "mine" / "ndvi_2020.tif").read_text() == "ten years of work"
    assert xr.open_zarr(tmp_path / "mine.zarr", consolidated=False).sizes["time"] == 90


def test_a_cube_without_a_system_keeps_its_numbers_and_gets_none(cube, tmp_path, capsys):
    cube.drop_vars("spatial_ref").map(lambda band: band.drop_encoding()).to_netcdf(tmp_path / "in.nc")
    out = maps_of(tmp_path / "in.nc", tmp_path / "out.nc", variable="nir")
    assert "no CRS" in capsys.readouterr().err
    with_system = maps_of(written(cube, tmp_path / "with.nc"), tmp_path / "with-out.nc", variable="nir")
    assert "spatial_ref" not in out.variables
    np.testing.assert_allclose(out["slope"], with_system["slope"], atol=1e-9)


BAD_FILES = {
    "missing": (lambda folder: None, "no such file"),
    "not netcdf": (lambda folder: (folder / "in.nc").write_bytes(b"CDF?"), "cannot be opened as NetCDF"),
    "empty file": (lambda folder: (folder / "in.nc").touch(), "cannot be opened as NetCDF"),
    "empty folder": (lambda folder: (folder / "in.nc").mkdir(), "holds no GeoTIFF"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_not_a_cube_is_refused(tmp_path, make, message):
    make(tmp_path)
    refused(message, tmp_path / "in.nc", tmp_path / "out.nc")


@pytest.mark.slow
def test_records_of_centuries_have_a_slope(tmp_path):
    time = np.arange("1701", "2021", dtype="datetime64[Y]").astype("datetime64[s]")
    values = np.linspace(0.1, 0.1 + 0.001 * 319, 320, dtype=np.float32)[:, None, None]
    coords = {"time": time, "y": [0.0], "x": [0.0]}
    xr.DataArray(values, dims=("time", "y", "x"), coords=coords, name="index").to_netcdf(tmp_path / "in.nc")
    out = maps_of(tmp_path / "in.nc", tmp_path / "out.nc")
    np.testing.assert_allclose(out["slope"], 0.001, rtol=1e-4)


def test_a_zarr_that_asks_for_pickle_is_refused(cube, tmp_path):
    cube.to_zarr(tmp_path / "in.zarr", zarr_format=2, consolidated=False)
    path = tmp_path / "in.zarr" / "nir" / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"filters": [{"id": "pickle", "protocol": 5}]}))
    refused("pickle", tmp_path / "in.zarr", tmp_path / "out.nc", variable="nir")


BAD_FOLDERS = {
    "no date": ({"a.tif": {}}, "no date in its name"),
    "no such day": ({"x_20210231.tif": {}}, "20210231 in its name is not a date"),
    "one day twice": ({"a_20210203.tif": {}, "b_20210203.tif": {}}, "are of the same date"),
    "other grid": ({"2001.tif": {}, "2002.tif": {"transform": from_origin(0, 0, 10, 10)}}, "2002.tif: transform is"),
    "other system": ({"2001.tif": {}, "2002.tif": {"crs": "EPSG:4326"}}, "2002.tif: crs is EPSG:4326"),
    "other bands": ({"2001.tif": {}, "2002.tif": {"names": ("nir", "red")}}, "2002.tif: names is"),
    "bands in another order": ({"2001.tif": {}, "2002.tif": {"names": ("nir", "red")}}, "same bands in the same order"),
}


@pytest.mark.parametrize(("files", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_a_folder_that_is_not_a_series_is_refused(geotiffs, tmp_path, files, message):
    for name, how in files.items():
        folder = geotiffs({name: np.full((2, 3, 3), 0.2)}, **how)
    refused(message, folder, tmp_path / "out.nc")


def test_a_geotiff_cut_short_is_refused_by_name(geotiffs, tmp_path):
    rng = np.random.default_rng(1)
    folder = geotiffs({f"{year}.tif": rng.random((2, 200, 200)) for year in range(2001, 2005)})
    whole = (folder / "2003.tif").read_bytes()
    (folder / "2003.tif").write_bytes(whole[: len(whole) // 2])
    refused(r"2003\.tif", folder, tmp_path / "out.nc")


def test_another_file_under_the_name_of_a_geotiff_is_not_followed(geotiffs, tmp_path):
    folder = geotiffs({"2001.tif": np.full((2, 3, 3), 0.2)})
    secret = (folder / "2001.tif").rename(tmp_path / "elsewhere.tif")
    (folder / "2001.tif").write_text(
        '<VRTDataset rasterXSize="3" rasterYSize="3"><VRTRasterBand dataType="Float64" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    refused("cannot be read as GeoTIFF", folder, tmp_path / "out.nc")


def test_the_page_on_cubes_describes_every_map(root):
    page = (root / "docs" / "trends.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+)\|", page, re.M)
    assert {name for line in rows for name in re.findall(r"`(\w+)`", line)} == {*MONOTONIC, *HARMONIC}
