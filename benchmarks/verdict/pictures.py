"""Two pictures that can be read without colour: detection by year and world, and coverage by stress."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.verdict.conditions import BASE, CONDITIONS, HALF
from benchmarks.verdict.rows import Scores, name_of

mpl.rcParams["svg.fonttype"] = "none"  # text stays text
mpl.rcParams["svg.hashsalt"] = "regrowth"  # the same picture from the same figures
GRID = np.arange(0.0, 6.01, 0.25)
WORLDS = {"present": ("-", "o", "black"), "other": ("--", "s", "#0072b2"), "third": (":", "^", "#d55e00")}
"""Line, marker and colour."""
TRIPLE = {"failed": ("o", "theta 0"), "half": ("s", "theta .5"), "full": ("^", "theta 1")}
BUDGET, NOMINAL = 0.05, 0.95


def detection(path: Path, scores: Scores) -> None:
    """Failed sites red, and sites at half falsely red (the worst of three truths), by year and world."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    (left, right), top = figure.subplots(1, 2), 0.2
    for world, (line, marker, colour) in WORLDS.items():
        found = scores[world, BASE, False]
        style = {
            "linestyle": line,
            "marker": marker,
            "color": colour,
            "markevery": 4,
            "markersize": 5,
            "label": world,
            "clip_on": False,
        }
        left.plot(GRID, found["failed"].by("failure", *GRID), **style)
        worst = np.max([found[truth].by("failure", *GRID) for truth in HALF], axis=0)
        right.plot(GRID, worst, **style)
        top = max(top, worst.max())
    right.axhline(BUDGET, color="#888888", linewidth=0.8)
    right.text(0.1, BUDGET + 0.002, "budget", fontsize=8, color="#555555")
    left.set(ylim=(0, 1), title="failed sites (theta 0) red by failure")
    right.set(ylim=(0, top), title="sites at half ever red, worst of\nplan right, a fifth too large, a year late")
    for axes in (left, right):
        axes.set(xlim=(0, 6), xlabel="years since the start")
        _plain(axes)
    left.set_ylabel("share of sites")
    left.legend(frameon=False, loc="upper left")
    _save(figure, path)


def coverage(path: Path, scores: Scores) -> None:
    """Coverage of the 95 % interval and mean error of theta, by condition."""
    keys = [(world, stress, False) for world in CONDITIONS for stress in CONDITIONS[world]]
    keys += [key for key in scores if key[2]]
    keys = [key for key in keys if key in scores]
    figure = Figure(figsize=(9, 0.27 * len(keys) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    height = np.arange(len(keys))[::-1]
    for truth, (marker, label) in TRIPLE.items():
        style = {"marker": marker, "linestyle": "none", "markersize": 5, "label": label}
        style |= {"markerfacecolor": "white" if truth != "failed" else "black", "markeredgecolor": "black"}
        left.plot([scores[key][truth].coverage for key in keys], height, **style)
        right.plot([scores[key][truth].bias for key in keys], height, **style)
    left.axvline(NOMINAL, color="#888888", linewidth=0.8)
    right.axvline(0, color="#888888", linewidth=0.8)
    left.set_yticks(height, [name_of(key) for key in keys], fontsize=8)
    left.set(xlim=(min(0.4, *left.get_xlim()), 1.02), xlabel="coverage of the 95 % interval in year 6")
    right.set(xlabel="mean error of theta in year 6")
    right.legend(frameon=False, fontsize=8, loc="best")
    for axes in (left, right):
        _plain(axes)
    _save(figure, path)


def real_ground(path: Path, estimates: Mapping[str, Mapping[float, np.ndarray]]) -> None:
    """Median and central nine tenths of theta as estimated, by ground and shape, for each true theta."""
    figure = Figure(figsize=(7, 0.3 * len(estimates) + 1.1), layout="constrained")
    axes, height = figure.subplots(), np.arange(len(estimates))[::-1]
    for step, (theta, (marker, label)) in enumerate(zip((0.0, 0.5, 1.0), TRIPLE.values(), strict=True)):
        spread = np.array([np.quantile(of[theta], (0.05, 0.5, 0.95)) for of in estimates.values()])
        axes.axvline(theta, color="#888888", linewidth=0.8)
        axes.hlines(height - 0.2 * (step - 1), spread[:, 0], spread[:, 2], color="black", linewidth=1)
        style = {"marker": marker, "markerfacecolor": "white" if theta else "black", "markeredgecolor": "black"}
        axes.plot(spread[:, 1], height - 0.2 * (step - 1), linestyle="none", markersize=5, label=label, **style)
    axes.set_yticks(height, list(estimates), fontsize=8)
    axes.set(xlabel="theta as estimated at the end")
    axes.legend(frameon=False, fontsize=8, loc="best")
    _plain(axes)
    _save(figure, path)


def _plain(axes: mpl.axes.Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    metadata: Mapping[str, None] = {"Date": None}
    figure.savefig(path, metadata=metadata)
