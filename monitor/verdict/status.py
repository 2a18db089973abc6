"""Status, probability, alert and reasons from the filtered history of sites, for many entries (site, day) at once.

A site is ``undecided`` where no other status is likely enough: neither surely low nor more likely than not on track.

A verdict on a day reads what was known after the last scene up to that day, and the calendar; nothing later.

All red alerts of a site share one false-alarm budget: failure, a sudden loss and ground left unprotected turn red at
bars of :mod:`monitor.verdict.calibration` that rise together as the budget shrinks. What stays below is watched.

A confirmed loss that is more likely true than not determines the status for a year, unless the site had failed before
(a failed site does not become a mere accident by losing more) or is on track all the same. Any confirmed loss is
watched, and red once its score reaches the bar, it shows at the height of the season too, and the season's measured
difference, where known, has fallen. While it is too early, a loss is never red: ground is often cleared for planting.

The measured difference (:mod:`monitor.verdict.measured`) vetoes what it contradicts: ``failing``, red by failure and a
red loss where the site is measured above half of its plan, ``lagging`` where it also contradicts the model there,
``on_track`` where the last full season is well below the years before the start. Where nothing was promised, two such
seasons are ``failing``.

``recovered`` needs a reference in the series, ground nearby that is in the state that the plan wants, and two seasons
in which the site had gone four fifths of the way to it. It precedes the plan: a site at its reference cannot gain more.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtr

from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.calibration import Calibration, boundary, erosion_bar, loss_bar, loss_chance
from monitor.verdict.erosion import UNVERIFIED, grade, not_improved, soil_loss_ratio
from monitor.verdict.kernels.history import SiteHistory
from monitor.verdict.measured import Measured, measure
from monitor.verdict.plans import Plans
from monitor.verdict.reasons import BACKGROUND, Reason
from monitor.verdict.usable_scenes import UsableScenes, control_shape, lacks_season

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
where nothing grows. A control without seasons predicts nothing. [cover fraction]"""
FAILING_BELOW = 0.25
"""Share of the expected uplift below which a site is failing, see ``Prior.thresholds``. [1]"""
LIKELY_LOSS = 0.5
"""Probability of a sudden loss from which it determines the status. [1]"""
HALF = 0.5
"""Share of the expected uplift from which a site must not be red; with it the erosion grade must be better. [1]"""
SURE_DAYS = 10
"""Shortest time over which all scenes must agree. [day]"""


