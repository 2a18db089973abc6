"""A mail server on loopback that speaks SMTP, with failures on request.

with MailServer() as server:                                # certificate=...: offers STARTTLS
    server.answer("RCPT", "550 no such user", recipient="li@example.org")
    server.answer("DATA", "451 try again", times=1)         # stages: MAIL, RCPT, DATA
    server.drop_after_data(times=1)
    server.delay("DATA", 3.0)
    server.mails                                            # received and confirmed: .sender, .recipients, .message
    server.attempts                                         # every mail that arrived whole, also if dropped
    server.connections, server.logins
"""

import asyncio
import email
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.loopback.certificates import Certificate

MAIL_CHANNEL = """
[channels.mail]
kind = "smtp"
host = "127.0.0.1"
port = {port}
starttls = false
sender = "regrowth@example.org"
"""
"""Settings of a channel that leads to such a server."""
MAIL_TO_MANAGERS = f"""
[alerts]
channels = ["mail"]
{MAIL_CHANNEL}"""


@dataclass
class Mail:
    """One mail as received."""

    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    helo: str
    """Name by which the sender introduced itself."""

    @property
    def message(self) -> EmailMessage:
        """As a mail program reads it."""
        return email.message_from_bytes(self.raw, policy=default)

    @property
    def id(self) -> str:
        return self.message["Message-ID"]

    @property
    def text(self) -> str:
        return self.message.get_body(["plain"]).get_content()

    @property
    def html(self) -> str | None:
        body = self.message.get_body(["html"])
        return None if body is None else body.get_content()


@dataclass
class _Rule:
    stage: str
    reply: str
    times: int | None
    recipient: str | None
    seconds: float = 0.0

    def use(self, stage: str, recipients: list[str]) -> bool:
        if self.stage != stage or self.times == 0 or (self.recipient and self.recipient not in recipients):
            return False
        self.times = None if self.times is None else self.times - 1
        return True


@dataclass
class MailServer:
    """See the module."""

    certificate: Certificate | None = None
    """Offer STARTTLS with it; None: STARTTLS is not offered."""
    encrypted: bool = False
    """Encrypt from the first byte instead, as port 465 does."""
    user: str | None = None
    """Who must log in; None: nobody."""
    password: str | None = None
    mails: list[Mail] = field(default_factory=list)
    attempts: list[Mail] = field(default_factory=list)
    connections: int = 0
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    """User, password and whether the connection was encrypted."""
    port: int = 0
    _rules: list[_Rule] = field(default_factory=list)
    _sessions: list[SMTP] = field(default_factory=list)

    host = "127.0.0.1"

    def answer(self, stage: str, reply: str, *, times: int | None = None, recipient: str | None = None) -> None:
        """Answer a command with `reply`, so many `times` (None: always), of mails to this recipient (None: all)."""
        self._rules.append(_Rule(stage, reply, times, recipient))

    def delay(self, stage: str, seconds: float, *, times: int | None = None, recipient: str | None = None) -> None:
        """Wait before the answer to a command."""
        self._rules.append(_Rule(f"{stage} delay", "", times, recipient, seconds))

    def drop_after_data(self, *, times: int | None = None) -> None:
        """Take the mail and close the connection instead of confirming it."""
        self._rules.append(_Rule("drop", "", times, None))

    def close_connections(self) -> None:
        """Close all open connections."""
        for session in self._sessions:
            if session.transport is not None:
                self._loop.call_soon_threadsafe(session.transport.abort)

    def __enter__(self) -> "MailServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        tls = self.certificate.server_context() if self.certificate and self.encrypted else None
        self._server = self._run(self._loop.create_server(self._protocol, self.host, self.port, ssl=tls))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop.is_closed():
            return
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _stop(self) -> None:
        self._server.close()
        for session in self._sessions:
            if session.transport is not None:
                session.transport.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _protocol(self) -> SMTP:
        self.connections += 1
        session = self._session()
        self._sessions.append(session)
        return session

    def _session(self) -> SMTP:
        return SMTP(
            _Handler(self),
            hostname="mail.example",
            tls_context=self.certificate.server_context() if self.certificate and not self.encrypted else None,
            authenticator=self._log_in if self.user else None,
            auth_required=bool(self.user),
            auth_require_tls=self.certificate is not None,
            loop=self._loop,
        )

    def _log_in(self, _server: SMTP, session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False)
        user, password = data.login.decode(), data.password.decode()
        self.logins.append((user, password, self.is_encrypted(session)))
        return AuthResult(success=(user, password) == (self.user, self.password), handled=False)

    def is_encrypted(self, session: Any) -> bool:
        """Whether a session is, by STARTTLS or from its first byte."""
        return self.encrypted or session.ssl is not None

    def _rule(self, stage: str, recipients: list[str]) -> _Rule | None:
        return next((rule for rule in self._rules if rule.use(stage, recipients)), None)


class _Handler:
    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def handle_MAIL(self, _smtp: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        def accept() -> str:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
            return "250 OK"

        return await self._reply("MAIL", [], accept)

    async def handle_RCPT(self, _smtp: SMTP, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        def accept() -> str:
            envelope.rcpt_tos.append(address)
            return "250 OK"

        return await self._reply("RCPT", [address], accept)

    async def handle_DATA(self, smtp: SMTP, session: Any, envelope: Any) -> str:
        encrypted = self._server.is_encrypted(session)
        mail = Mail(envelope.mail_from, list(envelope.rcpt_tos), envelope.content, encrypted, session.host_name)
        self._server.attempts.append(mail)
        if self._server._rule("drop", mail.recipients):
            smtp.transport.abort()
            return "250 OK"

        def accept() -> str:
            self._server.mails.append(mail)
            return f"250 OK: queued as {len(self._server.mails)}"

        return await self._reply("DATA", mail.recipients, accept)

    async def _reply(self, stage: str, recipients: list[str], accept: Callable[[], str]) -> str:
        slow = self._server._rule(f"{stage} delay", recipients)
        if slow:
            await asyncio.sleep(slow.seconds)
        rule = self._server._rule(stage, recipients)
        return rule.reply if rule else accept()
