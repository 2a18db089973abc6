"""A site recomputed from its pixels: equal where nothing was changed, and each change is named with its place."""

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from jobs.night.self_check import published_assessment
from jobs.proof.assessed import assessed_site
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load
from monitor.controls.selection import ControlSet
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, STATES, UNIT_MEASURES
from monitor.cube.store import LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.evidence.site_check import TOLERANCE, Difference, Published, check_site
from monitor.sites.site import ground_key
from monitor.verdict.assess import DEFAULT


class Recorded:
    """The records of a site of an installation, and their recomputation."""

    def __init__(self, folder, site, *, row=None):
        settings = load(folder / "regrowth.toml")
        with open_ledger(settings, create=False) as ledger, ledger.reading() as t:
            record = published_assessment(t, site, None) if row is None else assessed_site(t, site, row)
            self.controls = ControlSet.from_json(t.controls(ground_key(record.site)))
        self.assessment, self.snapshot, self.record = record.assessment, record.snapshot, record
        self.left_out, self.constants = record.left_out, record.constants
        self.root, self.ground = settings.store.root, ground_key(record.site)
        published = folder / "sites" / site
        self.observations = (published / "observations.csv").read_bytes()
        self.plan = json.loads((published / "plan.json").read_text(encoding="utf-8"))

    def stored(self, tmp_path):
        store = landscape_at_snapshot(self.root, self.snapshot)
        return StoredSite(store, self.ground, derived=tmp_path / "derived")

    def differences(self, tmp_path, *, published=True, **how):
        left_out = {unit: day.isoformat() for unit, day in self.left_out.items()}
        assessed = replace(
            self.record, assessment=self.assessment, constants=self.constants,
            row={**self.record.row, "left_out": left_out}, promises=self.plan["promises"],
        )  # fmt: skip
        both = Published(observations=self.observations, plan=self.plan) if published else Published()
        return check_site(self.stored(tmp_path), assessed, self.controls, both, **how)


@pytest.fixture
def failing(demo):
    return Recorded(demo, "demo-02")


@pytest.fixture
def copied(demo, tmp_path):
    """The demonstration with stores of its own, and a function that changes a stored value of one site and scene."""
    folder = tmp_path / "demo"
    shutil.copytree(demo, folder, ignore=shutil.ignore_patterns("*.tif", "*.png", "*.jpg", "*.html", "*.eml", "*.db-*"))
    one = Recorded(folder, "demo-02")

    def change(name, edit):
        """Edit an array of the landscape at the place of an accepted scene; returns the id of the scene."""
        stored = one.stored(tmp_path)
        columns = stored.columns(one.snapshot)
        at = int(np.flatnonzero(columns["accepted"])[40])
        row, scene = int(columns["row"][at]), columns["scene"][at].decode()
        store = LandscapeStore(stored.landscape.path)
        site = store.grounds.index(one.ground)
        place = {
            "pixels": (row, slice(None), slice(*store.fixed["first_pixel"][site : site + 2])),
            "unit_means": (row, slice(*store.fixed["first_unit"][site : site + 2])),
        }.get(name, (row, site))
        with store.guarded():
            array = store._opened()[name]
            values = np.array(array[place])
            array[place] = edit(values)
            store._commit("changed by hand")
        return scene

    return one, change


def test_every_site_of_the_demonstration_is_equal_to_the_last_digit(demo, tmp_path):
    for number in range(1, 11):
        assert Recorded(demo, f"demo-{number:02}").differences(tmp_path / str(number)) == []


def test_an_old_assessment_is_equal_too_though_scenes_have_come_since(demo, tmp_path):
    with open_ledger(load(demo / "regrowth.toml"), create=False) as ledger, ledger.reading() as t:
        rows = t.assessments_of("demo-09")
    assert len({row.snapshot for row in rows}) > 1
    for number, row in enumerate(rows):
        old = Recorded(demo, "demo-09", row=row)
        assert old.differences(tmp_path / str(number), published=False) == []


