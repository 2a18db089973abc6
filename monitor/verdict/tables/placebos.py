"""Constants from placebos that a user supplies: series of ground where nothing was done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.sites.names import comparable_id, shown
from monitor.sites.site import Site
from monitor.verdict.assessment import Series
from monitor.verdict.calibrate import calibrate
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import Placebo, has_enough_scenes, placebo_start
from monitor.verdict.status import CONSTANT_COVER
from monitor.verdict.tables.series import SAME_COVER, is_distinctive, is_same_ground, read_placebos, shared_dates


class PlaceboConstants(NamedTuple):
    """Constants set on the placebos of a file."""

    of_biome: dict[str, Calibration]
    """By :attr:`monitor.sites.site.Site.biome_key`."""
    notes: list[str]
    """What was set right or left out, in words."""


def constants_from(path: Path, sites: Sequence[Site], observed: Mapping[str, Series]) -> PlaceboConstants:
    """Set the constants of each biome on the placebos of a file.

    Placebos are taken for ground of the biome, and get the plans of its sites (with their series `observed`) in turn,
    since the evidence at which failure turns red depends on the plan. Raises ``BadData`` as
    :func:`monitor.verdict.tables.series.read_placebos` does, where a placebo is one of the sites, and where none can be
    used.
    """
    table = read_placebos(path)
    _refuse_sites(path, table.series, observed)
    notes = [
        f"placebo {name!r}: {count} cover values slightly outside 0..1 were set to 0 or 1"
        for name, count in table.clipped.items()
    ]
    used = _usable(table.series, notes)
    if not used:
        msg = f"{path}: no placebo has three years of scenes and a control that varies"
        raise BadData(msg)
    dated = max(series.dates[-1] for series in used.values()).item()
    constants = {}
    for biome in sorted({site.biome_key for site in sites}):
        theirs = [site for site in sites if site.biome_key == biome]
        theirs = [site for site in theirs if site.plan.A > 0] or theirs
        placebos = [_placebo(name, used[name], theirs[at % len(theirs)]) for at, name in enumerate(sorted(used))]
        notes += [
            f"placebo {one.unit!r} is left out in {biome}: it has too few scenes in the growing season"
            for one in placebos
            if not has_enough_scenes(one)
        ]
        constants[biome] = calibrate(placebos, source=f"placebos of {biome}, {path.name}", dated=dated)
    return PlaceboConstants(constants, notes)


def _usable(series: Mapping[str, Series], notes: list[str]) -> dict[str, Series]:
    """The placebos that can be used, each ground once; `notes` gets the others."""
    used: dict[str, Series] = {}
    seen: dict[str, str] = {}
    for name, one in sorted(series.items()):
        control = one.control[np.isfinite(one.control)]
        twin = seen.setdefault(one.digest, name)
        if not one.dates.size or np.ptp(one.dates.astype("datetime64[Y]").astype(int)) < 2:
            notes.append(f"placebo {name!r} is left out: it has fewer than three years")
        elif not control.size or np.ptp(control) < CONSTANT_COVER:
            notes.append(f"placebo {name!r} is left out: its control is constant, or was never seen")
        elif shared_dates(one.cover, one.control):
            notes.append(f"placebo {name!r} is left out: its control has the cover of the placebo itself")
        elif twin != name:
            notes.append(f"placebo {name!r} is left out: it has the same series as placebo {twin!r}")
        else:
            used[name] = one
    return used


def _placebo(name: str, series: Series, site: Site) -> Placebo:
    start = placebo_start(series.dates, site)
    assert start is not None
    return Placebo(site=replace(site, id=name, start=start, cohorts=()), series=series, unit=name)


def _refuse_sites(path: Path, placebos: Mapping[str, Series], observed: Mapping[str, Series]) -> None:
    """Raise an error about a placebo that is one of the sites: by its name, or by the same cover on the same dates."""
    names = {comparable_id(site): site for site in observed}
    covers: dict[tuple[int, int], list[tuple[str, float]]] = {}
    for name, series in placebos.items():
        if comparable_id(name) in names:
            msg = f"{path}: placebo {shown(name)} is also a site to be judged; leave it out of the placebos"
            raise BadData(msg)
        for day, cover in _covers(series):
            covers.setdefault((day, int(cover / SAME_COVER)), []).append((name, cover))
    for site, series in observed.items():
        shared: Counter[str] = Counter()
        for day, cover in _covers(series):
            step = int(cover / SAME_COVER)
            near = (one for each in (step - 1, step, step + 1) for one in covers.get((day, each), ()))
            shared.update(name for name, other in near if abs(other - cover) <= SAME_COVER)
        for name, count in sorted(shared.items()):
            both = np.intersect1d(series.dates, placebos[name].dates).size
            if is_same_ground(count, both):
                msg = (
                    f"{path}: placebo {shown(name)} has the cover of site {shown(site)} on {count} of {both} dates; a "
                    "placebo is ground where nothing was done: leave it out"
                )
                raise BadData(msg)


def _covers(series: Series) -> list[tuple[int, float]]:
    """Day and cover of each scene with a cover that can tell two grounds apart."""
    some = is_distinctive(series.cover)
    return list(zip(series.dates[some].astype(np.int64).tolist(), series.cover[some].tolist(), strict=True))
