"""Compare the registry file with the ledger, and store new and changed sites in the ledger.

A site that is missing from the file stays until a person retires it, and a retired site stays retired until a person
adds it again. An edit of the file changes neither the start of a site that has been assessed (its control units, series
and false-alarm budget belong to that start) nor its promise (:mod:`jobs.register.promises`); the rest of the edit is
applied.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import shapely
import structlog

from jobs.register.alerting import record_event
from jobs.runtime.biome_settings import own_biomes
from jobs.runtime.clock import now
from jobs.runtime.installation import selected_sites
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import Settings
from monitor.alerts.alert import Alert, AlertEvent, AlertState
from monitor.alerts.lifecycle import close
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.named_controls import leave_out_strips, read_named_controls
from monitor.sites.promise import edited_columns, promise_of, promised_on
from monitor.sites.registry import Report, read_sites
from monitor.sites.site import Biome, Site, ground_key, site_version

log = structlog.get_logger()


class BadControls(BadData):
    """The file of named control ground cannot be used."""


def needs_correction(registry: Mapping[str, Any]) -> bool:
    """Whether a person must correct the registry file; `registry` is that member of a manifest."""
    return any(registry.get(name) for name in ("error", "refused", "start_edited", "plan_edited"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Differences between a registry file and the ledger."""

    path: Path
    added: Sequence[Site] = ()  # sites in the file only; with `restore_retired` also retired sites in the file
    changed: Sequence[Site] = ()  # sites as the file has them, where the ledger has another version
    changes: Mapping[str, str] = field(default_factory=dict)  # what differs for each changed site, in words
    unchanged: Sequence[str] = ()
    missing: Sequence[str] = ()  # current sites in the ledger only; they stay
    retired: Sequence[str] = ()  # retired sites that are still in the file; they are not assessed
    start_edited: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # ledger (stays), file
    plan_edited: Mapping[str, Mapping[str, tuple[Any, Any]]] = field(default_factory=dict)  # by column: ledger, file
    refused: Mapping[str, str] = field(default_factory=dict)  # label and first reason; known sites stay
    columns: Mapping[str, str | None] = field(default_factory=dict)  # unknown; nearest known one or None
    error: str | None = None  # why the file cannot be read; the run continues with the sites in the ledger
    controls_error: str | None = None  # why named control ground cannot be used; sites of the ledger stay as they are

    @property
    def fresh(self) -> list[Site]:
        """New and changed sites, as the file has them."""
        return [*self.added, *self.changed]

    def to_json(self) -> dict[str, Any]:
        """Site ids by kind of difference: the member ``registry`` of a manifest."""
        return {
            "added": [site.id for site in self.added], "changed": [site.id for site in self.changed],
            "missing": list(self.missing), "retired": list(self.retired), "start_edited": list(self.start_edited),
            "plan_edited": list(self.plan_edited), "refused": list(self.refused),
            "unknown_columns": dict(self.columns), "error": self.error, "said": self.sentences(),
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """Differences that a person should know, each with the command that resolves it."""
        file = shlex.quote(str(self.path))
        sentences = []
        if self.added:
            sentences.append(f"added: {', '.join(site.id for site in self.added)}")
        if self.changed:
            changed = [f"{site.id} ({self.changes[site.id]})" for site in self.changed]
            sentences.append(f"changed: {', '.join(changed)}")
        if self.missing:
            retire = shlex.join(["regrowth", "sites", "retire", *self.missing])
            missing = f"missing from {self.path.name}, kept: {', '.join(self.missing)}"
            sentences.append(f"{missing}; to stop judging: {retire}")
        if self.retired:
            retired = f"retired, still in {self.path.name}: {', '.join(self.retired)}"
            sentences.append(f"{retired}; remove them from the file, or add them again: regrowth sites add {file}")
        sentences += [start_edited(site, *days) for site, days in self.start_edited.items()]
        sentences += [plan_edited(site, columns) for site, columns in self.plan_edited.items()]
        if self.refused:
            (label, why), *_ = self.refused.items()
            because = f"{label}: {why}" + (" ..." if len(self.refused) > 1 else "")
            refused = f"refused, and as it was where it was known: {', '.join(self.refused)}"
            sentences.append(f"{refused}; 'regrowth sites check {file}' says why ({because})")
        if self.columns:
            sentences.append(f"columns of {self.path.name} that are not read: {columns_in_words(self.columns)}")
        if self.controls_error:
            why = "named control ground cannot be read, nor what sites lose to it; sites of the ledger stay as they are"
            sentences.append(f"{why}: {self.controls_error}")
        if self.error:
            why = "the registry cannot be read; the run continues with the sites in the ledger"
            sentences.append(f"{why}: {self.error}")
        return sentences


def start_edited(site: str, before: str, after: str) -> str:
    """Sentence: why the edited start of an assessed site is not applied, and what to do instead."""
    name, replant = shlex.quote(site), ""
    if after > before:
        command = f"regrowth sites replant {name} --start {after} --why TEXT"
        replant = f"for new work, with the old start in the file: {command}; "
    return (
        f"start of {site} is {after} in the file and stays {before}, since it has been judged by that start; "
        f"{replant}if {before} was always wrong: regrowth sites retire {name}, and give the corrected site a new id"
    )


def plan_edited(site: str, columns: Mapping[str, tuple[Any, Any]]) -> str:
    """Sentence: why the edited promise of an assessed site is not applied, and what to do instead."""
    return (
        f"promise of {site} in the file: {columns_changed(columns)}; it stays as it was, since it has been judged by "
        f"it; to change it from a date on: {replan_command(site, columns)}; if it was edited by mistake, correct the "
        "file"
    )


def columns_changed(columns: Mapping[str, tuple[Any, Any]]) -> str:
    """Columns of a promise with their old and new values, as text."""
    return ", ".join(f"{name} {_written(old)} -> {_written(new)}" for name, (old, new) in columns.items())


def replan_command(site: str, columns: Mapping[str, tuple[Any, Any]]) -> str:
    """Command that makes the new values of columns the promise of a site."""
    command = ["regrowth", "sites", "replan", site, "--from", "DATE", "--why", "TEXT", "--by", "NAME"]
    for name, (_, new) in columns.items():
        value = str(new).partition(" ")[0] if name == "biome" else _written(new, empty="")
        command += [f"--{name.replace('_', '-').lower()}", value]
    return shlex.join(command)


def _written(value: Any, *, empty: str = "empty") -> str:
    """A value as it is written in the registry."""
    return f"{value:g}" if isinstance(value, float) else str(value or empty)


def changes_in_words(before: Site, after: Site) -> str:
    """Differences between two versions of a site: columns, and whether its scenes are fetched again."""
    same = {"version", "hectares", "id"} | ({"own_biome"} if before.biome != after.biome else set())
    if shapely.normalize(before.geometry).wkb == shapely.normalize(after.geometry).wkb:
        same.add("geometry")
    words = {"geometry": "outline", "own_biome": f"definition of biome {after.biome}"}
    differ = [
        words.get(item.name, item.name)
        for item in fields(Site)
        if item.name not in same and getattr(before, item.name) != getattr(after, item.name)
    ]
    again = "; its scenes are fetched again" if ground_key(before) != ground_key(after) else ""
    return f"{', '.join(differ) or 'reading of the file'}{again}"


def columns_in_words(columns: Mapping[str, str | None]) -> str:
    """Unknown columns, each with the nearest known column, as text."""
    return ", ".join(repr(name) + (f" (did you mean {near!r}?)" if near else "") for name, near in columns.items())


def compare(path: Path, report: Report, t: Transaction, *, restore_retired: bool = False) -> Drift:
    """Compare a registry file (`report`: its checks) with the ledger; nothing is written.

    With `restore_retired`, retired sites in the file count as new.
    """
    known = t.registered()
    added, changed, unchanged, retired = [], [], [], []
    changes: dict[str, str] = {}
    edited: dict[str, tuple[str, str]] = {}
    plans: dict[str, dict[str, tuple[Any, Any]]] = {}
    for site in report.sites:
        before = known.get(site.id)
        if before is None:
            added.append(site)
            continue
        if before.version != site.version:
            site = with_control_decisions(t, site, before.version)
        if before.version != site.version and _is_assessed(t, site.id):
            site, columns = _with_kept_promise(t, site, before.version)
            plans |= {site.id: columns} if columns and (before.current or restore_retired) else {}
        if not before.current and not restore_retired:
            retired.append(site.id)
        elif before.start != site.start.isoformat() and _is_assessed(t, site.id):
            edited[site.id] = before.start, site.start.isoformat()
        elif not before.current:
            added.append(site)
        elif before.version != site.version:
            changed.append(site)
            if (payload := t.site(site.id)) is not None:
                changes[site.id] = changes_in_words(from_json(payload, Site), site)
        else:
            unchanged.append(site.id)
    in_file = {entry.label for entry in report.entries}
    missing = [site for site, before in sorted(known.items()) if before.current and site not in in_file]
    return Drift(
        path=path, added=added, changed=changed, changes=changes, unchanged=unchanged, missing=missing, retired=retired,
        start_edited=edited, plan_edited=plans, columns=report.columns,
        refused={one.label: next(p.message for p in one.problems if p.refuses) for one in report.refused},
    )  # fmt: skip


def _with_kept_promise(t: Transaction, site: Site, version: str) -> tuple[Site, dict[str, tuple[Any, Any]]]:
    """A site of the file with the promise of the ledger, which has this version of it; and the columns that differ."""
    before = from_json(t.site_version(site.id, version) or {}, Site)
    promises = t.promises(site.id)
    columns = edited_columns(promises[-1]["payload"] if promises else promise_of(before), promise_of(site))
    names = ("plan", "intervention", "subtype", "biome", "cohorts", "own_biome") if columns else ("plan",)
    kept = replace(site, **{name: getattr(before, name) for name in names})
    return replace(kept, version=site_version(kept)), columns


def with_control_decisions(t: Transaction, site: Site, version: str) -> Site:
    """A site of the file with the decisions to choose its control units again, which the ledger has in this version."""
    again = tuple((t.site_version(site.id, version) or {}).get("controls_again", ()))
    decided = replace(site, controls_again=again)
    return replace(decided, version=site_version(decided)) if again else site


def choose_controls_again(ledger: Ledger, site_id: str, decision: str) -> Site:
    """Have the next night choose the control units of a site again, for which it fetches the whole history.

    Returns the site as it is from now on; units, observations and assessments before stay stored. `decision`: day, who
    and why; published with the site. Raises BadData if the site is unknown or retired, or its units are not chosen yet.
    """
    (site,) = selected_sites(ledger, [site_id])
    with ledger.transaction() as t:
        if t.controls(ground_key(site)) is None:
            raise BadData(f"site {site_id!r}: its control units are not chosen yet; the next night chooses them")
        decided = replace(site, controls_again=(*site.controls_again, decision))
        decided = replace(decided, version=site_version(decided))
        t.add_site(site_id, decided.version, to_json(decided), start=decided.start.isoformat(), now=now())
    return decided


def read_registry(
    path: Path, controls: Path | None, known: Collection[str] = (), *, biomes: Mapping[str, Biome]
) -> Report:
    """Read and check a registry file; strips of control ground are cut out of its sites.

    `known`: sites that the control ground may name besides those in the file. Raises FileRefused if the registry cannot
    be read; BadControls if the file of control ground cannot be used.
    """
    report = read_sites(path, biomes)
    if controls is not None:
        try:
            named = read_named_controls(controls, sites={*known, *(entry.label for entry in report.entries)})
        except BadData as error:
            raise BadControls(f"[registry] controls: {error}") from error
        leave_out_strips(report.entries, named)
    return report


def read_and_compare(ledger: Ledger, settings: Settings) -> Drift:
    """Compare the registry file with the ledger; a file that cannot be read is reported in the result.

    Raises BadData if the file cannot be read, and the ledger has no site.
    """
    path, controls, biomes = settings.registry.path, settings.registry.controls, own_biomes(settings.biomes)
    with ledger.transaction() as t:
        known = t.versions()
    try:
        report, failed = read_registry(path, controls, known, biomes=biomes), None
    except BadControls as error:  # new sites are added, and wait until their control ground can be read
        report, failed = read_sites(path, biomes), str(error)
    except BadData as error:
        if not known:
            raise
        return Drift(path=path, error=str(error))
    with ledger.transaction() as t:
        drift = compare(path, report, t)
    if failed is None:
        return drift
    unchanged = (*drift.unchanged, *(site.id for site in drift.changed))
    return replace(drift, changed=(), unchanged=unchanged, controls_error=failed)


def add_sites(
    ledger: Ledger, path: Path, *, controls: Path | None = None, biomes: Mapping[str, Biome] | None = None
) -> dict[str, Any]:
    """Store new and changed sites of a registry file in the ledger; retired sites in the file become current again.

    Returns :meth:`Drift.to_json` and the ids of ``unchanged`` sites. Raises BadData if a file cannot be read.
    """
    with ledger.transaction() as t:
        report = read_registry(path, controls, t.versions(), biomes=biomes or {})
        drift = compare(path, report, t, restore_retired=True)
    _save(ledger, drift.fresh)
    return {**drift.to_json(), "unchanged": list(drift.unchanged)}


def apply_registry(ledger: Ledger, settings: Settings) -> Drift:
    """Store new and changed sites of the registry file, log every difference, and return the differences.

    Raises BadData if the file cannot be read, and the ledger has no site.
    """
    drift = read_and_compare(ledger, settings)
    _save(ledger, drift.fresh)
    differences = drift.to_json()
    for sentence in differences["said"]:
        (log.warning if needs_correction(differences) else log.info)("registry", said=sentence)
    return drift


def _save(ledger: Ledger, sites: Sequence[Site]) -> None:
    """Store versions of sites; a promise that was changed since they were compared stays."""
    with ledger.transaction() as t:
        for site in (promised_on(site, t.promises(site.id), date.max) for site in sites):
            t.add_site(site.id, site.version, to_json(site), start=site.start.isoformat(), now=now())


def retire(ledger: Ledger, sites: Sequence[str], *, today: date) -> dict[str, Any]:
    """Stop judging sites; their records stay. Their open alerts are resolved with a note, without a message.

    Returns ids: sites ``retired`` now or ``already`` before, and resolved ``alerts``. Raises BadData if a site is not
    in the ledger, and none was retired.
    """
    done: dict[str, Any] = {"retired": [], "already": [], "alerts": []}
    with ledger.transaction() as t:
        known = t.registered()
        if unknown := [site for site in sites if site not in known]:
            msg = f"no site {unknown[0]!r} in the ledger, so none was retired; 'regrowth sites list' names them"
            raise BadData(msg)
        for site in dict.fromkeys(sites):
            done["retired" if known[site].current else "already"].append(site)
            t.retire_site(site)
            for alert in (from_json(values, Alert) for values in t.alerts_of(site)):
                if alert.state is not AlertState.RESOLVED:
                    record_event(t, close(alert, day=today), AlertEvent.CLOSED, day=today, by="command")
                    done["alerts"].append(alert.id)
    return done


def _is_assessed(t: Transaction, site: str) -> bool:
    return t.latest_assessment(site) is not None or len(t.episodes(site)) > 1
