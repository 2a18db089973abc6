"""Serve the pages where the recipients of messages answer alerts, each behind the link of one message.

A GET never changes anything, since mail scanners follow links. A POST records the answer, its photos, and that the link
was used, in one transaction of the ledger: of two at once, one is recorded. Nothing is logged that gives a link away.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final
from urllib.parse import urlsplit

import h11
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from jobs.answers.answer_form import Answer, check_form, read_form
from jobs.answers.request_limits import (
    MAX_BODY_BYTES,
    STATUS,
    Refusal,
    Why,
    discard_body,
    is_short,
    one_of,
)
from jobs.messages.news import news_of
from jobs.register.answering import answer_alert
from jobs.runtime.clock import today
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertEvent, Verdict
from monitor.alerts.answer_page import POLICY, Entered, form_page, notice_page
from monitor.alerts.links import LinkExpired, LinkInvalid, read_link
from monitor.alerts.news import AlertNews
from monitor.errors import BadConfiguration, MonitorError, TryLater
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

log = structlog.get_logger()

LEDGER_WAIT: Final = 10
"""Longest time to wait for another writer of the ledger: a person waits for the page. [s]"""
MAX_UPLOADS: Final = 8
"""Answers with photos that are received at the same time; more wait."""
MAX_DECODERS: Final = 2
"""Photos that are decoded at the same time."""
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
        access_log=False, server_header=False, proxy_headers=False,
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

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, with the headers of every other answer."""
        names = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(msg)), **HEADERS}
        for event in (h11.Response(status_code=400, headers=list(names.items())), h11.Data(msg.encode())):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise BadConfiguration(
            f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', None) or error}; see --host and --port"
        ) from error
    with listener:
        yield listener


def answer_app(settings: Settings, key: str) -> ASGIApp:
    """The ASGI application, with all headers."""
    app = Starlette(
        routes=[
            Route("/", _front, methods=["GET"]),
            Route("/a/{token}", _answer, methods=["GET", "POST"]),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _no_page, Exception: _failed},
    )
    app.state.served = Served(settings=settings, key=key)
    prefix = urlsplit(settings.answers.base_url).path.rstrip("/")
    return _with_headers(app, prefix)


def _with_headers(app: ASGIApp, prefix: str) -> ASGIApp:
    """An application that is also reached under a prefix of the path, and sets :data:`HEADERS`."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        path = scope["path"]
        if prefix and f"{path}/".startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
        scope = {**scope, "path": path.rstrip("/") or "/"}  # else Starlette redirects, to an address without the prefix
        try:
            await app(scope, receive, send_with_headers)
        except Exception:  # it was answered by _failed
            log.exception("a bug while an answer page was served")

    return with_headers


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
        async with nullcontext() if is_short(request) else one_of(served.uploads):
            form = await read_form(request)
            try:
                answer, entered, status = await check_form(form, _language(request, question.news), served.decoders)
            finally:
                await form.close()
    except Refusal as refusal:
        if refusal.why not in (Why.INVALID, Why.TOO_SLOW):
            await discard_body(request)
        raise
    except ClientDisconnect:
        return Response(status_code=400)
    except (OSError, TryLater) as error:  # no room for the photos, or no process to decode them
        log.error("an answer cannot be received", error=str(error))
        raise Refusal(Why.UNAVAILABLE, retry_after=RETRY_SECONDS) from error
    if answer is None:
        return _form(request, question, entered, status)
    await run_in_threadpool(_store, served, question, answer)
    language = _language(request, question.news)
    values = {
        "site": words.site_name(question.news.site, language), "answer": words.ANSWER_NAMES[answer.verdict][language],
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
    """A bug, which is logged by :func:`_with_headers`."""
    return HTMLResponse(notice_page("failed", _language(request)), 500)


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
