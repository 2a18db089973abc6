"""What the kernels of the verdict share: the numba decorator and records of arrays and constants."""

from collections.abc import Callable
from typing import Final, NamedTuple, cast

import numpy as np

from monitor.kernel_cache import njit

type Array = np.ndarray


def kernel[F: Callable[..., object]](function: F) -> F:
    """Compile for plain arrays, cached on disk; releases the interpreter lock while it runs."""
    return njit(nogil=True, cache=True)(function)


def inlined[F: Callable[..., object]](function: F) -> F:
    """Compile a small function as part of each kernel that calls it: one more compilation costs more than its code."""
    return njit(nogil=True, cache=True, inline="always")(function)


TRUE: Final = cast(bool, np.bool_(True))
FALSE: Final = cast(bool, np.bool_(False))
"""For calls between kernels: numba compiles one more variant of a kernel that is called with a literal."""


class Times(NamedTuple):
    """When the scenes of a site were acquired, (n,) arrays of int64, ascending."""

    day: np.ndarray  # days from 1970-01-01
    position: np.ndarray  # day within the growing season, from 1
    season: np.ndarray  # year in which the growing season opened


class UsualSeason(NamedTuple):
    """Growing season of a biome, where the control has not shown its own yet."""

    length: float  # duration [day]
    peak: float  # day of the peak, from 1 on the day of opening [day]
    width: float  # standard deviation of the seasonal curve [day]
    rain_sd: float  # standard deviation of the rain factor from year to year [1]


class SeasonState(NamedTuple):
    """State of the growing season at each scene, as the control shows it, (n,) arrays."""

    shape: np.ndarray  # seasonal curve, 0 to 1 [1]
    rain: np.ndarray  # growth of the last weeks relative to normal, as a share, -0.7 to 1 [1]
    amplitude: np.ndarray  # amplitude of the control's normal season [cover fraction]
    peak: np.ndarray  # position of the peak [day]
    seasons: np.ndarray  # seasons from which the normal season was estimated (int64)
    rain_sd: np.ndarray  # standard deviation of the rain factor from year to year [1]
    season_rain: np.ndarray  # growth of the season to date relative to normal, as a share [1]
    slope: np.ndarray  # change of the seasonal curve in a day [1/day]
    bump: np.ndarray  # seasonal curve above its pedestal, the season of new growth, 0 to 1 [1]


class Noise(NamedTuple):
    """Standard deviations and memories of the difference between site and control; see ``Calibration``."""

    baseline: float
    harmonic: float
    slow: float
    slow_days: float
    fast: float
    fast_days: float
    year: float
    year_memory: float
    elasticity: float
    trend: float  # a lasting trend of the difference in the season's amplitude [cover fraction per year]
    huber: float
    own_wander: float  # spread between sites of `slow` and `year`: standard deviation of the logarithm; 0: none [1]
    own_scene: float
    """Spread between sites of the noise of a scene and of `fast`: standard deviation of the logarithm. [1]"""


class Prior(NamedTuple):
    """Prior of theta and of losses, and the thresholds of interest."""

    mean: float  # mean of theta; of the change of cover where nothing was promised
    sd: float  # standard deviation of theta, or of the change
    loss: float  # standard deviation of a sudden loss [cover fraction]
    plan_weight: float  # prior probability of the plan as written [1]
    thresholds: tuple[float, float, float, float]
    """Values of theta (or of the change); the probability of being below each is computed."""
    widening: float = 1.0  # factor on the standard deviation of theta [1]
    gain_sd: float = 0.0
    """Standard deviation of the factor by which an uplift is seen too large or too small, rain apart. [1]"""
