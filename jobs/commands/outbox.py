"""``regrowth alerts outbox`` and ``alerts release``: what waits to be sent, and sending what is held."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from jobs.runtime.clock import now
from jobs.runtime.console import AsJson, Config, installation, print_json, printable, show
from jobs.runtime.exits import Exit

if TYPE_CHECKING:
    from jobs.messages.outbox import Row

MAX_SITES = 5  # sites of one message that are named


def alerts_outbox(config: Config = None, as_json: AsJson = False) -> None:
    """Messages that wait, are held or were given up, and why."""
    with installation(config) as (_, ledger), ledger.reading() as t:
        notices = [row for row in t.all_notices() if row["state"] != "withdrawn"]
    messages: dict[str, list[Row]] = {}
    for row in notices:
        messages.setdefault(row["message"] or f"notice {row['id']}", []).append(row)
    if as_json:
        print_json([_to_json(rows) for rows in messages.values()])
    else:
        _print(list(messages.values()))


def alerts_release(config: Config = None, as_json: AsJson = False) -> None:
    """Send messages that are held because too many sites fell in one night. Safe to run twice.

    Exit status: 0 all messages are sent, 10 some could not be sent, 75 a night is running.
    """
    from jobs.messages.outbox import send
    from jobs.runtime.installation import locked_ledger
    from jobs.runtime.settings import load

    settings = load(config)
    with locked_ledger(settings, "the sending of messages") as ledger:
        result = send(settings, ledger, release=True, night=False)
    dead = f", {result.dead} given up (regrowth alerts outbox)" if result.dead else ""
    line = f"{result.sent} messages sent, {result.waiting} still waiting{dead}."
    show({"messages_sent": result.sent, "messages_waiting": result.waiting}, line, as_json=as_json)
    raise typer.Exit(Exit.SOME_FAILED if result.waiting or result.dead else Exit.DONE)


def _to_json(notices: Sequence["Row"]) -> dict[str, Any]:
    from jobs.messages.outbox import message_id

    first, state = notices[0], _state(notices)
    return {
        "message_id": first["message"] or message_id(notices),
        **{name: first[name] for name in ("channel", "recipient", "attempts")},
        "state": state,
        "error": None if state == "sent" else first["error"],
    }


def _state(notices: Sequence["Row"]) -> str:
    """State of a message: held if any notice of it is."""
    states = {row["state"] for row in notices}
    return next(state for state in ("held", "waiting", "dead", "sent") if state in states)


_TO_DO = {  # advice about messages in each state
    "waiting": "Correct what the error names. The next night tries all of them again.",
    "held": "Look at the scenes of that night. To send them: regrowth alerts release",
    "dead": "They are not sent again; their alerts stay open. Correct the address (manager_email in the registry, "
    "then: regrowth sites add FILE) or the channel, and inform the manager.",
}
_NAMES = {"waiting": "waiting", "held": "held", "dead": "given up", "sent": "sent"}


def _print(messages: Sequence[Sequence["Row"]]) -> None:
    by_state: dict[str, list[Sequence[Row]]] = {}
    for notices in messages:
        by_state.setdefault(_state(notices), []).append(notices)
    for state, to_do in _TO_DO.items():
        if group := by_state.get(state):
            typer.echo(f"{len(group)} {_NAMES[state]}:")
            for notices in group:
                _print_message(notices)
            typer.echo(f"  {to_do}")
    counts = ", ".join(f"{len(by_state.get(state, []))} {name}" for state, name in _NAMES.items())
    typer.echo(f"Messages: {counts}.")


def _print_message(notices: Sequence["Row"]) -> None:
    first = notices[0]
    sites = sorted({row["site"] for row in notices if row["site"]})
    names = ", ".join(sites[:MAX_SITES]) + (f" and {len(sites) - MAX_SITES} more" if len(sites) > MAX_SITES else "")
    about = f"{first['kind'].replace('_', ' ')} of {first['day']}" + (f" ({names})" if names else "")
    parts = [f"{first['channel']}{' to ' if first['recipient'] else ''}{first['recipient']}: {about}"]
    if first["first_tried"]:
        parts.append(f"attempts: {first['attempts']}, since {_time(first['first_tried'])}")
    else:
        parts.append("not sent to the receiver yet")
    if first["state"] == "waiting" and first["next_try"] and first["next_try"] > now():
        parts.append(f"next in the next night, or by 'regrowth alerts release' from {_time(first['next_try'])}")
    if first["error"]:
        parts.append(" ".join(first["error"].split()))
    typer.echo(printable(f"  {'; '.join(parts)}"))


def _time(moment: str) -> str:
    """A stored time for people."""
    return f"{moment[:16].replace('T', ' ')} UTC"
