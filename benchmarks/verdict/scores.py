"""What is counted of verdicts on sites with a known truth."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from benchmarks.verdict.simulate import Case
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.status import LEVELS, RULES, STATUSES, Verdicts

RED, WATCH = LEVELS.index(AlertLevel.RED), LEVELS.index(AlertLevel.WATCH)
FAILURE, DISTURBANCE = RULES.index("failure"), RULES.index("disturbance")
DISTURBED = STATUSES.index(Status.DISTURBED)
UNJUDGED = (STATUSES.index(Status.TOO_EARLY), STATUSES.index(Status.INSUFFICIENT_DATA))
LAST_YEAR = 6  # last year whose status is counted [year]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One site's verdicts at every acquisition from its start on, against its truth."""

    case: Case
    years: np.ndarray  # since the start, of each row [year]
    rows: Verdicts


def run(cases: Iterable[Case], alpha: float = 0.05, *, calibration: Calibration = DEFAULT) -> list[Outcome]:
    """Judge every acquisition of every site, seen or not: the monitor's nightly looks."""
    outcomes = []
    for case in cases:
        start = np.datetime64(case.site.start, "D")
        dates = case.series.dates[case.series.dates >= start]
        rows = verdicts(case.series, case.site, dates, calibration=calibration, alpha=alpha)
        outcomes.append(Outcome(case=case, years=(dates - start).astype(int) / 365.25, rows=rows))
    return outcomes


def red(rows: Verdicts) -> np.ndarray:
    """Red by the failure rule."""
    is_red: np.ndarray = (rows.alert == RED) & (rows.alert_rule == FAILURE)
    return is_red


def red_by_any(rows: Verdicts) -> np.ndarray:
    """Red by whatever rule."""
    is_red: np.ndarray = rows.alert == RED
    return is_red


def watched(rows: Verdicts) -> np.ndarray:
    """Watch or red, by the failure rule."""
    is_watched: np.ndarray = (rows.alert >= WATCH) & (rows.alert_rule == FAILURE)
    return is_watched


def red_by_loss(rows: Verdicts) -> np.ndarray:
    """Red by the rule of sudden losses."""
    is_red: np.ndarray = (rows.alert == RED) & (rows.alert_rule == DISTURBANCE)
    return is_red


def names_a_loss(rows: Verdicts) -> np.ndarray:
    """Watch or red by the rule of sudden losses, or ``disturbed``."""
    names_one: np.ndarray = ((rows.alert >= WATCH) & (rows.alert_rule == DISTURBANCE)) | (rows.status == DISTURBED)
    return names_one


def first(outcomes: list[Outcome], says: Callable[[Verdicts], np.ndarray] = red) -> np.ndarray:
    """Years since the start of the first row of each site for which `says` holds; infinite: never."""
    when = np.full(len(outcomes), np.inf)
    for i, o in enumerate(outcomes):
        at = np.flatnonzero(says(o.rows))
        if at.size:
            when[i] = o.years[at[0]]
    return when


def share_called(outcomes: list[Outcome], status: Status, years: float) -> float:
    """Share of sites that have a status so many years after the start."""
    last = [o.rows.status[np.searchsorted(o.years, years, side="right") - 1] for o in outcomes]
    return float(np.mean(np.array(last) == STATUSES.index(status)))


def loss_alarms(outcome: Outcome) -> np.ndarray:
    """Years since the start at which each sudden loss was first named. [year]"""
    rows, named = outcome.rows, names_a_loss(outcome.rows)
    _, at = np.unique(rows.loss_confirmed_on[named], return_index=True)
    alarms: np.ndarray = outcome.years[named][at]
    return alarms


def loss_delay(outcome: Outcome, says: Callable[[Verdicts], np.ndarray]) -> float:
    """Years from the loss that was put in until a loss confirmed after it is named, or red; infinite: never. [year]"""
    event = outcome.case.event
    at = np.flatnonzero(says(outcome.rows) & (outcome.rows.loss_confirmed_on >= event))
    since = (event - np.datetime64(outcome.case.site.start, "D")).astype(int) / 365.25
    return float(outcome.years[at[0]] - since) if at.size else np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Verdicts of the sites of a case: (sites,) arrays, unless stated. Times are years; infinite: never."""

    theta: np.ndarray  # the truth [1]
    low: np.ndarray  # the 95 % interval at the end, and theta; NaN where no verdict was given [1]
    high: np.ndarray
    estimate: np.ndarray
    failure: np.ndarray
    """First red by failure, and by whatever rule; first watch or red by failure; first red by a sudden loss."""
    red: np.ndarray
    watch: np.ndarray
    red_by_loss: np.ndarray
    disturbed: np.ndarray  # first called `disturbed`
    losses: np.ndarray  # sudden losses named a year [1/year]
    named_after: np.ndarray  # from the loss that was put in until it is named, and red
    red_after: np.ndarray
    status: np.ndarray  # (sites, years) status at the end of each year since the start; -1 before the first scene

    @property
    def sites(self) -> int:
        """How many they are."""
        return int(self.theta.size)

    def by(self, event: str, *years: float) -> np.ndarray:
        """(years,) share of sites with `event` (a field of times) within so many years."""
        when: np.ndarray = getattr(self, event)
        return np.array([np.mean(when <= y) for y in years])

    def ever(self, event: str) -> float:
        """Share of sites with `event` at any look."""
        return float(np.mean(np.isfinite(getattr(self, event))))

    @property
    def coverage(self) -> float:
        """Share of sites whose last interval holds the truth; without an interval it does not."""
        return float(np.mean((self.low <= self.theta) & (self.theta <= self.high)))

    @property
    def bias(self) -> float:
        """Mean error of theta at the end. [1]"""
        return float(np.nanmean(self.estimate - self.theta))

    def called(self, status: Status, year: int) -> np.ndarray:
        """Sites, bool, with a status at the end of a year."""
        return self.status[:, year - 1] == STATUSES.index(status)

    @property
    def first_judged_year(self) -> int:
        """First year at whose end most sites are neither too early nor without data; 0: none."""
        judged = (~np.isin(self.status, (*UNJUDGED, -1))).mean(axis=0) > 0.5
        return int(np.argmax(judged)) + 1 if judged.any() else 0


def judged(outcomes: Sequence[Outcome]) -> Judged:
    """Verdicts of some sites, in short."""
    every = list(outcomes)
    last = np.array([(o.rows.theta_low[-1], o.rows.theta_high[-1], o.rows.theta[-1]) for o in every]).T
    status = np.full((len(every), LAST_YEAR), -1)
    for i, o in enumerate(every):
        at = np.searchsorted(o.years, np.arange(1, LAST_YEAR + 1), side="right") - 1
        status[i, at >= 0] = o.rows.status[at[at >= 0]]
    return Judged(
        theta=np.array([o.case.theta for o in every]), low=last[0], high=last[1], estimate=last[2],
        failure=first(every, red), red=first(every, red_by_any), watch=first(every, watched),
        red_by_loss=first(every, red_by_loss), disturbed=first(every, lambda rows: rows.status == DISTURBED),
        losses=np.array([loss_alarms(o).size / o.years[-1] for o in every]),
        named_after=np.array([loss_delay(o, names_a_loss) for o in every]),
        red_after=np.array([loss_delay(o, red_by_loss) for o in every]),
        status=status,
    )  # fmt: skip


def pooled(parts: Sequence[Judged]) -> Judged:
    """The sites of several cases as one."""
    return Judged(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Judged)})
