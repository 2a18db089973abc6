"""Plans of sites: a table (CSV, Parquet), or published ``plan.json``, an object or a list of them."""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from shapely.geometry import Point, Polygon

from monitor.errors import BadConfiguration, BadData
from monitor.sites.biomes import BIOMES, biome_of, default_plan, in_field_cover
from monitor.sites.checked_feature import COHORT_ROUNDING, shown
from monitor.sites.cover_scale import PLAN_COVERS, FieldFactor
from monitor.sites.dates import read_day
from monitor.sites.own_biome import biome_from_json
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Biome, Plan, Site
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.tables.plan_json import (
    PUBLISHED,
    calibration_of,
    failing_area_of,
    field_factor_of,
    loss_ground_of,
    read_objects,
    reasons_of,
)
from monitor.verdict.tables.reading import MISSING_TEXTS, described, listed, names_of, one_of, read_table, table_format

NEEDED: Final = ("site", "start", "intervention", "biome")
SAME: Final = {"plan_A": "A", "plan_k": "k", "plan_L": "L"}
"""Other names of numbers of the plan; both may be given where they agree."""
PLAN_NUMBERS: Final = ("A", "k", "L", "too_early_years")
KNOWN: Final = (
    *NEEDED, "subtype", *PLAN_NUMBERS, *SAME, "plan_cover", "hectares", "latitude", "slope_degrees", "cohorts", "alpha",
    "episode", "as_of",
)  # fmt: skip
"""Columns that a table of plans may have."""
LIMITS: Final = {
    "A": (0.0, 1.0, "a cover fraction 0..1"),
    "k": (1e-6, 100.0, "a rate above 0, a year"),
    "L": (0.0, 100.0, "years, 0..100"),
    "too_early_years": (0.0, 100.0, "years, 0..100"),
    "hectares": (1e-6, 1e8, "an area above 0, hectares"),
    "latitude": (-90.0, 90.0, "degrees from -90 to 90, below 0 in the south"),
    "slope_degrees": (0.0, 90.0, "degrees, 0..90"),
    "plan_factor": (1e-3, 1e3, "index cover per cover that is promised, above 0"),
    "alpha": (0.0, 1.0, "a probability, 0..1"),
    "episode": (1.0, 1000.0, "a number from 1"),
}
"""Least and largest value of each number, and what it must be."""
DEFAULT_ALPHA: Final = 0.05
"""False-alarm budget of a site that states none. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """A site with its plan, and whatever else a verdict on it uses beside its series."""

    site: Site
    alpha: float = DEFAULT_ALPHA
    """False-alarm budget of the episode. [1]"""
    episode: int = 1
    as_of: date | None = None
    """Day of the published verdict; None: the plan is not of a published verdict."""
    calibration: Calibration | None = None
    """Constants of the published verdict; None: those of the command."""
    calibration_hash: str = ""
    """Hash of the constants of the published verdict, those of the code included."""
    series_digest: str = ""
    """:attr:`monitor.verdict.assessment.Series.digest` of the published series."""
    background: tuple[str, ...] = ()
    """Reasons of the published verdict that come from rain, terrain and pixels."""
    field_factor: FieldFactor | None = None
    """Index cover per field cover; None: unknown."""
    failing_area: FailingHectares | None = None
    """Failing area of the published verdict, from pixels."""
    loss_ground: LossGround | None = None
    """Area and neighbours of a sudden loss of the published verdict."""


def read_plans(path: Path, biomes: Mapping[str, Biome] | None = None) -> dict[str, SitePlan]:
    """Read sites with their plans; a missing number is the default of the intervention, biome and subtype.

    Parameters
    ----------
    path : Path, CSV, Parquet or JSON (an object or a list of objects)
    biomes : mapping of str to Biome, optional
        Biomes that may be named beside the built-in ones; a published plan has the definition of its own.

    Returns
    -------
    dict of str to SitePlan
        By site id.

    Raises
    ------
    BadData
        The file cannot be read, a column is missing or unknown, a name is unknown, or a number is out of range; names
        the site.
    """
    if path.suffix.lower() == ".json":
        rows = read_objects(path, known=(*KNOWN, *PUBLISHED))
        names = [_name(row.get("site"), f"{path}: plan {number}") for number, row in enumerate(rows, start=1)]
    else:
        table_format(path)
        table = read_table(path, needed=NEEDED, known=KNOWN, same={})
        known, of_row = names_of(table)
        names = [known[at] for at in of_row]
        columns = {name: listed(column, f"{path}: column {name!r}") for name, column in table.columns.items()}
        rows = [{name: values[at] for name, values in columns.items()} for at in range(table.size)]
    plans: dict[str, SitePlan] = {}
    for name, row in zip(names, rows, strict=True):
        if name in plans:
            msg = f"{path}: site {shown(name)} has more than one plan; keep one"
            raise BadData(msg)
        plans[name] = _site_plan(name, row, biomes or {}, f"{path}: site {shown(name)}")
    return plans


def _site_plan(name: str, row: Mapping[str, Any], biomes: Mapping[str, Biome], where: str) -> SitePlan:
    """Plan of one row; `where` begins each message."""
    for column in (name for name in NEEDED if name not in row):
        msg = f"{where}: {column} is absent"
        raise BadData(msg)
    numbers = {column: _number(row.get(column), column, where) for column in (*LIMITS, *SAME)}
    for other, column in SAME.items():
        given = numbers.pop(other)
        if None not in (given, numbers[column]) and given != numbers[column]:
            msg = f"{where}: {column} is {numbers[column]:g} and {other}, the same, is {given:g}; keep one"
            raise BadData(msg)
        numbers[column] = given if numbers[column] is None else numbers[column]
    for column, (low, high, meaning) in LIMITS.items():
        value = numbers[column]
        if value is not None and not low <= value <= high:
            msg = f"{where}: {column} is {value:g}; it must be {meaning}"
            raise BadData(msg)
    constants = calibration_of(row.get("calibration"), where)
    episode, as_of = numbers["episode"], _day(row.get("as_of"), "as_of", where)
    site = _site(name, row, numbers, biomes, where)
    return SitePlan(
        site=site,
        alpha=_alpha(numbers["alpha"], constants or Calibration(), where),
        episode=1 if episode is None else int(episode),
        as_of=as_of,
        calibration=constants,
        calibration_hash=_text(row.get("calibration_hash"), "calibration_hash", where),
        series_digest=_text(row.get("series_digest"), "series_digest", where),
        background=reasons_of(row.get("background"), where),
        failing_area=failing_area_of(row.get("failing_area"), where),
        loss_ground=loss_ground_of(row.get("loss_ground"), where),
        field_factor=field_factor_of(row.get("field_factor"), where) or biome_of(site).field_factor,
    )


def _site(
    name: str, row: Mapping[str, Any], numbers: Mapping[str, float | None], biomes: Mapping[str, Biome], where: str
) -> Site:
    start = _day(row["start"], "start", where)
    if start is None:
        msg = f"{where}: start is absent; give the first day of the work"
        raise BadData(msg)
    intervention = one_of(row["intervention"], "intervention", INTERVENTIONS, where)
    biomes = _own_biomes(row, biomes, where)
    word = one_of(row["biome"], "biome", (*BIOMES, *biomes), where)
    biome = biomes.get(word) or BIOMES[word]
    subtype = None
    if _text(row.get("subtype"), "subtype", where):
        subtype = one_of(row["subtype"], "subtype", SUBTYPES, where)
    latitude, hectares, default = numbers["latitude"], numbers["hectares"], default_plan(intervention, biome, subtype)
    return Site(
        id=name, name=name, start=start, intervention=intervention, biome=word, subtype=subtype,
        geometry=Polygon() if latitude is None else Point(0.0, latitude).buffer(1e-9),
        plan=_promised(_plan(numbers, intervention, default, where), row, numbers, biome, where),
        hectares=math.nan if hectares is None else hectares, slope_degrees=numbers["slope_degrees"],
        cohorts=_cohorts(_text(row.get("cohorts"), "cohorts", where), start, where), own_biome=biomes.get(word),
    )  # fmt: skip


def _own_biomes(row: Mapping[str, Any], biomes: Mapping[str, Biome], where: str) -> Mapping[str, Biome]:
    """Biomes that are not built in; the definition in a published plan counts before that of the configuration."""
    published = row.get("biome_definition")
    if published is None:
        return biomes
    name = _text(row["biome"], "biome", where)
    try:
        return {**biomes, name: biome_from_json(published, name=name)}
    except BadData as error:
        msg = f"{where}: biome_definition: {error}"
        raise BadData(msg) from error


def _plan(numbers: Mapping[str, float | None], intervention: str, default: Plan, where: str) -> Plan:
    given: dict[str, Any] = {name: value for name in PLAN_NUMBERS if (value := numbers[name]) is not None}
    plan = replace(default, **given)
    if plan.A == 0 and intervention != "tending":
        msg = (
            f"{where}: A is 0, but {intervention} promises uplift; give the promised uplift, "
            "or call the intervention tending, which is judged by losses alone"
        )
        raise BadData(msg)
    return plan


def _promised(
    plan: Plan, row: Mapping[str, Any], numbers: Mapping[str, float | None], biome: Biome, where: str
) -> Plan:
    """The plan in the cover that it promises."""
    word = _text(row.get("plan_cover"), "plan_cover", where)
    if not word or one_of(word, "plan_cover", PLAN_COVERS, where) == "index" or plan.A == 0:
        return plan
    if numbers["A"] is None:
        msg = f"{where}: plan_cover is 'field', but A is empty: the default uplift is of index cover; give A"
        raise BadData(msg)
    factor = numbers["plan_factor"]
    if factor is not None:
        return replace(plan, cover="field", factor=factor)
    try:
        return in_field_cover(plan, biome)
    except BadData as error:
        msg = f"{where}: plan_cover is 'field', but {error}; give A in index cover"
        raise BadData(msg) from error


def _alpha(given: float | None, constants: Calibration, where: str) -> float:
    if given is None:
        return DEFAULT_ALPHA
    try:
        boundary(given, constants.boundary)
    except BadConfiguration as error:
        msg = f"{where}: {str(error).partition(' ([')[0]}"
        raise BadData(msg) from error
    return given


def _cohorts(text: str, start: date, where: str) -> tuple[tuple[date, float], ...]:
    """Cohorts written as in a registry: day:share, separated by semicolons."""
    cohorts: list[tuple[date, float]] = []
    for part in filter(None, (part.strip() for part in text.replace("；", ";").replace("：", ":").split(";"))):
        day, _, share = part.partition(":")
        begun, size = _day(day, "cohorts", where), _number(share, "cohorts", where)
        if begun is None or size is None or not 0 < size <= 1:
            msg = f"{where}: cohorts has {shown(part)}; write day:share of the area, such as 2021-04-01:0.6"
            raise BadData(msg)
        cohorts.append((begun, size))
    total = sum(size for _, size in cohorts)
    if cohorts and (
        cohorts[0][0] != start
        or any(later <= earlier for (earlier, _), (later, _) in pairwise(cohorts))
        or abs(total - 1) > COHORT_ROUNDING
    ):
        msg = (
            f"{where}: cohorts are {shown(text)}; their days must ascend from the start, {start}, and their shares "
            f"add up to 1, not {total:g}"
        )
        raise BadData(msg)
    return tuple((begun, size / total) for begun, size in cohorts)


def _name(value: Any, where: str) -> str:
    name = unicodedata.normalize("NFC", _text(value, "site", where))
    if not name:
        msg = f"{where} has no site"
        raise BadData(msg)
    return name


def _text(value: Any, column: str, where: str) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        msg = f"{where}: {column} is {described(value)}, not a text"
        raise BadData(msg)
    return str(value).strip()


def _number(value: Any, column: str, where: str) -> float | None:
    """A number, None where there is none."""
    if isinstance(value, str):
        value = None if value.strip() in MISSING_TEXTS else value.strip()
    if value is None or value != value:
        return None
    try:
        number = math.nan if isinstance(value, bool) or (isinstance(value, str) and "_" in value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        msg = f"{where}: {column} is {described(value)}, not a number"
        raise BadData(msg)
    return number


def _day(value: Any, column: str, where: str) -> date | None:
    """A date, None where there is none."""
    if isinstance(value, datetime):
        return value.date() if value.tzinfo is None else value.astimezone(UTC).date()
    if isinstance(value, date):
        return value
    if value is None or value != value or value == "":
        return None
    why = "no text"
    if isinstance(value, str | int):
        try:
            return read_day(str(value))
        except BadData as error:
            why = str(error)
    msg = f"{where}: {column} is {described(value)}; a date such as 2021-07-15 is expected ({why})"
    raise BadData(msg)
