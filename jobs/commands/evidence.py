"""``regrowth evidence``: all that a verdict rests on, in one signed file."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import DAY_FORMS, AsJson, Config, count_of, installation, show


def evidence(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Id of the site.")],
    out: Annotated[Path, typer.Option(metavar="FILE.zip", help="New file.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMS, help="The newest assessment up to this day. Default: the newest."),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the newest assessment of a site with all that it rests on, signed, so that others can check it alone.

    The key is the file that REGROWTH_EVIDENCE_KEY_FILE names; 'regrowth keys new' makes one. May run beside a night.
    Exit status: 0 done, 64 usage, 65 unknown or unassessed site, or FILE exists, 78 no key, 20 disk full.
    """
    from jobs.proof.evidence import write_evidence
    from jobs.proof.evidence_key import required_evidence_key

    out = out.absolute()
    if out.suffix.lower() != ".zip":
        raise typer.BadParameter(f"FILE ends in {out.suffix!r}; it must end in .zip", param_hint="--out")
    with installation(config) as (settings, ledger):
        if settings.store.local in out.resolve().parents:
            raise typer.BadParameter(f"{out} is inside the store; write elsewhere", param_hint="--out")
        written = write_evidence(
            settings, ledger, site, out, key=required_evidence_key(), until=as_of.date() if as_of else None
        )
    size = f"{count_of(written.assessments, 'assessment')} in all, {written.bytes / 1e6:.1f} MB"
    lines = [
        f"{out}: site {site}, assessment of {written.as_of} ({written.status}), {size}",
        f"signed by the key {written.fingerprint}",
    ]
    if written.uncovered:
        lines.append(f"{written.uncovered} records in it are newer than the chain; the next night adds them to it")
    show({"out": str(out), **asdict(written)}, lines, as_json=as_json)
