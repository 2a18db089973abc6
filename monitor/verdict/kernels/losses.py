"""Sudden losses: a generalised likelihood ratio test for steps in the difference between site and control (numba)."""

import math
from typing import NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import (
    BANK,
    CALM,
    CONFIRM_DAYS,
    DOUBT_MOST,
    DROP,
    EARLIER_DAYS,
    ELASTICITY_THETA,
    FLANK_DAYS,
    LOWER,
    ONSET_DAYS,
    PHASE_DAYS,
    SAME_TIME,
    SEARCH_MEAN,
    SEARCH_SD,
    SEASON_OF_GROWTH,
    WEIGHED_DAYS,
)
from monitor.verdict.kernels.state_space import (
    decay_factors,
    initial_state,
    innovation,
    observe,
    predict,
    rain_before,
    scaled_noise,
    update,
)
from monitor.verdict.kernels.types import Array, Noise, SeasonState, Times, inlined, kernel


class Losses(NamedTuple):
    """Sudden losses of a series, (n,) arrays."""

    score: np.ndarray
    """Log evidence for a loss at some recent date, were one a year expected; 0 where no date has been tried yet."""
    confirmed: np.ndarray  # whether a loss was confirmed at this scene
    onset: np.ndarray  # index of the scene at which the current loss began, from its confirmation on; -1 without one
    denied: np.ndarray  # whether the score sufficed but the second index did not fall


class _Bank(NamedTuple):
    """Onset dates tried at a time, one slot each."""

    columns: np.ndarray  # (BANK, 8) what a unit step would have changed of the state
    b: np.ndarray  # information vector of the step's size
    c: np.ndarray  # information matrix (scalar) of the step's size
    first: np.ndarray  # index of the scene of onset; -1: slot not in use
    years: np.ndarray  # time since the previous onset date, the prior weight of this one [year]


@inlined
def search_noise(stiff: Noise, noise: Noise, baseline: float, wander: float, scene: float) -> Noise:
    """Noise of the loss search at a site with its own factors (see ``own_noise``); `harmonic` is not used by it.

    The search ignores the drift of calm ground, which would absorb the loss, but allows for drift beyond it.
    """
    beyond = noise.slow**2 * max(wander**2 - CALM**2, 0.0)
    return scaled_noise(stiff, baseline, math.sqrt(1.0 + beyond / stiff.slow**2), scene)


