"""``regrowth sites``: check the registry that people edit, put it into the ledger, list, retire and replant sites."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.sites.checks import Report
    from monitor.sites.registry import OutlineRepair
    from monitor.sites.site import Site

app = typer.Typer(
    no_args_is_help=True, help="The registry of sites: check it, add it to the ledger, list, retire, replant."
)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="GeoJSON, GPKG, KML, KMZ, shapefile or zipped shapefile.")],
    repair: Annotated[
        Path | None,
        typer.Option(help="Write what is good or can be mended to this GeoJSON file; hopeless sites are left out."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Name every problem of a registry, with its fix.

    Exit status: 0 all sites are taken, 65 a site or the whole file is refused, 64 --repair names the file itself.
    """
    from monitor.sites.formats.feature import FileRefused
    from monitor.sites.registry import read_sites, write_geojson
    from monitor.sites.registry import repair as mend

    if repair is not None and (repair.suffix.lower() not in (".geojson", ".json") or _same_file(file, repair)):
        typer.echo(f"--repair {repair}: name another file, ending in .geojson; the original is kept.", err=True)
        raise typer.Exit(Exit.USAGE)
    try:
        report = read_sites(file)
    except FileRefused as error:
        if as_json:
            refusal = {"code": error.code, "message": error.message, "fix": error.fix}
            typer.echo(json.dumps({"sites": [], "error": refusal}, ensure_ascii=True))
        else:
            typer.echo(f"Refused: {error} [{error.code}]")
        raise typer.Exit(Exit.BAD_DATA) from None
    repairs: list[OutlineRepair] = []
    if repair is not None:
        report, repairs = mend(report)
        if report.sites:
            write_geojson(report.entries, repair)
    if as_json:
        typer.echo(json.dumps(_as_json(report, repairs), ensure_ascii=True))
    else:
        typer.echo(_in_words(report, repairs, repair))
        _tell_of_the_future(report.sites)
    if report.refused:
        raise typer.Exit(Exit.BAD_DATA)


def _tell_of_the_future(sites: "Sequence[Site]") -> None:
    """A mistyped year would else show on the pages only."""
    from jobs.clock import today

    for site in sites:
        if site.start > today():
            typer.echo(f"{_printable(site.id)}: the start, {site.start}, lies ahead; until then nothing is judged.")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The registry, as for `check`.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Put what is new or changed in a registry into the ledger, as new versions; nothing changed: nothing is done.

    A site that is not in the file is named and kept: `sites retire` is for that; one that was retired is taken back. Of
    each site that is new or changed it says whether a failure there could be seen, and from when on; scenes are assumed
    until there are some. Exit status: 0 all sites are in, 65 some could not be taken (the others are in).
    """
    from jobs.calibration import Calibrations, Pool
    from jobs.clock import today
    from jobs.detectability import detectability_json, simulate_all
    from jobs.installation import add_sites, open_ledger
    from jobs.records import from_json
    from jobs.settings import load
    from monitor.sites.site import Site
    from monitor.verdict.site_conditions import SiteConditions

    settings = load(config)
    since = min(source.since for source in settings.source)
    with open_ledger(settings) as ledger:
        happened = add_sites(ledger, file)
        with ledger.transaction() as t:
            sites = [from_json(values, Site) for values in t.sites()]
            constants = Calibrations(t, sites, as_of=today())
    fresh = {*happened["added"], *happened["changed"]}
    conditions = {
        site: SiteConditions.assumed(
            site, since=since, alpha=settings.alerts.alpha, constants=constants.of(Pool.of(site))
        )
        for site in sites
        if site.id in fresh
    }
    simulate_all(list(conditions.values()))
    seen = {site.id: detectability_json(known, site.start) for site, known in conditions.items()}
    if as_json:
        typer.echo(json.dumps({**happened, "detectability": seen}, ensure_ascii=False))
    else:
        for sentence in happened["said"]:
            typer.echo(_printable(sentence))
        typer.echo(f"{len(happened['unchanged'])} unchanged")
        for site_id, told in seen.items():
            before = "season" if told["seasons_before"] == 1 else "seasons"
            assumed = (
                f"{told['scenes_a_year']:g} clear scenes a season, {told['seasons_before']} {before} before the start"
            )
            typer.echo(
                f"{_printable(site_id)}: {told['said']['en']}" + (f" (assuming {assumed})" if told["red"] else "")
            )
        _tell_of_the_future([site for site in sites if site.id in fresh])
    if happened["refused"] or happened["start_edited"]:
        raise typer.Exit(Exit.BAD_DATA)


@app.command()
def retire(
    sites: Annotated[list[str], typer.Argument(metavar="SITE...", help="Ids of sites.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Judge sites no longer; what is known of them stays, and `sites add` takes them back. Safe to run twice.

    An open alert of such a site is resolved with the note that it was retired; nobody is told. Index and tables leave
    the site out from the next night on, or at once by `regrowth publish`. Exit status: 0 done, 65 the ledger does not
    know one of them, and none was retired.
    """
    from jobs.clock import today
    from jobs.installation import open_ledger
    from jobs.registry import retire as retired
    from jobs.settings import load

    with open_ledger(load(config)) as ledger:
        told = retired(ledger, sites, today=today())
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    for site in told["retired"]:
        typer.echo(f"{_printable(site)}: retired")
    for site in told["already"]:
        typer.echo(f"{_printable(site)}: was retired already")
    for alert in told["alerts"]:
        typer.echo(f"{_printable(alert)}: resolved, since the site was retired")


