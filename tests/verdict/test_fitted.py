"""The curve of the chart is what the verdict estimated after each scene."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.verdict.assess import DEFAULT, JudgedSites, judge_sites
from monitor.verdict.assessment import Series
from monitor.verdict.fitted import fitted
from monitor.verdict.plans import Plans
from tests.verdict.test_measured import SITE, START, TENDED, series

BEGINS = (START - date(1970, 1, 1)).days


def judged(seen: Series, site=SITE) -> JudgedSites:
    """Verdict on the day of the last scene."""
    day = seen.dates[-1].astype("datetime64[D]").item() if seen.dates.size else START
    return judge_sites(seen, [site], calibration=DEFAULT, alpha=[0.05], as_of=day)


def as_planned(share: float) -> Series:
    """Growth that follows the season of the control and a share of the plan."""
    bare = series(dict.fromkeys(range(2020, 2024), 0.0))
    day = bare.dates.astype("datetime64[D]").astype(np.int64)
    plan = Plans.of([SITE]).expected(np.zeros(day.size, np.int64), day)
    return replace(bare, cover=bare.cover + share * plan * (bare.control - 0.3) / 0.2)


@pytest.mark.parametrize("site", [SITE, TENDED], ids=["planted", "tended"])
def test_the_last_point_is_the_estimate_of_the_verdict(site):
    found = judged(series({2020: 0.0, 2021: 0.04, 2022: 0.08, 2023: 0.12}), site)
    a, curve = found.assessment(0), fitted(found, 0)
    last = curve.uplift[-1], curve.uplift_low[-1], curve.uplift_high[-1]
    assert last == pytest.approx((a.uplift, a.uplift_low, a.uplift_high), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_curve_follows_the_cover_of_a_site_and_begins_with_the_work(share):
    seen = as_planned(share)
    curve = fitted(judged(seen), 0)
    assert np.isnan(np.stack(curve[1:])[:, curve.day < BEGINS]).all()
    last = curve.day >= (date(2022, 1, 1) - date(1970, 1, 1)).days
    assert np.abs(curve.cover - seen.cover)[last].max() < 0.03
    known = np.isfinite(curve.uplift)
    assert known[last].all()
    assert (curve.uplift_low < curve.uplift)[known].all()
    assert ((curve.cover_low <= curve.cover) & (curve.cover <= curve.cover_high))[known].all()


def test_a_site_without_scenes_has_no_curve():
    assert fitted(judged(series({2020: 0.0}).until(date(2010, 1, 1))), 0).day.size == 0
