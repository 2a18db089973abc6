"""From what the filter holds to what is said: status, probability, alert and reasons, for many dates at once.

A verdict on a day reads what stood after the last scene up to that day, and the calendar; nothing later.

A confirmed loss names the status for a year, but not of a site whose failure the guarded evidence has shown: what
has failed does not become a mere accident by losing more. While it is too early a loss is watched, never red: the
ground is often cleared for planting.

``recovered`` is not given here: it asks for a reference stand, which no series carries.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.erosion import not_improved
from monitor.verdict.kernels import Standing
from monitor.verdict.reasons import Reason
from monitor.verdict.window import Scenes, Window

STATUSES = tuple(Status)
LEVELS = tuple(AlertLevel)
RULES = ("failure", "disturbance", "erosion")
REASONS = tuple(Reason)
NORMAL_95 = 1.959964
CAP = 1e12
"""Largest evidence reported."""


class Verdicts(NamedTuple):
    """Verdicts on one site, (n,) arrays, a date each; NaN (dates: NaT, codes: -1) where there is nothing to say."""

    as_of: np.ndarray
    """datetime64[D]"""
    last_observed: np.ndarray
    """datetime64[D]"""
    status: np.ndarray
    """Place in :data:`STATUSES`."""
    probability: np.ndarray
    alert: np.ndarray
    """Place in :data:`LEVELS`."""
    alert_rule: np.ndarray
    """Place in :data:`RULES`."""
    theta: np.ndarray
    theta_low: np.ndarray
    theta_high: np.ndarray
    uplift: np.ndarray
    uplift_low: np.ndarray
    uplift_high: np.ndarray
    expected: np.ndarray
    cover: np.ndarray
    control_cover: np.ndarray
    e_failure: np.ndarray
    n_scenes: np.ndarray
    n_pre: np.ndarray
    reasons: np.ndarray
    """Bit k: :data:`REASONS` k."""


def judge(
    day: np.ndarray,
    scenes: Scenes,
    standing: Standing,
    site: Site,
    window: Window,
    calibration: Calibration,
    alpha: float,
) -> Verdicts:
    """Verdicts on a site as of days.

    Parameters
    ----------
    day : (n,) array of int
        Days from 1970, ascending.
    scenes, standing
        Of :func:`monitor.verdict.window.scenes` and :func:`monitor.verdict.kernels.follow`.
    alpha : float
        Lifetime false-alarm budget of the failure rule. [1]

    Raises
    ------
    BadConfiguration
        `alpha` has no calibrated boundary.
    """
    c = calibration
    plan, start = site.plan, int(np.datetime64(site.start, "D").astype(np.int64))
    promised = plan.A > 0
    years = (day - start) / 365.25
    expected = plan.A * -np.expm1(-plan.k * np.maximum(years - plan.L, 0.0))
    n_scenes = np.searchsorted(scenes.day, day, side="right")
    n_pre = np.minimum(n_scenes, np.searchsorted(scenes.day, start))
    used_day = scenes.day[scenes.used]
    at = np.searchsorted(used_day, day, side="right") - 1
    seen = at >= 0
    at = np.maximum(at, 0)

    def now(values: np.ndarray, otherwise: float) -> np.ndarray:
        """What stood after the last used scene before each day."""
        if not values.size:
            return np.full(day.size, otherwise, dtype=np.float64)
        found: np.ndarray = np.where(seen, values[at], otherwise)
        return found

    # What the data allow.
    season, _ = window.place(day)
    recent = at + 1 - np.searchsorted(scenes.season, season - 1) if used_day.size else np.zeros(day.size)
    few = ~seen | (recent < c.scenes)
    old = seen & (day - now(used_day, 0) > c.age_days)
    no_control = n_scenes == 0
    future, early = years < 0, years < plan.too_early_years
    told = seen & ~future & (now(standing.information, 0.0) > 0)
    mean, sd = (np.where(told, now(values, 0.0), np.nan) for values in (standing.mean, standing.sd))
    below = np.where(told[:, None], standing.below[at], 0.0) if used_day.size else np.zeros((day.size, 4))
    age = day - now(standing.alarm_day, -(10**6))
    lost = seen & ~future & (now(standing.alarm_day, -1) >= 0) & (age <= c.disturbance_days)
    wide = promised & ~early & ~lost & ~(sd <= c.theta_sd_most)
    insufficient = future | few | old | wide

    # What it looks like.
    failing = told & now(standing.surely_failing, 0).astype(bool)
    negative = told & now(standing.surely_negative, 0).astype(bool)
    bar = np.log(boundary(alpha))
    evidence = now(standing.evidence, 0.0)
    guarded = told & (now(standing.standing, 0.0) >= bar) & ~early & promised
    chance, erosion = np.full(day.size, np.nan), np.zeros(day.size, bool)
    if site.intervention == "erosion_control" and site.slope_degrees is not None and promised and used_day.size:
        late = np.where(seen, standing.look[at], -1)
        not_better, surely = _erosion(used_day, start, standing, site, site.slope_degrees, c.confident)
        chance = np.where(late >= 0, not_better[late], np.nan)
        erosion = told & ~early & (late >= 0) & surely[late]
    doubtful = promised & (years < c.certain_years)
    judged_failing = guarded | erosion | (failing & ~doubtful)

    status = np.select(
        [insufficient, lost & ~guarded, early, judged_failing, promised & (below[:, 3] >= c.lagging)],
        [STATUSES.index(s) for s in
         (Status.INSUFFICIENT_DATA, Status.DISTURBED, Status.TOO_EARLY, Status.FAILING, Status.LAGGING)],
        STATUSES.index(Status.ON_TRACK),
    )  # fmt: skip

    def says(name: Status) -> np.ndarray:
        same: np.ndarray = status == STATUSES.index(name)
        return same

    probability = np.full(day.size, np.nan)
    for name, value in (
        (Status.DISTURBED, expit(now(standing.alarm_score, 0.0) + logit(c.disturbance_prior))),
        (Status.FAILING, np.where(erosion & ~failing & ~guarded, chance, below[:, 1])),
        (Status.LAGGING, below[:, 3]),
        (Status.ON_TRACK, np.where(told, 1.0 - below[:, 3], np.nan)),
    ):
        probability = np.where(says(name), value, probability)
    probability = np.where(doubtful & ~says(Status.DISTURBED), np.minimum(probability, c.confident), probability)

    # What a person is told.
    can_tell = ~insufficient
    watched = np.where(early, negative, failing)
    rule = np.select([insufficient, guarded, lost, erosion, watched], [-1, 0, 1, 2, 0], -1)
    red = can_tell & (guarded | erosion | (lost & ~early))
    alert = np.where(red, LEVELS.index(AlertLevel.RED), np.where(rule >= 0, LEVELS.index(AlertLevel.WATCH), 0))

    dry = seen & (now(standing.seasons, 0) >= 2) & (now(standing.rho, 0.0) <= c.dry)
    dry &= season == now(scenes.season, -1)
    before = now(standing.before, 0)
    low = says(Status.FAILING) | says(Status.LAGGING) | ((alert > 0) & (rule == 0))
    told_reasons = {
        Reason.START_IN_FUTURE: future,
        Reason.NO_CONTROL: no_control,
        Reason.FEW_SCENES: few & ~no_control,
        Reason.DATA_OLD: old,
        Reason.INTERVAL_WIDE: wide & ~future & ~few,
        Reason.SUDDEN_DROP: lost,
        Reason.DROUGHT_DIEBACK: lost & dry,
        Reason.INDEX_DISAGREE: seen & ~lost & now(standing.denied, 0).astype(bool),
        Reason.NEG_UPLIFT: negative & ~insufficient,
        Reason.LOW_UPLIFT: low & ~negative & promised,
        Reason.EVIDENCE_LOWER: red & guarded & (evidence < bar),
        Reason.EROSION_COVER_LOW: can_tell & erosion,
        Reason.DROUGHT: dry & ~lost,
        Reason.CONTROL_POOR: seen & now(standing.poor, 0).astype(bool),
        Reason.NO_PRE_SEASONS: ~future & (before == 0),
        Reason.FEW_PRE_SEASONS: ~future & (before == 1),
        Reason.TOO_EARLY: says(Status.TOO_EARLY),
        Reason.NO_PLAN: np.full(day.size, not promised),
        Reason.UNCERTAIN: says(Status.ON_TRACK) & told & ~(probability >= 0.5),
    }
    reasons = sum(np.where(told_reasons[reason], 1 << k, 0) for k, reason in enumerate(REASONS))

    scale = np.where(promised, expected, 1.0)
    spread = NORMAL_95 * sd
    observed = np.where(
        n_scenes > 0, scenes.day[np.maximum(n_scenes - 1, 0)] if scenes.day.size else 0, np.iinfo(np.int64).min
    )
    theta = mean if promised else np.full(day.size, np.nan)
    return Verdicts(
        as_of=day.astype("datetime64[D]"),
        last_observed=observed.astype("datetime64[D]"),
        status=status,
        probability=probability,
        alert=alert,
        alert_rule=rule,
        theta=theta,
        theta_low=theta - spread,
        theta_high=theta + spread,
        uplift=mean * scale,
        uplift_low=(mean - spread) * scale,
        uplift_high=(mean + spread) * scale,
        expected=np.where(future, np.nan, expected),
        cover=now(standing.cover, np.nan),
        control_cover=now(standing.control, np.nan),
        e_failure=np.where(told & promised, np.exp(np.minimum(now(standing.highest, 0.0), np.log(CAP))), np.nan),
        n_scenes=n_scenes,
        n_pre=n_pre,
        reasons=np.asarray(reasons),
    )


def _erosion(
    day: np.ndarray, start: int, standing: Standing, site: Site, slope: float, confident: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probability at each used scene that the slope's grade is not improved, and whether that is sure.

    Sure: so probable at all looks late in their season (only they are read) for ten days or more.
    """
    planned = site.plan.A * -np.expm1(-site.plan.k * np.maximum((day - start) / 365.25 - site.plan.L, 0.0))
    planned = planned * standing.mu
    chance = not_improved(
        standing.cover, standing.mean * planned, standing.sd * planned, planned, np.full(day.size, slope)
    )
    chance = np.where(day >= start, chance, np.nan)
    looks = standing.look == np.arange(day.size)
    doubted = looks & ~(np.nan_to_num(chance) >= confident)
    asked = day[looks]
    last_doubt = np.maximum.accumulate(np.where(doubted, day, -(10**9)))
    after = np.minimum(np.searchsorted(asked, last_doubt, side="right"), max(asked.size - 1, 0))
    surely = looks & ~doubted & (day - asked[after] >= 10) if asked.size else np.zeros(day.size, bool)
    return chance, surely
