"""Compose the message that reports some notices of the outbox to one recipient."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from jobs.messages.news import escalation_payload, lot_payload, news_of, site_facts
from jobs.messages.personal_links import personal_address
from jobs.messages.weekly import sites_of_week
from jobs.proof.chain import chain_head
from jobs.runtime.clock import now
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import LOT, AlertState
from monitor.alerts.links import link_address
from monitor.alerts.message import Message
from monitor.alerts.messages import compose_alert, compose_digest, compose_operators, compose_weekly
from monitor.alerts.messages.digest import BRIEF_BYTES
from monitor.alerts.recipients import FILES, Recipient
from monitor.ledger.transaction import Transaction

LONG_BRIEFS: Final = {"dingtalk": 18_000, "feishu": 18_000}  # for messengers that take more than BRIEF_BYTES [byte]
ABOUT_SITES: Final = ("silence", "self_check", "plan_edited")  # they give name, manager and page


def compose(
    t: Transaction, settings: Settings, notices: Sequence[Mapping[str, Any]], *, key: str | None
) -> tuple[Message, dict[int, str]]:
    """Compose one message of rows of the outbox with one message and kind; also the day of the assessment, by notice.

    Its id is that of the rows. Its time is that of the first attempt; in a file the day of the notices, so that the
    same night writes the same files. `key`: of the links to answer; None: no links. Raises MonitorError if what it is
    about cannot be read.
    """
    first = notices[0]
    name, kind = first["message"], first["kind"]
    moment = datetime.fromisoformat(first["first_tried"])
    if first["channel"] == FILES:
        moment = datetime.combine(datetime.fromisoformat(first["day"]).date(), time(), UTC)
    if kind == "weekly":
        recipient = Recipient(first["channel"], first["recipient"])
        return compose_weekly(
            sites_of_week(t, settings, first), day=date.fromisoformat(first["day"]), id=name, time=moment,
            address=personal_address(t, settings, recipient, key=key), head=chain_head(t),
        ), {}  # fmt: skip
    if kind == LOT:
        payloads = [lot_payload(t, settings, row["payload"]) for row in notices]
        head = chain_head(t) if len(payloads) > 1 else None
        return compose_operators(kind, payloads, id=name, time=moment, head=head), {}
    if kind != "alert":
        payloads = [row["payload"] for row in notices]
        if kind in ABOUT_SITES:
            payloads = [{**site_facts(t, settings, payload["site"]), **payload} for payload in payloads]
        if kind in ("escalation", "review"):
            link = key if kind == "escalation" else None
            payloads = [
                {**escalation_payload(t, settings, row), "answer": _answer_link(settings, row, link)} for row in notices
            ]
        elif kind == "personal_link":
            address = personal_address(t, settings, Recipient(first["channel"], first["recipient"]), key=key)
            payloads = [{**payloads[0], "address": address}]
        return compose_operators(kind, payloads, id=name, time=moment), {}
    pictures = len(notices) == 1  # a digest shows none
    news = [news_of(t, settings, row, pictures=pictures) for row in notices]
    news = [
        one if one.alert.state is AlertState.RESOLVED else replace(one, answer=_answer_link(settings, row, key))
        for one, row in zip(news, notices, strict=True)
    ]
    days = {row["id"]: one.assessment.as_of.isoformat() for row, one in zip(notices, news, strict=True)}
    if len(news) > 1:
        kind = settings.channels[first["channel"]].kind if first["channel"] in settings.channels else FILES
        language, room = words.language_of(news[0].site), LONG_BRIEFS.get(kind, BRIEF_BYTES)
        head = chain_head(t)
        return compose_digest(news, id=name, time=moment, language=language, brief_bytes=room, head=head), days
    earlier = t.first_message(first["alert"], channel=first["channel"], recipient=first["recipient"])
    return compose_alert(news[0], id=name, time=moment, follows=earlier), days


def _answer_link(settings: Settings, row: Mapping[str, Any], key: str | None) -> str | None:
    """Link by which the recipient of a notice can answer; None: answers are not served."""
    if key is None:
        return None
    expires = datetime.fromisoformat(now()) + timedelta(days=settings.answers.valid_days)
    return link_address(settings.answers.base_url, key, row["link"], expires)
