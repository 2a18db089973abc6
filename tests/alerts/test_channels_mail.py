"""The mail of a message, and messages as files: complete, the same each time, small, and nothing a name can break."""

import email
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import default

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from monitor.alerts.channels.channel import NotDelivered
from monitor.alerts.channels.files import Files
from monitor.alerts.mail import MAX_MAIL_BYTES, as_mail, parse_address
from monitor.alerts.message import Attachment, Message

HOSTILE = "<script>alert(1)</script>{{7*7}}\r\nBcc: all@example.org\r\n\r\nbody\u202egnp.exe\u2028x\0\x1b[2J\ud800"


def jpeg(width: int, height: int, *, quality: int = 85) -> bytes:
    """A picture of noise, which compresses badly."""
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return content.getvalue()


def message(**more) -> Message:
    given = {
        "id": "0123456789abcdef", "time": datetime(2026, 8, 20, 3, 4, 5, tzinfo=UTC), "language": "zh",
        "subject": "[红色警报] 民勤-03：未见成效", "text": "地块 民勤-03\n.\n请到现场查看。\nhttps://example.org/a/token\n",
        "brief": "民勤-03", "links": "https://example.org/a/token",
        "html": "<p>民勤-03</p><img src='cid:picture' alt=''>", "picture": jpeg(60, 40),
        "attachments": (Attachment(name="site.gpx", media_type="application/gpx+xml", content=b"<gpx/>"),),
        "record": {"id": "民勤-03/failure/1", "site": {"id": "民勤-03"}, "text": "地块"},
    }  # fmt: skip
    return Message(**(given | more))


def read(mail: email.message.EmailMessage) -> email.message.EmailMessage:
    """A mail as its recipient's program reads it."""
    return email.message_from_bytes(mail.as_bytes(), policy=default)


def plain(mail: email.message.EmailMessage) -> str:
    """The plain text of a mail; lines end by CRLF in a mail."""
    return mail.get_body(["plain"]).get_content().replace("\r\n", "\n")


def test_a_mail_has_plain_text_html_picture_and_attachment_and_says_who_when_and_in_which_language():
    got = read(as_mail(message(), sender="Regrowth <r@example.org>", recipient="li@example.org"))
    assert (got["From"], got["To"]) == ("Regrowth <r@example.org>", "li@example.org")
    assert got["Subject"] == "[红色警报] 民勤-03：未见成效"
    assert got["Message-ID"] == "<0123456789abcdef@example.org>"
    assert got["Date"] == "Thu, 20 Aug 2026 03:04:05 +0000"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Content-Language"] == "zh-Hans"
    assert plain(got) == message().text
    assert "cid:picture" in got.get_body(["html"]).get_content()
    assert [part.get_content_type() for part in got.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/jpeg",
        "application/gpx+xml",
    ]  # fmt: skip
    picture = next(part for part in got.walk() if part.get_content_type() == "image/jpeg")
    assert picture["Content-ID"] == "<picture>"
    assert picture.get_content() == message().picture
    assert [part.get_filename() for part in got.iter_attachments()] == ["site.gpx"]


def test_a_later_mail_is_listed_under_the_first():
    got = read(as_mail(message(follows="fedcba"), sender="r@example.org", recipient="li@example.org"))
    assert got["References"] == "<fedcba@example.org>"


def test_the_same_message_gives_the_same_bytes():
    first, second = (as_mail(message(), sender="r@example.org", recipient="li@example.org") for _ in range(2))
    assert first.as_bytes() == second.as_bytes()


def test_crlf_bcc_and_right_to_left_marks_reach_no_header():
    hostile = message(
        subject=HOSTILE, text=HOSTILE,
        attachments=(Attachment(name=HOSTILE, media_type=HOSTILE, content=b"x"),),
    )  # fmt: skip
    mail = as_mail(hostile, sender=None, recipient="li@example.org")
    raw = mail.as_bytes()
    got = read(mail)
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998
    assert got["Bcc"] is None
    assert not any(line.startswith(b"Bcc:") for line in raw.partition(b"\r\n\r\n")[0].splitlines())
    assert "\u202e" not in got["Subject"]
    assert "\x1b" not in got["Subject"]
    names = [part.get_filename() for part in got.iter_attachments()]
    assert all(name.isascii() and "\n" not in name for name in names)


@given(subject=st.text(), name=st.text(alphabet=st.characters(exclude_characters="<>")), text=st.text())
def test_no_text_adds_a_header_or_a_part(subject, name, text):
    hostile = message(subject=subject, text=text, html=None, picture=None, attachments=())
    try:
        mail = as_mail(hostile, sender=f"{name} <r@example.org>", recipient="li@example.org")
    except ValueError:  # the name has control characters
        return
    raw = mail.as_bytes()
    got = email.message_from_bytes(raw, policy=default)
    assert set(got.keys()) == {
        "From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version", "Content-Language",
    }  # fmt: skip
    assert [address.addr_spec for address in got["From"].addresses] == ["r@example.org"]
    assert raw.isascii()
    assert len(list(got.walk())) == 1


