"""The regrowth monitor: is the restoration work taking hold?

These functions do the work of a scientist, see ``docs/python.md``. Importing this package loads nothing else.

>>> import monitor
>>> cube = monitor.open_site("outputs/demo", "demo-02")  # doctest: +SKIP
>>> series = monitor.open_series("outputs/demo", "demo-02")  # doctest: +SKIP
>>> monitor.assess(series, "outputs/demo/sites/demo-02/plan.json")  # doctest: +SKIP
"""

import sys
from typing import TYPE_CHECKING

__version__ = "1.0.0"
__all__ = [
    "assess", "evi2", "export", "msavi2", "ndvi", "open_series", "open_site", "plot", "programme", "trend",
    "vegetation_cover",
]  # fmt: skip

if sys.version_info < (3, 12):  # noqa: UP036 # a clone can be imported by any Python
    raise ImportError(f"the regrowth monitor needs Python 3.12 or newer; this is {sys.version.split()[0]}")

if TYPE_CHECKING:
    from monitor.access.account import programme
    from monitor.access.cube import open_site
    from monitor.access.export import export
    from monitor.access.figure import plot
    from monitor.access.series import open_series
    from monitor.cover.fraction import vegetation_cover
    from monitor.cover.indices import evi2, msavi2, ndvi
    from monitor.trends.maps import trend
    from monitor.verdict.tables.judging import assess
else:
    _MODULES = {
        "assess": "verdict.tables.judging", "export": "access.export", "open_series": "access.series",
        "open_site": "access.cube", "plot": "access.figure", "programme": "access.account", "trend": "trends.maps",
        "vegetation_cover": "cover.fraction", **dict.fromkeys(("evi2", "msavi2", "ndvi"), "cover.indices"),
    }  # fmt: skip

    def __getattr__(name: str) -> object:
        """Import a function when it is first used: the libraries that it needs take seconds to load."""
        from difflib import get_close_matches
        from importlib import import_module

        if name in _MODULES:
            return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        near = get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(__all__)}"
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
