"""The picture of trends.md: trends and recovery of a burnt valley, by the product's own command.

    python docs/trends.py FOLDER docs/trends.png

The folder holds ``annual_composites/YEAR.tif`` (bands named blue to swir2) and ``wildfire_516.gpkg``.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import geopandas
import matplotlib as mpl
import numpy as np
import xarray as xr

from jobs.commands.trends import trends
from monitor.trends.cubes import open_series

mpl.use("Agg")
import matplotlib.pyplot as plt

RESTORED = 2006


def main(folder: Path, picture: Path) -> None:
    """Draw the picture."""
    composites = folder / "annual_composites"
    outline = geopandas.read_file(folder / "wildfire_516.gpkg")
    with tempfile.TemporaryDirectory() as place:
        since = Path(place) / "since"
        since.mkdir()
        for path in composites.glob("*.tif"):
            if int(path.stem) >= RESTORED:
                shutil.copy(path, since)
        trends(composites, Path(place) / "all.nc", variable="ndvi")
        trends(since, Path(place) / "since.nc", variable="ndvi")
        maps = [xr.load_dataset(Path(place) / name, decode_coords="all") for name in ("all.nc", "since.nc")]
    nir, swir = (open_series(composites, band).series.load() for band in ("nir", "swir2"))
    nbr = (nir - swir) / (nir + swir)
    year = nbr["time"].dt.year
    target = nbr.sel(time=(year == 2003) | (year == 2004)).mean("time")
    after = nbr.sel(time=year >= RESTORED)
    waited = (after["time"].dt.year - RESTORED).where(after >= 0.8 * target).min("time")
    outline = outline.to_crs(maps[0].rio.crs)

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
    titles = ("slope, 2000 to 2023", f"slope, {RESTORED} to 2023")
    for one, title, axis in zip(maps, titles, axes, strict=False):
        drawn = one["slope"].plot(ax=axis, vmin=-0.015, vmax=0.015, cmap="RdYlGn", add_colorbar=False)
        unsure = xr.where(one["p"] < 0.05, np.nan, 1.0)
        unsure.plot.contourf(ax=axis, levels=[0.5, 1.5], colors="none", hatches=["////"], add_colorbar=False)
        axis.set_title(f"{title} (hatched: p > 0.05)", fontsize=10)
    figure.colorbar(drawn, ax=axes[:2], label="NDVI a year")
    colours = mpl.colormaps["viridis_r"].with_extremes(bad="#d9d4cc")
    last = waited.where(target > 0).plot(ax=axes[2], vmin=0, vmax=17, cmap=colours, add_colorbar=False)
    axes[2].set_title("NBR, 80 % of 2003-04 (grey: not yet)", fontsize=10)
    figure.colorbar(last, ax=axes[2], label="years until 80 %")
    for axis in axes:
        outline.boundary.plot(ax=axis, color="black", linewidth=1.2)
        axis.set(xlabel="", ylabel="", xticks=[], yticks=[], aspect="equal")
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
