"""The verdict on sites: a pure function of their series, their plans and the calibration.

One causal pass over the series of each site gives the verdict of every date: that of an early date is, bit for bit, the
one that the series gave when it ended there. All sites of a landscape are judged in one call; one site is a landscape
of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from monitor.sites.biomes import biome_of
from monitor.sites.cover_scale import FieldFactor, field_cover
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.erosion import GRADE_NAMES
from monitor.verdict.kernels.history import Promises, Rules, SiteHistory, SiteScenes, filter_sites
from monitor.verdict.kernels.types import Prior, Times
from monitor.verdict.plans import Plans
from monitor.verdict.status import LEVELS, NOTES, RULES, STATUSES, Verdicts, judge, reason_codes
from monitor.verdict.usable_scenes import UsableScenes, usable_scenes

DEFAULT = Calibration()


def assess(
    series: Series, site: Site, *, calibration: Calibration = DEFAULT, alpha: float = 0.05, as_of: date
) -> Assessment:
    """Verdict on a site on one day.

    Parameters
    ----------
    series : Series
        Acquisitions after `as_of` are not read.
    site : Site
        Its plan, start, cohorts, biome, area, slope and latitude are used.
    calibration : Calibration
        Constants of the verdict.
    alpha : float
        False-alarm budget of the site for ten years, all rules together, at most 0.05; in a later episode what remains,
        see :func:`monitor.verdict.calibration.remaining`. [1]
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
    return judge_sites(series, [site], calibration=calibration, alpha=[alpha], as_of=as_of).assessment(0)


def verdicts(
    series: Series, site: Site, dates: np.ndarray, *, calibration: Calibration = DEFAULT, alpha: float = 0.05
) -> Verdicts:
    """Verdicts on a site at many dates at the cost of one, as columns.

    Parameters
    ----------
    series, site : see :func:`assess`
    dates : (n,) array of datetime64[D]
        Ascending.
    calibration, alpha : see :func:`assess`

    Returns
    -------
    Verdicts
        Columns of n values; NaN, NaT or -1 where a value is unknown.

    Raises
    ------
    BadData, BadConfiguration
        See :func:`assess`.
    """
    plans = Plans.of([site])
    scenes = usable_scenes(series, plans, calibration)
    day = dates.astype("datetime64[D]").astype(np.int64)
    history = histories(scenes, plans, calibration)
    return judge(np.zeros(day.size, np.int64), day, scenes, history, plans, calibration, np.full(day.size, alpha))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedSites:
    """Verdicts on some sites on one day, and the state of each at its last late-season scene."""

    plans: Plans
    calibration: Calibration
    scenes: UsableScenes
    history: SiteHistory
    late: np.ndarray
    """(site,) index of the last late-season scene up to the day among the used ones of all sites; -1: none."""
    today: Verdicts
    """(site,) columns."""
    late_season: Verdicts
    """(site,) columns as of the day of that scene, the reference for the failing area; means nothing without one."""

    def assessment(self, site: int) -> Assessment:
        """Verdict on a site on the day."""
        return assessments(self.today, self.plans.sites, self.calibration, [site])[0]

    def late_day(self, site: int) -> date | None:
        """Date of the last late-season scene of a site; None: no scene was late enough in its season yet."""
        day: date | None = self.late_season.as_of[site].item() if self.late[site] >= 0 else None
        return day

    def late_verdict(self, site: int) -> Assessment:
        """Verdict on a site as of the day of its last late-season scene."""
        return assessments(self.late_season, self.plans.sites, self.calibration, [site])[0]

    def promised(self, site: int) -> dict[int, float]:
        """Mean promised uplift of each growing season of a site with a late-season scene. [cover fraction]

        Over its scenes since the start, with season and rain as the control shows them; 0 before the start.
        """
        first, end = int(self.scenes.used_edge[site]), int(self.late[site]) + 1
        season, day = self.scenes.season[first:end], self.scenes.used_day[first:end]  # ascending
        expected = self.plans.expected(self.scenes.site[first:end], day)
        curve = np.where(day >= self.plans.start[site], expected, np.nan)
        late = self.history.late_scene[first:end] == np.arange(end - first)
        means = {}
        for year in np.unique(season[late]).tolist():
            begin, stop = np.searchsorted(season, (year, year + 1))
            since = curve[begin:stop][~np.isnan(curve[begin:stop])]
            means[year] = float(since.mean() * self.history.mu[first + stop - 1]) if since.size else 0.0
        return means


