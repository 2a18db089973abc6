"""How often alerts were right, by what people found in the field.

Measured for people to read: no threshold is derived from it. The sites that people visit and answer for are not a
random choice, and two alerts of one site are not independent, so the intervals are at best those of the answered
alerts.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from monitor.alerts.alert import AlertEvent, Verdict
from monitor.verdict.assessment import AlertLevel

GROUPS: Final = ("rule", "province", "intervention")  # groups of answered alerts, besides all together
_Z: Final = 1.959963984540054
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


class AnsweredOpening(NamedTuple):
    """One opening of an alert that a person has answered."""

    site: str
    rule: str
    level: AlertLevel  # highest level that it reached
    is_right: bool  # whether its newest answer is `confirmed` or `treated`; False: `false-alarm`
    is_reviewed: bool = True  # False: that answer waits for a review, and says nothing yet


def answered_openings(events: Iterable[Mapping[str, Any]]) -> list[AnsweredOpening]:
    """Openings that were answered, from all events of all alerts; a review takes back what it does not accept.

    Events ascend for each alert and have ``alert`` (id), ``number``, ``kind``, ``day`` and ``level``; those of answers
    also ``answer``, ``unreviewed``, and ``opening``, the number of the event that opened the alert; those of reviews
    ``decision``.
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
        elif kind == AlertEvent.REVIEWED:
            opening = alert, current.get(alert, 0)
            answer = newest.pop(opening)
            if event["decision"] == "close":
                newest[opening] = {**answer, "unreviewed": False}
    answered = []
    for (alert, number), answer in newest.items():
        site, rule = alert.rsplit("/", 1)
        level, is_right = AlertLevel(levels[alert, number]), answer["answer"] != Verdict.FALSE_ALARM
        reviewed = not answer.get("unreviewed")
        answered.append(AnsweredOpening(site=site, rule=rule, level=level, is_right=is_right, is_reviewed=reviewed))
    return answered


def measured_precision(
    openings: Iterable[AnsweredOpening], sites: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Share of answered alerts that were right, all together and by :data:`GROUPS`, red and watch separately.

    `sites` has ``province`` and ``intervention`` of each site by its id, retired sites included.

    Returns
    -------
    list of dict
        Rows with at least one answer: ``by`` (``all`` or a group), ``value`` (None: all, or unknown), ``level``, ``n``,
        ``right``, ``false_alarms``, ``share`` with ``low`` and ``high``, its 95 % interval [1], None where ``n`` is 0.
        Answers that wait for a review are counted as ``unreviewed``, and in no other number.
    """
    counts: dict[tuple[str, str | None, AlertLevel], list[AnsweredOpening]] = {}
    for opening in openings:
        site = sites.get(opening.site, {})
        values = {"rule": opening.rule, "province": site.get("province"), "intervention": site.get("intervention")}
        for by, value in (("all", None), *((by, values[by]) for by in GROUPS)):
            counts.setdefault((by, value, opening.level), []).append(opening)
    order = ["all", *GROUPS]
    keys = sorted(counts, key=lambda key: (order.index(key[0]), key[1] is None, key[1] or "", key[2]))
    return [
        {"by": by, "value": value, "level": level.value, **_row(counts[by, value, level])} for by, value, level in keys
    ]


def _row(openings: list[AnsweredOpening]) -> dict[str, Any]:
    right = [opening.is_right for opening in openings if opening.is_reviewed]
    n, k = len(right), sum(right)
    numbers = (k / n, *wilson_interval(k, n)) if n else (None, None, None)
    shares = {
        name: number if number is None else round(number, 4)
        for name, number in zip(("share", "low", "high"), numbers, strict=True)
    }
    return {"n": n, "right": k, "false_alarms": n - k, **shares, "unreviewed": len(openings) - n}


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
