"""A night over a folder of images sees what a night over the same imagery from another source sees."""

import json
import shutil
from datetime import date

import numpy as np
import pandas as pd
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping
from typer.testing import CliRunner

from jobs.cli import app
from monitor.imagery import bands
from monitor.imagery.sample import LAEA, Sample
from monitor.imagery.stac.source import Stac
from monitor.sites.projection import lonlat, projected
from tests.builders import feature, installed, write_features
from tests.sample_folder import BANDS, KINDS, export_sample, landsat_numbers

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_sample(tmp_path_factory.mktemp("images") / "scenes", every=10)


def called(*arguments, status=0):
    ran = CliRunner().invoke(app, [*map(str, arguments)])
    assert ran.exit_code == status, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def printed(folder):
    return called("source", "index", folder)


def test_a_line_a_scene_and_what_to_write_into_the_configuration(printed, folder):
    lines = printed.splitlines()
    count = len(list(folder.glob("*.tif")))
    assert len([line for line in lines if line.startswith("20")]) == count
    first = "2015-08-01  S2_2015-08-01  blue green red nir swir16; quality scl; reflectance = 0.0001 * number + 0"
    assert first in lines
    assert lines[-5:] == [
        "[source]", 'kind = "stac"', f'url = "{folder}"', f'allow_hosts = ["{folder}"]', 'since = "2015-08-01"',
    ]  # fmt: skip


def test_every_pixel_and_class_is_that_of_the_sample(printed, folder):
    sample, indexed = Sample(1), Stac(str(folder), allow_hosts=[str(folder)])
    place = sample.place(3)
    whole = sample.grid(place)
    assert indexed.grid(place).affine.almost_equals(whole.affine)
    grid = GeoBox((30, 30), whole.affine @ whole.affine.translation(20, 30), whole.crs)
    period = (date(2015, 8, 1), date(2020, 10, 31))
    one, other = sample.search(place, *period), indexed.search(place, *period)
    one = [scene for scene in one if scene.time.date() in {scene.time.date() for scene in other}]
    assert len(one) == len(other) == len(list(folder.glob("*.tif")))
    for expected, read in zip(sample.read(one, [grid]), indexed.read(other, [grid]), strict=True):
        (wanted,), (seen,) = list(expected), list(read)
        np.testing.assert_array_equal(seen.pixels, wanted.pixels)
        np.testing.assert_array_equal(seen.quality, wanted.quality)


STATED = {kind: ["--offset", "0"] for kind in ("earthengine", "openeo", "sentinelhub")}
STATED["sentinelhub"] += ["--bands", "blue=1,green=2,red=3,nir=4,swir16=5,scl=6"]
STATED["bands"] = ["--scale", "0.0001", "--offset", "0"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_folder_is_read_as_the_sample(kind, tmp_path):
    folder = export_sample(tmp_path / "scenes", every=45, kind=kind)
    called("source", "index", folder, *STATED.get(kind, []))
    sample, indexed = Sample(1), Stac(str(folder), allow_hosts=[str(folder)])
    whole = sample.grid(sample.place(0))
    scenes = indexed.search(sample.place(3), date(2015, 8, 1), date(2020, 10, 31))
    expected = sample.search(sample.place(0), date(2015, 8, 1), date(2020, 10, 31))[::45]
    assert [scene.time.date() for scene in scenes] == [scene.time.date() for scene in expected]
    coarse = [bands.OBSERVED.index("swir16")] if kind in ("safe", "granule") else []
    for wanted, seen in zip(sample.read(expected, [whole]), indexed.read(scenes, [whole]), strict=True):
        (whole_frame,), (read,) = list(wanted), list(seen)
        pixels, quality = whole_frame.pixels, whole_frame.quality
        pixels[[n for n, name in enumerate(bands.OBSERVED) if name not in BANDS]] = 0
        pixels[coarse] = pixels[coarse][:, ::2, ::2].repeat(2, 1).repeat(2, 2)
        if kind == "landsat":
            pixels = landsat_numbers(pixels)
        else:
            quality = quality[::2, ::2].repeat(2, 0).repeat(2, 1) if coarse else quality
            np.testing.assert_array_equal(read.quality, quality)
        np.testing.assert_array_equal(read.pixels, pixels)


def test_half_a_product_is_refused_and_never_read_in_part(tmp_path):
    folder = export_sample(tmp_path / "scenes", every=35, kind="safe")
    red, scl, whole, cut = sorted(folder.glob("*.SAFE"))
    next(red.rglob("*_B04_10m.jp2")).unlink()
    next(scl.rglob("*_SCL_20m.jp2")).unlink()
    path = next(cut.rglob("*_B02_10m.jp2"))
    path.write_bytes(path.read_bytes()[:9000])
    printed = called("source", "index", folder, status=10)
    assert "has no red band" in printed
    assert "download it again" in printed
    assert "has no quality layer" in printed
    assert "is cut short within its tiles" in printed
    assert f"a file that cannot be read: {path.relative_to(folder)}" in printed
    assert [line[:10] for line in printed.splitlines() if line.startswith("20")] == [f"{whole.name[11:15]}-"
           f"{whole.name[15:17]}-{whole.name[17:19]}"]  # fmt: skip


def test_a_folder_across_january_2022_gets_its_offsets_scene_by_scene(tmp_path):
    folder = export_sample(tmp_path / "scenes", every=2, kind="earthengine", years=3, added=date(2022, 1, 25))
    assert "--check" in called("source", "index", folder, status=65)
    printed = called("source", "index", folder, "--check", status=10)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".tif") == ["offsets.csv"]
    table = pd.read_csv(folder / "offsets.csv")
    known = table[table.offset.notna()]
    assert len(known) > 0.8 * len(table)
    assert (known.offset == np.where(known.date >= "2022-01-25", -0.1, 0)).all()
    assert printed.count("offset unknown: the pixels do not tell") == table.offset.isna().sum()
    called("source", "index", folder, "--offsets", folder / "offsets.csv", status=10)
    scenes = Stac(str(folder), allow_hosts=[str(folder)]).search(Sample(1).place(0), date(2015, 1, 1), date(2024, 1, 1))
    assert {scene.id: scene.offset for scene in scenes} == dict(zip(known.scene, known.offset, strict=True))


