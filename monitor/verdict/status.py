"""Status, probability, alert and reasons from the filtered history of a site, for many dates at once.

A site is ``undecided`` where no other status is likely enough: neither surely low nor more likely than not on track.

A verdict on a day reads what was known after the last scene up to that day, and the calendar; nothing later.

All red alerts of a site share one false-alarm budget: failure, a sudden loss and ground left unprotected turn red at
bars of :mod:`monitor.verdict.calibration` that rise together as the budget shrinks. What stays below is watched.

A confirmed loss determines the status for a year, unless the guarded evidence has shown the site to fail: a failed site
does not become a mere accident by losing more. A loss is watched until its probability reaches the bar; while the same
loss stands, it does not fall back. While it is too early, a loss is never red: ground is often cleared for planting.

``recovered`` needs a reference in the series, ground nearby that is in the state that the plan wants, and two seasons
in which the site had gone four fifths of the way to it. It precedes the plan: a site at its reference cannot gain more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtr

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.calibration import Calibration, boundary, erosion_bar, loss_bar
from monitor.verdict.erosion import UNVERIFIED, grade, not_improved, soil_loss_ratio
from monitor.verdict.kernels.history import SiteHistory
from monitor.verdict.reasons import BACKGROUND, Reason
from monitor.verdict.usable_scenes import UsableScenes, greenest_outside

STATUSES = tuple(Status)
LEVELS = tuple(AlertLevel)
RULES = ("failure", "disturbance", "erosion")
REASONS = tuple(reason for reason in Reason if reason not in BACKGROUND)
NOTES = ("", UNVERIFIED)
NEVER = np.iinfo(np.int64).min
"""Day that is NaT as a date."""
CAP = 1e12
"""Largest evidence reported."""
CONSTANT_COVER = 0.001
"""Range of the control's cover over all scenes so far below which it is constant: measured ground varies by more, also
where nothing grows. Without seasons of its own a control predicts nothing. [cover fraction]"""
FAILING_BELOW = 0.25
"""Share of the expected uplift below which a site is failing, see ``Prior.thresholds``. [1]"""
HALF = 0.5
"""Share of the expected uplift from which a site must not be red; with it the erosion grade must be better. [1]"""
SURE_DAYS = 10
"""Shortest time over which all scenes must agree. [day]"""


class Verdicts(NamedTuple):
    """Verdicts on one site as columns, named as in :class:`Assessment`: (n,) arrays, one entry a date.

    Dates are datetime64[D]. NaN, NaT and -1 (codes) where there is nothing to say.
    """

    as_of: np.ndarray
    last_observed: np.ndarray
    status: np.ndarray
    """Index in :data:`STATUSES`."""
    probability: np.ndarray
    p_failing: np.ndarray
    p_lagging: np.ndarray
    p_on_track: np.ndarray
    alert: np.ndarray
    """Index in :data:`LEVELS`."""
    alert_rule: np.ndarray
    """Index in :data:`RULES`."""
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
    e_uplift: np.ndarray
    uplift_confirmed: np.ndarray
    uplift_confirmed_on: np.ndarray
    loss_after: np.ndarray
    loss_on: np.ndarray
    loss_confirmed_on: np.ndarray
    soil_loss_ratio: np.ndarray
    soil_loss_ratio_low: np.ndarray
    soil_loss_ratio_high: np.ndarray
    erosion_grade: np.ndarray
    """Index in :data:`GRADE_NAMES`."""
    erosion_grade_without: np.ndarray
    notes: np.ndarray
    """Index in :data:`NOTES`."""


class Cohorts(NamedTuple):
    """Cohorts of a site: the parts that were started on different days; one where it was started at once."""

    begun: np.ndarray
    """Days from 1970-01-01, ascending."""
    share: np.ndarray
    """Share of the area of each; 1 in all. [1]"""

    def promised(self, site: Site, day: np.ndarray) -> np.ndarray:
        """Uplift promised by the plan on each day, averaged over the area.

        Parameters
        ----------
        site : Site
            Gives the plan.
        day : (n,) array of int
            Days from 1970-01-01.

        Returns
        -------
        (n,) float array
            0 before the lag of the first cohort is over. [cover fraction]
        """
        years = (day[:, None] - self.begun) / 365.25
        plan = site.plan
        total: np.ndarray = plan.index_A * -np.expm1(-plan.k * np.maximum(years - plan.L, 0.0)) @ self.share
        return total

    @property
    def most_begun(self) -> int:
        """Day by which work had started on at least half of the area."""
        return int(self.begun[int(np.searchsorted(np.cumsum(self.share), 0.5 - 1e-9))])


class _Days(NamedTuple):
    """The days to judge and what was known of the site on each, (n,) arrays."""

    day: np.ndarray  # days from 1970-01-01
    years: np.ndarray  # age of most of the site, which decides whether it is too early [year]
    n_scenes: np.ndarray  # accepted scenes until then
    seen: np.ndarray  # whether a used scene had been acquired
    at: np.ndarray  # index of the last used scene; 0 without one
    season: np.ndarray  # growing season of the day
    future: np.ndarray  # whether the work had not started
    early: np.ndarray  # whether it is too early to judge growth
    known: np.ndarray  # whether scenes since the start bring information on theta

    def latest(self, values: np.ndarray, otherwise: float) -> np.ndarray:
        """Values after the last used scene before each day."""
        if not values.size:
            return np.full(self.day.size, otherwise, dtype=np.float64)
        latest: np.ndarray = np.where(self.seen, values[self.at], otherwise)
        return latest


class _Theta(NamedTuple):
    """Theta on each day, NaN where unknown."""

    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    below: np.ndarray  # (n, 4) probability of being below each threshold; 0 where unknown
    p_failing: np.ndarray
    p_lagging: np.ndarray
    p_on_track: np.ndarray


class _Data(NamedTuple):
    """What the data lack on each day, bool arrays."""

    few: np.ndarray  # too few used scenes in this season and the last
    old: np.ndarray  # the last used scene is too old
    no_control: np.ndarray  # no scene shows site and control
    constant: np.ndarray  # the control shows the same cover in all scenes so far
    away: np.ndarray  # the control is greenest outside the growing season
    wide: np.ndarray  # the interval of theta is too wide
    insufficient: np.ndarray  # no verdict can be given


class _Findings(NamedTuple):
    """What the evidence shows on each day, bool arrays unless stated."""

    lost: np.ndarray  # a sudden loss is confirmed and recent
    loss: np.ndarray  # its probability [1]
    failing: np.ndarray  # P(theta < 0.25) has been high for ten days or more
    negative: np.ndarray  # P(theta < 0) has been high for ten days or more
    bar: np.ndarray  # log evidence at which failure turns red
    guarded: np.ndarray  # the evidence of failure is above the bar
    sure_loss: np.ndarray  # the loss is as probable as its bar demands
    erosion: np.ndarray  # the erosion grade is not improved, with a probability to watch
    unprotected: np.ndarray  # the same, with a probability above the bar
    erosion_chance: np.ndarray  # probability that the erosion grade is not improved; NaN: unknown [1]


def judge(
    day: np.ndarray,
    scenes: UsableScenes,
    history: SiteHistory,
    site: Site,
    cohorts: Cohorts,
    calibration: Calibration,
    alpha: float | Sequence[float],
) -> Verdicts:
    """Verdicts on a site as of several days.

    Parameters
    ----------
    day : (n,) array of int
        Days from 1970-01-01, ascending.
    scenes : UsableScenes
    history : SiteHistory, what is known after each used scene
    site, cohorts, calibration : Site, Cohorts, Calibration
    alpha : float or sequence of float
        Lifetime false-alarm budget of the site, all rules together; one for all days or one a day. [1]

    Raises
    ------
    BadConfiguration
        `alpha` has no calibrated boundary.
    """
    c, promised, unknown = calibration, site.plan.A > 0, np.full(day.size, np.nan)
    days = _days(day, scenes, history, site, cohorts)
    theta = _theta(days, history, promised=promised)
    findings = _findings(days, scenes, history, site, cohorts, c, alpha)
    data = _data(days, scenes, theta, findings, GrowingSeason.of(site), c, promised=promised)
    used_day, as_reference = scenes.day[scenes.used], unknown
    if np.isfinite(scenes.reference).any():
        as_reference = days.latest(_recovered(used_day, int(cohorts.begun[0]), scenes, history, c), np.nan)
    status, probability = _status(days, theta, findings, data, as_reference, c, promised=promised)
    alert, rule = _alert(days, findings, data, status)
    reasons = _reasons(days, scenes, history, findings, data, (status, alert, rule), c, promised=promised)
    n_scenes = days.n_scenes
    observed = scenes.day[np.maximum(n_scenes - 1, 0)] if scenes.day.size else 0
    expected = cohorts.promised(site, day)
    uplift, lower, upper = (
        values * np.where(promised, expected, 1.0) for values in (theta.mean, theta.low, theta.high)
    )
    judged, bar = days.known & promised, np.log(c.uplift_bar)
    confirmed = judged & (days.latest(history.uplift_evidence, 0.0) >= bar)
    certified = used_day[history.uplift_evidence >= bar][:1]  # it never falls: the first is the day
    return Verdicts(
        as_of=day.astype("datetime64[D]"),
        last_observed=_dates(n_scenes > 0, observed),
        status=status,
        probability=probability,
        p_failing=theta.p_failing,
        p_lagging=theta.p_lagging,
        p_on_track=theta.p_on_track,
        alert=alert,
        alert_rule=rule,
        theta=theta.mean if promised else unknown,
        theta_low=theta.low if promised else unknown,
        theta_high=theta.high if promised else unknown,
        uplift=uplift,
        uplift_low=lower,
        uplift_high=upper,
        expected=np.where(days.future, np.nan, expected),
        cover=days.latest(history.cover, np.nan),
        control_cover=days.latest(history.control, np.nan),
        e_failure=_capped(days.latest(history.evidence_max, 0.0), judged),
        n_scenes=n_scenes,
        n_pre=np.minimum(n_scenes, np.searchsorted(scenes.day, int(cohorts.begun[0]))),
        reasons=reasons,
        e_uplift=_capped(days.latest(history.uplift_evidence, 0.0), judged),
        uplift_confirmed=confirmed,
        uplift_confirmed_on=_dates(confirmed, certified[0] if certified.size else 0),
        loss_after=_dates(findings.lost & (days.latest(history.loss_last, -1) >= 0), days.latest(history.loss_last, 0)),
        loss_on=_dates(findings.lost, days.latest(history.loss_first, 0)),
        loss_confirmed_on=_dates(findings.lost, days.latest(history.loss_day, 0)),
        **_soil(days, history, site, (uplift, lower, upper), promised=promised),
    )


def _dates(known: np.ndarray, day: np.ndarray | int) -> np.ndarray:
    """Days from 1970-01-01 as dates; NaT where not known."""
    return np.where(known, day, NEVER).astype("datetime64[D]")


def _capped(evidence: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Evidence from its logarithm, capped; NaN where not judged."""
    return np.where(judged, np.exp(np.minimum(evidence, np.log(CAP))), np.nan)


