"""``regrowth field``: measurements on the ground, stored beside the series of a site."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, Config, Sites, installation, new_group, show
from monitor.errors import BadData

app = new_group("Measurements on the ground: add them from a file, list them.")


@app.command("add")
def field_add(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV: site, date, kind, value, n, lon, lat, note; the last four may be empty. Or an export of "
            "KoboToolbox or ODK."
        ),
    ],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Store measurements of cover, survival or density from a CSV file in UTF-8. Safe to run twice.

    The first line names the columns; an export of a form by KoboToolbox or ODK is read by the questions of
    docs/field.md. Kinds: cover and survival as fractions (0.35 for 35 %), density in plants a
    hectare; n is the number of plots or plants behind the value, 1 if empty. Rows are never edited, and the same row is
    stored once; they are shown beside the series and never change a verdict. Lines without date and value are left out
    and counted, so that a sheet of `audit sample` may be added while it is being filled in. Exit status: 0 all rows are
    stored, 65 some lines are wrong: each is named, and nothing was stored.
    """
    from jobs.answers.field_csv import add_field_rows

    with installation(config) as (_, ledger), ledger.transaction() as t:
        fresh, known, not_measured = add_field_rows(t, file)
    sites = sorted({row.site for row in fresh})
    of = f" of {len(sites)} site{'' if len(sites) == 1 else 's'}" if fresh else ""
    lines = [f"Field rows stored: {len(fresh)}{of}; stored before: {known}."]
    if not_measured:
        lines.append(f"Lines without date and value, not measured yet: {not_measured}.")
    if fresh:
        lines.append("They are on the pages after the next 'regrowth publish' or night.")
    values = {"added": len(fresh), "already": known, "not_measured": not_measured, "sites": sites}
    show(values, lines, as_json=as_json)


@app.command("list")
def field_list(config: Config = None, site: Sites = None, as_json: AsJson = False) -> None:
    """Stored measurements, by site and date."""
    with installation(config) as (_, ledger), ledger.reading() as t:
        known = t.registered()
        if unknown := sorted(set(site or ()) - known.keys()):
            raise BadData(f"no site {unknown[0]!r} in the ledger; 'regrowth sites list' shows all sites")
        rows = [row for of_site in t.field_rows().values() for row in of_site if not site or row["site"] in site]
    lines = []
    for row in rows:
        unit = " plants/ha" if row["kind"] == "density" else ""
        note = f" - {row['note']}" if row["note"] else ""
        lines.append(f"{row['site']}: {row['date']} {row['kind']} {row['value']:g}{unit}, n {row['n']}{note}")
    values = [{name: value for name, value in row.items() if name not in ("id", "digest")} for row in rows]
    show(values, lines or "No field row.", as_json=as_json)
