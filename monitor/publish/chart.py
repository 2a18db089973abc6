"""What the drawings of a site's page are made of: positions and paths, computed once and set by the templates.

Drawings fill the width they are given: data lie on a canvas 1000 wide that is stretched, strokes and letters keep
their size. A zero-length stroke with round ends is a dot, so that a thousand scenes are one path.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from monitor.publish.typeset import dots, line
from monitor.publish.view import SiteView
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assess import cohorts_of
from monitor.verdict.assessment import Status

WIDTH: Final = 1000.0
"""Of the stretched canvas."""

COVER_HEIGHT: Final = 230.0
DIFFERENCE_HEIGHT: Final = 190.0
"""Of the two panels. [pixel]"""

LAST_LABEL: Final = 0.93
"""Share of the width up to which the label of a year has room on a phone. [1]"""

GAP_DAYS: Final = 75
"""A line is not drawn across a longer time without a scene. [day]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    """Position on the canvas. [pixel]"""
    label: str
    minor: bool = False
    """Left out where there is little room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One field of the drawing, with its own vertical axis."""

    height: float
    """[pixel]"""
    ticks: tuple[Tick, ...]
    zero: float | None = None
    """Where zero is; None where that is the edge. [pixel]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChart:
    """A site's cover against its control, and the difference of the two against the plan."""

    years: tuple[Tick, ...]
    seasons: tuple[tuple[float, float], ...]
    """Left edge and width of each growing season; empty where growth never rests."""
    start: float | None
    """Where the work began; None outside the drawing."""
    cover: Panel
    site_line: str
    site_dots: str
    control_line: str
    expected_line: str
    rejected_dots: str
    rejected_rug: str
    """One tick a rejected scene, whether or not it has a value."""
    difference: Panel
    difference_dots: str
    difference_faint: str
    """Scenes outside the growing season."""
    plan_line: str
    estimate: tuple[float, float, float, float] | None
    """Where the verdict's uplift stands: across, and down for the low end, the value and the high end; None: it tells
    none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Means over one growing season: what the drawing says, as a table."""

    year: int
    scenes: int
    cover: float
    control: float
    expected: float | None
    """Cover that the plan expects: the control's mean and the promised uplift; None before the start."""


def in_season(day: np.ndarray, site: Site) -> np.ndarray:
    """Which days (from 1970) lie in the growing season of a site, (n,) bool."""
    window = GrowingSeason.of(site)
    return window.locate(day)[1] <= window.length


def promised(day: np.ndarray, site: Site) -> np.ndarray:
    """Uplift the plan promises on each day (from 1970), (n,) array, 0 before the start. [cover fraction]"""
    return cohorts_of(site, site.cohorts).promised(site, day)


def series_chart(view: SiteView) -> SeriesChart | None:
    """The drawing of a site's series; None before its first usable scene."""
    site, a = view.site, view.assessment
    every, all_cover, all_control, accepted = _columns(view)
    seen = accepted & np.isfinite(all_cover)
    if not seen.any():
        return None
    begun = _from_1970(site.start)
    opening = date(1970 + int(every[:1].astype("datetime64[D]").astype("datetime64[Y]").astype(int)[0]), 1, 1)
    first, last = _from_1970(opening), max(_from_1970(a.as_of), int(every[-1]))
    span = max(last - first + 15, 365)

    def across(day: np.ndarray) -> np.ndarray:
        return WIDTH * (day - first) / span

    day, cover, control = every[seen], all_cover[seen], all_control[seen]
    x, growing = across(day), in_season(day, site)
    due = growing & (day >= begun) & (site.plan.A > 0)
    expected = np.where(due, control, np.nan)
    expected[due] += promised(day[due], site)
    top = _ceiling(max(np.nanmax(values, initial=0.0) for values in (cover, control, expected)), 0.2)
    down = _scale(0.0, top, COVER_HEIGHT)

    base = cover - control
    base = base[(day < begun) & growing] if ((day < begun) & growing).any() else base[day < begun]
    difference = cover - control - (np.nanmedian(base) if np.isfinite(base).any() else 0.0)
    curve_day = np.arange(max(begun, first), last + 1, 15)
    curve = promised(curve_day, site) if site.plan.A > 0 else np.zeros(curve_day.size)
    told = a.status is not Status.INSUFFICIENT_DATA
    ends = [v for v in (a.uplift_low, a.uplift, a.uplift_high) if v is not None and told]
    reach = np.concatenate([difference[growing], curve, ends])
    low = -_ceiling(max(-np.nanmin(reach, initial=0.0), 0.02), 0.1)
    high = _ceiling(max(np.nanmax(reach, initial=0.0), 0.02), 0.1)
    fall = _scale(low, high, DIFFERENCE_HEIGHT)

    estimate = None
    if len(ends) == 3:
        low_end, value, high_end = np.clip(fall(np.array(ends)), 0, DIFFERENCE_HEIGHT).round(1).tolist()
        here = WIDTH * (_from_1970(a.last_observed or a.as_of) - first) / span
        estimate = (round(here, 1), low_end, value, high_end)
    valued = ~accepted & np.isfinite(all_cover)
    return SeriesChart(
        years=_years(opening, last, span),
        seasons=_seasons(site, opening, last, span),
        start=round(WIDTH * (begun - first) / span, 1) if first <= begun <= first + span else None,
        cover=Panel(height=COVER_HEIGHT, ticks=_ticks(0.0, top, 0.2 if top > 0.4 else 0.1, COVER_HEIGHT)),
        site_line=line(x, np.where(growing, down(cover), np.nan), day, GAP_DAYS),
        site_dots=dots(x, down(cover)),
        control_line=line(x, np.where(growing, down(control), np.nan), day, GAP_DAYS),
        expected_line=line(x, down(expected), day, GAP_DAYS),
        rejected_dots=dots(across(every[valued]), down(all_cover[valued])),
        rejected_rug=dots(across(every[~accepted]), np.zeros(np.count_nonzero(~accepted)), b"V7"),
        difference=Panel(
            height=DIFFERENCE_HEIGHT,
            ticks=_ticks(low, high, 0.2 if high - low > 0.7 else 0.1, DIFFERENCE_HEIGHT),
            zero=round(float(fall(np.zeros(1))[0]), 1),
        ),
        difference_dots=dots(x, np.where(growing, fall(difference), np.nan)),
        difference_faint=dots(x, np.where(growing, np.nan, fall(difference))),
        plan_line=line(across(curve_day), fall(curve), curve_day, GAP_DAYS) if site.plan.A > 0 else "",
        estimate=estimate,
    )


