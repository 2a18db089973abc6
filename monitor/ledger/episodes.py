"""Episodes of the sites, and the promises that they are judged by."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import insert, update

from monitor.ledger.models import EpisodeRow, PromiseRow
from monitor.ledger.rows import Payload
from monitor.ledger.sites import Sites


class Episodes(Sites):
    """Queries and changes of episodes and promises."""

    def episodes(self, site: str) -> list[Payload]:
        """Episodes of a site, first one first: ``number, start, opened, closed, why, budget``."""
        return self.all_episodes([site]).get(site, [])

    def all_episodes(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Episodes of every site, or of some, see :meth:`episodes`."""
        return self._by_site(EpisodeRow, EpisodeRow.number, sites)

    def begin_episode(self, site: str, number: int, *, start: str, budget: float, why: str, now: str) -> None:
        """Close the previous episode of a site and open episode `number`.

        `budget` is its share of the site's false-alarm budget [1], `why` the reason for closing the previous one.
        """
        previous = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == number - 1)
        self._connection.execute(previous.values(closed=now, why=why))
        row = {"site": site, "number": number, "start": start, "opened": now, "budget": budget}
        self._connection.execute(insert(EpisodeRow), [row])
        self._register(site, episode=number)

    def promises(self, site: str) -> list[Payload]:
        """Promises about a site, first one first; columns of :class:`PromiseRow`."""
        return self.all_promises([site]).get(site, [])

    def all_promises(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Promises about every site that was judged, or those of some, see :meth:`promises`."""
        return self._by_site(PromiseRow, PromiseRow.id, sites)

    def add_promise(self, site: str, payload: Payload, **columns: Any) -> int:
        """Append a promise about a site; returns its number. `columns`: others of :class:`PromiseRow`."""
        number = len(self.promises(site)) + 1
        row = {"site": site, "number": number, "payload": payload, **columns}
        self._connection.execute(insert(PromiseRow), [row])
        return number
