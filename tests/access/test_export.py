"""Cube and series of a site in one file that other programs read."""

import json
import shutil
from datetime import UTC, datetime

import geopandas
import netCDF4
import numpy as np
import pytest
import rioxarray
import shapely
import xarray as xr
from compliance_checker.acdd import ACDD1_3Check
from compliance_checker.base import BaseCheck
from compliance_checker.runner import CheckSuite
from odc.geo.geobox import GeoBox
from typer.testing import CliRunner

import monitor
from jobs.cli import app
from jobs.commands import export as command
from monitor.access import export as module
from monitor.access.export import site_dataset, write_dataset
from monitor.access.installation import find_installation
from monitor.cube.stored_site import CUBE_CHUNK_BYTES
from monitor.errors import BadData, DiskFull, StoreBroken
from tests.landscape import lone_site
from tests.test_conventions import faults, passed

SITE = "demo-02"


def exported(demo, out, *more, site=SITE):
    """What the command does, on a line wide enough for any path."""
    return CliRunner(env={"COLUMNS": "1000"}).invoke(
        app, ["export", site, str(out), "--config", str(demo / "regrowth.toml"), *more]
    )


@pytest.fixture(scope="module")
def files(demo, tmp_path_factory):
    """The site as NetCDF and as Zarr."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("site.nc", "site.zarr"):
        ran = exported(demo, folder / name)
        assert (ran.exit_code, ran.exception) == (0, None)
    return folder


def test_a_checker_of_the_conventions_finds_nothing_in_the_netcdf(files):
    assert faults(files / "site.nc") == []


@pytest.mark.filterwarnings("ignore:Passing the dataset:DeprecationWarning")  # compliance-checker 6.1 to itself
def test_a_catalogue_finds_the_file_by_place_time_and_creator(demo, files):
    """All that ACDD 1.3 highly recommends is there, but for standard names of quantities that have none."""
    with netCDF4.Dataset(files / "site.nc") as file:
        suite = CheckSuite()
        suite.checkers = {"acdd": ACDD1_3Check}
        scored, errors = suite.run_all(file, ["acdd"])["acdd"]
        wanting = [
            (result.name.split('"')[1], *result.msgs)
            for result in scored
            if result.weight == BaseCheck.HIGH and not passed(result.value)
        ]
        places = [file.getncattr(f"geospatial_{name}") for name in ("lon_min", "lat_min", "lon_max", "lat_max")]
        times = [file.getncattr(f"time_coverage_{end}") for end in ("start", "end")]
        assert {"creator_name", "date_created", "license", "summary", "keywords", "id"} <= {*file.ncattrs()}
    nameless = ("clear_fraction", "control_second_index", "second_index")
    assert (errors, sorted(wanting)) == ({}, [(name, "standard_name") for name in nameless])
    outline = geopandas.read_parquet(demo / "sites.parquet").set_index("site").geometry[SITE]
    assert shapely.box(*places).covers(outline)
    assert shapely.box(*places).area < 1e-5  # the cube is 240 m wide
    assert times == ["2015-08-01T00:00:00Z", "2020-10-28T00:00:00Z"]


@pytest.mark.parametrize("name", ["site.nc", "site.zarr"])
def test_what_is_read_back_is_what_was_stored(demo, files, name):
    cube, series = monitor.open_site(demo, SITE).compute(), monitor.open_series(demo, SITE)
    with xr.open_dataset(files / name, decode_coords="all") as back:
        for variable in cube.data_vars:
            np.testing.assert_array_equal(back[variable].values, cube[variable].values)
            assert back[variable].dtype == cube[variable].dtype
        for coordinate in ("time", "y", "x", "scene", "accepted", "reason"):
            np.testing.assert_array_equal(back[coordinate].values.astype(cube[coordinate].dtype), cube[coordinate])
        for column, (variable, _) in module.SERIES_VARIABLES.items():
            np.testing.assert_array_equal(back[variable].values, series[column].values)
        assert back.rio.crs == cube.rio.crs
        assert back.rio.transform() == cube.rio.transform()
        assert back.attrs["history"].endswith(f"regrowth export {SITE} {name}")
        assert {"institution", "source", "references", "comment", "title", "license"} <= back.attrs.keys()


def test_coordinates_axes_and_times_are_encoded_as_other_programs_expect(files):
    with netCDF4.Dataset(files / "site.nc") as file:
        assert file["time"].units == "seconds since 1970-01-01"
        assert [file[name].axis for name in ("time", "y", "x")] == ["T", "Y", "X"]
        assert not any("_FillValue" in file[name].ncattrs() for name in ("time", "y", "x", "spatial_ref", "accepted"))
        assert file["spatial_ref"].dtype == np.int32
        assert file["ndvi"].grid_mapping == "spatial_ref"
        assert "spatial_ref" not in file["ndvi"].coordinates
        assert file["ndvi"].filters()["zlib"]
        assert file["clear"].flag_meanings == "not_seen seen"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # the file itself is a mere list
def test_gdal_reads_a_variable_as_a_raster_of_one_band_a_scene(files):
    raster = rioxarray.open_rasterio(files / "site.nc", variable="ndvi")
    assert raster.rio.crs.to_epsg() == 3035
    layers = raster["ndvi"] if isinstance(raster, xr.Dataset) else raster
    with xr.open_dataset(files / "site.nc") as back:
        np.testing.assert_array_equal(layers.values, back["ndvi"].values)


@pytest.mark.parametrize("name", ["site.nc", "site.zarr"])
def test_what_is_there_is_never_replaced(demo, tmp_path, name):
    (tmp_path / name).write_bytes(b"of somebody")
    ran = exported(demo, tmp_path / name)
    assert ran.exit_code != 0
    assert "exists; give another name" in str(ran.exception)
    assert (tmp_path / name).read_bytes() == b"of somebody"
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")  # a link that leads nowhere
    assert "exists; give another name" in str(exported(demo, tmp_path / name).exception)
    assert (tmp_path / name).is_symlink()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), DiskFull), (RuntimeError("NetCDF: HDF error"), BadData),
     (StoreBroken("a chunk is damaged"), StoreBroken), (KeyboardInterrupt(), KeyboardInterrupt)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["site.nc", "site.zarr"])
def test_nothing_half_written_is_left(demo, tmp_path, monkeypatch, name, error, raised):
    data = site_dataset(find_installation(demo), SITE)

    def fail(*_, **__):
        raise error

    write = module._delayed_write
    monkeypatch.setattr(module, "_delayed_write", lambda data, partial: (write(data, partial), fail()))
    with pytest.raises(raised):
        write_dataset(data, tmp_path / name, at=datetime.now(UTC), command="test")
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_and_places_inside_the_store_are_refused(demo, tmp_path):
    assert "must end in .nc (NetCDF) or .zarr" in exported(demo, tmp_path / "site.tif").stderr
    assert "inside the store" in exported(demo, demo / "store" / "site.nc").stderr
    assert not (demo / "store" / "site.nc").exists()


def test_a_site_that_is_unknown_or_was_not_judged_is_named(demo, tmp_path):
    assert "site 'nowhere' was not found" in str(exported(demo, tmp_path / "site.nc", site="nowhere").exception)
    for name in ("regrowth.toml", "sites.geojson"):
        shutil.copy(demo / name, tmp_path)
    shutil.copytree(demo / "store", tmp_path / "store")
    assert "its series is not published yet" in str(exported(tmp_path, tmp_path / "site.nc").exception)
    assert not (tmp_path / "site.nc").exists()


def test_json_says_what_was_written(demo, tmp_path):
    report = json.loads(exported(demo, tmp_path / "site.nc", "--json").stdout)
    assert report["out"] == str(tmp_path / "site.nc")
    assert (report["scenes"], report["height"], report["width"]) == (135, 24, 24)
    assert 10 < report["accepted"] < 135


def test_a_large_site_is_read_a_few_scenes_at_a_time(tmp_path):
    grid = GeoBox.from_bbox((500_000, 4_000_000, 510_000, 4_010_000), "EPSG:32648", resolution=10)  # 10,000 ha
    stored = lone_site(tmp_path / "landscape", grid=grid, units=("u1",))
    scenes = max(1, CUBE_CHUNK_BYTES // (2 * 8 * 1000 * 1000))
    assert scenes <= 2
    assert stored.cube().sizes == {"time": 0, "y": 1000, "x": 1000}


def test_the_time_of_an_acquisition_comes_back_to_the_microsecond():
    times = np.array(["2021-07-01T03:45:12.024", "2021-07-06T03:45:12.000001"], "datetime64[ns]")
    assert module._time_units(times[:1]) == "milliseconds since 1970-01-01"
    assert module._time_units(times) == "microseconds since 1970-01-01"
    assert module._time_units(times.astype("datetime64[D]")) == "seconds since 1970-01-01"
    assert command.__doc__
