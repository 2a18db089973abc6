"""Trends of anyone's cube. Safe to run again: the result is replaced as a whole, or not at all."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer

LEAST_POSSIBLE: Final = 0.5
"""Share of the numbers that must be possible; were it less, they would not be what they are taken for. [1]"""


def trends(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="NetCDF, Zarr, or a folder of GeoTIFFs with a date or year in each name."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="NAME.nc, NAME.zarr, NAME.tif, or a new folder of GeoTIFFs.")
    ],
    variable: Annotated[
        str | None, typer.Option(help="Default: the only one, or ndvi (computed where only red and nir are there).")
    ] = None,
    yearly: Annotated[
        bool, typer.Option("--yearly", help="Of growing-season means instead of all observations.")
    ] = False,
    season: Annotated[tuple[int, int], typer.Option(help="With --yearly: first and last day of the year.")] = (
        121,
        288,
    ),
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Slope, Mann-Kendall test and harmonic fit of every pixel of a cube (time, y, x).

    Exit status: 0 done, 64 usage, 65 bad data.
    """
    import dask
    import netCDF4
    import structlog

    from jobs.console import print_json, print_line, progress
    from jobs.logs import set_up_logs
    from monitor.errors import BadData
    from monitor.trends.cubes import MAX_INDEX, POSSIBLE_REFLECTANCE, open_series
    from monitor.trends.maps import growing_season_means, trend
    from monitor.trends.results import OUTPUT_SUFFIXES, delayed_write, replacing

    set_up_logs()
    least, most = POSSIBLE_REFLECTANCE
    netCDF4.set_chunk_cache(2**20)  # of its own it keeps 64 MB of each of 13 maps, of which nothing is read again
    source, out = source.resolve(), out.resolve()
    if out.suffix.lower() not in OUTPUT_SUFFIXES:
        msg = f"OUT ends in {out.suffix!r}; it may end in .nc, .zarr, .tif, or be a folder"
        raise typer.BadParameter(msg)
    if out == source or source in out.parents:
        msg = f"OUT {out} lies in IN; write elsewhere"
        raise typer.BadParameter(msg)
    if not all(1 <= day <= 366 for day in season):
        msg = f"--season {season[0]} {season[1]}: days of the year lie between 1 and 366"
        raise typer.BadParameter(msg)
    series, stretched, numbers = open_series(source, variable)
    with _naming(source):
        used = growing_season_means(series, season) if yearly else series
        maps = trend(used)
    if used.sizes["time"] == 1:
        msg = f"{source}: {series.name!r} has one {'season' if yearly else 'date'}; a trend needs two"
        raise BadData(msg)
    if "spatial_ref" not in maps.coords:
        structlog.get_logger().warning("no CRS in IN, so none in OUT", source=str(source))
    with replacing(out) as partial, progress("blocks") as tell:
        # put in order as one: dask would leave what is written to NetCDF or Zarr as it is, but not the checks, and so
        # read and fit each block once for these and once for those
        (whole,) = dask.optimize(maps.assign(most=maps["n"].max(), stretched=stretched, numbers=numbers))
        maps, checks = whole[[*maps.data_vars]], whole[["most", "stretched", "numbers"]]
        with _naming(source):
            todo = delayed_write(maps, partial)
        try:
            with _counting(tell):
                _, found = dask.compute(todo, checks, optimize_graph=False)
        except (OSError, RuntimeError) as error:
            msg = f"{source} could not be read, or {out} not written: {error}"
            raise BadData(msg) from error
        layers = int(found["stretched"].sum())
        if layers:
            msg = (
                f"{source}: {layers} layers run from exactly 0 to exactly 1 in every band, so they were "
                "stretched for display and are no reflectance; get the unstretched ones"
            )
            raise BadData(msg)
        if found["most"] < 2:
            msg = (
                f"{source}: no pixel of {series.name!r} has two values. If there are any, they were not possible: "
                f"reflectance lies within {least} to {most} and not at 0, NDVI within -1 to 1, other "
                f"indices within -{MAX_INDEX:g} to {MAX_INDEX:g}; scaled integers need the attributes scale_factor and "
                "add_offset; and what is outside valid_min, valid_max or valid_range does not count: see whether those "
                "of the file are right"
            )
            raise BadData(msg)
        given, possible = found["numbers"].values
        if possible < LEAST_POSSIBLE * given:
            msg = (
                f"{source}: of {given} numbers {given - possible} cannot be what {series.name!r} is taken for, so the "
                f"others tell nothing: reflectance lies within {least} to {most}, NDVI within -1 to 1, "
                f"other indices within -{MAX_INDEX:g} to {MAX_INDEX:g}. Say what they mean by scale_factor and "
                "add_offset, "
                "and what marks no value by _FillValue (of a GeoTIFF scale, offset, nodata)"
            )
            raise BadData(msg)
    told = {
        "out": str(out),
        "variable": str(series.name),
        "layers": used.sizes["time"],
        "first": str(used["time"].values[0].astype("datetime64[D]")),
        "last": str(used["time"].values[-1].astype("datetime64[D]")),
        "yearly": yearly,
        "height": maps.sizes["y"],
        "width": maps.sizes["x"],
        "harmonics": maps.attrs["harmonics"],
        "most_values": int(found["most"]),
    }
    if as_json:
        print_json(told)
    else:
        print_line(
            f"{out}: trends of {told['variable']}, {told['layers']} {'seasons' if yearly else 'layers'} from "
            f"{told['first']} to {told['last']}, {told['height']} x {told['width']} pixels"
        )


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Say of which file it is that a series is no good."""
    from monitor.errors import BadData

    try:
        yield
    except BadData as error:
        msg = f"{source}: {error}"
        raise BadData(msg) from error


def _counting(tell: Callable[[int, int], Any] | None) -> AbstractContextManager[Any]:
    """Tell a progress bar how many tasks of dask are done."""
    from dask.callbacks import Callback

    if tell is None:
        return nullcontext()
    total = done = 0

    def start(_graph: Any, state: dict[str, Any]) -> None:
        nonlocal total
        total = sum(len(state[k]) for k in ("ready", "waiting"))

    def finished(*_: Any) -> None:
        nonlocal done
        done += 1
        tell(done, total)

    watch: AbstractContextManager[Any] = Callback(start_state=start, posttask=finished)
    return watch
