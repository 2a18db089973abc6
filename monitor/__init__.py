"""The regrowth monitor: is the restoration work taking hold?

Importing this package loads nothing else. :func:`open_site` and :func:`open_series` open what an installation has
stored and published of a site, and :func:`plot` draws it, see ``docs/python.md``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.access.cube import open_site
    from monitor.access.figure import plot
    from monitor.access.series import open_series

__all__ = ["open_series", "open_site", "plot"]


def __getattr__(name: str) -> Any:
    """Import a function when it is first used: the libraries that it needs take seconds to load."""
    places = {
        "open_site": "monitor.access.cube", "open_series": "monitor.access.series", "plot": "monitor.access.figure",
    }  # fmt: skip
    if name not in places:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(places[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
