"""``regrowth trends``: trends of any cube. Safe to rerun: the result is replaced as a whole, or not at all."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jobs import __version__
from jobs.runtime.console import AsJson, show
from jobs.runtime.kernel_cache import announcing_compilation
from jobs.runtime.logs import set_up_logs
from jobs.runtime.progress import dask_progress
from monitor.errors import BadData

if TYPE_CHECKING:
    import xarray as xr

    from monitor.trends.cubes import Mask, OpenedSeries

OUTPUT_SUFFIXES: Final = (".nc", ".zarr", ".tif", ".tiff", "")  # an empty one means a folder of GeoTIFFs

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="NetCDF, Zarr, or a folder of GeoTIFFs with a date or year in each name.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="NAME.nc, NAME.zarr, NAME.tif, or a new folder of GeoTIFFs.")]
Variable = Annotated[
    str | None, typer.Option(help="Default: the only one, or ndvi. An index is computed if only its bands are there.")
]
Bands = Annotated[
    str | None,
    typer.Option(
        metavar="red=B4,nir=B8", help="The bands of IN from which the index is computed: red, nir, swir16, swir22."
    ),
]
Scale = Annotated[float | None, typer.Option(help="Factor of the numbers, where IN states none.")]
Offset = Annotated[float | None, typer.Option(help="Added to number times scale, where IN states none.")]
MaskOption = Annotated[
    str | None, typer.Option("--mask", metavar="SCL=4,5,7", help="A layer of IN, and its values where pixels count.")
]
Yearly = Annotated[bool, typer.Option("--yearly", help="Use growing-season means instead of all observations.")]
Season = Annotated[tuple[int, int], typer.Option(help="With --yearly: first and last day of the year.")]


def trends(
    source: Source, out: Out, variable: Variable = None, bands: Bands = None, scale: Scale = None,
    offset: Offset = None, mask: MaskOption = None, yearly: Yearly = False, season: Season = (121, 288),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Slope, Mann-Kendall test and harmonic fit of every pixel of a cube (time, y, x).

    Exit status: 0 done, 64 usage, 65 bad data.
    """
    import netCDF4

    from monitor.files import appearing
    from monitor.trends.cubes import Packing, open_series

    set_up_logs()
    source, out = source.resolve(), out.resolve()
    _check_arguments(source, out, season, scale, offset)
    roles, pixels = _bands(bands), _mask(mask)
    options: dict[str, object] = {
        "bands": bands, "scale": scale, "offset": offset, "mask": mask,
        "yearly --season": f"{season[0]} {season[1]}" if yearly else None,
    }  # fmt: skip

    netCDF4.set_chunk_cache(2**20)  # the default is 64 MB for each of 13 maps, none of which is read again
    with appearing(out) as partial:
        opened = open_series(source, variable, bands=roles, packing=Packing(scale, offset), mask=pixels)
        summary = _write_maps(source, out, partial, opened, season if yearly else None, options)
    layers = f"{summary['layers']} {'seasons' if yearly else 'layers'} from {summary['first']} to {summary['last']}"
    size = f"{summary['height']} x {summary['width']} pixels"
    show(summary, f"{out}: trends of {summary['variable']}, {layers}, {size}", as_json=as_json)


def _bands(text: str | None) -> dict[str, str]:
    bands: dict[str, str] = {}
    for pair in text.split(",") if text is not None else ():
        role, name = (word.strip() for word in (*pair.partition("=")[::2],))
        if not (role and name) or role.lower() in bands:
            raise typer.BadParameter(f"--bands {text}: name each band once, as in red=B4,nir=B8")
        bands[role.lower()] = name
    return bands


def _mask(text: str | None) -> "Mask | None":
    """Layer and values of the pixels that count."""
    from monitor.trends.cubes import Mask

    if text is None:
        return None
    layer, _, values = text.partition("=")
    if not layer.strip() or not re.fullmatch(r" *[+-]?\d+ *(, *[+-]?\d+ *)*", values):
        msg = f"--mask {text}: name a layer and its whole numbers where pixels count, as in SCL=4,5,7"
        raise typer.BadParameter(msg)
    return Mask(layer.strip(), [int(value) for value in values.split(",")])


