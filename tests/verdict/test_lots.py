"""Lots of known fate: judged together, at season ends only, and never on what is missing."""

import re
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.sites.site import Plan, Site
from monitor.verdict import lots
from monitor.verdict.assessment import AlertLevel, Series
from monitor.verdict.kernels.lot_model import SHOCKS, SPREAD, Information, lot_likelihood, shock_weights
from monitor.verdict.lots import Lot, LotReason, Member, MemberSeason, lot_of, lot_verdict, lot_verdicts, member_of
from tests import builders

PLAN = Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0)
START = date(2021, 1, 1)
END = date(2026, 12, 31)


def site(name: str = "a", **changes) -> Site:
    values = {"start": START, "plan": PLAN, "hectares": 50.0, "partner": "Green Fund", "programme_year": 2021}
    return builders.site(name, **(values | changes))


def member(
    name: str, theta: float, rng: np.random.Generator, *, shock=None, noise: float = 0.012, pre: int = 5
) -> Member:
    """A member with one amplitude a year: five years before the start and six after it."""
    own = rng.normal(theta, 0.2)
    baseline = rng.normal(0, 0.03)
    seasons = []
    for year in range(2016, 2027):
        expected = [PLAN.uplift(year - 2021 + 0.6 - lag) for lag in (0, 0.5, 1)]
        shared = 0.0 if shock is None else shock[year - 2011]
        seasons.append(
            MemberSeason(
                season=year, before=year < 2021,
                amplitude=baseline + own * expected[0] + shared + rng.normal(0, 0.012), expected=tuple(expected),
                gain_variance=0.01, b=(), c=(),
            )
        )  # fmt: skip
    return Member(
        site=name, hectares=50.0, start=START, judged_from=date(2023, 1, 1), promised=True, season_ends=287,
        seasons=informed(seasons),
    )  # fmt: skip


def informed(seasons: list[MemberSeason]) -> tuple[MemberSeason, ...]:
    """The seasons with the information on theta that their amplitudes give, each with an error of .016."""
    before = np.mean([s.amplitude for s in seasons if s.before] or [0.0])
    b, c, done = np.zeros(3), np.zeros(3), []
    for s in seasons:
        if not s.before:
            b = b + np.array(s.expected) * (s.amplitude - before) / 0.016**2
            c = c + np.array(s.expected) ** 2 / 0.016**2
        done.append(replace(s, b=tuple(b.tolist()), c=tuple(c.tolist())))
    return tuple(done)


def lot(theta: float, n: int = 20, seed: int = 0, **options) -> list[Member]:
    rng = np.random.default_rng(seed)
    return [member(f"m{i:02d}", theta, rng, **options) for i in range(n)]


def test_a_failed_lot_is_watched_then_red_and_says_since_when():
    looks = lot_verdicts(lot(0.0), as_of=END)
    assert [look.as_of.year for look in looks] == [2022, 2023, 2024, 2025, 2026]  # nothing was promised in the first
    assert looks[1].alert is not AlertLevel.NONE
    last = looks[-1]
    assert last.alert is AlertLevel.RED
    assert last.alert_since == next(look.as_of for look in looks if look.alert is AlertLevel.RED)
    assert last.theta_low < 0.0 < last.theta_high
    assert last.p_failing > 0.99
    assert (last.sites, last.hectares) == (20, 1000.0)


def test_a_lot_on_plan_raises_no_alert_and_its_interval_holds_the_truth():
    for look in lot_verdicts(lot(1.0), as_of=END):
        assert look.alert is AlertLevel.NONE
        assert look.theta_low < 1.0 < look.theta_high


def test_a_lot_is_never_red_while_it_is_too_early_for_its_members():
    looks = lot_verdicts([replace(m, judged_from=date(2026, 1, 1)) for m in lot(0.0)], as_of=END)
    assert [look.alert for look in looks if look.as_of.year < 2026 and look.alert is AlertLevel.RED] == []
    assert looks[-1].alert is AlertLevel.RED


def test_a_shock_that_all_members_share_is_not_taken_for_failure():
    """Without the shared shock in the model, twenty sites would be sure of a lot at half that had two bad years."""
    shock = np.array([0, 0, 0, 0, 0, 0.03, -0.03, 0.03, -0.02, 0.03, -0.01, -0.04, -0.03, 0, 0, 0.0])
    assert all(look.alert is not AlertLevel.RED for look in lot_verdicts(lot(0.6, shock=shock), as_of=END))
    calm = lot_verdicts(lot(0.6), as_of=END)[-1]
    assert lot_verdicts(lot(0.6, shock=shock), as_of=END)[-1].shock > 2 * calm.shock


