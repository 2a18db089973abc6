"""The page of one site, made from its store in two steps: first the view, then the maps and pictures that changed.

The series of all sites of a landscape are built together before the first step, and their season sums between the two,
which reads the store once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from shapely.geometry import Polygon

from monitor.controls.control_means import UnitChoice
from monitor.controls.screening import left_out_from_json
from monitor.controls.selection import NOT_CHOSEN, ControlSet
from monitor.cube.context_pictures import MIN_SITE_CLEAR, same_weeks_pair
from monitor.cube.grid import inside, outline
from monitor.cube.scenes import of_one_site
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import MonitorError, StoreBroken
from monitor.imagery.auxiliary.terrain import Terrain, with_slope
from monitor.maps.failing import failing_map
from monitor.maps.film import film_frames, film_scenes, film_years, scene_frame
from monitor.maps.loss import loss_map
from monitor.maps.seasons import Season, SeasonScenes, SiteSeasons, scenes_by_season, sums_by_season
from monitor.maps.site_maps import MAPS, site_maps
from monitor.maps.worst_patch import worst_patch
from monitor.publish.control_ground import ControlGround, control_ground
from monitor.publish.outdated import LOSS_PAIR, outdated_pictures
from monitor.publish.pictures import film_rgb
from monitor.publish.products import write_site
from monitor.publish.view import NO_ANSWER, Chip, Film, PageFacts, SiteView
from monitor.series.build import Compared, choice_of, landscape_series
from monitor.series.columns import SPREAD_COLUMNS, Columns, decode_texts, no_observations, observed_until
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT, JudgedSites, judge_sites
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status
from monitor.verdict.fitted import fitted
from monitor.verdict.lots import lot_of

SumsBySeason = dict[Season, np.ndarray]

type SiteSeries = tuple[Columns, UnitChoice]
"""Series of a site, and the choice of its control units that it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInputs(PageFacts):
    """All inputs of the page of a site besides its store."""

    begun: date
    """Start of the site in its first episode: its control ground is compared with the years before."""
    ground: str
    """Key of the store of the site."""
    snapshot: str | None
    """Snapshot of the store that the ledger names; None: nothing is stored."""
    left_out: Mapping[str, str]
    """By id of a control unit, the first day (ISO 8601) on which it no longer counts."""
    terrain: Terrain | None
    key: str
    """Hash of all inputs of the page."""
    series_recorded: bool
    """Whether the series must be the one that was judged: the same store, and the same version of the program."""

    @property
    def judged(self) -> Site:
        """The site with the slope that its verdict used."""
        return with_slope(self.site, self.terrain)

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
    outdated: frozenset[str]  # names of maps and pictures to draw
    seasons: SiteSeasons | None  # seasons whose sums the maps need; None: no map is drawn
    weeks: SiteSeasons | None  # parts of seasons whose sums the film needs; None: it is not drawn
    zero: float  # difference from the control that the film shows as none [cover fraction]
    observed: Columns  # observations of the site


