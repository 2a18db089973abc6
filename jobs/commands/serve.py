"""``regrowth serve``: the pages where site managers answer alerts."""

from typing import Annotated

import typer

from jobs.runtime.console import AsJson, Config, show


def serve(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen at; a proxy with TLS stands before it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Serve the pages behind the links in messages, where site managers answer alerts.

    The links are signed with the key in REGROWTH_ANSWER_KEY (or in the file that REGROWTH_ANSWER_KEY_FILE names), for
    instance from `openssl rand -hex 32`. Runs beside the nights until a signal stops it.

    Exit status: 143 stopped by a signal, 78 no key or wrong configuration, 75 the ledger is down.
    """
    from jobs.answers.serve import serve as serve_answers
    from jobs.runtime.secrets import secret
    from jobs.runtime.settings import load
    from monitor.errors import BadConfiguration

    settings, key = load(config), secret("ANSWER_KEY")
    if key is None:
        msg = "no key for answer links: set REGROWTH_ANSWER_KEY, or REGROWTH_ANSWER_KEY_FILE to the file that has it"
        raise BadConfiguration(msg)

    def announce(address: str) -> None:
        show({"address": address}, f"Answers are served at {address}.", as_json=as_json)

    serve_answers(settings, key, host=host, port=port, announce=announce)
