"""Check the values and the outline of one feature of a registry, and build its site."""

import difflib
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from shapely.geometry.base import BaseGeometry

from monitor.errors import BadData
from monitor.sites.biomes import BIOMES, default_plan, in_field_cover
from monitor.sites.cohorts import read_cohorts
from monitor.sites.columns import MAX_COMPARED, canonical_properties, stated_datum
from monitor.sites.cover_scale import PLAN_COVERS
from monitor.sites.dates import FIRST_YEAR, LAST_YEAR, read_day
from monitor.sites.formats.feature import Feature
from monitor.sites.geometry import Problem, check_outline
from monitor.sites.names import folder_name, has_invisible, shown, without_invisible
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Biome, Plan, Site, site_version

MAX_TEXT = 300  # length to which texts are cut [characters]
LIMITS = {
    "plan_A": (0.0, 1.0, "a share of the ground: 0.12 for 12 %"),
    "plan_k": (0.01, 10.0, "the rate of approach per year, 0.2 to 0.6 as a rule"),
    "plan_L": (0.0, 20.0, "the lag in years"),
    "too_early_years": (0.0, 30.0, "years after the start"),
    "slope_degrees": (0.0, 90.0, "the mean slope of the ground in degrees"),
    "programme_year": (FIRST_YEAR, LAST_YEAR, "a year, such as 2024"),
}
"""Smallest and largest accepted value by column, and its meaning."""
CHINESE_NAMES = {
    "checkerboard": ("草方格", "沙障"), "gully": ("沟",), "slope": ("护坡", "坡面", "梯田"),
    "reseeding": ("补播", "播种", "种草"), "shrub": ("灌",), "tree": ("乔",),
    "enclosure": ("围栏", "禁牧", "封禁", "封育"),
    "tending": ("抚育", "管护"), "erosion_control": ("水土保持", "水土流失", "固沙", "治沙"),
    "assisted_regeneration": ("封山", "封育", "封沙", "自然恢复", "辅助再生"),
    "planting": ("造林", "种植", "栽植", "植树", "种草"),
    "desert_steppe": ("荒漠草原",), "sandy": ("沙地", "沙漠"), "hexi": ("河西",), "loess": ("黄土",),
    "alpine": ("高寒", "草甸"), "karst": ("喀斯特", "岩溶", "石漠"), "southwest_mountain": ("西南",),
    "north_mountain": ("北方山地", "太行", "燕山", "秦岭"), "steppe": ("草原",),
}  # fmt: skip
"""Chinese words that name an option; the first option with one of them is suggested."""
_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)


@dataclass(slots=True, kw_only=True)
class CheckedFeature:
    """One feature of a registry file, with its problems and, if it is accepted, its site."""

    feature: Feature
    place: int  # number of the feature in the file, from 1
    properties: dict[str, object]  # values by column, see monitor.sites.columns.canonical_properties
    problems: list[Problem] = field(default_factory=list)
    label: str = ""  # id of the site; without a valid id, its place in the file
    site_id: str | None = None
    outline: BaseGeometry | None = None
    overlaps: int = 0  # number of overlaps with other sites
    hectares: float | None = None  # geodesic area of the outline as drawn; None: it has no area [ha]
    site: Site | None = None  # None: a problem refuses it
    repaired: tuple[str, ...] = ()  # codes of the problems that a repair of the outline has fixed
    hectares_before: float | None = None  # area before the repair; the two sides of a crossing have opposite signs [ha]

    def add(self, code: str, message: str, fix: str, *, refuses: bool = True) -> None:
        """Add a problem; unless it is a warning, it refuses the site."""
        self.problems.append(Problem(code, message, fix, refuses=refuses))
        if refuses:
            self.site = None

    def text(self, name: str) -> str | None:
        """Text of a column, None if empty; invisible characters are removed, with a warning."""
        value = self.properties.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.add("BAD_VALUE", f"{name} is {shown(value)}, not a text.", f"Write {name} as text.")
            return None
        text = _plain(value)
        if has_invisible(text):
            if name in ("manager_channel", "manager_email"):
                code = "BAD_CHANNEL" if name == "manager_channel" else "BAD_EMAIL"
                self.add(code, f"{name} has control characters: {shown(text)}.", "Type it again.")
                return None
            message = f"{name} has control characters, line ends or changes of writing direction: {shown(text)}."
            self.add("TEXT_CLEANED", message, "They are removed; type it again to silence this warning.", refuses=False)
            text = without_invisible(text)
        text = unicodedata.normalize("NFC", text.strip())
        if len(text) > MAX_TEXT:
            message = f"{name} has {len(text)} characters; {MAX_TEXT} are kept."
            self.add("TEXT_LONG", message, "Shorten it.", refuses=False)
            text = text[:MAX_TEXT]
        return text or None

    def choice(self, name: str, options: tuple[str, ...], *, required: bool) -> str | None:
        """Value of a column that has a fixed list of options; None if empty or unknown."""
        value = self.text(name)
        listed = f"Give one of: {', '.join(options)}."
        if name == "biome":
            listed += " Or define a biome of your own as [biomes.NAME] in regrowth.toml: docs/biomes.md."
        if value is None and required:
            self.add("MISSING", f"{name} is missing.", listed)
        if value is None or value in options:
            return value
        near = nearest_option(value, options)
        fix = f"Did you mean {near!r}? " if near else ""
        self.add("UNKNOWN_VALUE", f"{name} is {shown(value)}, which is unknown.", fix + listed)
        return None

    def number(self, name: str) -> float | None:
        """Number of a column within :data:`LIMITS`; None if empty or outside."""
        value = self.properties.get(name)
        if value is None or value == "":
            return None
        low, high, meaning = LIMITS[name]
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high or (name == "programme_year" and not number.is_integer()):
            fix = f"Give {meaning}, within {low:g} to {high:g}; or leave it empty."
            self.add("OUT_OF_LIMITS", f"{name} is {shown(value)}.", fix)
            return None
        return number


