"""The result of a check, and how checks are run so that a broken part does not hide the others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from jobs.runtime.logs import redacted
from monitor.errors import MonitorError

MAX_MESSAGE: Final = 500  # longest message of an error that is shown [character]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check."""

    check: str  # name of the checked part
    state: Literal["ok", "note", "broken"]  # note: nothing to do; broken: needs correction
    message: str  # what the check found, in one line
    fix: str | None = None  # command or setting that corrects it


def ok(check: str, message: str) -> Finding:
    """A finding without a problem."""
    return Finding(check=check, state="ok", message=message)


def note(check: str, message: str, fix: str | None = None) -> Finding:
    """A finding that needs no correction."""
    return Finding(check=check, state="note", message=message, fix=fix)


def broken(check: str, message: str, fix: str | None = None) -> Finding:
    """A finding that needs correction."""
    return Finding(check=check, state="broken", message=message, fix=fix)


def one_line(error: BaseException | str) -> str:
    """Message of an error in one line, without secrets, :data:`MAX_MESSAGE` characters at most."""
    text = " ".join(redacted(str(error)).split())
    return (text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}...") or type(error).__name__


def list_ids(sites: list[str]) -> str:
    """The first twenty site ids, and how many more there are."""
    return ", ".join(sites[:20]) + (f" and {len(sites) - 20} more" if len(sites) > 20 else "")


def attempt[T](check: str, read: Callable[[], T]) -> T | Finding:
    """Result of a function, or a ``broken`` finding if it raises anything."""
    try:
        return read()
    except MonitorError as error:
        return broken(check, one_line(error))
    except Exception as error:  # noqa: BLE001 - the other checks must run whatever is broken
        return broken(check, f"the check failed: {type(error).__name__}: {one_line(error)}")


def guarded(check: str, findings: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Findings of a check; an error that it raises becomes a ``broken`` finding after those before it."""
    iterator = iter(findings())
    while True:
        finding = attempt(check, lambda: next(iterator, None))
        if finding is None:
            return
        yield finding
