"""Check that the offset in a scene's metadata is the one its pixels were made with.

Sentinel-2 integers carry an offset of -.1 since processing baseline 04.00; some catalogues remove it, and the flags
that say so are wrong at times [1]_. A scene scaled wrongly is too bright or too dark by :data:`OFFSET_STEP` in every
band, on the site and on its control ground alike: NDVI .30 (red .12, infrared .223) is read as .19. Nothing that
happens on the ground does that. Logging and fire raise red and lower the infrared, drought hardly moves blue, haze and
snow fade towards long waves, and what befalls the site alone leaves the control ground as it was.

So each scene is compared with the season of the other scenes of its site. Scenes made before baseline 04.00
are anchors where there are enough of them, since no offset was ever added to them; else all scenes that do not
contradict the others define it. The decision is a function of all stored scenes together, and does not depend on
their order of arrival.

Undetected remain a series of which more than half is wrong, without anchors, unless it makes the ground
impossibly dark; and a single wrong scene under haze or the shadow of a cloud, which may hide the step.

References
----------
.. [1] github.com/Element84/earth-search, issues 66 and 71; github.com/microsoft/PlanetaryComputer, issues 134 and 349.
"""

import math
from typing import Final

import numpy as np
import xarray as xr

from monitor.cube.overpass import parse_baseline
from monitor.imagery import bands
from monitor.kernel_cache import njit

OFFSET_REASON: Final = "RADIOMETRY"  # reason stored for a scene whose offset is contradicted

OFFSET_STEP: Final = 0.1  # BOA_ADD_OFFSET of Sentinel-2 L2A: 1,000 integers of 1e-4 [1]
FIRST_OFFSET_BASELINE: Final = (4,)
"""Processing baseline from which ESA adds the offset, whatever the date of the acquisition."""
DARKEST_POSSIBLE: Final = -0.02
"""Least mean reflectance of ground; errors of the atmospheric correction are smaller. [1]"""

SEASON_NODES: Final = 24  # days of the year, evenly apart, at which the season is estimated; between them it is linear
NODE_WINDOWS: Final = (25.0, 45.0)
"""Scenes of any year this close to a node define its season; the wider window if the narrower holds too few. [day]"""
MIN_SEASON_SCENES: Final = 5  # least number of scenes that define a season; with fewer the metadata are believed
MIN_SCATTER: Final = 0.008  # least scatter of a ground about its season in one band, so that no band decides alone [1]

SHORT_BANDS: Final = ("blue", "green")
"""Bands that drought, growth and wet soil hardly move; red where a sensor lacks them."""
LONG_BANDS: Final = ("nir", "swir16", "swir22")  # bands that haze hardly moves
SHORT_SHARE: Final = 0.75
"""Least error of the short bands under a wrong offset, mean of both grounds, as a share of the step. [1]"""
LONG_SHARE: Final = 0.4  # least error of the long bands; smaller, since growth and wet soil change them [1]
GROUND_SHARE: Final = 0.4
"""Least error of the short bands on each ground: a change of the site alone is not a wrong offset. [1]"""
RELATED_SCENES: Final = 6
"""Number of related scenes: the nearest in time of the same source, baseline and offset, likely processed alike."""
DOUBTFUL_SHARE: Final = 0.3  # a scene off by more is in doubt, and wrong when most of its related scenes are [1]
RELATED_WRONG_SHARE: Final = 0.8
"""If more of the related scenes are wrong, doubt by the short or by the long bands is enough: haze over a scene that is
too dark hides the step in the short bands, wet soil in one that is too bright hides it in the long. [1]"""
MAX_OFF_SHARE: Final = 1 / 3
"""Where more of the scenes without anchors are off, the others need witnesses to be taken for right. [1]"""
WITNESS_RATIO: Final = 0.75
"""Witnesses, scenes that could not be off the other way, needed for each scene that is off. [1]"""
OPPOSITE_SHARE: Final = 0.2
"""Share of the scenes near a node that, being off a way that no offset explains, show the rest to be wrong. [1]"""

