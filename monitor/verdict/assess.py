"""The verdict on a site: a pure function of its stored series, its plan and the calibration.

One causal pass over the series gives the verdict of every date: that of an early date is, bit for
bit, the one that the series gave when it ended there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.kernels import Prior, Standing, follow, learn
from monitor.verdict.status import GRADES, LEVELS, NOTES, REASONS, RULES, STATUSES, Parts, Verdicts, judge
from monitor.verdict.window import Scenes, scenes

DEFAULT = Calibration()

type Cohorts = Sequence[tuple[date, float]]
"""Day on which each part of a site was begun, ascending from the site's start, and its share of the area."""


def assess(
    series: Series,
    site: Site,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: Cohorts = (),
    as_of: date,
) -> Assessment:
    """Verdict on a site on one day.

    Parameters
    ----------
    series : Series
        Acquisitions after `as_of` are not read.
    site : Site
        Its plan, start, biome, area, slope and latitude count.
    alpha : float
        Lifetime false-alarm budget of the failure rule, at most .05; in a later episode what is left of it, see
        :func:`monitor.verdict.calibration.remaining`. [1]
    cohorts : sequence of (date, float)
        Where a site was planted in several years; empty: all of it at its start.
    as_of : date
        May be later than the last scene: a night without one.

    Raises
    ------
    BadData
        Dates not strictly ascending, cover outside 0..1, or cohorts that do not make up the site.
    BadConfiguration
        `alpha` has no calibrated boundary.
    """
    dates = np.array([as_of], "datetime64[D]")
    found = verdicts(series, site, dates, calibration=calibration, alpha=alpha, cohorts=cohorts)
    return _records(found, site, calibration)[0]


def assess_all(
    series: Series, site: Site, *, calibration: Calibration = DEFAULT, alpha: float = 0.05, cohorts: Cohorts = ()
) -> list[Assessment]:
    """Verdict on a site at each acquisition from the start on, seen or not; parameters as for :func:`assess`."""
    dates = series.dates.astype("datetime64[D]")
    dates = dates[dates >= np.datetime64(site.start, "D")]
    found = verdicts(series, site, dates, calibration=calibration, alpha=alpha, cohorts=cohorts)
    return _records(found, site, calibration)


def verdicts(
    series: Series,
    site: Site,
    dates: np.ndarray,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: Cohorts = (),
) -> Verdicts:
    """Verdicts as columns: :func:`assess` for many `dates` (datetime64[D], ascending) at the cost of one."""
    window, parts = GrowingSeason.of(site), cohorts_of(site, cohorts)
    seen = scenes(series, site, window, calibration)
    standing = _follow(seen, site, parts, window, calibration)
    day = dates.astype("datetime64[D]").astype(np.int64)
    return judge(day, seen, standing, site, parts, window, calibration, alpha)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LateSeasonState:
    """What the pixels of a site are held against: how it stood at the last scene that was late enough in its season
    for a failure to be looked at. Reckoned when it is asked for.
    """

    site: Site
    parts: Parts
    calibration: Calibration
    scenes: Scenes
    standing: Standing
    looks: np.ndarray
    """Places of such scenes among the used ones, ascending; one at least."""
    judged: Verdicts
    """As of the day of the last one."""

    @property
    def day(self) -> date:
        """Of that scene."""
        day: date = self.scenes.day[self.scenes.used[self.looks[-1]]].astype("datetime64[D]").item()
        return day

    def verdict(self) -> Assessment:
        """As of that day."""
        return _records(self.judged, self.site, self.calibration)[0]

    def promised(self) -> dict[int, float]:
        """Uplift that the plan promised, by growing season with such a scene: mean over its scenes from the start on,
        season and rain as the control saw them; 0 before. [cover fraction]
        """
        season = self.scenes.season[: self.looks[-1] + 1]  # ascending
        day = self.scenes.day[self.scenes.used[: season.size]]
        whole = np.where(day >= self.parts.begun[0], self.parts.promised(self.site, day), np.nan)
        found = {}
        for year in np.unique(season[self.looks]).tolist():
            first, end = np.searchsorted(season, (year, year + 1))
            since = whole[first:end][~np.isnan(whole[first:end])]
            found[year] = float(since.mean() * self.standing.mu[end - 1]) if since.size else 0.0
        return found


def assess_with_late_season(
    series: Series,
    site: Site,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: Cohorts = (),
    as_of: date,
) -> tuple[Assessment, LateSeasonState | None]:
    """Verdict on a site on one day, and how it stood when it was last looked at for failure, in one pass.

    Parameters and errors as for :func:`assess`.

    Returns
    -------
    (Assessment, LateSeasonState or None)
        The first is what :func:`assess` gives; the second is None where no scene was late enough in its season yet.
    """
    window, parts = GrowingSeason.of(site), cohorts_of(site, cohorts)
    seen = scenes(series, site, window, calibration)
    standing = _follow(seen, site, parts, window, calibration)
    today = np.array([as_of], "datetime64[D]").astype(np.int64)
    until = int(np.searchsorted(seen.day[seen.used], today[0], side="right"))
    looks = np.flatnonzero(standing.look[:until] == np.arange(until))
    # both days at once, for to judge two costs little more than to judge one; any budget will do for the first: it
    # moves no theta
    days, budgets = np.concatenate([seen.day[seen.used[looks[-1:]]], today]), [0.05] * looks[-1:].size + [alpha]
    table = judge(days, seen, standing, site, parts, window, calibration, budgets)
    judged, now = (Verdicts(*(column[part] for column in table)) for part in (slice(1), slice(-1, None)))
    found = _records(now, site, calibration)[0]
    if not looks.size:
        return found, None
    return found, LateSeasonState(
        site=site, parts=parts, calibration=calibration, scenes=seen, standing=standing, looks=looks, judged=judged
    )


