"""``regrowth recompute``: recompute the verdict of an evidence pack from its pixels, offline."""

import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jobs.runtime.console import AsJson, print_json, printable
from jobs.runtime.exits import Exit

if TYPE_CHECKING:
    from monitor.evidence.faults import Fault
    from monitor.evidence.recompute import Recomputation

MAX_LINES: Final = 200  # differences that are printed, at most; with `--json` all are
REMOVALS: Final = 50  # attempts to remove the temporary folder, a tenth of a second apart


def recompute(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pack, a zip of 'regrowth evidence'.")],
    key: Annotated[Path, typer.Option("--key", metavar="PUB", help="signing.pub of the programme.")],
    as_json: AsJson = False,
) -> None:
    """Recompute the last assessment of a pack from its pixels, after 'verify', and compare every step.

    Pixels give the means of the site and the digest of each scene, these the series, the series the verdict, and the
    pixels the failing and lost area. Means of control units are taken as recorded. Prints 'equal', or each value that
    differs. On the libraries and the kind of machine that wrote the pack, numbers must be equal to the last digit;
    elsewhere to 0.000001 (above 1: to a millionth part), and it says what is different here.

    Needs no configuration, opens no connection, and leaves nothing behind. Exit status: 0 equal, 65 not, or the pack or
    the key cannot be used.
    """
    from monitor.errors import BadData
    from monitor.evidence.container import Container
    from monitor.evidence.faults import faults_of
    from monitor.evidence.keys import read_public_key
    from monitor.evidence.recompute import recompute as recompute_pack
    from monitor.evidence.verify import verify_pack

    public = read_public_key(key)
    faults: dict[Fault, None] = {}
    result: Recomputation | None = None
    try:
        verify_pack(file, public)
    except BadData as error:  # it may be signed by the key all the same: differences are still named below
        faults |= dict.fromkeys(faults_of(error, file.name))
    try:
        with Container(file, public) as pack, _temporary_folder() as folder:
            result = recompute_pack(pack, folder)
    except BadData as error:
        faults |= dict.fromkeys(faults_of(error, file.name))
    _report(result, faults, as_json=as_json)
    if result is None or faults or result.differences:
        raise typer.Exit(Exit.BAD_DATA)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is removed, also when threads of the store are still writing to it as the command is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="regrowth-recompute-"))
    try:
        yield folder
    finally:
        for _ in range(REMOVALS):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def _report(result: "Recomputation | None", faults: "Collection[Fault]", *, as_json: bool) -> None:
    """Print what differs on stdout, and how the environment differs on stderr."""
    differences = result.differences if result is not None else ()
    if as_json:
        known = None if result is None else {
            "site": result.site, "as_of": result.as_of, "environment": list(result.environment),
            "tolerance": result.tolerance, "differences": [asdict(difference) for difference in differences],
        }  # fmt: skip
        print_json({
            "equal": result is not None and not differences and not faults,
            "faults": [asdict(fault) for fault in faults], **(known or {}),
        })  # fmt: skip
        return
    for line in result.environment if result is not None else ():
        typer.echo(printable(f"another environment: {line}"), err=True)
    if result is not None and result.environment:
        typer.echo(
            f"numbers that differ by up to {result.tolerance:f}, above 1 by that part, therefore count as equal",
            err=True,
        )
    lines = [f"FAIL {fault}" for fault in faults] + [str(one) for one in differences[:MAX_LINES]]
    if (left := len(differences) - MAX_LINES) > 0:
        lines.append(f"... and {left} more")
    if faults and result is not None and not differences:
        lines.append("recomputed from its pixels, no value differs")
    typer.echo("\n".join(map(printable, lines or ["equal"])))
    if result is not None:
        what = f"{result.site} as of {result.as_of}; means of control units are taken as recorded"
        typer.echo(printable(what), err=True)
