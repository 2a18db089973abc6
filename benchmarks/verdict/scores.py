"""What is counted of verdicts on sites with a known truth."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdict.simulate import Case
from monitor.verdict.assess import DEFAULT, cohorts_of, site_history
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.status import LEVELS, RULES, STATUSES, Verdicts, judge
from monitor.verdict.usable_scenes import usable_scenes

RED, WATCH = LEVELS.index(AlertLevel.RED), LEVELS.index(AlertLevel.WATCH)
FAILURE, DISTURBANCE = RULES.index("failure"), RULES.index("disturbance")
DISTURBED = STATUSES.index(Status.DISTURBED)
LAST_YEAR = 6.0
GRID = np.arange(0.0, LAST_YEAR + 0.01, 0.125)
"""Delays since the start at which the share of red sites is reported. [year]"""
FIRST_LOOK = 2
"""First season (from 0) at whose end a site may be called failed: it is too early before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One site's verdicts at every acquisition from its start on, against its truth."""

    case: Case
    years: np.ndarray
    """Since the start, of each row. [year]"""
    rows: Verdicts


def run(cases: Iterable[Case], alpha: float = 0.05, *, calibration: Calibration = DEFAULT) -> list[Outcome]:
    """Judge every acquisition of every site, seen or not: the monitor's nightly looks."""
    return run_at(cases, (alpha,), calibration=calibration)[0]


def run_at(
    cases: Iterable[Case], alphas: Sequence[float], *, calibration: Calibration = DEFAULT
) -> list[list[Outcome]]:
    """The same under several budgets, a list each, which differ in the last step alone."""
    found: list[list[Outcome]] = [[] for _ in alphas]
    for case in cases:
        start = np.datetime64(case.site.start, "D")
        dates = case.series.dates[case.series.dates >= start]
        parts = cohorts_of(case.site, ())
        seen = usable_scenes(case.series, case.site, calibration)
        history = site_history(seen, case.site, parts, calibration)
        day = dates.astype("datetime64[D]").astype(np.int64)
        for alpha, told in zip(alphas, found, strict=True):
            rows = judge(day, seen, history, case.site, parts, calibration, alpha)
            told.append(Outcome(case=case, years=(dates - start).astype(int) / 365.25, rows=rows))
    return found


def red(rows: Verdicts) -> np.ndarray:
    """Red by the failure rule."""
    said: np.ndarray = (rows.alert == RED) & (rows.alert_rule == FAILURE)
    return said


def watched(rows: Verdicts) -> np.ndarray:
    """Watch or red, by the failure rule."""
    said: np.ndarray = (rows.alert >= WATCH) & (rows.alert_rule == FAILURE)
    return said


def red_by_loss(rows: Verdicts) -> np.ndarray:
    """Red by the rule of sudden losses."""
    said: np.ndarray = (rows.alert == RED) & (rows.alert_rule == DISTURBANCE)
    return said


def first(outcomes: list[Outcome], says: Callable[[Verdicts], np.ndarray] = red) -> np.ndarray:
    """Years since the start at which something was first said of each site; infinite: never."""
    found = np.full(len(outcomes), np.inf)
    for i, o in enumerate(outcomes):
        at = np.flatnonzero(says(o.rows))
        if at.size:
            found[i] = o.years[at[0]]
    return found


def by(when: np.ndarray, *years: float) -> list[float]:
    """Share of sites of which it was said up to so many years after the start."""
    return [float(np.mean(when <= y)) for y in years]


def share_called(outcomes: list[Outcome], status: Status, years: float) -> float:
    """Share of sites that have a status so many years after the start."""
    last = [o.rows.status[np.searchsorted(o.years, years, side="right") - 1] for o in outcomes]
    return float(np.mean(np.array(last) == STATUSES.index(status)))


