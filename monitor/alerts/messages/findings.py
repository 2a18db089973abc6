"""Sentences on an alert: cause, news, finding and place."""

from typing import Final

from monitor.alerts import words
from monitor.alerts.alert import REPEATED, AlertEvent
from monitor.alerts.lifecycle import QUIET_DAYS
from monitor.alerts.news import AlertNews
from monitor.alerts.words import Language, text
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.names import without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Assessment
from monitor.verdict.explain import FAILING_SHARE, LOSS_SURE
from monitor.verdict.reasons import Reason

WHOLE_SITE: Final = 0.9
"""Share of a site from which its worst patch is called nearly the whole site. [1]"""


def label(news: AlertNews, language: Language) -> str:
    """Level of an alert and what happened to it, in a few words."""
    return text(f"label.{news.event}", language, level=words.ALERT_LEVEL_NAMES[news.alert.level][language])


def what(news: AlertNews, language: Language) -> str:
    """Cause of an alert; once it is resolved, the status of the site."""
    if news.event is AlertEvent.RESOLVED:
        status = words.STATUS_NAMES[words.shown_status(news.site, news.assessment.status)][language]
        return status if language == "zh" else status.lower()
    return words.cause(news.alert.rule, news.alert.level, language)


def change(news: AlertNews, language: Language) -> str | None:
    """News of an alert that was reported before; None for a new alert."""
    if news.event is AlertEvent.OPENED:
        return None
    since, gone = words.day(news.alert.opened, language), news.alert.clear_since
    why = without_invisible(news.alert.note or "")
    said = [text(f"change.{news.event}", language, since=since, days=QUIET_DAYS, why=why)]
    if news.event in REPEATED and gone is not None:
        said.append(text("change.unseen", language, day=words.day(gone, language)))
    if news.alert.promise is not None:
        said.append(text(f"promise.{'resolved' if news.event is AlertEvent.RESOLVED else 'held'}", language))
    return (" " if language == "en" else "").join(said)


def finding(news: AlertNews, language: Language) -> str:
    """Finding at the site, in one sentence."""
    a, alert = news.assessment, news.alert
    end = "。" if language == "zh" else "."
    if news.event is AlertEvent.RESOLVED:
        cause = words.cause(alert.rule, alert.level, language)
        opened = words.day(alert.opened, language)
        return text("finding.resolved", language, opened=opened, cause=cause, status=what(news, language)) + end
    if alert.rule == "disturbance":
        sure = a.probability is not None and a.probability >= LOSS_SURE
        key = "finding.lost" if sure else "finding.maybe_lost"
        if a.loss_on is None:
            return text(key, language) + end
        day = words.day(a.loss_on, language)
        area = ""
        if a.hectares_lost is not None:
            whole = words.area(news.site.hectares, language, both=True)
            area = text("finding.lost_area", language, part=words.area_number(a.hectares_lost, language), whole=whole)
        if a.loss_after is None:
            return text(f"{key}_since", language, day=day) + area + end
        return text(f"{key}_between", language, after=words.day(a.loss_after, language), day=day) + area + end
    if alert.rule == "erosion":
        return text("finding.erosion", language) + end
    if alert.level is AlertLevel.RED:
        claim = text("finding.failure_red", language)
    elif fails_in_part(a):
        claim = text("finding.failure_part", language)
    else:
        claim = text("finding.failure_watch", language)
    measured = None if alert.held_by is not None else _measured(a, language)
    colon = "：" if language == "zh" else ": "
    return f"{claim}{colon}{measured}{end}" if measured else f"{claim}{end}"


def fails_in_part(a: Assessment) -> bool:
    """Whether a site fails on a part of its area although its mean may be fine."""
    return Reason.SPATIAL_PATCH.value in a.reasons and a.theta is not None and a.theta > FAILING_SHARE


def where(news: AlertNews, language: Language) -> str:
    """Place to look at, without the position."""
    if news.event is AlertEvent.RESOLVED:
        return text("where.site", language, whole=words.area(news.site.hectares, language, both=True))
    a = news.assessment
    area = a.hectares_lost if news.alert.rule == "disturbance" else a.hectares_failing
    return where_to_look(news.site, news.patch, area=area, language=language)


def where_to_look(site: Site, patch: WorstPatch | None, *, area: float | None, language: Language) -> str:
    """The worst patch or the whole site, with its hectares; `area`: all that was lost or fails, None: unknown. [ha]"""
    whole = words.area(site.hectares, language, both=True)
    if patch is None:
        return text("where.whole", language, whole=whole)
    area = max(patch.hectares, area or 0.0)  # a patch does not reach the edge of the site
    if area >= WHOLE_SITE * site.hectares:
        return text("where.most", language, part=words.area_number(area, language), whole=whole)
    return text("where.patch", language, part=words.area_number(patch.hectares, language), whole=whole)


def points(value: float, language: Language) -> str:
    """A difference of cover without sign: ``3 points``."""
    whole = abs(round(100 * value))
    return text("unit.point" if whole == 1 else "unit.points", language, n=whole)


def interval(value: str, low: str, high: str, language: Language) -> str:
    """A value with its 95 % interval."""
    return text("unit.interval", language, value=value, low=low, high=high)


def _measured(a: Assessment, language: Language) -> str | None:
    """Cover against the control ground and the plan; None where it is not known."""
    if a.uplift is None or not a.expected:
        return None
    rise = round(100 * a.uplift)
    key = "above" if rise > 0 else "below" if rise < 0 else "level"
    expected = points(a.expected, language)
    return text(f"finding.{key}", language, points=points(a.uplift, language), expected=expected)
