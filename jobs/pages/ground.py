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
from monitor.publish.index.ground import Ground, draw_ground, ground_bounds
from monitor.sites.site import Site, ground_key

log = structlog.get_logger()

FOLDER: Final = "assets/ground"
MAX_SITES: Final = 200
"""Sites of a programme whose map has ground: among more a site is a mark, and its picture could not be seen."""
MAX_BYTES: Final = 500_000
"""Size of all pictures together, at most. [byte]"""
FORMAT: Final = 1
"""Of the pictures; another one, and all are drawn again."""


def write_grounds(judged: Sequence[tuple[Site, str | None]], store: Place, root: Path) -> list[Ground]:
    """Draw the ground of each landscape whose store has changed, and remove pictures that are used no more.

    Parameters
    ----------
    judged : sequence of (Site, str or None)
        Sites with the snapshots of their assessments; None: nothing is stored.
    store : Path or BucketFolder
        Root of the stores.
    root : Path
        The output root.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written.
    """
    folder, room, grounds = root / FOLDER, MAX_BYTES, list[Ground]()
    members: dict[str, list[tuple[Site, str]]] = {}
    for site, snapshot in judged if len(judged) <= MAX_SITES else ():
        if snapshot is not None:
            members.setdefault(snapshot.rpartition(":")[0], []).append((site, snapshot))
    for landscape, theirs in sorted(members.items()):
        sites = sorted((site for site, _ in theirs), key=lambda site: site.id)
        bounds = ground_bounds(sites)
        made_from = json.dumps([FORMAT, bounds, sorted((ground_key(site), snapshot) for site, snapshot in theirs)])
        name = f"{landscape}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}.webp"
        file = folder / name
        if not file.is_file() and (content := _drawn(store / landscape, sites)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        if file.is_file() and (room := room - file.stat().st_size) >= 0:
            grounds.append(Ground(f"{FOLDER}/{name}", bounds))
    for file in folder.glob("*.webp"):
        if f"{FOLDER}/{file.name}" not in {ground.file for ground in grounds}:
            file.unlink()
    return grounds


def _drawn(path: Place, sites: Sequence[Site]) -> bytes | None:
    try:
        landscape = LandscapeStore(path)
        stored = [StoredSite(landscape, ground_key(site)) for site in sites]
        return draw_ground(stored, ground_bounds(sites))
    except MonitorError as error:  # it is for people only: an error in one stops nothing
        log.warning("no ground under the map", landscape=path.name, why=str(error))
        return None
