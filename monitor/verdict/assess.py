"""The verdict on a site: a pure function of its series, its plan and the calibration.

One causal pass over the series gives the verdict of every date: that of an early date is, bit for bit, the one that the
series gave when it ended there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from monitor.errors import BadData
from monitor.sites.biomes import biome_of
from monitor.sites.cover_scale import FieldFactor, field_cover
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.erosion import GRADE_NAMES
from monitor.verdict.kernels.history import Promise, Rules, SiteHistory, SiteScenes, estimate_site, filter_site
from monitor.verdict.kernels.types import Prior, Times, UsualSeason
from monitor.verdict.status import LEVELS, NOTES, RULES, STATUSES, Cohorts, Verdicts, judge, reason_codes
from monitor.verdict.usable_scenes import UsableScenes, usable_scenes

DEFAULT = Calibration()

type CohortShares = Sequence[tuple[date, float]]
"""Day on which each cohort of a site was started, ascending from the site's start, and its share of the area."""


def assess(
    series: Series,
    site: Site,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: CohortShares = (),
    as_of: date,
) -> Assessment:
    """Verdict on a site on one day.

    Parameters
    ----------
    series : Series
        Acquisitions after `as_of` are not read.
    site : Site
        Its plan, start, biome, area, slope and latitude are used.
    calibration : Calibration
        Constants of the verdict.
    alpha : float
        Lifetime false-alarm budget of the site, all rules together, at most 0.05; in a later episode what remains, see
        :func:`monitor.verdict.calibration.remaining`. [1]
    cohorts : sequence of (date, float)
        Where a site was started in several years: day of each cohort and its share of the area. Empty: all of it at
        its start.
    as_of : date
        May be later than the last scene.

    Returns
    -------
    Assessment
        Its fields are in the data dictionary; None where a value cannot be given, never NaN. Without area of failure or
        loss, which come from pixels.

    Raises
    ------
    BadData
        Dates not strictly ascending, cover outside 0..1, or cohorts that do not make up the site.
    BadConfiguration
        `alpha` has no calibrated boundary.
    """
    return assess_with_late_season(series, site, calibration=calibration, alpha=alpha, cohorts=cohorts, as_of=as_of)[0]


def verdicts(
    series: Series,
    site: Site,
    dates: np.ndarray,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: CohortShares = (),
) -> Verdicts:
    """Verdicts on a site at many dates at the cost of one, as columns.

    Parameters
    ----------
    series, site : see :func:`assess`
    dates : (n,) array of datetime64[D]
        Ascending.
    calibration, alpha, cohorts : see :func:`assess`

    Returns
    -------
    Verdicts
        Columns of n values; NaN, NaT or -1 where there is no value.

    Raises
    ------
    BadData, BadConfiguration
        See :func:`assess`.
    """
    parts = cohorts_of(site, cohorts)
    scenes = usable_scenes(series, site, calibration)
    history = site_history(scenes, site, parts, calibration)
    day = dates.astype("datetime64[D]").astype(np.int64)
    return judge(day, scenes, history, site, parts, calibration, alpha)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LateSeasonState:
    """State of a site at its last late-season scene, the reference for the failing area. Computed only on request."""

    site: Site
    cohorts: Cohorts
    calibration: Calibration
    scenes: UsableScenes
    history: SiteHistory
    late_scenes: np.ndarray
    """Indices of the late-season scenes among the used ones, ascending; at least one."""
    judged: Verdicts
    """Verdict as of the day of the last of them."""

    @property
    def day(self) -> date:
        """Date of the last late-season scene."""
        day: date = self.scenes.day[self.scenes.used[self.late_scenes[-1]]].astype("datetime64[D]").item()
        return day

    def verdict(self) -> Assessment:
        """Verdict as of that day."""
        return assessments(self.judged, self.site, self.calibration)[0]

    def promised(self) -> dict[int, float]:
        """Mean promised uplift of each growing season with a late-season scene. [cover fraction]

        Over its scenes since the start, with season and rain as the control shows them; 0 before the start.
        """
        season = self.scenes.season[: self.late_scenes[-1] + 1]  # ascending
        day = self.scenes.day[self.scenes.used[: season.size]]
        curve = np.where(day >= self.cohorts.begun[0], self.cohorts.promised(self.site, day), np.nan)
        means = {}
        for year in np.unique(season[self.late_scenes]).tolist():
            first, end = np.searchsorted(season, (year, year + 1))
            since = curve[first:end][~np.isnan(curve[first:end])]
            means[year] = float(since.mean() * self.history.mu[end - 1]) if since.size else 0.0
        return means


