"""Messages as mails, through a mail server that the configuration names (RFC 5321)."""

import ipaddress
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final

from monitor.alerts.channels.certificate import connection_fault, system_trust
from monitor.alerts.channels.channel import Message, NotDelivered, Undeliverable, Unreachable
from monitor.alerts.mail import as_mail, parse_address
from monitor.errors import BadConfiguration
from monitor.sites.names import without_invisible

STEP_TIMEOUT: Final = 30.0
"""Longest time without a byte from the server, until it is given the mail. [s]"""
MAIL_DEADLINE: Final = 60.0  # longest time to connect, and to send one mail [s]
MAX_REPLY_LINES: Final = 200
"""Longest reply of a server, whose lines smtplib limits; a reply has a few. [line]"""
TLS_PORT: Final = 465
"""Port on which the connection is encrypted from its first byte (RFC 8314)."""
_AUTHENTICATION_REQUIRED: Final = 530


class _Reply:
    """Lines of a connection; a reply without end is refused, which smtplib would hold in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.lines, self.close = file, 0, file.close

    def readline(self, size: int) -> bytes:
        self.lines += 1
        if self.lines > MAX_REPLY_LINES:
            raise OSError(f"a reply of more than {MAX_REPLY_LINES} lines")
        return self._file.readline(size)


class _ShortReplies(smtplib.SMTP):
    def getreply(self) -> tuple[int, bytes]:
        if not isinstance(self.file, _Reply):
            assert self.sock is not None
            self.file: Any = _Reply(self.sock.makefile("rb"))
        self.file.lines = 0
        return super().getreply()


class _ShortRepliesOverTls(_ShortReplies, smtplib.SMTP_SSL):
    pass


class Smtp:
    """Sends mails through one server. The connection is reused for further mails, and reopened when it was dropped.

    Port 465 is encrypted from the first byte; with `starttls` the connection must be encrypted, with a certificate that
    the system trusts. An empty `user`: no login. Limits of time are in seconds. Raises ``BadConfiguration`` where the
    sender is not a mail address, user or password is not ASCII, or the password would be sent without encryption to
    another host.
    """

    def __init__(
        self, *, host: str, port: int, starttls: bool, sender: str, user: str = "", password: str = "",
        step_timeout: float = STEP_TIMEOUT, deadline: float = MAIL_DEADLINE,
    ) -> None:  # fmt: skip
        try:
            self._envelope_sender = parse_address(sender).addr_spec
        except ValueError as error:
            raise BadConfiguration(f"sender {sender!r}: {error}; write for instance regrowth@example.org") from None
        if user and not starttls and port != TLS_PORT and not _is_loopback(host):
            msg = f"user is set and starttls = false: the password would go to {host} unencrypted; remove one of them"
            raise BadConfiguration(msg)
        if not (user + password).isascii():
            raise BadConfiguration("user and password of a mail server must be ASCII")
        self._host, self._port, self._starttls, self._sender = host, port, starttls, sender
        self._user, self._password = user, password
        self._step_timeout, self._deadline = step_timeout, deadline
        self._smtp: smtplib.SMTP | None = None

    def send(self, message: Message, recipient: str) -> str:
        """Send a message to a mail address; returns the answer of the server.

        Raises `NotDelivered` where the server refuses the sender, wants the mail later, or did not confirm it
        (`Unreachable`: it is down, not trusted, offers no encryption, or refuses the login), and `Undeliverable` where
        it refuses the recipient or the mail, or the recipient is not a mail address.
        """
        try:
            to = parse_address(recipient).addr_spec
        except ValueError as error:
            raise Undeliverable(f"recipient {without_invisible(recipient)[:100]!r}: {error}") from None
        content = as_mail(message, sender=self._sender, recipient=recipient).as_bytes()
        smtp = self._connection()
        try:
            with self._time_limit(smtp):
                return self._transfer(smtp, to, content)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            raise NotDelivered(self._describe(error)) from None

    def close(self) -> None:
        """End the session."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with self._time_limit(smtp), suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            smtp.close()

    def _transfer(self, smtp: smtplib.SMTP, to: str, content: bytes) -> str:
        code, answer = smtp.mail(self._envelope_sender)
        if code != 250:
            self._reset(smtp)
            raise NotDelivered(f"{self._server} refuses the sender {self._envelope_sender}: {_said(code, answer)}")
        code, answer = smtp.rcpt(to)
        if code not in (250, 251):
            self._reset(smtp)
            refused = code >= 500 and code != _AUTHENTICATION_REQUIRED
            msg = f"{self._server} refuses the recipient {to}: {_said(code, answer)}"
            raise (Undeliverable if refused else NotDelivered)(msg)
        if smtp.sock is not None:  # filters look at the mail before it is confirmed: giving up sends it twice
            smtp.sock.settimeout(self._deadline)
        try:
            code, answer = smtp.data(content)
        except smtplib.SMTPDataError as error:  # at the command, before any of the mail
            code, answer = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        if code != 250:
            self._reset(smtp)
            msg = f"{self._server} does not take the mail: {_said(code, answer)}"
            raise (Undeliverable if code >= 500 else NotDelivered)(msg)
        return _said(code, answer)

    def _reset(self, smtp: smtplib.SMTP) -> None:
        """Cancel the mail that was begun; a server that closes the connection instead is connected to again."""
        try:
            smtp.rset()
        except (OSError, smtplib.SMTPException):
            self._drop()

    def _connection(self) -> smtplib.SMTP:
        """A session that is open and, if configured, encrypted and logged in."""
        if self._smtp is not None:
            with self._time_limit(self._smtp), suppress(OSError, smtplib.SMTPException):
                if self._smtp.noop()[0] == 250:
                    return self._smtp
            self._drop()
        name = socket.gethostname()  # else smtplib asks a name server for it, without a time limit
        smtp = self._smtp = (
            _ShortRepliesOverTls(local_hostname=name, timeout=self._step_timeout, context=system_trust())
            if self._port == TLS_PORT
            else _ShortReplies(local_hostname=name, timeout=self._step_timeout)
        )
        try:
            with self._time_limit(smtp):
                self._open(smtp)
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            self._drop()
            raise Unreachable(self._describe(error)) from None
        except BaseException:
            self._drop()
            raise
        return smtp

    def _open(self, smtp: smtplib.SMTP) -> None:
        smtp._host = self._host  # type: ignore[attr-defined]  # the name in the certificate; `connect` does not set it
        code, answer = smtp.connect(self._host, self._port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)
        if "." not in smtp.local_hostname and smtp.sock is not None:
            smtp.local_hostname = _address_literal(smtp.sock.getsockname()[0])
        smtp.ehlo_or_helo_if_needed()
        if self._starttls and self._port != TLS_PORT:
            if not smtp.has_extn("starttls"):
                raise Unreachable(
                    f"{self._server} offers no encryption (STARTTLS), so nothing was sent; use a server that does, or "
                    "set starttls = false if the network up to it is trusted"
                )
            smtp.starttls(context=system_trust())
            smtp.ehlo_or_helo_if_needed()
        if self._user:
            smtp.login(self._user, self._password)

    def _describe(self, error: Exception) -> str:
        """Description of an error, without the texts of libraries, which repeat what was sent."""
        broken = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if not broken and (fault := connection_fault(error)):
            why = fault
        elif isinstance(error, smtplib.SMTPAuthenticationError):
            why = f"refuses the login of {self._user!r} ({error.smtp_code}); check user and password"
        elif isinstance(error, smtplib.SMTPNotSupportedError):
            why = "offers no login that is supported"
        elif isinstance(error, smtplib.SMTPResponseException):
            answer = error.smtp_error if isinstance(error.smtp_error, bytes) else b""
            why = f"is not ready: {_said(error.smtp_code, answer)}"
        elif isinstance(error, TimeoutError):
            why = "gives no answer in time"
        elif isinstance(error, ConnectionRefusedError):
            why = "accepts no connection"
        else:
            why = "closed the connection, or was too slow, before it had confirmed the mail"
        return f"mail server {self._server} {why}"

    def _drop(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()

    @contextmanager
    def _time_limit(self, smtp: smtplib.SMTP) -> Iterator[None]:
        """Close the connection at the deadline, also of a server that sends a byte now and then."""

        def stop() -> None:
            with suppress(OSError, TypeError):
                socket.socket.shutdown(smtp.sock, socket.SHUT_RDWR)  # type: ignore[arg-type]  # None: a TypeError

        timer = threading.Timer(self._deadline, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def _server(self) -> str:
        return f"{self._host}:{self._port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "localhost.")


def _address_literal(ip: str) -> str:
    """An own address, as a host without a full name introduces itself (RFC 5321, section 4.1.3)."""
    ip = ip.partition("%")[0]
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _said(code: int, answer: bytes) -> str:
    """The answer of a server in one printable line."""
    return f"{code} {without_invisible(answer.decode('utf-8', 'replace'))[:200]}"
