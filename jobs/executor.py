"""Where the work on sites is done: in threads here, in processes here, or on a dask cluster.

The numbers are the same everywhere. Workers compute and write chunks; only this process, which holds the lock,
commits. A worker that is killed loses its jobs to another one; a job whose workers keep dying fails alone.

Processes of this machine are spoken to through pipes: a local dask cluster would listen on loopback, where every user
of the machine could have it run code.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import batched, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final

import cloudpickle
import structlog
from dask import compute
from dask.delayed import Delayed
from dask.system import CPU_COUNT

from jobs.logs import set_up_logs
from monitor.errors import BadConfiguration, MonitorError, TryLater

log = structlog.get_logger()

LONGEST: Final = 3600.0
"""A job that was not done by then, while no other was either, has hung and has failed. [s]"""
WORKER: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(2**27),  # memory given back after every scene would have to be faulted in again
    "ICECHUNK_LOG": "error",  # it warns of concurrent commits at every opening; only this process commits
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""Environment of worker processes on this machine, where it does not say otherwise."""
PATIENCE: Final = 20.0
"""How long a scheduler may take to answer. [s]"""
GARBAGE: Final = 100_000
"""Objects that may come to be before garbage is looked for among them: what holds itself in a circle is rare here."""
TOGETHER: Final = 2 * CPU_COUNT
"""Jobs computed at once in threads, and as many that are done and not yet dealt with."""
THREADS: Final = max(4, CPU_COUNT)
"""Threads of a compute: more than cores, since tasks wait for the network."""

Job = tuple[int, Delayed]
Compute = Callable[[Iterable[Delayed]], Iterator[tuple[int, Any]]]
"""Computes dask graphs, taking them as their turn comes, and yields, as they are done, the number and the result of
each, or the exception that it died of. Of the expected errors (:class:`monitor.errors.MonitorError`) the first is
raised."""


