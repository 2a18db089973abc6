"""``regrowth programme``: how many hectares stand where, against what was pledged.

Hectares are those of the sites as registered now, each counted once under its latest assessment. A site that nobody has
judged yet is under no status, one without a province under none: both are null in JSON, so that the sums still add up.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

STATUSES: Final = (
    "on_track", "recovered", "no_loss_seen", "undecided", "lagging", "failing", "disturbed", "too_early",
    "insufficient_data",
)  # fmt: skip
"""In the order in which they are shown; a site without an assessment follows."""
GROUPS: Final = ("province", "intervention", "programme_year")
ALERTS: Final = ("red", "watch", "none")


def programme(
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Hectares by status, province, intervention and year, against the pledge. Reads the ledger only."""
    from jobs.installation import open_ledger, selected_sites
    from jobs.settings import load

    settings = load(config)
    with open_ledger(settings) as ledger:
        sites = selected_sites(settings, ledger, [])
        with ledger.reading() as t:
            found = {site: latest[2] for site, latest in t.latest_assessments().items()}
    rows = [
        {**{name: getattr(site, name) for name in ("id", "hectares", *GROUPS)}, "promised": site.plan.A > 0}
        for site in sites
    ]
    told = summary(rows, found, pledge=settings.programme.pledge_hectares, alpha=settings.alerts.alpha)
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        _show(told)


def summary(
    sites: Sequence[Mapping[str, Any]], latest: Mapping[str, Mapping[str, Any]], *, pledge: float | None, alpha: float
) -> dict[str, Any]:
    """Sums of a programme.

    Parameters
    ----------
    sites : sequence of mapping
        ``id``, ``hectares``, :data:`GROUPS` and ``promised`` (whether its plan promises an uplift) of each site that is
        judged now.
    latest : mapping
        Latest assessment of a site by its id; sites may be missing.
    pledge : float or None
        Hectares pledged; None: not known, and no share is told. [ha]
    alpha : float
        Lifetime false-alarm budget of one site: at most so many times the sites with a promise are ever expected to
        turn red falsely by the failure rule, however often one looks. [1]

    Returns
    -------
    dict
        What ``regrowth programme --json`` prints. Each row has ``sites``, ``hectares`` and ``share_of_pledge``; rows
        of a group also hectares by status, those not judged yet under ``not_assessed``.
    """
    judged = [latest[site["id"]] for site in sites if site["id"] in latest]

    def row(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        hectares = sum(site["hectares"] for site in members)
        share = round(hectares / pledge, 6) if pledge else None
        return {"sites": len(members), "hectares": round(hectares, 2), "share_of_pledge": share}

    def of(field: str, value: str | None) -> list[Mapping[str, Any]]:
        return [site for site in sites if latest.get(site["id"], {}).get(field) == value]

    def of_status(status: str | None) -> list[Mapping[str, Any]]:
        return [site for site in sites if _status(site, latest) == status]

    groups = {}
    for name in GROUPS:
        values = sorted({site[name] for site in sites}, key=lambda value: (value is None, value))
        groups[f"by_{name}"] = [
            {name: value, **row(members), "hectares_by_status": _by_status(members, latest)}
            for value in values
            if (members := [site for site in sites if site[name] == value])
        ]
    return {
        "as_of": max((one["as_of"] for one in judged), default=None),
        "pledge_hectares": pledge,
        **row(sites),
        "false_reds_expected_at_most": round(alpha * sum(bool(site["promised"]) for site in sites), 2),
        "by_status": [{"status": status, **row(of_status(status))} for status in (*STATUSES, None)],
        "by_alert": [{"alert": alert, **row(of("alert", alert))} for alert in (*ALERTS, None)],
        "uplift_confirmed": row([site for site in sites if latest.get(site["id"], {}).get("uplift_confirmed")]),
        **groups,
    }


def _by_status(members: Sequence[Mapping[str, Any]], latest: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    sums = dict.fromkeys((*STATUSES, "not_assessed"), 0.0)
    for site in members:
        sums[_status(site, latest) or "not_assessed"] += site["hectares"]
    return {status: round(value, 2) for status, value in sums.items()}


def _status(site: Mapping[str, Any], latest: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Status under which a site counts: where no uplift was promised, on track means only that no loss is seen."""
    status: str | None = latest.get(site["id"], {}).get("status")
    return "no_loss_seen" if status == "on_track" and not site["promised"] else status


def _show(told: Mapping[str, Any]) -> None:
    """Tables for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=max(150, Console().width), markup=False, highlight=False)
    pledge = told["pledge_hectares"]
    against = f", {told['share_of_pledge']:.1%} of the {pledge:,.0f} ha pledged" if pledge else ""
    console.print(
        f"{told['sites']} sites, {told['hectares']:,.1f} ha{against}; as of {told['as_of'] or 'no night yet'}"
    )
    console.print(
        f"Of all red alerts for absent regrowth, at most {told['false_reds_expected_at_most']:g} are expected to be "
        "false in the life of these sites, however often one looks."
    )

    table = Table("status", box=None, pad_edge=False)
    for name in ("sites", "ha", "of the pledge"):
        table.add_column(name, justify="right")
    for one in told["by_status"]:
        share = "" if one["share_of_pledge"] is None else f"{one['share_of_pledge']:.1%}"
        table.add_row(_words(one["status"] or "not_assessed"), str(one["sites"]), f"{one['hectares']:,.1f}", share)
    console.print()
    console.print(table)

    confirmed = told["uplift_confirmed"]
    console.print()
    console.print(f"uplift confirmed: {confirmed['sites']} sites, {confirmed['hectares']:,.1f} ha")

    for name in GROUPS:
        table = Table(_words(name), box=None, pad_edge=False)
        for heading in ("sites", "ha", *(_words(status) for status in (*STATUSES, "not_assessed"))):
            table.add_column(heading, justify="right")
        for one in told[f"by_{name}"]:
            value = "-" if one[name] is None else str(one[name])
            sums = [f"{value:,.1f}" if value else "-" for value in one["hectares_by_status"].values()]
            # Text, not markup: names come from the registry.
            shown = Text("".join(c if c.isprintable() else "?" for c in value))
            table.add_row(shown, str(one["sites"]), f"{one['hectares']:,.1f}", *sums)
        console.print()
        console.print(table)


def _words(name: str) -> str:
    return {"insufficient_data": "cannot tell", "not_assessed": "not yet judged"}.get(name, name.replace("_", " "))
