"""``plan.json``: the plan of a site with everything else that its published verdict used, beside the series."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec

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
    "series_digest", "code_version", "biome_definition", "promises",
)  # fmt: skip
"""Members of a published plan that a table of plans does not have."""
MAX_BYTES: Final = 100_000_000
LEAST_CONSTANT, MAX_CONSTANT = 1e-6, 1e6
"""Smallest value of a constant that is above 0, and largest magnitude of any."""
MAX_BUDGETS: Final = 50
"""Most pairs of budget and boundary."""
MAX_SOURCE: Final = 1000
"""Longest text of where constants come from. [characters]"""
_KINDS: Final = {
    float: "a number", int: "a whole number", bool: "true or false", str: "a text", date: "a date such as 2021-07-15",
}  # fmt: skip


def plan_json(
    site: Site,
    assessment: Assessment,
    calibration: Calibration | None,
    *,
    promises: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Plan of a site and all that the assessment used beside the series.

    Parameters
    ----------
    site : Site
        In the episode of the assessment, with the slope that was used.
    assessment : Assessment
    calibration : Calibration or None
        Constants of the assessment; None: unknown.
    promises : sequence of mapping
        See :func:`monitor.sites.promise.promises_until`.

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
        "promises": list(promises),
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
    where = f"{where}: calibration"
    constants = _record(given, Calibration, where)
    if constants is None:
        return None
    for name, default in asdict(Calibration()).items():
        value = getattr(constants, name)
        if isinstance(value, int | float):
            _check_constant(value, default, f"{where}: {name}")
    if len(constants.source) > MAX_SOURCE:
        msg = f"{where}: source is {described(constants.source)}, not a short text"
        raise BadData(msg)
    if not 1 <= len(constants.boundary) <= MAX_BUDGETS:
        msg = f"{where}: boundary has {len(constants.boundary)} budgets with their evidence; give 1 to {MAX_BUDGETS}"
        raise BadData(msg)
    for alpha, bound in constants.boundary:
        if not (0 < alpha < 1 <= bound <= 1e12):
            msg = f"{where}: boundary has {alpha:g} and {bound:g}; a budget is between 0 and 1, its evidence 1 or more"
            raise BadData(msg)
    return constants


def _check_constant(number: float, default: float, where: str) -> None:
    """Raise an error about a constant of another sign than its default."""
    least, most = (
        (LEAST_CONSTANT, MAX_CONSTANT) if default > 0 else (-MAX_CONSTANT, 0.0) if default else (0.0, MAX_CONSTANT)
    )
    if not least <= number <= most:
        msg = f"{where} is {number:g}; it must be from {least:g} to {most:g}"
        raise BadData(msg)


def failing_area_of(given: Any, where: str) -> FailingHectares | None:
    """The failing area of a published plan, from pixels; None where it has none.

    Raises
    ------
    BadData
        A member is missing, unknown, of another type, or no number that it can be.
    """
    area = _record(given, FailingHectares, f"{where}: failing_area")
    if area is not None:
        _check_ascending(area, ("low", "hectares", "high"), f"{where}: failing_area")
    return area


def loss_ground_of(given: Any, where: str) -> LossGround | None:
    """Area and neighbours of a sudden loss of a published plan; None where it has none.

    Raises
    ------
    BadData
        As for :func:`failing_area_of`.
    """
    ground = _record(given, LossGround, f"{where}: loss_ground")
    if ground is not None:
        for names in (("low", "hectares", "high"), ("together", "neighbours")):
            if any(getattr(ground, name) is not None for name in names):
                _check_ascending(ground, names, f"{where}: loss_ground")
    return ground


def field_factor_of(given: Any, where: str) -> FieldFactor | None:
    """The factor of field cover of a published plan; None where it has none.

    Raises
    ------
    BadData
        As for :func:`failing_area_of`.
    """
    factor = _record(given, FieldFactor, f"{where}: field_factor")
    if factor is not None:
        _check_ascending(factor, ("low", "value", "high"), f"{where}: field_factor", least=1e-3, most=1e3)
        _check_ascending(factor, ("rows",), f"{where}: field_factor")
    return factor


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


def _record[T](given: Any, record: type[T], where: str) -> T | None:
    """A dataclass of an object that has all of its fields, of their types, and no other; None where it is null."""
    if given is None:
        return None
    kinds = get_type_hints(record)
    if not isinstance(given, dict):
        msg = f"{where} is {described(given)}, not an object"
        raise BadData(msg)
    for name in given:
        check_known(name, sorted(kinds), where)
    for name in sorted(kinds):
        if name not in given:
            msg = f"{where} lacks {name!r}; it was published by another version of this program, or changed"
            raise BadData(msg)
    return record(**{name: _value(given[name], kind, f"{where}: {name}") for name, kind in kinds.items()})


def _value(given: Any, kind: Any, where: str) -> Any:
    """A value of the type of a field; a whole number may be written with a decimal point."""
    try:
        return msgspec.convert(int(given) if isinstance(given, float) and given.is_integer() else given, kind)
    except msgspec.ValidationError as error:
        wanted = next((what for known, what in _KINDS.items() if known in (kind, *get_args(kind))), "pairs of numbers")
        msg = f"{where} is {described(given)}, not {wanted}"
        raise BadData(msg) from error


def _check_ascending(record: Any, names: Sequence[str], where: str, *, least: float = 0.0, most: float = 1e8) -> None:
    """Raise an error unless these members of a record are numbers that ascend within limits."""
    values = [getattr(record, name) for name in names]
    if None in values or values != sorted(values) or not least <= values[0] <= values[-1] <= most:
        given = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        msg = f"{where} has {given}; {least:g} <= {' <= '.join(names)} <= {most:g}"
        raise BadData(msg)
