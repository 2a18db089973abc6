"""A whole programme in one night: `regrowth run` itself, over local COGs, with products on.

    python -m benchmarks.programme --sites 2000
    python -m benchmarks.programme                  # small, as `make bench` does it

A programme is made (:mod:`benchmarks.countryside`), its history is fetched by `regrowth backfill`, and a first night
makes every page. Then a clear scene comes over every site, and the night after it is timed, a command of its own, from
start to end; once with its work in processes (`[engine] scheduler`), as is advised for so many sites, and once, with
another scene, in threads. Beside it is timed what cannot be left out: decoding that scene and the arithmetic of every
pixel, on as many cores. The rest is overhead. A night without a new scene follows.

Growth is measured twice. The sites of a county, which share a search as in a programme, are given one year and ten
years of scenes, one every five days, and both have nights in turn in one process: sites as large as those of the
programme, if that is large, and sites of a tenth of the size. And programmes of small sites, one sixteen times the
other, have a night each.
"""

import argparse
import csv
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from itertools import batched
from multiprocessing import get_context
from pathlib import Path

import icechunk
import numpy as np
import psutil
import rasterio

from benchmarks.countryside import SIDE, Countryside
from jobs.backfill import backfill
from jobs.nightly import night
from jobs.settings import load
from monitor.alerts.messages import replace_file
from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.zonal_means import zonal_means
from monitor.cube.packed import LAYERS
from monitor.imagery.bands import OBSERVED
from monitor.trends.kernels.monotonic import slope_and_score

RESULTS = Path(__file__).parent / "results"
CORES = len(os.sched_getaffinity(0))
START = date(2023, 5, 1)
HISTORY = [date(year, month, 15) for year in range(2021, 2026) for month in (5, 6, 7, 8)]
"""Scenes before the first night; of a large programme, only those of two months a year to 2024."""
AT_ONCE = 300
"""So many scenes of the history at most lie on the disk together."""
FIRST, NEXT = date(2026, 6, 20), date(2026, 7, 1)
"""Days of the nights: of the first, that makes all pages, and of the one that is timed."""
YEARS, EVERY = (1, 10), 5
"""Histories that are compared, and days between their scenes."""
COMPARED = (NEXT, date(2026, 8, 20))
"""Days on which their nights begin. By the second the season has peaked: each scene of a site in its tenth year is a
look for failure, after which it is told anew where it fails; of a site in its first year that is not asked."""
NIGHTS, APART = 21, 1
"""Nights of each history, and days from one to the next. Of the ratios of two nights, one right after the other, the
median counts, so that a machine whose speed drifts does not: one ratio differs from another by a tenth."""
SECONDS, AIM, MEMORY, OVERHEAD, GROWTH = 240.0, 90.0, 6.0, 80.0, 1.10
"""Goals for 2,000 sites of 130 ha: seconds, GiB, milliseconds a site; and the tenth year over the first."""
FILES, SIZE, TURNS = 256, 40_000, 1_000_000
"""Files put in the place of others, their size [byte], and turns of a loop, by which the machine is known."""
POLLED = 0.2
"""How often the memory of a command is looked at. [s]"""
FULL, LARGE = 2000, 500
"""Sites for which the goals are set, and from which on they are asked for, the seconds in proportion: with fewer, to
start a process is most of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of all cores."""
    memory: float
    """Most that was resident in all its processes at once, what they share counted in each. [GiB]"""
    read: float
    """Asked of the system, from its cache or the disk. [MB]"""
    written: float
    """[MB]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure of the table."""

    what: str
    value: float
    unit: str
    most: float = 0.0
    """Goal, at most; 0: none."""
    aim: float = 0.0

    @property
    def verdict(self) -> str:
        """Whether the goal was met, where there is one."""
        return "" if not self.most else "met" if self.value <= self.most else "MISSED"


