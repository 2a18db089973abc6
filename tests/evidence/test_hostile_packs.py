"""Zips and files that attack their reader are refused at once, in little memory, and nothing is written."""

import io
import os
import struct
import time
import tracemalloc
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.errors import BadData
from monitor.evidence.container import MANIFEST, SIGNATURE, Container, _header, write_container
from monitor.evidence.faults import LAYOUT, PackRefused

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBERS = [("ro-crate-metadata.json", b"{}"), ("plan.json", b"[]")]
SPECIAL = "member 'plan.json' is compressed, encrypted, a link or a folder, or was packed again: check the pack as sent"


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "pack.zip"
    write_container(path, MEMBERS, KEY)
    return path


def fault_of(path):
    """The one fault of a file, which has to be refused within a second, in little memory, and with nothing written."""
    before, begun = sorted(os.listdir(path.parent)), time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(PackRefused) as error:
            Container(path, KEY.public_key())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.thread_time() - begun < 1
    assert peak < 50e6
    assert sorted(os.listdir(path.parent)) == before
    (fault,) = error.value.faults
    assert len(str(fault)) < 400
    assert str(fault).isprintable()
    return fault


def zipped(path, *members):
    """A zip with these members: names or headers."""
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")
    return path


@pytest.mark.parametrize("name", [
    "../evil", "/etc/passwd", "a//b.txt", "a/../b", "folder/", "C:\\evil", "..", "Plan.json", "plan .json", "plän.json",
    "-rf", ".x", "a..b", "x" * 81, "x" * 60_000, "\x1b[2Jx", "a\nb", "con:", "x\u202etxt",
])  # fmt: skip
def test_a_member_with_a_name_that_no_pack_has_is_named(tmp_path, name):
    fault = fault_of(zipped(tmp_path / "pack.zip", name, "plan.json"))
    assert fault.member == LAYOUT
    assert repr(name[:5])[1:-1] in fault.difference
    assert "has a name that no member of a pack can have" in fault.difference


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_named(tmp_path):
    path = zipped(tmp_path / "pack.zip", _header("plan.json"), _header("plan.json"))
    assert fault_of(path).difference == "member 'plan.json' is there twice, or one of more than 20,000"


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o010644, 0o104755])
def test_a_link_a_folder_and_a_pipe_are_refused(tmp_path, mode):
    entry = _header("plan.json")
    entry.external_attr = mode << 16
    assert fault_of(zipped(tmp_path / "pack.zip", entry)).difference == SPECIAL


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_member_is_refused_without_being_unpacked(tmp_path, method):
    entry = _header("plan.json")
    entry.compress_type = method
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr(entry, bytes(5_000_000))
    assert fault_of(tmp_path / "pack.zip").difference == SPECIAL


def test_a_zip_in_a_zip_and_the_same_members_in_another_zip_are_refused(tmp_path, pack):
    inner = io.BytesIO()
    zipped(inner, "bomb.txt")
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr(_header("pack.zip"), inner.getvalue())
    assert fault_of(tmp_path / "nested.zip").member == MANIFEST
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(tmp_path / "again.zip", "w") as new:
        for entry in old.infolist():
            header = _header(entry.filename)
            header.date_time = (1981, 1, 1, 0, 0, 0)
            new.writestr(header, old.read(entry))
    fault = fault_of(tmp_path / "again.zip")
    assert (fault.member, fault.difference[:20]) == (LAYOUT, "byte 0 or one behind")


def changed(path, position, pattern, *values):
    content = bytearray(path.read_bytes())
    struct.pack_into(pattern, content, position % len(content), *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("field", "pattern", "value"), [
    (8, "<H", 1), (10, "<H", 8), (20, "<L", 3), (24, "<L", 2**31), (24, "<L", 2**32 - 2), (30, "<H", 9), (32, "<H", 9),
    (42, "<L", 7), (46, "<4s", b"../x"),
])  # fmt: skip
def test_an_entry_of_the_directory_that_contradicts_its_member_is_refused(pack, field, pattern, value):
    """Otherwise another program could read another name or size than this one."""
    fault = fault_of(changed(pack, pack.read_bytes().index(b"PK\1\2") + field, pattern, value))
    assert fault.member in (LAYOUT, "ro-crate-metadata.json")


@pytest.mark.parametrize(
    "numbers", [(2**64 - 1,) * 4, (10**6, 10**6, 46 * 10**6, 0), (1, 1, 2**62, 2**62), (1, 1, 0, 2**32)]
)
def test_a_false_directory_in_the_record_for_large_files_is_refused(pack, numbers):
    content = pack.read_bytes()
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0x32D, 45, 0, 0, *numbers)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
    end = content[-22:-6] + b"\xff\xff\xff\xff\0\0"
    pack.write_bytes(content[:-22] + record + locator + end)
    assert fault_of(pack).member == LAYOUT


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """Each entry of the directory leads to the same member: read one by one, a small file would be large."""
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_header("aaaa"), bytes(10_000))
        for name in ("bbbb", "cccc", "dddd"):
            entry = _header(name)
            entry.file_size, entry.compress_size, entry.CRC, entry.header_offset = 10_000, 10_000, 0, 0
            archive.filelist.append(entry)
    assert (
        "member 'bbbb' has 10,000 bytes: more than 33,554,432, or than the file has left" in fault_of(path).difference
    )


def test_more_members_than_a_pack_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.evidence.container.MAX_MEMBERS", 2)
    path = rewritten(tmp_path / "pack.zip", [(f"{number}.txt", b"") for number in range(3)] + signed(b""))
    assert "'manifest-sha256.txt.sig' is there twice, or one of more than 2" in fault_of(path).difference


