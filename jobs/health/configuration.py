"""Checks of the configuration and of the site registry."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.health.finding import Finding, broken, list_ids, note, ok, one_line
from jobs.runtime.console import count_of
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.register.registry import Drift
    from jobs.runtime.settings import Settings


def read_settings(path: Path | None) -> "Settings | Finding":
    """The settings, or the finding that says why they cannot be read."""
    from jobs.runtime.settings import config_path, load

    try:
        return load(path)
    except MonitorError as error:
        file = config_path(path)
        fix = "write a regrowth.toml as the README shows, or: regrowth doctor --config FILE"
        return broken("config", one_line(error), f"correct {file}" if file.exists() else fix)


def registry(settings: "Settings") -> Iterator[Finding]:
    """The site registry and the file of named control ground can be read."""
    from jobs.runtime.biome_settings import own_biomes
    from monitor.sites.named_controls import read_named_controls
    from monitor.sites.registry import read_sites

    path = settings.registry.path
    try:
        report = read_sites(path, own_biomes(settings.biomes))
    except MonitorError as error:
        yield broken("registry", one_line(error), f"regrowth sites check {path}")
        return
    message = f"{count_of(len(report.sites), 'site')} in {path}"
    if report.refused:
        yield broken("registry", f"{message}, {len(report.refused)} more refused", f"regrowth sites check {path}")
    else:
        yield ok("registry", message)
    if settings.registry.controls is None:
        return
    try:
        outlines = read_named_controls(settings.registry.controls, sites={site.id for site in report.sites})
    except MonitorError as error:
        fix = "correct the file of [registry] controls; until then new sites are deferred"
        yield broken("registry", one_line(error), fix)
    else:
        yield ok("registry", f"{count_of(len(outlines), 'outline')} of control ground")


def registry_drift(settings: "Settings", *, ledger: bool) -> Iterator[Finding]:
    """Unknown columns, and, if the ledger is usable, its differences and the command that settles each."""
    from jobs.health.ledger import reading
    from jobs.register.registry import columns_in_words, compare, read_registry
    from jobs.runtime.biome_settings import own_biomes

    path = settings.registry.path
    try:
        report = read_registry(path, settings.registry.controls, biomes=own_biomes(settings.biomes))
    except MonitorError:
        return  # reported by `registry`
    if report.columns:
        yield note("registry", f"columns that are not read: {columns_in_words(report.columns)}")
    if ledger:
        with reading(settings.ledger.url) as t:
            drift = compare(path, report, t)
        yield from _drift_findings(path, drift)


def _drift_findings(path: Path, drift: "Drift") -> Iterator[Finding]:
    from jobs.register.registry import plan_edited, start_edited

    file = shlex.quote(str(path))
    if not (drift.unchanged or drift.changed or drift.missing or drift.start_edited):
        if drift.added:
            added = count_of(len(drift.added), "site")
            yield note("registry", f"in {path.name} and not in the ledger yet: {added}; the first night adds them")
        return
    fix = f"regrowth sites add {file}    (or the next night does it)"
    if drift.added:
        ids = list_ids([site.id for site in drift.added])
        yield broken("registry", f"in {path.name} and not in the ledger: {ids}", fix)
    if drift.changed:
        yield broken("registry", f"changed in {path.name}: {list_ids([site.id for site in drift.changed])}", fix)
    if drift.missing:
        fix = f"put them back, or: {shlex.join(['regrowth', 'sites', 'retire', *drift.missing])}"
        yield broken("registry", f"missing from {path.name} and still judged: {list_ids(list(drift.missing))}", fix)
    for site, (before, after) in drift.start_edited.items():
        message, _, fix = start_edited(site, before, after).partition("; ")
        yield broken("registry", message, fix)
    for site, columns in drift.plan_edited.items():
        message, _, fix = plan_edited(site, columns).partition("; ")
        yield broken("registry", message, fix)
    if drift.retired:
        fix = f"remove them from the file, or make them current again: regrowth sites add {file}"
        yield note("registry", f"retired, and still in {path.name}: {list_ids(list(drift.retired))}", fix)