def check_feature(
    feature: Feature, place: int, columns: Mapping[str, str | None], biomes: Mapping[str, Biome]
) -> CheckedFeature:
    """Check the values and the outline of one feature, number `place` in the file, from 1.

    `columns` are the unknown columns of the file, each with the nearest known one or None; `biomes` those that the file
    may name beside the built-in ones.
    """
    checked = CheckedFeature(feature=feature, place=place, properties=canonical_properties(feature.properties))
    checked.site_id = _site_id(checked)
    checked.label = checked.site_id or f"feature {place}"
    for column, near in columns.items():
        if near and column in feature.properties:
            message = f"The column {shown(column)} is unknown and not read."
            checked.add("UNKNOWN_COLUMN", message, f"Did you mean {near!r}?", refuses=False)
    texts = ("name", "name_zh", "province", "partner", "manager_name", "manager_channel")
    values = {name: checked.text(name) for name in texts}
    if values["name"] is None and "name" not in (problem.message.split(" ")[0] for problem in checked.problems):
        message = "name is missing: messages and pages name the site by its id."
        checked.add("NO_NAME", message, "Give the name by which its manager knows it.", refuses=False)
    email = _email(checked)
    start = _start(checked)
    promise = check_promise(checked, start, biomes)
    language = checked.choice("manager_language", ("zh", "en"), required=False)
    year = checked.number("programme_year")
    slope = checked.number("slope_degrees")
    outline = check_outline(feature)
    checked.problems += outline.problems
    checked.outline, checked.hectares = outline.geometry, outline.hectares
    if (datum := stated_datum(checked.properties)) is not None:
        stated = f"The coordinates are stated to be those of a Chinese web map ({shown(datum)})"
        fix = "Convert them to WGS 84" + (", or use --repair." if "gcj" in datum.lower() else ".")
        checked.add("GCJ02", f"{stated}, 100 to 700 m off WGS 84.", fix)
    if checked.site_id is None or start is None or promise is None or outline.geometry is None:
        return checked  # each None has its problem
    if outline.hectares is None or any(problem.refuses for problem in checked.problems):
        return checked
    site = Site(
        id=checked.site_id, name=values["name"] or checked.site_id, name_zh=values["name_zh"],
        geometry=outline.geometry, start=start, hectares=outline.hectares, province=values["province"],
        programme_year=None if year is None else int(year),
        partner=values["partner"], slope_degrees=slope, manager_name=values["manager_name"],
        manager_language=language or "en", manager_email=email, manager_channel=values["manager_channel"], **promise,
    )  # fmt: skip
    checked.site = replace(site, version=site_version(site))
    return checked


def check_promise(checked: CheckedFeature, start: date | None, biomes: Mapping[str, Biome]) -> dict[str, Any] | None:
    """Check the promise: kind of work, biome, plan and cohorts; fields of a Site, or None where one is refused."""
    intervention = checked.choice("intervention", INTERVENTIONS, required=True)
    biome = checked.choice("biome", (*BIOMES, *biomes), required=True)
    subtype = checked.choice("subtype", SUBTYPES, required=False)
    definition = None if biome is None else (BIOMES | dict(biomes))[biome]
    plan = _plan(checked, intervention, definition, subtype)
    cohorts, problem, fix = read_cohorts(checked.text("cohorts") or "", start)
    if problem:
        checked.add("COHORTS", problem, fix)
    if intervention is None or biome is None or plan is None:
        return None
    return {
        "intervention": intervention, "biome": biome, "subtype": subtype, "plan": plan, "cohorts": cohorts,
        "own_biome": biomes.get(biome),
    }  # fmt: skip


def promise_of_row(properties: Mapping[str, Any], start: date | None, biomes: Mapping[str, Biome]) -> dict[str, Any]:
    """:func:`check_promise` of columns without an outline; BadData names each value that is refused, and its fix."""
    checked = CheckedFeature(feature=Feature(properties={}), place=1, properties=dict(properties))
    promise = check_promise(checked, start, biomes)
    refused = [f"{problem.message} {problem.fix}" for problem in checked.problems if problem.refuses]
    if refused or promise is None:
        raise BadData(" ".join(refused))
    return promise


