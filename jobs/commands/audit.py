"""``regrowth audit``: which sites inspectors visit, drawn at random, and what their findings can say."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jobs.runtime.console import AsJson, Config, installation, new_group, print_json, print_table
from monitor.errors import BadData

if TYPE_CHECKING:
    from monitor.evidence.audit_sample import Cell, Sample, Stratum
    from monitor.sites.site import Site

app = new_group("Inspections by third parties: a random sample of sites.")

MAX_SEED: Final = 200  # length of the longest seed [characters]
NOT_ASSESSED: Final = "not_assessed"  # status of a site without an assessment


@app.command("sample")
def audit_sample(
    n: Annotated[int, typer.Option("-n", min=1, help="Number of sites to visit.")],
    seed: Annotated[
        str | None, typer.Option(help="Text that decides the draw. Default: the head of the chain of nights.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a sheet to fill in, for `field add`: CSV with random points of each site."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Draw sites for inspectors at random, by status and province, and state what the findings can say.

    Every site that is judged now can be drawn. Of each stratum (a status in a province) at least one site is drawn,
    where N allows, and the others in proportion. The table shows the probability with which each site was drawn, and
    its weight: the number of sites that it stands for. The sheet has five random points of each site and what to
    measure there; filled in, `regrowth field add` takes it. The same sites, N and seed give the same sample. Exit
    status: 0 drawn, 64 N is more than there are sites, 65 there is no site, or the sheet exists or has no folder.
    """
    from monitor.evidence.audit_sample import draw_sample
    from monitor.evidence.field_sheet import field_sheet

    if seed is not None:
        _check_seed(seed)
    if out is not None:
        _check_sheet(out)
    with installation(config) as (_, ledger):
        sites, frame, as_of = _frame(ledger)
        origin = "given" if seed is not None else "head of the chain"
        seed = seed or _head(ledger)
    if n > len(frame):
        raise typer.BadParameter(f"there are {len(frame)} sites, so no more can be drawn", param_hint="-n")
    sample = draw_sample(frame, n, seed=seed)
    values = {
        "seed": seed, "seed_from": origin, "n": n, "as_of": as_of, **_bounds(sample, frame),
        "sites": _drawn(sample, sites, frame, seed),
    }  # fmt: skip
    if out is not None:
        from monitor.files import write_atomically

        write_atomically(out, field_sheet([sites[site] for site, _ in sample.sites], seed=seed), lasting=True)
    if as_json:
        print_json(values)
        return
    _print_sample(values)
    if out is not None:
        typer.echo(f"\n{out}: sheet to fill in; then: regrowth field add {out}")


def _check_seed(seed: str) -> None:
    from monitor.sites.names import has_invisible

    if not seed.strip() or len(seed) > MAX_SEED or has_invisible(seed):
        msg = f"a seed is a text of 1 to {MAX_SEED} characters without line ends"
        raise typer.BadParameter(msg, param_hint="--seed")


def _check_sheet(out: Path) -> None:
    if os.path.lexists(out):  # a link that leads nowhere too
        raise BadData(f"{out} exists, and may be filled in: name another file")
    if not out.parent.is_dir():
        raise BadData(f"{out} cannot be written: there is no folder {out.parent}")


def _head(ledger: Any) -> str:
    """Hash of the newest line of the chain: a seed that nobody chose."""
    from jobs.proof.chain import newest_line

    with ledger.reading() as t:
        line = newest_line(t)
    if line is None:
        msg = "there is no chain of nights yet, whose head would be the seed: choose a text yourself"
        raise typer.BadParameter(msg, param_hint="--seed")
    return line["hash"]


def _frame(ledger: Any) -> tuple[dict[str, "Site"], dict[str, "Cell"], str | None]:
    """Sites that are judged now, status and province of each, and the day of the newest assessment."""
    from jobs.runtime.installation import selected_sites
    from monitor.evidence.audit_sample import Cell

    sites = {site.id: site for site in selected_sites(ledger)}
    with ledger.reading() as t:
        latest = {site: one.payload for site, one in t.latest_assessments().items() if site in sites}
    frame = {
        site.id: Cell(latest[site.id]["status"] if site.id in latest else NOT_ASSESSED, site.province or "")
        for site in sites.values()
    }
    return sites, frame, max((values["as_of"] for values in latest.values()), default=None)


