"""Threads, processes and a cluster: the same numbers, and no worker's death loses a site."""

import gc
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from datetime import date
from operator import add

import dask
import icechunk
import pytest
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.system import CPU_COUNT

from jobs.night.pipeline import night
from jobs.runtime.executor import WorkerDied, _cluster_results, exclude_from_garbage_collection, open_executor
from jobs.runtime.settings import load
from monitor.errors import BadConfiguration, TryLater
from tests.jobs.failing_jobs import odd, refuse
from tests.jobs.reproduction import differences
from tests.landscape import stored_of

NIGHT = date(2018, 9, 30)
LOCAL = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def job(function, *given):
    """A graph of one task."""
    return dask.delayed(function, pure=False)(*given)


@pytest.fixture(scope="module")
def two_processes():
    """Two worker processes, restarted when they die."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **LOCAL) as made:
        yield made


@pytest.fixture
def cluster(two_processes):
    """The two worker processes, alive: a restart after the test before may have been given up on a busy machine."""
    try:
        two_processes.wait_for_workers(2, timeout=20)
    except TimeoutError:
        two_processes.scale(0)
        two_processes.scale(2)
        two_processes.wait_for_workers(2, timeout=60)
    return two_processes


@pytest.fixture(scope="module")
def two_threads():
    """Two workers of a scheduler that are threads of this process, reached over TCP as others are."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", **LOCAL) as made:
        yield made


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr("jobs.runtime.executor.JOB_TIMEOUT", 240.0)


def configured(install, folder, scheduler):
    made = install(folder)
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(f'{text}\n[engine]\nscheduler = "{scheduler}"\n', encoding="utf-8")
    return made


WHEN = re.compile('(?:started|开始于) [^<]* UTC|<td class="n c-time">[^<]*'.encode())
"""Start and duration of a night, in minutes, on the pages of the last nights."""


def products(made):
    """Content of every file that a night publishes, by name, without when it started and how long it took."""
    files = {name: content for name, (_, content) in made.files().items() if name != "regrowth.toml"}
    return {name: WHEN.sub(b"", content) for name, content in files.items() if "/." not in f"/{name}"}


def _without_disk(folder):
    """Hide a folder from this process, as on a worker that does not have its disk."""

    def hide(event, arguments):
        if event in {"open", "os.listdir", "os.scandir"} and str(arguments[0]).startswith(folder):
            raise FileNotFoundError(arguments[0])

    def opened(self, path):
        raise FileNotFoundError(path)

    sys.addaudithook(hide)
    sys.modules["monitor.cube.store"].LandscapeStore.__init__ = opened


@pytest.mark.slow
def test_workers_of_a_cluster_need_no_disk(install, first_night, cluster, tmp_path):
    from distributed import Client

    made = configured(install, tmp_path, cluster.scheduler_address)
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(importlib.import_module, "monitor.cube.store")
        client.run(_without_disk, str(tmp_path))
        night(load(made.config), as_of=NIGHT)
        client.restart()
    assert differences(products(first_night), products(made)) == {}


@pytest.mark.parametrize("kind", ["processes", pytest.param("cluster", marks=pytest.mark.slow)])
def test_a_night_in_processes_or_on_a_cluster_makes_the_same_products_byte_for_byte(
    kind, install, first_night, request, tmp_path
):
    where = "processes" if kind == "processes" else request.getfixturevalue("cluster").scheduler_address
    made = configured(install, tmp_path, where)
    manifest = night(load(made.config), as_of=NIGHT)
    assert [site.state for site in manifest.sites] == ["done"] * 3
    assert [len(site.scenes_new) for site in manifest.sites] == [68] * 3
    assert differences(products(first_night), products(made)) == {}
    here = configured(install, tmp_path, "")
    assert all(not site.scenes_new for site in night(load(here.config), as_of=NIGHT).sites)


@pytest.mark.slow
def test_a_worker_killed_midway_loses_nothing(install, first_night, cluster, tmp_path):
    made = configured(install, tmp_path, cluster.scheduler_address)
    killed = []

    def kill_one():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            busy = [worker for worker in cluster.scheduler.workers.values() if worker.processing]
            if busy:
                time.sleep(0.5)  # into its work
                pid = next(nanny.pid for nanny in cluster.workers.values() if nanny.worker_address == busy[0].address)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        manifest = night(load(made.config), as_of=NIGHT)
    finally:
        thread.join()
    assert len(killed) == 1
    assert [site.state for site in manifest.sites] == ["done"] * 3
    assert differences(products(first_night), products(made)) == {}


