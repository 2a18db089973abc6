"""A pack is recomputed from its pixels: equal, or what was edited is named, though it was signed again."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jobs.proof.evidence import write_evidence
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, STATES
from monitor.evidence.container import Container, write_container
from monitor.evidence.keys import PRIVATE_NAME, PUBLIC_NAME, new_keys, private_key
from tests.builders import regrowth
from tests.evidence.test_site_data import decoded, edited


@pytest.fixture(scope="module")
def signed(demo, tmp_path_factory):
    """Folder with a pack of a failing site of the demonstration, and the keys."""
    folder = tmp_path_factory.mktemp("packs")
    new_keys(folder)
    key = private_key((folder / PRIVATE_NAME).read_bytes())
    settings = load(demo / "regrowth.toml")
    with open_ledger(settings, create=False) as ledger:
        write_evidence(settings, ledger, "demo-02", folder / "pack.zip", key=key)
    return folder


@pytest.fixture(scope="module")
def members(signed):
    key = private_key((signed / PRIVATE_NAME).read_bytes())
    with Container(signed / "pack.zip", key.public_key()) as pack:
        return {name: pack.read(name) for name in pack.names}


@pytest.fixture
def recomputed(signed):
    """Run the command on a pack; returns exit status, stdout and stderr."""
    return lambda pack=signed / "pack.zip", *options: regrowth(
        "recompute", pack, "--key", signed / PUBLIC_NAME, *options
    )


@pytest.fixture
def rewritten(signed, members, tmp_path):
    """Write the pack with other members, signed again with the right key."""

    def write(contents):
        assert contents != members
        path = tmp_path / "again.zip"
        write_container(path, contents.items(), private_key((signed / PRIVATE_NAME).read_bytes()))
        return path

    return write


@pytest.fixture
def again(rewritten, members):
    """Write the pack with some JSON and CSV members changed; a dot of their names is written as an underscore."""

    def write(**changed):
        return rewritten(members | {".".join(name.rsplit("_", 1)): content for name, content in changed.items()})

    return write


def edited_json(content, edit):
    values = json.loads(content)
    edit(values)
    return json.dumps(values).encode()


def test_a_pack_is_equal_to_the_last_digit_in_words_and_as_json(recomputed, signed):
    status, out, err = recomputed()
    assert (status, out) == (Exit.DONE, "equal\n")
    assert "another environment" not in err
    assert "means of control units are taken as recorded" in err
    status, out, _ = recomputed(signed / "pack.zip", "--json")
    read = json.loads(out)
    assert (status, read["equal"]) == (Exit.DONE, True)
    assert (read["site"], read["as_of"], read["tolerance"], read["differences"], read["faults"]) == (
        "demo-02", "2020-10-31", 0.0, [], [],
    )  # fmt: skip


def test_an_edited_verdict_and_series_are_named_though_the_pack_was_signed_again(recomputed, again, members):
    before = json.loads(members["assessments.json"])[-1]["theta"]
    lines = members["observations.csv"].split(b"\n")
    at = next(k for k in range(60, len(lines)) if b",true," in lines[k])
    cells = lines[at].split(b",")
    cells[8] = b"0.111111"
    lines[at] = b",".join(cells)
    edited = {"theta": 0.75, "hectares_failing": 0.0}
    pack = again(
        assessments_json=edited_json(members["assessments.json"], lambda all_: all_[-1].update(edited)),
        observations_csv=b"\n".join(lines),
    )
    status, out, _ = recomputed(pack)
    assert status == Exit.BAD_DATA
    assert f"verdict: theta is 0.75 as recorded, {before!r} recomputed" in out.splitlines()
    assert "verdict: hectares_failing is 0.0 as recorded" in out
    assert f"series {cells[2].decode()} {cells[1].decode()}: cover is 0.111111 as recorded" in out
    assert "FAIL assessments.json" in out, "and the chain of nights does not cover it"
    assert "equal" not in out


def accepted(members, nth=70):
    at = np.flatnonzero(decoded(members, "state") == STATES.index("ACCEPTED"))[nth]
    return at, decoded(members, "scene")[at]


def brighter(pixels):
    pixels[PACKED_LAYERS.index("nir"), np.flatnonzero(pixels[-1])[0]] += 500


def greener(means):
    means[2, -1] += 0.2


@pytest.mark.parametrize(("name", "edit", "variables"), [
    ("pixels", brighter, ("digest of pixels and unit means", "nir", "ndvi", "cover")),
    ("unit_means", greener, ("digest of pixels and unit means", "control_cover")),
])  # fmt: skip
def test_an_edited_pixel_or_control_mean_is_named_by_its_scene(recomputed, rewritten, members, name, edit, variables):
    at, scene = accepted(members)
    status, out, _ = recomputed(rewritten(edited(members, name, lambda values: edit(values[at]))))
    assert status == Exit.BAD_DATA
    named = [line for line in out.splitlines() if line.startswith("scene ")]
    assert all(line.startswith(f"scene {scene}: ") for line in named)
    for variable in variables:
        assert any(line.startswith(f"scene {scene}: {variable} is ") for line in named), variable


def test_a_scene_marked_as_unread_hides_no_mean_and_no_pixel(recomputed, rewritten, members):
    """Neither an unknown number of units, as a scene that could not be read has, nor its state hides anything."""
    at, scene = accepted(members)
    cover = MEANS.index("cover")
    unknown = edited(members, "counts", lambda counts: counts.__setitem__((at, 1), -1))
    status, out, _ = recomputed(
        rewritten(edited(unknown, "site_means", lambda means: means.__setitem__((at, cover), 0.7)))
    )
    assert status == Exit.BAD_DATA
    assert f"scene {scene}: n_units is empty as recorded, " in out
    assert f"scene {scene}: cover is 0.7 as recorded, " in out
    broken = edited(unknown, "state", lambda states: states.__setitem__(at, STATES.index("BROKEN")))
    for name in ("site_means", "control_means"):
        broken = edited(broken, name, lambda means: means.__setitem__(at, np.nan))
    status, out, _ = recomputed(rewritten(broken))
    assert status == Exit.BAD_DATA
    assert f"scene {scene}: digest of pixels and unit means is " in out


def test_control_units_and_the_ground_are_the_same_in_every_member(recomputed, again, members):
    def nearer(document):
        document["controls"]["units"][0]["distance"] = 1.0
        document["controls"]["balance"]["rmspe"] = 0.0
        units.append(document["controls"]["units"][0]["id"])

    units = []
    pack = again(
        controls_json=edited_json(members["controls.json"], nearer),
        controls_geojson=edited_json(members["controls.geojson"], lambda all_: all_["features"][1].update(id=7)),
        site_json=edited_json(members["site.json"], lambda site: site["properties"].update(ground="elsewhere")),
    )
    status, out, _ = recomputed(pack)
    assert status == Exit.BAD_DATA
    for named in (
        f"controls.json: controls.units.{units[0]}.distance is 1.0 as recorded", "controls.balance.rmspe is 0.0",
        f"controls.geojson: {units[0]}.properties.distance_m is ", ".id is 7 as recorded, empty recomputed",
        "site.json: ground is elsewhere as recorded",
    ):  # fmt: skip
        assert named in out


def test_edited_constants_and_what_they_change_are_named(recomputed, again, members):
    def loosen(plan):
        plan["calibration"]["scene_sd"] *= 2

    status, out, _ = recomputed(again(plan_json=edited_json(members["plan.json"], loosen)))
    assert status == Exit.BAD_DATA
    assert "constants: hash of all is " in out
    assert "verdict: theta is " in out


@pytest.mark.parametrize(("member", "edit", "words"), [
    ("plan.json", lambda plan: plan.update(calibration=None), "has no constants"),
    ("plan.json", lambda plan: plan.update(slope_degrees="steep"), "slope_degrees is no number"),
    ("controls.json", lambda controls: controls["controls"].update(units=[{"id": 1}]), "controls.json"),
    ("site.json", lambda site: site["properties"].update(id="demo-03"), "demo-03"),
    ("assessments.json", lambda all_: all_[-1].update(theta="high"), "theta"),
    ("assessments.json", lambda all_: all_[-1].update(snapshot="elsewhere:3"), "elsewhere"),
    ("assessments.json", lambda all_: all_[-1].update(left_out={"u": "never"}), "left_out"),
    ("environment.json", lambda environment: environment.update(format=99), "format 99"),
    ("controls.geojson", lambda map_: map_.update(features=5), "controls.geojson has no features of control units"),
])  # fmt: skip
def test_members_that_make_no_sense_are_named_without_a_traceback(recomputed, again, members, member, edit, words):
    status, out, err = recomputed(again(**{member.replace(".", "_"): edited_json(members[member], edit)}))
    assert status == Exit.BAD_DATA
    assert words in out
    assert "Traceback" not in err
    assert all(line.startswith("FAIL ") for line in out.splitlines()[:1])


def test_a_pack_of_another_program_or_machine_is_compared_within_the_tolerance_and_says_so(recomputed, again, members):
    def older(environment):
        environment["version"] = "0.0.1"
        environment["libraries"]["numpy"] = "1.0"
        del environment["libraries"]["scipy"]
        environment["machine"]["processor"] = "abacus"

    pack = again(environment_json=edited_json(members["environment.json"], older))
    status, out, err = recomputed(pack)
    for difference in ("numpy: 1.0", "scipy: None", "processor: abacus", "version: 0.0.1"):
        assert f"another environment: {difference} in the pack, " in err
    assert err.count("another environment: ") == 4
    assert "differ by up to 0.000001" in err
    assert (status, out) == (Exit.DONE, "equal\n")


def test_a_byte_changed_without_signing_fails_as_verify_does(recomputed, signed, tmp_path):
    content = bytearray((signed / "pack.zip").read_bytes())
    content[content.find(b'"theta"') + 12] ^= 1
    broken = tmp_path / "broken.zip"
    broken.write_bytes(content)
    status, out, _ = recomputed(broken)
    assert status == Exit.BAD_DATA
    assert out.startswith("FAIL assessments.json: its content or its header is not as signed: Bad CRC-32")
    status, out, _ = recomputed(tmp_path / "absent.zip")
    assert status == Exit.BAD_DATA
    assert out.startswith("FAIL absent.zip: ")


@pytest.mark.slow
def test_alone_in_a_folder_that_cannot_be_written_and_stopped_midway_it_leaves_nothing(signed, tmp_path):
    (tmp_path / "bare").mkdir(mode=0o555)
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "jobs.cli", "recompute", str(signed / "pack.zip"), "--key",
               str(signed / PUBLIC_NAME)]  # fmt: skip
    how = {
        "cwd": tmp_path / "bare", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True,
        "env": {"TMPDIR": str(tmp_path / "temporary"), "NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]},
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    }  # fmt: skip
    done = subprocess.Popen(command, **how)
    out, _ = done.communicate(timeout=120)
    assert (done.returncode, out) == (Exit.DONE, b"equal\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        running = subprocess.Popen(command, **how)
        while not any((tmp_path / "temporary").iterdir()):
            time.sleep(0.02)
            assert running.poll() is None
        time.sleep(0.3)
        os.killpg(running.pid, number)
        running.communicate(timeout=60)
        assert running.returncode == Exit.STOPPED
        assert [*(tmp_path / "temporary").iterdir()] == []
    assert [*(tmp_path / "bare").iterdir()] == []
