"""What the pixels of a site tell, from the state of its maps (:mod:`monitor.trends.state`) after adding what is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from monitor.cover.fraction import ENDMEMBERS
from monitor.cube.grid import inside
from monitor.cube.store import SiteStore
from monitor.sites.site import Site
from monitor.trends.area import FailingArea, failing_area, pixel_theta, supported
from monitor.trends.kernels.yearly import ROWS
from monitor.trends.state import State, Used, bring_up_to_date, reader, recipe
from monitor.trends.stored import Stored
from monitor.verdict.assessment import Assessment
from monitor.verdict.status import NORMAL_95
from monitor.verdict.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The state of a site's maps."""

    state: State
    grid: GeoBox
    ground: np.ndarray
    """(y, x) bool: pixels of the site."""
    days: Mapping[str, date]
    """Of the scenes that pictures are shown of, by name."""


def mapped(folder: Path, snapshot: str | None, site: Site, observed: Sequence[Mapping[str, Any]]) -> Mapped | None:
    """Bring the state of a site's maps up to date; None where nothing was seen in a growing season.

    Parameters
    ----------
    folder : Path
        Of the site's store; the state lies beside it.
    snapshot : str or None
        Of the store; None: nothing is stored.
    site : Site
    observed : sequence of mapping
        Rows of the ledger up to the day that is asked for.

    Raises
    ------
    StoreBroken
        The store can not be read.
    OSError
        The state can not be written.
    """
    if snapshot is None or not folder.is_dir():
        return None
    accepted = [row for row in observed if row["accepted"] and row["control_cover"] is not None]
    days = np.array([row["time"][:10] for row in accepted], dtype="datetime64[D]")
    window = Window.of(site)
    season, position = window.place(days.astype(np.int64))
    early = days < np.datetime64(site.start)
    scenes = [
        Used(row["acquisition"], row["digest"], (int(year), bool(before)), row["control_cover"])
        for row, year, before, growing in zip(accepted, season, early, position <= window.length, strict=True)
        if growing
    ]
    if not scenes:
        return None
    dates = {row["acquisition"]: date.fromisoformat(row["time"][:10]) for row in accepted}
    before = [scene for scene in scenes if scene.season[1]]
    shown = {"now": scenes[-1], **({"before": before[-1]} if before else {})}
    stored, endmembers = Stored(SiteStore(folder), snapshot), ENDMEMBERS[site.biome]
    grid = stored.grid
    state = bring_up_to_date(
        folder.with_name(f"{folder.name}.maps"),
        scenes,
        shown,
        reader(stored, endmembers),
        made_by=recipe(endmembers, grid),
        snapshot=snapshot,
        shape=(grid.shape.y, grid.shape.x),
    )
    days_shown = {name: dates[scene.acquisition] for name, scene in shown.items()}
    return Mapped(state=state, grid=grid, ground=inside(site.geometry, grid), days=days_shown)


def failing_of(found: Mapped, verdict: Assessment, promised: Mapping[int, float]) -> FailingArea | None:
    """Failing pixels and failing area of a site.

    Parameters
    ----------
    found : Mapped
        Of the site.
    verdict : Assessment
        On the same day; gives the level.
    promised : mapping
        Uplift promised of each growing season that counts, see :func:`monitor.verdict.assess.promised_by_season`.

    Returns
    -------
    FailingArea or None
        None where the verdict knows no share of the plan, or no season counts.
    """
    seasons = sorted(season for season in found.state.sums if season[0] in promised)
    if not seasons or verdict.theta is None or verdict.theta_low is None or verdict.theta_high is None:
        return None
    place = [ROWS.index("over"), ROWS.index("seen")]
    sums = np.stack([found.state.sums[season][place] for season in seasons], axis=1)
    total, seen = (xr.DataArray(part, dims=("season", "y", "x")) for part in sums)
    ground = xr.DataArray(found.ground, dims=("y", "x"))
    over, seen, within, pixel = supported(total, seen, ground, pixel=abs(found.grid.resolution.x))
    expected = [0.0 if before else promised[year] for year, before in seasons]
    theta = pixel_theta(over, seen, xr.DataArray(expected, dims="season"))
    return failing_area(
        theta["theta"], theta["theta_se"], within, site_theta=verdict.theta,
        site_variance=((verdict.theta_high - verdict.theta_low) / (2 * NORMAL_95)) ** 2, pixel=pixel,
    )  # fmt: skip


def on_grid(layer: xr.DataArray, grid: GeoBox) -> np.ndarray:
    """A map of pixels brought together, on the site's own (y, x) grid again, float32."""
    times = -(-grid.shape.y // layer.sizes["y"])
    fine = np.repeat(np.repeat(layer.values, times, axis=0), times, axis=1)
    return fine[: grid.shape.y, : grid.shape.x].astype(np.float32)
