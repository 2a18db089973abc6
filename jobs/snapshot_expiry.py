"""Old snapshots of the stores go. Rows are only appended: what a past night knew stays in the newest snapshot."""

from datetime import timedelta
from pathlib import Path
from typing import Final
from zlib import crc32

import structlog

from jobs.lock import LANDSCAPES, held
from jobs.settings import Settings
from monitor.cube.store import DERIVED, LandscapeStore
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger

log = structlog.get_logger()

KEPT: Final = timedelta(days=90)
"""So far back from the newest one every snapshot is kept, for whoever reads while a night writes."""
ROUND: Final = 30
"""A landscape has its turn in one night of so many."""


def expire(settings: Settings, ledger: Ledger) -> None:
    """Let go of the old snapshots of the landscapes whose turn it is; what is wrong with one store stops no other."""
    with ledger.transaction() as t:
        turn = t.count_nights() % ROUND
    gone = 0
    for folder in _landscapes(settings.store.root):
        if crc32(folder.name.encode()) % ROUND != turn:
            continue
        ledger.guard()
        try:
            with held(settings.store.root / LANDSCAPES, "a night", folder.name):
                gone += LandscapeStore(folder).expire(KEPT)
        except MonitorError as error:
            log.warning("old snapshots were not removed", landscape=folder.name, error=str(error))
    if gone:
        log.info("old snapshots were removed", snapshots=gone)


def _landscapes(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path.name != DERIVED and path.name[0] != "."]
