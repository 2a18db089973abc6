"""What a night costs: commands of one or several checkouts, in turn, on the same made programmes.

    python -m benchmarks.night                             # this checkout, few sites, as `make bench` does it
    python -m benchmarks.night ../old . --folder FOLDER    # the first checkout is the reference

Each checkout runs by its own `.venv`. Its store and ledger are made by its own backfill and stored in FOLDER under the
name of its commit, so that the nights can be repeated: they run on a copy. Registry and scenes
(:mod:`benchmarks.countryside`) are the same for all, each night brings one new scene everywhere, and each command is a
process of its own, in threads. CPU seconds are user and system seconds of the process and its children. Where nights
are repeated the median counts.

A goal is scaled to this machine: by what the reference takes here, over what it took where the goal was set. Counts of
files are not scaled.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from benchmarks.countryside import CLEAR, MIXED, OVERCAST, Countryside

RESULTS = Path(__file__).parent / "results"
START = date(2023, 5, 1)
FORTY = [date(year, month, day) for year in range(2021, 2026) for month in (5, 6, 7, 8) for day in (1, 15)]
EIGHT = [day for day in FORTY if day.month in (6, 8) and day.day == 15 and day.year < 2025]
TEN_YEARS = [date(2026, 8, 20) - timedelta(days=5 * n) for n in range(730, 0, -1)]
"""Days of the stored scenes. Nights that follow the last begin after the season's peak."""
SUMMER = date(2026, 7, 1)  # first night of programmes whose history ends in the year before

WITHOUT_PAGES = """
import sys
from functools import partial
from importlib.util import find_spec

class WithoutPages:
    def find_spec(self, name, path, target=None):
        if name != "jobs.night.pipeline":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module
        def without_pages(module):
            execute(module)
            module.night = partial(module.night, pages=False)
        spec.loader.exec_module = without_pages
        return spec

sys.meta_path.insert(0, WithoutPages())
from jobs.cli import main
main(sys.argv[1:])
"""
"""Program that runs the command line with ``jobs.night.pipeline.night(pages=False)``, which no option of it sets."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu: float  # user and system, of the process and its children [s]
    files: int  # files of store and ledger that were not there before
    memory: float  # most that the process held [GiB]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A version of the program with its own `.venv`."""

    folder: Path
    name: str  # short hash of the commit; with a plus where the code was changed since
    changed: bool = False  # whether it was: its states are not used again

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """The checkout in a folder."""

        def git(*words: str) -> str:
            command = ["git", "-C", str(folder), *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

        changed = bool(git("status", "--porcelain", "--", "jobs", "monitor"))
        return cls(folder.resolve(), git("rev-parse", "--short", "HEAD") + "+" * changed, changed)

    def run(self, state: Path, config: Path, *words: str, pages: bool = True) -> tuple[Cost, str]:
        """Run a command on a state; its cost and what it printed. RuntimeError where it failed."""
        programs = self.folder / ".venv" / "bin"
        program = [programs / "regrowth"] if pages else [programs / "python", "-P", "-c", WITHOUT_PAGES]
        for name in ("store", "ledger"):
            (state / name).mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ, "REGROWTH_CONFIG": str(config), "REGROWTH_STORE__ROOT": str(state / "store"),
            "REGROWTH_LEDGER__URL": f"sqlite:///{state}/ledger/regrowth.db",
            "REGROWTH_OUTPUTS__ROOT": str(state / "outputs"), "REGROWTH_ENGINE__SCHEDULER": "",
        }  # fmt: skip
        before, begun = _files(state), time.perf_counter()
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as log:
            child = subprocess.Popen([*program, *words], stdout=printed, stderr=log, env=environment)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - begun
            printed.seek(0), log.seek(0)
            if child.returncode:
                msg = f"{self.name}: {words[0]} ended with {child.returncode}: {log.read()[-3000:].decode()}"
                raise RuntimeError(msg)
            text = printed.read().decode()
        new = len(_files(state) - before)
        memory = used.ru_maxrss / 2**20
        return Cost(seconds=seconds, cpu=used.ru_utime + used.ru_stime, files=new, memory=memory), text


def _files(state: Path) -> set[str]:
    return {f"{at}/{name}" for part in ("store", "ledger") for at, _, names in os.walk(state / part) for name in names}


