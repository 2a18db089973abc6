"""``regrowth sites``: check the registry file, store it in the ledger, and list, retire, replant and replan sites."""

import json
import shlex
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from jobs.runtime.clock import today
from jobs.runtime.console import DAY_FORMS, AsJson, Config, UsageError, installation, new_group, printable, show
from jobs.runtime.exits import Exit
from monitor.errors import BadConfiguration

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings
    from monitor.sites.registry import Report

SAMPLE: Final = Path(__file__).parent.parent / "install/sample"  # two sites in the embedded imagery, with configuration

app = new_group("The registry of sites: check, add to the ledger, list, retire, replant, replan.")


@app.command()
def sample(folder: Annotated[Path, typer.Argument(help="Folder to create.")], as_json: AsJson = False) -> None:
    """Write a registry of two sites and its configuration, to try nights on the embedded imagery without a network.

    Exit status: 0 done, 78 the folder exists already.
    """
    if folder.exists():
        raise BadConfiguration(f"{folder} exists already; name a new folder")
    shutil.copytree(SAMPLE, folder)
    files = {name: str(folder / name) for name in sorted(path.name for path in SAMPLE.iterdir())}
    show(files, f"Try a night: cd {shlex.quote(str(folder))} && regrowth run --as-of 2020-10-31", as_json=as_json)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="GeoJSON, GPKG, KML, KMZ, shapefile or zipped shapefile.")],
    repair: Annotated[
        Path | None,
        typer.Option(help="Write valid and repaired sites to this GeoJSON file; sites beyond repair are left out."),
    ] = None,
    language: Annotated[Literal["en", "zh"], typer.Option(help="Language of the report.")] = "en",
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Report every problem of a registry file, with its fix.

    If there is a configuration, its own biomes are known, and strips of [registry] controls are cut out of their sites.
    Exit status: 0 all sites are accepted, 65 a site or the whole file is refused, 64 --repair names the file itself.
    """
    from jobs.runtime.biome_settings import own_biomes
    from monitor.sites import registry
    from monitor.sites.formats.feature import FileRefused
    from monitor.sites.problems_zh import PROBLEMS

    if repair is not None and (repair.suffix.lower() not in (".geojson", ".json") or _same_file(file, repair)):
        typer.echo(f"--repair {repair}: name another file, ending in .geojson; the original stays.", err=True)
        raise typer.Exit(Exit.USAGE)
    settings = _settings_if_any(config)
    try:
        report = registry.read_sites(file, own_biomes(settings.biomes) if settings else {})
    except FileRefused as error:
        if as_json:
            refusal = {"code": error.code, "message": error.message, "fix": error.fix}
            typer.echo(json.dumps({"sites": [], "error": refusal}))
        else:
            typer.echo(f"Refused: {printable(str(error))} [{error.code}]")
            if language == "zh":
                typer.echo(f"拒绝：{PROBLEMS[error.code]}。")
        raise typer.Exit(Exit.BAD_DATA) from None
    if repair is not None:
        report = registry.repair(report)
        if report.sites:
            registry.write_geojson(report.entries, repair)
    if settings and settings.registry.controls:
        _cut_strips(report, settings.registry.controls)
    _note_future_starts(report)
    _note_slow_plans(report, settings)
    typer.echo(json.dumps(_report_json(report)) if as_json else _report_text(report, repair, language))
    if report.refused:
        raise typer.Exit(Exit.BAD_DATA)


def _settings_if_any(config: Path | None) -> "Settings | None":
    """Settings, which a check does not need; None: no configuration, or one that nobody named cannot be used."""
    from jobs.runtime.settings import config_path, load
    from monitor.errors import BadConfiguration

    try:
        return load(config) if config_path(config).exists() or config else None
    except BadConfiguration as error:
        if config is not None:
            raise
        typer.echo(f"checked without strips of control ground and own biomes: {error}", err=True)
        return None


def _cut_strips(report: "Report", controls: Path) -> None:
    """Cut strips of control ground out of the sites; raises BadData if its file cannot be used.

    Sites in that file that the report does not have are named: they may be in another file, or mistyped.
    """
    from monitor.errors import BadData
    from monitor.sites.named_controls import leave_out_strips, read_named_controls, unknown_site

    try:
        named = read_named_controls(controls, sites=None)
    except BadData as error:
        raise BadData(f"[registry] controls: {error}") from error
    leave_out_strips(report.entries, named)
    labels = {entry.label for entry in report.entries}
    for site in sorted({control.site for control in named if control.site} - labels):
        typer.echo(
            f"{controls.name} has ground for a site that is not in the file: {unknown_site(site, labels)}", err=True
        )


def _note_future_starts(report: "Report") -> None:
    """Note sites that start in the future: a mistyped year would otherwise show on the pages only."""
    for entry in report.entries:
        if entry.site is not None and entry.site.start > today():
            message = f"The start, {entry.site.start}, is in the future; nothing is judged before."
            entry.add("START_AHEAD", message, "Correct the year, if it is mistyped.", refuses=False)


def _note_slow_plans(report: "Report", settings: "Settings | None") -> None:
    """Note the detectability of both designs at sites with a slow plan, while strips can still be left untreated."""
    from jobs.register.detectability import advise_strips
    from jobs.runtime.settings import SourceSettings

    since = min((source.since for source in settings.source), default=None) if settings else None
    advice = advise_strips(
        report.sites,
        since=since or SourceSettings.model_fields["since"].default,
        alpha=settings.alerts.alpha if settings else 0.05,
    )
    for entry in report.entries:
        if entry.site is not None and entry.site.id in advice:
            has_strips = any(problem.code == "STRIPS" for problem in entry.problems)
            fix = "It has strips." if has_strips else "Leave strips untreated (docs/design-a-programme.md)."
            entry.add("SLOW_PLAN", advice[entry.site.id], fix, refuses=False)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The registry, as for `check`.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Store new and changed sites of a registry file in the ledger. Safe to run twice.

    Sites that are not in the file are named and stay: `sites retire` removes them; retired sites in the file are
    restored. For each new or changed site the output says whether and when a failure could be detected, with an
    assumed number of scenes. Exit status: 0 all sites are stored, 65 some were refused, or their start or
    promise was edited after they had been judged (the others are stored).
    """
    from jobs.register.calibration import Calibrations, Pool
    from jobs.register.detectability import improvements_in_words, simulate_all
    from jobs.register.registry import add_sites
    from jobs.runtime.biome_settings import own_biomes
    from jobs.runtime.records import current_sites
    from monitor.verdict.site_conditions import SiteConditions, detectability_json

    with installation(config) as (settings, ledger):
        changes = add_sites(ledger, file, controls=settings.registry.controls, biomes=own_biomes(settings.biomes))
        with ledger.transaction() as t:
            sites = current_sites(t)
            constants = Calibrations(t, sites, as_of=today())
    fresh = [site for site in sites if site.id in {*changes["added"], *changes["changed"]}]
    since = min(source.since for source in settings.source)
    conditions = [
        SiteConditions.assumed(site, since=since, alpha=settings.alerts.alpha, constants=constants.of(Pool.of(site)))
        for site in fresh
    ]
    simulate_all(conditions)
    detectability = {
        site.id: detectability_json(assumed, site.start) for site, assumed in zip(fresh, conditions, strict=True)
    }
    lines = [*changes["said"], f"{len(changes['unchanged'])} unchanged"]
    for site_id, values in detectability.items():
        seasons = f"{values['seasons_before']} {'season' if values['seasons_before'] == 1 else 'seasons'}"
        assumed = f" (assuming {values['scenes_a_year']:g} clear scenes a season, {seasons} before the start)"
        said = " ".join(filter(None, [values["said"]["en"], improvements_in_words(values)]))
        lines.append(f"{site_id}: {said}{assumed if values['red'] else ''}")
    late = [site for site in fresh if site.start > today()]  # a mistyped year would otherwise show on the pages only
    lines += [f"{site.id}: the start, {site.start}, is in the future; nothing is judged before." for site in late]
    show({**changes, "detectability": detectability}, lines, as_json=as_json)
    if changes["refused"] or changes["start_edited"] or changes["plan_edited"]:
        raise typer.Exit(Exit.BAD_DATA)


