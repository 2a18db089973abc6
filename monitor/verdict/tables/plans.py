"""Plans of sites: a table (CSV, Parquet), or published ``plan.json``, an object or a list of them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from shapely.geometry import Point, Polygon

from monitor.errors import BadConfiguration, BadData
from monitor.sites.biomes import BIOMES, biome_of
from monitor.sites.checked_feature import LIMITS, promise_of_row
from monitor.sites.cover_scale import PLAN_COVERS, FieldFactor
from monitor.sites.names import shown
from monitor.sites.own_biome import biome_from_json
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Biome, Site
from monitor.tables import FORMATS, Column, Given, read
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.tables.plan_json import calibration_of, reasons_of, record_of

PLAN_NUMBERS: Final = {"A": "plan_A", "k": "plan_k", "L": "plan_L", "too_early_years": "too_early_years"}
"""Numbers of the plan, and their names in the registry; both may be given where they agree."""
_SPELLINGS: Final = tuple(dict.fromkeys((*PLAN_NUMBERS, *PLAN_NUMBERS.values())))
COLUMNS: Final = (
    Column("site", "id", True), Column("start", "day", True, meaning="give the first day of the work"),
    Column("intervention", required=True, choices=INTERVENTIONS),
    Column("biome", required=True, meaning=f"known are {', '.join(BIOMES)}"), Column("subtype", choices=SUBTYPES),
    *(Column(name, "number", False, (), *LIMITS[PLAN_NUMBERS.get(name, name)]) for name in _SPELLINGS),
    Column("plan_cover", choices=PLAN_COVERS),
    Column("hectares", "number", low=1e-6, high=1e8, meaning="an area above 0, hectares"),
    Column("latitude", "number", low=-90.0, high=90.0, meaning="degrees from -90 to 90, below 0 in the south"),
    Column("slope_degrees", "number", False, (), *LIMITS["slope_degrees"]),
    Column("cohorts"),
    Column("alpha", "number", low=0.0, high=1.0, meaning="a probability, 0..1"),
    Column("episode", "number", low=1.0, high=1000.0, meaning="a number from 1"),
    Column("as_of", "day"),
)  # fmt: skip
"""Columns that a table of plans may have."""
JSON_COLUMNS: Final = tuple(
    Column(name, "json")
    for name in (
        "calibration", "background", "failing_area", "loss_ground", "field_factor", "code_version",
        "biome_definition", "promises",
    )
)  # fmt: skip
PUBLISHED: Final = (
    Column("plan_factor", "number", low=1e-3, high=1e3, meaning="index cover per cover that is promised, above 0"),
    Column("calibration_hash"), Column("series_digest"), *JSON_COLUMNS,
)  # fmt: skip
"""Members of a published plan that a table of plans does not have."""
DEFAULT_ALPHA: Final = 0.05  # false-alarm budget of a site that states none [1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """A site with its plan, and whatever else a verdict on it uses beside its series."""

    site: Site
    alpha: float = DEFAULT_ALPHA  # false-alarm budget of the episode [1]
    episode: int = 1
    as_of: date | None = None  # day of the published verdict; None: the plan is not of a published verdict
    calibration: Calibration | None = None  # constants of the published verdict; None: those of the command
    calibration_hash: str = ""  # hash of the constants of the published verdict, those of the code included
    series_digest: str = ""  # `monitor.verdict.assessment.Series.digest` of the published series
    background: tuple[str, ...] = ()  # reasons of the published verdict that come from rain, terrain and pixels
    field_factor: FieldFactor | None = None  # index cover per field cover; None: unknown
    failing_area: FailingHectares | None = None  # failing area of the published verdict, from pixels
    loss_ground: LossGround | None = None  # area and neighbours of a sudden loss of the published verdict


def read_plans(source: Path | Given, biomes: Mapping[str, Biome] | None = None) -> dict[str, SitePlan]:
    """Read sites with their plans; a missing number is the default of the intervention, biome and subtype.

    The file is CSV, Parquet or JSON (an object or a list of objects). `biomes` may be named beside the built-in ones; a
    published plan defines its biome itself. Raises ``BadData``, which names the site, where the file cannot be read, a
    column is missing or unknown, a name is unknown, or a number is out of range.
    """
    columns = (*COLUMNS, *PUBLISHED)
    tabular = isinstance(source, Path) and source.suffix.lower() != ".json"
    table = read(source, COLUMNS if tabular else columns, formats=(*FORMATS, ".json"))
    table = replace(table, schema={column.name: column for column in columns})
    names, of_row = table.ids()
    values = {name: table[name].tolist() for name, column in table.schema.items() if column.kind != "id"}
    table.check()
    plans: dict[str, SitePlan] = {}
    for at in range(table.size):
        name = names[of_row[at]]
        row = {column: each[at] for column, each in values.items()}
        published = {
            column.name: json.loads(row[column.name] or "null") for column in PUBLISHED if column.kind == "json"
        }
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
    constants = calibration_of(published["calibration"], "calibration")
    factor = record_of(published["field_factor"], FieldFactor, "field_factor")
    site = _site(name, row, numbers, published["biome_definition"], biomes)
    return SitePlan(
        site=site, alpha=_alpha(numbers["alpha"], constants or Calibration()), episode=int(numbers["episode"] or 1),
        as_of=row["as_of"], calibration=constants, calibration_hash=row["calibration_hash"],
        series_digest=row["series_digest"], background=reasons_of(published["background"]),
        failing_area=record_of(published["failing_area"], FailingHectares, "failing_area"),
        loss_ground=record_of(published["loss_ground"], LossGround, "loss_ground"),
        field_factor=factor or biome_of(site).field_factor,
    )  # fmt: skip


def _site(
    name: str, row: Mapping[str, Any], numbers: Mapping[str, float | None], definition: Any, biomes: Mapping[str, Biome]
) -> Site:
    """Site of one row, whose plan is checked as that of a registry."""
    if definition is not None:  # it counts before that of the configuration
        try:
            biomes = {**biomes, row["biome"]: biome_from_json(definition, name=row["biome"])}
        except BadData as error:
            msg = f"biome_definition: {error}"
            raise BadData(msg) from error
    given = {column: row[column] for column in ("intervention", "biome", "subtype", "plan_cover", "cohorts")}
    for column, other in PLAN_NUMBERS.items():
        one, same = numbers[column], numbers[other]
        if None not in (one, same) and one != same:
            msg = f"{column} is {one:g} and {other}, the same, is {same:g}; keep one"
            raise BadData(msg)
        given[other] = same if one is None else one
    published_factor = numbers["plan_factor"] if row["plan_cover"] == "field" else None
    if published_factor is not None:
        given["plan_cover"] = ""  # not that of the biome, which may have changed
    promise = promise_of_row(given, row["start"], biomes)
    if published_factor is not None and promise["plan"].A > 0:
        promise["plan"] = replace(promise["plan"], cover="field", factor=published_factor)
    latitude, hectares = numbers["latitude"], numbers["hectares"]
    return Site(
        id=name, name=name, start=row["start"], hectares=math.nan if hectares is None else hectares,
        geometry=Polygon() if latitude is None else Point(0.0, latitude).buffer(1e-9),
        slope_degrees=numbers["slope_degrees"], **promise,
    )  # fmt: skip


def _alpha(given: float | None, constants: Calibration) -> float:
    if given is None:
        return DEFAULT_ALPHA
    try:
        boundary(given, constants.boundary)
    except BadConfiguration as error:
        raise BadData(str(error).partition(" ([")[0]) from error
    return given
