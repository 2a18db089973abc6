"""Growth charts of the rows of the list as numbers, from which the script of the index draws them.

It draws what :func:`monitor.publish.growth_chart.growth_chart` draws of the first rows: its constants stand there too.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np

from monitor.publish.growth_chart import SIZES, row_points
from monitor.publish.index.programme_view import ProgrammeView
from monitor.publish.index.script_data import Places, script_json
from monitor.sites.names import without_invisible
from monitor.sites.site import Plan, Site
from monitor.verdict.plans import Plans

UNIT: Final = 1e-4  # unit of uplifts [cover fraction]

type Promise = tuple[Plan, date, tuple[tuple[date, float], ...], int]
"""Plan, start and cohorts of sites, and the last year of their charts."""


def growth_script(view: ProgrammeView) -> bytes:
    """``const GROWTH``: ``curves``, and for each id of a site the place of its curve and its points.

    A curve is the position of the start [pixel], the uplift at maturity, and the promised uplift on evenly spaced days
    from the start to the end of the chart; none where nothing is promised. Points are a list of position [pixel] and
    uplift in turn; the lower and upper limit of the last follow, if it has them. Uplifts: [:data:`UNIT`].
    """
    curves, sites, charts = Places[Promise](), list[Site](), []
    for site, a in view.ordered:
        place = curves((site.plan, site.start, site.cohorts, a.as_of.year))
        if place == len(sites):
            sites.append(site)
        years, shown = row_points(view.growth.get(site.id, ()), site, a)
        scale = SIZES["row"].width / len(years)
        points: list[float] = []
        for point in shown:
            points += round((_year(point.day) - years.start) * scale, 1), round(point.uplift / UNIT)
        limits = [round(value / UNIT) for point in shown[-1:] for value in (point.low, point.high) if value is not None]
        charts.append([without_invisible(site.id), [place, points, *limits]])
    lines = ",\n".join(map(script_json, charts))
    drawn = script_json(_curves(sites, [year for _, _, _, year in curves]))
    return f'const GROWTH={{"curves":{drawn},"sites":new Map([\n{lines}\n])}};\n'.encode()


def _curves(sites: Sequence[Site], last: Sequence[int]) -> list[list[float]]:
    width, _, samples = SIZES["row"]
    start = np.array([site.start for site in sites], "datetime64[D]").astype(np.int64)
    length = np.array([f"{year}-12-31" for year in last], "datetime64[D]").astype(np.int64) - start
    days = start[:, None] + (np.linspace(0, 1, samples) * length[:, None]).astype(np.int64)
    promised = Plans.of(sites).expected(np.repeat(np.arange(len(sites)), samples), days.ravel()).reshape(days.shape)
    curves: list[list[float]] = []
    for site, year, values in zip(sites, last, np.rint(promised / UNIT).astype(int).tolist(), strict=True):
        first = min(site.start.year, year)
        left = round((_year(site.start) - first) * width / (year + 1 - first), 1)
        drawn = values if site.plan.A > 0 and left < width else []
        curves.append([left, round(site.plan.index_A / UNIT), *drawn])
    return curves


def _year(day: date) -> float:
    """Year of a day, with the part of it that is over."""
    begin = date(day.year, 1, 1).toordinal()
    return day.year + (day.toordinal() - begin) / (date(day.year + 1, 1, 1).toordinal() - begin)
