"""The verdict on a site from its stored scenes, as a night gives it and as a check computes it again.

In two steps, since the neighbours are known only once a loss is: what the series says, then what only pixels show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np

from monitor.controls.screening import LeftOut, too_few_units
from monitor.controls.selection import ControlSet
from monitor.cube.stored_site import StoredSite
from monitor.maps.failing import failing_map
from monitor.maps.loss import loss_map
from monitor.maps.worst_patch import WorstPatch, worst_patch
from monitor.sites.biomes import biome_of
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.site import Site
from monitor.verdict.assess import JudgedSites, judge_sites, with_field_cover
from monitor.verdict.assessment import Assessment, Series, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.dry_matter import dry_matter_reason
from monitor.verdict.failing_area import reports_failing_area, with_failing_area
from monitor.verdict.loss_ground import LossGround, with_loss_ground
from monitor.verdict.reasons import Reason

RECENT: Final = np.timedelta64(396, "D")
"""Thirteen months, in which scenes of a wrong offset are counted against the usable ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictInputs:
    """Inputs of a verdict besides the stored scenes and the series."""

    site: Site
    """In its episode, with the slope of its terrain."""
    episode: int
    alpha: float
    """False-alarm budget for ten years of the episode. [1]"""
    constants: Calibration
    controls: ControlSet
    left_out: LeftOut
    rain: Reason | None
    """Reason by the rain of the season."""
    field_factor: FieldFactor | None
    """Index cover per field cover by local field rows; None: that of the biome is used."""
    code_version: str


type OfSite = tuple[StoredSite, str, Mapping[str, np.ndarray], VerdictInputs]
"""Stored scenes of a site, the snapshot that its series was built from, the columns of the series, and the inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesVerdict:
    """Verdict on a site by its series on a day."""

    assessment: Assessment  # without the areas of failure and loss, and without neighbours
    judged: JudgedSites  # all sites that were judged in one call
    site: int  # place of the site among them
    background: tuple[str, ...]  # the reasons that do not come from the series, which `assessment` has too


def series_verdicts(sites: Sequence[OfSite], series: Series, as_of: date) -> list[SeriesVerdict]:
    """Judge some sites by their series; their constants are the same.

    `series` has what is judged of these sites, in their order. Raises ``StoreBroken`` where the store cannot be read,
    and errors of :func:`monitor.verdict.assess.assess`.
    """
    constants = sites[0][3].constants
    judged = judge_sites(
        series, [inputs.site for *_, inputs in sites], calibration=constants,
        alpha=[inputs.alpha for *_, inputs in sites], as_of=as_of,
    )  # fmt: skip
    verdicts = []
    for k, (of_site, digest) in enumerate(zip(sites, series.digests, strict=True)):
        inputs, background = of_site[3], _background(*of_site, as_of)
        assessment = judged.assessment(k)
        assessment = replace(
            with_field_cover(assessment, inputs.field_factor or biome_of(inputs.site).field_factor),
            reasons=(*assessment.reasons, *background), episode=inputs.episode, alpha=inputs.alpha,
            series_digest=digest, code_version=inputs.code_version,
        )  # fmt: skip
        verdicts.append(SeriesVerdict(assessment=assessment, judged=judged, site=k, background=background))
    return verdicts


def _background(
    stored: StoredSite, snapshot: str, series: Mapping[str, np.ndarray], inputs: VerdictInputs, as_of: date
) -> tuple[str, ...]:
    """Reasons beside those of the series: few pixels or control units, offsets, rain, terrain, clouds, dry matter."""
    reasons = [Reason.FEW_PIXELS.value] if (series["reason"] == Reason.FEW_PIXELS.value.encode()).any() else []
    few_units = not inputs.controls.waits and too_few_units(inputs.controls, inputs.left_out, as_of)
    if few_units or (series["reason"] == Reason.CONTROL_FEW.value.encode()).any():  # units never come back
        reasons.append(Reason.CONTROL_FEW.value)
    recent = series["date"] > np.datetime64(as_of, "D") - RECENT
    wrong = series["reason"] == Reason.RADIOMETRY.value.encode()
    if (recent & wrong).sum() > (recent & series["accepted"]).sum():
        reasons.append(Reason.RADIOMETRY.value)
    reasons += [inputs.rain.value] if inputs.rain is not None else []
    if inputs.site.slope_degrees is None:
        reasons.append(Reason.TERRAIN_UNKNOWN.value)
    if stored.has_unmasked(snapshot):
        reasons.append(Reason.CLOUDS_UNMASKED.value)
    if (dry := dry_matter_reason(inputs.site, series, as_of=as_of)) is not None:
        reasons.append(dry.value)
    return tuple(reasons)


def verdict_with_areas(
    verdict: SeriesVerdict, loss: LossGround | None, stored: StoredSite, snapshot: str,
    series: Mapping[str, np.ndarray], inputs: VerdictInputs,
) -> tuple[Assessment, WorstPatch | None]:  # fmt: skip
    """The whole verdict with the areas that only pixels show, of a sudden loss or failing, and the first place to look
    at.

    `loss` has the neighbours of a site with a sudden loss; None: it has no loss. Raises ``StoreBroken`` where the store
    cannot be read.
    """
    assessment, patch = verdict.assessment, None
    site, constants = inputs.site, inputs.constants
    if loss is not None:
        if lost := loss_map(stored, snapshot, site, series, assessment, constants):
            patch = worst_patch(lost.chance, lost.times, site.geometry, stored.grid)
            loss = replace(loss, hectares=lost.hectares, low=lost.low, high=lost.high)
        assessment = with_loss_ground(assessment, loss)
    if assessment.status is Status.DISTURBED:
        return assessment, patch
    by_loss = assessment.alert_rule == "disturbance"
    day = verdict.judged.late_day(verdict.site)
    if day is None or not reports_failing_area(assessment, site):
        return assessment, patch if by_loss else None
    last = (lambda: verdict.judged, verdict.site)
    failing = failing_map(stored, snapshot, site, series, day, *last, constants=constants)
    if failing is None:
        return assessment, patch if by_loss else None
    if not by_loss:
        patch = worst_patch(failing.chance, failing.times, site.geometry, stored.grid)
    return with_failing_area(assessment, failing.ground, site, constants), patch
