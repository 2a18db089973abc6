"""Speed of the trend kernels beside their peers, on one core each.

    python -m benchmarks.trends

The kernels are those of `regrowth trends` and of the slope map of every site. Each row runs both sides in turn in one
process and compares medians of processor time, so neighbours on the machine do not matter. Both sides use one thread.
Peers are run at their best: beside the loops over pixels that users of pymannkendall, scipy and nrt write there is the
same arithmetic vectorised in numpy over all pixels, and a plain loop compiled by numba. Cubes have 35 % of their values
missing unless the row says none. A peer that is not installed has a row that says so.
"""

import csv
import importlib.metadata
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import scipy.stats
from threadpoolctl import threadpool_limits

from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.monotonic import slope_and_score

RESULTS = Path(__file__).parent / "results"
MIN_TURNS = 5
MIN_SECONDS = 4.0  # both sides of a comparison are repeated for at least this long
PACKAGES = ("numba", "numpy", "scipy", "pymannkendall", "nrt")
HARMONICS = 2

Run = tuple[Callable[[], object], int]  # what to run, and how many pixels that is


class Row(NamedTuple):
    """One comparison, in pixels a second of processor time."""

    work: str
    peer: str
    ours: float
    theirs: float  # NaN: the peer is not installed
    goal: float  # least ratio of ours to theirs; NaN: none was set

    @property
    def ratio(self) -> float:
        """How many times as fast as the peer."""
        return self.ours / self.theirs


def random_cube(n: int, pixels: int, *, missing: float) -> np.ndarray:
    """(time, pixel) float32, NaN where missing."""
    rng = np.random.default_rng(7)
    y = rng.normal(0.4, 0.1, (n, pixels)).astype(np.float32)
    y[rng.random(y.shape) < missing] = np.nan
    return y


def uneven_dates(n: int) -> np.ndarray:
    """Days over ten years. [years]"""
    return 15 + np.sort(np.random.default_rng(8).choice(3652, n, replace=False)) / 365.25


def compare(work: str, ours: Run, peers: dict[str, Run], goals: dict[str, float]) -> list[Row]:
    runs = {"": ours, **peers}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run()  # compiled and warm
    begin = time.perf_counter()
    while len(seconds[""]) < MIN_TURNS or time.perf_counter() - begin < MIN_SECONDS:
        for name, (run, _) in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    rates = {name: pixels / statistics.median(seconds[name]) for name, (_, pixels) in runs.items()}
    return [Row(work, name, rates[""], rates[name], goals.get(name, np.nan)) for name in peers]


def loop(function: Callable[..., object], y: np.ndarray, t: np.ndarray, pixels: int) -> Run:
    """A peer that takes one series: called for each of a few pixels, missing values left out beforehand."""
    series = [(y[seen, k].astype(float), t[seen]) for k in range(pixels) for seen in [np.isfinite(y[:, k])]]
    return lambda: [function(*pair) for pair in series], pixels


