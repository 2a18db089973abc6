"""The growth chart of a site, like that on a child's health card: zones, the plan, and one estimate a season, as SVG.

The zones follow the plan: on plan from .7 of the uplift promised for a day, lagging from .25, not taking hold below.
Colours are those of ``style.css``. Nothing in it comes from a user, and it has no script.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

import numpy as np

from monitor.alerts.words import Language, day, points, shown_status, text
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, Status
from monitor.verdict.explain import FAILING_SHARE, ON_TRACK_SHARE
from monitor.verdict.growth import GrowthPoint, shown_points
from monitor.verdict.plans import Plans

YEARS_BEFORE: Final = 3
"""Calendar years before the start that are shown at most."""
HEADROOM: Final = 1.4
"""Height of the chart relative to the highest value in it. [1]"""
LEAST: Final = 0.1
"""Least uplift that the chart has room for. [cover fraction]"""


class _Size(NamedTuple):
    """Canvas of a chart. [pixel]"""

    width: float
    height: float  # of the plane, without the years below it
    samples: int  # of the plan's curve


SIZES: Final = {"page": _Size(328, 196, 49), "row": _Size(96, 36, 10)}


class _Plane(NamedTuple):
    """Where a day and an uplift are drawn."""

    first: int  # first year
    years: int
    low: float
    high: float
    size: _Size

    def x(self, when: date) -> float:
        year = (when - date(when.year, 1, 1)).days / (date(when.year + 1, 1, 1) - date(when.year, 1, 1)).days
        return round((when.year - self.first + year) / self.years * self.size.width, 1)

    def y(self, uplift: float) -> float:
        share = (min(max(uplift, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.size.height * (1 - share), 1)


def chart_years(seen: Sequence[GrowthPoint], site: Site, assessment: Assessment) -> range:
    """Calendar years of the chart of a site: a column each."""
    first = min([site.start.year, assessment.as_of.year, *(point.day.year for point in seen[:1])])
    return range(max(first, site.start.year - YEARS_BEFORE), assessment.as_of.year + 1)


def row_points(seen: Sequence[GrowthPoint], site: Site, a: Assessment) -> tuple[range, list[GrowthPoint]]:
    """Calendar years of the small chart of a site, and its points: those since the start, and the last one before."""
    first = min(site.start.year, a.as_of.year)
    shown = _as_judged(seen, a)
    before = sum(point.day.year < first for point in shown)
    return range(first, a.as_of.year + 1), shown[max(0, before - 1) :]


def growth_chart(
    seen: Sequence[GrowthPoint], site: Site, assessment: Assessment, *, size: Literal["page", "row"], language: Language
) -> str:
    """Growth chart of a site: an ``svg`` element with a text alternative.

    `seen` are its points, ascending by day; empty: no estimate yet, and only the plan is drawn. The newest gives way to
    the estimate of the assessment. `site` is in the episode of the assessment. The chart for a page has labels and a
    column a calendar year, for the width of a phone; that for a row is small, without labels, since the start.
    """
    a, page = assessment, size == "page"
    years, shown = chart_years(seen, site, a), _as_judged(seen, a)
    shown = [point for point in shown if point.day.year >= years.start]
    if not page:
        years, shown = row_points(seen, site, a)
    end = date(years.stop, 1, 1) - timedelta(days=1)
    curve_days = _days(site.start, end, SIZES[size].samples)
    promised = Plans.of([site]).expected(np.zeros(curve_days.size, np.int64), curve_days.astype(np.int64))
    uplifts = [point.uplift for point in shown]
    high = HEADROOM * max([LEAST, site.plan.index_A, *uplifts])
    low = min([-high / 4, *(HEADROOM * value for value in uplifts)])
    plane = _Plane(years.start, len(years), low, high, SIZES[size])
    parts = _zones(plane, curve_days, promised) if site.plan.A > 0 else []
    if page:
        parts += [f'<path class="yr" d="M{plane.x(date(year, 1, 1))},0v196"/>' for year in years[1:]]
    parts.append(f'<path class="zero" d="M0,{plane.y(0)}h{plane.size.width:g}"/>')
    if page and site.plan.A > 0:
        parts.append(f'<path class="plan" d="{_line(plane, curve_days, promised)}"/>')
    if page:
        parts += _gap(plane, shown, a, language)
    line = "L".join(f"{plane.x(point.day)},{plane.y(point.uplift)}" for point in shown)
    parts.append(f'<path class="path" d="M{line}"/>' if len(shown) > 1 else "")
    radius = 4.5 if page else 3
    for point in shown if page else shown[-1:]:
        x = plane.x(point.day)
        if point.low is not None and point.high is not None:
            parts.append(f'<path class="iv" d="M{x},{plane.y(point.low)}V{plane.y(point.high)}"/>')
        kind = 'class="sea"' if page else f'class="dot" fill="var(--{shown_status(site, a.status)})"'  # serve: no style
        parts.append(f'<circle {kind} cx="{x}" cy="{plane.y(point.uplift)}" r="{radius}"/>')
    if page:
        parts += _labels(plane, years, shown, site, a, (curve_days, promised), language)
    height = plane.size.height + (18 if page else 0)
    return (
        f'<svg class="gc {size}" viewBox="0 0 {plane.size.width:g} {height:g}" role="img" '
        f'aria-label="{_in_words(shown, a, language)}">{"".join(parts)}</svg>'
    )


def _as_judged(seen: Sequence[GrowthPoint], a: Assessment) -> list[GrowthPoint]:
    """Points, with the verdict's estimate as the newest, so that chart and page state the same."""
    seen = shown_points(seen, a)
    newest = seen[-1] if seen else None
    if newest is None or newest.low is None or a.uplift is None or a.status is Status.INSUFFICIENT_DATA:
        return [*seen]
    return [*seen[:-1], GrowthPoint(newest.day, a.uplift, a.uplift_low, a.uplift_high)]


