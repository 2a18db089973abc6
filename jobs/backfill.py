"""Fetch a new site's history ahead of the night: the years before the intervention and since. Safe to run again, and
beside a night, which leaves the landscapes that are at work here for the next night.

python -m jobs.backfill --site lowood
"""

if __name__ == "__main__":  # first of all: logs and the folder of compiled kernels are set before libraries are loaded
    import sys

    from jobs.cli import main

    main(["backfill", *sys.argv[1:]])


import os
from collections.abc import Sequence
from datetime import date
from typing import Any

from jobs.executor import engine
from jobs.pipeline import Progress, chosen_sites, gather, now, observed, opened, result, take_over, today
from jobs.precheck import check_clock
from jobs.registry import take_in
from jobs.settings import Settings
from jobs.sources import open_sources
from monitor.errors import StoreBroken


def backfill(
    settings: Settings, *, until: date | None = None, only: Sequence[str] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """Fetch ahead of the night, without verdicts, alerts or pages; the manifest is like a night's."""
    until = until or today()
    with opened(settings) as ledger, engine(settings.engine.scheduler) as work:
        check_clock(ledger)
        run = f"backfill-{until}-{os.urandom(4).hex()}"
        with ledger.transaction() as t:
            t.begin_run(run, "backfill", until.isoformat(), now=now())
        registry = take_in(ledger, settings.registry.path, now=now())
        sites = chosen_sites(settings, ledger, only)
        sources = open_sources(settings.source)
        results: dict[str, dict[str, Any]] = {}
        never_offered: list[str] = []
        for outcome in gather(
            settings, ledger, sources, sites, work, until=until, progress=progress, what="a backfill"
        ):
            site, fetched = outcome.site.id, outcome.fetched
            results[site] = result(outcome)
            if fetched is not None:
                try:
                    if fetched.new:
                        results[site] = result(outcome, observed(outcome.site, fetched))
                    with ledger.transaction() as t:
                        take_over(t, outcome, fetched)
                except StoreBroken as error:
                    results[site] |= {"state": "failed", "error": f"site {site!r}: {error}"}
            if outcome.never_offered:
                never_offered.append(site)
        manifest = {
            "as_of": until.isoformat(),
            "sites": [results[site.id] for site in sites],
            "registry": registry.to_json(),
            "never_offered": never_offered,
        }
        with ledger.transaction() as t:
            t.end_run(run, manifest, now=now())
        return manifest
