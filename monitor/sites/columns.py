"""Columns of the registry file: known names, misspelt names, and columns that state a datum."""

import difflib
import re
from collections.abc import Iterable, Mapping

from monitor.sites.formats.feature import Feature

PROPERTIES = (
    "id", "name", "name_zh", "start", "intervention", "biome", "subtype", "province", "programme_year", "partner",
    "slope_degrees", "manager_name", "manager_language", "manager_email", "manager_channel", "plan_A", "plan_k",
    "plan_L", "plan_cover", "too_early_years", "cohorts",
)  # fmt: skip
"""Columns that are read. Shapefiles cut names to ten characters and lose case; such names are recognised."""
_BY_SPELLING = {name[:10].casefold(): name for name in PROPERTIES} | {name.casefold(): name for name in PROPERTIES}
_DATUM_COLUMNS = ("datum", "crs", "coordinate_system", "coordsys", "坐标系")
_WEB_MAP = re.compile(r"gcj|bd-?09|火星|高德|amap|腾讯|百度", re.IGNORECASE)
MIN_SIMILARITY = 0.65  # by `difflib`, of a misspelt name and a known one: `Start Date` and `start` have .67
MAX_COMPARED = 40  # length of the part of an unknown name that is compared with known names [characters]
MAX_UNKNOWN = 100  # number of unknown columns that are reported


def canonical_properties(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties under the names of :data:`PROPERTIES`, whatever their case and even if cut to ten characters."""
    renamed: dict[str, object] = {}
    for key, value in properties.items():
        name = key if key in PROPERTIES else _BY_SPELLING.get(str(key).casefold(), str(key))
        if name == key or name not in properties:
            renamed[name] = value
    return renamed


def unknown_columns(features: Iterable[Feature]) -> dict[str, str | None]:
    """Columns that are not read, in the order of the file, each with the nearest of :data:`PROPERTIES` or None."""
    known = {name.casefold(): name for name in PROPERTIES}
    names = dict.fromkeys(str(key) for feature in features for key in feature.properties)
    unknown = [name for name in names if name.casefold() not in _BY_SPELLING and name not in _DATUM_COLUMNS]
    nearest: dict[str, str | None] = {}
    for name in unknown[:MAX_UNKNOWN]:
        words = re.sub(r"\W+", "_", name[:MAX_COMPARED].casefold()).strip("_")
        begun = [column for column in known if column.startswith(f"{words}_")]  # "slope" for slope_degrees
        near = begun or difflib.get_close_matches(words, known, n=1, cutoff=MIN_SIMILARITY)
        nearest[name] = known[near[0]] if near else None
    return nearest


def stated_datum(properties: Mapping[str, object]) -> str | None:
    """Datum of a Chinese web map that a column states; None: no column states one."""
    values = [properties.get(key) for key in _DATUM_COLUMNS]
    return next((value for value in values if isinstance(value, str) and _WEB_MAP.search(value)), None)


def drop_datum_columns(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties without the columns that state a datum."""
    return {key: value for key, value in properties.items() if key not in _DATUM_COLUMNS}
