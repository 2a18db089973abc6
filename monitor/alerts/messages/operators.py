"""Messages to operators, the weekly all-quiet to managers, and test messages."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from monitor.alerts import words
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.message import Message
from monitor.alerts.messages.digest import BRIEF_BYTES
from monitor.alerts.messages.lots import lot_lines
from monitor.alerts.messages.rendering import render, short
from monitor.alerts.words import LANGUAGES, Language, text
from monitor.sites.names import without_invisible

Payload = Mapping[str, Any]

OLD_DAYS: Final = 30
"""Age of the newest scene from which all-quiet says that little was seen. [day]"""
MAX_LISTED: Final = 200
"""Sites that a message names, at most."""
MAX_BRIEF_LINES: Final = 6
"""Lines of the text for messengers in each language, besides subject and commands."""


def compose_operators(
    kind: str, payloads: Sequence[Payload], *, id: str, time: datetime, head: ChainHead | None = None
) -> Message:
    """Compose one message to the operators, in English and in Chinese.

    Parameters
    ----------
    kind : str
        ``failed_night``, ``silence``, ``mass_fall``, ``escalation``, ``lot`` or ``self_check``.
    payloads : sequence of mapping
        Of the notices of this kind that the message is about.
    id : str
        Id of the message.
    time : datetime
        When it is first sent, UTC.
    head : ChainHead, optional
        Stated at the end; None: the message is no digest, or there is none yet.
    """
    write = {
        "failed_night": _failed_night, "silence": _silence, "mass_fall": _mass_fall, "escalation": _escalation,
        "lot": _lots, "self_check": _self_check,
    }[kind]  # fmt: skip
    parts = [write(payloads, language) for language in LANGUAGES]
    record = {"message_id": id, "event": kind, "notices": [*map(dict, payloads)]}
    return _bilingual(parts, id=id, time=time, record=record, head=head)


def compose_quiet(
    sites: Sequence[str],
    newest: date | None,
    *,
    day: date | None = None,
    id: str,
    time: datetime,
    language: Language,
    page: str | None = None,
    head: ChainHead | None = None,
) -> Message:
    """Compose the weekly message that no alert is open.

    Parameters
    ----------
    sites : sequence of str
        Ids of the sites of the recipient.
    newest : date or None
        Date of the newest usable scene of any of them; None: there is none.
    day : date, optional
        Day of the night, at which that scene has the reported age; None: the day of `time`.
    id : str
        Id of the message.
    time : datetime
        When it is first sent, UTC.
    language : str
        Of the recipient.
    page : str, optional
        Address of the overview page.
    head : ChainHead, optional
        Stated at the end; None: there is none yet.
    """
    key = "quiet.subject_one" if len(sites) == 1 else "quiet.subject"
    subject = text(key, language, n=len(sites))
    lines = [text("quiet.text", language)]
    if newest is None:
        lines.append(text("quiet.unseen", language))
    else:
        age = ((day or time.date()) - newest).days
        lines.append(text("quiet.newest", language, day=words.day(newest, language), days=age))
        lines += [text("quiet.old", language)] if age > OLD_DAYS else []
    names = [_inert(site) for site in sites]
    facts, all_sites = "\n".join([subject, *lines]), _site_line(names, language)
    lines.append(all_sites)
    last = head.sentence(language) if head else ""
    overview = f"{text('quiet.overview', language)}{text('unit.colon', language)}{page}" if page else ""
    links = "\n".join(filter(None, [overview, last]))
    room = BRIEF_BYTES - len(facts.encode()) - len(last.encode())
    part = {
        "language": language, "subject": subject, "lines": lines, "commands": [], "helps": "", "page": page,
        "head": last,
    }  # fmt: skip
    return Message(
        id=id,
        time=time,
        language=language,
        subject=subject,
        text="\n".join([*lines, *([links] if links else [])]) + "\n",
        brief=f"{facts}\n{_site_line(names, language, room)}",
        links=links,
        html=render("operators.html", language, subject=subject, parts=[part]),
        record={
            "message_id": id, "event": "quiet", "sites": list(sites),
            "newest": newest and newest.isoformat(), "page": page, "chain_head": head and head.hash,
        },
    )  # fmt: skip


def compose_test(channel: str, *, id: str, time: datetime) -> Message:
    """Compose a message that tests a channel, in English and in Chinese."""
    name = without_invisible(channel)
    parts = [_part(language, "test", [text("test.text", language, channel=name)], []) for language in LANGUAGES]
    return _bilingual(parts, id=id, time=time, record={"message_id": id, "event": "test", "channel": name})


def _part(
    language: Language, kind: str, lines: Sequence[str], commands: Sequence[str], **values: object
) -> dict[str, Any]:
    """What a message says in one language."""
    key = "test.subject" if kind == "test" else f"operators.{kind}_subject"
    key += "_one" * (values.get("n") == 1)
    return {
        "language": language, "subject": text(key, language, **values), "lines": list(lines),
        "commands": list(commands), "helps": text("operators.command", language),
        "page": None, "head": "",
    }  # fmt: skip


def _bilingual(
    parts: Sequence[dict[str, Any]],
    *,
    id: str,
    time: datetime,
    record: dict[str, Any],
    head: ChainHead | None = None,
) -> Message:
    heads = [head.sentence(part["language"]) for part in parts] if head else []
    parts = [{**part, "head": last} for part, last in zip(parts, heads, strict=True)] if head else parts
    record = record | ({"chain_head": head.hash} if head else {})
    plain = "\n\n".join([*(_block(part, part["lines"]) for part in parts), *(["\n".join(heads)] if head else [])])
    brief = []
    for part in parts:
        left_out = ["…"] if len(part["lines"]) > MAX_BRIEF_LINES else []
        brief.append(_block(part, [*part["lines"][:MAX_BRIEF_LINES], *left_out]))
    subject = " / ".join(part["subject"] for part in parts)
    return Message(
        id=id,
        time=time,
        language="zh",
        subject=subject,
        text=f"{plain}\n",
        brief="\n\n".join(brief),
        links="\n".join(heads),
        html=render("operators.html", "zh", subject=subject, parts=parts),
        record=record | {"subject": subject, "text": plain},
    )


def _block(part: dict[str, Any], lines: Sequence[str]) -> str:
    """Plain text of a message in one language."""
    helps = f"{part['helps']}{text('unit.colon', part['language'])}".rstrip()
    commands = [helps, *(f"  {line}" for line in part["commands"])] if part["commands"] else []
    return "\n".join([part["subject"], *lines, *commands])


def _failed_night(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines, commands = [], []
    for night in payloads:
        status = str(night["status"])
        key = f"exit.{status if status in words.TEXTS['exit'] else 'other'}"
        day = _day(night["as_of"], language)
        lines.append(text("operators.failed_night", language, day=day, status=status, meaning=text(key, language)))
        if night.get("error"):
            lines.append(text("operators.failed_night_error", language, error=short(_inert(night["error"]), 500)))
        counts = {
            "n_failed": night["n_failed"],
            "n_deferred": night["n_deferred"],
            "waiting": night["messages_waiting"],
        }
        lines.append(text("operators.failed_night_sites", language, **counts))
        colon = text("unit.colon", language)
        if not night["failed"]:
            continue
        if language == "zh":
            lines.append(text("operators.failed_night_listed", language))
            continue
        lines += [f"{_inert(one['site'])}{colon}{short(_inert(one['error']), 200)}" for one in night["failed"]]
        more = int(night["n_failed"]) - len(night["failed"])
        lines += [text("operators.failed_night_more", language, n=more)] if more > 0 else []
    commands = ["regrowth doctor", "regrowth run"]
    return _part(language, "failed_night", lines, commands, day=_day(payloads[-1]["as_of"], language))


def _silence(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = [text("operators.silence", language)]
    for site in payloads[:MAX_LISTED]:
        name = _inert(site["site"])
        if site["last_observed"] is None:
            lines.append(text("operators.silence_never", language, site=name))
            continue
        day = _day(site["last_observed"], language)
        lines.append(text("operators.silence_line", language, site=name, day=day, days=site["days"]))
    lines += _more(payloads, language)
    return _part(language, "silence", lines, ["regrowth doctor", "regrowth explain SITE"], n=len(payloads))


def _mass_fall(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for fall in payloads:
        counts = {name: fall[name] for name in ("fell", "sites", "messages")}
        lines.append(text("operators.mass_fall", language, day=_day(fall["day"], language), **counts))
    commands = ["regrowth alerts list", "regrowth alerts release"]
    last = payloads[-1]
    return _part(language, "mass_fall", lines, commands, fell=last["fell"], sites=last["sites"])


def _escalation(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = [text("operators.escalation", language)]
    for payload in payloads[:MAX_LISTED]:
        alert = payload["alert"]
        cause = words.cause(alert["rule"], alert["level"], language)
        day = _day(alert["opened"], language)
        lines.append(text("operators.escalation_line", language, site=_inert(alert["site"]), cause=cause, day=day))
    lines += _more(payloads, language)
    commands = ["regrowth alerts list", "regrowth alerts resolve ALERT --verdict confirmed --note TEXT"]
    return _part(language, "escalation", lines, commands, n=len(payloads))


def _self_check(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for check in payloads:
        site, day = _inert(check["site"]), _day(check["day"], language)
        if check["error"]:
            lines.append(text("operators.self_check_error", language, site=site, day=day))
            lines.append(text("operators.failed_night_error", language, error=short(_inert(check["error"]), 500)))
            continue
        n, as_of = check["n_differences"], _day(check["as_of"], language)
        lines.append(text("operators.self_check", language, site=site, day=day, as_of=as_of, n=n))
        if language == "zh":
            lines.append(text("operators.self_check_listed", language))
            continue
        lines += [short(_inert(one), 200) for one in check["differences"]]
        more = n - len(check["differences"])
        lines += [text("operators.self_check_more", language, n=more)] if more > 0 else []
    return _part(language, "self_check", lines, ["regrowth doctor"], site=_inert(payloads[-1]["site"]))


def _lots(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines, values = lot_lines(payloads, language)
    alert = _inert(payloads[0]["alert"]["id"]) if len(payloads) == 1 else "ALERT"
    commands = ["regrowth programme", f"regrowth alerts resolve {alert} --verdict confirmed --note TEXT"]
    return _part(language, "lot", lines, commands, **values)


def _more(payloads: Sequence[Payload], language: Language) -> list[str]:
    left = len(payloads) - MAX_LISTED
    return [text("digest.more", language, n=left)] if left > 0 else []


def _site_line(names: Sequence[str], language: Language, room: float = math.inf) -> str:
    """Names of sites in one line; in `room` bytes as many as fit, and the number of the others."""
    comma = "、" if language == "zh" else ", "
    line, shown = text("quiet.sites", language, sites=comma.join(names)), len(names)
    while len(line.encode()) > room and shown:
        shown = shown * 3 // 4
        more = text("digest.more", language, n=len(names) - shown)
        line = text("quiet.sites", language, sites=comma.join([*names[:shown], more]))
    return line


def _inert(value: object) -> str:
    return without_invisible(str(value))


def _day(value: str, language: Language) -> str:
    return words.day(date.fromisoformat(value), language)
