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
        self,
        event: str,
        kind: str,
        payload: Payload,
        *,
        day: str,
        recipients: Iterable[tuple[str, str]],
        site: str | None = None,
        alert: str | None = None,
    ) -> int:
        """Put a notice for each recipient (channel, address) into the outbox, unless the event is there for it.

        Returns the number of recipients that are new.
        """
        known = select(NoticeRow.channel, NoticeRow.recipient).where(NoticeRow.event == event)
        there = {tuple(row) for row in self._connection.execute(known)}
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
        table = NoticeRow.__table__
        query = select(table).order_by(table.c.day, table.c.id)
        query = query.where(table.c.state.in_(states)) if states else query
        query = query if message is None else query.where(table.c.message == message)
        query = query if alert is None else query.where(table.c.alert == alert)
        return self._rows(query)

    def notice_of_link(self, link: str) -> Payload | None:
        """Notice that an answer link belongs to; columns of :class:`NoticeRow`. None: there is none."""
        table = NoticeRow.__table__
        return self._row(select(table).where(table.c.link == link))

    def all_notices(self) -> list[Payload]:
        """Every notice, oldest first; columns of :class:`NoticeRow` without the payload."""
        columns = [column for column in NoticeRow.__table__.columns if column.name != "payload"]
        query = select(*columns).order_by(NoticeRow.day, NoticeRow.id)
        return self._rows(query)

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

    def last_message_days(self) -> dict[tuple[str, str], str]:
        """Newest day of the notices to each recipient (channel, address) that were sent or are to be sent."""
        query = select(NoticeRow.channel, NoticeRow.recipient, func.max(NoticeRow.day))
        query = query.where(NoticeRow.state.in_(("waiting", "held", "sent")))
        rows = self._connection.execute(query.group_by(NoticeRow.channel, NoticeRow.recipient))
        return {(channel, recipient): day for channel, recipient, day in rows}

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
        row = self._connection.execute(query.where(PersonalLinkRow.link == link, PersonalLinkRow.revoked.is_(None)))
        return next((tuple(one) for one in row), None)

    def revoke_personal_links(self, channel: str, recipient: str, *, now: str) -> int:
        """Revoke the personal links of a manager; returns how many were valid."""
        valid = update(PersonalLinkRow).where(
            PersonalLinkRow.channel == channel, PersonalLinkRow.recipient == recipient,
            PersonalLinkRow.revoked.is_(None),
        )  # fmt: skip
        return self._connection.execute(valid.values(revoked=now)).rowcount
