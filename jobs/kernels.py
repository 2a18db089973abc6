"""Compile the kernels ahead of the first night.

python -m jobs.kernels
"""

import os
import sys
import tempfile
from pathlib import Path

from jobs.kernel_cache import CACHE_VARIABLE, choose_cache
from jobs.logs import set_up_logs
from jobs.progress import progress


def compile_ahead() -> None:
    """Compile all kernels: run one night on the embedded sample, and compute trends of a few pixels."""
    import numpy as np
    import xarray as xr

    from jobs.demonstration import LAST_NIGHT, write_inputs
    from jobs.pipeline import night
    from jobs.settings import load
    from monitor.trends.maps import slope, trend

    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), seed=1)
        night(load(Path(folder) / "regrowth.toml"), as_of=LAST_NIGHT)
    days = np.datetime64("2020-01-01", "ns") + np.arange(0, 1500, 30) * np.timedelta64(1, "D")
    values = np.random.default_rng(1).random((2, 2, days.size))
    by_pixel = xr.DataArray(values, {"time": days}, ("y", "x", "time"))
    by_scene = xr.DataArray(np.moveaxis(values, -1, 0).copy(), {"time": days}, ("time", "y", "x"))
    for dtype in ("float32", "float64"):
        for pixels in (by_pixel, by_scene):
            for scenes in (days.size, 9):  # few scenes have kernels of their own
                some = pixels.isel(time=slice(scenes)).astype(dtype)
                trend(some).compute()
                slope(some).compute()


if __name__ == "__main__":
    set_up_logs(quiet=True)
    choose_cache()
    sys.stdout.write(
        f"Compiling the kernels once, one to two minutes; they are stored in {os.environ[CACHE_VARIABLE]}\n"
    )
    sys.stdout.flush()
    with progress("compiling", plain=True):
        compile_ahead()