def assess_with_late_season(
    series: Series,
    site: Site,
    *,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    cohorts: CohortShares = (),
    as_of: date,
) -> tuple[Assessment, LateSeasonState | None]:
    """Verdict on a site on one day and its state at the last late-season scene, in one pass.

    Parameters
    ----------
    series, site, calibration, alpha, cohorts, as_of : see :func:`assess`

    Returns
    -------
    (Assessment, LateSeasonState or None)
        The first is what :func:`assess` returns; the second is None where no scene was late enough in its season yet.

    Raises
    ------
    BadData, BadConfiguration
        See :func:`assess`.
    """
    parts = cohorts_of(site, cohorts)
    scenes = usable_scenes(series, site, calibration)
    history = site_history(scenes, site, parts, calibration)
    today = np.array([as_of], "datetime64[D]").astype(np.int64)
    until = int(np.searchsorted(scenes.day[scenes.used], today[0], side="right"))
    late = np.flatnonzero(history.late_scene[:until] == np.arange(until))
    # Both days at once, since two cost little more than one; the first takes any budget: it does not affect theta.
    days, budgets = np.concatenate([scenes.day[scenes.used[late[-1:]]], today]), [0.05] * late[-1:].size + [alpha]
    table = judge(days, scenes, history, site, parts, calibration, budgets)
    judged, now = (Verdicts(*(column[part] for column in table)) for part in (slice(1), slice(-1, None)))
    assessment = assessments(now, site, calibration)[0]
    if not late.size:
        return assessment, None
    return assessment, LateSeasonState(
        site=site, cohorts=parts, calibration=calibration, scenes=scenes, history=history, late_scenes=late,
        judged=judged,
    )  # fmt: skip


def cohorts_of(site: Site, cohorts: CohortShares) -> Cohorts:
    """Cohorts of a site as arrays; one for the whole site at its start without any.

    Parameters
    ----------
    site : Site
    cohorts : sequence of (date, float)
        See :func:`assess`.

    Returns
    -------
    Cohorts
        Days from 1970-01-01, and shares of the area.

    Raises
    ------
    BadData
        The days do not ascend from the start, or the shares do not add up to 1.
    """
    cohorts = cohorts or ((site.start, 1.0),)
    begun = np.array([day for day, _ in cohorts], "datetime64[D]").astype(np.int64)
    share = np.array([part for _, part in cohorts], dtype=np.float64)
    if (
        cohorts[0][0] != site.start
        or (np.diff(begun) <= 0).any()
        or not (share > 0).all()
        or abs(share.sum() - 1) > 1e-6
    ):
        msg = (
            f"cohorts of site {site.id!r}: their days must ascend from its start, {site.start}, and their shares of "
            f"the area be above 0 and add up to 1; they are {[(str(day), part) for day, part in cohorts]}"
        )
        raise BadData(msg)
    return Cohorts(begun, share)


