"""Which sites of a programme to visit first, and what share of it fails: all sites judged together.

Empirical Bayes [1]_: the shares of the plan that the sites achieved, and how late growth came, have one distribution,
which is estimated from all sites by the EM algorithm [2]_. With a slow plan years pass before one site can be judged
alone; how a whole programme fares is known sooner, and so are its likeliest failures. The list is advice where to look.
It raises no alert: it says that most of its sites fail, not that each one does.

A shock that touches all sites in a season would look like a small uplift of them all. Its size is estimated from the
seasons before the start, like that of a lot. The EM algorithm runs on :data:`DRAWS` resamplings of the sites, each at
another size and sign of the shock, and the probabilities are averaged.

References
----------
.. [1] B. Efron, "Large-scale inference," Cambridge University Press, 2010, doi:10.1017/CBO9780511761362.
.. [2] A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm,"
   J. R. Stat. Soc. B, 1977, doi:10.1111/j.2517-6161.1977.tb01600.x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from scipy.special import ndtri

from monitor.verdict.assess import DEFAULT
from monitor.verdict.kernels.lot_model import SHOCKS, shock_weights
from monitor.verdict.lots import Member, MemberSeason, amplitudes_before

MIN_SITES: Final = 30
"""Fewest sites from which the distribution is estimated."""
LIST_DAYS: Final = 1278
"""From the start to the end of the last season, at least: three years and a half, so that it was about the fourth.
[day]"""
GRID: Final = np.round(np.arange(-0.4, 1.51, 0.1), 1)
"""Values of theta. [1]"""
LAG_PRIOR: Final = np.array([0.6, 0.15, 0.12, 0.06, 0.04, 0.03])
"""Prior probability of each delay of growth after the plan: 0, .5, ... 2.5 years. [1]"""
PRIOR_WEIGHT: Final = 0.02
"""Weight of the prior, as a share of the number of sites; two sites at least. Uniform over theta. [1]"""
NOT_FAILED: Final = 0.4
"""Theta from which a listed site is listed wrongly. [1]"""
MOST_WRONG: Final = 0.10
"""Largest mean probability over the list that a site is listed wrongly. [1]"""
EACH_WRONG: Final = 0.5
"""Largest probability of a listed site that it is listed wrongly. [1]"""
FAILING: Final = 0.35
"""Theta below which a site is part of the failing share. [1]"""
FIRST_STEPS: Final = 60
STEPS: Final = 20
"""Steps of the EM algorithm: with 150 instead of 60 lists differ by one site in fifty (2026-11); a resampling begins
where the programme itself ended."""
DRAWS: Final = 20
"""Resamplings of the sites: the half width of an interval is known to a sixth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgrammePosterior:
    """What all sites of a programme say about each."""

    sites: tuple[str, ...]
    above: np.ndarray
    """(site,) probability that theta is at least :data:`NOT_FAILED`. [1]"""
    failing: np.ndarray
    """(draw, site) probability that theta is below :data:`FAILING`, of :data:`DRAWS` resamplings of the sites. [1]"""

    def to_visit(self) -> list[int]:
        """Places of the sites to visit first, the likeliest failure first; empty: none is likely enough.

        The largest set in which the mean probability of being listed wrongly is at most :data:`MOST_WRONG`, without
        those more likely wrong than not.
        """
        order = np.argsort(self.above, kind="stable")
        mean = np.cumsum(self.above[order]) / np.arange(1, order.size + 1)
        size = int(np.flatnonzero(mean <= MOST_WRONG).max(initial=-1)) + 1
        return [int(i) for i in order[:size] if self.above[i] <= EACH_WRONG]

    def failing_share(self, places: Sequence[int]) -> tuple[float, float, float]:
        """Share of some sites that fails, with its 95 % interval; at least one site.

        The interval has three parts: which sites the programme happens to have, the common shock (both vary from draw
        to draw), and the chance of each site itself.
        """
        chance = self.failing[:, list(places)]
        draws, share = chance.mean(axis=1), float(chance.mean())
        own = float((chance * (1 - chance)).mean()) / chance.shape[1]
        half = 1.96 * float(np.sqrt(draws.var(ddof=1) + own))
        return share, max(share - half, 0.0), min(share + half, 1.0)


