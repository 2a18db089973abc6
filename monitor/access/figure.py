"""The chart of a site as a figure of matplotlib, from what is published and stored of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from shapely.geometry import Polygon

from monitor.access.installation import Installation
from monitor.access.series import open_series
from monitor.access.stored import installation_of, published_site, stored_site
from monitor.controls.selection import REFERENCE_RING, ControlSet, Unit
from monitor.cube.scenes import of_one_site
from monitor.errors import BadConfiguration, BadData
from monitor.publish.chart import GAP_DAYS, difference_from_start, in_season, promised, widened
from monitor.publish.view import NO_ANSWER
from monitor.series.build import Compared, landscape_series
from monitor.series.columns import SPREAD_COLUMNS
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.names import folder_name, without_invisible
from monitor.verdict.assess import DEFAULT, judge_sites
from monitor.verdict.fitted import fitted
from monitor.verdict.tables.plans import read_plans
from monitor.verdict.tables.series import read_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOWHERE = Polygon()  # outline of a control unit, which is not drawn
SITE, CONTROL, INK, SOFT = "#17693f", "#7a6a52", "#1c2321", "#59635e"  # colours of the pages


def plot(path: str | Path, site: str) -> "Figure":
    """Draw the chart of a site: its cover and that of its control above, their difference and the plan below.

    It shows what the page shows; in a notebook with ``%matplotlib widget`` it can be zoomed.

    Parameters
    ----------
    path : str or Path
        The configuration file of the installation, or its output root. The environment is not read.
    site : str
        Id of the site.

    Returns
    -------
    matplotlib.figure.Figure
        Two axes that share the time; cover in percent, differences in percentage points. The spread of the control
        units is absent where nothing is stored beside the published files, the fitted curve where the verdict gives no
        answer.

    Raises
    ------
    BadConfiguration
        `path` is not an installation, or matplotlib is not installed.
    BadData
        `site` is not a text, the site is unknown, or it was not judged yet.
    StoreBroken
        The store of the site cannot be read.

    Examples
    --------
    >>> figure = plot("outputs/demo", "demo-02")  # doctest: +SKIP
    >>> figure.savefig("demo-02.pdf")  # doctest: +SKIP
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = "monitor.plot needs matplotlib: pip install 'regrowth-monitor[plot]'"
        raise BadConfiguration(msg) from error
    places, table = installation_of(path, site), open_series(path, site)
    folder = places.outputs / "sites" / folder_name(site)
    plans, series = read_plans(folder / "plan.json"), read_series(folder / "observations.csv", empty=True).series
    if site not in plans or not series:
        raise BadData(f"site {site!r} has no scene, or {folder / 'plan.json'} is of another site; there is no series")
    plan = plans[site]
    as_of = plan.as_of or table["date"].iloc[-1].date()
    rows, constants = next(iter(series.values())), plan.calibration or DEFAULT
    judged = judge_sites(rows, [plan.site], calibration=constants, alpha=[plan.alpha], as_of=as_of)
    a = judged.assessment(0)
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(10, 6), layout="constrained")
    seen = table[table["accepted"] & table["cover"].notna()]
    day = _days(seen["date"])
    cover, control = seen["cover"].to_numpy(), seen["control_cover"].to_numpy()
    growing, start = in_season(day, plan.site), int(np.datetime64(plan.site.start, "D").astype(np.int64))
    difference = difference_from_start(day, cover - control, growing, start)
    _seasons((above, below), plan.site, day)
    if (spread := _spread(places, site, folder, plan.site.start)) is not None:
        when, low, high = spread
        ends = [np.where(in_season(when, plan.site), end, np.nan) for end in (low, high)]
        _between(above, when, *ends, color=CONTROL, alpha=0.16, lw=0, label="control units, 10 % to 90 % of them")
    curve = fitted(judged, 0)
    if a.status not in NO_ANSWER:
        style: dict[str, Any] = {"color": SITE, "alpha": 0.14, "label": "95 % band of the uplift"}
        _between(above, curve.day, curve.cover_low, curve.cover_high, **style)
        _between(below, curve.day, curve.uplift_low, curve.uplift_high, **style)
        _line(above, curve.day, curve.cover, color=SITE, lw=2, label="fitted")
        _line(below, curve.day, curve.uplift, color=SITE, lw=2)
    _line(above, day, np.where(growing, control, np.nan), color=CONTROL, lw=2, label="control")
    above.plot(_dates(day), 100 * cover, ".", color=SITE, label="site; below, site − control")
    for part, look in ((growing, {"alpha": 1.0}), (~growing, {"alpha": 0.3, "label": "outside the growing season"})):
        if part.any():
            below.plot(_dates(day[part]), 100 * difference[part], ".", color=SITE, **look)
    if plan.site.plan.A > 0:
        planned = growing & (day >= start)
        dashed: dict[str, Any] = {"color": INK, "ls": "--", "lw": 1.5}
        expected = np.where(planned, control + promised(day, plan.site), np.nan)
        _line(above, day, expected, **dashed, label="expected: control + plan; below, the plan")
        since = np.arange(start, max(int(day[-1]) if day.size else start, start) + 1, 15)
        below.plot(_dates(since), 100 * promised(since, plan.site), **dashed)
    if a.status not in NO_ANSWER and None not in (a.uplift, a.uplift_low, a.uplift_high):
        now, low_end, high_end = (100 * float(value or 0.0) for value in (a.uplift, a.uplift_low, a.uplift_high))
        at = np.array([a.last_observed or a.as_of], "datetime64[D]")
        bar = [[now - low_end], [high_end - now]]
        below.errorbar(at, [now], bar, fmt="o", color=INK, label="estimate now, with its 95 % interval")
    rejected = _dates(_days(table.loc[~table["accepted"], "date"]))
    above.plot(
        rejected, np.zeros(rejected.size), "|", color=SOFT, transform=above.get_xaxis_transform(), clip_on=False,
        label="rejected scene",
    )  # fmt: skip
    _measured(above, folder)
    below.axhline(0, color=SOFT, lw=0.8)
    for axes in (above, below):
        axes.axvline(np.datetime64(plan.site.start, "D"), color=INK, ls=":", lw=1, label="work begins")
    above.set_ylim(bottom=0)
    below.set_ylim(*(100 * end for end in widened(*(end / 100 for end in below.get_ylim()))))
    above.set_ylabel("vegetation cover, %")
    below.set_ylabel("site − control, points")
    figure.suptitle(_title(places, site, str(a.status)))
    drawn = [pair for axes in (above, below) for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    named = {label: line for line, label in drawn}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    return figure


def _title(places: Installation, site: str, status: str) -> str:
    """Name and id of a site, with its status; without mathematical text."""
    published = published_site(places, site)
    name = "" if published is None else without_invisible(str(published.values["name"] or ""))
    shown = without_invisible(site) if name in ("", site) else f"{name[:60]} ({without_invisible(site)})"
    return f"{shown[:120]}: {status.replace('_', ' ')}".replace("$", r"\$")


def _seasons(both: "tuple[Axes, Axes]", site: Any, day: np.ndarray) -> None:
    """Shade the growing seasons of the years with scenes, unless growth never stops."""
    window = GrowingSeason.of(site)
    if window.length >= 360 or not day.size:
        return
    first, last = (int(end) + 1970 for end in _dates(day[[0, -1]]).astype("datetime64[Y]").astype(np.int64))
    for year in range(first, last + 1):
        opens, closes = (np.datetime64(end, "D") for end in window.days_of(year))
        for axes in both:
            axes.axvspan(opens, closes, color="#f1eee4", lw=0, zorder=0, label="growing season")  # type: ignore[arg-type]


def _spread(places: Installation, site: str, folder: Path, start: Any) -> tuple[np.ndarray, ...] | None:
    """Days, and 10th and 90th percentile of the control units that the page names; None: none are stored."""
    units = folder / "controls.geojson"
    if not units.is_file() or not places.store.is_dir():
        return None
    stored = stored_site(places, site, published_site(places, site))
    rows = [feature["properties"] for feature in json.loads(units.read_bytes())["features"]]
    frozen = [
        Unit(id=row["unit"], geometry=NOWHERE, distance=row["distance_m"], ring=row["ring"] or REFERENCE_RING)
        for row in rows
    ]
    chosen = ControlSet(units=tuple(frozen), balance={}, candidates=None)
    gone = {row["unit"]: start for row in rows if row["reason"] == "COVERED"}
    compared = Compared(ground=stored.ground, start=start, controls=chosen, left_out=gone)
    columns = of_one_site(landscape_series(stored.landscape, [compared]), 0)
    seen = np.isfinite(columns["control_low"])
    day = columns["date"][seen].astype("datetime64[D]").astype(np.int64)
    return day, *(columns[name][seen] for name in SPREAD_COLUMNS)


def _measured(above: "Axes", folder: Path) -> None:
    """Cover as people measured it on the ground."""
    if not (folder / "field.csv").is_file():
        return
    rows = pd.read_csv(folder / "field.csv", encoding="utf-8-sig")
    if len(rows := rows[rows["kind"] == "cover"]):
        days, label = _dates(_days(pd.to_datetime(rows["date"]))), "cover measured in the field"
        above.plot(days, 100 * rows["value"].to_numpy(), "s", mfc="none", color=INK, label=label)


def _days(dates: "pd.Series[Any]") -> np.ndarray:
    return np.asarray(dates.to_numpy().astype("datetime64[D]").astype(np.int64))


def _dates(day: np.ndarray) -> np.ndarray:
    return day.astype("datetime64[D]")


def _apart(day: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Days and values [percent], with a NaN in each gap that no line may bridge; values that are NaN are left out."""
    seen = np.isfinite(np.sum(values, axis=0))
    day = day[seen]
    at = np.flatnonzero(np.diff(day) > GAP_DAYS) + 1
    return _dates(np.insert(day, at, day[at])), *(np.insert(100 * value[seen], at, np.nan) for value in values)


def _line(axes: "Axes", day: np.ndarray, values: np.ndarray, **style: Any) -> None:
    axes.plot(*_apart(day, values), **style)


def _between(axes: "Axes", day: np.ndarray, low: np.ndarray, high: np.ndarray, **style: Any) -> None:
    days, lower, upper = _apart(day, low, high)
    axes.fill_between(days, lower, upper, **style)
