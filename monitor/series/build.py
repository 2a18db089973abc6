"""The series of a site, built from all its stored scenes.

How one scene counts depends on the others: whether its offset can be true, and which control units are still fit to
compare with. So that is never stored with a scene: the series is a function of all of them, the same in whatever order
they arrived.

The site's own values stay as measured. Those of the control ground (every ``control_*`` column and the reference) are
brought to the orbit that the site was seen from (:mod:`monitor.controls.orbit_bias`): they say what the control ground
would show if it sloped as the site does, so that the difference of the two is the right one.

Which units are fit, and what the orbits differ by, follows from the years that are over, and so do the values of those
years. They are stored (:mod:`monitor.derived`), so that a night reads the unit means of this year alone.
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor import derived
from monitor.controls.control_means import Comparison, compare, compare_fit_units, last_fit_year
from monitor.controls.orbit_bias import orbit_steps
from monitor.controls.screening import LeftOut
from monitor.controls.selection import ControlSet
from monitor.cube.offset_check import check_offsets
from monitor.cube.records import UNIT_MEASURES, encode_texts
from monitor.cube.stored_site import StoredSite
from monitor.series.columns import CONTROL_COLUMNS, SERIES_MEASURES, Columns, chain_hashes, decode_texts
from monitor.series.observations import observation_lines
from monitor.sites.site import Site

_STORED: Final = (
    "acquisition", "time", "date", "digest", "accepted", "reason", "clear_fraction", "n_pixels", "scene", "source",
    "baseline", *SERIES_MEASURES,
)  # fmt: skip
"""Columns that are taken as they are stored, but for what the offset check and the control ground say of a scene."""
_MADE: Final = ("accepted", "reason", *SERIES_MEASURES, *CONTROL_COLUMNS, "chain", "line")
"""Columns that are more than that."""
_MEASURES: Final = [UNIT_MEASURES.index(name) for name in SERIES_MEASURES]

Steps = Mapping[str, Mapping[str, float]]
"""What is added to the control ground, by orbit and column; orbits and columns that are not in it stay as they are."""


def site_series(
    stored: StoredSite,
    controls: ControlSet,
    site: Site,
    *,
    left_out: LeftOut | None = None,
    snapshot: str | None = None,
) -> Columns:
    """The series of a site.

    Parameters
    ----------
    stored : StoredSite
        Its stored scenes.
    controls : ControlSet
        Its frozen control units; with none the control ground is as stored with each scene.
    site : Site
        Gives the start of the work.
    left_out : mapping, optional
        From which day on units do not count, see :func:`monitor.controls.screening.left_out`.
    snapshot : str, optional
        As it stood then; None: as it stands.

    Returns
    -------
    mapping
        The columns of :mod:`monitor.series.columns`, ascending by (time, acquisition).

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    """
    seen = stored.columns(snapshot)
    seen["accepted"], seen["reason"] = check_offsets(seen)
    if not controls.units:
        nothing = np.full(seen["row"].size, np.nan)
        return _judged(seen, {name: seen.get(name, nothing) for name in CONTROL_COLUMNS}, None)
    left_out = left_out or {}
    year = seen["date"].astype("datetime64[Y]")
    over = int(np.searchsorted(year, year[-1])) if year.size else 0
    before, now = ({name: values[part] for name, values in seen.items()} for part in (slice(over), slice(over, None)))
    units = [(unit.id, unit.ring, left_out.get(unit.id)) for unit in controls.units]
    inputs = [*(before[name] for name in (*_STORED, "sensor", "orbit")), stored.units, units, site.start]
    past = derived.get(
        stored.derived.with_name(f"{stored.derived.name}.series"),
        inputs,
        partial(_years_over, stored, before, controls, site, left_out),
        module=__name__,
    )
    found = _shown(stored, now, controls, past["last_fit"], left_out)
    ground = _corrected(_ground(found.rings, found.reference), now, past["steps"])
    this_year = _judged(now, ground, found.few, past["chain"][-1:].tobytes())
    return {
        name: np.concatenate([past[name] if name in past else before[name], values])
        for name, values in this_year.items()
    }


def _years_over(
    stored: StoredSite, seen: Columns, controls: ControlSet, site: Site, left_out: LeftOut
) -> dict[str, Any]:
    """What follows from the scenes of the years that are over: their own columns, and what later ones are held against.

    Steps between orbits are learnt from all units, left out or not: they are of slopes, which no planting changes, and
    earlier scenes keep their values.
    """
    coords = {"time": seen["moment"], "unit": stored.units, "measure": list(SERIES_MEASURES)}
    means = xr.DataArray(_means(stored, seen), dims=("time", "unit", "measure"), coords=coords)
    whole = compare(means, controls, since=site.start)
    steps = _orbit_steps(seen, _ground(whole.rings, whole.reference), whole.units)
    last = last_fit_year(means, controls, since=site.start, left_out=left_out)
    found = _shown(stored, seen, controls, last, left_out)
    columns = _judged(seen, _corrected(_ground(found.rings, found.reference), seen, steps), found.few)
    return {**{name: columns[name] for name in _MADE}, "last_fit": last, "steps": steps}


def _means(stored: StoredSite, seen: Columns) -> np.ndarray:
    """(time, unit, measure) means of the control units in some scenes, of the measures :data:`SERIES_MEASURES`."""
    return stored.unit_means_of(seen["row"])[:, :, _MEASURES]


def _shown(stored: StoredSite, seen: Columns, controls: ControlSet, last: np.ndarray, left_out: LeftOut) -> Comparison:
    return compare_fit_units(
        _means(stored, seen), seen["moment"], stored.units, SERIES_MEASURES, controls, last, left_out=left_out
    )  # fmt: skip


def _ground(rings: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """(time,) values of the control ground, by column, of :class:`monitor.controls.control_means.Comparison`."""
    return {
        **{f"control_{name}": rings[0, :, k] for k, name in enumerate(SERIES_MEASURES)},
        "control_cover_2": rings[1, :, SERIES_MEASURES.index("cover")],
        "reference_cover": reference,
    }


def _orbits(seen: Columns) -> list[str]:
    """Name of the orbit that each scene was seen from; empty: unknown, or the scene is not accepted."""
    # a path of Landsat and an orbit of Sentinel-2 may have the same number
    return [
        f"{sensor.split('-')[0]} {orbit}" if accepted and orbit else ""
        for sensor, orbit, accepted in zip(
            decode_texts(seen["sensor"]), decode_texts(seen["orbit"]), seen["accepted"].tolist(), strict=True
        )
    ]


def _orbit_steps(seen: Columns, ground: Columns, units: np.ndarray) -> Steps:
    """What is added to the control ground so that it is seen as the site is, learnt from scenes of years that are over.

    ``units`` is (time, unit, measure), see :class:`monitor.controls.control_means.Comparison`.
    """
    orbits = _orbits(seen)
    found: dict[str, dict[str, float]] = {}
    for measure in ("cover", *(name for name in SERIES_MEASURES if name != "cover")):
        names = [name for name in ground if name.removeprefix("control_").removesuffix("_2") == measure]
        names += ["reference_cover"] if measure == "cover" else []
        own = np.where(seen["accepted"], seen[measure], np.nan)
        difference = own[:, None] - np.stack([ground[name] for name in names], axis=1)
        steps = orbit_steps(seen["moment"], orbits, difference, units[:, :, SERIES_MEASURES.index(measure)])
        if not any(step.any() for step in steps.values()):
            if measure == "cover":
                return {}
            continue
        for orbit, step in steps.items():
            found.setdefault(orbit, {}).update(zip(names, step.tolist(), strict=True))
    return found


def _corrected(ground: Columns, seen: Columns, steps: Steps) -> Columns:
    """Values of the control ground as if it were seen as the site is, six decimals, by column."""
    orbits = _orbits(seen) if steps else []
    corrected = {**ground}
    for name in dict.fromkeys(chain.from_iterable(steps.values())):
        step = np.array([steps.get(orbit, {}).get(name, 0.0) for orbit in orbits])
        corrected[name] = np.clip(ground[name] + step, 0.0 if "cover" in name else -1.0, 1.0)
    # not np.round, which differs in the last digit at times
    return {
        name: np.array([round(value, 6) for value in values.tolist()], np.float64) for name, values in corrected.items()
    }


def _judged(seen: Columns, ground: Columns, few: np.ndarray | None, before: bytes = b"") -> dict[str, np.ndarray]:
    """Columns of some scenes.

    Parameters
    ----------
    seen : mapping
        As stored, after the offset check.
    ground : mapping
        (time,) values of the control ground by column.
    few : (time,) bool array or None
        Whether fewer than ten units are fit to compare each scene with; None: there are no units.
    before : bytes
        Chain of the scene before.
    """
    columns = {name: seen[name] for name in _STORED}
    if few is not None:
        unseen = seen["accepted"] & np.isnan(ground["control_cover"])
        columns["reason"] = np.where(unseen, np.where(few, b"CONTROL_FEW", b"CONTROL_HIDDEN"), seen["reason"])
        columns["accepted"] = seen["accepted"] & ~unseen
    for name in SERIES_MEASURES:
        columns[name] = np.where(columns["accepted"], seen[name], np.nan)
    for name in CONTROL_COLUMNS:
        columns[name] = np.where(columns["accepted"], ground[name], np.nan)
    columns["chain"] = chain_hashes(columns, before)
    shown_as = {name: decode_texts(values) if values.dtype.kind == "S" else values for name, values in columns.items()}
    return {**columns, "line": encode_texts(observation_lines(shown_as))}