def command(*words: str, scheduler: str = "processes") -> Cost:
    """Run a command of the monitor and see what it and its processes took.

    Raises
    ------
    RuntimeError
        It failed.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        child = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *words],
            stdout=subprocess.DEVNULL, stderr=told, env={**os.environ, "REGROWTH_ENGINE__SCHEDULER": scheduler},
        )  # fmt: skip
        watched, memory = psutil.Process(child.pid), 0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            memory = max(memory, sum(_resident(one) for one in (watched, *watched.children(recursive=True))))
            time.sleep(POLLED)
        seconds = time.perf_counter() - begun
        moved = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            told.seek(0)
            msg = f"regrowth {words[0]} ended with {child.returncode}: {told.read()[-2000:].decode(errors='replace')}"
            raise RuntimeError(msg)
    return Cost(
        seconds=seconds, cpu=used.ru_utime + used.ru_stime, memory=memory / 2**30,
        read=int(moved["rchar"]) / 1e6, written=int(moved["wchar"]) / 1e6,
    )  # fmt: skip


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def prepared(made: Countryside) -> list[Line]:
    """Store a history and make every page; what that took. A programme that is there already is taken as it is."""
    kept = made.root / "prepared.json"
    if kept.is_file():
        return [Line(**values) for values in json.loads(kept.read_text(encoding="utf-8"))]
    made.lay_out()
    days, backfills = history(made), []
    for some in batched(days, max(8, AT_ONCE // made.counties)):  # at most eight lie before the start
        made.pass_over(some, clouds=True)
        backfills.append(command("backfill", "--config", str(made.config)))
        made.forget_files()
    told(f"{made.sites} sites of {made.hectares:g} ha: history of {len(days)} scenes stored")
    opening = command("run", "--as-of", str(FIRST), "--config", str(made.config))
    lines = [
        Line(what="the first night, every page new", value=opening.seconds, unit="s"),
        Line(what="backfill of the history", value=sum(one.seconds for one in backfills), unit="s"),
        Line(what="most memory of the backfill", value=max(one.memory for one in backfills), unit="GiB"),
    ]
    kept.write_text(json.dumps([asdict(line) for line in lines]), encoding="utf-8")
    return lines


def whole_night(made: Countryside) -> list[Line]:
    """Figures of nights in which every site gets a clear scene."""
    opening = prepared(made)
    lines = []
    for scheduler in ("processes", ""):
        where = scheduler or "threads"
        before = files(made.root)
        day, took = timed(made, scheduler)
        after = files(made.root)
        all_of = f"of {len(after):,}"
        bare = floor(made, day)
        large = made.sites >= LARGE
        share = large * made.sites / FULL
        above = 1000 * (took.seconds - bare) / made.sites
        lines += [
            Line(what=f"the night, in {where}", value=took.seconds, unit="s", most=SECONDS * share, aim=AIM * share),
            Line(what="the same, processor seconds of all cores", value=took.cpu, unit="s"),
            Line(what=f"most memory, in {where}", value=took.memory, unit="GiB", most=MEMORY),
            Line(what="read", value=took.read, unit="MB"),
            Line(what="written", value=took.written, unit="MB"),
            Line(what="files written or replaced", value=len(after.items() - before.items()), unit=all_of),
            Line(what="decoding the scene and bare arithmetic", value=bare, unit="s"),
            Line(what=f"overhead a site, in {where}", value=above, unit="ms", most=OVERHEAD * large),
            Line(what="sites judged on the new scene", value=judged(made, day), unit=f"of {made.sites:,}"),
        ]  # fmt: skip
    idle = command("run", "--as-of", str(day), "--config", str(made.config), scheduler="")
    lines += [
        Line(what="a night without new scenes, in threads", value=idle.seconds, unit="s"),
        Line(what="the machine: a file put in the place of another, among the pages", value=filing(made), unit="ms"),
        Line(what="the machine: a loop of a million turns in Python", value=looping(), unit="ms"),
    ]
    return [*lines, *opening]


def filing(made: Countryside) -> float:
    """Milliseconds for which a file is put in the place of another, in the folders of pages."""
    folders = sorted((made.root / "outputs" / "sites").iterdir())
    paths = [folders[n % len(folders)] / f".tried-{n}" for n in range(FILES)]
    for path in paths:
        path.write_bytes(bytes(SIZE))
    begun = time.perf_counter()
    for path in paths:
        replace_file(path, bytes(SIZE))
    taken = 1000 * (time.perf_counter() - begun) / FILES
    for path in paths:
        path.unlink()
    return taken


def looping() -> float:
    """Milliseconds of the quickest of five loops of plain Python."""
    taken = []
    for _ in range(5):
        begun, total = time.perf_counter(), 0
        for turn in range(TURNS):
            total += turn & 7
        taken.append(1000 * (time.perf_counter() - begun))
    return min(taken)


def timed(made: Countryside, scheduler: str) -> tuple[date, Cost]:
    """Day of a new scene over every site, and what the night after it took."""
    day = max(NEXT, made.newest + timedelta(days=EVERY))
    made.pass_over([day], clouds=False)
    return day, command("run", "--as-of", str(day), "--config", str(made.config), scheduler=scheduler)


def history(made: Countryside) -> list[date]:
    """Days of the scenes that a programme has before its first night."""
    return HISTORY if made.sites < LARGE else [day for day in HISTORY if day.month in (6, 8) and day.year < 2025]


def judged(made: Countryside, day: date) -> int:
    """How many sites were judged on the scene of a day."""
    rows = json.loads((made.root / "outputs" / "status.json").read_text(encoding="utf-8"))
    return sum(row["last_observed"] == str(day) for row in rows)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Of each file below stores and outputs its number and when it was written."""
    found = {}
    for part in ("store", "outputs"):
        for folder, _, names in os.walk(root / part):
            for name in names:
                told = os.stat(f"{folder}/{name}")
                found[f"{folder}/{name}"] = (told.st_ino, told.st_mtime_ns)
    return found


