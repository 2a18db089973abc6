"""Recompute one site from its stored pixels and compare every step with what was recorded.

Outline -> pixels inside; pixels -> means and digest of each scene -> series -> verdict with its areas, each by the
function of the night. Every step starts from what the step before recorded, not from what was recomputed, so a
difference is reported where it arises. Taken as recorded, since nothing stored shows where they come from: the means of
the control units, which pixels are clear, that a scene could not be read, rain, slope, the factor of measurements on
the ground, how many neighbours lost cover, and the false-alarm budget.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, Final

import numpy as np

from monitor.controls.screening import LeftOut, left_out_from_json
from monitor.controls.selection import REFERENCE_RING, ControlSet
from monitor.cover.fraction import Endmembers
from monitor.cover.observe import band_scales
from monitor.cube.grid import inside
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, MEASURES, UNIT_MEASURES, digest
from monitor.cube.stored_site import CUBE_CHUNK_BYTES, StoredSite
from monitor.errors import UNREAD, WRONG_RADIOMETRY, BadConfiguration, BadData
from monitor.ingest.observations import judge_scene, no_means, site_means
from monitor.maps.site_verdict import VerdictInputs, series_verdicts, verdict_with_areas
from monitor.publish.control_ground import control_ground
from monitor.series.build import series_and_units
from monitor.series.columns import Columns, observed_until
from monitor.series.observations import observations_csv
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Assessment, Series, assessment_to_json
from monitor.verdict.calibration import Calibration
from monitor.verdict.loss_ground import LossGround
from monitor.verdict.reasons import Reason
from monitor.verdict.tables.plan_json import plan_json

TOLERANCE: Final = 1e-6
"""Largest difference of a number that another machine or other library versions may give, of numbers above 1 relative
to them. Sums, exponentials and logarithms differ near the sixteenth digit there; of means, which are rounded to six
decimals, that makes one unit of the last. An e-value may be 1e10, and then differs in its fifth decimal. Every step
starts from recorded values, so that differences do not grow from step to step."""
MAX_SHOWN: Final = 200  # longest value that is shown [character]
_AREA_TOLERANCE: Final = 1e-6
"""Largest relative difference of the geodesic area: its last digits depend on the version of PROJ. [1]"""
_UNREAD: Final = [reason.encode() for reason in (WRONG_RADIOMETRY, *UNREAD)]
"""Reasons of a scene that could not be read: no pixels of it are stored."""
_CONTROL_MEASURES: Final = tuple(name for name in UNIT_MEASURES if name != "n_pixels")
"""Means of the control ground that can be computed again: those of each unit are stored of these alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One recorded value that the recomputation does not give."""

    step: str
    """``scene``, ``site``, ``series``, ``constants``, ``verdict``, ``plan``, or the name of a file."""
    scene: str = ""
    """Id of the scene; empty: it is about the whole site."""
    variable: str
    recorded: Any
    recomputed: Any

    def __str__(self) -> str:
        where = f"{self.step} {self.scene}".rstrip()
        return f"{where}: {self.variable} is {_shown(self.recorded)} as recorded, {_shown(self.recomputed)} recomputed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Files that were published about a site with an assessment; None: not compared."""

    observations: bytes | None = None  # content of `observations.csv`
    plan: Mapping[str, Any] | None = None  # content of `plan.json`
    units: bytes | None = None  # content of `controls.geojson`


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """An assessment of a site, and all that it rested on besides scenes and control units."""

    site: Site  # the version that the assessment names, with the start of its first episode
    judged: Site  # the same in the episode of the assessment, with the slope that it used
    row: Mapping[str, Any]  # columns of the ledger's table of assessments
    assessment: Assessment  # the assessment in `row`
    constants: Calibration
    promises: Sequence[Mapping[str, Any]]
    """Promises up to the one that it rests on, see :func:`monitor.sites.promise.promises_until`."""

    @property
    def snapshot(self) -> str:
        """Snapshot of the store that it was made from."""
        return str(self.row["snapshot"])

    @property
    def left_out(self) -> LeftOut:
        """Control units that no longer counted, as known then."""
        return left_out_from_json(self.row["left_out"])