def compared_ground(landscape: LandscapeStore, inputs: PageInputs, controls: dict[str, Any] | None) -> Compared | None:
    """A site and the ground that it is compared with (JSON; None: no control units); None: nothing is stored of it.

    Raises ``StoreBroken`` where the landscape cannot be read, or does not have the site.
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
    file = landscape.derived / f"{landscape.name}.series"
    rows = StoredSite(landscape, sites[0].ground).row_limit(snapshot)
    series = landscape_series(landscape, sites, rows=rows, stored=file if every else None)
    return [(of_one_site(series, place), choice_of(series, place)) for place in range(len(sites))]


def draft_page(
    landscape: LandscapeStore, outputs: Path, inputs: PageInputs, compared: Compared | None, series: SiteSeries | None
) -> PageDraft:
    """Build the view of a site, and decide which maps and pictures have to be drawn.

    Without `series` (:func:`series_at`) it is built here. Raises ``StoreBroken`` where the store cannot be read, or
    does not give the series that was judged.
    """
    site = inputs.site
    observed, ground = _observations(landscape, inputs, compared, series)
    scenes = {} if inputs.snapshot is None else scenes_by_season(site, observed)
    stored = StoredSite(landscape, inputs.ground) if scenes else None
    filmed = film_scenes(site, observed) if scenes else {}
    years, zero = film_years(site, observed, filmed)
    digests = b"".join(some.digests.tobytes() for some in filmed.values())
    film = Film(years=years, scenes=f"{sha256(digests).hexdigest()} {zero:.3f}") if years else None
    columns = {name: observed[name] for name in ("date", "cover", "control_cover", "accepted", "scene", "source")}
    columns |= {name: observed[name] for name in SPREAD_COLUMNS}
    constants, day = inputs.calibration or DEFAULT, inputs.assessment.as_of

    @cache
    def judge() -> JudgedSites:  # again, from the series of its page: the state of the filter after each scene
        return judge_sites(Series.of(observed), [inputs.judged], calibration=constants, alpha=[0.05], as_of=day)

    view = SiteView(
        **{shared.name: getattr(inputs, shared.name) for shared in fields(PageFacts)},
        observations={**columns, "reason": decode_texts(observed["reason"])}, lines=observed["line"].tolist(),
        lot=lot_of(site), film=film, elevation=None if inputs.terrain is None else inputs.terrain.elevation,
        slope=site.slope_degrees if inputs.terrain is None else inputs.terrain.slope, controls=ground,
        fitted=None if stored is None or inputs.assessment.status in NO_ANSWER else fitted(judge(), 0),
        **_undrawn(stored, inputs, observed, ground, judge, zero),
    )  # fmt: skip
    outdated, seasons, weeks = outdated_pictures(view, outputs), None, None
    if stored is not None and outdated.intersection(view.maps):
        seasons = SiteSeasons(site=site, store=stored, snapshot=str(inputs.snapshot), seasons=scenes)
    if stored is not None and "film" in outdated:
        some: dict[Season, SeasonScenes] = {(year, False): scenes for year, scenes in filmed.items()}
        weeks = SiteSeasons(site=site, store=stored, snapshot=str(inputs.snapshot), seasons=some)
    return PageDraft(
        inputs=inputs, view=view, stored=stored, outdated=outdated, seasons=seasons, weeks=weeks, zero=zero,
        observed=observed,
    )  # fmt: skip


def sums_of_drafts(drafts: Sequence[PageDraft]) -> dict[str, tuple[SumsBySeason, SumsBySeason]]:
    """Sums for the maps and for the film of all drafts at once, by site id; empty if any of them cannot be read."""
    found: list[dict[str, SumsBySeason]] = []
    try:
        for folder in ("seasons", "weeks"):
            needed = [part for draft in drafts if (part := getattr(draft, folder)) is not None]
            sums = sums_by_season(needed, folder)
            found.append({part.site.id: sums_of_site for part, sums_of_site in zip(needed, sums, strict=True)})
    except MonitorError:  # write_draft reads each site alone, and names the one that fails
        return {}
    return {site: (found[0].get(site, {}), found[1].get(site, {})) for site in found[0].keys() | found[1].keys()}


def write_draft(draft: PageDraft, outputs: Path, sums: tuple[SumsBySeason, SumsBySeason] | None) -> None:
    """Draw the outdated maps and pictures of a draft and write the files of its site.

    `sums` are those for its maps and its film; None: they are computed here where they are needed. Raises
    ``StoreBroken`` where the store cannot be read, and ``OSError`` where the folder cannot be written.
    """
    view = draft.view
    if draft.stored is not None:
        stored = {name: view.chips[name].scene.partition(" ")[0] for name in draft.outdated & {"before", "now"}}
        pictures = draft.stored.pictures(names=set(stored.values()))
        drawn = {name: pictures[picture].rgb for name, picture in stored.items()}
        for name in draft.outdated & LOSS_PAIR:
            frame = scene_frame(
                draft.stored, str(draft.inputs.snapshot), view.site, draft.observed, view.chips[name].scene
            )
            drawn[name] = film_rgb(frame)
        chips: dict[str, Any] = {
            name.replace("-", "_"): replace(view.chips[name], rgb=drawn[name])
            for name in view.chips.keys() & drawn.keys()
        }
        view = replace(view, **chips)
    if draft.weeks is not None:
        grid = draft.weeks.store.grid
        parts = sums[1] if sums else sums_by_season([draft.weeks], "weeks")[0]
        by_year = {year: values for (year, _), values in parts.items()}
        assert view.film is not None
        frames = film_frames(by_year, inside(view.site.geometry, grid), draft.zero)
        view = replace(view, film=replace(view.film, frames=frames))
    if draft.seasons is not None:
        grid = draft.seasons.store.grid
        maps = site_maps(
            sums[0] if sums else sums_by_season([draft.seasons])[0], inside(view.site.geometry, grid), grid
        )
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


def _undrawn(
    stored: StoredSite | None, inputs: PageInputs, observed: Columns, controls: ControlGround | None,
    judge: Callable[[], JudgedSites], zero: float,
) -> dict[str, Any]:  # fmt: skip
    """Fields of the view for pictures and maps: not drawn yet, except the failing area, which the verdict has used."""
    if stored is None:
        empty: dict[str, Any] = {"maps": {}, "judged_hectares": None, "grid": None, "outline": None, "patch": None}
        return empty | {"before": None, "now": None}
    geometry, grid, a = inputs.site.geometry, stored.grid, inputs.assessment
    maps: dict[str, xr.DataArray | None] = dict.fromkeys(MAPS)
    judged_hectares, patch, loss, failing = None, None, None, None
    rest = (stored, str(inputs.snapshot), inputs.judged, observed)  # as the verdict used them
    constants = inputs.calibration or DEFAULT
    if a.hectares_lost is not None:
        loss = loss_map(*rest, a, constants)
    if a.hectares_failing_on is not None:
        failing = failing_map(*rest, a.hectares_failing_on, judge, 0, constants=constants)
    for name, area in (("failing", failing), ("loss", loss)):
        if area is None:
            continue
        probability = area.on_grid(inside(geometry, grid))
        maps[name] = xr.DataArray(probability, dims=("y", "x"))
        judged_hectares = float(np.isfinite(probability).sum() * abs(grid.resolution.x * grid.resolution.y) / 10_000)
    worst = failing if loss is None else loss
    if worst is not None and (a.status not in NO_ANSWER or a.alert is not AlertLevel.NONE):
        patch = worst_patch(worst.chance, worst.times, geometry, grid)
    drawing = {
        "maps": maps, "judged_hectares": judged_hectares, "grid": grid, "outline": outline(geometry, grid),
        "patch": None if patch is None else (patch, outline(Polygon(patch.ring), grid)),
    }  # fmt: skip
    return drawing | _context_chips(stored, inputs, controls) | _loss_chips(stored, inputs, observed, zero)


def _context_chips(stored: StoredSite, inputs: PageInputs, controls: ControlGround | None) -> dict[str, Chip | None]:
    """Pictures before the start and now."""
    context = stored.context
    units = None if controls is None or controls.ground.is_empty else outline(controls.ground, context)
    pair = zip(("before", "now"), same_weeks_pair(stored.pictures(pixels=False), inputs.site.start), strict=True)
    chips = {
        name: Chip(
            date=date.fromisoformat(picture.time[:10]), scene=f"{picture.name} {picture.time} {picture.clear:.4f}",
            outline=outline(inputs.site.geometry, context), controls=units, rgb=None,
            size=(context.shape.x, context.shape.y), pixel=abs(context.resolution.x)
        )
        for name, picture in pair
        if picture is not None
    }  # fmt: skip
    return {name: chips.get(name) for name in ("before", "now")}


def _loss_chips(stored: StoredSite, inputs: PageInputs, observed: Columns, zero: float) -> dict[str, Chip]:
    """The scenes next to a sudden loss in which the site is clear: the last before it, and the first that shows it."""
    a, grid = inputs.assessment, stored.grid
    if a.loss_on is None or a.status in (Status.UNDECIDED, Status.INSUFFICIENT_DATA):
        return {}
    difference = np.asarray(observed["cover"]) - np.asarray(observed["control_cover"])
    return {
        name: Chip(
            date=scene[0], scene=scene[1], outline=outline(inputs.site.geometry, grid), rgb=None,
            size=(grid.shape.x, grid.shape.y), pixel=abs(grid.resolution.x),
            level=float(difference[observed["acquisition"] == scene[1].encode()][0]) - zero
        )
        for name, scene in zip(("before_loss", "after_loss"), loss_scenes(observed, a), strict=True)
        if scene is not None
    }  # fmt: skip


def loss_scenes(observed: Columns, a: Assessment) -> tuple[tuple[date, str] | None, tuple[date, str] | None]:
    """Day and acquisition of the last clear scene before a sudden loss and of the first that shows it; None: no such
    scene.

    `observed` has ``date``, ``acquisition``, ``accepted`` and ``clear_fraction`` of a site, ascending by date.
    """
    day = observed["date"].astype("datetime64[D]")
    clear = np.asarray(observed["accepted"], bool) & (np.asarray(observed["clear_fraction"]) >= MIN_SITE_CLEAR)
    before = day <= np.datetime64(a.loss_after) if a.loss_after else np.zeros(day.size, bool)
    rows = (
        [*np.flatnonzero(clear & before)[-1:], -1][0],
        [*np.flatnonzero(clear & (day >= np.datetime64(a.loss_on))), -1][0],
    )
    first, second = (None if at < 0 else (day[at].item(), observed["acquisition"][at].decode()) for at in rows)
    return first, second
