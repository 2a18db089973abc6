"""A pack is written in one way only, and opened only if every byte of it is as it was signed."""

import hashlib
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.evidence.container import MANIFEST, SIGNATURE, Container, write_container
from monitor.evidence.faults import LAYOUT, PackRefused
from monitor.evidence.keys import fingerprint, new_keys, private_key

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBERS = [
    ("ro-crate-metadata.json", b'{"@graph": []}'),
    ("empty.txt", b""),
    ("data.zarr/pixels/c/0", bytes(range(256))),
    ("observations.csv", "site,scène\n".encode()),
]
NAMES = {name for name, _ in MEMBERS} | {MANIFEST, SIGNATURE, LAYOUT}


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "pack.zip"
    write_container(path, MEMBERS, KEY)
    return path


def refused(path, key=KEY):
    with pytest.raises(PackRefused) as error:
        Container(path, key.public_key())
    return error.value.faults


def test_what_was_written_is_read(pack):
    with Container(pack, KEY.public_key()) as opened:
        assert opened.names == tuple(name for name, _ in MEMBERS)
        assert {name: opened.read(name) for name in opened.names} == dict(MEMBERS)
        assert opened.total_size == sum(len(zipfile.ZipFile(pack).read(name)) for name in NAMES - {LAYOUT})


def test_the_same_members_give_the_same_bytes(pack, tmp_path):
    write_container(tmp_path / "again.zip", MEMBERS, KEY)
    assert (tmp_path / "again.zip").read_bytes() == pack.read_bytes()


def test_common_programs_read_it(pack):
    with zipfile.ZipFile(pack) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*dict(MEMBERS), MANIFEST, SIGNATURE]
    if shutil.which("unzip"):
        assert subprocess.run(["unzip", "-tq", pack], check=False, capture_output=True).returncode == 0


def assert_each_is_refused_and_named(variants, path):
    for content in variants:
        path.write_bytes(content)
        assert {fault.member for fault in refused(path)} & NAMES


def with_bit_flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def test_a_changed_byte_anywhere_is_named(pack, tmp_path):
    """One bit of every byte, and two thousand bits at random."""
    content, random = pack.read_bytes(), np.random.default_rng(4)
    places = [(at, at % 8) for at in range(len(content))]
    places += zip(random.integers(0, len(content), 2000).tolist(), random.integers(0, 8, 2000).tolist(), strict=True)
    assert_each_is_refused_and_named((with_bit_flipped(content, *place) for place in places), tmp_path / "changed.zip")


def test_a_pack_cut_short_or_with_bytes_added_is_named(pack, tmp_path):
    content = pack.read_bytes()
    cut = (content[:length] for length in range(0, len(content), 5))
    added = [content + b"\0", b"\0" + content, b"MZ" * 40 + content, content + content, content + b"PK\5\6" + bytes(18)]
    inserted = (content[:at] + b"\0" + content[at:] for at in range(0, len(content), 7))
    removed = (content[:at] + content[at + 1 :] for at in range(0, len(content), 7))
    for variants in (cut, added, inserted, removed):
        assert_each_is_refused_and_named(variants, tmp_path / "changed.zip")


@pytest.mark.skipif(shutil.which("openssl") is None or shutil.which("unzip") is None, reason="needs openssl and unzip")
def test_sha256sum_and_openssl_alone_verify_it(pack, tmp_path):
    new_keys(tmp_path)
    write_container(pack, MEMBERS, private_key((tmp_path / "signing.key").read_bytes()))

    def succeeds(*command):
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0

    openssl = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "signing.pub", "-rawin", "-in", MANIFEST,
               "-sigfile", SIGNATURE]  # fmt: skip
    assert succeeds("unzip", "-q", pack)
    assert succeeds("sha256sum", "-c", "--strict", MANIFEST)
    assert succeeds(*openssl)
    (tmp_path / "observations.csv").write_bytes(b"site\n")
    assert not succeeds("sha256sum", "-c", MANIFEST)
    (tmp_path / MANIFEST).write_bytes((tmp_path / MANIFEST).read_bytes().replace(b"a", b"b"))
    assert not succeeds(*openssl)


def test_a_pack_signed_with_another_key_names_the_key_given(pack):
    other = Ed25519PrivateKey.generate()
    (fault,) = refused(pack, other)
    assert fault.member == MANIFEST
    assert fingerprint(other.public_key()) in fault.difference
    assert "another key" in fault.difference


def test_a_pack_that_changes_while_it_is_read_is_noticed(pack):
    with Container(pack, KEY.public_key()) as opened:
        pack.write_bytes(pack.read_bytes().replace(bytes(range(256)), bytes(256)))
        assert hashlib.sha256(opened.read("observations.csv")).hexdigest()
        with pytest.raises(PackRefused, match=r"data\.zarr/pixels/c/0: "):
            opened.read("data.zarr/pixels/c/0")
