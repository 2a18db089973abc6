"""The verdict on a lot: the sites of one partner, programme year and intervention, judged together.

Twenty sites show two years earlier than one whether work took hold, since what is peculiar to a site averages out. What
the sites share does not: the model (:mod:`monitor.verdict.kernels.lot_model`) adds up what the filter of each site says
about its theta, and allows for a shock that all of them had in a season, estimated from the seasons before the start,
and for a shared drift.

Policies, in the order in which they apply:

- Every member counts once, whatever its area: a site is one trial of the work, its noise hardly depends on its area,
  and a single large one would otherwise decide alone. Hectares are reported, not weighed.
- Each member has its own plan and start. A lot is not split by biome: it is the unit of the contract.
- A member without a promised uplift, without a season before its start, or replanted since, is left out, and counted.
- Seasons of a member since a sudden loss that is likely enough to be red are left out: the loss has its own alert,
  and does not say whether the work took hold.
- A season in which a member has fewer than three scenes is missing, which is neither failure nor success.
- The lot is judged at the end of each season in which at least half of its members were observed, at no other time.
  What a season showed never changes later, so that the verdict of an earlier date is that date's.

Members keep their own verdicts.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
from scipy.special import expit, logit

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT, histories, prior_of, scene_variance
from monitor.verdict.assessment import AlertLevel, Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.kernels.constants import LAGS, SEASON_SCENES
from monitor.verdict.kernels.history import SiteEstimate, estimate_site
from monitor.verdict.kernels.losses import Losses
from monitor.verdict.kernels.lot_model import (
    Information,
    below,
    lot_evidence,
    lot_likelihood,
    lot_posterior,
    mean_shock,
    quantile,
    shock_weights,
)
from monitor.verdict.kernels.season import season_state
from monitor.verdict.kernels.state_space import agreement_before, scaled_noise
from monitor.verdict.kernels.theta import gain_variance, theta_filter
from monitor.verdict.kernels.types import SeasonState, Times, UsualSeason
from monitor.verdict.plans import Plans
from monitor.verdict.status import CAP, FAILING_BELOW
from monitor.verdict.usable_scenes import UsableScenes, usable_scenes

MIN_MEMBERS: Final = 5
"""Fewest members with which a lot is judged."""
LEAST_OBSERVED: Final = 0.5
"""Share of the members that must have been observed in a season for a verdict at its end. [1]"""
BAR: Final = 10.0
"""Evidence at which a lot is red, set by simulation: of lots with half their plan at most .05 were ever red, whatever
the shared shock up to .03 (2026-11). [1]"""
RED_AT_HALF: Final = 0.05
WATCH_AT_HALF: Final = 0.07
WATCH_LATE_AT_HALF: Final = 0.35
"""Largest shares of simulated lots of 20 sites with half their plan, over shared shocks of 0 to .03, that are ever red
(.03 measured), ever watched where the plan is right, and ever watched where growth came a year late (.25 to .35): 150
lots a case (2026-11). [1]"""
DELAYS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
"""Delays of growth after the plan that are considered where sites are judged together. [year]"""
HALF: Final = 0.5
"""Theta of a lot beyond which it is not failing: once shown to be above, earlier evidence of failure is dropped. [1]"""


class LotReason(StrEnum):
    """Why nothing can be said of a lot."""

    FEW_SITES = "FEW_SITES"
    """Fewer than :data:`MIN_MEMBERS` usable members."""
    NO_PLAN = "NO_PLAN"
    """No member's plan promises an uplift."""
    NO_COMMON_SEASON = "NO_COMMON_SEASON"
    """No season before the start in which enough members were observed: what they share is unknown."""
    TOO_EARLY = "TOO_EARLY"
    """No season has ended yet in which the plan promised an uplift."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Lot:
    """The unit in which work is contracted and inspected."""

    partner: str
    programme_year: int
    intervention: str

    @property
    def id(self) -> str:
        """Stable id of ASCII letters, digits and hyphens, for paths, addresses and alerts.

        Year, intervention, what is ASCII of the partner's name, and a hash of all three, which makes it unique.
        """
        ascii_name = unicodedata.normalize("NFKD", self.partner).encode("ascii", "ignore").decode().lower()
        words = re.sub("[^a-z0-9]+", "-", ascii_name).strip("-")[:24].strip("-")
        content = f"{self.partner}\n{self.programme_year}\n{self.intervention}"
        parts = ("lot", str(self.programme_year), self.intervention.replace("_", "-"), words)
        return "-".join((*filter(None, parts), hashlib.sha256(content.encode()).hexdigest()[:8]))


def lot_of(site: Site) -> Lot | None:
    """Lot of a site; None without a partner or programme year."""
    partner = " ".join(unicodedata.normalize("NFC", site.partner or "").split())
    if not partner or site.programme_year is None:
        return None
    return Lot(partner=partner, programme_year=site.programme_year, intervention=site.intervention)


def lots_of(sites: Iterable[Site]) -> dict[Lot, list[Site]]:
    """Lots of a programme with their sites, of any number; sites without a lot are left out."""
    lots: dict[Lot, list[Site]] = {}
    for site in sites:
        lot = lot_of(site)
        if lot is not None:
            lots.setdefault(lot, []).append(site)
    return {lot: lots[lot] for lot in sorted(lots)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeason:
    """One ended growing season of a member. It never changes later, except where scenes arrive late."""

    season: int
    """Year in which the season opened."""
    before: bool
    """Whether the season had ended before the start."""
    amplitude: float
    """Mean difference between site and control in units of the seasonal curve. [cover fraction]"""
    expected: tuple[float, ...]
    """Amplitude that the plan promised, as written and :data:`DELAYS` later. [cover fraction]"""
    gain_variance: float
    """Relative variance of the gain, as the normal season is uncertain. [1]"""
    b: tuple[float, ...]
    """Information on theta from all scenes up to the end of the season, see
    :class:`monitor.verdict.kernels.theta.Theta`, under the plan as written and :data:`DELAYS` later."""
    c: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A site of a lot, with all that the verdict on the lot reads."""

    site: str
    hectares: float | None
    start: date
    judged_from: date
    """Day before which it is too early to report a failure."""
    promised: bool
    """Whether its plan promises an uplift."""
    season_ends: int
    """From 1 January of the year in which a season opens to its last day. [day]"""
    seasons: tuple[MemberSeason, ...]
    """Ended seasons with enough scenes, ascending."""
    losses: tuple[tuple[date, date], ...] = ()
    """Sudden losses since the start that are likely enough to be red: day of confirmation, and of onset."""

    def ended(self, season: int) -> date:
        """Last day of the season that opened in a year."""
        return date(season, 1, 1) + timedelta(days=self.season_ends)

    def usable(self, until: date) -> list[MemberSeason]:
        """Seasons that had ended by a day, without those since a loss that was known by then."""
        onset = min((shows for known, shows in self.losses if known <= until), default=date.max)
        return [one for one in self.seasons if (ended := self.ended(one.season)) <= until and ended < onset]


