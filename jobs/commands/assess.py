"""``regrowth assess``: any site series and plans in, assessments out.

Uses no account, no store and no ledger. Tables are checked before anything is judged, and the result is written whole
or not at all.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.console import print_json
from monitor.errors import BadData

if TYPE_CHECKING:
    import numpy as np

    from monitor.verdict.assessment import Series
    from monitor.verdict.calibration import Calibration
    from monitor.verdict.tables.plans import SitePlan

SeriesFile = Annotated[
    Path, typer.Argument(help="CSV or Parquet: site, date, cover, control; optionally control_2, clear.")
]
PlansFile = Annotated[
    Path,
    typer.Option(
        help="CSV or Parquet: site, start, intervention, biome; optionally subtype, A, k, L, too_early_years, "
        "and latitude (below 0 the season is half a year later)."
    ),
]
Out = Annotated[Path, typer.Option(help="File for the assessments, .csv or .parquet; replaced if it exists.")]
At = Annotated[
    list[datetime] | None,
    typer.Option(formats=["%Y-%m-%d"], help="Judge as of this date; repeat for several. Default: every acquisition."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")]


def assess(series: SeriesFile, plans: PlansFile, out: Out, at: At = None, as_json: AsJson = False) -> None:
    """Judge sites from their series: one row a site and acquisition date from the start on, or its last date before.

    cover, control (mean of comparison ground), control_2 (a second ring) and clear (share of the site seen) are
    fractions 0..1, empty where not seen. Every site of the series needs a plan: start of the work, A (uplift at
    maturity, fraction), k (rate per year), L (lag, years), too_early_years. With --at, every planned site is judged
    on the given dates.

    Safe to run twice. Exit status: 0 done, 64 invalid usage, 65 a table that a person must correct.
    """
    from collections import Counter

    from monitor.verdict.assess import verdicts
    from monitor.verdict.calibration import Calibration
    from monitor.verdict.status import STATUSES
    from monitor.verdict.tables.assessments import SiteVerdicts, assessment_table, write_table
    from monitor.verdict.tables.plans import read_plans
    from monitor.verdict.tables.series import empty_series, read_series

    _check_out(out, (series, plans))
    sites, observed = read_plans(plans), read_series(series)
    if unplanned := sorted(set(observed.series) - set(sites)):
        more = f" (and {len(unplanned) - 1} more)" if len(unplanned) > 1 else ""
        msg = f"{plans}: no plan for site {unplanned[0]!r}, which {series} has{more}"
        raise BadData(msg)
    notes = [
        f"site {name!r}: {count} cover values slightly outside 0..1 were set to 0 or 1"
        for name, count in sorted(observed.clipped.items())
    ]
    parts: list[SiteVerdicts] = []
    for name in sorted(sites if at is not None else observed.series):
        plan, site_series = sites[name], observed.series.get(name, empty_series())
        constants = plan.calibration or Calibration()
        notes += _differences(plan, site_series, constants)
        judged = verdicts(
            site_series, plan.site, _dates(plan, site_series, at), calibration=constants, alpha=plan.alpha,
            cohorts=plan.site.cohorts,
        )  # fmt: skip
        parts.append(SiteVerdicts(plan, constants, judged))
    table = assessment_table(parts)
    write_table(table, out)
    for note in notes:
        typer.echo(note, err=True)
    last = (int(part.verdicts.status[-1]) for part in parts if part.verdicts.status.size)
    latest = Counter(STATUSES[code].value for code in last)
    if as_json:
        summary = {
            "out": str(out),
            "sites": len(parts),
            "assessments": len(table),
            "latest": dict(latest),
            "clipped": observed.clipped,
            "notes": notes,
        }
        print_json(summary)
    else:
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(latest.items())) or "none"
        typer.echo(f"{len(table)} assessments of {len(parts)} sites in {out}; at the last date of each: {statuses}")


def _check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output of another format, in no folder, or in the place of an input."""
    from monitor.verdict.tables.reading import table_format

    try:
        table_format(out)
    except BadData as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    if any(out.exists() and given.exists() and out.samefile(given) for given in inputs):
        msg = f"{out} is an input; give the assessments another name"
        raise typer.BadParameter(msg, param_hint="--out")
    if not out.parent.is_dir():
        msg = f"{out}: the folder {out.parent} does not exist; create it first"
        raise BadData(msg)


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
    """How a published plan differs from the series, or from this version of the program."""
    notes = []
    if plan.as_of is not None and plan.series_digest and series.until(plan.as_of).digest != plan.series_digest:
        notes.append(f"site {plan.site.id!r}: the series is not the one of the verdict published as of {plan.as_of}")
    if plan.calibration_hash and constants.hash != plan.calibration_hash:
        notes.append(
            f"site {plan.site.id!r}: the verdict was published with constants that this plan and this version of the "
            "program do not give; numbers may differ"
        )
    return notes