def _inputs(assessed: Assessed, controls: ControlSet) -> VerdictInputs:
    """Inputs of an assessment besides scenes and series, from what it records."""
    a, codes = assessed.assessment, assessed.assessment.reasons
    factor = None
    if a.field_factor_rows and None not in (a.field_factor, a.field_factor_low, a.field_factor_high):
        factor = FieldFactor(
            value=a.field_factor, low=a.field_factor_low, high=a.field_factor_high,  # type: ignore[arg-type]
            rows=a.field_factor_rows,
        )  # fmt: skip
    return VerdictInputs(
        site=assessed.judged, episode=a.episode, alpha=0.05 if a.alpha is None else a.alpha,
        constants=assessed.constants, controls=controls, left_out=assessed.left_out,
        rain=next((rain for rain in (Reason.RAIN_LOW, Reason.RAIN_UNKNOWN) if rain.value in codes), None),
        field_factor=factor, code_version=a.code_version,
    )  # fmt: skip


def check_site(
    stored: StoredSite, assessed: Assessed, controls: ControlSet, published: Published, *, tolerance: float = 0.0,
    rows: Sequence[int] | None = None,
) -> list[Difference]:  # fmt: skip
    """Recompute a site from its pixels and compare each step with what was recorded.

    Parameters
    ----------
    stored : StoredSite
        With an empty folder of derived results, so that none is taken for granted.
    assessed, controls, published : Assessed, ControlSet, Published
    tolerance : float
        Largest difference of numbers that counts as equal: 0 on the machine and libraries that made the record, else
        :data:`TOLERANCE`.
    rows : sequence of int, optional
        Rows of the store whose pixels are compared. Default: all that have the site, superseded ones too.

    Returns
    -------
    list of Difference
        In order of the steps; empty: all is equal.

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    BadData
        ``controls.geojson`` is not such a file.
    """
    inputs, assessment, snapshot = _inputs(assessed, controls), assessed.assessment, assessed.snapshot
    site = inputs.site
    differences = _of_scenes(stored, snapshot, inputs, tolerance, rows)
    hectares = geodesic_hectares(site.geometry)
    if abs(hectares - site.hectares) > _AREA_TOLERANCE * hectares:
        differences.append(Difference(step="site", variable="hectares", recorded=site.hectares, recomputed=hectares))
    unlike = "pixels unlike the outline"
    outside = int((inside(site.geometry, stored.grid) != stored.inside).sum())
    differences += values_differences("site", {unlike: outside}, {unlike: 0}, 0.0)
    first = replace(site, start=assessed.site.start)
    whole, choice = series_and_units(stored, inputs.controls, first, left_out=inputs.left_out, snapshot=snapshot)
    series = observed_until(whole, assessment.as_of)
    if published.observations is not None:
        differences += series_differences(published.observations, series, site.id, tolerance)
    differences += _of_constants(inputs.constants, assessment)
    differences += _of_verdict(stored, snapshot, series, inputs, assessment, tolerance)
    if published.plan is not None:
        wanted = plan_json(site, assessment, inputs.constants, promises=assessed.promises)
        differences += values_differences("plan", published.plan, wanted, 0.0)
    if published.units is not None and choice is not None:
        ground = control_ground(inputs.controls, stored.units, choice, inputs.left_out, assessment.as_of)
        wanted = _features(ground.geojson)
        differences += values_differences("controls.geojson", _features(published.units), wanted, 0.0)
    return differences