def cohorts_of(site: Site, cohorts: Cohorts) -> Parts:
    """Parts of a site by its cohorts; all of it at its start without any. Raises ``BadData`` as :func:`assess` does."""
    given = cohorts or ((site.start, 1.0),)
    begun = np.array([day for day, _ in given], "datetime64[D]").astype(np.int64)
    share = np.array([part for _, part in given], dtype=np.float64)
    wrong = given[0][0] != site.start or (np.diff(begun) <= 0).any()
    if wrong or not (share > 0).all() or abs(share.sum() - 1) > 1e-6:
        msg = (
            f"cohorts of site {site.id!r}: their days must ascend from its start, {site.start}, and their shares of "
            f"the area be above 0 and add up to 1; they are {[(str(day), part) for day, part in given]}"
        )
        raise BadData(msg)
    return Parts(begun, share)


def _follow(seen: Scenes, site: Site, parts: Parts, window: GrowingSeason, c: Calibration) -> Standing:
    promised = site.plan.A > 0
    loss = -c.no_plan_loss
    prior = Prior(
        c.theta_mean if promised else 0.0,
        c.theta_sd if promised else c.loss_sd,
        c.loss_sd,
        c.plan_weight,
        (0.0, 0.25, 0.5, 0.7) if promised else (loss, loss, 0.0, loss),
        c.rain_sd,
        c.widening,
        c.gain_sd,
    )
    variance = np.full(seen.cover.size, c.scene_sd**2)
    if site.hectares > 0:  # else unknown
        variance += c.pixel_sd**2 * np.minimum(c.patch_hectares / (site.hectares * seen.clear), 1.0)
    when = seen.day[seen.used], seen.position.astype(np.int64), seen.season.astype(np.int64)
    known: Sequence[Any] = (int(parts.begun[0]), float(window.length), window.peak, window.width, c.noise, c.rain_sd)
    first: Sequence[Any] = (*when, seen.cover, seen.control, variance)
    learnt = second = learn(*first, *known)
    also = np.isfinite(seen.control_2)
    if promised and also.any():
        other: Sequence[Any] = [array[also] for array in (*when, seen.cover, seen.control_2, variance)]
        second = learn(*other, *known)
    return follow(
        *when, seen.cover, seen.control, seen.control_2, seen.second, variance, parts.begun, parts.share,
        site.plan.A, site.plan.k, site.plan.L, promised, c.noise, c.stiff, prior, c.look_after_peak_days, c.confident,
        c.disturbance_score, learnt, second,
    )  # fmt: skip


def _records(table: Verdicts, site: Site, calibration: Calibration) -> list[Assessment]:
    hectares = site.hectares if site.hectares > 0 else None
    columns = {name: _plain(values) for name, values in table._asdict().items()}
    return [
        Assessment(
            site=site.id,
            as_of=row["as_of"],
            last_observed=row["last_observed"],
            status=Status(STATUSES[row["status"]]),
            probability=row["probability"],
            p_failing=row["p_failing"],
            p_lagging=row["p_lagging"],
            p_on_track=row["p_on_track"],
            alert=AlertLevel(LEVELS[row["alert"]]),
            alert_rule=None if row["alert_rule"] < 0 else RULES[row["alert_rule"]],
            theta=row["theta"],
            theta_low=row["theta_low"],
            theta_high=row["theta_high"],
            uplift=row["uplift"],
            uplift_low=row["uplift_low"],
            uplift_high=row["uplift_high"],
            expected=row["expected"],
            cover=row["cover"],
            control_cover=row["control_cover"],
            e_failure=row["e_failure"],
            n_scenes=row["n_scenes"],
            n_pre=row["n_pre"],
            reasons=codes(row["reasons"]),
            hectares=hectares,
            hectares_failing=None,
            e_uplift=row["e_uplift"],
            uplift_confirmed=row["uplift_confirmed"],
            uplift_confirmed_on=row["uplift_confirmed_on"],
            loss_on=row["loss_on"],
            loss_confirmed_on=row["loss_confirmed_on"],
            soil_loss_ratio=row["soil_loss_ratio"],
            soil_loss_ratio_low=row["soil_loss_ratio_low"],
            soil_loss_ratio_high=row["soil_loss_ratio_high"],
            erosion_grade=_grade(row["erosion_grade"]),
            erosion_grade_without=_grade(row["erosion_grade_without"]),
            notes=NOTES[row["notes"]],
            calibration=calibration.hash,
            calibration_source=calibration.source,
            calibration_dated=calibration.dated,
        )
        for row in (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    ]


def _grade(place: int) -> str | None:
    return None if place < 0 else GRADES[place]


def codes(bits: int) -> tuple[str, ...]:
    """Reasons that a number of :attr:`Verdicts.reasons` stands for."""
    return tuple(reason.value for k, reason in enumerate(REASONS) if bits >> k & 1)


def _plain(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        return [None if np.isnan(v) else float(v) for v in values]
    plain: list[Any] = values.tolist()  # NaT becomes None
    return plain
