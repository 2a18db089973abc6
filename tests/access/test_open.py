"""A scientist opens a site in one line: as a cube, and as a series."""

import os
import pickle
import shutil
import subprocess
import sys
from datetime import datetime

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.callbacks import Callback
from odc.geo.geobox import GeoBox

import monitor
from jobs.runtime.settings import load
from monitor.access.cube import site_cube
from monitor.access.installation import find_installation
from monitor.cube.bucket import landscape_folders
from monitor.cube.records import MEASURES
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadConfiguration, BadData, StoreBroken
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.sites.own_biome import biome_json, own_biome
from tests.landscape import lone_site, records, site_scene

SITES = [f"demo-{number:02d}" for number in range(1, 11)]


def copied(demo, folder, *names):
    """Copy the configuration, the store and further files of the demonstration; returns the store."""
    for name in ("regrowth.toml", *names):
        shutil.copy(demo / name, folder)
    shutil.copytree(demo / "store", folder / "store")
    return folder / "store"


@pytest.mark.parametrize("site", SITES)
def test_means_of_the_cube_are_those_of_the_published_series(demo, site):
    cube, series = monitor.open_site(demo, site), monitor.open_series(demo, site)
    assert cube["scene"].values.tolist() == series["scene"].tolist()
    np.testing.assert_array_equal(cube["accepted"], series["accepted"])
    assert series["accepted"].sum() >= 10
    for name in ("ndvi", "cover"):
        means = cube[name].where(cube["clear"]).mean(("y", "x")).values
        np.testing.assert_allclose(means[series["accepted"]], series[name][series["accepted"]], rtol=0, atol=1e-4)


def test_a_cube_states_its_layers_place_and_source(demo):
    cube = monitor.open_site(str(demo / "regrowth.toml"), "demo-03")
    assert cube["ndvi"].dims == ("time", "y", "x")
    assert set(cube.data_vars) == {*bands.OBSERVED, "clear", "ndvi", "cover", "inside"}
    assert cube["clear"].dtype == cube["accepted"].dtype == cube["inside"].dtype == bool
    assert cube["time"].dtype == "datetime64[ns]"
    assert cube["time"].to_index().is_monotonic_increasing
    assert cube.rio.crs.to_epsg() == cube["ndvi"].rio.crs.to_epsg() == 3035
    transform = cube.rio.transform()
    assert (transform.a, transform.e) == (10, -10)
    assert (transform.c + 5, transform.f - 5) == (cube["x"].values[0], cube["y"].values[0])
    assert all({"units", "long_name"} <= cube[name].attrs.keys() for name in (*bands.OBSERVED, "ndvi", "cover"))
    assert {"Conventions", "title", "references", "license", "institution", "source"} <= cube.attrs.keys()
    assert "Copernicus Sentinel data 2015-2020" in cube.attrs["license"]
    assert cube.attrs["comment"].startswith("Demonstration.")


def test_outside_the_site_and_under_clouds_there_is_no_index(demo):
    cube = monitor.open_site(demo, "demo-03").compute()
    assert 0 < cube["inside"].sum() < cube["inside"].size
    assert not cube["red"].where(~cube["inside"]).notnull().any()
    assert not cube["clear"].where(~cube["inside"], other=False).any()
    assert not cube["ndvi"].where(~cube["clear"]).notnull().any()
    clear = cube["clear"].values
    red, nir = cube["red"].values.astype(float), cube["nir"].values.astype(float)
    np.testing.assert_allclose(cube["ndvi"].values[clear], ((nir - red) / (nir + red))[clear], atol=1e-6)


def test_a_rejected_scene_says_why(demo):
    cube = monitor.open_site(demo, "demo-03")
    reasons = {*cube["reason"].values[~cube["accepted"].values].tolist()}
    assert "CLOUD" in reasons
    assert "" not in reasons
    assert {*cube["reason"].values[cube["accepted"].values].tolist()} == {""}