def vectorised_slope_and_score(t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theil-Sen slope and Mann-Kendall S of all pixels at once, in numpy."""
    i, j = np.triu_indices(t.size, k=1)
    rise = y[j] - y[i]
    score = np.nansum(np.sign(rise), axis=0)
    rise /= (t[j] - t[i])[:, None]
    return (np.nanmedian if np.isnan(y).any() else np.median)(rise, axis=0), score


@numba.njit(cache=False)
def looped_slope_and_score(t, y):
    """The same in a plain compiled loop."""
    n, pixels = y.shape
    slope, score = np.empty(pixels), np.empty(pixels)
    slopes = np.empty(n * (n - 1) // 2)
    for k in range(pixels):
        count, s = 0, 0.0
        for i in range(n):
            for j in range(i + 1, n):
                rise = y[j, k] - y[i, k]
                if rise == rise:  # not NaN
                    slopes[count] = rise / (t[j] - t[i])
                    s += np.sign(rise)
                    count += 1
        slope[k] = np.median(slopes[:count]) if count else np.nan
        score[k] = s
    return slope, score


def monotonic_rows(part: float) -> list[Row]:
    rows = []
    for label, t, pixels, few, missing, goals in (
        ("10 yearly values, none missing", np.arange(10.0), 1 << 18, 200, 0.0, (5_000, np.nan)),
        ("60 values, none missing", uneven_dates(60), 8_000, 100, 0.0, (90, np.nan)),
        ("300 uneven dates, 195 seen", uneven_dates(300), 2_000, 40, 0.35, (50, 15)),
    ):
        pixels, few = int(pixels * part), int(few * part)
        y = random_cube(t.size, pixels, missing=missing)
        work = f"slope and S, {label}"
        mk, theil = "pymannkendall.original_test, a call a pixel", "scipy.stats.theilslopes, a call a pixel"
        some = y[:, : max(few, int(3_000_000 * part) // t.size**2)]
        peers: dict[str, Run] = {
            theil: loop(scipy.stats.theilslopes, y, t, few),
            "vectorised numpy": (lambda t=t, some=some: vectorised_slope_and_score(t, some), some.shape[1]),
            "plain numba loop": (lambda t=t, y=y: looped_slope_and_score(t, y), pixels),
        }
        try:
            import pymannkendall

            peers[mk] = loop(lambda values, _: pymannkendall.original_test(values), y, t, few)
        except ImportError:
            rows.append(Row(work, "pymannkendall: not installed", np.nan, np.nan, np.nan))
        rows += compare(
            work, (lambda t=t, y=y: slope_and_score(t, y), pixels), peers, dict(zip((mk, theil), goals, strict=True))
        )
    return rows


def design_of(t: np.ndarray) -> np.ndarray:
    columns = [np.ones(t.size), t - t.mean()]
    for k in range(1, HARMONICS + 1):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    return np.stack(columns, axis=1)


def vectorised_harmonic(design: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares of all pixels at once: normal equations by matrix products, solved in a batch."""
    seen = np.isfinite(y)
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    size = design.shape[1]
    left = (seen.T.astype(float) @ products).reshape(-1, size, size)
    right = np.where(seen, y, 0).T.astype(float) @ design
    return np.linalg.solve(left, right[..., None])[..., 0]


@numba.njit(cache=False)
def looped_harmonic(design, y):
    """The same in a plain compiled loop."""
    n, size = design.shape
    found = np.empty((y.shape[1], size))
    for k in range(y.shape[1]):
        left, right = np.zeros((size, size)), np.zeros(size)
        for i in range(n):
            value = y[i, k]
            if value == value:
                for a in range(size):
                    right[a] += design[i, a] * value
                    for b in range(size):
                        left[a, b] += design[i, a] * design[i, b]
        found[k] = np.linalg.solve(left, right)
    return found


def harmonic_rows(part: float) -> list[Row]:
    t = uneven_dates(300)
    y, design, few = random_cube(300, int(50_000 * part), missing=0.35), design_of(t), int(4_000 * part)
    work = "harmonic fit, 6 coefficients, 300 dates, 195 seen"
    some = y[:, :few].astype(np.float64)

    def lstsq(values: np.ndarray, at: np.ndarray) -> object:
        return np.linalg.lstsq(design[np.searchsorted(t, at)], values, rcond=None)

    peers: dict[str, Run] = {
        "numpy.linalg.lstsq, a call a pixel": loop(lstsq, y, t, int(300 * part)),
        "vectorised numpy": (lambda: vectorised_harmonic(design, y[:, :few]), few),
        "plain numba loop": (lambda: looped_harmonic(design, y[:, :few]), few),
    }
    nrt, rows = "nrt ols", []
    try:
        from nrt.fit_methods import ols

        peers[nrt] = (lambda: ols(design, some), few)
    except ImportError:
        rows.append(Row(work, "nrt: not installed", np.nan, np.nan, np.nan))
    return rows + compare(work, (lambda: harmonic(t, y, harmonics=HARMONICS), y.shape[1]), peers, {nrt: 60.0})


def versions() -> str:
    listed = []
    for package in PACKAGES:
        try:
            listed.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            listed.append(f"{package} not installed")
    return ", ".join(listed)


def table(rows: list[Row]) -> str:
    with Path("/proc/cpuinfo").open() as info:
        processor = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    lines = [
        "# Trend kernels beside their peers",
        "",
        f"Made by `python -m benchmarks.trends` on {datetime.now(UTC).date()}: pixels a second of processor time,",
        f"one core each, medians of {MIN_TURNS} runs or more in turn. {processor}, Python {platform.python_version()},",
        f"{versions()}. Load average {os.getloadavg()[0]:.1f}.",
        "",
        "| work | beside | ours | theirs | ratio | goal | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if np.isnan(row.theirs):
            lines.append(f"| {row.work} | {row.peer} | | | | | |")
            continue
        goal, verdict = "", ""
        if not np.isnan(row.goal):
            goal, verdict = f"{row.goal:,g}", "met" if row.ratio >= row.goal else "**missed**"
        ratio = f"{row.ratio:,.0f}" if row.ratio >= 10 else f"{row.ratio:.1f}"
        lines.append(
            f"| {row.work} | {row.peer} | {row.ours:,.0f} | {row.theirs:,.0f} | {ratio} | {goal} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def main(part: float = 1.0) -> None:
    """Measure on a part of the pixels, write `results/trends.md` and `.csv`, and print the table."""
    numba.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        rows = monotonic_rows(part) + harmonic_rows(part)
    text = table(rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trends.md").write_text(text, encoding="utf-8")
    with (RESULTS / "trends.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["work", "beside", "ours_per_s", "theirs_per_s", "ratio", "goal"])
        writer.writerows([*row[:4], row.ratio, row.goal] for row in rows)
    print(text)


if __name__ == "__main__":
    main()
