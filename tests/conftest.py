"""What all tests share."""

import fcntl
import gc
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import icechunk
import pytest
import structlog
from hypothesis import HealthCheck, settings

from jobs.runtime import logs
from jobs.runtime.kernel_cache import choose_cache
from monitor.ledger.ledger import Ledger

collect_ignore = ["preloaded.py"]  # for the process from which tests fork others, and no other

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # else an example that takes 0.2 s where other tests run too fails its test
choose_cache()  # before any test loads numba: the kernels that `make setup` has compiled
icechunk.set_logs_filter("error")  # it warns of concurrent commits at every opening; one process writes at a time here

ROOT = Path(__file__).resolve().parent.parent
type MadeOnce = Callable[[str, Callable[[Path], None]], Path]
type CpuSeconds = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real series that are not part of the project."""
    folder = Path(os.environ.get("REGROWTH_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real series are not here; name their folder by REGROWTH_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def made_once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Make a folder once for all test processes: the first that asks for it fills it, and others wait. Only read it."""
    base = tmp_path_factory.getbasetemp()
    parent = base.parent if hasattr(pytestconfig, "workerinput") else base  # of one of several processes

    def folder_of(name: str, fill: Callable[[Path], None]) -> Path:
        folder, complete = parent / name, parent / f"{name}-complete"
        with (parent / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                fill(folder)
                complete.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def demo(made_once: MadeOnce) -> Path:
    """Folder of the demonstration of seed 1, its last four nights, made once for all test processes. Only read it."""
    pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")
    from jobs.install import demonstration
    from jobs.runtime.exits import Exit

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demonstration, "FIRST_NIGHT", date(2020, 10, 3))
            assert demonstration.demonstrate(folder, seed=1, as_json=False) is Exit.DONE

    return made_once("shared-demo", fill)


@pytest.fixture(scope="session")
def slowness() -> Callable[[], float]:
    """How many times as long as that for which limits of time are stated the machine computes now; at least 1."""

    def measure() -> float:
        start = time.thread_time()
        sum(number * number for number in range(1_000_000))
        return max(1.0, (time.thread_time() - start) / 0.05)

    return measure


@pytest.fixture(scope="session")
def cpu_seconds(slowness: Callable[[], float]) -> CpuSeconds:
    """Limit the processor time of this thread, which neither other programs nor what earlier tests left lengthen."""

    @contextmanager
    def limit(*, at_most: float) -> Iterator[None]:
        gc.collect()
        gc.freeze()
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            gc.unfreeze()
        assert spent < at_most * slowness()

    return limit


@pytest.fixture
def ledger(settings: Any) -> Iterator[Ledger]:
    """The ledger of the settings of a test, created where there is none."""
    with closing(Ledger(settings.ledger.url)) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium that connects to nothing of its maker."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is in the group 'test'")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs a browser to open pages, and Chromium is not installed: apt-get install chromium")
    quiet = ["background-networking", "component-update", "sync"]
    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def _logs_are_not_set_up() -> None:
    """A command that an earlier test has run here, perhaps one that logs errors only, has set them up for all."""
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _passwords_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of an address that an earlier test has read would be replaced in all texts."""
    monkeypatch.setattr(logs, "_passwords", set(logs._passwords))


@pytest.fixture(autouse=True)
def _sigterm_ends_the_tests() -> Iterator[None]:
    """A command that a test has run here would else have it end the test that runs then, or its fixture, alone."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
