"""The programme that is made to time a night: sites, scenes and figures."""

from datetime import date

import pytest
import rasterio

from benchmarks.countryside import CLEAR, OVERCAST, Countryside
from benchmarks.night import Checkout, Row, table
from jobs.imagery.sources import open_sources
from jobs.runtime.settings import load
from monitor.sites.registry import read_sites

BEFORE, DAY = date(2020, 7, 24), date(2024, 7, 24)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = Countryside(root=tmp_path_factory.mktemp("made") / "land", sites=5, hectares=1.0, start=date(2021, 5, 1))
    made.lay_out()
    made.pass_over([BEFORE, DAY], clouds=CLEAR)
    return made


def test_sites_have_the_requested_size_and_do_not_overlap(made):
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


def test_an_overcast_scene_shows_no_ground_anywhere(tmp_path):
    made = Countryside(root=tmp_path / "land", sites=1, hectares=1.0, start=date(2021, 5, 1))
    made.lay_out()
    day = date(2024, 7, 25)
    made.pass_over([day], clouds=OVERCAST)
    (path,) = (made.root / "scenes").glob(f"*_{day:%Y%m%d}T*/SCL.tif")
    assert set(rasterio.open(path).read(1).ravel()) == {9}


def test_what_must_hold_is_scaled_by_what_the_reference_takes_here(tmp_path):
    old, new = (Checkout(tmp_path, name) for name in ("old", "new"))
    rows = [
        Row("one more site", "CPU ms", {"old": [70.0, 80.0, 90.0], "new": [19.0, 21.0, 20.0]}, now=40.0, must=10.0),
        Row("in the tenth year", "CPU ms", {"old": [100.0], "new": [41.0]}, must=20.0),
        Row("files", "", {"old": [10.0], "new": [1.0]}, now=10.0, must=0.5, scaled=False),
    ]
    text = table(rows, [old, new])
    assert "| one more site | CPU ms | 80 (70 to 90) | 20 (19 to 21) | 10 | 20 | met |" in text
    assert "| in the tenth year | CPU ms | 100 (100 to 100) | 41 (41 to 41) | 20 | 40 | **missed** |" in text
    assert "| files |  | 10 (10 to 10) | 1 (1 to 1) | 0.5 | 0.5 | **missed** |" in text
