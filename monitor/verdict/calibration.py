"""All constants of the verdict with their origin, under one hash.

An assessment is a function of the stored series, the plan and one of these records. The defaults were measured on
simulated sites and checked on real Sentinel-2 noise; the placebos of a programme replace them, and the hash says which
set a verdict used.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import expit

from monitor.errors import BadConfiguration
from monitor.sites.biomes import BIOMES
from monitor.verdict.kernels import constants
from monitor.verdict.kernels.types import Noise

MAX_DAYS_OUTSIDE = 20
"""How far outside the growing season the control may be greenest: theta errs by less than .2 then, and by 1 where the
season is a different one (simulated sites on plan, peaks moved through the year). [day]"""
WAVE_STANDARD_ERRORS, WAVE_HEIGHT = 4.0, 0.02
"""Smallest height of the control's yearly wave, in standard errors and in cover, with which its season is judged: where
little grows, one good or bad year makes a wave by chance."""
WAVE_SCENES = (12, 650)
"""Fewest scenes, and days from the first to the last of them, with which the control's season is judged."""

FAILURE_SHARE, EROSION_SHARE = 0.5, 0.1
"""Parts of a site's budget for ten years that failure and unprotected ground may use; sudden losses use up to .4, by
`Calibration.disturbance_red`. Each is meant at the sites that bring it most false reds: failure where growth is a year
late, losses where half or all of the plan grows as written. These are different sites; what all rules together spend is
in docs/method.md, section 9."""
FULL_BUDGET = 0.05
"""Budget for which the bars of losses are stated. [1]"""

BOUNDARY = ((0.05, 5.0), (0.02, 7.5), (0.01, 12.0), (0.005, 22.0))
"""(budget, boundary): `failure` turns red once log evidence, less its surcharge, reaches the logarithm of the boundary,
by the false-alarm budget of one site for ten years. Set over ten years of nightly looks at simulated sites with exactly
half their plan, of five plans, with growth a year late or the plan a fifth too large: at the worst of these less than
half the budget is spent (2026-11, training seed), so that more remains elsewhere. It rests on simulation, not on a
theorem."""
SURCHARGE = (9.0, 9.0, 1.9, 0.1, 0.0, 0.15, 0.8, 1.2, 1.6, 1.9)
"""Subtracted from the log evidence of failure in each year since the start, the last for good: most of the false reds
would come in year three, when little is promised yet, and after year six, when most failures are found. [1]"""

SPENT = ((2.0, 0.0), (3.0, 0.35), (4.0, 0.55), (5.0, 0.65), (6.0, 0.7), (8.0, 0.85), (10.0, 0.9))
"""(years, share of the budget that an episode of so many years has used): at least the share of simulated sites with
half their plan that are ever red by any rule by then, where growth is a year late or the plan a fifth too large. A
tenth remains after ten years, since new work deserves to be judged."""
LEAST_ALPHA = 0.0001
"""Smallest budget that has a boundary. [1]"""


def boundary(alpha: float, calibrated: tuple[tuple[float, float], ...] = BOUNDARY) -> float:
    """Evidence at which the failure rule turns red, for a false-alarm budget of one site for ten years.

    Between the calibrated budgets the boundary is interpolated, logarithm on logarithm. Below the smallest it is the
    inverse of the share of failure, but no less than the boundary there: Ville's inequality needs no calibration, only
    the fitted law.

    Parameters
    ----------
    alpha : float
        Probability of a false red, by any rule, in ten years at a site, or its remainder in a later episode. [1]
    calibrated : tuple of (float, float), budgets and their boundaries

    Returns
    -------
    float
        Evidence (an e-value). [1]

    Raises
    ------
    BadConfiguration
        `alpha` is above the largest calibrated budget, or too small to be meant.
    """
    known = sorted(calibrated)
    if not LEAST_ALPHA <= alpha <= known[-1][0]:
        msg = (
            f"false-alarm budget alpha = {alpha:g} has no calibrated boundary; choose one from {known[0][0]:g} to "
            f"{known[-1][0]:g} ([alerts] alpha in the configuration)"
        )
        raise BadConfiguration(msg)
    if alpha < known[0][0]:
        return max(1.0 / (FAILURE_SHARE * alpha), known[0][1])
    exact = dict(known).get(alpha)
    if exact is not None:
        return exact
    budgets, bounds = np.log(np.array(known).T)
    return float(np.exp(np.interp(math.log(alpha), budgets, bounds)))


def loss_bar(alpha: np.ndarray, at_full: float) -> np.ndarray:
    """Probability from which a sudden loss is red, by the budget of a site for ten years.

    The odds are inversely proportional to the budget, as the rate of false reds is to the odds.

    Parameters
    ----------
    alpha : array, false-alarm budget for ten years of a site [1]
    at_full : float, probability at :data:`FULL_BUDGET`, ``Calibration.disturbance_red`` [1]

    Returns
    -------
    array
        Same shape as `alpha`. [1]
    """
    odds = at_full / (1.0 - at_full) * FULL_BUDGET / alpha
    bar: np.ndarray = odds / (1.0 + odds)
    return bar