@dataclass(slots=True)
class World:
    """A made programme, and the state of each checkout on it."""

    made: Countryside
    history: list[date]
    one_by_one: bool = False  # whether sites are registered and fetched one at a time
    day: date = field(init=False)  # of the last night

    def __post_init__(self) -> None:
        self.day = max(SUMMER, self.history[-1])

    def prepare(self, checkouts: Sequence[Checkout]) -> None:
        """Make the states that are not there yet: history, one night, all pages; then begin from copies of them."""
        made, catalogue = self.made, self.made.root / "catalogue"
        if not made.config.is_file():
            made.lay_out()
        for path in catalogue.iterdir():
            if path.stem != str(self.history[-1]):
                path.unlink()
        shutil.rmtree(made.root / "scenes", ignore_errors=True)
        missing = [one for one in checkouts if one.changed or not (self.state(one) / "prepared").is_file()]
        if missing:
            say(f"{made.root.name}: {len(self.history)} scenes are made")
            made.pass_over(self.history, clouds=MIXED)
        for checkout in missing:
            state = self.state(checkout)
            shutil.rmtree(state, ignore_errors=True)
            self._backfill(checkout, state)
            say(f"{made.root.name}, {checkout.name}: the history is stored")
            checkout.run(state, made.config, "run", "--as-of", str(self.day))
            (state / "prepared").touch()
        if missing:
            made.forget_files()
        for checkout in checkouts:
            shutil.rmtree(self.nights(checkout), ignore_errors=True)
            shutil.copytree(self.state(checkout), self.nights(checkout))

    def _backfill(self, checkout: Checkout, state: Path) -> None:
        config, registry = self.made.config, self.made.root / "sites.geojson"
        if not self.one_by_one:
            checkout.run(state, config, "backfill")
            return
        whole = registry.read_text(encoding="utf-8")
        features = json.loads(whole)["features"]
        try:
            for count, feature in enumerate(features, start=1):
                registry.write_text(json.dumps({"type": "FeatureCollection", "features": features[:count]}))
                checkout.run(state, config, "sites", "add", str(registry))
                checkout.run(state, config, "backfill", "--site", feature["properties"]["id"])
        finally:
            registry.write_text(whole, encoding="utf-8")

    def state(self, checkout: Checkout) -> Path:
        """Prepared state of a checkout."""
        return self.made.root / "states" / checkout.name

    def nights(self, checkout: Checkout) -> Path:
        """The copy on which nights run."""
        return self.made.root / "nights" / checkout.name

    def next_scene(self, clouds: Sequence[float] = CLEAR) -> None:
        """One new scene everywhere, a day after the last night."""
        shutil.rmtree(self.made.root / "scenes", ignore_errors=True)
        self.day += timedelta(days=1)
        self.made.pass_over([self.day], clouds=clouds)

    def night(self, checkout: Checkout, kind: "Kind") -> Cost:
        """A night on the newest scene; RuntimeError where it failed, or not every site got its new scene."""
        state = self.nights(checkout)
        if kind.from_nothing:
            shutil.rmtree(state / "outputs" / "sites")
        words = ["run", "--as-of", str(self.day), "--json"]
        cost, printed = checkout.run(state, self.made.config, *words, pages=kind.pages)
        for site in json.loads(printed)["sites"]:
            if site["error"] or len(site["scenes_new"]) != 1:
                msg = f"{self.made.root.name}, {checkout.name}, {self.day}: one new scene was expected: {site}"
                raise RuntimeError(msg)
        return cost


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of night."""

    name: str
    clouds: Sequence[float] = CLEAR
    pages: bool = True
    from_nothing: bool = False  # all pages are removed before the night, so that it writes all of them


REPUBLISHED = Kind("all republished", from_nothing=True)
UNCHANGED = Kind("an overcast scene", clouds=OVERCAST)
"""It follows a night that left all pages up to date: nothing on them changes."""
UNPUBLISHED = Kind("publishing left out", pages=False)
CHANGED = Kind("publishing what changed")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the table."""

    what: str
    unit: str
    found: dict[str, list[float]]  # of each checkout: each night's
    now: float = 0.0  # the reference's, where the goal was set; 0: not known
    must: float = 0.0  # the goal, at most, where it was set; 0: for information
    scaled: bool = True  # whether `must` depends on the machine

    def here(self, checkout: Checkout) -> float:
        """Median of the nights."""
        return statistics.median(self.found[checkout.name])