@kernel
def detect_losses(
    times: Times, difference: Array, state: SeasonState, curve: Array, scene_variance: Array, second: Array,
    start: int, noise: Noise, loss_sd: float, bar: float,
) -> Losses:  # fmt: skip
    """Detect sudden losses with a bank of steps, one for each date on which a loss may have begun.

    The Kalman filter without a loss and, beside it, what a step would have changed: the generalised likelihood ratio
    test [1]_, with a fixed size of step. Each date stands for the days since the one before it: a loss may come on any
    day of the year, most of which are outside the season, and shows at the season's first scenes.

    The site may green earlier or later than its control, which looks like a loss in spring or autumn: its lasting shift
    in days (prior standard deviation :data:`PHASE_DAYS`) is part of the state, in place of the annual harmonic, and
    what else shifts from scene to scene (:data:`FLANK_DAYS`) makes scenes on the flanks of the season count less. New
    growth responds to each season in its own way (:data:`SEASON_OF_GROWTH`).

    Evidence on a confirmed loss is updated until the bank needs its slot; until then no other loss is confirmed. Then
    it becomes part of the baseline, and the search restarts.

    Parameters
    ----------
    times : Times
    difference : (n,) array, site minus control [cover fraction]
    state : SeasonState
    curve : (n,) array, promised uplift at each scene [cover fraction]
    scene_variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    second : (n,) array, a second index, site minus control, which must have fallen too; NaN where there is none
    start : int, start of the work, days from 1970-01-01
    noise : Noise, see :func:`search_noise`
    loss_sd : float, prior standard deviation of a loss [cover fraction]
    bar : float
        Score that three consecutive scenes of a season must reach, over :data:`CONFIRM_DAYS` or more; the site must
        also be lower than a year before, see :func:`lower_than_a_year_before`.

    References
    ----------
    .. [1] A. S. Willsky and H. L. Jones, "A generalized likelihood ratio approach to the detection and estimation of
       jumps in linear systems," IEEE Trans. Autom. Control, 1976, doi:10.1109/TAC.1976.1101146.
    """
    day, season, rho = times.day, times.season, state.rain
    n = day.size
    score, confirmed, onset, denied = np.zeros(n), np.zeros(n, np.bool_), np.full(n, -1), np.zeros(n, np.bool_)
    x, cov = initial_state(noise, SEARCH_MEAN, SEARCH_SD)
    cov[1, 1], cov[2, 2] = PHASE_DAYS**2, 0.0  # the harmonic's places: shift of the season in days, and none
    gain, h, ph = np.zeros(8), np.zeros(8), np.zeros(8)
    bank = _Bank(np.zeros((BANK, 8)), np.zeros(BANK), np.zeros(BANK), np.full(BANK, -1), np.zeros(BANK))
    used, newest, run, since, current = 0, -(10**9), 0, 0, -1
    for i in range(n):
        if i > 0:
            decay = decay_factors(day[i] - day[i - 1], season[i] - season[i - 1], noise)
            predict(x, cov, bank.columns, decay, noise)
            if season[i] != season[i - 1]:
                cov[5, 5] += (SEASON_OF_GROWTH * curve[i]) ** 2
        due = day[i] >= start and day[i] - newest >= ONSET_DAYS
        if current >= 0 and ((due and used % BANK == current) or day[i] - day[bank.first[current]] > WEIGHED_DAYS):
            _absorb(x, cov, bank.columns[current], bank.b[current], bank.c[current], loss_sd)
            bank.first[:] = -1  # and the search restarts
            used, newest, run, current, due = 0, -(10**9), 0, -1, True
        if due:
            _open_slot(bank, used % BANK, i, min((day[i] - newest) / 365.25, 1.0))
            used, newest = used + 1, day[i]
        mu = state.shape[i] * (1.0 + rho[i])
        observe(h, state.shape[i], mu, times.position[i])
        rain = min(max(x[7], 0.0), ELASTICITY_THETA) * curve[i]
        h[6] = (state.amplitude[i] * state.shape[i] + rain * state.bump[i]) * rain_before(season, rho, i)
        h[7] = curve[i] * state.bump[i] * (1.0 + rho[i])
        h[1] = state.slope[i] * (1.0 + rho[i]) * (state.amplitude[i] + SEARCH_MEAN * curve[i])
        h[2] = 0.0
        noise_variance = scene_variance[i] + (FLANK_DAYS * h[1]) ** 2
        e, hph = innovation(x, cov, h, ph, difference[i])
        z2 = e * e / (hph + noise_variance)
        variance = hph + noise_variance * min(max(1.0, z2 / noise.huber**2), DOUBT_MOST)
        for k in range(8):
            gain[k] = ph[k] / variance
        total, live, best = _update_bank(bank, h, gain, mu, e, variance)
        update(x, cov, gain, ph, e)
        if live == 0:
            continue
        top = math.log(total)
        score[i] = top
        if top < bar or (run > 0 and season[i] != season[i - 1]):
            run = 0
        if top >= bar:
            run += 1
            if run == 1:
                since = day[i]
        if current >= 0:
            onset[i] = bank.first[current]
            continue
        first = bank.first[best]
        if run < 3 or day[i] - since < CONFIRM_DAYS:
            continue
        if not lower_than_a_year_before(day, difference, first, i, state.bump, 0.0):
            continue
        change, doubt = change_of_second_index(second, day, first, i)
        if change >= -doubt:  # False where the second index was not seen
            denied[i] = True
            continue
        confirmed[i], onset[i], current = True, first, best
    return Losses(score, confirmed, onset, denied)


@inlined
def _open_slot(bank: _Bank, slot: int, scene: int, years: float) -> None:
    bank.columns[slot, :] = 0.0
    bank.b[slot], bank.c[slot], bank.first[slot], bank.years[slot] = 0.0, 0.0, scene, years


@inlined
def _update_bank(bank: _Bank, h: Array, gain: Array, mu: float, e: float, variance: float) -> tuple[float, int, int]:
    """Update each step by an innovation: total weighted likelihood ratio, slots in use, slot of the largest."""
    total, live, best, best_value = 0.0, 0, -1, -np.inf
    for j in range(BANK):
        if bank.first[j] < 0:
            continue
        ej = mu
        for k in range(8):
            ej -= h[k] * bank.columns[j, k]
        bank.b[j] += e * ej / variance
        bank.c[j] += ej * ej / variance
        for k in range(8):
            bank.columns[j, k] += gain[k] * ej
        ratio = bank.years[j] * math.exp(min(DROP * bank.b[j] - 0.5 * DROP * DROP * bank.c[j], 500.0))
        live += 1
        total += ratio
        if ratio > best_value:
            best, best_value = j, ratio
    return total, live, best


