"""The film of a site: cover above the control, pixel by pixel, in the same weeks of each year.

Natural colour does not show slow growth: light and soil moisture change more from year to year. The difference from the
control in the same scene does. It is set to zero before the start on average over the site, as in the growth chart.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np

from monitor.cube.grid import inside
from monitor.cube.stored_site import StoredSite
from monitor.maps.film_years import WEEKS, FilmYear
from monitor.maps.seasons import SeasonScenes, SiteSeasons, scenes_by_season, sums_of_scenes
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.trends.kernels.season_sums import season_mean

_WHOLE_SEASONS: Final = date(1970, 1, 1)  # a start before all scenes: no season is summed in two halves


def film_scenes(site: Site, observed: Mapping[str, np.ndarray]) -> dict[int, SeasonScenes]:
    """Scenes of the same weeks of each year, by year; `observed` has :data:`monitor.maps.seasons.SEASON_COLUMNS`."""
    window = GrowingSeason.of(site)
    later = int(window.opens + window.peak > 365)  # the season peaks in the year after it opened
    _, position = window.locate(observed["date"].astype("datetime64[D]").astype(np.int64))
    weeks = (position >= window.peak) & (position < window.peak + WEEKS)
    chosen = {name: observed[name] for name in ("acquisition", "digest", "control_cover", "date")}
    chosen["accepted"] = np.asarray(observed["accepted"], bool) & weeks
    seasons = scenes_by_season(replace(site, start=_WHOLE_SEASONS), chosen)
    return {year + later: scenes for (year, _), scenes in seasons.items()}


def film_years(
    site: Site, observed: Mapping[str, np.ndarray], scenes: Mapping[int, SeasonScenes]
) -> tuple[dict[int, FilmYear], float]:
    """The frames by year, and the difference before the start that is subtracted from all: 0 where it is unknown. [1]

    `scenes` are those of :func:`film_scenes`, and `observed` the columns that it reads, with ``cover``.
    """
    difference = np.asarray(observed["cover"], np.float64) - np.asarray(observed["control_cover"], np.float64)
    dates = observed["date"].astype("datetime64[D]")
    found = {year: np.isin(observed["acquisition"], some.acquisitions) for year, some in scenes.items()}
    means = {year: float(np.nanmean(difference[rows])) for year, rows in found.items()}
    before = [means[year] for year, rows in found.items() if dates[rows][-1] < np.datetime64(site.start)]
    zero = float(np.mean(before)) if before else 0.0
    return {year: FilmYear(len(some.acquisitions), means[year] - zero) for year, some in scenes.items()}, zero


def film_frames(sums: Mapping[int, np.ndarray], ground: np.ndarray, zero: float) -> np.ndarray:
    """Frames (year, y, x) float32 in order of years: cover above the control; NaN outside the site and where not seen.

    `sums` has by year the (row, y, x) sums of its scenes (:data:`monitor.trends.kernels.season_sums.SUMS`), `ground`
    the (y, x) pixels of the site, and `zero` is the difference before the start. [1]
    """
    means = season_mean(np.stack([sums[year] for year in sorted(sums)]), "over")
    return np.where(ground, means - np.float32(zero), np.float32(np.nan))


def scene_frame(
    store: StoredSite, snapshot: str, site: Site, observed: Mapping[str, np.ndarray], acquisition: str
) -> np.ndarray:
    """Frame (y, x) float32 of a single scene, as those of the film. [1]

    `observed` has the columns for :func:`film_years`. Raises ``StoreBroken`` where the store lacks the scene.
    """
    _, zero = film_years(site, observed, film_scenes(site, observed))
    one = np.flatnonzero(observed["acquisition"] == acquisition.encode())
    control = np.asarray(observed["control_cover"], np.float64)[one]
    scene = SeasonScenes(observed["acquisition"][one], observed["digest"][one], control, over=False)
    (sums,) = sums_of_scenes([SiteSeasons(site=site, store=store, snapshot=snapshot, seasons={})], [scene])
    (frame,) = film_frames({0: sums}, inside(site.geometry, store.grid), zero)
    return np.asarray(frame)
