"""Render the answer page and its notices, in the language of the manager or the one that the reader chose."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from monitor.alerts import words
from monitor.alerts.alert import FalseAlarmReason, Verdict
from monitor.alerts.messages.findings import finding, where
from monitor.alerts.messages.places import look_at, map_link, position
from monitor.alerts.news import AlertNews
from monitor.alerts.photos import MAX_PHOTO_BYTES
from monitor.sites.names import without_invisible

TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (TEMPLATES / "answer.css").read_text(encoding="utf-8")
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of all pages: only their own style."""

MAX_NOTE: Final = 2000
"""Longest note. [characters]"""
MAX_PHOTOS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What was filled into the form so far, and what is wrong with it."""

    verdict: str = ""
    reason: str = ""
    note: str = ""
    problems: Sequence[str] = ()
    """Sentences for the reader."""


def form_page(
    news: AlertNews, language: words.Language, *, answered: tuple[date, Verdict] | None, entered: Entered
) -> str:
    """Page with the form to answer an alert.

    Parameters
    ----------
    news : AlertNews
        The alert.
    language : str
        ``en`` or ``zh``.
    answered : (date, Verdict) or None
        Day and finding of the answer that counts so far; None: there is none.
    entered : Entered
        What the form shows as filled in.
    """
    latitude, longitude = look_at(news.site, news.patch)
    return _render(
        "form.html",
        language,
        name=words.site_name(news.site, language),
        id=without_invisible(news.site.id),
        alert=news.alert,
        level=words.ALERT_LEVEL_NAMES[news.alert.level][language],
        cause=words.cause(news.alert.rule, news.alert.level, language),
        finding=finding(news, language),
        observed=news.assessment.last_observed,
        where=where(news, language),
        position=position(latitude, longitude),
        map=map_link(latitude, longitude, words.site_name(news.site, language)),
        page=news.page,
        answered=answered,
        entered=entered,
        verdicts=list(Verdict),
        reasons=list(FalseAlarmReason),
        photos=range(1, MAX_PHOTOS + 1),
        max_note=MAX_NOTE,
        megabytes=MAX_PHOTO_BYTES // 1_000_000,
    )


def notice_page(kind: str, language: words.Language, *, good: bool = False, **values: Any) -> str:
    """Page that says what became of a request.

    Parameters
    ----------
    kind : str
        Name of its title in the section ``answer_notice`` of the catalogue; its text is ``<kind>_text``.
    language : str
        ``en`` or ``zh``.
    good : bool
        Whether an answer was recorded.
    **values
        Values of the placeholders of the text.
    """
    return _render("notice.html", language, kind=kind, good=good, values=values)


def _render(template: str, language: words.Language, **context: Any) -> str:
    other = next(one for one in words.LANGUAGES if one != language)
    return _environment().get_template(template).render(lang=language, other=other, style=STYLE, **context)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"t": _text, "ANSWERS": words.ANSWER_NAMES}
    environment.filters["long_day"] = words.day
    return environment


@jinja2.pass_context
def _text(context: jinja2.runtime.Context, key: str, **values: object) -> str:
    """Text of the catalogue in the language of the page."""
    return words.text(key, context["lang"], **values)
