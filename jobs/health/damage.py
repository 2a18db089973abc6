"""The checks of ``regrowth doctor --deep``: ledger, stores and published files are read fully, and damage is named."""

import shlex
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jobs.health.finding import Finding, broken, list_ids, note, ok, one_line
from jobs.health.ledger import LedgerContents, connected, reading
from jobs.runtime.console import count_of
from jobs.runtime.progress import Report
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobs.runtime.settings import Settings
    from monitor.cube.bucket import Place
    from monitor.ledger.assessments import StoredAssessment

MAX_FINDINGS: Final = 20  # named one by one, of the ledger, of a landscape and of the published files
RESTORE: Final = "restore a backup of an earlier night (docs/operations.md, Restore)"


def ledger_rows(settings: "Settings", ledger: LedgerContents | Finding) -> Iterator[Finding]:
    """Every row of every table is as it was stored."""
    if not (ledger.is_current if isinstance(ledger, LedgerContents) else ledger.message.startswith("table ")):
        return
    from jobs.proof.sound_assessments import sound_assessments
    from monitor.ledger.damage import damaged_rows
    from monitor.ledger.transaction import Transaction

    with connected(settings.ledger.url) as connection:
        damage = [*islice(damaged_rows(connection), MAX_FINDINGS + 1)]
        damage += _pages(connection)
        t = Transaction(connection)
        sound, unpublished = ({}, {}) if damage else sound_assessments(t)
        states = {} if damage else t.states()
    for problem in damage[:MAX_FINDINGS]:
        again = (
            "regrowth status gives the command that makes it again; or " if problem.startswith("table assess") else ""
        )
        yield broken("ledger", problem, f"{again}{RESTORE}")
    if len(damage) > MAX_FINDINGS:
        yield broken("ledger", "and more", RESTORE)
    for problem in unpublished.values():
        yield broken("ledger", problem, RESTORE)
    if differing := [site for site, one in sound.items() if site not in unpublished and states[site] != one.state]:
        yield broken("ledger", f"table states: not as the newest assessments of {list_ids(differing)}", RESTORE)
    if not damage:
        yield ok("ledger", "every row of every table was read and is as it was stored")


def _pages(connection: "Connection") -> list[str]:
    """Damage of the pages and indices of an SQLite file."""
    from sqlalchemy import text

    if connection.dialect.name != "sqlite":
        return []
    problems = connection.execute(text(f"pragma integrity_check({MAX_FINDINGS})")).scalars()
    return [f"SQLite finds: {problem}" for problem in problems if problem != "ok"]


def stores(settings: "Settings", ledger: LedgerContents | Finding, report: Report) -> Iterator[Finding]:
    """Every stored chunk can be read, every scene has its digest, and every verdict its series."""
    from monitor.cube.bucket import landscape_folders
    from monitor.cube.store import LandscapeStore

    folders = landscape_folders(settings.store.root)
    rows, counts = 0, {}
    for folder in folders:
        try:
            counts[folder] = LandscapeStore(folder, read_only=True).rows
        except MonitorError:
            counts[folder] = 0  # named below
    total = sum(counts.values())
    sound: list[str] = []
    for folder in folders:
        before = rows
        findings = [*_landscape(folder, lambda done, _, before=before: report(before + done, total))]  # type: ignore[misc]
        rows += counts[folder]
        yield from findings
        sound += [folder.name] if all(finding.state != "broken" for finding in findings) else []
    if sound:
        yield ok("store", f"{count_of(len(sound), 'landscape')} read in full, {count_of(rows, 'row')} in all")
    if isinstance(ledger, LedgerContents) and ledger.is_current:
        yield from _missing(settings, {folder.name: count for folder, count in counts.items()})
        yield from _series(settings, sound)


def _landscape(folder: "Place", report: Report) -> Iterator[Finding]:
    from monitor.cube.damage import find_damage
    from monitor.cube.store import LandscapeStore

    damage = [*islice(find_damage(LandscapeStore(folder, read_only=True), report), MAX_FINDINGS + 1)]
    for one in damage[:MAX_FINDINGS]:
        sites = f"; sites: {list_ids(list(one.sites))}" if one.sites else ""
        message = f"{folder.name}: {one_line(one.what)}{sites}"
        if one.is_needed:
            yield broken("store", message, replace_command(folder.name))
        else:
            yield note("store", f"{message}; no verdict needs it, and it goes with the snapshots older than 90 days")
    if len(damage) > MAX_FINDINGS:
        yield broken("store", f"{folder.name}: and more", replace_command(folder.name))


