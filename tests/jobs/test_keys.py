"""``regrowth keys new``, and the key that signs evidence."""

import json
from functools import partial

import pytest
import structlog

from jobs.proof.evidence_key import evidence_key, readable_by_others, required_evidence_key
from jobs.runtime.exits import Exit
from monitor.errors import BadConfiguration
from monitor.evidence.keys import fingerprint, new_keys, private_key
from tests.builders import regrowth

new = partial(regrowth, "keys", "new")


def test_a_pair_is_made_without_configuration_and_the_private_key_is_not_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGROWTH_CONFIG", "/nowhere/regrowth.toml")
    status, printed, _ = new("keys")
    assert status == Exit.DONE
    secret = (tmp_path / "keys" / "signing.key").read_bytes()
    assert fingerprint(private_key(secret).public_key()) in printed
    assert f"REGROWTH_EVIDENCE_KEY_FILE={tmp_path}/keys/signing.key" in printed
    assert secret.splitlines()[1].decode() not in printed
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["keys", "signing.key", "signing.pub"]


def test_a_second_pair_in_the_same_folder_is_refused_and_changes_nothing(tmp_path):
    status, printed, _ = new(tmp_path, "--json")
    assert (status, json.loads(printed).keys()) == (Exit.DONE, {"private", "public", "fingerprint"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    status, _, error = new(tmp_path)
    assert status == Exit.CONFIGURATION
    assert "signing.key exists, and a key is never overwritten" in error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "keys"):
        status, _, error = new(folder)
        assert (status, f"{tmp_path}/file" in error) == (Exit.CONFIGURATION, True)


def test_the_key_of_evidence_comes_from_the_named_file_and_its_lack_is_named_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.delenv("REGROWTH_EVIDENCE_KEY_FILE", raising=False)
    assert evidence_key() is None
    assert not readable_by_others()
    with pytest.raises(BadConfiguration, match=r"regrowth keys new DIR, then set REGROWTH_EVIDENCE_KEY_FILE"):
        required_evidence_key()
    public = new_keys(tmp_path)
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(tmp_path / "signing.key"))
    with structlog.testing.capture_logs() as logs:
        assert required_evidence_key().public_key() == public
    assert logs == []
    (tmp_path / "signing.key").chmod(0o640)
    assert readable_by_others()
    with structlog.testing.capture_logs() as logs:
        assert required_evidence_key().public_key() == public
    (log,) = logs
    assert (log["log_level"], "chmod 600" in log["event"]) == ("warning", True)


@pytest.mark.parametrize("content", [b"hunter2-Canary", b"\xff\xfe", b"hunter2-Canary" * 10_000])
def test_a_file_that_is_not_a_key_is_refused_and_not_shown(tmp_path, monkeypatch, content):
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(BadConfiguration) as error:
        required_evidence_key()
    assert "hunter2" not in str(error.value)
