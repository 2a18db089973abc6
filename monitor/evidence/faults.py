"""Faults of a pack, in the words that ``verify`` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.errors import BadData

LAYOUT: Final = "the layout of the zip"
"""Name of a fault that is not in the content of a member."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a pack."""

    member: str
    """Name of the member, or :data:`LAYOUT`."""
    difference: str
    """The difference, in words."""

    def __str__(self) -> str:
        return f"{self.member}: {self.difference}"


class PackRefused(BadData):
    """A pack is not what was signed; `faults` lists every difference."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def faults_of(error: BadData, name: str) -> Sequence[Fault]:
    """Faults of the pack with this name, which was refused or cannot be read."""
    return error.faults if isinstance(error, PackRefused) else (Fault(name, str(error)),)
