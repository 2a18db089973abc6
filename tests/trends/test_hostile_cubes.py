"""Malicious cubes, made to read other files, to reach a server, to crash their reader or to exhaust the machine.

Each is given to the command as a user gives it, in processes that are copies of one that has loaded the libraries.
"""

import gzip
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

# rioxarray 0.23 multiplies affine 3 transforms the old way.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

HOSTILE = Path(__file__).parents[1] / "hostile_netcdf"
SECRET = 0.77
"""Value in a file that no cube may lead to."""
MOST_SECONDS = 2.0
"""Computing time of a refusal beyond the start of the program: under 1 s alone, half as fast beside other tests. [s]"""

PROGRAM = """
import json, os, sys, tempfile
from jobs.kernel_cache import choose_cache
choose_cache()
import monitor.trends.cubes, monitor.trends.maps, monitor.trends.results
from jobs.cli import main

def run(words):
    try:
        main(words)
    except SystemExit as ended:
        return ended.code

run(["trends", "no file", "out.nc"])
print(flush=True)
for line in sys.stdin:
    with tempfile.TemporaryFile() as output:
        if not (child := os.fork()):
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(run(json.loads(line)))
        _, status, used = os.wait4(child, 0)
        output.seek(0)
        print(json.dumps([os.waitstatus_to_exitcode(status), output.read().decode(), used.ru_utime + used.ru_stime]))
    sys.stdout.flush()
"""


class Ended(NamedTuple):
    status: int
    output: str
    seconds: float
    """Computing time; on a slow machine what it would have been on a usual one."""


