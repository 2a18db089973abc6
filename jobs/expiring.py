"""Old snapshots of the stores go, but for those that evidence rests on.

Every night leaves a snapshot of the store of each site that got a scene, in some nine files. What people were told, and
what came of each growing season and of each episode, stays open to an audit for good: the snapshots of those days are
kept, and so is all of the last :data:`KEPT` days before the newest one. So is what the ledger does not know: it may
have been lost, and what it told with it. Of an episode that is entered later than so long after its start, the last
verdict before it may be gone.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
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
"""So far back from the newest one every snapshot is kept."""
ROUND: Final = 90
"""A site has its turn in one night of so many, however seldom they are: to tidy a store leaves files, too."""


def expire(settings: Settings, ledger: Ledger, sites: Sequence[Site]) -> None:
    """Let go of the old snapshots of those sites whose turn it is; what is wrong with one store stops no other.

    Parameters
    ----------
    settings : Settings
        Of the installation; the caller holds the lock of its stores.
    ledger : Ledger
        Open.
    sites : sequence of Site
        Of which some have their turn.
    """
    with ledger.transaction() as t:
        turn, taken = t.nights() % ROUND, t.snapshots()
        due = [site for site in sites if crc32(site.id.encode()) % ROUND == turn]
        known = {site.id: (t.evidence(site.id), t.episodes(site.id)) for site in due}
    gone = 0
    for site in due:
        evidence, episodes = known[site.id]
        needed = {taken.get(ground_key(site)), *named_snapshots(site, evidence, episodes)}
        spent = {snapshot for _, snapshot, _ in evidence if snapshot not in needed}
        ledger.guard()
        try:
            gone += SiteStore(store_folder(settings, site)).expire(spent, KEPT)
        except MonitorError as error:
            log.warning("old snapshots were not let go", site=site.id, error=str(error))
    if gone:
        log.info("old snapshots were let go", snapshots=gone)


def named_snapshots(
    site: Site, evidence: Sequence[tuple[str, str, bool]], episodes: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Snapshots of days on which people were told, and of the last day on which a site was assessed before a growing
    season opens anew or an episode begins.

    Parameters
    ----------
    site : Site
    evidence : sequence of tuple
        See :meth:`monitor.ledger.ledger.Transaction.evidence`.
    episodes : sequence of mapping
        Of the site, with their ``start``.

    Returns
    -------
    set of str
        Their ids; empty of a site that was never assessed.
    """
    days = [day for day, _, _ in evidence]
    season, _ = Window.of(site).place(np.array(days, "datetime64[D]").astype(np.int64))
    episode = np.searchsorted(sorted(one["start"] for one in episodes), days, side="right")
    ends = {*dict(zip(zip(season.tolist(), episode.tolist(), strict=True), days, strict=True)).values()}
    return {snapshot for day, snapshot, told in evidence if told or day in ends}
