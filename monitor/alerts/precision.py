"""How often alerts were right, by what people found in the field.

Measured for people to read: no threshold is derived from it. The sites that people visit and answer for are no random
choice, and two alerts of one site are not independent, so the intervals are at best those of the answered alerts.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from monitor.alerts.alert import AlertEvent, Verdict
from monitor.verdict.assessment import AlertLevel

GROUPS: Final = ("rule", "province", "intervention")
"""By what answered alerts are counted, besides all together."""
_Z: Final = 1.959963984540054
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


class AnsweredOpening(NamedTuple):
    """One opening of an alert that a person has answered."""

    site: str
    rule: str
    level: AlertLevel
    """Highest level that it reached."""
    is_right: bool
    """Whether its newest answer is ``confirmed`` or ``treated``; False: ``false-alarm``."""


def answered_openings(events: Iterable[Mapping[str, Any]]) -> list[AnsweredOpening]:
    """Openings that were answered, from all events of all alerts.

    Parameters
    ----------
    events : iterable of mapping
        Of all alerts, ascending for each: ``alert`` (id), ``number``, ``kind``, ``day`` and ``level``; those of answers
        also ``answer`` and ``opening``, the number of the event that opened what they are about.
    """
    levels: dict[tuple[str, int], str] = {}
    newest: dict[tuple[str, int], Mapping[str, Any]] = {}
    current: dict[str, int] = {}
    for event in events:
        alert, kind = event["alert"], event["kind"]
        if kind in (AlertEvent.OPENED, AlertEvent.REOPENED):
            current[alert] = event["number"]
        if kind in (AlertEvent.OPENED, AlertEvent.REOPENED, AlertEvent.WORSENED):
            levels[alert, current.get(alert, 0)] = event["level"]
        elif kind == AlertEvent.ANSWERED:
            opening = alert, event["opening"]
            levels.setdefault(opening, event["level"])
            if opening not in newest or newest[opening]["day"] <= event["day"]:
                newest[opening] = event
    answered = []
    for (alert, number), answer in newest.items():
        site, rule = alert.rsplit("/", 1)
        level, is_right = AlertLevel(levels[alert, number]), answer["answer"] != Verdict.FALSE_ALARM
        answered.append(AnsweredOpening(site=site, rule=rule, level=level, is_right=is_right))
    return answered


def measured_precision(
    openings: Iterable[AnsweredOpening], sites: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Share of answered alerts that were right, all together and by :data:`GROUPS`, red and watch separately.

    Parameters
    ----------
    openings : iterable of AnsweredOpening
        All that were ever answered.
    sites : mapping
        ``province`` and ``intervention`` of each site by its id, retired sites included.

    Returns
    -------
    list of dict
        Rows with at least one answer: ``by`` (``all`` or a group), ``value`` (None: all, or unknown), ``level``, ``n``,
        ``right``, ``false_alarms``, ``share`` with ``low`` and ``high``, its 95 % interval [1].
    """
    counts: dict[tuple[str, str | None, AlertLevel], list[bool]] = {}
    for opening in openings:
        site = sites.get(opening.site, {})
        values = {"rule": opening.rule, "province": site.get("province"), "intervention": site.get("intervention")}
        for by, value in (("all", None), *((by, values[by]) for by in GROUPS)):
            counts.setdefault((by, value, opening.level), []).append(opening.is_right)
    order = ["all", *GROUPS]
    keys = sorted(counts, key=lambda key: (order.index(key[0]), key[1] is None, key[1] or "", key[2]))
    return [
        {"by": by, "value": value, "level": level.value, **_row(counts[by, value, level])} for by, value, level in keys
    ]


def _row(right: list[bool]) -> dict[str, Any]:
    n, k = len(right), sum(right)
    low, high = wilson_interval(k, n)
    shares = {"share": round(k / n, 4), "low": round(low, 4), "high": round(high, 4)}
    return {"n": n, "right": k, "false_alarms": n - k, **shares}


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Score interval of a share of which `k` of `n` > 0 trials were observed [1]_, 95 %. [1]

    Chosen over the normal approximation because n is small and the share near 1: it never leaves 0 to 1, and 3 of 3 do
    not give an interval of width zero.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference," J. Am. Stat. Assoc.,
       1927, doi:10.1080/01621459.1927.10502953.
    """
    centre, total = k + _Z**2 / 2, n + _Z**2
    half = _Z * math.sqrt(k * (n - k) / n + _Z**2 / 4)
    return max(0.0, (centre - half) / total), min(1.0, (centre + half) / total)