def nights(
    worlds: Sequence[World], checkouts: Sequence[Checkout], count: int, *kinds: Kind
) -> dict[Kind, dict[str, list[list[Cost]]]]:
    """Nights of all checkouts in turn: by kind and checkout, of each night the cost in each world."""
    for world in worlds:
        world.prepare(checkouts)
    costs: dict[Kind, dict[str, list[list[Cost]]]] = {kind: {one.name: [] for one in checkouts} for kind in kinds}
    for number in range(count):
        for kind in kinds:
            for world in worlds:
                world.next_scene(kind.clouds)
            for checkout in checkouts if number % 2 else reversed(checkouts):  # neither always comes after the other
                taken = [world.night(checkout, kind) for world in worlds]
                costs[kind][checkout.name].append(taken)
                say(f"{kind.name}, {checkout.name}: CPU s {' '.join(f'{one.cpu:.2f}' for one in taken)}")
    return costs


def figures(costs: dict[str, list[list[Cost]]], figure: Callable[..., float]) -> dict[str, list[float]]:
    """By checkout, of each night a figure that is made from its costs in each world."""
    return {checkout: [figure(*taken) for taken in found] for checkout, found in costs.items()}


def of_sizes(
    folder: Path, checkouts: Sequence[Checkout], sizes: tuple[int, int], count: int, history: list[date]
) -> list[Row]:
    """What one more site costs, and what a night costs without any."""
    few, many = sizes

    def fixed(small: Cost, large: Cost) -> float:
        return small.cpu - few * (large.cpu - small.cpu) / (many - few)

    worlds = [world(folder / f"sites-{sites}", sites, history=history) for sites in sizes]
    costs = nights(worlds, checkouts, count, REPUBLISHED, UNCHANGED, UNPUBLISHED)
    rows = []
    for kind, now, must in ((REPUBLISHED, 67, 40), (UNCHANGED, 0, 0), (UNPUBLISHED, 39, 10)):
        goal = (3.4, 3) if kind is UNPUBLISHED else (0, 0)
        rows.append(one_more(sizes, costs[kind], kind.name, now, must))
        rows.append(Row(f"a night without any site, {kind.name}", "CPU s", figures(costs[kind], fixed), *goal))
    files = figures(costs[REPUBLISHED], lambda small, _: small.files / few)
    return [*rows, Row(f"files added to store and ledger, a site of {few}", "", files, 10, 0.5, scaled=False)]


def of_ten_years(folder: Path, checkouts: Sequence[Checkout], sizes: tuple[int, int], count: int) -> list[Row]:
    """What one more site costs at 730 stored scenes, after the season's peak."""
    worlds = [world(folder / f"years-{sites}", sites, history=TEN_YEARS) for sites in sizes]
    costs = nights(worlds, checkouts, count, CHANGED)[CHANGED]
    return [one_more(sizes, costs, f"at {len(TEN_YEARS)} stored scenes, {CHANGED.name}", 0, 20)]


def one_more(sizes: tuple[int, int], costs: dict[str, list[list[Cost]]], what: str, now: float, must: float) -> Row:
    """What one more site costs."""
    few, many = sizes
    more = figures(costs, lambda small, large: 1000 * (large.cpu - small.cpu) / (many - few))
    return Row(f"one more site ({many} against {few}), {what}", "CPU ms", more, now, must)


def of_lone_sites(folder: Path, checkouts: Sequence[Checkout], sites: int, count: int) -> list[Row]:
    """Files that are added where sites were registered one at a time, each after the history of the one before."""
    costs = nights([world(folder / f"lone-{sites}", sites, history=EIGHT, one_by_one=True)], checkouts, count, CHANGED)
    what = f"a site of {sites} registered one at a time"
    files = figures(costs[CHANGED], lambda cost: cost.files / sites)
    cpu = figures(costs[CHANGED], lambda cost: 1000 * cost.cpu / sites)
    return [
        Row(f"files added to store and ledger, {what}", "", files, 10, 15, scaled=False),
        Row(f"the whole night, {what}, {CHANGED.name}", "CPU ms", cpu),
    ]


