"""The message about one alert."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from monitor.alerts import words
from monitor.alerts.alert import AlertEvent
from monitor.alerts.message import Message
from monitor.alerts.messages.findings import change, fails_in_part, finding, interval, label, what, where
from monitor.alerts.messages.picture import ground_width, side_by_side
from monitor.alerts.messages.places import look_at, map_link, on_chinese_map, position
from monitor.alerts.messages.progress import has_loss
from monitor.alerts.messages.rendering import AMBER, GREEN, RED, render, short
from monitor.alerts.messages.steps import alert_steps
from monitor.alerts.messages.tracks import attachments
from monitor.alerts.news import AlertNews, SitePicture
from monitor.alerts.words import Language, text
from monitor.sites.names import without_invisible
from monitor.verdict.assessment import AlertLevel, assessment_to_json
from monitor.verdict.explain import LEADING, false_alarm_rate, loss_ground, probabilities
from monitor.verdict.reasons import Reason, sentence


def compose_alert(news: AlertNews, *, id: str, time: datetime, follows: str | None = None) -> Message:
    """Compose the message about one event of an alert, in the language of the manager of the site.

    `follows` is the id of the message under which mail programs list this one.
    """
    language = words.language_of(news.site)
    context, resolved = _context(news, language), news.event is AlertEvent.RESOLVED
    pictures = _shown_pictures(news)
    subject = text(
        "message.subject", language, label=context["label"], name=context["short_name"], what=context["what"]
    )
    plain = render("alert.txt", language, **context)
    return Message(
        id=id, time=time, language=language, subject=subject, text=plain,
        brief=render("alert_brief.txt", language, **context, subject=subject).strip(),
        links=render("alert_links.txt", language, **context).strip(), html=render("alert.html", language, **context),
        picture=side_by_side(pictures) if pictures else None,
        attachments=() if resolved else attachments(news.site, news.patch, language), follows=follows,
        record=_record(news, context, id=id, language=language, subject=subject, plain=plain),
    )  # fmt: skip


def _context(news: AlertNews, language: Language) -> dict[str, Any]:
    site = news.site
    latitude, longitude = look_at(news.site, news.patch)
    name = words.site_name(site, language)
    resolved = news.event is AlertEvent.RESOLVED
    return {
        "name": name, "short_name": short(name), "id": without_invisible(site.id), "label": label(news, language),
        "colour": GREEN if resolved else RED if news.alert.level is AlertLevel.RED else AMBER,
        "what": what(news, language), "day": words.day(news.day, language), "change": change(news, language),
        "finding": finding(news, language), "where": where(news, language), "position": position(latitude, longitude),
        "map": map_link(latitude, longitude, name), "page": news.page,
        "steps": () if resolved else alert_steps(
            news.alert.rule, patch=news.patch is not None, link=news.answer is not None, language=language
        ),
        "answer": None if resolved else news.answer, **_pictures(news, language), "rows": _rows(news, language),
        "notes": _notes(news, language), "attached": not resolved,
    }  # fmt: skip


def _shown_pictures(news: AlertNews) -> list[SitePicture]:
    return [picture for picture in (news.before, news.now) if picture is not None]


def _pictures(news: AlertNews, language: Language) -> dict[str, Any]:
    """Captions of the pictures, and their description for those who do not see them."""
    keys = ("message.before_loss", "message.after_loss") if news.of_loss else ("message.before", "message.now")
    named = zip(keys, (news.before, news.now), strict=True)
    captions = [
        text(key, language, day=words.day(picture.date, language)) for key, picture in named if picture is not None
    ]
    shown = _shown_pictures(news)
    if not shown:
        return {"captions": [], "lines": "", "picture_alt": ""}
    lines = text("message.lines_site" if shown[-1].patch is None else "message.lines_patch", language)
    metres = ground_width(shown[-1])
    width = f"{metres:.0f}" if metres < 1000 else f"{metres / 1000:.1f}"
    if news.of_loss:
        lines += " " * (language == "en") + text("message.cover_colours", language)
    lines += " " * (language == "en") + text(
        "message.width_m" if metres < 1000 else "message.width_km", language, n=width
    )
    described = text(
        "message.picture", language, pictures=("；" if language == "zh" else "; ").join(captions), lines=lines
    )
    return {"captions": captions, "lines": lines, "picture_alt": described}


def _rows(news: AlertNews, language: Language) -> list[tuple[str, str]]:
    """Labels and values of the details; no growth after a loss, nor where the alert is judged by an earlier promise."""
    a = news.assessment
    if news.alert.held_by is not None:
        a = replace(a, probability=None, theta=None, uplift=None)
    elif has_loss(a):  # a share of the plan would blend the time before the loss and since
        a = replace(a, theta=None, uplift=None)
    status = words.STATUS_NAMES[words.shown_status(news.site, a.status)][language]
    status = status if language == "zh" else status.lower()
    rows = [("since", words.day(news.alert.opened, language))]
    if a.probability is not None:
        sure = words.probability(a.probability, language)
        rows.append(("sure", text("message.sure_value", language, probability=sure, status=status)))
    if a.theta is not None:
        share = words.percent(a.theta)
        if a.theta_low is not None and a.theta_high is not None:
            share = interval(share, words.percent(a.theta_low), words.percent(a.theta_high), language)
        rows.append(("share", share))
    if a.uplift is not None and a.expected is not None:
        uplift, expected = (text("unit.points", language, n=words.points(value)) for value in (a.uplift, a.expected))
        if a.uplift_low is not None and a.uplift_high is not None:
            high = text("unit.points", language, n=words.points(a.uplift_high))
            uplift = interval(uplift, words.points(a.uplift_low), high, language)
        rows.append(("uplift", text("message.uplift_value", language, uplift=uplift, expected=expected)))
    seasons = (("now", a.measured, a.measured_se), ("last", a.measured_season, a.measured_season_se))
    measured = [
        text(f"message.measured_{key}", language, value=words.points(value), se=round(100 * se))
        for key, value, se in seasons
        if value is not None and se is not None and (key == "last" or value != a.measured_season)
    ]
    if news.alert.rule == "disturbance" and a.loss_from is not None and a.loss_to is not None:
        before, after = (words.points(value) for value in (a.loss_from, a.loss_to))
        measured = [text("message.measured_loss", language, before=before, after=after)]
    if measured:
        rows.append(("measured", ("；" if language == "zh" else "; ").join(measured)))
    for rule, key, areas in (
        ("failure", "failing_area", (a.hectares_failing, a.hectares_failing_low, a.hectares_failing_high)),
        ("disturbance", "lost_area", (a.hectares_lost, a.hectares_lost_low, a.hectares_lost_high)),
    ):
        if news.alert.rule == rule and None not in areas:
            rows.append((key, _with_limits(areas, language)))
    if news.alert.rule == "disturbance" and a.loss_confirmed_on is not None:
        rows.append(("loss_confirmed", words.day(a.loss_confirmed_on, language)))
    last = words.day(a.last_observed, language) if a.last_observed else text("message.none", language)
    rows.append(("last_scene", last))
    if news.site.manager_name:
        rows.append(("manager", short(without_invisible(news.site.manager_name))))
    return [(text(f"message.{key}", language), value) for key, value in rows]


def _with_limits(areas: Sequence[float | None], language: Language) -> str:
    """An area with the limits of its interval."""
    middle, low, high = (area or 0.0 for area in areas)
    limits = {"low": words.area_number(low, language), "high": words.area(high, language)}
    return text("message.failing_area_value", language, area=words.area(middle, language), **limits)


def _notes(news: AlertNews, language: Language) -> list[str]:
    """Sentences below the details: the main reason, probabilities, how often such an alert is false, the datum."""
    a = news.assessment
    reason = next((reason for reason in LEADING if reason.value in a.reasons), None)
    notes = [sentence(reason.value, language)] if reason is not None and not fails_in_part(a) else []
    if news.alert.rule == "disturbance" and Reason.NEIGHBOURS_LOST.value in a.reasons:
        notes += loss_ground(replace(a, hectares_lost=None), language=language)
    if news.event is not AlertEvent.RESOLVED and news.alert.held_by is None:
        notes += [] if a.probability is not None else probabilities(a, language=language)
        notes += false_alarm_rate(a, language=language)
    return [*notes, text("where.datum", language)] if on_chinese_map(*look_at(news.site, news.patch)) else notes


def _record(
    news: AlertNews, context: dict[str, Any], *, id: str, language: Language, subject: str, plain: str
) -> dict[str, Any]:
    """JSON values of the message; null instead of NaN and infinity."""
    latitude, longitude = words.coordinates(news.site)
    return {
        "id": f"{news.alert.id}/{news.number}", "message_id": id, "event": news.event.value,
        "day": news.day.isoformat(), "alert": msgspec.to_builtins(news.alert),
        "site": {"id": news.site.id, "name": context["name"], "latitude": latitude, "longitude": longitude},
        "patch": None if news.patch is None else msgspec.to_builtins(news.patch), "language": language,
        "subject": subject, "text": plain, "map": context["map"], "page": news.page, "answer": context["answer"],
        "assessment": assessment_to_json(news.assessment),
    }  # fmt: skip
