"""Messages to operators, notes on handovers to managers, and test messages."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from monitor.alerts import words
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.message import Message
from monitor.alerts.messages.digest import BRIEF_BYTES, how_many_fit
from monitor.alerts.messages.lots import lot_lines
from monitor.alerts.messages.rendering import render, short
from monitor.alerts.words import LANGUAGES, Language, text
from monitor.sites.names import without_invisible

Payload = Mapping[str, Any]


class Link(NamedTuple):
    """A line of a message that is a link."""

    label: str
    address: str


MAX_LISTED: Final = 200  # sites that a message names, at most
MAX_ESCALATED: Final = 50
"""Alerts that a message describes with their links, at most."""
MAX_BRIEF_LINES: Final = 6
"""Lines of the text for messengers in each language, besides subject and commands."""


def compose_operators(
    kind: str, payloads: Sequence[Payload], *, id: str, time: datetime, head: ChainHead | None = None
) -> Message:
    """Compose one message to the operators, in English and in Chinese; to a manager (``language``) in one of them.

    `payloads` are those of the notices of a kind: ``failed_night``, ``silence``, ``source_stale``, ``mass_fall``,
    ``escalation``, ``review``, ``lot``, ``self_check``, ``plan_edited``, ``replan``, ``handover``, ``personal_link``
    or ``head``, which goes to the witness as plain text. `head` is stated at the end of a digest.
    """
    writers: Mapping[str, Callable[[Sequence[Payload], Language], dict[str, Any]]] = {
        "failed_night": _failed_night, "silence": _silence, "source_stale": _source_stale, "mass_fall": _mass_fall,
        "escalation": _escalation,
        "lot": _lots, "self_check": _self_check, "plan_edited": _plan_edited, "replan": _replan,
        "handover": _handover, "head": _head,
        "review": partial(_escalation, kind="review"), "personal_link": _personal_link,
    }  # fmt: skip
    own: Language | None = payloads[0].get("language")
    parts = [writers[kind](payloads, language) for language in ((own,) if own else LANGUAGES)]
    record = {"message_id": id, "event": kind, "notices": [*map(dict, payloads)]}
    message = _bilingual(parts, id=id, time=time, record=record, head=head)
    return replace(message, html=None) if kind == "head" else message


def compose_test(channel: str, *, id: str, time: datetime) -> Message:
    """Compose a message that tests a channel, in English and in Chinese."""
    name = without_invisible(channel)
    parts = [_part(language, "test", [text("test.text", language, channel=name)], []) for language in LANGUAGES]
    return _bilingual(parts, id=id, time=time, record={"message_id": id, "event": "test", "channel": name})


def _part(
    language: Language, kind: str, lines: Sequence[str | Link], commands: Sequence[str], **values: object
) -> dict[str, Any]:
    """Content of a message in one language."""
    key = "test.subject" if kind == "test" else f"operators.{kind}_subject"
    key += "_one" * (values.get("n") == 1)
    return {
        "language": language, "subject": text(key, language, **values), "lines": list(lines),
        "commands": list(commands), "helps": text("operators.command", language), "head": "",
    }  # fmt: skip


def _bilingual(
    parts: Sequence[dict[str, Any]], *, id: str, time: datetime, record: dict[str, Any], head: ChainHead | None = None
) -> Message:
    heads = [head.sentence(part["language"]) for part in parts] if head else []
    parts = [{**part, "head": last} for part, last in zip(parts, heads, strict=True)] if head else parts
    record = record | ({"chain_head": head.hash} if head else {})
    plain = "\n\n".join([*(_block(part, part["lines"]) for part in parts), *(["\n".join(heads)] if head else [])])
    brief = [_block(part, _first_lines(part["lines"])) for part in parts]
    links = [_plain(line, LANGUAGES[0]) for line in parts[0]["lines"] if isinstance(line, Link)]
    links = [*links[: how_many_fit(links, BRIEF_BYTES // 2)], *heads]
    subject = " / ".join(part["subject"] for part in parts)
    return Message(
        id=id, time=time, language=parts[-1]["language"], subject=subject, text=f"{plain}\n", brief="\n\n".join(brief),
        links="\n".join(links), html=render("operators.html", parts[-1]["language"], subject=subject, parts=parts),
        record=record | {"subject": subject, "text": plain},
    )  # fmt: skip


def _first_lines(lines: Sequence[str | Link]) -> list[str]:
    """The first lines, without links."""
    texts = [line for line in lines if isinstance(line, str)]
    return [*texts[:MAX_BRIEF_LINES], "…"] if len(texts) > MAX_BRIEF_LINES else texts


def _block(part: dict[str, Any], lines: Sequence[str | Link]) -> str:
    """Plain text of a message in one language."""
    helps = f"{part['helps']}{text('unit.colon', part['language'])}".rstrip()
    commands = [helps, *(f"  {line}" for line in part["commands"])] if part["commands"] else []
    return "\n".join([part["subject"], *(_plain(line, part["language"]) for line in lines), *commands])


def _failed_night(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for night in payloads:
        status = str(night["status"])
        key = f"exit.{status if status in words.TEXTS['exit'] else 'other'}"
        day = words.day(night["as_of"], language)
        lines.append(text("operators.failed_night", language, day=day, status=status, meaning=text(key, language)))
        if night.get("error"):
            lines.append(text("operators.failed_night_error", language, error=short(_inert(night["error"]), 500)))
        counts = {name: night[name] for name in ("n_failed", "n_deferred")} | {"waiting": night["messages_waiting"]}
        lines.append(text("operators.failed_night_sites", language, **counts))
        failed = [f"{_inert(one['site'])}: {short(_inert(one['error']), 200)}" for one in night["failed"]]
        if failed:
            lines += _in_english("failed_night", failed, int(night["n_failed"]), language)
    commands = ["regrowth doctor", "regrowth run"]
    return _part(language, "failed_night", lines, commands, day=words.day(payloads[-1]["as_of"], language))


def _silence(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines: list[str | Link] = [text("operators.silence", language)]
    for site in payloads[:MAX_LISTED]:
        known = {"site": _named(site, language, site["site"]), "manager": _manager(site, language)}
        if site["last_observed"] is None:
            lines.append(text("operators.silence_never", language, **known))
        else:
            day = words.day(site["last_observed"], language)
            lines.append(text("operators.silence_line", language, **known, day=day, days=site["days"]))
        lines += _page(site, language) if len(payloads) <= MAX_ESCALATED else []
    lines += _more(payloads, language)
    return _part(language, "silence", lines, ["regrowth doctor", "regrowth explain SITE"], n=len(payloads))


def _source_stale(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for source in payloads:
        values = {name: source[name] for name in ("provider", "days", "usual_gap")}
        lines.append(text("operators.source_stale", language, day=words.day(source["newest"], language), **values))
        for provider, n in source["others"]:
            lines.append(text("operators.source_stale_other", language, provider=provider, n=n))
    lines.append(text("operators.source_stale_fix", language))
    return _part(language, "source_stale", lines, ["regrowth doctor --online"], provider=payloads[-1]["provider"])


def _mass_fall(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for fall in payloads:
        counts = {name: fall[name] for name in ("fell", "sites", "messages")}
        lines.append(text("operators.mass_fall", language, day=words.day(fall["day"], language), **counts))
    commands = ["regrowth alerts list", "regrowth alerts release"]
    last = payloads[-1]
    return _part(language, "mass_fall", lines, commands, fell=last["fell"], sites=last["sites"])


def _escalation(payloads: Sequence[Payload], language: Language, kind: str = "escalation") -> dict[str, Any]:
    """Red alerts without an answer; of kind ``review`` those whose false alarm the operators have to review."""
    lines: list[str | Link] = [text(f"operators.{kind}", language)]
    for payload in payloads[:MAX_ESCALATED]:
        alert = payload["alert"]
        cause = words.cause(alert["rule"], alert["level"], language)
        line = text(
            f"operators.{kind}_line", language, site=_named(payload, language, alert["id"]), cause=cause,
            day=words.day(alert["opened"], language), days=payload["days"], manager=_manager(payload, language),
            reason=words.REASON_NAMES.get(alert["answer_reason"], {}).get(language, "–"),
            note=short(_inert(alert["note"] or "–"), 300),
        )  # fmt: skip
        lines.append(line)
        lines += _page(payload, language)
        if payload["answer"]:
            label = text("operators.escalation_answer", language, site=short(_inert(alert["site"])))
            lines.append(Link(label, payload["answer"]))
    lines += _more(payloads, language, MAX_ESCALATED)
    alert = shlex.quote(_inert(payloads[0]["alert"]["id"])) if len(payloads) == 1 else "ALERT"
    commands = {
        "escalation": [f"regrowth alerts resolve {alert} --verdict confirmed --note TEXT"],
        "review": [
            f"regrowth alerts review {alert} --close --why TEXT",
            f"regrowth alerts review {alert} --reopen --why TEXT",
        ],
    }[kind]
    return _part(language, kind, lines, ["regrowth alerts list", *commands], n=len(payloads))


def _personal_link(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines: list[str | Link] = [text("personal_link.renewed", language)]
    if address := payloads[0]["address"]:
        lines.append(Link(text("personal_link.title", language), address))
    lines.append(text("personal_link.pass_on", language))
    return _part(language, "personal_link", lines, [])


def _page(payload: Payload, language: Language) -> list[Link]:
    """Link to the page of a site, if pages are served."""
    page = payload.get("pages", {}).get(language)
    return [Link(text("message.page", language), page)] if page else []


def _manager(payload: Payload, language: Language) -> str:
    """Name and addresses of the manager of a site."""
    recipients = payload.get("recipients", ())
    to = ", ".join(f"{address} ({channel})" if address else channel for channel, address in recipients)
    known = [
        short(_inert(payload.get("manager") or "")),
        short(_inert(to), 200) or text("operators.no_address", language),
    ]
    return ("，" if language == "zh" else ", ").join(filter(None, known))


def _self_check(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for check in payloads:
        site, day = _named(check, language, check["site"]), words.day(check["day"], language)
        if check["error"]:
            lines.append(text("operators.self_check_error", language, site=site, day=day))
            lines.append(text("operators.failed_night_error", language, error=short(_inert(check["error"]), 500)))
            continue
        n, as_of = check["n_differences"], words.day(check["as_of"], language)
        lines.append(text("operators.self_check", language, site=site, day=day, as_of=as_of, n=n))
        lines += _in_english("self_check", [short(_inert(one), 200) for one in check["differences"]], n, language)
    return _part(language, "self_check", lines, ["regrowth doctor"], site=_inert(payloads[-1]["site"]))


def _in_english(kind: str, listed: Sequence[str], total: int, language: Language) -> list[str]:
    """Errors or differences, in English only, and how many more there are; in Chinese, that they stand above."""
    if language == "zh":
        return [text(f"operators.{kind}_listed", language)]
    more = total - len(listed)
    return [*listed, *([text(f"operators.{kind}_more", language, n=more)] if more > 0 else [])]


def _head(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    (line,) = payloads
    lines = [
        text("operators.head_line", language, number=line["number"], day=words.day(line["night"], language)),
        line["hash"], text("operators.head", language),
    ]  # fmt: skip
    command = f"regrowth verify PACK --key signing.pub --head {line['hash']}"
    return _part(language, "head", lines, [command], month=line["month"])


def _plan_edited(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = [text("operators.plan_edited", language)]
    for edit in payloads[:MAX_LISTED]:
        said = short(_inert(edit["said"]), 300)
        lines.append(text("operators.plan_edited_line", language, site=_named(edit, language, edit["site"]), said=said))
    lines += _more(payloads, language)
    commands = ["regrowth doctor", "regrowth sites replan SITE --from DATE --why TEXT --by NAME --plan-a A"]
    return _part(language, "plan_edited", lines, commands, n=len(payloads))


def _replan(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines = []
    for change in payloads:
        name, day = _inert(change["name"][language]), words.day(change["from"], language)
        lines.append(text("operators.replan", language, name=name, day=day))
        for column, old, new in words.promise_changes(change["columns"], language):
            values = {"column": column, "old": short(_inert(old)), "new": short(_inert(new))}
            lines.append(text("operators.replan_line", language, **values))
        by, why = _inert(change["by"]), short(_inert(change["why"]), 500)
        lines.append(text("operators.replan_why", language, by=by, why=why))
        lines.append(text("operators.replan_stays", language))
        lines += [text("operators.replan_alerts", language)] if change["alerts"] else []
    commands = [] if payloads[0].get("language") else ["regrowth alerts list"]
    return _part(language, "replan", lines, commands, name=short(_inert(payloads[-1]["name"][language])))


def _handover(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines: list[str | Link] = []
    for to in ("manager", "operators"):
        names = [_inert(payload["name"]) for payload in payloads if payload["to"] == to]
        if names:
            lines.append(text(f"handover.to_{to}", language, day=words.day(payloads[0]["day"], language)))
            lines += [*map(short, names[:MAX_LISTED]), *_more(names, language)]
    lines.append(text("handover.nothing", language))
    n, name = len(payloads), short(_inert(payloads[0]["name"]))
    subject = text("handover.subject" + "_one" * (n == 1), language, n=n, name=name)
    return {"language": language, "subject": subject, "lines": lines, "commands": [], "helps": "", "head": ""}


def _lots(payloads: Sequence[Payload], language: Language) -> dict[str, Any]:
    lines, values = lot_lines(payloads, language)
    alert = _inert(payloads[0]["alert"]["id"]) if len(payloads) == 1 else "ALERT"
    commands = ["regrowth programme", f"regrowth alerts resolve {alert} --verdict confirmed --note TEXT"]
    return _part(language, "lot", lines, commands, **values)


def _more(payloads: Sequence[object], language: Language, listed: int = MAX_LISTED) -> list[str]:
    left = len(payloads) - listed
    return [text("digest.more", language, n=left)] if left > 0 else []


def _named(payload: Payload, language: Language, key: str) -> str:
    """Name of the site of a notice and id of the site or alert, or the id alone."""
    name, key = short(_inert(payload.get("name", {}).get(language, ""))), _inert(key)
    return f"{name} ({key})" if name and name != key else key


def _plain(line: str | Link, language: Language) -> str:
    return line if isinstance(line, str) else f"{line.label}{text('unit.colon', language)}{line.address}"


def _inert(value: object) -> str:
    return without_invisible(str(value))
