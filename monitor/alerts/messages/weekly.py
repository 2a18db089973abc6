"""The weekly brief: how all sites of a manager are doing and what to do, in one message.

Each site stands in one section, the most urgent one first, and every site is named. The age of the imagery is stated
for each site: a fresh scene of one says nothing of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.lifecycle import is_answered
from monitor.alerts.message import Message
from monitor.alerts.messages.digest import BRIEF_BYTES, MAX_SITE, PLAIN_BYTES, how_many_fit
from monitor.alerts.messages.places import look_at, map_link
from monitor.alerts.messages.progress import COLOURS, growth_bar, has_loss
from monitor.alerts.messages.rendering import render, short
from monitor.alerts.messages.steps import alert_steps
from monitor.alerts.words import Language, text
from monitor.day_in_words import near_day_in_words as _day
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status

WEEK: Final = 7  # [day]
OLD_DAYS: Final = 30
"""Age of the last usable scene from which it is stated in words. [day]"""
SECTIONS: Final = ("unanswered", "later", "answered", "lagging", "unseen", "improving", "on_track", "undecided")
"""In the order of the brief; the last two are a line each."""
IN_ONE_LINE: Final = ("on_track", "undecided")
SUBJECT: Final = ("unanswered", "lagging", "unseen", "improving")  # sections that the subject counts
MAX_ROWS: Final = 80
"""Sites with a row each, at most; the others of their section are named in one line."""
MAX_NAMED: Final = 5
"""Sites that wait for an answer and are named in the text for messengers, at most."""
MARKS: Final = {
    "failing": "▼", "disturbed": "◆", "lagging": "▽", "undecided": "□", "insufficient_data": "○", "too_early": "◇",
    "on_track": "▲", "no_loss": "△", "recovered": "●",
}  # fmt: skip
"""Mark of each status, as on the pages."""
_BEHIND: Final = (Status.FAILING, Status.DISTURBED, Status.LAGGING)
_ON_PLAN: Final = (Status.ON_TRACK, Status.RECOVERED)
_RANK: Final[dict[str, int]] = {"failing": 0, "disturbed": 0, "lagging": 1, "on_track": 2, "recovered": 2}
"""Statuses that say something of growth, worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWeek:
    """A site on the day of a brief."""

    site: Site
    assessment: Assessment | None
    """The newest one, without share of the plan where an alert is judged by an earlier promise; None: none yet."""
    alerts: Sequence[Alert] = ()
    """All of the site, resolved ones too, without those whose messages are held."""
    held: bool = False
    """Whether messages about it are held."""
    before: str | None = None
    """Status a week ago; None: it was not judged then."""
    unseen: bool = False
    """Whether it had no usable scene for so much of its growing season that the operators are notified."""
    first_growth: bool = False
    """Whether growth was seen for the first time in the last weeks; only of a site that is too early to judge."""
    page: str | None = None
    """Address of its page; None: pages are not served."""

    @property
    def open(self) -> list[Alert]:
        """Its alerts that wait for an answer."""
        return [alert for alert in self.alerts if alert.state is AlertState.OPEN]

    @property
    def later(self) -> list[Alert]:
        """Its alerts that somebody took on or put off, and that have no answer."""
        states = (AlertState.SNOOZED, AlertState.ACKNOWLEDGED)
        return [alert for alert in self.alerts if alert.state in states and not alert.unreviewed]

    @property
    def answers(self) -> list[Alert]:
        """Its answered alerts whose cause is still seen, or whose answer waits for a review."""
        return [alert for alert in self.alerts if alert.unreviewed or is_answered(alert)]

    @property
    def status(self) -> Status:
        """Status of its newest assessment."""
        return Status.INSUFFICIENT_DATA if self.assessment is None else self.assessment.status

    def section(self, day: date) -> str:
        """Section of the brief of a day in which it stands."""
        if self.open:
            return "unanswered"
        if self.later:
            return "later"
        if self.held:
            return "undecided"
        if any(alert.unreviewed or self.status in _BEHIND for alert in self.answers):
            return "answered"
        if self.first_growth or self._is_better():
            return "improving"
        if self.status in _BEHIND:
            return "lagging"
        if self.unseen or self.status is Status.INSUFFICIENT_DATA or self.not_judged(day):
            return "unseen"
        return "on_track" if self.status in _ON_PLAN else "undecided"

    def _is_better(self) -> bool:
        """Whether its status is better than a week ago.

        From a status that says nothing of growth, only on track is better.
        """
        if self.before is None or self.status not in _RANK:
            return False
        unknown = 1 if self.status in _ON_PLAN else 2
        return _RANK.get(self.before, unknown) < _RANK[self.status]

    def not_judged(self, day: date) -> bool:
        """Whether no night of the last week judged it."""
        return self.assessment is None or (day - self.assessment.as_of).days > WEEK


