"""Exit statuses, those of sysexits.h where one fits."""

from enum import IntEnum

from monitor.errors import BadConfiguration, BadData, MonitorError, TryLater


class Exit(IntEnum):
    """Meaning of the exit status of a command."""

    DONE = 0
    SOME_FAILED = 10
    ALL_FAILED = 20
    USAGE = 64
    BAD_DATA = 65
    BUG = 70
    TRY_LATER = 75
    CONFIGURATION = 78
    STOPPED = 143


def status_of(error: MonitorError) -> Exit:
    """Exit status of a command that an expected error stopped."""
    statuses = {BadConfiguration: Exit.CONFIGURATION, TryLater: Exit.TRY_LATER, BadData: Exit.BAD_DATA}
    return next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), Exit.ALL_FAILED)
