"""``regrowth assess``: any site series and plans in, assessments out.

Uses no account, no store and no ledger. Tables are checked before anything is judged, and the result is written whole
or not at all.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.runtime.console import DAY_FORMS, AsJson, Config, print_json
from monitor.errors import BadData

if TYPE_CHECKING:
    import numpy as np

    from monitor.verdict.assessment import Series
    from monitor.verdict.calibration import Calibration
    from monitor.verdict.tables.assessments import SiteVerdicts
    from monitor.verdict.tables.plans import SitePlan

SeriesFile = Annotated[
    Path, typer.Argument(help="CSV or Parquet: site, date, cover, control. A published observations.csv is one.")
]
PlansFile = Annotated[
    Path, typer.Option(help="CSV, Parquet or JSON: site, start, intervention, biome. A published plan.json is one.")
]
Out = Annotated[Path, typer.Option(help="File for the assessments, .csv or .parquet; replaced if it exists.")]
At = Annotated[
    list[datetime] | None,
    typer.Option(formats=DAY_FORMS, help="Judge as of this date; repeat for several. Default: every acquisition."),
]
UnitsFile = Annotated[
    Path | None,
    typer.Option(help="CSV or Parquet: site, date, unit, cover. Their screened mean replaces the column control."),
]
PlacebosFile = Annotated[
    Path | None,
    typer.Option(help="CSV or Parquet: placebo, date, cover, control, of ground where nothing was done: constants."),
]


def assess(
    series: SeriesFile,
    plans: PlansFile,
    out: Out,
    at: At = None,
    units: UnitsFile = None,
    placebos: PlacebosFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Judge sites from their series: one row a site and acquisition date from the start on.

    Cover is a fraction 0..1, empty where not seen. docs/assess.md lists all columns. With --at, every planned site is
    judged on the given dates. Published files give the published verdict as their last row. With --config, plans may
    name the biomes of that configuration; a published plan.json has the definition of its own.

    Safe to run twice. Exit status: 0 done, 64 invalid usage, 65 a table that a person must correct.
    """
    from jobs.runtime.biome_settings import own_biomes
    from jobs.runtime.settings import load
    from monitor.verdict.tables.assessments import assessment_table, write_table
    from monitor.verdict.tables.placebos import constants_from
    from monitor.verdict.tables.plans import read_plans
    from monitor.verdict.tables.series import read_series
    from monitor.verdict.tables.units import compare_with_units

    _check_out(out, [path for path in (series, plans, units, placebos) if path is not None])
    sites = read_plans(plans, own_biomes(load(config, needs_source=False).biomes) if config else {})
    published = {name for name, plan in sites.items() if plan.as_of is not None}
    table = read_series(series, control=units is None, empty=bool(published))
    observed, clipped, notes = table.series, Counter(table.clipped), list[str]()
    if unplanned := sorted(set(observed) - set(sites)):
        more = f" (and {len(unplanned) - 1} more)" if len(unplanned) > 1 else ""
        raise BadData(f"{plans}: no plan for site {unplanned[0]!r}, which {series} has{more}")
    if units is not None:
        observed, clipped_units, said = compare_with_units(observed, sites, units)
        clipped.update(clipped_units)
        notes += said
    notes += [
        f"site {name!r}: {count} cover values slightly outside 0..1 were set to 0 or 1"
        for name, count in sorted(clipped.items())
    ]
    constants: Mapping[str, Calibration] = {}
    if placebos is not None:
        constants, said = constants_from(placebos, [plan.site for plan in sites.values()], observed)
        notes += said
    parts = [
        _judge(sites[name], observed.get(name), constants, at, notes)
        for name in sorted(sites if at is not None else published.union(observed))
    ]
    assessments = assessment_table(parts)
    write_table(assessments, out)
    _report(parts, out, clipped, notes, as_json=as_json)


def _check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output of another format, in no folder, or in the place of an input."""
    from monitor.tables import table_format

    try:
        table_format(out)
    except BadData as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    if any(out.exists() and given.exists() and out.samefile(given) for given in inputs):
        raise typer.BadParameter(f"{out} is an input; give the assessments another name", param_hint="--out")
    if not out.parent.is_dir():
        raise BadData(f"{out}: the folder {out.parent} does not exist; create it first")


def _judge(
    plan: "SitePlan",
    series: "Series | None",
    constants: "Mapping[str, Calibration]",
    at: Sequence[datetime] | None,
    notes: list[str],
) -> "SiteVerdicts":
    """Judge one site, with the constants of its biome, else those of its plan; `notes` gets what is worth knowing."""
    from monitor.verdict.assess import DEFAULT, verdicts
    from monitor.verdict.tables.assessments import SiteVerdicts
    from monitor.verdict.tables.series import empty_series

    series = empty_series() if series is None else series
    used = constants.get(plan.site.biome_key) or plan.calibration or DEFAULT
    notes += _differences(plan, series, used)
    dates = _dates(plan, series, at)
    try:
        judged = verdicts(series, plan.site, dates, calibration=used, alpha=plan.alpha)
    except ArithmeticError as error:  # each constant is checked, not how they go together
        msg = f"site {plan.site.id!r}: its constants give no verdict ({error}); take those of a published plan.json"
        raise BadData(msg) from error
    return SiteVerdicts(plan, used, judged)


def _dates(plan: "SitePlan", series: "Series", at: Sequence[datetime] | None) -> "np.ndarray":
    """Days to judge a site on: those requested, else each acquisition since its start and the published day."""
    import numpy as np

    if at is not None:
        return np.unique(np.array([moment.date() for moment in at], "datetime64[D]"))
    dates = series.dates[series.dates >= np.datetime64(plan.site.start, "D")]
    if plan.as_of is not None:
        return np.union1d(dates, np.array([plan.as_of], "datetime64[D]"))
    return dates if dates.size else series.dates[-1:]  # all before the start: one row says so


def _differences(plan: "SitePlan", series: "Series", constants: "Calibration") -> list[str]:
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


def _report(
    parts: "Sequence[SiteVerdicts]", out: Path, clipped: Mapping[str, int], notes: Sequence[str], *, as_json: bool
) -> None:
    """Print a summary; notes go to stderr."""
    from monitor.verdict.status import STATUSES

    rows = sum(part.verdicts.as_of.size for part in parts)
    last = (int(part.verdicts.status[-1]) for part in parts if part.verdicts.as_of.size)
    latest = Counter(STATUSES[code].value for code in last)
    used = {part.calibration.hash: part.calibration for part in parts}
    for note in notes:
        typer.echo(note, err=True)
    if as_json:
        constants = [{"hash": key, "source": one.source, "placebos": one.placebos} for key, one in used.items()]
        print_json(
            {
                "out": str(out), "sites": len(parts), "assessments": rows, "latest": dict(latest),
                "constants": constants, "clipped": dict(clipped), "notes": list(notes),
            }
        )  # fmt: skip
        return
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(latest.items())) or "none"
    typer.echo(f"{rows} assessments of {len(parts)} sites in {out}; at the last date of each: {statuses}")
    for one in used.values():
        number = f", {one.placebos} placebo{'' if one.placebos == 1 else 's'}" if one.placebos else ""
        typer.echo(f"constants: {one.source}{number}")
