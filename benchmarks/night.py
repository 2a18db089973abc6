"""What the products of a site cost in a night, in its first year and in its tenth.

    python -m benchmarks.night

A few sites get a stored history of so many years, put straight into stores and ledger as a night would leave it; then
every site gets one new clear scene, and `publish` is timed: reading the ledger and the new scene, the state of the
maps, maps, pictures, table and pages. That is done several nights in turn for all histories, in one process. What
reading the scene from the store and the bare arithmetic take by themselves is timed beside it; the rest is overhead.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr
from shapely.geometry import box

from jobs.fetch import ground_key
from jobs.gather import opened
from jobs.publish import publish
from jobs.records import observation, series, site_to_json
from jobs.settings import Settings, load
from monitor.cover.means import MEASURES
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, SiteStore, digest, record_of
from monitor.imagery.source import Scene
from monitor.ledger.ledger import Ledger
from monitor.publish.products import as_json
from monitor.sites.names import folder_name
from monitor.sites.site import Plan, Site
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.verdict.assess import DEFAULT, assess

HISTORIES = (1, 10)
"""Years that are stored before the first night."""
SITES = 10
NIGHTS = 5
EVERY = 5
"""Between two scenes. [day]"""
FIRST_NIGHT = date(2026, 7, 1)
UNITS = 30
GROWTH, OVERHEAD = 1.10, 80.0
"""Goals: the tenth year over the first, and milliseconds a site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """Sites with a stored history."""

    settings: Settings
    sites: Sequence[Site]
    noise: np.random.Generator


