"""The embedded sample as a folder of GeoTIFFs, one a date with named bands and scene classes, as people export it."""

from datetime import date
from pathlib import Path

import numpy as np
import rasterio

from monitor.imagery import bands
from monitor.imagery.sample import LAEA, Sample

BANDS = ("blue", "green", "red", "nir", "swir16")


def export_sample(folder: Path, *, seed: int = 1, every: int = 1) -> Path:
    """Write every n-th scene of the sample up to the end of October 2020."""
    folder.mkdir(parents=True)
    source = Sample(seed)
    grid = source.grid(source.place(0))
    scenes = source.search(source.place(0), date(2015, 8, 1), date(2020, 10, 31))[::every]
    for scene, (frame,) in zip(scenes, source.read(scenes, [grid]), strict=True):
        with rasterio.open(
            folder / f"S2_{scene.time:%Y-%m-%d}.tif", "w", driver="GTiff", width=grid.shape[1], height=grid.shape[0],
            count=len(BANDS) + 1, dtype="uint16", crs=str(LAEA), transform=grid.affine, compress="deflate",
        ) as file:  # fmt: skip
            layers = [*(frame.pixels[bands.OBSERVED.index(name)] for name in BANDS), frame.quality]
            file.write(np.stack(layers))
            for number, name in enumerate((*BANDS, "SCL"), start=1):
                file.set_band_description(number, name)
            file.scales = [1e-4] * len(BANDS) + [1.0]
    return folder