def programme_posterior(members: Sequence[Member]) -> ProgrammePosterior | None:
    """Judge the sites of a programme together, from their ended seasons.

    Parameters
    ----------
    members : sequence of Member
        Sites, in any order, see :func:`monitor.verdict.lots.member_of`. Those without a promised uplift, and those
        younger than :data:`LIST_DAYS` at the end of their last season, are left out.

    Returns
    -------
    ProgrammePosterior or None
        None: fewer than :data:`MIN_SITES` sites.
    """
    known = sorted(((member, member.usable(date.max)) for member in members), key=lambda pair: pair[0].site)
    used = [(member, seasons) for member, seasons in known if _is_judged(member, seasons)]
    if len(used) < MIN_SITES:
        return None
    last = [seasons[-1] for _, seasons in used]
    b, c, gain_variance = (np.array([getattr(one, name) for one in last]) for name in ("b", "c", "gain_variance"))
    gain_variance += DEFAULT.gain_sd**2
    squares = [sum(one.expected[0] ** 2 for one in seasons if not one.before) for _, seasons in used]
    weights = shock_weights([amplitudes_before(seasons) for _, seasons in used])
    shift = np.sqrt(weights @ np.square([sd for sd, _ in SHOCKS]) / squares)
    first = fitted(likelihood_of(GRID[None], b, c, gain_variance), np.ones(len(used)), FIRST_STEPS)
    rng = np.random.default_rng(20261130)
    shocks = rng.permutation(ndtri((np.arange(DRAWS) + 0.5) / DRAWS))
    above, failing = np.zeros(len(used)), np.empty((DRAWS, len(used)))
    for draw, shock in enumerate(shocks):
        likelihood = likelihood_of(GRID + shock * shift[:, None], b, c, gain_variance)
        count = np.bincount(rng.integers(len(used), size=len(used)), minlength=len(used))
        theta = posterior(likelihood, fitted(likelihood, count, STEPS, first))
        above += theta[:, GRID >= NOT_FAILED].sum(axis=1) / DRAWS
        failing[draw] = theta[:, GRID < FAILING].sum(axis=1)
    return ProgrammePosterior(sites=tuple(member.site for member, _ in used), above=above, failing=failing)


def _is_judged(member: Member, seasons: Sequence[MemberSeason]) -> bool:
    """Whether a site is old enough, and known where uplift was due."""
    old = bool(seasons) and member.ended(seasons[-1].season) >= member.start + timedelta(days=LIST_DAYS)
    return member.promised and old and seasons[-1].c[0] > 0 and seasons[-1].expected[0] > 0


def likelihood_of(theta: np.ndarray, b: np.ndarray, c: np.ndarray, gain_variance: np.ndarray) -> np.ndarray:
    """Likelihood of each site at each lag and theta, (site, lag * theta), its largest value 1.

    `theta` is (site or 1, theta), `b` and `c` are (site, lag) information on theta, see
    :class:`monitor.verdict.kernels.theta.Theta`, and `gain_variance` is (site,).
    """
    theta, b, c, gain = theta[:, None], b[:, :, None], c[:, :, None], gain_variance[:, None, None]
    square = theta**2
    more = 1.0 + square * gain * c
    logs = (theta * b - 0.5 * square * c + 0.5 * square * gain * b**2) / more - 0.5 * np.log(more)
    logs = logs.reshape(len(b), -1)
    likelihood: np.ndarray = np.exp(logs - logs.max(axis=1, keepdims=True))
    return likelihood


def fitted(likelihood: np.ndarray, count: np.ndarray, steps: int, start: np.ndarray | None = None) -> np.ndarray:
    """Distribution of lag and theta in a programme, (lag * theta,), by the EM algorithm with a Dirichlet prior.

    `count` says how often each site counts; the steps begin with `start`, or the prior.
    """
    prior = np.repeat(LAG_PRIOR / GRID.size, GRID.size) * max(PRIOR_WEIGHT * count.sum(), 2.0)
    weights = prior / prior.sum() if start is None else start
    for _ in range(steps):
        weights = weights * ((count / (likelihood @ weights)) @ likelihood) + prior
        weights /= weights.sum()
    return weights


def posterior(likelihood: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability of each theta at each site, (site, theta), all lags together."""
    joint = (likelihood * weights).reshape(len(likelihood), LAG_PRIOR.size, GRID.size).sum(axis=1)
    normed: np.ndarray = joint / joint.sum(axis=1, keepdims=True)
    return normed