@pytest.mark.slow
def test_a_store_that_cannot_be_read_stops_no_other_site(install, tmp_path):
    made = configured(install, tmp_path, "processes")
    night(load(made.config), as_of=date(2018, 8, 20), only=["demo-07"], pages=False)
    night(load(made.config), as_of=date(2018, 8, 20), pages=False)
    broken = stored_of(load(made.config), "demo-07").landscape.path
    for path in broken.rglob("*"):
        if path.is_file():
            path.write_bytes(b"torn")
    states = {site.site: site.state for site in night(load(made.config), as_of=NIGHT, pages=False).sites}
    assert states.pop("demo-07") == "failed"
    assert [*states.values()] == ["done"] * 2


def _limits():
    from jobs.imagery.sources import open_earth_engine
    from jobs.runtime.settings import SourceSettings

    return open_earth_engine(SourceSettings(kind="earthengine", project="p")).connection.limit.in_flight


@pytest.mark.slow
def test_requests_to_earth_engine_are_capped_for_all_workers_together(cluster):
    cluster.wait_for_workers(2)  # one that was killed before may not be back yet
    with open_executor(cluster.scheduler_address) as work:
        assert dict(work([job(_limits), job(_limits)])) == {0: 10, 1: 10}
    assert _limits() == 20


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_job_whose_workers_keep_dying_fails_alone(cluster):
    with open_executor(cluster.scheduler_address) as work:
        found = dict(work([job(add, 1, 1), job(_die), job(add, 2, 2)]))
    assert (found[0], found[2]) == (2, 4)
    assert isinstance(found[1], Exception)
    assert "KilledWorker" in type(found[1]).__name__


@pytest.mark.slow
def test_jobs_may_take_longer_together_than_the_longest_of_them_may(cluster, monkeypatch):
    monkeypatch.setattr("jobs.runtime.executor.JOB_TIMEOUT", 3.0)
    with open_executor(cluster.scheduler_address) as work:
        assert dict(work([job(time.sleep, 1.0) for _ in range(12)])) == dict.fromkeys(range(12))


@pytest.mark.slow
def test_a_cluster_that_shrinks_midway_does_what_it_has_taken(cluster, monkeypatch):
    from distributed import Client

    monkeypatch.setattr("jobs.runtime.executor.JOBS_AT_ONCE", 1)
    threads = iter([{"many": 10}])
    with Client(cluster.scheduler_address) as client:
        monkeypatch.setattr(client, "nthreads", lambda: next(threads, {"one": 1}))
        results = _cluster_results(client, enumerate(job(add, number, 1) for number in range(24)))
        assert {number: result for (number, _), result in results} == {number: number + 1 for number in range(24)}


def test_jobs_are_taken_as_their_turn_comes(two_threads):
    taken = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield job(add, number, 1)

    with open_executor(two_threads.scheduler_address) as work:
        answers = work(jobs())
        assert next(answers)[1] is not None
        assert len(taken) < 40
        assert len(dict(answers)) == 39
    assert taken == list(range(40))


def test_an_expected_error_of_a_worker_is_raised_here(two_threads):
    with open_executor(two_threads.scheduler_address) as work, pytest.raises(BadConfiguration, match="no key"):
        list(work([job(refuse)]))


def test_a_scheduler_that_does_not_answer_means_try_later(monkeypatch):
    monkeypatch.setattr("jobs.runtime.executor.SCHEDULER_TIMEOUT", 0.3)
    with (
        pytest.raises(TryLater, match=r"tcp://127\.0\.0\.1:9.*leave \[engine\] scheduler empty"),
        open_executor("tcp://127.0.0.1:9"),
    ):
        pass


SCHEDULER = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as made:
        print(made.scheduler_address, flush=True)
        time.sleep(300)
