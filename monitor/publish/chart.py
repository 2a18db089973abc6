"""Positions and paths of the drawings of a site's page; the templates place them.

Drawings fill the available width: data are on a canvas 1000 wide that is stretched, while strokes and letters keep
their size. A zero-length stroke with round ends is a dot, so that a thousand scenes are one path.
"""

import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.alerts.words import percent, points
from monitor.publish.svg import area, dots, line
from monitor.publish.view import SiteView
from monitor.series.columns import SPREAD_COLUMNS
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.plans import Plans

WIDTH: Final = 1000.0  # width of the stretched canvas
COVER_HEIGHT: Final = 230.0
DIFFERENCE_HEIGHT: Final = 190.0
"""Heights of the two panels. [pixel]"""
LAST_LABEL: Final = 0.93
"""Share of the width up to which the label of a year fits on a phone. [1]"""
GAP_DAYS: Final = 75
"""Longest time without a scene that a line bridges. [day]"""
LEAST_SPAN: Final = 0.4
"""Least height of the axis of the difference, so that noise looks small. [cover fraction]"""
HOVERED: Final = 100
"""Newest accepted scenes whose values a pointer shows; a growing season shows its means."""


class Tick(NamedTuple):
    """A labelled place on an axis."""

    at: float
    """Position on the canvas. [pixel]"""
    label: str
    minor: bool = False
    """Omitted where there is little room."""


class Panel(NamedTuple):
    """One panel of the drawing, with a vertical axis."""

    height: float
    """[pixel]"""
    ticks: tuple[Tick, ...]
    zero: float | None = None
    """Position of zero; None where that is the edge. [pixel]"""


class Season(NamedTuple):
    """Means over one growing season: a row of the table."""

    year: int
    scenes: int
    cover: float
    control: float
    expected: float | None
    """Cover that the plan expects, which is the control mean plus the promised uplift; None before the start."""


def in_season(day: np.ndarray, site: Site) -> np.ndarray:
    """Whether days, (n,) from 1970-01-01, are in the growing season of a site."""
    window = GrowingSeason.of(site)
    return window.locate(day)[1] <= window.length


def promised(day: np.ndarray, site: Site) -> np.ndarray:
    """Uplift that the plan and cohorts of a site promise on days, (n,) from 1970-01-01; 0 before the start. [cover
    fraction]
    """
    return Plans.of([site]).expected(np.zeros(day.size, np.int64), day)