def test_an_earlier_verdict_is_that_dates_verdict():
    members = lot(0.1, seed=3)
    looks = lot_verdicts(members, as_of=END)
    for look in looks:
        assert lot_verdict(members, as_of=look.as_of) == look
    assert lot_verdict(members, as_of=date(2024, 10, 13)) == looks[1]  # the season of 2024 has not ended
    assert lot_verdict(members[::-1], as_of=END) == looks[-1]


def test_a_lot_of_two_biomes_waits_for_the_later_season_and_does_not_judge_it_by_halves():
    early = [replace(m, season_ends=257) for m in lot(0.1, n=10, seed=3)]
    late = [replace(m, site=f"late-{m.site}") for m in lot(0.1, n=6, seed=5)]
    looks = lot_verdicts([*early, *late], as_of=END)
    assert all(look.as_of == late[0].ended(look.as_of.year) for look in looks)
    between = date(2025, 9, 20)  # the early members have ended 2025, the late ones have not
    known = [replace(m, seasons=tuple(s for s in m.seasons if m.ended(s.season) <= between)) for m in (*early, *late)]
    assert lot_verdict(known, as_of=between) == next(look for look in looks if look.as_of.year == 2024)


def test_members_may_start_late_in_the_year_and_have_plans_of_their_own():
    rng = np.random.default_rng(1)
    small, late = member("small", 0.0, rng), member("late", 0.0, rng)
    small = replace(
        small, seasons=informed([replace(s, expected=tuple(0.4 * e for e in s.expected)) for s in small.seasons])
    )
    late = replace(
        late, start=date(2021, 11, 1), judged_from=date(2023, 11, 1),
        seasons=informed([replace(s, expected=(s.expected[2],) * 3, before=s.season < 2022) for s in late.seasons]),
    )  # fmt: skip
    last = lot_verdict([*lot(0.0, n=8), small, late], as_of=END)
    assert last.sites == 10
    assert last.alert is AlertLevel.RED


def test_a_missing_season_is_neither_failure_nor_success():
    members = lot(1.0, seed=4)
    gaps = [replace(m, seasons=tuple(s for s in m.seasons if s.season != 2018 + i % 5)) for i, m in enumerate(members)]
    last = lot_verdict(gaps, as_of=END)
    assert last.sites == 20
    assert last.theta_low < 1.0 < last.theta_high
    nobody = [replace(m, seasons=tuple(s for s in m.seasons if s.season != 2026)) for m in members]
    assert lot_verdict(nobody, as_of=END).as_of.year == 2025  # the verdict stands as it was


def test_a_loss_does_not_say_whether_the_work_took_hold_and_counts_from_when_it_was_known():
    members = lot(1.0, seed=5)
    burnt = [
        replace(
            m, losses=((date(2025, 6, 1), date(2024, 8, 1)),),
            seasons=informed([replace(s, amplitude=s.amplitude - 0.3 * (s.season >= 2024)) for s in m.seasons]),
        )
        for m in members[:4]
    ]  # fmt: skip
    looks = lot_verdicts([*burnt, *members[4:]], as_of=END)
    assert looks[-1].theta_low < 1.0 < looks[-1].theta_high
    assert looks[2].as_of.year == 2024  # not known yet: it looks like poor growth
    assert looks[2].theta < looks[3].theta


def test_a_lot_that_cannot_be_judged_has_the_reason():
    members = lot(0.0)

    def reason(some):
        verdict = lot_verdict(some, as_of=END)
        assert verdict.theta is None
        assert verdict.alert is AlertLevel.NONE
        return verdict.reasons

    assert reason([]) == (LotReason.FEW_SITES,)
    assert reason(members[:1]) == (LotReason.FEW_SITES,)
    assert reason(members[:4]) == (LotReason.FEW_SITES,)
    assert reason([replace(m, promised=False) for m in members]) == (LotReason.NO_PLAN,)
    no_past = [replace(m, seasons=tuple(s for s in m.seasons if not s.before)) for m in members]
    assert reason(no_past) == (LotReason.NO_COMMON_SEASON,)
    apart = [
        replace(m, seasons=tuple(s for s in m.seasons if not s.before or s.season == 2016 + i % 5))
        for i, m in enumerate(members)
    ]
    assert reason(apart) == (LotReason.NO_COMMON_SEASON,)
    assert lot_verdict(members, as_of=date(2021, 12, 31)).reasons == (LotReason.TOO_EARLY,)
    assert lot_verdict(members, as_of=date(2020, 12, 31)).reasons == (LotReason.TOO_EARLY,)