@contextmanager
def open_executor(scheduler: str) -> Iterator[Compute]:
    """A way to compute dask graphs in parallel.

    Parameters
    ----------
    scheduler : str
        Empty: threads of this process. ``processes``: processes of this machine, that listen nowhere. Else the address
        of a dask scheduler whose workers see the same files; TLS and all else is taken from dask's own configuration.

    Raises
    ------
    TryLater
        The scheduler does not answer.
    BadConfiguration
        It answers in a way that more waiting does not mend.
    """
    with _little_garbage(), _opened(scheduler) as work:
        yield work


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Look for garbage seldom, and not among what is there already: code, which never becomes any.

    A process that has it otherwise, or is in another run, is let alone.
    """
    often = gc.get_threshold()
    if not often[0] or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(GARBAGE, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()


def exclude_from_garbage_collection() -> None:
    """Look for no garbage among what has come to be by now either: what a search has found stays as long as the run."""
    if gc.get_threshold()[0] == GARBAGE:  # else others have their own way with it
        gc.freeze()


@contextmanager
def _opened(scheduler: str) -> Iterator[Compute]:
    if not scheduler:
        yield _threads
        return
    if scheduler == "processes":
        workers: list[_Worker] = []
        try:
            yield partial(_processes, workers)
        finally:
            for worker in workers:
                worker.stop()
        return
    from distributed import Client

    known = _way_to(scheduler)
    try:  # not dask's default: that is where dask sends its work, though it was refused
        with ThreadPoolExecutor(1) as apart:  # in a notebook this thread has a loop of its own under way
            apart.submit(asyncio.run, _greet(scheduler, known)).result()
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError) as error:
        msg = f"no dask scheduler answers at {scheduler}: start it, or leave [engine] scheduler empty"
        raise TryLater(msg) from error
    except (MemoryError, ValueError) as error:  # words of another protocol, read as if of dask's
        msg = f"[engine] scheduler = {scheduler!r}: what answers there is no dask scheduler"
        raise BadConfiguration(msg) from error
    with client, client.as_current():
        client.register_plugin(_logs_of_workers())
        yield partial(_cluster, client)


def _logs_of_workers() -> Any:
    """Sets up logs in every worker, those too that join later."""
    from distributed import WorkerPlugin

    class Logs(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if not structlog.is_configured():
                set_up_logs()

    return Logs()


async def _greet(address: str, known: dict[str, Any]) -> None:
    """Have an answer from a scheduler, since a client waits for ever for one from what does not speak as dask does.

    Raises
    ------
    ValueError
        It speaks so, but is a worker, or a nanny.
    """
    from distributed.comm import connect
    from distributed.core import send_recv

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, timeout=PATIENCE, **known)
        answer = await send_recv(comm, op="identity")
    await comm.close()
    if answer.get("type") != "Scheduler":
        raise ValueError(answer)


def _way_to(address: str) -> dict[str, Any]:
    """How dask's own configuration connects to an address.

    What no scheduler can be reached by is refused before dask makes half a client of it, which hangs when it is closed.

    Returns
    -------
    dict
        Arguments of :func:`distributed.comm.connect`.

    Raises
    ------
    BadConfiguration
        It is no address, or dask's own configuration lacks what is needed for it, or forbids it.
    """
    from distributed import Security
    from distributed.comm import get_address_host_port, parse_address

    setting = f"[engine] scheduler = {address!r}"
    try:
        scheme, _ = parse_address(address)
        host, port = get_address_host_port(address)
    except ValueError as error:
        msg = f"{setting} is no address of a dask scheduler: that is like tcp://host:8786"  # the error quotes passwords
        raise BadConfiguration(msg) from error
    if not host or not 0 < port < 2**16 or address != address.strip():
        msg = f"{setting} is no address of a dask scheduler: that is like tcp://host:8786"
        raise BadConfiguration(msg)
    try:
        known: dict[str, Any] = Security().get_connection_args("client")
    except (OSError, TypeError, ValueError) as error:
        msg = f"{setting}: dask's own configuration (distributed.comm.tls) is invalid: {error}"
        raise BadConfiguration(msg) from error
    encrypted = scheme in ("tls", "wss")
    if encrypted and known["ssl_context"] is None:
        msg = f"{setting}: dask's own configuration (distributed.comm.tls) lacks certificates for it"
        raise BadConfiguration(msg)
    if known["require_encryption"] and not encrypted:
        msg = f"{setting}: dask's own configuration (distributed.comm.require-encryption) asks for tls://"
        raise BadConfiguration(msg)
    return known


_beside = 0
"""In a worker process of this machine, how many there may be."""


@cache
def worker_processes() -> int:
    """How many processes share the work, asked in one of them: what holds for a whole run is divided by it.

    It is asked once a process: workers that join later do not count.
    """
    if _beside:
        return _beside
    if "distributed" not in sys.modules:
        return 1
    from distributed import get_client, get_worker

    try:
        get_worker()
    except ValueError:  # this is no worker
        return 1
    return max(1, len(get_client().nthreads()))


def _threads(jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute in threads, several jobs at once and the next ahead: while they are under way what is done is dealt
    with.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        under_way: deque[Future[list[tuple[int, Any]]]] = deque()
        for some in batched(enumerate(jobs), TOGETHER):
            under_way.append(ahead.submit(_together, some))
            if len(under_way) > 1:
                yield from under_way.popleft().result()
        for last in under_way:
            yield from last.result()


def _together(jobs: Sequence[Job]) -> list[tuple[int, Any]]:
    """Compute jobs in one graph; where that raises, which a bug alone does, each by itself."""
    numbers, graphs = zip(*jobs, strict=True)
    try:
        return list(zip(numbers, compute(*graphs, scheduler="threads", num_workers=THREADS), strict=True))
    except MonitorError:
        raise
    except Exception as error:
        if len(jobs) == 1:
            log.exception("a bug in a job")
            return [(numbers[0], error)]
    return [found for job in jobs for found in _together([job])]


class WorkerDied(Exception):
    """A process ended before it answered: killed, out of memory, or by a fault in native code."""


@dataclass(slots=True)
class _Worker:
    """A process of this machine, which computes one graph at a time."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    """What it is doing."""

    @classmethod
    def start(cls) -> "_Worker":
        """A new process, which waits for a graph."""
        ours, theirs = multiprocessing.Pipe()
        # Spawned, not forked: this process has threads. Not by a fork server: that listens.
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, CPU_COUNT), name="regrowth-worker", daemon=True
        )
        missing = {name: value for name, value in WORKER.items() if name not in os.environ}
        os.environ.update(missing)
        try:
            process.start()
        finally:
            for name in missing:
                del os.environ[name]
        theirs.close()
        return cls(process, ours)

    def take(self, job: Job) -> None:
        """Begin with a job."""
        self.job = job
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which is seen where its answer is read
            self.pipe.send_bytes(cloudpickle.dumps(job[1]))

    def answer(self) -> Any:
        """What came of the job, once there is something to read."""
        self.job = None
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            return WorkerDied(f"exit status {self.process.exitcode}")

    def give_up(self) -> TimeoutError:
        """Stop, since the job has hung."""
        log.error("a job has hung", process=self.process.pid)
        self.stop()
        return TimeoutError(f"no answer within {LONGEST:.0f} s")

    def stop(self) -> None:
        """End, whatever is under way."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _processes(workers: list[_Worker], jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute each job in a process of this machine. One whose process died may have died of too little memory for
    several: it is tried again, alone.
    """
    suspects = []
    for job, found in _answered(workers, enumerate(jobs), most=CPU_COUNT):
        if isinstance(found, WorkerDied):
            suspects.append(job)
        else:
            yield job[0], found
    for job, found in _answered(workers, iter(suspects), most=1):
        yield job[0], found


def _answered(workers: list[_Worker], jobs: Iterator[Job], *, most: int) -> Iterator[tuple[Job, Any]]:
    """Jobs and what came of them; processes are started as they are needed, and kept for later jobs."""
    done: list[tuple[Job, Any]] = []
    try:
        while True:
            free = [worker for worker in workers if worker.job is None]
            for job in islice(jobs, most - len(workers) + len(free)):
                if not free:
                    free.append(_Worker.start())
                    workers.append(free[0])
                free.pop().take(job)
            yield from done  # they are dealt with while the next are under way
            done.clear()
            busy = {worker.pipe: worker for worker in workers if worker.job is not None}
            if not busy:
                return
            ready = wait([*busy], timeout=LONGEST)
            for worker in [busy[pipe] for pipe in ready] or [*busy.values()]:  # type: ignore[index]
                assert worker.job is not None
                job = worker.job
                found = worker.answer() if ready else worker.give_up()
                if isinstance(found, MonitorError):
                    raise found
                done.append((job, found))
            workers[:] = [worker for worker in workers if not worker.pipe.closed]
    finally:
        for worker in workers:
            if worker.job is not None:  # nobody waits for it any more
                worker.stop()
        workers[:] = [worker for worker in workers if not worker.pipe.closed]


def _serve(pipe: Connection, beside: int) -> None:
    """Compute graphs that come through a pipe until nobody is at its other end."""
    global _beside
    _beside = beside
    set_up_logs()
    os.dup2(2, 1)  # standard output is for data
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the parent ends this process
    with suppress(OSError):  # where memory runs out, this process is to go and not its parent
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            graph = pipe.recv()
        except EOFError:
            return
        try:
            found = ForkingPickler.dumps(compute(graph, scheduler="synchronous")[0])
        except Exception as error:  # noqa: BLE001 - reported to the parent
            found = _as_bytes(error)
        pipe.send_bytes(found)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _as_bytes(error: Exception) -> Any:
    """An error as it can be sent: some cannot be made again from their parts."""
    try:
        found = ForkingPickler.dumps(error)
        pickle.loads(found)
    except Exception:  # noqa: BLE001 - whatever goes wrong, the error must be reported
        return ForkingPickler.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return found


def _cluster(client: Any, jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute on a cluster. A job whose worker died may have died of its neighbour: it is tried again, alone."""
    from distributed import KilledWorker

    suspects = []
    for job, found in _answers(client, enumerate(jobs)):
        if isinstance(found, KilledWorker):
            suspects.append(job)
        else:
            yield job[0], found
    for suspect in suspects:
        for job, found in _answers(client, [suspect]):
            yield job[0], found


def _answers(client: Any, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
    """Jobs and what came of them; so many are sent at a time that every worker has the next one at hand."""
    from distributed import CancelledError, wait
    from distributed.comm import CommClosedError

    left = iter(jobs)
    waiting: dict[Any, Job] = {}
    try:
        while True:
            most = max(TOGETHER, 2 * sum(client.nthreads().values()))
            for job in islice(left, max(0, most - len(waiting))):
                waiting[client.compute(job[1])] = job
            if not waiting:
                return
            for future in wait(list(waiting), timeout=LONGEST, return_when="FIRST_COMPLETED").done:
                job = waiting.pop(future)
                error = future.exception()
                if isinstance(error, MonitorError):
                    raise error
                yield job, error if error is not None else future.result()
                future.release()
    except TimeoutError:
        lost = [*waiting.values(), *left]
        log.exception("jobs have hung", jobs=len(lost))
        hung = TimeoutError(f"no answer within {LONGEST:.0f} s")
        yield from ((job, hung) for job in lost)
    except (CancelledError, CommClosedError) as error:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # else the client tells how it tries in vain
        msg = "the dask scheduler was lost during the run; what was stored stays: start it, and run again"
        raise TryLater(msg) from error
    finally:
        client.cancel(list(waiting))