_BLUE, _RED = (bands.OBSERVED.index(name) for name in ("blue", "red"))
_SHORT, _LONG, _ONLY_RED = (
    np.array([bands.OBSERVED.index(name) for name in names]) for names in (SHORT_BANDS, LONG_BANDS, ("red",))
)


def check_offsets(scenes: xr.Dataset) -> xr.Dataset:
    """Reject the scenes whose offset is contradicted by the other scenes of their site.

    `scenes` are all stored scenes of some sites (:func:`monitor.cube.scenes.stored_scenes`). Sentinel-2 scenes in
    conflict are not accepted, with the reason :data:`OFFSET_REASON`; those that were set aside for it and are in
    conflict no more are accepted.
    """
    stored = {name: scenes[name].values for name in ("sensor", "quality", "baseline", "source", "offset", "reason")}
    means = [scenes[name].sel(measure=list(bands.OBSERVED)).values for name in ("site_means", "control_means")]
    # Scenes that have means, and an offset that may be wrong: harmonised scenes (``fmask``) have none.
    judged = scenes["accepted"].values | (stored["reason"] == OFFSET_REASON.encode())
    telling = scenes["there"].values & judged & (stored["sensor"].astype("S10") == b"sentinel-2")
    telling &= (stored["quality"] != b"fmask") & np.isfinite(means[0][..., _RED])
    date = scenes["date"].values.astype("datetime64[D]")
    kin = np.zeros(telling.shape, np.int64)
    for name in ("source", "offset", "baseline"):
        values, number = np.unique(stored[name], return_inverse=True)
        kin = kin * len(values) + number.reshape(kin.shape)
    parsed = [parse_baseline(text.decode("utf-8", "surrogatepass")) for text in values.tolist()]  # of the baseline
    old = np.array([() < numbers < FIRST_OFFSET_BASELINE for numbers in parsed], bool)[number].reshape(kin.shape)
    day = (date - date.astype("datetime64[Y]")).astype(np.float64) + 1
    bad = _contradicted(telling, day, stored["offset"], old, kin, np.stack(means))
    reason = np.where(telling, np.where(bad, OFFSET_REASON.encode(), b""), stored["reason"])
    accepted = np.where(telling, ~bad, scenes["accepted"].values)
    return scenes.assign(accepted=(("site", "time"), accepted), reason=(("site", "time"), reason))


@njit(nogil=True, cache=True)
def _contradicted(
    telling: np.ndarray, day: np.ndarray, offset: np.ndarray, old: np.ndarray, kin: np.ndarray, means: np.ndarray
) -> np.ndarray:
    """Which scenes are in conflict, (site, time) bool.

    `telling` are scenes that can be checked, `day` that of the year, `old` whether the baseline is older than 04.00,
    and `kin` a number shared by scenes processed alike, all (site, time); `means` are (ground, site, time, band).
    """
    conflicting = np.zeros(telling.shape, np.bool_)
    for site in range(telling.shape[0]):
        at = np.flatnonzero(telling[site])
        if at.size == 0:
            continue
        seen, grounds = np.empty((means.shape[0], at.size, means.shape[3])), 0
        for ground in range(means.shape[0]):
            seen[grounds] = means[ground, site][at]
            grounds += np.isfinite(seen[grounds]).any()  # a site may have no control ground
        bad = _of_one_site(day[site][at], offset[site][at], old[site][at], kin[site][at], seen[:grounds])
        conflicting[site][at] = bad
    return conflicting