def _history(source: Path, out: Path, options: dict[str, object]) -> str:
    """Line of the attribute ``history``, with the names of the files but not the folders of this machine."""
    from monitor.conventions import history_line

    given = "".join(f" --{name} {value}" for name, value in options.items() if value is not None)
    command = f"regrowth trends {source.name} {out.name}{given}"
    return history_line(datetime.now(UTC), f"regrowth-monitor {__version__}", command)


def _check_arguments(
    source: Path, out: Path, season: tuple[int, int], scale: float | None, offset: float | None
) -> None:
    if out.suffix.lower() not in OUTPUT_SUFFIXES:
        raise typer.BadParameter(f"OUT ends in {out.suffix!r}; it must end in .nc, .zarr or .tif, or be a folder")
    if out == source or source in out.parents:
        raise typer.BadParameter(f"OUT {out} is inside IN; write elsewhere")
    if not all(1 <= day <= 366 for day in season):
        raise typer.BadParameter(f"--season {season[0]} {season[1]}: days of the year are between 1 and 366")
    if scale == 0 or not all(math.isfinite(number) for number in (scale, offset) if number is not None):
        raise typer.BadParameter(f"--scale {scale} --offset {offset}: both must be finite, and the scale not 0")


def _write_maps(
    source: Path, out: Path, partial: Path, opened: "OpenedSeries", season: tuple[int, int] | None,
    options: Mapping[str, object],
) -> dict[str, Any]:  # fmt: skip
    """Compute and write the maps of a cube, of the means of a season or of all observations; describe them."""
    import structlog

    from monitor.trends.maps import growing_season_means, trend
    from monitor.trends.results import refuse_other_contents

    with _naming(source):
        series = growing_season_means(opened.series, season) if season else opened.series
        maps = trend(series)
    if series.sizes["time"] == 1:
        raise BadData(f"{source}: {series.name!r} has one {'season' if season else 'date'}; a trend needs two")
    refuse_other_contents(out)
    maps.attrs["history"] = _history(source, out, {"variable": series.name, **options})
    if "spatial_ref" not in maps.coords:
        structlog.get_logger().warning("no CRS in IN, so none in OUT", source=str(source))
    most_values = _compute(source, out, partial, maps, opened)
    first, last = series["time"].values[[0, -1]].astype("datetime64[D]").astype(str).tolist()
    return {
        "out": str(out), "variable": str(series.name), "layers": series.sizes["time"], "first": first, "last": last,
        "yearly": season is not None, "height": maps.sizes["y"], "width": maps.sizes["x"],
        "harmonics": maps.attrs["harmonics"], "most_values": most_values,
    }  # fmt: skip


def _compute(source: Path, out: Path, partial: Path, maps: "xr.Dataset", opened: "OpenedSeries") -> int:
    """Compute and write the maps; return the largest number of values of a pixel."""
    import lzma
    import zlib

    import dask

    from monitor.trends.cubes import check_values
    from monitor.trends.results import delayed_write

    # optimised together: dask does not optimise writes to NetCDF or Zarr, only the checks, and would then read and fit
    # each block twice
    names, lazy_checks = [*maps.data_vars], opened.checks.assign(most_values=maps["n"].max())
    (whole,) = dask.optimize(maps.assign(lazy_checks))
    maps, checks = whole[names], whole[[*lazy_checks.data_vars]]
    with _naming(source):
        write = delayed_write(maps, partial)
    try:
        with dask_progress("blocks"), announcing_compilation(_announce_compilation):
            _, checks = dask.compute(write, checks, optimize_graph=False)
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, MemoryError, zlib.error, lzma.LZMAError) as error:
        raise BadData(f"{source} could not be read, or {out} not written: {error}") from error
    check_values(source, str(opened.series.name), checks)
    return int(checks["most_values"])


def _announce_compilation() -> None:
    import structlog

    structlog.get_logger().info("compiling the kernels of trends, up to half a minute; later runs use them again")


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the name of the file in front of errors about its series."""
    try:
        yield
    except BadData as error:
        raise BadData(f"{source}: {error}") from error
