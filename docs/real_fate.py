"""The verdicts and the picture of real-fate.md: two pieces of ground whose fate is real and not injected.

    python docs/real_fate.py WORK docs/real-fate.png FOLDER

WORK is an empty folder. The felled forest comes from the package `nrt` (extra `demo`), the burnt one from FOLDER,
which holds ``annual_composites/YEAR.tif`` and ``wildfire_516.gpkg``.
"""

import json
import subprocess
import sys
from datetime import date, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import geopandas
import matplotlib as mpl
import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from affine import Affine
from shapely.geometry import Polygon, box

mpl.use("Agg")
import matplotlib.pyplot as plt

FELLED_SITES = {
    "felled": ((66, 76, 43, 53), "2018-04-01", "tending"),
    "standing": ((76, 86, 12, 22), "2018-04-01", "tending"),
    "verge": ((20, 29, 76, 100), "2018-03-15", "assisted_regeneration"),
}
"""First and last row, first and last column (10 m), start and intervention of each site: ours, drawn on the images."""
FELLED_NIGHTS = ("2018-11-15", "2019-06-30", "2019-07-31", "2019-09-15", "2019-11-15", "2020-11-15")
BURNT_NIGHTS = tuple(f"{year}-12-31" for year in (2006, 2008, 2012, 2016, 2023))
RESTORED = 2006
CONFIGURATION = """\
[registry]
path = "sites.geojson"
controls = "controls.geojson"
[source]
kind = "stac"
url = "scenes"
allow_hosts = ["scenes"]
since = "{since}"
"""


def regrowth(work: Path, *words: str) -> str:
    """Run a command in a folder and return what it prints."""
    command = [sys.executable, "-m", "jobs.cli", *words]
    environment = {"cwd": work, "text": True, "check": True, "stdout": subprocess.PIPE}
    return subprocess.run(command, **environment).stdout  # type: ignore[call-overload,no-any-return]


def nights(work: Path, days: tuple[str, ...]) -> pd.DataFrame:
    """Check the registry, run a night on each day, and return the verdicts."""
    regrowth(work, "sites", "check", "sites.geojson")
    verdicts: list[dict[str, Any]] = []
    for day in days:
        regrowth(work, "run", "--as-of", day)
        verdicts += json.loads(regrowth(work, "status", "--json"))
    table = pd.DataFrame(verdicts)
    table["reasons"] = table["reasons"].map(" ".join)
    columns = ["as_of", "site", "status", "alert", "uplift", "loss_after", "loss_on", "hectares_lost", "reasons"]
    return table[columns]


def square() -> dict[str, xr.Dataset]:
    """The two cubes of the package nrt, as stored: unscaled integers."""
    package = metadata.distribution("nrt")
    names = {size: f"nrt/data/sentinel2_cube_subset_romania_{size}.nc" for size in ("10m", "20m")}
    return {size: xr.open_dataset(str(package.locate_file(name)), decode_cf=False) for size, name in names.items()}


def prepare_felled(work: Path, cubes: dict[str, xr.Dataset]) -> None:
    """Write scenes, registry, control ground and configuration of the felled forest."""
    (work / "scenes").mkdir(parents=True)
    bands = {"10m": {"B2": "B02", "B3": "B03", "B4": "B04", "B8": "B08", "SCL": "SCL"}, "20m": {"B11": "B11"}}
    for size, names in bands.items():
        cube, pixel = cubes[size], float(size[:-1])
        transform = Affine(pixel, 0, float(cube.x[0]) - pixel / 2, 0, -pixel, float(cube.y[0]) + pixel / 2)
        for layer, name in names.items():
            for days, values in zip(cube["time"].values, cube[layer].values, strict=True):
                day = date(2015, 8, 1) + timedelta(int(days))
                path = work / "scenes" / f"romania_{day}_{name}.tif"
                _write(path, values[None], "EPSG:3035", transform, scale=1.0 if name == "SCL" else 1e-4)
    left, top = float(cubes["10m"].x[0]) - 5, float(cubes["10m"].y[0]) + 5

    def ground(first: int, last: int, west: int, east: int) -> Polygon:
        return box(left + 10 * west, top - 10 * last, left + 10 * east, top - 10 * first)

    outlines = {site: ground(*rows) for site, (rows, _, _) in FELLED_SITES.items()}
    forest = ground(32, 100, 0, 100)  # all of it south of the road, also what was felled later
    for outline in outlines.values():
        forest = forest.difference(outline.buffer(20, cap_style="square"))
    columns = [
        {"id": site, "start": start, "intervention": work_done, "biome": "north_mountain", "geometry": outlines[site]}
        for site, (_, start, work_done) in FELLED_SITES.items()
    ]
    _write_registry(work, geopandas.GeoDataFrame(columns, crs=3035), forest, since="2015-08-01")
    regrowth(work, "source", "index", "scenes")


