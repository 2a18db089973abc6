"""Drawings of the account of a period: hectares by status at the end of each month, and its opening, moves, closing.

SVG without scripts. A status has a pattern beside its colour, see ``period.html``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from html import escape
from typing import Final, NamedTuple

from monitor.publish.period import Path, path_on

LAYERS: Final = (
    "on_track", "recovered", "no_loss_seen", "too_early", "insufficient_data", "not_assessed", "undecided", "lagging",
    "disturbed", "failing",
)  # fmt: skip
"""Statuses from the lowest layer up: only what is taking hold, the lowest, is compared with the path."""
WIDTH: Final = 720
HEIGHT: Final = 300
LEFT: Final = 54
PLOT: Final = 562
"""Where the drawing begins and ends: between its numbers and the names of the layers."""
SMALL: Final = (260, 90)
LINE: Final = 14  # distance of names of layers
COLOURS: Final = {"no_loss_seen": "no_loss", "not_assessed": "soft"}
"""Names of colours that are not those of the status."""

type Format = Callable[[float], str]
type Scale = Callable[[date], float]
type Height = Callable[[float], float]


class Bar(NamedTuple):
    """One line of the drawing of opening, moves and closing."""

    label: str
    note: str
    change: float
    """Of ground that is taking hold; negative: lost."""
    value: str
    fill: str
    """Status whose pattern it has."""


def fill(status: str) -> str:
    """Pattern of a status."""
    return f"fill:url(#p-{status})"


def stacked(
    months: Sequence[tuple[date, date]], series: Mapping[str, Sequence[float]], names: Mapping[str, str], label: str,
    *, path: Path, pledge: str, format_area: Format,
) -> str:  # fmt: skip
    """Hectares by status at the end of each month, stacked, with the path to the pledge.

    There is at least one month. `series` and `names` are by status, `label` is for those who do not see the drawing,
    and `pledge` stands at the end of the path.
    """
    present = [status for status in LAYERS if any(series.get(status, ()))]
    totals = [math.fsum(series[status][k] for status in present) for k in range(len(months))]
    end = max([months[-1][1], *(date(year, 12, 31) for year in path)])
    top = 1.06 * max([*totals, *path.values()]) or 1.0
    x = _scale(months[0][0], end, LEFT, PLOT)
    base = HEIGHT - 20

    def y(area: float) -> float:
        return base - area / top * (base - 12)

    step = _step(top)
    parts = [f'<svg class="ch" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for k in range(1, int(top / step) + 1):
        parts.append(f'<path class="g" d="M{LEFT} {y(k * step):.1f}H{PLOT}"/>')
    parts += _layers(months, series, present, x, y, base, names, format_area)
    for k in range(1, int(top / step) + 1):
        parts.append(f'<text x="{LEFT - 5}" y="{y(k * step) + 4:.1f}" text-anchor="end">{format_area(k * step)}</text>')
    if line := _path_line(path, months[0][0], end, x, y):
        parts.append(f'<path class="pl" d="{line}"/>')
        anchor = f'x="{x(end):.0f}" y="{max(y(path[max(path)]) - 6, 9):.0f}" text-anchor="end"'
        parts.append(f'<text class="k" {anchor}>{escape(pledge)}</text>')
    parts += _names(series, present, x(months[-1][1]) + 6, y, names, format_area)
    years = range(months[0][0].year, end.year + 1)
    every = math.ceil(len(years) / 12)
    for year in years[::every]:
        parts.append(f'<text x="{max(x(date(year, 1, 1)), LEFT):.0f}" y="{HEIGHT - 5}">{year}</text>')
    return "".join([*parts, "</svg>"])


def small_stacked(
    months: Sequence[tuple[date, date]], series: Mapping[str, Sequence[float]], names: Mapping[str, str], label: str,
    format_area: Format,
) -> str:  # fmt: skip
    """The drawing of one group, with a separate scale; parameters as for :func:`stacked`."""
    width, base = SMALL
    present = [status for status in LAYERS if any(series.get(status, ()))]
    top = max((math.fsum(series[status][k] for status in present) for k in range(len(months))), default=0.0) or 1.0
    x = _scale(months[0][0], months[-1][1], 0, width)
    parts = [f'<svg class="ch sm" viewBox="0 0 {width} {base + 18}" role="img" aria-label="{escape(label)}">']
    parts += _layers(months, series, present, x, lambda area: base - area / top * (base - 4), base, names, format_area)
    parts.append(f'<text x="0" y="{base + 15}">{months[0][0].year}</text>')
    if months[0][0].year != months[-1][1].year:
        parts.append(f'<text x="{width}" y="{base + 15}" text-anchor="end">{months[-1][1].year}</text>')
    return "".join([*parts, "</svg>"])


def waterfall(
    opening: tuple[str, str, float, str], bars: Sequence[Bar], closing: tuple[str, str, str], label: str
) -> str:
    """Opening balance, its changes, and closing balance, each with a name, a note and hectares as text.

    `label` is for those who do not see the drawing.
    """
    levels = [opening[2]]
    for bar in bars:
        levels.append(levels[-1] + bar.change)
    low, high = min(levels), max(levels)
    scale = 150 / (high - low) if high > low else 0.0
    height = 78 + 40 * len(bars)
    parts = [f'<svg class="ch" viewBox="0 0 360 {height}" role="img" aria-label="{escape(label)}">']

    def line(at: float, name: str, note: str, value: str, *, strong: bool) -> None:
        weight = ' class="k"' if strong else ""
        parts.append(f'<text{weight} x="0" y="{at:.0f}">{escape(name)}</text>')
        parts.append(f'<text x="0" y="{at + 17:.0f}" style="font-size:10.5px">{escape(note)}</text>')
        size = 15 if strong else 13
        parts.append(
            f'<text{weight} x="360" y="{at + 4:.0f}" text-anchor="end" style="font-size:{size}px">{value}</text>'
        )

    line(16, opening[0], opening[1], opening[3], strong=True)
    parts.append('<path class="a" d="M0 38H360"/>')
    for k, bar in enumerate(bars):
        at = 54 + 40 * k
        start, end = (136 + (level - low) * scale for level in levels[k : k + 2])
        line(at, bar.label, bar.note, bar.value, strong=False)
        box = f'x="{min(start, end):.1f}" y="{at - 9}" width="{max(abs(end - start), 1):.1f}" height="16"'
        parts.append(f'<rect {box} style="{fill(bar.fill)}"/><path class="a" d="M{start:.1f} {at - 13}V{at + 11}"/>')
    at = 56 + 40 * len(bars)
    parts.append(f'<path class="a" d="M0 {at - 18}H360"/>')
    line(at, *closing, strong=True)
    return "".join([*parts, "</svg>"])


def _scale(first: date, last: date, left: float, right: float) -> Scale:
    """Place of the beginning of a day; the last day ends at `right`."""
    days = (last - first).days + 1
    return lambda day: left + (day - first).days / days * (right - left)


def _layers(
    months: Sequence[tuple[date, date]], series: Mapping[str, Sequence[float]], present: Sequence[str],
    x: Scale, y: Height, base: float, names: Mapping[str, str], format_area: Format,
) -> list[str]:  # fmt: skip
    """The layers from the highest down: each covers what is under it."""
    tops = [0.0] * len(months)
    layers = []
    ends = [x(last + timedelta(days=1)) for _, last in months]
    for status in present:
        tops = [top + area for top, area in zip(tops, series[status], strict=True)]
        steps, at = [f"M{x(months[0][0]):.1f} {base:.1f}"], base
        for right, top in zip(ends, tops, strict=True):
            if abs(y(top) - at) >= 0.05:
                at = y(top)
                steps.append(f"V{at:.1f}")
            steps.append(f"H{right:.1f}")
        title = escape(f"{names[status]} {format_area(series[status][-1])}")
        layers.append(
            f'<path class="l" d="{"".join(steps)}V{base:.1f}Z" style="{fill(status)}"><title>{title}</title></path>'
        )
    return layers[::-1]


def _names(
    series: Mapping[str, Sequence[float]], present: Sequence[str], left: float, y: Height,
    names: Mapping[str, str], format_area: Format,
) -> list[str]:  # fmt: skip
    """Names of the layers with their hectares at the end, none over another."""
    places: list[tuple[str, float]] = []
    below, floor = 0.0, y(0.0)
    for status in present:
        area = series[status][-1]
        if area > 0:
            floor = min(y(below + area / 2) + 4, floor - LINE if places else floor)
            places.append((status, floor))
        below += area
    return [
        f'<text x="{left:.0f}" y="{at:.1f}" style="fill:var(--{COLOURS.get(status, status)})">'
        f"{escape(names[status])} {format_area(series[status][-1])}</text>"
        for status, at in places
    ]


def _path_line(path: Path, first: date, last: date, x: Scale, y: Height) -> str:
    days = [date(year, 12, 31) for year in sorted(path)]
    points = [(day, path[day.year]) for day in days if first <= day <= last]
    start = path_on(path, first)
    points = [*([(first, start)] if start is not None else []), *points]
    if points and points[-1][0] < last:
        points.append((last, points[-1][1]))
    return "".join(f"{'L' if k else 'M'}{x(day):.1f} {y(area):.1f}" for k, (day, area) in enumerate(points))


def _step(top: float) -> float:
    """A round distance of lines, of which five or less fit."""
    size = 10.0 ** math.floor(math.log10(top / 5))
    return next(size * factor for factor in (1, 2, 5, 10) if top / (size * factor) <= 5.3)