def compose_weekly(
    sites: Sequence[SiteWeek], *, day: date, id: str, time: datetime, address: str | None = None,
    head: ChainHead | None = None,
) -> Message:  # fmt: skip
    """Compose the brief of a week to a manager about all their sites, in the language of the first site.

    `address` is that of the page "my sites" of the manager; without one, the steps for each alert are stated instead.
    """
    language = words.language_of(sites[0].site)
    by_section: dict[str, list[SiteWeek]] = {section: [] for section in SECTIONS}
    for one in sorted(sites, key=lambda one: _worst_first(one, day)):
        by_section[one.section(day)].append(one)
    counts = {section: len(members) for section, members in by_section.items()}
    said = [_count(section, counts[section], language) for section in SUBJECT if counts[section]]
    calm = "all_on_track" if counts["on_track"] == len(sites) else "nothing"
    news = ("，" if language == "zh" else ", ").join(said) or text(f"weekly.{calm}", language)
    subject = text("weekly.subject", language, day=words.day(day, language), what=news)
    sections, left = [], MAX_ROWS
    for section, members in by_section.items():
        rows = [] if section in IN_ONE_LINE else members[:left]
        left -= len(rows)
        if members:
            sections.append(_section(section, members, rows, day, language, with_link=address is not None))
    last = head.sentence(language) if head else ""
    context = {
        "subject": subject, "title": _title(sites, news, language), "sections": sections, "address": address,
        "button": text("weekly.button" if counts["unanswered"] else "weekly.my_sites", language),
        "day": text("weekly.week", language, day=words.day(day, language)), "head": last,
    }  # fmt: skip
    plain = render("weekly.txt", language, **context, full=True)
    if len(plain.encode()) > PLAIN_BYTES // 2:
        plain = render("weekly.txt", language, **context, full=False)
    links = [f"{context['button']}{text('unit.colon', language)}{address}"] if address else []
    links += [last] if last else []
    record = {
        "message_id": id, "event": "brief", "day": day.isoformat(), "language": language, "subject": subject,
        "sites": {section: [one.site.id for one in members] for section, members in by_section.items() if members},
        "page": address, "chain_head": head and head.hash, "text": plain,
    }  # fmt: skip
    return Message(
        id=id, time=time, language=language, subject=subject, text=plain,
        brief=_brief(subject, by_section, day, language, BRIEF_BYTES - len("\n".join(links).encode())),
        links="\n".join(links), html=render("weekly.html", language, **context), record=record,
    )  # fmt: skip


def share_of_plan(a: Assessment, language: Language) -> list[str]:
    """Sentence on the share of the plan with its interval, or at most its upper limit; none where it is not known."""
    if a.theta is None or a.theta_low is None or a.theta_high is None or has_loss(a):
        return []
    if round(100 * a.theta) <= 0:
        return [text("weekly.at_most", language, high=words.percent(max(a.theta_high, 0.0)))]
    value, low, high = (words.percent(one) for one in (a.theta, a.theta_low, a.theta_high))
    return [text("weekly.share", language, value=value, low=low, high=high)]


def _worst_first(one: SiteWeek, day: date) -> tuple[bool, bool, date, float, str]:
    """Red before watch, a loss before others, then the longest wait, then the smallest share of the plan."""
    alerts = one.open or one.later
    red = any(alert.level is AlertLevel.RED for alert in alerts)
    loss = any(alert.rule == "disturbance" for alert in alerts)
    theta = one.assessment.theta if one.assessment else None
    return not red, not loss, _since(alerts, day), 9.0 if theta is None else theta, one.site.id


