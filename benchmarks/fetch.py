"""What a backfill takes over a real network, beside odc-stac: seconds a scene where every request is delayed.

    python -m benchmarks.fetch

A server in a process of its own delays every answer by 80 ms. Three sites of 13 ha lie near each other; their history
is 40 scenes, 20 of them from before the start, on which control ground up to 10 km away is chosen: COGs of 4,096
pixels in blocks of 512, seven a scene. `regrowth` fetches, chooses and stores. odc-stac, in the same process and in
turn, loads 20 scenes of the box of 21 by 18 km that holds sites and control ground, seven bands, by 32 threads, and
does nothing else with them. Medians of several turns.
"""

import argparse
import csv
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import icechunk
import odc.stac
import pystac
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from benchmarks.sources import CORNER, UTM, fetched, installation, item, painted, write_scene
from monitor.sites.projection import lonlat
from monitor.sites.site import Plan, Site
from tests.loopback.stac import StacServer

RESULTS = Path(__file__).parent / "results"
DELAY = 0.08  # before every answer [s]
BOX = 2_100, 1_800  # what odc-stac loads, columns and rows [pixel of 10 m]
START = date(2022, 4, 1)
PASSES = datetime(2021, 5, 10, 3, 51, 41, tzinfo=UTC), datetime(2022, 5, 10, 3, 51, 41, tzinfo=UTC)
"""First one of each year, one before the start and one since; others follow five days apart."""
GOAL = 1.2  # seconds a scene over those of odc-stac
LOADED = ["blue", "green", "red", "nir", "swir16", "swir22", "scl"]


class Size(NamedTuple):
    """How much there is to fetch."""

    passes: int = 20  # scenes of each year
    side: int = 4_096  # of a scene [pixel of 10 m]

    @property
    def days(self) -> list[datetime]:
        """All scenes."""
        return [first + timedelta(days=5 * n) for first in PASSES for n in range(self.passes)]