@app.command()
def retire(
    sites: Annotated[list[str], typer.Argument(metavar="SITE...", help="Ids of sites.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Stop judging sites; their records stay, and `sites add` restores them. Safe to run twice.

    Their open alerts are resolved with the note that the site was retired; no message is sent. Index and tables omit
    the sites from the next night on, or at once after `regrowth publish`. Exit status: 0 done, 65 a site is not in the
    ledger, and none was retired.
    """
    from jobs.register.registry import retire as retire_sites

    with installation(config) as (_, ledger):
        done = retire_sites(ledger, sites, today=today())
    sentences = {
        "retired": "retired", "already": "was retired already", "alerts": "resolved, since the site was retired",
    }  # fmt: skip
    show(done, (f"{item}: {sentence}" for name, sentence in sentences.items() for item in done[name]), as_json=as_json)


@app.command("list")
def list_(config: Config = None, as_json: AsJson = False) -> None:
    """Sites in the ledger, with start, episode, intervention, plan and hectares."""
    with installation(config) as (_, ledger), ledger.reading() as t:
        sites, episodes = t.sites(), t.all_episodes()
    for site in sites:
        episode = episodes[site["id"]][-1]
        site["episode"], site["episode_start"] = episode["number"], episode["start"]
        del site["geometry"]
    lines = []
    for site in sites:
        later = f", episode {site['episode']} from {site['episode_start']}" if site["episode"] > 1 else ""
        constants = ", ".join(f"{name} {site['plan'][name]:g}" for name in "AkL")
        work = f"{site['intervention']} ({site['biome']}) since {site['start']}{later}"
        lines.append(f"{site['id']}: {site['name']}, {work}, {site['hectares']:.1f} ha; plan {constants}")
    show(sites, lines or "No site yet: regrowth sites add FILE", as_json=as_json)


@app.command()
def replant(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    start: Annotated[datetime, typer.Option(formats=DAY_FORMS, help="First day of the new work.")],
    why: Annotated[str, typer.Option(help="What was done, in words.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Close the current episode of a site and begin a new one, judged from its own start. Safe to run twice.

    An open alert is resolved as treated; earlier assessments and the registry's `start` stay. Exit status: 0 done, 65
    the site is unknown or the start is impossible.
    """
    from jobs.register.episodes import replant as replant_site

    with installation(config) as (settings, ledger):
        alpha = settings.alerts.alpha
        episode = replant_site(ledger, site, start=start.date(), why=why, alpha=alpha, today=today())
    begun = f"episode {episode['episode']}, from {episode['start']}{'' if episode['new'] else ' already'}"
    treated = "".join(f" Alert {alert} is resolved as treated." for alert in episode["alerts"])
    show(episode, f"{site}: {begun}; false-alarm budget {episode['alpha']:.3g}.{treated}", as_json=as_json)


@app.command()
def replan(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    begins: Annotated[
        datetime, typer.Option("--from", formats=DAY_FORMS, help="First day that is judged by the new promise.")
    ],
    why: Annotated[str, typer.Option(help="The reason, in words.")],
    by: Annotated[str, typer.Option(help="Who decided it.")],
    plan_a: Annotated[str | None, typer.Option(help="Uplift at maturity, cover fraction.")] = None,
    plan_k: Annotated[str | None, typer.Option(help="Rate of approach, per year.")] = None,
    plan_l: Annotated[str | None, typer.Option(help="Lag, years.")] = None,
    plan_cover: Annotated[str | None, typer.Option(help="`index` or `field`.")] = None,
    too_early_years: Annotated[str | None, typer.Option(help="Years without a verdict on growth.")] = None,
    intervention: Annotated[str | None, typer.Option(help="Kind of work.")] = None,
    subtype: Annotated[str | None, typer.Option(help="Its subtype; an empty text: none.")] = None,
    biome: Annotated[
        str | None, typer.Option(help="Biome; the same name takes over its changed definition of the configuration.")
    ] = None,
    cohorts: Annotated[str | None, typer.Option(help="As in the registry; an empty text: none.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Change what a judged site was promised, from a day on; no edit of the registry does.

    Verdicts of earlier days stay. An open alert stays open until a person answers it, or until its evidence falls by
    the promise that it was raised under. Operators and manager are notified; reason, name and both promises are
    published. Exit status: 0 done, 64 no reason or no change, 65 the site, the day or a value is refused.
    """
    from jobs.register.alerting import address_book
    from jobs.register.promises import NoChange
    from jobs.register.promises import replan as replan_site
    from jobs.register.registry import columns_changed
    from jobs.runtime.biome_settings import own_biomes

    given = {
        "plan_A": plan_a, "plan_k": plan_k, "plan_L": plan_l, "plan_cover": plan_cover,
        "too_early_years": too_early_years, "intervention": intervention, "subtype": subtype, "biome": biome,
        "cohorts": cohorts,
    }  # fmt: skip
    columns = {name: value for name, value in given.items() if value is not None}
    for name, text in (("--why", why), ("--by", by)):
        if not text.strip():
            message = f"{name} is empty: the reason and who decided it are published with the new promise"
            raise UsageError(message)
    try:
        with installation(config) as (settings, ledger):
            done = replan_site(
                ledger, site, begins=begins.date(), why=why.strip(), by=by.strip(), columns=columns,
                biomes=own_biomes(settings.biomes), book=address_book(settings), today=today(),
            )  # fmt: skip
    except NoChange as error:
        raise UsageError(str(error)) from None
    changed = columns_changed({name: (old, new) for name, (old, new) in done["columns"].items()})
    held = "".join(f" Alert {alert} stays open, by the promise before." for alert in done["alerts"])
    promise = f"promise {done['number']}, from {done['from']}: {changed}"
    show(done, f"{site}: {promise}. Write the same in the registry file.{held}", as_json=as_json)


@app.command()
def controls(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    again: Annotated[bool, typer.Option("--again", help="Have the units chosen again by the next night.")] = False,
    why: Annotated[str, typer.Option(help="The reason, in words.")] = "no reason given",
    by: Annotated[str, typer.Option(help="Who decided it.")] = "an operator",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the control units of a site; with --again, have them chosen again, after images or named ground were added.

    The next night fetches the whole history of the site for the choice. Units, observations and assessments before stay
    stored, open alerts stay open, and day, name and reason are published. Exit status: 0 done, 65 the site is unknown
    or its units are not chosen yet.
    """
    from jobs.register.registry import choose_controls_again
    from jobs.runtime.installation import selected_sites
    from monitor.controls.selection import NOT_CHOSEN, ControlSet
    from monitor.sites.site import ground_key

    with installation(config) as (_, ledger):
        (known,) = selected_sites(ledger, [site])
        with ledger.reading() as t:
            frozen = t.controls(ground_key(known))
        if again:
            known = choose_controls_again(ledger, site, f"{today()}, {by.strip()}: {why.strip()}")
    units = NOT_CHOSEN if frozen is None else ControlSet.from_json(frozen)
    distances = [unit.distance for unit, is_control in zip(units.units, units.compared, strict=True) if is_control]
    away = f", {min(distances):.0f} to {max(distances):.0f} m away" if distances else ""
    chosen = f"{len(distances)} control units of {units.candidates} candidates{away}"
    lines = [f"{site}: {'control units are not chosen yet' if units.waits else chosen}"]
    lines += [f"chosen again: {decision}" for decision in known.controls_again]
    if again:
        lines.append("The next night chooses them again, and fetches the history of the site for that.")
    show({"site": site, "again": list(known.controls_again), **units.to_json()}, lines, as_json=as_json)


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.resolve() == second.resolve() or first.samefile(second)
    except (OSError, ValueError):
        return False


def _report_json(report: "Report") -> dict[str, object]:
    sites = []
    for entry in report.entries:
        problems = [{"code": p.code, "message": p.message, "fix": p.fix} for p in entry.problems]
        site = {"site": entry.label, "ok": entry.site is not None, "hectares": entry.hectares, "problems": problems}
        if entry.repaired:
            areas = {"hectares_before": entry.hectares_before, "hectares_after": entry.hectares}
            site["repaired"] = {"codes": entry.repaired, **areas}
        sites.append(site)
    return {"sites": sites, "unknown_columns": report.columns}


def _report_text(report: "Report", repaired: Path | None, language: str) -> str:
    from jobs.register.registry import columns_in_words
    from monitor.sites.problems_zh import PROBLEMS
    from monitor.sites.registry import REPAIRABLE

    lines = []
    for entry in report.entries:
        state = ("ok     ", "REFUSED") if language == "en" else ("通过", "拒绝")
        lines.append(f"{state[entry.site is None]}  {printable(entry.label)}  {_area(entry.hectares)}")
        if entry.repaired:
            change = f"{_area(entry.hectares_before)} before, {_area(entry.hectares)} after"
            lines.append(f"         repaired: {', '.join(entry.repaired)} ({change})")
        for problem in entry.problems:
            if problem.code == "UNKNOWN_COLUMN":  # named once, below
                continue
            if language == "zh":
                lines.append(f"      {'问题' if problem.refuses else '提示'}：{PROBLEMS[problem.code]}。")
            kind = "problem" if problem.refuses else "note"
            lines.append(f"         {kind}: {problem.message} {problem.fix} [{problem.code}]")
    if report.columns:
        lines.append(f"Columns that are not read: {printable(columns_in_words(report.columns))}.")
    accepted, hectares = len(report.sites), _area(sum(s.hectares for s in report.sites))
    lines.append(f"{accepted} of {len(report.entries)} sites taken, {hectares}.")
    if language == "zh":
        lines.append(f"共 {len(report.entries)} 个地块，通过 {accepted} 个，拒绝 {len(report.refused)} 个。")
    if repaired is not None:
        written = f"Written to {repaired}: {accepted} sites" if accepted else f"Nothing to write to {repaired}"
        lines.append(f"{written}, {len(report.refused)} left out.")
    elif any(p.refuses and p.code in REPAIRABLE for _, p in report.problems):
        lines.append("--repair OUT.geojson repairs rings that are open, turn the wrong way or cross themselves.")
    return "\n".join(lines)


def _area(hectares: float | None) -> str:
    return "area unknown" if hectares is None else f"{hectares:,.2f} ha"
