"""Send the messages that wait in the outbox: each at least once, always under the same id.

A notice is one event for one recipient, written with the change that it reports. Notices that are sent together are one
message. Which ones these are is stored, with the id of the message, before the first attempt, and does not change: a
message that is sent again, because nobody knows whether it arrived, has the id that its receiver may know already.

Only the holder of the ledger's lock sends, so a lease that is found is that of a sender that died, and is taken over.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import structlog

from jobs.messages.channels import Channels, open_channels
from jobs.messages.compose import compose
from jobs.messages.operator_notices import MassFall, mass_fall, report_mass_fall
from jobs.messages.weekly import sites_left
from jobs.register.alerting import address_book
from jobs.runtime.clock import now
from jobs.runtime.logs import redacted
from jobs.runtime.secrets import secret
from jobs.runtime.settings import Settings
from monitor.alerts.alert import LOT, REPEATED, AlertEvent, AlertState
from monitor.alerts.channels.channel import NotDelivered, Undeliverable, Unreachable
from monitor.alerts.recipients import FILES, AddressBook
from monitor.errors import BadConfiguration, MonitorError
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

log = structlog.get_logger()

QUICK_RETRIES: Final = (1.0, 4.0)  # waits before undelivered messages are tried again in the same pass [s]
RETRY_TIME: Final = 20.0  # time after the first attempts within which such retries begin [s]
SHORTEST_WAIT: Final = timedelta(minutes=10)
LONGEST_WAIT: Final = timedelta(days=1)  # limits of the wait, which is the time since the first attempt: it doubles
LONGEST_TRIED: Final = timedelta(days=7)  # after the first attempt; then a message is given up
SLOW: Final = 10.0  # time that a failed attempt may take [s]
SLOW_IN_A_ROW: Final = 2  # attempts after which a channel counts as unreachable: one may be due to its recipient
LEASE: Final = timedelta(minutes=10)  # longest time that a sender may need for one message

type Row = Mapping[str, Any]  # one notice: columns of `monitor.ledger.models.NoticeRow`


class SendResult(NamedTuple):
    """Numbers of messages after a pass over the outbox."""

    sent: int  # messages sent now
    waiting: int  # messages that are neither sent nor dead, held ones too
    dead: int  # messages given up now


class Delivery(NamedTuple):
    """Delivery of a message to one operator."""

    channel: str
    recipient: str
    error: str | None  # None: it was delivered


class Due(NamedTuple):
    """A message that is to be sent now."""

    message: str
    channel: str


def answer_key(settings: Settings) -> str | None:
    """Key of the links to answer; None: messages have none. Raises BadConfiguration if answers are served without."""
    if not settings.answers.base_url:
        return None
    if (key := secret("ANSWER_KEY")) is None:
        raise BadConfiguration(
            "[answers] base_url is set, but there is no key to sign the links with: set REGROWTH_ANSWER_KEY, or name "
            "its file by REGROWTH_ANSWER_KEY_FILE (the same as of 'regrowth serve'), or remove base_url"
        )
    return key


def send(settings: Settings, ledger: Ledger, *, release: bool = False, night: bool = True) -> SendResult:
    """Send the messages in the outbox. Undelivered ones wait for the next time, for at most a week.

    Messages of a night in which too many sites failed at once are held until a person releases them (`release`).
    Outdated messages are withdrawn. `night`: each waiting message is tried, whatever its next attempt. Raises TryLater
    if the lock was lost, and nothing more is sent, and BadConfiguration without a key for the links to answer.
    """
    key = answer_key(settings)
    with ledger.transaction() as t:
        due = _prepare(t, settings, release=release, night=night)
    ended: Counter[str] = Counter()
    if due:
        with open_channels(settings) as channels:
            sender = _Sender(settings, ledger, channels, key)
            due = sender.try_each(due)
            begun = time.monotonic()
            for wait in QUICK_RETRIES:
                if due and time.monotonic() + wait < begun + RETRY_TIME:
                    time.sleep(wait)
                    due = sender.try_each(due, again=True)
            ended = sender.ended
    with ledger.reading() as t:
        waiting = t.count_messages("waiting", "held")
    return SendResult(sent=ended["sent"], waiting=waiting, dead=ended["dead"])


def send_event(settings: Settings, ledger: Ledger, event: str) -> list[Delivery]:
    """Try each waiting message about one event to the operators once; what is not delivered waits for the next night.

    Raises TryLater if the lock was lost, and nothing more is sent.
    """
    with ledger.transaction() as t:
        rows = [row for row in t.notices("waiting") if row["event"] == event]
        _store_groups(t, rows, settings.alerts.digest_above)
        stored = [row for row in t.notices("waiting") if row["event"] == event]
    if not stored:
        return []
    with open_channels(settings) as channels:
        sender = _Sender(settings, ledger, channels, key=None)
        sender.try_each([Due(row["message"], row["channel"]) for row in stored])
    with ledger.reading() as t:
        tried = [row for due in stored for row in t.notices(message=due["message"])]
    return [
        Delivery(row["channel"], row["recipient"], None if row["state"] == "sent" else row["error"]) for row in tried
    ]


def _prepare(t: Transaction, settings: Settings, *, release: bool, night: bool) -> list[Due]:
    """Withdraw what is outdated, hold or release, and group the rest; returns the messages to send now.

    Channels with few messages come first, so that a slow mail server does not delay the word to the operators.
    """
    notices = _withdraw_outdated(t, t.notices("waiting", "held"), address_book(settings))
    if release:
        held = [row["id"] for row in notices if row["state"] == "held"]
        t.change_notices(held, state="waiting", error=None, next_try=now())
    else:
        falls = _hold_mass_falls(t, notices)
        _store_groups(t, t.notices("held"), settings.alerts.digest_above)
        _report_mass_falls(t, falls, settings)
    _store_groups(t, t.notices("waiting"), settings.alerts.digest_above)
    messages: dict[str, list[Row]] = {}
    for row in t.notices("waiting", "held"):
        messages.setdefault(row["message"], []).append(row)
    due = [
        Due(message, rows[0]["channel"])
        for message, rows in messages.items()
        if all(row["state"] == "waiting" for row in rows)
        and (night or rows[0]["next_try"] is None or rows[0]["next_try"] <= now())
    ]
    many = Counter(message.channel for message in due)
    return sorted(due, key=lambda message: many[message.channel])


def _withdraw_outdated(t: Transaction, notices: Sequence[Row], book: AddressBook) -> list[Row]:
    """Withdraw outdated notices; returns the others."""
    news = []
    for row in notices:
        why = _outdated(t, row, book)
        if why is None:
            news.append(row)
        else:
            t.change_notices([row["id"]], state="withdrawn", error=why, lease=None)
            log.info("notice withdrawn", notice=row["event"], why=why)
    return news


def _outdated(t: Transaction, row: Row, book: AddressBook) -> str | None:
    """Reason why a notice that has waited is outdated; None if it is not."""
    if row["kind"] == "weekly":
        if t.newest_brief(row["channel"], row["recipient"]) != row["event"]:
            return "a newer brief waits or was sent"
        return None if sites_left(t, book, row) else "the manager has no site left"
    if row["kind"] == "personal_link":
        return None if t.personal_link(row["channel"], row["recipient"]) else "the link was revoked since"
    if row["kind"] == "review":
        waits = (t.alert(row["payload"]["alert"]["id"]) or {}).get("unreviewed")
        return None if waits else "it was reviewed or answered again since"
    if row["site"] is None and row["kind"] != LOT:
        return None
    if row["site"] is not None and t.site(row["site"]) is None:
        return "its site is retired"
    if row["kind"] == "silence":
        latest = t.latest_assessment(row["site"])
        seen = latest.payload["last_observed"] if latest else None
        return "the site was observed since" if (seen or "") > (row["payload"]["last_observed"] or "") else None
    if row["kind"] == "handover":
        return None
    if row["payload"]["event"] == AlertEvent.RESOLVED:
        reported = any(one["state"] == "sent" for one in t.notices(alert=row["alert"]))
        return None if reported else "its alert was never reported"
    alert = t.alert(row["alert"])
    if alert is None or alert["state"] == AlertState.RESOLVED:
        return "its alert is resolved by now"
    unanswered = row["payload"]["event"] in (AlertEvent.REMINDED, AlertEvent.ESCALATED)
    return "somebody reacted since" if unanswered and alert["state"] != AlertState.OPEN else None


def _hold_mass_falls(t: Transaction, waiting: Sequence[Row]) -> list[MassFall]:
    """Hold the notices of nights in which too many sites failed at once; returns these nights.

    Notices that were tried or released, which have a time of the next try, are not held again. Those that repeat an
    older alert are not held.
    """
    bad_news = [
        row
        for row in waiting
        if row["kind"] == "alert" and row["payload"]["event"] not in (*REPEATED, AlertEvent.RESOLVED)
        and not row["attempts"] and row["next_try"] is None
    ]  # fmt: skip
    falls = []
    for day in sorted({row["day"] for row in bad_news}):
        notices = [row for row in bad_news if row["day"] == day]
        if fall := mass_fall(t, day):
            t.change_notices([row["id"] for row in notices], state="held", error=_why_held(fall))
            falls.append(fall)
    return falls


def _why_held(fall: MassFall) -> str:
    fix = "look at their scenes, then: regrowth alerts release"
    return f"{fall.fell} of {fall.sites} sites fell on {fall.day}; {fix}"


def _report_mass_falls(t: Transaction, falls: Sequence[MassFall], settings: Settings) -> None:
    """Log how many messages are held, and notify the operators once."""
    held = t.notices("held") if falls else []
    for fall in falls:
        messages = len({row["message"] for row in held if row["day"] == fall.day})
        log.error("messages are held", messages=messages, why=_why_held(fall))
        report_mass_fall(t, fall, messages, address_book(settings))


def _store_groups(t: Transaction, notices: Sequence[Row], digest_above: int) -> None:
    """Store which notices are sent together, of those for which this is not known yet.

    Together are: more than `digest_above` notices about alerts to one recipient on one day, counting those that have a
    message already, alerts of lots apart; and by day silent sites, red alerts without an answer, edited promises and
    handed over sites. In files each notice about an alert is a file.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in notices:
        if row["message"] is None:
            key = (row["state"], row["day"], row["channel"], row["recipient"], row["kind"])
            groups.setdefault(key, []).append(row)
    for (_, day, channel, recipient, kind), rows in groups.items():
        together = kind in ("silence", "escalation", "plan_edited", "handover", "review")
        if kind in ("alert", LOT) and channel != FILES:
            known = t.count_grouped(kind, day=day, channel=channel, recipient=recipient)
            together = known + len(rows) > digest_above
        for message in [rows] if together else [[row] for row in rows]:
            t.change_notices([row["id"] for row in message], message=message_id(message))