WHOLE = Size()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One backfill, or one load."""

    what: str
    seconds: float
    scenes: int
    requests: int
    megabytes: float
    peak: int  # most requests for files at one time


def sites(side: int) -> list[Site]:
    """Three squares of 13 ha, 1.5 km from each other, in the middle of the scene."""
    made = []
    for number in range(3):
        x, y = CORNER[0] + side * 5 + 1_500 * (number - 1), CORNER[1] - side * 5 + 700 * (number % 2)
        made.append(
            Site(
                id=f"site-{number}", name=f"Plot {number}", start=START, intervention="planting", biome="loess",
                geometry=lonlat(box(x - 180, y - 180, x + 180, y + 180), UTM), hectares=13.0,
                plan=Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5),
            )
        )  # fmt: skip
    return made


def serve(pipe: Connection, folder: Path, delay: float, size: Size) -> None:
    """The server: sends its address and items, then, at each request, its counts since the last time."""
    with StacServer(folder) as server:
        for number, when in enumerate(size.days):
            scene = folder / f"{number:02d}"
            scene.symlink_to(folder / "scene", target_is_directory=True)  # addresses of their own: clients cache
            server.items.append(item(server, when, scene, size.side))
        server.delay = delay
        pipe.send((server.url, server.items))
        while pipe.recv():
            pipe.send((server.counts["file"], server.sent / 1e6, server.peak))
            server.forget()


@contextmanager
def served(folder: Path, delay: float, size: Size) -> Iterator[tuple[str, list[dict[str, Any]], Connection]]:
    """A server while it runs: its address, its items and the pipe to query its counts."""
    ours, theirs = multiprocessing.Pipe()
    spawned = multiprocessing.get_context("spawn")
    process = spawned.Process(target=serve, args=(theirs, folder, delay, size), daemon=True)
    process.start()
    try:
        url, items = ours.recv()
        yield url, items, ours
    finally:
        process.kill()
        process.join()


def timed(what: str, scenes: int, pipe: Connection, work: Any) -> Turn:
    """A turn, with the requests that the server counted."""
    pipe.send(True)
    pipe.recv()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    pipe.send(True)
    requests, megabytes, peak = pipe.recv()
    turn = Turn(what=what, seconds=seconds, scenes=scenes, requests=requests, megabytes=megabytes, peak=peak)
    print(f"{what}: {seconds:.1f} s, {requests} requests, {megabytes:.0f} MB, {peak} at one time", flush=True)
    return turn


def backfill(url: str, size: Size) -> None:
    """A history, from nothing."""
    source = f'kind = "stac"\nurl = "{url}"\ncollections = ["sentinel-2-c1-l2a"]\nallow_hosts = ["127.0.0.1"]'
    some = sites(size.side)
    with installation(source, some) as settings:
        new, *_ = fetched(settings, some, size.days[-1].date())
    assert new == len(size.days)


def load(items: list[dict[str, Any]], side: int) -> None:
    """The same ground by odc-stac."""
    left, top = CORNER[0] + side * 5 - BOX[0] * 5, CORNER[1] - side * 5 + BOX[1] * 5
    geobox = GeoBox((BOX[1], BOX[0]), Affine(10, 0, left, 0, -10, top), str(UTM))
    some = [pystac.Item.from_dict(one) for one in items]
    found = odc.stac.load(some, bands=LOADED, geobox=geobox, pool=32, groupby="id")
    assert found.sizes["time"] == len(items)


def table(turns: list[Turn], delay: float, size: Size) -> str:
    """As it is printed and stored."""
    lines = [
        "# Fetching over a network", "",
        f"3 sites of 13 ha, {len(size.days)} scenes, COGs of {size.side} pixels in blocks of 512, "
        f"{1000 * delay:.0f} ms a request.",
        f"Medians; load at the end {os.getloadavg()[0]:.0f}, {os.cpu_count()} processors, the server among what runs "
        "on them.", "",
        "| | turns | s | s a scene | requests | MB | peak in flight |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    a_scene = {}
    for what in dict.fromkeys(turn.what for turn in turns):
        mine = [turn for turn in turns if turn.what == what]
        seconds = statistics.median(turn.seconds for turn in mine)
        a_scene[what] = seconds / mine[0].scenes
        lines.append(
            f"| {what} | {len(mine)} | {seconds:.1f} | {a_scene[what]:.2f} | {mine[-1].requests:,} | "
            f"{mine[-1].megabytes:,.0f} | {max(turn.peak for turn in mine)} |"
        )
    ours, theirs = a_scene.values()
    met = "met" if ours <= GOAL * theirs else "**missed**"
    lines += ["", f"- seconds a scene over those of odc-stac: {ours / theirs:.2f}; goal at most {GOAL}: {met}", ""]
    return "\n".join(lines)


def main(turns: int = 3, delay: float = DELAY, size: Size = WHOLE) -> None:
    icechunk.set_logs_filter("error")
    odc.stac.configure_rio(cloud_defaults=True, CPL_VSIL_CURL_USE_HEAD="NO")  # a request a file less
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scene", painted(size.side))
        for turn in range(turns + 1):
            for path in folder.glob("[0-9][0-9]"):
                path.unlink()
            with served(folder, delay, size) as (url, items, pipe):  # of another address each turn: GDAL caches
                some = [
                    timed("regrowth backfill", len(items), pipe, lambda url=url: backfill(url, size)),
                    timed("odc-stac", size.passes, pipe, lambda items=items: load(items[: size.passes], size.side)),
                ]
            found += some if turn else []  # the first turn compiles
    text = table(found, delay, size)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fetch.md").write_text(text, encoding="utf-8")
    with (RESULTS / "fetch.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*asdict(found[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in found)
    print(text)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--delay", type=float, default=DELAY)
    main(**vars(options.parse_args()))
