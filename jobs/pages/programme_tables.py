"""Print the account of a programme as tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer

from jobs.runtime.console import count_of, print_table
from monitor.alerts.words import text
from monitor.publish.period import Period, taking_hold

MAX_MOVES: Final = 200  # moves that are printed, at most
MAX_CLAIMS: Final = 50  # pairs of sites with shared ground, and sites to visit first, that are printed, at most


def print_account(summary: Mapping[str, Any]) -> None:
    """Print the summary of :class:`monitor.publish.programme.Account`."""
    pledge = summary["pledge_hectares"]
    against = f", {summary['share_of_pledge']:.1%} of the {pledge:,.0f} ha pledged" if pledge else ""
    typer.echo(
        f"{count_of(summary['sites'], 'site')}, {summary['total_hectares']:,.2f} ha{against}; "
        f"as of {summary['as_of'] or 'no night yet'}"
    )
    twice = summary["registered_hectares"] - summary["total_hectares"]
    if twice >= 0.005:
        typer.echo(
            f"Registered were {summary['registered_hectares']:,.2f} ha: {twice:,.2f} ha belong to several sites and "
            "count once, for the site registered first."
        )
    typer.echo(
        "Expected number of these sites that ever turn red falsely, by whatever rule: at most "
        f"{summary['false_reds_expected_at_most']:g}, however often they are checked."
    )
    rows = [
        (_words(name), *_sums(row), f"{row['share_of_pledge']:.1%}" if pledge else "")
        for name, row in summary["by_status"].items()
        if row["sites"]
    ]
    _print_table("status", ("sites", "ha", "of the pledge"), rows)
    confirmed = summary["uplift_confirmed"]
    typer.echo()
    typer.echo(f"uplift confirmed: {count_of(confirmed['sites'], 'site')}, {confirmed['total_hectares']:,.2f} ha")
    _print_probable(summary)
    _print_together(summary)
    present = [status for status, hectares in summary["hectares"].items() if hectares]
    headings = ("sites", "ha", *map(_words, present))
    for by in dict.fromkeys(group["by"] for group in summary["groups"] if group["by"] != "lot"):  # lots follow
        groups = [
            (
                "-" if group["value"] is None else str(group["value"]),
                *_sums(group),
                *(f"{group['hectares'][status]:,.2f}" if group["hectares"][status] else "-" for status in present),
            )
            for group in summary["groups"]
            if group["by"] == by
        ]
        _print_table(_words(by), headings, groups)
    if summary.get("lots"):
        _print_lots(summary["lots"])
    if summary["double_registrations"]:
        _print_claims(summary["double_registrations"])
    if summary.get("precision"):
        _print_precision(summary["precision"])


def print_period(period: Period) -> None:
    """Print the account of a period: ground that is taking hold, then hectares by status and every move."""
    summary = period.summary
    opening, closing = summary["opening"], summary["closing"]
    typer.echo(f"{period.first} to {period.last}, as published by the night of {period.night or '- (none by then)'}")
    target = summary["path_hectares"]
    against = "" if target is None else f"; {target:,.2f} ha by the path to the pledge"
    typer.echo(f"Taking hold: {taking_hold(opening):,.2f} ha, then {taking_hold(closing):,.2f} ha{against}.")
    rows = [
        (_words(status), f"{before:,.2f}", f"{closing[status]:,.2f}", f"{closing[status] - before:+,.2f}")
        for status, before in opening.items()
        if before or closing[status]
    ]
    _print_table("status", ("opening ha", "closing ha", "change"), rows)
    moves = [
        (
            move["site"], move["date"], _words(move["from"] or "-"), _words(move["to"] or "-"),
            f"{move['hectares']:,.2f}", _words(move["reason"]),
        )
        for move in summary["moves"]
    ]  # fmt: skip
    if moves:
        _print_table("moves", ("date", "from", "to", "ha", "reason"), moves[:MAX_MOVES])
    if len(moves) > MAX_MOVES:
        typer.echo(f"and {len(moves) - MAX_MOVES} more, see --json or --out")


def _print_probable(summary: Mapping[str, Any]) -> None:
    """Print the hectares that are expected by probability, which are part of no other sum."""

    def area(name: str) -> str:
        return f"{summary[name]:,.2f} ({summary[f'{name}_low']:,.2f} to {summary[f'{name}_high']:,.2f})"

    undecided = summary["hectares"]["undecided"]
    rows = [
        (f"of {of:,.2f} ha, {words}", *(area(f"{name}_{state}") for state in ("failing", "lagging", "on_track")))
        for name, of, words in (
            ("undecided", undecided, "undecided"),
            ("expected", summary["posterior_hectares"], "all that can be judged"),
        )
    ]
    headings = ("failing ha (95 %)", "below plan ha (95 %)", "on plan ha (95 %)")
    _print_table("expected by probability, part of no other sum", headings, rows)
    typer.echo(f"{summary['no_posterior_hectares']:,.2f} ha without a probability are not counted here.")
    rows = [
        (words, f"{summary[f'{name}_of']:,.2f}", area(name))
        for name, words in (("failing_area", "sites with a verdict"), ("undecided_failing_area", "undecided sites"))
    ]
    _print_table("failing area by the pixels of sites", ("of ha", "failing ha (95 %)"), rows)
    typer.echo("Intervals hold at least 95 % however far the sites of a lot go together; lots are independent.")


def _print_together(summary: Mapping[str, Any]) -> None:
    """Print the sites to visit first, and the share of all sites that fails; nothing where they are too few."""
    visits, shares = summary["to_visit"], summary["failing_share"]
    if visits["sites"]:
        rows = [(row["site"], f"{row['hectares']:,.2f}", f"{row['probability']:.0%}") for row in visits["sites"]]
        _print_table("visit these first", ("ha", "below 40% of plan"), rows[:MAX_CLAIMS])
        more = f"and {len(rows) - MAX_CLAIMS} more, see --json. " if len(rows) > MAX_CLAIMS else ""
        typer.echo(f"{more}About {visits['share_wrong']:.0%} of this list may be wrong. It is advice, not an alert.")
    if shares:
        lines = [
            (row["value"] or row["by"], f"{row['share']:.0%} ({row['low']:.0%} to {row['high']:.0%})") for row in shares
        ]
        _print_table("share of sites that fails", ("below 35% of plan (95 %)",), lines)


def _print_claims(claims: Sequence[Mapping[str, Any]]) -> None:
    """Print the pairs of sites that claim the same ground."""
    rows = [
        (
            claim["site"],
            claim["other_site"],
            f"{claim['partner'] or '-'} / {claim['other_partner'] or '-'}",
            text(f"account_claim.{claim['kind']}", "en"),
            "unknown" if claim["hectares"] is None else f"{claim['hectares']:,.2f}",
            "" if claim["share_of_smaller"] is None else f"{claim['share_of_smaller']:.0%}",
        )
        for claim in claims[:MAX_CLAIMS]
    ]
    headings = ("also claimed by", "partners", "what", "shared ha", "of the smaller")
    _print_table("registered twice; counts for", headings, rows)
    if len(claims) > MAX_CLAIMS:
        typer.echo(f"and {len(claims) - MAX_CLAIMS} more, see --json")


def _print_lots(lots: Sequence[Mapping[str, Any]]) -> None:
    """Print the lots: one line each, with the average share of the plan or the reasons why it is unknown."""
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
    _print_table("lot", ("sites", "ha", "average share of plan (95 %)", "alert"), rows)


def _print_precision(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how often alerts were right; shares only as intervals, since few answers say little."""
    typer.echo()
    typer.echo(
        "Answered alerts that were right (confirmed or treated). Each opening of an alert counts once, by its newest "
        "answer.\nSites that people visit are not chosen at random. No threshold is derived from this."
    )
    for by in dict.fromkeys(row["by"] for row in rows):
        lines = [
            (
                f"{row['value'] or '-'}, {row['level']}" if by != "all" else row["level"],
                f"{row['right']} of {row['n']}",
                f"{row['low']:.0%} to {row['high']:.0%}" if row["n"] else "-",
                str(row["unreviewed"]),
            )
            for row in rows
            if row["by"] == by
        ]
        _print_table("all alerts" if by == "all" else by, ("right", "95 % interval", "answered, unreviewed"), lines)


def _print_table(name: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print_table((name, *headings), rows, width=150, right=True)


def _sums(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["sites"]), f"{row['total_hectares']:,.2f}"


def _words(name: str) -> str:
    return {"insufficient_data": "cannot tell", "not_assessed": "not yet judged"}.get(name, name.replace("_", " "))
