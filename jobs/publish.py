"""Pages, maps and tables from what is stored; no network. Safe to run again: what did not change is not rewritten.

python -m jobs.publish
"""

if __name__ == "__main__":  # first of all: logs and the folder of compiled kernels are set before libraries are loaded
    import sys

    from jobs.cli import main

    main(["publish", *sys.argv[1:]])


import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import batched
from pathlib import Path
from typing import Any, Final, cast

import structlog
from dask import delayed
from dask.delayed import Delayed

from jobs.calibrating import used_for
from jobs.engine import Run, engine
from jobs.episodes import in_episode
from jobs.fetch import ground_key
from jobs.gather import opened
from jobs.lock import held
from jobs.logs import redacted
from jobs.mapped import as_told, failing, mapped
from jobs.records import alert_from_json, assessment_from_json, site_from_json
from jobs.settings import Settings
from jobs.sight import assumptions, chances
from monitor.alerts.alert import Alert
from monitor.alerts.lifecycle import answered
from monitor.controls.units import ControlSet
from monitor.cube.grid import outline
from monitor.cube.store import LandscapeStore, StoredSite, landscape_of
from monitor.errors import MonitorError, full_disk
from monitor.imagery.terrain import Terrain, with_slope
from monitor.ledger.ledger import Ledger
from monitor.publish.calibrated import calibration_table
from monitor.publish.pages import edition
from monitor.publish.products import write_index, write_site
from monitor.publish.view import Assumed, CalibrationTable, Chance, Chip, SiteView
from monitor.series.build import site_series
from monitor.series.columns import Columns, no_observations, plain_texts, until
from monitor.sites.registry import folder_name
from monitor.sites.site import Site
from monitor.trends.state import maps
from monitor.verdict.assess import DEFAULT, assess_and_look_back
from monitor.verdict.assessment import Assessment, Series
from monitor.verdict.calibration import Calibration

log = structlog.get_logger()

TOGETHER: Final = 32
"""Sites whose pages are written by one call: each call opens their landscapes."""


def publish(settings: Settings, ledger: Ledger, work: Run, *, as_of: date | None = None) -> dict[str, str | None]:
    """Write the pages of the sites that changed, then tables and the index.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    work : callable
        See :func:`jobs.engine.engine`.
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
        records, newest, episodes, alerted = t.calibrations(), t.newest(), t.all_episodes(), t.last_alerts()
        snapshots, terrains, sights = t.snapshots(), t.backgrounds("terrain"), t.backgrounds("sight")
        gone = t.backgrounds("left_out")
        for values in t.sites():
            site = site_from_json(values)
            latest, ground = newest.get(site.id), ground_key(site)
            if latest is None:
                continue
            found = assessment_from_json(latest[2])
            site = in_episode(site, episodes[site.id], found.episode)
            rows.append((site, found))
            stored = alerted.get(site.id)
            alert = None if stored is None else alert_from_json(stored)
            if alert is not None and alert.state == "resolved":  # shown as long as it answers what is still seen
                seen = found.alert_rule is not None and answered(alert, found.alert, found.alert_rule)
                alert = alert if seen else None
            alerts += [alert] if alert else []
            snapshot, lie, sight = snapshots.get(ground), terrains.get(ground), sights.get(ground)
            notice = _notice(settings, dealt=site.id in demonstrated)
            content: list[Any] = [edition(), site.version, notice, found.status, found.alert, list(found.reasons)]
            content += [latest[1], stored if alert else None, snapshot, lie, sight, found.hectares_failing]
            key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
            mark = settings.outputs.root / "sites" / folder_name(site.id) / ".made-from"
            if not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
                pages.append(_Page(
                    site=site, ground=ground, found=found, snapshot=snapshot, left_out=gone.get(ground, {}),
                    terrain=lie, alert=alert, notice=notice, mark=mark, key=key, power=chances(sight),
                    assumed=assumptions(sight), constants=used_for(found, site, records),
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
    """Of the site, as :class:`monitor.imagery.terrain.Terrain` writes it; None: not known."""
    power: tuple[Chance, ...]
    assumed: Assumed | None
    constants: tuple[Calibration, int] | None
    """See :func:`jobs.calibrating.used_for`."""
    alert: Alert | None
    notice: dict[str, str] | None
    mark: Path
    """File that says what the page in place was made from."""
    key: str
    """What it will say."""


def _written(settings: Settings, ledger: Ledger, work: Run, pages: Sequence[_Page]) -> dict[str, str | None]:
    """Write some pages; of each site None, or what went wrong."""
    calls = list(batched(sorted(pages, key=lambda page: page.snapshot or ""), TOGETHER))
    outcomes: dict[str, str | None] = {}
    for number, told in work(_call(settings, ledger, some) for some in calls):
        for place, page in enumerate(calls[number]):
            error = redacted(f"its worker died: {told}") if isinstance(told, BaseException) else told[place]
            if error is None:
                try:  # here, where the index is written too: a worker may have another folder of this name
                    page.mark.write_text(page.key, encoding="utf-8")
                except OSError as failed:
                    misplaced = f"its page is not where it should be, {page.mark.parent}: {failed.strerror or failed}"
                    error = str(full_disk(failed, settings.outputs.root) or misplaced)
            if error is not None:
                log.error("page not written", site=page.site.id, error=error)
            outcomes[page.site.id] = error
    return outcomes


def _call(settings: Settings, ledger: Ledger, pages: Sequence[_Page]) -> Delayed:
    """Write some pages; their control units are read as the turn of the call comes, for those of all are large."""
    with ledger.reading() as t:
        controls = [t.controls(page.ground) for page in pages]
    write = delayed(_write_some, pure=False, traverse=False)
    return cast("Delayed", write(settings.store.root, settings.outputs.root, pages, controls))


def _write_some(
    root: Path, outputs: Path, pages: Sequence[_Page], controls: Sequence[dict[str, Any] | None]
) -> list[str | None]:
    landscape: LandscapeStore | None = None
    failed = []
    for page, units in zip(pages, controls, strict=True):
        if page.snapshot is not None:
            landscape = landscape_of(root, page.snapshot, landscape)
        failed.append(_write(root, outputs, page, units, None if page.snapshot is None else landscape))
    return failed


def _write(
    root: Path, outputs: Path, page: _Page, units: dict[str, Any] | None, landscape: LandscapeStore | None
) -> str | None:
    """Write a site's page from what was observed up to its day; what went wrong, or None."""
    site = page.site
    try:
        stored = None if landscape is None else landscape.site(page.ground)
        observed = _observed(page, units, stored)
        constants = DEFAULT if page.constants is None else page.constants[0]
        lie = None if page.terrain is None else Terrain.from_json(page.terrain)
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
            **_pictures(stored, page, observed, constants),
        )
        write_site(view, outputs)
    except (MonitorError, OSError) as error:
        return str(full_disk(error, f"{outputs} and {root}") or error)
    except Exception as error:
        log.exception("a bug while writing a page", site=site.id)
        return redacted(f"a bug, {type(error).__name__}: {error}")
    return None


