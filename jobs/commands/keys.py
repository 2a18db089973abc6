"""``regrowth keys``: the keys that sign evidence."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, new_group, show

app = new_group("Keys that sign evidence.")


@app.command("new")
def keys_new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Created if missing; never inside a published folder.")],
    as_json: AsJson = False,
) -> None:
    """Make a key pair: signing.key, for this programme alone, and signing.pub, for auditors.

    Nothing is ever overwritten, and the private key is never printed. Exit status: 0 done, 78 one of the files exists
    already, or the folder cannot be written.
    """
    from monitor.evidence.keys import PRIVATE_NAME, PUBLIC_NAME, fingerprint, new_keys

    shown = fingerprint(new_keys(folder))
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    lines = (
        f"{private}: signs evidence. Only its owner may read it. Store a copy where only the programme can get it.",
        f"{public}: checks signatures. Give it to auditors, with its fingerprint by another way:",
        f"  {shown}",
        f"Set for 'regrowth evidence': REGROWTH_EVIDENCE_KEY_FILE={shlex.quote(str(private.resolve()))}",
    )
    show({"private": str(private), "public": str(public), "fingerprint": shown}, lines, as_json=as_json)
