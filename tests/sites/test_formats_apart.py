"""GeoPackages and shapefiles are read in a child process, and what happens to it becomes a refusal."""

import json
import struct
import subprocess
import sys
from itertools import islice

import geopandas
import numpy as np
import pytest
from shapely.geometry import Polygon
from typer.testing import CliRunner

from jobs.cli import app
from monitor.sites.formats.feature import MAX_SITES, FileRefused
from monitor.sites.formats.geopackage import read_geopackage
from monitor.sites.formats.reader import read_features
from monitor.sites.formats.shapefile import read_shapefile

RING = np.array([[104.60, 35.50], [104.61, 35.50], [104.61, 35.51], [104.60, 35.51], [104.60, 35.50]])


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """One layer as GeoPackage, in a projected system, and as shapefile with text in GBK."""
    folder = tmp_path_factory.mktemp("delivered")
    columns = {"id": ["a", "b"], "name": ["定西一号", None], "share": [0.5, np.nan], "trees": [7, 8]}
    table = geopandas.GeoDataFrame(columns, geometry=[Polygon(RING), Polygon(RING + 0.1)], crs="EPSG:4326")
    table.to_crs("EPSG:4547").to_file(folder / "s.gpkg", engine="pyogrio")
    table.to_file(folder / "s.shp", engine="pyogrio", encoding="GBK")
    return folder


def same(first, second):
    assert first.properties == second.properties
    assert (first.broken, first.unclosed, first.winding_wrong) == (second.broken, second.unclosed, second.winding_wrong)
    for rings, others in zip(first.polygons, second.polygons, strict=True):
        np.testing.assert_array_equal(rings, others)


def test_a_child_process_reads_what_is_there(delivered):
    content = (delivered / "s.gpkg").read_bytes()
    here = read_geopackage(content, name="s.gpkg")
    there = read_features(delivered / "s.gpkg")
    assert here[0].properties == {"id": "a", "name": "定西一号", "share": 0.5, "trees": 7}
    for one, other in zip(here, there, strict=True):
        same(one, other)
    parts = {part.suffix: part.read_bytes() for part in delivered.glob("s.*") if part.suffix != ".gpkg"}
    for one, other in zip(read_shapefile(parts, name="s.shp"), read_features(delivered / "s.shp"), strict=True):
        same(one, other)


@pytest.mark.slow
def test_a_shapefile_of_nearly_50_mb_with_240_columns_of_10_000_sites_is_read(tmp_path):
    sites = {"id": [f"s-{n:05d}" for n in range(MAX_SITES)]}
    geopandas.GeoDataFrame(sites, geometry=[Polygon(RING)] * MAX_SITES, crs="EPSG:4326").to_file(
        tmp_path / "s.shp", engine="pyogrio"
    )
    names = ["id", *(f"f{n}" for n in range(240))]
    header = struct.pack("<4BIHH20x", 3, 126, 1, 1, MAX_SITES, 32 + 32 * len(names) + 1, 1 + 20 * len(names))
    header += b"".join(struct.pack("<11sc4xB15x", name.encode(), b"C", 20) for name in names) + b"\r"
    texts = (f"{n % 999_983:06d}退耕还林地块".encode("gb18030").ljust(20) for n in range(MAX_SITES * len(names)))
    rows = (b" " + b"".join(islice(texts, len(names))) for _ in range(MAX_SITES))
    (tmp_path / "s.dbf").write_bytes(header + b"".join(rows))
    (tmp_path / "s.cpg").write_text("GBK")
    features = read_features(tmp_path / "s.shp")
    assert len(features) == MAX_SITES
    assert features[-1].properties["f239"] == f"{(MAX_SITES * len(names) - 1) % 999_983:06d}退耕还林地块"


def test_a_refusal_of_the_reader_has_its_words(delivered, tmp_path):
    content = (delivered / "s.gpkg").read_bytes()
    (tmp_path / "cut.gpkg").write_bytes(content[:5000])
    with pytest.raises(FileRefused, match=r"cut.gpkg cannot be read as a GeoPackage") as caught:
        read_features(tmp_path / "cut.gpkg")
    assert caught.value.code == "NOT_READABLE"


def test_a_file_that_ends_its_reader_or_keeps_it_busy_is_refused(delivered, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.chdir(tmp_path)  # no configuration
    done = CliRunner().invoke(app, ["sites", "check", str(delivered / "s.gpkg"), "--json"])
    assert done.exit_code == 65
    how, fix = "s.gpkg ends the program that reads it (SIGSEGV)", "Export the layer again, as GeoJSON."
    assert json.loads(done.stdout) == {"sites": [], "error": {"code": "READER_ENDED", "message": how, "fix": fix}}


MEASURED = """
import json, os, resource, sys, time
from pathlib import Path
from monitor.sites.formats.feature import FileRefused
from monitor.sites.formats.reader import read_features

before = sum(os.times()[:4])
try:
    read_features(Path(sys.argv[1]))
except FileRefused as error:
    code = error.code
seconds = sum(os.times()[:4]) - before
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peaks = [int(status["VmHWM"].split()[0]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
print(json.dumps([code, seconds, max(peaks) * 1024]))
"""


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "geojson", "kml"])
def test_two_million_vertices_are_refused_in_a_second_and_500_mb(tmp_path, root, suffix, slowness):
    path = tmp_path / f"s.{suffix}"
    if suffix == "geojson":
        ring = "[104.61,35.5]," * 2_000_000 + "[104.61,35.5]"
        path.write_text('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[' + ring + "]]}}")
    elif suffix == "kml":
        ring = "104.61,35.5 " * 2_000_000
        path.write_text(f"<kml><Placemark><Polygon><coordinates>{ring}</coordinates></Polygon></Placemark></kml>")
    else:
        angle = np.linspace(0, 2 * np.pi, 2_000_000)
        site = Polygon(np.column_stack((104 + 0.1 * np.cos(angle), 35 + 0.1 * np.sin(angle))))
        geopandas.GeoDataFrame({"id": ["a"]}, geometry=[site], crs="EPSG:4326").to_file(path, engine="pyogrio")
    command = [sys.executable, "-P", "-c", MEASURED, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={"PYTHONPATH": str(root)}
    )
    code, seconds, peak = json.loads(done.stdout)
    assert code == "TOO_MANY_VERTICES"
    assert seconds < slowness()
    assert peak < 500e6
