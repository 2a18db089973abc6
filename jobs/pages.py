"""Pages, maps and tables from what is stored; no network. Safe to run again: what did not change is not rewritten."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import batched, groupby
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import structlog
import xarray as xr
from dask import delayed
from dask.delayed import Delayed

from jobs.calibration import constants_used
from jobs.detectability import assumptions, chances
from jobs.episodes import in_episode
from jobs.executor import Compute, open_executor
from jobs.installation import open_ledger
from jobs.lock import hold_lock
from jobs.logs import redacted
from jobs.records import from_json
from jobs.settings import Settings
from monitor.alerts.alert import Alert
from monitor.alerts.lifecycle import already_answered
from monitor.controls.selection import ControlSet
from monitor.cube.grid import inside, outline
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import MonitorError, as_disk_full
from monitor.imagery.auxiliary.terrain import Terrain, with_slope
from monitor.ledger.ledger import Ledger
from monitor.maps.failing import failing_map
from monitor.maps.seasons import Season, SiteSeasons, scenes_by_season, sums_by_season
from monitor.maps.site_maps import MAPS, site_maps
from monitor.publish.calibrated import calibration_table
from monitor.publish.products import is_current, outdated_pictures, pages_code_hash, write_index, write_site
from monitor.publish.view import CalibrationTable, Chip, DetectionAssumptions, DetectionChance, SiteView
from monitor.series.build import site_series
from monitor.series.columns import Columns, decode_texts, no_observations, observed_until
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import DEFAULT, LateSeasonState, assess_with_late_season
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration

log = structlog.get_logger()

TOGETHER: Final = 32
"""Sites of one landscape whose pages are written by one call, at most."""


def publish(settings: Settings, ledger: Ledger, work: Compute, *, as_of: date | None = None) -> dict[str, str | None]:
    """Write the pages of the sites that changed, then tables and the index.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    work : callable
        See :func:`jobs.executor.open_executor`.
    as_of : date, optional
        Day of the run; None: that of the newest assessment.

    Returns
    -------
    dict
        Of each site whose pages were out of date: None if they were rewritten, else what went wrong.
    """
    demonstrated = _demonstrated(settings)
    rows: list[tuple[Site, Assessment]] = []
    alerts = []
    pages: list[_Page] = []
    with ledger.reading() as t:
        # of all sites at once: site by site it would take longer than all else here
        records, newest, episodes, alerted = t.calibrations(), t.latest_assessments(), t.all_episodes(), t.last_alerts()
        snapshots, terrains = t.snapshots(), t.all_ground_data("terrain")
        detectabilities = t.all_ground_data("detectability")
        gone = t.all_ground_data("left_out")
        for values in t.sites():
            site = from_json(values, Site)
            latest, ground = newest.get(site.id), ground_key(site)
            if latest is None:
                continue
            found = from_json(latest[2], Assessment)
            site = in_episode(site, episodes[site.id], found.episode)
            rows.append((site, found))
            stored = alerted.get(site.id)
            alert = None if stored is None else from_json(stored, Alert)
            if alert is not None and alert.state == "resolved":  # shown as long as it answers what is still seen
                seen = found.alert_rule is not None and already_answered(alert, found.alert, found.alert_rule)
                alert = alert if seen else None
            alerts += [alert] if alert else []
            snapshot, lie, detectability = snapshots.get(ground), terrains.get(ground), detectabilities.get(ground)
            notice = _notice(settings, dealt=site.id in demonstrated)
            content: list[Any] = [
                pages_code_hash(),
                site.version,
                notice,
                found.status,
                found.alert,
                list(found.reasons),
            ]
            content += [latest[1], stored if alert else None, snapshot, lie, detectability, found.hectares_failing]
            key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
            if not is_current(site.id, settings.outputs.root, key):
                pages.append(_Page(
                    site=site, ground=ground, found=found, snapshot=snapshot, left_out=gone.get(ground, {}),
                    terrain=lie, alert=alert, notice=notice, key=key, power=chances(detectability),
                    assumed=assumptions(detectability), constants=constants_used(found, site, records),
                ))  # fmt: skip
    outcomes = _written(settings, ledger, work, pages)
    if rows:
        last = max(found.as_of for _, found in rows)
        day = last if as_of is None else max(as_of, last)
        notice = _notice(settings, dealt=all(site.id in demonstrated for site, _ in rows))
        write_index(rows, alerts, settings.outputs.root, as_of=day, alpha=settings.alerts.alpha, notice=notice)
    return outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A site whose page is out of date."""

    site: Site
    """In the episode of its assessment."""
    ground: str
    """Key of its store."""
    found: Assessment
    snapshot: str | None
    """Of the site's store, as the ledger knows it; None: nothing is stored."""
    left_out: Mapping[str, str]
    """By id of a control unit, the first day (ISO 8601) on which it no longer counts."""
    terrain: dict[str, Any] | None
    """Of the site, as :class:`monitor.imagery.auxiliary.terrain.Terrain` writes it; None: not known."""
    power: tuple[DetectionChance, ...]
    assumed: DetectionAssumptions | None
    constants: tuple[Calibration, int] | None
    """See :func:`jobs.calibration.constants_used`."""
    alert: Alert | None
    notice: dict[str, str] | None
    key: str
    """Hash of all that the page is made from."""

    @property
    def landscape(self) -> str:
        """Name of the landscape of the site; empty: nothing is stored."""
        return "" if self.snapshot is None else self.snapshot.rpartition(":")[0]


