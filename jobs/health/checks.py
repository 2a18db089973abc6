"""All checks, in the order in which they are reported."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.health import chain, configuration, damage, evidence, ledger, machine, messages, sources
from jobs.health.finding import Finding, attempt, guarded, ok
from jobs.runtime.console import count_of
from jobs.runtime.logs import redacted
from jobs.runtime.progress import Report, report_nothing

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings


def run_checks(
    config: Path | None, *, online: bool = False, deep: bool = False, progress: Report = report_nothing
) -> Iterator[Finding]:
    """Check each part in turn, and yield findings without secrets.

    `online`: the sources are searched. `deep`: ledger, stores and published files are read fully, and the records of
    all nights are compared with the chain. `progress`: rows of the stores read, of all.
    """
    settings = attempt("config", lambda: configuration.read_settings(config))
    for finding in _findings(config, settings, online=online, deep=deep, progress=progress):
        yield replace(finding, message=redacted(finding.message))


def _findings(
    config: Path | None, settings: "Settings | Finding", *, online: bool, deep: bool, progress: Report
) -> Iterator[Finding]:
    yield from guarded("python", machine.python)
    yield from guarded("packages", machine.packages)
    if isinstance(settings, Finding):
        yield from guarded("kernels", lambda: machine.kernels(None))
        yield settings
        return
    from jobs.runtime.settings import config_path

    store_root = settings.store.root
    contents = attempt("ledger", lambda: ledger.read_ledger(settings))
    known = contents if isinstance(contents, ledger.LedgerContents) else None
    is_current = known is not None and known.is_current
    holders = [known.holder, *known.of_landscapes] if known else []
    newest_run = known.newest_run if known else None
    yield from guarded("kernels", lambda: machine.kernels(settings.store.local))
    yield ok("config", f"{config_path(config)}, {count_of(len(settings.source), 'source')}")
    yield from guarded("registry", lambda: configuration.registry(settings))
    yield from guarded("store", lambda: machine.store(store_root))
    yield from guarded("ledger", lambda: ledger.ledger(contents, store_root))
    if is_current:
        yield from guarded("chain", lambda: chain.chain(settings, deep=deep))
    yield from guarded("registry", lambda: configuration.registry_drift(settings, ledger=is_current))
    yield from guarded("outputs", lambda: machine.folder("outputs", settings.outputs.root))
    yield from guarded("lock", lambda: machine.locks(store_root, holders))
    yield from guarded("clock", lambda: machine.clock(settings, newest_run))
    yield from guarded("scheduler", lambda: machine.scheduler(settings, online=online))
    if any(source.kind != "sample" for source in settings.source):  # no new scene ever comes to the sample
        yield from guarded("data", lambda: ledger.data_age(settings, contents))
    yield from guarded("channels", lambda: messages.channels(settings))
    if is_current:
        yield from guarded("recipients", lambda: messages.recipients(settings))
    yield from guarded("answers", lambda: messages.answers(settings))
    if online:
        yield from guarded("certificate", lambda: messages.certificates(settings))
    yield from guarded("heartbeat", lambda: messages.heartbeat(settings))
    if is_current:
        yield from guarded("outbox", lambda: messages.outbox(settings))
    yield from guarded("evidence", evidence.key)
    if is_current:
        yield from guarded("budget", lambda: sources.eecu_budget(settings))
    yield from _source_findings(settings, online=online)
    if deep:
        yield from guarded("ledger", lambda: damage.ledger_rows(settings, contents))
        yield from guarded("store", lambda: damage.stores(settings, contents, progress))
        yield from guarded("outputs", lambda: damage.published(settings))


def _source_findings(settings: "Settings", *, online: bool) -> Iterator[Finding]:
    all_answer = True
    for number, source in enumerate(settings.source, start=1):
        check = "source" if len(settings.source) == 1 else f"source {number}"
        yield from guarded(check, partial(sources.source_settings, check, source))
        if online:
            answers = list(guarded(check, partial(sources.answers, check, source, settings)))
            all_answer = all_answer and all(finding.state == "ok" for finding in answers)
            yield from answers
    if online and all_answer:
        yield from guarded("imagery", lambda: sources.imagery(settings))
    is_local = all("://" not in (source.url or "://") for source in settings.source)
    if all_answer and (online or is_local):
        yield from guarded("controls", lambda: sources.control_ground(settings))
