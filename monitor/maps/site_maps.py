"""The maps of a site, from the sums of its growing seasons (:mod:`monitor.maps.seasons`)."""

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

import numpy as np

from monitor.maps.seasons import Season
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.trends.kernels.season_sums import season_mean

MAPS: Final = ("ndvi", "cover", "slope", "uplift")
"""Maps of every site that was seen in a growing season."""


def site_maps(sums: Mapping[Season, np.ndarray], ground: np.ndarray) -> dict[str, np.ndarray]:
    """NDVI and cover of the last growing season, trend of cover over the seasons, uplift over the control.

    Parameters
    ----------
    sums : mapping
        By season, at least one, (row, y, x) float32 of :data:`monitor.trends.kernels.season_sums.SUMS`.
    ground : (y, x) bool array
        Pixels of the site; the others stay NaN.

    Returns
    -------
    dict
        (y, x) float32 arrays: ``ndvi`` [1], ``cover`` [1], ``slope`` (Theil-Sen, of the seasons' means,
        :func:`monitor.trends.kernels.monotonic.slope_and_score`) [1/year] and ``uplift`` [1]; NaN outside the site,
        where not seen, and without two seasons for ``slope``.
        Uplift is the mean difference from the control in the last season, less that of all scenes before the start;
        scenes of a season that began before the start count for it only if there is none since.
    """
    seasons = sorted(sums)
    years = sorted({year for year, _ in seasons})
    by_year = [_total(sums, [season for season in seasons if season[0] == year]) for year in years]
    last, now, before = years[-1], by_year[-1], [season for season in seasons if season[1]]
    covers = np.where(ground, season_mean(np.stack(by_year), "cover"), np.float32(np.nan))
    uplift = season_mean(_total(sums, [(last, False)]) if (last, False) in sums else now, "over")
    if before:
        uplift = uplift - season_mean(_total(sums, before), "over")
    slope, _ = slope_and_score(np.array(years), covers.reshape(len(years), -1))
    layers = season_mean(now, "ndvi"), covers[-1], slope.reshape(ground.shape), uplift
    return {name: np.where(ground, layer, np.float32(np.nan)) for name, layer in zip(MAPS, layers, strict=True)}


def _total(sums: Mapping[Season, np.ndarray], seasons: Sequence[Season]) -> np.ndarray:
    total: np.ndarray = reduce(operator.add, (sums[season] for season in seasons))
    return total
