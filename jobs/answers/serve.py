"""Serve the pages where the recipients of messages answer alerts, behind the link of a message or of a manager.

A GET never changes anything, since mail scanners follow links. A POST records each answer with its photos, and by which
link it came, in one transaction of the ledger: of two at once, one is recorded. Nothing is logged that gives a link
away.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
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
from jobs.answers.my_sites import ManagerSites, answer_of, questions_of, read_manager_sites, sites_of_manager
from jobs.answers.request_limits import MAX_BODY_BYTES, STATUS, Refusal, Why, discard_body, is_short, one_of
from jobs.messages.news import news_of
from jobs.register.alerting import address_book
from jobs.register.answering import LATER, Outcome, answer_alert, answer_by_manager
from jobs.runtime.clock import today
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Verdict
from monitor.alerts.answer_page import POLICY, Entered, Question, form_page, my_sites_page, notice_page
from monitor.alerts.answer_page.pages import NOTHING_ENTERED
from monitor.alerts.links import LinkExpired, LinkInvalid, read_link
from monitor.alerts.messages.rendering import short
from monitor.alerts.messages.tracks import waypoints
from monitor.alerts.recipients import Recipient, split_addresses
from monitor.errors import BadConfiguration, MonitorError, TryLater
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.names import without_invisible

log = structlog.get_logger()

LEDGER_WAIT: Final = 10  # longest time to wait for another writer of the ledger: a person waits for the page [s]
MAX_UPLOADS: Final = 8  # answers with photos that are received at the same time; more wait
MAX_ALERTS: Final = 50  # alerts in one form; the next ones are in the next form
MAX_DECODERS: Final = 2  # photos that are decoded at the same time
RETRY_SECONDS: Final = 120  # when to try again if the ledger cannot be used [s]
HEAD_SECONDS: Final = 10  # longest time from the opening of a connection to its request [s]
STOP_SECONDS: Final = 20  # time for answers that are being received when the server is stopped [s]

HEADERS: Final = {  # of every answer of the server
    "Cache-Control": "no-store", "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Connection": "close",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """State that requests share."""

    settings: Settings
    key: str = field(repr=False)
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_UPLOADS))
    decoders: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DECODERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The alerts that a link is about."""

    link: str  # identifier of the link
    questions: Sequence[Question]
    theirs: ManagerSites | None  # of a personal link; None: the link is for one alert

    @property
    def language(self) -> words.Language:
        """Language of the manager."""
        return self.theirs.language if self.theirs else words.language_of(self.questions[0].news.site)