def prepare_burnt(work: Path, folder: Path) -> None:
    """Write scenes, registry, control ground and configuration of the burnt forest."""
    (work / "scenes").mkdir(parents=True)
    for path in sorted((folder / "annual_composites").glob("*.tif")):
        with rasterio.open(path) as file:
            numbers = np.round(file.read() * 1e4).astype("uint16")  # 0 stays 0: nothing was seen
            names = ("blue", "green", "red", "nir", "swir16", "swir22")
            out = work / "scenes" / f"composite_{path.stem}-08-01.tif"
            _write(out, numbers, file.crs, file.transform, scale=1e-4, names=names)
            window = box(*file.bounds)
    outline = geopandas.read_file(folder / "wildfire_516.gpkg").geometry
    site = {"id": "burnt", "start": f"{RESTORED}-05-01", "intervention": "planting", "biome": "north_mountain"}
    registry = geopandas.GeoDataFrame([site], geometry=outline.values, crs=outline.crs)
    _write_registry(work, registry, window.difference(outline.iloc[0].buffer(30)), since="2000-01-01")
    regrowth(work, "source", "index", "scenes", "--no-quality")


def _write(
    path: Path, bands: np.ndarray, crs: Any, transform: Affine, *, scale: float, names: tuple[str, ...] = ()
) -> None:
    count, height, width = bands.shape
    place = {"crs": crs, "transform": transform, "nodata": 0, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **place) as file:
        file.write(bands)
        file.scales = (scale,) * count
        if names:
            file.descriptions = names


def _write_registry(work: Path, sites: geopandas.GeoDataFrame, control: Any, *, since: str) -> None:
    sites.assign(name=sites["id"]).to_crs(4326).to_file(work / "sites.geojson")
    geopandas.GeoDataFrame(geometry=[control], crs=sites.crs).to_crs(4326).to_file(work / "controls.geojson")
    (work / "regrowth.toml").write_text(CONFIGURATION.format(since=since), encoding="utf-8")


def burnt_trends(work: Path) -> pd.Series:
    """What trends and recovery say of the burnt site, whose series is too sparse for a verdict."""
    from monitor.trends import maps
    from monitor.trends.cubes import open_series

    nbr = open_series(work / "scenes", "nbr").series.load()
    year = nbr["time"].dt.year
    since = nbr.isel(time=np.flatnonzero(year >= RESTORED))
    target = nbr.isel(time=np.flatnonzero((year == RESTORED - 3) | (year == RESTORED - 2))).mean("time")
    site = geopandas.read_file(work / "sites.geojson").to_crs(nbr.rio.crs)
    reached = since / (0.8 * target.where(target > 0))  # as in J. C. White et al. (2017), doi:10.1016/j.rse.2017.03.035
    years = since["time"].dt.year - RESTORED
    both = maps.trend(since)[["slope", "p"]].assign(
        share=reached.isel(time=-1, drop=True), waited=years.where(reached >= 1, np.inf).min("time")
    )
    inside = both.rio.clip(site.geometry, drop=False)
    seen = np.isfinite(inside["slope"])
    rising = (inside["slope"] > 0) & (inside["p"] < 0.05)
    waited = inside["waited"].where(seen)
    return pd.Series(
        {
            f"median slope of NBR since {RESTORED}, a year": float(inside["slope"].median()),
            "share of pixels that rise (p < 0.05)": float(rising.sum() / seen.sum()),
            "median years to 80 % of the level of 2003 and 2004": float(waited.median()),
            "share of pixels at 80 % in 2023": float((inside["share"] >= 1).sum() / np.isfinite(inside["share"]).sum()),
        }
    )


COLOURS = {
    "on_track": "#4d9a5b", "too_early": "#a9b7c6", "undecided": "#d9c48a", "insufficient_data": "#d0d0d0",
    "disturbed": "#b5322e", "failing": "#c9682c", "lagging": "#d9a441", "recovered": "#2f6f4f",
}  # fmt: skip
WORDS = {"insufficient_data": "cannot tell", "on_track": "no loss seen", "disturbed": "sudden loss"}


