"""Serve the pages where the recipients of messages answer alerts, each behind the link of one message.

A GET never changes anything, since mail scanners follow links. A POST records the answer, its photos, and that the link
was used, in one transaction of the ledger: of two at once, one is recorded. Nothing is logged that gives a link away.
"""

import asyncio
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from jobs.answering import answer_alert
from jobs.clock import today
from jobs.installation import open_ledger
from jobs.news import news_of
from jobs.photo_process import read_photo_apart
from jobs.request_limits import (
    MAX_BODY_BYTES,
    BodyTooLarge,
    BodyTooSlow,
    RequestRates,
    discard_body,
    limited_body,
)
from jobs.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertEvent, FalseAlarmReason, Verdict
from monitor.alerts.answer_page import POLICY, Entered, form_page, notice_page
from monitor.alerts.answer_page.pages import MAX_NOTE, MAX_PHOTOS
from monitor.alerts.links import LinkExpired, LinkInvalid, read_link
from monitor.alerts.news import AlertNews
from monitor.alerts.photos import MAX_PHOTO_BYTES, Photo, PhotoProblem, PhotoRefused
from monitor.errors import BadConfiguration, MonitorError
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.names import without_invisible, without_invisible_lines

log = structlog.get_logger()

LEDGER_WAIT: Final = 10
"""Longest time to wait for another writer of the ledger: a person waits for the page. [s]"""
MAX_UPLOADS: Final = 8
"""Answers that are received at the same time; more wait."""
MAX_DECODERS: Final = 2
"""Photos that are decoded at the same time."""
PLACE_WAIT: Final = 60
"""Longest time to wait to be one of these. [s]"""
RETRY_SECONDS: Final = 120
"""When to try again if the ledger cannot be used. [s]"""
HEAD_SECONDS: Final = 10
"""Longest time from the opening of a connection to its request. [s]"""
STOP_SECONDS: Final = 20
"""Time for answers that are being received when the server is stopped. [s]"""

HEADERS: Final = {
    "Cache-Control": "no-store", "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Connection": "close",
}  # fmt: skip
"""Of every answer of the server."""


class Why(StrEnum):
    """Why a request is refused: names of notices in the catalogue."""

    INVALID = "invalid"
    EXPIRED = "expired"
    USED = "used"
    CLOSED = "closed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"


STATUS: Final = {
    Why.INVALID: 403, Why.EXPIRED: 403, Why.USED: 403, Why.CLOSED: 410, Why.UNREADABLE: 400, Why.TOO_LARGE: 413,
    Why.TOO_SLOW: 408, Why.TOO_MANY: 429, Why.UNAVAILABLE: 503,
}  # fmt: skip
"""Status of HTTP for each."""


class Refusal(Exception):
    """A request is refused; `retry_after` is when it may be sent again. [s]"""

    def __init__(self, why: Why, *, retry_after: int | None = None) -> None:
        super().__init__(why)
        self.why, self.retry_after = why, retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What requests share."""

    settings: Settings
    key: str = field(repr=False)
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_UPLOADS))
    decoders: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DECODERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The alert that a link is about."""

    link: str
    """Identifier of the link."""
    news: AlertNews
    answered: tuple[date, Verdict] | None
    """Day and finding of the answer that counts so far."""


class Answer(NamedTuple):
    """A complete answer."""

    verdict: Verdict
    reason: FalseAlarmReason | None
    note: str | None
    photos: Sequence[Photo]


def serve(settings: Settings, key: str, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until a signal arrives; answers that are being received are finished first.

    Parameters
    ----------
    settings, key
        Settings of the installation, and the key of its links.
    host, port
        Where to listen; port 0: any free one.
    announce : callable
        Called with the address of the pages once requests are accepted.

    Raises
    ------
    BadConfiguration
        The address cannot be used, or the ledger cannot.
    """
    with open_ledger(settings, create=False):  # a wrong configuration is reported at the start
        pass
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes requests
    config = uvicorn.Config(
        answer_app(settings, key), http=PromptProtocol, ws="none", lifespan="off", log_config=None, log_level="error",
        access_log=False, server_header=False, proxy_headers=True, forwarded_allow_ips="127.0.0.1,::1",
        limit_concurrency=500, timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        announce(f"http://{name}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


class PromptProtocol(H11Protocol):
    """HTTP for clients that send a request soon; other connections are closed. Each serves one request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin to wait."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        msg = (
            f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', None) or error}; see --host and --port"
        )
        raise BadConfiguration(msg) from error
    with listener:
        yield listener


def answer_app(settings: Settings, key: str) -> ASGIApp:
    """The ASGI application, with all limits and headers."""
    app = Starlette(
        routes=[
            Route("/", _front, methods=["GET"]),
            Route("/a/{token}", _answer, methods=["GET", "POST"]),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _no_page, Exception: _failed},
    )
    app.state.served = Served(settings=settings, key=key)
    prefix = urlsplit(settings.answers.base_url).path.rstrip("/")
    return _with_limits_and_headers(app, prefix)


