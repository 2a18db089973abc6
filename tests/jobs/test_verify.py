"""``regrowth verify``: from any folder, without configuration, network or a trace."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jobs.runtime.exits import Exit
from tests.builders import regrowth
from tests.evidence.small_pack import KEY, chain, contents, write_pack


@pytest.fixture
def pack(tmp_path):
    return write_pack(tmp_path / "pack.zip", contents())


@pytest.fixture
def public(tmp_path):
    path = tmp_path / "signing.pub"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


verified = partial(regrowth, "verify")


def test_a_whole_pack_passes_with_what_was_checked(pack, public):
    head = chain()[0][-1]["hash"]
    status, out, err = verified(pack, "--key", public)
    assert (status, err) == (Exit.DONE, "")
    first, second, third = out.splitlines()
    assert first == "PASS lowood, assessment of 2020-10-10: on_track"
    assert second.startswith("13 members, ")
    assert third == f"chain of 3 nights, head {head}; 5 assessments, answers and promises of the site are in it"
    noted = chain()[0][0]["hash"]
    status, out, _ = verified(pack, "--key", public, "--head", f"{noted[:32].upper()} {noted[32:]}")
    assert out.splitlines()[-1] == "the head given is that of line 1, night 2020-09-26: unchanged until then"
    status, out, _ = verified(pack, "--key", public, "--json")
    assert (status, json.loads(out)["result"], json.loads(out)["head"]) == (Exit.DONE, "PASS", head)


def test_a_verdict_that_the_chain_does_not_cover_yet_is_reported_as_unproved(pack, public):
    content = contents()
    content["chain-proofs.json"]["assessments"][-1] = None
    write_pack(pack, content)
    status, out, _ = verified(pack, "--key", public)
    assert status == Exit.BAD_DATA, "there is a line of its night"
    assert out.startswith("FAIL chain-proofs.json: the assessment of 2020-10-10 is in no line of the chain")
    content["chain.jsonl"].pop()
    status, out, _ = verified(write_pack(pack, content), "--key", public)
    assert status == Exit.DONE
    last = "not in the chain yet: the assessment of 2020-10-10; a pack from after the next night proves that too"
    assert out.splitlines()[-1] == last


def test_one_byte_changed_fails_and_names_the_member(pack, public):
    content = pack.read_bytes()
    position = content.index(b"c/0pixels") + 3
    pack.write_bytes(content[:position] + b"P" + content[position + 1 :])
    status, out, err = verified(pack, "--key", public)
    assert (status, err) == (Exit.BAD_DATA, "")
    (line,) = out.splitlines()
    assert line.startswith("FAIL data.zarr/pixels/c/0: its content or its header is not as signed: Bad CRC-32")
    status, out, _ = verified(pack, "--key", public, "--json")
    (fault,) = json.loads(out)["faults"]
    assert (status, fault["member"], json.loads(out)["result"]) == (Exit.BAD_DATA, "data.zarr/pixels/c/0", "FAIL")


def test_every_member_that_differs_has_a_line(pack, public):
    content = contents()
    content["plan.json"]["site"] = content["data.zarr/zarr.json"]["attributes"]["site"] = "other\x1b[31m"
    write_pack(pack, content)
    _, out, _ = verified(pack, "--key", public)
    assert [line.split(":")[0] for line in out.splitlines()] == ["FAIL data.zarr/zarr.json", "FAIL plan.json"]
    assert "\x1b" not in out


def test_a_foreign_key_and_a_foreign_head_fail(pack, public, tmp_path):
    status, out, _ = verified(pack, "--key", public, "--head", "ab" * 32)
    assert (status, out.startswith("FAIL chain.jsonl: no line of the chain has the head abab")) == (Exit.BAD_DATA, True)
    regrowth("keys", "new", tmp_path / "other")
    status, out, _ = verified(pack, "--key", tmp_path / "other" / "signing.pub")
    assert status == Exit.BAD_DATA
    assert out.splitlines()[-1].startswith("FAIL manifest-sha256.txt: its signature was not made with the key given")


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "text"])
def test_a_file_that_is_not_a_pack_fails(public, tmp_path, kind):
    path = tmp_path / "given.zip"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "text":
            path.write_text("hello")
    status, out, _ = verified(path, "--key", public)
    assert status == Exit.BAD_DATA
    assert out.startswith("FAIL the layout of the zip: " if kind == "text" else "FAIL given.zip: ")


def test_a_private_key_or_none_is_refused_and_not_shown(pack, public, tmp_path):
    private = tmp_path / "signing.key"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    status, out, err = verified(pack, "--key", private)
    assert (status, out) == (Exit.BAD_DATA, "")
    assert "signing.key' is not the key to check a pack with: it is a private key" in err
    assert private.read_text().splitlines()[1] not in err
    assert verified(pack)[0] == Exit.USAGE
    assert verified(pack, "--key", public, "--head", "abc")[0] == Exit.USAGE


WATCHED = """
import os, sys
def watch(event, arguments):
    if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(2, f"opened for writing: {arguments[0]}\\n".encode())
    elif event.startswith(("socket.", "os.mkdir", "os.remove", "os.rename", "tempfile.", "subprocess.", "os.system")):
        os.write(2, f"{event} {arguments}\\n".encode())
sys.addaudithook(watch)
from jobs.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"numba", "dask", "xarray", "distributed", "pandas", "scipy", "icechunk", "sqlalchemy"} & sys.modules.keys()
    os.write(2, f"heavy: {sorted(heavy)}\\n".encode())
"""


@pytest.mark.parametrize("whole", [True, False])
def test_verify_needs_no_environment_writes_nothing_and_opens_no_connection(pack, public, tmp_path, root, whole):
    if not whole:
        pack.write_bytes(pack.read_bytes()[:-1])
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o500)
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, "verify", str(pack), "--key", str(public)],
        cwd=empty, env={"PYTHONPATH": str(root)}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr.decode() == "heavy: []\n"
    assert done.stdout.startswith(b"PASS lowood" if whole else b"FAIL the layout of the zip")
    assert done.returncode == (Exit.DONE if whole else Exit.BAD_DATA)
    assert os.listdir(empty) == []
