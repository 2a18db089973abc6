"""What the process from which the tests fork others has loaded, and worked out as every night does at its start.

Not icechunk, nor what imports it: it starts threads, which a fork does not take along.
"""

import gc
import importlib
import sys
from typing import cast

from monitor import derived
from monitor.alerts.messages import rendering
from monitor.imagery.sample import _embedded_series
from monitor.publish import pages

_loaded = cast("dict[str, object]", sys.modules)
_loaded["icechunk"] = None  # Python then answers every import of it with an ImportError
for _name in (
    "jobs.cli", "jobs.register.detectability", "jobs.runtime.executor", "jobs.reports.failed_night",
    "jobs.health.checks", "jobs.nightly", "jobs.messages.outbox", "jobs.answers.serve",
    "monitor.controls.selection", "monitor.cube.overpass", "monitor.imagery.stac.source",
    "monitor.publish.lots", "monitor.trends.maps", "monitor.verdict.assess", "dask.array",
    "distributed", "geopandas", "numba.core.inline_closurecall", "numba.np.arraymath", "numba.np.npyimpl",
    "pyarrow.parquet", "pyogrio", "rioxarray", "sqlalchemy.dialects.sqlite", "uvicorn", "zarr",
):  # fmt: skip
    importlib.import_module(_name)
for _name in (
    "jobs.register.calibration", "jobs.register.lots", "monitor.maps.failing", "monitor.maps.loss",
    "monitor.maps.seasons", "monitor.maps.site_verdict", "monitor.publish.drafts",
    "monitor.series.build", "monitor.verdict.lots", "monitor.verdict.site_conditions",
):  # fmt: skip
    derived.code_hash(_name)  # a night compares the code with that of the night before
for _templates in (rendering._environment(), pages._environment()):
    for _name in _templates.list_templates():
        _templates.get_template(_name)
_embedded_series()
del sys.modules["icechunk"]
gc.freeze()
