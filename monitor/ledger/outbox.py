"""The outbox: notices to recipients, the messages that contain them, and the personal links of managers."""

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, insert, select, update

from monitor.ledger.models import NoticeRow, PersonalLinkRow
from monitor.ledger.rows import Payload, Rows


class Outbox(Rows):
    """Queries and changes of the outbox."""

    def add_notice(
        self, event: str, kind: str, payload: Payload, *, day: str, recipients: Iterable[tuple[str, str]],
        site: str | None = None, alert: str | None = None,
    ) -> int:  # fmt: skip
        """Put a notice for each recipient (channel, address) into the outbox, unless the event is there for it.

        Returns the number of recipients that are new.
        """
        there = self.recipients_of(event)
        rows = [
            {
                "event": event, "channel": channel, "recipient": address, "kind": kind, "day": day, "site": site,
                "alert": alert, "payload": payload, "link": secrets.token_hex(8), "state": "waiting", "attempts": 0,
            }
            for channel, address in dict.fromkeys(recipients)
            if (channel, address) not in there
        ]  # fmt: skip
        if rows:
            self._connection.execute(insert(NoticeRow), rows)
        return len(rows)

    def notices(self, *states: str, message: str | None = None, alert: str | None = None) -> list[Payload]:
        """Notices, oldest first: in some states, of one message, or about one alert; columns of :class:`NoticeRow`."""
        query = select(NoticeRow.__table__).order_by(NoticeRow.day, NoticeRow.id)
        query = query.where(NoticeRow.state.in_(states)) if states else query
        query = query if message is None else query.where(NoticeRow.message == message)
        query = query if alert is None else query.where(NoticeRow.alert == alert)
        return self._rows(query)

    def notice_of_link(self, link: str) -> Payload | None:
        """Notice that an answer link belongs to; columns of :class:`NoticeRow`. None: there is none."""
        return self._row(select(NoticeRow.__table__).where(NoticeRow.link == link))

    def all_notices(self) -> list[Payload]:
        """Every notice, oldest first; columns of :class:`NoticeRow` without the payload."""
        columns = [column for column in NoticeRow.__table__.columns if column.name != "payload"]
        return self._rows(select(*columns).order_by(NoticeRow.day, NoticeRow.id))

    def change_notices(self, ids: Iterable[int], *, leased_until: str | None = None, **columns: Any) -> int:
        """Set columns of :class:`NoticeRow` of some notices; returns how many were changed.

        With `leased_until` only those that still have this lease are changed: another sender may have taken them over.
        """
        changed = update(NoticeRow).where(NoticeRow.id.in_(list(ids)))
        if leased_until is not None:
            changed = changed.where(NoticeRow.lease == leased_until)
        return self._connection.execute(changed.values(**columns)).rowcount

    def count_messages(self, *states: str) -> int:
        """Number of messages with notices in the given states; a notice without a message counts as one."""
        waits = NoticeRow.state.in_(states)
        grouped = select(func.count(NoticeRow.message.distinct())).where(waits)
        alone = select(func.count()).where(waits, NoticeRow.message.is_(None))
        return self._connection.execute(grouped).scalar_one() + self._connection.execute(alone).scalar_one()

    def count_grouped(self, kind: str, *, day: str, channel: str, recipient: str) -> int:
        """Number of notices of a kind to one recipient on one day that have a message already."""
        query = select(func.count()).where(
            NoticeRow.kind == kind, NoticeRow.day == day, NoticeRow.channel == channel,
            NoticeRow.recipient == recipient, NoticeRow.message.is_not(None), NoticeRow.state != "withdrawn",
        )  # fmt: skip
        return self._connection.execute(query).scalar_one()

    def first_message(self, alert: str, *, channel: str, recipient: str) -> str | None:
        """Id of the first message about an alert that was sent to a recipient; None: there is none."""
        query = select(NoticeRow.message).where(
            NoticeRow.alert == alert, NoticeRow.channel == channel, NoticeRow.recipient == recipient,
            NoticeRow.state == "sent",
        )  # fmt: skip
        return self._connection.execute(query.order_by(NoticeRow.id).limit(1)).scalar()

    def recipients_of(self, event: str) -> dict[tuple[str, str], str]:
        """Day of the notice of an event to each recipient (channel, address)."""
        query = select(NoticeRow.channel, NoticeRow.recipient, NoticeRow.day).where(NoticeRow.event == event)
        return {(channel, recipient): day for channel, recipient, day in self._connection.execute(query)}

    def newest_brief(self, channel: str, recipient: str) -> str | None:
        """Event of the newest brief of a manager; None: there is none."""
        query = select(func.max(NoticeRow.event)).where(NoticeRow.kind == "weekly", NoticeRow.channel == channel)
        return self._connection.execute(query.where(NoticeRow.recipient == recipient)).scalar()

    def last_notices_about_sites(self) -> dict[tuple[str, str, str], int]:
        """Id of the last notice that was sent about each site (site, channel, address): of an alert or in a brief.

        Where a note on a handover is newer, the recipient is left out.
        """
        last, who = func.max(NoticeRow.id), (NoticeRow.channel, NoticeRow.recipient)
        by_site = select(NoticeRow.site, *who, last).where(NoticeRow.site.is_not(None)).group_by(NoticeRow.site, *who)
        is_sent = NoticeRow.state == "sent"
        alerts = self._connection.execute(by_site.where(NoticeRow.kind == "alert", is_sent))
        found = {(str(site), channel, recipient): number for site, channel, recipient, number in alerts}
        newest = select(last).where(NoticeRow.kind == "weekly", is_sent).group_by(*who)
        briefs = select(NoticeRow.id, *who, NoticeRow.payload).where(NoticeRow.id.in_(newest))
        for number, channel, recipient, payload in self._connection.execute(briefs):
            for site in payload["sites"]:
                key = (site, channel, recipient)
                found[key] = max(number, found.get(key, 0))
        for site, channel, recipient, number in self._connection.execute(by_site.where(NoticeRow.kind == "handover")):
            if found.get((str(site), channel, recipient), number) < number:
                del found[str(site), channel, recipient]
        return found

    def personal_link(self, channel: str, recipient: str) -> str | None:
        """Identifier of the valid personal link of a manager; None: there is none."""
        query = select(PersonalLinkRow.link).where(
            PersonalLinkRow.channel == channel, PersonalLinkRow.recipient == recipient,
            PersonalLinkRow.revoked.is_(None),
        )  # fmt: skip
        return self._connection.execute(query).scalar()

    def make_personal_link(self, channel: str, recipient: str, *, now: str) -> str:
        """Identifier of the valid personal link of a manager, which is made where there is none."""
        link = self.personal_link(channel, recipient)
        if link is None:
            link = secrets.token_hex(8)
            row = {"link": link, "channel": channel, "recipient": recipient, "made": now}
            self._connection.execute(insert(PersonalLinkRow), [row])
        return link

    def manager_of_link(self, link: str) -> tuple[str, str] | None:
        """Channel and address of the manager of a personal link; None: it is unknown or revoked."""
        query = select(PersonalLinkRow.channel, PersonalLinkRow.recipient)
        valid = query.where(PersonalLinkRow.link == link, PersonalLinkRow.revoked.is_(None))
        row = self._connection.execute(valid).one_or_none()
        return None if row is None else (row.channel, row.recipient)

    def revoke_personal_links(self, manager: str, *, now: str) -> int:
        """Revoke the personal links of an address, or of a channel with one receiver; returns how many were valid."""
        of_channel = (PersonalLinkRow.recipient == "") & (PersonalLinkRow.channel == manager)
        theirs = (PersonalLinkRow.recipient == manager) | of_channel
        valid = update(PersonalLinkRow).where(theirs, PersonalLinkRow.revoked.is_(None))
        return self._connection.execute(valid.values(revoked=now)).rowcount