class Verdicts(NamedTuple):
    """Verdicts as columns, named as in :class:`Assessment`: (n,) arrays, one entry a site and date.

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
    measured: np.ndarray
    measured_se: np.ndarray
    measured_season: np.ndarray
    measured_season_se: np.ndarray
    contradiction: np.ndarray
    loss_from: np.ndarray
    loss_to: np.ndarray


class _Days(NamedTuple):
    """The sites and days to judge and what was known of each site on the day, (n,) arrays."""

    site: np.ndarray  # place of the site
    day: np.ndarray  # days from 1970-01-01
    start: np.ndarray  # first day of the work
    promised: np.ndarray  # whether the plan promises uplift
    years: np.ndarray  # age of most of the site, which decides whether it is too early [year]
    n_scenes: np.ndarray  # accepted scenes until then
    seen: np.ndarray  # whether a used scene had been acquired
    at: np.ndarray  # index of the last used scene; of another site, or 0, without one
    first: np.ndarray  # index of the first used scene of the site
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
    """Faults of the data on each day, bool arrays."""

    few: np.ndarray  # too few used scenes in this season and the last
    old: np.ndarray  # the last used scene is too old
    no_control: np.ndarray  # no scene shows site and control
    constant: np.ndarray  # the control shows the same cover in all scenes so far, or lacks the season of the site
    away: np.ndarray  # the control is greenest outside the growing season
    wide: np.ndarray  # the interval of theta is too wide
    insufficient: np.ndarray  # no verdict can be given


class _Findings(NamedTuple):
    """Findings of the model on each day, bool arrays unless stated."""

    lost: np.ndarray  # a sudden loss is confirmed and recent
    loss: np.ndarray  # its probability by the highest score, which its bar refers to [1]
    chance: np.ndarray  # its probability by all that is known of it [1]
    failed_before: np.ndarray  # the site was surely failing when it came
    failing: np.ndarray  # P(theta < 0.25) has been high for ten days or more
    negative: np.ndarray  # P(theta < 0) has been high for ten days or more
    bar: np.ndarray  # log evidence at which failure turns red
    guarded: np.ndarray  # the evidence of failure is above the bar
    sure_loss: np.ndarray  # the loss is as probable as its bar demands, and seen beyond leaf-out and leaf-fall
    erosion: np.ndarray  # the erosion grade is not improved, with a probability to watch
    unprotected: np.ndarray  # the same, with a probability above the bar
    erosion_chance: np.ndarray  # probability that the erosion grade is not improved; NaN: unknown [1]


def judge(
    site: np.ndarray, day: np.ndarray, scenes: UsableScenes, history: SiteHistory, plans: Plans,
    calibration: Calibration, alpha: np.ndarray,
) -> Verdicts:  # fmt: skip
    """Verdicts on sites as of several days.

    `site` and `day` are (n,): the place of the site of each entry, and the day, from 1970-01-01; `alpha`, (n,), the
    false-alarm budget for ten years of the site, all rules together [1]: ``BadConfiguration`` without a boundary.
    """
    c = calibration
    days = _days(site, day, scenes, history, plans)
    theta = _theta(days, history)
    modelled = _findings(days, scenes, history, plans, c, alpha)
    data = _data(days, scenes, theta, modelled, plans, c)
    measured = measure(site, day, scenes, history, plans)
    findings = _not_vetoed(modelled, measured)
    as_reference = days.latest(_recovered(scenes, history, plans, c), np.nan)
    status, probability = _status(days, theta, findings, data, as_reference, c)
    status, probability, side = _vetoed(status, probability, modelled, measured)
    alert, rule = _alert(days, findings, data, status)
    reasons = _reasons(days, scenes, history, findings, data, (status, alert, rule), side, c)
    observed = np.zeros(day.size, np.int64)
    if scenes.day.size:
        observed = scenes.day[np.maximum(scenes.edge[site] + days.n_scenes - 1, 0)]
    expected = plans.expected(site, day)
    uplift, lower, upper = (
        values * np.where(days.promised, expected, 1.0) for values in (theta.mean, theta.low, theta.high)
    )
    judged, bar = days.known & days.promised, np.log(c.uplift_bar)
    confirmed = judged & (days.latest(history.uplift_evidence, 0.0) >= bar)
    certified, first = np.unique(scenes.site[history.uplift_evidence >= bar], return_index=True)
    on = np.zeros(len(plans.sites), np.int64)  # it never falls: the first is the day
    on[certified] = scenes.used_day[history.uplift_evidence >= bar][first]
    shown = [np.where(days.promised, values, np.nan) for values in (theta.mean, theta.low, theta.high)]
    return Verdicts(
        as_of=day.astype("datetime64[D]"),
        last_observed=_dates(days.n_scenes > 0, observed),
        status=status,
        probability=probability,
        p_failing=theta.p_failing,
        p_lagging=theta.p_lagging,
        p_on_track=theta.p_on_track,
        alert=alert,
        alert_rule=rule,
        theta=shown[0],
        theta_low=shown[1],
        theta_high=shown[2],
        uplift=uplift,
        uplift_low=lower,
        uplift_high=upper,
        expected=np.where(days.future, np.nan, expected),
        cover=days.latest(history.cover, np.nan),
        control_cover=days.latest(history.control, np.nan),
        e_failure=_capped(days.latest(history.evidence_max, 0.0), judged),
        n_scenes=days.n_scenes,
        n_pre=np.minimum(days.n_scenes, scenes.count(site, days.start - 1)),
        reasons=reasons,
        e_uplift=_capped(days.latest(history.uplift_evidence, 0.0), judged),
        uplift_confirmed=confirmed,
        uplift_confirmed_on=_dates(confirmed, on[site]),
        loss_after=_dates(findings.lost & (days.latest(history.loss_last, -1) >= 0), days.latest(history.loss_last, 0)),
        loss_on=_dates(findings.lost, days.latest(history.loss_first, 0)),
        loss_confirmed_on=_dates(findings.lost, days.latest(history.loss_day, 0)),
        **_soil(days, history, plans, (uplift, lower, upper)),
        **{name: getattr(measured, name) for name in Measured._fields if name in Verdicts._fields},
    )


def _dates(known: np.ndarray, day: np.ndarray | int) -> np.ndarray:
    """Days from 1970-01-01 as dates; NaT where not known."""
    return np.where(known, day, NEVER).astype("datetime64[D]")


def _capped(evidence: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Evidence from its logarithm, capped; NaN where not judged."""
    return np.where(judged, np.exp(np.minimum(evidence, np.log(CAP))), np.nan)