def _with_limits_and_headers(app: ASGIApp, prefix: str) -> ASGIApp:
    """An application that is also reached under a prefix of the path, limits requests, and sets :data:`HEADERS`."""
    rates = RequestRates()

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if prefix and (scope["path"] + "/").startswith(f"{prefix}/"):
            scope = {**scope, "path": scope["path"].removeprefix(prefix) or "/"}
        host = scope["client"][0] if scope["client"] else ""
        if wait := rates.wait(host, asyncio.get_running_loop().time()):
            refusal = Refusal(Why.TOO_MANY, retry_after=math.ceil(wait))
            response = await _refused(Request(scope), refusal)
            await response(scope, receive, send_with_headers)
            return
        try:
            await app(scope, receive, send_with_headers)
        except Exception:  # it was answered by _failed
            log.exception("a bug while an answer page was served")

    return limited


# Requests


async def _front(request: Request) -> Response:
    return HTMLResponse(notice_page("front", _language(request)))


async def _answer(request: Request) -> Response:
    if request.method == "POST":
        return await _record(request)
    question = await run_in_threadpool(_question, _served(request), request.path_params["token"])
    return _form(request, question, Entered())


async def _record(request: Request) -> Response:
    """Record an answer, or show the form again with what is wrong."""
    served = _served(request)
    try:
        question = await run_in_threadpool(_question, served, request.path_params["token"])
        async with _one_of(served.uploads):
            form = await _read_form(request)
            try:
                answer, entered, status = await _check(served, form, _language(request, question.news))
            finally:
                await form.close()
    except Refusal as refusal:
        if refusal.why not in (Why.INVALID, Why.TOO_SLOW):
            await discard_body(request)
        raise
    except ClientDisconnect:
        return Response(status_code=400)
    if answer is None:
        return _form(request, question, entered, status)
    await run_in_threadpool(_store, served, question, answer)
    language = _language(request, question.news)
    values = {
        "site": without_invisible(question.news.site.name), "answer": words.ANSWER_NAMES[answer.verdict][language],
        "photos": len(answer.photos), "page": question.news.page,
    }  # fmt: skip
    return HTMLResponse(notice_page("thanks", language, good=True, **values))