"""


def test_a_scheduler_that_is_lost_midway_means_try_later(tmp_path):
    (tmp_path / "scheduler.py").write_text(SCHEDULER, encoding="utf-8")
    with subprocess.Popen([sys.executable, tmp_path / "scheduler.py"], stdout=subprocess.PIPE, text=True) as one:
        address = one.stdout.readline().strip()
        jobs = (job(time.sleep, 0.2) for _ in range(200))
        with open_executor(address) as work, pytest.raises(TryLater, match="scheduler was lost"):
            [one.kill() for number, _ in work(jobs) if number == 2]


@pytest.mark.parametrize(
    ("words", "seconds", "error", "message"),
    [
        (b"", 1.0, TryLater, "no dask scheduler answers"),
        (b"SSH-2.0-OpenSSH\r\n", 60.0, BadConfiguration, "is not a dask scheduler"),
    ],
    ids=["says nothing", "another protocol"],
)
def test_a_server_that_is_not_a_scheduler_is_given_up_in_time(monkeypatch, words, seconds, error, message):
    monkeypatch.setattr("jobs.runtime.executor.SCHEDULER_TIMEOUT", seconds)
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:

        def answer():
            with suppress(OSError):  # nobody came in time
                stack.enter_context(server.accept()[0]).sendall(words)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(error, match=message), open_executor(f"tcp://127.0.0.1:{server.getsockname()[1]}"):
            pass


def test_a_worker_is_not_accepted_as_a_scheduler(two_threads):
    workers = [worker.address for worker in two_threads.workers.values()]
    assert len(workers) == 2
    for address in workers:
        with pytest.raises(BadConfiguration, match="answers there is not a dask scheduler"), open_executor(address):
            pass


@pytest.mark.slow
def test_the_guard_of_a_worker_process_is_not_accepted_as_a_scheduler(two_processes):
    guards = [guard for one in two_processes.workers.values() for guard in (one.address, one.worker_address)]
    assert len(guards) == 4
    for address in guards:
        with pytest.raises(BadConfiguration, match="answers there is not a dask scheduler"), open_executor(address):
            pass


CERTIFICATES = [f"distributed.comm.tls.{name}" for name in ("ca-file", "client.cert", "client.key")]


@pytest.mark.parametrize(
    "address",
    [
        "nonsense", "nonsense://here", "http://127.0.0.1:1", "tcp://127.0.0.1:here", "tcp://127.0.0.1:99999",
        "tcp://:8786",
    ],
)  # fmt: skip
def test_an_invalid_address_is_refused(address):
    with pytest.raises(BadConfiguration, match=re.escape(f"'{address}' is not the address")), open_executor(address):
        pass
    assert get_scheduler() is None, "what is computed next would be sent to it"


@pytest.mark.parametrize(
    ("address", "dask_settings", "message"),
    [
        ("tls://127.0.0.1:1", {}, "needs certificates"),
        ("tls://127.0.0.1:1", dict.fromkeys(CERTIFICATES, "/none.pem"), "are invalid"),
        ("tcp://127.0.0.1:1", {"distributed.comm.require-encryption": True}, "asks for tls://"),
    ],
)
def test_an_address_that_dasks_own_configuration_rules_out_is_refused_and_leaves_no_client(
    address, dask_settings, message
):
    from distributed import Client

    before = {id(one) for one in gc.get_objects() if isinstance(one, Client)}
    with dask.config.set(dask_settings), pytest.raises(BadConfiguration, match=message), open_executor(address):
        pass
    left = [one for one in gc.get_objects() if isinstance(one, Client) and id(one) not in before]
    assert not left, "an unfinished client hangs for 40 s when it is closed"


def test_certificates_come_from_the_settings_or_from_dasks_own_configuration_and_their_absence_is_reported(tmp_path):
    pytest.importorskip("cryptography")  # distributed makes certificates with it
    from distributed import LocalCluster, Security

    known = Security.temporary()
    files = dict(zip(CERTIFICATES, (known.tls_ca_file, known.tls_client_cert, known.tls_client_key), strict=True))
    secure = LOCAL | {"security": known, "protocol": "tls://", "host": "tls://127.0.0.1"}
    with LocalCluster(n_workers=1, processes=False, **secure) as made:
        address = made.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with dask.config.set(files), open_executor(address) as work:
            assert dict(work([job(add, 1, 1)])) == {0: 2}
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="utf-8")
        with open_executor(address, [tmp_path / name for name in files]) as work:
            assert dict(work([job(add, 2, 2)])) == {0: 4}
        with pytest.raises(BadConfiguration, match="needs certificates"), open_executor(address):
            pass
    assert get_scheduler() is None


def test_no_process_of_a_run_listens_where_another_user_of_the_machine_could_have_it_run_code():
    import psutil

    def sockets():
        me, every = psutil.Process(), []
        for one in (me, *me.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # one of an earlier test that has just ended
                every += one.net_connections("all")
        return {c.laddr for c in every if c.status == "LISTEN" or (c.family == socket.AF_UNIX and c.laddr)}

    before = sockets()
    with open_executor("processes") as work:
        pids = {pid for _, pid in work([job(os.getpid), job(os.getpid)])}
        assert pids
        assert os.getpid() not in pids
        assert pids <= {one.pid for one in psutil.Process().children(recursive=True)}
        assert not sockets() - before  # of earlier tests some may have been closed since
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_that_dies_of_a_job_fails_that_job_alone():
    with open_executor("processes") as work:
        found = dict(work([job(add, 1, 1), job(os._exit, 9), job(add, 2, 2)]))
        assert (found[0], found[2]) == (2, 4)
        assert isinstance(found[1], WorkerDied)
        assert dict(work([job(add, 3, 3)])) == {0: 6}


def _die_once(mark):
    if not mark.exists():
        mark.touch()
        _die()
    return "done"


@pytest.mark.slow
def test_a_job_whose_process_was_killed_is_done_by_another(tmp_path):
    with open_executor("processes") as work:
        assert dict(work([job(_die_once, tmp_path / "mark"), job(add, 1, 1)])) == {0: "done", 1: 2}


@pytest.mark.slow
def test_a_job_that_hangs_is_stopped_and_the_others_are_done(monkeypatch):
    # A process starts in a second, on a busy machine in some.
    monkeypatch.setattr("jobs.runtime.executor.JOB_TIMEOUT", 10.0)
    with open_executor("processes") as work:
        found = dict(work([job(time.sleep, 300), *[job(add, n, 1) for n in range(4)]]))
    assert isinstance(found.pop(0), TimeoutError)
    assert found == {n + 1: n + 1 for n in range(4)}


@pytest.mark.parametrize(
    "error", [odd, pytest.param(refuse, marks=pytest.mark.slow)], ids=["cannot be sent", "expected"]
)
def test_an_error_in_a_process_is_reported_whatever_its_kind(error):
    with open_executor("processes") as work:
        if error is refuse:
            with pytest.raises(BadConfiguration, match="no key"):
                list(work([job(error)]))
        else:
            assert "what it says" in str(dict(work([job(error)]))[0])


@pytest.mark.slow
def test_requests_to_earth_engine_are_capped_for_all_processes_together(monkeypatch):
    with open_executor("processes") as work:
        ((_, cap),) = work([job(_limits)])
    assert cap == max(1, 20 // CPU_COUNT)


BUSY = """
import os, time
from dask import delayed
from jobs.runtime.executor import open_executor

