"""Plans of sites: a table (CSV, Parquet), or published ``plan.json``, an object or a list of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from shapely.geometry import Point, Polygon

from monitor.errors import BadConfiguration, BadData
from monitor.sites.biomes import BIOMES, biome_of, default_plan, in_field_cover
from monitor.sites.cohorts import read_cohorts
from monitor.sites.cover_scale import PLAN_COVERS, FieldFactor
from monitor.sites.names import shown
from monitor.sites.own_biome import biome_from_json
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Biome, Plan, Site
from monitor.tables import Column, read, read_json, unknown_choice
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.tables.plan_json import calibration_of, reasons_of, record_of

PLAN_NUMBERS: Final = {
    "A": (0.0, 1.0, "a cover fraction 0..1"),
    "k": (1e-6, 100.0, "a rate above 0, a year"),
    "L": (0.0, 100.0, "years, 0..100"),
    "too_early_years": (0.0, 100.0, "years, 0..100"),
}
"""Least and largest value of each number of a plan, and what it is."""
SAME: Final = {"plan_A": "A", "plan_k": "k", "plan_L": "L"}
"""Other names of numbers of the plan; both may be given where they agree."""
COLUMNS: Final = (
    Column("site", "id", True),
    Column("start", "day", True, meaning="give the first day of the work"),
    Column("intervention", required=True, choices=INTERVENTIONS),
    Column("biome", required=True, meaning=f"known are {', '.join(BIOMES)}"),
    Column("subtype", choices=SUBTYPES),
    *(Column(name, "number", False, (), *PLAN_NUMBERS[SAME.get(name, name)]) for name in (*PLAN_NUMBERS, *SAME)),
    Column("plan_cover", choices=PLAN_COVERS),
    Column("hectares", "number", low=1e-6, high=1e8, meaning="an area above 0, hectares"),
    Column("latitude", "number", low=-90.0, high=90.0, meaning="degrees from -90 to 90, below 0 in the south"),
    Column("slope_degrees", "number", low=0.0, high=90.0, meaning="degrees, 0..90"),
    Column("cohorts"),
    Column("alpha", "number", low=0.0, high=1.0, meaning="a probability, 0..1"),
    Column("episode", "number", low=1.0, high=1000.0, meaning="a number from 1"),
    Column("as_of", "day"),
)
"""Columns that a table of plans may have."""
PUBLISHED: Final = (
    Column("plan_factor", "number", low=1e-3, high=1e3, meaning="index cover per cover that is promised, above 0"),
    Column("calibration_hash"), Column("series_digest"),
    *(
        Column(name, "other")
        for name in (
            "calibration", "background", "failing_area", "loss_ground", "field_factor", "code_version",
            "biome_definition", "promises",
        )
    ),
)  # fmt: skip
"""Members of a published plan that a table of plans does not have."""
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
    columns = (*COLUMNS, *PUBLISHED)
    table = read_json(path, columns) if path.suffix.lower() == ".json" else read(path, COLUMNS)
    table = replace(table, schema={column.name: column for column in columns})
    names, of_row = table.ids()
    values = {name: table[name].tolist() for name, column in table.schema.items() if column.kind not in ("id", "other")}
    table.check()
    plans: dict[str, SitePlan] = {}
    for at in range(table.size):
        name = names[of_row[at]]
        row = {column: each[at] for column, each in values.items()}
        published = table.objects[at] if table.objects else {}
        try:
            if name in plans:
                msg = f"site {shown(name)} has more than one plan; keep one"
                raise BadData(msg)
            plans[name] = _site_plan(name, row, published, biomes or {})
        except BadData as error:
            table.add(at, str(error))
    table.check()
    return plans


def _site_plan(
    name: str, row: Mapping[str, Any], published: Mapping[str, Any], biomes: Mapping[str, Biome]
) -> SitePlan:
    """Plan of one row; `published` has the members of ``plan.json``."""
    numbers = {column: None if value != value else value for column, value in row.items() if isinstance(value, float)}
    for other, column in SAME.items():
        given = numbers.pop(other)
        if None not in (given, numbers[column]) and given != numbers[column]:
            msg = f"{column} is {numbers[column]:g} and {other}, the same, is {given:g}; keep one"
            raise BadData(msg)
        numbers[column] = given if numbers[column] is None else numbers[column]
    constants = calibration_of(published.get("calibration"), "calibration")
    episode = numbers["episode"]
    site = _site(name, row, numbers, published.get("biome_definition"), biomes)
    factor = record_of(published.get("field_factor"), FieldFactor, "field_factor")
    return SitePlan(
        site=site,
        alpha=_alpha(numbers["alpha"], constants or Calibration()),
        episode=1 if episode is None else int(episode),
        as_of=row["as_of"],
        calibration=constants,
        calibration_hash=row["calibration_hash"],
        series_digest=row["series_digest"],
        background=reasons_of(published.get("background")),
        failing_area=record_of(published.get("failing_area"), FailingHectares, "failing_area"),
        loss_ground=record_of(published.get("loss_ground"), LossGround, "loss_ground"),
        field_factor=factor or biome_of(site).field_factor,
    )


def _site(
    name: str, row: Mapping[str, Any], numbers: Mapping[str, float | None], definition: Any, biomes: Mapping[str, Biome]
) -> Site:
    start, intervention, word, subtype = row["start"], row["intervention"], row["biome"], row["subtype"] or None
    if definition is not None:  # it counts before that of the configuration
        try:
            biomes = {**biomes, word: biome_from_json(definition, name=word)}
        except BadData as error:
            msg = f"biome_definition: {error}"
            raise BadData(msg) from error
    if word not in BIOMES and word not in biomes:
        raise BadData(unknown_choice("biome", word, (*BIOMES, *biomes)))
    biome = biomes.get(word) or BIOMES[word]
    cohorts, problem, fix = read_cohorts(row["cohorts"], start)
    if problem:
        msg = f"{problem} {fix}"
        raise BadData(msg)
    latitude, hectares = numbers["latitude"], numbers["hectares"]
    plan = _plan(numbers, intervention, default_plan(intervention, biome, subtype))
    return Site(
        id=name, name=name, start=start, intervention=intervention, biome=word, subtype=subtype,
        geometry=Polygon() if latitude is None else Point(0.0, latitude).buffer(1e-9),
        plan=_promised(plan, row["plan_cover"], numbers, biome),
        hectares=math.nan if hectares is None else hectares, slope_degrees=numbers["slope_degrees"],
        cohorts=cohorts, own_biome=biomes.get(word),
    )  # fmt: skip


def _plan(numbers: Mapping[str, float | None], intervention: str, default: Plan) -> Plan:
    given: dict[str, Any] = {name: value for name in PLAN_NUMBERS if (value := numbers[name]) is not None}
    plan = replace(default, **given)
    if plan.A == 0 and intervention != "tending":
        msg = (
            f"A is 0, but {intervention} promises uplift; give the promised uplift, "
            "or call the intervention tending, which is judged by losses alone"
        )
        raise BadData(msg)
    return plan


def _promised(plan: Plan, cover: str, numbers: Mapping[str, float | None], biome: Biome) -> Plan:
    """The plan in the cover that it promises."""
    if cover != "field" or plan.A == 0:
        return plan
    if numbers["A"] is None:
        msg = "plan_cover is 'field', but A is empty: the default uplift is of index cover; give A"
        raise BadData(msg)
    if (factor := numbers["plan_factor"]) is not None:
        return replace(plan, cover="field", factor=factor)
    try:
        return in_field_cover(plan, biome)
    except BadData as error:
        msg = f"plan_cover is 'field', but {error}; give A in index cover"
        raise BadData(msg) from error


def _alpha(given: float | None, constants: Calibration) -> float:
    if given is None:
        return DEFAULT_ALPHA
    try:
        boundary(given, constants.boundary)
    except BadConfiguration as error:
        raise BadData(str(error).partition(" ([")[0]) from error
    return given
