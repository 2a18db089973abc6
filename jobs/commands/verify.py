"""``regrowth verify``: check an evidence pack, offline, with nothing but the pack and a public key."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jobs.runtime.console import AsJson, count_of, show
from jobs.runtime.exits import Exit

if TYPE_CHECKING:
    from monitor.evidence.verify import Verified

_HEAD: Final = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pack: a zip of 'regrowth evidence'.")],
    key: Annotated[Path, typer.Option("--key", metavar="PUB", help="signing.pub of the programme.")],
    head: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Head of the chain that you noted, or the text of a message with it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a pack is what the programme signed, and that its chain of nights holds.

    Needs no configuration, opens no connection and writes nothing. Prints PASS and what was checked, or FAIL with each
    member that differs, and how. Exit status: 0 all holds, 65 something does not, or FILE or the key cannot be used.
    """
    from monitor.errors import BadData
    from monitor.evidence.faults import faults_of
    from monitor.evidence.keys import fingerprint, read_public_key
    from monitor.evidence.verify import verify_pack

    if head is not None:
        stated = {digits.lower() for digits in (_HEAD.findall(head) or _HEAD.findall("".join(head.split())))}
        if len(stated) != 1:
            raise typer.BadParameter("the head of a chain has 64 hexadecimal digits", param_hint="--head")
        head = stated.pop()
    public = read_public_key(key)
    try:
        verified = verify_pack(file, public, head=head)
    except BadData as error:
        faults = faults_of(error, file.name)
        values = {"result": "FAIL", "faults": [asdict(fault) for fault in faults]}
        show(values, (f"FAIL {fault}" for fault in faults), as_json=as_json)
        raise typer.Exit(Exit.BAD_DATA) from None
    signed_by = fingerprint(public)
    values = {"result": "PASS", "signed_by": signed_by, **asdict(verified)}
    show(values, _in_words(verified, signed_by), as_json=as_json)


def _in_words(verified: "Verified", signed_by: str) -> list[str]:
    """Members, records and chain that were checked."""
    lines = [
        f"PASS {verified.site}, assessment of {verified.as_of}: {verified.status}",
        f"{verified.members} members, {verified.size:,} bytes, as signed with the key {signed_by}",
    ]
    records = f"{verified.records} assessments, answers and promises of the site are in it"
    if verified.head is None:
        lines.append("no chain of nights yet")
    else:
        lines.append(f"chain of {count_of(verified.nights, 'night')}, head {verified.head}; {records}")
    if verified.uncovered:
        what = f"{', '.join(verified.uncovered[:3])}{', ...' if len(verified.uncovered) > 3 else ''}"
        lines.append(f"not in the chain yet: {what}; a pack from after the next night proves that too")
    if verified.noted is not None:
        noted = verified.noted
        lines.append(f"the head given is that of line {noted['number']}, night {noted['night']}: unchanged until then")
    return lines
