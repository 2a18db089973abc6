"""The answer pages, as managers, mail scanners and strangers meet them: a real server, real ledgers."""

import asyncio
import http.client
import io
import json
import re
import resource
import socket
import sqlite3
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from starlette.requests import Request

from jobs.answers import request_limits
from jobs.answers import serve as serve_module
from jobs.answers.answer_form import Answer
from jobs.answers.request_limits import Refusal, Why, limited_body, one_of
from jobs.answers.serve import HEADERS, Served
from jobs.pages.publishing import publish_once
from jobs.register.alerting import record_event
from jobs.register.answering import answer_alert
from jobs.runtime.records import from_json
from jobs.runtime.settings import load
from monitor.alerts.alert import Alert, AlertEvent, FalseAlarmReason, Verdict, alert_id
from monitor.alerts.links import link_address
from monitor.alerts.photos import LIMITS, read_photo
from monitor.alerts.recipients import Recipient
from tests import forked
from tests.accessibility import violations
from tests.alerts.test_photos import encoded, metadata, picture, png
from tests.jobs.answering import DAY, KEY, Programme, Reply, Server, add_site, command, form, serving, site
from tests.ledger.conftest import migrated, postgresql  # noqa: F401 - fixtures

HOSTILE = "<script>alert(1)</script>{{7*7}}\r\nBcc: all@example.org\u202egnp.exe"
LOWER_CASE = {name.lower(): value for name, value in HEADERS.items()}
SITES = count()


@pytest.fixture(scope="module")
def programme(tmp_path_factory) -> Programme:
    root = tmp_path_factory.mktemp("programme")
    return Programme(root, f"sqlite:///{root / 'regrowth.db'}", "https://answers.example/regrowth/")


@pytest.fixture(scope="module")
def server(programme) -> Iterator[Server]:
    with serving(programme, environment={"PYTHONASYNCIODEBUG": "1"}) as server:
        yield server


@dataclass
class Case:
    """A site with one alert, and the links to answer it."""

    programme: Programme
    server: Server
    site: str
    token: str

    @property
    def alert(self) -> str:
        return alert_id(self.site, "failure")

    @property
    def path(self) -> str:
        return f"/a/{self.token}"

    @property
    def answers(self) -> list[dict]:
        return self.programme.answers(self.alert)

    def visited_and_answered(self, path: str) -> list[Reply]:
        return [self.server.get(path), self.server.post(path, {"verdict": "confirmed"})]

    def still_works(self) -> bool:
        """Whether the link can still be used; uses it."""
        return self.server.post(self.path, {"verdict": "treated"}).status == 200 and len(self.answers) == 1


@pytest.fixture
def make_case(programme, server):
    def make(**more) -> Case:
        name = f"site-{next(SITES)}"
        programme.add(site(name, **more))
        return Case(programme, server, name, programme.token(name))

    return make


@pytest.fixture
def case(make_case) -> Case:
    return make_case()


def test_the_page_says_which_site_and_what_was_seen_and_asks_what_was_found(make_case):
    case = make_case(manager_language="en")
    page = case.server.get(case.path)
    assert page.status == 200
    for words in (
        "Minqin, Qingtu Lake, plot 3", case.site, "Red alert", "Regrowth is not taking hold", "12 August 2026",
        "Alert since 20 August 2026", "https://uri.amap.com/marker?position=103.10500,39.00300",
        f"https://pages.example/regrowth/sites/{case.site}/index.html",
    ):  # fmt: skip
        assert words in page.text
    assert re.findall(r'type="radio" name="verdict" value="([\w-]+)"', page.text) == [
        "confirmed", "false-alarm", "treated",
    ]  # fmt: skip
    assert re.findall(r'option value="(\w*)"', page.text) == ["", "harvest", "snow", "cloud", "grazing", "other"]
    assert page.text.count('type="file" name="photo" accept="image/*"') == 3
    assert "wang@example.org" not in page.text


def test_the_page_speaks_the_language_of_the_manager_and_can_be_switched(case):
    assert "现场核查结果" in case.server.get(case.path).text
    assert "What did you find?" in case.server.get(f"{case.path}?language=en").text
    thanks = case.server.post(f"{case.path}?language=en", {"verdict": "confirmed"})
    assert "Thank you. Your answer is recorded." in thanks.text


@pytest.mark.parametrize("language", ["xx", "", "zh%00", "<script>", "../en"])
def test_an_unknown_language_becomes_that_of_the_manager(case, language):
    page = case.server.get(f"{case.path}?language={language}")
    assert page.status == 200
    assert "现场核查结果" in page.text


