"""``plan.json``: the plan of a site with everything else that its published verdict used, beside the series."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any, Final

from monitor.errors import BadData
from monitor.sites.checked_feature import shown
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.own_biome import biome_json
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.reasons import BACKGROUND, Reason
from monitor.verdict.tables.reading import check_known, described

PUBLISHED: Final = (
    "calibration", "calibration_hash", "background", "failing_area", "loss_ground", "field_factor", "plan_factor",
    "series_digest", "code_version", "biome_definition",
)  # fmt: skip
"""Members of a published plan that a table of plans does not have."""
MAX_BYTES: Final = 100_000_000
LEAST_CONSTANT, MAX_CONSTANT = 1e-6, 1e6
"""Smallest value of a constant that is above 0, and largest magnitude of any."""
MAX_BUDGETS: Final = 50
"""Most pairs of budget and boundary."""
_AREAS: Final = ("low", "hectares", "high")
_COUNTS: Final = ("together", "neighbours")
"""Members of ``loss_ground`` that ascend, and are null together."""


def plan_json(site: Site, assessment: Assessment, calibration: Calibration | None) -> dict[str, Any]:
    """Plan of a site and all that the assessment used beside the series.

    Parameters
    ----------
    site : Site
        In the episode of the assessment, with the slope that was used.
    assessment : Assessment
    calibration : Calibration or None
        Constants of the assessment; None: unknown.

    Returns
    -------
    dict
        With the names of a table of plans; see ``docs/assess.md``.
    """
    spatial = Reason.SPATIAL_PATCH.value
    background = [code for code in assessment.reasons if Reason(code) in BACKGROUND and code != spatial]
    area = None
    if assessment.hectares_failing_on is not None:
        area = {
            "hectares": assessment.hectares_failing,
            "low": assessment.hectares_failing_low,
            "high": assessment.hectares_failing_high,
            "patches": spatial in assessment.reasons,
            "day": assessment.hectares_failing_on.isoformat(),
        }
    loss = None
    if assessment.loss_on is not None:
        loss = {
            "hectares": assessment.hectares_lost,
            "low": assessment.hectares_lost_low,
            "high": assessment.hectares_lost_high,
            "neighbours": assessment.neighbours,
            "together": assessment.neighbours_lost,
        }
    factor = None
    if assessment.field_factor is not None:
        factor = {
            "value": assessment.field_factor,
            "low": assessment.field_factor_low,
            "high": assessment.field_factor_high,
            "rows": assessment.field_factor_rows,
        }
    outline = site.geometry
    own = {} if site.own_biome is None else {"biome_definition": biome_json(site.own_biome)}
    return {
        "site": site.id,
        "start": site.start.isoformat(),
        "intervention": site.intervention,
        "biome": site.biome,
        **own,
        "subtype": site.subtype,
        "A": site.plan.A,
        "k": site.plan.k,
        "L": site.plan.L,
        "too_early_years": site.plan.too_early_years,
        "plan_cover": site.plan.cover,
        "plan_factor": site.plan.factor,
        "hectares": site.hectares if site.hectares > 0 else None,
        "latitude": None if outline.is_empty else round(outline.centroid.y, 6),
        "slope_degrees": site.slope_degrees,
        "cohorts": ";".join(f"{day.isoformat()}:{share!r}" for day, share in site.cohorts),
        "episode": assessment.episode,
        "alpha": assessment.alpha,
        "as_of": assessment.as_of.isoformat(),
        "background": background,
        "failing_area": area,
        "loss_ground": loss,
        "field_factor": factor,
        "series_digest": assessment.series_digest,
        "code_version": assessment.code_version,
        "calibration_hash": assessment.calibration,
        "calibration": None if calibration is None else calibration.to_json(),
    }


def read_objects(path: Path, *, known: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON file: one, or a list of them.

    Raises
    ------
    BadData
        The file is missing or too large, is not JSON in UTF-8, or has NaN, a member twice, or one that is not known.
    """
    if not path.is_file():
        msg = f"{path}: no such file"
        raise BadData(msg)
    if path.stat().st_size > MAX_BYTES:
        msg = f"{path}: larger than {MAX_BYTES // 1_000_000} MB, which no table of plans is"
        raise BadData(msg)
    try:
        read = json.loads(
            path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_members, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        raise BadData(msg) from error
    except RecursionError:
        msg = f"{path}: nested deeper than any plan"
        raise BadData(msg) from None
    except ValueError as error:
        msg = f"{path}: cannot be read as JSON: {str(error)[:300]}"
        raise BadData(msg) from error
    rows = read if isinstance(read, list) else [read]
    if not rows:
        msg = f"{path}: has no plans"
        raise BadData(msg)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            msg = f"{path}: plan {number} is {described(row)}, not an object with site, start, intervention and biome"
            raise BadData(msg)
        for name in row:
            check_known(name, known, f"{path}: plan {number}")
    return rows


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{shown(twice)} is given twice"
        raise ValueError(msg)
    return members


def _no_constant(name: str) -> None:
    msg = f"{name} is no number; write null where there is none"
    raise ValueError(msg)


def calibration_of(given: Any, where: str) -> Calibration | None:
    """The constants of a published plan; None where it has none.

    Raises
    ------
    BadData
        A constant is missing, unknown, of another type, or no number that it can be.
    """
    if given is None:
        return None
    where = f"{where}: calibration"
    usual, values = Calibration(), _members_of(given, where, Calibration)
    values["dated"] = _date(values["dated"], f"{where}: dated").isoformat()
    values["boundary"] = _boundary(values["boundary"], f"{where}: boundary")
    for name in values.keys() - {"dated", "boundary"}:
        default = getattr(usual, name)
        values[name] = _constant(values[name], default, f"{where}: {name}")
    return Calibration.from_json(values)


def _constant(given: Any, default: Any, where: str) -> Any:
    """A constant of the type and sign of its default."""
    if isinstance(default, str):
        if isinstance(given, str) and len(given) <= 1000:
            return given
        msg = f"{where} is {described(given)}, not a short text"
        raise BadData(msg)
    number = _finite(given, where)
    if isinstance(default, int) and number != int(number):
        msg = f"{where} is {number:g}, not a whole number"
        raise BadData(msg)
    least, most = (
        (LEAST_CONSTANT, MAX_CONSTANT) if default > 0 else (-MAX_CONSTANT, 0.0) if default else (0.0, MAX_CONSTANT)
    )
    if not least <= number <= most:
        msg = f"{where} is {number:g}; it must be from {least:g} to {most:g}"
        raise BadData(msg)
    return int(number) if isinstance(default, int) else number


def _boundary(given: Any, where: str) -> list[list[float]]:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_BUDGETS:
        msg = f"{where} is {described(given)}, not a list of budgets with their evidence"
        raise BadData(msg)
    pairs = []
    for pair in given:
        if not isinstance(pair, list) or len(pair) != 2:
            msg = f"{where} has {described(pair)}, not a budget with its evidence"
            raise BadData(msg)
        alpha, bound = (_finite(value, where) for value in pair)
        if not (0 < alpha < 1 <= bound <= 1e12):
            msg = f"{where} has {alpha:g} and {bound:g}; a budget is between 0 and 1, its evidence 1 or more"
            raise BadData(msg)
        pairs.append([alpha, bound])
    return pairs


def failing_area_of(given: Any, where: str) -> FailingHectares | None:
    """The failing area of a published plan, from pixels; None where it has none.

    Raises
    ------
    BadData
        A member is missing, unknown or of another type.
    """
    if given is None:
        return None
    where = f"{where}: failing_area"
    members = _members_of(given, where, FailingHectares)
    hectares, low, high = (_finite(members[name], f"{where}: {name}") for name in ("hectares", "low", "high"))
    if not 0 <= low <= hectares <= high <= 1e8 or not isinstance(members["patches"], bool):
        msg = f"{where} is {described(given)}; 0 <= low <= hectares <= high, and patches is true or false"
        raise BadData(msg)
    day = _date(members["day"], f"{where}: day")
    return FailingHectares(hectares=hectares, low=low, high=high, patches=members["patches"], day=day)


def loss_ground_of(given: Any, where: str) -> LossGround | None:
    """Area and neighbours of a sudden loss of a published plan; None where it has none.

    Raises
    ------
    BadData
        A member is missing, unknown or of another type.
    """
    if given is None:
        return None
    where = f"{where}: loss_ground"
    members = _members_of(given, where, LossGround)
    areas, counts = (_ascending(members, names, where) for names in (_AREAS, _COUNTS))
    low, hectares, high = areas or (None, None, None)
    together, neighbours = (int(value) for value in counts) if counts else (None, None)
    return LossGround(hectares=hectares, low=low, high=high, neighbours=neighbours, together=together)


def _ascending(members: Mapping[str, Any], names: Sequence[str], where: str) -> list[float] | None:
    """Members that ascend from 0; None where all of them are null."""
    if all(members[name] is None for name in names):
        return None
    values = [_finite(members[name], f"{where}: {name}") for name in names]
    if values != sorted(values) or not 0 <= values[0] <= values[-1] <= 1e8:
        msg = f"{where} has {described({name: members[name] for name in names})}; 0 <= {' <= '.join(names)}"
        raise BadData(msg)
    return values


def field_factor_of(given: Any, where: str) -> FieldFactor | None:
    """The factor of field cover of a published plan; None where it has none.

    Raises
    ------
    BadData
        A member is missing, unknown or of another type.
    """
    if given is None:
        return None
    where = f"{where}: field_factor"
    members = _members_of(given, where, FieldFactor)
    value, low, high, rows = (_finite(members[name], f"{where}: {name}") for name in ("value", "low", "high", "rows"))
    if not 1e-3 <= low <= value <= high <= 1e3 or not 0 <= rows <= MAX_CONSTANT:
        msg = f"{where} is {value:g} ({low:g} to {high:g}, {rows:g} rows); low <= value <= high are above 0"
        raise BadData(msg)
    return FieldFactor(value=value, low=low, high=high, rows=int(rows))


def reasons_of(given: Any, where: str) -> tuple[str, ...]:
    """The reasons of a published plan that come from rain, terrain and pixels.

    Raises
    ------
    BadData
        It is no list of such reasons.
    """
    codes = [reason.value for reason in BACKGROUND]
    if given is None:
        return ()
    if not isinstance(given, list) or any(not isinstance(code, str) or code not in codes for code in given):
        msg = f"{where}: background is {described(given)}; it must be a list of {', '.join(codes)}"
        raise BadData(msg)
    return tuple(given)


def _members_of(given: Any, where: str, record: type) -> dict[str, Any]:
    """Members of an object that has all fields of a record and no other."""
    names = sorted(field.name for field in fields(record))
    if not isinstance(given, dict):
        msg = f"{where} is {described(given)}, not an object"
        raise BadData(msg)
    for name in given:
        check_known(name, names, where)
    for name in names:
        if name not in given:
            msg = f"{where} lacks {name!r}; it was published by another version of this program, or changed"
            raise BadData(msg)
    return dict(given)


def _finite(given: Any, where: str) -> float:
    try:
        number = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = f"{where} is {described(given)}, not a number"
        raise BadData(msg)
    return number


def _date(given: Any, where: str) -> date:
    try:
        return date.fromisoformat(given)
    except (TypeError, ValueError):
        msg = f"{where} is {described(given)}, not a date such as 2021-07-15"
        raise BadData(msg) from None
