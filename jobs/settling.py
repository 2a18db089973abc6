"""What the stored scenes of a site tell, all of them together: the rows of its series.

How one scene counts may depend on the others: whether its offset can be true, and which control units are still fit to
compare with. So that is never stored with a scene. It is settled anew from all of them whenever one was added, and
comes out the same in whatever order they arrived.

The site's own values stay as measured. Those of the control ground (every ``control_*`` column and the reference) are
brought to the orbit that the site was seen from (:mod:`monitor.controls.orbits`): they say what the control ground
would show if it lay as the site lies, so that whoever takes the difference takes the right one.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from jobs.records import OBSERVED, observation
from monitor.controls.comparison import compare
from monitor.controls.orbits import orbit_steps
from monitor.controls.units import ControlSet
from monitor.cube.radiometry import settle
from monitor.cube.store import Record, SiteStore
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
    means = store.unit_means().sel(measure=list(OBSERVED))
    found = compare(means, controls, since=site.start)
    ground = {f"control_{name}": found.rings[0, :, k] for k, name in enumerate(OBSERVED)}
    ground["control_cover_2"] = found.rings[1, :, OBSERVED.index("cover")]
    ground["reference_cover"] = found.reference
    ground = _from_the_same_orbit(ground, records, means.time.values, found.units)
    plain = {name: _plain(values) for name, values in ground.items()}
    told = []
    for place, record in enumerate(records):
        if record.accepted and plain["control_cover"][place] is None:
            record = replace(record, accepted=False, reason="CONTROL_HIDDEN")
        row = observation(record)
        if record.accepted:
            row |= {name: values[place] for name, values in plain.items()}
        told.append(row)
    return told


def _from_the_same_orbit(
    ground: dict[str, np.ndarray], records: Sequence[Record], times: np.ndarray, units: np.ndarray
) -> dict[str, np.ndarray]:
    """Values of the control ground as they would be if it lay as the site lies, by column of the series."""
    # a path of Landsat and an orbit of Sentinel-2 may have the same number
    orbits = [f"{r.sensor.split('-')[0]} {r.orbit}" if r.accepted and r.orbit else "" for r in records]
    corrected = dict(ground)
    for measure in ("cover", *(name for name in OBSERVED if name != "cover")):
        columns = [name for name in ground if name.removeprefix("control_").removesuffix("_2") == measure]
        columns += ["reference_cover"] if measure == "cover" else []
        own = np.array([r.measures.get(measure) if r.accepted else None for r in records], dtype=np.float64)
        difference = own[:, None] - np.stack([ground[name] for name in columns], axis=1)
        steps = orbit_steps(times, orbits, difference, units[:, :, OBSERVED.index(measure)])
        if not steps.any():
            if measure == "cover":
                return ground
            continue
        for name, step in zip(columns, steps.T, strict=True):
            lowest = 0.0 if "cover" in name else -1.0
            corrected[name] = np.clip(ground[name] + step, lowest, 1.0)
    return corrected


def _plain(values: np.ndarray) -> list[float | None]:
    """Six decimals: what is judged is exactly what the tables show."""
    return [round(value, 6) if isfinite(value) else None for value in values.tolist()]
