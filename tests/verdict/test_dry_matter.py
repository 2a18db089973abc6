"""Dry matter where the erosion grade rests on green cover: reported where it is likely, and no verdict changes."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.cover.dry_matter import DRY, GREEN, SOIL
from monitor.sites.site import Plan
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.dry_matter import SUBSTANTIAL, dry_matter_reason, season_dry_share
from monitor.verdict.explain import explain
from monitor.verdict.reasons import Reason, sentence
from monitor.verdict.status import REASONS
from tests import builders

AS_OF = date(2024, 10, 30)
SITE = builders.site(
    geometry=box(104, 36, 104.01, 36.01), start=date(2020, 4, 1), intervention="erosion_control", hectares=90.0,
    plan=Plan(A=0.2, k=0.5, L=0.5, too_early_years=2.0), slope_degrees=20,
)  # fmt: skip


def observed(*shares, days, green=0.2):
    """Scenes on some days of 2024, of such dry shares beside so much green cover."""
    pure = np.array([GREEN, DRY, SOIL])
    ndvi, dfi = np.array([np.array([green, dry, 1 - green - dry]) @ pure for dry in shares]).T
    swir16 = 0.9
    swir22 = swir16 * (1 - dfi / 100 / ((1 - ndvi) / (1 + ndvi)))
    return {
        "date": np.datetime64("2023-12-31", "D") + np.array(days, "timedelta64[D]"),
        "accepted": np.ones(len(shares), bool), "ndvi": ndvi, "ndmi": np.full(len(shares), (1 - swir16) / (1 + swir16)),
        "nbr": (1 - swir22) / (1 + swir22),
    }  # fmt: skip


def test_the_median_of_the_scenes_of_the_growing_season_counts():
    seen = observed(0.7, 0.2, 0.4, 0.6, 0.7, days=[60, 150, 200, 250, 330])  # the first and the last are outside it
    assert season_dry_share(SITE, seen, as_of=AS_OF) == pytest.approx(0.4)
    seen["accepted"][3] = False
    assert season_dry_share(SITE, seen, as_of=AS_OF) is None  # two scenes are too few


def test_a_season_of_the_year_before_counts_and_an_older_one_does_not():
    seen = observed(0.4, 0.4, 0.4, days=[150, 200, 250])
    assert season_dry_share(SITE, seen, as_of=date(2025, 6, 1)) == pytest.approx(0.4)
    assert season_dry_share(SITE, seen, as_of=date(2026, 6, 1)) is None


def test_there_is_no_reason_without_short_wave_bands():
    seen = observed(0.6, 0.6, 0.6, days=[150, 200, 250])
    assert dry_matter_reason(SITE, {**seen, "nbr": np.full(3, np.nan)}, as_of=AS_OF) is None
    empty = {name: values[:0] for name, values in seen.items()}
    assert dry_matter_reason(SITE, empty, as_of=AS_OF) is None


@pytest.mark.parametrize(("share", "named"), [(SUBSTANTIAL - 0.02, False), (SUBSTANTIAL + 0.02, True)])
def test_dry_matter_is_named_where_it_is_substantial_and_erosion_is_judged(share, named):
    seen = observed(*[share] * 3, days=[150, 200, 250])
    assert dry_matter_reason(SITE, seen, as_of=AS_OF) == (Reason.DRY_MATTER if named else None)
    assert dry_matter_reason(replace(SITE, intervention="planting"), seen, as_of=AS_OF) is None


def test_the_reason_changes_no_verdict_and_a_red_by_erosion_says_it():
    assert Reason.DRY_MATTER not in REASONS  # those that a verdict sets
    verdict = Assessment(
        site="a", as_of=AS_OF, last_observed=AS_OF, status=Status.FAILING, probability=0.95, alert=AlertLevel.RED,
        alert_rule="erosion", theta=0.1, theta_low=0.0, theta_high=0.2, uplift=0.02, uplift_low=0.0, uplift_high=0.04,
        expected=0.2, cover=0.2, control_cover=0.18, e_failure=3.0, n_scenes=90, n_pre=30, hectares=90.0,
        hectares_failing=None, reasons=("EROSION_COVER_LOW", "DRY_MATTER"),
    )  # fmt: skip
    for language, words in (("en", "green cover only"), ("zh", "只计绿色植被")):
        assert any(words in one for one in explain(verdict, SITE, language=language))
        assert words in sentence("DRY_MATTER", language)
        other = replace(verdict, alert_rule="failure")
        assert not any(words in one for one in explain(other, SITE, language=language))
