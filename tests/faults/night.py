"""A night in a process of its own, as a scheduler starts it, that fails at one point or on a full disk.

ended = run_night(folder, *options)                               # folder: an installation with regrowth.toml
ended.status, ended.errors                                  # -9: killed
stopped = run_night(folder, *options, number=3, failure="stop")   # stopped.status is None; stopped.process
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests import forked
from tests.faults import points


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a night ended."""

    process: forked.Python
    status: int | None
    """Exit status; negative: the signal that killed it; None: it was stopped and has not ended."""
    seconds: float
    errors: str
    """What it wrote on stderr."""
    points: list[tuple[str, str]]
    """Kind and name of the point at which it failed, or of all points."""


def run_night(
    folder: Path, *options: str, seconds: float = 300, number: int = 0, failure: str = "", room: int | None = None
) -> Ended:
    """Run a night until it ends or is stopped; after `seconds` it is killed.

    `number`, `failure`: see :class:`tests.faults.points.Points`. `room`: on a disk of its own with so many kB free.
    """
    report = folder.with_name("points")
    report.unlink(missing_ok=True)
    began = time.monotonic()
    order = [folder, report, str(number), failure, "" if room is None else str(room)]
    process = forked.Python(["-m", "tests.faults.night", *order, *options])
    while process.exitcode is None and not (failure == points.STOP and _is_stopped(process)):
        if time.monotonic() - began > seconds:
            process.kill()
        process.join(0.005)
    took, errors = time.monotonic() - began, ""
    if process.exitcode is not None:
        _, errors = process.communicate()
        process.end()
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    reached = [(kind, name) for kind, name in (line.split("\t", 1) for line in lines)]
    return Ended(process=process, status=process.exitcode, seconds=took, errors=errors, points=reached)


def _is_stopped(process: forked.Python) -> bool:
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return False


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
    aside = root.with_name("aside")
    aside.mkdir(exist_ok=True)

    def mount(*arguments: str | Path) -> None:
        subprocess.run(["mount", *arguments], check=True)

    mount("--make-rprivate", "/")
    mount("--bind", root, aside)
    mount("-t", "tmpfs", "tmpfs", root)
    shutil.copytree(aside, root, dirs_exist_ok=True)
    used = os.statvfs(root)
    blocks = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024
    mount("-o", f"remount,size={blocks + room}k", root)
    night = os.fork()
    if not night:
        return
    _, status = os.waitpid(night, 0)
    subprocess.run(["find", aside, "-mindepth", "1", "-delete"], check=True)
    shutil.copytree(root, aside, dirs_exist_ok=True)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def _shorten_waits(*, hangs: bool) -> None:
    """Leave retries to the next night, and let what `hangs` end soon; else a busy machine has the usual time."""
    from jobs.messages import outbox
    from jobs.reports import heartbeat
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


def main(folder: str, report: str, number: str, failure: str, room: str, *options: str) -> None:
    """Run the night in this process."""
    root = Path(folder)
    if room:
        _on_a_small_disk(root, int(room))
    sys.argv[1:] = ["--config", str(root / "regrowth.toml"), *options]
    import icechunk

    from jobs import nightly
    from jobs.runtime import console

    _shorten_waits(hangs=failure == points.HANG)
    icechunk.set_logs_filter("error")  # it warns of concurrent commits at every opening
    points.install(points.Points(root, Path(report), int(number), failure))
    console.start(nightly.run)


if __name__ == "__main__":
    main(*sys.argv[1:])