@pytest.mark.parametrize("names", [{"name": HOSTILE, "manager_language": "en"}, {"name": "x", "name_zh": HOSTILE}])
def test_a_hostile_name_is_inert(make_case, names):
    case = make_case(**names)
    for page in case.visited_and_answered(case.path):
        assert (page.status, "{{7*7}} Bcc: all@example.org" in page.text) == (200, True)
        assert not [text for text in ("<script", "\u202e") if text in page.text]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_every_answer_has_the_headers_and_no_path_breaks_the_server(server, method):
    for path in ("/", "/a/", "/a", "/nothing", "/favicon.ico", "/a/abc", "/a/a.b.c", "/../etc/passwd"):
        page = server.request(method, path)
        assert page.status == 200 if (method in ("GET", "HEAD") and path == "/") else page.status in (403, 404, 405)
        assert (
            LOWER_CASE | {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        ).items() <= page.headers.items()
        assert "server" not in page.headers
        assert (page.text == "") == (method == "HEAD")


@pytest.mark.parametrize("length", ["-5", "many"])
def test_a_request_that_is_not_http_is_refused_with_the_headers_too(server, length):
    page = server.request("POST", "/", headers={"Content-Length": length})
    assert page.status == 400
    assert LOWER_CASE.items() <= page.headers.items()


def test_the_server_says_what_it_is(server):
    assert "Site managers answer alerts here" in server.get("/").text
    assert "地块负责人在此答复警报" in server.get("/", {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}).text


def test_the_pages_also_work_under_the_path_of_the_public_address(case):
    for prefix in ("", "/regrowth"):
        assert case.server.get(f"{prefix}{case.path}").status == 200
        assert case.server.get(f"{prefix}/").status == 200
    assert case.server.get("/regrowth").status == 200
    assert case.server.get(f"/regrowthx{case.path}").status == 404
    assert case.server.get(f"/regrowth{case.path}/").status == 200, "a slash at the end is no other page"
    assert case.server.post(f"/regrowth{case.path}", {"verdict": "confirmed"}).status == 200
    assert len(case.answers) == 1


@pytest.mark.parametrize(("fields", "answer", "reason", "note"), [
    ({"verdict": "confirmed"}, "confirmed", None, None),
    ({"verdict": "false-alarm", "reason": "snow", "note": ""}, "false-alarm", "snow", None),
    ({"verdict": "false-alarm", "reason": ""}, "false-alarm", None, None),
    ({"verdict": "treated", "reason": "grazing", "note": " replanted "}, "treated", None, "replanted"),
    ({"verdict": "confirmed", "reason": "nonsense"}, "confirmed", None, None),
    ({"verdict": "treated", "note": "一半\r\n  苗\t干\x00\x1b[31m\u202e"}, "treated", None, "一半\n  苗    干[31m"),
    ({"verdict": "confirmed", "note": "n" * 2000}, "confirmed", None, "n" * 2000),
    ({"verdict": "confirmed", "site": "another", "alert": "x/y", "by": "night"}, "confirmed", None, None),
])  # fmt: skip
def test_an_answer_is_recorded(case, fields, answer, reason, note):
    before = datetime.now(UTC).date()
    assert case.server.post(case.path, fields).status == 200
    (event,) = case.answers
    assert (event["answer"], event["reason"], event["note"]) == (answer, reason, note)
    assert (event["by"], event["state"]) == ("link", "resolved")
    assert event["day"] in {day.isoformat() for day in (before, datetime.now(UTC).date())}
    with case.programme.ledger() as ledger, ledger.reading() as t:
        assert t.alert(case.alert)["answer"] == answer


def test_a_plain_form_is_an_answer_too(case):
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = b"verdict=false-alarm&reason=harvest&note=%E6%94%B6%E5%89%B2"
    assert case.server.request("POST", case.path, body, kind).status == 200
    assert (case.answers[0]["reason"], case.answers[0]["note"]) == ("harvest", "收割")


def test_an_earlier_answer_is_shown_and_a_newer_one_counts(make_case):
    case = make_case(manager_language="en")
    case.server.post(case.path, {"verdict": "confirmed"})
    other = f"/a/{case.programme.token(case.site, recipient=1)}"
    assert "Answer so far" in case.server.get(other).text
    assert case.server.post(other, {"verdict": "false-alarm", "reason": "snow"}).status == 200
    assert [event["answer"] for event in case.answers] == ["confirmed", "false-alarm"]


@pytest.mark.parametrize(("fields", "problem"), [
    ({}, "Choose what you found"), ({"verdict": ""}, "Choose what you found"),
    ({"verdict": "true", "note": "kept & <b>bold</b>"}, "Choose what you found"),
    ({"verdict": "false-alarm", "reason": "nonsense", "note": "kept"}, "Choose a reason"),
    ({"verdict": "confirmed", "note": "x" * 2001}, "The note has 2001 characters; at most 2000 fit"),
    ({"verdict": "confirmed", "photo": "a text"}, "Photo 1 is not a JPEG, PNG or WebP picture"),
])  # fmt: skip
def test_a_form_with_a_mistake_comes_back_with_its_text_and_the_link_stays_valid(make_case, fields, problem):
    case = make_case(manager_language="en")
    page = case.server.post(case.path, fields)
    assert (page.status, problem in page.text) == (422, True)
    assert fields.get("note", "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in page.text
    if fields.get("verdict") == "confirmed":
        assert 'value="confirmed" required checked' in page.text
    assert case.answers == []
    assert case.still_works()


@pytest.mark.parametrize(("kind", "body", "status"), [
    ("text/plain", b"verdict=confirmed", 400), ("application/json", b'{"verdict": "confirmed"}', 400),
    ("", b"verdict=confirmed", 400), ("multipart/form-data", b"verdict=confirmed", 400),
    ("multipart/form-data; boundary=x", b"verdict=confirmed", 400),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n", 400),
    ("multipart/form-data; boundary=" + "x" * 300, b"", 400),
    ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % i for i in range(100)), 400),
    ("application/x-www-form-urlencoded", b"note=" + b"x" * 100_000, 413),
    ("application/x-www-form-urlencoded; charset=nonsense", b"verdict=%ff%fe", 422),
    ("application/x-www-form-urlencoded", b"verdict=confirmed&verdict=treated", 422),
])  # fmt: skip
def test_a_body_that_is_not_a_form_is_refused_and_the_link_stays_valid(case, kind, body, status):
    assert case.server.request("POST", case.path, body, {"Content-Type": kind} if kind else {}).status == status
    assert case.answers == []
    assert case.still_works()