def _days(start: date, end: date, samples: int) -> np.ndarray:
    """Days from the start to the end of a chart, evenly spaced; none where it starts later."""
    length = (end - start).days
    return np.datetime64(start, "D") + np.linspace(0, length, samples if length > 0 else 0).astype(np.int64)


def _line(plane: _Plane, days: np.ndarray, uplift: np.ndarray) -> str:
    pairs = zip(days.tolist(), uplift.tolist(), strict=True)
    return "M" + "L".join(f"{plane.x(when)},{plane.y(value)}" for when, value in pairs)


def _zones(plane: _Plane, days: np.ndarray, promised: np.ndarray) -> list[str]:
    """The three zones, each on the one before."""
    if not days.size:
        return []
    left, (width, height, _) = plane.x(days[0].item()), plane.size
    zones = [f'<path class="zg" d="M{left},0H{width:g}V{height:g}H{left}z"/>']
    for name, share in (("za", ON_TRACK_SHARE), ("zr", FAILING_SHARE)):
        zones.append(f'<path class="{name}" d="{_line(plane, days, share * promised)}V{height:g}H{left}z"/>')
    return zones


def _gap(plane: _Plane, shown: Sequence[GrowthPoint], a: Assessment, language: Language) -> list[str]:
    """Hatching over the time in which nothing could be seen, where the data are insufficient."""
    if a.status is not Status.INSUFFICIENT_DATA or not shown:
        return []
    x, (width, height, _) = plane.x(shown[-1].day) + 6, plane.size
    room = max(width - x, 1)
    lines = "".join(f"M{x + k:g},{height:g}l98,-196" for k in range(-98, int(room), 8))
    box = f'<svg x="{x}" width="{room:g}" height="{height:g}" viewBox="{x} 0 {room:g} {height:g}">'
    label = f'<text x="{width:g}" y="28" text-anchor="end">{text("growth.unseen", language)}</text>'
    return [f'{box}<path class="gap" d="{lines}"/></svg>', label]


def _labels(
    plane: _Plane, years: range, shown: Sequence[GrowthPoint], site: Site, a: Assessment,
    plan: tuple[np.ndarray, np.ndarray], language: Language,
) -> list[str]:  # fmt: skip
    (days, promised), (width, height, _) = plan, plane.size

    def label(key: str, x: float, y: float, anchor: str = "start", kind: str = "") -> str:
        said = text(f"growth.{key}", language) if key.isalpha() else key
        return f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{said}</text>'

    step = 0.2 if plane.high - plane.low > 0.4 else 0.1
    ticks = [step * k for k in range(-9, 10) if k and plane.low + 0.02 < step * k < plane.high - 0.02]
    parts = [label(points(tick), 1, plane.y(tick) + 4) for tick in ticks]
    parts.append(label("zero", 1, plane.y(0) + 14))
    start = plane.x(site.start) if days.size else width
    if site.start.year in years:
        left = start > width / 6
        parts.append(f'<path class="start" d="M{start},0v{height:g}"/>')
        parts.append(label("begun", start + (-4 if left else 4), height - 6, "end" if left else "start"))
    if site.plan.A > 0 and start < 0.7 * width:
        parts.append(label("on", start + 6, 12))
        number = max(plane.y(shown[-1].uplift) - 9, 14) if shown else 0.0
        middle = plane.y((FAILING_SHARE + ON_TRACK_SHARE) / 2 * float(promised[-1])) + 4
        for zone, y in (("lagging", middle), ("failing", height - 10)):
            if abs(y - number) > 14:  # room beside the newest number
                parts.append(label(zone, width - 2, y, "end"))
        at = round(0.4 * (days.size - 1))
        parts.append(label("plan", plane.x(days[at].item()) - 5, plane.y(float(promised[at])) - 3, "end"))
    if a.loss_on is not None and a.loss_on.year in years:
        x = plane.x(a.loss_on)
        parts.append(f'<path class="ev" d="M{x},0v{height:g}"/>')
        said = text("growth.lost", language, day=day(a.loss_on, language))
        parts.append(f'<text class="lost" x="{x - 4:g}" y="26" text-anchor="end">{said}</text>')
    if shown:
        x, y = plane.x(shown[-1].day), plane.y(shown[-1].uplift)
        parts.append(label(points(shown[-1].uplift), x - 6, max(y - 9, 14), "end", ' class="big"'))
    every = -(-len(years) // 10)
    column = width / len(years)
    named = [(k, year) for k, year in enumerate(years) if (years.stop - 1 - year) % every == 0]
    return parts + [label(str(year), column * (k + 0.5), height + 13, "middle") for k, year in named]


def _in_words(shown: Sequence[GrowthPoint], a: Assessment, language: Language) -> str:
    """Text alternative of a chart."""
    said = text("growth.none", language)
    if shown:
        values = (f"{point.day.year} {points(point.uplift)}" for point in shown)
        said = text("growth.values", language, values=("，" if language == "zh" else ", ").join(values))
    plan = "" if not a.expected else text("growth.promised", language, points=points(a.expected))
    return said + plan
