"""Words of messages and pages, in English and Chinese: statuses, alerts, numbers and dates."""

import math
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from monitor.day_in_words import day_in_words
from monitor.sites.names import without_invisible

if TYPE_CHECKING:
    from monitor.sites.site import Site

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, Language]] = ("en", "zh")
CATALOGUE: Final = Path(__file__).parent / "words.toml"
TEXTS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
"""The catalogue: section, name, language."""
STATUS_NAMES: Final = TEXTS["status"]
"""Names of statuses, worst first: the order in which sites are listed."""
ALERT_LEVEL_NAMES: Final = TEXTS["level"]
ANSWER_NAMES: Final = TEXTS["answer"]  # names of findings from the field
REASON_NAMES: Final = TEXTS["false_alarm_reason"]
RULE_NAMES: Final = TEXTS["rule"]
WATCH_NAMES: Final = TEXTS["watch"]
"""Causes of a watch, which are less certain than those of a red alert."""
INTERVENTION_NAMES: Final = TEXTS["intervention"]
MU_PER_HECTARE: Final = 15.0
"""Mu, the unit of area of Chinese forestry, in a hectare. [mu/ha]"""


def text(key: str, language: str, **values: object) -> str:
    """Text of the catalogue by section and name (``message.subject``), with the values of its placeholders.

    Values are not searched for placeholders themselves. ``KeyError``: no such text, or a placeholder without a value.
    """
    section, _, name = key.partition(".")
    return TEXTS[section][name][language].format(**values)


def cause(rule: str, level: str, language: Language) -> str:
    """Cause of an alert; for a `watch`, a possible cause."""
    return (WATCH_NAMES if level == "watch" and rule in WATCH_NAMES else RULE_NAMES)[rule][language]


def promise_changes(columns: Mapping[str, tuple[Any, Any]], language: Language) -> list[tuple[str, str, str]]:
    """Name, old and new value of each column of a promise that changed, as people read them."""
    from monitor.sites.biomes import BIOMES

    def shown(column: str, value: Any) -> str:
        if column == "plan_A":
            return text("unit.points", language, n=f"{100 * value:g}")
        if column == "intervention":
            return INTERVENTION_NAMES[value][language]
        if column == "biome" and value in BIOMES:
            return BIOMES[value].names[language]
        return f"{value:g}" if isinstance(value, float) else str(value or "–")

    return [
        (TEXTS["promise_column"][column][language], shown(column, old), shown(column, new))
        for column, (old, new) in columns.items()
    ]


def shown_status(site: "Site", status: str) -> str:
    """Key of :data:`STATUS_NAMES` to show: ``no_loss`` for a site on track whose plan promises no uplift."""
    return "no_loss" if status == "on_track" and site.plan.A == 0 else str(status)


def language_of(site: "Site") -> Language:
    """Language of the manager of a site."""
    return "zh" if site.manager_language.lower().startswith("zh") else "en"


def site_name(site: "Site", language: Language) -> str:
    """Name of a site in a language, without invisible characters: Chinese or plain, else the id."""
    names = (site.name_zh if language == "zh" else None, site.name, site.id)
    return next(filter(None, (without_invisible(name or "") for name in names)), "")


def lot_name(partner: str, year: int, intervention: str, language: Language) -> str:
    """Name of a lot by its partner, programme year and intervention, not cleaned."""
    work = INTERVENTION_NAMES[intervention][language]
    return text("lot.name", language, partner=partner, year=year, intervention=work)


def area_number(hectares: float, language: Language) -> str:
    """Area without its unit, mu in Chinese, else hectares: two significant digits below 10, whole numbers from 100.

    >>> area_number(0.512, "en"), area_number(4.21, "en"), area_number(94.6, "en"), area_number(94.6, "zh")
    ('0.51', '4.2', '94.6', '1,419')
    """
    value = MU_PER_HECTARE * hectares if language == "zh" else hectares
    return f"{value:,.{0 if value >= 100 else 1 if value >= 1 else 2}f}"


def area(hectares: float, language: Language, *, both: bool = False) -> str:
    """Area with its unit; in Chinese in mu, and with `both` also in hectares.

    >>> area(0.538, "en"), area(0.538, "zh"), area(0.538, "zh", both=True)
    ('0.54 ha', '8.1 亩', '8.1 亩（0.54 公顷）')
    """
    if language == "en":
        return f"{area_number(hectares, language)} ha"
    in_hectares = f"（{area_number(hectares, 'en')} 公顷）" if both else ""
    return f"{area_number(hectares, language)} 亩{in_hectares}"


def day(value: date | str, language: Language) -> str:
    """Date, or its text by ISO 8601, with the month in words: `5 June 2021`, `2021年6月5日`."""
    return day_in_words(date.fromisoformat(value) if isinstance(value, str) else value, language)


def percent(value: float | None, *, signed: bool = False) -> str:
    """Fraction in whole percent; a dash for None and NaN.

    >>> percent(0.316), percent(-0.001), percent(-0.05), percent(0.05, signed=True), percent(None)
    ('32%', '0%', '−5%', '+5%', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    whole = round(100 * value)
    return f"{sign(whole, signed=signed)}{abs(whole)}%"


def points(value: float | None) -> str:
    """Difference of cover in percentage points, without unit; a dash for None and NaN.

    >>> points(0.123), points(-0.04), points(None)
    ('+12', '−4', '–')
    """
    return percent(value, signed=True).removesuffix("%")


def sign(value: float, *, signed: bool = True) -> str:
    """Sign of a number: a typographic minus, and a plus if `signed`."""
    return "−" if value < 0 else "+" if signed and value > 0 else ""


def probability(value: float | None, language: Language) -> str:
    """Probability in whole percent, never 0 or 100; a dash for None and NaN.

    >>> probability(0.9991, "en"), probability(0.001, "zh"), probability(0.5, "en")
    ('over 99%', '低于 1%', '50%')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value > 0.99:
        return "超过 99%" if language == "zh" else "over 99%"
    if value < 0.01:
        return "低于 1%" if language == "zh" else "under 1%"
    return percent(value)


def coordinates(site: "Site") -> tuple[float, float]:
    """Latitude and longitude (WGS 84) of a point inside a site, to five decimals. [degree]"""
    inside = site.geometry.representative_point()
    return round(inside.y, 5), round(inside.x, 5)
