"""Logs on stderr, without secrets: lines for people on a terminal, JSON lines elsewhere.

Tracebacks show no values of variables. Secrets are replaced in every line that this program or a library logs: values
of environment variables that hold secrets, the parts of those that are addresses, passwords in configured addresses,
and what has the form of a secret (:func:`monitor.errors.redacted`).
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

from jobs.runtime.secrets import file_content
from monitor import errors

SECRET_VARIABLES: Final = re.compile(  # or, with _FILE appended, name a file with one
    r"REGROWTH_\w*(PASSWORD|SECRET|TOKEN|KEY)|REGROWTH_CHANNEL_\w+_URL|PGPASSWORD|PC_SDK_SUBSCRIPTION_KEY"
    r"|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)"
)
MIN_SECRET_LETTERS: Final = 4  # shorter secrets are not replaced: that would garble ordinary words
MIN_PART_LETTERS: Final = 8  # shorter parts of a secret address are not replaced by themselves [characters]

_passwords: set[str] = set()  # passwords, and secret paths, in the addresses of the settings
_plain_record = logging.getLogRecordFactory()


def hide_passwords(addresses: Iterable[str | None]) -> None:
    """Replace the passwords of these addresses in everything that is logged from now on."""
    for address in addresses:
        if password := re.search(r"//[^:/?#]*:(.*)@", address or ""):
            _passwords.add(password[1])


def hide_paths(addresses: Iterable[str]) -> None:
    """Replace the paths of these addresses, which identify an account, in everything that is logged from now on."""
    for address in addresses:
        path = re.sub(r"^[^/]*//[^/?#]*|[?#].*", "", address).strip("/")  # urlsplit refuses some hosts
        if len(path) >= MIN_PART_LETTERS:
            _passwords.add(path)


def redacted(text: str) -> str:
    """Replace all known secrets in a text (see the module)."""
    variables = tuple(sorted((name, value) for name, value in os.environ.items() if SECRET_VARIABLES.match(name)))
    others, words = _patterns(variables, frozenset(_passwords))
    return words.sub(errors.HIDDEN, errors.redacted(others.sub(errors.HIDDEN, text)))


def set_up_logs(*, quiet: bool = False) -> None:
    """Configure structured logs on stderr and redact those of libraries too; `quiet`: errors only."""
    import structlog

    terminal = sys.stderr.isatty()
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if terminal:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            renderer,
            lambda _logger, _method, line: redacted(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR if quiet else logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    logging.setLogRecordFactory(_redacted_record)
    os.environ.setdefault("ICECHUNK_LOG", "error")  # it warns of concurrent commits; only one process commits


def _redacted_record(*args: Any, **more: Any) -> logging.LogRecord:
    """A record of the standard library's logging with text and traceback redacted."""
    record = _plain_record(*args, **more)
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit the text
        text = str(record.msg)
    record.msg, record.args = redacted(text), ()
    if record.exc_info:
        record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
    return record


@cache  # every line that is logged needs it, and files are read for it
def _patterns(variables: tuple[tuple[str, str], ...], passwords: frozenset[str]) -> tuple[re.Pattern[str], ...]:
    """Patterns of secrets in whatever form they are written (:func:`_letter`), longest first; words apart.

    A secret of letters and digits only is replaced last: it may be part of a name that marks another secret (`word` of
    `password`). The others are replaced first: what is marked may end within them.
    """
    secrets = set(passwords)
    for name, value in variables:
        text = _content(value) if name.endswith("_FILE") else value
        values = [line.strip() for line in text.splitlines()]
        secrets |= set(values)
        if name.removesuffix("_FILE").endswith("_URL"):
            secrets |= {part for address in values for part in _parts(address)}
    spelled = {text for secret in secrets for text in (secret, unquote(secret)) if len(text) >= MIN_SECRET_LETTERS}
    both: tuple[list[str], list[str]] = ([], [])
    for text in sorted(spelled, key=len, reverse=True):
        both[text.isascii() and text.isalnum()].append("".join(map(_letter, text)))
    return tuple(re.compile("|".join(patterns) or "(?!)") for patterns in both)  # the last matches nothing


@cache
def _letter(letter: str) -> str:
    """Pattern of a letter of a secret: as it is, after backslashes, or as URLs, JSON and Python may write it.

    Examples
    --------
    >>> re.fullmatch(_letter("/"), "%2F") is not None
    True
    """
    if letter.isascii() and letter.isalnum():
        return letter
    encoded = letter.encode(errors="surrogatepass")
    ways = [r"\\{,8}" + re.escape(letter), "".join(f"%{byte:02x}" for byte in encoded)]
    for escape in {ascii(letter)[1:-1], json.dumps(letter)[1:-1], repr(encoded)[2:-1]}:
        if escape.startswith("\\"):  # more of them, where text was escaped twice
            ways.append(re.escape(escape).replace(r"\\", r"\\{1,8}"))
    if letter == " ":
        ways.append("[+]")
    return f"(?i:{'|'.join(ways)})"


def _parts(address: str) -> set[str]:
    """The parts of a secret address that may be tokens, which a library logs in other addresses."""
    scheme, _, rest = address.partition("://")
    authority, _, path = (rest or scheme).partition("/")
    user, _, host = authority.rpartition("@")
    public = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?", host) is not None  # else it may be a token too
    name, _, password = user.partition(":")
    parts = re.split(r"[/:?&=#,;]+", "/".join([name, "" if public else host, path]))
    return {part for part in parts if len(part) >= MIN_PART_LETTERS} | {password}


def _content(path: str) -> str:
    try:
        return file_content(path).decode(errors="replace")
    except (OSError, ValueError):
        return ""
