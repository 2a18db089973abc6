"""Dry matter of a growing season, and the reason that it adds to a verdict on erosion.

Erosion grade and soil loss count green cover only, but dry plants and litter protect the soil too. Where they probably
cover a good part of the ground, the reasons say so, so that the grade and a red by erosion are not read for more than
they are. The verdict itself does not change.
"""

from datetime import date
from typing import Final

import numpy as np

from monitor.cover.dry_matter import dry_share
from monitor.series.columns import Columns
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.reasons import Reason

SUBSTANTIAL: Final = 0.30
"""Estimated share of dry cover from which it is substantial: with an error of 0.16 the true share is then above 0.15
with a probability of .83. [1]"""
MIN_SCENES: Final = 3
"""Fewest scenes of a season from which it is estimated."""


def season_dry_share(site: Site, observed: Columns, *, as_of: date) -> float | None:
    """Share of a site under dry matter: median of the accepted scenes of its last growing season with any. [1]

    `observed` has `date`, `accepted`, `ndvi`, `ndmi` and `nbr` up to `as_of`. None: fewer than three scenes show it,
    the season is older than the last one, or the sensor has no short-wave bands.
    """
    growing = GrowingSeason.of(site)
    day = observed["date"].astype("datetime64[D]").astype(np.int64)
    season, position = growing.locate(day)
    share = dry_share(observed["ndvi"], observed["ndmi"], observed["nbr"])
    shown = np.asarray(observed["accepted"], bool) & (position <= growing.length) & np.isfinite(share)
    if not shown.any():
        return None
    last, current = int(season[shown].max()), growing.locate_date(as_of)[0]
    values = share[shown & (season == last)]
    return float(np.median(values)) if last >= current - 1 and values.size >= MIN_SCENES else None


def dry_matter_reason(site: Site, observed: Columns, *, as_of: date) -> Reason | None:
    """``DRY_MATTER`` for a site of erosion control whose dry cover is probably substantial; else None."""
    if site.intervention != "erosion_control" or site.plan.A <= 0:
        return None
    share = season_dry_share(site, observed, as_of=as_of)
    return Reason.DRY_MATTER if share is not None and share >= SUBSTANTIAL else None
