"""``regrowth doctor``: what is missing on this machine, and the command or the setting that fixes it.

It changes nothing: no folder or ledger is created, and without ``--online`` no request is sent.
"""

from dataclasses import asdict
from typing import Annotated

import typer

from jobs.health.checks import run_checks
from jobs.runtime.console import AsJson, Config, show
from jobs.runtime.exits import Exit
from jobs.runtime.progress import progress


def doctor(
    config: Config = None,
    online: Annotated[bool, typer.Option("--online", help="Also search the sources; else no network is used.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read ledger, stores and published files fully: minutes for years.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Report what is missing, and the command that fixes it. Changes nothing.

    Exit status: 0 all is well, 78 something needs correction.
    """
    with progress("rows of the stores") as report:
        findings = list(run_checks(config, online=online, deep=deep, progress=report))
    broken = sum(finding.state == "broken" for finding in findings)
    lines = []
    for finding in findings:
        state = finding.state.upper() if finding.state == "broken" else finding.state
        lines.append(f"{state:<7} {finding.check:<10} {finding.message}")
        lines += [f"{'':<18} -> {finding.fix}"] if finding.fix else []
    lines.append("All is well." if not broken else f"{broken} of {len(findings)} need correction.")
    show({"ok": not broken, "checks": [asdict(finding) for finding in findings]}, lines, as_json=as_json)
    raise typer.Exit(Exit.CONFIGURATION if broken else Exit.DONE)
