"""The registry file and the ledger: how they differ, and what of it is taken in.

New and changed sites are taken in. A site that is missing from the file is kept until a person retires it, and one that
was retired stays so until a person adds it again. The start of a site that has been judged is not changed by an edit:
its control ground, its series and its false-alarm budget belong to that start.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import structlog

from jobs.records import from_json, to_json
from monitor.alerts.alert import Alert, AlertState
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.checks import Report
from monitor.sites.registry import read_sites
from monitor.sites.site import Site

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How a registry file differs from the ledger."""

    path: Path
    """Of the file."""
    added: Sequence[Site] = ()
    """In the file only; with `take_back` also those that were retired."""
    changed: Sequence[Site] = ()
    unchanged: Sequence[str] = ()
    missing: Sequence[str] = ()
    """In the ledger only: kept."""
    retired: Sequence[str] = ()
    """In the file, though a person retired them: not judged."""
    start_edited: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Judged sites with another start in the file: the one of the ledger, which stays, and that of the file."""
    refused: Sequence[str] = ()
    """Labels of entries that the checks refuse; where the ledger has them, they stay as they were."""
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Columns of the file that are not read, with the nearest known one."""
    error: str | None = None
    """Why the file cannot be read; the sites of the ledger go on."""

    @property
    def fresh(self) -> list[Site]:
        """Sites as the file has them, where the ledger has them otherwise or not at all."""
        return [*self.added, *self.changed]

    @property
    def to_correct(self) -> bool:
        """Whether something of the file could not be taken in."""
        return bool(self.error or self.refused or self.start_edited)

    def to_json(self) -> dict[str, Any]:
        """Ids by what happened: the member ``registry`` of a manifest."""
        return {
            "added": [site.id for site in self.added],
            "changed": [site.id for site in self.changed],
            "missing": list(self.missing),
            "retired": list(self.retired),
            "start_edited": list(self.start_edited),
            "refused": list(self.refused),
            "unknown_columns": dict(self.columns),
            "error": self.error,
            "said": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """What a person should know, each with the command that settles it."""
        file = shlex.quote(str(self.path))
        found = []
        if self.added:
            found.append(f"added: {_ids(site.id for site in self.added)}")
        if self.changed:
            found.append(f"changed: {_ids(site.id for site in self.changed)}")
        if self.missing:
            retire = shlex.join(["regrowth", "sites", "retire", *self.missing])
            found.append(f"missing from {self.path.name}, kept: {_ids(self.missing)}; to judge no longer: {retire}")
        if self.retired:
            found.append(
                f"retired, still in {self.path.name}: {_ids(self.retired)}; take them out of the file, or back in: "
                f"regrowth sites add {file}"
            )
        found += [start_edited(site, *days) for site, days in self.start_edited.items()]
        if self.refused:
            found.append(f"refused: {_ids(self.refused)}; 'regrowth sites check {file}' says why")
        if self.columns:
            found.append(f"columns of {self.path.name} that are not read: {columns_in_words(self.columns)}")
        if self.error:
            found.append(f"the registry cannot be read, the sites of the ledger go on: {self.error}")
        return found


def start_edited(site: str, before: str, now: str) -> str:
    """Why another start of a judged site is not taken in, and what to do instead."""
    name = shlex.quote(site)
    replant = f"for new work, with the old start in the file: regrowth sites replant {name} --start {now} --why TEXT; "
    return (
        f"start of {site} is {now} in the file and stays {before}, by which it has been judged; "
        f"{replant if now > before else ''}if {before} was wrong from the beginning: regrowth sites retire {name}, and "
        "give the corrected site a new id"
    )


def columns_in_words(columns: Mapping[str, str | None]) -> str:
    """Columns that are not read, each with the nearest known one."""
    return ", ".join(repr(name) + (f" (did you mean {near!r}?)" if near else "") for name, near in columns.items())


def compare(path: Path, report: Report, t: Transaction, *, take_back: bool = False) -> Drift:
    """How a registry file differs from the ledger; nothing is written.

    Parameters
    ----------
    path : Path
        Of the file.
    report : Report
        What it says.
    t : Transaction
        Of the ledger.
    take_back : bool
        Whether retired sites that are in the file count as new.
    """
    known = t.registered()
    added, changed, unchanged, retired = [], [], [], []
    edited: dict[str, tuple[str, str]] = {}
    for site in report.sites:
        before = known.get(site.id)
        if before is None:
            added.append(site)
        elif not before.current and not take_back:
            retired.append(site.id)
        elif before.start != site.start.isoformat() and _judged(t, site.id):
            edited[site.id] = before.start, site.start.isoformat()
        elif not before.current:
            added.append(site)
        elif before.version != site.version:
            changed.append(site)
        else:
            unchanged.append(site.id)
    in_file = {entry.label for entry in report.entries}
    return Drift(
        path=path,
        added=added,
        changed=changed,
        unchanged=unchanged,
        missing=[site for site, before in sorted(known.items()) if before.current and site not in in_file],
        retired=retired,
        start_edited=edited,
        refused=[entry.label for entry in report.refused],
        columns=report.columns,
    )


def drift(ledger: Ledger, path: Path) -> Drift:
    """How a registry file differs from the ledger; a file that cannot be read does not stop the sites of the ledger.

    Raises
    ------
    BadData
        It cannot be read, and the ledger has no site.
    """
    try:
        report = read_sites(path)
    except BadData as error:
        with ledger.transaction() as t:
            if not t.versions():
                raise
        return Drift(path=path, error=str(error))
    with ledger.transaction() as t:
        return compare(path, report, t)


def add(ledger: Ledger, path: Path, *, now: str) -> Drift:
    """Put what is new or changed in a registry file into the ledger, retired sites too.

    Raises
    ------
    BadData
        The file cannot be read.
    """
    report = read_sites(path)
    with ledger.transaction() as t:
        found = compare(path, report, t, take_back=True)
    _save(ledger, found.fresh, now=now)
    return found


def apply_registry(ledger: Ledger, path: Path, *, now: str) -> Drift:
    """Put what is new or changed in a registry file into the ledger, as a run does; see :func:`drift`.

    Returns
    -------
    Drift
        What was different before; a line of the log says each thing.
    """
    found = drift(ledger, path)
    _save(ledger, found.fresh, now=now)
    for sentence in found.sentences():
        (log.warning if found.to_correct else log.info)("registry", said=sentence)
    return found


def _save(ledger: Ledger, sites: Iterable[Site], *, now: str) -> None:
    with ledger.transaction() as t:
        for site in sites:
            t.add_site(site.id, site.version, to_json(site), start=site.start.isoformat(), now=now)


def retire(ledger: Ledger, sites: Sequence[str], *, today: date) -> dict[str, Any]:
    """Judge sites no longer; what is known of them stays. An open alert is resolved with a note, and nobody is told.

    Returns
    -------
    dict
        Ids: ``retired``, ``already`` (they were), and ``alerts`` that were resolved.

    Raises
    ------
    BadData
        The ledger does not know one of them; then none is retired.
    """
    told: dict[str, Any] = {"retired": [], "already": [], "alerts": []}
    with ledger.transaction() as t:
        known = t.registered()
        if unknown := [site for site in sites if site not in known]:
            msg = f"no site {unknown[0]!r} in the ledger, so none was retired; 'regrowth sites list' names them"
            raise BadData(msg)
        for site in dict.fromkeys(sites):
            told["retired" if known[site].current else "already"].append(site)
            t.retire_site(site)
            stored = t.last_alert(site)
            if stored is None or stored["state"] == AlertState.RESOLVED:
                continue
            alert = replace(
                from_json(stored, Alert), state=AlertState.RESOLVED, note="the site was retired", updated=today
            )
            t.save_alert(to_json(alert))
            told["alerts"].append(alert.id)
    return told


def _judged(t: Transaction, site: str) -> bool:
    return t.latest_assessment(site) is not None or len(t.episodes(site)) > 1


def _ids(sites: Iterable[str]) -> str:
    return ", ".join(sites)
