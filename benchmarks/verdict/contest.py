"""Ours and the rivals at equal false alarms: thresholds from training seeds, figures from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdict import scores
from benchmarks.verdict.rivals import FACTORS, MONTHS
from benchmarks.verdict.trials import BARS, GUARDED, PLAN, Result

BUDGET = 0.05
"""Share of sites at half the plan that may ever be called failed. [1]"""
RATE = 0.02
"""False alarms of sudden loss a site and year. [1/year]"""
AFTER = tuple(round(PLAN.L + y) - 1 for y in (1, 2, 3))
"""Seasons (from 0) that end one, two and three years after the lag."""
OURS = "theta of this project, thresholds tuned alike"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one tool does with the question whether regrowth is taking hold; shares of held-out sites."""

    tool: str
    auc: tuple[float, ...]
    """1, 2, 3 years after the lag."""
    default: tuple[float, ...] | None
    """At its defaults, by year 4: share of sites at theta 1, .5, 0 that it does not see growing."""
    silent: float
    """Share of sites that it refuses to watch at its defaults."""
    guarded: np.ndarray
    """(seasons,) failed sites called, thresholds tuned for half the plan, plan right, a fifth too large or late."""
    guarded_false: float
    """Share of sites at half the plan ever called so, the worst of the three; held out."""
    trusting: np.ndarray
    """The same, tuned for the plan being right only."""
    trusting_false: float
    """Worst of the three under that tuning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What one tool does with sudden losses."""

    tool: str
    default: tuple[float, float] | None
    """At its default: false alarms a site and year, share found within a year."""
    rate: float
    found: np.ndarray
    """(months,) at the tuned threshold."""
    threshold: float


def pooled(results: Sequence[Result], key: str, which: str) -> np.ndarray:
    """Scores of one set of sites, all seeds together."""
    return np.concatenate([r[key][r["which"] == which] for r in results])


def tools(results: Sequence[Result], kind: str) -> dict[str, list[str]]:
    """Keys of all variants of each tool."""
    found: dict[str, list[str]] = {}
    for key in results[0]:
        if key.startswith(f"{kind}|"):
            found.setdefault(key.split("|")[1], []).append(key)
    return found


def standings(training: Sequence[Result], held_out: Sequence[Result]) -> list[Standing]:
    """Every tool, the better of its variants on the training seeds, in the order of what it finds."""
    found = []
    for tool, keys in tools(training, "score").items():
        by_auc = max(keys, key=lambda key: _auc(training, key)[1])
        trusting, trusting_key = _best(training, keys, ("right",))
        guarded, guarded_key = _best(training, keys, GUARDED)
        holds = [key.replace("score|", "holds|", 1) for key in keys]
        holds = [key for key in holds if key in held_out[0]]
        default = None
        if holds:
            # A site that the tool refuses to watch is not one that it calls failed.
            refuses = [
                r.get(holds[0].replace("holds|", "silent|", 1), np.zeros(r["which"].size, bool)) for r in held_out
            ]
            default = tuple(
                float(np.mean(np.concatenate([
                    (~r[holds[0]][:, 3] & ~s)[r["which"] == name] for r, s in zip(held_out, refuses, strict=True)
                ]))) for name in ("success", "right", "failed")
            )  # fmt: skip
            silent = float(np.mean(np.concatenate(refuses)))
        found.append(
            Standing(
                tool=tool, auc=_auc(held_out, by_auc), default=default, silent=silent if holds else 0.0,
                guarded=_called(held_out, guarded_key, guarded, "failed"),
                guarded_false=max(_called(held_out, guarded_key, guarded, n)[-1] for n in GUARDED),
                trusting=_called(held_out, trusting_key, trusting, "failed"),
                trusting_false=max(_called(held_out, trusting_key, trusting, n)[-1] for n in GUARDED),
            )
        )  # fmt: skip
    return sorted(found, key=lambda s: -s.guarded[4])


