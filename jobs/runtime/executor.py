"""Compute dask graphs in threads of this process, in processes of this machine, or on a dask cluster.

The numbers are the same everywhere. Workers read scenes and give back arrays; only this machine reads and writes
stores and pages, so workers of a cluster need no disk. If a worker is killed, its jobs are repeated on another one; a
job whose workers keep dying fails alone.

Processes of this machine communicate through pipes: a local dask cluster would listen on loopback, where every user of
the machine could make it run code.
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
from dask import compute, threaded
from dask.delayed import Delayed
from dask.local import get_sync
from dask.system import CPU_COUNT

from jobs.runtime.logs import set_up_logs
from monitor.errors import BadConfiguration, MonitorError, TryLater

log = structlog.get_logger()

JOB_TIMEOUT: Final = 3600.0  # if no job ends within this time, those at work have hung and fail [s]
SCHEDULER_TIMEOUT: Final = 20.0  # time in which a dask scheduler must answer [s]
WORKER_ENVIRONMENT: Final = {  # of worker processes of this machine; variables that are set stay
    "MALLOC_TRIM_THRESHOLD_": str(2**27),  # memory returned after every scene would have to be faulted in again
    "ICECHUNK_LOG": "error",  # it warns of concurrent commits at every opening; only this process commits
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
GARBAGE_THRESHOLD: Final = 100_000  # new objects before garbage is collected: reference cycles are rare here
JOBS_AT_ONCE: Final = 2 * CPU_COUNT  # in threads, while the results of as many earlier ones are used
THREADS: Final = max(4, CPU_COUNT)  # threads of a computation: more than cores, since jobs wait for the network

type Job = tuple[int, Delayed]
type JobResult = tuple[Job, Any]
# Computes dask graphs, each taken when its turn comes. Yields the number of each and its result, or the exception that
# ended it. The first MonitorError is raised instead.
type Compute = Callable[[Iterable[Delayed]], Iterator[tuple[int, Any]]]


@contextmanager
def open_executor(scheduler: str, tls: Sequence[Path | None] = ()) -> Iterator[Compute]:
    """A way to compute dask graphs in parallel.

    `scheduler`: empty for threads of this process, ``processes`` for processes of this machine, else the address of a
    dask scheduler. `tls`: files of authority, certificate and key for ``tls://``; if missing, dask's own configuration.
    Raises TryLater if the scheduler does not answer, and BadConfiguration if the address is invalid or something else
    answers.
    """
    with _less_garbage_collection():
        if not scheduler:
            yield _compute_in_threads
        elif scheduler == "processes":
            with _processes() as work:
                yield work
        else:
            with _cluster(scheduler, tls) as work:
                yield work


@contextmanager
def local_executor(scheduler: str, compute: Compute) -> Iterator[Compute]:
    """For work on files of this machine: `compute`, the executor of a scheduler; processes if that is a cluster."""
    if scheduler in {"", "processes"}:
        yield compute
    else:
        with _processes() as work:
            yield work


@contextmanager
def _less_garbage_collection() -> Iterator[None]:
    """Collect garbage rarely, and not among existing objects, unless the settings of this process were changed."""
    threshold = gc.get_threshold()
    if not threshold[0] or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *threshold[1:])
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()


def exclude_from_garbage_collection() -> None:
    """Exclude the present objects: the results of a search stay as long as the run."""
    if gc.get_threshold()[0] == GARBAGE_THRESHOLD:  # else the settings of this process were changed
        gc.freeze()


_process_count = 0  # in a worker process of this machine, how many there may be


@cache
def worker_processes() -> int:
    """Number of processes that share the work, for limits of a whole run. Workers that join later do not count."""
    if _process_count:
        return _process_count
    if "distributed" not in sys.modules:
        return 1
    from distributed import get_client, get_worker

    try:
        get_worker()
    except ValueError:  # this is not a worker
        return 1
    return max(1, len(get_client().nthreads()))


def _compute_in_threads(jobs: Iterable[Delayed]) -> Iterator[tuple[int, Any]]:
    """Compute several jobs at once in threads; their results are used while the next ones are computed."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        at_work: deque[Future[list[tuple[int, Any]]]] = deque()
        for batch in batched(enumerate(jobs), JOBS_AT_ONCE):
            at_work.append(ahead.submit(_compute_batch, batch))
            if len(at_work) > 1:
                yield from at_work.popleft().result()
        for last in at_work:
            yield from last.result()


