"""Pages, maps and tables from what is stored; no network. Safe to run again: what did not change is not rewritten.

python -m jobs.publish
"""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import xarray as xr
from dask import compute, delayed

from jobs import __version__
from jobs.fetch import ground_key
from jobs.gather import opened
from jobs.records import alert_from_json, assessment_from_json, site_from_json, table
from jobs.settings import Settings
from monitor.cover.fraction import ENDMEMBERS, cover
from monitor.cover.indices import INDICES
from monitor.cube.grid import inside, outline
from monitor.cube.store import SiteStore
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger
from monitor.publish.products import write_index, write_site
from monitor.publish.view import Chip, SiteView
from monitor.sites.registry import folder_name
from monitor.sites.site import Site
from monitor.trends.maps import slope
from monitor.verdict.assessment import Assessment
from monitor.verdict.window import Window

log = structlog.get_logger()


def publish(settings: Settings, ledger: Ledger, *, as_of: date | None = None) -> list[str]:
    """Write the pages of the sites that changed, then tables and the index.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    as_of : date, optional
        Day of the run; None: that of the newest assessment.

    Returns
    -------
    list of str
        Ids of the sites whose pages were rewritten.
    """
    notice = _notice(settings)
    rows: list[tuple[Site, Assessment]] = []
    alerts = []
    lazy = []
    with ledger.transaction() as t:
        for values in t.sites():
            site = site_from_json(values)
            latest = t.latest(site.id)
            if latest is None:
                continue
            found = assessment_from_json(latest[2])
            rows.append((site, found))
            stored = t.last_alert(site.id)
            alert = None if stored is None else alert_from_json(stored)
            alert = alert if alert is not None and alert.state != "resolved" else None
            alerts += [alert] if alert else []
            observations = [
                row for row in t.observations(ground_key(site)) if row["time"][:10] <= found.as_of.isoformat()
            ]  # fmt: skip
            content: list[Any] = [__version__, site.version, notice, found.status, found.alert, list(found.reasons)]
            content += [stored if alert else None, [row["digest"] for row in observations]]
            key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
            mark = settings.outputs.root / "sites" / folder_name(site.id) / ".made-from"
            if not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
                lazy.append(
                    delayed(_write, pure=False, traverse=False)(
                        settings, site, found, observations, alert, notice, mark, key
                    )
                )
    written = [name for name in compute(*lazy, scheduler="threads") if name]
    if rows:
        day = as_of or max(found.as_of for _, found in rows)
        write_index(rows, alerts, settings.outputs.root, as_of=day, notice=notice)
    return written


def _write(
    settings: Settings,
    site: Site,
    found: Assessment,
    observations: list[dict[str, Any]],
    alert: Any,
    notice: str | None,
    mark: Path,
    key: str,
) -> str | None:
    folder = settings.store.root / folder_name(site.id) / ground_key(site)
    try:
        view = SiteView(
            site=site,
            assessment=found,
            observations=table(site.id, observations),
            alert=alert,
            notice=notice,
            **_pictures(SiteStore(folder), site, found.as_of, observations),
        )
        write_site(view, settings.outputs.root)
        mark.write_text(key, encoding="utf-8")
    except (MonitorError, OSError) as error:
        log.error("page not written", site=site.id, error=str(error))
        return None
    return site.id


def _pictures(store: SiteStore, site: Site, as_of: date, observations: list[dict[str, Any]]) -> dict[str, Any]:
    """Chips and maps of a site; None where nothing was seen."""
    nothing: dict[str, Any] = {"before": None, "now": None, "maps": None, "outline": None}
    if not store.exists:
        return nothing
    cube = store.cube()
    cube = cube.sel(time=slice(None, np.datetime64(as_of) + np.timedelta64(1, "D")))
    cube = cube.isel(time=np.flatnonzero(cube["accepted"].values))
    if not cube.sizes["time"]:
        return nothing
    grid = store.grid
    window = Window.of(site)
    days = cube["time"].values.astype("datetime64[D]")
    season, position = window.place(days.astype(np.int64))
    growing = position <= window.length
    start = np.datetime64(site.start)
    before = np.flatnonzero(growing & (days < start))
    return {
        "before": _chip(cube, int(before[-1])) if before.size else None,
        "now": _chip(cube, int(days.size - 1)),
        "maps": _maps(cube, site, observations, season, growing, days < start, inside(site.geometry, grid)),
        "outline": outline(site.geometry, grid),
    }


def _chip(cube: xr.Dataset, index: int) -> Chip:
    scene = cube.isel(time=index)
    rgb = np.stack([scene[band].values for band in ("red", "green", "blue")], axis=-1)
    return Chip(date=scene["time"].values.astype("datetime64[D]").item(), rgb=rgb)


def _maps(
    cube: xr.Dataset,
    site: Site,
    observations: list[dict[str, Any]],
    season: np.ndarray,
    growing: np.ndarray,
    before: np.ndarray,
    ground: np.ndarray,
) -> xr.Dataset | None:
    """NDVI and cover of the last growing season, slope of cover over the seasons, and uplift over the control.

    All on (y, x), NaN outside the site; computed by dask, a chunk a scene.
    """
    if not growing.any():
        return None
    chosen = cube.isel(time=np.flatnonzero(growing))
    year, pre = season[growing], before[growing]
    endmembers = ENDMEMBERS[site.biome]
    index, needed = INDICES[endmembers.index]
    vegetation = cover(index(*(chosen[band] for band in needed)).where(chosen["clear"]), endmembers)
    ndvi = INDICES["ndvi"][0](chosen["red"], chosen["nir"]).where(chosen["clear"])
    vegetation, ndvi = compute(vegetation, ndvi)
    yearly = xr.concat([vegetation.isel(time=year == y).mean("time") for y in np.unique(year)], "time")
    yearly["time"] = np.array([f"{y}-07-01" for y in np.unique(year)], dtype="datetime64[ns]")
    now = year == year.max()
    control = {row["scene"]: row["control_cover"] for row in observations}
    theirs = np.array([np.nan if control.get(s) is None else control[s] for s in chosen["scene"].values], dtype=float)
    over = vegetation - xr.DataArray(theirs.astype(np.float32), dims="time")
    uplift = over.isel(time=now).mean("time")
    if pre.any():
        uplift = uplift - over.isel(time=pre).mean("time")
    maps = xr.Dataset(
        {
            "ndvi": ndvi.isel(time=now).mean("time"),
            "cover": vegetation.isel(time=now).mean("time"),
            "slope": slope(yearly),
            "uplift": uplift,
        }
    )
    maps = maps.where(xr.DataArray(ground, dims=("y", "x"))).astype(np.float32)
    return maps.assign_coords(spatial_ref=cube["spatial_ref"]).drop_vars(["time", "scene", "accepted"], errors="ignore")


def _notice(settings: Settings) -> str | None:
    if all(source.kind != "sample" for source in settings.source):
        return None
    from monitor.imagery.sample import NOTICE, NOTICE_ZH

    return f"{NOTICE} {NOTICE_ZH}"


def main_publish(settings: Settings) -> list[str]:
    """``regrowth publish``."""
    with opened(settings) as ledger:
        return publish(settings, ledger)


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["publish", *sys.argv[1:]])
