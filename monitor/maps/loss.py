"""Where a site lost cover in a sudden loss, from its pixels before and since.

Only computed for a site with a confirmed loss. The scenes since the loss are compared with those of the year before it
at the same time of the season, pixel by pixel and relative to the control ground. Stored (:mod:`monitor.derived`), and
computed again when a scene is added.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from scipy import ndimage

from monitor import derived
from monitor.cube.stored_site import StoredSite
from monitor.maps.failing import BlockMap, blocks
from monitor.maps.seasons import SeasonScenes, SiteSeasons, sums_of_scenes
from monitor.series.columns import content_hash
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.trends.kernels.failing import failing_area
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration

LOST_SHARE: Final = 0.25
"""Ground is lost if it lost at least this share of its cover, relative to the control ground. [1]"""
SAME_TIME: Final = 30
"""Largest distance from the day of the year of a scene since the loss at which a scene before it is compared. [day]"""
YEAR: Final = 365
MIN_SCENES: Final = 2
"""Fewest scenes before and since; fewer do not tell a loss from haze."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossMap(BlockMap):
    """Where a site lost cover: probability that a block lost :data:`LOST_SHARE` of its cover or more."""

    hectares: float
    """Area that did. [ha]"""
    low: float
    """Lower limit of its 95 % interval. [ha]"""
    high: float
    """Upper limit of its 95 % interval. [ha]"""


def loss_map(
    store: StoredSite, snapshot: str, site: Site, observed: Mapping[str, np.ndarray], assessment: Assessment,
    constants: Calibration,
) -> LossMap | None:  # fmt: skip
    """Where a site lost cover, from the scenes up to the day of an assessment.

    Parameters
    ----------
    store, snapshot : StoredSite and str
    site : Site, version that was judged
    observed : mapping
        Columns :data:`monitor.maps.seasons.SEASON_COLUMNS` of its series, ``cover`` and ``chain``, (n,) arrays
        ascending by time, up to the day of the assessment.
    assessment : Assessment, gives the dates of the loss
    constants : Calibration

    Returns
    -------
    LossMap or None
        None without a confirmed loss, and where its area is unknown: too few scenes before or since, or a site of under
        half a hectare. ``StoreBroken``: the store cannot be read.
    """
    if assessment.loss_on is None or assessment.loss_after is None or assessment.hectares is None:
        return None
    inputs = [site.version, constants.hash, assessment.loss_after, assessment.loss_on, content_hash(observed)]
    make = partial(_lost, store, snapshot, site, observed, assessment, constants)
    values = derived.get(store.derived.with_suffix(".loss"), inputs, make, module=__name__)
    if values["hectares"] is None:
        return None
    return LossMap(**values)


def compared_scenes(site: Site, observed: Mapping[str, np.ndarray], last: np.datetime64, first: np.datetime64) -> (
    tuple[np.ndarray, np.ndarray]
):  # fmt: skip
    """Indices of the scenes before and since a loss that are compared.

    Accepted scenes in growing seasons: since `first`, and up to `last`, in the year before it, those at the same time
    of the year as one since; all of that year where these are fewer than :data:`MIN_SCENES`.

    Parameters
    ----------
    site : Site, gives the growing season
    observed : mapping, columns ``date``, ``accepted`` and ``control_cover``
    last, first : datetime64[D], last scene before the loss, and first that shows it

    Returns
    -------
    tuple of two (n,) int arrays
        Indices of those before and of those since, ascending; empty where there is none.
    """
    date = observed["date"].astype("datetime64[D]")
    day, growing = date.astype(np.int64), GrowingSeason.of(site)
    counts = np.asarray(observed["accepted"], bool) & np.isfinite(observed["control_cover"])
    counts &= growing.locate(day)[1] <= growing.length
    since = np.flatnonzero(counts & (date >= first))
    before = np.flatnonzero(counts & (date <= last) & (date > last - np.timedelta64(YEAR + SAME_TIME, "D")))
    apart = (day[before][:, None] - day[since][None, :]) % YEAR
    alike = before[(np.minimum(apart, YEAR - apart) <= SAME_TIME).any(axis=1)]
    return (alike if alike.size >= MIN_SCENES else before), since


def _lost(
    store: StoredSite, snapshot: str, site: Site, observed: Mapping[str, np.ndarray], assessment: Assessment,
    constants: Calibration,
) -> dict[str, Any]:  # fmt: skip
    nothing: dict[str, Any] = {"hectares": None}
    last, first = (np.datetime64(day, "D") for day in (assessment.loss_after, assessment.loss_on))
    before, since = compared_scenes(site, observed, last, first)
    level = float(np.mean(observed["cover"][before])) if before.size else 0.0
    if min(before.size, since.size) < MIN_SCENES or level <= 0:
        return nothing
    scenes = SiteSeasons(site=site, store=store, snapshot=snapshot, seasons={})
    sums = [_sums(scenes, observed, part) for part in (before[::2], before[1::2], since)]
    means, within, times, pixel = blocks(store, site, sums)
    remaining, error = remaining_share(*means, level)
    variance = (constants.scene_sd**2 * (1 / before.size + 1 / since.size) + constants.fast_sd**2) / level**2
    core = ndimage.binary_erosion(within, np.ones((3, 3))) & np.isfinite(remaining)  # as judged below
    of_site = float(remaining[core].mean()) if core.any() else np.nan
    area = failing_area(
        remaining, error, within, site_theta=of_site, site_variance=variance, pixel=pixel * times,
        below=1.0 - LOST_SHARE,
    )  # fmt: skip
    if area.reason or assessment.hectares is None:
        return nothing
    lost, low, high = (round(part * assessment.hectares, 4) for part in (area.share, area.share_low, area.share_high))
    chance = area.smoothed.astype(np.float32)
    return {"hectares": lost, "low": low, "high": high, "chance": chance, "times": times}


def remaining_share(over: np.ndarray, seen: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of its cover that each block still has after a loss, and its standard error.

    Parameters
    ----------
    over : (3, ...) array
        Cover of a block minus that of the control, mean over the scenes of one half of those before the loss, of the
        other half, and of those since; NaN where not seen. [1]
    seen : (3, ...) array, number of scenes in each mean
    level : float, mean cover of the site before the loss [1]

    Returns
    -------
    remaining, error : (...) arrays
        1: nothing lost. The cover lost is taken relative to the mean cover of the site, as the noise of a block does
        not depend on its cover. The noise of a scene is estimated from the two halves, pooled over the blocks. [1]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        early = (np.nan_to_num(over[0]) * seen[0] + np.nan_to_num(over[1]) * seen[1]) / (seen[0] + seen[1])
        remaining = 1.0 + (over[2] - early) / level
        half = (over[0] - over[1]) / np.sqrt(1 / seen[0] + 1 / seen[1])
        noise = 1.4826 * np.nanmedian(np.abs(half - np.nanmedian(half))) if np.isfinite(half).any() else np.nan
        error = noise * np.sqrt(1 / (seen[0] + seen[1]) + 1 / seen[2]) / level
    return remaining, error


def _sums(site: SiteSeasons, observed: Mapping[str, np.ndarray], part: np.ndarray) -> np.ndarray:
    """(row, y, x) sums over some scenes."""
    names, digests = observed["acquisition"][part], observed["digest"][part]
    scenes = SeasonScenes(names, digests, np.asarray(observed["control_cover"][part], np.float64), over=False)
    return sums_of_scenes([site], [scenes])[0]
