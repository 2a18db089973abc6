"""Stored data for tests: a landscape of one site, and a site of an installation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.controls.selection import NOT_CHOSEN, ControlSet
from monitor.cube.records import MEANS, Member, SiteScene, encode_texts
from monitor.cube.store import LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.ledger.transaction import Transaction
from monitor.series.build import series_and_units
from monitor.series.columns import Columns, decode_texts, no_observations
from monitor.sites.site import Site, ground_key

GROUND = "ground"  # key of the ground of the site, unless another is given


def lone_site(
    path: Path, *, grid: GeoBox, units: Sequence[str], site: str = "lowood", controls: dict[str, Any] | None = None,
    biome: str = "loess", definition: dict[str, Any] | None = None, ground: str = GROUND,
) -> StoredSite:  # fmt: skip
    """Lay out a landscape whose site fills its grid; `definition` of a biome that is not built in."""
    whole = Member(
        ground=ground, site=site, grid=grid, inside=np.ones(grid.shape, bool), context=grid, units=tuple(units),
        controls=controls or {},
    )  # fmt: skip
    store = LandscapeStore(path)
    store.create([whole], biome=biome, definition=definition)
    return StoredSite(store, ground)


def opened(path: Path, ground: str = GROUND) -> StoredSite:
    """The site as another process opens it."""
    return StoredSite(LandscapeStore(path), ground)


def put(site: StoredSite, entries: Sequence[SiteScene]) -> str:
    """Store scenes, a row each, and return the snapshot."""
    whole = [replace(entry, pixels=entry.pixels.reshape(len(entry.pixels), -1)) for entry in entries]
    site.landscape.append([{site.derived.name: entry} for entry in whole], "scenes")
    return site.snapshot


def site_of(t: Transaction, site: str) -> Site:
    """A current site of the ledger."""
    return from_json(t.site(site), Site)


def stored_of(settings: Settings, site: str) -> StoredSite:
    """The stored scenes of a site of an installation."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        ground = ground_key(site_of(t, site))
        return StoredSite(landscape_at_snapshot(settings.store.root, t.snapshots()[ground]), ground)


def series_of(settings: Settings, site: str) -> Columns:
    """The series of a site of an installation."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        chosen = site_of(t, site)
        ground = ground_key(chosen)
        frozen, left_out = t.controls(ground), t.ground_data(ground, "left_out") or {}
    series, _ = series_and_units(
        stored_of(settings, site),
        NOT_CHOSEN if frozen is None else ControlSet.from_json(frozen),
        chosen,
        left_out={unit: date.fromisoformat(day) for unit, day in left_out.items()},
    )
    return series


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


def site_scene(granules: Sequence[Scene], pixels: np.ndarray, units: np.ndarray, **values: Any) -> SiteScene:
    """A scene of a site, which counts unless a reason is given; `means` by name, of control ground ``control_...``."""
    means = values.pop("means", {})
    given = {
        "acquisition": granules[0].acquisition, "granules": tuple(granules), "scene": granules[0], "digest": "0" * 16,
        "used": {granule.tile: granule.baseline for granule in granules},
        "site_means": np.array([means.get(name, np.nan) for name in MEANS]),
        "control_means": np.array([means.get(f"control_{name}", np.nan) for name in MEANS]),
    }  # fmt: skip
    return SiteScene(**{**given, "pixels": pixels, "units": units, **values})


def record(one: SiteScene) -> SimpleNamespace:
    """Plain values of a scene of a site, as :func:`records` gives them of a store."""
    scene, control = one.scene, {f"control_{name}": value for name, value in zip(MEANS, one.control_means, strict=True)}
    measures = {name: float(value) for name, value in (*zip(MEANS, one.site_means, strict=True), *control.items())}
    of_scene = ("sensor", "baseline", "source", "scale", "offset", "quality", "orbit")
    return SimpleNamespace(
        scene=scene.id, acquisition=one.acquisition, time=scene.time.isoformat(), granules=dict(one.used),
        bandpass=bands.is_adjusted_to_msi(scene.sensor, scene.quality, 10.0), accepted=not one.reason,
        reason=one.reason, clear_fraction=one.clear_fraction, n_pixels=one.n_pixels, n_units=one.n_units,
        measures={name: value for name, value in measures.items() if value == value}, digest=one.digest,
        **{name: getattr(scene, name) for name in of_scene},
    )  # fmt: skip


def records(site: StoredSite, snapshot: str | None = None) -> list[SimpleNamespace]:
    """Plain values of the stored scenes of a site that count, by order of arrival."""
    columns, baselines = site.columns(snapshot), site.baselines(snapshot)
    plain = {name: decode_texts(one) if one.dtype.kind == "S" else one.tolist() for name, one in columns.items()}
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    found = []
    for row in sorted(rows, key=lambda row: row["row"]):
        means = {name: row.pop(name) for prefix in ("", "control_") for name in (prefix + mean for mean in MEANS)}
        row |= {"granules": dict(baselines[row["acquisition"]]), "digest": f"{row['digest']:016x}"}
        row["measures"] = {name: value for name, value in means.items() if value == value}
        found.append(SimpleNamespace(**{name: row[name] for name in row if name not in ("row", "moment", "date")}))
    return found
