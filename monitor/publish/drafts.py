"""The page of one site, made from its store in two steps: first the view, then the maps and pictures that changed.

The series of all sites of a landscape are built together before the first step, and their season sums between the two,
which reads the store once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from shapely.geometry import Polygon

from monitor.alerts.alert import Alert
from monitor.controls.control_means import UnitChoice
from monitor.controls.screening import left_out_from_json
from monitor.controls.selection import NOT_CHOSEN, ControlSet
from monitor.cube.context_pictures import MIN_SITE_CLEAR, stored_colours
from monitor.cube.grid import inside, outline
from monitor.cube.scenes import of_one_site
from monitor.cube.store import DERIVED_FOLDER, LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import MonitorError, StoreBroken
from monitor.imagery.auxiliary.terrain import Terrain, with_slope
from monitor.maps.failing import FailingMap, LastLook, failing_map
from monitor.maps.loss import LossMap, loss_map
from monitor.maps.seasons import Season, SiteSeasons, scenes_by_season, sums_by_season
from monitor.maps.site_maps import MAPS, site_maps
from monitor.maps.worst_patch import worst_patch
from monitor.publish.calibrated import calibration_table
from monitor.publish.control_ground import ControlGround, control_ground
from monitor.publish.outdated import outdated_pictures
from monitor.publish.products import write_site
from monitor.publish.view import (
    NO_ANSWER,
    Chip,
    DetectionAssumptions,
    DetectionChance,
    DetectionImprovement,
    FieldAnswer,
    SiteView,
)
from monitor.series.build import Compared, choice_of, landscape_series
from monitor.series.columns import SPREAD_COLUMNS, Columns, decode_texts, no_observations, observed_until
from monitor.series.field_rows import FieldRow
from monitor.sites.biomes import biome_of
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT, JudgedSites, judge_sites
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.fitted import fitted
from monitor.verdict.growth import GrowthPoint
from monitor.verdict.lots import lot_of

VISIBLE = ("red", "green", "blue")

SumsBySeason = dict[Season, np.ndarray]

type SiteSeries = tuple[Columns, UnitChoice]
"""Series of a site, and the choice of its control units that it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInputs:
    """Everything that the page of a site is made from, besides its store."""

    site: Site
    """The site in the episode of its assessment."""
    begun: date
    """Start of the site in its first episode: its control ground is compared with the years before."""
    ground: str
    """Key of the store of the site."""
    assessment: Assessment
    snapshot: str | None
    """Snapshot of the store that the ledger names; None: nothing is stored."""
    left_out: Mapping[str, str]
    """By id of a control unit, the first day (ISO 8601) on which it no longer counts."""
    terrain: Terrain | None
    growth: tuple[GrowthPoint, ...]
    """Points of its growth chart."""
    detectability: tuple[DetectionChance, ...]
    detection_improvements: tuple[DetectionImprovement, ...]
    detection_assumptions: DetectionAssumptions | None
    calibration: Calibration | None
    """Constants of the verdict; None: unknown."""
    alert: Alert | None
    answers: tuple[FieldAnswer, ...]
    measured: tuple[FieldRow, ...]
    """Measurements on the ground, oldest first."""
    biome_factor: FieldFactor | None
    """Index cover per field cover by the field rows of all sites of the biome; None: too few."""
    promises: tuple[Mapping[str, Any], ...]
    """Up to the one that the assessment rests on, see :func:`monitor.sites.promise.entry`."""
    notice: Mapping[str, str] | None
    key: str
    """Hash of all inputs of the page."""
    series_recorded: bool
    """Whether the series must be the one that was judged: the same store, and the same version of the program."""

    @property
    def landscape(self) -> str:
        """Name of the landscape of the site; empty: nothing is stored."""
        return "" if self.snapshot is None else self.snapshot.rpartition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageDraft:
    """A page before its maps and pictures are drawn."""

    inputs: PageInputs
    view: SiteView
    stored: StoredSite | None
    outdated: frozenset[str]
    """Names of maps and pictures to draw."""
    seasons: SiteSeasons | None
    """Seasons whose sums the maps need; None: no map is drawn."""