def _days(
    site: np.ndarray, day: np.ndarray, scenes: UsableScenes, history: SiteHistory, plans: Plans
) -> _Days:  # fmt: skip
    years, at = (day - plans.most_begun[site]) / 365.25, scenes.last_used(site, day)
    first, start = scenes.used_edge[site], plans.start[site]
    days = _Days(
        site=site, day=day, start=start, promised=plans.promised[site], years=years, n_scenes=scenes.count(site, day),
        seen=at >= first, at=np.maximum(at, 0), first=first, season=plans.locate(site, day)[0], future=day < start,
        early=years < plans.too_early[site], known=day < start,
    )  # fmt: skip
    return days._replace(known=days.seen & ~days.future & (days.latest(history.information, 0.0) > 0))


def _theta(days: _Days, history: SiteHistory) -> _Theta:
    mean, sd, low, high = (
        np.where(days.known, days.latest(values, 0.0), np.nan)
        for values in (history.mean, history.sd, history.low, history.high)
    )
    below = np.zeros((days.day.size, 4))
    if history.mean.size:
        below = np.where(days.known[:, None], history.below[days.at], 0.0)
    judged = days.known & days.promised
    p_failing = np.where(judged, np.clip(below[:, 1], 0.0, 1.0), np.nan)
    p_on_track = np.where(judged, np.clip(1.0 - below[:, 3], 0.0, 1.0), np.nan)
    p_lagging = np.maximum(1.0 - p_failing - p_on_track, 0.0)
    return _Theta(mean, sd, low, high, below, p_failing, p_lagging, p_on_track)


def _findings(
    days: _Days, scenes: UsableScenes, history: SiteHistory, plans: Plans, c: Calibration, alpha: np.ndarray
) -> _Findings:  # fmt: skip
    age = days.day - days.latest(history.loss_day, -(10**6))
    onset = days.latest(history.loss_onset, -1)
    since = scenes.first_since(plans.start)[days.site]
    lost = days.seen & ~days.future & (onset > since) & (age <= c.disturbance_days)
    budgets, which = np.unique(alpha, return_inverse=True)
    bar = np.log([boundary(budget, c.boundary) for budget in budgets.tolist()])[which]
    guarded = days.known & (days.latest(history.evidence_held, 0.0) >= bar) & ~days.early & days.promised
    chance, held = np.full(days.day.size, np.nan), np.zeros(days.day.size)
    if np.isfinite(plans.lowest_cover).any() and scenes.used_day.size:
        late = days.latest(history.late_scene, -1).astype(np.int64)
        at = np.minimum(days.first + np.maximum(late, 0), scenes.used_day.size - 1)
        not_better, at_all = _erosion(scenes, history, plans)
        chance = np.where(late >= 0, not_better[at], np.nan)
        held = np.where(days.known & ~days.early & (late >= 0), at_all[at], 0.0)
    loss = expit(days.latest(history.loss_score, 0.0) + logit(c.disturbance_prior))
    before, failed_before = scenes.last_used(days.site, onset - 1), np.zeros(days.day.size, bool)
    if history.surely_failing.size:
        failed_before = lost & (before >= days.first) & history.surely_failing[np.maximum(before, 0)]
    seen_to_fall = days.latest(history.loss_at_height, 0).astype(bool)
    return _Findings(
        lost=lost, loss=loss,
        chance=loss_chance(days.latest(history.loss_now, 0.0), days.latest(history.loss_score, 0.0), age / 365.25),
        failed_before=failed_before, failing=days.known & days.latest(history.surely_failing, 0).astype(bool),
        negative=days.known & days.latest(history.surely_negative, 0).astype(bool), bar=bar, guarded=guarded,
        sure_loss=lost & ~days.early & seen_to_fall & (loss >= loss_bar(alpha, c.disturbance_red)),
        erosion=held >= c.confident, unprotected=held >= erosion_bar(alpha), erosion_chance=chance,
    )  # fmt: skip


