"""Build the observation series of the sites of a landscape from all their stored scenes.

Whether one scene counts depends on the others: whether its offset is plausible, and which control units can still be
compared with. That is therefore not stored with a scene: the series is a function of all scenes, in whatever order they
arrived.

The site's own values stay as measured. Those of the control ground (every ``control_*`` column and the reference) are
corrected to the site's orbit (:mod:`monitor.controls.orbit_bias`): they show what the control ground would show with
the slopes of the site, so that the difference of the two is unbiased.

Which units are fit, and the steps between orbits, follow from the years that are over: those before the year of the
newest scene of a site. So do the values of those years. A night stores them (:mod:`monitor.derived`), and then reads
only this year's unit means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor import derived
from monitor.controls.control_means import UnitChoice, choose_units, compare, unit_spread
from monitor.controls.orbit_bias import orbit_steps
from monitor.controls.screening import LeftOut
from monitor.controls.selection import REFERENCE_RING, ControlSet
from monitor.cube.offset_check import check_offsets
from monitor.cube.records import MEANS, UNIT_MEASURES, encode_texts
from monitor.cube.scenes import of_one_site, rounded, stored_scenes
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.series.columns import SERIES_MEASURES, SPREAD_COLUMNS, Columns, decode_texts, second_index
from monitor.series.observations import observation_lines
from monitor.sites.site import Site

_COVER: Final = SERIES_MEASURES.index("cover")
_MEASURES: Final = [UNIT_MEASURES.index(name) for name in SERIES_MEASURES]
_MEANS: Final = ("site_means", "control_means")
_OF_SITES: Final = ("changed", "risen", "steps")
_GROUND: Final = (*(f"control_{name}" for name in SERIES_MEASURES), "control_cover_2", "reference_cover")
"""Columns of the control ground, in the order of the steps between orbits."""
_STORED: Final = (
    "digest", "utc", "date", "reason", "clear_fraction", "n_pixels", "scene", "source", "baseline", "sensor", "orbit",
)  # fmt: skip
"""Columns that the values of the years that are over depend on, besides means."""

Scenes = Mapping[str, np.ndarray]
"""(site, time) values of stored scenes by name, as :func:`monitor.cube.scenes.stored_scenes` gives them; the means of
the site (``site_means``) and of its control ground as stored (``control_means``) are those of :data:`SERIES_MEASURES`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A site of a landscape and the ground that it is compared with."""

    ground: str  # key of the site's ground in the landscape, see `monitor.sites.site.ground_key`
    start: date  # first day of the intervention, of the first episode
    controls: ControlSet  # frozen control units; without units the control means stored with each scene are used
    left_out: LeftOut  # first day on which units no longer count, see `monitor.controls.screening.left_out`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """Control units of some sites, padded to (site, unit)."""

    place: np.ndarray  # place of each unit among those of the landscape
    ring: np.ndarray  # ring of each unit; -1: no unit at this place
    gone: np.ndarray  # first day on which each no longer counts

    @classmethod
    def of(cls, landscape: LandscapeStore, sites: Sequence[Compared], numbers: np.ndarray) -> "_Units":
        first = landscape.fixed["first_unit"].astype(np.int64)
        sizes = [
            int(first[k + 1] - first[k]) if one.controls.units else 0 for one, k in zip(sites, numbers, strict=True)
        ]
        shape = len(sites), max(sizes, default=0)
        place = np.minimum(first[numbers][:, None] + np.arange(shape[1]), max(int(first[-1]) - 1, 0))
        ring, gone = np.full(shape, -1), np.full(shape, date.max, "datetime64[D]")
        for k, (one, size) in enumerate(zip(sites, sizes, strict=True)):
            rings = {unit.id: unit.ring for unit in one.controls.units}
            names = [str(name) for name in landscape.fixed["unit"][place[k, :size]]]
            ring[k, :size] = [rings.get(name, 1) for name in names]
            gone[k, :size] = [one.left_out.get(name, date.max) for name in names]
        return cls(place=place, ring=ring, gone=gone)

    def __getitem__(self, sites: slice) -> "_Units":
        return _Units(place=self.place[sites], ring=self.ring[sites], gone=self.gone[sites])

    def means(self, landscape: LandscapeStore, row: np.ndarray) -> np.ndarray:
        """(site, time, unit, measure) means of :data:`SERIES_MEASURES` in some rows (site, time); NaN: not seen."""
        known, means = row >= 0, np.full((*row.shape, self.ring.shape[1], len(_MEASURES)), np.nan)
        if known.any() and self.ring.size:
            row = np.where(known, row, row[known].min())
            with landscape.guarded():
                means[...] = landscape.unit_means(row[..., None], self.place[:, None, :])[..., _MEASURES]
        means[~known[..., None] | (self.ring < 0)[:, None, :]] = np.nan
        return means

    def gone_by(self, day: np.ndarray) -> np.ndarray:
        """(site, time, unit) bool: units that another site has covered by a day (site, time)."""
        return day[..., None] >= self.gone[:, None, :]


def landscape_series(
    landscape: LandscapeStore, sites: Sequence[Compared], *, rows: int | None = None, stored: Path | None = None
) -> xr.Dataset:
    """Build the series of some sites of a landscape.

    With `rows` only the first rows of the landscape are read, as a past night knew them. `stored` is the file of the
    results of the years that are over; without one they are computed.

    Returns
    -------
    xr.Dataset
        On (site, time): the columns of :mod:`monitor.series.columns` (``utc`` for ``time``), ascending by time, and
        ``there``: where it is false, the site has no observation. ``changed`` and ``risen`` on (site, years, unit):
        control units that do not count, see :class:`monitor.controls.control_means.UnitChoice`, with ``year`` (year).

    Raises
    ------
    StoreBroken
        The store cannot be read.
    """
    numbers = np.array([landscape.grounds.index(one.ground) for one in sites], np.int64)
    dataset = check_offsets(stored_scenes(landscape, numbers.tolist(), rows))
    scenes: dict[str, np.ndarray] = {str(name): values.values for name, values in dataset.data_vars.items()}
    acquisition, there = scenes.pop("acquisition"), scenes["there"]
    scenes |= {name: scenes[name][..., [MEANS.index(m) for m in SERIES_MEASURES]] for name in _MEANS}
    scenes["date"] = scenes["date"].astype("datetime64[D]")  # xarray has seconds at most
    units = _Units.of(landscape, sites, numbers)
    year = np.where(there, _year(scenes["date"]), 0)
    over = there & (year < year.max(axis=1, initial=0, keepdims=True))
    first, end = _span(there & ~over)[0], _span(over)[1]
    before = {name: values[:, :end].copy() for name, values in scenes.items()}
    for name, values in before.items():
        values[~over[:, :end]] = -1 if name == "row" else np.zeros((), values.dtype)
    make = partial(_years_over, landscape, sites, units, before)
    inputs = [[one.ground for one in sites], [one.start for one in sites], units.ring, units.gone, acquisition[:end]]
    inputs += [before[name] for name in (*_STORED, *_MEANS)]
    past = make() if stored is None else derived.get(stored, inputs, make, module=__name__)
    now = _judged(
        units, units.means(landscape, scenes["row"][:, first:]), {name: one[:, first:] for name, one in scenes.items()},
        past,
    )  # fmt: skip
    columns = {name: scenes[name] for name in _STORED if name not in ("sensor", "orbit")} | {"there": there}
    for name, values in now.items():
        whole = np.zeros(there.shape, np.promote_types(values.dtype, past[name].dtype))
        whole[:, :end] = past[name]
        np.copyto(whole[:, first:], values, where=~over[:, first:])
        columns[name] = whole
    columns["accepted"] = there & (columns["reason"] == b"")
    return xr.Dataset(
        {name: (("site", "time"), values) for name, values in columns.items()}
        | {name: (("site", "years", "unit"), past[name]) for name in ("changed", "risen")}
        | {"acquisition": ("time", acquisition), "year": ("year", past["years"])}
    )


def series_and_units(
    stored: StoredSite, controls: ControlSet, site: Site, *, left_out: LeftOut | None = None,
    snapshot: str | None = None,
) -> tuple[Columns, UnitChoice | None]:  # fmt: skip
    """Build the series of one site: the columns of :mod:`monitor.series.columns`, ascending by (time, acquisition); and
    the choice of its units that it rests on (None: it has none).

    The start of `site` is used; for control units and those that are left out see :class:`Compared`; the snapshot is
    the newest by default. Raises ``StoreBroken`` where the store cannot be read, or has no such snapshot.
    """
    compared = Compared(ground=stored.ground, start=site.start, controls=controls, left_out=left_out or {})
    series = landscape_series(stored.landscape, [compared], rows=stored.row_limit(snapshot))
    return of_one_site(series, 0), choice_of(series, 0) if controls.units else None


def choice_of(series: xr.Dataset, site: int) -> UnitChoice:
    """The choice of the units of a site, by its place in :func:`landscape_series`."""
    return UnitChoice(series["year"].values, series["changed"].values[site], series["risen"].values[site])


def _span(entries: np.ndarray) -> tuple[int, int]:
    """First place in time at which any site has an entry (site, time), and the place after the last; 0, 0 without."""
    places = np.flatnonzero(entries.any(axis=0))
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)


def _year(dates: np.ndarray) -> np.ndarray:
    return dates.astype("datetime64[Y]").astype(np.int64) + 1970


def _years_over(
    landscape: LandscapeStore, sites: Sequence[Compared], units: _Units, scenes: Scenes
) -> dict[str, Any]:  # fmt: skip
    """Results of the years that are over: their columns, the units that do not count, and the steps between orbits.

    Steps are estimated from all units, left out or not: they depend on slopes, which planting does not change, and
    earlier scenes keep their values. One site is in memory at a time.
    """
    there = scenes["there"]
    years, orbits = np.unique(_year(scenes["date"][there])), np.unique(_orbits(scenes)[there])
    shape = (len(sites), years.size + 1, units.ring.shape[1])
    result: dict[str, Any] = {
        "years": years, "changed": np.zeros(shape, bool), "risen": np.zeros(shape, bool),
        "orbits": orbits, "steps": np.zeros((len(sites), orbits.size, len(_GROUND))),
    }  # fmt: skip
    parts = []
    for k, one in enumerate(sites):
        site = slice(k, k + 1)
        own = {name: values[site] for name, values in scenes.items()}
        means = units[site].means(landscape, own["row"])
        if one.controls.units and there[k].any():
            seen = np.flatnonzero(there[k])
            alone = {name: values[:, seen] for name, values in own.items()}
            result["steps"][k] = _steps(means[:, seen], units[site], alone, one.start, orbits)
            of_site = _choice(means[0, seen], units[site], alone, one.start, gone=True)
            row = np.append(np.searchsorted(of_site.years, years), of_site.years.size)
            result["changed"][k], result["risen"][k] = of_site.changed[row], of_site.risen[row]
        parts.append(_judged(units[site], means, own, {**result, **{name: result[name][site] for name in _OF_SITES}}))
    for name in parts[0] if parts else ():
        result[name] = np.concatenate([part[name] for part in parts])
    return result


def _choice(means: np.ndarray, units: _Units, scenes: Scenes, start: date, *, gone: bool) -> UnitChoice:
    """Units of one site that do not count, from its (time, unit, measure) means; `gone`: also those left out."""
    mine = units.ring[0] >= 0
    present = ~units.gone_by(scenes["date"])[0][:, mine] if gone else None
    orbits = [name.decode() for name in _orbits(scenes)[0].tolist()]
    choice = choose_units(
        means[:, mine, _COVER], scenes["date"][0], start, ring=units.ring[0][mine], present=present, orbits=orbits
    )  # fmt: skip
    padded = [np.zeros((len(mask), mine.size), bool) for mask in choice[1:]]
    for whole, mask in zip(padded, choice[1:], strict=True):
        whole[:, mine] = mask
    return UnitChoice(choice.years, *padded)


def _compared(means: np.ndarray, units: _Units, scenes: Scenes, past: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """(site, time, column) values of the control ground (:data:`_GROUND`); units that are fit, and whether too few."""
    row, of = np.searchsorted(past["years"], _year(scenes["date"])), np.arange(len(units.ring))[:, None]
    fit = ~past["changed"][of, row] & ~units.gone_by(scenes["date"])
    ground = compare(means, units.ring, fit, past["risen"][of, row], cover=_COVER)
    values = [ground.rings[0], ground.rings[1][..., _COVER, None], ground.reference[..., None]]
    return np.concatenate(values, axis=-1), ground.near, ground.few


def _orbits(scenes: Scenes) -> np.ndarray:
    """(site, time) name of the orbit of each scene, bytes; empty: unknown, or the scene is not accepted."""
    # a path of Landsat and an orbit of Sentinel-2 may have the same number
    sensors, number = np.unique(scenes["sensor"], return_inverse=True)
    families = np.array([sensor.split(b"-")[0] + b" " for sensor in sensors.tolist()], np.bytes_)
    known = (scenes["reason"] == b"") & (scenes["orbit"] != b"") & scenes["there"]
    names = np.char.add(families[number.reshape(known.shape)], scenes["orbit"])
    return np.where(known, names, b"")


def _steps(means: np.ndarray, units: _Units, scenes: Scenes, start: date, orbits: np.ndarray) -> np.ndarray:
    """Correction of the control ground of one site to its orbit, (orbit, column), from scenes of years that are over.

    Zero for orbits and columns without a step.
    """
    corrections = np.zeros((orbits.size, len(_GROUND)))
    choice = _choice(means[0], units, scenes, start, gone=False)
    everywhere = _Units(place=units.place, ring=units.ring, gone=np.full_like(units.gone, date.max))
    whole = {"years": choice.years, "changed": choice.changed[None], "risen": choice.risen[None]}
    ground, near, _ = _compared(means, everywhere, scenes, whole)
    accepted, names = scenes["reason"][0] == b"", [name.decode() for name in _orbits(scenes)[0].tolist()]
    compared = units.ring[0] > REFERENCE_RING
    for measure in ("cover", *(name for name in SERIES_MEASURES if name != "cover")):
        k = SERIES_MEASURES.index(measure)
        columns = [k, *range(len(SERIES_MEASURES), len(_GROUND))] if measure == "cover" else [k]
        own = np.where(accepted, scenes["site_means"][0, :, k], np.nan)
        of_units = np.where(near[0], means[0, :, :, k], np.nan)[:, compared]
        steps = orbit_steps(scenes["moment"][0], names, own[:, None] - ground[0][:, columns], of_units)
        if measure == "cover" and not any(step.any() for step in steps.values()):
            break
        for orbit, step in steps.items():
            corrections[np.searchsorted(orbits, orbit.encode()), columns] = step
    return corrections


def _judged(units: _Units, means: np.ndarray, scenes: Scenes, past: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of some scenes that depend on control ground or take long: reason, means and lines, (site, time)."""
    ground, near, few = _compared(means, units, scenes, past)
    spread = unit_spread(means[..., _COVER], near) - ground[..., _COVER]  # about the mean, which may be corrected
    if past["steps"].any():
        names, known = _orbits(scenes), past["orbits"]
        number = np.minimum(np.searchsorted(known, names), known.size - 1)
        steps = np.take_along_axis(past["steps"], number[..., None], axis=1) * (known[number] == names)[..., None]
        least = np.array([0.0 if "cover" in name else -1.0 for name in _GROUND])
        moved = past["steps"].any(axis=1)[:, None, :]
        ground = np.where(moved, np.clip(ground + steps, least, 1.0), ground)
    has_units = (units.ring >= 0).any(axis=1)[:, None]
    as_stored = np.full(ground.shape, np.nan)
    as_stored[..., : len(SERIES_MEASURES)] = scenes["control_means"]
    ground = np.where(has_units[..., None], rounded(ground, 6), as_stored)
    accepted = scenes["there"] & (scenes["reason"] == b"")
    unseen = accepted & has_units & np.isnan(ground[..., _COVER])
    accepted &= ~unseen
    columns = {"reason": np.where(unseen, np.where(few, b"CONTROL_FEW", b"CONTROL_HIDDEN"), scenes["reason"])}
    for named, values in ((SERIES_MEASURES, scenes["site_means"]), (_GROUND, ground)):
        columns |= {name: np.where(accepted, values[..., k], np.nan) for k, name in enumerate(named)}
    columns |= {name: columns["control_cover"] + own for name, own in zip(SPREAD_COLUMNS, spread, strict=True)}
    there = scenes["there"]
    shown: dict[str, Any] = {name: values[there] for name, values in {**scenes, **columns}.items()}
    shown |= {name: decode_texts(shown[name]) for name in ("scene", "source", "baseline", "reason")}
    shown["accepted"] = accepted[there]
    shown["control_2"] = shown["control_cover_2"]
    shown["second_index"], shown["control_second_index"] = second_index(shown)
    lines = encode_texts(observation_lines(shown))
    columns["line"] = np.zeros(there.shape, lines.dtype)
    columns["line"][there] = lines
    return columns
