"""Render the pages of ``regrowth serve``, in the language of the manager or the one that the reader chose."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jinja2
from markupsafe import Markup

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState, FalseAlarmReason, Verdict
from monitor.alerts.lifecycle import is_sure
from monitor.alerts.messages.findings import finding, where
from monitor.alerts.messages.places import look_at, map_link, position
from monitor.alerts.messages.progress import Progress
from monitor.alerts.messages.rendering import templates, text_in_context
from monitor.alerts.news import AlertNews
from monitor.alerts.photos import MAX_PHOTO_BYTES
from monitor.sites.names import without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (TEMPLATES / "answer.css").read_text(encoding="utf-8")
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of all pages: only their own style."""

MAX_NOTE: Final = 2000  # longest note [characters]
MAX_PHOTOS: Final = 3  # photos of one answer; of one among many it is one
LATER: Final = "later"  # value of the form for an alert that is put off


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """Content of the form so far, and its problems."""

    verdict: str = ""
    reason: str = ""
    note: str = ""
    problems: Sequence[str] = ()
    """Sentences for the reader."""


NOTHING_ENTERED: Final[Mapping[str, Entered]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One alert to answer."""

    news: AlertNews
    number: int  # number of its newest event
    answered: tuple[date, Verdict] | None  # day and finding of the answer that counts so far; None: no answer
    chart: str = ""  # growth chart of its site, SVG

    @property
    def needs_reason(self) -> bool:
        """Whether a false alarm needs a reason and a review."""
        return is_sure(self.news.alert, self.news.assessment)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLine:
    """One site of a manager."""

    site: Site  # in the episode of the assessment
    assessment: Assessment | None  # None: not judged yet
    alert: Alert | None  # one that is not resolved, else an answered one whose cause is still seen; None: no alert
    progress: Progress | None = None
    chart: str = ""  # growth chart, SVG
    page: str | None = None

    @property
    def status(self) -> str:
        """Key of :data:`monitor.alerts.words.STATUS_NAMES`."""
        return words.shown_status(self.site, self.assessment.status) if self.assessment else "too_early"

    @property
    def group(self) -> str:
        """Task of the manager: ``answer``, ``look`` or ``nothing``."""
        if self.alert is not None:
            return "answer" if self.alert.state is AlertState.OPEN else "look"
        return "look" if self.status in LOOK else "nothing"

    @property
    def days(self) -> int:
        """Time for which its alert has been open. [day]"""
        return 0 if self.alert is None or self.assessment is None else (self.assessment.as_of - self.alert.opened).days


LOOK: Final = ("failing", "disturbed", "lagging", "insufficient_data")
"""Statuses for which a manager should look at a site that has no alert."""


def form_page(
    questions: Sequence[Question], language: words.Language, *, entered: Mapping[str, Entered] = NOTHING_ENTERED,
    recorded: Sequence[tuple[str, str]] = (), problems: Sequence[str] = (), home: str | None = None,
) -> str:  # fmt: skip
    """Page with the form to answer alerts.

    `entered` has the content of the form by id of the alert, `recorded` the sites and answers that were recorded just
    now. With `home`, the address of the page "my sites", there may be several alerts: names of fields end with their
    id.
    """
    known = {question.news.alert.id: question for question in questions}
    wrong, said = [*problems], Counter(problem for one in entered.values() for problem in one.problems)
    for alert, one in entered.items():
        name = f"{words.site_name(known[alert].news.site, language)}{words.text('unit.colon', language)}"
        of_all = {problem for problem in one.problems if said[problem] == len(entered) > 1}  # as a long note
        wrong += [problem if home is None or problem in of_all else f"{name}{problem}" for problem in one.problems]
    return _render(
        "form.html", language,
        asked=[_asked(question, entered.get(question.news.alert.id, Entered()), language) for question in questions],
        note=next((one.note for one in entered.values()), ""), recorded=recorded, problems=list(dict.fromkeys(wrong)),
        home=home, verdicts=[*Verdict, *([LATER] if home else [])], reasons=list(FalseAlarmReason),
        photos=range(1, (1 if home else MAX_PHOTOS) + 1), max_note=MAX_NOTE, megabytes=MAX_PHOTO_BYTES // 1_000_000,
    )  # fmt: skip


def _asked(question: Question, entered: Entered, language: words.Language) -> dict[str, Any]:
    """Content of the form about one alert."""
    news = question.news
    latitude, longitude = look_at(news.site, news.patch)
    return {
        "name": words.site_name(news.site, language), "id": without_invisible(news.site.id),
        "area": words.area(news.site.hectares, language), "alert": news.alert,
        "status": words.shown_status(news.site, news.assessment.status),
        "level": words.ALERT_LEVEL_NAMES[news.alert.level][language],
        "cause": words.cause(news.alert.rule, news.alert.level, language), "finding": finding(news, language),
        "observed": news.assessment.last_observed, "where": where(news, language),
        "position": position(latitude, longitude),
        "map": map_link(latitude, longitude, words.site_name(news.site, language)), "page": news.page,
        "answered": question.answered, "number": question.number, "needs_reason": question.needs_reason,
        "chart": Markup(question.chart), "entered": entered,
    }  # fmt: skip


def my_sites_page(lines: Sequence[SiteLine], language: words.Language, *, name: str, home: str) -> str:
    """Page of the sites of a manager, by what to do about them; `home` is its address, and there may be no sites."""
    order = list(words.STATUS_NAMES)
    lines = sorted(lines, key=lambda line: (order.index(line.status), -line.days, line.site.id))
    assessed = [line.assessment for line in lines if line.assessment]
    seen = [one.last_observed for one in assessed if one.last_observed]
    groups = {key: [line for line in lines if line.group == key] for key in ("answer", "look", "nothing")}
    statuses, total = Counter(line.status for line in lines), sum(line.site.hectares for line in lines)
    return _render(
        "my_sites.html", language, name=without_invisible(name), home=home,
        groups=[
            (
                key,
                words.area(sum(line.site.hectares for line in group), language),
                [_line(one, language) for one in group],
            )
            for key, group in groups.items()
        ],
        n=len(lines), area=words.area(total, language, both=True),
        as_of=max((one.as_of for one in assessed), default=None), seen=max(seen, default=None),
        bar=_bar(statuses, order), quiet=Counter(words.STATUS_NAMES[one.status][language] for one in groups["nothing"]),
        n_open=len(groups["answer"]), n_places=len(groups["answer"]) + len(groups["look"]),
    )  # fmt: skip


def _line(line: SiteLine, language: words.Language) -> dict[str, Any]:
    """Content of the page about one site."""
    alert = line.alert
    said = words.STATUS_NAMES[line.status][language]
    if line.assessment is None:
        said = words.text("my_sites.not_judged", language)
    elif line.progress is not None:
        said += ("。" if language == "zh" else ", ") + _in_words(line.progress, language)
    state = ""
    if alert is not None and alert.unreviewed:
        state = words.text("my_sites.unreviewed", language)
    elif alert is not None and alert.snoozed_until is not None:
        state = words.text("my_sites.snoozed", language, day=words.day(alert.snoozed_until, language))
    elif alert is not None and alert.state is AlertState.ACKNOWLEDGED:
        state = words.text("my_sites.acknowledged", language)
    elif alert is not None and alert.answer is not None:
        state = words.text("my_sites.answered", language, answer=words.ANSWER_NAMES[alert.answer][language])
    elif alert is None and line.status == "insufficient_data":
        state = words.text("step.unseen_go", language)
    return {
        "name": words.site_name(line.site, language), "area": words.area(line.site.hectares, language),
        "page": line.page, "status": line.status, "said": said, "state": state, "chart": Markup(line.chart),
        "waits": line.days if line.group == "answer" else None, "alert": alert and alert.id,
    }  # fmt: skip


def _in_words(progress: Progress, language: words.Language) -> str:
    """A number with its unit as part of a sentence; in Chinese ``完成规划`` stands before the number."""
    of_plan = words.text("growth.of_plan", language)
    if language == "zh" and progress.unit.startswith(of_plan):
        return f"{of_plan} {progress.number}{progress.unit.removeprefix(of_plan)}"
    return f"{progress.number} {progress.unit}"


def _bar(statuses: Mapping[str, int], order: Sequence[str]) -> list[tuple[str, float, float]]:
    """Status, left edge and width of each part of the bar of all sites. [%]"""
    shown, total = sorted(statuses, key=order.index), sum(statuses.values()) or 1
    widths = [100 * statuses[status] / total for status in shown]
    return list(zip(shown, accumulate(widths, initial=0.0), widths, strict=False))


def notice_page(
    kind: str, language: words.Language, *, good: bool = False, lines: Sequence[tuple[str, str]] = (), **values: Any
) -> str:
    """Page that says what became of a request.

    Its title is `kind` in the section ``answer_notice`` of the catalogue, its text ``<kind>_text`` with `values`. With
    `good` an answer was recorded; `lines` has sites and the answers to each.
    """
    return _render("notice.html", language, kind=kind, good=good, lines=lines, values=values)


def _render(template: str, language: words.Language, **context: Any) -> str:
    other = next(one for one in words.LANGUAGES if one != language)
    return _environment().get_template(template).render(lang=language, other=other, style=STYLE, **context)


@cache
def _environment() -> jinja2.Environment:
    environment = templates(TEMPLATES)
    environment.globals |= {"t": text_in_context, "ANSWERS": words.ANSWER_NAMES, "STATUS": words.STATUS_NAMES}
    environment.filters["long_day"] = words.day
    return environment
