"""Remove old snapshots of the stores. Rows are only appended, so the newest snapshot still has what past nights saw."""

from datetime import timedelta
from typing import Final
from zlib import crc32

import structlog

from jobs.runtime.lock import hold_landscape
from monitor.cube.bucket import Place, landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger

log = structlog.get_logger()

RETENTION: Final = timedelta(days=90)  # younger snapshots, counted from the newest, stay for readers
EXPIRY_CYCLE: Final = 30  # each landscape is processed in one night out of this many


def expire_snapshots(root: Place, ledger: Ledger) -> None:
    """Remove old snapshots of the landscapes whose turn it is, and log errors; TryLater: the ledger was taken."""
    with ledger.transaction() as t:
        turn = t.count_nights() % EXPIRY_CYCLE
    removed = 0
    for folder in landscape_folders(root):
        if crc32(folder.name.encode()) % EXPIRY_CYCLE != turn:
            continue
        ledger.guard()
        try:
            with hold_landscape(ledger, root, "a night", folder.name):
                removed += LandscapeStore(folder).expire(RETENTION)
        except MonitorError as error:
            log.warning("old snapshots were not removed", landscape=folder.name, error=str(error))
    if removed:
        log.info("old snapshots were removed", snapshots=removed)