def site_history(scenes: UsableScenes, site: Site, cohorts: Cohorts, c: Calibration) -> SiteHistory:
    """Run the filters over the usable scenes of a site.

    Parameters
    ----------
    scenes, site, cohorts, c : UsableScenes, Site, Cohorts, Calibration

    Returns
    -------
    SiteHistory
        What is known after each used scene.
    """
    plan, growing = site.plan, GrowingSeason.of(site)
    # as floats, whatever the plan holds: each combination of types would be compiled by itself
    promise = Promise(cohorts.begun, cohorts.share, float(plan.index_A), float(plan.k), float(plan.L), plan.A > 0)
    variance = np.full(scenes.cover.size, c.scene_sd**2)
    if site.hectares > 0:  # else unknown
        variance += c.pixel_sd**2 * np.minimum(c.patch_hectares / (site.hectares * scenes.clear), 1.0)
    day, season = scenes.day[scenes.used], scenes.season.astype(np.int64)
    times = Times(day, scenes.position.astype(np.int64), season)
    usual = UsualSeason(float(growing.length), growing.peak, growing.width, c.rain_sd)
    start = int(cohorts.begun[0])
    estimate = estimate_2 = estimate_site(times, scenes.cover, scenes.control, variance, start, usual, c.noise)
    second = np.isfinite(scenes.control_2)
    if promise.promised and second.any():
        estimate_2 = estimate_site(
            Times(*(values[second] for values in times)), scenes.cover[second], scenes.control_2[second],
            variance[second], start, usual, c.noise,
        )  # fmt: skip
    return filter_site(
        SiteScenes(times, scenes.cover, scenes.control, scenes.control_2, scenes.second, variance), promise,
        c.noise, c.stiff, prior_of(c, promised=promise.promised),
        Rules(c.look_after_peak_days, c.confident, c.disturbance_score), estimate, estimate_2,
    )  # fmt: skip


def prior_of(c: Calibration, *, promised: bool) -> Prior:
    """Prior of theta, or of the change of cover where nothing was promised.

    Parameters
    ----------
    c : Calibration
    promised : bool
        Whether the plan promises an uplift.

    Returns
    -------
    Prior
    """
    mean, sd, loss = (c.theta_mean, c.theta_sd, 0.0) if promised else (0.0, c.loss_sd, -c.no_plan_loss)
    thresholds = (0.0, 0.25, 0.5, 0.7) if promised else (loss, loss, 0.0, loss)
    return Prior(mean, sd, c.loss_sd, c.plan_weight, thresholds, c.widening, c.gain_sd)


def assessments(table: Verdicts, site: Site, calibration: Calibration) -> list[Assessment]:
    """Records of the verdicts on a site.

    Parameters
    ----------
    table : Verdicts
        Columns of n values.
    site : Site
    calibration : Calibration
        Constants by which they were given.

    Returns
    -------
    list of Assessment
        One a date; None where the column has NaN, NaT or -1.
    """
    shared: dict[str, Any] = {
        "site": site.id, "hectares": site.hectares if site.hectares > 0 else None, "hectares_failing": None,
        "calibration": calibration.hash, "calibration_source": calibration.source,
        "calibration_placebos": calibration.placebos, "calibration_dated": calibration.dated,
        "cover_basis": biome_of(site).cover_basis(), "plan_cover": site.plan.cover,
    }  # fmt: skip
    records = []
    for values in zip(*map(_plain, table), strict=True):
        row = dict(zip(table._fields, values, strict=True))
        row |= {"status": STATUSES[row["status"]], "alert": LEVELS[row["alert"]], "notes": NOTES[row["notes"]]}
        row |= {"reasons": reason_codes(row["reasons"])}
        for name, meanings in (
            ("alert_rule", RULES), ("erosion_grade", GRADE_NAMES), ("erosion_grade_without", GRADE_NAMES),
        ):  # fmt: skip
            row[name] = None if row[name] < 0 else meanings[row[name]]
        records.append(with_field_cover(Assessment(**shared, **row), biome_of(site).field_factor))
    return records


def with_field_cover(assessment: Assessment, factor: FieldFactor | None) -> Assessment:
    """Assessment with its cover in the field; the verdict is unchanged.

    Parameters
    ----------
    assessment : Assessment
    factor : FieldFactor or None
        Of the biome or of local rows; None: unknown, nothing is added.

    Returns
    -------
    Assessment
    """
    if factor is None:
        return assessment
    value, low, high = field_cover(assessment.cover, factor)
    return replace(
        assessment, field_cover=value, field_cover_low=low, field_cover_high=high, field_factor=factor.value,
        field_factor_low=factor.low, field_factor_high=factor.high, field_factor_rows=factor.rows,
    )  # fmt: skip


def _plain(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        return [None if np.isnan(v) else float(v) for v in values]
    plain: list[Any] = values.tolist()  # NaT becomes None
    return plain