def _features(geojson: bytes) -> dict[str, Any]:
    """Features of ``controls.geojson`` by their unit."""
    try:
        return {str(one["properties"]["unit"]): one for one in json.loads(geojson)["features"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadData(f"controls.geojson has no features of control units: {type(error).__name__}: {error}") from error


def _of_scenes(
    stored: StoredSite, snapshot: str, inputs: VerdictInputs, tolerance: float, only: Sequence[int] | None
) -> list[Difference]:
    """Differences of the stored scenes: digest, whether it counts, and the means."""
    columns, endmembers = stored.columns_of(stored.every_row(snapshot)), Endmembers.of(inputs.site)
    if only is not None:
        chosen = np.isin(columns["row"], only)
        columns = {name: values[chosen] for name, values in columns.items()}
    rings = {unit.id: unit.ring for unit in inputs.controls.units}
    compared = np.array([rings.get(unit, 1) != REFERENCE_RING for unit in stored.units], bool)
    size = len(PACKED_LAYERS) * max(int(stored.inside.sum()), 1) * np.dtype(np.uint16).itemsize
    at_once, n = max(1, CUBE_CHUNK_BYTES // size), columns["row"].size
    differences: list[Difference] = []
    for first in range(0, n, at_once):
        part = {name: values[first : first + at_once] for name, values in columns.items()}
        pixels, units = stored.inner_pixels(part["row"].tolist()), _every_measure(stored, part["row"])
        read = ~np.isin(part["reason"], _UNREAD)
        means = np.full((read.size, len(MEASURES)), np.nan, np.float32)
        means[:, 0] = 0
        scales = band_scales(*(part[name][read].tolist() for name in ("scale", "offset", "bandpass")))
        means[read] = site_means(pixels[read], scales, endmembers)
        for at, is_read in enumerate(read.tolist()):
            scene = {name: values[at] for name, values in part.items()}
            differences += _of_scene(scene, pixels[at], units[at], means[at], compared, tolerance, is_read=is_read)
    return differences


def _every_measure(stored: StoredSite, rows: np.ndarray) -> np.ndarray:
    """(row, unit, measure) means of the control units of all measures, NaN for those that are not stored of units."""
    means = stored.unit_means_of(rows)
    if not means.shape[1]:
        return np.repeat(no_means(0)[None], rows.size, axis=0)
    every = np.full((*means.shape[:2], len(MEASURES)), np.nan, np.float32)
    every[:, :, [MEASURES.index(name) for name in UNIT_MEASURES]] = means
    return every


def _of_scene(
    scene: Mapping[str, Any], pixels: np.ndarray, units: np.ndarray, means: np.ndarray, compared: np.ndarray,
    tolerance: float, *, is_read: bool,
) -> Iterator[Difference]:  # fmt: skip
    """Differences of one scene: `scene` has its stored columns, `units` (unit, measure) its unit means.

    Of a scene that could not be read there is nothing: no pixel, no mean.
    """
    if is_read:
        judged = judge_scene(pixels, scene["quality"].decode(), means, units[: compared.size][compared])
    else:
        judged = {"n_pixels": 0, "n_units": None, "reason": scene["reason"].decode()}
        pixels, units = np.zeros_like(pixels), np.full_like(units, np.nan)
    recorded = {
        "digest of pixels and unit means": f"{scene['digest']:016x}", "n_pixels": int(scene["n_pixels"]),
        "reason": scene["reason"].decode(), "n_units": None if scene["n_units"] < 0 else int(scene["n_units"]),
    }  # fmt: skip
    recomputed = {**judged, "digest of pixels and unit means": digest(pixels, units)}
    for prefix, of, names in (("", "site_means", MEANS), ("control_", "control_means", _CONTROL_MEASURES)):
        values = dict(zip(MEANS, recomputed.pop(of, [np.nan] * len(MEANS)), strict=True))
        recorded |= {prefix + name: _or_none(float(scene[prefix + name])) for name in names}
        recomputed |= {prefix + name: _or_none(values[name]) for name in names}
    named = scene["scene"].decode("utf-8", "replace")
    return _differences("scene", named, recorded, recomputed, tolerance)


def series_differences(recorded: bytes, series: Columns, site: str, tolerance: float) -> list[Difference]:
    """Differences between a published ``observations.csv`` and a recomputed series."""
    wanted = observations_csv(site, series["line"].tolist())
    if recorded == wanted:
        return []
    before, after = _rows(recorded), _rows(wanted)
    differences: list[Difference] = []
    for key in dict.fromkeys([*before, *after]):
        scene = " ".join(part for part in key[:2] if part)
        if key not in before or key not in after:
            there = ["a row" if key in rows else None for rows in (before, after)]
            differences.append(
                Difference(step="series", scene=scene, variable="row", recorded=there[0], recomputed=there[1])
            )
            continue
        differences += _differences("series", scene, before[key], after[key], tolerance)
    if not differences and list(before) != list(after):
        differences.append(
            Difference(step="series", variable="order of rows", recorded="another", recomputed="by time")
        )
    return differences


def _rows(table: bytes) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Cells of each line of ``observations.csv``, numbers as such, by scene, date and how often both came before."""
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    for cells in csv.DictReader(StringIO(table.decode("utf-8-sig", "replace"), newline="")):
        scene, day = str(cells.get("scene") or ""), str(cells.get("date") or "")
        times = 0
        while (scene, day, times) in rows:
            times += 1
        rows[scene, day, times] = {str(name): _number(cell) for name, cell in cells.items()}
    return rows


def _number(cell: Any) -> Any:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return cell


def _of_constants(constants: Calibration, assessment: Assessment) -> list[Difference]:
    """Difference of the constants: an assessment records their hash, and which ones differ is known of the defaults."""
    recorded, recomputed = {"hash of all": assessment.calibration}, {"hash of all": constants.hash}
    differences = values_differences("constants", recorded, recomputed, 0.0)
    if differences and assessment.calibration == DEFAULT.hash:
        differences += values_differences("constants", DEFAULT.to_json(), constants.to_json(), 0.0)
    return differences


def _of_verdict(
    stored: StoredSite, snapshot: str, series: Columns, inputs: VerdictInputs, recorded: Assessment, tolerance: float
) -> list[Difference]:
    """Differences of the verdict, area of failure and loss included."""
    try:
        of_site = (stored, snapshot, series, inputs)
        (verdict,) = series_verdicts([of_site], Series.of(series), recorded.as_of)
        loss = None
        if verdict.assessment.loss_on is not None:
            loss = LossGround(neighbours=recorded.neighbours, together=recorded.neighbours_lost)
        recomputed, _ = verdict_with_areas(verdict, loss, stored, snapshot, series, inputs)
    except (BadData, BadConfiguration, ArithmeticError) as error:  # what was recorded gives no verdict
        return [Difference(step="verdict", variable="verdict", recorded="one", recomputed=f"none: {error}")]
    values = (assessment_to_json(one) for one in (recorded, recomputed))
    elsewhere = ("series_digest", "calibration")
    before, after = ({name: value for name, value in one.items() if name not in elsewhere} for one in values)
    differences = values_differences("verdict", before, after, tolerance)
    if not tolerance:
        before, after = ({"series_digest": one.series_digest} for one in (recorded, recomputed))
        differences += values_differences("verdict", before, after, 0.0)
    return differences


def values_differences(
    step: str, recorded: Mapping[str, Any], recomputed: Mapping[str, Any], tolerance: float
) -> list[Difference]:
    """Differences between two JSON objects, member by member."""
    return list(_differences(step, "", _flat(recorded), _flat(recomputed), tolerance))


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Members of a JSON object, those of objects in it by names such as ``calibration.scene_sd``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def _differences(
    step: str, scene: str, recorded: Mapping[str, Any], recomputed: Mapping[str, Any], tolerance: float
) -> Iterator[Difference]:
    for name in dict.fromkeys([*recorded, *recomputed]):
        before, after = recorded.get(name), recomputed.get(name)
        if not _equal(before, after, tolerance):
            yield Difference(step=step, scene=scene, variable=name, recorded=before, recomputed=after)


def _equal(recorded: Any, recomputed: Any, tolerance: float) -> bool:
    if _is_number(recorded) and _is_number(recomputed):
        most = 1.5 * tolerance * max(1.0, abs(recorded))  # half more: the difference of two decimals is inexact
        return bool(recorded == recomputed or abs(recorded - recomputed) <= most)
    if isinstance(recorded, list | tuple) and isinstance(recomputed, list | tuple):
        pairs = zip(recorded, recomputed, strict=False)
        return len(recorded) == len(recomputed) and all(_equal(*pair, tolerance) for pair in pairs)
    return bool(recorded == recomputed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    text = repr(float(value)) if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
