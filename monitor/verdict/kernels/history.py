"""One causal pass over the scenes of a site, and the time to detection of simulated failures (numba)."""

import math
from typing import NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import HEIGHT, LAGS, SEASONS_TO_CALL_DRY
from monitor.verdict.kernels.losses import (
    Losses,
    change_of_second_index,
    detect_losses,
    first_scene_of_loss,
    lower_than_a_year_before,
    search_noise,
)
from monitor.verdict.kernels.season import reference_fits, season_state
from monitor.verdict.kernels.state_space import agreement_before, own_noise, scaled_noise
from monitor.verdict.kernels.theta import failure_evidence, gain_variance, theta_filter, uplift_evidence
from monitor.verdict.kernels.types import (
    FALSE,
    TRUE,
    Array,
    Noise,
    Prior,
    SeasonState,
    Times,
    UsualSeason,
    inlined,
    kernel,
)


class SiteScenes(NamedTuple):
    """Usable scenes of a site, (n,) arrays."""

    times: Times
    cover: np.ndarray  # cover of site and control [cover fraction]
    control: np.ndarray
    control_2: np.ndarray  # cover of the second ring of control units; NaN where not seen [cover fraction]
    second: np.ndarray  # A second index, site minus control; NaN where not seen
    variance: np.ndarray  # variance of the noise of each scene [cover fraction squared]


class Promise(NamedTuple):
    """The plan of a site and the cohorts in which it was started."""

    begun: np.ndarray  # (m,) days on which the cohorts were started, ascending, from 1970-01-01
    share: np.ndarray  # (m,) share of the area of each [1]
    uplift: float  # promised uplift at maturity, A of the plan [cover fraction]
    rate: float  # rate of approach, k of the plan [1/year]
    lag: float  # lag before growth can be seen, L of the plan [year]
    promised: bool  # whether the plan promises uplift


class Rules(NamedTuple):
    """When evidence counts."""

    after_peak: float
    """Days after the season's peak from which a scene counts as late-season: evidence of failure counts there. [day]"""
    confident: float  # probability that counts as sure [1]
    loss_score: float  # score at which a sudden loss is confirmed, `bar` of ``detect_losses``
    surcharge: np.ndarray  # subtracted from the log evidence of failure, by year since the start, the last for good


class Promises(NamedTuple):
    """Plans and seasons of several sites, (site,) arrays unless stated; see :class:`monitor.verdict.plans.Plans`."""

    begun: np.ndarray  # (cohort,)
    share: np.ndarray  # (cohort,)
    edge: np.ndarray  # (site + 1,)
    uplift: np.ndarray
    rate: np.ndarray
    lag: np.ndarray
    promised: np.ndarray
    usual: np.ndarray  # (site, 3) length, peak and width of the usual season [day]


class SiteEstimate(NamedTuple):
    """What is estimated once a site, from the years before its start and ended seasons."""

    fits: np.ndarray  # see ``reference_fits``
    wander: float  # factor on slow drift and a season's own difference, see ``own_noise`` [1]
    scene: float  # factor on the noise of a scene and fast drift [1]


