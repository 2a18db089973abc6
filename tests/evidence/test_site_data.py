"""The record of a site leaves the store as open files, and a store made of them holds the same bits."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from monitor.controls.selection import ControlSet
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, MEASURES, Member, Record, SiteScene, digest
from monitor.cube.store import LandscapeStore, landscape_folders
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.evidence.container import Container, write_container
from monitor.evidence.scene_table import pixels_sha256
from monitor.evidence.site_data import rebuild_store, site_data_members
from monitor.evidence.site_netcdf import expected_arrays
from monitor.imagery.source import Scene
from monitor.sealed_netcdf import Arrays, SealedFiles
from monitor.series.build import site_series
from monitor.sites.registry import read_sites
from tests.evidence.small_pack import KEY
from tests.test_conventions import faults

GRID = GeoBox.from_bbox((500_000, 4_000_000, 500_100, 4_000_080), "EPSG:32648", resolution=10)
INSIDE = np.zeros(GRID.shape, bool)
INSIDE[2:6, 3:9] = True
INSIDE[3, 5] = False


def members_of(stored, folder, snapshot=None):
    folder.mkdir()
    return dict(site_data_members(stored, snapshot or stored.snapshot, folder))


def contents(members):
    return {name: value if isinstance(value, bytes) else value.read_bytes() for name, value in members.items()}


def rebuilt(members, folder):
    folder.mkdir()
    pack = folder.with_suffix(".zip")
    write_container(pack, members.items(), KEY)
    with Container(pack, KEY.public_key()) as opened:
        return rebuild_store(opened, folder)


def assert_same(stored, other, snapshot=None):
    """Every value that a night can read of two stores is the same."""
    snapshot = snapshot or stored.snapshot
    columns, others = stored.columns(snapshot), other.columns(snapshot)
    assert columns.keys() == others.keys()
    for name, values in columns.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)
    rows = stored.every_row(snapshot)
    np.testing.assert_array_equal(rows, other.every_row(snapshot))
    np.testing.assert_array_equal(stored.pixels(rows), other.pixels(rows))
    assert stored.unit_means_of(rows).tobytes() == other.unit_means_of(rows).tobytes()
    assert stored.records(snapshot) == other.records(snapshot)
    assert stored.granules_of(rows) == other.granules_of(rows)
    assert (stored.units, stored.controls, stored.grid) == (other.units, other.controls, other.grid)
    assert (stored.landscape.name, stored.ground, stored.site) == (other.landscape.name, other.ground, other.site)
    np.testing.assert_array_equal(stored.inside, other.inside)


def scene(acquisition, day, *, tiles=("48SUF",), sensor="sentinel-2a", quality="scl", baseline="05.09", **other):
    return tuple(
        Scene(
            id=f"{acquisition}_{tile}_{baseline}", acquisition=acquisition, tile=tile,
            time=datetime(2019 + day // 365, 1 + day % 365 // 31, 1, 3, 51, 41, 24_000, UTC),
            sensor=sensor, baseline=baseline, source="stac", scale=1e-4, offset=-0.1, quality=quality, orbit="104",
            **other,
        )
        for tile in tiles
    )  # fmt: skip


def entry(granules, random, *, inside=INSIDE, units=3, reason="", used=None):
    """One scene of a site with values that have no pattern."""
    pixels = random.integers(0, 2**16, (len(PACKED_LAYERS), int(inside.sum())), np.uint16)
    pixels[-1] %= 2
    means = random.random((max(units, 1), len(MEASURES)), np.float32)
    means[0] = np.nan
    main = granules[0]
    measures = {name: round(random.random(), 6) for name in (*MEANS, *(f"control_{name}" for name in MEANS))}
    n = int(pixels[-1].sum())
    record = Record(
        scene=main.id, acquisition=main.acquisition, time=main.time.isoformat(), sensor=main.sensor,
        baseline=main.baseline, source=main.source, scale=main.scale, offset=main.offset, quality=main.quality,
        orbit=main.orbit, granules={g.tile: g.baseline for g in granules if used is None or g.tile in used},
        bandpass=main.sensor.startswith("landsat"), accepted=not reason, reason=reason,
        clear_fraction=round(n / pixels.shape[1], 4), n_pixels=n,
        measures={"n_units": 2.0} | (measures if not reason else {}), digest=digest(pixels, means),
    )  # fmt: skip
    return SiteScene(record=record, pixels=pixels, units=means, granules=granules)


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    """A landscape of two sites, with rows of every kind: late, reprocessed, rejected, of two granules, of Landsat."""
    random = np.random.default_rng(1)
    whole = np.ones(GRID.shape, bool)
    sites = [("a0", whole, ("u1", "u2")), ("b0", INSIDE, ("v1", "v2", "v3")), ("c0", whole, ())]
    members = [
        Member(
            ground=ground, site=f"site-{ground}", grid=GRID, inside=inside, context=GRID, units=units,
            controls={"units": [*units]},
        )
        for ground, inside, units in sites
    ]  # fmt: skip
    store = LandscapeStore(tmp_path_factory.mktemp("store") / "32648-5-40-loess-0123abcd")
    store.create(members, biome="loess")

    def row(granules, grounds=("a0", "b0"), **other):
        sizes = {"a0": (whole, 2), "b0": (INSIDE, 3), "c0": (whole, 0)}
        return {
            ground: entry(granules, random, inside=sizes[ground][0], units=sizes[ground][1], **other)
            for ground in grounds
        }

    two = scene("S2A/2", 40, tiles=("48SUF", "48SVF"))
    shifted = (two[0], replace(two[1], offset=0.0, baseline="03.00", id="=HYPERLINK(0)"))
    store.append([
        row(scene("S2A/1", 10), ("a0",)),
        row(scene("S2A/1b", 10)),
        row(shifted),
        row(scene("S2A/3", 70), reason="CLOUD"),
        row((replace(*scene("S2A/8", 130), scale=0.0, offset=0.0),), reason="RADIOMETRY"),
        row(scene("L8/4", 100, tiles=("034",), sensor="landsat-8", quality="qa_pixel", baseline="T1")),
        row(scene("S2A/5", 400, tiles=("48SUF", "48SVF")), used=("48SVF",)),
    ], "history")  # fmt: skip
    store.append([row(scene("S2A/1b", 10, baseline="05.10")), row(scene("S2A/1b", 10, baseline="05.11"))], "again")
    store.append([row(scene("S2A/2", 40)), row(scene("S2A/6", 20)), row(scene("S2A/7", 20), ("a0",))], "late")
    return store


@pytest.fixture(scope="module")
def second(landscape):
    return StoredSite(landscape, "b0")


@pytest.fixture(scope="module")
def members(second, tmp_path_factory):
    return members_of(second, tmp_path_factory.mktemp("members") / "m")


def test_a_store_made_of_the_files_holds_the_same_bits(landscape, second, members, tmp_path):
    back = rebuilt(members, tmp_path / "back")
    assert_same(second, back)
    assert back.landscape.grounds == ("b0",)
    assert contents(members_of(back, tmp_path / "again")) == contents(members)
    xr.testing.assert_identical(back.cube().compute(), second.cube().compute())


def test_the_files_hold_the_rows_up_to_the_snapshot_only(second, landscape, tmp_path):
    snapshot = f"{landscape.name}:7"
    members = members_of(second, tmp_path / "m", snapshot)
    back = rebuilt(members, tmp_path / "back")
    assert back.snapshot == snapshot
    assert contents(members_of(back, tmp_path / "again")) == contents(members)
    assert_same(second, back, snapshot)


def test_a_site_without_control_units_and_one_without_rows_come_back(landscape, tmp_path):
    third = StoredSite(landscape, "c0")
    members = members_of(third, tmp_path / "m")
    assert [*members] == ["landscape.json", "scenes.csv"]
    assert_same(third, rebuilt(members, tmp_path / "back"))


def test_a_site_of_one_pixel_without_units_comes_back(tmp_path):
    grid = GeoBox.from_bbox((500_000, 4_000_000, 500_010, 4_000_010), "EPSG:32648", resolution=10)
    inside = np.ones((1, 1), bool)
    store = LandscapeStore(tmp_path / "32648-5-40-loess-0123abcd")
    store.create(
        [Member(ground="a0", site="one", grid=grid, inside=inside, context=grid, units=(), controls={})], biome="loess"
    )
    one = entry(scene("S2A/1", 10), np.random.default_rng(2), inside=inside, units=0, reason="FEW_PIXELS")
    store.append([{"a0": one}], "one")
    stored = StoredSite(store, "a0")
    assert_same(stored, rebuilt(members_of(stored, tmp_path / "m"), tmp_path / "back"))


@pytest.mark.parametrize("sites", [slice(1), pytest.param(slice(1, None), marks=pytest.mark.slow)])
def test_the_sites_of_the_demonstration_come_back(demo, tmp_path, sites):
    (folder,) = landscape_folders(demo / "store")
    landscape = LandscapeStore(folder, read_only=True)
    for ground in landscape.grounds[sites]:
        stored = StoredSite(landscape, ground)
        back = rebuilt(members_of(stored, tmp_path / f"m{ground}"), tmp_path / ground)
        assert_same(stored, back)
        site = next(one for one in read_sites(demo / "sites.geojson").sites if one.id == stored.site)
        controls = ControlSet.from_json(stored.controls)
        series, others = (site_series(one, controls, site) for one in (stored, back))
        for name, values in series.items():
            np.testing.assert_array_equal(values, others[name], err_msg=name)


def test_the_same_store_gives_the_same_bytes(second, members, tmp_path):
    assert contents(members_of(second, tmp_path / "m")) == contents(members)


def test_the_files_follow_the_conventions_and_show_a_picture_at_once(second, members):
    for name, path in members.items():
        if isinstance(path, Path):
            # (time, unit, measure) is how the store has it; another order is only recommended
            assert [fault for fault in faults(path) if "recommended order" not in fault] == [], name
    with xr.open_dataset(members["pixels-2019.nc"], decode_coords="all") as pixels:
        assert pixels["red"].dims == ("time", "y", "x")
        assert pixels["time"].to_index().is_monotonic_increasing
        assert pixels["time"].to_index().is_unique
        assert pixels.rio.crs.to_epsg() == 32648
        assert pixels.rio.transform() == GRID.affine
        last = pixels.isel(time=-1)
        raw = second.pixels([int(last["row"])])[0, PACKED_LAYERS.index("red")].astype(float)
        np.testing.assert_array_equal(last["red"].values[INSIDE], np.where(raw == 0, np.nan, raw)[INSIDE])
        assert np.isnan(last["red"].values[~INSIDE]).all()
    with xr.open_dataset(members["unit-means.nc"]) as units:
        assert units["unit_means"].dims == ("time", "unit", "measure")
        assert units["unit"].values.astype(str).tolist() == ["v1", "v2", "v3"]


def test_rows_that_were_replaced_or_share_a_time_are_in_files_of_their_own(members):
    with xr.open_dataset(members["pixels-2019-superseded.nc"]) as pixels:
        assert pixels["row"].values.tolist() == [1, 2, 7, 8]
        assert pixels["red"].dims == ("row", "y", "x")


def test_the_table_states_what_an_auditor_needs(second, members):
    lines = members["scenes.csv"].decode().splitlines()
    assert len(lines) == 1 + len(second.every_row())
    first = second.pixels([1])[0][:, INSIDE]
    assert pixels_sha256(first) in lines[1]
    assert second.columns_of(np.array([1]))["digest"][0].decode() in lines[1]


def alter(members, name, old, new, count=-1):
    text = members[name].decode()
    assert old in text
    return members | {name: text.replace(old, new, count).encode()}


@pytest.mark.parametrize(("name", "old", "new", "message"), [
    ("scenes.csv", "ACCEPTED", "GOOD", r"scenes.csv, line 2: state 'GOOD'"),
    ("scenes.csv", "sentinel-2a", "sentinel-2b\0", r"scenes.csv, line 2: .*NUL"),
    ("scenes.csv", "2019-01-01T", "1019-01-01T", r"scenes.csv, line 2: '1019-.* is not a time in UTC"),
    ("scenes.csv", "2019-01-01T", "2019-01-02T", r"pixels-2019.nc has time"),
    ("scenes.csv", "0.0001", "0.0002", r"has scale 0.0001 .* 0.0002 for row \d"),
    ("scenes.csv", "0.0001", "nan", r"scenes.csv, line 2: 'nan' is not a number"),
    ("scenes.csv", "0.0001", "0.0", r"scenes.csv, line 2: scale 0.0 of a scene that counts"),
    ("scenes.csv", '""48SUF""', '""\\ud800""', r"scenes.csv, line 2: tile of a granule"),
    ("scenes.csv", "0.0001", "1e-4", r"scenes.csv, line 2: scale is '1e-4', and '0.0001' by the other"),
    ("scenes.csv", "\n1,", "\n11,", r"scenes.csv, line 3: row 2 is not after"),
    ("scenes.csv", "row,", "rows,", r"scenes.csv, line 1: its columns"),
    ("scenes.csv", '""used"":true', '""used"":1', r"scenes.csv, line 2: granules"),
    ("landscape.json", '"rows": 12', '"rows": 10', r"scenes.csv, line 1\d: row 10"),
    ("landscape.json", '"rows": 12', '"rows": 99999999', r"landscape.json: rows is 99999999"),
    ("landscape.json", "EPSG:32648", "/etc/passwd", r"landscape.json: crs"),
    ("landscape.json", "32648-5-40-loess-0123abcd", "../../loess", r"landscape.json: landscape is '../../loess'"),
    ("landscape.json", '"shape": [8, 10]', '"shape": [80000, 100000]', r"landscape.json: shape .* is beyond"),
    ("landscape.json", "[2, 3, 9]", "[2, 3, 11]", r"landscape.json: the run"),
    ("landscape.json", "[2, 3, 9]", "[2, 3, 8]", r"has another grid, or other pixels inside"),
    ("landscape.json", "500000.0", "500010.0", r"pixels-2019.nc has another grid"),
    ("landscape.json", '"v3"', '"v1"', r"landscape.json: it has 3 units, or some twice"),
    ("landscape.json", '"v3"', '"v3", "v4"', r"unit-means.nc .*shape"),
])  # fmt: skip
def test_members_that_are_wrong_or_contradict_each_other_are_named(members, tmp_path, name, old, new, message):
    with pytest.raises(BadData, match=message):
        rebuilt(alter(members, name, old, new), tmp_path / "back")


def test_more_rows_than_can_be_read_are_named_before_anything_is_written(members, tmp_path):
    """A grid of any size and any number of rows take a few bytes to state."""
    many = alter(members, "landscape.json", '"rows": 12', '"rows": 50000')
    many = alter(many, "landscape.json", '"shape": [8, 10]', '"shape": [800, 1000]')
    with pytest.raises(BadData, match=r"landscape.json: 50000 rows are too many for so large a grid"):
        rebuilt(many, tmp_path / "back")
    assert not [*(tmp_path / "back").iterdir()]


@pytest.mark.parametrize("name", ["scenes.csv", "landscape.json", "unit-means.nc", "pixels-2019.nc"])
def test_a_missing_member_is_named(members, tmp_path, name):
    with pytest.raises(BadData, match=rf"{name}: the pack has no such member"):
        rebuilt({other: value for other, value in members.items() if other != name}, tmp_path / "back")


def test_a_member_that_no_row_speaks_of_is_named(members, tmp_path):
    with pytest.raises(BadData, match=r"no rows for the member pixels-2031.nc"):
        rebuilt(members | {"pixels-2031.nc": members["pixels-2019.nc"]}, tmp_path / "back")


def test_a_file_of_another_site_or_no_netcdf_is_named(members, tmp_path):
    with pytest.raises(BadData, match=r"pixels-2019.nc cannot be read as it should be: time has shape"):
        rebuilt(members | {"pixels-2019.nc": members["unit-means.nc"]}, tmp_path / "back")
    with pytest.raises(BadData, match=r"pixels-2019.nc cannot be read"):
        rebuilt(members | {"pixels-2019.nc": b"\x89HDF\r\n\x1a\n" + bytes(4000)}, tmp_path / "again")


@pytest.mark.slow
def test_damage_anywhere_in_the_structure_of_a_file_stops_its_reader_only(members, tmp_path):
    random = np.random.default_rng(3)
    content = members["pixels-2019.nc"].read_bytes()
    arrays, path = expected_arrays(GRID, 6, 3), tmp_path / "damaged.nc"
    refused = 0
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, damaged.size, 5)] = random.integers(0, 256, 5)
        path.write_bytes(damaged.tobytes())
        try:
            with SealedFiles([Arrays(path, arrays)]) as opened:
                for name, array in arrays.items():
                    opened.read(0, [name], 0, array["shape"][0])
        except BadData:
            refused += 1
    assert refused > 10
