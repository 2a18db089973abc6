"""What the drawings of a site's page are made of: positions and paths, computed once and set by the templates.

Drawings fill the width they are given: data lie on a canvas 1000 wide that is stretched, strokes and letters keep
their size. A zero-length stroke with round ends is a dot, so that a thousand scenes are one path.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from monitor.publish.view import SiteView
from monitor.sites.site import Site
from monitor.verdict.window import Window

WIDTH: Final = 1000.0
"""Of the stretched canvas."""

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
    zero: float | None
    """Where zero is, if it lies inside. [pixel]"""


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
    """Where the verdict's uplift stands: across, and down for the low end, the value and the high end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """Means over one growing season: what the drawing says, as a table."""

    year: int
    scenes: int
    cover: float
    control: float
    expected: float | None
    """Cover that the plan expects: the control's mean and the promised uplift; None before the start."""


def in_season(dates: pd.DatetimeIndex, site: Site) -> np.ndarray:
    """Which dates lie in the growing season of a site's biome, (n,) bool."""
    window = Window.of(site)
    _, position = window.place(dates.to_numpy().astype("datetime64[D]").astype(np.int64))
    return position <= window.length


def promised(dates: pd.DatetimeIndex, site: Site) -> np.ndarray:
    """Uplift the plan promises on each date, (n,) array, 0 before the start. [cover fraction]"""
    years = (dates - pd.Timestamp(site.start)) / pd.Timedelta(days=365.25)
    return np.array([site.plan.uplift(y) for y in years])


def series_chart(view: SiteView) -> SeriesChart | None:
    """The drawing of a site's series; None before its first usable scene."""
    site, table = view.site, view.observations
    accepted = table.accepted.to_numpy(bool)
    seen = accepted & np.isfinite(table.cover.to_numpy(float))
    if not seen.any():
        return None
    every = pd.DatetimeIndex(table.date)
    first = date(every[0].year, 1, 1)
    last = max(view.assessment.as_of, every[-1].date())
    span = max((last - first).days + 15, 365)

    def across(when: pd.DatetimeIndex) -> np.ndarray:
        return WIDTH * np.asarray((when - pd.Timestamp(first)) / pd.Timedelta(days=span))

    dates, x = every[seen], across(every[seen])
    cover = table.cover.to_numpy(float)[seen]
    control = table.control_cover.to_numpy(float)[seen]
    growing, uplift = in_season(dates, site), promised(dates, site)
    due = growing & (dates >= pd.Timestamp(site.start)) & (site.plan.A > 0)
    expected = np.where(due, control + uplift, np.nan)

    top = _ceiling(np.nanmax(np.concatenate([cover, control, expected])), 0.2)
    upper = Panel(height=230, ticks=_ticks(0.0, top, 0.2 if top > 0.4 else 0.1, 230), zero=None)
    down = _scale(0.0, top, upper.height)

    difference = cover - control
    before = dates < pd.Timestamp(site.start)
    base = difference[before & growing] if (before & growing).any() else difference[before]
    difference = difference - (np.nanmedian(base) if np.isfinite(base).any() else 0.0)
    curve_dates = pd.date_range(max(site.start, first), last, freq="15D")
    curve = promised(curve_dates, site)
    a = view.assessment
    reach = np.concatenate([difference[growing], curve, [v for v in (a.uplift_low, a.uplift_high) if v is not None]])
    reach = reach[np.isfinite(reach)]
    low = -_ceiling(max(-reach.min(initial=0), 0.02), 0.1)
    high = _ceiling(max(reach.max(initial=0), 0.02), 0.1)
    lower = Panel(height=190, ticks=_ticks(low, high, 0.2 if high - low > 0.7 else 0.1, 190), zero=None)
    fall = _scale(low, high, lower.height)
    lower = Panel(height=lower.height, ticks=lower.ticks, zero=round(float(fall(np.zeros(1))[0]), 1))

    refused = ~accepted
    valued = refused & np.isfinite(table.cover.to_numpy(float))
    rug = "".join(f"M{v:.1f},0V7" for v in across(every[refused]))
    estimate = None
    if a.uplift is not None and a.uplift_low is not None and a.uplift_high is not None:
        ends = np.clip(fall(np.array([a.uplift_low, a.uplift, a.uplift_high])), 0, lower.height).round(1).tolist()
        here = float(across(pd.DatetimeIndex([a.last_observed or a.as_of]))[0])
        estimate = (round(here, 1), ends[0], ends[1], ends[2])
    begun = float(across(pd.DatetimeIndex([site.start]))[0])
    return SeriesChart(
        years=_years(first, last, span),
        seasons=_seasons(site, first, last, span),
        start=round(begun, 1) if 0 <= begun <= WIDTH else None,
        cover=upper,
        site_line=_line(x, down(cover), dates, growing),
        site_dots=_dots(x, down(cover)),
        control_line=_line(x, down(control), dates, growing),
        expected_line=_line(x, down(expected), dates, growing),
        rejected_dots=_dots(across(every[valued]), down(table.cover.to_numpy(float)[valued])),
        rejected_rug=rug,
        difference=lower,
        difference_dots=_dots(x[growing], fall(difference[growing])),
        difference_faint=_dots(x[~growing], fall(difference[~growing])),
        plan_line=_line(across(curve_dates), fall(curve), curve_dates) if site.plan.A > 0 else "",
        estimate=estimate,
    )