def member_of(series: Series, site: Site, *, calibration: Calibration = DEFAULT, as_of: date) -> Member:
    """Ended seasons of a site, for the verdicts on its lot and on the programme.

    Parameters
    ----------
    series : Series, acquisitions after `as_of` are not read
    site : Site
    calibration : Calibration
    as_of : date, seasons that had ended by then are returned

    Returns
    -------
    Member
        Its seasons ascend; a season without usable scenes is not among them.

    Raises
    ------
    BadData
        See :func:`monitor.verdict.assess.assess`.
    """
    plans, growing = Plans.of([site]), GrowingSeason.of(site)
    scenes = usable_scenes(series, plans, calibration)
    until = np.datetime64(as_of, "D").astype(np.int64)
    return Member(
        site=site.id, hectares=site.hectares if site.hectares > 0 else None, start=site.start,
        judged_from=_day(int(plans.most_begun[0]) + int(np.ceil(365.25 * site.plan.too_early_years))),
        promised=site.plan.A > 0, season_ends=growing.opens + growing.length - 1,
        seasons=tuple(_seasons(scenes, plans, calibration, int(until))),
        losses=_losses(scenes, plans, calibration, int(until)),
    )  # fmt: skip


def _day(day: int) -> date:
    plain: date = np.datetime64(int(day), "D").item()
    return plain


