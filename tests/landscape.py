"""What is stored: of a landscape of one site, and of a site of an installation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from jobs.fetch import ground_key
from jobs.gather import opened as ledger_of
from jobs.records import site_from_json
from jobs.settings import Settings
from monitor.cube.store import DERIVED, Entry, LandscapeStore, Member, Record, StoredSite, stored_site
from monitor.imagery.source import Scene

GROUND = "ground"
"""Key of the ground of the site, unless another is given."""


def lone_site(
    path: Path,
    *,
    grid: GeoBox,
    units: Sequence[str],
    site: str = "lowood",
    controls: dict[str, Any] | None = None,
    biome: str = "loess",
    ground: str = GROUND,
) -> StoredSite:
    """Lay out a landscape of which the site fills its grid."""
    whole = Member(
        ground=ground, site=site, grid=grid, inside=np.ones(grid.shape, bool), context=grid, units=tuple(units),
        controls=controls or {},
    )  # fmt: skip
    store = LandscapeStore(path)
    store.create([whole], biome=biome)
    return store.site(ground)


def opened(path: Path, ground: str = GROUND) -> StoredSite:
    """The site as another process opens it."""
    return LandscapeStore(path).site(ground)


def put(site: StoredSite, entries: Sequence[Entry]) -> str:
    """Store scenes, a row each, and return the snapshot; granules that are not given are made of the record."""
    whole = [
        replace(
            entry,
            pixels=entry.pixels.reshape(len(entry.pixels), -1),
            granules=entry.granules or _granules(entry.record),
        )
        for entry in entries
    ]
    site.landscape.append([{site.derived.name: entry} for entry in whole], "scenes")
    return site.snapshot


def stored_of(settings: Settings, site: str) -> StoredSite:
    """What is stored of a site of an installation."""
    with ledger_of(settings) as ledger, ledger.transaction() as t:
        (chosen,) = [one for one in map(site_from_json, t.sites()) if one.id == site]
        ground = ground_key(chosen)
        return stored_site(settings.store.root / DERIVED / ground, t.snapshots()[ground])


def _granules(record: Record) -> tuple[Scene, ...]:
    return tuple(
        Scene(
            id=record.scene, acquisition=record.acquisition, tile=tile, time=datetime.fromisoformat(record.time),
            sensor=record.sensor, baseline=baseline, source=record.source, scale=record.scale, offset=record.offset,
            quality=record.quality, orbit=record.orbit,
        )
        for tile, baseline in (record.granules or {"": record.baseline}).items()
    )  # fmt: skip
