"""Check that the chain of nights and the ledger fit together."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from jobs.health.finding import Finding, broken, ok
from jobs.health.ledger import reading
from jobs.runtime.console import count_of

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings

NEWEST_LINES: Final = 3  # lines whose records are compared without --deep; links are checked in all lines
MAX_PROBLEMS: Final = 5  # problems that are reported one by one


def chain(settings: "Settings", *, deep: bool) -> Iterator[Finding]:
    """The chain is whole, and what it covers is in the ledger as it was; `deep`: for all nights, not the newest few."""
    from jobs.proof.chain import newest_line, problems, unknown_published_head

    with reading(settings.ledger.url) as t:
        line = newest_line(t)
        found = list(islice(problems(t, newest=None if deep else NEWEST_LINES), MAX_PROBLEMS + 1))
        unknown = unknown_published_head(t, settings.outputs.root)
    fix = "a backup of an earlier night, restored beside it by another [ledger] url, shows what was changed"
    for problem in found[:MAX_PROBLEMS]:
        yield broken("chain", problem, fix)
    if len(found) > MAX_PROBLEMS:
        yield broken("chain", "and more", "regrowth doctor --deep" if not deep else fix)
    if unknown:
        message = (
            f"no line has the head that the published index states, {unknown}: the ledger is older than the page, "
            "perhaps from a backup, or its newest lines were changed"
        )
        yield broken("chain", message, "docs/operations.md, Restore")
    elif line is not None and not found:
        yield ok("chain", f"{count_of(line['number'], 'line')}, head {line['hash']} (night of {line['night']})")
