"""Tables of the whole programme: ``status.json`` and ``sites.parquet``."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from types import MappingProxyType, UnionType
from typing import Any, get_args

import geopandas as gpd
import pandas as pd

from monitor.sites.site import Plan, Site, ground_key
from monitor.verdict.assessment import Assessment, assessment_to_json


def status_json(assessments: Iterable[Assessment]) -> bytes:
    """Encode assessments as ``status.json``: sorted by site id, null where there is no value."""
    rows = [assessment_to_json(a) for a in sorted(assessments, key=lambda a: a.site)]
    return (json.dumps(rows, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def sites_parquet(rows: Sequence[tuple[Site, Assessment]], grounds: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Encode sites and their assessments as GeoParquet (EPSG:4326), one row a site; reasons joined by ``;``.

    The column ``bbox`` lets readers skip rows by place (``covering`` of GeoParquet 1.1). Managers are left out.
    Every column has the declared type of its field even if no site has a value, so that the tables of several
    programmes or nights can be concatenated. `grounds`: keys of what is stored of sites, by id; of another site it
    follows from its outline and start.
    """
    declared = {field.name: field.type for kind in (Site, Assessment) for field in fields(kind)}
    declared |= (
        {"ground": str} | {f"plan_{field.name}": field.type for field in fields(Plan)} | {"too_early_years": float}
    )
    plain = (
        "name", "name_zh", "start", "intervention", "biome", "subtype", "province", "programme_year", "partner",
        "version",
    )  # fmt: skip
    values: dict[str, list[Any]] = {"site": [site.id for site, _ in rows]}
    values |= {name: [getattr(site, name) for site, _ in rows] for name in plain}
    values["ground"] = [grounds.get(site.id) or ground_key(site) for site, _ in rows]
    values |= {f"plan_{name}": [getattr(site.plan, name) for site, _ in rows] for name in ("A", "k", "L")}
    values["too_early_years"] = [site.plan.too_early_years for site, _ in rows]
    values |= {field.name: [getattr(a, field.name) for _, a in rows] for field in fields(Assessment)}
    values["reasons"] = [";".join(codes) for codes in values["reasons"]]
    columns = {name: pd.array(column, dtype=_dtype(declared[name])) for name, column in values.items()}
    frame = gpd.GeoDataFrame(columns, geometry=[site.geometry for site, _ in rows], crs="EPSG:4326")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, write_covering_bbox=True, schema_version="1.1.0")
    return buffer.getvalue()


def _dtype(declared: Any) -> Any:
    """Column type of a field; text, codes and lists of codes are strings."""
    plain = get_args(declared)[0] if isinstance(declared, UnionType) else declared
    return {float: "float64", int: "Int64", bool: "bool", date: "date32[pyarrow]"}.get(plain, "string")