def floor(made: Countryside, day: date) -> float:
    """Seconds to decode the scenes of a day and to do the arithmetic of a night on the pixels of all sites."""
    paths = sorted((made.root / "scenes").glob(f"*_{day:%Y%m%d}T*/*.tif"))
    pixels, seasons = made.side**2, 6
    rng = np.random.default_rng(2)
    packed = rng.integers(1000, 5000, (len(LAYERS), pixels)).astype(np.uint16)  # all of them clear
    scale, offset = np.full(len(OBSERVED), 1e-4), np.full(len(OBSERVED), -0.1)
    sums = rng.normal(0.3, 0.05, (seasons, pixels)).astype(np.float32)
    years = np.arange(float(seasons))

    def arithmetic(_: int) -> None:
        zonal_means(packed, np.array([0, pixels]), scale=scale, offset=offset, endmembers=ENDMEMBERS["loess"])
        slope_and_score(years, sums)

    def decode(path: Path) -> None:
        with rasterio.open(path) as file:
            file.read(1)

    arithmetic(0)
    with ThreadPoolExecutor(CORES) as pool:
        begun = time.perf_counter()
        list(pool.map(decode, paths))
        list(pool.map(arithmetic, range(made.sites)))
        return time.perf_counter() - begun


def aged(root: Path, *, sites: int, hectares: float) -> dict[int, Countryside]:
    """The same sites with one and with ten years of scenes; those that are there already are taken as they are."""
    icechunk.set_logs_filter("error")  # this is a process of its own
    made: dict[int, Countryside] = {}
    for years in YEARS:
        days = [NEXT - timedelta(days=EVERY * n) for n in range(365 * years // EVERY, 0, -1)]
        one = Countryside(root=root / f"{years}", sites=sites, hectares=hectares, start=days[len(days) // 3])
        made[years] = one
        if (one.root / "outputs").is_dir():
            continue
        one.lay_out()
        for some in batched(days, len(days) // 2 + 1):  # the first half holds all from before the start
            one.pass_over(some, clouds=True)
            backfill(load(one.config))
            one.forget_files()
        night(load(one.config), as_of=days[-1])
        told(f"{sites} sites of {hectares:g} ha: history of {years} years stored")
    return made


def by_year(root: Path, *, sites: int, hectares: float, keep: bool) -> list[Line]:
    """Nights of the same sites with one and with ten years of scenes, in turn."""
    made = apart(partial(aged, root, sites=sites, hectares=hectares))
    os.sync()
    lines = []
    for first in COMPARED:
        lines += apart(partial(in_turn, made, first, f"{sites} sites of {hectares:g} ha"))
    if not keep:
        shutil.rmtree(root)
    return lines


def apart[T](call: Callable[[], T]) -> T:
    """Do a call in a process of its own: with what the ones before leave in memory no night begins."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
        return one.submit(call).result()


def in_turn(made: dict[int, Countryside], first: date, what: str) -> list[Line]:
    """Nights of two histories in turn, from a day on or from the day that the last ones have left off."""
    icechunk.set_logs_filter("error")  # this is a process of its own
    taken: dict[int, list[float]] = {years: [] for years in YEARS}
    first = max(first, *(one.newest + timedelta(days=APART) for one in made.values()))
    for n in range(NIGHTS + 1):  # the first warms up
        day = first + timedelta(days=APART * n)
        for years, one in sorted(made.items(), reverse=n % 2 == 0):  # neither always comes after the other
            one.pass_over([day], clouds=False)
            settings = load(one.config)
            gc.collect()  # what the night before left: in a programme each has a process of its own
            begun = time.perf_counter()
            manifest = night(settings, as_of=day)
            if n:
                taken[years].append(1000 * (time.perf_counter() - begun) / one.sites)
            if any(site["error"] or not site["scenes_new"] for site in manifest["sites"]):
                msg = f"a night of the {years} years went wrong: {manifest['sites'][0]}"
                raise RuntimeError(msg)
    young, old = (statistics.median(taken[years]) for years in YEARS)
    grown = statistics.median(later / early for early, later in zip(*(taken[years] for years in YEARS), strict=True))
    told = f"from {first:%-d %B} on ({what})"
    filed = [Line(what=f"a file among the pages of year {y}, {told}", value=filing(made[y]), unit="ms") for y in YEARS]
    return [
        Line(what=f"a night in year {YEARS[0]}, a site, {told}", value=young, unit="ms"),
        Line(what=f"a night in year {YEARS[1]}, a site, {told}", value=old, unit="ms"),
        Line(what=f"year {YEARS[1]} over year {YEARS[0]}, {told}", value=grown, unit="", most=GROWTH),
        *filed,
    ]


def by_size(root: Path, sizes: Sequence[int], hectares: float, *, keep: bool) -> list[Line]:
    """Nights of programmes of small sites, in processes, the larger against the smaller."""
    lines, each = [], []
    for sites in sizes:
        made = Countryside(root=root / f"small-{sites}", sites=sites, hectares=hectares, start=START)
        prepared(made)
        _, took = timed(made, "processes")
        if not keep:
            shutil.rmtree(made.root)
        each.append(1000 * took.seconds / sites)
        what = f"a night of {sites:,} sites of {hectares:g} ha, a site"
        lines += [
            Line(what=what, value=each[-1], unit="ms"),
            Line(what="the same, processor time of all cores", value=1000 * took.cpu / sites, unit="ms"),
            Line(what=f"most memory, {sites:,} sites of {hectares:g} ha", value=took.memory, unit="GiB", most=MEMORY),
        ]
    what = f"time a site, {sizes[-1]:,} sites over {sizes[0]:,}"
    return [*lines, Line(what=what, value=each[-1] / each[0], unit="", most=1.0)]


def table(made: Countryside, lines: Sequence[Line]) -> str:
    with Path("/proc/cpuinfo").open() as info:
        processor = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    found = [
        "# A whole programme in one night",
        "",
        f"Made by `python -m benchmarks.programme --sites {made.sites}`: {made.sites:,} sites of {made.hectares:g} ha,",
        f"{made.sites * made.side**2 / 1e6:.1f} Mpx, covered by {made.counties} scenes of "
        f"{made.extent} x {made.extent} pixels a day; {len(history(made))} such days of history, then a clear day; "
        "products on.",
        f"{CORES} cores, {processor}, Python {platform.python_version()}. Load average {os.getloadavg()[0]:.1f} "
        f"at the end: above {CORES + 1}",
        "others were working too, and both seconds and processor seconds are too high.",
        "",
        f"Years are compared by the median ratio of {NIGHTS} pairs of nights. From {COMPARED[1]:%-d %B} on each scene",
        "of a site in its tenth year is a look for failure, after which it is told anew where it fails; of a site in",
        "its first year that is not asked.",
        "",
        "| | | | goal: at most | aim | |",
        "|---|---:|---|---:|---:|---|",
    ]
    for line in lines:
        goal, aim = (f"{x:,g}" if x else "" for x in (line.most, line.aim))
        value = f"{line.value:,.0f}" if line.value >= 100 else f"{line.value:.2f}"
        found.append(f"| {line.what} | {value} | {line.unit} | {goal} | {aim} | {line.verdict} |")
    return "\n".join(found) + "\n"


def picture(lines: Sequence[Line], path: Path) -> None:
    """Each figure that has a goal, as a share of it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = [line for line in lines if line.most]
    figure, axes = plt.subplots(figsize=(9, 0.6 * len(found) + 1.2), layout="constrained")
    place = np.arange(len(found))[::-1]
    colours = ["#b5482a" if line.verdict == "MISSED" else "#2f6f4f" for line in found]
    axes.barh(place, [line.value / line.most for line in found], color=colours, height=0.6)
    for y, line in zip(place, found, strict=True):
        axes.annotate(f" {line.value:.3g} {line.unit}", (line.value / line.most, y), va="center", fontsize=8)
        if line.aim:
            axes.plot(line.aim / line.most, y, "d", color="black", markersize=4)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(place, [line.what for line in found], fontsize=8)
    axes.set_xlabel("share of the goal  ( | goal, ◆ aim)")
    axes.set_xlim(0, max(1.3, *(1.25 * line.value / line.most for line in found)))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save(made: Countryside, lines: Sequence[Line]) -> None:
    """Table, the same for programs, and picture."""
    text = table(made, lines)
    RESULTS.mkdir(exist_ok=True)
    name = "programme" if made.sites >= LARGE else "programme-small"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "value", "unit", "at_most", "aim", "verdict"])
        writer.writerows([line.what, line.value, line.unit, line.most, line.aim, line.verdict] for line in lines)
    picture(lines, RESULTS / f"{name}.png")
    print(text)


def told(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main(
    *,
    sites: int = 16,
    hectares: float = 130.0,
    subset: int = SIDE**2,
    small: Sequence[int] = (),
    folder: Path | None = None,
    keep: Path | None = None,
) -> None:
    """Measure, print and save.

    Parameters
    ----------
    sites, hectares
        Of the programme.
    subset
        Sites of which nights are compared by years of history; 0: no such comparison.
    small
        Numbers of sites of 10 ha that are compared.
    folder
        Where the programmes are made and removed; one of 2,000 sites takes 12 GB. Default: the system's for what is
        temporary.
    keep
        Where the programmes are kept instead: the next run times other nights of them, with other scenes.
    """
    icechunk.set_logs_filter("error")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        home = Path(place) if keep is None else keep
        made = Countryside(root=home / f"programme-{sites}", sites=sites, hectares=hectares, start=START)
        lines = whole_night(made)
        if keep is None:
            shutil.rmtree(made.root)
        for size in (hectares, hectares / 10) if sites >= LARGE else (hectares / 10,):
            if subset:
                lines += by_year(home / f"years-{size:g}", sites=subset, hectares=size, keep=keep is not None)
        if small:
            lines += by_size(home, small, 10.0, keep=keep is not None)
    save(made, lines)


def asked() -> Callable[[], None]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programme")
    parser.add_argument("--sites", type=int, default=16)
    parser.add_argument("--hectares", type=float, default=130.0)
    parser.add_argument("--subset", type=int, default=SIDE**2, help="sites compared by years of history; 0: none")
    parser.add_argument("--small", type=int, nargs="*", default=[], help="numbers of sites of 10 ha to compare")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's for what is temporary")
    parser.add_argument("--keep", type=Path, help="keep the programme here, and use the one that is here already")
    chosen = vars(parser.parse_args())
    return lambda: main(**chosen)


if __name__ == "__main__":
    asked()()
