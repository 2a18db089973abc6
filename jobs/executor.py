"""Compute dask graphs in threads, in processes of this machine, or on a dask cluster.

Results are the same everywhere. Workers compute; only this process, which holds the lock, commits. The jobs of a killed
worker go to another one; a job whose workers keep dying fails alone.

Processes of this machine are connected by pipes: a local dask cluster would listen on loopback, where every user of the
machine could have it run code.
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

JOB_TIMEOUT: Final = 3600.0
"""If no job finishes within this time, those under way have hung, and fail. [s]"""
WORKER_ENVIRONMENT: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(2**27),  # memory returned after every scene would be allocated again at once
    "ICECHUNK_LOG": "error",  # it warns of concurrent commits at every opening; only this process commits
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""Environment variables of worker processes on this machine, where they are not set already."""
SCHEDULER_TIMEOUT: Final = 20.0
"""Time in which a scheduler must answer. [s]"""
GC_THRESHOLD: Final = 100_000
"""New objects before the garbage collector runs: reference cycles are rare here."""
JOBS_AT_ONCE: Final = 2 * CPU_COUNT
"""Jobs computed together in threads; as many results may wait to be handled."""
THREADS: Final = max(4, CPU_COUNT)
"""Threads of one compute: more than cores, since tasks wait for the network."""

Job = tuple[int, Delayed]
Compute = Callable[[Iterable[Delayed]], Iterator[tuple[int, Any]]]
"""Computes dask graphs, taken one by one from the iterable, and yields the number of each and its result, or the
exception that it raised, in the order in which they finish. A :class:`monitor.errors.MonitorError` is raised."""


@contextmanager
def open_executor(scheduler: str) -> Iterator[Compute]:
    """Compute dask graphs in parallel within a ``with`` block.

    Parameters
    ----------
    scheduler : str
        Empty: threads of this process. ``processes``: processes of this machine, which listen nowhere. Else the address
        of a dask scheduler whose workers see the same files; TLS and other settings are dask's own configuration.

    Raises
    ------
    TryLater
        The scheduler does not answer, or is lost during the run.
    BadConfiguration
        The address is invalid, or its answer shows that waiting does not help.
    """
    with _rare_garbage_collection(), _open(scheduler) as compute_graphs:
        yield compute_graphs


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Collect garbage rarely, and not among existing objects: they are code, which stays.

    Nothing is changed where the collector is off, or another run has changed it.
    """
    thresholds = gc.get_threshold()
    if not thresholds[0] or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def exclude_from_garbage_collection() -> None:
    """Exclude all current objects from garbage collection: the results of a search are needed until the run ends."""
    if gc.get_threshold()[0] == GC_THRESHOLD:  # else the settings are not ours
        gc.freeze()


@contextmanager
def _open(scheduler: str) -> Iterator[Compute]:
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

    arguments = _connection_arguments(scheduler)
    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook this thread already runs an event loop
            thread.submit(asyncio.run, _check_scheduler(scheduler, arguments)).result()
        # not as dask's default, which would receive dask's work even after it was refused
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        msg = f"no dask scheduler answers at {scheduler}: start it, or leave [engine] scheduler empty"
        raise TryLater(msg) from error
    except (MemoryError, ValueError) as error:  # another protocol, read as if it were dask's
        msg = f"[engine] scheduler = {scheduler!r}: what answers there is no dask scheduler"
        raise BadConfiguration(msg) from error
    with client, client.as_current():
        client.register_plugin(_worker_logs())
        yield partial(_cluster, client)


def _worker_logs() -> Any:
    """Plugin that sets up logs in every worker, also in those that join later."""
    from distributed import WorkerPlugin

    class Logs(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if not structlog.is_configured():
                set_up_logs()

    return Logs()


async def _check_scheduler(address: str, arguments: dict[str, Any]) -> None:
    """Check that a scheduler answers: a client waits forever for a server of another protocol.

    Raises
    ------
    ValueError
        The server is a dask worker or nanny.
    """
    from distributed.comm import connect
    from distributed.core import send_recv

    async with asyncio.timeout(SCHEDULER_TIMEOUT):
        comm = await connect(address, timeout=SCHEDULER_TIMEOUT, **arguments)
        answer = await send_recv(comm, op="identity")
    await comm.close()
    if answer.get("type") != "Scheduler":
        raise ValueError(answer)


def _connection_arguments(address: str) -> dict[str, Any]:
    """Arguments of :func:`distributed.comm.connect` from dask's own configuration.

    An invalid address is refused here, because dask would create an incomplete client that hangs when it is closed.

    Raises
    ------
    BadConfiguration
        The address is invalid, or dask's own configuration lacks what it needs, or forbids it.
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
        arguments: dict[str, Any] = Security().get_connection_args("client")
    except (OSError, TypeError, ValueError) as error:
        msg = f"{setting}: dask's own configuration (distributed.comm.tls) is invalid: {error}"
        raise BadConfiguration(msg) from error
    encrypted = scheme in ("tls", "wss")
    if encrypted and arguments["ssl_context"] is None:
        msg = f"{setting}: dask's own configuration (distributed.comm.tls) lacks certificates for it"
        raise BadConfiguration(msg)
    if arguments["require_encryption"] and not encrypted:
        msg = f"{setting}: dask's own configuration (distributed.comm.require-encryption) asks for tls://"
        raise BadConfiguration(msg)
    return arguments


