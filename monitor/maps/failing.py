"""Where a site fails, from the sums of its growing seasons up to the last look for a failure.

Between two looks, most of a year, it does not change: it is stored (:mod:`monitor.derived`), and computed again where
it is missing or an input has changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from monitor import derived
from monitor.cube.grid import inside
from monitor.cube.stored_site import StoredSite
from monitor.maps.seasons import SiteSeasons, scenes_by_season, sums_by_season
from monitor.series.columns import content_hash, observed_until
from monitor.sites.site import Site
from monitor.trends.kernels.failing import block_means, failing_area, pixel_theta, pixels_per_block
from monitor.trends.kernels.season_sums import SUMS, block_sums
from monitor.verdict.assess import JudgedSites
from monitor.verdict.calibration import Calibration
from monitor.verdict.failing_area import FailingHectares, reports_failing_area
from monitor.verdict.kernels.constants import NORMAL_95


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMap:
    """A probability for each block of pixels of a site."""

    chance: np.ndarray
    """(block, block) float32: smoothed probability; NaN where unknown. [1]"""
    times: int
    """Pixels along each side of a block."""

    def on_grid(self, ground: np.ndarray) -> np.ndarray:
        """Probability of each pixel of the site, the (y, x) bool `ground`; (y, x) float32, NaN elsewhere. [1]"""
        height, width = ground.shape
        fine = self.chance.repeat(self.times, axis=0).repeat(self.times, axis=1)[:height, :width]
        return np.where(ground, fine, np.float32(np.nan))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingMap(BlockMap):
    """Where a site fails, as it stood at the last look: probability of failing."""

    ground: FailingHectares


def blocks(
    store: StoredSite, site: Site, sums: Sequence[np.ndarray]
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, int, float]:
    """Cover over the control by block of pixels.

    Parameters
    ----------
    store : StoredSite
    site : Site
    sums : sequence of (row, y, x) arrays, sums of scenes, rows as in :data:`SUMS`

    Returns
    -------
    tuple
        Means (sum, block, block) [1] and number of scenes in each; (block, block) bool: mostly in the site; pixels
        along each side of a block; side of a pixel. [m]
    """
    ground, pixel = inside(site.geometry, store.grid), abs(store.grid.resolution.x)
    times = pixels_per_block(pixel)
    rows = [SUMS.index("over"), SUMS.index("seen")]
    total, count = np.stack([block_sums(one[rows], ground, times) for one in sums], axis=1)
    within = block_sums(ground.astype(np.float32), ground, times) >= times * times / 2
    return block_means(total, count, times), within, times, pixel


def failing_map(
    store: StoredSite, snapshot: str, site: Site, observed: Mapping[str, np.ndarray], day: date,
    judge: Callable[[], JudgedSites], place: int, *, constants: Calibration,
) -> FailingMap | None:  # fmt: skip
    """Where a site fails, from the scenes up to the last look; None where the site does not fail or it is unknown.

    Parameters
    ----------
    store, snapshot : StoredSite and str
    site : Site, version that was judged
    observed : mapping
        Columns :data:`monitor.maps.seasons.SEASON_COLUMNS` of its series, and ``chain``, (n,) arrays ascending by time.
    day : date, date of the last look
    judge, place : callable and int
        Judges these scenes, and the place of the site in the result; called only where the map is not stored.
    constants : Calibration

    Returns
    -------
    FailingMap or None
        Area and probability by block of pixels; NaN where the ground was not seen. ``StoreBroken``: the store cannot be
        read.
    """
    seen = content_hash(observed_until(observed, day))
    inputs = [site.version, site.start, site.slope_degrees, constants.hash, seen]
    make = partial(_failing, store, snapshot, site, observed, judge, place)
    values = derived.get(store.derived.with_suffix(".failing"), inputs, make, module=__name__)
    if values["ground"] is None:
        return None
    known = values["ground"] | {"day": date.fromisoformat(values["ground"]["day"])}
    return FailingMap(ground=FailingHectares(**known), chance=values["chance"], times=values["times"])


def _failing(
    store: StoredSite, snapshot: str, site: Site, observed: Mapping[str, np.ndarray],
    judge: Callable[[], JudgedSites], place: int,
) -> dict[str, Any]:  # fmt: skip
    nothing: dict[str, Any] = {"ground": None}
    judged = judge()
    if judged.late_day(place) is None:  # no scene was late enough in its season yet
        return nothing
    verdict, promised = judged.late_verdict(place), judged.promised(place)  # as of the last late scene
    if not reports_failing_area(verdict, site):
        return nothing
    # all scenes of these seasons: those since the look belong to a season that does not count yet
    seasons = {season: scenes for season, scenes in scenes_by_season(site, observed).items() if season[0] in promised}
    if not seasons or verdict.theta is None or verdict.theta_low is None or verdict.theta_high is None:
        return nothing
    (sums,) = sums_by_season([SiteSeasons(site=site, store=store, snapshot=snapshot, seasons=seasons)])
    means, within, times, pixel = blocks(store, site, [sums[season] for season in sorted(sums)])
    expected = np.array([0.0 if before else promised[year] for year, before in sorted(sums)])
    area = failing_area(
        *pixel_theta(*means, expected), within, site_theta=verdict.theta,
        site_variance=((verdict.theta_high - verdict.theta_low) / (2 * NORMAL_95)) ** 2, pixel=pixel * times,
    )  # fmt: skip
    failing_ground = FailingHectares.of(area, site.hectares, verdict.as_of)
    if failing_ground is None:
        return nothing
    known = asdict(failing_ground) | {"day": failing_ground.day.isoformat()}
    return {"ground": known, "chance": area.smoothed.astype(np.float32), "times": times}
