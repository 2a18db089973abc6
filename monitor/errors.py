"""What can go wrong, a class for each thing a caller would treat differently.

Every message says which site or file, what was found, and what to do. The exit status of the
command line is decided by the class alone (see ``jobs.exits``).
"""


class MonitorError(Exception):
    """Expected trouble: told in one line, never with a traceback."""


class BadData(MonitorError):
    """A file or table that a person must mend. Exit status 65."""


class BadConfiguration(MonitorError):
    """The configuration or the credentials do not hold. Exit status 78."""


class TryLater(MonitorError):
    """Locked by another run, or a service is down: nothing is wrong with the input. Exit status 75."""


class StoreBroken(MonitorError):
    """What is stored for a site can not be read; other sites are unaffected."""


class SceneRejected(MonitorError):
    """A scene can not be used; the code in ``reason`` is what is recorded for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
