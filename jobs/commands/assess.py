"""``regrowth assess``: any site series and plans in, assessments out.

Uses no account, no store and no ledger. Tables are checked before anything is judged, and the result is written whole
or not at all.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.runtime.console import DAY_FORMS, AsJson, Config, count_of, show
from monitor.errors import BadData

if TYPE_CHECKING:
    from monitor.verdict.tables.judging import Judged

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

    Cover is a fraction 0..1, empty where not seen. docs/assess.md lists all columns, and computes cover from an index
    such as NDVI. With --at, every planned site is judged on the given dates. Published files give the published verdict
    as their last row. With --config, plans may name the biomes of that configuration; a published plan.json defines
    its biome itself.

    Safe to run twice. Exit status: 0 done, 64 invalid usage, 65 a table that a person must correct.
    """
    import numpy as np

    from jobs.runtime.biome_settings import own_biomes
    from jobs.runtime.settings import load
    from monitor.verdict.tables.assessments import assessment_table, write_table
    from monitor.verdict.tables.judging import judge_tables
    from monitor.verdict.tables.plans import read_plans

    _check_out(out, [path for path in (series, plans, units, placebos) if path is not None])
    sites = read_plans(plans, own_biomes(load(config, needs_source=False).biomes) if config else {})
    days = None if at is None else np.array([moment.date() for moment in at], "datetime64[D]")
    judged = judge_tables(series, sites, at=days, units=units, placebos=placebos)
    write_table(assessment_table(judged.sites), out)
    _report(judged, out, as_json=as_json)


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


def _report(judged: "Judged", out: Path, *, as_json: bool) -> None:
    """Print a summary; notes go to stderr."""
    from monitor.verdict.status import STATUSES

    parts = judged.sites
    rows = sum(part.verdicts.as_of.size for part in parts)
    last = (int(part.verdicts.status[-1]) for part in parts if part.verdicts.as_of.size)
    latest = Counter(STATUSES[code].value for code in last)
    used = {part.calibration.hash: part.calibration for part in parts}
    for note in judged.notes:
        typer.echo(note, err=True)
    constants = [{"hash": key, "source": one.source, "placebos": one.placebos} for key, one in used.items()]
    values = {
        "out": str(out), "sites": len(parts), "assessments": rows, "latest": dict(latest),
        "constants": constants, "clipped": judged.clipped, "notes": judged.notes,
    }  # fmt: skip
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(latest.items())) or "none"
    what = f"{count_of(rows, 'assessment')} of {count_of(len(parts), 'site')}"
    lines = [f"{what} in {out}; at the last date of each: {statuses}"]
    for one in used.values():
        number = f", {count_of(one.placebos, 'placebo')}" if one.placebos else ""
        lines.append(f"constants: {one.source}{number}")
    show(values, lines, as_json=as_json)
