"""What the stored scenes of a site tell, all of them together: the rows of its series.

How one scene counts may depend on the others: whether its offset can be true, and which control units are still fit to
compare with. So that is never stored with a scene. It is settled anew from all of them whenever one was added, and
comes out the same in whatever order they arrived.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from jobs.records import OBSERVED, observation
from monitor.controls.comparison import control, reference
from monitor.controls.units import ControlSet
from monitor.cube.radiometry import settle
from monitor.cube.store import SiteStore
from monitor.sites.site import Site


def rows(store: SiteStore, controls: ControlSet, site: Site) -> list[dict[str, Any]]:
    """The series of a site, one row an acquisition, as :func:`jobs.records.observation` names them.

    Parameters
    ----------
    store : SiteStore
        Of the site.
    controls : ControlSet
        Its frozen units.
    site : Site
        Gives the start of the work.

    Raises
    ------
    StoreBroken
        What is stored can not be read.
    """
    records = settle(sorted(store.records(), key=lambda record: (record.time, record.acquisition)))
    if not records or not controls.units:
        return [observation(record) for record in records]
    means = store.unit_means()
    rings = control(means, controls, since=site.start)
    best = _plain(reference(means, controls, since=site.start).values)
    values = rings.transpose("time", "ring", "measure")
    names = [str(name) for name in values["measure"].values]
    told = []
    for place, record in enumerate(records):
        first, second = ({n: v for n, v in zip(names, _plain(ring), strict=True)} for ring in values.values[place])
        if record.accepted and first["cover"] is None:
            record = replace(record, accepted=False, reason="CONTROL_HIDDEN")
        row = observation(record)
        if record.accepted:
            row |= {f"control_{name}": first[name] for name in OBSERVED}
            row |= {"control_cover_2": second["cover"], "reference_cover": best[place]}
        told.append(row)
    return told


def _plain(values: np.ndarray) -> list[float | None]:
    """Six decimals: what is judged is exactly what the tables show."""
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]