DISTURBED = (-3.6, 1.1, 0.2, 0.25)
"""Logistic regression of whether a confirmed loss is true: intercept, score now, highest score, years since it was
confirmed. Fitted on nights after losses, true and false, of a simulated programme in which one site in five loses cover
within six years and one in six has failed; the intercept is .2 lower, so that of the sites so called four in five lost
cover. The uplift, and score times years, added nothing."""


def loss_chance(now: np.ndarray, highest: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Probability that a confirmed loss is true, see :data:`DISTURBED`.

    Parameters
    ----------
    now, highest : (n,) arrays, score of the loss at the last scene, and its highest so far [1]
    years : (n,) array, since it was confirmed [year]

    Returns
    -------
    (n,) array
        NaN where an input is. [1]
    """
    intercept, *factors = DISTURBED
    chance: np.ndarray = expit(intercept + factors[0] * now + factors[1] * highest + factors[2] * years)
    return chance


def erosion_bar(alpha: np.ndarray) -> np.ndarray:
    """Probability from which unprotected ground is red, by the budget of a site: wrong in its share of it."""
    return 1.0 - EROSION_SHARE * np.asarray(alpha)


def remaining(alpha: float, years: float) -> float:
    """Budget that remains for the next episode of a site after an episode without a false red.

    Parameters
    ----------
    alpha : float, budget with which the episode began [1]
    years : float, duration of that episode [year]

    Returns
    -------
    float
        At least a tenth of `alpha`. [1]
    """
    at, spent = np.array(SPENT).T
    return alpha * (1.0 - float(np.interp(years, at, spent)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The constants of the filter, of the evidence and of the statuses. Cover is a fraction throughout."""

    source: str = "defaults: simulated sites, checked on real Sentinel-2 noise"
    dated: date = date(2026, 11, 30)
    placebos: int = 0
    """Number of placebo series behind the constants; 0: none."""

    # The difference between site and control, and how it drifts.
    baseline_sd: float = 0.03
    """Lasting difference in the season's amplitude. [cover fraction]"""
    harmonic_sd: float = 0.01
    """Annual cosine and sine of the difference. [cover fraction]"""
    slow_sd: float = 0.026
    """Drift with a memory of `slow_days`. [cover fraction]"""
    slow_days: float = 1095.0
    """Memory of the slow drift: three years allow for ground that keeps drifting apart. [day]"""
    fast_sd: float = 0.010
    """Drift with a memory of `fast_days`. [cover fraction]"""
    fast_days: float = 15.0
    """Memory of the fast drift. [day]"""
    year_sd: float = 0.016
    """A season's own difference. With its memory it lifts coverage from .80-.83 to .83-.88 (moist-memory world, 400
    sites a case of two training seeds). [cover fraction]"""
    year_memory: float = 0.5
    """Correlation of one season's difference with the next. [1]"""
    elasticity_sd: float = 0.25
    """Difference in the response of site and control to rain. [1]"""
    trend_sd: float = 0.0015
    """Lasting trend of the difference in the season's amplitude. On ground with trends of sd .006 half-grown sites are
    red .085, .165, .14 of the time instead of .107, .217, .200 (same sites). [cover fraction per year]"""
    stiff_slow_sd: float = 0.018
    """Slow drift in the search for sudden losses, where drift must not absorb the loss. [cover fraction]"""
    stiff_slow_days: float = 1095.0
    """Memory of the slow drift in that search. [day]"""
    stiff_year_sd: float = 0.008
    """A season's own difference in that search. [cover fraction]"""
    stiff_huber: float = 1.7
    """`huber` in that search: haze looks like a loss, so scenes are down-weighted sooner. [1]"""
    scene_sd: float = 0.0245
    """Noise of one scene's difference. [cover fraction]"""
    pixel_sd: float = 0.04
    """Noise of one independent patch of pixels; matters on small sites only. [cover fraction]"""
    patch_hectares: float = 0.25
    """Area over which pixel noise is fully correlated (exponential variogram, 60 m). [ha]"""
    huber: float = 2.0
    """Standardised innovation above which a scene is down-weighted. [1]"""
    own_wander: float = 0.5
    """Spread between sites of `slow_sd` and `year_sd`, as standard deviation of the logarithm; a site's own is
    estimated from its years before the start. [1]"""
    own_scene: float = 0.3
    """Spread between sites of `scene_sd` and `fast_sd`, likewise. [1]"""
    rain_sd: float = 0.22
    """Year-to-year standard deviation of the rain factor where there are too few seasons to estimate it. [1]"""

    # The question: what share of the plan was achieved.
    widening: float = 1.15
    """Factor on the standard deviation of theta: ground is not as the filter's model has it. It lifts coverage from
    .83-.88 to .89-.93 (same sites); larger where placebos show the need. [1]"""
    gain_sd: float = 0.08
    """Relative standard deviation of the measured uplift, apart from the uncertain rain of the normal season: new
    growth is not green when the old ground is, and cover is not quite linear in the index. [1]"""
    theta_mean: float = 0.6
    theta_sd: float = 1.0
    loss_sd: float = 0.1
    """Prior of a sudden or lasting loss; also of the change where nothing was promised. [cover fraction]"""
    no_plan_loss: float = 0.05
    """Loss of cover that counts as one where nothing was promised (tending). [cover fraction]"""
    plan_weight: float = 0.5
    """Trust in the plan as it is written, against the eight later or smaller ones. [1]"""

    # When something is reported.
    confident: float = 0.9
    """Probability at all scenes of ten days or more from which `failing`, and `watch`, are reported. [1]"""
    lagging: float = 0.8
    """Probability of theta < .7 from which `lagging` is reported. [1]"""
    on_track: float = 0.5
    """Probability of theta >= .7 from which `on_track` is reported; below it, where nothing else is likely enough, a
    site is `undecided`. [1]"""
    look_after_peak_days: float = 15.0
    """Days after the peak from which a scene is late-season: evidence of failure counts there. [day]"""
    boundary: tuple[tuple[float, float], ...] = BOUNDARY
    """(budget, evidence at which `failure` turns red), see :func:`boundary`."""
    surcharge: tuple[float, ...] = SURCHARGE
    """What is subtracted from the log evidence of failure, by year since the start, see :data:`SURCHARGE`."""
    uplift_bar: float = 20.0
    """Evidence at which an uplift is certified: one in twenty, by Ville's inequality, however often one looks."""
    disturbance_score: float = 1.0
    """Log evidence for a sudden loss, were one a year to be expected, at three consecutive clear scenes: .02 false
    watches a site and year on simulated ground that grows by half its plan or all. Real ground may need more, see
    ``calibrate``."""
    disturbance_prior: float = 0.1
    """Prior probability of a disturbance in a year; turns the score into a probability. [1]"""
    disturbance_red: float = 0.8
    """Probability of a sudden loss from which it is red at a budget of .05, see :func:`loss_bar`; it is watched before.
    Ever red by a loss in ten years of nightly looks are .005 to .025 of simulated sites that lost nothing, by plan and
    kind (2,000 each, training seed). [1]"""
    disturbance_days: float = 365.0
    """How long a confirmed disturbance determines the status. [day]"""
    certain_years: float = 3.0
    """Years after the start before which no probability makes a site `failing`; the evidence may. [year]"""
    recovered_share: float = 0.8
    """Share of the way from the cover before the start to the reference's that must be gone, two seasons running, to
    have recovered; without seasons before, of the reference's cover itself. [1]"""
    burnt: float = -0.1
    """Change of the second index, at a sudden loss, from which fire or clearing is named (dNBR of a light fire, from
    memory). [1]"""
    dry: float = -0.2
    """Rain of the season, as the control shows it, from which a season is called dry; share of normal. [1]"""

    # Requirements on the data.
    clear: float = 0.6
    """Smallest clear share of the site with which a scene is used. [1]"""
    scenes: int = 3
    """Fewest usable scenes in this season and the last."""
    age_days: int = 400
    """Largest age of the last usable scene with which a verdict is given. [day]"""
    theta_sd_most: float = 0.7
    """Largest standard deviation of theta, `widening` included, with which a verdict is given once it is no longer too
    early. [1]"""

    @property
    def noise(self) -> Noise:
        """Noise of the difference between site and control in the theta filter."""
        return Noise(
            self.baseline_sd, self.harmonic_sd, self.slow_sd, self.slow_days, self.fast_sd, self.fast_days,
            self.year_sd, self.year_memory, self.elasticity_sd, self.trend_sd, self.huber, self.own_wander,
            self.own_scene,
        )  # fmt: skip

    @property
    def stiff(self) -> Noise:
        """Noise of the difference in the search for sudden losses."""
        return self.noise._replace(
            slow=self.stiff_slow_sd, slow_days=self.stiff_slow_days,
            year=self.stiff_year_sd, huber=self.stiff_huber,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """All constants as plain values, for the ledger and the pages."""
        return {**asdict(self), "dated": self.dated.isoformat(), "boundary": [list(pair) for pair in self.boundary]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Calibration":
        """The constants written by :meth:`to_json`."""
        bounds = tuple((float(alpha), float(bound)) for alpha, bound in stored["boundary"])
        surcharge = tuple(map(float, stored["surcharge"]))
        dated = date.fromisoformat(stored["dated"])
        return cls(**{**stored, "dated": dated, "boundary": bounds, "surcharge": surcharge})

    @property
    def hash(self) -> str:
        """SHA-256 over all constants, those of the kernels included; stated with each assessment."""
        return _hash(self)


@lru_cache(maxsize=256)
def _hash(calibration: Calibration) -> str:
    fixed = {name: value for name, value in vars(constants).items() if name.isupper()}
    content = {
        "constants": asdict(calibration), "fixed": fixed,
        "windows": {name: biome.season for name, biome in BIOMES.items()},
        "seasons": {name: biome.season_shape for name, biome in BIOMES.items()},
        "elsewhere": (MAX_DAYS_OUTSIDE, WAVE_STANDARD_ERRORS, WAVE_HEIGHT, WAVE_SCENES),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()
