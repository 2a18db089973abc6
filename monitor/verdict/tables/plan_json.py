"""``plan.json``: the plan of a site with everything else that its published verdict used, beside the series."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, Final, get_args, get_type_hints

import msgspec

from monitor.errors import BadData
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.own_biome import biome_json
from monitor.sites.site import Site
from monitor.tables import check_known, described
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.reasons import BACKGROUND, Reason

LEAST_CONSTANT, MAX_CONSTANT = 1e-6, 1e6
"""Smallest value of a constant that is above 0, and largest magnitude of any."""
MAX_BUDGETS: Final = 50  # most pairs of budget and boundary
MAX_SOURCE: Final = 1000
"""Longest text of where constants come from. [characters]"""
ASCENDING: Final[Mapping[type, Sequence[tuple[tuple[str, ...], float, float]]]] = {
    FailingHectares: [(("low", "hectares", "high"), 0.0, 1e8)],
    LossGround: [(("low", "hectares", "high"), 0.0, 1e8), (("together", "neighbours"), 0.0, 1e8)],
    FieldFactor: [(("low", "value", "high"), 1e-3, 1e3), (("rows",), 0.0, 1e8)],
}
"""Members of a record that ascend from a least to a largest number; all of them may be null where their type is."""
_KINDS: Final = {
    float: "a number", int: "a whole number", bool: "true or false", str: "a text", date: "a date such as 2021-07-15",
}  # fmt: skip


def plan_json(
    site: Site, assessment: Assessment, calibration: Calibration | None, *, promises: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Plan of a site and all that the assessment used beside the series, named as in a table of plans (docs/assess.md).

    `site` is in the episode of the assessment, with the slope that was used; `calibration` None: unknown; `promises` as
    :func:`monitor.sites.promise.promises_until` returns them.
    """
    spatial = Reason.SPATIAL_PATCH.value
    area = {
        "hectares": assessment.hectares_failing, "low": assessment.hectares_failing_low,
        "high": assessment.hectares_failing_high, "patches": spatial in assessment.reasons,
        "day": assessment.hectares_failing_on and assessment.hectares_failing_on.isoformat(),
    }  # fmt: skip
    loss = {
        "hectares": assessment.hectares_lost, "low": assessment.hectares_lost_low,
        "high": assessment.hectares_lost_high, "neighbours": assessment.neighbours,
        "together": assessment.neighbours_lost,
    }  # fmt: skip
    factor = {
        "value": assessment.field_factor, "low": assessment.field_factor_low, "high": assessment.field_factor_high,
        "rows": assessment.field_factor_rows,
    }  # fmt: skip
    outline = site.geometry
    own = {} if site.own_biome is None else {"biome_definition": biome_json(site.own_biome)}
    return {
        "site": site.id, "start": site.start.isoformat(), "intervention": site.intervention, "biome": site.biome, **own,
        "subtype": site.subtype, "A": site.plan.A, "k": site.plan.k, "L": site.plan.L,
        "too_early_years": site.plan.too_early_years, "plan_cover": site.plan.cover, "plan_factor": site.plan.factor,
        "hectares": site.hectares if site.hectares > 0 else None,
        "latitude": None if outline.is_empty else round(outline.centroid.y, 6),
        "slope_degrees": site.slope_degrees,
        "cohorts": ";".join(f"{day.isoformat()}:{share!r}" for day, share in site.cohorts),
        "promises": list(promises), "episode": assessment.episode, "alpha": assessment.alpha,
        "as_of": assessment.as_of.isoformat(),
        "background": [code for code in assessment.reasons if Reason(code) in BACKGROUND and code != spatial],
        "failing_area": None if area["day"] is None else area,
        "loss_ground": None if assessment.loss_on is None else loss,
        "field_factor": None if assessment.field_factor is None else factor,
        "series_digest": assessment.series_digest, "code_version": assessment.code_version,
        "calibration_hash": assessment.calibration,
        "calibration": None if calibration is None else calibration.to_json(),
    }  # fmt: skip


def calibration_of(given: Any, where: str) -> Calibration | None:
    """The constants of a published plan; None where it has none.

    Raises ``BadData`` where a constant is missing, unknown, of another type, or a number that it cannot be.
    """
    constants = record_of(given, Calibration, where)
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
    years = constants.surcharge
    if not 1 <= len(years) <= MAX_BUDGETS or not all(0 <= value <= MAX_CONSTANT for value in years):
        msg = f"{where}: surcharge has {len(years)} years; give 1 to {MAX_BUDGETS}, each from 0 to {MAX_CONSTANT:g}"
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


def reasons_of(given: Any) -> tuple[str, ...]:
    """The reasons of a published plan that come from rain, terrain and pixels; ``BadData``: not a list of such."""
    codes = [reason.value for reason in BACKGROUND]
    if given is None:
        return ()
    if not isinstance(given, list) or any(not isinstance(code, str) or code not in codes for code in given):
        msg = f"background is {described(given)}; it must be a list of {', '.join(codes)}"
        raise BadData(msg)
    return tuple(given)


def record_of[T](given: Any, record: type[T], where: str) -> T | None:
    """A dataclass of an object of a published plan; None where it is null.

    Raises ``BadData`` where a member is missing, unknown or of another type, or numbers do not ascend within
    :data:`ASCENDING`.
    """
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
    values = {name: _value(given[name], kind, f"{where}: {name}") for name, kind in kinds.items()}
    for names, least, most in ASCENDING.get(record, ()):
        some = [values[name] for name in names]
        if any(value is not None for value in some) and (
            None in some or some != sorted(some) or not least <= some[0] <= some[-1] <= most
        ):
            has = ", ".join(f"{name} {values[name]}" for name in names)
            msg = f"{where} has {has}; {least:g} <= {' <= '.join(names)} <= {most:g}"
            raise BadData(msg)
    return record(**values)


def _value(given: Any, kind: Any, where: str) -> Any:
    """A value of the type of a field; a whole number may be written with a decimal point."""
    try:
        return msgspec.convert(int(given) if isinstance(given, float) and given.is_integer() else given, kind)
    except msgspec.ValidationError as error:
        wanted = next((what for known, what in _KINDS.items() if known in (kind, *get_args(kind))), "pairs of numbers")
        msg = f"{where} is {described(given)}, not {wanted}"
        raise BadData(msg) from error