def test_a_million_members_are_refused(tmp_path):
    path = tmp_path / "pack.zip"
    entry = b"PK\1\2" + bytes(42)
    directory = entry * 1_000_000
    path.write_bytes(directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0))
    assert "it does not end as a pack does" in fault_of(path).difference


def test_a_pack_whose_line_ends_a_mail_gateway_changed_is_refused(pack):
    pack.write_bytes(pack.read_bytes().replace(b"\n", b"\r\n"))
    assert fault_of(pack).member == MANIFEST


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6" + bytes(18), b"GIF89a", bytes(100_000), b"PK\5\6" * 50_000])
def test_a_file_that_is_not_a_zip_and_an_empty_one_are_refused(tmp_path, content):
    (tmp_path / "pack.zip").write_bytes(content)
    assert fault_of(tmp_path / "pack.zip").member in (LAYOUT, MANIFEST)


def rewritten(path, members):
    """A pack of the right layout with these members, whatever they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members:
            archive.writestr(_header(name), body)
    return path


def signed(manifest):
    return [(MANIFEST, manifest), (SIGNATURE, KEY.sign(manifest))]


PLAN = b"4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945  plan.json\n"  # of "[]"
OTHER_KEY = "its signature was not made with the key given"


@pytest.mark.parametrize(("members", "member", "difference"), [
    ([("plan.json", b"[]")], MANIFEST, "no such member"),
    ([("plan.json", b"[]"), (MANIFEST, PLAN)], SIGNATURE, "no such member"),
    ([("plan.json", b"[]"), (MANIFEST, PLAN), (SIGNATURE, b"")], MANIFEST, OTHER_KEY),
    ([("plan.json", b"[]"), (MANIFEST, PLAN), (SIGNATURE, bytes(64))], MANIFEST, OTHER_KEY),
    ([("plan.json", b"{}"), *signed(PLAN)], "plan.json", "its SHA-256 is 44136fa"),
    ([*signed(PLAN)], "plan.json", "no such member"),
    ([("plan.json", b"[]"), ("extra.txt", b""), *signed(PLAN)], "extra.txt", "the manifest says None"),
    ([*signed(PLAN), ("plan.json", b"[]")], LAYOUT, "byte 0 or one behind"),
    ([("plan.json", b"[]"), *signed(PLAN)[::-1]], LAYOUT, "byte 41 or one behind"),
    ([("plan.json", b"[]"), *signed(PLAN + PLAN)], LAYOUT, "byte 41 or one behind"),
    ([("plan.json", b"[]"), *signed(PLAN[:-1])], LAYOUT, "byte 41 or one behind"),
    ([("plan.json", b"[]"), *signed(PLAN.replace(b"  ", b" *"))], LAYOUT, "byte 41 or one behind"),
    ([("plan.json", b"[]"), *signed(PLAN.replace(b"\n", b"\r\n"))], LAYOUT, "byte 41 or one behind"),
    ([("plan.json", b"[]"), *signed(b"# note\n" + PLAN)], "", "no such member"),
    ([("plan.json", b"[]"), *signed(PLAN.replace(b"plan", b"../plan"))], "../plan.json", "no such member"),
])  # fmt: skip
def test_a_manifest_and_a_signature_that_do_not_fit_are_named(tmp_path, members, member, difference):
    with pytest.raises(PackRefused) as error:
        Container(rewritten(tmp_path / "pack.zip", members), KEY.public_key())
    fault = error.value.faults[0]
    assert fault.member == member
    assert difference in fault.difference


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "device", "link to itself", "NUL"])
def test_a_path_that_is_not_a_plain_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "given.zip"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = type(path)("/dev/zero")
        case "link to itself":
            path.symlink_to(path)
        case "NUL":
            path = tmp_path / "a\0b"
    begun = time.monotonic()
    with pytest.raises(BadData):
        Container(path, KEY.public_key())
    assert time.monotonic() - begun < 20, "it was waited for"


def test_a_pack_behind_a_link_is_read(tmp_path, pack):
    (tmp_path / "link.zip").symlink_to(pack)
    with Container(tmp_path / "link.zip", KEY.public_key()) as opened:
        assert opened.names == tuple(dict(MEMBERS))


def test_a_pack_is_not_written_where_a_folder_or_something_else_is(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"mine")
    for place in (tmp_path / "folder", tmp_path / "file" / "pack.zip"):
        with pytest.raises(OSError, match=r"Is a directory|File exists"):
            write_container(place, MEMBERS, KEY)
    assert (tmp_path / "folder" / "inside").is_dir()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("name", ["../x", "a//b", "Plan.json", "", MANIFEST, SIGNATURE, "plan.json"])
def test_a_name_that_no_member_can_have_is_not_written(tmp_path, name):
    with pytest.raises(ValueError, match="is not the name of a member, or occurs twice"):
        write_container(tmp_path / "pack.zip", [*MEMBERS, (name, b"")], KEY)
    assert os.listdir(tmp_path) == []


def test_a_member_that_is_too_large_is_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="members of 33,554,432 bytes"):
        write_container(tmp_path / "pack.zip", [("plan.json", bytes(2**25 + 1))], KEY)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr(_header("plan.json"), bytes(2**25 + 1))
    assert "member 'plan.json' has 33,554,433 bytes: more than 33,554,432" in fault_of(tmp_path / "pack.zip").difference