def coverage(outcomes: list[Outcome]) -> tuple[float, float]:
    """Share of sites whose last 95 % interval holds the truth, and the mean error of theta.

    A site that never got an interval counts as one that does not hold it.
    """
    last = np.array([(o.rows.theta[-1], o.rows.theta_low[-1], o.rows.theta_high[-1], o.case.theta) for o in outcomes])
    theta, low, high, truth = last.T
    return float(np.mean((low <= truth) & (truth <= high))), float(np.nanmean(theta - truth))


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    """Chance that a good site has the higher score; a site without one stands in the middle of the others."""
    middle = np.nanmedian(np.concatenate([good, bad])) if np.isfinite(good).any() or np.isfinite(bad).any() else 0.0
    good, bad = (np.where(np.isfinite(v), v, middle) for v in (good, bad))
    order = np.sort(bad)
    below, upto = np.searchsorted(order, good, "left"), np.searchsorted(order, good, "right")
    return float(np.mean(below + upto) / 2 / bad.size)


def theta_at(outcomes: list[Outcome], years: float) -> np.ndarray:
    """Last theta up to so many years after the start; a site not yet seen: the prior mean."""
    found = []
    for o in outcomes:
        at = int(np.searchsorted(o.years, years, side="right")) - 1
        found.append(o.rows.theta[at] if at >= 0 and np.isfinite(o.rows.theta[at]) else DEFAULT.theta_mean)
    return np.array(found)


def calibration_error(chance: np.ndarray, happened: np.ndarray, bins: int = 10) -> float:
    """Mean distance of the probability from the share that came true, over equal bins weighted by their sites."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    total = 0.0
    for k in range(bins):
        inside = place == k
        if inside.any():
            total += abs(chance[inside].mean() - happened[inside].mean()) * inside.mean()
    return total


def loss_alarms(outcome: Outcome) -> np.ndarray:
    """Years since the start at which a sudden loss was named. [year]

    The status lasts for a year after an alarm; one that lasts longer was renewed a year before its end.
    """
    named = outcome.rows.status == DISTURBED
    change = np.diff(named.astype(int), prepend=0, append=0)
    begins, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1
    found = []
    for b, e in zip(begins, ends, strict=True):
        found.append(outcome.years[b])
        if e < named.size - 1 and outcome.years[e] - outcome.years[b] > 1.02:
            found.append(outcome.years[e] - 1.0)
    return np.array(found)


def red_loss_delay(outcome: Outcome) -> float:
    """Years from the loss that was put in until a loss confirmed after it is red; infinite: never. [year]"""
    rows = outcome.rows
    at = np.flatnonzero(red_by_loss(rows) & (rows.loss_confirmed_on >= outcome.case.event))
    return float(outcome.years[at[0]] - event_years(outcome.case)) if at.size else np.inf


def event_years(case: Case) -> float:
    """When the loss came, since the start. [year]"""
    return float((case.event - np.datetime64(case.site.start, "D")).astype(int) / 365.25)


def tuned(nulls: Mapping[str, np.ndarray], alpha: float) -> np.ndarray:
    """Thresholds of a score, one a season, at which a site is called failed.

    The same quantile of the null at every look from :data:`FIRST_LOOK` on, the lowest of the nulls' where there are
    several, as high as it may be for the share of sites ever called failed to stay within `alpha` under each null.

    Parameters
    ----------
    nulls : mapping to (n, seasons) arrays
        Scores of sites that achieve just half of what was promised; NaN: nothing to say.
    """
    seasons = next(iter(nulls.values())).shape[1]

    def thresholds(share: float) -> np.ndarray:
        out = np.full(seasons, -np.inf)
        for k in range(FIRST_LOOK, seasons):
            seen = [v[:, k][np.isfinite(v[:, k])] for v in nulls.values()]
            if all(s.size for s in seen):
                out[k] = min(np.quantile(s, share, method="lower") for s in seen)
        return out

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        at = thresholds(middle)
        false = max(float(np.mean(called(v, at)[:, -1])) for v in nulls.values())
        low, high = (middle, high) if false <= alpha else (low, middle)
    return thresholds(low)


def called(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(n, seasons) whether a site was called failed at the end of that season or before."""
    with np.errstate(invalid="ignore"):
        so_far: np.ndarray = np.maximum.accumulate(score < thresholds, axis=1)
    return so_far