def draw(picture: Path, felled: Path, burnt: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Draw the site and its control ground at each scene, the verdicts below, and images before and after."""
    figure, axes = plt.subplots(
        3, 4, figsize=(13, 9.5), layout="constrained", width_ratios=(2.1, 1, 1, 1), facecolor="white"
    )
    rows = (
        (felled, "felled", "NDVI", ("2018-08-25", "2019-07-06", "2020-08-04"), "Felled in the winter 2018/19, Romania"),
        (felled, "verge", "NDVI", ("2016-08-05", "2017-07-11", "2020-08-04"), "Verge cleared in spring 2017, Romania"),
        (burnt, "burnt", "NBR", ("2004-08-01", "2006-08-01", "2022-08-01"), "Burnt in 2005, British Columbia"),
    )
    for line, (work, site, index, days, title) in zip(axes, rows, strict=True):
        _series(line[0], work, site, index, tables[work.name], title)
        for axis, day in zip(line[1:], days, strict=True):
            _image(axis, work, site, day)
    figure.savefig(picture, dpi=80)


def _series(axis: Any, work: Path, site: str, index: str, verdicts: pd.DataFrame, title: str) -> None:
    path = work / "outputs" / "sites" / site / "observations.csv"
    seen = pd.read_csv(path, parse_dates=["date"], encoding="utf-8-sig").query("accepted")
    names = ("ndvi", "control_ndvi") if index == "NDVI" else ("second_index", "control_second_index")
    axis.plot(seen["date"], seen[names[1]], color="#8a8a8a", marker="o", ms=2.5, lw=0.8, label="control ground")
    axis.plot(seen["date"], seen[names[0]], color="#1f4e79", marker="o", ms=2.5, lw=0.8, label="site")
    start = FELLED_SITES[site][1] if site in FELLED_SITES else f"{RESTORED}-05-01"
    axis.axvline(pd.Timestamp(start), color="black", lw=1, ls=":", label="start in the registry")
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.22 * (high - low), high)
    mine = verdicts[verdicts["site"] == site]
    for day, status in zip(pd.to_datetime(mine["as_of"]), mine["status"], strict=True):
        axis.plot(day, low - 0.1 * (high - low), "s", ms=9, color=COLOURS[status], mec="black", mew=0.6, clip_on=False)
    shown = {WORDS.get(status, status.replace("_", " ")): COLOURS[status] for status in mine["status"]}
    for word, colour in shown.items():
        axis.plot([], [], "s", ms=7, color=colour, mec="black", mew=0.6, label=f"verdict: {word}")
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_ylabel(f"{index} (no unit)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3, frameon=False)


def _image(axis: Any, work: Path, site: str, day: str) -> None:
    """Natural colour, one stretch for all images of a case, with the outline of the site and a scale bar."""
    name = {"red": "B04", "green": "B03", "blue": "B02"}
    layers = []
    for number, band in enumerate(name, start=1):
        path = work / "scenes" / f"romania_{day}_{name[band]}.tif"
        path, place = (path, 1) if path.exists() else (work / "scenes" / f"composite_{day}.tif", 4 - number)
        with rasterio.open(path) as file:
            layers.append(file.read(place).astype(float))
            bounds, crs = file.bounds, file.crs
    bright = 1300 if work.name == "felled" else 900
    axis.imshow(
        np.clip(np.dstack(layers) / bright, 0, 1) ** 0.8, extent=(bounds.left, bounds.right, bounds.bottom, bounds.top)
    )
    sites = geopandas.read_file(work / "sites.geojson").to_crs(crs)
    for colour, width in (("black", 3.0), ("white", 1.4)):
        sites[sites["id"] == site].boundary.plot(ax=axis, color=colour, linewidth=width)
    left, bottom = bounds.left + 60, bounds.bottom + 60
    axis.plot([left, left + 200], [bottom, bottom], color="black", lw=5, solid_capstyle="butt")
    axis.plot([left, left + 200], [bottom, bottom], color="white", lw=2.5, solid_capstyle="butt")
    axis.text(left, bottom + 30, "200 m", color="white", fontsize=8, path_effects=_outlined())
    axis.set_title(day if work.name == "felled" else f"composite of {day[:4]}", fontsize=9)
    axis.set(xticks=[], yticks=[], xlabel="", ylabel="")


def _outlined() -> list[Any]:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2, foreground="black")]


def main(work: Path, picture: Path, folder: Path) -> None:
    """Run both cases, print what the page quotes, and draw the picture."""
    felled, burnt = work / "felled", work / "burnt"
    prepare_felled(felled, square())
    prepare_burnt(burnt, folder)
    tables = {"felled": nights(felled, FELLED_NIGHTS), "burnt": nights(burnt, BURNT_NIGHTS)}
    for table in tables.values():
        sys.stdout.write(table.to_string(index=False) + "\n\n")
    sys.stdout.write(burnt_trends(burnt).to_string() + "\n")
    draw(picture, felled, burnt, tables)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
