"""What a night of many alerts takes to be sent: seconds and memory, through a mail server on this machine.

    python -m benchmarks.messages

A ledger in SQLite with twice as many sites as alerts; every alert opens in one night, as a night records it, and
:func:`jobs.messages.outbox.send` sends what waits. The server (aiosmtpd) is another process on loopback.
Each row is a process of its own; memory is what it held at most while it sent, over what it held before.
"""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.programme import configure, register, report, site
from tests.loopback.mail import MailServer

RESULTS = Path(__file__).parent / "results"
DAY = date(2026, 6, 30)
SIZES = ((300, 40), (300, 300), (1_200, 40), (1_200, 1_200))  # alerts and managers; the goal is about the first
GOAL = 30.0  # time to send 300 alerts to 40 managers [s]
GROWTH = 64.0  # memory that may be held in addition while messages are sent, of any number [MB]
ANSWERS = '[answers]\nbase_url = "https://answers.example.org"\n'


class Sent(NamedTuple):
    """One night."""

    alerts: int
    managers: int
    messages: int
    seconds: float
    memory: float  # held at most while sending, over what was held before [MB]
    named: int  # sites named in the mails to their manager
    repeated: int  # mails with a Message-ID that another has


def _serve(pipe: Connection) -> None:
    with MailServer() as server:
        pipe.send(server.port)
        pipe.recv()
        pipe.send(
            [(mail.recipients[0], mail.id, sorted(set(re.findall(r"s\d+x", mail.text)))) for mail in server.mails]
        )


@contextmanager
def mail_server() -> Iterator[tuple[int, Connection]]:
    """Port of a mail server in another process, and the pipe by which it reports what it received."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.kill()


def prepare(root: Path, port: int, alerts: int, managers: int) -> dict[str, str]:
    """Let the alerts open in one night; returns the manager of each site with an alert."""
    from jobs.runtime.installation import open_ledger

    settings = configure(root, port=port, more=ANSWERS)
    manager_of = {f"s{n}x": f"manager{n % managers}@example.org" for n in range(alerts)}
    with open_ledger(settings) as ledger:
        register(ledger, [site(name, email) for name, email in manager_of.items()])
        register(ledger, [site(f"idle{n}", None) for n in range(alerts)])
        report(ledger, settings, manager_of, DAY)
    return manager_of


SEND = """
import json, resource, sys, time
from pathlib import Path
from jobs.runtime.installation import open_ledger
from jobs.runtime.logs import set_up_logs
from jobs.messages.outbox import send
from jobs.runtime.settings import load
set_up_logs()
settings = load(Path(sys.argv[1]))
with open_ledger(settings) as ledger:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    result = send(settings, ledger)
    seconds = time.perf_counter() - begun
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([result.sent, result.waiting + result.dead, seconds, (after - before) / 1024]))
"""


def measure(alerts: int, managers: int) -> Sent:
    """Send the alerts of one night; RuntimeError where not all of them were delivered."""
    with tempfile.TemporaryDirectory() as folder, mail_server() as (port, pipe):
        manager_of = prepare(Path(folder), port, alerts, managers)
        command = [sys.executable, "-c", SEND, f"{folder}/regrowth.toml"]
        environment = {**os.environ, "REGROWTH_ANSWER_KEY": "a key of the benchmark, not a secret"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        messages, left, seconds, memory = json.loads(done.stdout)
        if left:
            raise RuntimeError(f"{left} messages were not sent: {done.stderr[-3000:]}")
        pipe.send("report")
        mails = pipe.recv()
    named = {(to, name) for to, _, names in mails for name in names} & {(to, name) for name, to in manager_of.items()}
    repeated = sum(count - 1 for count in Counter(name for _, name, _ in mails).values())
    return Sent(alerts, managers, messages, seconds, memory, len(named), repeated)


def table(rows: list[Sent]) -> str:
    """The results as a page."""
    lines = [
        "# Sending the messages of a night", "",
        "Alerts that open in one night, through a mail server on the same machine, by `benchmarks/messages.py`; one",
        "message for more than three alerts to one manager.", "",
        f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the end.", "",
        "| alerts | managers | messages | s | MB more | sites named | repeated Message-IDs |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    lines += [
        f"| {row.alerts:,} | {row.managers:,} | {row.messages:,} | {row.seconds:.1f} | {row.memory:.0f} "
        f"| {row.named:,} | {row.repeated} |"
        for row in rows
    ]
    first = rows[0]
    goals = (
        (f"{first.alerts} alerts to {first.managers} managers in {GOAL:.0f} s: {first.seconds:.1f} s",
         first.seconds < GOAL),
        ("every site named to its manager", all(row.named == row.alerts for row in rows)),
        ("no repeated Message-ID", not any(row.repeated for row in rows)),
        (f"at most {GROWTH:.0f} MB more, of any number of messages", all(row.memory < GROWTH for row in rows)),
    )  # fmt: skip
    lines += ["", *(f"- {what}: {'met' if met else '**missed**'}" for what, met in goals), ""]
    return "\n".join(lines)


def main(sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    """Measure, print and store."""
    rows = []
    for alerts, managers in sizes:
        rows.append(measure(alerts, managers))
        print(rows[-1], file=sys.stderr)
    text = table(rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "messages.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
