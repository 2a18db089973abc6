"""What fetching costs: requests, megabytes and seconds of a night, and of a night without new scenes.

    python -m benchmarks.sources

One tile of Sentinel-2 is offered by servers on loopback, unpatched clients asking them: as cloud-optimised GeoTIFFs
behind a STAC API, and by a stand-in for Earth Engine. Sites of 130 ha lie evenly over the tile; beside them a cluster
of 64 lies in one corner of it. Their control units are chosen from a scene of the year before the start (timed as the
backfill); then some new scenes come, all clear on purpose, and the next night there is nothing new. Verdicts and pages
are not part of it. The scenes share the files of one date, which changes nothing for who reads them: nothing is cached
from one scene to the next.

Servers and client share the machine, so seconds hold for here only. The stand-in for Earth Engine evaluates graphs in
numpy and takes nearly all of the time there: sites are few and small, and requests and megabytes are what to
look at.
"""

import csv
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import icechunk
import numpy as np
from affine import Affine
from odc.geo import CRS
from shapely.geometry import box, mapping

from jobs.imagery.sources import open_sources
from jobs.night.ingest import by_landscape, record_observations, update_sites
from jobs.runtime.executor import open_executor
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from jobs.runtime.settings import Settings, load
from monitor.controls.selection import ControlSet
from monitor.errors import MonitorError
from monitor.imagery.stac.source import Stac
from monitor.sites.projection import lonlat, projected
from monitor.sites.site import Plan, Site, ground_key
from tests.loopback.earthengine import EarthEngineServer, add_sentinel2
from tests.loopback.stac import BANDS, StacServer, write_cog

RESULTS = Path(__file__).parent / "results"
UTM = CRS("EPSG:32648")
CORNER = (600_000.0, 4_200_000.0)
TILE = 10_980  # side of a tile of Sentinel-2 [pixel of 10 m]
BLOCK = 512  # side of a block, as Planetary Computer writes them; Earth Search writes 1,024 [pixel]
HECTARES = 130.0
SMALL_HECTARES = 2.0  # of a site of the stand-in for Earth Engine
MANY, FEW = 1_000, 64  # sites all over the tile, and in the cluster
STAND_IN = 12  # sites of the stand-in for Earth Engine
CLUSTER = 2_048
"""Side of the ground of the cluster; sites lie nearly twice as densely as all over the tile. [pixel of 10 m]"""
START = date(2022, 4, 1)
BEFORE = datetime(2021, 8, 12, 3, 51, 41, tzinfo=UTC)
NEW = [datetime(2026, 7, 1, 3, 51, 41, tzinfo=UTC) + timedelta(days=5 * n) for n in range(5)]
SOIL, LEAF = np.array([900, 1300, 1900, 2500, 3200, 2900]), np.array([300, 600, 450, 3600, 1900, 950])
RATIO = 1.5  # goal: bytes decoded over bytes used
EE_NIGHT = 1.2  # goal: requests of a night to Earth Engine, a site and new scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call of the fetch for all sites."""

    source: str
    sites: int
    across: float  # side of the ground that they lie on [km]
    what: str
    scenes: int  # new ones of a site
    searches: int
    requests: int  # for pixels, headers of files, and means
    fetched: float  # sent by the server [MB]
    blocks: float
    """Bytes decoded, over those of the blocks that hold sites or units, each counted once; NaN: none here. [1]"""
    used: float  # the same over those of the pixels of sites and units alone [1]
    seconds: float


def sites(n: int, *, pixels: int, hectares: float) -> list[Site]:
    """Squares over a tile of so many pixels a side, each somewhere in its own mesh of a net."""
    across, side = int(np.ceil(np.sqrt(n))), np.sqrt(hectares * 1e4)
    step, half = pixels * 10 / across, side / 2
    within = np.random.default_rng(1).uniform(0, step - side, (n, 2))
    made = []
    for number in range(n):
        x = CORNER[0] + number % across * step + half + within[number, 0]
        y = CORNER[1] - number // across * step - half - within[number, 1]
        made.append(
            Site(
                id=f"site-{number:04d}", name=f"Plot {number}", start=START, intervention="planting", biome="loess",
                geometry=lonlat(box(x - half, y - half, x + half, y + half), UTM), hectares=hectares,
                plan=Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5),
            )
        )  # fmt: skip
    return made