if __name__ == "__main__":
    with open_executor("processes") as work:
        print(dict(work([delayed(os.getpid)()]))[0], flush=True)
        list(work([delayed(time.sleep)(300)]))
"""


def test_a_run_that_is_killed_leaves_no_process_behind(tmp_path, root):
    import psutil

    (tmp_path / "busy.py").write_text(BUSY, encoding="utf-8")
    program, environment = [sys.executable, tmp_path / "busy.py"], {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as one:
        worker = psutil.Process(int(one.stdout.readline()))
        one.kill()
    worker.wait(timeout=30)
    assert not worker.is_running()


def _opened(folder):
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(folder))).lookup_branch("main")


@pytest.mark.slow
def test_workers_that_open_stores_do_not_warn_of_what_the_lock_rules_out(tmp_path, capfd):
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    with open_executor("processes") as work:
        assert dict(work([job(_opened, tmp_path)])) == {0: _opened(tmp_path)}
    assert "concurrent commits" not in capfd.readouterr().err


def test_a_real_night_is_made_of_dask_tasks(installation):
    seen = []
    with Callback(pretask=lambda key, _graph, _state: seen.append(str(key))):
        night(load(installation.config), as_of=date(2017, 6, 30), pages=True)
    scenes = sum("_read" in key and "getitem" not in key for key in seen)
    assert scenes > 1, "of the landscape of three sites, a task each"
    assert sum("zonal_means_0" in key for key in seen) >= 2 * scenes, "of the sites and of the units"
    assert any("_write_batch" in key for key in seen), "and so are its pages"


def test_objects_that_stay_are_excluded_from_garbage_collection_only_as_long_as_a_run_lasts():
    exclude_from_garbage_collection()
    assert not gc.get_freeze_count()
    with open_executor(""):
        known, stays = gc.get_freeze_count(), [[] for _ in range(1000)]
        exclude_from_garbage_collection()
        assert gc.get_freeze_count() >= known + len(stays)
    assert not gc.get_freeze_count()


def test_a_night_in_threads_loads_neither_distributed_nor_the_statistics_of_scipy(root):
    program = (
        "import sys, dask, jobs.night.pipeline\n"
        "from jobs.runtime.executor import open_executor\n"
        "with open_executor('') as compute:\n"
        "    print(list(compute([dask.delayed(int)('7')])), {'distributed', 'scipy.stats'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[(0, 7)] set()\n"