def _served(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


def _language(request: Request, news: AlertNews | None = None) -> words.Language:
    """Language that the reader chose, else that of the manager, else that of the browser."""
    chosen = request.query_params.get("language")
    if chosen in words.LANGUAGES:
        return "zh" if chosen == "zh" else "en"
    if news is not None:
        return words.language_of(news.site)
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def _form(request: Request, question: Question, entered: Entered, status: int = 200) -> Response:
    language = _language(request, question.news)
    return HTMLResponse(form_page(question.news, language, answered=question.answered, entered=entered), status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    page = notice_page(error.why, _language(request), megabytes=MAX_BODY_BYTES // 1_000_000)
    return HTMLResponse(page, STATUS[error.why], headers)


async def _no_page(request: Request, error: Exception) -> Response:
    """There is no such page, or not by this method."""
    assert isinstance(error, HTTPException)
    return HTMLResponse(notice_page("missing", _language(request)), error.status_code, error.headers)


async def _failed(request: Request, _: Exception) -> Response:
    """A bug, which is logged by :func:`_with_limits_and_headers`."""
    return HTMLResponse(notice_page("failed", _language(request)), 500)


# The form


async def _read_form(request: Request) -> FormData:
    """Fields and files of a request.

    Raises
    ------
    Refusal
        It is too large or too slow, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            parser = MultiPartParser(
                request.headers, limited_body(request), max_files=10, max_fields=20, max_part_size=65_536
            )
            return await parser.parse()
        if kind == "application/x-www-form-urlencoded":
            content = b"".join([piece async for piece in limited_body(request, 65_536)])
            return FormData([*parse_qsl(content.decode(errors="replace"), keep_blank_values=True, max_num_fields=20)])
    except (MultiPartException, ValueError) as error:
        raise Refusal(Why.UNREADABLE) from error
    except BodyTooLarge as error:
        raise Refusal(Why.TOO_LARGE) from error
    except BodyTooSlow as error:
        raise Refusal(Why.TOO_SLOW) from error
    raise Refusal(Why.UNREADABLE)


async def _check(served: Served, form: FormData, language: words.Language) -> tuple[Answer | None, Entered, int]:
    """Answer in a form (None: something is wrong), the form as entered, and the status of HTTP.

    A reason counts for a false alarm only; with another finding it is ignored, as it may be left over.
    """
    entered = Entered(
        verdict=_only(form, "verdict"), reason=_only(form, "reason"), note=without_invisible_lines(_only(form, "note"))
    )
    files = [file for file in form.getlist("photo") if (file if isinstance(file, str) else file.filename or file.size)]
    is_false_alarm = entered.verdict == Verdict.FALSE_ALARM
    problems, status, photos = [], 422, dict[str, Photo]()
    if entered.verdict not in tuple(Verdict):
        problems.append(words.text("answer_page.no_verdict", language))
    if is_false_alarm and entered.reason not in ("", *FalseAlarmReason):
        problems.append(words.text("answer_page.unknown_reason", language))
    if len(entered.note) > MAX_NOTE:
        problems.append(words.text("answer_page.long_note", language, n=len(entered.note), most=MAX_NOTE))
    if len(files) > MAX_PHOTOS:
        problems.append(words.text("answer_page.many_photos", language, n=MAX_PHOTOS))
    for number, file in enumerate([] if problems else files, start=1):
        try:
            photo = await _read_photo(served, file)
            photos[photo.id] = photo
        except PhotoRefused as refused:
            values = {"number": number, "megabytes": MAX_PHOTO_BYTES // 1_000_000}
            problems.append(words.text(f"answer_page.{refused.problem}", language, **values))
            status = 413 if refused.problem is PhotoProblem.TOO_LARGE else 422
    if problems:
        again = [words.text("answer_page.again", language)] if files else []
        return None, replace(entered, problems=[*problems, *again]), status
    reason = FalseAlarmReason(entered.reason) if is_false_alarm and entered.reason else None
    return Answer(Verdict(entered.verdict), reason, entered.note.strip() or None, list(photos.values())), entered, 200


def _only(form: FormData, name: str) -> str:
    """Text of a field; empty where it is missing or given more than once."""
    texts = [value for value in form.getlist(name) if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else ""


async def _read_photo(served: Served, file: UploadFile | str) -> Photo:
    if isinstance(file, str):
        msg = "the photo is no file"
        raise PhotoRefused(PhotoProblem.UNKNOWN_FORMAT, msg)
    if (file.size or 0) > MAX_PHOTO_BYTES:
        msg = f"the photo has {file.size:,} bytes"
        raise PhotoRefused(PhotoProblem.TOO_LARGE, msg)
    async with _one_of(served.decoders):
        return await read_photo_apart(await file.read())


@asynccontextmanager
async def _one_of(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of a limited number of places, for which a request may have to wait."""
    try:
        async with asyncio.timeout(PLACE_WAIT):
            await places.acquire()
    except TimeoutError as error:
        raise Refusal(Why.UNAVAILABLE, retry_after=PLACE_WAIT) from error
    try:
        yield
    finally:
        places.release()


# The ledger


def _question(served: Served, token: str) -> Question:
    """The alert that a link is about; only reads."""
    try:
        link = read_link(token, served.key, datetime.now(UTC))
    except LinkExpired as error:
        raise Refusal(Why.EXPIRED) from error
    except LinkInvalid as error:
        raise Refusal(Why.INVALID) from error
    with _ledger(served) as ledger, ledger.reading() as t:
        row = t.notice_of_link(link)
        if row is None or "alert" not in row["payload"]:
            raise Refusal(Why.INVALID)
        if t.link_was_used(link):
            raise Refusal(Why.USED)
        if t.site(row["payload"]["alert"]["site"]) is None:
            raise Refusal(Why.CLOSED)
        news = news_of(t, served.settings, row, pictures=False)
        return Question(link=link, news=news, answered=_answered(t, news.alert))


def _answered(t: Transaction, alert: Alert) -> tuple[date, Verdict] | None:
    """Day and finding of the answer that counts; None: there is none."""
    if alert.answer is None:
        return None
    answers = [event for event in t.events(alert.id) if event["kind"] == AlertEvent.ANSWERED]
    return (date.fromisoformat(answers[-1]["day"]) if answers else alert.updated), alert.answer


def _store(served: Served, question: Question, answer: Answer) -> None:
    """Store an answer and that its link was used."""
    alert = question.news.alert.id
    photos = [
        {"id": photo.id, "content": photo.content, "taken": photo.taken, "latitude": photo.latitude,
         "longitude": photo.longitude}
        for photo in answer.photos
    ]  # fmt: skip
    with _ledger(served) as ledger, ledger.transaction() as t:
        if t.link_was_used(question.link):
            raise Refusal(Why.USED)
        answer_alert(
            t, alert, answer.verdict, answer.reason, answer.note, today(), "link", link=question.link, photos=photos
        )
    log.info("answer recorded", alert=alert, answer=answer.verdict.value, photos=len(photos))


@contextmanager
def _ledger(served: Served) -> Iterator[Ledger]:
    """The ledger, opened for one request: it may be down now and then, or replaced by a backup."""
    try:
        with open_ledger(served.settings, create=False, lock_wait=LEDGER_WAIT) as ledger:
            yield ledger
    except (MonitorError, OSError) as error:
        log.error("the ledger cannot be used for an answer", error=str(error))
        raise Refusal(Why.UNAVAILABLE, retry_after=RETRY_SECONDS) from error
