"""Stored data for tests: a landscape of one site, and a site of an installation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.controls.selection import NOT_CHOSEN, ControlSet
from monitor.cube.records import Member, Record, SiteScene, encode_texts
from monitor.cube.store import LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.imagery.source import Scene
from monitor.series.build import site_series
from monitor.series.columns import Columns, decode_texts, no_observations
from monitor.sites.site import Site, ground_key

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
    """Lay out a landscape whose site fills its grid."""
    whole = Member(
        ground=ground, site=site, grid=grid, inside=np.ones(grid.shape, bool), context=grid, units=tuple(units),
        controls=controls or {},
    )  # fmt: skip
    store = LandscapeStore(path)
    store.create([whole], biome=biome)
    return StoredSite(store, ground)


def opened(path: Path, ground: str = GROUND) -> StoredSite:
    """The site as another process opens it."""
    return StoredSite(LandscapeStore(path), ground)


def put(site: StoredSite, entries: Sequence[SiteScene]) -> str:
    """Store scenes, a row each, and return the snapshot; granules that are not given are made of the record."""
    whole = [
        replace(
            entry,
            pixels=entry.pixels.reshape(len(entry.pixels), -1),
            granules=entry.granules or granules_of_record(entry.record),
        )
        for entry in entries
    ]
    site.landscape.append([{site.derived.name: entry} for entry in whole], "scenes")
    return site.snapshot


def stored_of(settings: Settings, site: str) -> StoredSite:
    """The stored scenes of a site of an installation."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        (chosen,) = [one for one in (from_json(values, Site) for values in t.sites()) if one.id == site]
        ground = ground_key(chosen)
        return StoredSite(landscape_at_snapshot(settings.store.root, t.snapshots()[ground]), ground)


def series_of(settings: Settings, site: str) -> Columns:
    """The series of a site of an installation."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        (chosen,) = [one for one in (from_json(values, Site) for values in t.sites()) if one.id == site]
        ground = ground_key(chosen)
        frozen, left_out = t.controls(ground), t.ground_data(ground, "left_out") or {}
    return site_series(
        stored_of(settings, site),
        NOT_CHOSEN if frozen is None else ControlSet.from_json(frozen),
        chosen,
        left_out={unit: date.fromisoformat(day) for unit, day in left_out.items()},
    )


def rows_of(series: Columns) -> list[dict[str, Any]]:
    """Its rows as plain values, None where there is none; without what repeats other columns or rows."""
    plain = {
        name: decode_texts(values)
        if values.dtype.kind == "S"
        else [None if value != value else value for value in values.tolist()]
        for name, values in series.items()
        if name not in ("chain", "line")
    }
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def columns_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Columns:
    """Some columns of a series of such rows, and their date."""
    kinds = {name: values.dtype for name, values in no_observations().items()}
    plain = {name: [row[name] for row in rows] for name in names}
    found = {
        name: encode_texts(values) if kinds[name].kind == "S" else np.array(values, kinds[name])
        for name, values in plain.items()
    }
    return {**found, "date": np.array([row["time"][:10] for row in rows], "datetime64[D]")}


def granules_of_record(record: Record) -> tuple[Scene, ...]:
    return tuple(
        Scene(
            id=record.scene, acquisition=record.acquisition, tile=tile, time=datetime.fromisoformat(record.time),
            sensor=record.sensor, baseline=baseline, source=record.source, scale=record.scale, offset=record.offset,
            quality=record.quality, orbit=record.orbit,
        )
        for tile, baseline in (record.granules or {"": record.baseline}).items()
    )  # fmt: skip