def test_nothing_is_computed_before_values_are_needed(demo):
    def refuse(*_):
        pytest.fail("computed")

    with Callback(start=refuse):
        cube = monitor.open_site(demo, "demo-03")
        assert all(dask.is_dask_collection(cube[name]) for name in (*bands.OBSERVED, "clear", "ndvi", "cover"))
        cube["ndvi"].where(cube["accepted"]).resample(time="YS").mean()


def test_a_series_has_the_columns_of_the_published_table(demo):
    series = monitor.open_series(demo, "demo-03")
    plain = pd.read_csv(demo / "sites" / "demo-03" / "observations.csv", parse_dates=["date"])
    assert tuple(series.columns) == OBSERVATION_COLUMNS == tuple(plain.columns)
    assert isinstance(series.index, pd.RangeIndex)
    assert series["date"].dtype == "datetime64[ns]"
    assert series["accepted"].dtype == bool
    assert series["n_pixels"].dtype == np.int64
    for name in ("ndvi", "cover", "control_cover", "control_2", "clear_fraction"):
        np.testing.assert_array_equal(series[name], plain[name])
    assert {*series["reason"][series["accepted"]]} == {""}


def test_names_that_a_reader_would_take_for_missing_values_or_formulas_come_back_as_they_are(demo, tmp_path):
    shutil.copy(demo / "regrowth.toml", tmp_path)
    folder = tmp_path / "sites" / "NA"
    folder.mkdir(parents=True)
    text = (demo / "sites" / "demo-03" / "observations.csv").read_text(encoding="utf-8")
    lines = text.replace("demo-03", "NA").replace("romania-2015-08-01", "'=cmd()").splitlines(keepends=True)
    (folder / "observations.csv").write_text("\ufeff" + "".join(lines), encoding="utf-8")
    series = monitor.open_series(tmp_path, "NA")
    assert series["site"].tolist() == ["NA"] * len(series)
    assert series["scene"][0] == "=cmd()"


@pytest.mark.parametrize("text", [
    "", '[store]\nroot = "kept"\n[outputs]\nroot = "/srv/pages"\n[registry]\npath = "../sites.gpkg"\n',
])  # fmt: skip
def test_the_places_are_those_that_the_commands_use(tmp_path, text):
    config = tmp_path / "own.toml"
    config.write_text('[source]\nkind = "sample"\n' + text, encoding="utf-8")
    settings, places = load(config), find_installation(config)
    assert (places.store, places.outputs, places.registry) == (
        settings.store.root, settings.outputs.root, settings.registry.path,
    )  # fmt: skip


def test_the_output_root_below_the_configuration_will_do(demo, tmp_path):
    shutil.copytree(demo / "store", tmp_path / "store")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    shutil.copy(demo / "sites.parquet", outputs)
    (tmp_path / "regrowth.toml").write_text('[outputs]\nroot = "outputs"\n', encoding="utf-8")
    assert monitor.open_site(outputs, "demo-02").sizes["time"] > 100
    with pytest.raises(BadData, match=r"not published yet.*regrowth publish"):
        monitor.open_series(outputs, "demo-02")


@pytest.mark.parametrize("level", ["store", "store/32634-5-50-loess-2e227d7c", "sites", "sites/demo-02"])
def test_a_folder_of_the_wrong_level_names_the_right_one_and_no_advice_to_move_anything(demo, level):
    if level == "store":  # its parent has the configuration
        assert monitor.open_site(demo / level, "demo-02").sizes["time"] > 100
        return
    if level == "sites":
        assert len(monitor.open_series(demo / level, "demo-02")) > 100
        return
    with pytest.raises(BadConfiguration, match=r"give its configuration instead: .*regrowth.toml") as raised:
        monitor.open_site(demo / level, "demo-02")
    assert not {"move", "delete", "remove", "restore"} & {*str(raised.value).split()}


