"""One message about many alerts of one night."""

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from monitor.alerts import words
from monitor.alerts.alert import REPEATED, AlertEvent
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.message import Message
from monitor.alerts.messages.findings import label, what
from monitor.alerts.messages.places import look_at, map_link, position
from monitor.alerts.messages.rendering import render, short
from monitor.alerts.news import AlertNews
from monitor.alerts.words import Language, text
from monitor.sites.names import without_invisible
from monitor.verdict.assessment import AlertLevel

BRIEF_BYTES: Final = 1_900
"""Length of the text for messengers: the smallest limit of any channel (2,048 for WeCom) less a margin. [byte]"""
PLAIN_BYTES: Final = 66_000
"""Length of the plain text up to which it has positions and links to maps and pages, and failing that names: as base 64
it fills a mail of 100 KB. [byte]"""
MAX_SITE: Final = 24  # longest name in a list [characters]


def compose_digest(
    news: Sequence[AlertNews], *, id: str, time: datetime, language: Language, brief_bytes: int = BRIEF_BYTES,
    head: ChainHead | None = None,
) -> Message:  # fmt: skip
    """Compose one message about several alerts, the worst first, each with a link to answer it.

    The text for messengers has as many alerts as fit into `brief_bytes`, and the number of the others. The head of the
    chain, if there is one, stands at the end.
    """
    ordered = sorted(news, key=_worst_first)
    red = sum(_is_open(item) and item.alert.level is AlertLevel.RED for item in ordered)
    resolved = sum(not _is_open(item) for item in ordered)
    counts = {"n": len(ordered), "red": red, "watch": len(ordered) - red - resolved, "resolved": resolved}
    subject = text("digest.subject", language, n=len(ordered), red=red)
    intro = text("digest.intro", language, **counts)
    if any(item.event in REPEATED for item in ordered):
        intro += ("" if language == "zh" else " ") + text("digest.repeated", language)
    alerts = [_entry(number, item, language) for number, item in enumerate(ordered, 1)]
    last = head.sentence(language) if head else ""
    plain = render("digest.txt", language, intro=intro, alerts=alerts, full=True, head=last)
    if len(plain.encode()) > PLAIN_BYTES:
        plain = render("digest.txt", language, intro=intro, alerts=alerts, full=False, head=last)
    if len(plain.encode()) > PLAIN_BYTES:
        alerts = [_entry(number, item, language, names=False) for number, item in enumerate(ordered, 1)]
        plain = render("digest.txt", language, intro=intro, alerts=alerts, full=False, head=last)
    return Message(
        id=id, time=time, language=language, subject=subject, text=plain,
        brief=_brief(intro, alerts, language, brief_bytes - len(f"\n{last}".encode()) if last else brief_bytes),
        links=last, html=render("digest.html", language, subject=subject, intro=intro, alerts=alerts, head=last),
        record={
            "message_id": id, "event": "digest", "language": language, "subject": subject, "text": plain, **counts,
            "chain_head": head and head.hash,
            "alerts": [
                {
                    "id": item.alert.id, "site": item.site.id, "level": item.alert.level.value, "rule": item.alert.rule,
                    "event": item.event.value, "answer": entry["answer"], "page": item.page,
                }
                for item, entry in zip(ordered, alerts, strict=True)
            ],
        },
    )  # fmt: skip


def _is_open(news: AlertNews) -> bool:
    return news.event is not AlertEvent.RESOLVED


def _worst_first(news: AlertNews) -> tuple[bool, bool, bool, float, str]:
    """Red before watch; a sudden loss, which is urgent, before others; then by the share of the plan achieved."""
    share = news.assessment.theta if news.alert.rule == "failure" else None
    is_red, is_loss = news.alert.level is AlertLevel.RED, news.alert.rule == "disturbance"
    return not _is_open(news), not is_red, not is_loss, 9.0 if share is None else share, news.site.id


def _entry(number: int, news: AlertNews, language: Language, *, names: bool = True) -> dict[str, Any]:
    """One alert of the list, with the name of its site or only the id."""
    name, key = words.site_name(news.site, language), without_invisible(news.site.id)
    site = f"{key} {short(name, MAX_SITE)}" if names and name != key else key
    cause, theta = what(news, language), news.assessment.theta
    if theta is not None and _is_open(news) and news.alert.rule == "failure":
        share = text("digest.share", language, share=words.percent(theta))
        cause = text("digest.with_share", language, what=cause, share=share)
    if news.event in REPEATED:
        cause = text("digest.since", language, what=cause, day=words.day(news.alert.opened, language))
    level = label(news, language)
    shown_as = news.alert.level.value if _is_open(news) else "resolved"
    line = text("digest.line", language, number=number, label=level, site=site, what=cause)
    answer = news.answer if _is_open(news) else None
    latitude, longitude = look_at(news.site, news.patch)
    return {
        "id": key, "line": line, "label": level, "site": site, "what": cause, "class": shown_as, "answer": answer,
        "page": news.page, "position": position(latitude, longitude),
        "map": map_link(latitude, longitude, ""),
    }  # fmt: skip


def _brief(intro: str, alerts: Sequence[dict[str, Any]], language: Language, limit: int) -> str:
    """Text of at most `limit` bytes: all lines with their links, else ids with links, the worst first.

    Sites without room for a link are named without one, as long as there is room, and then counted.
    """
    full = [intro, *(line for alert in alerts for line in (alert["line"], alert["answer"]) if line)]
    if len("\n".join(full).encode()) <= limit:
        return "\n".join(full)
    ids = [alert["id"] for alert in alerts]
    lines = [f"{alert['id']} {alert['answer'] or alert['label']}" for alert in alerts]
    room = limit - len(intro.encode()) - len(text("digest.more", language, n=len(alerts)).encode()) - 2
    without_links = sum(len(key.encode()) + 1 for key in ids)
    if without_links <= room:  # all are named, and the rest of the room is for links
        linked = how_many_fit(
            [line.removeprefix(key) for line, key in zip(lines, ids, strict=True)], room - without_links
        )
    else:
        linked = how_many_fit(lines, room * 3 // 4)
    room -= sum(len(line.encode()) + 1 for line in lines[:linked])
    named = how_many_fit(ids[linked:], room)
    left = len(ids) - linked - named
    more = [text("digest.more", language, n=left)] if left else []
    return "\n".join([intro, *lines[:linked], *([" ".join(ids[linked : linked + named])] if named else []), *more])


def how_many_fit(lines: Sequence[str], room: int) -> int:
    """Number of lines, from the first one, that fit into `room` bytes with a separator each."""
    sizes = accumulate(len(line.encode()) + 1 for line in lines)
    return sum(1 for size in sizes if size <= room)