def _losses(scenes: UsableScenes, plans: Plans, c: Calibration, until: int) -> tuple[tuple[date, date], ...]:
    """Losses up to a day that are as probable as a red one at the full budget, see ``UsableScenes.first_since``."""
    day = scenes.used_day
    seen = int(np.searchsorted(day, until, side="right"))
    if not seen or not plans.promised[0]:
        return ()
    history = histories(scenes, plans, c)
    likely = expit(history.loss_score + logit(c.disturbance_prior)) >= c.disturbance_red
    found = (history.loss_onset > scenes.first_since(plans.start)[0]) & likely & (day <= until)
    onsets, first = np.unique(history.loss_onset[found], return_index=True)
    return tuple((_day(known), _day(onset)) for known, onset in zip(day[found][first], onsets, strict=True))


def _seasons(scenes: UsableScenes, plans: Plans, c: Calibration, until: int) -> Iterable[MemberSeason]:
    """The ended seasons: regression of site minus control on the seasonal curve, and the filter's information."""
    (site,), start = plans.sites, int(plans.start[0])
    growing, day, season = GrowingSeason.of(site), scenes.used_day, scenes.season
    if not day.size:
        return
    times, variance = Times(day, scenes.position, season), scene_variance(scenes, plans, c)
    usual = UsualSeason(float(growing.length), growing.peak, growing.width, c.rain_sd)
    estimate = estimate_site(times, scenes.cover, scenes.control, variance, start, usual, c.noise)
    state = season_state(times, scenes.control, estimate.fits)
    rain_only = prior_of(c, promised=True)._replace(gain_sd=0.0)  # the rest of the gain is a member's own
    gain = gain_variance(state.seasons, state.rain_sd, rain_only)
    expected = _promised(plans, day)
    difference = scenes.cover - scenes.control
    info_b, info_c = _information(times, difference, state, expected, variance, start, estimate, c)
    for year in np.unique(season):
        at = np.flatnonzero(season == year)
        ended = int(day[at[-1]] - scenes.position[at[-1]] + growing.length)
        shape = state.shape[at]
        if at.size < SEASON_SCENES or ended > until or not shape.any():
            continue
        square = float((shape**2).sum())
        yield MemberSeason(
            season=int(year), before=ended < start, amplitude=float(shape @ difference[at] / square),
            expected=tuple((shape**2 @ expected[at] / square).tolist()), gain_variance=float(gain[at[-1]]),
            b=tuple(info_b[at[-1]].tolist()), c=tuple(info_c[at[-1]].tolist()),
        )  # fmt: skip