def widened(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis, widened on the nearer side until it spans :data:`LEAST_SPAN`."""
    while high - low < LEAST_SPAN - 1e-9:
        low, high = (low, high + 0.1) if high <= -low else (low - 0.1, high)
    return low, high


def difference_from_start(day: np.ndarray, difference: np.ndarray, growing: np.ndarray, start: int) -> np.ndarray:
    """Site minus control, less its median before the start, within the growing season if it was seen there then.

    All are (n,): days from 1970-01-01, the difference [cover fraction], and whether a day is :func:`in_season`.
    """
    before = day < start
    earlier = difference[before & growing] if (before & growing).any() else difference[before]
    from_start: np.ndarray = difference - (np.nanmedian(earlier) if np.isfinite(earlier).any() else 0.0)
    return from_start


def series_chart(view: SiteView) -> dict[str, Any] | None:
    """Drawing of a site's cover against its control, and of their difference against the plan.

    Returns
    -------
    dict or None
        ``years``, ticks; ``seasons``, left edge, width and means of each growing season, empty where growth never
        stops; ``hovered``, the newest scenes with their values; ``start``, position of the start of the work, None
        outside the drawing; ``cover`` and ``difference``, panels; ``estimate``, the uplift of the verdict: horizontal
        position, then vertical ones of its low end, value and high end, None without one. All others are paths, empty
        where there is nothing to draw: ``rejected_rug`` has one tick for each rejected scene; ``difference_faint`` are
        scenes outside the growing season; ``field_dots`` are measurements of cover on the ground; ``spread`` is the
        area of the control units from the 10th to the 90th percentile; ``fit`` and ``uplift_fit`` with their bands, see
        :class:`monitor.verdict.fitted.Fitted`. None before the first usable scene.
    """
    site, a = view.site, view.assessment
    all_days, all_cover, all_control, accepted = _columns(view)
    seen = accepted & np.isfinite(all_cover)
    if not seen.any():
        return None
    start_day = _from_1970(site.start)
    first_january = date(1970 + int(all_days[:1].astype("datetime64[D]").astype("datetime64[Y]").astype(int)[0]), 1, 1)
    field_days, field_cover = _field_cover(view)
    first = _from_1970(first_january)
    last = max(_from_1970(a.as_of), int(all_days[-1]), *field_days.tolist())
    span = max(last - first + 15, 365)

    def day_x(day: np.ndarray) -> np.ndarray:
        x: np.ndarray = WIDTH * (day - first) / span
        return x

    day, cover, control = all_days[seen], all_cover[seen], all_control[seen]
    x, growing = day_x(day), in_season(day, site)
    planned = growing & (day >= start_day) & (site.plan.A > 0)
    expected = np.where(planned, control, np.nan)
    expected[planned] += promised(day[planned], site)
    spread = [np.where(growing, ends[seen], np.nan) for ends in _unit_spread(view)]
    fit = view.fitted if view.is_judged and view.fitted is not None else None
    fitted_day = np.empty(0, np.int64) if fit is None else fit.day
    fitted = np.empty((6, 0)) if fit is None else np.stack(fit[1:])
    shown = (cover, control, expected, field_cover, *spread, fitted[:3])
    top = min(_ceiling(max(np.nanmax(values, initial=0.0) for values in shown), 0.2), 1.0)
    cover_y = _scale(0.0, top, COVER_HEIGHT)

    difference = difference_from_start(day, cover - control, growing, start_day)
    curve_day = np.arange(max(start_day, first), last + 1, 15)
    curve = promised(curve_day, site) if site.plan.A > 0 else np.zeros(curve_day.size)
    uplifts = [v for v in (a.uplift_low, a.uplift, a.uplift_high) if v is not None and view.is_judged]
    extent = np.concatenate([difference[growing], curve, uplifts, np.clip(fitted[3:], -1.0, 1.0).ravel()])
    low, high = widened(
        -_ceiling(max(-np.nanmin(extent, initial=0.0), 0.02), 0.1),
        _ceiling(max(np.nanmax(extent, initial=0.0), 0.02), 0.1),
    )
    difference_y = _scale(low, high, DIFFERENCE_HEIGHT)

    estimate = None
    if len(uplifts) == 3:
        low_end, value, high_end = np.clip(difference_y(np.array(uplifts)), 0, DIFFERENCE_HEIGHT).round(1).tolist()
        here = WIDTH * (_from_1970(a.last_observed or a.as_of) - first) / span
        estimate = (round(here, 1), low_end, value, high_end)
    band = np.clip(difference_y(fitted[3:]), 0, DIFFERENCE_HEIGHT)
    level, fitted_x = np.clip(cover_y(fitted[:3]), 0, COVER_HEIGHT), day_x(fitted_day)
    return {
        "years": _years(first_january, last, span),
        "seasons": _seasons(view, first_january, last, span),
        "hovered": _hovered(*(values[-HOVERED:] for values in (x, cover_y(cover), day, cover, control))),
        "start": round(WIDTH * (start_day - first) / span, 1) if first <= start_day <= first + span else None,
        "cover": Panel(COVER_HEIGHT, _ticks(0.0, top, 0.2 if top > 0.4 else 0.1, COVER_HEIGHT)),
        "site_line": line(x, np.where(growing, cover_y(cover), np.nan), day, GAP_DAYS),
        "site_dots": dots(x, cover_y(cover)),
        "control_line": line(x, np.where(growing, cover_y(control), np.nan), day, GAP_DAYS),
        "expected_line": line(x, cover_y(expected), day, GAP_DAYS),
        "field_dots": dots(day_x(field_days), cover_y(field_cover)),
        "spread": area(x, cover_y(spread[0]), cover_y(spread[1]), day, GAP_DAYS),
        "fit": line(fitted_x, level[0], fitted_day, GAP_DAYS),
        "fit_band": area(fitted_x, level[1], level[2], fitted_day, GAP_DAYS),
        "uplift_fit": line(fitted_x, band[0], fitted_day, GAP_DAYS),
        "uplift_band": area(fitted_x, band[1], band[2], fitted_day, GAP_DAYS),
        "rejected_rug": dots(day_x(all_days[~accepted]), np.zeros(np.count_nonzero(~accepted)), "V7"),
        "difference": Panel(
            DIFFERENCE_HEIGHT,
            _ticks(low, high, 0.2 if high - low > 0.7 else 0.1, DIFFERENCE_HEIGHT),
            zero=round(float(difference_y(np.zeros(1))[0]), 1),
        ),
        "difference_dots": dots(x, np.where(growing, difference_y(difference), np.nan)),
        "difference_faint": dots(x, np.where(growing, np.nan, difference_y(difference))),
        "plan_line": line(day_x(curve_day), difference_y(curve), curve_day, GAP_DAYS) if site.plan.A > 0 else "",
        "estimate": estimate,
    }


def season_table(view: SiteView) -> list[Season]:
    """Means over each growing season with scenes."""
    site, growing_season = view.site, GrowingSeason.of(view.site)
    day, cover, control, accepted = _columns(view)
    season, position = growing_season.locate(day)
    used = np.flatnonzero(accepted & np.isfinite(cover) & np.isfinite(control) & (position <= growing_season.length))
    day, season = day[used], season[used]
    planned = (day >= _from_1970(site.start)) & (site.plan.A > 0)
    values = np.stack([cover[used], control[used], control[used] + promised(day, site)])
    first = np.flatnonzero(np.diff(season, prepend=-1))  # days ascend, and seasons with them
    if not first.size:
        return []
    count = np.diff(first, append=day.size)
    means = np.add.reduceat(values, first, axis=1) / count
    rows = zip(season[first].tolist(), count.tolist(), *means.tolist(), planned[first].tolist(), strict=True)
    return [
        Season(year, scenes, site_mean, control_mean, expected if due else None)
        for year, scenes, site_mean, control_mean, expected, due in rows
    ]


def _columns(view: SiteView) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Days since 1970, cover of the site and of its control, and whether each scene was accepted."""
    table = view.observations
    cover, control = (np.asarray(table[name], np.float64) for name in ("cover", "control_cover"))
    days = np.asarray(table["date"], "datetime64[D]").astype(np.int64)
    return days, cover, control, np.asarray(table["accepted"], bool)


def _unit_spread(view: SiteView) -> list[np.ndarray]:
    """10th and 90th percentile of the cover of the control units in each scene; NaN where they are not given."""
    table, nothing = view.observations, np.full(len(view.observations["date"]), np.nan)
    return [np.asarray(table[name], np.float64) if name in table else nothing for name in SPREAD_COLUMNS]


def _hovered(
    x: np.ndarray, y: np.ndarray, day: np.ndarray, cover: np.ndarray, control: np.ndarray
) -> list[tuple[float, float, str, date]]:
    """Positions [pixel] of scenes, their values, ``41% − 30% = +11``, and days."""
    days = day.astype("datetime64[D]").tolist()
    rows = zip(x.round(1).tolist(), y.round(1).tolist(), days, cover.tolist(), control.tolist(), strict=True)
    return [(at, height, _difference(own, ground), day) for at, height, day, own, ground in rows]


def _difference(cover: float, control: float) -> str:
    return f"{percent(cover)} − {percent(control)} = {points(cover - control)}"


def _field_cover(view: SiteView) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970 of the measurements of cover on the ground, and the cover."""
    covers = [row for row in view.measured if row.kind == "cover"]
    days = np.array([_from_1970(row.date) for row in covers], np.int64)
    return days, np.array([row.value for row in covers], np.float64)


def _from_1970(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _ceiling(value: float, step: float) -> float:
    return math.ceil(round(value / step, 6)) * step


def _scale(low: float, high: float, height: float) -> Callable[[Any], Any]:
    return lambda value: height * (1 - (value - low) / (high - low))


def _ticks(low: float, high: float, step: float, height: float) -> tuple[Tick, ...]:
    values = np.arange(math.ceil(round(low / step, 6)), math.floor(round(high / step, 6)) + 1) * step
    sign = "+" if low < 0 else ""
    position = _scale(low, high, height)
    return tuple(
        Tick(round(position(v), 1), f"{'−' if v < -1e-9 else sign if v > 1e-9 else ''}{abs(round(100 * v))}")
        for v in values.tolist()
    )


def _years(opening: date, last: int, span: int) -> tuple[Tick, ...]:
    years = range(opening.year, (date(1970, 1, 1) + timedelta(days=last)).year + 1)
    days = {year: (date(year, 1, 1) - opening).days for year in years}
    return tuple(
        Tick(round(WIDTH * day / span, 1), str(year), minor=(year - opening.year) % 2 == 1)
        for year, day in days.items()
        if day / span < LAST_LABEL
    )


def _seasons(view: SiteView, opening: date, last: int, span: int) -> tuple[tuple[float, float, str], ...]:
    window = GrowingSeason.of(view.site)
    if window.length >= 360:
        return ()
    final = (date(1970, 1, 1) + timedelta(days=last)).year
    means = {s.year: f"{s.year}: {_difference(s.cover, s.control)} (n = {s.scenes})" for s in season_table(view)}
    bands = []
    for year in range(opening.year - 1, final + 1):
        day = (date(year, 1, 1) - opening).days + window.opens
        a, b = max(day, 0), min(day + window.length, span)
        if b > a:
            bands.append((round(WIDTH * a / span, 1), round(WIDTH * (b - a) / span, 1), means.get(year, "")))
    return tuple(bands)
