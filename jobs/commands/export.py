"""``regrowth export``: cube and series of a site in one file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, Config, show
from jobs.runtime.progress import dask_progress


def export(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Id of the site.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New NAME.nc (NetCDF) or NAME.zarr.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write cube and series of a site as NetCDF or Zarr by the CF and ACDD conventions, whole or not at all.

    May run beside a night. Exit status: 0 done, 64 usage, 65 unknown or unpublished site, or OUT exists, 20 disk full.
    """
    from jobs.runtime.settings import config_path, load
    from monitor.access.export import check_target, site_dataset, write_dataset
    from monitor.access.installation import Installation
    from monitor.errors import BadData

    settings, out = load(config), out.absolute()
    places = Installation(
        config=config_path(config), store=settings.store.root, outputs=settings.outputs.root,
        registry=settings.registry.path,
    )  # fmt: skip
    try:
        check_target(places, out)
    except BadData as error:
        raise typer.BadParameter(str(error)) from error
    data = site_dataset(places, site)
    with dask_progress("export"):
        write_dataset(data, out, at=datetime.now(UTC), command=f"regrowth export {site} {out.name}")
    scenes, accepted = data.sizes["time"], int(data["accepted"].sum())
    height, width = data.sizes["y"], data.sizes["x"]
    values = {"site": site, "out": str(out), "scenes": scenes, "accepted": accepted, "height": height, "width": width}
    line = f"{out}: {scenes} scenes of {site}, {accepted} accepted, {height} x {width} pixels"
    show(values, line, as_json=as_json)
