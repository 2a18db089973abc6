"""The sites of a programme judged together: who is visited first, and what share fails."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from monitor.verdict import programme_list
from monitor.verdict.assess import DEFAULT
from monitor.verdict.lots import DELAYS, Member, MemberSeason
from monitor.verdict.programme_list import GRID, LAG_PRIOR, likelihood_of, posterior, programme_posterior

GAIN = 0.01


def season(year: int, theta: float, c: float, rng: np.random.Generator, *, shock: float = 0.0) -> MemberSeason:
    """A season of a site that started in 2021; its scenes say b / c about theta, c known."""
    before = year < 2021
    grown = 0.0 if before else 0.03 * (year - 2020)
    estimate = float(theta) + rng.normal(0, c**-0.5)
    return MemberSeason(
        season=year, before=before, amplitude=rng.normal(0, 0.01) + float(shock), expected=(grown,) * len(DELAYS),
        gain_variance=GAIN - DEFAULT.gain_sd**2,
        b=(0.0 if before else estimate * c,) * len(DELAYS), c=(0.0 if before else c,) * len(DELAYS),
    )  # fmt: skip


def programme(theta: np.ndarray, *, c: float = 40.0, last: int = 2024, shock=None, seed: int = 0) -> list[Member]:
    rng = np.random.default_rng(seed)
    shocks = dict.fromkeys(range(2013, 2030), 0.0) if shock is None else shock
    return [
        Member(
            site=f"s{i:04d}", hectares=10.0, start=date(2021, 1, 1), judged_from=date(2023, 1, 1), promised=True,
            season_ends=287,
            seasons=tuple(season(year, share, c, rng, shock=shocks[year]) for year in range(2013, last + 1)),
        )
        for i, share in enumerate(theta)
    ]  # fmt: skip


MIXED = np.repeat([0.0, 0.5, 1.0], [120, 80, 200])


def test_the_failed_sites_of_a_mixed_programme_are_listed_and_hardly_any_other():
    found = programme_posterior(programme(MIXED))
    listed = [MIXED[int(found.sites[place][1:])] for place in found.to_visit()]
    assert listed.count(0.0) > 100
    assert np.mean(np.array(listed) >= 0.5) < 0.08
    assert np.diff(found.above[found.to_visit()]).min() >= 0  # likeliest failure first
    share, low, high = found.failing_share(range(400))
    assert low < 0.3 < high
    assert share == pytest.approx(0.3, abs=0.05)
    assert high - low < 0.2
    some = [place for place, site in enumerate(found.sites) if MIXED[int(site[1:])] == 1.0]
    assert found.failing_share(some)[0] < 0.05


def test_the_interval_of_the_failing_share_holds_the_truth():
    """Of 20 programmes of 60 sites, one or two may miss."""
    held = []
    for seed in range(20):
        theta = np.random.default_rng(seed).choice([0.0, 1.0], 60, p=[0.3, 0.7])
        _, low, high = programme_posterior(programme(theta, c=12.0, seed=seed)).failing_share(range(60))
        held.append(low <= (theta < 0.35).mean() <= high)
    assert sum(held) >= 17


def test_where_nothing_failed_nothing_is_listed():
    assert programme_posterior(programme(np.full(200, 1.0))).to_visit() == []


def test_a_site_that_tells_nothing_takes_the_share_of_its_programme():
    """Empirical Bayes: of 100 sites a third failed for sure; one of which nothing is known failed with a third."""
    theta = np.repeat([0.0, 1.0], [50, 100])
    silent = programme(np.zeros(1), c=1e-6)[0]
    found = programme_posterior([*programme(theta, c=400.0), replace(silent, site="silent")])
    assert 1 - found.above[found.sites.index("silent")] == pytest.approx(1 / 3, abs=0.05)


def test_the_em_algorithm_finds_the_maximum_that_an_optimiser_finds():
    rng = np.random.default_rng(3)
    c = rng.uniform(5, 40, (8, LAG_PRIOR.size))
    b = c * rng.normal(0.4, 0.5, (8, 1))
    likelihood = likelihood_of(GRID[None], b, c, np.full(8, GAIN))
    prior = np.repeat(LAG_PRIOR / GRID.size, GRID.size) * max(programme_list.PRIOR_WEIGHT * 8, 2.0)

    def height(logs):
        """Log posterior of the weights exp(logs), up to their norm, and its gradient."""
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        per_site = likelihood @ weights
        slope = weights * (likelihood / per_site[:, None]).sum(axis=0) + prior
        return -np.log(per_site).sum() - prior @ np.log(weights), weights * slope.sum() - slope

    best = minimize(height, np.zeros(prior.size), jac=True, method="L-BFGS-B", options={"maxiter": 5000})
    weights = programme_list.fitted(likelihood, np.ones(8), 3000)
    assert height(np.log(weights))[0] == pytest.approx(best.fun, abs=1e-4)
    np.testing.assert_allclose(posterior(likelihood, weights).sum(axis=1), 1.0)


def test_the_posterior_of_a_site_is_that_by_brute_force():
    """b / c is theta with an error of variance 1 / c and of theta^2 times the gain's."""
    b, c = np.array([[3.0, 2.5, 2.0, 1.5, 1.0, 0.8]]), np.array([[20.0, 15.0, 11.0, 8.0, 6.0, 4.0]])
    weights = np.random.default_rng(1).dirichlet(np.ones(GRID.size * LAG_PRIOR.size))
    joint = np.zeros(GRID.size)
    for lag in range(LAG_PRIOR.size):
        for place, theta in enumerate(GRID):
            seen = norm.pdf(b[0, lag] / c[0, lag], theta, np.sqrt(1 / c[0, lag] + theta**2 * GAIN))
            nothing = norm.pdf(b[0, lag] / c[0, lag], 0.0, np.sqrt(1 / c[0, lag]))  # the data are those of all lags
            joint[place] += weights[lag * GRID.size + place] * seen / nothing
    got = posterior(likelihood_of(GRID[None], b, c, np.array([GAIN])), weights)
    np.testing.assert_allclose(got[0], joint / joint.sum(), rtol=1e-10)