def painted(pixels: int) -> np.ndarray:
    """(band, y, x) uint16: rough ground under some leaf, with the noise of a sensor."""
    noise = np.random.default_rng(1000)
    rough = np.kron(noise.random((-(-pixels // 30),) * 2, np.float32), np.ones((30, 30), np.float32))[:pixels, :pixels]
    share = 0.25 + 0.15 * rough
    found = np.empty((len(BANDS), pixels, pixels), np.uint16)
    for number, (soil, leaf) in enumerate(zip(SOIL, LEAF, strict=True)):
        found[number] = soil + (leaf - soil) * share + noise.integers(0, 40, share.shape, np.uint8)
    return found


def write_scene(folder: Path, pixels: np.ndarray) -> None:
    """Files of a scene."""
    for number, key in enumerate(BANDS):
        step = 2 if key in ("B11", "B12") else 1
        place = Affine(10 * step, 0, CORNER[0], 0, -10 * step, CORNER[1])
        some = np.ascontiguousarray(pixels[number, ::step, ::step])
        how = {"blocksize": BLOCK, "predictor": 2, "level": 1, "num_threads": "all_cpus", "overviews": "none"}
        write_cog(folder / f"{key}.tif", some, place, str(UTM), **how)
    classes = np.full((pixels.shape[1] // 2,) * 2, 4, np.uint8)
    write_cog(folder / "SCL.tif", classes, Affine(20, 0, CORNER[0], 0, -20, CORNER[1]), str(UTM), blocksize=BLOCK)


def item(server: StacServer, when: datetime, folder: Path, pixels: int) -> dict[str, object]:
    """One scene as Earth Search's Collection 1 describes it."""
    outline = lonlat(box(CORNER[0], CORNER[1] - pixels * 10, CORNER[0] + pixels * 10, CORNER[1]), UTM)
    kind = "image/tiff; application=geotiff; profile=cloud-optimized"
    assets: dict[str, object] = {
        common: {
            "href": server.file(folder / f"{key}.tif"), "type": kind, "roles": ["data"],
            "eo:bands": [{"name": key, "common_name": common}],
            "raster:bands": [{"scale": 0.0001, "offset": 0, "nodata": 0}],
        }
        for key, common in BANDS.items()
    }  # fmt: skip
    assets["scl"] = {"href": server.file(folder / "SCL.tif"), "type": kind, "roles": ["data"]}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"S2A_T48SXH_{when:%Y%m%dT%H%M%S}_L2A", "links": [],
        "collection": "sentinel-2-c1-l2a", "geometry": mapping(outline), "bbox": list(outline.bounds), "assets": assets,
        "properties": {
            "datetime": f"{when:%Y-%m-%dT%H:%M:%SZ}", "platform": "sentinel-2a", "proj:epsg": 32648,
            "grid:code": "MGRS-48SXH", "s2:processing_baseline": "02.13",
            "s2:datatake_id": f"GS2A_{when:%Y%m%dT%H%M%S}_023671_N02.13",
        },
    }  # fmt: skip


@contextmanager
def installation(source: str, some: Sequence[Site]) -> Iterator[Settings]:
    """Sites in a ledger of their own."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "regrowth.toml"
        config.write_text(f'[source]\nsince = "2019-01-01"\n{source}\n', encoding="utf-8")
        settings = load(config)
        with open_ledger(settings) as ledger, ledger.transaction() as t:
            for one in some:
                t.add_site(one.id, one.version, to_json(one), start=one.start.isoformat(), now="2026")
        yield settings


def fetched(settings: Settings, some: Sequence[Site], until: date) -> tuple[int, float, int]:
    """Fetch as a backfill does; new scenes of a site, seconds, and bytes decoded here."""
    sources = open_sources(settings.source)
    began, new = time.perf_counter(), 0
    with open_ledger(settings) as ledger, open_executor("") as work:
        for outcomes in update_sites(settings, ledger, sources, some, work, until=until):
            for outcome in outcomes:
                if outcome.fetched is None:
                    raise MonitorError(outcome.error or "not fetched")
                new = len(outcome.fetched.new)
            for updated in by_landscape(outcomes):
                with ledger.transaction() as t:
                    record_observations(t, updated)
    seconds = time.perf_counter() - began
    return new, seconds, sources.first.transfers.bytes_decoded if isinstance(sources.first, Stac) else 0


def needed(settings: Settings, some: Sequence[Site], pixels: int) -> tuple[int, int]:
    """Bytes of one scene in blocks that hold sites or units, and on sites and units alone, each counted once."""
    ground = np.zeros((pixels, pixels), bool)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        for one in some:
            units = ControlSet.from_json(t.controls(ground_key(one)) or {}).units
            for piece in (one.geometry, *(unit.geometry for unit in units)):
                left, bottom, right, top = projected(piece, UTM).bounds
                down, up = (round((CORNER[1] - y) / 10) for y in (bottom, top))
                ground[up:down, round((left - CORNER[0]) / 10) : round((right - CORNER[0]) / 10)] = True

    def in_blocks(side: int) -> int:
        edges = np.arange(0, pixels, side)
        found = np.logical_or.reduceat(np.logical_or.reduceat(ground, edges, axis=0), edges, axis=1)
        return int(found.sum()) * BLOCK**2

    def whole(fine: int, coarse: int) -> int:  # four bands at 10 m; two and the scene classes at 20 m
        return fine * 4 * 2 + coarse * (2 * 2 + 1)

    return whole(in_blocks(BLOCK), in_blocks(2 * BLOCK)), whole(int(ground.sum()), int(ground[::2, ::2].sum()))


STEPS = (("history, units chosen", BEFORE.date()), ("new scenes", NEW[-1].date()), ("nothing new", NEW[-1].date()))


def stac(grounds: Sequence[tuple[int, int]], pixels: int) -> list[Row]:
    """Cloud-optimised GeoTIFFs behind an API, for numbers of sites and the side of the ground that they lie on."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        write_scene(Path(folder), painted(pixels))
        with StacServer(Path(folder)) as server:
            source = f'kind = "stac"\nurl = "{server.url}"\ncollections = ["sentinel-2-c1-l2a"]\n'
            server.items += [item(server, when, Path(folder), pixels) for when in (BEFORE, *NEW)]
            for n, side in grounds:
                some = sites(n, pixels=side, hectares=HECTARES)
                with installation(f'{source}allow_hosts = ["127.0.0.1"]', some) as settings:
                    for what, until in STEPS:
                        server.forget()
                        new, seconds, decoded = fetched(settings, some, until)
                        counts = server.counts
                        blocks, alone = needed(settings, some, pixels)
                        looked = new if until > START else float("nan")  # of the years before, other units are read
                        found.append(
                            Row(
                                source="STAC, GeoTIFFs by HTTP range", sites=n, across=side / 100, what=what,
                                scenes=new, searches=counts["search"], requests=counts["file"],
                                fetched=server.sent / 1e6,
                                blocks=decoded / (looked * blocks) if decoded else float("nan"),
                                used=decoded / (looked * alone) if decoded else float("nan"), seconds=seconds,
                            )
                        )  # fmt: skip
    return found


def earth_engine(n: int) -> list[Row]:
    """The stand-in."""
    found, pixels = [], 300
    os.environ.setdefault("REGROWTH_EE_TOKEN", "of-the-benchmark")
    with EarthEngineServer() as server:
        for when in (BEFORE, *NEW):
            layers = dict(zip(BANDS.values(), painted(pixels), strict=True))
            layers |= {name: layers[name][::2, ::2] for name in ("swir16", "swir22")}
            classes = np.full((pixels // 2,) * 2, 4, np.uint8)
            place = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
            score = np.full((pixels, pixels), 0.9)
            add_sentinel2(server, when, layers, classes, transform=place, tile="48SXH", score=score)
        source = f'kind = "earthengine"\nproject = "p"\nurl = "{server.url}"\nallow_hosts = ["127.0.0.1"]'
        some = sites(n, pixels=pixels, hectares=SMALL_HECTARES)
        with installation(source, some) as settings:
            for what, until in STEPS:
                server.forget()
                new, seconds, _ = fetched(settings, some, until)
                counts = server.counts
                requests = [one for one in server.requests if one.kind in ("search", "pixels", "values")]
                found.append(
                    Row(
                        source="Earth Engine, stand-in", sites=n, across=pixels / 100, what=what, scenes=new,
                        searches=counts["search"], requests=counts["pixels"] + counts["values"],
                        fetched=sum(one.sent for one in requests) / 1e6,
                        blocks=float("nan"), used=float("nan"), seconds=seconds,
                    )
                )  # fmt: skip
    return found


def table(rows: Sequence[Row], pixels: int) -> str:
    """As it is printed and stored."""
    lines = [
        "# Fetching", "",
        f"Sites of {HECTARES:g} ha in a tile of {pixels} x {pixels} pixels, blocks of {BLOCK} pixels; of the stand-in",
        f"for Earth Engine sites of {SMALL_HECTARES:g} ha, and its own arithmetic is nearly all of the time.",
        f"{len(NEW)} new scenes, all clear. Bytes decoded are set against those of the blocks that hold sites or their",
        "control units, and against those of the pixels of sites and units alone, each counted once.",
        f"Load at the end {os.getloadavg()[0]:.0f}, {os.cpu_count()} processors, servers among what runs on them.", "",
        "| source | sites | over km | step | scenes | searches | requests | MB sent | decoded / blocks "
        "| decoded / pixels | s | sites / s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        blocks, used = ("" if np.isnan(ratio) else f"{ratio:.2f}" for ratio in (row.blocks, row.used))
        lines.append(
            f"| {row.source} | {row.sites} | {row.across:.0f} | {row.what} | {row.scenes} | {row.searches} | "
            f"{row.requests:,} | {row.fetched:,.1f} | {blocks} | {used} | {row.seconds:.1f} | "
            f"{row.sites / row.seconds:.1f} |"
        )
    night = [row for row in rows if row.what == "new scenes"]
    idle = [row for row in rows if row.what == "nothing new"]
    (cluster,) = (row for row in night if row.source.startswith("STAC") and row.sites == FEW)
    (served,) = (row for row in night if row.source.startswith("Earth Engine"))
    a_scene = served.requests / (served.sites * served.scenes)
    goals = (
        (f"bytes decoded over bytes of the blocks needed, a cluster of {FEW} sites in one tile: {cluster.blocks:.2f}; "
         f"goal at most {RATIO}", cluster.blocks <= RATIO),
        (f"bytes decoded over bytes of the pixels used, the same cluster: {cluster.used:.2f}; goal at most {RATIO}",
         cluster.used <= RATIO),
        (f"searches of a step, all sites in one tile: {[row.searches for row in rows]}; goal one",
         all(row.searches == 1 for row in rows)),
        (f"requests to Earth Engine a site and new scene: {a_scene:.2f}; goal at most {EE_NIGHT}", a_scene <= EE_NIGHT),
        (f"requests of a night without new scenes, besides searches: {[row.requests for row in idle]}; goal none",
         not any(row.requests for row in idle)),
    )  # fmt: skip
    lines += ["", *(f"- {what}: {'met' if met else '**missed**'}" for what, met in goals), ""]
    return "\n".join(lines)


def main() -> None:
    icechunk.set_logs_filter("error")
    rows = stac(((MANY, TILE), (FEW, CLUSTER)), TILE) + earth_engine(STAND_IN)
    text = table(rows, TILE)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sources.md").write_text(text, encoding="utf-8")
    with (RESULTS / "sources.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [field.name for field in fields(Row)]
        writer.writerows([names, *([getattr(row, name) for name in names] for row in rows)])
    print(text)


if __name__ == "__main__":
    main()