def of_a_large_programme(folder: Path, checkouts: Sequence[Checkout], sites: int, count: int) -> list[Row]:
    """A night of many large sites."""
    many = world(folder / f"large-{sites}", sites, hectares=130, history=EIGHT)
    costs = nights([many], checkouts, count, CHANGED)[CHANGED]
    what, share = f"{sites:,} sites of 130 ha, {sites * many.made.side**2 / 1e6:.1f} Mpx", sites / 2000
    return [
        Row(f"{what}, one new scene everywhere", "s", figures(costs, lambda one: one.seconds), 113 * share, 80 * share),
        Row("the same", "CPU s", figures(costs, lambda cost: cost.cpu)),
        Row("the same, most memory", "GiB", figures(costs, lambda cost: cost.memory)),
    ]


def world(
    root: Path, sites: int, *, hectares: float = 13, history: list[date] = FORTY, one_by_one: bool = False
) -> World:
    """A programme begun in May 2023, or after a third of ten years."""
    start = history[len(history) // 3] if history is TEN_YEARS else START
    made = Countryside(root=root.resolve(), sites=sites, hectares=hectares, start=start)
    return World(made, history, one_by_one)


def table(rows: Sequence[Row], checkouts: Sequence[Checkout]) -> str:
    """As it is printed and stored."""
    reference, *_ = checkouts
    slower = [row.here(reference) / row.now for row in rows if row.now and row.scaled]
    usual = statistics.median(slower) if slower else 1.0
    names = " | ".join(one.name for one in checkouts)
    lines = [
        "# What a night costs", "",
        f"Sites of 13 ha within 8 km unless said. Median of the nights, least and most of them in brackets. Goals: "
        f"as set, times what {reference.name} takes here over what it took then; where that is not known, times "
        f"{usual:.2f}, the median of the others.", "",
        f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the end.", "",
        f"| | | {names} | goal, then | goal, here | |", f"|---|---|{'---:|' * len(checkouts)}---:|---:|---|",
    ]  # fmt: skip
    for row in rows:
        found = [(row.here(one), row.found[one.name]) for one in checkouts]
        figures = " | ".join(f"{median:.3g} ({min(each):.3g} to {max(each):.3g})" for median, each in found)
        must = row.must * ((row.here(reference) / row.now if row.now else usual) if row.scaled else 1)
        verdict = "met" if row.here(checkouts[-1]) <= must else "**missed**"
        goals = f"{row.must:.3g} | {must:.3g} | {verdict}" if row.must and len(checkouts) > 1 else "| |"
        lines.append(f"| {row.what} | {row.unit} | {figures} | {goals} |")
    return "\n".join(lines) + "\n"


def save(rows: Sequence[Row], checkouts: Sequence[Checkout], name: str) -> None:
    """The table, and each night's figure for programs."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(table(rows, checkouts), encoding="utf-8")
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "unit", "checkout", "night", "value"])
        writer.writerows(
            [row.what, row.unit, name, night, value]
            for row in rows for name, values in row.found.items() for night, value in enumerate(values, start=1)
        )  # fmt: skip


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


PARTS = ("sizes", "years", "lone", "large")


def main(
    checkouts: Sequence[Path] = (Path(),),  # versions of the program: the first is the reference, the last is judged
    *,
    folder: Path | None = None,  # where programmes and states are made and stored; None: they are removed
    parts: Sequence[str] = ("sizes",),
    sites: tuple[int, int] = (16, 64),  # few and many, whose difference is what one more site costs
    large: int = 2000,  # sites of the large programme
    count: int = 3,  # nights of each kind
    name: str = "night-small",  # of the table in `benchmarks/results`
    history: list[date] = FORTY,  # days of the stored scenes of "sizes"
) -> None:
    """Measure, print and save."""
    versions = [Checkout.at(path) for path in checkouts]
    few, _ = sites
    measured = {
        "sizes": lambda home: of_sizes(home, versions, sites, count, history),
        "years": lambda home: of_ten_years(home, versions, (few // 4, few), count),
        "lone": lambda home: of_lone_sites(home, versions, few, min(count, 2)),
        "large": lambda home: of_a_large_programme(home, versions, large, min(count, 2)),
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for part in parts:
            rows += measured[part](folder or Path(temporary))
            save(rows, versions, name)
    print(table(rows, versions))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night")
    parser.add_argument("checkouts", type=Path, nargs="*", default=[Path()])
    parser.add_argument("--folder", type=Path, help="where programmes and states are kept; default: they are removed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["sizes"])
    parser.add_argument("--sites", type=int, nargs=2, default=(16, 64))
    parser.add_argument("--large", type=int, default=2000)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--name", default="night-small")
    main(**vars(parser.parse_args()))