def test_the_list_is_the_largest_set_that_the_rule_allows():
    above = np.random.default_rng(2).beta(0.4, 0.6, 60)
    found = programme_list.ProgrammePosterior(sites=tuple(map(str, range(60))), above=above, failing=1 - above[None])
    listed = found.to_visit()
    assert above[listed].mean() <= programme_list.MOST_WRONG
    left = np.setdiff1d(np.arange(60), listed)
    nearest = left[above[left].argmin()]
    assert above[nearest] > 0.5 or above[[*listed, nearest]].mean() > programme_list.MOST_WRONG


def test_thirty_old_enough_sites_with_a_promise_are_needed():
    thirty = programme(np.zeros(30))
    assert programme_posterior(thirty) is not None
    assert programme_posterior(thirty[1:]) is None
    assert programme_posterior(thirty[:1]) is None
    assert programme_posterior([]) is None
    assert programme_posterior([*thirty[1:], replace(thirty[0], promised=False)]) is None  # a plan of zero
    assert programme_posterior([*thirty[1:], replace(thirty[0], seasons=())]) is None
    assert programme_posterior(programme(np.zeros(60), last=2023)) is None  # the third year
    lost = replace(thirty[0], losses=((date(2023, 8, 1), date(2023, 7, 1)),))  # judged until 2022 only
    assert programme_posterior([*thirty[1:], lost]) is None


def test_the_order_of_the_sites_does_not_matter():
    members = programme(MIXED)
    one, other = programme_posterior(members), programme_posterior(members[::-1])
    assert one.sites == other.sites
    np.testing.assert_array_equal(one.above, other.above)


def test_where_a_common_shock_is_likely_fewer_sites_are_listed():
    """Sites at half their plan, and a bad year: without the guard all of them would seem to have failed."""
    shocks = dict(zip(range(2013, 2030), np.tile([0.05, -0.05], 9)[:17], strict=True))
    calm, shaken = (programme_posterior(programme(np.full(200, 0.2), shock=s)) for s in (None, shocks))
    assert len(calm.to_visit()) > 180
    assert len(shaken.to_visit()) < 20
