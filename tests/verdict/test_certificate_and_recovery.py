"""What stands beside the verdict: certificate of uplift, recovery, soil loss, sites in parts, later episodes."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.errors import BadData
from monitor.sites.site import Plan
from monitor.verdict import erosion
from monitor.verdict.assess import DEFAULT, assess
from monitor.verdict.assessment import AlertLevel, Series, Status
from monitor.verdict.calibration import Calibration, boundary, remaining
from monitor.verdict.explain import explain
from tests import builders
from tests.verdict.test_known_fates import assess_all

PLAN = Plan(A=0.20, k=0.6, L=0.3, too_early_years=1.5)
SITE = builders.site("loess-2", start=date(2020, 4, 1), plan=PLAN, hectares=40.0)
END = date(2024, 12, 31)


WHOLE = ((SITE.start, 1.0),)


def story(theta: float = 0.0, *, seed: int = 0, base: float = 0.2, first: int = 2015, parts=WHOLE) -> Series:
    rng = np.random.default_rng(seed)
    days = np.arange(np.datetime64(f"{first}-01-05"), np.datetime64("2024-12-31"), np.timedelta64(8, "D"))
    s = np.exp(-0.5 * (((days - days.astype("datetime64[Y]")).astype(int) - 214) / 45) ** 2)
    uplift = theta * sum(
        share * np.array([PLAN.uplift(float(t)) for t in (days - np.datetime64(day)).astype(int) / 365.25])
        for day, share in parts
    )
    control = 0.04 + base * s + rng.normal(0, 0.005, days.size)
    cover = control + uplift * s + rng.normal(0, 0.02, days.size)
    return Series(dates=days, cover=np.clip(cover, 0, 1), control=np.clip(control, 0, 1))


def test_growth_is_certified_once_and_for_all_and_its_absence_hardly_ever():
    every = assess_all(story(1.0), SITE)
    grown = [a.uplift_confirmed for a in every]
    assert grown[-1]
    assert grown == sorted(grown), "what was certified stays so"
    first = next(a.as_of for a in every if a.uplift_confirmed)
    assert {a.uplift_confirmed_on for a in every} == {None, first}
    idle = [assess(story(0.0, seed=seed), SITE, as_of=END) for seed in range(60)]
    assert sum(a.uplift_confirmed for a in idle) <= 1
    assert all(a.e_uplift >= 1 for a in idle)


def test_a_second_ring_that_greens_with_the_site_withholds_the_certificate():
    seen = story(1.0)
    assert assess(seen, SITE, as_of=END).uplift_confirmed
    assert not assess(replace(seen, control_2=seen.cover), SITE, as_of=END).uplift_confirmed


def test_where_nothing_was_promised_nothing_is_certified():
    found = assess(story(1.0), replace(SITE, plan=replace(PLAN, A=0.0)), as_of=END)
    assert found.e_uplift is None
    assert not found.uplift_confirmed


def test_a_site_as_green_as_the_best_ground_for_two_seasons_has_recovered_whatever_was_promised():
    seen = story(0.6, base=0.5)
    best = replace(seen, reference=np.clip(seen.control * 1.05, 0, 1))
    tall = replace(SITE, plan=replace(PLAN, A=0.6))  # and promised far more than it reached
    found = assess(best, tall, as_of=END)
    assert found.status is Status.RECOVERED
    assert found.alert is AlertLevel.NONE
    assert found.probability >= 0.9
    assert assess(seen, tall, as_of=END).status in (Status.LAGGING, Status.FAILING)
    assert "Recovered." in explain(found, tall)


def test_one_season_at_the_reference_is_not_enough_and_a_bare_site_never_is():
    seen = story(1.0)
    far = np.clip(2.2 * seen.control, 0, 1)
    low = np.where(seen.dates >= np.datetime64("2024-01-01"), seen.control, far)
    assert assess(replace(seen, reference=low), SITE, as_of=END).status is Status.ON_TRACK
    assert assess(replace(seen, reference=far), SITE, as_of=END).status is Status.ON_TRACK
    failing = story(0.0)
    assert assess(replace(failing, reference=np.clip(2 * failing.control, 0, 1)), SITE, as_of=END).status is not (
        Status.RECOVERED
    )


def test_ground_that_was_already_green_has_recovered_only_if_something_grew():
    plan = replace(SITE, plan=replace(PLAN, A=0.08))
    idle, grown = story(0.0, base=0.55), story(0.6, base=0.55)
    best = np.clip(1.12 * idle.control, 0, 1)  # nine tenths of it were there from the first day
    assert (idle.cover / best).mean() > 0.85
    assert assess(replace(idle, reference=best), plan, as_of=END).status is not Status.RECOVERED
    assert assess(replace(grown, reference=best), plan, as_of=END).status is Status.RECOVERED


def test_a_site_that_has_recovered_is_not_called_so_while_it_is_too_early():
    seen = story(1.0)
    found = assess(replace(seen, reference=seen.control), SITE, as_of=date(2021, 9, 1))
    assert found.status is Status.TOO_EARLY


@pytest.mark.parametrize(
    ("cover", "factor"),
    [(0.0, 1.0), (0.01, 0.6508), (0.10, 0.3072), (0.50, 0.0670), (0.783, 0.0), (0.9, 0.0), (np.nan, np.nan)],
)
def test_soil_loss_falls_with_cover_as_the_formula_says(cover, factor):
    assert erosion.cover_factor(np.array([cover]))[0] == pytest.approx(factor, abs=1e-4, nan_ok=True)


def test_relative_soil_loss_is_that_of_the_cover_over_that_without_the_work():
    ratio = erosion.soil_loss_ratio(np.array([0.4, 0.4, 0.9, 0.4]), np.array([0.2, 0.0, 0.05, np.nan]))
    assert ratio[0] == pytest.approx((0.6508 - 0.3436 * np.log10(40)) / (0.6508 - 0.3436 * np.log10(20)))
    assert ratio[1] == 1.0
    assert np.isnan(ratio[2:]).all(), "closed ground loses no soil either way; and what is not known stays so"


def test_erosion_control_reports_relative_soil_loss_with_its_interval_its_grade_and_what_is_unverified():
    slope = replace(SITE, intervention="erosion_control", slope_degrees=22.0)
    found = assess(story(1.0), slope, as_of=END)
    assert found.soil_loss_ratio_low < found.soil_loss_ratio < found.soil_loss_ratio_high < 1.0
    assert found.erosion_grade in erosion.GRADE_NAMES
    greener = assess(story(1.0, base=0.3), slope, as_of=END)  # season means: 22 % of cover, and 34 % with the work
    assert (greener.erosion_grade_without, greener.erosion_grade) == ("intense", "moderate")
    assert "unverified" in found.notes
    idle = assess(story(0.0), slope, as_of=END)
    assert idle.soil_loss_ratio_low < 1.0 < idle.soil_loss_ratio_high
    other = assess(story(1.0), SITE, as_of=END)
    assert (other.soil_loss_ratio, other.erosion_grade, other.notes) == (None, None, "")


def test_a_slope_whose_grade_is_not_bettered_after_the_due_date_is_red_by_the_rule_of_erosion():
    bare = replace(SITE, intervention="erosion_control", slope_degrees=22.0, plan=replace(PLAN, A=0.6))
    reds = [a for a in assess_all(story(0.0, base=0.3), bare) if a.alert_rule == "erosion"]
    assert reds
    for found in reds:
        assert (found.alert, found.status) == (AlertLevel.RED, Status.FAILING)
        assert "EROSION_COVER_LOW" in found.reasons
        assert found.as_of >= date(2021, 10, 1), "the due date"


def test_a_slope_that_is_not_surely_unprotected_is_watched():
    slope = replace(SITE, intervention="erosion_control", slope_degrees=22.0, plan=replace(PLAN, A=0.5))
    found = [a for a in assess_all(story(0.0, base=0.27), slope) if a.alert_rule == "erosion"]
    assert {a.alert for a in found} == {AlertLevel.WATCH}
    assert all("EROSION_COVER_LOW" in a.reasons for a in found)


def test_a_slope_that_grew_by_half_of_its_plan_is_never_red_by_the_rule_of_erosion():
    slope = replace(SITE, intervention="erosion_control", slope_degrees=22.0, plan=replace(PLAN, A=0.5))
    half = assess_all(story(0.5 * 0.5 / PLAN.A, base=0.3), slope)
    assert not any(a.alert is AlertLevel.RED for a in half)


def test_where_wind_moves_the_sand_the_grade_is_that_of_cover_alone_and_no_soil_washes_away():
    sand = replace(SITE, biome="sandy", intervention="erosion_control", slope_degrees=None)
    found = assess(story(1.0, base=0.1), sand, as_of=END)  # cover .22 by the index, .33 in the field; without work .15
    assert (found.erosion_grade_without, found.erosion_grade) == ("intense", "moderate")
    assert (found.soil_loss_ratio, found.notes) == (None, "")
    gully = replace(sand, subtype="gully")  # washed out by water, whatever the biome: not graded without a slope
    assert assess(story(1.0, base=0.3), gully, as_of=END).erosion_grade is None


def test_a_site_planted_in_two_halves_is_measured_against_the_sum_of_both():
    halves = ((SITE.start, 0.5), (date(2022, 4, 1), 0.5))
    seen = story(1.0, parts=halves)
    whole = assess(seen, SITE, as_of=END)
    found = assess(seen, replace(SITE, cohorts=halves), as_of=END)
    tau = (END - SITE.start).days / 365.25, (END - halves[1][0]).days / 365.25
    assert found.expected == pytest.approx(sum(PLAN.uplift(t) for t in tau) / 2)
    assert found.theta == pytest.approx(1.0, abs=0.15)
    assert found.theta > whole.theta + 0.1, "as if all of it had been planted at once, it would lag"
    assert assess(seen, replace(SITE, cohorts=WHOLE), as_of=END) == whole


def test_a_site_that_was_mostly_planted_later_is_too_early_for_longer():
    late = ((SITE.start, 0.3), (date(2022, 4, 1), 0.7))
    site = replace(SITE, cohorts=late)
    assert assess(story(1.0, parts=late), site, as_of=date(2023, 9, 1)).status is Status.TOO_EARLY
    assert assess(story(1.0, parts=late), site, as_of=date(2024, 9, 1)).status is not Status.TOO_EARLY


@pytest.mark.parametrize("parts", [
    ((SITE.start, 0.5), (date(2022, 4, 1), 0.4)), ((date(2021, 4, 1), 1.0),), ((SITE.start, 0.5), (SITE.start, 0.5)),
    ((SITE.start, 1.2), (date(2022, 4, 1), -0.2)),
], ids=["nine tenths", "another start", "twice the same day", "negative"])  # fmt: skip
def test_parts_that_do_not_make_up_the_site_are_refused(parts):
    with pytest.raises(BadData, match="cohorts of site 'loess-2'"):
        assess(story(1.0), replace(SITE, cohorts=parts), as_of=END)


def test_a_later_episode_has_what_is_left_of_the_budget():
    assert remaining(0.05, 1.0) == 0.05
    left = [remaining(0.05, years) for years in (2.5, 3.5, 5.0, 30.0)]
    assert (np.diff(left) < 0).all()
    assert left[-1] == pytest.approx(0.005)
    assert boundary(left[-1]) > boundary(0.05)
    again = replace(SITE, start=date(2020, 4, 1))
    first, next_one = (assess(story(0.0), again, as_of=date(2022, 10, 30), alpha=a) for a in (0.05, 0.0002))
    assert first.e_failure == next_one.e_failure
    assert next_one.alert is not AlertLevel.RED


def test_a_fire_and_a_dieback_in_drought_are_distinguished():
    seen = story(1.0)
    lost = seen.dates >= np.datetime64("2024-06-20")
    summer = np.exp(-0.5 * (((seen.dates - seen.dates.astype("datetime64[Y]")).astype(int) - 214) / 45) ** 2)
    burnt = np.clip(np.where(lost, seen.cover - 0.2 * summer, seen.cover), 0, 1)
    calm = np.random.default_rng(1).normal(0, 0.02, seen.dates.size)
    fire = assess(replace(seen, cover=burnt, second=np.where(lost, calm - 0.3, calm)), SITE, as_of=date(2024, 10, 1))
    assert fire.status is Status.DISTURBED
    assert "FIRE" in fire.reasons
    assert "DROUGHT_DIEBACK" not in fire.reasons
    dry = seen.dates >= np.datetime64("2024-01-01")
    thirst = replace(
        seen, cover=np.clip(np.where(dry, burnt - 0.5 * (seen.control - 0.04), burnt), 0, 1),
        control=np.where(dry, 0.04 + 0.5 * (seen.control - 0.04), seen.control),
        second=np.where(lost, calm - 0.3, calm),
    )  # fmt: skip
    died = assess(thirst, SITE, as_of=date(2024, 10, 1))
    assert died.alert_rule == "disturbance"
    assert "DROUGHT_DIEBACK" in died.reasons
    assert "FIRE" not in died.reasons


def test_drought_is_not_claimed_before_five_seasons_are_known():
    def reasons(first: int) -> tuple[str, ...]:
        seen = story(1.0, first=first)
        dry = seen.dates >= np.datetime64("2022-01-01")
        one = Series(
            dates=seen.dates,
            cover=np.where(dry, 0.5 * seen.cover, seen.cover), control=np.where(dry, 0.5 * seen.control, seen.control),
        )  # fmt: skip
        return assess(one, SITE, as_of=date(2022, 9, 15)).reasons

    assert "DROUGHT" in reasons(2015)
    assert "DROUGHT" not in reasons(2019)


def test_a_place_without_scenes_is_explained_as_not_covered():
    empty = Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))
    found = assess(empty, SITE, as_of=END)
    assert any("source covers it" in sentence for sentence in explain(found, SITE))
    assert not any("More clear scenes" in sentence for sentence in explain(found, SITE))


def test_a_calibration_comes_back_from_plain_values_under_the_same_hash():
    one = replace(DEFAULT, slow_sd=0.03, boundary=((0.05, 8.0), (0.02, 20.0)), dated=date(2027, 1, 1), placebos=500)
    again = Calibration.from_json(one.to_json())
    assert again == one
    assert again.hash == one.hash != DEFAULT.hash
