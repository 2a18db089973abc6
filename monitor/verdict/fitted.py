"""The curve that the filter fits to the cover of a site, with its 95 % band, for the chart of specialists.

The estimates are those of the verdict, each from the scenes up to its day.
"""

from typing import NamedTuple

import numpy as np

from monitor.verdict.assess import JudgedSites
from monitor.verdict.kernels.season import reference_fits, season_state
from monitor.verdict.kernels.types import Times, UsualSeason


class Fitted(NamedTuple):
    """A site after each of its used scenes, (n,) arrays ascending by day; NaN before the filter knows of an uplift.

    ``low`` and ``high`` bound the 95 % interval of the estimated uplift. The scatter of single scenes, and what is not
    known of the level before the start, are not part of it.
    """

    day: np.ndarray
    """Days from 1970-01-01."""
    cover: np.ndarray
    """Fitted cover: that of the control in the same scene, the mean difference before the start, and the estimated
    uplift as the season and the rain of the control show it by then. [cover fraction]"""
    cover_low: np.ndarray
    cover_high: np.ndarray
    uplift: np.ndarray
    """Estimated uplift at the peak of the season: theta times the plan; the change of cover where nothing is promised.
    [cover fraction]"""
    uplift_low: np.ndarray
    uplift_high: np.ndarray


def fitted(judged: JudgedSites, site: int) -> Fitted:
    """The fitted curve of a judged site (`site`: its place among them), without filtering it again."""
    scenes, history, plans, c = judged.scenes, judged.history, judged.plans, judged.calibration
    of = slice(int(scenes.used_edge[site]), int(scenes.used_edge[site + 1]))
    day, control, start = scenes.used_day[of], scenes.control[of], int(plans.start[site])
    times = Times(day, scenes.position[of], scenes.season[of])
    length, peak, width = plans.usual[site].tolist()
    usual = UsualSeason(length, peak, width, c.rain_sd)
    state = season_state(times, control, reference_fits(times, control, start, usual))
    promised = bool(plans.promised[site])
    scale = plans.expected(scenes.site[of], day) if promised else np.ones(day.size)
    known = (day >= start) & (history.information[of] > 0)
    estimates = np.stack([history.mean[of], history.low[of], history.high[of]])
    uplift = np.where(known, estimates * scale, np.nan)
    grown = (state.bump if promised else state.shape) * (1.0 + state.rain)
    difference = (scenes.cover[of] - control)[day < start]
    level = control + (difference.mean() if difference.size else 0.0)
    return Fitted(day, *(level + uplift * grown), *uplift)
