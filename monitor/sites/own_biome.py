"""A biome that an installation defines itself: it is like a built-in one, except for what is stated.

The definition is checked here, whether it comes from a configuration or from a published ``plan.json``.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import date
from typing import Any, Final

import msgspec

from monitor.errors import BadData
from monitor.sites.biomes import BIOMES
from monitor.sites.cover_scale import INDEX_NAMES
from monitor.sites.names import has_invisible
from monitor.sites.site import Biome, Plan

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,29}", re.ASCII)  # names that stand in a registry and name folders
MAX_NAME: Final = 60  # length of a name on pages [characters]
SEASON_LENGTH: Final = (30, 365)  # shortest and longest growing season [day]
WIDTH_SHARE: Final = 0.27  # width over length of a season that states only its days, as of most built-in ones [1]
MIN_CONTRAST: Final = 0.1  # of the index between bare soil and full cover: with less, noise passes for cover [1]
LIMITS: Final = {
    "width": (10, 120, "days, the standard deviation of the seasonal curve"),
    "bare_soil": (-0.2, 0.5, "the index of bare soil"),
    "full_cover": (0.1, 1.0, "the index of full vegetation cover"),
    "peak_cover": (0.01, 1.0, "a cover fraction"),
    "clear_share": (0.01, 1.0, "the share of satellite passes with a clear view"),
}
"""Smallest and largest value, and its meaning."""
PLAN_LIMITS: Final = {
    "A": (0.005, 1.0, "the uplift at maturity, a cover fraction"),
    "k": (0.01, 10.0, "the rate of approach per year"),
    "L": (0.0, 20.0, "the lag in years"),
    "too_early_years": (0.0, 30.0, "years after the start"),
}
"""The same for the numbers of a plan; those of the registry are alike."""
PLANS: Final = ("closure", "shrub", "tree", "reseeding")
PLANTING, EROSION_CONTROL = ("shrub", "tree", "reseeding"), ("slope", "gully", "checkerboard")
"""Subtypes that may be the usual ones of planting, and of erosion control."""


def own_biome(stated: Mapping[str, Any], *, name: str) -> Biome:
    """Biome of a definition, with whatever it does not state as in the biome that it is like; `name`: in the registry.

    `stated` has ``like`` and any of: ``name``, ``name_zh``; ``season`` (first and last day, each ``MM-DD``; the last
    may be in the next year), ``peak`` (``MM-DD``), ``width`` [day]; ``index``, ``bare_soil``, ``full_cover``,
    ``peak_cover``, ``clear_share`` [1]; ``closure``, ``shrub``, ``tree``, ``reseeding`` (mappings ``A``, ``k``, ``L``,
    ``too_early_years``); ``planting``, ``erosion_control`` (subtypes). BadData names a value that is impossible.
    """
    given = {key: value for key, value in stated.items() if value is not None}
    like = _one_of(given["like"], tuple(BIOMES), "like")
    base = BIOMES[like]
    _one_of(given.get("index", base.index), tuple(INDEX_NAMES), "index")
    if given.get("index", base.index) != base.index and not {"bare_soil", "full_cover"} <= given.keys():
        indices = f"index is {given['index']!r}, that of {like} is {base.index!r}"
        raise BadData(f"{indices}: give bare_soil and full_cover too")
    english = given.get("name") or name.replace("_", " ")
    changes: dict[str, Any] = {"names": {"en": english, "zh": given.get("name_zh") or english}}
    changes |= _season(base, given)
    same = ("index", "bare_soil", "full_cover", "peak_cover", "clear_share", "planting", "erosion_control")
    changes |= {key: given[key] for key in same if key in given}
    changes["endmembers_stated"] = "bare_soil" in given or "full_cover" in given
    changes |= {key: Plan(**given[key]) for key in PLANS if key in given}
    biome = replace(base, **changes)
    check_biome(biome, name=name)
    return biome


def check_biome(biome: Biome, *, name: str) -> None:
    """Check a biome that is not built in: BadData for an impossible value, or a name that is taken or unsafe."""
    if name in BIOMES:
        raise BadData(f"{name!r} is built in and cannot be defined otherwise; choose another name")
    if not NAME.fullmatch(name):
        raise BadData(f"a name has up to 30 of a-z, 0-9 and _, and begins with a letter; not {name[:40]!r}")
    for language in ("en", "zh"):
        text = biome.names.get(language, "")
        if not text.strip() or len(text) > MAX_NAME or has_invisible(text):
            raise BadData(f"its name is {text[:MAX_NAME]!r}; write up to {MAX_NAME} characters that can be seen")
    (first, last), (peak, width) = biome.season, biome.season_shape
    length = last - first + 1
    if not (1 <= first <= 365 and SEASON_LENGTH[0] <= length <= SEASON_LENGTH[1]):
        raise BadData(f"its season has {length} days; it must have {SEASON_LENGTH[0]} to {SEASON_LENGTH[1]}")
    if not first < peak < last:
        raise BadData("its peak is not within its season")
    _one_of(biome.index, tuple(INDEX_NAMES), "index")
    _one_of(biome.planting, PLANTING, "planting")
    _one_of(biome.erosion_control, EROSION_CONTROL, "erosion_control")
    numbers = {key: getattr(biome, key) for key in LIMITS if key != "width"} | {"width": width}
    for key, (low, high, meaning) in LIMITS.items():
        _within(numbers[key], low, high, f"{key} is {numbers[key]:g}; give {meaning}")
    if biome.full_cover - biome.bare_soil < MIN_CONTRAST:
        ends = f"bare_soil is {biome.bare_soil:g} and full_cover {biome.full_cover:g}"
        raise BadData(f"{ends}; full_cover must be at least {MIN_CONTRAST:g} above bare_soil")
    for kind in PLANS:
        if (plan := getattr(biome, kind)) is not None:
            _check_plan(plan, kind)


def biome_from_json(given: Any, *, name: str) -> Biome:
    """Biome of a published definition (:func:`biome_json`); BadData for a missing, unknown or impossible member."""
    try:
        biome: Biome = msgspec.convert(given, Biome)
    except msgspec.ValidationError as error:
        raise BadData(str(error)) from None
    if unknown := [key for key in given if key not in {field.name for field in fields(Biome)}]:
        raise BadData(f"{unknown[0]!r} is unknown")
    check_biome(biome, name=name)
    return biome


def biome_json(biome: Biome) -> dict[str, Any]:
    """All values of a biome, for ``plan.json``."""
    return asdict(biome)


def _season(base: Biome, given: Mapping[str, Any]) -> dict[str, Any]:
    """Season and its shape; the middle of the season is its peak unless that is stated."""
    (first, last), (peak, width) = base.season, base.season_shape
    if "season" in given:
        first, last = (_day_of_year(text, "season") for text in given["season"])
        last += 365 if last < first else 0
        peak, width = (first + last) // 2, round(WIDTH_SHARE * (last - first + 1))
    elif "peak" in given:
        raise BadData("peak is stated without season; give season too, so that both are days of the same place")
    if "peak" in given:
        peak = _day_of_year(given["peak"], "peak")
        peak += 365 if peak < first else 0
    shape = (peak, given.get("width", width))
    return {"season": (first, last), "season_shape": shape, "local_season": "season" in given}


def _day_of_year(text: str, key: str) -> int:
    """Day of the year of a text ``MM-DD``, 1 to 365."""
    try:
        return date.fromisoformat(f"2001-{text}").timetuple().tm_yday
    except ValueError:
        raise BadData(f"{key} has {text[:20]!r}; write month and day, such as '04-15' for 15 April") from None


def _check_plan(plan: Plan, kind: str) -> None:
    for key, (low, high, meaning) in PLAN_LIMITS.items():
        value = getattr(plan, key)
        _within(value, low, high, f"{kind}: {key} is {value:g}; give {meaning}")
    if plan.too_early_years < plan.L:
        msg = f"{kind}: too_early_years {plan.too_early_years:g} is less than L {plan.L:g}, when growth can be seen"
        raise BadData(msg)
    if plan.cover != "index" or plan.factor != 1.0:
        raise BadData(f"{kind}: a plan of a biome is in index cover")


def _within(value: float, low: float, high: float, what: str) -> None:
    if not low <= value <= high:
        raise BadData(f"{what}, {low:g} to {high:g}")


def _one_of(value: str, known: tuple[str, ...], key: str) -> str:
    if value not in known:
        raise BadData(f"{key} is {value[:40]!r}; give one of: {', '.join(known)}")
    return value
