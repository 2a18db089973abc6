"""Where the work on sites is done: in threads here, in processes here, or on a dask cluster.

The numbers are the same everywhere. Workers compute and write chunks; only this process, which holds the lock,
commits. A worker that is killed loses its calls to another one; a call whose workers keep dying fails alone.
"""

import asyncio
import gc
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import batched, islice
from typing import Any, Final

import dask
import structlog
from dask import compute, delayed
from dask.system import CPU_COUNT

from jobs.logs import with_logs
from monitor.errors import BadConfiguration, MonitorError, TryLater

log = structlog.get_logger()

LONGEST: Final = 3600.0
"""A call that was not answered by then, while no other was either, has hung and has failed. [s]"""
PATIENCE: Final = 20.0
"""How long a scheduler may take to answer. [s]"""
KEPT: Final = 2**27
"""Of the memory that a process has freed, so much at most stays its own. [byte]"""
GARBAGE: Final = 100_000
"""Objects that may come to be before garbage is looked for among them: what holds itself in a circle is rare here."""
TOGETHER: Final = 2 * CPU_COUNT
"""Calls in flight at once in threads, and as many that are done and not yet dealt with."""

Call = Callable[[], Any]
Run = Callable[[Iterable[Call]], Iterator[tuple[int, Any]]]
"""Does calls, taking them as their turn comes, and yields, as they are done, the number and the result of each, or
the exception that it died of. Of the expected errors (:class:`monitor.errors.MonitorError`) the first is raised."""


@contextmanager
def engine(scheduler: str) -> Iterator[Run]:
    """A way to do calls in parallel.

    Parameters
    ----------
    scheduler : str
        Empty: threads of this process. ``processes``: processes of this machine, that listen on loopback only. Else
        the address of a dask scheduler whose workers see the same files; TLS and all else is taken from dask's own
        configuration.

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


def spare() -> None:
    """Look for no garbage among what has come to be by now either: what a search has found stays as long as the run."""
    if gc.get_threshold()[0] == GARBAGE:  # else others have their own way with it
        gc.freeze()


@contextmanager
def _opened(scheduler: str) -> Iterator[Run]:
    if not scheduler:
        yield _threads
        return
    from distributed import Client, LocalCluster

    if scheduler == "processes":
        options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "threads_per_worker": 1}
        environment = "distributed.nanny.pre-spawn-environ"
        kept = {
            # dask's own 64 KiB gives memory back after every scene, and the next one faults all of it in again
            f"{environment}.MALLOC_TRIM_THRESHOLD_": KEPT,
            # it warns of concurrent commits at every opening; only this process commits
            f"{environment}.ICECHUNK_LOG": "error",
        }
        with (
            dask.config.set(kept),
            LocalCluster(processes=True, silence_logs=logging.ERROR, **options) as cluster,
            Client(cluster) as client,
        ):
            yield partial(_cluster, client)
        return
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
        yield partial(_cluster, client)


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
        told = await send_recv(comm, op="identity")
    await comm.close()
    if told.get("type") != "Scheduler":
        raise ValueError(told)


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

    told = f"[engine] scheduler = {address!r}"
    try:
        scheme, _ = parse_address(address)
        host, port = get_address_host_port(address)
    except ValueError as error:
        msg = f"{told} is no address of a dask scheduler: that is like tcp://host:8786"  # the error quotes passwords
        raise BadConfiguration(msg) from error
    if not host or not 0 < port < 2**16 or address != address.strip():
        msg = f"{told} is no address of a dask scheduler: that is like tcp://host:8786"
        raise BadConfiguration(msg)
    try:
        known: dict[str, Any] = Security().get_connection_args("client")
    except (OSError, TypeError, ValueError) as error:
        msg = f"{told}: dask's own configuration (distributed.comm.tls) can not be followed: {error}"
        raise BadConfiguration(msg) from error
    encrypted = scheme in ("tls", "wss")
    if encrypted and known["ssl_context"] is None:
        msg = f"{told}: dask's own configuration (distributed.comm.tls) lacks certificates for it"
        raise BadConfiguration(msg)
    if known["require_encryption"] and not encrypted:
        msg = f"{told}: dask's own configuration (distributed.comm.require-encryption) asks for tls://"
        raise BadConfiguration(msg)
    return known


@cache
def processes() -> int:
    """How many processes share the work, asked in one of them: what holds for a whole run is divided by it.

    It is asked once a process: workers that join later do not count.
    """
    if "distributed" not in sys.modules:
        return 1
    from distributed import get_client, get_worker

    try:
        get_worker()
    except ValueError:  # this is no worker
        return 1
    return max(1, len(get_client().nthreads()))


def _threads(calls: Iterable[Call]) -> Iterator[tuple[int, Any]]:
    """Do calls in threads, some of them ahead: what was done is dealt with while the next are under way."""

    def done(batch: Sequence[tuple[int, Call]]) -> list[tuple[int, Any]]:
        lazy = [delayed(call, pure=False, traverse=False)() for _, call in batch]
        found = compute(*lazy, scheduler="threads", num_workers=CPU_COUNT)
        return list(zip((number for number, _ in batch), found, strict=True))

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        under_way: deque[Future[list[tuple[int, Any]]]] = deque()
        for batch in batched(enumerate(calls), TOGETHER):
            under_way.append(ahead.submit(done, batch))
            if len(under_way) > 1:
                yield from under_way.popleft().result()
        for last in under_way:
            yield from last.result()


def _cluster(client: Any, calls: Iterable[Call]) -> Iterator[tuple[int, Any]]:
    """Do calls on a cluster. One whose worker died may have died of its neighbour: it is tried again, alone."""
    from distributed import KilledWorker

    suspects = []
    for number, call, found in _answers(client, enumerate(calls)):
        if isinstance(found, KilledWorker):
            suspects.append((number, call))
        else:
            yield number, found
    for suspect in suspects:
        for number, _, found in _answers(client, [suspect]):
            yield number, found


def _answers(client: Any, calls: Iterable[tuple[int, Call]]) -> Iterator[tuple[int, Call, Any]]:
    """Calls and what came of them; so many are sent at a time that every worker has the next one at hand."""
    from distributed import CancelledError, wait
    from distributed.comm import CommClosedError

    left = iter(calls)
    waiting: dict[Any, tuple[int, Call]] = {}
    try:
        while True:
            most = max(TOGETHER, 2 * sum(client.nthreads().values()))
            for number, call in islice(left, max(0, most - len(waiting))):
                waiting[client.compute(delayed(partial(with_logs, call), pure=False, traverse=False)())] = number, call
            if not waiting:
                return
            for future in wait(list(waiting), timeout=LONGEST, return_when="FIRST_COMPLETED").done:
                number, call = waiting.pop(future)
                error = future.exception()
                if isinstance(error, MonitorError):
                    raise error
                yield number, call, error if error is not None else future.result()
                future.release()
    except TimeoutError:
        lost = [*waiting.values(), *left]
        log.exception("calls have hung", calls=len(lost))
        hung = TimeoutError(f"no answer within {LONGEST:.0f} s")
        yield from ((number, call, hung) for number, call in lost)
    except (CancelledError, CommClosedError) as error:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # else the client tells how it tries in vain
        msg = "the dask scheduler was lost during the run; what was stored stays: start it, and run again"
        raise TryLater(msg) from error
    finally:
        client.cancel(list(waiting))
