"""``regrowth notify``: test the channels."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.runtime.console import AsJson, Config, new_group, printable, show
from jobs.runtime.exits import Exit
from monitor.errors import BadConfiguration

if TYPE_CHECKING:
    from jobs.messages.channels import Channels
    from jobs.runtime.settings import Settings

app = new_group("Messages to managers and operators.")


@app.command("test")
def notify_test(
    config: Config = None,
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel; repeat for several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send one test message through each configured channel and print what the receiver answered.

    A channel of kind smtp sends it to [operators] email, else to its own sender.

    Exit status: 0 all are delivered, 10 some are not, 20 none is, 78 no channel is configured.
    """
    from jobs.messages.channels import open_channels
    from jobs.runtime.settings import load

    settings = load(config)
    names = channel or list(settings.channels)
    if not names:
        msg = "no channel is configured, so messages are written to files; add a section [channels.NAME]"
        raise BadConfiguration(msg)
    if unknown := [name for name in names if name not in settings.channels]:
        msg = f"there is no [channels.{printable(unknown[0])}]; there are: {', '.join(settings.channels) or 'none'}"
        raise BadConfiguration(msg)
    with open_channels(settings) as channels:
        results = [
            _try(settings, channels, name, recipient) for name in names for recipient in _recipients(settings, name)
        ]
    lines = []
    for result in results:
        to = f" to {result['recipient']}" if result["recipient"] else ""
        state = "delivered" if result["delivered"] else "NOT delivered"
        lines.append(f"{result['channel']} ({result['kind']}){to}: {state}: {result['answer']}")
    show(results, lines, as_json=as_json)
    delivered = sum(result["delivered"] for result in results)
    some = Exit.SOME_FAILED if delivered else Exit.ALL_FAILED
    raise typer.Exit(Exit.DONE if delivered == len(results) else some)


def _recipients(settings: "Settings", name: str) -> list[str]:
    """Addresses to which a test of a channel goes; an empty one for a channel that has one receiver."""
    from monitor.alerts.recipients import split_addresses

    channel = settings.channels[name]
    if channel.kind != "smtp":
        return [""]
    return split_addresses(settings.operators.email) or [channel.sender]


def _try(settings: "Settings", channels: "Channels", name: str, recipient: str) -> dict[str, Any]:
    """Send a test message; what became of it as JSON values."""
    from jobs.runtime.logs import redacted
    from monitor.alerts.messages import compose_test
    from monitor.errors import MonitorError

    moment = datetime.now(UTC).replace(microsecond=0)
    id = sha256(f"test\n{name}\n{recipient}\n{datetime.now(UTC).isoformat()}".encode()).hexdigest()[:40]
    try:
        answer, delivered = channels[name].send(compose_test(name, id=id, time=moment), recipient), True
    except MonitorError as error:
        answer, delivered = str(error), False
    return {
        "channel": name, "kind": settings.channels[name].kind, "recipient": recipient, "delivered": delivered,
        "answer": redacted(answer),
    }  # fmt: skip