def _since(alerts: Sequence[Alert], day: date) -> date:
    return min((alert.opened for alert in alerts), default=day)


def _count(section: str, n: int, language: Language) -> str:
    return text(f"weekly.n_{section}" + "_one" * (n == 1), language, n=n)


def _title(sites: Sequence[SiteWeek], news: str, language: Language) -> str:
    total = words.area(sum(one.site.hectares for one in sites), language)
    return text("weekly.title" + "_one" * (len(sites) == 1), language, n=len(sites), area=total, what=news)


def _section(
    section: str, members: Sequence[SiteWeek], rows: Sequence[SiteWeek], day: date, language: Language, *,
    with_link: bool,
) -> dict[str, Any]:  # fmt: skip
    """Heading, rows and named sites of a section."""
    area = words.area(sum(one.site.hectares for one in members), language)
    n = len(members)
    counted = text("weekly.counted" + "_one" * (n == 1), language, n=n, area=area)
    if section == "lagging":
        fresh = sum(one.before != one.status for one in members)
        counted = text("weekly.and_new", language, counted=counted, n=fresh)
    if section == "on_track":
        counted = text("weekly.nothing_to_do", language, counted=counted)
    rules = dict.fromkeys(alert.rule for one in members for alert in one.open) if not with_link else ()
    steps = [alert_steps(rule, patch=False, link=False, language=language) for rule in rules]
    return {
        "title": text(f"weekly.{section}", language), "counted": counted,
        "steps": [*dict.fromkeys([step for each in steps for step in each[:-1]] + [each[-1] for each in steps])],
        "rows": [_row(one, section, day, language) for one in rows],
        "named": [_named(one, day, language) for one in members[len(rows) :]],
    }  # fmt: skip


def _named(one: SiteWeek, day: date, language: Language) -> dict[str, Any]:
    """A site in one line: mark, name, and the share of the plan or the age of its imagery where that matters."""
    status = words.shown_status(one.site, one.status)
    said = []
    if one.held:
        said.append(text("weekly.held", language))
    elif one.status in _ON_PLAN and one.assessment and one.assessment.theta is not None:
        said.append(words.percent(one.assessment.theta))
    elif one.status not in _ON_PLAN:
        said.append(_lower(words.STATUS_NAMES[status][language], language))
    last = one.assessment.last_observed if one.assessment else None
    if last is not None and (day - last).days > OLD_DAYS:
        said.append(_imagery(last, day, language))
    name = short(words.site_name(one.site, language), MAX_SITE)
    between = "，" if language == "zh" else ", "
    return {
        "mark": MARKS[status], "colour": COLOURS[status], "name": name, "link": one.page, "said": between.join(said)
    }  # fmt: skip


def _row(one: SiteWeek, section: str, day: date, language: Language) -> dict[str, Any]:
    """A site with its growth and the reason why it stands in its section."""
    status = words.shown_status(one.site, one.status)
    said = _why(one, section, day, language)
    return {
        "mark": MARKS[status], "colour": COLOURS[status], "name": short(words.site_name(one.site, language), MAX_SITE),
        "link": one.page or map_link(*look_at(one.site, None), ""), "area": words.area(one.site.hectares, language),
        "bar": growth_bar(one.assessment) if one.assessment else "",
        "waited": _waited(one, day, language) if section == "unanswered" else "",
        "said": ("" if language == "zh" else " ").join(said),
    }  # fmt: skip


def _waited(one: SiteWeek, day: date, language: Language) -> str:
    days = (day - _since(one.open, day)).days
    return text("weekly.fresh" if days < WEEK else "weekly.waited", language, days=days)


