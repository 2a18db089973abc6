"""Logs on stderr, without secrets: lines for people on a terminal, JSON lines elsewhere.

No traceback shows the values of variables. Secrets are replaced in every line of this program's logs and of those of
libraries: whatever the environment names as a secret, passwords of the configured addresses, and what
:func:`monitor.errors.redacted` finds by its form.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from monitor import errors

SECRET: Final = re.compile(r"REGROWTH_\w*(PASSWORD|SECRET|TOKEN|KEY)|REGROWTH_CHANNEL_\w+_URL|PGPASSWORD")
"""Names of environment variables that hold a secret; with ``_FILE`` added they name a file that does."""
SHORTEST: Final = 4
"""Letters of a secret that is replaced wherever it stands: a shorter one would garble other words."""
MOST: Final = 2**16
"""So much is read of a file that holds a secret. [byte]"""

_passwords: set[str] = set()
"""Passwords of the addresses in the settings."""
_plain_record = logging.getLogRecordFactory()


def hide_passwords(addresses: Iterable[str | None]) -> None:
    """Replace the passwords of these addresses in all that is logged from now on."""
    for address in addresses:
        if found := re.search(r"//[^:/?#]*:(.*)@", address or ""):
            _passwords.add(found[1])


def redacted(text: str) -> str:
    """A text without any secret that is known, see the module."""
    named = tuple(sorted((name, value) for name, value in os.environ.items() if SECRET.match(name)))
    for secret in _spellings(named, frozenset(_passwords)):
        text = text.replace(secret, errors.HIDDEN)
    return errors.redacted(text)


def set_up_logs(*, quiet: bool = False) -> None:
    """Structured logs on stderr; those of libraries pass through the same redaction."""
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
    logging.setLogRecordFactory(_record)
    os.environ.setdefault("ICECHUNK_LOG", "error")  # it warns of concurrent commits; only one process commits


def _record(*args: Any, **more: Any) -> logging.LogRecord:
    """A record of the standard library's logging, its text and its traceback redacted."""
    record = _plain_record(*args, **more)
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit the text
        text = str(record.msg)
    record.msg, record.args = redacted(text), ()
    if record.exc_info:
        record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
    return record


@cache
def _spellings(named: tuple[tuple[str, str], ...], passwords: frozenset[str]) -> tuple[str, ...]:
    """Every way in which a secret may be written, the longest first."""
    secrets = set(passwords)
    for name, value in named:
        secrets |= set(_lines(Path(value))) if name.endswith("_FILE") else {value.strip()}
    found = set()
    for secret in secrets:
        for one in (secret, unquote(secret), quote(secret, safe="")):
            found |= {one, json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1], repr(one)[1:-1]}
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True))


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return [line.strip() for line in file.read(MOST).decode(errors="replace").splitlines()]
    except (OSError, ValueError):
        return []
