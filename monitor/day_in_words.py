"""Dates with the month in words, in English and Chinese."""

from datetime import date
from typing import Final

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def month_in_words(year: int, month: int, language: str) -> str:
    """Format a month; any language but ``zh`` is English.

    >>> month_in_words(2021, 6, "en"), month_in_words(2021, 6, "zh")
    ('June 2021', '2021年6月')
    """
    return f"{year}年{month}月" if language == "zh" else f"{_MONTHS[month - 1]} {year}"


def day_in_words(value: date, language: str) -> str:
    """Format a date; any language but ``zh`` is English.

    >>> day_in_words(date(2021, 6, 5), "en"), day_in_words(date(2021, 6, 5), "zh")
    ('5 June 2021', '2021年6月5日')
    """
    if language == "zh":
        return f"{value.year}年{value.month}月{value.day}日"
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"


def near_day_in_words(value: date, today: date, language: str) -> str:
    """Format a date, without its year if that is the year of `today`.

    >>> near_day_in_words(date(2021, 6, 5), date(2021, 8, 1), "en")
    '5 June'
    >>> near_day_in_words(date(2020, 6, 5), date(2021, 8, 1), "zh")
    '2020年6月5日'
    """
    text = day_in_words(value, language)
    return text if value.year != today.year else text.removeprefix(f"{value.year}年").removesuffix(f" {value.year}")