def serve(settings: Settings, key: str, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until a signal arrives; answers that are being received are finished first.

    `announce` is called with the address once requests are accepted; port 0: any free one. Raises BadConfiguration if
    the address or the ledger cannot be used.
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
            Route("/m/{token}", _my_sites, methods=["GET"]),
            Route("/m/{token}/answer", _answer, methods=["GET", "POST"]),
            Route("/m/{token}/points.gpx", _points, methods=["GET"]),
            Route("/m/{token}/renew", _renew, methods=["POST"]),
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


async def _my_sites(request: Request) -> Response:
    theirs = (await _ask(request, [])).theirs
    assert theirs is not None
    language = _language(request, theirs.language)
    return HTMLResponse(my_sites_page(theirs.lines, language, name=theirs.name, home=_home(request)))


async def _points(request: Request) -> Response:
    """Waypoints of all sites to look at, as a file."""
    theirs = (await _ask(request, [])).theirs
    assert theirs is not None
    places = [(line.site, theirs.patches.get(line.site.id)) for line in theirs.lines if line.group != "nothing"]
    content = waypoints(places, _language(request, theirs.language))
    name = {"Content-Disposition": 'attachment; filename="points.gpx"'}
    return Response(content, media_type="application/gpx+xml", headers=name)


async def _renew(request: Request) -> Response:
    """Send a new personal link to the address of the manager, at most one a day; the page does not show it."""
    await run_in_threadpool(_send_new_link, _served(request), request.path_params["token"])
    return HTMLResponse(notice_page("renewed", _language(request), good=True))


async def _answer(request: Request) -> Response:
    if request.method == "POST":
        return await _record(request)
    chosen = request.query_params.getlist("alert") or None
    return _form(request, await _ask(request, chosen))


async def _record(request: Request) -> Response:
    """Record the answers of a form, and show it again with what is wrong in the others."""
    served, is_personal = _served(request), _is_personal(request)
    chosen: list[str] = []
    try:
        asked = await _ask(request, [])
        async with nullcontext() if is_short(request) else one_of(served.uploads):
            form = await read_form(request, MAX_ALERTS if is_personal else 1)
            try:
                if is_personal:
                    given = (name.removeprefix("verdict:") for name in form if name.startswith("verdict:"))
                    chosen = list(dict.fromkeys(given))
                    asked = await _ask(request, chosen)
                language = _language(request, asked.language)
                filled = {
                    question.news.alert.id: await check_form(
                        form, question, language, served.decoders, is_one_of_many=is_personal
                    )
                    for question in asked.questions
                }  # fmt: skip
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
    if is_personal and not chosen:
        asked = await _ask(request, None)
        return _form(request, asked, problems=[words.text("answer_page.none_chosen", language)], status=422)
    wrong = {alert: one.entered for alert, one in filled.items() if one.answer is None}
    status = max((one.status for one in filled.values() if one.answer is None), default=403)
    if asked.theirs is None:
        if wrong:
            return _form(request, asked, entered=wrong, status=status)
        (question,), (answer,) = asked.questions, [one.answer for one in filled.values() if one.answer]
        await run_in_threadpool(_store, served, asked.link, question, answer)
        values: dict[str, Any] = {
            "site": words.site_name(question.news.site, language), "answer": _in_words(question, answer, language),
            "photos": len(answer.photos), "page": question.news.page,
        }  # fmt: skip
        return HTMLResponse(notice_page("thanks", language, good=True, **values))
    recorded, problems = [], [_not_asked(alert, asked.theirs, language) for alert in chosen if alert not in filled]
    for question in asked.questions:
        name, one = words.site_name(question.news.site, language), filled[question.news.alert.id]
        if one.answer is None:
            continue
        outcome = await run_in_threadpool(_store_of_manager, served, asked, question, one.answer, one.seen)
        if outcome in (Outcome.RECORDED, Outcome.ALREADY):
            again = words.text("answer_page.already", language) if outcome is Outcome.ALREADY else ""
            recorded.append((name, _in_words(question, one.answer, language) + again))
        else:
            problems.append(words.text(f"answer_page.{outcome}", language, site=name))
    if not problems and not wrong:
        page = notice_page("thanks_several", language, good=True, lines=recorded, home=_home(request))
        return HTMLResponse(page)
    left = replace(asked, questions=[one for one in asked.questions if one.news.alert.id in wrong])
    return _form(request, left, entered=wrong, recorded=recorded, problems=problems, status=200 if recorded else status)


def _not_asked(alert: str, theirs: ManagerSites, language: words.Language) -> str:
    """Why an alert of a form is not recorded; of a site of somebody else nothing is said but the name that was sent."""
    site = alert.rpartition("/")[0]
    known = next((one for one in theirs.sites if one.id == site), None)
    if known is not None:
        return words.text("answer_page.closed", language, site=words.site_name(known, language))
    return words.text("answer_page.not_yours", language, site=short(without_invisible(site or alert)))


def _in_words(question: Question, answer: Answer, language: words.Language) -> str:
    if answer.verdict is None:
        return words.text("my_sites.snoozed", language, day=words.day(today() + LATER, language))
    if answer.verdict is Verdict.FALSE_ALARM and question.needs_reason:
        return words.text("my_sites.unreviewed", language)
    return words.ANSWER_NAMES[answer.verdict][language]


def _served(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


def _is_personal(request: Request) -> bool:
    return bool(request.scope["path"].startswith("/m/"))


def _home(request: Request) -> str:
    """Address of the page "my sites" of a request, without the host."""
    prefix = urlsplit(_served(request).settings.answers.base_url).path.rstrip("/")
    return f"{prefix}/m/{request.path_params['token']}"


def _language(request: Request, own: words.Language | None = None) -> words.Language:
    """Language that the reader chose, else that of the manager, else that of the browser."""
    browser: words.Language = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
    return _chosen_language(request) or own or browser


def _chosen_language(request: Request) -> words.Language | None:
    return next((one for one in words.LANGUAGES if one == request.query_params.get("language")), None)


def _form(
    request: Request,
    asked: Asked,
    *,
    entered: Mapping[str, Entered] = NOTHING_ENTERED,
    recorded: Sequence[tuple[str, str]] = (),
    problems: Sequence[str] = (),
    status: int = 200,
) -> Response:
    page = form_page(
        asked.questions, _language(request, asked.language), entered=entered, recorded=recorded, problems=problems,
        home=_home(request) if asked.theirs else None,
    )  # fmt: skip
    return HTMLResponse(page, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    more: dict[str, Any] = {"renew": f"{_home(request)}/renew"} if error.why is Why.PERSONAL_EXPIRED else {}
    page = notice_page(error.why, _language(request), megabytes=MAX_BODY_BYTES // 1_000_000, **more)
    return HTMLResponse(page, STATUS[error.why], headers)


async def _no_page(request: Request, error: Exception) -> Response:
    """The page does not exist, or not by this method."""
    assert isinstance(error, HTTPException)
    return HTMLResponse(notice_page("missing", _language(request)), error.status_code, error.headers)


async def _failed(request: Request, _: Exception) -> Response:
    """A bug, which is logged by :func:`_with_headers`."""
    return HTMLResponse(notice_page("failed", _language(request)), 500)


# The ledger


async def _ask(request: Request, chosen: Collection[str] | None) -> Asked:
    """The alerts that the link of a request is about; of a personal link those with the chosen ids, None: all open."""
    token, language = request.path_params["token"], _chosen_language(request)
    if _is_personal(request):
        return await run_in_threadpool(_of_manager, _served(request), token, chosen, language)
    return await run_in_threadpool(_of_notice, _served(request), token)


def _link(served: Served, token: str, *, folder: str = "a", expired: Why | None) -> str:
    """Identifier of a link; an `expired` one is refused for that reason, None: is accepted."""
    try:
        return read_link(token, served.key, datetime.now(UTC), folder=folder)
    except LinkExpired as error:
        if expired is None:
            return error.link
        raise Refusal(expired) from error
    except LinkInvalid as error:
        raise Refusal(Why.INVALID) from error


def _of_notice(served: Served, token: str) -> Asked:
    """The alert that the link of a message is about; only reads."""
    link = _link(served, token, expired=Why.EXPIRED)
    with _ledger(served) as ledger, ledger.reading() as t:
        row = t.notice_of_link(link)
        if row is None or "alert" not in row["payload"]:
            raise Refusal(Why.INVALID)
        if t.link_was_used(link):
            raise Refusal(Why.USED)
        values = t.site(row["payload"]["alert"]["site"])
        if values is None:
            raise Refusal(Why.CLOSED)
        reached = f"{values['manager_email'] or ''},{served.settings.operators.email}"
        if row["recipient"] and row["recipient"] not in split_addresses(reached):
            raise Refusal(Why.REVOKED)  # the site was handed to somebody else since
        news = news_of(t, served.settings, row, pictures=False)
        question = Question(news=news, number=row["payload"]["number"], answered=answer_of(t, news.alert))
        return Asked(link=link, questions=[question], theirs=None)


def _of_manager(served: Served, token: str, chosen: Collection[str] | None, language: words.Language | None) -> Asked:
    """The sites of the manager of a personal link, and alerts of them; only reads."""
    link = _link(served, token, folder="m", expired=Why.PERSONAL_EXPIRED)
    with _ledger(served) as ledger, ledger.reading() as t:
        theirs = read_manager_sites(t, served.settings, _manager(t, link), language)
        questions = questions_of(t, served.settings, theirs, chosen, MAX_ALERTS)
        return Asked(link=link, questions=questions, theirs=theirs)


def _manager(t: Transaction, link: str) -> Recipient:
    """Manager of a personal link that was not revoked."""
    manager = t.manager_of_link(link)
    if manager is None:
        raise Refusal(Why.REVOKED)
    return Recipient(*manager)


def _send_new_link(served: Served, token: str) -> None:
    """Put a new personal link into the outbox, unless one was asked for today or the manager has no site."""
    link, day = _link(served, token, folder="m", expired=None), today().isoformat()
    with _ledger(served) as ledger, ledger.transaction() as t:
        manager = _manager(t, link)
        if sites := sites_of_manager(t, served.settings, manager):
            payload = {"language": words.language_of(sites[0])}
            t.add_notice(f"link/{link}/{day}", "personal_link", payload, day=day, recipients=[manager])


def _store(served: Served, link: str, question: Question, answer: Answer) -> None:
    """Store an answer and that its link was used."""
    alert, photos = question.news.alert.id, _photo_rows(answer)
    assert answer.verdict is not None
    with _ledger(served) as ledger, ledger.transaction() as t:
        if t.link_was_used(link):
            raise Refusal(Why.USED)
        answer_alert(
            t, alert, answer.verdict, answer.reason, answer.note, today(), "link", link=link, photos=photos,
            operators=address_book(served.settings).of_operators(),
        )  # fmt: skip
    log.info("answer recorded", alert=alert, answer=answer.verdict.value, photos=len(photos))


def _store_of_manager(served: Served, asked: Asked, question: Question, answer: Answer, seen: int | None) -> str:
    """Store one answer of a form of many; what became of it, see :class:`Outcome`, or ``not_stored``."""
    alert, photos, book = question.news.alert.id, _photo_rows(answer), address_book(served.settings)
    try:
        with _ledger(served) as ledger, ledger.transaction() as t:
            manager = _manager(t, asked.link)
            outcome = answer_by_manager(
                t, alert, answer.verdict, answer.reason, answer.note, link=asked.link, seen=seen, photos=photos,
                is_theirs=lambda site: manager in book.of_manager(site), operators=book.of_operators(),
            )  # fmt: skip
    except Refusal:
        return "not_stored"
    log.info("answer of a manager", alert=alert, answer=answer.verdict, outcome=outcome, photos=len(photos))
    return outcome


def _photo_rows(answer: Answer) -> list[dict[str, Any]]:
    names = ("id", "content", "taken", "latitude", "longitude")
    return [{name: getattr(photo, name) for name in names} for photo in answer.photos]


@contextmanager
def _ledger(served: Served) -> Iterator[Ledger]:
    """The ledger, opened for one request: it may be down now and then, or replaced by a backup."""
    try:
        with open_ledger(served.settings, create=False, lock_wait=LEDGER_WAIT) as ledger:
            yield ledger
    except (MonitorError, OSError) as error:
        log.error("the ledger cannot be used for an answer", error=str(error))
        raise Refusal(Why.UNAVAILABLE, retry_after=RETRY_SECONDS) from error
