"""A fire takes a part of some sites: hectares, place and dates of the loss, and the neighbours that lost cover too."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rasterio
from shapely.geometry import Point, Polygon

from jobs.messages.news import news_of
from jobs.night.pipeline import night
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from monitor.alerts.messages import compose_alert
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.site import ground_key
from tests.builders import use_sources
from tests.jobs.painted import Painted, ground, growing, planted_sites, verdicts, within
from tests.landscape import site_of

FIRE = date(2020, 7, 10)
NIGHT = date(2020, 9, 30)
DAYS = [date(year, 5, 10) + timedelta(days=d) for year in range(2015, 2021) for d in range(0, 141, 10)]
SITES = {
    "burnt-1": (12_000, 12_000, 12_300, 12_300), "burnt-2": (13_500, 12_000, 13_800, 12_300),
    "burnt-3": (12_000, 13_500, 12_300, 13_800), "spared": (13_500, 13_500, 13_800, 13_800),
}  # fmt: skip
BURNT = ((12_000, 12_000, 12_160, 12_300), (13_500, 12_000, 13_800, 12_300), (12_000, 13_500, 12_300, 13_800))
"""Just over half of the first site, 4.8 of 9 hectares, and all of two more."""


class Burnt(Painted):
    def _frame(self, scene, grid):
        burnt = within(grid, *BURNT) & (scene.handle >= FIRE)
        return growing(scene.handle, grid, within(grid, *SITES.values()), np.where(burnt, 0.3, 1.0))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    settings = planted_sites(tmp_path_factory.mktemp("burnt"), SITES)
    source = Burnt(DAYS, ring=(50.0, 1500.0))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        use_sources(patch, source)
        for day in (NIGHT, NIGHT + timedelta(days=1)):
            night(settings, as_of=day)
            found.append(verdicts(settings))
        before = (settings.outputs.root / "status.json").read_bytes()
        night(settings, as_of=day)
        again = (settings.outputs.root / "status.json").read_bytes() == before
    return settings, found, again


def test_the_hectares_and_the_dates_of_a_loss_are_reported(judged):
    _, (first, _), _ = judged
    part, whole = first["burnt-1"], first["burnt-2"]
    assert {one["status"] for name, one in first.items() if name != "spared"} == {"disturbed"}
    assert part["hectares_lost"] == pytest.approx(4.8, rel=0.1)
    assert part["hectares_lost_low"] < 4.8 < part["hectares_lost_high"]
    assert whole["hectares_lost"] == pytest.approx(9.0, rel=0.02)
    for one in (part, whole):
        assert (one["loss_after"], one["loss_on"]) == ("2020-07-09", "2020-07-19")
    for name in ("loss_after", "loss_on", "hectares_lost", "neighbours", "neighbours_lost"):
        assert first["spared"][name] is None


def test_neighbours_that_lost_cover_in_the_same_weeks_are_a_reason_from_the_next_night_on(judged):
    _, (first, second), again = judged
    assert (first["burnt-1"]["neighbours"], first["burnt-1"]["neighbours_lost"]) == (3, 0)
    for name in ("burnt-1", "burnt-2", "burnt-3"):
        assert (second[name]["neighbours"], second[name]["neighbours_lost"]) == (3, 2)
        assert "NEIGHBOURS_LOST" in second[name]["reasons"]
        assert "NEIGHBOURS_LOST" not in first[name]["reasons"]
        assert second[name]["alert"] == first[name]["alert"], "a common cause is no reason for silence"
    assert "NEIGHBOURS_LOST" not in second["spared"]["reasons"]
    assert again, "the same night once more changes nothing"


def test_page_map_and_message_show_where_the_loss_is(judged):
    settings, _, _ = judged
    burnt, left = ground(*BURNT[0]), ground(12_160, 12_000, 12_300, 12_300)
    folder = settings.outputs.root / "sites" / "burnt-1"
    with rasterio.open(folder / "loss.tif") as source:
        chance = source.read(1)
    seen = np.isfinite(chance)
    assert np.mean(chance[seen] > 0.5) == pytest.approx(4.8 / 9, abs=0.08)
    with open_ledger(settings) as ledger, ledger.reading() as t:
        patch = from_json(t.ground_data(ground_key(site_of(t, "burnt-1")), "worst_patch"), WorstPatch)
        row = next(row for row in t.notices("waiting", "sent") if row["site"] == "burnt-1")
        news = news_of(t, settings, row, pictures=False)
        message = compose_alert(news, id="a" * 40, time=datetime(2020, 10, 1, tzinfo=UTC))
    assert Polygon(patch.ring).intersection(burnt).area / Polygon(patch.ring).area > 0.95
    assert burnt.contains(Point(patch.longitude, patch.latitude))
    assert not left.contains(Point(patch.longitude, patch.latitude))
    assert "2 of 3 neighbouring sites lost cover in the same weeks" in (folder / "index.html").read_text()
    assert "most likely between 9 July 2020 and 19 July 2020, on about 4." in message.text
    assert f"{patch.latitude:.5f}" in message.text