def test_too_many_fields_or_files_are_refused_and_the_link_stays_valid(make_case):
    case = make_case(manager_language="en")
    fields = {f"field{i}": "x" for i in range(30)}
    assert case.server.post(case.path, {"verdict": "confirmed", **fields}).status == 400
    photos = [(f"{i}.jpg", b"x") for i in range(30)]
    assert case.server.post(case.path, {"verdict": "confirmed"}, *photos).status == 400
    page = case.server.post(case.path, {"verdict": "confirmed"}, *[("a.jpg", encoded(picture()))] * 4)
    assert (page.status, "At most 3 photos" in page.text) == (422, True)
    assert case.still_works()


def test_a_retired_site_needs_no_answer(case):
    with case.programme.ledger() as ledger, ledger.transaction() as t:
        t.retire_site(case.site)
    assert [page.status for page in case.visited_and_answered(case.path)] == [410, 410]
    assert case.answers == []


def test_the_link_of_a_manager_whose_site_was_handed_to_somebody_else_answers_nothing(case):
    place = site(case.site, manager_email="new@example.org", version="of the successor")
    with case.programme.ledger() as ledger, ledger.transaction() as t:
        add_site(t, place)
    for page in case.visited_and_answered(case.path):
        assert (page.status, "此链接已被撤销" in page.text or "This link was revoked" in page.text) == (403, True)
    assert case.answers == []


def test_a_scanner_that_follows_the_link_changes_nothing(programme, case):
    before = programme.content()
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
        for path in (case.path, f"{case.path}?verdict=confirmed", f"/regrowth{case.path}"):
            for agent in ("Mozilla/5.0", "Microsoft Office Protection", "curl/8"):
                assert case.server.request(method, path, headers={"User-Agent": agent}).status in (200, 405)
    assert programme.content() == before
    assert case.still_works()


def test_a_link_is_used_once(case):
    assert case.server.post(case.path, {"verdict": "confirmed"}).status == 200
    again = case.server.post(case.path, {"verdict": "treated", "note": "again"}, ("a.jpg", encoded(picture(900, 900))))
    assert again.status == 403
    assert "此链接已使用" in case.server.get(f"{case.path}?language=zh").text
    assert case.server.get(case.path).status == 403
    assert [event["answer"] for event in case.answers] == ["confirmed"]
    assert case.programme.photos(case.alert) == []


def test_the_operators_answer_by_the_link_of_an_escalation(case):
    with case.programme.ledger() as ledger, ledger.transaction() as t:
        alert = from_json(t.alert(case.alert), Alert)
        record_event(t, alert, AlertEvent.ESCALATED, day=DAY, by="night", recipients=[Recipient("ops", "")])
    path = f"/a/{case.programme.token(case.site, recipient=2)}"
    assert case.site in case.server.get(path).text
    assert case.server.post(path, {"verdict": "confirmed"}).status == 200
    assert [event["answer"] for event in case.answers] == ["confirmed"]