def message_id(notices: Sequence[Row]) -> str:
    """Id of the message that reports some notices to one recipient: the same for the same notices. 40 hex digits."""
    names = [notices[0]["channel"], notices[0]["recipient"], *sorted(row["event"] for row in notices)]
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:40]


@dataclass
class _Sender:
    """One pass over the messages that are due."""

    settings: Settings
    ledger: Ledger
    channels: Channels
    key: str | None  # key for the links to answer
    ended: Counter[str] = field(default_factory=Counter)  # messages by final state: sent, dead

    def try_each(self, messages: Sequence[Due], *, again: bool = False) -> list[Due]:
        """Try each message once (`again`: in this pass); returns those that may be delivered when tried again soon.

        Once a channel cannot be reached, or was :data:`SLOW` several times in a row, its other messages count as tried,
        without being sent. They are the first ones of those that are returned.
        """
        unreachable: dict[str, NotDelivered] = {}
        slow: Counter[str] = Counter()
        failed: list[Due] = []
        skipped: list[Due] = []
        for due in messages:
            known = unreachable.get(due.channel)
            if known is not None and again:
                skipped.append(due)
                continue
            rows = self._claim(due.message)
            if not rows:
                continue
            begun = time.monotonic()
            error = self._deliver(rows, known)
            slow[due.channel] = slow[due.channel] + 1 if time.monotonic() - begun > SLOW and error else 0
            if isinstance(error, NotDelivered):
                (failed if known is None else skipped).append(due)
                if isinstance(error, Unreachable) or slow[due.channel] >= SLOW_IN_A_ROW:
                    unreachable[due.channel] = error
        return skipped + failed

    def _claim(self, message: str) -> list[Row]:
        """Notices of a message that are still news, with a lease on them and one attempt more."""
        moment = now()
        lease = (datetime.fromisoformat(moment) + LEASE).isoformat(timespec="microseconds")
        with self.ledger.transaction() as t:
            waiting = [row for row in t.notices(message=message) if row["state"] == "waiting"]
            rows = _withdraw_outdated(t, waiting, address_book(self.settings))
            claim: dict[str, Any] = {
                "lease": lease,
                "first_tried": next((row["first_tried"] for row in rows if row["first_tried"]), moment),
                "attempts": max((row["attempts"] for row in rows), default=0) + 1,
            }
            t.change_notices([row["id"] for row in rows], **claim)
        return [{**row, **claim} for row in rows]

    def _deliver(self, rows: Sequence[Row], known: NotDelivered | None) -> Exception | None:
        """Send the message of some notices, or not if its channel is `known` to fail; store and return the error."""
        days: dict[int, str] = {}
        error: Exception | None = known
        answer = ""
        if known is None:
            try:
                channel = self.channels[rows[0]["channel"]]
                with self.ledger.reading() as t:
                    message, days = compose(t, self.settings, rows, key=self.key)
            except Exception as problem:  # noqa: BLE001 - the other messages are sent
                error = problem
            else:
                self.ledger.guard()
                try:
                    answer = channel.send(message, rows[0]["recipient"])
                except Exception as problem:  # noqa: BLE001 - the other messages are sent
                    error = problem
        self._store(rows, error, answer, days)
        return error

    def _store(self, rows: Sequence[Row], error: Exception | None, answer: str, days: Mapping[int, str]) -> None:
        """Store what became of a message, unless another sender has taken it over."""
        if error is None:
            changes: dict[str, Any] = {"state": "sent", "sent": now(), "error": redacted(answer), "next_try": None}
        else:
            changes = _after_failure(error, datetime.fromisoformat(rows[0]["first_tried"]))
        with self.ledger.transaction() as t:
            changed = [
                t.change_notices(
                    [row["id"]], leased_until=row["lease"], lease=None,
                    reported_day=None if error else days.get(row["id"]), **changes,
                )
                for row in rows
            ]  # fmt: skip
        if any(changed):
            self.ended[changes.get("state", "waiting")] += 1
        _log(rows, error, changes)


