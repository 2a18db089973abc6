"""``regrowth trends``: trends of any cube. Safe to rerun: the result is replaced as a whole, or not at all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs import __version__
from jobs.console import AsJson, print_json, progress
from jobs.logs import set_up_logs
from monitor.errors import BadData

if TYPE_CHECKING:
    import xarray as xr

    from monitor.trends.cubes import OpenedSeries

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="NetCDF, Zarr, or a folder of GeoTIFFs with a date or year in each name.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="NAME.nc, NAME.zarr, NAME.tif, or a new folder of GeoTIFFs.")]
Variable = Annotated[
    str | None, typer.Option(help="Default: the only one, or ndvi (computed if only red and nir are there).")
]
Yearly = Annotated[bool, typer.Option("--yearly", help="Use growing-season means instead of all observations.")]
Season = Annotated[tuple[int, int], typer.Option(help="With --yearly: first and last day of the year.")]


def trends(
    source: Source,
    out: Out,
    variable: Variable = None,
    yearly: Yearly = False,
    season: Season = (121, 288),
    as_json: AsJson = False,
) -> None:
    """Slope, Mann-Kendall test and harmonic fit of every pixel of a cube (time, y, x).

    Exit status: 0 done, 64 usage, 65 bad data.
    """
    import netCDF4
    import structlog

    from monitor.conventions import history_line
    from monitor.trends.cubes import open_series
    from monitor.trends.maps import growing_season_means, trend

    set_up_logs()
    netCDF4.set_chunk_cache(2**20)  # the default is 64 MB for each of 13 maps, none of which is read again
    source, out = source.resolve(), out.resolve()
    _check_arguments(source, out, season)
    opened = open_series(source, variable)
    with _naming(source):
        series = growing_season_means(opened.series, season) if yearly else opened.series
        maps = trend(series)
    if series.sizes["time"] == 1:
        msg = f"{source}: {series.name!r} has one {'season' if yearly else 'date'}; a trend needs two"
        raise BadData(msg)
    options = f" --variable {series.name}" + (f" --yearly --season {season[0]} {season[1]}" if yearly else "")
    maps.attrs["history"] = history_line(
        datetime.now(UTC), f"regrowth-monitor {__version__}", f"regrowth trends {source.name} {out.name}{options}"
    )
    if "spatial_ref" not in maps.coords:
        structlog.get_logger().warning("no CRS in IN, so none in OUT", source=str(source))
    most_values = _compute(source, out, maps, opened)
    first, last = series["time"].values[[0, -1]].astype("datetime64[D]").astype(str).tolist()
    layers, height, width = series.sizes["time"], maps.sizes["y"], maps.sizes["x"]
    if as_json:
        print_json({
            "out": str(out), "variable": str(series.name), "layers": layers, "first": first, "last": last,
            "yearly": yearly, "height": height, "width": width, "harmonics": maps.attrs["harmonics"],
            "most_values": most_values,
        })  # fmt: skip
    else:
        typer.echo(
            f"{out}: trends of {series.name}, {layers} {'seasons' if yearly else 'layers'} from {first} to {last}, "
            f"{height} x {width} pixels"
        )


def _check_arguments(source: Path, out: Path, season: tuple[int, int]) -> None:
    from monitor.trends.results import OUTPUT_SUFFIXES

    if out.suffix.lower() not in OUTPUT_SUFFIXES:
        msg = f"OUT ends in {out.suffix!r}; it must end in .nc, .zarr or .tif, or be a folder"
        raise typer.BadParameter(msg)
    if out == source or source in out.parents:
        msg = f"OUT {out} is inside IN; write elsewhere"
        raise typer.BadParameter(msg)
    if not all(1 <= day <= 366 for day in season):
        msg = f"--season {season[0]} {season[1]}: days of the year are between 1 and 366"
        raise typer.BadParameter(msg)


def _compute(source: Path, out: Path, maps: "xr.Dataset", opened: "OpenedSeries") -> int:
    """Compute and write the maps; return the largest number of values of a pixel."""
    import dask

    from monitor.trends.cubes import check_values
    from monitor.trends.results import delayed_write, replacing

    with replacing(out) as partial, progress("blocks") as report:
        # optimised together: dask does not optimise writes to NetCDF or Zarr, only the checks, and would then read and
        # fit each block twice
        whole = maps.assign(most_values=maps["n"].max(), stretched=opened.stretched, numbers=opened.numbers)
        (whole,) = dask.optimize(whole)
        maps, checks = whole[[*maps.data_vars]], whole[["most_values", "stretched", "numbers"]]
        with _naming(source):
            write = delayed_write(maps, partial)
        try:
            with _counting(report):
                _, checks = dask.compute(write, checks, optimize_graph=False)
        except (OSError, RuntimeError) as error:
            msg = f"{source} could not be read, or {out} not written: {error}"
            raise BadData(msg) from error
        check_values(source, str(opened.series.name), checks)
    return int(checks["most_values"])


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the name of the file in front of errors about its series."""
    try:
        yield
    except BadData as error:
        msg = f"{source}: {error}"
        raise BadData(msg) from error


def _counting(report: Callable[[int, int], Any]) -> AbstractContextManager[Any]:
    """Report finished tasks of dask to a progress bar."""
    from dask.callbacks import Callback

    total = done = 0

    def start(_graph: Any, state: dict[str, Any]) -> None:
        nonlocal total
        total = sum(len(state[k]) for k in ("ready", "waiting"))

    def finished(*_: Any) -> None:
        nonlocal done
        done += 1
        report(done, total)

    callback: AbstractContextManager[Any] = Callback(start_state=start, posttask=finished)
    return callback
