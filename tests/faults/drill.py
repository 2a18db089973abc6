"""Let a night fail at one point in one way, run it again, and compare it with a night that nothing disturbed.

with Drill(folder) as drill:                        # server=...: with a ledger in PostgreSQL
    outcome = drill.fail_at(7, "kill")              # None: the night has no seventh point
    outcome.point, outcome.ending, outcome.problems # problems: empty if every invariant holds
"""

import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pyarrow.parquet as pq
import sqlalchemy

from jobs.reports.failed_night import report_last_night
from jobs.runtime.settings import load
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.ledger.ledger import LOCK_WAIT
from monitor.ledger.packed import unpacked
from tests.faults.night import Ended, run_night
from tests.faults.points import FAILURES, FULL, KILL, KILL_AFTER, STOP
from tests.faults.small import BEFORE, NIGHT, SQLITE, Servers, registry, without_times

AS_OF: Final = ("--as-of", NIGHT.isoformat())
FAILED: Final = (0, 10, 20, 75)
"""Exit statuses of a night that met a failure: 0 where the night can do without what failed."""
VARYING: Final = {
    "sites": {"added"}, "episodes": {"opened"}, "controls": {"frozen"}, "stored": {"snapshot"},
    "assessments": {"origins", "payloads", "run"}, "lots": {"run"}, "alert_events": {"time"},
    "chain": {"last_assessment", "last_event", "last_promise"},
    "outbox": {"link", "attempts", "first_tried", "next_try", "lease", "sent", "error"}, "field_rows": {"added"},
}  # fmt: skip
"""Columns of the ledger that hold times, random names, or numbers of attempts."""
OTHER_EVERY_NIGHT: Final = ("nights.html", "nights.zh.html", "metrics.prom")
"""Products about the run itself: when it began, how long it took, and which runs failed before it."""
OF_A_REPORTED_NIGHT: Final = (
    "product index.html", "product index.zh.html", "table chain", "table lots", "table outbox",
)  # fmt: skip
"""What shows that a night ended with a failure: pages state the head of the chain, a lot was judged without a site."""


