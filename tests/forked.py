"""Python programs in processes of their own that begin at once: forked from one that has loaded what a night loads.

    done = forked.run(["-m", "jobs.cli", "status"])            # as subprocess.run([sys.executable, ...])
    with forked.Python(["-c", code], stdout=PIPE) as process:  # as subprocess.Popen([sys.executable, ...])

A start of Python with these modules costs two seconds of computing, a fork a few hundredths. A process has its own
environment, folder and streams, and ends as any does; tests of what a start itself does start Python.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LOADED = (
    "jobs.cli", "jobs.nightly", "jobs.executor", "jobs.health.checks", "jobs.lock", "jobs.outbox", "jobs.serve",
    "monitor.controls.selection", "monitor.cube.overpass", "monitor.imagery.sample", "monitor.trends.maps",
    "monitor.verdict.assess", "alembic.command", "dask.array", "geopandas", "pyarrow.parquet", "pyogrio", "rioxarray",
    "uvicorn", "xarray", "zarr",
)  # fmt: skip
"""Not icechunk, nor what imports it: it starts threads, which a fork does not take along."""
MOST_BYTES = 1 << 17


class Python(subprocess.Popen):
    """As ``subprocess.Popen``; its arguments are those of the interpreter: ``-m`` or ``-c``, and what follows."""

    def _execute_child(self, args: Any, *given: Any) -> None:
        folder, environment, pipes = given[4], given[5], given[9:15]
        order = {
            "arguments": [os.fspath(one) for one in args],
            "folder": os.fspath(folder or os.getcwd()),
            "environment": dict(os.environ if environment is None else environment),
        }
        streams = [mine if pipe == -1 else pipe for mine, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        ours, theirs = os.pipe()
        socket.send_fds(_server()[0], [json.dumps(order).encode()], [*streams, theirs])
        os.close(theirs)
        self._close_pipe_fds(*pipes)
        self._ended = open(ours)  # noqa: SIM115 - closed once the process has ended
        self.pid = int(self._ended.readline())
        self._child_created = True

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self._try_wait(0)
        return self.returncode

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if flags == os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        with self._ended:
            status = int(self._ended.readline())
        self._handle_exitstatus(status)
        return self.pid, status


def run(arguments: list[Any], *, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run``, with what the process writes as text."""
    with Python(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process from which others are forked, and the connection to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-W", "ignore", "-m", "tests.forked", str(theirs.fileno())]
        return ours, subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])


def end() -> None:
    """Let the process end from which others were forked, if there is one."""
    if _server.cache_info().currsize:
        connection, process = _server()
        connection.close()
        process.wait()


def _serve(orders: socket.socket) -> dict[str, Any]:
    """Fork a process for every order; returns in each of them, with its order."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([orders, *running], [], [])[0]:
            if ready is not orders:
                process, answer = running.pop(ready)
                os.write(answer, f"{os.waitpid(process, 0)[1]}\n".encode())
                os.close(answer)
                os.close(ready)
                continue
            message, files, *_ = socket.recv_fds(orders, MOST_BYTES, 4)
            if not message:
                os._exit(0)
            process = os.fork()
            if not process:
                orders.close()
                for file in (*running, *(answer for _, answer in running.values())):
                    os.close(file)
                for stream, file in enumerate(files[:3]):
                    os.dup2(file, stream)
                for file in files:
                    os.close(file)
                return json.loads(message)
            for file in files[:3]:
                os.close(file)
            os.write(files[3], f"{process}\n".encode())
            running[os.pidfd_open(process)] = process, files[3]


def _become(order: dict[str, Any]) -> NoReturn:
    """Run a program in a forked process, and end as the interpreter does, but for taking everything apart."""
    status: object = 0
    try:
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as the process lasts
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        kind, what, *sys.argv[1:] = order["arguments"]
        if kind == "-m":
            sys.modules.pop(what, None)
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = kind
            sys.modules["__main__"] = main = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)
    except SystemExit as left:
        status = left.code
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        status = 1
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    from jobs.kernel_cache import choose_cache

    choose_cache()
    for name in LOADED:
        importlib.import_module(name)
    assert "icechunk" not in sys.modules, "a fork would wait for its threads without end"
    gc.freeze()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