def _written(settings: Settings, ledger: Ledger, work: Compute, pages: Sequence[_Page]) -> dict[str, str | None]:
    """Write some pages; of each site None, or what went wrong."""
    root = settings.outputs.root
    together = groupby(sorted(pages, key=lambda page: page.landscape), key=lambda page: page.landscape)
    calls = [some for _, members in together for some in batched(members, TOGETHER)]
    outcomes: dict[str, str | None] = {}
    for number, told in work(_call(settings, ledger, some) for some in calls):
        for place, page in enumerate(calls[number]):
            error = redacted(f"its worker died: {told}") if isinstance(told, BaseException) else told[place]
            if error is None and not is_current(page.site.id, root, page.key):
                # here, where the index is written too: a worker may have another folder of this name
                error = f"its page is not where it should be, under {root / 'sites'}"
            if error is not None:
                log.error("page not written", site=page.site.id, error=error)
            outcomes[page.site.id] = error
    return outcomes


def _call(settings: Settings, ledger: Ledger, pages: Sequence[_Page]) -> Delayed:
    """Write some pages; their control units are read as the turn of the call comes, for those of all are large."""
    with ledger.reading() as t:
        controls = [t.controls(page.ground) for page in pages]
    write = partial(_write_some, settings.store.root, settings.outputs.root, pages, controls)
    return cast("Delayed", delayed(write, pure=False, traverse=False)())  # arguments would be searched for graphs


