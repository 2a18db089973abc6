"""``regrowth programme``: hectares by status against the pledge, and how often alerts were right."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.console import AsJson, Config, installation, print_json, printable


def programme(config: Config = None, as_json: AsJson = False) -> None:
    """Hectares by status, province, intervention, partner, lot and year, against the pledge. Reads the ledger only.

    Where alerts were answered, also how often they were right. That changes no threshold.
    """
    from jobs.answering import precision
    from jobs.installation import selected_sites
    from jobs.lots import lot_rows
    from monitor.publish.programme import programme_summary

    with installation(config) as (settings, ledger):
        sites = selected_sites(ledger)
        with ledger.reading() as t:
            latest = {site: row[2] for site, row in t.latest_assessments().items()}
            measured = precision(t)
            lots = lot_rows(t, sites)
    summary = programme_summary(sites, latest, pledge=settings.programme.pledge_hectares, alpha=settings.alerts.alpha)
    summary["lots"] = lots
    summary["precision"] = measured
    (print_json if as_json else _print_tables)(summary)


def _print_tables(summary: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=max(150, Console().width), markup=False, highlight=False)
    pledge = summary["pledge_hectares"]
    against = f", {summary['share_of_pledge']:.1%} of the {pledge:,.0f} ha pledged" if pledge else ""
    console.print(
        f"{summary['sites']} sites, {summary['total_hectares']:,.1f} ha{against}; "
        f"as of {summary['as_of'] or 'no night yet'}"
    )
    console.print(
        "Expected number of these sites that ever turn red falsely, by whatever rule: at most "
        f"{summary['false_reds_expected_at_most']:g}, however often they are checked."
    )
    rows = [
        (_words(name), *_sums(row), f"{row['share_of_pledge']:.1%}" if pledge else "")
        for name, row in summary["by_status"].items()
    ]
    _print_table(console, "status", ("sites", "ha", "of the pledge"), rows)
    confirmed = summary["uplift_confirmed"]
    console.print()
    console.print(f"uplift confirmed: {confirmed['sites']} sites, {confirmed['total_hectares']:,.1f} ha")
    headings = ("sites", "ha", *map(_words, summary["hectares"]))
    for by in dict.fromkeys(group["by"] for group in summary["groups"] if group["by"] != "lot"):  # lots follow
        groups = [
            (
                "-" if group["value"] is None else str(group["value"]),
                *_sums(group),
                *(f"{hectares:,.1f}" if hectares else "-" for hectares in group["hectares"].values()),
            )
            for group in summary["groups"]
            if group["by"] == by
        ]
        _print_table(console, _words(by), headings, groups)
    if summary.get("lots"):
        _print_lots(console, summary["lots"])
    if summary.get("precision"):
        _print_precision(console, summary["precision"])


def _print_lots(console: Any, lots: Sequence[Mapping[str, Any]]) -> None:
    """Print the lots: one line each, with the average share of the plan or why there is none."""
    rows = [
        (
            f"{lot['partner']}, {lot['programme_year']}, {_words(lot['intervention'])}",
            str(lot["sites"]),
            f"{lot['hectares']:,.1f}",
            "-" if lot["theta"] is None else f"{lot['theta']:.2f} ({lot['theta_low']:.2f} to {lot['theta_high']:.2f})",
            lot["alert"]
            if lot["theta"] is not None
            else ", ".join(_words(reason.lower()) for reason in lot["reasons"]),
        )
        for lot in lots
    ]
    _print_table(console, "lot", ("sites", "ha", "average share of plan (95 %)", "alert"), rows)


def _print_precision(console: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how often alerts were right; shares only as intervals, since few answers say little."""
    console.print()
    console.print(
        "Answered alerts that were right (confirmed or treated). Each opening of an alert counts once, by its newest "
        "answer.\nSites that people visit are no random choice. No threshold is derived from this."
    )
    for by in dict.fromkeys(row["by"] for row in rows):
        lines = [
            (
                f"{row['value'] or '-'}, {row['level']}" if by != "all" else row["level"],
                f"{row['right']} of {row['n']}",
                f"{row['low']:.0%} to {row['high']:.0%}",
            )
            for row in rows
            if row["by"] == by
        ]
        _print_table(console, "all alerts" if by == "all" else by, ("right", "95 % interval"), lines)


def _print_table(console: Any, name: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(name, box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right")
    for first, *others in rows:
        # Text, not markup: names come from the registry.
        table.add_row(Text(printable(first)), *others)
    console.print()
    console.print(table)


def _sums(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["sites"]), f"{row['total_hectares']:,.1f}"


def _words(name: str) -> str:
    return {"insufficient_data": "cannot tell", "not_assessed": "not yet judged"}.get(name, name.replace("_", " "))
