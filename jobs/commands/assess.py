"""``regrowth assess``: any site series and plans in, assessments out.

Uses no account, no store and no ledger. Tables are checked before anything is judged, and the result is written whole
or not at all.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import BadData

Series = Annotated[
    Path, typer.Argument(help="CSV or Parquet: site, date, cover, control; optionally control_2, clear.")
]
Plans = Annotated[
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


def assess(series: Series, plans: Plans, out: Out, at: At = None, as_json: AsJson = False) -> None:
    """Judge sites from their series: one row a site and acquisition date from the start on, or its last date before.

    cover, control (mean of comparison ground), control_2 (a second ring) and clear (share of the site seen) are
    fractions 0..1, empty where not seen. Every site of the series needs a plan: start of the work, A (uplift at
    maturity, fraction), k (rate per year), L (lag, years), too_early_years. With --at, every planned site is judged
    on the given dates.

    Safe to run twice. Exit status: 0 done, 64 invalid usage, 65 a table that a person must correct.
    """
    import json
    from collections import Counter

    import numpy as np

    from monitor.verdict import tables
    from monitor.verdict.assess import verdicts
    from monitor.verdict.status import STATUSES

    try:
        tables.table_format(out)
    except BadData as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    if any(out.exists() and given.exists() and out.samefile(given) for given in (series, plans)):
        msg = f"{out} is an input; give the assessments another name"
        raise typer.BadParameter(msg, param_hint="--out")
    if not out.parent.is_dir():
        msg = f"{out}: the folder {out.parent} does not exist; create it first"
        raise BadData(msg)
    sites = tables.read_plans(plans)
    observed = tables.read_series(series)
    unplanned = sorted(set(observed) - set(sites))
    if unplanned:
        more = f" (and {len(unplanned) - 1} more)" if len(unplanned) > 1 else ""
        msg = f"{plans}: no plan for site {unplanned[0]!r}, which {series} has{more}"
        raise BadData(msg)
    requested = None if at is None else np.unique(np.array([moment.date() for moment in at], "datetime64[D]"))
    parts, rows, latest = [], [], Counter[str]()
    for name in sorted(sites if requested is not None else observed):
        site, site_series = sites[name], observed.get(name, tables.empty_series())
        dates = requested
        if dates is None:
            dates = site_series.dates[site_series.dates >= np.datetime64(site.start, "D")]
            if not dates.size:  # all before the start: one row says so
                dates = site_series.dates[-1:]
        part = verdicts(site_series, site, dates)
        if dates.size:
            latest[STATUSES[int(part.status[-1])].value] += 1
        parts.append(part)
        rows.append((name, dates.size))
    table = tables.assessment_table(rows, parts)
    tables.write_table(table, out)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "sites": len(rows), "assessments": len(table), "latest": dict(latest)}))
    else:
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(latest.items())) or "none"
        typer.echo(f"{len(table)} assessments of {len(rows)} sites in {out}; at the last date of each: {statuses}")