def _after_failure(error: Exception, first_tried: datetime) -> dict[str, Any]:
    """Changes of the notices of a message that was not delivered."""
    why = redacted(str(error) if isinstance(error, MonitorError) else f"{type(error).__name__}: {error}")
    if isinstance(error, BadConfiguration):  # nobody was asked to deliver it: it waits until this is corrected
        return {"error": why, "first_tried": None, "next_try": None}
    moment = datetime.fromisoformat(now())
    tried_for = moment - first_tried
    if isinstance(error, Undeliverable) or tried_for >= LONGEST_TRIED:
        return {"state": "dead", "error": why, "next_try": None}
    wait = min(max(tried_for, SHORTEST_WAIT), LONGEST_WAIT)
    return {"error": why, "next_try": (moment + wait).isoformat(timespec="milliseconds")}


def _log(rows: Sequence[Row], error: Exception | None, changes: Mapping[str, Any]) -> None:
    what = {"message": rows[0]["message"], "channel": rows[0]["channel"], "notices": len(rows)}
    if error is None:
        log.info("message sent", **what)
    elif changes.get("state") == "dead":
        log.error("message is given up", **what, error=changes["error"])
    elif isinstance(error, MonitorError):
        log.warning("message waits", **what, error=changes["error"])
    else:
        log.error("message waits", **what, exc_info=error)
