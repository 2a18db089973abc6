"""Nights in processes of their own that begin at once: forked from one that has loaded what a night loads.

with Forks() as forks:
    ended = forks.run(folder, as_of)                              # the whole command, as a scheduler starts it
    ended.status, ended.errors                                    # -9: killed
    stopped = forks.run(folder, as_of, number=3, failure="stop")  # stopped.stopped, stopped.process
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
HASHED = (
    "monitor.series.build", "monitor.maps.failing", "monitor.maps.loss", "monitor.maps.seasons", "monitor.verdict.lots",
    "monitor.publish.drafts",
)  # fmt: skip
"""Modules whose code a night compares with that of the night before."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a night ended."""

    process: int
    status: int
    """Of the exit; negative: the signal that killed it."""
    stopped: bool
    """Whether it was stopped and has not ended."""
    seconds: float
    errors: str
    """What it wrote on stderr."""
    points: tuple[tuple[str, str], ...]
    """Kind and name of the point at which it failed, or of all points."""


class Forks:
    """See the module."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(self, folder: Path, *arguments: str, limit: float = 300.0, **fault: Any) -> Ended:
        """Run a night in a folder with a configuration; it is killed after `limit` seconds, and after `seconds`.

        `room`: on a disk of its own with so many kB free.
        """
        answer = self._ask({"folder": str(folder), "arguments": arguments, "limit": limit, **fault})
        return Ended(**answer | {"points": tuple(map(tuple, answer["points"]))})

    def wake(self, stopped: Ended) -> int:
        """Let a stopped night go on; returns its exit status."""
        return int(self._ask({"process": stopped.process, "signal": signal.SIGCONT})["status"])

    def kill(self, stopped: Ended) -> None:
        """Kill a stopped night; returns when it is gone and holds no lock."""
        self._ask({"process": stopped.process, "signal": signal.SIGKILL})

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "process" in order:
            os.kill(order["process"], order["signal"])
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(order["process"], 0)[1])}
        else:
            answer = _forked(**order)
            _load(Path(order["folder"]))
        print(json.dumps(answer), flush=True)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _load(folder: Path) -> None:
    """Load the modules that the night has loaded: the next one need not. Those that load icechunk are left out: it
    starts threads, which a forked process would lack.
    """
    loaded = _beside(folder, "modules")
    sys.modules["icechunk"] = None  # whoever imports it gets an ImportError
    for name in loaded.read_text().splitlines() if loaded.exists() else []:
        if name not in sys.modules:
            with suppress(ImportError):
                importlib.import_module(name)
    _warm()
    del sys.modules["icechunk"]


@cache
def _warm() -> None:
    """Do once what every night otherwise does at its start."""
    from monitor import derived
    from monitor.alerts.messages import rendering
    from monitor.imagery.sample import _embedded_series
    from monitor.publish import pages

    _embedded_series()
    for module in HASHED:
        derived.code_hash(module)
    for environment in (rendering._environment(), pages._environment()):
        for template in environment.list_templates():
            environment.get_template(template)


def _beside(folder: Path, kind: str) -> Path:
    return folder.parent / f"{folder.name}.{kind}"


def _forked(
    folder: str, arguments: list[str], limit: float, seconds: float | None = None, number: int = 0, failure: str = "",
    room: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    root = Path(folder)
    output, report = _beside(root, "err"), _beside(root, "points")
    report.unlink(missing_ok=True)
    began = time.monotonic()
    process = os.fork()
    if not process:
        if room is not None:
            _on_a_small_disk(root, room)
        _night(root, arguments, output, report, number=number, failure=failure)
    deadline = began + (limit if seconds is None else seconds)
    ended, status = os.waitpid(process, os.WUNTRACED | os.WNOHANG)
    while not ended:
        time.sleep(0.002)
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        ended, status = os.waitpid(process, os.WUNTRACED | os.WNOHANG)
    stopped = os.WIFSTOPPED(status)
    points = [line.split("\t", 1) for line in report.read_text().splitlines()] if report.exists() else []
    return {
        "process": process, "status": 0 if stopped else os.waitstatus_to_exitcode(status), "stopped": stopped,
        "seconds": time.monotonic() - began, "errors": output.read_text(errors="replace"), "points": points,
    }  # fmt: skip


def _night(root: Path, arguments: list[str], output: Path, report: Path, *, number: int, failure: str) -> None:
    """The forked process: never returns."""
    status = 70
    try:
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(written, 1)
        os.dup2(written, 2)
        sys.argv = ["nightly", "--config", str(root / "regrowth.toml"), *arguments]
        from jobs import console, nightly
        from tests.faults import points

        _shorten_waits(hangs=failure == "hang")
        import icechunk

        icechunk.set_logs_filter("error")  # it warns of concurrent commits at every opening
        points.install(points.Points(root, report, number, failure))
        console.start(nightly.run)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0
    finally:
        with suppress(Exception):
            sys.stderr.flush()
            sys.stdout.flush()
            if not number:
                _beside(root, "modules").write_text("\n".join(sys.modules))
        os._exit(status)


def small_disks() -> str | None:
    """Why no small file system can be mounted; None: it can."""
    mounts = "mount --make-rprivate / && mount -t tmpfs -o size=64k tmpfs /mnt"
    command = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "sh", "-c", mounts]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "needs the program unshare (util-linux)"
    if done.returncode:
        return f"this machine lets no process mount a file system of its own: {done.stderr.strip()}"
    return None


def _on_a_small_disk(root: Path, room: int) -> None:
    """Put a folder on a file system of its own, with some free space in kB; what is on it at the end is copied back.

    It returns in a forked process, in which the night runs.
    """
    user, group = os.getuid(), os.getgid()
    os.unshare(os.CLONE_NEWNS | (os.CLONE_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    aside = _beside(root, "aside")
    aside.mkdir(exist_ok=True)

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    mount("--make-rprivate", "/")
    mount("--bind", str(root), str(aside))
    mount("-t", "tmpfs", "tmpfs", str(root))
    shutil.copytree(aside, root, dirs_exist_ok=True)
    used = os.statvfs(root)
    blocks = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024
    mount("-o", f"remount,size={blocks + room}k", str(root))
    night = os.fork()
    if not night:
        return
    _, status = os.waitpid(night, 0)
    subprocess.run(["find", str(aside), "-mindepth", "1", "-delete"], check=True)
    shutil.copytree(root, aside, dirs_exist_ok=True)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def _shorten_waits(*, hangs: bool) -> None:
    """Leave retries to the next night, and let what `hangs` end soon; else a busy machine has the usual time."""
    from jobs import heartbeat, outbox
    from monitor.alerts.channels import http_client, smtp
    from monitor.imagery import transport

    outbox.QUICK_RETRIES = ()
    if not hangs:
        return
    for module, names in {
        heartbeat: {"DEADLINE": 0.3, "END_GRACE": 0.4, "START_GRACE": 0.4},
        http_client: {"DEADLINE": 0.3, "CONNECT_TIMEOUT": 0.3},
        transport: {"CONNECT_TIMEOUT": 0.3, "READ_TIMEOUT": 0.3, "FIRST_RETRY_WAIT": 0.1},
    }.items():
        for name, value in names.items():
            assert hasattr(module, name)
            setattr(module, name, value)
    smtp.Smtp.__init__.__kwdefaults__ |= {"step_timeout": 0.3, "deadline": 0.3}
    http_client.HttpClient.__init__.__kwdefaults__["deadline"] = 0.3


if __name__ == "__main__":
    from jobs.kernel_cache import choose_cache

    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # the allocator of arrow
    choose_cache()
    _serve()
