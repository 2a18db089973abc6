"""Assessments as a table, CSV or Parquet."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from monitor.files import appearing
from monitor.series.observations import FORMULA_STARTS, marked
from monitor.sites.biomes import biome_of
from monitor.tables import table_format
from monitor.verdict.assess import assessments
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.erosion import GRADE_NAMES
from monitor.verdict.failing_area import reports_failing_area, with_failing_area
from monitor.verdict.loss_ground import with_loss_ground
from monitor.verdict.status import LEVELS, NOTES, RULES, STATUSES, Verdicts, reason_codes
from monitor.verdict.tables.plans import SitePlan

CODES: Final = {
    "status": STATUSES, "alert": LEVELS, "alert_rule": RULES, "erosion_grade": GRADE_NAMES,
    "erosion_grade_without": GRADE_NAMES, "notes": NOTES,
}  # fmt: skip
"""Columns of :class:`Verdicts` that are codes, and their meanings."""


PUBLISHED_COLUMNS: Final = (
    "status", "probability", "alert", "alert_rule", "reasons", "hectares_failing", "hectares_failing_low",
    "hectares_failing_high", "hectares_failing_on", "hectares_lost", "hectares_lost_low", "hectares_lost_high",
    "neighbours", "neighbours_lost",
)  # fmt: skip
"""Columns that pixels, rain and terrain may change."""


class SiteVerdicts(NamedTuple):
    """Verdicts on one site, one a date, with what they rest on."""

    plan: SitePlan
    calibration: Calibration
    verdicts: Verdicts


def assessment_table(sites: Sequence[SiteVerdicts]) -> pa.Table:
    """Assessments as a table with the columns of an assessment, codes as text.

    A row of the day of a published verdict includes what only pixels, rain and terrain show, as the plan states it.
    """
    counts = [part.verdicts.as_of.size for part in sites]
    columns = {"site": _repeated([part.plan.site.id for part in sites], counts, pa.string())}
    for name in Verdicts._fields:
        values = np.concatenate([getattr(part.verdicts, name) for part in sites])
        if name == "reasons":
            bits, place = np.unique(values, return_inverse=True)
            columns[name] = _words(place, [";".join(reason_codes(int(b))) for b in bits])
        elif name in CODES:
            columns[name] = _words(values, CODES[name])
        else:
            columns[name] = pa.array(values, from_pandas=True)
    size = sum(counts)
    hectares = [part.plan.site.hectares for part in sites]
    columns["hectares"] = _repeated([value if value > 0 else None for value in hectares], counts, pa.float64())
    for name in PUBLISHED_COLUMNS:
        if name.startswith(("hectares_", "neighbours")):
            columns[name] = pa.nulls(size, pa.int64() if name.startswith("neighbours") else pa.float64())
    columns["hectares_failing_on"] = pa.nulls(size, pa.date32())
    columns |= _field_cover(columns["cover"], sites, counts)
    constants = [part.calibration for part in sites]
    columns["calibration"] = _repeated([one.hash for one in constants], counts, pa.string())
    columns["calibration_source"] = _repeated([one.source for one in constants], counts, pa.string())
    columns["calibration_dated"] = _repeated([one.dated for one in constants], counts, pa.date32())
    columns["calibration_placebos"] = _repeated([one.placebos for one in constants], counts, pa.int64())
    columns["episode"] = _repeated([part.plan.episode for part in sites], counts, pa.int64())
    columns["alpha"] = _repeated([part.plan.alpha for part in sites], counts, pa.float64())
    return pa.table(_with_published(columns, sites, counts))


def _field_cover(cover: pa.Array, sites: Sequence[SiteVerdicts], counts: Sequence[int]) -> dict[str, pa.Array]:
    """Cover in the field that index cover stands for, as :func:`monitor.sites.cover_scale.field_cover` converts it."""
    texts = {
        "cover_basis": [biome_of(part.plan.site).cover_basis() for part in sites],
        "plan_cover": [part.plan.site.plan.cover for part in sites],
    }
    columns = {name: _repeated(values, counts, pa.string()) for name, values in texts.items()}
    factors = [part.plan.field_factor for part in sites]
    for end, scale in (("", "value"), ("_low", "low"), ("_high", "high")):
        columns[f"field_factor{end}"] = _repeated(
            [None if factor is None else getattr(factor, scale) for factor in factors], counts, pa.float64()
        )
    for end, by in (("", ""), ("_low", "_high"), ("_high", "_low")):
        columns[f"field_cover{end}"] = pc.min_element_wise(
            pc.divide(cover, columns[f"field_factor{by}"]), 1.0, skip_nulls=False
        )
    rows = [0 if factor is None else factor.rows for factor in factors]
    columns["field_factor_rows"] = _repeated(rows, counts, pa.int64())
    return columns


def _with_published(
    columns: dict[str, pa.Array], sites: Sequence[SiteVerdicts], counts: Sequence[int]
) -> dict[str, pa.Array]:
    """The columns with the rows of published days completed."""
    first = np.cumsum([0, *counts])
    rows = {
        int(first[k]) + at: _published(part, at)
        for k, part in enumerate(sites)
        if part.plan.as_of is not None
        for at in np.flatnonzero(part.verdicts.as_of == np.datetime64(part.plan.as_of, "D")).tolist()
    }
    if not rows:
        return columns
    chosen = np.zeros(first[-1], bool)
    chosen[list(rows)] = True
    changed = dict(columns)
    for name in PUBLISHED_COLUMNS:
        values = [getattr(rows[at], name) for at in sorted(rows)]
        values = [";".join(value) if isinstance(value, tuple) else value for value in values]
        changed[name] = pc.replace_with_mask(columns[name], pa.array(chosen), pa.array(values, columns[name].type))
    return changed


def _published(part: SiteVerdicts, at: int) -> Assessment:
    """The published assessment: that of the series, with the reasons and the failing area that the plan states."""
    sites = [part.plan.site] * part.verdicts.as_of.size
    assessment = assessments(part.verdicts, sites, part.calibration, [at])[0]
    assessment = replace(assessment, reasons=(*assessment.reasons, *part.plan.background))
    if part.plan.loss_ground is not None and assessment.loss_on is not None:
        assessment = with_loss_ground(assessment, part.plan.loss_ground)
    area = part.plan.failing_area
    if area is None or not reports_failing_area(assessment, part.plan.site):
        return assessment
    return with_failing_area(assessment, area, part.plan.site, part.calibration)


def _words(codes: np.ndarray, meanings: Sequence[str]) -> pa.Array:
    return pa.array(meanings, pa.string()).take(pa.array(codes, mask=codes < 0))


def _repeated(values: Sequence[Any], counts: Sequence[int], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind).take(pa.array(np.repeat(np.arange(len(counts)), counts)))


def write_table(table: pa.Table, out: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of `out`, which it replaces in one step."""
    with appearing(out) as partial:
        if table_format(out) == ".csv":
            names = ["'" + name if name[:1] in FORMULA_STARTS else name for name in table["site"].to_pylist()]
            table = table.set_column(table.schema.get_field_index("site"), "site", pa.array(names, pa.string()))
            content = io.BytesIO()
            pyarrow.csv.write_csv(table, content, pyarrow.csv.WriteOptions(quoting_style="needed"))
            partial.write_bytes(marked(content.getvalue()))
        else:
            pyarrow.parquet.write_table(table, partial)