def test_a_lot_is_its_partner_year_and_intervention_and_its_id_is_safe_everywhere():
    assert lot_of(site(partner=None)) is None
    assert lot_of(site(partner="  ")) is None
    assert lot_of(site(programme_year=None)) is None
    spaced = lot_of(site(partner=" Green  Fund\n"))
    assert spaced == lot_of(site()) == Lot(partner="Green Fund", programme_year=2021, intervention="planting")
    assert spaced.id == "lot-2021-planting-green-fund-90a0add2"
    hostile = ("../../etc", "绿源公司", "a\r\nBcc: x@y.z", "<script>", "CON", "\u202e evil", "x" * 300, "\x00")
    ids = {Lot(partner=name, programme_year=2021, intervention="erosion_control").id for name in hostile}
    assert len(ids) == len(hostile)
    assert all(re.fullmatch("lot-2021-erosion-control-[a-z0-9-]{8,40}", name) for name in ids)


def test_sites_are_grouped_by_lot():
    sites = [site("a"), site("b", intervention="tending"), site("c", partner=None), site("d")]
    assert [[member.id for member in members] for members in lots.lots_of(sites).values()] == [["a", "d"], ["b"]]


def series(added: float, *, start_growth: float = 0.0, outliers: int = 0) -> Series:
    """A control with a bell-shaped season, and a site that has `added` of that bell more, without any noise."""
    days = np.arange(np.datetime64("2016-01-01"), np.datetime64("2024-01-01"), np.timedelta64(8, "D"))
    doy = (days - days.astype("datetime64[Y]")).astype(int) + 1
    bell = np.exp(-0.5 * ((doy - 212) / 45) ** 2)
    control = 0.05 + 0.2 * bell
    years = (days - np.datetime64(START)).astype(int) / 365.25
    grown = start_growth * np.array([PLAN.uplift(t) for t in years])
    cover = control + (added + grown) * bell
    for k in range(outliers):
        cover[20 + 46 * k] = np.clip(cover[20 + 46 * k] - 0.2, 0, 1)
    return Series(dates=days, cover=cover, control=control)


def test_the_amplitude_is_what_was_added_and_the_expected_one_is_the_plans():
    quiet = member_of(series(0.05), site(), as_of=END)
    assert [s.season for s in quiet.seasons] == list(range(2016, 2024))
    assert [s.before for s in quiet.seasons] == [True] * 5 + [False] * 3
    np.testing.assert_allclose([s.amplitude for s in quiet.seasons], 0.05, rtol=0.05)
    on_plan = member_of(series(0.05, start_growth=1.0), site(), as_of=END)
    for season in on_plan.seasons:
        assert season.amplitude - 0.05 == pytest.approx(season.expected[0], rel=0.06, abs=0.004)
    assert quiet.seasons[-1].expected[2] == pytest.approx(quiet.seasons[-2].expected[0], rel=0.02)
    assert quiet.judged_from == date(2023, 1, 2)


def test_the_information_on_theta_is_that_of_the_filter_whatever_clouds_the_mask_missed():
    """Without noise theta is .5 under the plan as written, and seems larger under one that promises later growth."""
    for outliers in (0, 8):
        last = member_of(series(0.05, start_growth=0.5, outliers=outliers), site(), as_of=END).seasons[-1]
        theta = np.array(last.b[:3]) / np.array(last.c[:3])  # nothing was due yet two years later
        assert theta[0] == pytest.approx(0.5, abs=0.08)
        assert (np.diff(theta) > 0).all()
        assert (np.diff(last.c[:4]) < 0).all()


def test_members_add_up_to_what_all_their_scenes_say():
    """Without a spread, shock or drift, theta of a lot has the sums of its members' information."""
    b, c = np.array([[3.0, 2.0, 1.0], [5.0, 4.0, 3.0]]), np.array([[9.0, 6.0, 2.0], [8.0, 7.0, 5.0]])
    none = np.eye(len(SHOCKS))[0]
    calm = lot_likelihood(Information(b, c, np.full((2, 3), 1e9)), 0, none)
    own = 1 / (1 + SPREAD**2 * c)
    np.testing.assert_allclose(calm.b[0], (own * b).sum(axis=0))
    np.testing.assert_allclose(calm.c[0], (own * c).sum(axis=0))
    shaken = lot_likelihood(Information(b, c, np.full((2, 3), 0.01)), 0, np.eye(len(SHOCKS))[-1])
    variance = 1 / calm.c[0, 0] + SHOCKS[-1][0] ** 2 / 0.01  # of theta; the shock does not average out
    assert shaken.c[-1, 0] == pytest.approx(1 / variance)
    assert shaken.b[-1, 0] / shaken.c[-1, 0] == pytest.approx(calm.b[0, 0] / calm.c[0, 0])


