"""The growth of a site year by year: one estimate at the end of each growing season, as the growth chart shows it.

All estimates are those of today's series and constants, each from the scenes up to its day: what today's method would
have said then, not what was published then.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.verdict.assess import JudgedSites
from monitor.verdict.assessment import Assessment, Status
from monitor.verdict.measured import Differences
from monitor.verdict.reasons import Reason

DECIMALS: Final = 4  # of stored estimates; the chart shows whole points

NOT_COMPARED: Final = frozenset(
    reason.value
    for reason in (Reason.NO_CONTROL, Reason.CONTROL_CONSTANT, Reason.SEASON_ELSEWHERE, Reason.INTERVAL_WIDE)
)
"""Reasons for which data are insufficient whatever was seen in earlier seasons."""


class GrowthPoint(NamedTuple):
    """Cover above the control at the end of a season."""

    day: date
    """Date of the last used scene of the season; before a sudden loss, of the last one before it."""
    uplift: float
    """Estimated cover above the counterfactual at the peak of the season; before the start and after a sudden loss the
    measured difference, see :mod:`monitor.verdict.measured`. [cover fraction]"""
    low: float | None = None
    """Lower limit of the 95 % interval; None where the difference is measured. [cover fraction]"""
    high: float | None = None


def growth_points(judged: JudgedSites) -> list[tuple[GrowthPoint, ...]]:
    """Growth of some judged sites, each ascending by day, without filtering them again.

    A season before the start has its measured difference, if it has three scenes. The season of the last confirmed loss
    has two points: the estimate before it, and the difference measured since then, in place of an estimate that would
    blend the two.
    """
    scenes, history, plans = judged.scenes, judged.history, judged.plans
    site, season, day = scenes.site, scenes.season, scenes.used_day
    differences = Differences(scenes, history, plans)
    shown = np.append(day <= judged.today.as_of.astype(np.int64)[site], False)
    next_too = (site[1:] == site[:-1]) & (season[1:] == season[:-1]) & shown[1:-1]
    ends = np.flatnonzero(shown[:-1] & ~np.append(next_too, False)[: day.size])
    before, since_loss = _around_losses(judged, ends, differences)
    at = np.union1d(ends, before)
    scale = np.where(plans.promised[site[at]], plans.expected(site[at], day[at]), 1.0)
    estimated = (day[at] >= plans.start[site[at]]) & (history.information[at] > 0)
    values = np.stack([history.mean[at], history.low[at], history.high[at]], axis=1) * scale[:, None]
    points: list[list[GrowthPoint]] = [[] for _ in plans.sites]
    columns = (at, site[at], season[at], day[at].astype("datetime64[D]"), estimated, values)
    for scene, of, year, when, known, estimate in zip(*(column.tolist() for column in columns), strict=True):
        measured = since_loss.get(scene)
        if measured is None and not known:
            measured = differences.seasons_before.get((of, year))
        if measured is not None:
            points[of].append(GrowthPoint(when, round(measured, DECIMALS)))
        elif known:
            points[of].append(GrowthPoint(when, *(round(value, DECIMALS) for value in estimate)))
    return [tuple(theirs) for theirs in points]


def _around_losses(
    judged: JudgedSites, ends: np.ndarray, differences: Differences
) -> tuple[np.ndarray, dict[int, float]]:
    """Of the season of each site's last loss: its last scene before, and by its last scene the difference since then.

    Only where that difference is known.
    """
    scenes, history, plans = judged.scenes, judged.history, judged.plans
    every = np.arange(len(plans.sites))
    last = scenes.last_used(every, judged.today.as_of.astype(np.int64))
    seen = every[last >= scenes.used_edge[:-1]]
    lost = seen[history.loss_onset[last[seen]] > scenes.first_since(plans.start)[seen]]
    since = scenes.last_used(lost, history.loss_first[last[lost]] - 1) + 1
    end = ends[np.searchsorted(ends, since)]
    level, *_ = differences.mean(lost, since, end)
    known = np.isfinite(level)
    before, end, first = since[known] - 1, end[known], scenes.used_edge[lost[known]]
    before = before[(before >= first) & (scenes.season[before] == scenes.season[end])]
    return before, dict(zip(end.tolist(), level[known].tolist(), strict=True))


def shown_points(seen: Sequence[GrowthPoint], a: Assessment) -> tuple[GrowthPoint, ...]:
    """The points to show beside a verdict: none where the control or a wide interval makes them meaningless."""
    return () if NOT_COMPARED.intersection(a.reasons) and a.status is Status.INSUFFICIENT_DATA else tuple(seen)


def growth_to_json(points: Iterable[GrowthPoint]) -> dict[str, Any]:
    """JSON values of the growth of a site: ``points``, rows of day, uplift, low and high."""
    return {"points": [[point.day.isoformat(), *point[1:]] for point in points]}


def growth_from_json(values: Mapping[str, Any] | None) -> tuple[GrowthPoint, ...]:
    """Growth of a site from its JSON values; None: not known, without points."""
    rows: Sequence[Sequence[Any]] = values["points"] if values else ()
    return tuple(GrowthPoint(date.fromisoformat(day), *rest) for day, *rest in rows)
