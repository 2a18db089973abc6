"""Jobs that fail, apart from the tests: a worker that computes one imports only this."""

from monitor.errors import BadConfiguration


def refuse():
    raise BadConfiguration("no key")


class Odd(Exception):
    """An error that cannot be sent to another process."""

    def __init__(self, status, message):
        super().__init__(message)


def odd():
    raise Odd(3, "what it says")