class SiteHistory(NamedTuple):
    """What is known after each scene, (n,) arrays; a verdict on a later day reads the last row."""

    mean: np.ndarray
    """Theta now, the plan as written, with its standard deviation and 95 % interval; where nothing was promised, the
    change of cover."""
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    below: np.ndarray  # (n, 4) probability of theta below each threshold of ``Prior`` [1]
    information: np.ndarray  # precision on theta from scenes; 0: only the prior is known
    late_scene: np.ndarray  # index of the last late-season scene (see ``Rules``); -1: none yet
    evidence: np.ndarray
    """Log evidence of failure, less its surcharge, at the last late-season scene; 0 before the first."""
    evidence_max: np.ndarray  # highest log evidence of failure so far
    evidence_held: np.ndarray
    """Highest log evidence of failure since the site was last shown to be above half its plan."""
    uplift_evidence: np.ndarray  # highest log evidence so far, at late-season scenes, that there is any uplift
    surely_failing: np.ndarray
    """P(theta below the second threshold) has been high at all scenes for ten days or more; below, the first."""
    surely_negative: np.ndarray
    loss_day: np.ndarray  # day on which the last sudden loss was confirmed; -1: none
    loss_onset: np.ndarray  # day of its onset by the search; -1: none
    loss_first: np.ndarray  # day of the scene that first shows it; -1: none
    loss_last: np.ndarray  # day of the last scene before; -1: none
    loss_score: np.ndarray  # highest log evidence for it since it was confirmed; 0: none
    loss_now: np.ndarray
    """Log evidence for it at this scene, the last one once it is no longer updated; 0: none."""
    loss_at_height: np.ndarray  # whether it also showed at the height of the season, not on its flanks alone
    loss_second: np.ndarray  # change of the second index at it; NaN where not seen
    loss_rain: np.ndarray  # `season_rain` at it; NaN where the normal season is not known well
    loss_denied: np.ndarray  # whether the second index spoke against a loss at this scene
    cover: np.ndarray  # mean cover of site and control over the season to date [cover fraction]
    control: np.ndarray
    mu: np.ndarray
    """Mean of season and rain over the same scenes: converts an uplift at the peak into one of the mean. [1]"""
    season_rain: np.ndarray
    """Growth of the control relative to normal, season to date; NaN where the normal season is not known well. [1]"""
    seasons_before: np.ndarray  # seasons before the start in which site and control were compared
    control_poor: np.ndarray  # whether site and control did not agree before the start


@kernel
def estimate_site(
    times: Times, cover: Array, control: Array, variance: Array, start: int, usual: UsualSeason, noise: Noise
) -> SiteEstimate:
    """Estimate what :func:`filter_site` needs to know first.

    Only scenes before the start, and those of ended seasons, are used.

    Parameters
    ----------
    times : Times
    cover, control : (n,) arrays, cover of the site and of the control [cover fraction]
    variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    start : int, days from 1970-01-01
    usual, noise : UsualSeason, Noise
    """
    fits = reference_fits(times, control, start, usual)
    state = season_state(times, control, fits)
    difference = cover - control
    baseline, _, _ = agreement_before(times, difference, state.shape, start, noise.baseline)
    wander, scene = own_noise(times, difference, state, variance, start, scaled_noise(noise, baseline, 1.0, 1.0))
    return SiteEstimate(fits, wander, scene)


@inlined
def _plan_curves(day: Array, plan: Promise) -> Array:
    """Promised uplift at each scene, (n, 3), summed over the cohorts; where nothing is promised, the share started."""
    out = np.zeros((day.size, LAGS))
    for i in range(day.size):
        for cohort in range(plan.begun.size):
            years = (day[i] - plan.begun[cohort]) / 365.25
            for j in range(LAGS):
                if plan.promised:
                    grown = 1.0 - math.exp(-plan.rate * max(years - plan.lag - 0.5 * j, 0.0))
                    out[i, j] += plan.share[cohort] * plan.uplift * grown
                elif years >= 0:
                    out[i, j] += plan.share[cohort]
    return out


@inlined
def _no_losses(n: int) -> Losses:
    return Losses(np.zeros(n), np.zeros(n, np.bool_), np.full(n, -1), np.zeros(n, np.bool_))


@inlined
def _evidence_without_losses(
    times: Times, difference: Array, state: SeasonState, curves: Array, variance: Array, noise: Noise, prior: Prior
) -> tuple[Array, Array]:
    """Log evidence of failure and of uplift at each scene, losses ignored."""
    theta = theta_filter(
        times, difference, state, curves, variance, _no_losses(difference.size), TRUE, noise, prior, TRUE
    )
    gain = gain_variance(state.seasons, state.rain_sd, prior)
    return failure_evidence(theta.b, theta.c, gain), uplift_evidence(theta.b, theta.c)