def test_a_name_of_a_thousand_characters_is_cut_in_the_subject_and_stays_whole_in_the_text():
    name = "乌兰布和" * 250
    mail = as_mail(message(subject=name, text=name), sender="r@example.org", recipient="li@example.org")
    got = read(mail)
    assert len(got["Subject"]) == 200
    assert got["Subject"].endswith("…")
    assert plain(got).strip() == name
    assert max(map(len, mail.as_bytes().splitlines())) <= 998


@pytest.mark.parametrize("text", [
    "", "li", "li@", "@example.org", "a@b@c.org", "li@example.org, wang@example.org", "li@..",
    "li@example.org\r\nBcc: x@y.z", "li@example.org\nRCPT TO:<x@y.z>", "<li@example.org", "li@exa mple.org",
    "李@example.org", "li@" + "a" * 70 + ".org", "li\0@example.org", '"li x"@example.org', "Li <li@example.org>, x@y.z",
])  # fmt: skip
def test_anything_but_a_single_mail_address_is_refused(text):
    with pytest.raises(ValueError, match=r"mail address|not ASCII"):
        parse_address(text)


def test_a_chinese_domain_is_written_in_ascii():
    assert parse_address("li@例子.cn").addr_spec == "li@xn--fsqu00a.cn"


@pytest.mark.parametrize(("more", "types"), [
    ({"picture": jpeg(900, 600, quality=60)}, ["text/plain", "text/html", "image/jpeg", "application/gpx+xml"]),
    ({"picture": b"no picture" * 20_000}, ["text/plain", "text/html", "application/gpx+xml"]),
    (
        {"attachments": tuple(Attachment(name=f"{n}.kml", media_type="application/x", content=b"x" * n * 10_000)
                              for n in (1, 4, 5, 30))},
        ["text/plain", "text/html", "application/x", "application/x"],
    ),
    ({"html": "<p>" + "x" * 200_000, "attachments": ()}, ["text/plain"]),
], ids=["large picture", "broken picture", "attachments", "html"])  # fmt: skip
def test_a_mail_has_at_most_100_kb_and_always_its_text(more, types):
    mail = as_mail(message(**more), sender="r@example.org", recipient="li@example.org")
    got = read(mail)
    assert len(mail.as_bytes()) <= MAX_MAIL_BYTES <= 100 * 1024
    assert [part.get_content_type() for part in got.walk() if not part.is_multipart()] == types
    assert plain(got) == message().text
    if "image/jpeg" not in types and (html := got.get_body(["html"])) is not None:
        assert "cid:picture" not in html.get_content()  # a broken picture is not shown


def test_a_text_beyond_the_limit_stays_whole_because_it_has_the_links():
    text = "https://example.org/a/token\n" * 5_000
    got = read(as_mail(message(text=text), sender=None, recipient=None))
    assert plain(got) == text


def test_a_message_as_files_is_a_mail_and_a_record_and_writing_it_again_changes_nothing(tmp_path):
    channel = Files(tmp_path / "messages")
    assert channel.send(message(), "") == "written to messages/民勤-03_failure_1.eml"
    before = {path.name: path.read_bytes() for path in (tmp_path / "messages").iterdir()}
    channel.send(message(), "")
    assert {path.name: path.read_bytes() for path in (tmp_path / "messages").iterdir()} == before
    assert sorted(before) == ["民勤-03_failure_1.eml", "民勤-03_failure_1.json"]
    assert json.loads(before["民勤-03_failure_1.json"]) == message().record


def test_a_message_about_no_single_site_has_a_plain_name(tmp_path):
    Files(tmp_path).send(message(record={"event": "digest", "subject": "3 alerts"}), "")
    Files(tmp_path).send(message(record={}), "")
    assert json.loads((tmp_path / "digest_0123456789abcdef.json").read_text())["subject"] == "3 alerts"
    assert json.loads((tmp_path / "message_0123456789abcdef.json").read_text())["subject"] == message().subject


@pytest.mark.parametrize("site", ["../../etc", "CON", "a" * 300, "🌱", "a\0b", "民勤", "a/b"])
def test_files_of_any_site_id_stay_in_their_folder(tmp_path, site):
    Files(tmp_path / "deep" / "messages").send(message(record={"id": f"{site}/failure/1", "site": {"id": site}}), "")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {tmp_path / "deep" / "messages"}
    assert len(files) == 2


def test_two_ids_that_differ_never_share_a_file(tmp_path):
    for site in ("a/b", "a_b"):
        Files(tmp_path).send(message(record={"id": f"{site}/failure/1", "site": {"id": site}}), "")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_written_leaves_the_message_waiting(tmp_path):
    (tmp_path / "messages").write_text("in the way")
    with pytest.raises(NotDelivered, match="cannot be written: File exists"):
        Files(tmp_path / "messages").send(message(), "")


def test_a_mail_of_digits_and_letters_only_has_an_id():
    with pytest.raises(ValueError, match="id"):
        as_mail(replace(message(), id="x\r\nBcc: a@b.c"), sender=None, recipient=None)