def _information(
    times: Times, difference: np.ndarray, state: SeasonState, expected: np.ndarray, variance: np.ndarray, start: int,
    estimate: SiteEstimate, c: Calibration,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`b` and `c` of theta after each scene under each of :data:`DELAYS`, (n, delay), sudden losses ignored.

    Of the profiles of the season that of the control counts, which the verdict on a site gives nine tenths. The filter
    tracks three delays at a time. It doubts outliers by the first of them, so the later three are seen with
    slightly other weights.
    """
    baseline, _, _ = agreement_before(times, difference, state.shape, start, c.noise.baseline)
    noise = scaled_noise(c.noise, baseline, estimate.wander, estimate.scene)
    n, prior = difference.size, prior_of(c, promised=True)
    none = Losses(np.zeros(n), np.zeros(n, np.bool_), np.full(n, -1), np.zeros(n, np.bool_))
    parts = [
        theta_filter(
            times, difference, state, np.ascontiguousarray(expected[:, begin : begin + LAGS]),
            variance * estimate.scene**2, none, True, noise, prior, True,
        )
        for begin in range(0, len(DELAYS), LAGS)
    ]  # fmt: skip
    return (
        np.concatenate([part.b[:, :LAGS] for part in parts], axis=1),
        np.concatenate([part.c[:, :LAGS] for part in parts], axis=1),
    )


def _promised(plans: Plans, day: np.ndarray) -> np.ndarray:
    """Uplift promised on each day, (n, delay), see :data:`DELAYS`. [cover fraction]"""
    late = np.round(365.25 * np.array(DELAYS))
    return np.stack([plans.expected(np.zeros(day.size, np.int64), day - days) for days in late], axis=1)


class Use(StrEnum):
    """Whether a site of a lot is used in its verdict, and why not."""

    USED = "used"
    UNSEEN = "unseen"
    """No season of it has ended with enough scenes yet."""
    REPLANTED = "replanted"
    """New work has begun there: it says nothing more about the lot's."""
    NO_PLAN = "no_plan"
    """Its plan promises no uplift."""
    NO_PAST = "no_past"
    """It was not observed in any season before its start."""
    NO_SEASON = "no_season"
    """It was not observed in any season in which its plan promised an uplift, or lost its plants before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LotVerdict:
    """The verdict on a lot at the end of one season; see :func:`lot_verdicts`."""

    as_of: date
    """Last day of the last season that was looked at; without one, the day asked for."""
    sites: int
    """Members used."""
    hectares: float | None
    """Area of the members used; None where one of them is unknown. [ha]"""
    alert: AlertLevel = AlertLevel.NONE
    alert_since: date | None = None
    """Day of the look from which the alert has stood at this level or above."""
    theta: float | None = None
    """Mean share of the expected uplift that the members achieved, the plan as written. [1]"""
    theta_low: float | None = None
    theta_high: float | None = None
    """Upper limit of its 95 % interval. [1]"""
    p_failing: float | None = None
    """P(theta < .25). [1]"""
    evidence: float | None = None
    """Highest evidence against "at least half the plan" since the lot was last shown to be above it, capped at 1e12."""
    shock: float | None = None
    """Posterior mean of the standard deviation of the shared shock of a season. [cover fraction]"""
    reasons: tuple[str, ...] = ()
    """:class:`LotReason` codes; empty where there is a verdict."""
    members: tuple[str, ...] = ()
    """Ids of the members used."""


def lot_verdict(members: Sequence[Member], *, as_of: date) -> LotVerdict:
    """Verdict on a lot as of a day: that of the last season's end.

    Parameters
    ----------
    members : sequence of Member, see :func:`member_of`; in any order
    as_of : date, seasons that ended later are not read

    Returns
    -------
    LotVerdict
        Without theta where nothing can be said; `reasons` then says why.
    """
    looks = lot_verdicts(members, as_of=as_of)
    return looks[-1] if looks else _nothing(members, as_of)


def lot_verdicts(members: Sequence[Member], *, as_of: date) -> list[LotVerdict]:
    """Verdicts on a lot at the end of each season since its start, ascending, those that can be given.

    Parameters
    ----------
    members, as_of : see :func:`lot_verdict`

    Returns
    -------
    list of LotVerdict
        Empty where nothing can be said yet.
    """
    ordered = sorted(members, key=lambda member: member.site)
    verdicts: list[LotVerdict] = []
    held, watched_since, red_since = 0.0, None, None
    for year, look in _looks(ordered, as_of):
        used = _used(ordered, look)
        if _missing(used, year):
            continue
        gain = float(np.mean([seasons[-1].gain_variance for _, seasons in used]))
        since = len({season.season for _, seasons in used for season in seasons if not season.before})
        weights = shock_weights([amplitudes_before(seasons) for _, seasons in used])
        likelihood = lot_likelihood(_information_of([seasons for _, seasons in used]), since, weights)
        posterior = lot_posterior(likelihood, (DEFAULT.theta_mean, DEFAULT.theta_sd))
        held = max(held, lot_evidence(likelihood, gain))
        if below(HALF, posterior, gain) <= 1.0 - DEFAULT.confident:
            held = 0.0
        old_enough = np.median([member.judged_from.toordinal() for member, _ in used]) <= look.toordinal()
        red = held >= np.log(BAR) and bool(old_enough)
        watched = red or below(FAILING_BELOW, posterior, gain) >= DEFAULT.confident
        red_since = (red_since or look) if red else None
        watched_since = (watched_since or look) if watched else None
        alert = AlertLevel.RED if red else AlertLevel.WATCH if watched else AlertLevel.NONE
        low, middle, high = (quantile(level, posterior, gain) for level in (0.025, 0.5, 0.975))
        verdict = LotVerdict(
            as_of=look, sites=len(used), hectares=_area([member for member, _ in used]), alert=alert,
            alert_since=red_since or watched_since, theta=middle, theta_low=low, theta_high=high,
            p_failing=below(FAILING_BELOW, posterior, gain), evidence=float(np.exp(min(held, np.log(CAP)))),
            shock=mean_shock(posterior), members=tuple(member.site for member, _ in used),
        )  # fmt: skip
        verdicts.append(verdict)
    return verdicts


type _Used = list[tuple[Member, list[MemberSeason]]]
"""Members that are used at a look, with the seasons that are."""


def _looks(members: Sequence[Member], as_of: date) -> list[tuple[int, date]]:
    """Seasons that ended since the start of the lot, with their last day at the member where it comes last.

    By the calendar, whether it was observed there or not: members of several biomes are not looked at by halves.
    """
    years = sorted({season.season for member in members for season in member.seasons})
    start = min((member.start for member in members), default=as_of)
    ends = {year: max(member.ended(year) for member in members) for year in years}
    return [(year, end) for year, end in ends.items() if start <= end <= as_of]


def use_of(member: Member, look: date) -> Use:
    """Whether a member is used at a look on the last day of a season (`look`), and why not.

    Parameters
    ----------
    member : Member
    look : date

    Returns
    -------
    Use
    """
    seasons = member.usable(look)
    if not member.promised:
        return Use.NO_PLAN
    if not member.seasons:
        return Use.UNSEEN
    if not any(season.before for season in seasons):
        return Use.NO_PAST
    return Use.USED if any(season.expected[0] > 0 for season in seasons) else Use.NO_SEASON


def _used(members: Sequence[Member], look: date) -> _Used:
    return [(member, member.usable(look)) for member in members if use_of(member, look) is Use.USED]


def _missing(used: _Used, year: int) -> LotReason | None:
    """What is missing for a verdict after a season; None: nothing."""
    observed = sum(any(season.season == year for season in seasons) for _, seasons in used)
    if len(used) < MIN_MEMBERS or observed < LEAST_OBSERVED * len(used):
        return LotReason.FEW_SITES
    before = Counter(season.season for _, seasons in used for season in seasons if season.before)
    return None if max(before.values()) >= MIN_MEMBERS else LotReason.NO_COMMON_SEASON


def _nothing(members: Sequence[Member], as_of: date) -> LotVerdict:
    """A verdict that says why there is none."""
    looks = _looks(members, as_of)
    used = _used(members, looks[-1][1]) if looks else []
    promised = [member for member in members if member.promised]
    if members and not promised:
        reason = LotReason.NO_PLAN
    elif len(promised) < MIN_MEMBERS:
        reason = LotReason.FEW_SITES
    elif not looks or not any(season.expected[0] > 0 for member in promised for season in member.usable(as_of)):
        reason = LotReason.TOO_EARLY
    elif not any(season.before for member in promised for season in member.seasons):
        reason = LotReason.NO_COMMON_SEASON
    else:
        reason = _missing(used, looks[-1][0]) or LotReason.FEW_SITES
    return LotVerdict(as_of=as_of, sites=len(used), hectares=_area([member for member, _ in used]), reasons=(reason,))


def _area(members: Sequence[Member]) -> float | None:
    areas = [member.hectares for member in members]
    return None if None in areas else float(sum(area for area in areas if area is not None))


def amplitudes_before(seasons: Iterable[MemberSeason]) -> dict[int, float]:
    """Amplitudes of the seasons before the start, by season."""
    return {season.season: season.amplitude for season in seasons if season.before}


def _information_of(members: Sequence[Sequence[MemberSeason]]) -> Information:
    """Information of the members of a lot at the end of their last season."""
    last = [seasons[-1] for seasons in members]
    squares = [
        np.square([season.expected[:LAGS] for season in seasons if not season.before]).sum(axis=0)
        for seasons in members
    ]
    b, c = (np.array([getattr(season, name)[:LAGS] for season in last]) for name in ("b", "c"))
    return Information(b, c, np.array(squares))
