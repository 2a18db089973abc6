"""What all tests share."""

import os
from pathlib import Path

import icechunk
import pytest

from jobs.kernel_cache import choose_cache

choose_cache()  # before any test loads numba: the kernels that `make setup` has compiled
icechunk.set_logs_filter("error")  # it warns of concurrent commits at every opening; one process writes at a time here

ROOT = Path(__file__).resolve().parent.parent


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