def compared_ground(landscape: LandscapeStore, inputs: PageInputs, controls: dict[str, Any] | None) -> Compared | None:
    """A site and the ground that it is compared with; None: nothing is stored of it.

    Parameters
    ----------
    landscape, inputs
        Landscape of the site, and what its page is made from.
    controls : dict or None
        Control units as JSON; None: the site has none.

    Raises
    ------
    StoreBroken
        The landscape cannot be read, or does not have the site.
    """
    if inputs.snapshot is None:
        return None
    return Compared(
        ground=StoredSite(landscape, inputs.ground).ground, start=inputs.begun,
        controls=NOT_CHOSEN if controls is None else ControlSet.from_json(controls),
        left_out=left_out_from_json(inputs.left_out),
    )  # fmt: skip


def series_at(
    landscape: LandscapeStore, snapshot: str, sites: Sequence[Compared], *, every: bool = False
) -> list[SiteSeries]:
    """Series of some sites of a landscape as a snapshot has them, see :func:`monitor.series.build.landscape_series`.

    With `every` they are all sites that were judged by this snapshot, in order of id: then the night has stored what
    they show of the years that are over.
    """
    file = landscape.path.parent / DERIVED_FOLDER / f"{landscape.name}.series"
    rows = StoredSite(landscape, sites[0].ground).row_limit(snapshot)
    series = landscape_series(landscape, sites, rows=rows, stored=file if every else None)
    return [(of_one_site(series, place), choice_of(series, place)) for place in range(len(sites))]


def draft_page(
    landscape: LandscapeStore, outputs: Path, inputs: PageInputs, compared: Compared | None, series: SiteSeries | None
) -> PageDraft:
    """Build the view of a site, and decide which maps and pictures have to be drawn.

    Parameters
    ----------
    landscape, outputs, inputs
        Landscape of the site, output root, and what the page is made from.
    compared : Compared or None
        See :func:`compared_ground`.
    series : SiteSeries or None
        See :func:`series_at`; None: it is built here.

    Raises
    ------
    StoreBroken
        The store cannot be read, or does not give the series that was judged.
    """
    site = inputs.site
    observed, ground = _observations(landscape, inputs, compared, series)
    scenes = {} if inputs.snapshot is None else scenes_by_season(site, observed)
    stored = StoredSite(landscape, inputs.ground) if scenes else None
    columns = {name: observed[name] for name in ("date", "cover", "control_cover", "accepted", "scene", "source")}
    columns |= {name: observed[name] for name in SPREAD_COLUMNS}
    judge = cache(partial(_judged, inputs, observed))
    calibration = None if inputs.calibration is None else calibration_table(inputs.calibration, biome=biome_of(site))
    view = SiteView(
        site=site,
        lot=lot_of(inputs.site),
        assessment=inputs.assessment,
        observations={**columns, "reason": decode_texts(observed["reason"])},
        lines=observed["line"].tolist(),
        alert=inputs.alert,
        answers=inputs.answers,
        measured=inputs.measured,
        biome_factor=inputs.biome_factor,
        promises=inputs.promises,
        notice=inputs.notice,
        growth=inputs.growth,
        elevation=None if inputs.terrain is None else inputs.terrain.elevation,
        slope=site.slope_degrees if inputs.terrain is None else inputs.terrain.slope,
        detectability=inputs.detectability,
        detection_improvements=inputs.detection_improvements,
        detection_assumptions=inputs.detection_assumptions,
        calibration=calibration,
        controls=ground,
        fitted=None if stored is None or inputs.assessment.status in NO_ANSWER else fitted(judge(), 0),
        **_undrawn(stored, inputs, observed, ground, judge),
    )
    outdated, seasons = outdated_pictures(view, outputs), None
    if stored is not None and outdated.intersection(view.maps):
        seasons = SiteSeasons(site=site, store=stored, snapshot=str(inputs.snapshot), seasons=scenes)
    return PageDraft(inputs=inputs, view=view, stored=stored, outdated=outdated, seasons=seasons)


