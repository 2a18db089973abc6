"""What pixels and neighbours add to a sudden loss."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import pytest
from shapely.geometry import Point

from monitor.errors import BadData
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.explain import explain
from monitor.verdict.loss_ground import MAX_NEIGHBOURS, LossGround, lost_together, neighbours, with_loss_ground
from monitor.verdict.tables.plan_json import record_of
from tests.verdict.test_words import FAILING, SITE

DAY = date(2024, 7, 1)


@pytest.fixture
def lost():
    return replace(
        FAILING, status=Status.DISTURBED, alert=AlertLevel.RED, alert_rule="disturbance", reasons=("SUDDEN_DROP",),
        probability=0.95,        loss_after=date(2024, 6, 20), loss_on=DAY, loss_confirmed_on=date(2024, 8, 1),
    )  # fmt: skip


def test_losses_within_thirty_days_come_together():
    others = [DAY, date(2024, 6, 1), date(2024, 7, 31), date(2024, 5, 31), date(2023, 7, 1), None]
    assert lost_together(DAY, others) == 3
    assert lost_together(DAY, []) == 0


@pytest.mark.parametrize(("together", "reported"), [(None, False), (0, False), (1, False), (2, True), (9, True)])
def test_two_neighbours_or_more_are_a_reason_and_one_may_be_chance(lost, together, reported):
    found = with_loss_ground(lost, LossGround(neighbours=None if together is None else 12, together=together))
    assert ("NEIGHBOURS_LOST" in found.reasons) == reported
    assert (found.alert, found.status, found.probability) == (lost.alert, lost.status, lost.probability)


def test_area_dates_and_neighbours_are_stated_in_both_languages(lost):
    ground = LossGround(hectares=4.81, low=3.9, high=6.0, neighbours=12, together=3)
    found = with_loss_ground(lost, ground)
    english, chinese = (" ".join(explain(found, SITE, language=one)) for one in ("en", "zh"))
    for part in ("between the scenes of 20 June 2024 and 1 July 2024", "About 4.8 of 12.0 hectares (3.9 to 6.0)",
                 "3 of 12 neighbouring sites"):  # fmt: skip
        assert part in english
    for part in ("在2024年6月20日与2024年7月1日两景之间", "180.0 亩中约有 72.1 亩（58.5 至 90.0）",
                 "附近 12 个地块中有 3 个"):  # fmt: skip
        assert part in chinese
    bare = " ".join(explain(replace(lost, loss_after=None), SITE))
    assert "before 1 July 2024" in bare
    assert "hectares" not in bare


GIVEN = {"hectares": 4.8, "low": 3.9, "high": 6.0, "neighbours": 12, "together": 3}


def test_a_published_plan_gives_area_and_neighbours_back():
    assert record_of(GIVEN, LossGround, "plan: loss_ground") == LossGround(**GIVEN)
    unknown = GIVEN | dict.fromkeys(("hectares", "low", "high"))
    assert record_of(unknown, LossGround, "plan: loss_ground") == LossGround(**unknown)
    assert record_of(None, LossGround, "plan: loss_ground") is None


@pytest.mark.parametrize(
    "changes", [{"low": 5.0}, {"high": 4.0}, {"hectares": None}, {"together": 13}, {"neighbours": "many"}, {"low": -1}]
)
def test_an_impossible_area_or_count_of_a_published_plan_is_refused(changes):
    with pytest.raises(BadData, match="plan: loss_ground"):
        record_of(GIVEN | changes, LossGround, "plan: loss_ground")


def test_the_nearest_sites_are_neighbours_and_no_more_than_an_upper_number():
    def at(name, lon, lat=40.0):
        return SimpleNamespace(id=name, geometry=Point(lon, lat).buffer(0.001))

    here, far = at("here", 100.0), [at(f"far-{k:03d}", 100.5 + k / 100) for k in range(100)]
    # At 60 degrees north a degree of longitude is half of one of latitude.
    north, east, home = at("north", 100.0, 60.1), at("east", 100.15, 60.0), at("home", 100.0, 60.0)
    assert neighbours(home, [north, east, home]) == ["east", "north"]
    nearest = ["near", *(one.id for one in far[: MAX_NEIGHBOURS - 1])]
    assert neighbours(here, [*far, here, at("near", 100.01)]) == nearest
    assert neighbours(here, [here]) == []