def test_a_changed_pixel_is_named_by_its_scene_and_its_means(copied, tmp_path):
    one, change = copied
    nir = PACKED_LAYERS.index("nir")

    def brighter(pixels):
        pixels[nir, np.flatnonzero(pixels[-1])[0]] += 400
        return pixels

    scene = change("pixels", brighter)
    found = one.differences(tmp_path)
    assert {(one.step, one.scene) for one in found} == {("scene", scene)}
    assert {"digest of pixels and unit means", "nir", "ndvi", "cover"} <= {one.variable for one in found}
    assert "red" not in {one.variable for one in found}
    cover = next(one for one in found if one.variable == "cover")
    assert cover.recorded != cover.recomputed
    assert str(cover).startswith(f"scene {scene}: cover is 0.")


def test_a_changed_mean_of_the_site_is_named_and_so_is_the_published_series_it_no_longer_gives(copied, tmp_path):
    one, change = copied
    cover = MEANS.index("cover")

    def greener(means):
        means[cover] += 0.02
        return means

    scene = change("site_means", greener)
    found = one.differences(tmp_path)
    assert [(one.step, one.variable) for one in found if one.scene == scene][:1] == [("scene", "cover")]
    in_series = [one for one in found if one.step == "series"]
    assert [one.variable for one in in_series] == ["cover"]
    assert in_series[0].scene.startswith(scene)
    assert "series_digest" in {one.variable for one in found if one.step == "verdict"}


def test_a_changed_mean_of_a_control_unit_is_named_by_its_scene(copied, tmp_path):
    one, change = copied

    def greener(means):
        means[3, UNIT_MEASURES.index("cover")] += 0.2
        return means

    scene = change("unit_means", greener)
    found = one.differences(tmp_path)
    assert {one.variable for one in found if one.step == "scene" and one.scene == scene} >= {
        "digest of pixels and unit means", "control_cover",
    }  # fmt: skip
    assert "cover" not in {one.variable for one in found if one.step == "scene"}


def test_a_scene_that_was_made_to_count_or_not_is_named(copied, tmp_path):
    one, change = copied
    scene = change("state", lambda _: STATES.index("CLOUD"))
    found = one.differences(tmp_path)
    (reason,) = [one for one in found if one.step == "scene" and one.variable == "reason"]
    assert (reason.scene, reason.recorded, reason.recomputed) == (scene, "CLOUD", "")


def test_a_changed_value_of_the_published_series_is_named(failing, tmp_path):
    lines = failing.observations.splitlines(keepends=True)
    at = next(k for k in range(60, len(lines)) if b",true," in lines[k])
    cells = lines[at].split(b",")
    cells[8] = b"0.123456"
    failing.observations = b"".join([*lines[:at], b",".join(cells), *lines[at + 1 :]])
    (found,) = failing.differences(tmp_path)
    assert (found.step, found.variable, found.recorded) == ("series", "cover", 0.123456)
    assert cells[2].decode() in found.scene


def test_a_row_that_was_left_out_or_added_is_named(failing, tmp_path):
    lines = failing.observations.splitlines(keepends=True)
    failing.observations = b"".join([*lines[:50], *lines[51:]])
    (found,) = failing.differences(tmp_path)
    assert (found.variable, found.recorded, found.recomputed) == ("row", None, "a row")
    failing.observations = b"".join([*lines, lines[50]])
    (found,) = failing.differences(tmp_path)
    assert (found.variable, found.recorded, found.recomputed) == ("row", "a row", None)


def test_a_changed_number_of_the_assessment_is_named(failing, tmp_path):
    whole = failing.assessment
    for field in ("theta", "p_failing", "cover", "hectares_failing"):
        before = getattr(whole, field)
        failing.assessment = replace(whole, **{field: before + 0.01})
        found = failing.differences(tmp_path, published=False)
        assert [(one.step, one.variable, one.recomputed) for one in found] == [("verdict", field, before)]