_process_count = 0
"""In a worker process of this machine: the number of such processes; 0 elsewhere."""


@cache
def worker_processes() -> int:
    """Number of processes that share the work, as seen in one of them: limits of a whole run are divided by it.

    Determined once in a process, so that workers that join later do not count.
    """
    if _process_count:
        return _process_count
    if "distributed" not in sys.modules:
        return 1
    from distributed import get_client, get_worker

    try:
        get_worker()
    except ValueError:  # this is no worker
        return 1
    return max(1, len(get_client().nthreads()))


def _threads(jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute in threads, several jobs at once; the next ones are computed while results are handled."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        running: deque[Future[list[tuple[int, Any]]]] = deque()
        for batch in batched(enumerate(jobs), JOBS_AT_ONCE):
            running.append(ahead.submit(_compute_batch, batch))
            if len(running) > 1:
                yield from running.popleft().result()
        for last in running:
            yield from last.result()


def _compute_batch(jobs: Sequence[Job]) -> list[tuple[int, Any]]:
    """Compute jobs in one graph; if that raises, which only a bug does, each job alone."""
    numbers, graphs = zip(*jobs, strict=True)
    try:
        return list(zip(numbers, compute(*graphs, scheduler="threads", num_workers=THREADS), strict=True))
    except MonitorError:
        raise
    except Exception as error:
        if len(jobs) == 1:
            log.exception("a bug in a job")
            return [(numbers[0], error)]
    return [result for job in jobs for result in _compute_batch([job])]


class WorkerDied(Exception):
    """A process ended before it answered: killed, out of memory, or by an error in native code."""


@dataclass(slots=True)
class _Worker:
    """A process of this machine that computes one graph at a time."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    """The job under way; None: idle."""

    @classmethod
    def start(cls) -> "_Worker":
        """Start a process that waits for a graph."""
        ours, theirs = multiprocessing.Pipe()
        # Spawned, not forked: this process has threads. Not by a fork server: that listens.
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, CPU_COUNT), name="regrowth-worker", daemon=True
        )
        missing = {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in os.environ}
        os.environ.update(missing)
        try:
            process.start()
        finally:
            for name in missing:
                del os.environ[name]
        theirs.close()
        return cls(process, ours)

    def take(self, job: Job) -> None:
        """Start a job."""
        self.job = job
        with suppress(BrokenPipeError, ConnectionResetError):  # a dead process is noticed when its answer is read
            self.pipe.send_bytes(cloudpickle.dumps(job[1]))

    def answer(self) -> Any:
        """Result of the job, or its exception; blocks until the process answers."""
        self.job = None
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            return WorkerDied(f"exit status {self.process.exitcode}")

    def give_up(self) -> TimeoutError:
        """Stop the process, whose job has hung."""
        log.error("a job has hung", process=self.process.pid)
        self.stop()
        return TimeoutError(f"no answer within {JOB_TIMEOUT:.0f} s")

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _processes(workers: list[_Worker], jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute each job in a process of this machine. If a process dies, its job is tried again alone: memory may have
    been too small for several jobs.
    """
    suspects = []
    for job, result in _process_results(workers, enumerate(jobs), max_workers=CPU_COUNT):
        if isinstance(result, WorkerDied):
            suspects.append(job)
        else:
            yield job[0], result
    for job, result in _process_results(workers, iter(suspects), max_workers=1):
        yield job[0], result


def _process_results(workers: list[_Worker], jobs: Iterator[Job], *, max_workers: int) -> Iterator[tuple[Job, Any]]:
    """Jobs and their results; processes are started when needed, and reused for later jobs."""
    done: list[tuple[Job, Any]] = []
    try:
        while True:
            idle = [worker for worker in workers if worker.job is None]
            for job in islice(jobs, max_workers - len(workers) + len(idle)):
                if not idle:
                    idle.append(_Worker.start())
                    workers.append(idle[0])
                idle.pop().take(job)
            yield from done  # handled while the next jobs run
            done.clear()
            busy = {worker.pipe: worker for worker in workers if worker.job is not None}
            if not busy:
                return
            ready = wait([*busy], timeout=JOB_TIMEOUT)
            for worker in [busy[pipe] for pipe in ready] or [*busy.values()]:  # type: ignore[index]
                assert worker.job is not None
                job = worker.job
                result = worker.answer() if ready else worker.give_up()
                if isinstance(result, MonitorError):
                    raise result
                done.append((job, result))
            workers[:] = [worker for worker in workers if not worker.pipe.closed]
    finally:
        for worker in workers:
            if worker.job is not None:  # its result is no longer needed
                worker.stop()
        workers[:] = [worker for worker in workers if not worker.pipe.closed]


def _serve(pipe: Connection, process_count: int) -> None:
    """Compute graphs received through a pipe until its other end is closed."""
    global _process_count
    _process_count = process_count
    set_up_logs()
    os.dup2(2, 1)  # standard output is for data
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the terminal; the parent ends this process
    with suppress(OSError):  # if memory runs out, this process is to be killed and not its parent
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            graph = pipe.recv()
        except EOFError:
            return
        try:
            answer = ForkingPickler.dumps(compute(graph, scheduler="synchronous")[0])
        except Exception as error:  # noqa: BLE001 - reported to the parent
            answer = _pickled(error)
        pipe.send_bytes(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _pickled(error: Exception) -> Any:
    """A pickled error; one that cannot be unpickled becomes a RuntimeError with its message."""
    try:
        content = ForkingPickler.dumps(error)
        pickle.loads(content)
    except Exception:  # noqa: BLE001 - whatever goes wrong, the error must be reported
        return ForkingPickler.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content


def _cluster(client: Any, jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute on a cluster. A job whose worker died is tried again alone: another job may have killed the worker."""
    from distributed import KilledWorker

    suspects = []
    for job, result in _cluster_results(client, enumerate(jobs)):
        if isinstance(result, KilledWorker):
            suspects.append(job)
        else:
            yield job[0], result
    for suspect in suspects:
        for job, result in _cluster_results(client, [suspect]):
            yield job[0], result


def _cluster_results(client: Any, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
    """Jobs and their results; enough jobs are sent at a time for every worker to have the next one."""
    from distributed import CancelledError, wait
    from distributed.comm import CommClosedError

    remaining = iter(jobs)
    waiting: dict[Any, Job] = {}
    try:
        while True:
            most = max(JOBS_AT_ONCE, 2 * sum(client.nthreads().values()))
            for job in islice(remaining, max(0, most - len(waiting))):
                waiting[client.compute(job[1])] = job
            if not waiting:
                return
            for future in wait(list(waiting), timeout=JOB_TIMEOUT, return_when="FIRST_COMPLETED").done:
                job = waiting.pop(future)
                error = future.exception()
                if isinstance(error, MonitorError):
                    raise error
                yield job, error if error is not None else future.result()
                future.release()
    except TimeoutError:
        lost = [*waiting.values(), *remaining]
        log.exception("jobs have hung", jobs=len(lost))
        hung = TimeoutError(f"no answer within {JOB_TIMEOUT:.0f} s")
        yield from ((job, hung) for job in lost)
    except (CancelledError, CommClosedError) as error:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # else the client logs its failed reconnections
        msg = "the dask scheduler was lost during the run; what was stored stays: start it, and run again"
        raise TryLater(msg) from error
    finally:
        client.cancel(list(waiting))