def judge_sites(
    series: Series, sites: Sequence[Site], *, calibration: Calibration, alpha: Sequence[float], as_of: date
) -> JudgedSites:
    """Verdicts on some sites on one day and their state at the last late-season scene, in one pass.

    Parameters as for :func:`assess`, one budget `alpha` a site.
    """
    plans = Plans.of(sites)
    scenes = usable_scenes(series, plans, calibration)
    history = histories(scenes, plans, calibration)
    every = np.arange(len(sites))
    today = np.full(len(sites), np.datetime64(as_of, "D").astype(np.int64))
    last = scenes.last_used(every, today)
    late = np.full(len(sites), -1)
    seen = last >= scenes.used_edge[:-1]
    late[seen] = history.late_scene[last[seen]]
    late = np.where(late >= 0, late + scenes.used_edge[:-1], -1)
    then = np.where(late >= 0, scenes.used_day[late] if scenes.used_day.size else today, today)
    # Both days at once, since two cost little more than one; the first takes any budget: it does not affect theta.
    table = judge(
        np.tile(every, 2), np.concatenate([then, today]), scenes, history, plans, calibration,
        np.concatenate([np.full(len(sites), 0.05), np.asarray(alpha, np.float64)]),
    )  # fmt: skip
    before, now = (Verdicts(*(column[part] for column in table)) for part in (slice(late.size), slice(late.size, None)))
    return JudgedSites(
        plans=plans, calibration=calibration, scenes=scenes, history=history, late=late, today=now, late_season=before
    )  # fmt: skip


def histories(scenes: UsableScenes, plans: Plans, c: Calibration) -> SiteHistory:
    """Run the filters over the usable scenes of some sites: the state after each used scene, site after site."""
    variance = scene_variance(scenes, plans, c)
    times = Times(scenes.used_day, scenes.position, scenes.season)
    promises = Promises(
        plans.begun, plans.share, plans.edge, plans.uplift, plans.rate, plans.lag, plans.promised, plans.usual
    )
    return filter_sites(
        scenes.used_edge,
        SiteScenes(times, scenes.cover, scenes.control, scenes.control_2, scenes.second, variance),
        promises, c.rain_sd, c.noise, c.stiff, prior_of(c, promised=True), prior_of(c, promised=False),
        Rules(c.look_after_peak_days, c.confident, c.disturbance_score, np.array(c.surcharge)),
    )  # fmt: skip


def scene_variance(scenes: UsableScenes, plans: Plans, c: Calibration) -> np.ndarray:
    """Variance of the noise of each used scene, (m,): larger on small sites. [cover fraction squared]"""
    hectares = plans.hectares[scenes.site]
    with np.errstate(divide="ignore"):
        patches = np.minimum(c.patch_hectares / (hectares * scenes.clear), 1.0)
    variance: np.ndarray = c.scene_sd**2 + np.where(hectares > 0, c.pixel_sd**2 * patches, 0.0)
    return variance


def prior_of(c: Calibration, *, promised: bool) -> Prior:
    """Prior of theta, or of the change of cover where nothing was promised."""
    mean, sd, loss = (c.theta_mean, c.theta_sd, 0.0) if promised else (0.0, c.loss_sd, -c.no_plan_loss)
    thresholds = (0.0, 0.25, 0.5, 0.7) if promised else (loss, loss, 0.0, loss)
    return Prior(mean, sd, c.loss_sd, c.plan_weight, thresholds, c.widening, c.gain_sd)


def assessments(
    table: Verdicts, sites: Sequence[Site], calibration: Calibration, entries: Sequence[int] | None = None
) -> list[Assessment]:
    """Records of verdicts in columns of n values, with the site of each entry; None where a column has NaN, NaT or -1.

    `calibration` has the constants by which they were given, and `entries` the places of the records; default: all.
    """
    places = list(range(table.as_of.size)) if entries is None else list(entries)
    constants: dict[str, Any] = {
        "hectares_failing": None, "calibration": calibration.hash, "calibration_source": calibration.source,
        "calibration_placebos": calibration.placebos, "calibration_dated": calibration.dated,
    }  # fmt: skip
    records = []
    for place, *values in zip(places, *(_plain(column[places]) for column in table), strict=True):
        site, biome = sites[place], biome_of(sites[place])
        row = dict(zip(table._fields, values, strict=True))
        row |= {"status": STATUSES[row["status"]], "alert": LEVELS[row["alert"]], "notes": NOTES[row["notes"]]}
        row |= {"reasons": reason_codes(row["reasons"])}
        for name, meanings in (
            ("alert_rule", RULES), ("erosion_grade", GRADE_NAMES), ("erosion_grade_without", GRADE_NAMES),
        ):  # fmt: skip
            row[name] = None if row[name] < 0 else meanings[row[name]]
        own = {"site": site.id, "hectares": site.hectares if site.hectares > 0 else None}
        own |= {"cover_basis": biome.cover_basis(), "plan_cover": site.plan.cover}
        records.append(with_field_cover(Assessment(**constants, **own, **row), biome.field_factor))
    return records


def with_field_cover(assessment: Assessment, factor: FieldFactor | None) -> Assessment:
    """Assessment with its cover in the field, by the factor of the biome or of local rows; None: unknown.

    The verdict is unchanged.
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