def _compute_batch(jobs: Sequence[Job]) -> list[tuple[int, Any]]:
    """Compute jobs in one graph; if that raises, which only a bug does, each alone."""
    numbers, graphs = zip(*jobs, strict=True)
    try:
        # by the function, because a name lets dask import distributed
        return list(zip(numbers, compute(*graphs, scheduler=threaded.get, num_workers=THREADS), strict=True))
    except MonitorError:
        raise
    except Exception as error:
        if len(jobs) == 1:
            log.exception("a bug in a job")
            return [(numbers[0], error)]
    return [result for job in jobs for result in _compute_batch([job])]


def _with_retries(
    results: Callable[[Iterable[Job]], Iterator[JobResult]], death: type[Exception], jobs: Iterable[Delayed]
) -> Iterator[tuple[int, Any]]:
    """Results of jobs. One whose worker died, perhaps for lack of memory for several jobs, is tried again alone."""
    suspects = []
    for job, result in results(enumerate(jobs)):
        if isinstance(result, death):
            suspects.append(job)
        else:
            yield job[0], result
    for suspect in suspects:
        for job, result in results([suspect]):
            yield job[0], result


class WorkerDied(Exception):
    """A process ended before it answered: killed, out of memory, or by a fault in native code."""


@dataclass(slots=True)
class _Worker:
    """A process of this machine, which computes one graph at a time."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None  # the job at work

    @classmethod
    def start(cls) -> "_Worker":
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
        self.job = job
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which `result` reports
            self.pipe.send_bytes(cloudpickle.dumps(job[1]))

    def result(self, *, answered: bool) -> Any:
        """Result of the job; WorkerDied if the process ended, TimeoutError if it has hung (not `answered`)."""
        self.job = None
        if not answered:
            log.error("a job has hung", process=self.process.pid)
            self.stop()
            return TimeoutError(f"no answer within {JOB_TIMEOUT:.0f} s")
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            return WorkerDied(f"exit status {self.process.exitcode}")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def _processes() -> Iterator[Compute]:
    workers: list[_Worker] = []
    try:
        yield partial(_with_retries, partial(_process_results, workers), WorkerDied)
    finally:
        for worker in workers:
            worker.stop()


def _process_results(workers: list[_Worker], jobs: Iterable[Job]) -> Iterator[JobResult]:
    """Results of jobs; processes are started when they are needed, and stay for later jobs."""
    jobs = iter(jobs)
    done: list[JobResult] = []
    try:
        while True:
            free = [worker for worker in workers if worker.job is None]
            for job in islice(jobs, CPU_COUNT - len(workers) + len(free)):
                if not free:
                    free.append(_Worker.start())
                    workers.append(free[0])
                free.pop().take(job)
            yield from done  # they are used while the next ones are computed
            done.clear()
            busy = {worker.pipe: worker for worker in workers if worker.job is not None}
            if not busy:
                return
            ready = wait([*busy], timeout=JOB_TIMEOUT)
            for worker in [busy[pipe] for pipe in ready] or [*busy.values()]:  # type: ignore[index]
                assert worker.job is not None
                job = worker.job
                result = worker.result(answered=bool(ready))
                if isinstance(result, MonitorError):
                    raise result
                done.append((job, result))
            workers[:] = [worker for worker in workers if not worker.pipe.closed]
    finally:
        for worker in workers:
            if worker.job is not None:  # nobody waits for it any more
                worker.stop()
        workers[:] = [worker for worker in workers if not worker.pipe.closed]


def _serve(pipe: Connection, process_count: int) -> None:
    """Compute graphs that arrive through a pipe until its other end is closed."""
    global _process_count
    _process_count = process_count
    set_up_logs()
    os.dup2(2, 1)  # standard output is for data
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the parent ends this process
    with suppress(OSError):  # if memory runs out, the system ends this process and not its parent
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            graph = pipe.recv()
        except EOFError:
            return
        try:
            result = ForkingPickler.dumps(compute(graph, scheduler=get_sync)[0])
        except Exception as error:  # noqa: BLE001 - reported to the parent
            result = _error_to_bytes(error)
        pipe.send_bytes(result)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _error_to_bytes(error: Exception) -> Any:
    """Pickle an error; one that cannot be unpickled is replaced by its text."""
    try:
        pickled = ForkingPickler.dumps(error)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - whatever goes wrong, the error must be reported
        return ForkingPickler.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return pickled


@contextmanager
def _cluster(scheduler: str, tls: Sequence[Path | None]) -> Iterator[Compute]:
    from distributed import Client, KilledWorker, WorkerPlugin

    class Logs(WorkerPlugin):
        """Sets up logs in every worker, also in those that join later."""

        def setup(self, worker: Any) -> None:
            if not structlog.is_configured():
                set_up_logs()

    security = _security(scheduler, tls)
    options = _connection_options(scheduler, security)
    try:  # not as dask's default client: dask would use it for everything, even if the scheduler refused it
        with ThreadPoolExecutor(1) as apart:  # in a notebook this thread already runs an event loop
            apart.submit(asyncio.run, _check_scheduler(scheduler, options)).result()
        client = Client(scheduler, security=security, timeout=SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        msg = f"no dask scheduler answers at {scheduler}: start it, or leave [engine] scheduler empty"
        raise TryLater(msg) from error
    except (MemoryError, ValueError) as error:  # another protocol, parsed as if it were dask's
        msg = f"[engine] scheduler = {scheduler!r}: what answers there is not a dask scheduler"
        raise BadConfiguration(msg) from error
    with client, client.as_current():
        client.register_plugin(Logs())
        yield partial(_with_retries, partial(_cluster_results, client), KilledWorker)


async def _check_scheduler(address: str, options: dict[str, Any]) -> None:
    """Get one answer from a scheduler: a client would wait without end for a server of another protocol.

    Raises ValueError if a worker or nanny answers.
    """
    from distributed.comm import connect
    from distributed.core import send_recv

    async with asyncio.timeout(SCHEDULER_TIMEOUT):
        comm = await connect(address, timeout=SCHEDULER_TIMEOUT, **options)
        answer = await send_recv(comm, op="identity")
    await comm.close()
    if answer.get("type") != "Scheduler":
        raise ValueError(answer)


def _security(address: str, tls: Sequence[Path | None]) -> Any:
    """Security of a dask client: TLS by these files, else by dask's own configuration."""
    from distributed import Security

    files = [str(path) for path in tls if path is not None]
    try:
        return Security(**dict(zip(("tls_ca_file", "tls_client_cert", "tls_client_key"), files, strict=False)))
    except (OSError, TypeError, ValueError) as error:
        msg = f"[engine] scheduler = {address!r}: dask's own configuration (distributed.comm) is invalid: {error}"
        raise BadConfiguration(msg) from error