def sums_of_drafts(drafts: Sequence[PageDraft]) -> dict[str, SumsBySeason]:
    """Season sums of all drafts at once, by site id; empty if any of them cannot be read."""
    needed = [draft.seasons for draft in drafts if draft.seasons is not None]
    try:
        return {seasons.site.id: sums for seasons, sums in zip(needed, sums_by_season(needed), strict=True)}
    except MonitorError:  # write_draft reads each site alone, and names the one that fails
        return {}


def write_draft(draft: PageDraft, outputs: Path, sums: SumsBySeason | None) -> None:
    """Draw the outdated maps and pictures of a draft and write the files of its site.

    Parameters
    ----------
    draft, outputs
        The page, and the output root.
    sums : mapping or None
        Season sums of the site; None: they are computed here if the maps need them.

    Raises
    ------
    StoreBroken
        The store cannot be read.
    OSError
        The disk is full or the folder cannot be written.
    """
    view = draft.view
    if draft.stored is not None:
        drawn = {name: picture.rgb for name, picture in draft.stored.pictures(names=draft.outdated).items()}
        for name in draft.outdated & {"before-loss", "after-loss"}:
            drawn[name] = _own_pixels(draft.stored, str(draft.inputs.snapshot), view.chips[name].scene)
        chips: dict[str, Any] = {
            name.replace("-", "_"): replace(view.chips[name], rgb=drawn[name])
            for name in view.chips.keys() & drawn.keys()
        }
        view = replace(view, **chips)
    if draft.seasons is not None:
        sums = sums or sums_by_season([draft.seasons])[0]
        grid = draft.seasons.store.grid
        maps = site_maps(sums, inside(view.site.geometry, grid), grid)
        for name in {"failing", "loss"}.intersection(view.maps):
            maps[name] = view.maps[name]
        view = replace(view, maps={str(name): layer for name, layer in maps.items()})
    write_site(view, outputs, draft.inputs.key)


def _observations(
    landscape: LandscapeStore, inputs: PageInputs, compared: Compared | None, series: SiteSeries | None
) -> tuple[Columns, ControlGround | None]:
    """Observations of a site up to the day of its assessment, and its control ground on that day."""
    if compared is None:
        return no_observations(), None
    day, ground = inputs.assessment.as_of, None
    columns, choice = series or series_at(landscape, str(inputs.snapshot), [compared])[0]
    if compared.controls.units:
        names = StoredSite(landscape, inputs.ground).units
        ground = control_ground(compared.controls, names, choice, compared.left_out, day)
    observed = observed_until(columns, day)
    if inputs.series_recorded and Series.of(observed).digest != inputs.assessment.series_digest:
        raise StoreBroken(
            f"site {inputs.site.id!r}: the series of {day} is not the one that was judged: the store "
            f"{landscape.name}, the control units in the ledger or the program changed since. The pages stay as they "
            "are. 'regrowth doctor --deep' names what is damaged; 'regrowth run' judges the site again"
        )
    return observed, ground


def _own_pixels(stored: StoredSite, snapshot: str, acquisition: str) -> np.ndarray:
    """Natural-colour picture (y, x, 3) of the pixels of a site in one scene."""
    cube = stored.cube(snapshot, layers=VISIBLE, acquisitions=[acquisition], lazy=False).isel(time=0)
    return stored_colours(np.stack([cube[band].values for band in VISIBLE]))


def _undrawn(
    stored: StoredSite | None,
    inputs: PageInputs,
    observed: Columns,
    controls: ControlGround | None,
    judge: Callable[[], JudgedSites],
) -> dict[str, Any]:
    """Fields of the view for pictures and maps: not drawn yet, except the failing area, which the verdict has used."""
    if stored is None:
        empty: dict[str, Any] = {"maps": {}, "judged_hectares": None, "grid": None, "outline": None, "patch": None}
        return empty | {"before": None, "now": None}
    geometry, grid, a = inputs.site.geometry, stored.grid, inputs.assessment
    maps: dict[str, xr.DataArray | None] = dict.fromkeys(MAPS)
    judged_hectares, patch = None, None
    loss, failing = _loss(stored, inputs, observed), _failing(stored, inputs, observed, judge)
    for name, area in (("failing", failing), ("loss", loss)):
        if area is None:
            continue
        probability = area.on_grid(inside(geometry, grid))
        maps[name] = xr.DataArray(probability, dims=("y", "x"))
        judged_hectares = float(np.isfinite(probability).sum() * abs(grid.resolution.x * grid.resolution.y) / 10_000)
    worst = failing if loss is None else loss
    if worst is not None and (a.status not in NO_ANSWER or a.alert is not AlertLevel.NONE):
        patch = worst_patch(worst.chance, worst.times, geometry, grid)
    drawing: dict[str, Any] = {
        "maps": maps,
        "judged_hectares": judged_hectares,
        "grid": grid,
        "outline": outline(geometry, grid),
    }
    drawing["patch"] = None if patch is None else (patch, outline(Polygon(patch.ring), grid))
    return drawing | _context_chips(stored, inputs, controls) | _loss_chips(stored, inputs, observed)