def test_files_that_cannot_be_used_are_named_with_their_reason(tmp_path, folder):
    shutil.copy(folder / "S2_2015-08-01.tif", tmp_path / "S2_2015-08-01.tif")
    (tmp_path / "S2_2015-09-01.tif").write_text("<VRTDataset rasterXSize='100' rasterYSize='100'/>")
    printed = called("source", "index", tmp_path, status=10)
    assert "not used: is not a GeoTIFF" in printed
    assert "    S2_2015-09-01.tif" in printed
    (tmp_path / "S2_2015-08-01.tif").unlink()
    assert "nothing was written" in called("source", "index", tmp_path, status=65)
    problem = json.loads(called("source", "index", tmp_path, "--json", status=65))["problems"][0]
    assert problem["file"] == "S2_2015-09-01.tif"


@pytest.mark.parametrize("bands", ["red", "pink=3", "red=", "=3"])
def test_invalid_bands_are_refused(tmp_path, bands):
    assert CliRunner().invoke(app, ["source", "index", str(tmp_path), "--bands", bands]).exit_code != 0


@pytest.mark.slow
def test_a_night_over_the_folder_gives_the_observations_of_the_sample(tmp_path):
    sample, folder = Sample(1), export_sample(tmp_path / "scenes")
    called("source", "index", folder)
    common = {"start": "2017-04-01", "intervention": "assisted_regeneration"}
    features = [feature(f"p{place}", sample.place(place), **common) for place in (1, 3)]
    # The same named control ground for both: each source has a ring of its own.
    whole = sample.grid(sample.place(0))
    left, top = whole.affine.c, whole.affine.f
    ground = lonlat(box(left + 500, top - 500, left + 900, top - 150), LAEA)
    sources = {"sample": 'kind = "sample"', "folder": f'kind = "stac"\nurl = "{folder}"\nallow_hosts = ["{folder}"]'}
    seen = {}
    for name, source in sources.items():
        place = tmp_path / name
        place.mkdir()
        write_features(place / "controls.geojson", [{"type": "Feature", "properties": {}, "geometry": mapping(ground)}])
        installed(place, features, f'{source}\nsince = "2015-08-01"')
        config = (place / "regrowth.toml").read_text()
        (place / "regrowth.toml").write_text(config.replace("[registry]", '[registry]\ncontrols = "controls.geojson"'))
        called("run", "--config", place / "regrowth.toml", "--as-of", "2020-10-31")
        tables = [pd.read_csv(place / f"outputs/sites/p{at}/observations.csv") for at in (1, 3)]
        seen[name] = pd.concat(tables).drop(columns=["scene", "source"])
    assert len(seen["sample"]) > 200
    assert seen["sample"]["control_cover"].notna().sum() > 100
    pd.testing.assert_frame_equal(seen["folder"], seen["sample"], atol=1e-6)


def test_images_that_show_too_little_control_ground_are_named_before_the_first_night(printed, folder, tmp_path):
    outline = lonlat(projected(Sample(1).place(3), LAEA).buffer(90, join_style="mitre"), LAEA)
    site = feature("p3", outline, start="2017-04-01", intervention="assisted_regeneration")
    source = f'kind = "stac"\nurl = "{folder}"\nallow_hosts = ["{folder}"]\nsince = "2015-08-01"'
    installed(tmp_path, [site], source)
    config = tmp_path / "regrowth.toml"
    planned = json.loads(called("run", "--dry-run", "--json", "--as-of", "2020-10-31", "--config", config))
    said = planned["few_controls"]["p3"]
    words = "without 10 no failure is reported; images that show the ground up to 1.5 km beyond the site would have 30"
    assert words in said
    found = CliRunner().invoke(app, ["doctor", "--json", "--config", str(config)])
    (finding,) = (one for one in json.loads(found.stdout)["checks"] if one["check"] == "controls")
    assert said in finding["fix"]