@app.command("list")
def list_(
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Sites in the ledger, with start, episode, intervention, plan and hectares."""
    from jobs.installation import open_ledger
    from jobs.settings import load

    with open_ledger(load(config)) as ledger, ledger.reading() as t:
        sites = t.sites()
        episodes = {site: some[-1] for site, some in t.all_episodes().items()}
    if as_json:
        shown = [{key: value for key, value in site.items() if key != "geometry"} for site in sites]
        for site in shown:
            site["episode"], site["episode_start"] = (episodes[site["id"]][name] for name in ("number", "start"))
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    for site in sites:
        plan, episode = site["plan"], episodes[site["id"]]
        anew = f", episode {episode['number']} from {episode['start']}" if episode["number"] > 1 else ""
        typer.echo(
            f"{_printable(site['id'])}: {_printable(site['name'])}, {site['intervention']} ({site['biome']}) since "
            f"{site['start']}{anew}, {site['hectares']:.1f} ha; plan A {plan['A']:g}, k {plan['k']:g}, L {plan['L']:g}"
        )
    if not sites:
        typer.echo("No site yet: regrowth sites add FILE")


@app.command()
def replant(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day of the new work.")],
    why: Annotated[str, typer.Option(help="What was done, in words.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Begin a site anew: close its current episode and open the next, judged from its own start.

    An open alert is resolved as treated; earlier assessments stay, and so does `start` in the registry. Safe to run
    twice. Exit status: 0 done, 65 no such site, or a start that cannot be.
    """
    from jobs.clock import today
    from jobs.episodes import replant as begin
    from jobs.installation import open_ledger
    from jobs.settings import load

    settings = load(config)
    with open_ledger(settings) as ledger:
        told = begin(settings, ledger, site, start=start.date(), why=why, today=today())
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    already = "" if told["new"] else " already"
    treated = f" Alert {told['alert']} is resolved as treated." if told["alert"] else ""
    typer.echo(
        f"{_printable(site)}: episode {told['episode']}, from {told['start']}{already}; "
        f"false-alarm budget {told['alpha']:.3g}.{treated}"
    )


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, ValueError):
        return False


def _as_json(report: "Report", repairs: "list[OutlineRepair]") -> dict[str, object]:
    mended = {id(repair_of.entry): repair_of for repair_of in repairs}
    sites = []
    for entry in report.entries:
        site: dict[str, object] = {
            "site": entry.label,
            "ok": entry.ok,
            "hectares": entry.hectares,
            "problems": [{"code": p.code, "message": p.message, "fix": p.fix} for p in entry.problems],
        }
        if (repair_of := mended.get(id(entry))) is not None:
            site["repaired"] = {
                "codes": repair_of.codes,
                "hectares_before": repair_of.hectares_before,
                "hectares_after": entry.hectares,
            }
        sites.append(site)
    return {"sites": sites, "unknown_columns": report.columns}


def _in_words(report: "Report", repairs: "list[OutlineRepair]", repaired: Path | None) -> str:
    from jobs.registry import columns_in_words
    from monitor.sites.registry import REPAIRABLE

    mended = {id(repair_of.entry): repair_of for repair_of in repairs}
    lines = []
    for entry in report.entries:
        lines.append(f"{'ok     ' if entry.ok else 'REFUSED'}  {_printable(entry.label)}  {_area(entry.hectares)}")
        if (repair_of := mended.get(id(entry))) is not None:
            change = f"{_area(repair_of.hectares_before)} before, {_area(entry.hectares)} after"
            lines.append(f"         mended: {', '.join(repair_of.codes)} ({change})")
        for p in entry.problems:
            if p.code == "UNKNOWN_COLUMN":
                continue  # named once, below
            lines.append(f"         {'problem' if p.refuses else 'note'}: {p.message} {p.fix} [{p.code}]")
    if report.columns:
        lines.append(f"Columns that are not read: {_printable(columns_in_words(report.columns))}.")
    taken = len(report.sites)
    lines.append(f"{taken} of {len(report.entries)} sites taken, {_area(sum(s.hectares for s in report.sites))}.")
    if repaired is not None:
        written = f"Written to {repaired}: {taken} sites" if taken else f"Nothing to write to {repaired}"
        lines.append(f"{written}, {len(report.refused)} left out.")
    elif any(p.refuses and p.code in REPAIRABLE for _, p in report.problems):
        lines.append("--repair OUT.geojson mends rings that are open, turn the wrong way or cross themselves.")
    return "\n".join(lines)


def _area(hectares: float | None) -> str:
    return "area unknown" if hectares is None else f"{hectares:,.2f} ha"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