def season_table(view: SiteView) -> list[Season]:
    """Means over each growing season that was seen."""
    site, window = view.site, GrowingSeason.of(view.site)
    day, cover, control, accepted = _columns(view)
    season, position = window.locate(day)
    kept = np.flatnonzero(accepted & np.isfinite(cover) & np.isfinite(control) & (position <= window.length))
    day, season = day[kept], season[kept]
    planned = (day >= _from_1970(site.start)) & (site.plan.A > 0)
    values = np.stack([cover[kept], control[kept], control[kept] + promised(day, site)])
    first = np.flatnonzero(np.diff(season, prepend=-1))  # days ascend, and seasons with them
    if not first.size:
        return []
    count = np.diff(first, append=day.size)
    means = np.add.reduceat(values, first, axis=1) / count
    rows = zip(season[first].tolist(), count.tolist(), planned[first].tolist(), *means.tolist(), strict=True)
    return [
        Season(year=year, scenes=n, cover=cover_mean, control=control_mean, expected=expected if due else None)
        for year, n, due, cover_mean, control_mean, expected in rows
    ]


def _columns(view: SiteView) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Days from 1970, cover of the site and of its control, and which scenes were accepted."""
    table = view.observations
    return (
        np.asarray(table["date"], "datetime64[D]").astype(np.int64),
        np.asarray(table["cover"], np.float64),
        np.asarray(table["control_cover"], np.float64),
        np.asarray(table["accepted"], bool),
    )


def _from_1970(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _ceiling(value: float, step: float) -> float:
    return math.ceil(round(value / step, 6)) * step


def _scale(low: float, high: float, height: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: height * (1 - (value - low) / (high - low))


def _ticks(low: float, high: float, step: float, height: float) -> tuple[Tick, ...]:
    values = np.arange(math.ceil(round(low / step, 6)), math.floor(round(high / step, 6)) + 1) * step
    sign = "+" if low < 0 else ""
    return tuple(
        Tick(
            at=round(height * (1 - (v - low) / (high - low)), 1),
            label=f"{'−' if v < -1e-9 else sign if v > 1e-9 else ''}{abs(round(100 * v))}",
        )
        for v in values.tolist()
    )


def _years(opening: date, last: int, span: int) -> tuple[Tick, ...]:
    years = range(opening.year, (date(1970, 1, 1) + timedelta(days=last)).year + 1)
    return tuple(
        Tick(
            at=round(WIDTH * (date(y, 1, 1) - opening).days / span, 1), label=str(y), minor=(y - opening.year) % 2 == 1
        )
        for y in years
        if (date(y, 1, 1) - opening).days / span < LAST_LABEL
    )


def _seasons(site: Site, opening: date, last: int, span: int) -> tuple[tuple[float, float], ...]:
    window = GrowingSeason.of(site)
    if window.length >= 360:
        return ()
    final = (date(1970, 1, 1) + timedelta(days=last)).year
    opens = [(date(year, 1, 1) - opening).days + window.opens for year in range(opening.year - 1, final + 1)]
    bands = [(max(day, 0), min(day + window.length, span)) for day in opens]
    return tuple((round(WIDTH * a / span, 1), round(WIDTH * (b - a) / span, 1)) for a, b in bands if b > a)