def programme(root: Path, *, years: int, sites: int) -> Programme:
    """Sites of 130 ha, their work begun after the first third of a history of so many years."""
    root.mkdir(parents=True)
    config = root / "regrowth.toml"
    config.write_text('[source]\nkind = "stac"\nurl = "https://catalogue.example"\n', encoding="utf-8")
    days = [FIRST_NIGHT - timedelta(days=EVERY * n) for n in range(365 * years // EVERY, 0, -1)]
    start = days[len(days) // 3]
    made = Programme(
        settings=load(config), sites=[site(n, start) for n in range(sites)], noise=np.random.default_rng(1)
    )
    with opened(made.settings) as ledger:
        with ledger.transaction() as t:
            for one in made.sites:
                t.add_site(one.id, one.version, site_to_json(one), start=one.start.isoformat(), now="2026")
        for some in (days[n : n + 32] for n in range(0, len(days), 32)):
            arrive(made, ledger, some)
        publish(made.settings, ledger)
    return made


def site(n: int, start: date) -> Site:
    left, bottom = 106.0 + 0.05 * n, 37.0
    return Site(
        id=f"site-{n:04d}", name=f"Plot {n}", geometry=box(left, bottom, left + 0.0128, bottom + 0.0103), start=start,
        intervention="planting", biome="loess", plan=Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5), hectares=130.0,
    )  # fmt: skip


def arrive(made: Programme, ledger: Ledger, days: Sequence[date]) -> None:
    """Scenes of some days over every site, stored and assessed as a night does it."""
    for one in made.sites:
        store = SiteStore(made.settings.store.root / folder_name(one.id) / ground_key(one))
        if not store.exists:
            grid, units = site_grid(one.geometry), [str(n) for n in range(UNITS)]
            store.create(site=one.id, grid=grid, units=units, measures=MEASURES, controls={})
        snapshot = store.put([entry(made, one, day) for day in days], f"{len(days)} scenes")
        with ledger.transaction() as t:
            t.take_over(ground_key(one), one.id, snapshot, [observation(r) for r in store.records()])
            seen = t.observations(ground_key(one))
            found = assess(series(seen), one, calibration=DEFAULT, alpha=0.05, as_of=days[-1])
            t.add_assessment(
                one.id, days[-1].isoformat(), str(len(seen)), as_json(found), version=one.version, snapshot=snapshot,
                run="benchmark",
            )  # fmt: skip


def entry(made: Programme, one: Site, day: date) -> Entry:
    """A clear scene: noisy ground that greens by the season, and after the start."""
    grid, noise = site_grid(one.geometry), made.noise
    season = np.exp(-0.5 * ((day.timetuple().tm_yday - 205) / 45) ** 2)
    green = 0.2 + 0.3 * season
    level = {"red": 0.16 - 0.12 * green, "nir": 0.2 + 0.3 * green}
    pixels = np.empty((len(LAYERS), *grid.shape), np.uint16)
    for place, layer in enumerate(LAYERS):
        pixels[place] = noise.normal(1e4 * level.get(layer, 0.12), 150, pixels.shape[1:])
    pixels[LAYERS.index("quality")], pixels[LAYERS.index("clear")] = 4, 1
    units = noise.normal(0.3, 0.02, (UNITS, len(MEASURES))).astype(np.float32)
    means: dict[str, float | None] = {f"control_{name}": 0.25 for name in MEASURES[1:]}
    means |= {name: 0.3 for name in MEASURES[1:]} | {"n_units": float(UNITS)}
    cover = green + 0.1 * season * (day > one.start) + noise.normal(0, 0.02)
    means |= {"cover": round(float(cover), 6), "control_cover": round(float(green + noise.normal(0, 0.02)), 6)}
    scene = Scene(
        id=f"S2A_MSIL2A_{day:%Y%m%d}T034531_N0511_R104_T48SXG", acquisition=f"S2A/{day:%Y%m%d}T034531",
        time=datetime(day.year, day.month, day.day, 3, 45, 31, tzinfo=UTC), sensor="sentinel-2a", baseline="05.11",
        source="benchmark", scale=1e-4, offset=0.0, quality="scl",
    )  # fmt: skip
    record = record_of(
        scene, accepted=True, reason="", clear_fraction=1.0, n_pixels=pixels[0].size, measures=means,
        digest=digest(pixels, units),
    )  # fmt: skip
    return Entry(record=record, pixels=pixels, units=units)


def floor(made: Programme) -> Callable[[], object]:
    """The newest scene of every site decoded, and the least arithmetic that its maps need."""
    arrays: list[Any] = []
    for one in made.sites:
        path = made.settings.store.root / folder_name(one.id) / ground_key(one)
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
        arrays.append(zarr.open_group(repository.readonly_session(branch="main").store, mode="r")["pixels"])
    red, nir = LAYERS.index("red"), LAYERS.index("nir")
    years = np.arange(10.0)
    yearly = made.noise.normal(0.3, 0.05, (10, arrays[0].shape[2] * arrays[0].shape[3])).astype(np.float32)

    def run() -> None:
        for array in arrays:
            values = np.asarray(array[array.shape[0] - 1]).astype(np.float32)
            (values[nir] - values[red]) / (values[nir] + values[red])
            slope_and_score(years, yearly)

    return run


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def main(*, sites: int = SITES) -> None:
    icechunk.set_logs_filter("error")
    with tempfile.TemporaryDirectory() as folder:
        made = {years: programme(Path(folder) / f"{years}", years=years, sites=sites) for years in HISTORIES}
        products: dict[int, list[float]] = {years: [] for years in HISTORIES}
        floors: dict[int, list[float]] = {years: [] for years in HISTORIES}
        for n in range(NIGHTS + 1):  # the first warms up
            for years, one in made.items():
                with opened(one.settings) as ledger:
                    arrive(one, ledger, [FIRST_NIGHT + timedelta(days=EVERY * n)])
                    failed = [error for error in publish_timed(one, ledger, products[years]) if error]
                if failed:
                    raise RuntimeError(failed[0])
                bare = floor(one)
                bare()
                floors[years].append(milliseconds(bare) / sites)
        size = site_grid(made[HISTORIES[0]].sites[0].geometry).shape
    print(f"Products of a site of {size[0]} x {size[1]} pixels in a night with one new clear scene, {sites} sites,")
    print(f"median of {NIGHTS} nights, milliseconds a site:")
    print(f"{'years stored':>14}{'in all':>10}{'read + arithmetic':>20}{'overhead':>10}   goal")
    took = {years: statistics.median(values[1:]) for years, values in products.items()}
    for years in HISTORIES:
        bare_ms = statistics.median(floors[years][1:])
        print(f"{years:>14}{took[years]:>10.1f}{bare_ms:>20.1f}{took[years] - bare_ms:>10.1f}   at most {OVERHEAD:.0f}")
    print(f"A night in year {HISTORIES[-1]} over one in year {HISTORIES[0]}: "
          f"{took[HISTORIES[-1]] / took[HISTORIES[0]]:.2f}   goal: at most {GROWTH:.2f}")  # fmt: skip


def publish_timed(made: Programme, ledger: Ledger, took: list[float]) -> list[str | None]:
    outcomes: dict[str, str | None] = {}
    took.append(milliseconds(lambda: outcomes.update(publish(made.settings, ledger))) / len(made.sites))
    return list(outcomes.values())


if __name__ == "__main__":
    main()
