"""Pages, maps and tables from what is stored; no network. Safe to run again: what did not change is not rewritten.

python -m jobs.publish
"""

import hashlib
import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import xarray as xr
from dask import compute, delayed

from jobs.fetch import ground_key
from jobs.gather import opened
from jobs.lock import held
from jobs.records import alert_from_json, assessment_from_json, site_from_json, table
from jobs.settings import Settings
from monitor.cover.fraction import ENDMEMBERS, cover
from monitor.cover.indices import INDICES
from monitor.cube.grid import inside, outline
from monitor.cube.store import SiteStore
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger
from monitor.publish.pages import edition
from monitor.publish.products import write_index, write_site
from monitor.publish.view import Chip, SiteView
from monitor.sites.registry import folder_name
from monitor.sites.site import Site
from monitor.trends.maps import slope
from monitor.verdict.assessment import Assessment
from monitor.verdict.window import Window

log = structlog.get_logger()


def publish(settings: Settings, ledger: Ledger, *, as_of: date | None = None) -> dict[str, str | None]:
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
    dict
        Of each site whose pages were out of date: None if they were rewritten, else what went wrong.
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
            content: list[Any] = [edition(), site.version, notice, found.status, found.alert, list(found.reasons)]
            content += [stored if alert else None, [row["digest"] for row in observations]]
            key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
            mark = settings.outputs.root / "sites" / folder_name(site.id) / ".made-from"
            if not (mark.is_file() and mark.read_text(encoding="utf-8") == key):
                lazy.append(
                    delayed(
                        partial(_write, settings, site, found, observations, alert, notice, mark, key),
                        pure=False,
                        traverse=False,
                    )()
                )
    outcomes: dict[str, str | None] = dict(compute(*lazy, scheduler="threads"))
    if rows:
        newest = max(found.as_of for _, found in rows)
        day = newest if as_of is None else max(as_of, newest)
        write_index(rows, alerts, settings.outputs.root, as_of=day, notice=notice)
    return outcomes


def _write(
    settings: Settings,
    site: Site,
    found: Assessment,
    observations: list[dict[str, Any]],
    alert: Any,
    notice: dict[str, str] | None,
    mark: Path,
    key: str,
) -> tuple[str, str | None]:
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
        return site.id, str(error)
    except Exception as error:
        log.exception("a bug while writing a page", site=site.id)
        return site.id, f"a bug, {type(error).__name__}: {error}"
    return site.id, None


def _pictures(store: SiteStore, site: Site, as_of: date, observations: list[dict[str, Any]]) -> dict[str, Any]:
    """Chips and maps of a site, from one pass over its stored scenes by dask; None where nothing was seen."""
    nothing: dict[str, Any] = {"before": None, "now": None, "maps": None, "outline": None}
    if not store.exists:
        return nothing
    cube = store.cube(layers={"blue", "green", "red", "nir", "clear", *INDICES[ENDMEMBERS[site.biome].index][1]})
    days = cube["time"].values.astype("datetime64[D]")
    window = Window.of(site)
    season, position = window.place(days.astype(np.int64))
    used = cube["accepted"].values & (days <= np.datetime64(as_of)) & (position <= window.length)
    if not used.any():
        return nothing
    cube, days, season = cube.isel(time=np.flatnonzero(used)), days[used], season[used]
    before = days < np.datetime64(site.start)
    endmembers = ENDMEMBERS[site.biome]
    index, needed = INDICES[endmembers.index]
    clear = cube["clear"]
    chips = {"now": days.size - 1, **({"before": int(np.flatnonzero(before)[-1])} if before.any() else {})}
    layers = {
        "vegetation": cover(index(*(cube[band] for band in needed)).where(clear), endmembers),
        "ndvi": INDICES["ndvi"][0](cube["red"], cube["nir"]).where(clear),
        **{name: cube[["red", "green", "blue"]].isel(time=place) for name, place in chips.items()},
    }
    (found,) = compute(layers, scheduler="threads")
    return {
        "before": _chip(found["before"]) if before.any() else None,
        "now": _chip(found["now"]),
        "maps": _maps(
            found["vegetation"], found["ndvi"], observations, season, before, inside(site.geometry, store.grid)
        ),
        "outline": outline(site.geometry, store.grid),
    }


def _chip(scene: xr.Dataset) -> Chip:
    rgb = np.stack([scene[band].values for band in ("red", "green", "blue")], axis=-1)
    return Chip(date=scene["time"].values.astype("datetime64[D]").item(), rgb=rgb)


def _maps(
    vegetation: xr.DataArray,
    ndvi: xr.DataArray,
    observations: list[dict[str, Any]],
    season: np.ndarray,
    before: np.ndarray,
    ground: np.ndarray,
) -> xr.Dataset:
    """NDVI and cover of the last growing season, slope of cover over the seasons, and uplift over the control.

    All on (y, x), NaN outside the site. Inputs hold the scenes of the growing seasons only.
    """
    years = np.unique(season)
    yearly = xr.concat([_mean(vegetation.isel(time=season == year)) for year in years], "time")
    yearly["time"] = np.array([f"{year}-07-01" for year in years], dtype="datetime64[ns]")
    control = {row["scene"]: row["control_cover"] for row in observations}
    theirs = [np.nan if control.get(scene) is None else control[scene] for scene in vegetation["scene"].values]
    over = vegetation - xr.DataArray(np.array(theirs, dtype=np.float32), dims="time")
    now = season == years[-1]
    uplift = _mean(over.isel(time=now))
    if before.any():
        uplift = uplift - _mean(over.isel(time=before))
    maps = xr.Dataset(
        {
            "ndvi": _mean(ndvi.isel(time=now)),
            "cover": _mean(vegetation.isel(time=now)),
            "slope": slope(yearly),
            "uplift": uplift,
        }
    )
    return maps.where(xr.DataArray(ground, dims=("y", "x"))).astype(np.float32)


def _mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over time, NaN where nothing was seen. xarray's own warns of such pixels when several threads run."""
    mean: xr.DataArray = values.sum("time", min_count=1) / values.count("time")
    return mean


def _notice(settings: Settings) -> dict[str, str] | None:
    if all(source.kind != "sample" for source in settings.source):
        return None
    from monitor.imagery.sample import NOTICE

    return NOTICE


def main_publish(settings: Settings) -> tuple[dict[str, str | None], int]:
    """``regrowth publish``: what :func:`publish` returns, and how many sites there are."""
    with held(settings.store.root, "pages"), opened(settings) as ledger:
        with ledger.transaction() as t:
            sites = len(t.sites())
        return publish(settings, ledger), sites


if __name__ == "__main__":
    import sys

    from jobs.cli import main

    main(["publish", *sys.argv[1:]])