def _connection_options(address: str, security: Any) -> dict[str, Any]:
    """Arguments of :func:`distributed.comm.connect`; raises BadConfiguration if the address is impossible.

    It is found before dask creates a client, which would hang when it is closed.
    """
    from distributed.comm import get_address_host_port, parse_address

    setting = f"[engine] scheduler = {address!r}"
    problem = f"{setting} is not the address of a dask scheduler, such as tcp://host:8786"
    try:
        scheme, _ = parse_address(address)
        host, port = get_address_host_port(address)
    except ValueError as error:  # not quoted: it contains passwords
        raise BadConfiguration(problem) from error
    if not host or not 0 < port < 2**16 or address != address.strip():
        raise BadConfiguration(problem)
    try:
        options: dict[str, Any] = security.get_connection_args("client")
    except (OSError, TypeError, ValueError) as error:
        msg = f"{setting}: the files of [engine] tls_..., or of dask's own configuration, are invalid: {error}"
        raise BadConfiguration(msg) from error
    encrypted = scheme in ("tls", "wss")
    if encrypted and options["ssl_context"] is None:
        raise BadConfiguration(f"{setting}: it needs certificates: give tls_ca, tls_cert and tls_key in [engine]")
    if options["require_encryption"] and not encrypted:
        msg = f"{setting}: dask's own configuration (distributed.comm.require-encryption) asks for tls://"
        raise BadConfiguration(msg)
    return options


def _cluster_results(client: Any, jobs: Iterable[Job]) -> Iterator[JobResult]:
    """Results of jobs; as many are sent at a time that every worker has its next one."""
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
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # else the client logs each attempt to reconnect
        msg = "the dask scheduler was lost during the run; what was stored stays: start it, and run again"
        raise TryLater(msg) from error
    finally:
        client.cancel(list(waiting))
