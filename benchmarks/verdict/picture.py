"""One picture: detection against delay, at equal false alarms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.verdict.contest import BUDGET, OURS, RATE, Search, Standing, months
from benchmarks.verdict.scores import FIRST_LOOK, GRID

SEASON_ENDS = 288 / 365.25
"""When a season's last scene is seen, within its year. [year]"""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#8a6d3b")


def draw(
    path: Path,
    ours: np.ndarray,
    ours_false: float,
    standings: Sequence[Standing],
    searches: Sequence[Search],
    mode: str,
) -> None:
    """Write the picture.

    Parameters
    ----------
    ours : (sites,) array
        Years since the start at which failed sites turned red.
    ours_false : float
        Share of sites at half the plan that ever turned red, the worst of the three truths.
    """
    figure = Figure(figsize=(13, 6.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(GRID, [np.mean(ours <= y) for y in GRID], color="black", linewidth=3,
              label=f"this project, red, looked at nightly (false {ours_false:.3f})")  # fmt: skip
    seasons = np.arange(FIRST_LOOK, standings[0].guarded.size)
    ranked = [s for s in standings if s.tool == OURS] + [s for s in standings if s.tool != OURS]
    for rank, s in enumerate(ranked[: len(COLOURS) + 1]):
        colour = "black" if s.tool == OURS else COLOURS[(rank - 1) % len(COLOURS)]
        left.step([0, *(seasons + SEASON_ENDS), 6], [0, *s.guarded[FIRST_LOOK:], s.guarded[-1]], where="post",
                  color=colour, linestyle=":" if s.tool == OURS else "-", linewidth=1.6,
                  label=f"{s.tool} (false {s.guarded_false:.3f})")  # fmt: skip
    left.set(
        xlim=(0, 6), ylim=(0, 1), xlabel="years since the start", ylabel="share of failed sites (theta = 0) found",
        title=f"Not taking hold: at most {BUDGET:.0%} of sites at half the plan ever accused,\n"
              "plan right, a fifth too large, or a year late; six years of looks",
    )  # fmt: skip
    left.legend(fontsize=8, loc="upper left", frameon=False)
    for rank, found in enumerate(searches):
        colour = "black" if rank == 0 else COLOURS[(rank - 1) % len(COLOURS)]
        style = "-" if rank <= len(COLOURS) else "--"
        right.plot([0, *months()], [0, *found.found], color=colour, linestyle=style, linewidth=3 if rank == 0 else 1.4,
                   label=f"{found.tool} (false {found.rate:.3f} a year)")  # fmt: skip
    right.axvline(12, color="#bbbbbb", linewidth=0.8, zorder=0)
    right.set(
        xlim=(0, 24),
        ylim=(0, 1),
        xlabel="months since the loss",
        ylabel="share of losses found",
        title=f"Sudden loss of .06 to .14 cover on recovering sites,\nat {RATE} false alarms a site and year",
    )
    right.legend(fontsize=8, loc="upper left", frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#eeeeee")
        axes.set_axisbelow(True)
    figure.suptitle(
        f"Detection against delay at equal false alarms ({mode}); thresholds from training seeds, figures from "
        "others;\n"
        "break tools: the better of last season's residual and positive break, with and without trend", fontsize=10,
    )  # fmt: skip
    figure.savefig(path)
