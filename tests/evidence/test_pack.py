"""A pack of the demonstration, from the command that writes it to the commands that check it."""

import hashlib
import json
import subprocess
import zipfile

import pytest

from jobs.cli import main
from jobs.runtime.exits import Exit
from tests.evidence.test_crate import check_specification

SITE = "demo-06"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code or 0


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    """Folder with keys, and a pack of one site of the demonstration."""
    folder = tmp_path_factory.mktemp("walk")
    assert run("keys", "new", folder / "keys") == Exit.DONE
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(folder / "keys" / "signing.key"))
        written = run("evidence", SITE, "--out", folder / "pack.zip", f"--config={demo / 'regrowth.toml'}")
    assert written == Exit.DONE
    return folder


def test_a_pack_passes_and_its_pixels_give_the_published_verdict(folder, capsys):
    pack, key = folder / "pack.zip", folder / "keys" / "signing.pub"
    assert run("verify", pack, "--key", key) == Exit.DONE
    assert capsys.readouterr().out.startswith(f"PASS {SITE}, assessment of 2020-10-31")
    assert run("recompute", pack, "--key", key) == Exit.DONE
    assert capsys.readouterr().out.startswith("equal\n")


def test_it_is_the_published_verdict_on_the_published_series(folder, demo):
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        for name in ("plan.json", "observations.csv", "controls.geojson"):
            assert archive.read(name) == (demo / "sites" / SITE / name).read_bytes()
        *_, last = json.loads(archive.read("assessments.json"))
        check_specification(json.loads(archive.read("ro-crate-metadata.json")))
    (published,) = [one for one in json.loads((demo / "status.json").read_bytes()) if one["site"] == SITE]
    assert {name: last[name] for name in published} == published


def test_the_environment_names_the_code_and_the_lock_and_nothing_of_the_machine_that_is_private(folder, root):
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        content = archive.read("environment.json")
    environment = json.loads(content)
    assert environment["lock_sha256"] == hashlib.sha256((root / "requirements.lock").read_bytes()).hexdigest()
    listed = subprocess.run(
        "find jobs monitor -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum", shell=True, cwd=root,
        capture_output=True, check=True,
    )  # fmt: skip
    assert environment["code_sha256"].encode() == listed.stdout[:64]
    assert {"numpy", "numba", "icechunk", "xarray"} <= environment["libraries"].keys()
    locked = (root / "requirements.lock").read_text(encoding="utf-8")
    assert f"numpy=={environment['libraries']['numpy']}" in locked
    assert str(root).encode() not in content