@njit(nogil=True, cache=True)
def _of_one_site(day: np.ndarray, offset: np.ndarray, old: np.ndarray, kin: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Which scenes of one site are in conflict, (scene,) bool; `seen` (ground, scene, band), the rest (scene,)."""
    grounds, n, _ = seen.shape
    # error of the reflectances if the other offset is the true one
    error = np.where(offset < -OFFSET_STEP / 2, -OFFSET_STEP, OFFSET_STEP)
    anchors = old & (error > 0)
    dark, level = np.ones(n, np.bool_), np.zeros(n)
    for scene in range(n):
        for ground in range(grounds):
            dark[scene] &= (seen[ground, scene] < DARKEST_POSSIBLE).any()
            level[scene] += seen[ground, scene, _BLUE] / grounds
    if np.isnan(level).any():  # a sensor lacks blue
        level = seen[:, :, _RED].sum(axis=0) / grounds
    season, anchored_nodes = _nodes(day, level, error, seen, anchors & ~dark, ~dark)
    shift, anchored = _shift(day, seen, season, anchored_nodes)
    short_known = False
    for band in _SHORT:
        short_known |= not np.isnan(shift[:, :, band]).all()
    short, long = _off(shift, error, _SHORT if short_known else _ONLY_RED, _LONG)
    bad, astray, either = np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.bool_)
    for scene in range(n):
        off = short[:, scene]
        everywhere = off.sum() / grounds > SHORT_SHARE and (off > GROUND_SHARE).all()
        bad[scene] = dark[scene] or (everywhere and long[scene] > LONG_SHARE)
        doubt, other = (off > DOUBTFUL_SHARE).all(), long[scene] > DOUBTFUL_SHARE
        astray[scene], either[scene] = doubt and other, doubt or other
    company = _company(kin, bad)
    bad = bad | (astray & (company > 0.5)) | (either & (company > RELATED_WRONG_SHARE))
    doubtful: np.ndarray = bad | _undecided(error, astray | bad, ~(anchors | anchored | dark))
    return doubtful


@njit(nogil=True, cache=True, inline="always")
def _apart(one: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Distance between days of the year, at most half a year. [day]"""
    away = np.abs(one - other)
    return np.minimum(away, np.abs(365.25 - away))


@njit(nogil=True, cache=True)
def _undecided(error: np.ndarray, off: np.ndarray, unvouched: np.ndarray) -> np.ndarray:
    """Scenes that may be right or wrong, as those that contradict them may be, (scene,) bool.

    If those that are off defined the season, the others would be off by as much the other way. For a scene of the same
    offset that is not a possible error: enough of such scenes show that the others are right.
    """
    off, right = off & unvouched, ~off & unvouched
    witnesses = (right & (np.sign(error) == np.sign(error[off].sum()))).sum()
    if off.sum() <= MAX_OFF_SHARE * unvouched.sum() or witnesses >= WITNESS_RATIO * off.sum():
        return np.zeros_like(off)
    return unvouched


@njit(nogil=True, cache=True)
def _shift(
    days: np.ndarray, seen: np.ndarray, season: np.ndarray, anchored_nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means less the season, NaN where either is missing, and whether anchors define the season there, (scene,) bool.

    `days` are those of the year, `seen` is (ground, scene, band). Between the nodes of :func:`_nodes` the season is
    linear; where one node is NaN the other counts.
    """
    shift, anchored = np.empty_like(seen), np.empty(days.size, np.bool_)
    for scene in range(days.size):
        place = days[scene] * SEASON_NODES / 365.25
        share, left = place - math.floor(place), math.floor(place) % SEASON_NODES
        right = (left + 1) % SEASON_NODES
        anchored[scene] = anchored_nodes[left] and anchored_nodes[right]
        for ground in range(seen.shape[0]):
            for band in range(seen.shape[2]):
                a, b = season[left, ground, band], season[right, ground, band]
                before, after = b if np.isnan(a) else a, a if np.isnan(b) else b
                shift[ground, scene, band] = seen[ground, scene, band] - ((1 - share) * before + share * after)
    return shift, anchored


@njit(nogil=True, cache=True)
def _nodes(
    days: np.ndarray, level: np.ndarray, error: np.ndarray, seen: np.ndarray, anchors: np.ndarray, usable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Season at each node (node, ground, band), NaN where too few scenes are near, and whether anchors define it.

    `level` is the brightness, `error` that of the reflectances if the other offset is the true one (scene,), `seen`
    (ground, scene, band). The season is defined by `anchors` where there are enough of them, else by `usable` scenes.
    """
    season = np.full((SEASON_NODES, seen.shape[0], seen.shape[2]), np.nan)
    anchored_nodes = np.zeros(SEASON_NODES, np.bool_)
    for node in range(SEASON_NODES):
        away = _apart(days, node * 365.25 / SEASON_NODES)
        for trial in range(2 * len(NODE_WINDOWS)):
            pool = anchors if trial < len(NODE_WINDOWS) else usable
            close = np.flatnonzero(pool & (away <= NODE_WINDOWS[trial % len(NODE_WINDOWS)]))
            if close.size < MIN_SEASON_SCENES:
                continue
            # The half that lies closest together, in the band that varies least, has one offset.
            ranked = np.sort(level[close])
            half = close.size // 2 + 1
            first = np.argmin(ranked[half - 1 :] - ranked[: close.size - half + 1])
            agreed = np.median(ranked[first : first + half])
            # A scene can be off one way only: if many are off the other way, the half is wrong.
            other = level[close][np.abs(level[close] + error[close] - agreed) < OFFSET_STEP / 2]
            if other.size > OPPOSITE_SHARE * close.size:
                agreed = np.median(other)
            alike = close[np.abs(level[close] - agreed) < OFFSET_STEP / 2]
            for ground in range(seen.shape[0]):
                for band in range(seen.shape[2]):
                    values = seen[ground, :, band][alike]
                    known = values[np.isfinite(values)]
                    if known.size:
                        season[node, ground, band] = np.median(known)
            anchored_nodes[node] = trial < len(NODE_WINDOWS)
            break
    return season, anchored_nodes


@njit(nogil=True, cache=True)
def _off(
    shift: np.ndarray, error: np.ndarray, short_bands: np.ndarray, long_bands: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the scenes from their season, as a share of the step that a wrong offset makes, `error`.

    By the short bands, each weighted by its inverse variance, (ground, scene), and by the long bands, mean of the
    grounds, (scene,); 0 where unknown.
    """
    grounds, scenes, _ = shift.shape
    short, long = np.zeros((grounds, scenes)), np.zeros(scenes)
    weight = np.empty((grounds, short_bands.size))
    for ground in range(grounds):
        for k, band in enumerate(short_bands):
            away = np.abs(shift[ground, :, band])
            close = away[away < OFFSET_STEP / 2]
            scatter = max(1.4826 * np.median(close), MIN_SCATTER) if close.size else MIN_SCATTER
            weight[ground, k] = 1 / scatter**2
    for scene in range(scenes):
        found, count = 0.0, 0
        for ground in range(grounds):
            summed, total = 0.0, 0.0
            for k, band in enumerate(short_bands):
                if not np.isnan(shift[ground, scene, band]):
                    summed += weight[ground, k] * shift[ground, scene, band]
                    total += weight[ground, k]
            if total > 0:
                short[ground, scene] = summed / (total * error[scene])
            for band in long_bands:
                if not np.isnan(shift[ground, scene, band]):
                    found += shift[ground, scene, band]
                    count += 1
        if count:
            long[scene] = found / (count * error[scene])
    return short, long


@njit(nogil=True, cache=True)
def _company(kinds: np.ndarray, conflicting: np.ndarray) -> np.ndarray:
    """Share of the :data:`RELATED_SCENES` of each scene, itself left out, that are in conflict; 0 with none.

    `kinds` are equal for scenes of one source, baseline and offset; scenes are in order of time.
    """
    share = np.zeros(kinds.size)
    for kind in np.unique(kinds[conflicting]):
        own = np.flatnonzero(kinds == kind)
        size = min(RELATED_SCENES, own.size - 1)
        for place in range(own.size if size else 0):
            first = min(max(place - RELATED_SCENES // 2, 0), own.size - 1 - size)
            wrong = 0
            for other in range(first, first + size):
                wrong += conflicting[own[other + (other >= place)]]
            share[own[place]] = wrong / size
    return share
