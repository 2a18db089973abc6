"""The record of a site leaves the store as a Zarr group, and a store made of it holds the same bits."""

import gzip
import hashlib
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr
import zarr
from odc.geo.geobox import GeoBox

from monitor.controls.selection import ControlSet
from monitor.cube.bucket import landscape_folders
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, MEASURES, STATES, Member, digest
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.evidence.container import Container, write_container
from monitor.evidence.faults import PackRefused
from monitor.evidence.site_data import ARRAYS, _arrays, rebuild_store, site_data_members
from monitor.imagery.source import Scene
from monitor.series.build import series_and_units
from monitor.sites.registry import read_sites
from tests.evidence.small_pack import KEY
from tests.landscape import records, site_scene

GRID = GeoBox.from_bbox((500_000, 4_000_000, 500_100, 4_000_080), "EPSG:32648", resolution=10)
INSIDE = np.zeros(GRID.shape, bool)
INSIDE[2:6, 3:9] = True
INSIDE[3, 5] = False


def members_of(stored, snapshot=None):
    return dict(site_data_members(stored, snapshot or stored.snapshot))


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
    assert records(stored, snapshot) == records(other, snapshot)
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
    measures = {name: round(random.random(), 6) for name in (*MEANS, *(f"control_{name}" for name in MEANS))}
    return site_scene(
        granules, pixels, means, used={g.tile: g.baseline for g in granules if used is None or g.tile in used},
        reason=reason, n_pixels=int(pixels[-1].sum()), n_units=2, means={} if reason else measures,
        digest=digest(pixels, means),
    )  # fmt: skip


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
def members(second):
    return members_of(second)


def test_a_store_made_of_the_group_holds_the_same_bits(second, members, tmp_path):
    back = rebuilt(members, tmp_path / "back")
    assert_same(second, back)
    assert back.landscape.grounds == ("b0",)
    assert members_of(back) == members
    xr.testing.assert_identical(back.cube().compute(), second.cube().compute())


def test_the_group_holds_the_rows_up_to_the_snapshot_only(second, landscape, tmp_path):
    snapshot = f"{landscape.name}:7"
    members = members_of(second, snapshot)
    back = rebuilt(members, tmp_path / "back")
    assert back.snapshot == snapshot
    assert members_of(back) == members
    assert_same(second, back, snapshot)


def test_a_site_without_control_units_and_rows_comes_back(landscape, tmp_path):
    third = StoredSite(landscape, "c0")
    assert_same(third, rebuilt(members_of(third), tmp_path / "back"))


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
    assert_same(stored, rebuilt(members_of(stored), tmp_path / "back"))


def test_a_site_of_many_chunks_comes_back(second, tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.evidence.zarr_files.CHUNK_BYTES", 400)
    monkeypatch.setattr("monitor.evidence.zarr_files.CHUNK_WIDTH", 9)
    members = members_of(second)
    assert len([name for name in members if name.startswith("data.zarr/pixels/c/")]) == 5 * 3
    assert_same(second, rebuilt(members, tmp_path / "back"))


@pytest.mark.parametrize("sites", [slice(1), pytest.param(slice(1, None), marks=pytest.mark.slow)])
def test_the_sites_of_the_demonstration_come_back(demo, tmp_path, sites):
    (folder,) = landscape_folders(demo / "store")
    landscape = LandscapeStore(folder, read_only=True)
    for ground in landscape.grounds[sites]:
        stored = StoredSite(landscape, ground)
        back = rebuilt(members_of(stored), tmp_path / ground)
        assert_same(stored, back)
        site = next(one for one in read_sites(demo / "sites.geojson").sites if one.id == stored.site)
        controls = ControlSet.from_json(stored.controls)
        series, others = (series_and_units(one, controls, site)[0] for one in (stored, back))
        for name, values in series.items():
            np.testing.assert_array_equal(values, others[name], err_msg=name)


def test_xarray_opens_the_group_out_of_the_zip_and_unpacked(second, members, tmp_path):
    write_container(tmp_path / "pack.zip", members.items(), KEY)
    with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
        archive.extractall(tmp_path)
    group = xr.open_zarr(tmp_path / "data.zarr", consolidated=False).load()
    with zarr.storage.ZipStore(tmp_path / "pack.zip", mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store, group="data.zarr", consolidated=False).load(), group)
    assert {name: group[name].dims for name in ARRAYS} == {name: dims for name, (dims, _, _) in ARRAYS.items()}
    assert group.attrs["proj:code"] == "EPSG:32648"
    rows = second.every_row()
    np.testing.assert_array_equal(group["number"], rows)
    np.testing.assert_array_equal(group["pixels"], second.inner_pixels(rows))
    np.testing.assert_array_equal(group["unit_means"], second.unit_means_of(rows))
    columns = second.columns_of(rows)
    for name in ("ndvi", "cover"):
        np.testing.assert_array_equal(group["site_means"].sel(measure=name), columns[name])
    np.testing.assert_array_equal(group["time"], columns["moment"])
    assert group["scene"].values.tolist() == [scene.decode() for scene in columns["scene"]]
    assert group["unit"].values.tolist() == ["v1", "v2", "v3"]
    easting = GRID.affine.c + 10 * (np.nonzero(INSIDE)[1] + 0.5)
    np.testing.assert_array_equal(group["x"], easting)
    first = group["pixels"][0].values.tobytes() + group["unit_means"][0].values.tobytes()
    assert hashlib.sha256(first).hexdigest()[:16] == f"{group['digest'].values[0]:016x}"