def _write_some(
    store: Path, outputs: Path, pages: Sequence[_Page], controls: Sequence[dict[str, Any] | None]
) -> list[str | None]:
    """Write the pages of some sites of one landscape; of each None, or what went wrong."""
    landscape = LandscapeStore(store / pages[0].landscape)
    errors: list[str | None] = [None] * len(pages)

    def tried[T](place: int, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except (MonitorError, OSError) as error:
            errors[place] = str(as_disk_full(error, f"{outputs} and {store}") or error)
        except Exception as error:
            log.exception("a bug while writing a page", site=pages[place].site.id)
            errors[place] = redacted(f"a bug, {type(error).__name__}: {error}")
        return None

    drafts = [
        tried(place, partial(_draft, landscape, outputs, page, units))
        for place, (page, units) in enumerate(zip(pages, controls, strict=True))
    ]
    sums = _sums([draft for draft in drafts if draft is not None])
    for place, draft in enumerate(drafts):
        if draft is not None:
            tried(place, partial(_write, outputs, draft, sums.get(draft.page.site.id)))
    return errors


def _observed(landscape: LandscapeStore, page: _Page, units: dict[str, Any] | None) -> Columns:
    """The series of a site up to the day of its assessment."""
    if page.snapshot is None:
        return no_observations()
    controls = ControlSet(units=(), balance={}, candidates=0) if units is None else ControlSet.from_json(units)
    left_out = {unit: date.fromisoformat(day) for unit, day in page.left_out.items()}
    stored = StoredSite(landscape, page.ground)
    return observed_until(
        site_series(stored, controls, page.site, left_out=left_out, snapshot=page.snapshot), page.found.as_of
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A page, before its maps and pictures are drawn."""

    page: _Page
    view: SiteView
    stored: StoredSite | None
    draw: frozenset[str]
    """Names of maps and pictures that are to be drawn."""
    wanted: SiteSeasons | None
    """What its maps are made from, where they are to be drawn."""


def _draft(landscape: LandscapeStore, outputs: Path, page: _Page, units: dict[str, Any] | None) -> _Draft:
    site, observed = page.site, _observed(landscape, page, units)
    lie = None if page.terrain is None else Terrain.from_json(page.terrain)
    seasons = {} if page.snapshot is None else scenes_by_season(site, observed)
    stored = StoredSite(landscape, page.ground) if seasons else None
    view = SiteView(
        site=site,
        assessment=page.found,
        observations=_shown(observed),
        lines=observed["line"].tolist(),
        alert=page.alert,
        notice=page.notice,
        elevation=None if lie is None else lie.elevation,
        slope=site.slope_degrees if lie is None else lie.slope,
        power=page.power,
        assumed=page.assumed,
        calibration=_calibration(page),
        **_pictures(stored, page, observed),
    )
    draw, wanted = outdated_pictures(view, outputs), None
    if stored is not None and draw.intersection(view.maps):
        wanted = SiteSeasons(site=site, store=stored, snapshot=str(page.snapshot), seasons=seasons)
    return _Draft(page=page, view=view, stored=stored, draw=draw, wanted=wanted)


def _sums(drafts: Sequence[_Draft]) -> dict[str, dict[Season, np.ndarray]]:
    """Sums of the seasons of all of them at once, by site; none if one of them cannot be read."""
    wanted = [draft.wanted for draft in drafts if draft.wanted is not None]
    try:
        return {one.site.id: sums for one, sums in zip(wanted, sums_by_season(wanted), strict=True)}
    except MonitorError:  # each site has to say so by itself
        return {}


def _write(outputs: Path, draft: _Draft, sums: dict[Season, np.ndarray] | None) -> None:
    view, stored = draft.view, draft.stored
    if stored is not None:
        chips = stored.pictures(names=draft.draw)
        before, now = (
            chip if chip is None or name not in chips else replace(chip, rgb=chips[name].rgb)
            for name, chip in (("before", view.before), ("now", view.now))
        )
        view = replace(view, before=before, now=now)
    if draft.wanted is not None:
        sums = sums or sums_by_season([draft.wanted])[0]
        grid = draft.wanted.store.grid
        maps = site_maps(sums, inside(view.site.geometry, grid), grid)
        if "failing" in view.maps:
            maps["failing"] = view.maps["failing"]
        view = replace(view, maps={str(name): layer for name, layer in maps.items()})
    write_site(view, outputs, draft.page.key)


def _calibration(page: _Page) -> CalibrationTable | None:
    if page.constants is None:
        return None
    used, found = page.constants
    return calibration_table(used, biome=page.site.biome, found=found)


def _pictures(stored: StoredSite | None, page: _Page, observed: Columns) -> dict[str, Any]:
    """Chips and maps of a site that are yet to be drawn; the failing ground, which its verdict was made with."""
    if stored is None:
        return {"before": None, "now": None, "maps": {}, "judged": None, "grid": None, "outline": None}
    site, grid, context = page.site, stored.grid, stored.context
    drawn = outline(site.geometry, context)
    chips = {
        name: Chip(
            date=date.fromisoformat(one.time[:10]), scene=f"{one.time} {one.clear:.4f}", outline=drawn, rgb=None,
            size=(context.shape.x, context.shape.y),
        )
        for name, one in stored.pictures(pixels=False, names=("before", "now")).items()
    }  # fmt: skip
    maps: dict[str, xr.DataArray | None] = dict.fromkeys(MAPS)
    judged = None
    chance = _failing(stored, page, observed)
    if chance is not None:
        maps["failing"] = xr.DataArray(chance, dims=("y", "x"))
        judged = float(np.isfinite(chance).sum() * abs(grid.resolution.x * grid.resolution.y) / 10_000)
    return {
        "before": chips.get("before"), "now": chips.get("now"), "maps": maps, "judged": judged, "grid": grid,
        "outline": outline(site.geometry, grid),
    }  # fmt: skip


def _failing(stored: StoredSite, page: _Page, observed: Columns) -> np.ndarray | None:
    """(y, x) chance that regrowth is absent, as it was when the verdict looked at the pixels; None: it has none."""
    day = page.found.hectares_failing_on
    if day is None:
        return None
    site = with_slope(page.site, None if page.terrain is None else Terrain.from_json(page.terrain))
    constants = DEFAULT if page.constants is None else page.constants[0]

    def look() -> LateSeasonState | None:
        return assess_with_late_season(
            Series.of(observed), site, calibration=constants, cohorts=site.cohorts, as_of=page.found.as_of
        )[1]

    found = failing_map(stored, str(page.snapshot), site, observed, day, look, constants=constants)
    return None if found is None else found.on_grid(inside(site.geometry, stored.grid))


def _shown(observed: Columns) -> dict[str, Any]:
    """What a page draws of the series."""
    numbers = {name: observed[name] for name in ("date", "cover", "control_cover", "accepted")}
    return {**numbers, "reason": decode_texts(observed["reason"])}


def _demonstrated(settings: Settings) -> frozenset[str]:
    """Ids of the sites that the demonstration dealt fates to; none where these are no outputs of a demonstration."""
    try:
        return frozenset(json.loads((settings.outputs.root / "truth.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()


def _notice(settings: Settings, *, dealt: bool) -> dict[str, str] | None:
    """What a page says first; `dealt`: of sites whose fates are the demonstration's."""
    if all(source.kind != "sample" for source in settings.source):
        return None
    from monitor.imagery.sample import DEMONSTRATION_NOTICE, SAMPLE_NOTICE

    return DEMONSTRATION_NOTICE if dealt else SAMPLE_NOTICE


def main_publish(settings: Settings) -> tuple[dict[str, str | None], int]:
    """``regrowth publish``: what :func:`publish` returns, and how many sites there are."""
    with (
        hold_lock(settings.store.root, "the writing of pages") as lock,
        open_ledger(settings, lock.check) as ledger,
        open_executor(settings.engine.scheduler) as work,
    ):
        with ledger.reading() as t:
            sites = len(t.sites())
        return publish(settings, ledger, work), sites