def _email(checked: CheckedFeature) -> str | None:
    """Address of the manager, a plain one or several separated by commas; None if empty or invalid."""
    value = checked.text("manager_email")
    if value is None:
        return None
    addresses = [address.strip() for address in re.split("[,;，；]", value) if address.strip()]
    if not addresses or not all(_EMAIL.fullmatch(address) for address in addresses):
        fix = "Write it as name@example.org, several separated by commas."
        message = f"manager_email is {shown(value)}, which is no mail address; alerts go to the operators."
        checked.add("BAD_EMAIL", message, fix, refuses=False)
        return None
    return ", ".join(dict.fromkeys(addresses))


def _site_id(checked: CheckedFeature) -> str | None:
    value = checked.properties.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _plain(value).strip():
        problem = "is missing" if value is None or value == "" else f"is {shown(value)}"
        checked.add("ID_MISSING", f"The id {problem}.", "Give each site an id of its own that never changes.")
        return None
    site_id = unicodedata.normalize("NFC", _plain(value).strip())
    if has_invisible(site_id):
        message = f"The id has control characters or other invisible signs: {shown(site_id)}."
        checked.add("ID_INVISIBLE", message, "Type it again, with letters, digits, - and _.")
        return None
    if len(site_id) > MAX_TEXT:
        checked.add("ID_LONG", f"The id has {len(site_id)} characters: {shown(site_id)}.", "Give a short one.")
        return None
    if (folder := folder_name(site_id)) != site_id:
        message = f"The id {shown(site_id)} cannot name a folder everywhere; its folder is {folder!r}."
        fix = "Nothing need be done; an id of letters, digits, - and _ is easier to find."
        checked.add("ID_FOLDER", message, fix, refuses=False)
    return site_id


def _start(checked: CheckedFeature) -> date | None:
    text = checked.text("start")
    fix = "Write the first day of the work as YYYY-MM-DD, such as 2021-04-15."
    if text is None:
        if not any(problem.refuses and problem.message.startswith("start ") for problem in checked.problems):
            checked.add("MISSING", "start is missing.", fix)
        return None
    try:
        return read_day(text)
    except BadData as error:
        checked.add("BAD_DATE", f"start is {shown(text)}, {error}.", fix)
        return None


def _plan(checked: CheckedFeature, intervention: str | None, biome: Biome | None, subtype: str | None) -> Plan | None:
    columns = {"A": "plan_A", "k": "plan_k", "L": "plan_L", "too_early_years": "too_early_years"}
    numbers: dict[str, Any] = {key: checked.number(column) for key, column in columns.items()}
    cover = checked.choice("plan_cover", PLAN_COVERS, required=False)
    if intervention is None or biome is None:
        return None
    given = {key: value for key, value in numbers.items() if value is not None}
    plan = replace(default_plan(intervention, biome, subtype), **given)
    if cover == "field" and intervention != "tending":
        plan = _field_plan(checked, plan, biome)
    if intervention == "tending" and plan.A > 0:
        checked.add("PLAN", f"Tending promises no uplift, but plan_A is {plan.A:g}.", "Leave plan_A empty.")
    elif intervention != "tending" and plan.A == 0:
        fix = "Give the promised uplift, or call the intervention tending."
        checked.add("PLAN", f"plan_A is 0, but {intervention} promises uplift.", fix)
    if plan.too_early_years < plan.L:
        message = f"A verdict would be given after {plan.too_early_years:g} years, before growth can be seen at "
        checked.add("PLAN", f"{message}{plan.L:g} years (plan_L).", "Give too_early_years of at least plan_L.")
    return plan


def _field_plan(checked: CheckedFeature, plan: Plan, biome: Biome) -> Plan:
    """Plan that promises field cover, with the factor by which it is judged."""
    if checked.number("plan_A") is None:
        message = "plan_cover is 'field', but plan_A is empty: the default uplift is of index cover."
        checked.add("PLAN_COVER", message, "Give plan_A in field cover, or leave plan_cover empty.")
        return plan
    try:
        converted = in_field_cover(plan, biome)
    except BadData as error:
        checked.add("PLAN_COVER", f"plan_cover is 'field', but {error}.", "Give plan_A in index cover.")
        return plan
    factor = biome.field_factor
    assert factor is not None
    message = (
        f"plan_A {plan.A:g} of field cover is judged as {converted.index_A:.3f} of index cover: factor "
        f"{factor.value:g} in {biome.names['en']}, measured from {factor.low:g} to {factor.high:g}."
    )
    fix = "Nothing need be done; leave plan_cover empty if plan_A is index cover already."
    checked.add("PLAN_COVER", message, fix, refuses=False)
    return converted


def nearest_option(value: str, options: tuple[str, ...]) -> str | None:
    """Option that a person probably means: by its Chinese name, else the most similar one."""
    for option, words in CHINESE_NAMES.items():
        if option in options and any(word in value for word in words):
            return option
    plain = re.sub(r"[\W_]+", "_", value[:MAX_COMPARED].casefold()).strip("_")
    near = difflib.get_close_matches(plain, options, n=1, cutoff=0.6)
    return near[0] if near else None


def _plain(value: object) -> str:
    """Text of a value; a whole number without ``.0``, since tables store ids as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