def test_rows_that_were_replaced_are_marked(members):
    assert decoded(members, "number")[decoded(members, "superseded") == 1].tolist() == [1, 2, 7]


def decoded(members, name):
    """Values of an array."""
    array = array_of(members, name)
    values = np.empty(array.shape, object if array.dtype == "string" else array.dtype)
    for file, place in array.places():
        values[place] = array.decode(members[f"data.zarr/{file}"], place)
    return values


def array_of(members, name):
    attributes = json.loads(members["data.zarr/zarr.json"])["attributes"]
    return _arrays(*(attributes[size] for size in ("scenes", "pixels", "units")))[name]


def edited(members, name, edit):
    """The members, with other values in an array."""
    values = decoded(members, name)
    edit(values)
    files = array_of(members, name).files(values.__getitem__)
    return members | {f"data.zarr/{file}": content for file, content in files}


def stating(members, member="data.zarr/zarr.json", **attributes):
    """The members, with other entries in a ``zarr.json``."""
    content = json.loads(members[member])
    (content["attributes"] if "attributes" in content and member.count("/") == 1 else content).update(attributes)
    return members | {member: json.dumps(content).encode()}


def faults_of(members, folder):
    with pytest.raises(PackRefused) as error:
        rebuilt(members, folder)
    return error.value.faults


def assert_refused(members, folder, member):
    (fault,) = faults_of(members, folder)
    assert fault.member == member, fault
    return fault.difference


def put(value, at=0):
    return lambda values: values.__setitem__(at, value)


def replaced(old, new):
    def edit(values):
        assert old in values[0]
        values[0] = values[0].replace(old, new)

    return edit


@pytest.mark.parametrize(("array", "edit", "member"), [
    ("number", put(2), "number"), ("number", put(12, -1), "number"), ("number", put(-1), "number"),
    ("row", put(8, -1), "row"), ("row", put(-1), "row"), ("column", put(10, -1), "column"),
    ("column", put(9, 0), "column"),
    ("state", put(0), "state"), ("state", put(len(STATES)), "state"),
    ("counts", put((24, 0)), "counts"), ("counts", put((-1, 0)), "counts"), ("counts", put((1, -2)), "counts"),
    ("unit", put("v1", slice(None)), "unit"), ("unit", put(""), "unit"), ("unit", put("x" * 301), "unit"),
    ("acquisition", put("a\0"), "acquisition"), ("acquisition", put("x" * 301), "acquisition"),
    ("acquisition", put("another"), "superseded"),
    ("granule_bits", put(1 << 24), "granules"), ("granule_bits", put(2), "granules"),
    ("granules", put("[]"), "granules"), ("granules", put("{"), "granules"), ("granules", put("[1]"), "granules"),
    ("granules", put("[" * 5000), "granules"), ("granules", put("{}"), "granules"),
    ("granules", replaced("0.0001", "0.0"), "granules"), ("granules", replaced("0.0001", "NaN"), "granules"),
    ("granules", replaced("0.0001", '"x"'), "granules"), ("granules", replaced("0.0001", "0.0002"), "scale"),
    ("granules", replaced("+00:00", "+08:00"), "granules"), ("granules", replaced("2019-", "1019-"), "granules"),
    ("granules", replaced("2019-01-01T03:51:41.024000", "NaT"), "granules"),
    ("granules", replaced("48SUF_", "x" * 301), "granules"), ("granules", replaced("48SUF_", "other_"), "scene"),
    ("time", put(0), "time"), ("scale", put(1.0), "scale"), ("bandpass", put(1), "bandpass"),
    ("superseded", put(0), "superseded"), ("x", put(0.0), "x"), ("y", put(0.0), "y"), ("scene", put("x"), "scene"),
    ("band", put("nir"), "band"), ("measure", put("cover"), "measure"), ("count", put("x"), "count"),
])  # fmt: skip
def test_values_that_are_impossible_or_contradict_each_other_are_named(members, tmp_path, array, edit, member):
    difference = assert_refused(edited(members, array, edit), tmp_path / "back", f"data.zarr/{member}")
    assert len(difference) < 400


