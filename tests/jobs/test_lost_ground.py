"""A fire takes a part of some sites: hectares, place and dates of the loss, and the neighbours that lost cover too."""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rasterio
from shapely.geometry import Point, Polygon, mapping

from jobs.installation import open_ledger
from jobs.news import news_of
from jobs.pipeline import night
from jobs.records import from_json
from jobs.settings import load
from jobs.sources import Sources
from monitor.alerts.messages import compose_alert
from monitor.imagery.source import Frame
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.site import Site, ground_key
from tests.jobs.painted import BOTTOM, LEAF, LEFT, SOIL, Painted, _places, ground
from tests.jobs.test_failing_ground import PLAN, START

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
    """Sites that grow as promised until a fire."""

    def _frame(self, scene, grid):
        x, y = _places(grid)
        x, y = x - LEFT, y - BOTTOM

        def within(left, bottom, right, top):
            return (x > left) & (x < right) & (y > bottom) & (y < top)

        day = scene.handle
        season = np.exp(-(((day.timetuple().tm_yday - 215) / 45.0) ** 2) / 2)
        planted = np.any([within(*outline) for outline in SITES.values()], axis=0)
        noise = np.random.default_rng(day.toordinal()).normal(0, 0.02, x.shape)
        rough = 0.04 * np.sin(x / 170) * np.cos(y / 230)
        uplift = 1.3 * PLAN.uplift((day - START).days / 365.25)
        share = (0.25 + rough + uplift * planted) * season + 0.05 + noise
        if day >= FIRE:
            share[np.any([within(*outline) for outline in BURNT], axis=0)] *= 0.3
        share = np.clip(share, 0, 1)[None]
        pixels = np.rint(SOIL[:, None, None] * (1 - share) + LEAF[:, None, None] * share).astype(np.uint16)
        return Frame(grid=grid, pixels=pixels, quality=np.full(x.shape, 4, np.uint16))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("burnt")
    features = [
        {"type": "Feature", "geometry": mapping(ground(*outline)), "properties": {
            "id": name, "name": name, "start": START.isoformat(), "intervention": "planting", "biome": "loess",
            "plan_A": PLAN.A, "plan_k": PLAN.k, "plan_L": PLAN.L, "too_early_years": PLAN.too_early_years,
        }}
        for name, outline in SITES.items()
    ]  # fmt: skip
    (root / "sites.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (root / "regrowth.toml").write_text(
        '[registry]\npath = "sites.geojson"\n[source]\nkind = "sample"\nsince = "2015-01-01"\n'
    )
    settings = load(root / "regrowth.toml")
    source = Burnt(DAYS, ring=(50.0, 1500.0))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.pipeline.open_sources", lambda chosen: Sources([(source, chosen[0])]))
        for day in (NIGHT, NIGHT + timedelta(days=1)):
            night(settings, as_of=day)
            status = json.loads((settings.outputs.root / "status.json").read_text())
            found.append({one["site"]: one for one in status})
        before = (settings.outputs.root / "status.json").read_bytes()
        night(settings, as_of=day)
        again = (settings.outputs.root / "status.json").read_bytes() == before
    return settings, found, again


def test_the_hectares_and_the_dates_of_a_loss_are_reported(judged):
    _, (first, _), _ = judged
    part, whole = first["burnt-1"], first["burnt-2"]
    assert {name: one["status"] for name, one in first.items() if name != "spared"} == dict.fromkeys(
        ("burnt-1", "burnt-2", "burnt-3"), "disturbed"
    )
    assert part["hectares_lost"] == pytest.approx(4.8, rel=0.1)
    assert part["hectares_lost_low"] < 4.8 < part["hectares_lost_high"]
    assert whole["hectares_lost"] == pytest.approx(9.0, rel=0.02)
    for one in (part, whole):
        assert (one["loss_after"], one["loss_on"]) == ("2020-07-09", "2020-07-19")
    spared = first["spared"]
    assert {spared[name] for name in ("loss_after", "loss_on", "hectares_lost", "neighbours", "neighbours_lost")} == {
        None
    }


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
        patch = from_json(t.ground_data(ground_key(from_json(t.site("burnt-1"), Site)), "worst_patch"), WorstPatch)
        row = next(row for row in t.notices("waiting", "sent") if row["site"] == "burnt-1")
        message = compose_alert(
            news_of(t, settings, row, pictures=False), id="a" * 40, time=datetime(2020, 10, 1, tzinfo=UTC)
        )
    assert Polygon(patch.ring).intersection(burnt).area / Polygon(patch.ring).area > 0.95
    assert burnt.contains(Point(patch.longitude, patch.latitude))
    assert not left.contains(Point(patch.longitude, patch.latitude))
    assert "2 of 3 neighbouring sites lost cover in the same weeks" in (folder / "index.html").read_text()
    assert "most likely between 9 July 2020 and 19 July 2020, on about 4." in message.text
    assert f"{patch.latitude:.5f}" in message.text
