"""Open the ledger of an installation, check that it belongs to the stores, and select its sites.

A ledger without history next to filled stores is not the one that they were made with: a night would rebuild it
without its alerts, and send again what was sent.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import make_url

from jobs.runtime.lock import hold_ledger
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.cube.bucket import Place, landscape_folders
from monitor.errors import BadConfiguration, BadData
from monitor.files import make_private_folder
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site


@contextmanager
def open_ledger(settings: Settings, *, create: bool = True, lock_wait: float | None = None) -> Iterator[Ledger]:
    """Open the ledger for a ``with`` block; see :class:`monitor.ledger.ledger.Ledger`.

    If the ledger is a file that does not exist, it is created, or replaced by an empty ledger in memory (not `create`).
    Raises BadConfiguration if the ledger does not exist or has no history, but stores exist.
    """
    url, root = make_url(settings.ledger.url), settings.store.root
    file = Path(url.database or "")
    new = url.drivername.startswith("sqlite") and not file.exists()
    if new and (problem := missing_history(file.name, root)):  # before an empty ledger replaces one that was lost
        raise BadConfiguration(problem)
    with closing(Ledger("sqlite://" if new and not create else settings.ledger.url, lock_wait)) as ledger:
        with ledger.reading() as t:
            has_history = t.has_history()
        if not has_history and (problem := missing_history(ledger.name, root)):
            raise BadConfiguration(problem)
        yield ledger


@contextmanager
def locked_ledger(settings: Settings, what: str, *, create: bool = True) -> Iterator[Ledger]:
    """Open the ledger as :func:`open_ledger` does, and hold its lock, see :func:`jobs.runtime.lock.hold_ledger`."""
    with open_ledger(settings, create=create) as ledger, hold_ledger(ledger, what):
        with suppress(OSError):  # what needs the folder says what is wrong
            make_private_folder(settings.store.local)
        yield ledger


def missing_history(ledger: str, root: Place) -> str | None:
    """Message about a ledger without history (given by its name) next to existing stores; None if there are none."""
    stores = list(root.glob("*/repo")) if isinstance(root, Path) else landscape_folders(root)
    if not stores:
        return None
    return (
        f"the ledger {ledger} has no history, but {root} holds the stores of {len(stores)} landscapes: it is not the "
        "ledger that they were made with. Nothing was sent or published. Name the right ledger, or a copy from a "
        "backup, by [ledger] url. If there is none any more, name another, empty folder by [store] root: all scenes "
        f"are then fetched again, and alerts begin without their past; {root} stays as it is"
    )


def selected_sites(ledger: Ledger, only: Sequence[str] = (), *, ahead: Sequence[Site] = ()) -> list[Site]:
    """Sites of the ledger with the ids `only`; empty: all. A dry run adds new sites `ahead`.

    BadData: the registry is empty, or lacks one of the ids.
    """
    with ledger.reading() as t:
        current = {values["id"]: from_json(values, Site) for values in t.sites()}
        registered = t.registered()
    all_retired = not current and bool(registered)
    sites = current | {site.id: site for site in ahead}
    if not sites:
        why = "all are retired; to take them back" if all_retired else "add one to the registry, then"
        raise BadData(f"there is no site to judge: {why}: regrowth sites add FILE")
    unknown = sorted(set(only) - sites.keys())
    if unknown:
        retired = "is retired; 'regrowth sites add FILE' takes it back"
        missing = "is not in the ledger; 'regrowth sites list' names those there are"
        raise BadData(f"site {unknown[0]!r} {retired if unknown[0] in registered else missing}")
    return [site for site in sites.values() if not only or site.id in only]