@pytest.fixture(scope="module")
def command(root, slowness):
    """Runs ``regrowth trends`` with some arguments."""
    alone = {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": str(root / "aoi")}
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    with subprocess.Popen(
        words, env=os.environ | alone, cwd="/", text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()

        def run(*arguments):
            process.stdin.write(json.dumps(["trends", *map(str, arguments)]) + "\n")
            process.stdin.flush()
            status, output, seconds = json.loads(process.stdout.readline())
            return Ended(status, output, seconds / slowness() if seconds > MOST_SECONDS else seconds)

        yield run
        process.stdin.close()


@pytest.fixture
def refused(command, tmp_path):
    """A cube is refused: status 65, soon, with a message that names it, and nothing is left behind."""

    def check(cube, *parts, options=()):
        before = sorted(tmp_path.iterdir())
        ended = command(cube, tmp_path / "out.nc", *options)
        assert ended.status == 65, ended.output
        assert str(cube) in ended.output
        assert all(part in ended.output for part in parts), ended.output
        assert "Traceback" not in ended.output
        assert str(SECRET) not in ended.output
        assert ended.seconds < MOST_SECONDS, ended.output
        assert sorted(tmp_path.iterdir()) == before
        return ended

    return check


def small(value=0.3):
    """Four years in which a value rises by so much a year."""
    time = np.array([f"{2001 + i}-07-01" for i in range(4)], "datetime64[ns]")
    values = value * np.arange(4)[:, None, None] + np.zeros((4, 2, 3))
    coords = {"time": time, "y": [10.0, 0.0], "x": [0.0, 10.0, 20.0]}
    return xr.Dataset({"cover": (("time", "y", "x"), values)}, coords=coords)


def zarr_of(path, value=0.3, **options):
    chunks = {"cover": {"chunks": (1, 2, 3)}}
    small(value).to_zarr(path, encoding=chunks, consolidated=False, **options)
    return path


def image(path, value=0.3, **profile):
    shape = {"height": 2, "width": 3, "count": 1, "dtype": "float32", "transform": from_origin(0, 0, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **(shape | profile)) as file:
        if not profile:
            file.write(np.full((2, 3), value, np.float32), 1)


def images(folder, **profile):
    folder.mkdir()
    for year in range(2001, 2005):
        image(folder / f"{year}.tif", **profile)
    return folder


def bomb(megabytes, wbits=zlib.MAX_WBITS):
    """A stream of deflate, a thousandth as long as the megabytes of zeros that it becomes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.flush(zlib.Z_FULL_FLUSH)
    ten = packer.compress(bytes(10 * 2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    head, ten = (head, ten) if head else (ten[:2] if wbits > 0 else b"", ten[2:] if wbits > 0 else ten)
    return head + ten * (megabytes // 10)


def test_ordinary_cubes_are_read_and_written_in_every_form(command, tmp_path):
    small().to_netcdf(tmp_path / "in.nc")
    zarr_of(tmp_path / "in.zarr")
    for name, out in (("in.nc", "out.zarr"), ("in.zarr", "out.nc")):
        assert command(tmp_path / name, tmp_path / out).status == 0
        with xr.open_dataset(tmp_path / out, **({"consolidated": False} if out == "out.zarr" else {})) as maps:
            np.testing.assert_allclose(maps["slope"], 0.3, rtol=1e-3)
    assert command(tmp_path / "in.nc", tmp_path / "out.tif").status == 0
    ended = command(images(tmp_path / "images"), tmp_path / "out", "--json")
    assert ended.status == 0
    assert json.loads(ended.output[ended.output.index("{\n") :])["layers"] == 4


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("link", "'/a' is a link to another file"),
        ("group", "'/more' is a link to another file"),
        ("storage", "'/a' has its values in another file"),
        ("virtual", "'/a' is a view of other files"),
    ],
)
def test_links_external_storage_and_virtual_datasets_of_hdf5_are_refused(refused, tmp_path, name, why):
    shutil.copytree(HOSTILE, tmp_path / "given")
    refused(tmp_path / "given" / f"{name}.nc", why)


def test_deep_groups_and_groups_without_end_of_hdf5_are_refused(refused, tmp_path):
    with netCDF4.Dataset(tmp_path / "deep.nc", "w") as file:
        group = file
        for _ in range(40):
            group = group.createGroup("g")
    refused(tmp_path / "deep.nc", "lies deeper than any cube")


def test_a_filter_that_is_not_installed_is_refused(refused, tmp_path):
    small().to_netcdf(tmp_path / "in.nc", encoding={"cover": {"compression": "zstd"}})
    refused(tmp_path / "in.nc")


@pytest.mark.parametrize("what", ["chunk", "array", "metadata", "stray"])
def test_links_in_a_zarr_store_are_refused_wherever_they_lie(refused, tmp_path, what):
    inside, other = zarr_of(tmp_path / "in.zarr"), zarr_of(tmp_path / "secret.zarr", SECRET)
    place = {"chunk": "cover/c/2/0/0", "array": "cover", "metadata": "cover/zarr.json", "stray": "cover/README"}[what]
    if (inside / place).is_dir():
        shutil.rmtree(inside / place)
    else:
        (inside / place).unlink(missing_ok=True)
    target = place if what != "stray" else "zarr.json"
    (inside / place).symlink_to(other / target)
    refused(inside, place, "is a link")


@pytest.mark.parametrize("what", ["pipe", "socket"])
def test_pipes_and_sockets_among_chunks_are_refused(refused, tmp_path, monkeypatch, what):
    inside = zarr_of(tmp_path / "in.zarr")
    chunk = inside / "cover" / "c" / "2" / "0" / "0"
    chunk.unlink()
    if what == "pipe":
        os.mkfifo(chunk)
    else:
        monkeypatch.chdir(chunk.parent)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("0")
    refused(inside, "cover/c/2/0/0 is a pipe, a socket or a device")


def test_pipes_and_devices_are_no_cubes(refused, tmp_path):
    os.mkfifo(tmp_path / "in.nc")
    refused(tmp_path / "in.nc", "neither a file nor a folder")
    refused(Path("/dev/zero"), "neither a file nor a folder")


@pytest.mark.parametrize("form", [2, 3])
def test_names_in_metadata_that_lead_out_of_the_store_are_not_followed(command, tmp_path, form):
    zarr_of(tmp_path / "secret.zarr", SECRET, zarr_format=form)
    inside = zarr_of(tmp_path / "in.zarr", zarr_format=form)
    away = ["../secret.zarr/cover", str(tmp_path / "secret.zarr" / "cover")]
    array = json.loads((inside / "cover" / ("zarr.json" if form == 3 else ".zarray")).read_text())
    if form == 3:
        head = json.loads((inside / "zarr.json").read_text())
        head["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict.fromkeys(away, array),
        }
        (inside / "zarr.json").write_text(json.dumps(head))
    else:
        names = {f"{name}/.zarray": array for name in away} | {".zgroup": {"zarr_format": 2}}
        (inside / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": names}))
    assert command(inside, tmp_path / "out.nc").status == 0
    with xr.open_dataset(tmp_path / "out.nc") as out:
        np.testing.assert_allclose(out["slope"], 0.3, rtol=1e-3)
    for name in away:
        ended = command(inside, tmp_path / "other.nc", "--variable", name)
        assert ended.status == 65
        assert not (tmp_path / "other.nc").exists()


@pytest.mark.parametrize("separator", ["/../", "../", "\\0"])
def test_a_separator_of_chunks_that_leads_out_of_the_store_is_refused(refused, tmp_path, separator):
    inside = zarr_of(tmp_path / "in.zarr", zarr_format=2)
    head = inside / "cover" / ".zarray"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"dimension_separator": separator}))
    refused(inside)


def test_deep_groups_and_endless_metadata_of_zarr_are_refused(refused, tmp_path):
    inside = zarr_of(tmp_path / "in.zarr")
    (inside / "/".join("g" * 40)).mkdir(parents=True)
    refused(inside, "lies deeper than in any cube")
    shutil.rmtree(inside / "g")
    for text in ("[" * 100_000, '{"a":' * 50_000, "{" + " " * 2**24 + "}"):
        (inside / "zarr.json").write_text(text)
        refused(inside, "zarr.json")


def test_a_zarr_store_that_asks_for_pickle_is_refused(refused, tmp_path):
    inside = zarr_of(tmp_path / "in.zarr", zarr_format=2)
    head = inside / "cover" / ".zarray"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"filters": [{"id": "pickle", "protocol": 5}]}))
    refused(inside, "pickle")


@pytest.mark.parametrize("codec", ["zlib", "bz2", "lzma", "zstd", "blosc"])
def test_a_damaged_chunk_is_refused(refused, tmp_path, codec):
    inside = zarr_of(tmp_path / "in.zarr", zarr_format=2)
    head = inside / "cover" / ".zarray"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"compressor": {"id": codec}}))
    (inside / "cover" / "2.0.0").write_bytes(b"damaged" * 9)
    refused(inside)


@pytest.mark.parametrize("codec", ["gzip", "zlib"])
def test_a_chunk_that_becomes_a_thousand_times_larger_is_refused(refused, tmp_path, codec):
    inside = tmp_path / "in.zarr"
    names = ("time", "y", "x")
    group = zarr.open_group(str(inside), mode="w", zarr_format=2)
    for name, length in zip(names, (4, 2, 3), strict=True):
        one = group.create_array(name, shape=(length,), dtype="i8")
        one.attrs["_ARRAY_DIMENSIONS"] = [name]
        one[:] = 2001 + np.arange(length)
    cover = group.create_array("cover", shape=(4, 2, 3), chunks=(4, 2, 3), dtype="f8", compressors=None)
    cover.attrs["_ARRAY_DIMENSIONS"] = list(names)
    cover[:] = 0.5
    head = inside / "cover" / ".zarray"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"compressor": {"id": codec, "level": 1}}))
    (inside / "cover" / "0.0.0").write_bytes(bomb(2000) if codec == "zlib" else gzip.compress(bytes(10 * 2**20)) * 200)
    refused(inside)


def test_a_chunk_of_hdf5_that_becomes_a_thousand_times_larger_is_refused(refused, tmp_path):
    noise = np.random.default_rng(1).integers(0, 2**32, (4, 300, 450), np.uint32).view(np.float32)
    coords = {"time": [2001, 2002, 2003, 2004]}
    made = xr.Dataset({"cover": (("time", "y", "x"), noise)}, coords=coords)
    made.to_netcdf(tmp_path / "in.nc", encoding={"cover": {"zlib": True, "shuffle": False, "chunksizes": noise.shape}})
    content = (tmp_path / "in.nc").read_bytes()
    start = content.index(zlib.compress(noise.tobytes(), 4)[:16])
    evil = bomb(2000)
    assert noise.nbytes > len(evil)
    (tmp_path / "in.nc").write_bytes(content[:start] + evil + content[start + len(evil) :])
    refused(tmp_path / "in.nc")


@pytest.mark.parametrize("form", ["nc", "zarr", "nc of a chunk"])
def test_a_cube_that_states_a_size_that_its_files_cannot_hold_is_refused(refused, tmp_path, form):
    shape = (200, 20_000, 20_000)
    if form == "zarr":
        group = zarr.open_group(str(tmp_path / "in.zarr"), mode="w")
        group.create_array(
            "cover",
            shape=shape,
            chunks=(200, 64, 64),
            dtype="f4",
            fill_value=np.nan,
            dimension_names=("time", "y", "x"),
        )
        dates = group.create_array("time", shape=(200,), dtype="i8", dimension_names=("time",))
        dates[:] = 1901 + np.arange(200) % 199
        refused(tmp_path / "in.zarr", "320 GB of values and gaps", "10000 times as much")
        return
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        for name, size in zip(("time", "y", "x"), shape, strict=True):
            file.createDimension(name, size)
        file.createVariable("time", "i4", ("time",))[:] = 1901 + np.arange(200)
        chunks = shape if form == "nc of a chunk" else (1, 200, 200)
        if form == "nc of a chunk":
            chunks = (10, 5000, 5000)
        file.createVariable("cover", "f4", ("time", "y", "x"), zlib=True, chunksizes=chunks)
    refused(tmp_path / "in.nc", "320 GB of values", "400 times as much")


@pytest.mark.parametrize(("side", "why"), [("x", "at most 5000000"), ("time", "at most 100000 dates")])
@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_giant_dimensions_are_refused_before_their_coordinates_are_read(refused, tmp_path, form, side, why):
    sizes = {"time": 4, "y": 2, "x": 3} | {side: 2**40 if side == "x" else 4_000_000}
    if form == "nc":
        with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
            for name, size in sizes.items():
                file.createDimension(name, size)
                file.createVariable(name, "f8", (name,), zlib=True)
            file.createVariable("cover", "f4", tuple(sizes), zlib=True, chunksizes=(1, 1, 1))
    else:
        group = zarr.open_group(str(tmp_path / "in.zarr"), mode="w")
        for name, size in sizes.items():
            group.create_array(name, shape=(size,), chunks=(1000,), dtype="f8", dimension_names=(name,))
        group.create_array("cover", shape=tuple(sizes.values()), chunks=(1, 1, 1), dtype="f4", dimension_names=[*sizes])
    refused(tmp_path / f"in.{form}", why)


def test_millions_of_tiny_chunks_are_refused(refused, tmp_path):
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        for name, size in (("time", 10), ("y", 1000), ("x", 1000)):
            file.createDimension(name, size)
        file.createVariable("time", "i4", ("time",))[:] = 2001 + np.arange(10)
        file.createVariable("cover", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 1, 1))
    refused(tmp_path / "in.nc", "lies in 10000000 chunks of 4 bytes")


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd"])
def test_geotiffs_that_state_a_size_that_they_cannot_hold_are_refused(refused, tmp_path, compress):
    shape = {"height": 100_000, "width": 100_000, "tiled": True, "sparse_ok": True}
    refused(images(tmp_path / "images", compress=compress, **shape), "400 times as much")


def test_another_file_as_mask_of_a_geotiff_is_not_read(refused, tmp_path):
    folder = images(tmp_path / "images")
    image(tmp_path / "secret.tif", SECRET)
    (folder / "2002.tif.msk").write_text(
        '<VRTDataset rasterXSize="3" rasterYSize="2"><Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>'
        f"{tmp_path}/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    refused(folder, "2002.tif.msk belongs to an image but is no TIFF")


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_overviews_of_a_geotiff_in_another_file_are_refused(refused, tmp_path, where):
    folder = images(tmp_path / "images")
    if where == "beside":
        (folder / "2002.tif.aux.xml").write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/http://127.0.0.1:9/a.tif</MDI>'
            "</Metadata></PAMDataset>"
        )
    else:
        with rasterio.open(folder / "2002.tif", "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/vsicurl/http://127.0.0.1:9/a.tif")
    refused(folder, "2002.tif has its overviews in another file")


@pytest.mark.parametrize("name", ["2002.tif", "2002.tfw", "2002.tif.aux.xml", "2002.tif.msk"])
def test_links_and_pipes_among_geotiffs_are_refused(refused, tmp_path, name):
    folder = images(tmp_path / "images")
    image(tmp_path / "secret.tif", SECRET)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret.tif")
    refused(folder, f"{name} is a link")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name} is a pipe")


@pytest.mark.parametrize("keep", [200, 2000])
def test_a_cube_cut_short_is_refused(refused, tmp_path, keep):
    small().to_netcdf(tmp_path / "in.nc")
    (tmp_path / "in.nc").write_bytes((tmp_path / "in.nc").read_bytes()[:keep])
    refused(tmp_path / "in.nc")


def test_directories_of_a_tiff_that_lead_in_a_circle_are_refused_or_left_alone(command, tmp_path):
    folder = images(tmp_path / "images")
    content = bytearray((folder / "2002.tif").read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * entries, at)
    (folder / "2002.tif").write_bytes(content)
    ended = command(folder, tmp_path / "out.nc")
    assert ended.status in (0, 65)
    assert ended.seconds < MOST_SECONDS


ODD = st.one_of(
    st.sampled_from(["", "0", "nan", "days since 2001-01-01", "days since 0000-00-00", "months since x", "a\0b"]),
    st.sampled_from(["é" * 50, "x" * 70_000, "360_day", "noleap", "true", "int8", "time x cover"]),
    st.floats(width=32),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.floats(width=32), min_size=1, max_size=3),
)  # fmt: skip
FIELDS = st.sampled_from(
    ["scale_factor", "add_offset", "_FillValue", "missing_value", "units", "calendar", "valid_range", "valid_min",
     "_Unsigned", "nodata", "grid_mapping", "coordinates", "dtype", "crs", "GeoTransform", "bounds", "flag_values"]
)  # fmt: skip
KEYS = ["shape", "data_type", "fill_value", "chunk_grid", "codecs", "dimension_names", "attributes", "node_type"]
KEYS += ["chunk_key_encoding", "zarr_format", "storage_transformers"]
FUZZ = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check_ends(command, cube, folder):
    ended = command(cube, folder / "out.nc")
    assert ended.status in (0, 65), ended.output
    assert "Traceback" not in ended.output
    assert ended.seconds < 5 * MOST_SECONDS


@pytest.mark.slow
@FUZZ
@given(
    sizes=st.tuples(*[st.sampled_from([0, 1, 2, 3, 5, 2**33])] * 3),
    kind=st.sampled_from(["i1", "u2", "i4", "f4", "f8", "S1", "u8"]),
    attributes=st.dictionaries(st.tuples(st.sampled_from(["time", "x", "cover", ""]), FIELDS), ODD, max_size=4),
)
def test_any_header_of_netcdf_gives_a_result_or_is_refused(command, tmp_path, sizes, kind, attributes):
    path = tmp_path / "in.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("time", "y", "x"), sizes, strict=True):
            file.createDimension(name, size or None)
        file.createVariable("time", "i4", ("time",), zlib=True)[:5] = 2001 + np.arange(min(sizes[0], 5))
        file.createVariable("x", "f8", ("x",), zlib=True)
        file.createVariable("cover", kind, ("time", "y", "x"), zlib=True, chunksizes=(1, 1, 1))
        for (name, key), value in attributes.items():
            holder = file[name] if name else file
            with suppress(TypeError, ValueError, RuntimeError, OverflowError, AttributeError):  # netCDF4 refuses it
                holder.setncattr(key, value)
    check_ends(command, path, tmp_path)


@pytest.mark.slow
@FUZZ
@given(
    changes=st.dictionaries(
        st.tuples(
            st.sampled_from(["time", "x", "cover"]),
            st.sampled_from(KEYS),
        ),
        st.one_of(
            st.none(), ODD.filter(lambda value: value == value),
            st.lists(st.integers(-1, 2**63), max_size=4),
            st.dictionaries(FIELDS, ODD, max_size=3),
            st.just([{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 99}}]),
            st.just({"name": "regular", "configuration": {"chunk_shape": [0, 0, 0]}}),
            st.just({"name": "regular", "configuration": {"chunk_shape": [2**62, 1, 1]}}),
            st.sampled_from(["float16", "complex128", "string", "r16", "int64", "bool"]),
        ),
        min_size=1, max_size=3,
    )
)  # fmt: skip
def test_any_metadata_of_zarr_gives_a_result_or_is_refused(command, tmp_path, changes):
    path = tmp_path / "in.zarr"
    shutil.rmtree(path, ignore_errors=True)
    zarr_of(path)
    for (array, key), value in changes.items():
        head = path / array / "zarr.json"
        head.write_text(json.dumps(json.loads(head.read_text()) | {key: value}))
    check_ends(command, path, tmp_path)
