"""Sites of the ledger: their versions, and which of them are judged."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update

from monitor.ledger.assessments import newest_night
from monitor.ledger.models import EpisodeRow, RegistrationRow, SiteVersion
from monitor.ledger.rows import Payload, Rows


@dataclass(frozen=True, slots=True)
class Registered:
    """A site that was added to the ledger at some time."""

    version: str
    start: str  # first day of the intervention, ISO 8601
    current: bool  # False: the site is retired


class Sites(Rows):
    """Queries and changes of the sites."""

    def sites(self, ids: Collection[str] | None = None) -> list[Payload]:
        """Current version of each site, or of those of some that are not retired, by id."""
        query = select(SiteVersion.payload).where(SiteVersion.current).order_by(SiteVersion.site)
        query = query if ids is None else query.where(SiteVersion.site.in_(ids))
        return [row.payload for row in self._connection.execute(query)]

    def sites_as_registered(self) -> list[str]:
        """Ids of all sites, retired ones included, in the order in which they were first added."""
        query = select(SiteVersion.site).group_by(SiteVersion.site).order_by(func.min(SiteVersion.id))
        return list(self._connection.execute(query).scalars())

    def site(self, site: str) -> Payload | None:
        """Current version of a site; None: it is retired or unknown."""
        query = select(SiteVersion.payload).where(SiteVersion.current, SiteVersion.site == site)
        return self._connection.execute(query).scalar()

    def site_version(self, site: str, version: str) -> Payload | None:
        """A version of a site, also one that is no longer current; None: it is unknown."""
        query = select(SiteVersion.payload).where(SiteVersion.site == site, SiteVersion.version == version)
        return self._connection.execute(query).scalar()

    def site_versions(self, site: str) -> list[Payload]:
        """Versions of a site that were current at some time or are named by assessments, the newest first."""
        query = select(SiteVersion.payload).where(SiteVersion.site == site)
        return list(self._connection.execute(query.order_by(SiteVersion.added.desc(), SiteVersion.id.desc())).scalars())

    def all_sites(self) -> list[Payload]:
        """Newest version of each site, retired ones included, by id."""
        newest_last = (SiteVersion.site, SiteVersion.current, SiteVersion.added, SiteVersion.id)
        return list(self._pairs(select(SiteVersion.site, SiteVersion.payload).order_by(*newest_last)).values())

    def versions(self, sites: Collection[str] | None = None) -> dict[str, str]:
        """Current version of every site, or of those of some that are not retired."""
        query = select(SiteVersion.site, SiteVersion.version).where(SiteVersion.current)
        return self._pairs(query if sites is None else query.where(SiteVersion.site.in_(sites)))

    def registered(self) -> dict[str, Registered]:
        """Every site, retired ones included, with its current version or, if retired, its last one."""
        query = select(SiteVersion.site, SiteVersion.version, SiteVersion.current, EpisodeRow.start)
        query = query.join(EpisodeRow, (EpisodeRow.site == SiteVersion.site) & (EpisodeRow.number == 1))
        query = query.order_by(SiteVersion.current, SiteVersion.added, SiteVersion.id)
        return {row.site: Registered(row.version, row.start, row.current) for row in self._connection.execute(query)}

    def store_version(self, site: str, version: str, payload: Payload, *, now: str) -> None:
        """Store a version of a site that assessments name, without making it the current one."""
        row = {"site": site, "version": version, "current": False, "added": now, "payload": payload}
        self._upsert(SiteVersion, [row], ("site", "version"), keep=True)

    def add_site(self, site: str, version: str, payload: Payload, *, start: str, now: str) -> None:
        """Make a version of a site the current one; its first episode begins at `start`."""
        self._without_current(site)
        row = {"site": site, "version": version, "current": True, "added": now, "payload": payload}
        self._upsert(SiteVersion, [row], ("site", "version"))
        first = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == 1).values(start=start)
        if self._connection.execute(first).rowcount == 0:
            episode = {"site": site, "number": 1, "start": start, "opened": now, "budget": 1.0}
            self._connection.execute(insert(EpisodeRow), [episode])
        self._register(site, version=version)

    def retire_site(self, site: str) -> None:
        """Stop judging a site; all its records stay."""
        self._without_current(site)
        self._register(site, version=None)

    def registrations(self) -> list[Payload]:
        """All changes of the registry in their order: columns of :class:`RegistrationRow`."""
        return self._rows(select(RegistrationRow.__table__).order_by(RegistrationRow.id))

    def versions_of(self, versions: Collection[str]) -> dict[tuple[str, str], Payload]:
        """Sites by id and version, those whose version is among some."""
        rows = self._connection.execute(select(SiteVersion.site, SiteVersion.version, SiteVersion.payload))
        return {(row.site, row.version): row.payload for row in rows if row.version in versions}

    def _without_current(self, site: str) -> None:
        self._connection.execute(update(SiteVersion).where(SiteVersion.site == site).values(current=False))

    def _register(self, site: str, **changed: str | int | None) -> None:
        """Append a change of the registry, unless it is as the last one says."""
        columns = (RegistrationRow.site, RegistrationRow.version, RegistrationRow.episode)
        query = select(*columns).where(RegistrationRow.site == site).order_by(RegistrationRow.id.desc())
        last = self._row(query) or {"site": site, "version": None, "episode": 1}
        new = last | changed
        if new != last:
            self._connection.execute(insert(RegistrationRow).values(newest_night=newest_night(), **new))
