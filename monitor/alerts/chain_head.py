"""The head of the chain of nights, as pages and messages state it."""

from dataclasses import dataclass
from datetime import date

from monitor.alerts import words


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Hash of the newest line of the chain: whoever keeps it can later show that nothing before it was changed."""

    night: date
    """Day of the night that appended the line."""
    hash: str
    """SHA-256, hexadecimal."""

    def sentence(self, language: words.Language) -> str:
        """One line for messages."""
        return words.text("chain.head", language, day=words.day(self.night, language), head=self.hash)
