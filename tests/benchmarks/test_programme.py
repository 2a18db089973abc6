"""The programme that is made to time a night: sites, scenes and figures."""

from datetime import date

import pytest
import rasterio

from benchmarks.countryside import Countryside
from benchmarks.programme import Line, filing, floor, table
from jobs.settings import load
from jobs.sources import open_sources
from monitor.sites.registry import read_sites

BEFORE, DAY = date(2020, 7, 24), date(2024, 7, 24)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = Countryside(root=tmp_path_factory.mktemp("made") / "land", sites=5, hectares=1.0, start=date(2021, 5, 1))
    made.lay_out()
    made.pass_over([BEFORE, DAY], clouds=False)
    return made


def test_sites_have_the_size_that_was_asked_for_and_do_not_overlap(made):
    sites = read_sites(made.root / "sites.geojson").sites
    assert len(sites) == 5
    assert [site.hectares for site in sites] == pytest.approx([1.0] * 5, rel=0.01)
    assert not any(a.geometry.intersects(b.geometry) for a in sites for b in sites if a.id < b.id)


def test_a_scene_holds_the_sites_with_ground_around_them_and_is_found_by_the_monitor(made):
    sources = open_sources(load(made.config).source)
    for site in read_sites(made.root / "sites.geojson").sites:
        found, missing = sources.search(site.geometry.buffer(0.001), DAY)
        assert [scene.footprint.contains(site.geometry.buffer(0.001)) for scene in found] == [True, True]
        assert {(scene.offset, scene.quality) for scene in found} == {(-0.1, "scl")}
        assert missing == ""


def test_after_the_start_two_sites_of_three_are_greener_than_they_were_on_that_day_before(made):
    before, after = (
        rasterio.open(made.root / "scenes" / name / "B04.tif").read(1) / 1e4
        for name in sorted(path.name for path in (made.root / "scenes").iterdir())
    )
    places = [(row, column) for _, row, column in map(made.place, range(5))]
    side = made.side
    change = [(after - before)[row : row + side, column : column + side].mean() for row, column in places]
    # .12 of green at the height of the season, and a full cover lowers red by .12
    assert change == pytest.approx([0, -0.0144, -0.0144, 0, -0.0144], abs=0.005)


def test_the_floor_reads_every_file_of_the_day(made):
    assert floor(made, DAY) > 0
    for path in (made.root / "scenes").glob("*/B02.tif"):
        path.unlink()
        path.write_bytes(b"no tiff")
    with pytest.raises(rasterio.errors.RasterioIOError):
        floor(made, DAY)


def test_trying_the_disk_leaves_no_file_behind(made):
    folders = [made.root / "outputs" / "sites" / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("a page")
    assert 0 < filing(made) < 1000
    assert [path.name for folder in folders for path in folder.iterdir()] == ["index.html"] * 2


def test_a_goal_that_was_missed_is_printed_as_missed(made):
    lines = [
        Line(what="the night", value=241.0, unit="s", most=240.0),
        Line(what="most memory", value=5.9, unit="GiB", most=6.0),
        Line(what="read", value=7.0, unit="MB"),
    ]
    assert [line.verdict for line in lines] == ["MISSED", "met", ""]
    assert "| the night | 241 | s | 240 |  | MISSED |" in table(made, lines)
