"""Where a site lost cover: maps whose answer is known."""

from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.maps.loss import compared_scenes, remaining_share
from tests import builders

SITE = builders.site(geometry=box(105, 40, 105.01, 40.01), start=date(2018, 4, 1), hectares=10.0)


def means(rng, remaining, scenes, noise=0.02):
    """Means of the two halves before and of the scenes since, of ground with cover .4 against a control of .2."""
    n = np.array(scenes, float)[:, None, None] * np.ones((1, *remaining.shape))
    truth = np.stack([np.full(remaining.shape, 0.2)] * 2 + [0.2 - 0.4 * (1 - remaining)])
    return truth + rng.normal(0, noise, truth.shape) / np.sqrt(n), n


def test_the_remaining_share_and_its_error_are_those_put_in():
    rng = np.random.default_rng(5)
    remaining = np.where(np.arange(60)[None] < 24, 0.3, 1.0) * np.ones((60, 1))
    over, n = means(rng, remaining, (4, 3, 5))
    found, error = remaining_share(over, n, 0.4)
    assert np.mean(found[remaining == 0.3]) == pytest.approx(0.3, abs=0.005)
    assert np.mean(found[remaining == 1.0]) == pytest.approx(1.0, abs=0.005)
    assert np.std(found - remaining) == pytest.approx(np.median(error), rel=0.05)
    assert np.median(error) == pytest.approx(0.02 * np.sqrt(1 / 7 + 1 / 5) / 0.4, rel=0.05)


def test_ground_seen_in_one_half_only_has_a_value_and_ground_not_seen_since_has_none():
    over, n = means(np.random.default_rng(6), np.ones((8, 8)), (4, 3, 5))
    over[0, 0, 0], n[0, 0, 0] = np.nan, 0
    over[2, 1, 1], n[2, 1, 1] = np.nan, 0
    found, error = remaining_share(over, n, 0.4)
    assert np.isfinite(found[0, 0])
    assert error[0, 0] > error[4, 4]
    assert np.isnan(found[1, 1])
    assert np.isnan(found).sum() == 1


def observed(*dates, rejected=()):
    day = np.array(dates, "datetime64[D]")
    return {"date": day, "accepted": ~np.isin(day, np.array(rejected, "datetime64[D]")),
            "control_cover": np.full(day.size, 0.2)}  # fmt: skip


def test_scenes_are_compared_with_those_of_the_year_before_at_the_same_time():
    series = observed("2019-07-01", "2020-05-10", "2020-06-20", "2020-07-10", "2020-09-10", "2021-05-15", "2021-06-20",
                      "2021-07-05", "2021-07-20")  # fmt: skip
    before, since = compared_scenes(SITE, series, np.datetime64("2021-06-20"), np.datetime64("2021-07-05"))
    assert since.tolist() == [7, 8]
    assert before.tolist() == [2, 3, 6]  # neither spring nor autumn, and nothing of two years before


def test_where_that_time_was_not_seen_the_whole_year_is_compared_and_rejected_scenes_never():
    series = observed("2020-05-10", "2020-05-20", "2020-06-01", "2020-09-20", "2020-09-30", rejected=["2020-05-20"])
    before, since = compared_scenes(SITE, series, np.datetime64("2020-06-01"), np.datetime64("2020-09-20"))
    assert (before.tolist(), since.tolist()) == ([0, 2], [3, 4])
