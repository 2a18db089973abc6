"""Receivers of messages on loopback: WeCom, DingTalk, Feishu and a signed webhook, with failures on request.

    with WeCom(token="k") as server:                      # DingTalk(token, secret), Feishu(token, secret), Hook(secret)
        server.url, server.host                           # for `url` and `allow_hosts` of the channel
        server.answer(200, {"errcode": 45009}, times=1)   # instead of the true answer; times=None: always
        server.redirect("http://127.0.0.1:1/", times=1)
        server.drip(seconds=0.2)                          # a byte of the headers now and then, without end
        server.continue_for_ever(seconds=0.2)             # 100 Continue now and then, without end
        server.messages                                   # accepted: texts, or the records of a hook
        server.requests                                   # every request: .path, .headers, .body

They are written from the services' documentation, and share no code with the channels.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import standardwebhooks

from tests.loopback.certificates import Certificate


@dataclass
class Request:
    """One request as received."""

    method: str
    path: str
    """Path of the address with its query."""
    headers: dict[str, str]
    """Headers by their names in lower case."""
    body: bytes


@dataclass
class Receiver:
    """A server that accepts every request; see the module."""

    certificate: Certificate | None = None
    """Speak https with it."""
    requests: list[Request] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    path = "/"
    _orders: list[dict[str, Any]] = field(default_factory=list)

    def check(self, request: Request) -> tuple[int, Any]:
        """Status and JSON values of the true answer; appends what it accepts to `messages`."""
        self.messages.append(request.body)
        return 200, {}

    def answer(
        self, status: int, values: Any = None, *, headers: dict[str, str] | None = None, times: int | None = None
    ) -> None:
        """Answer with these values (bytes: as they are) instead of the true answer."""
        self._orders.append({"status": status, "values": values, "headers": headers or {}, "times": times})

    def redirect(self, target: str, *, status: int = 302, times: int | None = None) -> None:
        """Answer with a redirect."""
        self.answer(status, {}, headers={"Location": target}, times=times)

    def drip(self, *, seconds: float, times: int | None = None) -> None:
        """Send headers without end, a byte each `seconds`."""
        self._orders.append({"drip": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", seconds), "times": times})

    def continue_for_ever(self, *, seconds: float, times: int | None = None) -> None:
        """Send `100 Continue` without end, once in `seconds`."""
        self._orders.append({"drip": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", seconds), "times": times})

    def close_connection(self, *, times: int | None = None) -> None:
        """Take the request and close the connection without an answer."""
        self._orders.append({"close": True, "times": times})

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.host}{self.path}"

    def __enter__(self) -> Any:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                receiver._handle(self)

            do_GET = do_POST = do_HEAD = do_PUT = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that hangs up
        if self.certificate:
            self._server.socket = self.certificate.server_context().wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _order(self) -> dict[str, Any] | None:
        for order in self._orders:
            if order["times"] != 0:
                order["times"] = None if order["times"] is None else order["times"] - 1
                return order
        return None

    def _handle(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in http.headers.items()}
        request = Request(http.command, http.path, headers, body)
        self.requests.append(request)
        order = self._order()
        if order and "close" in order:
            http.close_connection = True
            return
        if order and "drip" in order:
            self._drip(http, *order["drip"])
            return
        status, values = (order["status"], order["values"]) if order else self.check(request)
        content = values if isinstance(values, bytes) else json.dumps(values or {}).encode()
        http.send_response(status)
        for name, value in (order or {}).get("headers", {}).items():
            http.send_header(name, value)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(content)))
        http.end_headers()
        http.wfile.write(content)

    def _drip(self, http: BaseHTTPRequestHandler, first: bytes, again: bytes, seconds: float) -> None:
        http.close_connection = True
        try:
            http.wfile.write(first)
            while not self._closing.wait(seconds):
                http.wfile.write(again)
                http.wfile.flush()
        except OSError:
            pass


@dataclass
class WeCom(Receiver):
    """The robot of a WeCom group: key in the query, texts of at most 2,048 bytes, 20 messages a minute."""

    token: str = "key-of-a-robot"
    path = "/cgi-bin/webhook/send"

    def check(self, request: Request) -> tuple[int, Any]:
        parts = urlsplit(request.path)
        if request.method != "POST" or parts.path != self.path or parse_qs(parts.query).get("key") != [self.token]:
            return 200, {"errcode": 93000, "errmsg": "invalid webhook url, hint: [1], from ip: 127.0.0.1"}
        if len(self.messages) >= 20:
            return 200, {"errcode": 45009, "errmsg": "api freq out of limit"}
        values = _json(request)
        if values.get("msgtype") != "text":
            return 200, {"errcode": 40008, "errmsg": "invalid message type"}
        text = values["text"]["content"]
        if len(text.encode()) > 2048:
            return 200, {"errcode": 40058, "errmsg": "text.content exceed max length 2048. invalid Request Parameter"}
        self.messages.append(text)
        return 200, {"errcode": 0, "errmsg": "ok"}


@dataclass
class DingTalk(Receiver):
    """A custom robot of a DingTalk group: token, timestamp in milliseconds and signature in the query."""

    token: str = "token-of-a-robot"
    secret: str | None = "SEC0123456789abcdef"
    path = "/robot/send"

    def check(self, request: Request) -> tuple[int, Any]:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if request.method != "POST" or parts.path != self.path or query.get("access_token") != self.token:
            return 200, {"errcode": 300005, "errmsg": "token is not exist"}
        if self.secret is not None:
            stamp = query.get("timestamp", "")
            mac = hmac.new(self.secret.encode(), f"{stamp}\n{self.secret}".encode(), hashlib.sha256)
            if query.get("sign") != base64.b64encode(mac.digest()).decode():
                return 200, {"errcode": 310000, "errmsg": "sign not match"}
            if abs(int(stamp) / 1000 - time.time()) > 3600:
                return 200, {"errcode": 310000, "errmsg": "invalid timestamp"}
        if len(request.body) > 20_000:
            return 200, {"errcode": 460101, "errmsg": "message too long, exceed 20000 bytes"}
        values = _json(request)
        if values.get("msgtype") != "text":
            return 200, {"errcode": 400105, "errmsg": "unsupported msgtype"}
        self.messages.append(values["text"]["content"])
        return 200, {"errcode": 0, "errmsg": "ok"}


@dataclass
class Feishu(Receiver):
    """A custom bot of a Feishu group: token in the path, timestamp in seconds and signature in the body."""

    token: str = "token-of-a-bot"
    secret: str | None = "secret-of-a-bot"
    path = "/open-apis/bot/v2/hook"

    def check(self, request: Request) -> tuple[int, Any]:
        if request.method != "POST" or request.path != f"{self.path}/{self.token}":
            return 200, {"code": 19001, "data": {}, "msg": "param invalid: incoming webhook access token invalid"}
        if len(request.body) > 20_480:
            return 200, {"code": 9499, "data": {}, "msg": "Bad Request"}
        values = _json(request)
        if self.secret is not None:
            stamp = values.get("timestamp", "")
            mac = hmac.new(f"{stamp}\n{self.secret}".encode(), digestmod=hashlib.sha256)
            signed = values.get("sign") == base64.b64encode(mac.digest()).decode()
            if not signed or abs(int(stamp) - time.time()) > 3600:
                message = "sign match fail or timestamp is not within one hour from current time"
                return 200, {"code": 19021, "data": {}, "msg": message}
        if values.get("msg_type") != "text" or not isinstance(values.get("content"), dict):
            return 200, {"code": 9499, "data": {}, "msg": "Bad Request"}
        self.messages.append(values["content"]["text"])
        return 200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}


@dataclass
class Hook(Receiver):
    """A receiver that verifies signatures by the library of the Standard Webhooks specification."""

    secret: str | None = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    path = "/hook"
    accepted: list[tuple[str, Any]] = field(default_factory=list)
    """Id and record, in order; repeated ones too."""

    def check(self, request: Request) -> tuple[int, Any]:
        if request.method != "POST" or request.path != self.path:
            return 404, {}
        if self.secret is not None:
            try:
                standardwebhooks.Webhook(self.secret).verify(request.body, request.headers)
            except standardwebhooks.WebhookVerificationError:
                return 401, {}
        record = json.loads(request.body)
        self.accepted.append((request.headers["webhook-id"], record))
        self.messages.append(record)
        return 204, b""


def _json(request: Request) -> dict[str, Any]:
    try:
        values = json.loads(request.body)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
