"""A pack is written in one way only, and opened only if every byte of it is as it was signed."""

import hashlib
import shutil
import subprocess
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.evidence.container import MANIFEST, SIGNATURE, Container, write_container
from monitor.evidence.faults import LAYOUT, PackRefused
from monitor.evidence.keys import fingerprint, new_keys, private_key
from monitor.evidence.zip_layout import Entry, closing_records, local_header, read_layout

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBERS = [
    ("ro-crate-metadata.json", b'{"@graph": []}'),
    ("empty.txt", b""),
    ("pixels-2019.nc", bytes(range(256))),
    ("scenes.csv", "site,scène\n".encode()),
]
NAMES = {name for name, _ in MEMBERS} | {MANIFEST, SIGNATURE, LAYOUT}


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "pack.zip"
    write_container(path, MEMBERS, KEY)
    return path


def test_sizes_and_places_beyond_four_gigabytes_are_as_other_programs_read_them(tmp_path):
    sizes = [2**32 - 2, 2**32 - 1, 5, 2**32, 3 * 2**32, 0]
    entries, path = [], tmp_path / "pack.zip"
    with open(path, "wb") as file:  # sparse: the content is never written
        for number, size in enumerate(sizes):
            entries.append(Entry(f"{number}.nc", size, 0, entries[-1].end if entries else 0))
            file.seek(entries[-1].offset)
            file.write(local_header(entries[-1]))
        file.seek(entries[-1].end)
        file.write(closing_records(entries))
    with open(path, "rb") as file:
        assert read_layout(file) == entries
    with zipfile.ZipFile(path) as archive:
        assert [entry.file_size for entry in archive.infolist()] == sizes
        assert [entry.header_offset for entry in archive.infolist()] == [entry.offset for entry in entries]
        assert archive.read("5.nc") == b""


def refused(path, key=KEY):
    with pytest.raises(PackRefused) as error:
        Container(path, key.public_key())
    return error.value.faults


def test_what_was_written_is_read(pack, tmp_path):
    with Container(pack, KEY.public_key()) as opened:
        assert opened.names == tuple(name for name, _ in MEMBERS)
        assert {name: opened.read(name) for name in opened.names} == dict(MEMBERS)
        assert opened.size("pixels-2019.nc") == 256
        assert opened.sha256("empty.txt") == hashlib.sha256(b"").hexdigest()
        opened.copy("pixels-2019.nc", tmp_path / "copy.nc")
    assert (tmp_path / "copy.nc").read_bytes() == bytes(range(256))


def test_the_same_members_give_the_same_bytes_from_memory_and_from_files(pack, tmp_path):
    def members():
        for name, content in MEMBERS:
            (tmp_path / name).write_bytes(content)
            yield name, tmp_path / name
            (tmp_path / name).unlink()

    write_container(tmp_path / "again.zip", members(), KEY)
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
        assert {fault.member for fault in refused(path)} <= NAMES


def with_byte_changed(content, position, bits):
    changed = bytearray(content)
    changed[position] ^= bits
    return bytes(changed)


def test_a_changed_byte_anywhere_is_named(pack, tmp_path):
    content = pack.read_bytes()
    variants = (with_byte_changed(content, at, 1 << at % 8) for at in range(len(content)))
    assert_each_is_refused_and_named(variants, tmp_path / "changed.zip")


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

    openssl = (
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "signing.pub",
        "-rawin",
        "-in",
        MANIFEST,
        "-sigfile",
        SIGNATURE,
    )
    assert succeeds("unzip", "-q", pack)
    assert succeeds("sha256sum", "-c", "--strict", MANIFEST)
    assert succeeds(*openssl)
    (tmp_path / "scenes.csv").write_bytes(b"site\n")
    assert not succeeds("sha256sum", "-c", MANIFEST)
    (tmp_path / MANIFEST).write_bytes((tmp_path / MANIFEST).read_bytes().replace(b"a", b"b"))
    assert not succeeds(*openssl)


def test_a_pack_signed_with_another_key_names_the_key_given(pack):
    other = Ed25519PrivateKey.generate()
    (fault,) = refused(pack, other)
    assert fault.member == MANIFEST
    assert fingerprint(other.public_key()) in fault.difference
    assert "another key" in fault.difference
