"""Alerts, their events, and the photos of answers."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import func, insert, select

from monitor.ledger.models import AlertEventRow, AlertRow, PhotoRow
from monitor.ledger.rows import Payload, Rows

_EVENT_COLUMNS = (
    AlertEventRow.alert, AlertEventRow.number, AlertEventRow.kind, AlertEventRow.time, AlertEventRow.link,
    AlertEventRow.payload,
)  # fmt: skip


class Alerts(Rows):
    """Queries and changes of alerts."""

    def alert(self, alert: str) -> Payload | None:
        """Alert with an id; None: unknown."""
        return self._connection.execute(select(AlertRow.payload).where(AlertRow.id == alert)).scalar()

    def alerts_of(self, site: str) -> list[Payload]:
        """All alerts of a site, resolved or not, by id."""
        return self.alerts_by_site([site])[site]

    def alerts_by_site(self, sites: Collection[str]) -> dict[str, list[Payload]]:
        """:meth:`alerts_of` some sites; a site without any is there too."""
        query = select(AlertRow.site, AlertRow.payload).where(AlertRow.site.in_(sites)).order_by(AlertRow.id)
        alerts: dict[str, list[Payload]] = {site: [] for site in sites}
        for row in self._connection.execute(query):
            alerts[row.site].append(row.payload)
        return alerts

    def alerts(self, states: Iterable[str] | None = None) -> list[Payload]:
        """Alerts in the given states, or all alerts, oldest first."""
        query = select(AlertRow.payload).order_by(AlertRow.opened, AlertRow.id)
        if states is not None:
            query = query.where(AlertRow.state.in_(list(states)))
        return [row.payload for row in self._connection.execute(query)]

    def save_alert(self, alert: Payload) -> None:
        """Store an alert; its earlier state is replaced."""
        row = {key: alert[key] for key in ("id", "site", "state", "opened")}
        self._upsert(AlertRow, [{**row, "payload": alert}], ("id",))

    def sites_that_fell(self, day: str) -> set[str]:
        """Sites of which an alert opened, opened again or got worse on a day; alerts of lots do not count."""
        query = select(AlertRow.site, AlertEventRow.payload).join(AlertEventRow, AlertEventRow.alert == AlertRow.id)
        query = query.where(AlertRow.id.not_like("%/lot"), AlertEventRow.kind.in_(("opened", "worsened", "reopened")))
        return {site for site, event in self._connection.execute(query) if event["day"] == day}

    def add_event(self, alert: str, kind: str, payload: Payload, *, time: str, link: str | None = None) -> int:
        """Append an event to an alert; returns its number."""
        number: int = self._scalar(select(func.count()).where(AlertEventRow.alert == alert)) + 1
        row = {"alert": alert, "number": number, "kind": kind, "time": time, "link": link, "payload": payload}
        self._connection.execute(insert(AlertEventRow), [row])
        return number

    def events(self, alert: str) -> list[Payload]:
        """Events of an alert, first one first: ``number, kind, time, link`` and the entries of their payload."""
        query = select(*_EVENT_COLUMNS).where(AlertEventRow.alert == alert).order_by(AlertEventRow.number)
        return [_event(row) for row in self._connection.execute(query)]

    def all_events(self, *, kind: str | None = None) -> list[Payload]:
        """Events of all alerts, or those of a kind, oldest first, see :meth:`events`; each also with ``alert``."""
        query = select(*_EVENT_COLUMNS).order_by(AlertEventRow.id)
        query = query if kind is None else query.where(AlertEventRow.kind == kind)
        return [_event(row) for row in self._connection.execute(query)]

    def link_was_used(self, link: str) -> bool:
        """Whether an answer came by this link already."""
        return self._scalar(select(AlertEventRow.id).where(AlertEventRow.link == link)) is not None

    def add_photo(self, photo: Payload) -> None:
        """Store a photo of an answer, unless the alert has it already; columns of :class:`PhotoRow`."""
        self._upsert(PhotoRow, [photo], ("id", "alert"), keep=True)

    def photos(self, alert: str) -> list[Payload]:
        """Photos of the answers to an alert; columns of :class:`PhotoRow`."""
        query = select(PhotoRow.__table__).where(PhotoRow.alert == alert)
        return self._rows(query.order_by(PhotoRow.number, PhotoRow.id))

    def photo_list(self) -> list[Payload]:
        """Photos of all answers without their content; the other columns of :class:`PhotoRow`."""
        columns = [column for column in PhotoRow.__table__.c if column.name != "content"]
        return self._rows(select(*columns).order_by(PhotoRow.alert, PhotoRow.number, PhotoRow.id))


def _event(row: Any) -> Payload:
    columns = dict(row._mapping)
    return {**columns.pop("payload"), **columns}