def season_table(view: SiteView) -> list[Season]:
    """Means over each growing season that was seen."""
    table = view.observations
    dates = pd.DatetimeIndex(table.date)
    both = np.isfinite(table.cover.to_numpy(float)) & np.isfinite(table.control_cover.to_numpy(float))
    usable = table.accepted.to_numpy(bool) & both & in_season(dates, view.site)
    chosen = table[usable].assign(uplift=promised(dates[usable], view.site))
    seasons = []
    for year, group in chosen.groupby(dates[usable].year):
        begun = group.date.iloc[-1] >= pd.Timestamp(view.site.start)
        seasons.append(
            Season(
                year=int(str(year)),
                scenes=len(group),
                cover=float(group.cover.mean()),
                control=float(group.control_cover.mean()),
                expected=float((group.control_cover + group.uplift).mean()) if begun else None,
            )
        )
    return seasons


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
        for v in values
    )


def _years(first: date, last: date, span: int) -> tuple[Tick, ...]:
    return tuple(
        Tick(at=round(WIDTH * (date(y, 1, 1) - first).days / span, 1), label=str(y), minor=(y - first.year) % 2 == 1)
        for y in range(first.year, last.year + 1)
    )


def _seasons(site: Site, first: date, last: date, span: int) -> tuple[tuple[float, float], ...]:
    window = Window.of(site)
    if window.length >= 360:
        return ()
    opens = [(date(year, 1, 1) - first).days + window.opens for year in range(first.year - 1, last.year + 1)]
    bands = [(max(day, 0), min(day + window.length, span)) for day in opens]
    return tuple((round(WIDTH * a / span, 1), round(WIDTH * (b - a) / span, 1)) for a, b in bands if b > a)


def _dots(x: np.ndarray, y: np.ndarray) -> str:
    return "".join(f"M{a:.1f},{b:.1f}h0" for a, b in zip(x, y, strict=True) if np.isfinite(b))


def _line(x: np.ndarray, y: np.ndarray, dates: pd.DatetimeIndex, growing: np.ndarray | None = None) -> str:
    """A line through the finite points, lifted over long gaps and, where given, outside the growing season."""
    keep = np.isfinite(y) if growing is None else np.isfinite(y) & growing
    path, previous = [], None
    for a, b, when in zip(x[keep], y[keep], dates[keep], strict=True):
        lifted = previous is None or (when - previous).days > GAP_DAYS
        path.append(f"{'M' if lifted else 'L'}{a:.1f},{b:.1f}")
        previous = when
    return "".join(path)