@dataclass(frozen=True)
class State:
    """What a night leaves behind."""

    products: dict[str, str]
    ledger: dict[str, list[str]]
    stores: dict[str, str]
    left_over: list[str]

    def differences(self, other: "State") -> list[str]:
        """What differs, by name."""
        parts: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("product", self.products, other.products), ("table", self.ledger, other.ledger),
            ("store", self.stores, other.stores),
        ]  # fmt: skip
        found = [
            f"{what} {name}"
            for what, mine, theirs in parts
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        return found + [f"left over: {name}" for name in self.left_over]


@dataclass(frozen=True)
class Outcome:
    """The result of a night that failed at one point, and of the night after it."""

    number: int
    kind: str
    point: str
    failure: str
    ending: str
    """How the night ended."""
    problems: list[str]
    """Invariants that do not hold."""


class Drill:
    """See the module.

    Parameters
    ----------
    folder : Path
        Empty, for the installations.
    server : callable, optional
        Creates databases, see :mod:`tests.loopback.postgresql`; None: the ledger is in SQLite.
    """

    def __init__(self, folder: Path, server: Callable[..., str] | None = None) -> None:
        self.folder, self.server = folder, server
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        (self.folder / "scenes").mkdir()
        self.servers = self._stack.enter_context(Servers(self.folder / "scenes"))
        self.base = self.folder / "base"
        self.base.mkdir()
        self.base_url = self.server() if self.server else SQLITE
        self._configure(self.base, self.base_url)
        (self.base / "sites.geojson").write_text(registry([6]), encoding="utf-8")
        before = run_night(self.base, "--as-of", BEFORE.isoformat())
        assert before.status == 0, before.errors
        (self.base / "sites.geojson").write_text(registry([1, 6]), encoding="utf-8")
        self.old = state(self.base, self.base_url)
        run, url = self.copy()
        ended = run_night(run, *AS_OF)
        assert ended.status == 0, ended.errors
        self.points, self.seconds = ended.points, ended.seconds
        self.expected, self.messages = state(run, url), self.servers.messages()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _configure(self, folder: Path, url: str) -> None:
        (folder / "regrowth.toml").write_text(self.servers.configuration(url), encoding="utf-8")

    def copy(self) -> tuple[Path, str]:
        """The installation as it is before the night, and the URL of its ledger; no message was sent yet."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.base, run)
        url = self.server(template=database(self.base_url)) if self.server else SQLITE
        self._configure(run, url)
        self.servers.forget()
        return run, url

    def numbers(self, failure: str, *kinds: str) -> list[int]:
        """Numbers of the points of some kinds, all if none is named, as :meth:`fail_at` counts them."""
        counted = [kind for kind, _ in self.points if kind in FAILURES[failure]]
        return [number for number, kind in enumerate(counted, start=1) if not kinds or kind in kinds]

    def fail_at(self, number: int, failure: str) -> Outcome | None:
        """Let the night fail at a point, and run it again; None: the night passes without reaching it."""
        run, url = self.copy()
        ended = run_night(run, *AS_OF, number=number, failure=failure)
        if not ended.points:
            return None
        kind, point = ended.points[0]
        problems, ending = self._check_failed(run, ended, failure, kind)
        # A night that ended without one of its sites has a line of its own in the chain, and may have reported it.
        reported = failure not in (KILL, KILL_AFTER, STOP) and ended.status in (10, 20)
        problems += self.again(run, url, reported=reported)
        return Outcome(number, kind, point, failure, ending, problems)

    def kill_repeatedly(self, numbers: Iterable[int]) -> list[Outcome]:
        """Kill the night at a point, the next one at another, and so on; then run it. Once in two the call is done."""
        run, url = self.copy()
        outcomes = []
        for turn, number in enumerate(numbers):
            failure = (KILL, KILL_AFTER)[turn % 2]
            ended = run_night(run, *AS_OF, number=number, failure=failure)
            if ended.points:
                ((kind, point),) = ended.points
                problems, ending = self._check_failed(run, ended, failure)
                outcomes.append(Outcome(number, kind, point, failure, ending, problems))
        outcomes[-1].problems.extend(self.again(run, url))
        return outcomes

    def kill_after(self, seconds: float) -> Outcome:
        """Kill the night some time after its start, and run it again."""
        run, url = self.copy()
        ended = run_night(run, *AS_OF, seconds=seconds, number=10**9)
        ending = "killed" if ended.status == -signal.SIGKILL else f"exit {ended.status}"
        return Outcome(0, "any instant", f"after {seconds:.2f} s", KILL, ending, self.again(run, url))

    def kill_and_ask(self, seconds: float = 300, number: int = 10**9) -> Outcome:
        """Kill the night after some time or at a point; the next command must say so if it has pinged."""
        run, _ = self.copy()
        pings = self.servers.heartbeat.requests
        pings.clear()
        ended = run_night(run, *AS_OF, seconds=seconds, number=number, failure=KILL_AFTER)
        pinged, killed = bool(pings), ended.status == -signal.SIGKILL
        night, _ = report_last_night(load(run / "regrowth.toml"), why="it was killed")
        reported = night.failure() is not None and night.as_of == NIGHT and night.status == 137
        problems = ["it has pinged, and its kill is not reported"] if killed and pinged and not reported else []
        ending = f"killed, {'reported' if reported else 'before it began'}" if killed else f"exit {ended.status}"
        return Outcome(number, "any instant", f"after {seconds:.1f} s", KILL, ending, problems)

    def fill_disk(self, room: int) -> Outcome:
        """Run the night on a disk with so little room left, and again where there is more. [kB]"""
        run, url = self.copy()
        ended = run_night(run, *AS_OF, room=room)
        problems, ending = self._check_failed(run, ended, FULL)
        return Outcome(room, "disk", f"{room} kB free", FULL, ending, problems + self.again(run, url))

    def wake_after_another(self, number: int) -> Outcome:
        """Stop the night at a point, delete its lock, run another night, and let the first one go on."""
        run, url = self.copy()
        stopped = run_night(run, *AS_OF, number=number, failure=STOP)
        assert stopped.status is None, stopped
        (run / "regrowth.db.lock").unlink()
        other = run_night(run, *AS_OF)  # 75: the stopped night holds a transaction of the ledger
        problems = [] if other.status in (0, 10, 75) else [f"other night: exit {other.status}, {other.errors[-600:]}"]
        before, sent = state(run, url), self.servers.messages()
        with stopped.process as woken:
            os.kill(woken.pid, signal.SIGCONT)
            woken.communicate()
        status = woken.exitcode
        if status != 75:
            problems.append(f"the woken night left with {status}")
        after = state(run, url)
        # a commit that had begun may end: the lock of its landscape is still there
        ended_commits = {f"store {name}" for name, hash_ in after.stores.items() if hash_ == self.expected.stores[name]}
        problems += [one for one in after.differences(before) if one not in ended_commits]
        if self.servers.messages() != sent:
            problems.append("the woken night sent a message that had not been sent")
        return Outcome(number, *stopped.points[0], "stop, wake", f"woken, exit {status}", problems)

    def _check_failed(self, run: Path, ended: Ended, failure: str, kind: str = "") -> tuple[list[str], str]:
        """What is wrong after the night that failed, and how it ended."""
        problems = []
        if failure in (KILL, KILL_AFTER):
            if ended.status != -signal.SIGKILL:
                problems.append(f"not killed: exit {ended.status}")
            return problems, "killed"
        if failure == STOP:
            second = run_night(run, *AS_OF)
            if second.status == 75:
                # It may have stopped before its number was in the lock, or hold the ledger, which is waited for.
                holder = any(name in second.errors for name in (f"process {ended.process.pid}", "another process"))
                holder |= kind == "ledger" and "is held by" in second.errors  # a server's lock is taken before the name
                in_ledger = kind == "ledger" and re.search("database is locked|due to lock timeout", second.errors)
                if second.seconds > (LOCK_WAIT + 30 if in_ledger else 20) or not (in_ledger or holder):
                    problems.append(f"second run: {second.seconds:.1f} s, {second.errors[-300:]}")
            elif second.status != 0:
                problems.append(f"second run: exit {second.status}, {second.errors[-600:]}")
            ended.process.end()
            return problems, f"second run {second.status}"
        damaged = kind == "ledger" and ended.status == 65  # an I/O error of SQLite is named as damage
        if ended.status not in FAILED and not damaged:
            problems.append(f"exit {ended.status}: {ended.errors[-1500:]}")
        if "Traceback" in ended.errors:
            problems.append(f"traceback: {ended.errors[-1500:]}")
        if failure == FULL:
            problems += [
                f"neither old nor new nor whole after the disk was full: {name}"
                for name, content in products(run).items()
                if content not in (self.old.products.get(name), self.expected.products.get(name))
                and not _is_whole(run / name)  # it names the gap
            ]
        return problems, f"exit {ended.status}"

    def again(self, run: Path, url: str, *, reported: bool = False) -> list[str]:
        """Run the night again; returns the invariants that do not hold afterwards.

        `reported`: the night before ended by itself, so the chain has two lines, and other messages may have gone out.
        """
        ended = run_night(run, *AS_OF)
        problems = [] if ended.status == 0 else [f"rerun: exit {ended.status}, {ended.errors[-1500:]}"]
        found = state(run, url)
        differences = found.differences(self.expected)
        problems += [one for one in differences if not (reported and one in OF_A_REPORTED_NIGHT)]
        problems += [f"lost: {row}" for row in set(self.expected.ledger["lots"]) - set(found.ledger["lots"])]
        for channel, messages in self.servers.messages().items():
            names = {name for name, _ in messages}  # the text of a message may tell of the night that failed
            lost = self.messages[channel] - messages
            problems += [f"lost: {channel} {name}" for name, _ in lost if not (reported and name in names)]
            if not reported:
                problems += [f"unexpected: {channel} {name}" for name, _ in messages - self.messages[channel]]
        return problems


def _is_whole(path: Path) -> bool:
    """Whether a product is complete, as far as its form shows."""
    data = path.read_bytes()
    try:
        if path.suffix in (".json", ".geojson"):
            return json.loads(data) is not None
        if path.suffix == ".parquet":
            return pq.read_table(path).num_rows > 0
    except (ValueError, OSError):
        return False
    return data.rstrip(b" \n").endswith(b"</html>") if path.suffix == ".html" else data.endswith((b";\n", b",\n"))


def database(url: str) -> str:
    """Name of the database of a URL."""
    return str(sqlalchemy.make_url(url).database)


def state(run: Path, url: str) -> State:
    """What a night has left."""
    url = f"sqlite:///{run / 'regrowth.db'}" if url == SQLITE else url
    return State(
        products(run), rows(url), {f.name: content(f) for f in landscape_folders(run / "store")}, left_over(run)
    )


def products(run: Path) -> dict[str, str]:
    """Hash of each product, without times and ids of runs."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() or name.startswith(("store/", "regrowth.")) or name in OTHER_EVERY_NIGHT or "/." in f"/{name}":
            continue
        data = path.read_bytes()
        if path.suffix in (".html", ".json", ".js", ".csv"):
            data = without_times(data.decode()).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def rows(url: str) -> dict[str, list[str]]:
    """Rows of each table of a ledger, without times and random names; of runs nothing."""
    found = {}
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            for table in sqlalchemy.inspect(connection).get_table_names():
                if table in ("runs", "self_checks", "ledger"):
                    continue
                left_out = VARYING.get(table, set()) | ({"id"} if table not in ("alerts", "photos") else set())
                values = connection.execute(sqlalchemy.text(f"select * from {table}")).mappings().all()
                found[table] = sorted(str([(k, row[k]) for k in sorted(row) if k not in left_out]) for row in values)
                if table == "assessments":
                    found[table] += sorted(one for row in values for one in _assessments(row))
    finally:
        engine.dispose()
    return found


def _assessments(row: Any) -> list[str]:
    """Assessments of a row of the ledger without the number of rows that were read."""
    origins, payloads = unpacked(row["origins"]), unpacked(row["payloads"])
    return [str((origin[:3], origin[4], payload)) for origin, payload in zip(origins, payloads, strict=True)]


def content(folder: Path) -> str:
    """Hash of all arrays of a landscape."""
    digest = hashlib.sha256()
    store = LandscapeStore(folder, read_only=True)
    for name, array in sorted(store._opened().arrays()):
        digest.update(f"{name} {array.shape}".encode())
        if name not in ("added", "written"):
            digest.update(array[...].tobytes())
    return digest.hexdigest()


def left_over(run: Path) -> list[str]:
    """Temporary and empty files that a night has left."""
    return [
        path.relative_to(run).as_posix()
        for path in sorted(run.rglob("*"))
        if (
            path.is_file()
            and (path.suffix in (".part", ".new", ".tmp") or (not path.stat().st_size and path.suffix != ".db-wal"))
        )
        or (path.is_dir() and path.name.startswith(".") and path.name != ".locks")
    ]