@pytest.mark.parametrize("attributes", [
    {"rows": 10}, {"rows": -1}, {"rows": 99_999_999}, {"rows": "12"}, {"scenes": 13}, {"scenes": 9}, {"pixels": 0},
    {"pixels": 24}, {"pixels": 10_000_000}, {"units": 2}, {"units": 50_000}, {"landscape": "../../loess"},
    {"landscape": "a\n"}, {"ground": "../b0"}, {"site": ""}, {"biome": "x" * 301}, {"controls": []},
    {"proj:code": "EPSG:4326"}, {"coordinates": "x y"}, {"more": 1},
    {"grid": {"crs": "/etc/passwd", "transform": [10, 0, 5e5, 0, -10, 4e6], "shape": [8, 10]}},
    {"grid": {"crs": "EPSG:32648", "transform": [10, 0, 5e5, 0, -10, 4e6], "shape": [80000, 100000]}},
    {"grid": {"crs": "EPSG:32648", "transform": [10, 1, 5e5, 0, -10, 4e6], "shape": [8, 10]}},
    {"grid": {"crs": "EPSG:4326", "transform": [10, 0, 5e5, 0, -10, 4e6], "shape": [8, 10]}},
    {"grid": 1},
], ids=str)  # fmt: skip
def test_a_group_with_impossible_or_too_large_numbers_is_refused_before_anything_is_written(
    members, tmp_path, attributes
):
    assert faults_of(stating(members, **attributes), tmp_path / "back")[0].member.startswith("data.zarr/")
    assert not [*(tmp_path / "back").iterdir()]


@pytest.mark.parametrize("entries", [
    {"shape": [10, 8, 10**9]}, {"data_type": "uint64"}, {"fill_value": 1}, {"node_type": "group"},
    {"codecs": [{"name": "numcodecs.pickle"}]}, {"codecs": [{"name": "bytes"}, {"name": "blosc"}]},
    {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 1]}}}, {"attributes": {"units": "1"}},
    {"storage_transformers": [{"name": "fetch"}]}, {"dimension_names": ["time", "band", "y"]},
], ids=str)  # fmt: skip
def test_metadata_of_an_array_that_is_not_as_a_pack_has_it_is_refused(members, tmp_path, entries):
    member = "data.zarr/pixels/zarr.json"
    assert_refused(stating(members, member, **entries), tmp_path / "back", member)


@pytest.mark.parametrize("content", [
    b"", b"not gzip", gzip.compress(b"short"), gzip.compress(bytes(10**7)), gzip.compress(bytes(3680)) + b"more",
    gzip.compress(bytes(3680))[:-1], gzip.compress(bytes(1840)) * 2,
], ids=["empty", "text", "short", "bomb", "more behind", "cut", "two"])  # fmt: skip
def test_a_chunk_that_is_not_one_or_decompresses_to_more_is_refused(members, tmp_path, content):
    member = "data.zarr/pixels/c/0/0/0"
    assert array_of(members, "pixels").chunk == (10, 8, 23)
    assert_refused(members | {member: content}, tmp_path / "back", member)


N_TEXTS = (1024).to_bytes(4, "little")


@pytest.mark.parametrize("plain", [
    b"", b"\xff" * 4, N_TEXTS, N_TEXTS + b"\xff" * 4096, bytes(4 * 1025), N_TEXTS + bytes(4 * 1024) + b"x",
    N_TEXTS + b"\1\0\0\0\xff" * 1024, N_TEXTS + bytes(2**24),
], ids=["empty", "many", "none", "long", "no number", "more behind", "not UTF-8", "bomb"])  # fmt: skip
def test_texts_that_are_not_such_or_state_more_than_there_are_are_refused(members, tmp_path, plain):
    member = "data.zarr/scene/c/0"
    assert_refused(members | {member: gzip.compress(plain)}, tmp_path / "back", member)


def test_a_file_that_is_missing_or_that_no_array_has_is_named(members, tmp_path):
    for number, name in enumerate(members):
        left_out = {other: content for other, content in members.items() if other != name}
        assert faults_of(left_out, tmp_path / f"{number}")[0].member in (name, "data.zarr/zarr.json")
    for name in ("data.zarr/pixels/c/0/0/1", "data.zarr/more/zarr.json", "data.zarr/zattrs"):
        assert_refused(members | {name: b"{}"}, tmp_path / name.replace("/", "-"), name)