def test_an_expired_link_is_refused(case):
    token = case.programme.token(case.site, valid=timedelta(days=0.00001))
    time.sleep(1)
    for page in case.visited_and_answered(f"/a/{token}"):
        assert (page.status, "This link has expired" in page.text) == (403, True)
    assert case.answers == []


def test_an_altered_link_is_refused(case):
    for place in range(0, len(case.token), 3):
        letter = "A" if case.token[place] != "A" else "B"
        token = case.token[:place] + letter + case.token[place + 1 :]
        assert [page.status for page in case.visited_and_answered(f"/a/{token}")] == [403, 403]
    assert case.answers == []


def test_a_link_of_another_installation_is_refused(case, tmp_path):
    foreign = Programme(tmp_path, f"sqlite:///{tmp_path / 'other.db'}")
    foreign.add(site(case.site))
    same_key = foreign.token(case.site)
    with case.programme.ledger() as ledger, ledger.reading() as t:
        link = next(row["link"] for row in t.notices("waiting") if row["site"] == case.site)
    other_key = link_address("", "another key", link, datetime.now(UTC) + timedelta(days=1)).removeprefix("/a/")
    for token in (same_key, other_key):
        assert [page.status for page in case.visited_and_answered(f"/a/{token}")] == [403, 403]
    assert case.answers == []


def test_the_link_of_another_site_answers_for_that_site_only(make_case):
    case, other = make_case(), make_case()
    fields = {"verdict": "confirmed", "site": case.site, "alert": case.alert, "id": case.alert}
    assert case.server.post(f"{other.path}?site={case.site}", fields).status == 200
    assert case.answers == []
    assert len(other.answers) == 1


