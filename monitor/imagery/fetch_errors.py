"""Errors of fetching a remote or local file, a class for each case that callers treat differently."""

from monitor.errors import MonitorError, TryLater


class FetchError(MonitorError):
    """A file that cannot be fetched, although its host answers."""


class FetchRefused(FetchError):
    """An address that must not be fetched, or a response that must not be accepted."""


class NotFound(FetchError):
    """There is nothing at an address (status 404 or 410, or no such local file)."""


class RequestRejected(FetchError):
    """The server answers with another status than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AccessDenied(RequestRejected):
    """The server denies access (401 or 403)."""


class NoAnswer(TryLater):
    """One address gives no answer, while its host is not known to be down."""


class TooLarge(FetchRefused):
    """A response body, or a number of pages, beyond its limit."""


class Truncated(FetchRefused):
    """A body that repeatedly ends before its announced length."""