@pytest.mark.parametrize("sd", [0.0, 0.015, 0.045])
def test_a_common_shock_is_found_in_the_seasons_before_the_start(sd):
    rng = np.random.default_rng(1)
    shocks = sd * np.array([0.4, -1.2, 0.9, -0.2, 1.5, -1.4, 0.0, -0.6])
    before = [dict(enumerate(rng.normal(0.1, 0.03) + shocks + rng.normal(0, 0.01, 8))) for _ in range(300)]
    found = np.sqrt(shock_weights(before) @ np.square([size for size, _ in SHOCKS]))
    assert found == pytest.approx(sd, abs=0.4 * sd + 0.002)
    np.testing.assert_array_equal(shock_weights(before[:4]), [prior for _, prior in SHOCKS])  # too few sites


def test_a_season_is_read_once_it_has_ended_and_has_three_scenes():
    whole = series(0.05)
    assert member_of(whole, site(), as_of=date(2022, 8, 1)).seasons[-1].season == 2021
    few = whole.dates.astype("datetime64[Y]") != np.datetime64("2019")
    few |= np.isin(np.arange(few.size), np.flatnonzero(~few)[18:20])
    thin = Series(dates=whole.dates[few], cover=whole.cover[few], control=whole.control[few])
    assert 2019 not in [s.season for s in member_of(thin, site(), as_of=END).seasons]


def test_an_empty_series_is_a_member_without_seasons():
    empty = Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))
    nobody = member_of(empty, site(hectares=0.0), as_of=END)
    assert (nobody.seasons, nobody.losses, nobody.hectares) == ((), (), None)


def test_a_site_that_promises_nothing_is_a_member_that_cannot_be_used():
    nothing = Plan(A=0.0, k=0.45, L=1.0, too_early_years=2.0)
    assert not member_of(series(0.05), site(plan=nothing), as_of=END).promised


def simulated(theta: float, shock: float, rng: np.random.Generator, *, n: int = 20, truth: Plan | None = None):
    """Members of a lot in the world of the benchmark, with a yearly shock that all of them share."""
    from benchmarks.verdict.simulate import FIRST_YEAR, World, simulate

    world = World(truth=truth)
    shocks = rng.normal(0, shock, world.pre + world.post)
    members = []
    for case in simulate(world, {"success": n}, rng, theta=rng.normal(theta, 0.2, n)):
        dates = case.series.dates
        doy = (dates - dates.astype("datetime64[Y]")).astype(int) + 1
        year = dates.astype("datetime64[Y]").astype(int) + 1970 - FIRST_YEAR
        moved = case.series.cover + shocks[year] * np.exp(-0.5 * ((doy - 215) / 45) ** 2)
        members.append(member_of(replace(case.series, cover=np.clip(moved, 0, 1)), case.site, as_of=END))
    return members


def test_a_simulated_lot_that_failed_is_red_within_five_years_and_one_on_plan_is_not():
    rng = np.random.default_rng(7)
    assert any(
        look.alert is AlertLevel.RED for look in lot_verdicts(simulated(0.0, 0.01, rng), as_of=date(2025, 12, 31))
    )
    assert all(look.alert is AlertLevel.NONE for look in lot_verdicts(simulated(1.0, 0.01, rng), as_of=END))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shock", "years", "at_least"), [(0.01, (3, 4), (0.05, 0.65)), (0.02, (4, 5), (0.3, 0.65))], ids=["0.01", "0.02"]
)
def test_failed_lots_are_found_as_early_as_documented(shock, years, at_least):
    rng = np.random.default_rng(100)
    first = [
        min((look.as_of.year - 2020 for look in lot_verdicts(simulated(0.0, shock, rng), as_of=END)
             if look.alert is AlertLevel.RED), default=99)
        for _ in range(60)
    ]  # fmt: skip
    for year, share in zip(years, at_least, strict=True):
        assert np.mean(np.array(first) <= year) >= share


@pytest.mark.slow
@pytest.mark.parametrize("shock", [0.0, 0.03])
@pytest.mark.parametrize("late", [False, True])
def test_lots_with_half_their_plan_are_hardly_ever_red(shock, late):
    rng = np.random.default_rng(200)
    truth = replace(PLAN, L=2.0) if late else None
    red = [
        any(look.alert is AlertLevel.RED for look in lot_verdicts(simulated(0.5, shock, rng, truth=truth), as_of=END))
        for _ in range(60)
    ]
    assert np.mean(red) <= 0.05