def _why(one: SiteWeek, section: str, day: date, language: Language) -> list[str]:
    """Sentences: why a site stands in its section, and the age of its imagery."""
    a, said = one.assessment, []
    if a is None:
        return [text("weekly.never_judged", language)]
    if section in ("unanswered", "later"):
        said += [_cause(alert, a, day, language) for alert in one.open or one.later]
    if section == "later":
        said += [_put_off(alert, day, language) for alert in one.later]
    if section == "answered":
        for alert in one.answers:
            answer = words.ANSWER_NAMES[str(alert.answer)][language]
            said.append(text("weekly.unreviewed" if alert.unreviewed else "weekly.answer", language, answer=answer))
    if section == "improving" and one.before is not None and not one.first_growth:
        before, now = (_lower(words.STATUS_NAMES[key][language], language) for key in (one.before, one.status))
        said.append(text("weekly.better", language, before=before, now=now))
    elif section == "improving":
        said.append(text("weekly.first_growth", language, start=words.day(one.site.start, language)))
    if section == "lagging" and one.before != one.status:
        said.append(text("weekly.fresh_status", language))
    if section in ("answered", "lagging") and one.status is not Status.LAGGING:
        said.append(_sentence(words.STATUS_NAMES[one.status][language], language))
    if section != "unseen":
        said += share_of_plan(a, language)
    if one.not_judged(day):
        said.append(text("weekly.not_judged", language, day=_day(a.as_of, day, language)))
    said.append(_sentence(_imagery(a.last_observed, day, language), language))
    if section == "unseen" and not one.not_judged(day):  # else it is the monitor that failed, not the view
        said.append(text("weekly.visit", language))
    return said


def _cause(alert: Alert, a: Assessment, day: date, language: Language) -> str:
    """Cause of an alert; of a loss with its dates, and cover above the control before and since."""
    said = words.cause(alert.rule, alert.level, language)
    if alert.rule == "disturbance" and a.loss_on is not None:
        when = _day(a.loss_on, day, language)
        if a.loss_after is None:
            said = text("weekly.lost_since", language, what=said, day=when)
        else:
            said = text("weekly.lost_between", language, what=said, after=_day(a.loss_after, day, language), day=when)
        if a.loss_from is not None and a.loss_to is not None:
            change = {"before": words.points(a.loss_from), "after": words.points(a.loss_to)}
            said = text("weekly.lost_from_to", language, what=said, **change)
    if alert.clear_since is not None:
        said = text("weekly.gone", language, what=said, day=_day(alert.clear_since, day, language))
    return _sentence(said, language)


def _put_off(alert: Alert, day: date, language: Language) -> str:
    if alert.state is AlertState.ACKNOWLEDGED or alert.snoozed_until is None:
        return text("weekly.taken_on", language)
    return text("weekly.put_off", language, day=_day(alert.snoozed_until, day, language))


def _imagery(last: date | None, day: date, language: Language) -> str:
    """Day of the last usable scene, and its age where it is old."""
    if last is None:
        return text("weekly.never", language)
    age = (day - last).days
    return text("weekly.old" if age > OLD_DAYS else "weekly.seen", language, day=_day(last, day, language), days=age)


def _lower(name: str, language: Language) -> str:
    return name if language == "zh" else name.lower()


def _sentence(said: str, language: Language) -> str:
    return f"{said}。" if language == "zh" else f"{said[:1].upper()}{said[1:]}."


def _brief(subject: str, by_section: dict[str, list[SiteWeek]], day: date, language: Language, room: int) -> str:
    """Text for messengers: who waits for an answer, and the names in the other sections, as far as there is room."""
    lines, colon, waiting = [subject], text("unit.colon", language), by_section["unanswered"]
    for one in waiting[:MAX_NAMED]:
        name, alert = short(words.site_name(one.site, language), MAX_SITE), one.open[0]
        cause = _sentence(words.cause(alert.rule, alert.level, language), language)
        lines.append(f"{name}{colon}{_waited(one, day, language)}{'' if language == 'zh' else ' '}{cause}")
    if len(waiting) > MAX_NAMED:
        lines.append(text("digest.more", language, n=len(waiting) - MAX_NAMED))
    between = "、" if language == "zh" else ", "
    for section in SECTIONS[1:]:
        members = by_section[section]
        if not members:
            continue
        names = [short(words.site_name(one.site, language), MAX_SITE) for one in members]
        heading = text("weekly.heading", language, title=text(f"weekly.{section}", language), n=len(members))
        used = len("\n".join([*lines, heading]).encode()) + 60
        fitting = how_many_fit([f"{name}{between}" for name in names], min(room - used, room // 4))
        more = [text("weekly.more", language, n=len(names) - fitting)] if fitting < len(names) else []
        lines.append(f"{heading}{between.join([*names[:fitting], *more])}")
    return "\n".join(lines)