def test_a_folder_without_an_installation_is_named(tmp_path):
    with pytest.raises(BadConfiguration, match="no such file or folder"):
        monitor.open_site(tmp_path / "nowhere", "demo-02")
    with pytest.raises(BadConfiguration, match=r"there is no regrowth.toml"):
        monitor.open_site(tmp_path, "demo-02")
    unreadable = "cannot be read as a configuration"
    wrong = {
        b"[store\n": unreadable,
        b"\x89PNG\r\n\x1a\n": unreadable,
        b"[store]\nroot = 3\n": r"\[store\] root is not a path",
    }
    for text, says in wrong.items():
        (tmp_path / "regrowth.toml").write_bytes(text)
        for opener in (monitor.open_site, monitor.open_series):
            with pytest.raises(BadConfiguration, match=says):
                opener(tmp_path, "demo-02")


@pytest.mark.parametrize("opener", [monitor.open_site, monitor.open_series])
def test_an_unknown_site_is_named_with_those_that_are_near(demo, opener):
    with pytest.raises(BadData, match=r"site 'demo-2' was not found.*'demo-02'"):
        opener(demo, "demo-2")
    with pytest.raises(BadData, match="was not found under"):
        opener(demo, "../../etc/passwd")


@pytest.mark.parametrize("opener", [monitor.open_site, monitor.open_series])
def test_a_site_or_path_of_another_type_is_named_with_what_is_expected(demo, opener):
    with pytest.raises(BadData, match=r"^2 is of type int, and the id of a site is a text; .*'demo-02'"):
        opener(demo, 2)
    with pytest.raises(BadConfiguration, match=r"^None is of type NoneType; give the path"):
        opener(None, "demo-02")


@pytest.mark.parametrize("opener", [monitor.open_site, monitor.open_series])
def test_without_a_store_the_next_step_is_named(demo, tmp_path, opener):
    shutil.copy(demo / "regrowth.toml", tmp_path)
    shutil.copy(demo / "sites.geojson", tmp_path)
    with pytest.raises(BadData, match=r"nothing is stored yet.*regrowth run"):
        opener(tmp_path, "demo-02")


def test_a_registered_site_that_was_not_fetched_is_not_called_unknown(demo, tmp_path):
    copied(demo, tmp_path)
    text = (demo / "sites.geojson").read_text(encoding="utf-8")
    (tmp_path / "sites.geojson").write_text(text.replace('"demo-02"', '"new-02"'), encoding="utf-8")
    with pytest.raises(BadData, match=r"'new-02' is registered, but no scene of it is stored yet.*regrowth run"):
        monitor.open_site(tmp_path, "new-02")


def test_a_site_that_is_published_no_more_still_opens(demo, tmp_path):
    copied(demo, tmp_path)
    assert monitor.open_site(tmp_path, "demo-04").sizes["time"] > 100


def test_the_published_outline_of_a_site_is_opened_and_without_one_the_newest(demo, tmp_path):
    copied(demo, tmp_path, "sites.parquet")
    grid = GeoBox.from_bbox((500_000, 4_000_000, 500_100, 4_000_100), "EPSG:32648", resolution=10)
    lone_site(tmp_path / "store" / "32648-4-40-loess-00000000", grid=grid, units=("u1",), site="demo-02")
    assert monitor.open_site(tmp_path, "demo-02").sizes["time"] > 100
    (tmp_path / "sites.parquet").unlink()
    assert monitor.open_site(tmp_path, "demo-02").sizes == {"time": 0, "y": 10, "x": 10}


def test_cover_of_an_own_biome_says_that_its_endmembers_are_those_of_the_configuration(tmp_path):
    grid = GeoBox.from_bbox((500_000, 4_000_000, 500_100, 4_000_100), "EPSG:32648", resolution=10)
    definition = biome_json(own_biome({"like": "sandy", "bare_soil": 0.08}, name="sahel"))
    stored = lone_site(tmp_path / "landscape", grid=grid, units=("u1",), biome="sahel", definition=definition)
    stated = "Endmembers are those of the configuration (MSAVI2: 0.08 bare soil"
    assert site_cube(stored, None)["cover"].attrs["comment"].startswith(stated)