def test_a_changed_status_or_left_out_reason_is_named(failing, tmp_path):
    a = failing.assessment
    failing.assessment = replace(a, status="on_track", reasons=a.reasons[1:])
    found = failing.differences(tmp_path, published=False)
    assert {one.variable for one in found} == {"status", "reasons"}


def test_changed_constants_are_named(failing, tmp_path):
    failing.constants = replace(failing.constants, scene_sd=failing.constants.scene_sd * 2)
    found = failing.differences(tmp_path)
    assert [one.variable for one in found if one.step == "constants"] == ["hash of all"]
    assert [one.variable for one in found if one.step == "plan"] == ["calibration.scene_sd"]
    assert "theta" in {one.variable for one in found if one.step == "verdict"}
    failing.assessment = replace(failing.assessment, calibration=DEFAULT.hash)
    failing.constants = replace(DEFAULT, scene_sd=0.5)
    found = failing.differences(tmp_path, published=False)
    assert [one.variable for one in found if one.step == "constants"] == ["hash of all", "scene_sd"]


def test_a_changed_plan_is_named(failing, tmp_path):
    failing.plan["k"] *= 2
    failing.plan["failing_area"] = {**failing.plan["failing_area"], "hectares": 0.0}
    found = failing.differences(tmp_path)
    assert [(one.step, one.variable) for one in found] == [("plan", "k"), ("plan", "failing_area.hectares")]


def test_a_changed_area_of_the_site_is_named(failing, tmp_path):
    failing.record = replace(failing.record, judged=replace(failing.record.judged, hectares=99.0))
    found = failing.differences(tmp_path)
    assert ("site", "hectares", 99.0) in [(one.step, one.variable, one.recorded) for one in found]


def test_elsewhere_one_unit_in_the_last_decimal_is_equal_and_two_are_not(failing, tmp_path):
    theta, evidence = failing.assessment.theta, failing.assessment.e_failure
    assert evidence > 1e7
    for edited, count in (
        ({"theta": theta + 1e-6}, 0), ({"theta": theta + 2.5e-6}, 1),
        ({"e_failure": evidence * (1 + 1e-12)}, 0), ({"e_failure": evidence * (1 + 3e-6)}, 1),
    ):  # fmt: skip
        failing.assessment = replace(failing.assessment, **{"theta": theta, "e_failure": evidence} | edited)
        assert len(failing.differences(tmp_path, published=False, tolerance=TOLERANCE)) == count
        assert len(failing.differences(tmp_path, published=False)) == 1


def test_only_the_given_scenes_are_compared_with_their_pixels(copied, tmp_path):
    one, change = copied
    change("pixels", lambda pixels: pixels ^ 1)
    columns = one.stored(tmp_path).columns(one.snapshot)
    row = int(columns["row"][np.flatnonzero(columns["accepted"])[40]])
    assert one.differences(tmp_path / "a", rows=[row])
    others = [int(other) for other in columns["row"] if other != row]
    assert not [one for one in one.differences(tmp_path / "b", rows=others) if one.step == "scene"]


def test_a_record_that_gives_no_verdict_is_a_difference_not_an_error(copied, tmp_path):
    one, change = copied
    change("site_means", lambda means: means + 5.0)
    found = one.differences(tmp_path)
    assert any(one.variable == "verdict" and "none:" in str(one.recomputed) for one in found)


def test_units_that_were_left_out_then_are_left_out_again(failing, tmp_path):
    units = [unit.id for unit in failing.controls.units[:12]]
    failing.left_out = dict.fromkeys(units, date(2018, 1, 1) + timedelta(days=30))
    found = failing.differences(tmp_path)
    assert {one.variable for one in found if one.step == "series"} >= {"control_cover"}
    assert not [one for one in found if one.step == "scene"]


def test_a_difference_states_numbers_not_their_type():
    difference = Difference(step="scene", scene="one", variable="nir", recorded=0.2, recomputed=np.float64(0.3))
    assert str(difference) == "scene one: nir is 0.2 as recorded, 0.3 recomputed"
