"""Speed of the trend kernels beside their peers, in one process, turn by turn.

    python -m benchmarks.trends

Every row times both sides alternately, several times, and gives medians: on a shared machine only the ratio
means anything. Ours runs on all cores the process may use (pixels split among threads) unless the row says
one core; peers run as their users run them. Cubes have 35 % of their values missing unless the row says none.
Peers come with the extras ``test`` and ``demo``; one that is not installed is left out by name.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
import xarray as xr

from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.monotonic import monotonic, slope_and_score

RESULTS = Path(__file__).parent / "results" / "trends.md"
REPEATS = 5
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("numba", "numpy", "scipy", "xarray", "pymannkendall", "nrt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: what is done, by whom, and how many pixels a second."""

    work: str
    peer: str
    ours: float
    theirs: float


def cube(n: int, pixels: int, *, missing: float = 0.35) -> np.ndarray:
    rng = np.random.default_rng(7)
    y = rng.normal(0.4, 0.1, (n, pixels)).astype(np.float32)
    y[rng.random(y.shape) < missing] = np.nan
    return y


def dates(n: int) -> np.ndarray:
    """Uneven whole days over ten years. [years since 2000]"""
    return 15 + np.sort(np.random.default_rng(8).choice(3652, n, replace=False)) / 365.25


def on_all_cores(function: Callable[[np.ndarray], object], y: np.ndarray) -> Callable[[], None]:
    parts = [np.ascontiguousarray(part) for part in np.array_split(y, CORES, axis=1)]
    pool = ThreadPoolExecutor(CORES)

    def run() -> None:
        list(pool.map(function, parts))

    return run


def compare(
    work: str, ours: tuple[Callable[[], object], int], peers: dict[str, tuple[Callable[[], object], int]]
) -> list[Row]:
    """Time all sides in turn; a side is what to run and how many pixels that is."""
    sides = {"": ours, **peers}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run, _ in sides.values():
        run()  # compiled and warm
    for _ in range(REPEATS):
        for name, (run, _) in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    rate = {name: sides[name][1] / statistics.median(taken) for name, taken in seconds.items()}
    return [Row(work=work, peer=name, ours=rate[""], theirs=rate[name]) for name in peers]


def each(function: Callable[[np.ndarray], object], y: np.ndarray, pixels: int) -> tuple[Callable[[], object], int]:
    """Run a peer that takes one series over a few pixels, missing values left out beforehand."""
    series = [values[np.isfinite(values)].astype(float) for values in y.T[:pixels]]
    return lambda: [function(values) for values in series], pixels


def monotonic_rows() -> list[Row]:
    rows = []
    for label, n, pixels, few, missing in (
        ("slope and S, 10 yearly values, none missing", 10, 1 << 20, 300, 0.0),
        ("slope and S, 60 values, none missing", 60, 16_000, 150, 0.0),
        ("slope and S, 300 uneven dates, 195 seen", 300, 6_000, 60, 0.35),
    ):
        t, y = dates(n), cube(n, pixels, missing=missing)
        if n == 10:
            t = np.arange(10.0)
        peers = {}
        try:
            import pymannkendall

            peers["pymannkendall.original_test"] = each(pymannkendall.original_test, y, few)
        except ImportError:
            print("pymannkendall is not installed: left out")
        some = [(values[seen].astype(float), t[seen]) for values in y.T[:few] for seen in [np.isfinite(values)]]
        peers["scipy.stats.theilslopes"] = (lambda some=some: [scipy.stats.theilslopes(*pair) for pair in some], few)
        rows += compare(label, (on_all_cores(lambda part, t=t: slope_and_score(t, part), y), pixels), peers)
        whole = (on_all_cores(lambda part, t=t: monotonic(t, part), y[:, : pixels // 8]), pixels // 8)
        label = label.replace("slope and S", "slope, limits, tau, p, Hamed-Rao")
        if "pymannkendall.original_test" in peers:
            peer = each(pymannkendall.hamed_rao_modification_test, y, few // 4)
            with np.errstate(invalid="ignore"):
                rows += compare(label, whole, {"pymannkendall.hamed_rao_modification_test": peer})
    return rows


def harmonic_rows() -> list[Row]:
    n, pixels = 300, 64_000
    t, y = dates(n), cube(n, pixels)
    columns = [np.ones(n), t - t.mean()]
    for k in (1, 2):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    design = np.stack(columns, axis=1)

    def lstsq() -> None:
        for values in y.T[:500]:
            seen = np.isfinite(values)
            np.linalg.lstsq(design[seen], values[seen], rcond=None)

    maps = xr.DataArray(y[:, :4000], dims=("time", "pixel"), coords={"time": t})
    peers: dict[str, tuple[Callable[[], object], int]] = {
        "loop of numpy.linalg.lstsq": (lstsq, 500),
        "xarray.polyfit, degree 1 only": (lambda: maps.polyfit("time", 1), 4000),
    }
    try:
        import numba
        from nrt.fit_methods import ols

        numba.set_num_threads(1)
        some = y[:, :8000].astype(np.float64)
        peers["nrt OLS, one thread"] = (lambda: ols(design, some), 8000)
    except ImportError:
        print("nrt is not installed: left out")
    one_core = (lambda: harmonic(t, y, harmonics=2), pixels)
    rows = compare("harmonic fit, 6 coefficients, 300 dates, 195 seen, one core", one_core, peers)
    read = (lambda: y.copy(), pixels)
    return rows + compare("the same beside its floor", one_core, {"copy of the cube in memory": read})


def table(rows: list[Row]) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    with Path("/proc/cpuinfo").open() as info:
        processor = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    lines = [
        "# Trend kernels beside their peers",
        "",
        f"Made by `python -m benchmarks.trends`: medians of {REPEATS} runs in turn, pixels per second.",
        f"{CORES} cores, {processor}, Python {platform.python_version()}, {', '.join(versions)}.",
        f"Load average {os.getloadavg()[0]:.1f}: above {CORES + 1}, others were working too.",
        "",
        "| work | peer | ours | peer's | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        ratio = row.ours / row.theirs
        shown = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
        lines.append(f"| {row.work} | {row.peer} | {row.ours:,.0f} | {row.theirs:,.0f} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    text = table(monotonic_rows() + harmonic_rows())
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
