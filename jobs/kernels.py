"""Compile the kernels of a night ahead of the first one. Those of ``regrowth trends`` are compiled on first use.

python -m jobs.kernels
"""

import os
import sys
import tempfile
from pathlib import Path

from jobs.runtime.kernel_cache import CACHE_VARIABLE, choose_cache
from jobs.runtime.logs import set_up_logs
from jobs.runtime.progress import progress


def compile_ahead() -> None:
    """Compile the kernels of a night: run one on the embedded sample."""
    from jobs.install.demonstration import LAST_NIGHT, write_inputs
    from jobs.night.pipeline import night
    from jobs.runtime.settings import load

    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), seed=1)
        night(load(Path(folder) / "regrowth.toml"), as_of=LAST_NIGHT)


if __name__ == "__main__":
    set_up_logs(quiet=True)
    choose_cache()
    sys.stdout.write(
        f"Compiling the kernels once, one to two minutes; they are stored in {os.environ[CACHE_VARIABLE]}\n"
    )
    sys.stdout.flush()
    with progress("compiling", plain=True):
        compile_ahead()