def _days(day: np.ndarray, scenes: UsableScenes, history: SiteHistory, site: Site, cohorts: Cohorts) -> _Days:
    years = (day - cohorts.most_begun) / 365.25
    at = np.searchsorted(scenes.day[scenes.used], day, side="right") - 1
    season, _ = GrowingSeason.of(site).locate(day)
    future = day < int(cohorts.begun[0])
    days = _Days(
        day=day,
        years=years,
        n_scenes=np.searchsorted(scenes.day, day, side="right"),
        seen=at >= 0,
        at=np.maximum(at, 0),
        season=season,
        future=future,
        early=years < site.plan.too_early_years,
        known=future,
    )
    return days._replace(known=days.seen & ~future & (days.latest(history.information, 0.0) > 0))


def _theta(days: _Days, history: SiteHistory, *, promised: bool) -> _Theta:
    mean, sd, low, high = (
        np.where(days.known, days.latest(values, 0.0), np.nan)
        for values in (history.mean, history.sd, history.low, history.high)
    )
    below = np.zeros((days.day.size, 4))
    if history.mean.size:
        below = np.where(days.known[:, None], history.below[days.at], 0.0)
    judged = days.known & promised
    p_failing = np.where(judged, np.clip(below[:, 1], 0.0, 1.0), np.nan)
    p_on_track = np.where(judged, np.clip(1.0 - below[:, 3], 0.0, 1.0), np.nan)
    p_lagging = np.maximum(1.0 - p_failing - p_on_track, 0.0)
    return _Theta(mean, sd, low, high, below, p_failing, p_lagging, p_on_track)


