"""Recompute the last assessment of an evidence pack from the pixels in it, by the functions of the night."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
from shapely.errors import ShapelyError

from monitor.controls.screening import left_out_from_json
from monitor.controls.selection import ControlSet
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, StoreBroken
from monitor.evidence.container import Container
from monitor.evidence.documents import assessment_row, controls_json, json_member, site_from_json
from monitor.evidence.environment import environment
from monitor.evidence.site_check import TOLERANCE, Assessed, Difference, Published, check_site, values_differences
from monitor.evidence.site_data import ROOT, rebuild_store
from monitor.sites.promise import promise_of
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment
from monitor.verdict.tables.plan_json import calibration_of

_COMPARED: Final = ("code_sha256", "python", "implementation", "machine", "libraries")
"""Members of ``environment.json`` by which the numbers may differ in their last digit. Those of the lock are among
`libraries`."""
_MALFORMED: Final = (ArithmeticError, IndexError, KeyError, TypeError, ValueError, ShapelyError)
"""Errors of members that were edited into something else than a pack has, and signed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputation:
    """The result of recomputing a pack."""

    site: str
    as_of: date
    differences: tuple[Difference, ...]
    """Empty: all is equal."""
    environment: tuple[str, ...]
    """How program, libraries and machine differ from those that wrote the pack; empty: they are the same."""
    tolerance: float
    """Largest difference of numbers that counted as equal; 0: they had to be equal to the last digit."""


def recompute(pack: Container, folder: Path) -> Recomputation:
    """Recompute the last assessment of a signed pack in an existing empty folder, which the caller removes.

    Raises ``BadData`` about a member that is missing, is not what a pack has, or does not fit the others.
    """
    row, assessment = _last_assessment(pack)
    plan = _object(pack, "plan.json")
    site, judged = _site(pack, assessment, plan)
    constants = calibration_of(plan.get("calibration"), "plan.json: calibration")
    if constants is None:
        raise BadData("plan.json has no constants (calibration is null), so the verdict cannot be recomputed")
    try:
        controls = ControlSet.from_json(_object(pack, "controls.json")["controls"])
        left_out_from_json(row["left_out"])
    except (AttributeError, *_MALFORMED) as error:
        msg = f"controls.json or left_out of assessments.json: no control units ({type(error).__name__}: {error})"
        raise BadData(msg) from error
    here = environment()
    differs = environment_differences(_object(pack, "environment.json"), here)
    if assessment.code_version != here["version"]:
        differs.insert(0, f"version that made the assessment: {assessment.code_version}; here {here['version']}")
    tolerance = TOLERANCE if differs else 0.0
    stored = rebuild_store(pack, folder)
    units = pack.read("controls.geojson") if "controls.geojson" in pack.names else None
    try:
        promises = [dict(promise) for promise in _object(pack, "site.json")["properties"]["promises"]]
        assessed = Assessed(
            site=site, judged=judged, row=row, assessment=assessment, constants=constants, promises=promises
        )
        published = Published(observations=pack.read("observations.csv"), plan=plan, units=units)
        differences = _promise_differences(site, promises)
        differences += _repeated(pack, stored, site, row)
        differences += check_site(stored, assessed, controls, published, tolerance=tolerance)
    except StoreBroken as error:
        raise BadData(f"the scenes of the pack are not those of its assessment: {error}") from error
    except _MALFORMED as error:
        raise BadData(f"nothing can be recomputed from these members ({type(error).__name__}: {error})") from error
    return Recomputation(
        site=assessment.site, as_of=assessment.as_of, differences=tuple(differences), environment=tuple(differs),
        tolerance=tolerance,
    )  # fmt: skip


def _repeated(pack: Container, stored: StoredSite, site: Site, row: Mapping[str, Any]) -> list[Difference]:
    """Values of ``site.json`` and ``controls.json`` that are not those of ``data.zarr`` and the assessment."""
    fixed = controls_json(ControlSet.from_json(stored.controls), row["left_out"])
    recorded, same = _by_unit(_object(pack, "controls.json")), _by_unit(json.loads(json_member(fixed)))
    differences = values_differences("controls.json", recorded, same, 0.0)
    stated, wanted = _object(pack, "site.json")["properties"].get("ground"), ground_key(site)
    differences += values_differences("site.json", {"ground": stated}, {"ground": wanted}, 0.0)
    differences += values_differences(ROOT, {"ground": stored.ground}, {"ground": wanted}, 0.0)
    return differences


def _promise_differences(registered: Site, promises: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Values of the site in ``site.json`` that are not those of the last promise in it."""
    stated = {name: value for name, value in promise_of(registered).items() if name != "defaults"}
    recorded = {name: promises[-1].get(name) for name in stated} if promises else {}
    return values_differences("site.json: promises", recorded, stated, 0.0)


def _by_unit(document: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``controls.json`` with its units by their id, so that a difference names one."""
    controls = document["controls"]
    return {**document, "controls": {**controls, "units": {unit["id"]: unit for unit in controls["units"]}}}


def environment_differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Differences of the program, its libraries and the machine from those of a pack, one line each.

    Both are contents of ``environment.json``, see :func:`monitor.evidence.environment.environment`.
    """
    names = ("version", "lock_sha256", *_COMPARED)
    before, now = ({name: one.get(name) for name in names} for one in (recorded, here))
    return [
        f"{one.variable.partition('.')[2] or one.variable}: {one.recorded} in the pack, {one.recomputed} here"
        for one in values_differences("environment.json", before, now, 0.0)
    ]


def _object(pack: Container, name: str) -> dict[str, Any]:
    read = pack.read_json(name)
    if not isinstance(read, dict):
        raise BadData(f"{name} is no JSON object")
    return read


def _last_assessment(pack: Container) -> tuple[dict[str, Any], Assessment]:
    """Columns of the ledger of the assessment that was published, and the assessment."""
    entries = pack.read_json("assessments.json")
    if not isinstance(entries, list) or not entries:
        raise BadData("assessments.json is no list of assessments")
    row = assessment_row(entries[-1])
    try:
        return row, msgspec.convert(row["payload"], Assessment)
    except msgspec.ValidationError as error:
        raise BadData(f"assessments.json: the last one is no assessment: {error}") from error


def _site(pack: Container, assessment: Assessment, plan: Mapping[str, Any]) -> tuple[Site, Site]:
    """The registered site, and the same in the episode of the assessment with the slope that it used."""
    document = _object(pack, "site.json")
    site = site_from_json(document)
    if site.id != assessment.site:
        raise BadData(f"site.json is of the site {site.id!r}, and assessments.json of {assessment.site!r}")
    slope = plan.get("slope_degrees")
    if slope is not None and not isinstance(slope, int | float):
        raise BadData("plan.json: slope_degrees is no number")
    judged = replace(site, slope_degrees=slope)
    if assessment.episode == 1:
        return site, judged
    try:
        episodes = {row["number"]: row["start"] for row in document["properties"]["episodes"]}
        return site, replace(judged, start=date.fromisoformat(episodes[assessment.episode]), cohorts=())
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"site.json: episode {assessment.episode} of the assessment is not in it: {error}") from error
