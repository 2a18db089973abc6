"""Pictures of the ground under the map of the index, for programmes in which they can be seen."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from monitor.cube.bucket import Place
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import MonitorError
from monitor.files import write_atomically
from monitor.publish.index.ground import Bounds, Ground, draw_ground, ground_bounds
from monitor.sites.site import Site

log = structlog.get_logger()

FOLDER: Final = "assets/ground"
MAX_SITES: Final = 200  # map has ground: among more, a site is a mark, its picture too small to see
MAX_BYTES: Final = 500_000  # size of all pictures together, at most [byte]
FORMAT: Final = 1  # of the pictures; another one, and all are drawn again


def write_grounds(judged: Sequence[tuple[Site, str, str | None]], store: Place, root: Path) -> list[Ground]:
    """Draw the ground of each landscape whose store has changed, and remove pictures that are not used any more.

    `judged`: sites with the keys of their grounds and the snapshots of their assessments (None: nothing is stored).
    Raises OSError if the folder cannot be written.
    """
    folder, room, grounds = root / FOLDER, MAX_BYTES, list[Ground]()
    members: dict[str, list[tuple[Site, str, str]]] = {}
    for site, key, snapshot in judged if len(judged) <= MAX_SITES else ():
        if snapshot is not None:
            members.setdefault(snapshot.rpartition(":")[0], []).append((site, key, snapshot))
    for landscape, theirs in sorted(members.items()):
        theirs.sort(key=lambda one: one[0].id)
        bounds = ground_bounds([site for site, *_ in theirs])
        made_from = json.dumps([FORMAT, bounds, sorted((key, snapshot) for _, key, snapshot in theirs)])
        name = f"{landscape}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}.webp"
        file = folder / name
        keys = [key for _, key, _ in theirs]
        if not file.is_file() and (content := _drawn(store / landscape, keys, bounds)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        if file.is_file() and (room := room - file.stat().st_size) >= 0:
            grounds.append(Ground(f"{FOLDER}/{name}", bounds))
    for file in folder.glob("*.webp"):
        if f"{FOLDER}/{file.name}" not in {ground.file for ground in grounds}:
            file.unlink()
    return grounds


def _drawn(path: Place, keys: Sequence[str], bounds: Bounds) -> bytes | None:
    try:
        landscape = LandscapeStore(path)
        return draw_ground([StoredSite(landscape, key) for key in keys], bounds)
    except MonitorError as error:  # it is for people only: an error in one stops nothing
        log.warning("no ground under the map", landscape=path.name, why=str(error))
        return None