def _context_chips(stored: StoredSite, inputs: PageInputs, controls: ControlGround | None) -> dict[str, Chip | None]:
    """Pictures before the start and now."""
    context = stored.context
    units = None if controls is None or controls.ground.is_empty else outline(controls.ground, context)
    pictures = stored.pictures(pixels=False, names=("before", "now"))
    chips = {
        name: Chip(
            date=date.fromisoformat(picture.time[:10]),
            scene=f"{picture.time} {picture.clear:.4f}",
            outline=outline(inputs.site.geometry, context),
            controls=units,
            rgb=None,
            size=(context.shape.x, context.shape.y),
            pixel=abs(context.resolution.x),
        )
        for name, picture in pictures.items()
    }
    return {name: chips.get(name) for name in ("before", "now")}


def _loss_chips(stored: StoredSite, inputs: PageInputs, observed: Columns) -> dict[str, Chip]:
    """The scenes next to a sudden loss in which the site is clear: the last before it, and the first that shows it."""
    a, grid = inputs.assessment, stored.grid
    if a.loss_on is None or a.status in (Status.UNDECIDED, Status.INSUFFICIENT_DATA):
        return {}
    day = observed["date"].astype("datetime64[D]")
    clear = np.asarray(observed["accepted"], bool) & (np.asarray(observed["clear_fraction"]) >= MIN_SITE_CLEAR)
    since = np.flatnonzero(clear & (day >= np.datetime64(a.loss_on)))
    before = np.flatnonzero(clear & (day <= np.datetime64(a.loss_after))) if a.loss_after else np.array([], int)
    scenes = {"before_loss": before[-1:].tolist(), "after_loss": since[:1].tolist()}
    return {
        name: Chip(
            date=day[at].item(),
            scene=observed["acquisition"][at].decode(),
            outline=outline(inputs.site.geometry, grid),
            rgb=None,
            size=(grid.shape.x, grid.shape.y),
            pixel=abs(grid.resolution.x),
        )
        for name, rows in scenes.items()
        for at in rows
    }


def _loss(stored: StoredSite, inputs: PageInputs, observed: Columns) -> LossMap | None:
    """Map of a sudden loss, as the verdict used it; None: the verdict has no lost area."""
    if inputs.assessment.hectares_lost is None:
        return None
    site = with_slope(inputs.site, inputs.terrain)
    return loss_map(stored, str(inputs.snapshot), site, observed, inputs.assessment, inputs.calibration or DEFAULT)


def _judged(inputs: PageInputs, observed: Columns) -> JudgedSites:
    """The site, judged again from the series of its page: what the filter made of each scene."""
    site, constants = with_slope(inputs.site, inputs.terrain), inputs.calibration or DEFAULT
    day = inputs.assessment.as_of
    return judge_sites(Series.of(observed), [site], calibration=constants, alpha=[0.05], as_of=day)


def _failing(
    stored: StoredSite, inputs: PageInputs, observed: Columns, judge: Callable[[], JudgedSites]
) -> FailingMap | None:
    """Map of the ground where regrowth is absent, as the verdict used it; None: the verdict has no failing area."""
    day = inputs.assessment.hectares_failing_on
    if day is None:
        return None
    site = with_slope(inputs.site, inputs.terrain)
    snapshot = str(inputs.snapshot)
    return failing_map(
        stored, snapshot, site, observed, day, lambda: LastLook.of(judge(), 0), constants=inputs.calibration or DEFAULT
    )