def _findings(
    days: _Days, scenes: UsableScenes, history: SiteHistory, site: Site, cohorts: Cohorts, c: Calibration,
    alpha: float | Sequence[float],
) -> _Findings:  # fmt: skip
    """What the evidence shows on each day."""
    used_day, start, promised = scenes.day[scenes.used], int(cohorts.begun[0]), site.plan.A > 0
    age = days.day - days.latest(history.loss_day, -(10**6))
    onset = days.latest(history.loss_onset, -1)
    lost = days.seen & ~days.future & (onset > scenes.first_since(start)) & (age <= c.disturbance_days)
    budgets = np.atleast_1d(alpha)
    bar = np.log([boundary(budget, c.boundary) for budget in budgets])
    guarded = days.known & (days.latest(history.evidence_held, 0.0) >= bar) & ~days.early & promised
    chance, held = np.full(days.day.size, np.nan), np.zeros(days.day.size)
    if site.intervention == "erosion_control" and site.slope_degrees is not None and promised and used_day.size:
        late = np.where(days.seen, history.late_scene[days.at], -1)
        not_better, at_all = _erosion(used_day, start, history, site, cohorts, site.slope_degrees)
        chance = np.where(late >= 0, not_better[late], np.nan)
        held = np.where(days.known & ~days.early & (late >= 0), at_all[late], 0.0)
    loss = expit(days.latest(history.loss_score, 0.0) + logit(c.disturbance_prior))
    return _Findings(
        lost=lost,
        loss=loss,
        failing=days.known & days.latest(history.surely_failing, 0).astype(bool),
        negative=days.known & days.latest(history.surely_negative, 0).astype(bool),
        bar=bar,
        guarded=guarded,
        sure_loss=lost & ~days.early & (loss >= loss_bar(budgets, c.disturbance_red)),
        erosion=held >= c.confident,
        unprotected=held >= erosion_bar(budgets),
        erosion_chance=chance,
    )


