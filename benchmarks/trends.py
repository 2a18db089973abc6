"""Speed of trends beside their peers and their limits, in one process, turn by turn.

    python -m benchmarks.trends

Every row times both sides alternately, several times, and gives medians: on a shared machine only the ratio means
anything. Rows of one core run on one and are timed by what the processor spent on them, which neighbours on the
machine do not change; the others are timed by the clock on the wall and split pixels among threads of all cores the
process may use, while peers run as their users run them. The BLAS under numpy is held to one thread on both sides:
left alone it takes all cores for matrices of six rows and is slower. Cubes have 35 % of their values missing unless the
row says none. Peers come with the extra ``bench``; one that is not installed has a row that says so.
"""

import csv
import importlib.metadata
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
import xarray as xr
from threadpoolctl import threadpool_limits

from monitor.trends.kernels.harmonic import harmonic, harmonic_packed
from monitor.trends.kernels.huber import robust_harmonic
from monitor.trends.kernels.monotonic import monotonic, slope_and_score

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
LEAST = 6.0
"""So long at least the sides of a comparison take turns: short ones scatter. [s]"""
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("numba", "numpy", "scipy", "xarray", "pymannkendall", "nrt", "pyxccd")
NODATA = -32768

Side = tuple[Callable[[], object], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: what is done, beside whom, and how many pixels a second."""

    work: str
    peer: str
    ours: float
    theirs: float
    """NaN where the peer is not installed."""
    least: float = 0.0
    """Ratio that is a goal, 0: none."""
    aim: float = 0.0
    floor: bool = False
    """The peer is a limit: the ratio is of times, and the goal is at most."""

    @property
    def ratio(self) -> float:
        """How much faster than a peer, or how much slower than a limit."""
        return self.theirs / self.ours if self.floor else self.ours / self.theirs

    @property
    def verdict(self) -> str:
        """Whether the goal was met, where there is one."""
        if not self.least or np.isnan(self.theirs):
            return ""
        good = self.ratio <= self.least if self.floor else self.ratio >= self.least
        return "met" if good else "MISSED"


def cube(n: int, pixels: int, *, missing: float = 0.35) -> np.ndarray:
    rng = np.random.default_rng(7)
    y = rng.normal(0.4, 0.1, (n, pixels)).astype(np.float32)
    y[rng.random(y.shape) < missing] = np.nan
    return y


def integers(y: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(y), NODATA, np.round(np.nan_to_num(y) * 10_000)).astype(np.int16)


def dates(n: int) -> np.ndarray:
    """Uneven whole days over ten years. [years since 2000]"""
    return 15 + np.sort(np.random.default_rng(8).choice(3652, n, replace=False)) / 365.25


def on_all_cores(function: Callable[[np.ndarray], object], y: np.ndarray) -> Callable[[], None]:
    # more parts than threads: one that others on the machine hold up does not hold up the rest
    parts = [np.ascontiguousarray(part) for part in np.array_split(y, 8 * CORES, axis=1)]
    pool = ThreadPoolExecutor(CORES)

    def run() -> None:
        list(pool.map(function, parts))

    return run


def in_turn(sides: dict[str, Side], clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Pixels a second of each side, medians; a side is what to run and how many pixels that is."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run, _ in sides.values():
        run()  # compiled and warm
    begun, turns = time.perf_counter(), 0
    while turns < REPEATS or time.perf_counter() - begun < LEAST:
        turns += 1
        for name, (run, _) in sides.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: sides[name][1] / statistics.median(taken) for name, taken in seconds.items()}


def compare(
    work: str, ours: Side, peers: dict[str, Side], goals: dict[str, tuple[float, float]] | None = None
) -> list[Row]:
    rate = in_turn({"": ours, **peers}, time.process_time if work.endswith("one core") else time.perf_counter)
    found = []
    for name in peers:
        least, aim = (goals or {}).get(name, (0.0, 0.0))
        found.append(Row(work=work, peer=name, ours=rate[""], theirs=rate[name], least=least, aim=aim))
    return found


def absent(work: str, peer: str) -> Row:
    return Row(work=work, peer=f"{peer}: not installed", ours=np.nan, theirs=np.nan)


def each(function: Callable[[np.ndarray], object], y: np.ndarray, pixels: int) -> Side:
    """Run a peer that takes one series over a few pixels, missing values left out beforehand."""
    series = [values[np.isfinite(values)].astype(float) for values in y.T[:pixels]]
    return lambda: [function(values) for values in series], pixels


def monotonic_rows() -> list[Row]:
    found = []
    for label, n, pixels, few, missing, goal_mk, goal_scipy in (
        ("slope and S, 10 yearly values, none missing", 10, 1 << 20, 200, 0.0, (10_000, 30_000), None),
        ("slope and S, 60 values, none missing", 60, 16_000, 100, 0.0, (90, 300), None),
        ("slope and S, 300 uneven dates, 195 seen", 300, 6_000, 40, 0.35, (50, 200), (15, 60)),
    ):
        t, y = dates(n), cube(n, pixels, missing=missing)
        if n == 10:
            t = np.arange(10.0)
        mk, theil = "pymannkendall.original_test", "scipy.stats.theilslopes"
        peers: dict[str, Side] = {}
        try:
            import pymannkendall

            peers[mk] = each(pymannkendall.original_test, y, few)
        except ImportError:
            found.append(absent(label, "pymannkendall"))
        some = [(values[seen].astype(float), t[seen]) for values in y.T[:few] for seen in [np.isfinite(values)]]
        peers[theil] = (lambda some=some: [scipy.stats.theilslopes(*pair) for pair in some], few)
        goals = {mk: goal_mk} | ({theil: goal_scipy} if goal_scipy else {})
        found += compare(label, (on_all_cores(lambda part, t=t: slope_and_score(t, part), y), pixels), peers, goals)
        whole = (on_all_cores(lambda part, t=t: monotonic(t, part), y[:, : pixels // 8]), pixels // 8)
        label = label.replace("slope and S", "slope, limits, tau, p, Hamed-Rao")
        if mk in peers:
            peer = each(pymannkendall.hamed_rao_modification_test, y, few // 4)
            with np.errstate(invalid="ignore"):
                found += compare(label, whole, {"pymannkendall.hamed_rao_modification_test": peer})
    return found


def design_of(t: np.ndarray) -> np.ndarray:
    columns = [np.ones(t.size), t - t.mean()]
    for k in (1, 2):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    return np.stack(columns, axis=1)


def as_dates(t: np.ndarray) -> np.ndarray:
    return np.datetime64("2000-01-01", "ns") + np.round(t * 365.25 * 86400).astype("timedelta64[s]")


def harmonic_rows() -> list[Row]:
    n, pixels = 300, 200_100
    t, y = dates(n), cube(n, pixels)
    packed, scale, offset = integers(y), np.full(n, 1e-4), np.zeros(n)
    design = design_of(t)

    def lstsq() -> None:
        for values in y.T[:300]:
            seen = np.isfinite(values)
            np.linalg.lstsq(design[seen], values[seen], rcond=None)

    few = 4000
    maps = xr.DataArray(y[:, :few], dims=("time", "pixel"), coords={"time": t})
    peers: dict[str, Side] = {
        "loop of numpy.linalg.lstsq": (lstsq, 300),
        "xarray.polyfit, degree 1 only": (lambda: maps.polyfit("time", 1), few),
    }
    goals, found = {}, []
    work = "harmonic fit from int16, 6 coefficients, 300 dates, 195 seen, one core"
    try:
        import numba
        from nrt.fit_methods import ols
        from nrt.monitor.ewma import EWMA

        numba.set_num_threads(1)
        some = y[:, :few].astype(np.float64)
        grid = xr.DataArray(some.reshape(n, 40, -1), dims=("time", "y", "x"), coords={"time": as_dates(t)})
        peers["nrt ols, the bare function"] = (lambda: ols(design, some), few)
        peers["nrt fit(method='OLS'), no screening"] = (
            lambda: EWMA(trend=True, harmonic_order=2).fit(dataarray=grid, method="OLS", screen_outliers=None),
            few,
        )
        goals = {"nrt ols, the bare function": (60.0, 200.0), "nrt fit(method='OLS'), no screening": (60.0, 200.0)}
    except ImportError:
        found.append(absent(work, "nrt"))
    try:
        from pyxccd import cold_detect_flex

        ordinal = (as_dates(t).astype("datetime64[D]").astype(int) + 719_163).astype(np.int64)
        stack, quality = packed[:, :20].astype(np.int64), np.where(packed[:, :20] == NODATA, 4, 0).astype(np.int64)

        def cold() -> None:
            for pixel in range(20):
                two = np.ascontiguousarray(np.stack([stack[:, pixel], stack[:, pixel]], axis=1))
                cold_detect_flex(
                    ordinal, two, np.ascontiguousarray(quality[:, pixel]), lam=20.0, tmask_b1_index=1, tmask_b2_index=2
                )

        peers["pyxccd COLD, two bands (finds breaks too)"] = (cold, 20)
    except ImportError:
        found.append(absent(work, "pyxccd"))
    ours = (lambda: harmonic_packed(t, packed, scale=scale, offset=offset, nodata=NODATA, harmonics=2), pixels)
    found += compare(work, ours, peers, goals)
    floats = (lambda: harmonic(t, y, harmonics=2), pixels)
    found += compare(
        "the same from float32, one core", floats, {"copy of that cube in memory": (lambda: y.copy(), pixels)}
    )
    robust = (lambda: robust_harmonic(t, y[:, :few], harmonics=2), few)
    try:
        from nrt.fit_methods import rirls

        peer = {"nrt rirls, one thread (bisquare)": (lambda: rirls(design, some[:, :200]), 200)}
        found += compare("robust harmonic fit, one core", robust, peer)
    except ImportError:
        found.append(absent("robust harmonic fit, one core", "nrt"))
    return found


def versions() -> str:
    told = []
    for package in PACKAGES:
        try:
            told.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            told.append(f"{package} not installed")
    return ", ".join(told)


def shown(ratio: float) -> str:
    return "" if np.isnan(ratio) else f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}"


def table(found: list[Row]) -> str:
    with Path("/proc/cpuinfo").open() as info:
        processor = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    lines = [
        "# Trends beside their peers and their limits",
        "",
        f"Made by `python -m benchmarks.trends`: medians of {REPEATS} runs or more in turn, pixels per second.",
        f"{CORES} cores, {processor}, Python {platform.python_version()}, {versions()}.",
        f"Load average {os.getloadavg()[0]:.1f}: above {CORES + 1}, others were working too. Rows of one core are",
        "timed by what the processor spent on them, the others by the clock on the wall.",
        "",
        "The ratio is of speeds, ours to the peer's; beside a floor or limit of times, ours to the limit's. bfast is",
        "not here: its Python package needs OpenCL, and R is not installed.",
        "",
        "| work | beside | ours | theirs | ratio | goal | aim | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in found:
        goal, aim = (f"{'<= ' if row.floor else ''}{x:,g}" if x else "" for x in (row.least, row.aim))
        ours, theirs = ("" if np.isnan(x) else f"{x:,.0f}" for x in (row.ours, row.theirs))
        lines.append(
            f"| {row.work} | {row.peer} | {ours} | {theirs} | {shown(row.ratio)} | {goal} | {aim} | {row.verdict} |"
        )
    return "\n".join(lines) + "\n"


def picture(found: list[Row], path: Path) -> None:
    """Bars of ratios, with the goal and the aim of each."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = [
        row
        for row in found
        if not np.isnan(row.theirs) and not row.floor and not row.peer.startswith(("limit", "copy"))
    ]
    figure, axes = plt.subplots(figsize=(11, 0.52 * len(found) + 1.6), layout="constrained")
    place = np.arange(len(found))[::-1]
    colours = ["#b5482a" if row.verdict == "MISSED" else "#2f6f4f" if row.verdict else "#8a9a92" for row in found]
    axes.barh(place, [row.ratio for row in found], color=colours, height=0.62)
    for y, row in zip(place, found, strict=True):
        axes.annotate(f" {shown(row.ratio)}", (max(row.ratio, 1), y), va="center", fontsize=8)
        for value, mark in ((row.least, "|"), (row.aim, "d")):
            if value:
                axes.plot(value, y, mark, color="black", markersize=9 if mark == "|" else 4)
    axes.set_yticks(place, [f"{row.work.split(':')[0]}\nbeside {row.peer}" for row in found], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlim(1, 2e6)
    axes.set_xlabel("times as fast as the peer, in one process, turn by turn  ( | goal, ◆ aim)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        found = monotonic_rows() + harmonic_rows()
    text = table(found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trends.md").write_text(text, encoding="utf-8")
    with (RESULTS / "trends.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["work", "beside", "ours_per_s", "theirs_per_s", "ratio", "goal", "aim", "verdict"])
        for row in found:
            writer.writerow([row.work, row.peer, row.ours, row.theirs, row.ratio, row.least, row.aim, row.verdict])
    picture(found, RESULTS / "trends.png")
    print(text)


if __name__ == "__main__":
    main()
