"""What it takes to publish a night on which a few sites of many changed, part by part.

    python -m benchmarks.publish                        # few sites, as `make bench` does it
    python -m benchmarks.publish --sites 1000 --folder FOLDER

A made programme (:mod:`benchmarks.countryside`) with all pages in place. Then the ledger gets the assessments of a next
day: those of a few sites have another cover, so that their pages and maps are made again; all others have only another
day, as on most nights. :func:`jobs.pages.publishing.publish` runs here, in threads. Three nights; the median counts.
CPU seconds are those of this process: on a machine with other work they say more than seconds. Beside them stands how
long the same number of files takes to be replaced, and nothing else, which depends on the disk alone.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.night import EIGHT, Checkout, World, world

RESULTS = Path(__file__).parent / "results"
GOAL = 3.0  # time to publish 5 changed sites of 1,000 [s]
PARTS = {
    "_assessed_sites": "the ledger, and which sites changed",
    "_lot_views": "verdicts of lots",
    "_write_pages": "pages, maps and series of the changed sites",
    "_write_plans": "plan.json and item.json of all sites",
    "write_catalogue": "catalog.json",
    "write_lots": "pages of lots",
    "read_account": "the account: ground that counts once, its sums and intervals",
    "write_account": "page, table and map of the account",
    "write_index": "status.json, sites.parquet and the index",
}
"""Functions of :mod:`jobs.pages.publishing` that are timed, and what they do."""


class Night(NamedTuple):
    """What one publish took."""

    seconds: dict[str, float]  # by part, and `all` [s]
    cpu: dict[str, float]  # user and system time of the process, likewise [s]
    rewritten: int  # sites whose page was made again
    files: int = 0  # files that were written
    disk: float = 0.0  # time to replace as many files of 8 kB, and nothing else [s]


@contextmanager
def timed_parts(module: Any, night: Night) -> Iterator[None]:
    """Time the functions :data:`PARTS` of a module."""
    originals = {name: getattr(module, name) for name in PARTS if hasattr(module, name)}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                night.seconds[name] = time.perf_counter() - wall
                night.cpu[name] = time.process_time() - cpu

        return call

    for name, function in originals.items():
        setattr(module, name, timed(name, function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(module, name, function)


def measure(state: Path, config: Path, *, changed: int, nights: int = 3) -> list[Night]:
    """Publish some nights on a state with all pages in place, each of them after `changed` sites have changed."""
    import icechunk

    from jobs.pages import publishing
    from jobs.runtime.executor import open_executor
    from jobs.runtime.installation import open_ledger
    from jobs.runtime.settings import load

    icechunk.set_logs_filter("error")
    places = {"STORE__ROOT": state / "store", "OUTPUTS__ROOT": state / "outputs"}
    places["LEDGER__URL"] = f"sqlite:///{state}/ledger/regrowth.db"
    os.environ |= {f"REGROWTH_{name}": str(value) for name, value in places.items()}
    settings, taken = load(config), []
    with open_ledger(settings) as ledger, open_executor("") as compute:
        publishing.publish(
            settings, ledger, compute
        )  # by this version; and imports and caches are warm, as after a night
        for _ in range(nights):
            with ledger.transaction() as t:
                _next_day(t, changed)
            night, begun = Night({}, {}, 0), time.time_ns()
            with timed_parts(publishing, night):
                wall, cpu = time.perf_counter(), time.process_time()
                outcomes = publishing.publish(settings, ledger, compute)
                night.seconds["all"], night.cpu["all"] = time.perf_counter() - wall, time.process_time() - cpu
            if any(outcomes.values()):
                msg = f"pages were not written: {outcomes}"
                raise RuntimeError(msg)
            files = sum(path.stat().st_mtime_ns >= begun for path in (state / "outputs").rglob("*.*"))
            disk = _replaced(state / "disk", files)
            taken.append(night._replace(rewritten=len(outcomes), files=files, disk=disk))
    return taken


def _replaced(folder: Path, count: int) -> float:
    """Time to replace so many files, which are on the disk already."""
    from monitor.files import write_atomically

    folder.mkdir(exist_ok=True)
    content, seconds = os.urandom(8_000), 0.0
    for _ in range(2):
        os.sync()
        begun = time.perf_counter()
        for number in range(count):
            write_atomically(folder / f"{number}.json", content)
        seconds = time.perf_counter() - begun
    return seconds


def _next_day(t: Any, changed: int) -> None:
    """Assessments of the day after the newest ones."""
    from dataclasses import replace

    for number, (_, newest) in enumerate(sorted(t.latest_assessments().items())):
        later = (date.fromisoformat(newest.as_of) + timedelta(days=1)).isoformat()
        digest, payload = newest.digest, newest.payload | {"as_of": later}
        if number < changed:
            digest, payload["cover"] = f"{digest}+", (payload["cover"] or 0.0) + 0.03
        t.add_assessments([replace(newest, as_of=later, digest=digest, payload=payload)], run="benchmark")


def table(nights: list[Night], sites: int) -> str:
    """As it is printed and stored."""

    def median(part: str, kind: str) -> float:
        return statistics.median(getattr(night, kind).get(part, 0.0) for night in nights)

    rewritten, seconds = nights[-1].rewritten, median("all", "seconds")
    lines = [
        "# What it takes to publish a night", "",
        f"{sites:,} sites, the pages of {rewritten} made again. Median of {len(nights)} nights. {os.cpu_count()} "
        f"processors, load average {os.getloadavg()[0]:.1f} at the end.", "",
        "| | s | CPU s |", "|---|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {what} | {median(part, 'seconds'):.2f} | {median(part, 'cpu'):.2f} |" for part, what in PARTS.items()]
    lines.append(f"| **all** | **{seconds:.2f}** | **{median('all', 'cpu'):.2f}** |")
    files, disk = nights[-1].files, statistics.median(night.disk for night in nights)
    alone = f"to replace as many one after the other, and do nothing else, takes {disk:.2f} s here"
    lines += ["", f"{files:,} files were written; {alone}."]
    if sites >= 1000:
        lines += ["", f"Goal for 5 of 1,000: {GOAL:g} s; {'met' if seconds <= GOAL else '**missed**'}."]
    return "\n".join(lines) + "\n"


def main(*, sites: int = 64, changed: int = 5, folder: Path | None = None, name: str = "publish-small") -> None:
    """Measure, print and save."""
    checkout = Checkout.at(Path())
    with tempfile.TemporaryDirectory() as temporary:
        made: World = world((folder or Path(temporary)) / f"publish-{sites}", sites, hectares=2, history=EIGHT)
        made.prepare([checkout])
        state = made.nights(checkout)
        text = table(measure(state, made.made.config, changed=changed), sites)
        shutil.rmtree(state)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish")
    parser.add_argument("--sites", type=int, default=64)
    parser.add_argument("--changed", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to store the programme; default: a temporary folder")
    parser.add_argument("--name", default="publish-small")
    main(**vars(parser.parse_args()))
