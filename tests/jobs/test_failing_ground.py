"""A site whose part has failed: reported in hectares with an interval, mapped, and failing if the part is large."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import rasterio
from shapely.geometry import Point, Polygon

from jobs.messages.news import news_of
from jobs.night.pipeline import night
from jobs.pages.publishing import publish_once
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from monitor.alerts.messages import compose_alert
from monitor.errors import BadData
from monitor.maps import failing
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.site import Site, ground_key
from tests.builders import use_sources
from tests.jobs.painted import LEFT, START, Painted, ground, growing, planted_sites, verdicts, within

NIGHT = date(2021, 9, 30)
DAYS = [date(year, 5, 10) + timedelta(days=d) for year in range(2015, 2022) for d in range(0, 141, 14)]
SITES = {"part": (12_000, 12_000, 12_300, 12_300), "whole": (13_500, 12_000, 13_800, 12_300)}
FAILED = (12_000, 12_000, 12_120, 12_300)  # two fifths of the first site: 3.6 of 9 hectares


class Planted(Painted):
    """Two sites that grow as promised, except for a part of one whose cover falls."""

    def _frame(self, scene, grid):
        theta = np.where(within(grid, *SITES.values()), 1.0, 0.0)
        theta[within(grid, FAILED)] = -0.3
        return growing(scene.handle, grid, theta)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return planted_sites(tmp_path_factory.mktemp("failing"), SITES)


@pytest.fixture(scope="module")
def run(settings):
    """Runs a night, each time that of the next day, in whatever order the tests are."""
    with pytest.MonkeyPatch.context() as patch:
        use_sources(patch, Planted(DAYS, ring=(50.0, 1500.0)))
        days = count()
        yield lambda: night(settings, as_of=NIGHT + timedelta(days=next(days)))


@pytest.fixture(scope="module", autouse=True)
def sites(settings, run):
    run()
    return verdicts(settings)


def test_the_failed_hectares_are_reported_with_an_interval(sites):
    part, whole = sites["part"], sites["whole"]
    assert part["hectares"] == pytest.approx(9.0, rel=0.01)
    assert part["hectares_failing"] == pytest.approx(3.6, rel=0.1)
    assert part["hectares_failing_low"] < 3.6 < part["hectares_failing_high"]
    assert whole["hectares_failing"] < 0.1
    assert whole["hectares_failing_high"] < 0.5


def test_a_site_with_a_large_failed_part_is_failing_though_its_mean_is_not(sites):
    assert sites["part"]["theta"] > 0.4
    assert (sites["part"]["status"], sites["whole"]["status"]) == ("failing", "on_track")
    assert (sites["part"]["alert"], sites["part"]["alert_rule"]) == ("watch", "failure")
    assert "SPATIAL_PATCH" in sites["part"]["reasons"]
    assert "SPATIAL_PATCH" not in sites["whole"]["reasons"]


def test_the_map_shows_where_the_site_failed(settings):
    with rasterio.open(settings.outputs.root / "sites" / "part" / "failing.tif") as file:
        chance = file.read(1)
        x = file.transform.c - LEFT + (np.arange(file.width) + 0.5) * 10 + np.zeros((file.height, 1))
    known = np.isfinite(chance)
    assert known.sum() > 600
    # pixels of 20 m at the border are part of both
    assert (chance > 0.5)[known & (x < FAILED[2] - 20)].mean() > 0.95
    assert (chance < 0.5)[known & (x > FAILED[2] + 20)].mean() > 0.95


def ground_data(settings, kind):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        stored = t.all_ground_data(kind)
        return {values["id"]: stored.get(ground_key(from_json(values, Site))) for values in t.sites()}


def test_the_growth_of_each_season_is_stored_up_to_that_of_the_verdict(settings, sites):
    points = {site: stored["points"] for site, stored in ground_data(settings, "growth").items()}
    for site, verdict in sites.items():
        assert [point[0][:4] for point in points[site]] == [str(year) for year in range(2015, 2022)]
        assert points[site][-1][1] == pytest.approx(verdict["uplift"], abs=0.01)


def test_the_worst_patch_is_stored_and_lies_where_the_work_has_failed(settings):
    stored = ground_data(settings, "worst_patch")
    patch = from_json(stored["part"], WorstPatch)
    assert patch.hectares == pytest.approx(2.6, rel=0.1)  # 3.6 less 20 m along the edge of the site, not judged
    failed = ground(*FAILED)
    assert failed.contains(Point(patch.longitude, patch.latitude))
    assert Polygon(patch.ring).intersection(failed).area > 0.9 * Polygon(patch.ring).area
    assert not stored["whole"]


def test_the_worst_patch_is_removed_once_the_ground_recovers(settings, run, monkeypatch):
    monkeypatch.setattr("monitor.maps.site_verdict.worst_patch", lambda *_: None)
    run()
    assert not any(ground_data(settings, "worst_patch").values())
    monkeypatch.undo()
    run()
    assert any(ground_data(settings, "worst_patch").values())


def served(settings, address="https://pages.example.org/regrowth/"):
    return settings.model_copy(update={"outputs": settings.outputs.model_copy(update={"base_url": address})})


def news_about(settings, row, *, by=None, **how):
    """News of a notice, by other settings if they are given."""
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return news_of(t, by or settings, row, **how)


@pytest.fixture
def rows(settings):
    """Rows of the outbox about the site that fails in part."""
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return [row for row in t.notices("waiting", "sent") if row["site"] == "part"]


def test_the_news_of_an_alert_has_the_patch_pictures_from_before_and_now_and_the_page(settings, sites, rows):
    news = news_about(settings, rows[0], by=served(settings))
    assert (news.alert.id, news.event, news.number) == ("part/failure", "opened", 1)
    assert ground(*FAILED).contains(Point(news.patch.longitude, news.patch.latitude))
    assert news.before.date < START < news.now.date <= NIGHT
    assert news.page == "https://pages.example.org/regrowth/sites/part/index.html"
    assert news.answer is None
    assert news.now.pixel == 10.0
    for picture in (news.before, news.now):
        assert picture.rgb.any()
        height, width = picture.rgb.shape[:2]
        assert (picture.outline > 0).all()
        assert (picture.outline < (width, height)).all()
        assert np.ptp(picture.outline, axis=0) == pytest.approx([30, 30], abs=1)  # 300 m
        assert (picture.patch.min(axis=0) >= picture.outline.min(axis=0)).all()
    message = compose_alert(news, id="a" * 40, time=datetime(2021, 10, 1, tzinfo=UTC))
    assert message.picture is not None
    assert "Worst patch, 2." in message.text


def test_a_digest_reads_no_pictures_and_pages_that_are_not_served_are_not_linked(settings, rows, monkeypatch):
    monkeypatch.setattr("monitor.cube.store.LandscapeStore", lambda *_: pytest.fail("the store was read"))
    news = news_about(settings, rows[0], pictures=False)
    assert (news.page, news.before, news.now) == (None, None, None)


def test_a_message_whose_pictures_cannot_be_read_goes_without_them(settings, rows):
    elsewhere = settings.model_copy(update={"store": settings.store.model_copy(update={"root": Path("/nowhere")})})
    news = news_about(settings, rows[0], by=elsewhere)
    assert (news.before, news.now) == (None, None)
    assert news.patch is not None


def test_an_alert_about_a_site_that_was_retired_has_no_news(settings, rows):
    row = rows[0] | {"payload": rows[0]["payload"] | {"alert": rows[0]["payload"]["alert"] | {"site": "gone"}}}
    with pytest.raises(BadData, match="'gone' is retired or was never assessed"):
        news_about(settings, row)


VERDICT_FIELDS = (
    "status", "alert", "reasons", "hectares_failing", "hectares_failing_low", "hectares_failing_high",
    "hectares_failing_on",
)  # fmt: skip


def fields(settings):
    return [[one[name] for name in VERDICT_FIELDS] for one in verdicts(settings).values()]


def test_until_the_next_look_results_stay_and_no_pixel_is_read(settings, run, monkeypatch):
    run()  # an earlier test may have spoiled what was derived
    before = fields(settings)
    monkeypatch.setattr("jobs.night.pipeline.self_check", lambda *_, **__: None)  # it looks at a site by itself
    monkeypatch.setattr("monitor.maps.failing.sums_by_season", lambda _: pytest.fail("pixels were looked at"))
    run()
    assert fields(settings) == before
    assert {one[-1] for one in before} == {DAYS[-1].isoformat()}


@pytest.mark.parametrize(("files", "spoil"), [
    (("*.failing",), Path.unlink), (("*.failing",), lambda path: path.write_bytes(path.read_bytes()[:-9])),
    (("*.failing", "*.seasons/*"), lambda path: path.write_bytes(b"torn")),
], ids=["results lost", "results torn", "sums of the years torn too"])  # fmt: skip
def test_lost_or_torn_results_from_pixels_are_made_again(settings, run, files, spoil):
    before = fields(settings)
    spoilt = [path for kind in files for path in settings.store.root.rglob(kind)]
    assert len(spoilt) >= len(SITES) + len(files) - 1
    for path in spoilt:
        spoil(path)
    run()
    assert fields(settings) == before


def test_a_page_made_again_has_the_map_of_its_verdict_though_derived_files_are_lost(settings):
    folder = settings.outputs.root / "sites" / "part"

    def drawn():
        with rasterio.open(folder / "failing.tif") as file:
            # AS_OF is the day of the verdict with which it was drawn, and a later one may look the same.
            return file.read().tobytes(), file.transform, {k: v for k, v in file.tags().items() if k != "AS_OF"}

    before = drawn()
    for path in settings.store.root.rglob("*.failing"):
        path.unlink()
    (folder / "failing.tif").unlink()
    assert publish_once(settings)[0]["part"] is None
    assert drawn() == before


def test_an_edit_of_the_verdict_code_has_the_failing_ground_estimated_again(settings, sites, run, monkeypatch):
    before, looked = fields(settings), []
    sums = failing.sums_by_season
    monkeypatch.setattr("monitor.maps.failing.sums_by_season", lambda sites: looked.append(sites) or sums(sites))
    monkeypatch.setattr("monitor.derived.code_hash", lambda module: f"another {module}")
    monkeypatch.setattr("jobs.night.pipeline.self_check", lambda *_, **__: None)  # it looks at a site by itself
    run()
    assert fields(settings) == before
    assert len(looked) == len(SITES)


def test_pages_name_the_failed_part_in_both_languages(settings):
    folder = settings.outputs.root / "sites" / "part"
    english, chinese = ((folder / name).read_text(encoding="utf-8") for name in ("index.html", "index.zh.html"))
    assert "A large part is not taking hold." in english
    assert "Regrowth is absent on about 3." in english
    assert "地块有较大面积未见成效。" in chinese
    assert f'href="{next(folder.glob("failing-*.png")).name}"' in english
