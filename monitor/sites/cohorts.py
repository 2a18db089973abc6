"""Cohorts: parts of a site that were begun on different days, as registries and tables of plans write them."""

import math
from datetime import date
from itertools import pairwise
from typing import Final, NamedTuple

from monitor.errors import BadData
from monitor.sites.dates import read_day
from monitor.sites.names import shown

ROUNDING: Final = 0.011  # accepted deviation of a sum of shares from 1: hundredths; shares are then scaled [1]
_EXAMPLE: Final = "Write day:share of the area, such as 2021-04-01:0.6;2022-04-10:0.4, or leave it empty."


class Cohorts(NamedTuple):
    """Cohorts of a text, or the reason why it has none."""

    cohorts: tuple[tuple[date, float], ...] = ()  # day and share of each, ascending, summing to 1; empty: one start
    problem: str = ""  # empty: none
    fix: str = ""


def read_cohorts(text: str, start: date | None) -> Cohorts:
    """Cohorts written as ``day:share``, separated by semicolons; the first begins on `start`, if that is known."""
    cohorts = []
    for part in filter(None, (part.strip() for part in text.replace("；", ";").replace("：", ":").split(";"))):
        day, _, share = (word.strip() for word in part.partition(":"))
        try:
            begun, size = read_day(day), float(share)
        except (BadData, ValueError):
            size = math.nan
        if not 0 < size <= 1:
            return Cohorts(problem=f"cohorts has {shown(part)}.", fix=_EXAMPLE)
        cohorts.append((begun, size))
    if not cohorts:
        return Cohorts()
    total = sum(size for _, size in cohorts)
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(cohorts)):
        message = f"The days of cohorts do not ascend: {shown(text)}."
        return Cohorts(problem=message, fix="Sort them; join those of one day.")
    if abs(total - 1) > ROUNDING:
        return Cohorts(problem=f"The shares of cohorts add up to {total:g}, not 1: {shown(text)}.", fix=_EXAMPLE)
    if start is not None and cohorts[0][0] != start:
        message = f"The first cohort was begun on {cohorts[0][0]}, but start is {start}."
        return Cohorts(problem=message, fix=f"Write start {cohorts[0][0]}, or begin the cohorts on {start}.")
    return Cohorts(tuple((begun, size / total) for begun, size in cohorts))
