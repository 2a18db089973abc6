"""Build the observation series of a site from all its stored scenes.

Whether one scene counts depends on the others: whether its offset is plausible, and which control units can still be
compared with. That is therefore not stored with a scene: the series is a function of all scenes, in whatever order they
arrived.

The site's own values stay as measured. Those of the control ground (every ``control_*`` column and the reference) are
corrected to the site's orbit (:mod:`monitor.controls.orbit_bias`): they show what the control ground would show with
the slopes of the site, so that the difference of the two is unbiased.

Which units are fit, and the steps between orbits, follow from the years that are over, and so do the values of those
years. They are stored (:mod:`monitor.derived`), so that a night reads only this year's unit means.
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor import derived
from monitor.controls.control_means import Comparison, UnitChoice, compare, compare_counting, unit_choice
from monitor.controls.orbit_bias import orbit_steps
from monitor.controls.screening import LeftOut
from monitor.controls.selection import ControlSet
from monitor.cube.offset_check import check_offsets
from monitor.cube.records import UNIT_MEASURES, encode_texts
from monitor.cube.stored_site import StoredSite
from monitor.series.columns import CONTROL_COLUMNS, SERIES_MEASURES, Columns, chain_hashes, decode_texts, second_index
from monitor.series.observations import observation_lines
from monitor.sites.site import Site

_STORED_COLUMNS: Final = (
    "acquisition", "time", "date", "digest", "accepted", "reason", "clear_fraction", "n_pixels", "scene", "source",
    "baseline", *SERIES_MEASURES,
)  # fmt: skip
"""Columns taken from the store; the offset check and the control ground may still reject a scene."""
_PAST_COLUMNS: Final = ("accepted", "reason", *SERIES_MEASURES, *CONTROL_COLUMNS, "chain", "line")
"""Columns of the years that are over which are stored as derived results."""
_MEASURES: Final = [UNIT_MEASURES.index(name) for name in SERIES_MEASURES]

Steps = Mapping[str, Mapping[str, float]]
"""Correction added to the control ground, by orbit and column; zero for orbits and columns that are missing."""


def site_series(
    stored: StoredSite,
    controls: ControlSet,
    site: Site,
    *,
    left_out: LeftOut | None = None,
    snapshot: str | None = None,
) -> Columns:
    """Build the series of a site: the columns of :mod:`monitor.series.columns`, ascending by (time, acquisition).

    Parameters
    ----------
    stored, site
        The site (its start is used) and its stored scenes.
    controls : ControlSet
        Frozen control units; without units the control means stored with each scene are used.
    left_out : mapping, optional
        First day on which units no longer count, see :func:`monitor.controls.screening.left_out`.
    snapshot : str, optional
        Default: the newest.

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    """
    return series_and_units(stored, controls, site, left_out=left_out, snapshot=snapshot)[0]


def series_and_units(
    stored: StoredSite,
    controls: ControlSet,
    site: Site,
    *,
    left_out: LeftOut | None = None,
    snapshot: str | None = None,
) -> tuple[Columns, UnitChoice | None]:
    """Build the series of a site, and the choice of its units it rests on; None: it has no units.

    Parameters and errors: see :func:`site_series`.
    """
    seen = stored.columns(snapshot)
    seen["accepted"], seen["reason"] = check_offsets(seen)
    if not controls.units:
        nothing = np.full(seen["row"].size, np.nan)
        return _judged(seen, {name: seen.get(name, nothing) for name in CONTROL_COLUMNS}, None), None
    left_out = left_out or {}
    year = seen["date"].astype("datetime64[Y]")
    over = int(np.searchsorted(year, year[-1])) if year.size else 0
    before, now = ({name: values[part] for name, values in seen.items()} for part in (slice(over), slice(over, None)))
    units = [(unit.id, unit.ring, left_out.get(unit.id)) for unit in controls.units]
    inputs = [*(before[name] for name in (*_STORED_COLUMNS, "sensor", "orbit")), stored.units, units, site.start]
    file = stored.derived.with_name(f"{stored.derived.name}.series")
    past = derived.get(file, inputs, partial(_years_over, stored, before, controls, site, left_out), module=__name__)
    choice = UnitChoice(*(past[f"units_{name}"] for name in UnitChoice._fields))
    compared = _compared(stored, now, controls, choice, left_out)
    ground = _corrected(_ground(compared.rings, compared.reference), now, past["steps"])
    this_year = _judged(now, ground, compared.few, past["chain"][-1:].tobytes())
    columns = {
        name: np.concatenate([past[name] if name in past else before[name], values])
        for name, values in this_year.items()
    }
    return columns, choice


def _years_over(
    stored: StoredSite, seen: Columns, controls: ControlSet, site: Site, left_out: LeftOut
) -> dict[str, Any]:
    """Results of the years that are over: their columns, the units that do not count, and the steps between orbits.

    Steps are estimated from all units, left out or not: they depend on slopes, which planting does not change, and
    earlier scenes keep their values.
    """
    coords = {"time": seen["moment"], "unit": stored.units, "measure": list(SERIES_MEASURES)}
    means = xr.DataArray(_means(stored, seen), dims=("time", "unit", "measure"), coords=coords)
    orbits = _orbits(seen)
    whole = compare(means, controls, since=site.start, orbits=orbits)
    steps = _orbit_steps(seen, _ground(whole.rings, whole.reference), whole.units)
    choice = unit_choice(means, controls, since=site.start, left_out=left_out, orbits=orbits)
    compared = _compared(stored, seen, controls, choice, left_out)
    columns = _judged(seen, _corrected(_ground(compared.rings, compared.reference), seen, steps), compared.few)
    return {**{name: columns[name] for name in _PAST_COLUMNS}, "steps": steps} | {
        f"units_{name}": values for name, values in choice._asdict().items()
    }


def _means(stored: StoredSite, seen: Columns) -> np.ndarray:
    """(time, unit, measure) means of the control units in some scenes, of the measures :data:`SERIES_MEASURES`."""
    return stored.unit_means_of(seen["row"])[:, :, _MEASURES]


def _compared(
    stored: StoredSite, seen: Columns, controls: ControlSet, choice: UnitChoice, left_out: LeftOut
) -> Comparison:
    return compare_counting(
        _means(stored, seen), seen["moment"], stored.units, SERIES_MEASURES, controls, choice, left_out=left_out
    )  # fmt: skip


def _ground(rings: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """(time,) values of the control ground, by column, from :class:`monitor.controls.control_means.Comparison`."""
    return {
        **{f"control_{name}": rings[0, :, k] for k, name in enumerate(SERIES_MEASURES)},
        "control_cover_2": rings[1, :, SERIES_MEASURES.index("cover")],
        "reference_cover": reference,
    }


def _orbits(seen: Columns) -> list[str]:
    """Name of the orbit of each scene; empty: unknown, or the scene is not accepted."""
    # a path of Landsat and an orbit of Sentinel-2 may have the same number
    rows = zip(decode_texts(seen["sensor"]), decode_texts(seen["orbit"]), seen["accepted"].tolist(), strict=True)
    return [f"{sensor.split('-')[0]} {orbit}" if accepted and orbit else "" for sensor, orbit, accepted in rows]


def _orbit_steps(seen: Columns, ground: Columns, units: np.ndarray) -> Steps:
    """Correction of the control ground to the site's orbit, estimated from scenes of years that are over.

    ``units`` is (time, unit, measure), see :class:`monitor.controls.control_means.Comparison`.
    """
    orbits = _orbits(seen)
    by_orbit: dict[str, dict[str, float]] = {}
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
            by_orbit.setdefault(orbit, {}).update(zip(names, step.tolist(), strict=True))
    return by_orbit


def _corrected(ground: Columns, seen: Columns, steps: Steps) -> Columns:
    """Values of the control ground corrected to the site's orbit, six decimals, by column."""
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
    """Columns of the series of some scenes, from their stored columns and the values of the control ground.

    `few` (time,) says in which scenes fewer than ten units can be compared with, None: there are no units; `before` is
    the chain hash of the scene before.
    """
    columns = {name: seen[name] for name in _STORED_COLUMNS}
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
    shown_as["control_2"] = columns["control_cover_2"]
    shown_as["second_index"], shown_as["control_second_index"] = second_index(columns)
    return {**columns, "line": encode_texts(observation_lines(shown_as))}
