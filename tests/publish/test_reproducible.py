"""A published series with its plan gives back the published verdict, whatever kind of site it is."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.series.columns import second_index
from monitor.series.observations import observation_lines, observations_csv
from monitor.sites.site import Plan
from monitor.verdict.assess import assess
from monitor.verdict.assessment import Series, assessment_to_json
from monitor.verdict.calibration import Calibration, remaining
from monitor.verdict.tables.plan_json import plan_json
from tests import builders
from tests.jobs.reproduction import assert_same, reassessed

START, AS_OF = date(2019, 4, 1), date(2024, 9, 12)
SITE = builders.site(
    "民勤-03", geometry=box(107.0, 37.0, 107.01, 37.01), start=START, hectares=3.7,
    plan=Plan(A=0.25, k=0.6, L=0.3, too_early_years=2),
)  # fmt: skip


def columns(theta: float = 0.5, *, lost: bool = False, south: bool = False) -> dict[str, np.ndarray]:
    """Five years before the start and five after: two scenes on every third day, one in five rejected, six decimals."""
    rng = np.random.default_rng(11)
    days = np.sort(np.concatenate([every := np.arange("2014-01-03", str(AS_OF), 9, dtype="datetime64[D]"), every[::3]]))
    n, shift = days.size, np.timedelta64(182 if south else 0, "D")
    doy = (days - shift - (days - shift).astype("datetime64[Y]")).astype(int) + 1
    season, years = np.exp(-0.5 * ((doy - 212) / 45) ** 2), (days - np.datetime64(START)).astype(int) / 365.25
    uplift = np.array([theta * SITE.plan.uplift(float(year)) for year in years])
    uplift = np.where(lost & (years > 5.15), 0.0, uplift)
    control = 0.05 + 0.22 * season + rng.normal(0, 0.006, n)
    cover = control + uplift * season + rng.normal(0, 0.012, n)
    ring_2 = 0.05 + 0.22 * season + rng.normal(0, 0.006, n)
    accepted = rng.random(n) > 0.2
    values = {
        "clear_fraction": rng.choice([0.7, 0.85, 0.99], n), "cover": cover, "control_cover": control,
        "control_cover_2": ring_2, "reference_cover": control + 0.2 * season, "nbr": 0.6 * cover - 0.1,
        "control_nbr": 0.6 * control - 0.1, "ndmi": 0.5 * cover, "control_ndmi": 0.5 * control, "ndvi": cover,
        "control_ndvi": control,
    }  # fmt: skip
    values = {name: np.array([round(v, 6) for v in np.clip(some, -1, 1)]) for name, some in values.items()}
    for name in values.keys() - {"clear_fraction"}:
        values[name] = np.where(accepted, values[name], np.nan)
    values["nbr"][rng.random(n) < 0.3] = np.nan  # NDMI takes its place there
    return {**values, "date": days, "accepted": accepted, "n_pixels": np.full(n, 90)}


CASES = {
    "second ring and second index": (SITE, columns(), {}),
    "sudden loss": (SITE, columns(1.0, lost=True), {}),
    "recovered with reference cover": (SITE, columns(1.0), {}),
    "erosion control on a slope": (
        replace(SITE, intervention="erosion_control", subtype="slope", slope_degrees=22.34), columns(0.0), {}
    ),
    "cohorts": (
        replace(SITE, cohorts=((START, 1 / 3), (date(2020, 4, 9), 1 / 3), (date(2021, 4, 2), 1 / 3))), columns(), {}
    ),
    "replanted": (
        replace(SITE, start=date(2021, 5, 2)), columns(0.1), {"alpha": 0.05 * remaining(1.0, 2.1), "episode": 2}
    ),
    "own constants": (
        SITE, columns(0.2),
        {"calibration": replace(Calibration(), scene_sd=0.0191, placebos=400, source="placebos of 黄土"), "alpha": 0.02}
    ),
    "tending": (replace(SITE, intervention="tending", plan=Plan(A=0, k=1, L=0, too_early_years=0)), columns(0.0), {}),
    "south of the equator": (replace(SITE, geometry=box(30, -21, 30.01, -20.99)), columns(1.0, south=True), {}),
    "field cover": (replace(SITE, plan=replace(SITE.plan, cover="field", factor=0.71)), columns(), {}),
    "not begun": (replace(SITE, start=date(2025, 4, 1)), columns(), {}),
    "no scene": (SITE, {name: values[:0] for name, values in columns().items()}, {}),
    "no accepted scene": (SITE, columns() | {"accepted": np.zeros(columns()["date"].size, bool)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_published_series_and_plan_give_back_the_published_verdict(case, tmp_path):
    site, seen, given = CASES[case]
    calibration, alpha = given.get("calibration", Calibration()), given.get("alpha", 0.05)
    judged = Series.of(seen)
    published = replace(
        assess(judged, site, calibration=calibration, alpha=alpha, as_of=AS_OF),
        alpha=alpha, episode=given.get("episode", 1), series_digest=judged.digest, code_version="1",
    )  # fmt: skip
    published = replace(published, reasons=(*published.reasons, "RAIN_UNKNOWN"))
    shown = {**seen, "control_2": seen["control_cover_2"]}
    shown["second_index"], shown["control_second_index"] = second_index(seen)
    shown |= {name: [f"=scene {k}" for k in range(seen["date"].size)] for name in ("scene",)}
    shown |= {name: [""] * seen["date"].size for name in ("source", "baseline", "reason")}
    lines = [line.encode() for line in observation_lines(shown)]
    (tmp_path / "observations.csv").write_bytes(observations_csv(site.id, lines))
    (tmp_path / "plan.json").write_text(json.dumps(plan_json(site, published, calibration), allow_nan=False))
    found = reassessed(tmp_path / "observations.csv", tmp_path / "plan.json", tmp_path / "out.parquet")
    theirs = json.loads(json.dumps(assessment_to_json(published)))
    assert_same(found[site.id], theirs)
    for name in theirs.keys() & found[site.id].keys():
        assert found[site.id][name] == theirs[name], "on one processor to the last bit"


def test_the_cases_are_what_they_are_called():
    status = {}
    for name, (site, seen, given) in CASES.items():
        status[name] = assess(Series.of(seen), site, alpha=given.get("alpha", 0.05), as_of=AS_OF)
    assert status["sudden loss"].alert_rule == "disturbance"
    assert status["recovered with reference cover"].status == "recovered"
    assert status["erosion control on a slope"].erosion_grade is not None
    assert status["not begun"].reasons[0] == "START_IN_FUTURE"
    assert "NO_CONTROL" in status["no scene"].reasons
    assert status["south of the equator"].theta == pytest.approx(1.0, abs=0.3)