@inlined
def _absorb(x: Array, cov: Array, column: Array, b: float, c: float, loss_sd: float) -> None:
    """Make a loss part of the baseline, exactly as if its date had been known."""
    spread = 1.0 / (c + 1.0 / loss_sd**2)
    size = spread * b
    shift = np.zeros(8)
    for k in range(8):
        shift[k] = (1.0 if k == 0 else 0.0) - column[k]
    for k in range(8):
        x[k] += size * shift[k]
        for q in range(8):
            cov[q, k] += spread * shift[k] * shift[q]
    # Whether the rest goes on growing as before is open again: a stand that was lost whole, and no longer grows with
    # the plan, would otherwise look as if it were lost again each season.
    cov[7, 7] += SEARCH_SD**2


@kernel
def lower_than_a_year_before(day: Array, difference: Array, onset: int, now: int, bump: Array, height: float) -> bool:
    """Whether the site is lower over its control since `onset` than a year before, at the same time of the season.

    Each scene is compared with the mean of those a year before it, at most :data:`SAME_TIME` earlier or later; the mean
    change must be a fall of :data:`LOWER`. True where nothing was seen at that time. Of the scenes since, only those at
    which the season (`bump`) has at least a `height` count; False without any.
    """
    change, compared, high = 0.0, 0, 0
    for i in range(onset, now + 1):
        if bump[i] < height:
            continue
        high += 1
        total, seen = 0.0, 0
        for j in range(onset):
            if abs(day[i] - day[j] - 365) <= SAME_TIME:
                total += difference[j]
                seen += 1
        if seen > 0:
            change += difference[i] - total / seen
            compared += 1
    return high > 0 and (compared == 0 or change / compared <= -LOWER)


@kernel
def first_scene_of_loss(day: Array, difference: Array, mu: Array, onset: int, now: int, start: int) -> int:
    """Index of the scene that first shows a confirmed loss: a change point by least squares.

    In the year before `onset` and since, the difference is a multiple of `mu` that changes once: the scene is the one
    at which two multiples fit best, the second of them smaller. The onsets of the search are :data:`ONSET_DAYS` or
    more apart and their size of step is fixed, so that a large loss is dated better here.

    Parameters
    ----------
    day, difference : (n,) arrays, days from 1970-01-01 and site minus control [cover fraction]
    mu : (n,) array, season and rain at each scene [1]
    onset, now : int, onset by the search, and scene at which the loss was confirmed
    start : int, start of the work, days from 1970-01-01

    Returns
    -------
    int
        After the start, from :data:`EARLIER_DAYS` before `onset` to `now`; `onset` where no change is a fall.
    """
    begin = onset
    while begin > 0 and day[onset] - day[begin - 1] <= 365:
        begin -= 1
    along, square = 0.0, 0.0
    for i in range(begin, now + 1):
        along += mu[i] * difference[i]
        square += mu[i] * mu[i]
    best, first = 0.0, onset
    early, early_square = 0.0, 0.0
    for i in range(begin, now + 1):
        late, late_square = along - early, square - early_square
        near = day[i] > start and day[onset] - day[i] <= EARLIER_DAYS
        if near and early_square > 1e-9 and late_square > 1e-9:
            fall = early / early_square - late / late_square
            gain = fall * fall * early_square * late_square / square
            if fall > 0.0 and gain > best:
                best, first = gain, i
        early += mu[i] * difference[i]
        early_square += mu[i] * mu[i]
    return first


@kernel
def change_of_second_index(second: Array, day: Array, onset: int, now: int) -> tuple[float, float]:
    """Change of a second index at a loss, and its standard deviation; NaN where it was not seen.

    The mean of the last three scenes since the onset minus that of the year before it.
    """
    total, squares, count = 0.0, 0.0, 0
    for i in range(onset):
        if day[onset] - day[i] <= 365 and not math.isnan(second[i]):
            total += second[i]
            squares += second[i] ** 2
            count += 1
    late, seen = 0.0, 0
    for i in range(max(onset, now - 2), now + 1):
        if not math.isnan(second[i]):
            late += second[i]
            seen += 1
    if count < 5 or seen == 0:
        return math.nan, math.nan
    mean = total / count
    variance = max(squares - count * mean * mean, 0.0) / (count - 1)
    return late / seen - mean, math.sqrt(variance * (1.0 / seen + 1.0 / count))
