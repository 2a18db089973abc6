"""Find damage in the store of a landscape: all chunks are read, and each scene is compared with its digest.

Chunks have a checksum (:data:`monitor.cube.arrays.CHUNK_CODECS`), and what a scene showed of a site, its pixels and the
means of its control units, has a digest, which says what was stored. One row is in memory at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from warnings import catch_warnings, simplefilter

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from monitor.cube.store import LandscapeStore
from monitor.errors import StoreBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is damaged in the store of a landscape."""

    what: str  # in words: the array, or the scene with its day, and the problem
    sites: tuple[str, ...]  # ids of the sites that need it; empty: unknown, perhaps all
    is_needed: bool = True  # False: an old snapshot, whose rows are all in the newest one


def find_damage(
    store: LandscapeStore, report: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Damage]:
    """Read a store fully, and name what is damaged, an entry for each scene or array.

    `report` is called with the number of rows read so far and of all rows.
    """
    try:
        sites = tuple(map(str, store.fixed["site"]))
        for name in store.array_names:
            if name not in ("pixels", "unit_means", "pictures"):
                yield from _unreadable(store, name, sites)
        with store.guarded():
            slots = int(store.whole("picture").size)
            state, digests, times = (store.whole(name) for name in ("state", "digest", "time"))
        edges = [store.fixed[name] for name in ("first_pixel", "first_unit")]
    except StoreBroken as error:
        yield Damage(what=reason(error), sites=())
        return
    for slot in range(slots):
        yield from _unreadable(store, "pictures", sites, slot)
    for row in range(store.rows):
        present = np.flatnonzero(state[row])
        wrong = _wrong_sites(store, row, present, edges, digests[row])
        if wrong:
            day = datetime.fromtimestamp(int(times[row]) / 1e6, UTC).date()
            (problem, *_), which = [*wrong.values()], tuple(sites[k] for k in wrong)
            yield Damage(what=f"the scene of {day} (row {row}): {problem}", sites=which)
        report(row + 1, store.rows)
    yield from _old_snapshots(store)


def reason(error: BaseException) -> str:
    """Cause of a store that cannot be read, as a library reported it, without the advice of the error."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {next(iter(str(cause).splitlines()), 'no more is known')}"[:200]


def _unreadable(store: LandscapeStore, name: str, sites: tuple[str, ...], slot: int | None = None) -> Iterator[Damage]:
    """Damage of one array, or of one of the pictures."""
    try:
        with store.guarded():
            if slot is None:
                store.read(name, ...)
            else:
                store.picture(slot)
                store.memory.pop(f"picture {slot}")
    except StoreBroken as error:
        which = "" if slot is None else f", number {slot},"
        yield Damage(what=f"the array {name}{which} cannot be read ({reason(error)})", sites=sites)


def _wrong_sites(
    store: LandscapeStore, row: int, present: np.ndarray, edges: list[np.ndarray], digests: np.ndarray
) -> dict[int, str]:
    """Numbers of the sites whose part of a row is damaged, with the problem."""
    first_pixel, first_unit = edges
    wrong: dict[int, str] = {}
    try:
        with store.guarded():
            units = store.read("unit_means", row)
    except StoreBroken as error:
        return dict.fromkeys(present.tolist(), f"it cannot be read ({reason(error)})")
    for k in present.tolist():
        try:
            with store.guarded():
                pixels = store.pixels([row], slice(int(first_pixel[k]), int(first_pixel[k + 1])))
        except StoreBroken as error:  # a chunk holds some of the sites
            wrong[k] = f"it cannot be read ({reason(error)})"
            continue
        means = np.ascontiguousarray(units[first_unit[k] : first_unit[k + 1]]).tobytes()
        if int(sha256(np.ascontiguousarray(pixels).tobytes() + means).hexdigest()[:16], 16) != int(digests[k]):
            wrong[k] = "its pixels or the means of its control units are not those that were stored (another digest)"
    return wrong


def _old_snapshots(store: LandscapeStore) -> Iterator[Damage]:
    """Snapshots before the newest one that cannot be opened."""
    try:
        with store.guarded():
            history = store.snapshots()
    except StoreBroken as error:
        yield Damage(what=f"the list of its snapshots cannot be read ({reason(error)})", sites=(), is_needed=False)
        return
    for snapshot in history[1:]:
        try:
            with store.guarded():
                session = store.session_at(snapshot.id)
                if snapshot.parent_id is not None:  # the first one is empty
                    with catch_warnings():
                        simplefilter("error", ZarrUserWarning)  # a name that no array has
                        [*zarr.open_group(session.store, mode="r", use_consolidated=False).array_keys()]
        except (StoreBroken, ZarrUserWarning) as error:
            what = f"the snapshot of {snapshot.written_at:%Y-%m-%d %H:%M} UTC cannot be opened ({reason(error)})"
            yield Damage(what=what, sites=(), is_needed=False)