def test_a_broken_landscape_elsewhere_stops_no_other_site_and_that_of_the_site_is_named(demo, tmp_path):
    store = copied(demo, tmp_path, "sites.parquet", "sites.geojson")
    elsewhere = store / "32648-4-40-loess-00000000"
    elsewhere.mkdir()
    (elsewhere / "repo").write_bytes(b"damaged")
    assert monitor.open_site(tmp_path, "demo-02").sizes["time"] > 100
    (home,) = [folder for folder in landscape_folders(store) if folder != elsewhere]
    (home / "repo").write_bytes(b"damaged")
    with pytest.raises(StoreBroken, match=r"32634.*cannot be read.*Nothing in it was changed"):
        monitor.open_site(tmp_path, "demo-02")


def test_a_damaged_chunk_is_named_and_the_store_is_not_called_lost(demo, tmp_path):
    copied(demo, tmp_path)
    cube = monitor.open_site(tmp_path, "demo-02")
    (folder,) = landscape_folders(tmp_path / "store")
    for chunk in sorted((folder / "chunks").iterdir(), key=lambda path: path.stat().st_size)[-60:]:
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    with pytest.raises(StoreBroken, match="Nothing in it was changed") as raised:
        cube["ndvi"].mean().compute()
    assert "move" not in str(raised.value)


def test_a_cube_that_is_open_stays_as_it_was_while_a_night_appends(demo, tmp_path):
    copied(demo, tmp_path)
    (folder,) = landscape_folders(tmp_path / "store")
    before, cube = monitor.open_site(demo, "demo-02").compute(), monitor.open_site(tmp_path, "demo-02")
    _append_again(LandscapeStore(folder))
    xr.testing.assert_equal(cube.compute(), before)
    assert monitor.open_site(tmp_path, "demo-02").sizes == before.sizes  # the same acquisitions, in newer rows


def _append_again(landscape):
    """Store the last scene of a landscape once more, as a night does that fetches it again."""
    scenes = {}
    for ground in landscape.grounds:
        stored = StoredSite(landscape, ground)
        record = records(stored)[-1]
        pixels = stored.pixels([landscape.rows - 1])[0][:, stored.inside]
        units = np.full((max(len(stored.units), 1), len(MEASURES)), np.nan, np.float32)
        of_scene = ("acquisition", "sensor", "baseline", "source", "scale", "offset", "quality")
        granule = Scene(
            id=record.scene, time=datetime.fromisoformat(record.time), tile=next(iter(record.granules), ""),
            **{name: getattr(record, name) for name in of_scene},
        )  # fmt: skip
        scenes[ground] = site_scene(
            [granule], pixels, units, means=record.measures, n_pixels=record.n_pixels, reason=record.reason
        )
    landscape.append([scenes], "again")


def test_threads_and_another_process_read_the_same_numbers(demo):
    cube = monitor.open_site(demo, "demo-02")
    small = xr.concat([cube["red"]] * 8, dim="copy")  # many tasks at once
    with dask.config.set(scheduler="threads", num_workers=8):
        threaded = small.compute()
    moved = pickle.loads(pickle.dumps(cube["red"]))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(moved.compute(), threaded[0])
    np.testing.assert_array_equal(threaded[7], threaded[0])


def test_opening_writes_nothing(demo):
    def files():  # of others that read the ledger meanwhile there are files beside it
        paths = (path for path in demo.rglob("*") if not path.name.startswith("regrowth.db-"))
        return {path: path.stat().st_mtime_ns for path in paths}

    before = files()
    monitor.open_site(demo, "demo-05")["ndvi"].mean().compute()
    monitor.open_series(demo, "demo-05")
    assert files() == before


def test_importing_the_package_loads_nothing_else_and_still_names_its_functions():
    code = (
        "import sys; before = {*sys.modules}; import monitor; new = {*sys.modules} - before; "
        "print(sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names), *dir(monitor))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("['monitor'] ")
    assert {*monitor.__all__} <= {*done.stdout.split()}


def test_opening_loads_no_provider_no_plots_and_no_jobs(demo):
    code = (
        "import sys, monitor; cube = monitor.open_site(sys.argv[1], 'demo-02'); cube.ndvi.mean().compute(); "
        "print([name for name in ('ee', 'matplotlib', 'geopandas', 'jobs') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(demo)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""
