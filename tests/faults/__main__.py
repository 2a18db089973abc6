"""Every point of a night with every failure: ``python -m tests.faults`` prints what came of each.

python -m tests.faults                          # all points, SQLite and PostgreSQL: hours
python -m tests.faults --every 20 kill full     # every twentieth point, of two failures
"""

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.runtime.kernel_cache import choose_cache
from tests.faults.drill import Drill, Outcome
from tests.faults.points import FAILURES
from tests.loopback import postgresql


def sweep(drill: Drill, failures: Iterable[str], *, every: int = 1, first: int = 1) -> Iterator[Outcome]:
    """Fail at the points `first`, `first` + `every` and so on, until a night passes untouched; with each failure."""
    for failure in failures:
        number = first
        while (outcome := drill.fail_at(number, failure)) is not None:
            yield outcome
            number += every


def table(outcomes: Iterable[Outcome]) -> str:
    """Kind of point, failure, and how often the night ended how; then every problem."""
    outcomes = list(outcomes)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        counts[one.kind, one.failure][one.ending + ("" if one.problems else ", then as undisturbed")] += 1
    lines = [f"{'point':12} {'failure':12} outcome"]
    for (kind, failure), endings in sorted(counts.items()):
        lines += [f"{kind:12} {failure:12} {number} x {ending}" for ending, number in sorted(endings.items())]
    lines += [
        f"PROBLEM at {one.number} ({one.kind}: {one.point}), {one.failure}, {one.ending}: {problem}"
        for one in outcomes
        for problem in one.problems
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if an invariant was broken."""
    arguments = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    arguments.add_argument(
        "failures", nargs="*", default=list(FAILURES), help=f"of {', '.join(FAILURES)}; default: all"
    )
    arguments.add_argument("--every", type=int, default=1, help="only every n-th point")
    arguments.add_argument("--first", type=int, default=1, help="the first point")
    arguments.add_argument("--ledger", choices=["sqlite", "postgresql"], help="default: both")
    chosen = arguments.parse_args()
    broken = 0
    for ledger in [chosen.ledger] if chosen.ledger else ["sqlite", "postgresql"]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            if ledger == "sqlite":
                outcomes = _outcomes(Drill(Path(folder)), chosen)
            else:
                with postgresql.server() as server:
                    outcomes = _outcomes(Drill(Path(folder), server), chosen)
        broken += sum(bool(one.problems) for one in outcomes)
        sys.stdout.write(f"{ledger}: {len(outcomes)} nights in {time.monotonic() - began:.0f} s\n{table(outcomes)}\n\n")
    return int(broken > 0)


def _outcomes(drill: Drill, chosen: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    with drill:
        for outcome in sweep(drill, chosen.failures, every=chosen.every, first=chosen.first):
            outcomes.append(outcome)
            for problem in outcome.problems:
                sys.stderr.write(f"{outcome.number} {outcome.kind} {outcome.point} {outcome.failure}: {problem}\n")
    return outcomes


if __name__ == "__main__":
    choose_cache()
    import icechunk

    icechunk.set_logs_filter("error")
    sys.exit(main())
