"""Open local terrain and rain files: regular files of this machine, read by one driver."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from monitor.errors import BadData
from monitor.files import open_plain_file


def plain_file(path: Path) -> Path:
    """The absolute path of a regular file; BadData for an address, a folder, a pipe, or if it is unreadable."""
    open_plain_file(path).close()
    return path.absolute()


def geotiff_paths(path: Path) -> list[Path]:
    """The GeoTIFFs of a folder, sorted by name, or the single file; BadData if there is none."""
    if not path.is_dir():
        return [plain_file(path)]
    paths = sorted(file for file in path.iterdir() if file.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        raise BadData(f"{path} holds no GeoTIFF (.tif)")
    return [plain_file(file) for file in paths]


@contextmanager
def open_geotiff(path: Path) -> Iterator[Any]:
    """Open a path of :func:`geotiff_paths` with rasterio; BadData if it or what is read of it is damaged."""
    try:
        with rasterio.Env(GTIFF_IGNORE_READ_ERRORS="NO"), rasterio.open(path, driver="GTiff") as file:
            yield file
    except rasterio.errors.RasterioError as error:
        raise BadData(f"{path} cannot be read as GeoTIFF ({error}); it may be cut short: fetch it again") from error


def read_window(file: Any, window: Window) -> np.ndarray:
    """First band of a file in a window, (y, x) float64 with its scale and offset; NaN where there is no value."""
    values = file.read(1, window=window, masked=True).astype(np.float64)
    return np.asarray(np.ma.filled(values, np.nan) * file.scales[0] + file.offsets[0])