def chosen(training: Sequence[Result]) -> dict[str, str]:
    """Variant of each tool that tells success from failure best on the training seeds, two years after the lag."""
    return {tool: max(keys, key=lambda key: _auc(training, key)[1]) for tool, keys in tools(training, "score").items()}


def _auc(results: Sequence[Result], key: str) -> tuple[float, ...]:
    good, bad = (pooled(results, key, name) for name in ("success", "failed"))
    return tuple(scores.auc(good[:, k], bad[:, k]) for k in AFTER)


def _best(training: Sequence[Result], keys: Sequence[str], nulls: Sequence[str]) -> tuple[np.ndarray, str]:
    """Thresholds of the variant that finds most failed sites by year 5 on the training seeds."""
    best: tuple[float, np.ndarray, str] | None = None
    for key in keys:
        at = scores.tuned({name: pooled(training, key, name) for name in nulls}, BUDGET)
        power = float(_called(training, key, at, "failed")[4])
        if best is None or power > best[0]:
            best = (power, at, key)
    assert best is not None
    return best[1], best[2]


def _called(results: Sequence[Result], key: str, at: np.ndarray, which: str) -> np.ndarray:
    share: np.ndarray = scores.called(pooled(results, key, which), at).mean(axis=0)
    return share


def searches(
    training: Sequence[Result], held_out: Sequence[Result], ours: Mapping[str, Sequence[Result]]
) -> list[Search]:
    """Every tool on sudden losses, ours first, at :data:`RATE` on the training seeds."""
    found = [our_search(ours["training"], ours["held out"])]
    for tool, keys in tools(training, "rate").items():
        best: tuple[float, int, str] | None = None
        for key in keys:
            k = _strict_enough(np.mean([r[key] for r in training], axis=0))
            power = float(np.mean([r[key.replace("rate|", "found|", 1)][k, 11] for r in training]))
            if best is None or power > best[0]:
                best = (power, k, key)
        assert best is not None
        _, k, key = best
        share = key.replace("rate|", "found|", 1)
        usual = next(other for other in keys if other.endswith("with trend"))
        one = int(np.flatnonzero(FACTORS == 1.0)[0])
        found.append(
            Search(
                tool=tool,
                default=(
                    float(np.mean([r[usual][one] for r in held_out])),
                    float(np.mean([r[usual.replace("rate|", "found|", 1)][one, 11] for r in held_out])),
                ),
                rate=float(np.mean([r[key][k] for r in held_out])),
                found=np.mean([r[share][k] for r in held_out], axis=0), threshold=float(FACTORS[k]),
            )
        )  # fmt: skip
    return [found[0], *sorted(found[1:], key=lambda s: -s.found[11])]


def our_search(training: Sequence[Result], held_out: Sequence[Result]) -> Search:
    """Sudden losses as the monitor names them; `held_out` was run at :func:`bar` and at the monitor's own bar."""
    tuned, usual = (
        (float(np.mean([r["rate"][k] for r in held_out])), np.mean([r["found"][k] for r in held_out], axis=0))
        for k in (0, 1)
    )
    return Search(
        tool="this project", default=(usual[0], float(usual[1][11])), rate=tuned[0], found=tuned[1],
        threshold=bar(training),
    )  # fmt: skip


def bar(training: Sequence[Result]) -> float:
    """Lowest bar for a sudden loss that keeps to :data:`RATE` on the training seeds."""
    return BARS[_strict_enough(np.mean([r["rate"] for r in training], axis=0))]


def _strict_enough(rate: np.ndarray) -> int:
    """Lowest threshold from which on the rate stays within :data:`RATE`; the highest if none does."""
    over = np.flatnonzero(rate > RATE)
    return min(int(over[-1]) + 1 if over.size else 0, rate.size - 1)


def months() -> np.ndarray:
    """Delays of :attr:`Search.found`. [month]"""
    return MONTHS