def _observed(page: _Page, units: dict[str, Any] | None, stored: StoredSite | None) -> Columns:
    """The series of a site up to the day of its assessment."""
    if stored is None:
        return no_observations()
    controls = ControlSet(units=(), balance={}, candidates=0) if units is None else ControlSet.from_json(units)
    left_out = {unit: date.fromisoformat(day) for unit, day in page.left_out.items()}
    series = site_series(stored, controls, page.site, left_out=left_out, snapshot=page.snapshot)
    return until(series, page.found.as_of)


def _calibration(page: _Page) -> CalibrationTable | None:
    if page.constants is None:
        return None
    used, found = page.constants
    return calibration_table(used, biome=page.site.biome, found=found)


def _pictures(stored: StoredSite | None, page: _Page, observed: Columns, constants: Calibration) -> dict[str, Any]:
    """Chips and maps of a site, from the state of its maps after adding what is new; None where nothing was seen."""
    site, verdict = page.site, page.found
    snapshot = str(page.snapshot)
    found = None if stored is None else mapped(stored, snapshot, site, observed)
    if stored is None or found is None:
        return {"before": None, "now": None, "maps": {}, "grid": None, "outline": None}
    drawn = outline(site.geometry, stored.context)
    chips = {
        name: Chip(date=date.fromisoformat(one.time[:10]), rgb=one.rgb, outline=drawn)
        for name, one in stored.pictures().items()
    }
    layers = maps(found.state, found.ground)
    if verdict.hectares_failing is not None:
        fails = as_told(stored.derived, verdict)
        if fails is None:  # it was removed, as what is derived may be
            judged = with_slope(site, None if page.terrain is None else Terrain.from_json(page.terrain))
            _, look = assess_and_look_back(
                Series.of(observed), judged, calibration=constants, cohorts=site.cohorts, as_of=verdict.as_of
            )
            fails = failing(stored, snapshot, judged, observed, look, constants=constants)
        if fails is not None:
            layers["failing"] = fails.on(found.ground)
    return {
        "before": chips.get("before"),
        "now": chips.get("now"),
        "maps": layers,
        "grid": found.grid,
        "outline": outline(site.geometry, found.grid),
    }


def _shown(observed: Columns) -> dict[str, Any]:
    """What a page draws of the series."""
    numbers = {name: observed[name] for name in ("date", "cover", "control_cover", "accepted")}
    return {**numbers, "reason": plain_texts(observed["reason"])}


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
    from monitor.imagery.sample import NOTICE, SAMPLE

    return NOTICE if dealt else SAMPLE


def main_publish(settings: Settings) -> tuple[dict[str, str | None], int]:
    """``regrowth publish``: what :func:`publish` returns, and how many sites there are."""
    with (
        held(settings.store.root, "the writing of pages") as lock,
        opened(settings, lock.check) as ledger,
        engine(settings.engine.scheduler) as work,
    ):
        with ledger.reading() as t:
            sites = len(t.sites())
        return publish(settings, ledger, work), sites
