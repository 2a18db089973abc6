"""Judge the series of a table by their plans: the verdicts of ``regrowth assess`` and of :func:`monitor.assess`."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from monitor.errors import BadData
from monitor.sites.names import shown
from monitor.tables import Given
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.assessment import Series
from monitor.verdict.calibration import Calibration
from monitor.verdict.tables.assessments import SiteVerdicts, assessment_table
from monitor.verdict.tables.placebos import constants_from
from monitor.verdict.tables.plans import SitePlan, read_plans
from monitor.verdict.tables.series import COLUMNS, empty_series, read_series
from monitor.verdict.tables.units import compare_with_units

EXPORTED: Final = {"time": "date", "site_cover": "cover", "site_ndvi": "ndvi", "control_cover_2": "control_2"}
"""Names of an exported Dataset (:func:`monitor.export`), and the columns of a series that they are."""
NAMED: Final = {name for column in COLUMNS for name in (column.name, *column.aliases)}


class Judged(NamedTuple):
    """Verdicts on some sites, and remarks on their input."""

    sites: list[SiteVerdicts]
    """Ascending by id."""
    clipped: dict[str, int]
    """Number of cover values slightly outside 0..1 that were set to 0 or 1, by site."""
    notes: list[str]
    """How the input differs from that of a published verdict, or was changed, in words."""


def assess(
    series: pd.DataFrame | xr.Dataset,
    plan: Mapping[str, Any] | pd.DataFrame | str | Path | None = None,
    *,
    at: date | str | Iterable[date | str] | None = None,
    **promise: Any,
) -> pd.DataFrame:
    """Judge sites from their series, as every night does: one row a site and acquisition from its start on.

    The rows are those of ``regrowth assess``. By a published ``plan.json`` the last row is the published verdict.

    Parameters
    ----------
    series : pd.DataFrame or xr.Dataset
        ``date``, ``cover`` and ``control``, the mean cover of the site and of matched ground where nothing was done,
        NaN where not seen; with ``site`` if there are several; other columns: ``docs/assess.md``. That of
        :func:`monitor.open_series`, or the Dataset of an exported file along ``time``. [cover fraction]
    plan : mapping, pd.DataFrame, str or Path, optional
        Its ``start``, ``intervention``, ``biome``, and what else ``docs/assess.md`` lists: ``subtype``, the promised
        uplift ``A`` [cover fraction], rate ``k`` [1/year] and lag ``L`` [year], ``hectares``. Numbers that are absent
        have the default of biome and intervention. A DataFrame has a row a site; a path is that of a ``plan.json``, or
        of a CSV or Parquet table.
    at : date, str, or sequence of them, optional
        Days to judge on. Default: each acquisition since the start.
    **promise
        Values of the plan, instead of `plan`.

    Returns
    -------
    pd.DataFrame
        Columns of ``docs/data-dictionary.md#statusjson``; NaN, NaT or None where there is no value; ``reasons`` joined
        by ``;``.

    Raises
    ------
    BadData
        The series or the plan has another type, lacks a value or has an unknown or wrong one; it names the row.

    Warns
    -----
    UserWarning
        The series or the constants are not those of the published verdict, or cover slightly outside 0..1 was changed.

    Examples
    --------
    >>> series = monitor.open_series("outputs/demo", "demo-02")  # doctest: +SKIP
    >>> verdicts = monitor.assess(series, "outputs/demo/sites/demo-02/plan.json")  # doctest: +SKIP
    >>> verdicts.iloc[-1][["status", "theta", "alert"]]  # doctest: +SKIP
    >>> monitor.assess(series, start="2018-04-01", intervention="planting", biome="loess", A=0.2)  # doctest: +SKIP
    """
    frame = _frame(series)
    plans = read_plans(_plans(plan, promise, frame))
    if "site" not in frame and len(plans) == 1:
        frame = frame.assign(site=next(iter(plans)))
    judged = judge_tables(Given("series", frame), plans, at=None if at is None else _days(at))
    for note in judged.notes:
        warnings.warn(note, stacklevel=2)
    rows: pd.DataFrame = assessment_table(judged.sites).to_pandas(date_as_object=False)
    return rows


def _frame(series: Any) -> pd.DataFrame:
    """A series as a table, with its index, if that has a name, as columns."""
    if isinstance(series, xr.Dataset):
        if "time" not in series.dims:
            raise BadData(f"the Dataset has no dimension 'time', only {', '.join(map(str, series.dims))}; rename it")
        along = series.drop_dims([dim for dim in series.dims if dim not in ("time", "site")])
        if not along.data_vars:
            raise BadData(
                "the Dataset has no variable along time alone; a verdict needs the mean cover of the site and of its "
                "control ground: give monitor.open_series(path, site), or vegetation_cover(bands).mean(('y', 'x')) of "
                "both as cover and control"
            )
        if "site" in series.attrs and "site" not in along.variables:
            along = along.assign_coords(site=series.attrs["site"])
        frame = along.to_dataframe().reset_index().rename(columns=EXPORTED)
        used = NAMED | {EXPORTED.get(str(name), name) for name in along.data_vars}
        return frame[[name for name in frame if name in used]]
    if not isinstance(series, pd.DataFrame):
        raise BadData(
            f"the series is of type {type(series).__name__}; give a pandas.DataFrame with date, cover and control, as "
            "monitor.open_series and pandas.read_csv do, or an xarray.Dataset with cover and control along time"
        )
    return series if series.index.names == [None] else series.reset_index()


def _plans(plan: Any, promise: Mapping[str, Any], frame: pd.DataFrame) -> Path | Given:
    """What is given as plan, with the site of the series where it names none."""
    if (plan is None) != bool(promise):
        raise BadData(
            "give a plan, or its values start, intervention and biome, and not both: "
            'monitor.assess(series, start="2019-04-15", intervention="planting", biome="loess")'
        )
    if isinstance(plan, str | Path):
        return Path(plan)
    if isinstance(plan, pd.DataFrame):
        rows: list[Any] = plan.astype(object).where(plan.notna(), None).to_dict("records")
        return Given("plan", rows)
    row = promise if plan is None else plan
    if not isinstance(row, Mapping):
        raise BadData(
            f"the plan is of type {type(row).__name__}; give a mapping with start, intervention and biome, the path of "
            "a plan.json, or a pandas.DataFrame with a row a site"
        )
    sites = list(frame["site"].unique()) if "site" in frame else []
    alone = {} if len(sites) > 1 else {"site": sites[0] if len(sites) else "site"}
    return Given("plan", [alone | {str(name): value for name, value in row.items()}])


def _days(at: Any) -> np.ndarray:
    """Days that are requested, (n,) datetime64[D]."""
    try:
        return np.array([date.fromisoformat(str(day)[:10]) for day in np.atleast_1d(at)], "datetime64[D]")
    except ValueError as error:
        raise BadData(f"at is {shown(str(at))}; a date such as '2021-07-15' is expected, or a list of them") from error


def judge_tables(
    series: Path | Given,
    plans: Mapping[str, SitePlan],
    *,
    at: np.ndarray | None = None,
    units: Path | None = None,
    placebos: Path | None = None,
) -> Judged:
    """Judge the sites of a table.

    Parameters
    ----------
    series : Path or Given
        See :func:`monitor.verdict.tables.series.read_series`.
    plans : mapping
        Plan of each site by its id.
    at : (n,) array of datetime64[D], optional
        Days on which every planned site is judged. Default: each acquisition since its start.
    units : Path, optional
        Control units, see :func:`monitor.verdict.tables.units.compare_with_units`.
    placebos : Path, optional
        Ground by which constants are set, see :func:`monitor.verdict.tables.placebos.constants_from`.

    Returns
    -------
    Judged
        Sites that have a series or a published verdict; with `at` all.

    Raises
    ------
    BadData
        A table is wrong, a site has no plan, or its constants give no verdict.
    """
    published = {name for name, plan in plans.items() if plan.as_of is not None}
    table = read_series(series, control=units is None, empty=bool(published))
    observed, clipped, notes = table.series, Counter(table.clipped), list[str]()
    if unplanned := sorted(set(observed) - set(plans)):
        more = f" (and {len(unplanned) - 1} more)" if len(unplanned) > 1 else ""
        where = series.name if isinstance(series, Given) else series
        known = ", ".join(map(repr, sorted(plans)[:10]))
        raise BadData(f"{where}: there is no plan for site {unplanned[0]!r}{more}; there are plans for {known}")
    if units is not None:
        observed, clipped_units, said = compare_with_units(observed, plans, units)
        clipped.update(clipped_units)
        notes += said
    notes += [
        f"site {name!r}: {count} cover values slightly outside 0..1 were set to 0 or 1"
        for name, count in sorted(clipped.items())
    ]
    constants: Mapping[str, Calibration] = {}
    if placebos is not None:
        constants, said = constants_from(placebos, [plan.site for plan in plans.values()], observed)
        notes += said
    sites = [
        _judge(plans[name], observed.get(name, empty_series()), constants, at, notes)
        for name in sorted(plans if at is not None else published.union(observed))
    ]
    return Judged(sites, dict(clipped), notes)


def _judge(
    plan: SitePlan, series: Series, constants: Mapping[str, Calibration], at: np.ndarray | None, notes: list[str]
) -> SiteVerdicts:
    """Judge one site, with the constants of its biome, else those of its plan; `notes` gets what is worth knowing."""
    used = constants.get(plan.site.biome_key) or plan.calibration or DEFAULT
    notes += _differences(plan, series, used)
    dates = _dates(plan, series) if at is None else np.unique(at)
    try:
        judged = verdicts(series, plan.site, dates, calibration=used, alpha=plan.alpha)
    except ArithmeticError as error:  # each constant is checked, not how they go together
        msg = f"site {plan.site.id!r}: its constants give no verdict ({error}); take those of a published plan.json"
        raise BadData(msg) from error
    return SiteVerdicts(plan, used, judged)


def _dates(plan: SitePlan, series: Series) -> np.ndarray:
    """Each acquisition of a site since its start, and the published day."""
    dates = series.dates[series.dates >= np.datetime64(plan.site.start, "D")]
    if plan.as_of is not None:
        return np.union1d(dates, np.array([plan.as_of], "datetime64[D]"))
    return dates if dates.size else series.dates[-1:]  # all before the start: one row says so


def _differences(plan: SitePlan, series: Series, constants: Calibration) -> list[str]:
    """How what is judged differs from what was published."""
    notes = []
    if plan.as_of is not None and plan.series_digest and series.until(plan.as_of).digest != plan.series_digest:
        notes.append(f"site {plan.site.id!r}: the series is not the one of the verdict published as of {plan.as_of}")
    if plan.calibration_hash and constants.hash != plan.calibration_hash:
        notes.append(
            f"site {plan.site.id!r}: the constants are not those of the published verdict, or its kernels had others: "
            "numbers may differ"
        )
    return notes
