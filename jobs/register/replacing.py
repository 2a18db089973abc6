"""Replace the store of a damaged landscape: it is set aside, and the history of its sites is fetched again.

Nothing is deleted. The sites keep their frozen control units and all their records: those are in the ledger. A
landscape that was lost is created again by the next fetching of its sites, so this can be interrupted and run again.
"""

from dataclasses import dataclass
from typing import Any, Final

from jobs.runtime.clock import today
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import hold_landscape
from jobs.runtime.progress import Report, report_nothing
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.cube.bucket import Place, folders_in, move, size_of
from monitor.cube.damage import find_damage, reason
from monitor.cube.store import LandscapeStore
from monitor.errors import BadData, MonitorError, StoreBroken
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site, ground_key

DAMAGED: Final = ".damaged"  # folder in the root of the stores; each store in it has its name and the day


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A landscape whose store was set aside, now or by an earlier run that was interrupted."""

    landscape: str
    sites: tuple[str, ...]  # ids of its sites that are not retired: their history is fetched again
    folder: Place | None  # where the damaged store is; None: it was lost
    damage: str | None  # what is damaged; None: it was set aside by an earlier run, or lost

    @property
    def bytes(self) -> int:
        """Size of the damaged store."""
        return 0 if self.folder is None else size_of(self.folder)


def set_aside(settings: Settings, landscape: str, *, progress: Report = report_nothing) -> Replaced:
    """Move the store of a landscape to :data:`DAMAGED` if it is damaged; `progress`: rows read, of all.

    Raises BadData if the store is sound, or the landscape is unknown; nothing was changed. Raises TryLater if another
    run is storing scenes in it.
    """
    root = settings.store.root
    folder = root / landscape
    with open_ledger(settings) as ledger:
        sites, known_rows = _members(ledger, landscape)
        if not sites:
            raise BadData(
                f"the ledger has no current site in a landscape {landscape!r}; 'regrowth doctor --deep' names those "
                "damaged"
            )
        with hold_landscape(ledger, root, "a replacement", landscape):
            before = [one for one in folders_in(root / DAMAGED) if one.name.startswith(f"{landscape}-")]
            earlier = before[-1] if before else None
            damage = _damage(folder, 0 if before else known_rows, progress) if folder.is_dir() else None
            if damage is not None:
                name = f"{landscape}-{today()}"
                target = root / DAMAGED / (f"{name}-{len(before) + 1}" if before else name)
                move(folder, target)
                return Replaced(landscape=landscape, sites=sites, folder=target, damage=damage)
            if folder.is_dir() and not before:  # else lost, or fetching was interrupted
                raise BadData(
                    f"the store of landscape {landscape} is sound: every chunk was read, and every scene has its "
                    "digest. Nothing was changed. 'regrowth doctor --deep' says what is damaged"
                )
            return Replaced(landscape=landscape, sites=sites, folder=earlier, damage=None)


def _members(ledger: Ledger, landscape: str) -> tuple[tuple[str, ...], int]:
    """Current sites of a landscape, and the number of its rows that the ledger knows."""
    with ledger.reading() as t:
        grounds = {values["id"]: ground_key(from_json(values, Site)) for values in t.sites()}
        snapshots = t.snapshots()
    rows = {site: snapshots[ground].rpartition(":") for site, ground in grounds.items() if ground in snapshots}
    members = {site: int(count) for site, (name, _, count) in rows.items() if name == landscape}
    return tuple(sorted(members)), max(members.values(), default=0)


def _damage(folder: Place, known_rows: int, progress: Report) -> str | None:
    """Damage of a store; None: none that a verdict needs."""
    try:
        store = LandscapeStore(folder, read_only=True)
        if not store.exists:
            return "it has no content"
        damage = next((one.what for one in find_damage(store, progress) if one.is_needed), None)
        older = f"it has {store.rows} rows, and the ledger knows {known_rows}: it is an older copy"
        return damage or (older if store.rows < known_rows else None)
    except StoreBroken as error:
        return reason(error)


def differences(settings: Settings, replaced: Replaced) -> list[str]:
    """Differences of the new store from the one that was set aside, in sentences."""
    with open_ledger(settings) as ledger, ledger.reading() as t:
        snapshots, sites = t.snapshots(), {values["id"]: values for values in t.sites()}
    homes = {snapshots[ground_key(from_json(sites[site], Site))].rpartition(":")[0] for site in replaced.sites}
    said = [] if homes == {replaced.landscape} else [f"the sites are in {', '.join(sorted(homes))} now"]
    if replaced.folder is None:
        return said
    try:
        before = _acquisitions(replaced.folder)
    except MonitorError:
        return [*said, "the damaged store cannot be read as far as to compare its scenes"]
    after = {name for home in homes for name in _acquisitions(settings.store.root / home)}
    for which, names in (("no longer offered, or not yet fetched", before - after), ("new", after - before)):
        if names:
            some = ", ".join(sorted(names)[:5])
            said.append(f"scenes {which}: {len(names)} ({some}{' and more' if len(names) > 5 else ''})")
    return said or ["it has the same scenes as before"]


def _acquisitions(folder: Place) -> set[str]:
    store: Any = LandscapeStore(folder, read_only=True)
    with store.guarded():
        return {str(name) for name in store.whole("acquisition") if name}