@kernel
def _second_ring_evidence(
    scenes: SiteScenes, seen: Array, start: int, curves: Array, noise: Noise, prior: Prior, estimate: SiteEstimate
) -> tuple[Array, Array]:
    """Log evidence of failure and of uplift against the second ring alone, at each scene that shows it."""
    times = Times(scenes.times.day[seen], scenes.times.position[seen], scenes.times.season[seen])
    control = scenes.control_2[seen]
    state = season_state(times, control, estimate.fits)
    difference = scenes.cover[seen] - control
    baseline, _, _ = agreement_before(times, difference, state.shape, start, noise.baseline)
    own = scaled_noise(noise, baseline, estimate.wander, estimate.scene)
    variance = scenes.variance[seen] * estimate.scene**2
    return _evidence_without_losses(times, difference, state, curves[seen], variance, own, prior)


@inlined
def _late_scenes(times: Times, peak: Array, start: int, after_peak: float) -> Array:
    """Index of the last late-season scene since the start, at each scene; -1: none yet."""
    late, last = np.empty(times.day.size, np.int64), -1
    for i in range(times.day.size):
        if times.day[i] >= start and times.position[i] >= peak[i] + after_peak:
            last = i
        late[i] = last
    return late


@kernel
def _guarded_evidence(
    late: Array, evidence: Array, uplift: Array, below: Array, day: Array, start: int, confident: float,
    surcharge: Array,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Evidence at the last late-season scene, highest so far, highest since half the plan was reached; of uplift."""
    n = day.size
    now, highest, held, grown = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    last, top, latch, growth = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        if late[i] == i:
            year = int((day[i] - start) / 365.25)
            last = evidence[i] - surcharge[min(year, surcharge.size - 1)]
            top, latch, growth = max(top, last), max(latch, last), max(growth, uplift[i])
        if day[i] >= start and below[i, 2] <= 1.0 - confident:
            latch = 0.0
        now[i], highest[i], held[i], grown[i] = last, top, latch, growth
    return now, highest, held, grown


@kernel
def _surely(chance: Array, day: Array, start: int, confident: float) -> Array:
    """Whether a probability has been at least `confident` at all scenes since the start for ten days or more."""
    out, since = np.zeros(day.size, np.bool_), -1
    for i in range(day.size):
        if day[i] >= start:
            if chance[i] < confident:
                since = -1
            elif since < 0:
                since = day[i]
            out[i] = since >= 0 and day[i] - since >= 10
    return out


@inlined
def _last_loss(
    day: Array, difference: Array, bump: Array, losses: Losses, second: Array, season_rain: Array, start: int
) -> tuple[Array, Array]:
    """Of the last confirmed loss, at each scene: index of the scene that confirmed it (-1: none), (n,); highest score,
    change of the second index, rain, score now and whether it showed at the height of the season, (n, 5).
    """
    n = day.size
    confirmed, values = np.full(n, -1), np.full((n, 5), np.nan)
    last, score, now, change, rain, high = -1, 0.0, 0.0, math.nan, math.nan, False
    for i in range(n):
        if day[i] >= start:
            if losses.confirmed[i]:
                last, score, rain, high = i, losses.score[i], season_rain[i], False
                change, _ = change_of_second_index(second, day, losses.onset[i], i)
            elif losses.onset[i] >= 0:  # a loss does not become less certain again
                score = max(score, losses.score[i])
            if losses.onset[i] >= 0:
                now = losses.score[i]
                high = high or lower_than_a_year_before(day, difference, losses.onset[i], i, bump, HEIGHT)
        confirmed[i] = last
        values[i, 0], values[i, 1], values[i, 2], values[i, 3] = score, change, rain, now
        values[i, 4] = 1.0 if high else 0.0
    return confirmed, values


@inlined
def _loss_days(day: Array, difference: Array, mu: Array, losses: Losses, confirmed: Array, start: int) -> Array:
    """Days of the loss confirmed last, at each scene, (n, 4); -1 without a loss.

    Confirmed, onset by the search, first scene that shows it, last scene before.
    """
    days = np.full((day.size, 4), -1)
    for i in range(day.size):
        at = confirmed[i]
        if at < 0:
            continue
        if i > 0 and confirmed[i - 1] == at:
            days[i] = days[i - 1]
            continue
        first = first_scene_of_loss(day, difference, mu, losses.onset[at], at, start)
        days[i, 0], days[i, 1], days[i, 2] = day[at], day[losses.onset[at]], day[first]
        days[i, 3] = day[first - 1] if first > 0 else -1
    return days


@inlined
def _season_means(season: Array, scenes: SiteScenes, state: SeasonState) -> tuple[Array, Array, Array]:
    """Means over the season to date, at each scene: cover, cover of the control, season and rain."""
    n = season.size
    mean_cover, mean_control, mean_mu = np.empty(n), np.empty(n), np.empty(n)
    first, sum_cover, sum_control, sum_mu = 0, 0.0, 0.0, 0.0
    for i in range(n):
        if season[i] != season[first]:
            first, sum_cover, sum_control, sum_mu = i, 0.0, 0.0, 0.0
        sum_cover, sum_control = sum_cover + scenes.cover[i], sum_control + scenes.control[i]
        sum_mu += state.bump[i] * (1.0 + state.rain[i])
        mean_cover[i], mean_control[i] = sum_cover / (i + 1 - first), sum_control / (i + 1 - first)
        mean_mu[i] = sum_mu / (i + 1 - first)
    return mean_cover, mean_control, mean_mu


@kernel
def filter_site(
    scenes: SiteScenes, plan: Promise, noise: Noise, stiff: Noise, prior: Prior, rules: Rules,
    estimate: SiteEstimate, estimate_2: SiteEstimate,
) -> SiteHistory:  # fmt: skip
    """One causal pass over the usable scenes of a site.

    Evidence counts only where the second ring of control units, if there is one, agrees: the smaller of the two counts.

    Parameters
    ----------
    scenes, plan, prior, rules : SiteScenes, Promise, Prior, Rules
    noise, stiff : Noise, of the theta filter and of the loss search
    estimate : SiteEstimate, from `control`
    estimate_2 : SiteEstimate, from the scenes that show `control_2`; any where none does
    """
    times, day, start = scenes.times, scenes.times.day, plan.begun[0]
    n = day.size
    state = season_state(times, scenes.control, estimate.fits)
    difference = scenes.cover - scenes.control
    baseline, ratio, before = agreement_before(times, difference, state.shape, start, noise.baseline)
    curves = _plan_curves(day, plan)
    promised = curves[:, 0].copy() if plan.promised else np.zeros(n)
    wander, scene = estimate.wander, estimate.scene
    loud = max(1.0, scene)  # noise estimated too small would confirm false losses; real ones stand out anyway
    losses = detect_losses(
        times, difference, state, promised, scenes.variance * loud**2, scenes.second, start,
        search_noise(stiff, noise, baseline, wander, loud), prior.loss, rules.loss_score,
    )  # fmt: skip
    own = scaled_noise(noise, baseline, wander, scene)
    variance = scenes.variance * scene**2
    theta = theta_filter(times, difference, state, curves, variance, losses, plan.promised, own, prior, FALSE)
    late = _late_scenes(times, state.peak, start, rules.after_peak)
    evidence, growth = np.zeros(n), np.zeros(n)
    if plan.promised:
        gain = gain_variance(state.seasons, state.rain_sd, prior)
        counts = np.flatnonzero(late == np.arange(n))
        evidence[counts] = failure_evidence(theta.b[counts], theta.c[counts], gain[counts])
        growth[counts] = uplift_evidence(theta.b[counts], theta.c[counts])
        seen = np.flatnonzero(~np.isnan(scenes.control_2))
        if seen.size > 0:
            other = _second_ring_evidence(scenes, seen, start, curves, noise, prior, estimate_2)
            at = -1
            for i in range(n):
                while at + 1 < seen.size and seen[at + 1] <= i:
                    at += 1
                if at >= 0:
                    evidence[i], growth[i] = min(evidence[i], other[0][at]), min(growth[i], other[1][at])
    now, highest, held, grown = _guarded_evidence(
        late, evidence, growth, theta.below, day, start, rules.confident, rules.surcharge
    )
    for i in range(n):
        if state.seasons[i] < SEASONS_TO_CALL_DRY:
            state.season_rain[i] = math.nan
    confirmed, loss = _last_loss(day, difference, state.bump, losses, scenes.second, state.season_rain, start)
    loss_days = _loss_days(day, difference, state.shape * (1.0 + state.rain), losses, confirmed, start)
    means = _season_means(times.season, scenes, state)
    poor = ratio > 1.0 or (before > 0 and baseline > 2 * noise.baseline)
    return SiteHistory(
        theta.mean, np.sqrt(theta.variance), theta.low, theta.high, theta.below, theta.c[:, 0].copy(),
        late, now, highest, held, grown,
        _surely(theta.below[:, 1], day, start, rules.confident),
        _surely(theta.below[:, 0], day, start, rules.confident),
        loss_days[:, 0].copy(), loss_days[:, 1].copy(), loss_days[:, 2].copy(), loss_days[:, 3].copy(),
        loss[:, 0].copy(), loss[:, 3].copy(), loss[:, 4] > 0.0, loss[:, 1].copy(), loss[:, 2].copy(), losses.denied,
        means[0], means[1], means[2], state.season_rain, np.full(n, before), np.full(n, poor),
    )  # fmt: skip


@kernel
def filter_sites(
    edge: Array, scenes: SiteScenes, plans: Promises, rain_sd: float, noise: Noise, stiff: Noise, prior: Prior,
    prior_unpromised: Prior, rules: Rules,
) -> SiteHistory:  # fmt: skip
    """:func:`filter_site` for several sites.

    Parameters
    ----------
    edge : (site + 1,) array of int, scenes of site k are those from ``edge[k]`` up to ``edge[k + 1]``
    scenes : SiteScenes, of all sites
    plans : Promises
    rain_sd : float, standard deviation of the rain factor from year to year [1]
    noise, stiff, rules : see :func:`filter_site`
    prior, prior_unpromised : Prior, where uplift is promised, and where none is

    Returns
    -------
    SiteHistory
        Site after site; ``late_scene`` counts from the first scene of the site.
    """
    n, times = scenes.cover.size, scenes.times
    f, k = np.empty((21, n)), np.empty((11, n), np.int64)
    for site in range(edge.size - 1):
        a, b = edge[site], edge[site + 1]
        c, d = plans.edge[site], plans.edge[site + 1]
        plan = Promise(
            plans.begun[c:d], plans.share[c:d], plans.uplift[site], plans.rate[site], plans.lag[site],
            plans.promised[site],
        )  # fmt: skip
        usual = UsualSeason(plans.usual[site, 0], plans.usual[site, 1], plans.usual[site, 2], rain_sd)
        own = SiteScenes(
            Times(times.day[a:b], times.position[a:b], times.season[a:b]), scenes.cover[a:b], scenes.control[a:b],
            scenes.control_2[a:b], scenes.second[a:b], scenes.variance[a:b],
        )  # fmt: skip
        start = plan.begun[0]
        estimate = estimate_site(own.times, own.cover, own.control, own.variance, start, usual, noise)
        estimate_2 = estimate
        seen = np.flatnonzero(np.isfinite(own.control_2))
        if plan.promised and seen.size > 0:
            when = Times(own.times.day[seen], own.times.position[seen], own.times.season[seen])
            estimate_2 = estimate_site(
                when, own.cover[seen], own.control_2[seen], own.variance[seen], start, usual, noise
            )  # fmt: skip
        h = filter_site(
            own, plan, noise, stiff, prior if plan.promised else prior_unpromised, rules, estimate, estimate_2
        )  # fmt: skip
        f[0, a:b], f[1, a:b], f[2, a:b], f[3, a:b], f[4, a:b] = h.mean, h.sd, h.low, h.high, h.information
        f[5, a:b], f[6, a:b], f[7, a:b], f[8, a:b] = h.evidence, h.evidence_max, h.evidence_held, h.uplift_evidence
        f[9, a:b], f[10, a:b], f[11, a:b], f[12, a:b] = h.loss_score, h.loss_second, h.loss_rain, h.cover
        f[13, a:b], f[14, a:b], f[15, a:b] = h.control, h.mu, h.season_rain
        f[16, a:b] = h.loss_now
        f[17:, a:b] = h.below.T
        k[0, a:b], k[1, a:b], k[2, a:b], k[3, a:b] = h.late_scene, h.surely_failing, h.surely_negative, h.loss_day
        k[4, a:b], k[5, a:b], k[6, a:b], k[7, a:b] = h.loss_onset, h.loss_first, h.loss_last, h.loss_denied
        k[8, a:b], k[9, a:b], k[10, a:b] = h.seasons_before, h.control_poor, h.loss_at_height
    return SiteHistory(
        f[0], f[1], f[2], f[3], f[17:].T.copy(), f[4], k[0], f[5], f[6], f[7], f[8], k[1] > 0, k[2] > 0, k[3], k[4],
        k[5], k[6], f[9], f[16], k[10] > 0, f[10], f[11], k[7] > 0, f[12], f[13], f[14], f[15], k[8], k[9] > 0,
    )  # fmt: skip


class SimulatedSites(NamedTuple):
    """Simulated series of many sites; the season and each site's own noise are taken as known."""

    difference: np.ndarray  # (m, n) site minus control; NaN where not seen [cover fraction]
    rain: np.ndarray  # (m, n) rain factor [1]
    wander: np.ndarray  # (m,) factor on slow drift and a season's own difference [1]
    scene: np.ndarray  # (m,) factor on the noise of a scene and fast drift [1]


class ReportingRules(NamedTuple):
    """When a failure is reported."""

    start: int  # start of the work, days from 1970-01-01
    judged_from: int  # day before which it is too early
    late_from: float  # position from which a scene is late-season
    bar: float  # log evidence, less its surcharge, at which failure is red
    surcharge: np.ndarray  # see :class:`Rules`
    confident: float  # probability that counts as sure [1]


@kernel
def first_reported(
    times: Times, sites: SimulatedSites, state: SeasonState, curves: Array, variance: Array, noise: Noise,
    prior: Prior, rules: ReportingRules,
) -> tuple[Array, Array]:  # fmt: skip
    """Days on which each of many simulated series first turns red by failure, and is first watched or red.

    Parameters
    ----------
    times, sites : Times, SimulatedSites
    state : SeasonState, shared by all sites, apart from rain
    curves : (n, 3) array, promised uplift [cover fraction]
    variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    noise, prior, rules : Noise, Prior, ReportingRules

    Returns
    -------
    red, watch : (m,) arrays of int
        Days from 1970-01-01; -1: never.
    """
    m = sites.difference.shape[0]
    red, watch = np.full(m, -1), np.full(m, -1)
    for r in range(m):
        seen = np.flatnonzero(~np.isnan(sites.difference[r]))
        if seen.size == 0:
            continue
        when = Times(times.day[seen], times.position[seen], times.season[seen])
        season = SeasonState(
            state.shape[seen], sites.rain[r][seen], state.amplitude[seen], state.peak[seen], state.seasons[seen],
            state.rain_sd[seen], state.season_rain[seen], state.slope[seen], state.bump[seen],
        )  # fmt: skip
        theta = theta_filter(
            when, sites.difference[r][seen], season, curves[seen], variance[seen] * sites.scene[r] ** 2,
            _no_losses(seen.size), TRUE, scaled_noise(noise, noise.baseline, sites.wander[r], sites.scene[r]), prior,
            FALSE,
        )  # fmt: skip
        evidence = failure_evidence(theta.b, theta.c, gain_variance(season.seasons, season.rain_sd, prior))
        is_late = (when.day >= rules.start) & (when.position >= rules.late_from)
        late = np.where(is_late, np.arange(seen.size), -1)
        held = _guarded_evidence(
            late, evidence, evidence, theta.below, when.day, rules.start, rules.confident, rules.surcharge
        )[2]
        failing = _surely(theta.below[:, 1], when.day, rules.start, rules.confident)
        negative = _surely(theta.below[:, 0], when.day, rules.start, rules.confident)
        for k in range(seen.size):
            today = when.day[k]
            if today < rules.start:
                continue
            early = today < rules.judged_from
            reported = not early and held[k] >= rules.bar
            if reported:
                red[r] = today
            if (reported or (negative[k] if early else failing[k])) and watch[r] < 0:
                watch[r] = today
            if red[r] >= 0:
                break
    return red, watch