@pytest.fixture
def own(tmp_path) -> Programme:
    return Programme(tmp_path, f"sqlite:///{tmp_path / 'regrowth.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path) -> Programme:
    if request.param == "sqlite":
        return request.getfixturevalue("own")
    url = request.getfixturevalue("postgresql")(template=request.getfixturevalue("migrated"))
    return Programme(tmp_path, url)


def test_one_of_several_simultaneous_answers_is_recorded(either):
    names = [f"site-{number}" for number in range(2)]
    for name in names:
        either.add(site(name))
    photo = encoded(picture(), exif=metadata())
    with serving(either) as server, ThreadPoolExecutor(6) as pool:
        tokens = [either.token(name) for name in names for _ in range(3)]
        start = threading.Barrier(6)

        def answer(number: int) -> int:
            start.wait()
            fields = {"verdict": "confirmed", "note": str(number)}
            return server.post(f"/a/{tokens[number]}", fields, ("a.jpg", photo)).status

        statuses = list(pool.map(answer, range(6)))
    for place, name in enumerate(names):
        assert sorted(statuses[3 * place : 3 * place + 3]) == [200, 403, 403]
        assert len(either.answers(alert_id(name, "failure"))) == 1
        assert len(either.photos(alert_id(name, "failure"))) == 1


def test_photos_are_stored_with_time_and_place(case):
    photos = [("a.jpg", encoded(picture(2000, 1000), exif=metadata())), ("b.png", encoded(picture(), "PNG"))]
    assert case.server.post(case.path, {"verdict": "confirmed"}, *photos).status == 200
    stored = {photo["taken"]: photo for photo in case.programme.photos(case.alert)}
    assert stored.keys() == {"2026-06-01T09:30:00+08:00", None}
    photo = stored["2026-06-01T09:30:00+08:00"]
    assert (photo["latitude"], photo["longitude"], photo["number"]) == (39.003, 103.105, 2)
    with Image.open(io.BytesIO(photo["content"])) as image:
        assert (image.format, image.size) == ("JPEG", (1600, 800))


def test_an_empty_photo_field_stores_no_photo(case):
    assert case.server.post(case.path, {"verdict": "confirmed"}, ("", b""), ("", b""), ("", b"")).status == 200
    assert case.programme.photos(case.alert) == []


@pytest.mark.parametrize(("name", "content", "status"), [
    ("page.jpg", b"<html><script>alert(1)</script>", 422), ("picture.svg", b"<svg onload='alert(1)'/>", 422),
    ("a.gif", b"GIF89a" + b"\0" * 50, 422), ("half.jpg", encoded(picture(800, 800))[:3000], 422),
    ("empty.jpg", b"", 422), ("bomb.png", png(50_000, 50_000), 422),
    ("large.jpg", encoded(picture()) + b"\0" * 15_000_000, 413),
])  # fmt: skip
def test_an_unusable_photo_is_refused_with_the_form_and_the_link_stays_valid(make_case, name, content, status):
    case = make_case(manager_language="en")
    start = time.perf_counter()
    fields = {"verdict": "false-alarm", "reason": "snow", "note": "snow on the slope"}
    page = case.server.post(case.path, fields, ("good.jpg", encoded(picture())), (name, content))
    assert page.status == status
    assert time.perf_counter() - start < LIMITS.seconds, "it was decoded until that was given up"
    for words in ("Photo 2", "snow on the slope", 'value="snow" selected', "Photos have to be chosen again"):
        assert words in page.text
    assert (case.answers, case.programme.photos(case.alert)) == ([], [])
    assert case.still_works()


@pytest.mark.parametrize(
    "name",
    ["../../../etc/cron.d/x.jpg", "a\0.jpg", "\u202egpj.exe", "<script>.jpg", "a" * 5000, "con", '"; x="', "%00"],
)
def test_the_file_name_of_a_photo_is_not_stored(case, name):
    assert case.server.post(case.path, {"verdict": "confirmed"}, (name, encoded(picture()))).status in (200, 400)
    assert not re.search("cron|script", str(case.programme.content()["alert_events"]))


def chunked(size: int) -> Iterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    for _ in range(size // 500_000):
        yield b"\0" * 500_000


@pytest.mark.parametrize("length", ["stated", "not stated"])
def test_a_request_that_is_too_large_is_refused_and_the_link_stays_valid(case, length):
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b"".join(chunked(50_000_000)) if length == "stated" else chunked(50_000_000)
    page = case.server.request("POST", case.path, body, kind)
    assert page.status == 413
    page = case.server.request("POST", f"{case.path}?language=zh", b"".join(chunked(49_000_000)), kind)
    assert "照片过大" in page.text
    assert case.still_works()


def drip(*, size: int, pause: float) -> Request:
    """A request whose body arrives in pieces with pauses."""

    async def receive() -> dict:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": b"x" * size, "more_body": True}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def completed(work: Coroutine[Any, Any, Any]) -> Any:
    """Result of a coroutine, run in another thread: in this one a browser of other tests may have an event loop."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, work).result()


async def read(request: Request, most: int = 1000) -> None:
    async for _ in limited_body(request, most):
        pass


@pytest.mark.parametrize(("size", "pause"), [(0, 60), (1, 0.02), (0, 0.001)])
def test_a_body_that_arrives_too_slowly_is_given_up(monkeypatch, size, pause):
    monkeypatch.setattr(request_limits, "SLOW_SECONDS", 0.2)
    start = time.perf_counter()
    with pytest.raises(Refusal, match=Why.TOO_SLOW):
        completed(read(drip(size=size, pause=pause)))
    assert time.perf_counter() - start < 20  # on a busy machine; nothing arrives for 60 s, or 1,000 bytes in 20 s


def test_a_body_without_end_is_given_up_at_its_limit(monkeypatch):
    monkeypatch.setattr(request_limits, "SLOW_SECONDS", 5)
    with pytest.raises(Refusal, match=Why.TOO_LARGE):
        completed(read(drip(size=100, pause=0)))


def begun_upload(server: Server, path: str, kind: str, length: int, first: bytes, **headers: str):
    """A connection that has sent the head of a request, and the first bytes of a body of that length."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", path)
    for name, value in {"Content-Type": kind, "Content-Length": str(length), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(first)
    return closing(connection)


def test_too_many_uploads_at_once_wait_and_are_then_refused(monkeypatch):
    async def upload(places: asyncio.Semaphore, seconds: float) -> str:
        try:
            async with one_of(places):
                await asyncio.sleep(seconds)
                return "received"
        except Refusal as refusal:
            return refusal.why

    async def uploads(seconds: float) -> list[str]:
        places = asyncio.Semaphore(2)
        return await asyncio.gather(*(upload(places, seconds) for _ in range(4)))

    assert completed(uploads(0.01)) == ["received"] * 4
    monkeypatch.setattr(request_limits, "PLACE_WAIT", 0.2)
    assert completed(uploads(1)) == ["received"] * 2 + [Why.UNAVAILABLE] * 2


def test_an_answer_without_a_photo_does_not_wait_behind_photos_that_arrive_slowly(make_case):
    uploading, answering = make_case(), make_case()
    with ExitStack() as phones:
        for number in range(serve_module.MAX_UPLOADS + 2):
            kind = "multipart/form-data; boundary=b"
            begun = begun_upload(uploading.server, uploading.path, kind, 8_000_000, b"--b", Expect="100-continue")
            phone = phones.enter_context(begun)
            if number < serve_module.MAX_UPLOADS:
                assert phone.sock.recv(12) == b"HTTP/1.1 100"  # it is being received
        start = time.perf_counter()
        assert answering.still_works()
        assert time.perf_counter() - start < 10  # a second where nothing else runs; it waited for SLOW_SECONDS


@pytest.mark.slow
def test_a_slow_upload_is_answered_and_the_link_stays_valid(case):
    body, kind = form({"verdict": "confirmed"}, ("a.jpg", encoded(picture())))
    with begun_upload(case.server, case.path, kind, len(body), body[:50]) as connection:
        start = time.perf_counter()
        assert connection.getresponse().status == 408
        assert 15 < time.perf_counter() - start < 30
    assert case.still_works()


def test_a_client_that_disconnects_breaks_nothing(case):
    body, kind = form({"verdict": "confirmed"}, ("a.jpg", encoded(picture())))
    for _ in range(12):  # more than uploads that are received at once
        begun_upload(case.server, case.path, kind, len(body), body[:100]).thing.close()
    assert case.still_works()


def test_silent_connections_do_not_stop_the_others(server):
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        others = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        for other in others:
            other.sendall(b"POST / HTTP/1.1\r\nHost:")
        assert server.get("/").status == 200
        silent.sendall(b"\x16\x03\x01\x02\x00 no http\r\n\r\n")
        assert silent.recv(100).startswith(b"HTTP/1.1 400")
        for other in others:
            other.close()


@pytest.mark.slow
def test_silent_connections_are_closed(server):
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(3)]
    connections[1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    connections[2].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
    start = time.perf_counter()
    assert [connection.recv(20)[:12] for connection in connections] == [b"", b"", b"HTTP/1.1 200"]
    assert 5 < time.perf_counter() - start < 20
    for connection in connections:
        connection.close()


@pytest.fixture
def served(own) -> SimpleNamespace:
    """The parts of a server that use the ledger, in this process."""
    own.add()
    parts = Served(settings=load(own.config), key=KEY)
    return SimpleNamespace(programme=own, database=own.root / "regrowth.db", parts=parts)


ANSWER = Answer(Verdict.FALSE_ALARM, FalseAlarmReason.SNOW, "a note", ())


def store(served, asked, answer=ANSWER) -> None:
    serve_module._store(served.parts, asked.link, asked.questions[0], answer)


def test_a_locked_ledger_is_answered_by_try_later_and_the_link_stays_valid(served, monkeypatch):
    monkeypatch.setattr(serve_module, "LEDGER_WAIT", 0.3)
    token = served.programme.token()
    with closing(sqlite3.connect(served.database, isolation_level=None)) as other:
        other.execute("begin immediate")
        asked = serve_module._of_notice(served.parts, token)  # reading does not wait
        with pytest.raises(Refusal) as refused:
            store(served, asked)
        assert (refused.value.why, refused.value.retry_after) == (Why.UNAVAILABLE, 120)
        other.execute("rollback")
    assert served.programme.answers() == []
    store(served, serve_module._of_notice(served.parts, token))
    assert len(served.programme.answers()) == 1


def without_journal(database) -> None:
    for name in ("-wal", "-shm"):
        database.with_name(f"regrowth.db{name}").unlink(missing_ok=True)


def test_a_damaged_ledger_is_answered_by_try_later(served):
    token = served.programme.token()
    content = served.database.read_bytes()
    served.database.write_bytes(b"no database at all" * 1000)
    with pytest.raises(Refusal) as refused:
        serve_module._of_notice(served.parts, token)
    assert refused.value.why is Why.UNAVAILABLE
    without_journal(served.database)
    served.database.write_bytes(content)
    assert serve_module._of_notice(served.parts, token).questions[0].news.site.id == "minqin-03"


def test_a_ledger_that_comes_back_is_used_without_a_restart(own):
    own.add()
    token, database = own.token(), own.root / "regrowth.db"
    with serving(own) as server:
        without_journal(database)
        away = database.rename(own.root / "away")
        (own.root / "store" / "landscape" / "repo").mkdir(parents=True)
        page = server.get(f"/a/{token}")
        assert page.status == 503
        assert int(page.headers["retry-after"]) > 0
        assert not database.exists()
        away.rename(database)
        with own.ledger() as ledger, ledger.transaction() as t:
            t.begin_run("r", "night", "2026-08-20", now="2026-08-20T00:00:00+00:00")
        assert server.post(f"/a/{token}", {"verdict": "confirmed"}).status == 200


def test_a_disk_without_room_for_photos_is_answered_by_try_later_and_the_link_stays_valid(either):
    either.add()
    path = f"/a/{either.token()}"
    photo = ("a.jpg", encoded(picture()) + b"\0" * 3_000_000)
    with serving(either) as server:
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
        assert server.post(path, {"verdict": "confirmed"}, photo).status == 503
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
        assert server.post(path, {"verdict": "confirmed"}, photo).status == 200
    assert len(either.answers()) == 1


def until_closed(server: Server) -> bool:
    """Whether a server soon takes no connection any more."""
    for _ in range(400):
        try:
            server.get("/")
        except ConnectionError:
            return True
        time.sleep(0.02)
    return False


def test_an_answer_that_is_being_received_is_finished_when_the_server_is_stopped(either):
    either.add()
    body, kind = form({"verdict": "confirmed", "note": "arrived"}, ("a.jpg", encoded(picture(1000, 1000))))
    path = f"/a/{either.token()}"
    with (
        serving(either) as server,
        begun_upload(server, path, kind, len(body), body[:100], Expect="100-continue") as connection,
    ):
        assert connection.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100"  # it is being received
        server.process.terminate()
        assert until_closed(server)
        connection.send(body[100:])
        assert connection.getresponse().status == 200
        server.process.join(30)
        assert server.process.exitcode == 143
    assert [event["note"] for event in either.answers("minqin-03/failure")] == ["arrived"]


@pytest.mark.parametrize(("options", "environment", "words"), [
    ((), {"REGROWTH_ANSWER_KEY": ""}, "REGROWTH_ANSWER_KEY"),
    (("--host", "no.such.host.invalid"), {}, "cannot listen at no.such.host.invalid"),
    (("--host", "192.0.2.1"), {}, "cannot listen at 192.0.2.1"),
    ((), {"REGROWTH_LEDGER__URL": "nonsense://"}, "url"), (("--port", "that of another server"), {}, "--port"),
])  # fmt: skip
def test_a_wrong_setting_or_a_port_in_use_is_status_78(programme, server, options, environment, words, monkeypatch):
    for name, value in {"REGROWTH_ANSWER_KEY": KEY, **environment}.items():
        monkeypatch.setenv(name, value)
    options = [str(server.port) if option == "that of another server" else option for option in options]
    done = forked.run(command(programme, *options))
    assert (done.returncode, words in done.stderr) == (78, True)
    assert not re.search(f"Traceback|{KEY}", done.stderr)


def test_json_gives_the_address(programme, monkeypatch):
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", KEY)
    with forked.Python(command(programme, "--json")) as process:
        lines = [process.stdout.readline() for _ in range(3)]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", json.loads("".join(lines))["address"])


def test_no_token_and_no_secret_is_in_any_log(programme, server, make_case):
    cases = [make_case() for _ in range(3)]
    tokens = [case.token for case in cases] + [cases[0].token[:-3] + "AAA"]
    for token in tokens:
        server.get(f"/a/{token}")
        server.post(f"/a/{token}", {"verdict": "nonsense"})
        server.post(f"/a/{token}", {"verdict": "confirmed"}, ("a.jpg", b"no photo"))
        server.request("POST", f"/a/{token}", b"--y\r\nrubbish", {"Content-Type": "multipart/form-data; boundary=x"})
        server.post(f"/a/{token}", {"verdict": "confirmed", "note": "secret-note"})
        server.get(f"/a/{token}")
    with socket.create_connection(("127.0.0.1", server.port)) as other:
        other.sendall(f"GET /a/{tokens[0]}\x01 HTTP/9\r\n\r\n".encode())
        other.recv(100)
    with serving(programme) as second:
        second.get(f"/a/{tokens[0]}")
    text = "".join([*server.lines, *second.lines])
    assert '"event": "answer recorded"' in text
    halves = [token.split(".")[1] for token in tokens]
    for secret in (*tokens, *halves, KEY, "secret-note", "wang@example.org", "Traceback"):
        assert secret not in text


def test_answers_and_photos_appear_on_the_page_of_the_site(served):
    settings = served.parts.settings
    assert publish_once(settings) == ({"minqin-03": None}, 1)
    assert publish_once(settings) == ({}, 1)
    folder = settings.outputs.root / "sites" / "minqin-03"
    photo = read_photo(encoded(picture(800, 600), exif=metadata()))
    answer = Answer(Verdict.FALSE_ALARM, FalseAlarmReason.SNOW, "two\nlines <b>", (photo,))
    store(served, serve_module._of_notice(served.parts, served.programme.token()), answer)
    assert publish_once(settings) == ({"minqin-03": None}, 1)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<b>False alarm</b>: snow" in page
    assert "two\nlines &lt;b&gt;" in page
    assert "taken 1 June 2026 09:30" in page
    assert "wang@example.org" not in page
    assert (folder / "photos" / f"{photo.id}.jpg").read_bytes() == photo.content
    assert "误报" in (folder / "index.zh.html").read_text(encoding="utf-8")
    assert publish_once(settings) == ({}, 1)
    (folder / "photos" / f"{photo.id}.jpg").unlink()
    assert publish_once(settings) == ({"minqin-03": None}, 1)
    assert (folder / "photos" / f"{photo.id}.jpg").read_bytes() == photo.content
    with served.programme.ledger() as ledger, ledger.transaction() as t:
        today = datetime.now(UTC).date()
        answer_alert(t, "minqin-03/failure", Verdict.TREATED, None, "replanted", today, "command")
    assert publish_once(settings) == ({"minqin-03": None}, 1)
    with served.programme.ledger() as ledger, ledger.transaction() as t:
        answer_alert(t, "minqin-03/failure", Verdict.CONFIRMED, None, "of last year", date(2025, 6, 1), "import")
    assert publish_once(settings) == ({"minqin-03": None}, 1)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.index("two\nlines") < page.index("of last year"), "an earlier finding stands below"
    assert page.index("replanted") < page.index("two\nlines"), "the newer answer stands above the earlier one"
    assert "entered by the operators" in page


def visit(browser, case: Case, *, language: str = "en", scripts: bool = False):
    """The page on a phone; what the browser complained of is in `complaints`."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, java_script_enabled=scripts, bypass_csp=scripts
    )
    tab = context.new_page()
    tab.complaints = []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.goto(f"{case.server.url}{case.path}?language={language}")
    return tab


def refused_photo(tab) -> None:
    tab.check("input[value=false-alarm]")
    tab.select_option("select", "snow")
    tab.fill("textarea", "snow\n  on the slope")
    tab.set_input_files("input[type=file] >> nth=1", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"GIF89a"})
    send(tab)


def send(tab) -> None:
    with tab.expect_navigation():  # a click alone may return before the answer is there
        tab.click("button")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_pages_fit_a_phone_and_axe_finds_nothing(browser, make_case, language):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    case = make_case(name="Minqin " * 12 + "x" * 80)
    tab = visit(browser, case, language=language, scripts=True)

    def check(heading: str) -> None:
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        assert violations(axe, tab) == []
        assert tab.locator("h1").inner_text().startswith(heading)
        assert tab.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-Hans"}[language]

    check("Minqin Minqin")
    refused_photo(tab)
    assert tab.locator("[role=alert] li").count() == 2
    assert tab.input_value("textarea") == "snow\n  on the slope"
    assert tab.is_checked("input[value=false-alarm]")
    assert tab.input_value("select") == "snow"
    check("Minqin Minqin")
    send(tab)
    check({"en": "Thank you", "zh": "已收到"}[language])
    tab.goto(f"{case.server.url}{case.path}?language={language}")
    check({"en": "This link was used", "zh": "此链接已使用"}[language])
    tab.context.close()


def test_without_scripts_and_mouse_the_form_is_filled_and_sent(browser, case):
    tab = visit(browser, case)
    for key in ("Tab", "Tab", "Tab", "Tab", "ArrowDown", "Tab"):  # language, map, page, verdict, its second choice
        tab.keyboard.press(key)
    tab.keyboard.type("snow")  # chooses it from the list
    tab.keyboard.press("Tab")
    tab.keyboard.type("typed")
    for key in ("Tab", "Tab", "Tab", "Tab", "Enter"):  # photos, button
        tab.keyboard.press(key)
    tab.wait_for_selector("text=Thank you")
    (event,) = case.answers
    assert (event["answer"], event["reason"], event["note"]) == ("false-alarm", "snow", "typed")
    assert tab.complaints == []
    tab.context.close()


def test_a_hostile_name_runs_nothing_in_a_browser(browser, make_case):
    case = make_case(name="<img src=x onerror=document.title='run'><script>document.title='run'</script>")
    context = browser.new_context(viewport={"width": 360, "height": 740})
    tab, requests = context.new_page(), []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(f"{case.server.url}{case.path}?language=en")
    assert tab.locator("h1").inner_text().startswith("<img src=x onerror=")
    assert tab.title().startswith("Answer: <img")
    assert requests == [f"{case.server.url}{case.path}?language=en"]
    context.close()