def _data(
    days: _Days, scenes: UsableScenes, theta: _Theta, found: _Findings, growing: GrowingSeason, c: Calibration, *,
    promised: bool,
) -> _Data:  # fmt: skip
    """What the data lack on each day."""
    used_day = scenes.day[scenes.used]
    recent = np.zeros(days.day.size)
    if used_day.size:
        recent = days.at + 1 - np.searchsorted(scenes.season, days.season - 1)
    few = ~days.seen | (recent < c.scenes)
    old = days.seen & (days.day - days.latest(used_day, 0) > c.age_days)
    away = days.n_scenes > 0
    if away.any():
        last = days.n_scenes[away] - 1
        requested = np.zeros(scenes.day.size, bool)
        requested[last] = True
        away[away] = greenest_outside(scenes.day, scenes.every, scenes.used, growing, requested)[last]
    constant = days.n_scenes >= c.scenes
    if constant.any():
        spread = np.maximum.accumulate(scenes.every) - np.minimum.accumulate(scenes.every)
        constant &= spread[np.maximum(days.n_scenes - 1, 0)] < CONSTANT_COVER
    # A wide interval hides neither a standing red nor an interval that is low as a whole.
    red = found.lost | found.guarded | found.unprotected
    wide = promised & ~days.early & ~red & ~(theta.high < FAILING_BELOW) & ~(theta.sd <= c.theta_sd_most)
    insufficient = days.future | few | old | wide | away | constant
    return _Data(few, old, days.n_scenes == 0, constant, away, wide, insufficient)


