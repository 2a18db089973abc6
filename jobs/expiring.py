"""Old snapshots of the stores go, but for those that evidence rests on.

Every night leaves a snapshot of the store of each site that got a scene, in some nine files. What people were told, and
what came of each growing season, stays open to an audit for good: the snapshots of those days are kept, and so is all
of the last :data:`KEPT` days. Each night looks at one site in :data:`ROUND`.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zlib import crc32

import numpy as np
import structlog

from jobs.fetch import ground_key
from jobs.gather import store_folder
from jobs.settings import Settings
from monitor.cube.store import SiteStore
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site
from monitor.verdict.window import Window

log = structlog.get_logger()

KEPT: Final = timedelta(days=90)
"""So long every snapshot is kept."""
ROUND: Final = 30
"""In so many nights each site has its turn."""


def expire(settings: Settings, ledger: Ledger, sites: Sequence[Site], *, as_of: date) -> None:
    """Let go of the old snapshots of those sites whose turn it is; what is wrong with one store stops no other.

    Parameters
    ----------
    settings : Settings
        Of the installation; the caller holds the lock of its stores.
    ledger : Ledger
        Open.
    sites : sequence of Site
        Of which some have their turn.
    as_of : date
        Of the night.
    """
    due = [site for site in sites if crc32(site.id.encode()) % ROUND == as_of.toordinal() % ROUND]
    with ledger.transaction() as t:
        taken = t.snapshots()
        evidence = {site.id: t.evidence(site.id) for site in due}
    before, gone = datetime.now(UTC) - KEPT, 0
    for site in due:
        store = SiteStore(store_folder(settings, site))
        ground = ground_key(site)
        if ground in taken and store.path.is_dir():
            try:
                gone += store.expire({taken[ground], *named_snapshots(site, evidence[site.id])}, before)
            except MonitorError as error:
                log.warning("old snapshots were not let go", site=site.id, error=str(error))
    if gone:
        log.info("old snapshots were let go", snapshots=gone)


def named_snapshots(site: Site, evidence: Sequence[tuple[str, str, bool]]) -> set[str]:
    """Snapshots of days on which there was something to tell, and of the last assessment before each growing season
    opens anew.

    Parameters
    ----------
    site : Site
    evidence : sequence of tuple
        See :meth:`monitor.ledger.ledger.Transaction.evidence`.
    """
    days = np.array([day for day, _, _ in evidence], "datetime64[D]").astype(np.int64)
    ends = dict(zip(Window.of(site).place(days)[0].tolist(), (snapshot for _, snapshot, _ in evidence), strict=True))
    return {*ends.values()} | {snapshot for _, snapshot, told in evidence if told}
