"""What is wrong with a pack, in the words that ``verify`` prints."""

from dataclasses import dataclass
from typing import Final

from monitor.errors import BadData

LAYOUT: Final = "the layout of the zip"
"""What a fault names where it is not in the content of a member."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a pack."""

    member: str
    """Name of the member, or :data:`LAYOUT`."""
    difference: str
    """What differs, in words."""

    def __str__(self) -> str:
        return f"{self.member}: {self.difference}"


class PackRefused(BadData):
    """A pack is not what was signed; `faults` lists every difference."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults
