"""Tiles under the map of the index, where the settings name some."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_PLACEHOLDERS: Final = frozenset({"z", "x", "y", "-y", "s", "r"})
"""Those that Leaflet fills in: zoom, column, row, row from the south, one of a to c, and @2x on fine screens."""
_PLAIN: Final = re.compile(r"[^\s\"'<>`;,|^\\\x00-\x1f\x7f]+")
_HOST: Final = re.compile(r"(?:\{s\}\.)?[A-Za-z0-9.-]+(?::\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Basemap:
    """Template of map tiles, ``https://...`` or a path relative to the output root, and its attribution.

    Raises ``ValueError`` where it is not such an address or path, or lacks one of ``{z}``, ``{x}`` and ``{y}``.
    """

    url: str
    attribution: str = ""

    def __post_init__(self) -> None:
        names = set(re.findall(r"\{([^{}]*)\}", self.url))
        lacking = [f"{{{name}}}" for name in ("z", "x", "y") if name not in names and f"-{name}" not in names]
        if lacking:
            msg = f"a template of map tiles needs {' and '.join(lacking)}, as in https://host/{{z}}/{{x}}/{{y}}.png"
            raise ValueError(msg)
        if unknown := sorted(names - _PLACEHOLDERS):
            msg = f"{{{unknown[0]}}} means nothing in a template of map tiles; it may have {{z}}, {{x}}, {{y}}, {{s}}"
            raise ValueError(msg)
        if not _PLAIN.fullmatch(self.url):
            msg = "a template of map tiles has no spaces, quotes, commas or semicolons; write them as %20, %2C"
            raise ValueError(msg)
        scheme = urlsplit(self.url).scheme
        if not scheme and self.url.startswith("/"):
            raise ValueError("a path to map tiles is relative to the output root: tiles/{z}/{x}/{y}.png")
        if scheme and not (self.url.startswith("https://") and self.host):
            msg = "map tiles come from https://..., or from a path relative to the output root; no user or password"
            raise ValueError(msg)

    @property
    def host(self) -> str:
        """Host of the tiles, with ``*`` for a varying part; empty: they lie beside the pages."""
        network = urlsplit(self.url.replace("{s}", "_s_")).netloc.replace("_s_", "{s}")
        return network.replace("{s}", "*") if _HOST.fullmatch(network) else ""

    @property
    def credit(self) -> str:
        """Text that is shown on the map."""
        return self.attribution or self.host.removeprefix("*.")