def _data(
    days: _Days, scenes: UsableScenes, theta: _Theta, found: _Findings, plans: Plans, c: Calibration
) -> _Data:  # fmt: skip
    recent = days.at + 1 - scenes.used_since_season(days.site, days.season - 1)
    few = ~days.seen | (recent < c.scenes)
    old = days.seen & (days.day - days.latest(scenes.used_day, 0) > c.age_days)
    away = constant = np.zeros(days.day.size, bool)
    if scenes.day.size:
        any_scene = days.n_scenes > 0
        last = np.where(any_scene, scenes.edge[days.site] + days.n_scenes - 1, 0)
        requested = np.zeros(scenes.day.size, bool)
        requested[last[any_scene]] = True
        outside, spread = control_shape(scenes, plans, requested)
        away = any_scene & outside[last]
        constant = (days.n_scenes >= c.scenes) & (spread[last] < CONSTANT_COVER)
        constant |= any_scene & lacks_season(scenes, plans)[days.site]
    # A wide interval hides neither a standing red nor an interval that is low as a whole.
    red = found.lost | found.guarded | found.unprotected
    wide = days.promised & ~days.early & ~red & ~(theta.high < FAILING_BELOW) & ~(theta.sd <= c.theta_sd_most)
    insufficient = days.future | few | old | wide | away | constant
    return _Data(few, old, days.n_scenes == 0, constant, away, wide, insufficient)


def _status(
    days: _Days, theta: _Theta, found: _Findings, data: _Data, as_reference: np.ndarray, c: Calibration
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Status of each day, as an index in :data:`STATUSES`, and its probability."""
    doubtful = days.promised & (days.years < c.certain_years)
    failing = found.guarded | found.unprotected | (found.failing & ~doubtful)
    below_plan = theta.p_failing + theta.p_lagging
    judged = days.known & days.promised
    probably_lost = days.known & ~days.promised & (theta.below[:, 1] >= c.on_track)
    on_track = np.where(judged, theta.p_on_track >= c.on_track, ~probably_lost)
    stands = found.guarded | found.unprotected | (failing & found.failed_before) | (judged & ~days.early & on_track)
    disturbed = found.lost & (found.chance >= LIKELY_LOSS) & ~stands
    status = np.select(
        [data.insufficient, disturbed, days.early, days.known & (as_reference >= c.confident),
         failing,          below_plan >= c.lagging, on_track],
        [STATUSES.index(s) for s in
         (Status.INSUFFICIENT_DATA, Status.DISTURBED, Status.TOO_EARLY, Status.RECOVERED, Status.FAILING,
          Status.LAGGING, Status.ON_TRACK)],
        STATUSES.index(Status.UNDECIDED),
    )  # fmt: skip
    by_erosion = found.unprotected & ~found.failing & ~found.guarded
    below_quarter = np.clip(theta.below[:, 1], 0.0, 1.0)  # `p_failing` where uplift is promised
    probability = np.full(days.day.size, np.nan)
    for name, value in (
        (Status.DISTURBED, found.chance),
        (Status.RECOVERED, as_reference),
        (Status.FAILING, np.where(by_erosion, found.erosion_chance, below_quarter)),
        (Status.LAGGING, np.minimum(below_plan, 1.0)),  # rounding
        (Status.ON_TRACK, theta.p_on_track),
    ):
        probability = np.where(_is(status, name), value, probability)
    return status, probability


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


def _not_vetoed(found: _Findings, measured: Measured) -> _Findings:
    """The evidence of the model that the measurement does not veto, and the decline that it shows by itself."""
    return found._replace(
        guarded=found.guarded & ~measured.above,
        failing=(found.failing & ~measured.above) | measured.declined,
        sure_loss=found.sure_loss & ~measured.not_lost,
    )


def _vetoed(
    status: np.ndarray, probability: np.ndarray, found: _Findings, measured: Measured
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Status and probability of each day after the vetoes; `found` is the evidence of the model.

    Last, how the measurement stands to the model where the two disagree: 1 above it, -1 below it, 0 elsewhere.
    """
    rises = measured.contradiction & measured.higher
    higher = _is(status, Status.LAGGING) & measured.above & (found.failing | rises)
    lower = _is(status, Status.ON_TRACK) & measured.below
    declined = _is(status, Status.FAILING) & measured.declined & ~found.failing & ~found.guarded
    side = np.select([higher, lower | declined, measured.contradiction], [1, -1, np.where(measured.higher, 1, -1)], 0)
    status = np.where(higher | lower, STATUSES.index(Status.UNDECIDED), status)
    return status, np.where(higher | lower | declined, np.nan, probability), side


def _reasons(
    days: _Days, scenes: UsableScenes, history: SiteHistory, found: _Findings, data: _Data,
    said: tuple[np.ndarray, np.ndarray, np.ndarray], side: np.ndarray, c: Calibration,
) -> np.ndarray:  # fmt: skip
    """Reasons of each day, bit k for :data:`REASONS` k; `said` is status, alert and rule, `side` as :func:`_vetoed`."""
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
        Reason.LOW_UPLIFT: low & ~found.negative & days.promised,
        Reason.MEASURED_HIGHER: can_tell & (side > 0),
        Reason.MEASURED_LOWER: can_tell & (side < 0),
        Reason.EVIDENCE_LOWER: red & found.guarded & (days.latest(history.evidence, 0.0) < found.bar),
        Reason.EROSION_COVER_LOW: can_tell & found.erosion,
        Reason.DROUGHT: dry & ~found.lost,
        Reason.CONTROL_POOR: days.seen & ~days.future & days.latest(history.control_poor, 0).astype(bool),
        Reason.NO_PRE_SEASONS: ~days.future & (before == 0),
        Reason.FEW_PRE_SEASONS: ~days.future & (before == 1),
        Reason.TOO_EARLY: _is(status, Status.TOO_EARLY),
        Reason.NO_PLAN: ~days.promised,
        Reason.UNCERTAIN: _is(status, Status.UNDECIDED),
    }
    return np.asarray(sum(np.where(present[reason], 1 << k, 0) for k, reason in enumerate(REASONS)))