def replace_command(landscape: str) -> str:
    """The command that fetches a damaged landscape again."""
    return f"regrowth backfill --replace {shlex.quote(landscape)}    (or restore a backup)"


def _missing(settings: "Settings", rows: dict[str, int]) -> Iterator[Finding]:
    """Landscapes that the ledger names and that are gone, or are older copies."""
    with reading(settings.ledger.url) as t:
        snapshots = t.snapshots()
    needed: dict[str, int] = {}
    for snapshot in snapshots.values():
        name, _, count = snapshot.rpartition(":")
        needed[name] = max(needed.get(name, 0), int(count) if count.isdigit() else 0)
    for name, known in sorted(needed.items()):
        if name not in rows:
            message = f"{name}: the ledger names this landscape, and {settings.store.root} does not have it"
            yield broken("store", message, "restore a backup; or the next night fetches its history again")
        elif 0 < rows[name] < known:
            message = f"{name} has {rows[name]} rows, and the ledger knows {known}: it is an older copy"
            yield broken("store", message, replace_command(name))


def _series(settings: "Settings", landscapes: list[str]) -> Iterator[Finding]:
    """The newest verdict of each site rests on the series that its store gives."""
    from jobs import __version__
    from jobs.proof.sound_assessments import sound_assessments

    differing: list[str] = []
    compared = 0
    with reading(settings.ledger.url) as t:
        try:
            sites = {values["id"]: values for values in t.sites()}
            rows, _ = sound_assessments(t)
            for site, row in sorted(rows.items(), key=lambda item: item[1].snapshot):
                judged = row.payload
                if row.landscape not in landscapes or judged.get("code_version") != __version__:
                    continue
                compared += 1
                if _digest(settings.store.root, t, sites[site], row) != judged.get("series_digest"):
                    differing.append(site)
        except ValueError:
            return  # a row is damaged, which `ledger_rows` names
    if differing:
        message = f"the stores do not give the series that was judged: {list_ids(differing)}"
        yield broken("series", message, "regrowth run    (judges them again)")
    elif compared:
        yield ok("series", f"of {count_of(compared, 'site')}, computed again from the stores, as they were judged")


def _digest(root: "Place", t: Any, site: dict[str, Any], row: "StoredAssessment") -> str:
    """Digest of the series that a store gives for an assessment."""
    from datetime import date

    from jobs.runtime.records import from_json
    from monitor.controls.screening import left_out_from_json
    from monitor.controls.selection import NOT_CHOSEN, ControlSet
    from monitor.cube.store import landscape_at_snapshot
    from monitor.cube.stored_site import StoredSite
    from monitor.series.build import series_and_units
    from monitor.series.columns import observed_until
    from monitor.sites.site import Site, ground_key
    from monitor.verdict.assessment import Series

    registered = from_json(site, Site)
    ground = ground_key(registered)
    try:
        store = StoredSite(landscape_at_snapshot(root, row.snapshot), ground)
        frozen = t.controls(ground)
        controls = ControlSet.from_json(frozen) if frozen else NOT_CHOSEN
        left_out = left_out_from_json(row.left_out)
        series, _ = series_and_units(store, controls, registered, left_out=left_out, snapshot=row.snapshot)
    except MonitorError as error:
        return one_line(error)
    return Series.of(observed_until(series, date.fromisoformat(row.as_of))).digest


def published(settings: "Settings") -> Iterator[Finding]:
    """The published files of each site are as they were written."""
    from monitor.publish.outdated import in_place
    from monitor.publish.stac import StoredFile

    root = settings.outputs.root / "sites"
    wrong: list[str] = []
    count = 0
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        made, _ = in_place(folder) if folder.is_dir() else (None, frozenset())
        for name, facts in made.files.items() if made is not None else ():
            count += 1
            path = folder / name
            if not path.is_file() or StoredFile.of(path.read_bytes()) != facts:
                wrong.append(f"{folder.name}/{name}")
    for name in wrong[:MAX_FINDINGS]:
        made_from = shlex.quote(str(root / name.partition("/")[0] / ".made-from"))
        message = f"sites/{name} is not the file that was written"
        yield broken("outputs", message, f"rm {made_from}; regrowth publish    (writes the files of the site again)")
    if len(wrong) > MAX_FINDINGS:
        yield broken("outputs", f"and {len(wrong) - MAX_FINDINGS} more files", "remove outputs/sites; regrowth publish")
    if count and not wrong:
        yield ok("outputs", f"{count_of(count, 'file')} of sites, as written")