def _status(
    days: _Days, theta: _Theta, found: _Findings, data: _Data, as_reference: np.ndarray, c: Calibration, *,
    promised: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Status of each day, as an index in :data:`STATUSES`, and its probability."""
    doubtful = promised & (days.years < c.certain_years)
    failing = found.guarded | found.unprotected | (found.failing & ~doubtful)
    below_plan = theta.p_failing + theta.p_lagging
    status = np.select(
        [data.insufficient, found.lost & ~found.guarded, days.early, days.known & (as_reference >= c.confident),
         failing,          below_plan >= c.lagging, ~(days.known & promised) | (theta.p_on_track >= c.on_track)],
        [STATUSES.index(s) for s in
         (Status.INSUFFICIENT_DATA, Status.DISTURBED, Status.TOO_EARLY, Status.RECOVERED, Status.FAILING,
          Status.LAGGING, Status.ON_TRACK)],
        STATUSES.index(Status.UNDECIDED),
    )  # fmt: skip
    by_erosion = found.unprotected & ~found.failing & ~found.guarded
    probability = np.full(days.day.size, np.nan)
    for name, value in (
        (Status.DISTURBED, found.loss),
        (Status.RECOVERED, as_reference),
        (Status.FAILING, np.where(by_erosion, found.erosion_chance, theta.below[:, 1])),
        (Status.LAGGING, below_plan),
        (Status.ON_TRACK, theta.p_on_track),
    ):
        probability = np.where(_is(status, name), np.clip(value, 0.0, 1.0), probability)  # sums may exceed 1
    limited = doubtful & ~_is(status, Status.DISTURBED)
    return status, np.where(limited, np.minimum(probability, c.confident), probability)


def _is(status: np.ndarray, name: Status) -> np.ndarray:
    same: np.ndarray = status == STATUSES.index(name)
    return same


def _alert(days: _Days, found: _Findings, data: _Data, status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alert level and rule of each day, as indices in :data:`LEVELS` and :data:`RULES`."""
    can_tell = ~data.insufficient & ~_is(status, Status.RECOVERED)
    watched = np.where(days.early, found.negative, found.failing)
    rule = np.select(
        [~can_tell, found.guarded, found.sure_loss, found.unprotected, found.lost, watched, found.erosion],
        [-1, 0, 1, 2, 1, 0, 2], -1,
    )  # fmt: skip
    red = can_tell & (found.guarded | found.unprotected | found.sure_loss)
    alert = np.where(red, LEVELS.index(AlertLevel.RED), np.where(rule >= 0, LEVELS.index(AlertLevel.WATCH), 0))
    return alert, rule


def _reasons(
    days: _Days, scenes: UsableScenes, history: SiteHistory, found: _Findings, data: _Data,
    said: tuple[np.ndarray, np.ndarray, np.ndarray], c: Calibration, *, promised: bool,
) -> np.ndarray:  # fmt: skip
    """Reasons of each day, bit k for :data:`REASONS` k; `said` is status, alert and rule."""
    status, alert, rule = said
    red, can_tell = alert == LEVELS.index(AlertLevel.RED), ~data.insufficient & ~_is(status, Status.RECOVERED)
    dry = days.seen & (days.latest(history.season_rain, np.nan) <= c.dry)
    dry &= (days.season == days.latest(scenes.season, -1)) & ~days.future  # its normal is not known before the start
    died_dry = found.lost & (days.latest(history.loss_rain, np.nan) <= c.dry)
    before = days.latest(history.seasons_before, 0)
    low = _is(status, Status.FAILING) | _is(status, Status.LAGGING) | ((alert > 0) & (rule == 0))
    present = {
        Reason.START_IN_FUTURE: days.future,
        Reason.NO_CONTROL: data.no_control,
        Reason.CONTROL_CONSTANT: data.constant & ~days.future,
        Reason.SEASON_ELSEWHERE: data.away & ~days.future,
        Reason.FEW_SCENES: data.few & ~data.no_control,
        Reason.DATA_OLD: data.old,
        Reason.INTERVAL_WIDE: data.wide & ~days.future & ~data.few & ~data.away,
        Reason.SUDDEN_DROP: found.lost,
        Reason.DROUGHT_DIEBACK: died_dry,
        Reason.FIRE: found.lost & ~died_dry & (days.latest(history.loss_second, np.nan) <= c.burnt),
        Reason.INDEX_DISAGREE: days.seen & ~found.lost & days.latest(history.loss_denied, 0).astype(bool),
        Reason.NEG_UPLIFT: found.negative & ~data.insufficient,
        Reason.LOW_UPLIFT: low & ~found.negative & promised,
        Reason.EVIDENCE_LOWER: red & found.guarded & (days.latest(history.evidence, 0.0) < found.bar),
        Reason.EROSION_COVER_LOW: can_tell & found.erosion,
        Reason.DROUGHT: dry & ~found.lost,
        Reason.CONTROL_POOR: days.seen & ~days.future & days.latest(history.control_poor, 0).astype(bool),
        Reason.NO_PRE_SEASONS: ~days.future & (before == 0),
        Reason.FEW_PRE_SEASONS: ~days.future & (before == 1),
        Reason.TOO_EARLY: _is(status, Status.TOO_EARLY),
        Reason.NO_PLAN: np.full(days.day.size, not promised),
        Reason.UNCERTAIN: _is(status, Status.UNDECIDED),
    }
    return np.asarray(sum(np.where(present[reason], 1 << k, 0) for k, reason in enumerate(REASONS)))


def reason_codes(bits: int) -> tuple[str, ...]:
    """Codes of the reasons in one number of :attr:`Verdicts.reasons`."""
    return tuple(reason.value for k, reason in enumerate(REASONS) if bits >> k & 1)


def _soil(
    days: _Days, history: SiteHistory, site: Site, uplift: tuple[np.ndarray, np.ndarray, np.ndarray], *, promised: bool
) -> dict[str, np.ndarray]:
    """Soil loss and erosion grade of each day, as columns of :class:`Verdicts`; `uplift` is estimate, low and high."""
    ratio = ratio_low = ratio_high = np.full(days.day.size, np.nan)
    graded = without = np.full(days.day.size, -1)
    if site.intervention == "erosion_control" and promised:
        cover = days.latest(history.cover, np.nan)
        mu = days.latest(history.mu, np.nan)  # from the peak of the season to its mean
        estimate, low, high = uplift
        ratio, ratio_low, ratio_high = (soil_loss_ratio(cover, mu * part) for part in (estimate, high, low))
        if site.slope_degrees is not None:
            slope = np.full(days.day.size, site.slope_degrees)
            graded = grade(np.where(days.known, cover, np.nan), slope)
            without = grade(np.where(days.known, cover - mu * estimate, np.nan), slope)
    return {
        "soil_loss_ratio": ratio,
        "soil_loss_ratio_low": ratio_low,
        "soil_loss_ratio_high": ratio_high,
        "erosion_grade": graded,
        "erosion_grade_without": without,
        "notes": (np.isfinite(ratio) | (graded >= 0)).astype(np.int64),
    }


def _erosion(
    day: np.ndarray, start: int, history: SiteHistory, site: Site, cohorts: Cohorts, slope: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probability at each used scene that the slope's grade is not improved though half of the plan would have done it.

    Also the smallest at all late-season scenes of the last ten days or more; 0 at other scenes. With the whole plan
    instead of half, .12 to .16 of simulated slopes on plan would be red within six years, of those at half .6 to .9.
    """
    planned = cohorts.promised(site, day) * history.mu
    chance = not_improved(
        history.cover, history.mean * planned, history.sd * planned, HALF * planned, np.full(day.size, slope)
    )
    chance = np.where(day >= start, chance, np.nan)
    late = np.flatnonzero(history.late_scene == np.arange(day.size))
    first = np.searchsorted(day[late], day[late] - SURE_DAYS, side="right") - 1
    held, known = np.zeros(day.size), np.nan_to_num(chance[late])
    for k in np.flatnonzero(first >= 0):
        held[late[k]] = known[first[k] : k + 1].min()
    return chance, held


def _recovered(day: np.ndarray, start: int, scenes: UsableScenes, history: SiteHistory, c: Calibration) -> np.ndarray:
    """Probability at each used scene that the site was at its reference in the last two seasons; NaN: unknown.

    The smaller of the two seasons' probabilities. A season is tested once its peak is past, on all its scenes that show
    the reference, at least three; its own difference and the drift within it are allowed for. The threshold is four
    fifths of the way from the state before the start: a site that had nine tenths of its reference already would
    otherwise count as recovered although nothing grew.
    """
    both = np.isfinite(scenes.cover - scenes.reference)
    early, share_before = both & (day < start), 0.0
    if early.sum() >= c.scenes:
        share_before = float(scenes.cover[early].sum() / max(scenes.reference[early].sum(), 1e-9))
    threshold = c.recovered_share + (1 - c.recovered_share) * min(share_before, 1.0)
    margin = scenes.cover - threshold * scenes.reference
    shown = both & (day >= start)
    first = np.searchsorted(scenes.season, scenes.season)  # of its season
    total = np.concatenate([[0.0], np.cumsum(np.where(shown, margin, 0.0))])
    count = np.concatenate([[0], np.cumsum(shown)])
    index = np.arange(day.size)
    n = count[index + 1] - count[first]
    mean = (total[index + 1] - total[first]) / np.maximum(n, 1)
    sd = np.sqrt(c.scene_sd**2 / np.maximum(n, 1) + c.fast_sd**2 / np.maximum(n / 2, 1) + c.year_sd**2)
    late = np.flatnonzero((history.late_scene == index) & (n >= c.scenes))
    if not late.size:
        return np.full(day.size, np.nan)
    chance, season = ndtr(mean[late] / sd[late]), scenes.season[late]
    last = np.searchsorted(season, season - 1, side="right") - 1  # the last late-season scene of the season before
    before = np.where((last >= 0) & (season[np.maximum(last, 0)] == season - 1), chance[np.maximum(last, 0)], np.nan)
    at = np.searchsorted(late, index, side="right") - 1
    known = (at >= 0) & (scenes.season - season[np.maximum(at, 0)] <= 1)
    return np.where(known, np.minimum(chance, before)[np.maximum(at, 0)], np.nan)