def reason_codes(bits: int) -> tuple[str, ...]:
    """Codes of the reasons in one number of :attr:`Verdicts.reasons`."""
    return tuple(reason.value for k, reason in enumerate(REASONS) if bits >> k & 1)


def _soil(
    days: _Days, history: SiteHistory, plans: Plans, uplift: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """Soil loss and erosion grade of each day, as columns of :class:`Verdicts`; `uplift` is estimate, low and high.

    Both are those of field cover. The limits of the soil loss, which only rain causes, are the widest by the limits of
    the uplift and of the factor from index cover to field cover.
    """
    ratio = [np.full(days.day.size, np.nan) for _ in uplift]
    graded, without = np.full(days.day.size, -1), np.full(days.day.size, -1)
    controlled = np.flatnonzero(plans.erosion[days.site])
    if controlled.size:
        cover, known = days.latest(history.cover, np.nan)[controlled], days.known[controlled]
        mu = days.latest(history.mu, np.nan)[controlled]  # from the peak of the season to its mean
        estimate, low, high = (mu * values[controlled] for values in uplift)
        site = days.site[controlled]
        by_water, (factor, *ends) = ~plans.by_wind[site], plans.factor[site].T
        ratio[0][controlled] = np.where(by_water, soil_loss_ratio(cover / factor, estimate / factor), np.nan)
        for whole, part, least in zip(ratio[1:], (high, low), (np.minimum, np.maximum), strict=True):
            limits = [soil_loss_ratio(cover / end, part / end) for end in ends]
            whole[controlled] = np.where(by_water, least(*limits), np.nan)
        lowest, seen = plans.lowest_cover[site], np.where(known, cover, np.nan) / factor
        graded[controlled] = grade(seen, lowest)
        without[controlled] = grade(seen - estimate / factor, lowest)
    return {
        "soil_loss_ratio": ratio[0],
        "soil_loss_ratio_low": ratio[1],
        "soil_loss_ratio_high": ratio[2],
        "erosion_grade": graded,
        "erosion_grade_without": without,
        "notes": (np.isfinite(ratio[0]) | ((graded >= 0) & ~plans.by_wind[days.site])).astype(np.int64),
    }


def _erosion(scenes: UsableScenes, history: SiteHistory, plans: Plans) -> tuple[np.ndarray, np.ndarray]:
    """Probability at each used scene that the grade is not improved though half of the plan would have improved it.

    Also the smallest at all late-season scenes of the last ten days or more; 0 at other scenes. With the whole plan
    instead of half, .12 to .16 of simulated slopes on plan would be red within six years, of those at half .6 to .9.
    """
    chance, held = np.full(scenes.site.size, np.nan), np.zeros(scenes.site.size)
    lowest = plans.lowest_cover
    for k in np.flatnonzero(np.isfinite(lowest).any(axis=1)).tolist():
        part = slice(*scenes.used_edge[k : k + 2].tolist())
        day, cover = scenes.used_day[part], history.cover[part]
        factor, low_end, high_end = plans.factor[k]
        planned = plans.expected(scenes.site[part], day) * history.mu[part] / factor
        own = not_improved(
            cover / factor, history.mean[part] * planned, history.sd[part] * planned, HALF * planned,
            np.tile(lowest[k], (day.size, 1)), np.full(day.size, np.log(high_end / low_end) / (2 * 1.96)),
        )  # fmt: skip
        chance[part] = own = np.where(day >= plans.start[k], own, np.nan)
        late = np.flatnonzero(history.late_scene[part] == np.arange(day.size))
        first = np.searchsorted(day[late], day[late] - SURE_DAYS, side="right") - 1
        known = np.nan_to_num(own[late])
        for at in np.flatnonzero(first >= 0):
            held[part.start + late[at]] = known[first[at] : at + 1].min()
    return chance, held


def _recovered(scenes: UsableScenes, history: SiteHistory, plans: Plans, c: Calibration) -> np.ndarray:
    """Probability at each used scene that the site was at its reference in the last two seasons; NaN: unknown.

    The smaller of the two seasons' probabilities. A season is tested once its peak is past, on all its scenes that show
    the reference, at least three; its own difference and the drift within it are allowed for. The threshold is four
    fifths of the way from the state before the start: a site that had nine tenths of its reference already would
    otherwise count as recovered although nothing grew.
    """
    chances = np.full(scenes.site.size, np.nan)
    for k in np.unique(scenes.site[np.isfinite(scenes.reference)]).tolist():
        part = slice(*scenes.used_edge[k : k + 2].tolist())
        cover, reference, day, season = (
            values[part] for values in (scenes.cover, scenes.reference, scenes.used_day, scenes.season)
        )
        both, start = np.isfinite(cover - reference), plans.start[k]
        early, share_before = both & (day < start), 0.0
        if early.sum() >= c.scenes:
            share_before = float(cover[early].sum() / max(reference[early].sum(), 1e-9))
        threshold = c.recovered_share + (1 - c.recovered_share) * min(share_before, 1.0)
        margin = cover - threshold * reference
        shown = both & (day >= start)
        first = np.searchsorted(season, season)  # of its season
        total = np.concatenate([[0.0], np.cumsum(np.where(shown, margin, 0.0))])
        count = np.concatenate([[0], np.cumsum(shown)])
        index = np.arange(day.size)
        n = count[index + 1] - count[first]
        mean = (total[index + 1] - total[first]) / np.maximum(n, 1)
        sd = np.sqrt(c.scene_sd**2 / np.maximum(n, 1) + c.fast_sd**2 / np.maximum(n / 2, 1) + c.year_sd**2)
        late = np.flatnonzero((history.late_scene[part] == index) & (n >= c.scenes))
        if not late.size:
            continue
        chance, of = ndtr(mean[late] / sd[late]), season[late]
        last = np.searchsorted(of, of - 1, side="right") - 1  # the last late-season scene of the season before
        before = np.where((last >= 0) & (of[np.maximum(last, 0)] == of - 1), chance[np.maximum(last, 0)], np.nan)
        at = np.searchsorted(late, index, side="right") - 1
        known = (at >= 0) & (season - of[np.maximum(at, 0)] <= 1)
        chances[part] = np.where(known, np.minimum(chance, before)[np.maximum(at, 0)], np.nan)
    return chances
