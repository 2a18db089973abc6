"""The message to the operators about lots whose work is not taking hold, or is again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitor.alerts import words
from monitor.alerts.alert import AlertEvent
from monitor.alerts.messages.rendering import short
from monitor.alerts.words import Language, text
from monitor.sites.names import without_invisible
from monitor.verdict.lots import RED_AT_HALF, WATCH_AT_HALF, WATCH_LATE_AT_HALF

Payload = Mapping[str, Any]

MAX_LISTED: Final = 50  # lots that a message describes, at most


def lot_lines(payloads: Sequence[Payload], language: Language) -> tuple[list[str], dict[str, object]]:
    """Lines of a message about lots, and the values of its subject.

    `payloads` have ``alert``, ``event``, ``lot``, ``hectares``, ``verdict`` and ``pages`` as JSON, and ``members`` that
    pull the lot down: ``site``, ``status`` and ``theta``, the worst first.
    """
    one = len(payloads) == 1
    lines = []
    for payload in payloads[:MAX_LISTED]:
        if not one:
            lot, partner = payload["lot"], short(without_invisible(payload["lot"]["partner"]))
            name = words.lot_name(partner, lot["programme_year"], lot["intervention"], language)
            lines.append(text("lot.headline", language, label=_label(payload, language), name=name))
        lines += _about(payload, language, full=one)
    if len(payloads) > MAX_LISTED:
        lines.append(text("digest.more", language, n=len(payloads) - MAX_LISTED))
    first = payloads[0]
    lot, alert = first["lot"], first["alert"]
    return lines, {
        "n": len(payloads), "label": _label(first, language), "partner": short(without_invisible(lot["partner"])),
        "year": lot["programme_year"], "what": words.cause(alert["rule"], alert["level"], language),
    }  # fmt: skip


def _label(payload: Payload, language: Language) -> str:
    level = words.ALERT_LEVEL_NAMES[payload["alert"]["level"]][language]
    return text(f"label.{payload['event']}", language, level=level)


def _about(payload: Payload, language: Language, *, full: bool) -> list[str]:
    alert, verdict, page = payload["alert"], payload["verdict"], payload["pages"].get(language)
    area = "–" if verdict["hectares"] is None else words.area(verdict["hectares"], language, both=True)
    shares = {name: words.percent(verdict[key]) for name, key in _SHARES}
    measured = text("lot.share", language, n=verdict["sites"], area=area, **shares)
    looked, opened = words.day(verdict["as_of"], language), words.day(alert["opened"], language)
    since = words.day(verdict["alert_since"], language) if verdict["alert_since"] else opened
    link = [text("lot.page", language, page=page)] if page else []
    if payload["event"] == AlertEvent.RESOLVED:
        return [text("lot.resolved", language, opened=opened, day=looked), measured, *link]
    gap = "" if language == "zh" else " "
    claim = f"{text(f'lot.{alert["level"]}', language)}{gap}{measured}"
    sure = words.probability(verdict["p_failing"], language)
    lines = [claim, text("lot.sure", language, probability=sure, day=looked, since=since)]
    if not full:
        return [*lines, *link]
    return [*lines, _members(payload, language), *link, rate(alert["level"], language)]


_SHARES: Final = (("share", "theta"), ("low", "theta_low"), ("high", "theta_high"))


def _members(payload: Payload, language: Language) -> str:
    named = [
        text(
            "lot.member", language, site=short(without_invisible(member["site"])),
            status=words.STATUS_NAMES[member["status"]][language], share=words.percent(member["theta"]),
        )
        for member in payload["members"]
    ]  # fmt: skip
    if not named:
        return text("lot.no_members", language)
    comma, end = ("、", "。") if language == "zh" else (", ", ". ")
    members = text("lot.members", language, members=comma.join(named))
    return f"{members}{end}{text('lot.members_verdict', language)}"


def rate(level: str, language: Language) -> str:
    """How often an alert of this level about a lot is wrong."""
    values = {
        "late": round(100 * WATCH_LATE_AT_HALF), "on_time": round(100 * WATCH_AT_HALF), "red": round(100 * RED_AT_HALF),
    }  # fmt: skip
    return text(f"lot.{level}_rate", language, **values)
