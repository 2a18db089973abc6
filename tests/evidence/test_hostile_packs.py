"""Zips and files that attack their reader are refused at once, in little memory, and nothing is written."""

import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.errors import BadData
from monitor.evidence.container import MANIFEST, SIGNATURE, Container, write_container
from monitor.evidence.faults import LAYOUT, PackRefused
from monitor.evidence.zip_layout import Entry, closing_records, local_header

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MEMBERS = [("ro-crate-metadata.json", b"{}"), ("plan.json", b"[]")]


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


def zipped(path, *names, **options):
    """A zip by the standard library with these members, the pack's own after them."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name in (*names, *dict(MEMBERS)):
            archive.writestr(name, b"x")
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/b.txt", "folder/", "C:\\evil", "..", "Plan.json", "plan .json", "plän.json", "-rf",
     ".x", "a..b", "x" * 81, "x" * 60_000, "\x1b[2Jx", "a\nb", "con:", "x\u202etxt"],
)  # fmt: skip
def test_a_member_with_a_name_that_no_pack_has_is_named(tmp_path, name):
    fault = fault_of(zipped(tmp_path / "pack.zip", name))
    assert fault.member == LAYOUT
    assert "has a name that no member of a pack can have" in fault.difference


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_named(tmp_path):
    path = tmp_path / "pack.zip"
    entries, content = [], b""
    for name in ("plan.json", "plan.json"):
        entry = Entry(name, 0, 0, len(content))
        content += local_header(entry)
        entries.append(entry)
    path.write_bytes(content + closing_records(entries))
    assert fault_of(path).difference == "member 'plan.json' is there twice"


def test_a_link_and_a_folder_are_refused(tmp_path):
    for mode in (0o120777, 0o040755, 0o010644, 0o104755):
        entry = zipfile.ZipInfo("plan.json", (1980, 1, 1, 0, 0, 0))
        entry.external_attr = mode << 16
        with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
            archive.writestr(entry, b"/etc/passwd")
        difference = fault_of(tmp_path / "pack.zip").difference
        assert difference.startswith("the entry of member plan.json in its directory (byte 50) is not that of a pack")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_member_is_refused_without_being_unpacked(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", method) as archive:
        archive.writestr("bomb.nc", bytes(5_000_000))
    assert fault_of(tmp_path / "pack.zip").difference == "member 'bomb.nc' is compressed"


def test_a_zip_in_a_zip_and_a_plain_zip_of_the_right_names_are_refused(tmp_path, pack):
    inner = io.BytesIO()
    zipped(inner, "bomb.txt", compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("pack.zip", inner.getvalue())
    assert fault_of(tmp_path / "nested.zip").member == LAYOUT
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(tmp_path / "again.zip", "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert fault_of(tmp_path / "again.zip").member == LAYOUT


def changed(path, position, pattern, *values):
    content = bytearray(path.read_bytes())
    struct.pack_into(pattern, content, position % len(content), *values)
    path.write_bytes(content)
    return path


def directory(path):
    return path.read_bytes().index(b"PK\1\2")


def test_an_encrypted_member_is_named(pack):
    assert "'ro-crate-metadata.json' is encrypted" in fault_of(changed(pack, 6, "<H", 1)).difference


def test_headers_that_contradict_the_directory_are_refused(pack):
    """Otherwise another program could read another name or size than this one."""
    fault = fault_of(changed(pack, directory(pack) + 8, "<H", 1))
    assert fault.difference.startswith("the entry of member ro-crate-metadata.json in its directory")


@pytest.mark.parametrize("size", [3, 5_000_000_000 % 2**32, 2**32 - 2])
def test_a_false_size_is_refused(pack, size):
    fault = fault_of(changed(pack, directory(pack) + 20, "<2L", size, size))
    assert fault.member == LAYOUT


@pytest.mark.parametrize("size", [0, 5_000_000_000, 2**63, 2**64 - 1])
def test_a_false_size_in_the_field_for_large_ones_is_refused(tmp_path, size):
    entry = Entry("plan.json", 2**32 - 1, 0, 0)
    head = local_header(entry) + b"xx"
    tail = closing_records([Entry("plan.json", 2**32 - 1, 0, 0)])
    tail = tail.replace(struct.pack("<Q", 2**32 - 1), struct.pack("<Q", size))
    tail = tail[: tail.index(b"PK\6\6")] + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, tail.index(b"PK\6\6"), len(head), 0
    )
    (tmp_path / "pack.zip").write_bytes(head + tail)
    assert fault_of(tmp_path / "pack.zip").member == LAYOUT


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


def test_members_that_overlap_or_leave_a_gap_are_refused(tmp_path):
    first, second = Entry("a.txt", 4, 0, 0), Entry("b.txt", 0, 0, 20)
    gap = Entry("b.txt", 0, 0, 100)
    for entries in ([first, second], [first, gap]):
        body = bytearray(300)
        for entry in entries:
            body[entry.offset : entry.offset + len(local_header(entry))] = local_header(entry)
        (tmp_path / "pack.zip").write_bytes(bytes(body[: entries[-1].end]) + closing_records(entries))
        assert fault_of(tmp_path / "pack.zip").member == LAYOUT


def test_a_million_members_are_refused(tmp_path):
    path, members = tmp_path / "pack.zip", b""
    for number in range(1001):
        members += local_header(Entry(f"{number}", 0, 0, len(members)))
    path.write_bytes(members)
    assert fault_of(path).difference == "it has more than 1,000 members"
    header = local_header(Entry("a", 0, 0, 0))
    path.write_bytes(header * 1_000_000)
    assert fault_of(path).difference == "member 'a' is there twice"
    path.write_bytes(header + b"PK\1\2" * 10_000_000)
    assert fault_of(path).member == LAYOUT


def test_a_pack_whose_line_ends_a_mail_gateway_changed_is_refused(pack):
    pack.write_bytes(pack.read_bytes().replace(b"\n", b"\r\n"))
    assert fault_of(pack).member == LAYOUT


def test_a_member_that_is_too_large_for_memory_is_named_before_it_is_read(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**25 + 1)
    write_container(tmp_path / "pack.zip", [("plan.json", tmp_path / "large")], KEY)
    with (
        Container(tmp_path / "pack.zip", KEY.public_key()) as opened,
        pytest.raises(PackRefused, match=r"plan\.json: it has more than 33,554,432 bytes"),
    ):
        opened.read("plan.json")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6" + bytes(18), b"GIF89a", bytes(100_000), b"PK\5\6" * 50_000])
def test_a_file_that_is_no_zip_or_an_empty_one_is_refused(tmp_path, content):
    (tmp_path / "pack.zip").write_bytes(content)
    assert fault_of(tmp_path / "pack.zip").member in (LAYOUT, MANIFEST)


def rewritten(path, members):
    """A pack of the right layout with these members, whatever they are."""
    entries, content = [], b""
    for name, body in members:
        entries.append(Entry(name, len(body), zlib.crc32(body), len(content)))
        content += local_header(entries[-1]) + body
    path.write_bytes(content + closing_records(entries))
    return path


def signed(manifest):
    return [(MANIFEST, manifest), (SIGNATURE, KEY.sign(manifest))]


PLAN = b"4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945  plan.json\n"  # of "[]"
OTHER_KEY = "its signature was not made with the key given"


@pytest.mark.parametrize(
    ("members", "member", "difference"),
    [
        ([("plan.json", b"[]")], MANIFEST, "no such member"),
        ([("plan.json", b"[]"), (MANIFEST, PLAN)], SIGNATURE, "no such member"),
        ([("plan.json", b"[]"), (MANIFEST, PLAN), (SIGNATURE, b"")], MANIFEST, OTHER_KEY),
        ([("plan.json", b"[]"), (MANIFEST, PLAN), (SIGNATURE, bytes(64))], MANIFEST, OTHER_KEY),
        ([("plan.json", b"[]"), (MANIFEST, PLAN * 2000), (SIGNATURE, bytes(64))], MANIFEST, "more than 147,000"),
        ([("plan.json", b"{}"), *signed(PLAN)], "plan.json", "its SHA-256 is 44136fa"),
        ([*signed(PLAN)], "plan.json", "in the manifest, but not in the pack"),
        ([("plan.json", b"[]"), ("extra.txt", b""), *signed(PLAN)], "extra.txt", "not in the manifest"),
        ([*signed(PLAN), ("plan.json", b"[]")], MANIFEST, "not last"),
        ([("plan.json", b"[]"), *signed(PLAN)[::-1]], MANIFEST, "not last"),
        ([("plan.json", b"[]"), *signed(PLAN + PLAN)], MANIFEST, "not a list"),
        ([("plan.json", b"[]"), *signed(PLAN[:-1])], MANIFEST, "not a list"),
        ([("plan.json", b"[]"), *signed(b"# note\n" + PLAN)], MANIFEST, "not a list"),
        ([("plan.json", b"[]"), *signed(PLAN.replace(b"  ", b" *"))], MANIFEST, "not a list"),
        ([("plan.json", b"[]"), *signed(PLAN.replace(b"\n", b"\r\n"))], MANIFEST, "not a list"),
        ([("plan.json", b"[]"), *signed(PLAN.replace(b"plan", b"../plan"))], MANIFEST, "not a list"),
    ],
)  # fmt: skip
def test_a_manifest_and_a_signature_that_do_not_fit_are_named(tmp_path, members, member, difference):
    fault = fault_of(rewritten(tmp_path / "pack.zip", members))
    assert fault.member == member
    assert difference in fault.difference


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "device", "link to itself", "NUL"])
def test_a_path_that_is_no_plain_file_is_refused_at_once(tmp_path, kind):
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


@pytest.mark.parametrize("name", ["../x", "a/b", "Plan.json", "", MANIFEST, SIGNATURE, "plan.json"])
def test_a_name_that_no_member_can_have_is_not_written(tmp_path, name):
    with pytest.raises(ValueError, match="is not the name of a member, or occurs twice"):
        write_container(tmp_path / "pack.zip", [*MEMBERS, (name, b"")], KEY)
    assert os.listdir(tmp_path) == []


def test_a_pack_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "pack.zip"
    write_container(path, [*MEMBERS, ("pixels-2019.nc", bytes(2_000_000))], KEY)
    with Container(path, KEY.public_key()) as opened:
        with open(path, "r+b") as file:
            file.seek(1_000_000)
            file.write(b"x")
        assert opened.read("plan.json") == b"[]"
        with pytest.raises(PackRefused, match=r"pixels-2019\.nc: it was changed while the pack was read"):
            opened.read("pixels-2019.nc")


def limited(code, *arguments):
    """Run lines of Python in a process whose heap is limited to 200 MB; its output."""
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_DATA, (200_000_000, 200_000_000))\n{code}"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False)
    return done.stdout.decode() + done.stderr.decode()


LARGE = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from monitor.evidence.container import Container, write_container
key, pack, source = Ed25519PrivateKey.from_private_bytes(bytes(32)), *map(Path, sys.argv[1:])
write_container(pack, [("first.nc", source), ("second.txt", b"behind"), ("third.nc", source)], key)
with Container(pack, key.public_key()) as opened:
    print(opened.names, opened.size("third.nc"), opened.read("second.txt"))
"""


def test_a_pack_is_written_and_read_in_pieces(tmp_path):
    source = tmp_path / "source"
    with open(source, "wb") as file:
        file.truncate(300_000_000)
    output = limited(LARGE, tmp_path / "pack.zip", source)
    assert output == "('first.nc', 'second.txt', 'third.nc') 300000000 b'behind'\n"