def _bounds(sample: "Sample", frame: Mapping[str, "Cell"]) -> dict[str, Any]:
    """Bounds on the share of wrong verdicts, in all and in each stratum."""
    from monitor.evidence.audit_error import design_effect, margin, most_wrong, sites_needed

    def error(strata: Sequence["Stratum"]) -> dict[str, Any]:
        return {"margin": round(margin(strata), 4), "most_wrong_if_none_found": most_wrong(strata)}

    effect = design_effect(sample.strata)
    strata = [
        {
            "cells": [{"status": cell.status, "province": cell.province or None} for cell in stratum.cells],
            "sites": stratum.sites, "drawn": stratum.drawn,
            "probability": stratum.probability, "weight": stratum.weight, **error([stratum]),
        }
        for stratum in sample.strata
    ]  # fmt: skip
    return {
        "sites_in_all": len(frame),
        **error(sample.strata),
        "design_effect": None if effect is None else round(effect, 3),
        "n_for_five_points": sites_needed(Counter(frame.values())),
        "strata": strata,
    }


def _drawn(
    sample: "Sample", sites: Mapping[str, "Site"], frame: Mapping[str, "Cell"], seed: str
) -> list[dict[str, Any]]:
    """The sites drawn, with the points to visit."""
    from monitor.evidence.field_sheet import POINTS, kinds_to_measure, random_points

    rows = []
    for site_id, place in sample.sites:
        site, stratum = sites[site_id], sample.strata[place]
        row = {
            "site": site_id, "name": site.name, "status": frame[site_id].status, "province": site.province,
            "intervention": site.intervention, "hectares": round(site.hectares, 2), "stratum": place,
            "probability": stratum.probability, "weight": stratum.weight, "measure": kinds_to_measure(site),
            "points": random_points(site, POINTS, seed=seed),
        }  # fmt: skip
        rows.append(row)
    return rows


def _print_sample(values: Mapping[str, Any]) -> None:
    """Print the sample for people: what was drawn from what, the sites, and what the findings can say."""
    typer.echo(
        f"{values['n']} of {values['sites_in_all']} sites drawn, by status and province; verdicts as of "
        f"{values['as_of'] or 'no night yet'}. Seed ({values['seed_from']}): {values['seed']}"
    )
    strata = [
        (
            _name(row["cells"]), str(row["sites"]), str(row["drawn"]), f"{row['probability']:.4f}",
            f"{row['weight']:.3f}", _of(row["most_wrong_if_none_found"], row["sites"]),
        )
        for row in values["strata"]
    ]  # fmt: skip
    headings = ("stratum", "sites", "drawn", "probability", "weight", "most wrong if none is found")
    print_table(headings, strata, width=200)
    sites = [
        (
            row["site"], row["name"], _status(row["status"]), row["province"] or "-", f"{row['hectares']:,.1f}",
            f"{row['weight']:.3f}", "{:.6f}, {:.6f}".format(*row["points"][0]), ", ".join(row["measure"]),
        )
        for row in values["sites"]
    ]  # fmt: skip
    columns = ("site", "name", "verdict", "province", "ha", "weight", "first point (lon, lat)", "measure")
    print_table(columns, sites, width=200)
    effect = values["design_effect"]
    typer.echo("\nWhat the findings can say about the share of wrong verdicts among all sites, with 95 % confidence:")
    typer.echo(
        f"- The estimate is off by at most {100 * values['margin']:.1f} points, however many are wrong"
        + (f" (design effect {effect:.2f})." if effect is not None else ": every site is visited.")
    )
    typer.echo(
        f"- If none of the {values['n']} is wrong, at most "
        f"{_of(values['most_wrong_if_none_found'], values['sites_in_all'])} sites are."
    )
    typer.echo(f"- For 5 points, {values['n_for_five_points']} sites must be visited.")
    typer.echo("The estimate is the sum of the weights of the sites found wrong, divided by the number of all sites.")


def _name(cells: Sequence[Mapping[str, str | None]]) -> str:
    """Name of a stratum: its status and province, several where they were merged."""
    statuses = dict.fromkeys(_status(str(cell["status"])) for cell in cells)
    provinces = dict.fromkeys(cell["province"] or "no province" for cell in cells)
    if len(statuses) == 1 or len(provinces) == 1:
        return f"{' + '.join(statuses)}, {' + '.join(provinces)}"
    return " + ".join(f"{_status(str(cell['status']))}, {cell['province'] or 'no province'}" for cell in cells)


def _status(status: str) -> str:
    from monitor.alerts.words import STATUS_NAMES

    return "Not yet judged" if status == NOT_ASSESSED else STATUS_NAMES[status]["en"]


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})"
