"""``regrowth source``: make files of one's own a source."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jobs.runtime.console import AsJson, new_group, print_json, printable
from jobs.runtime.exits import Exit
from monitor.errors import BadData
from monitor.files import write_atomically

if TYPE_CHECKING:
    from monitor.imagery.stac.folder_index import FolderIndex

app = new_group("Files of your own as a source.")

MAX_PROBLEMS: Final = 50  # files that are printed for each reason; more are counted


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Folder of images: a product, a file a date, or a file a band.")],
    bands: Annotated[
        str, typer.Option(help="Band numbers or names, where files name none: blue=1,green=2,red=3,nir=4,scl=5.")
    ] = "",
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = scale * number + offset; default: the files'.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="Default: that of the files or their product.")] = None,
    offsets: Annotated[Path | None, typer.Option(help="CSV of scene and offset, as --check writes it.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare scenes by their pixels; write their offsets to FOLDER/offsets.csv.")
    ] = False,
    no_quality: Annotated[
        bool, typer.Option("--no-quality", help="Take scenes without a quality layer: clouds have no value already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write STAC items for a folder of images, so that it can be a source. Safe to run again, after new files.

    Writes FOLDER/catalog.json and FOLDER/stac/. Reads headers, and some blocks where pixels must show the scale. With
    --check nothing but FOLDER/offsets.csv is written. Exit status: 0 all files are used, 10 some are not, or an offset
    remains unknown, 65 none can be used.
    """
    from monitor.imagery.stac.folder_catalogue import write_catalogue
    from monitor.imagery.stac.folder_index import index_folder
    from monitor.imagery.stac.folder_scene import IndexOptions

    options = IndexOptions(
        bands=_band_places(bands), scale=scale, offset=None if check else offset, offsets=_read_offsets(offsets),
        no_quality=no_quality, check=check,
    )  # fmt: skip
    found = index_folder(folder, options)
    if check:
        _check(found, folder, as_json=as_json)
        return
    catalogue, changed = write_catalogue(folder, found.scenes) if found.scenes else (None, [])
    if as_json:
        print_json(_json(found, catalogue) | {"changed": changed})
    else:
        _print(found, folder)
        if changed:
            typer.echo(
                f"\nIndexed otherwise before: {len(changed)} scenes, {printable(changed[0])} first. What a night has "
                "stored of them stays; 'regrowth sites controls SITE --again' has a site fetch its history again."
            )
    if found.problems:
        raise typer.Exit(Exit.SOME_FAILED if found.scenes else Exit.BAD_DATA)


def _band_places(text: str) -> dict[str, str]:
    """Bands by name, as ``--bands`` states them; BadParameter for anything but a band or quality layer."""
    from monitor.imagery.bands import OBSERVED
    from monitor.imagery.stac.products import QUALITY_KEYS

    known = (*OBSERVED, *QUALITY_KEYS)
    places: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, place = (piece.strip() for piece in part.partition("="))
        if name.lower() not in known or not place:
            msg = f"{part!r} is none of NAME=NUMBER or NAME=BAND; names are {', '.join(known)}"
            raise typer.BadParameter(msg, param_hint="--bands")
        places[name.lower()] = place
    return places


def _read_offsets(path: Path | None) -> dict[str, float]:
    """Offset of each scene of a CSV file; empty ones are left out."""
    if path is None:
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return {row["scene"]: float(row["offset"]) for row in csv.DictReader(file) if row["offset"].strip()}
        except (KeyError, ValueError, AttributeError) as error:
            raise BadData(f"{path} is not a table with columns scene and offset, in UTF-8") from error


def _check(found: "FolderIndex", folder: Path, *, as_json: bool) -> None:
    """Propose an offset for each scene that states none, and write the table of them."""
    from monitor.cube.offset_proposals import propose_offsets
    from monitor.imagery.stac.source import Stac

    scenes = [one for one in found.scenes if one.scene.sensor.startswith("sentinel-2")]
    source = Stac(str(folder), allow_hosts=[str(folder)])
    proposed = propose_offsets(source, [one.scene for one in scenes], [one.states_offset for one in scenes])
    rows: list[dict[str, object]] = []
    for one, (offset, by_pixels) in zip(scenes, proposed, strict=True):
        if one.states_offset:
            continue
        why = "with the other one it contradicts other scenes of this ground" if by_pixels else (
            "as the scenes before and after it; its own pixels do not tell")  # fmt: skip
        why = "the pixels do not tell" if offset is None else why
        rows.append({"scene": one.scene.id, "date": one.scene.time.date(), "offset": offset, "why": why})
    is_any_known = any(row["offset"] is not None for row in rows)
    if is_any_known:
        table = io.StringIO()
        writer = csv.DictWriter(table, ["scene", "date", "offset", "why"])
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(folder / "offsets.csv", table.getvalue().encode())
    if as_json:
        print_json({"scenes": rows, "problems": _json(found, None)["problems"]})
    else:
        _print_problems(found)
        for row in rows:
            shown = "unknown" if row["offset"] is None else f"{row['offset']:g}"
            typer.echo(f"{row['date']}  {printable(str(row['scene']))}  offset {shown}: {row['why']}")
        if is_any_known:
            path = folder / "offsets.csv"
            typer.echo(f"Look at {path}, correct it if you know better, then add to the command: --offsets {path}")
        elif rows:
            typer.echo("The scenes do not differ by an offset: state one for all of them, --offset -0.1 or --offset 0.")
        else:
            typer.echo("Every scene states its offset, or needs none. Now index without --check.")
    if found.problems or any(row["offset"] is None for row in rows):
        raise typer.Exit(Exit.SOME_FAILED)


def _json(found: "FolderIndex", catalogue: Path | None) -> dict[str, object]:
    scenes = [
        {
            "scene": one.scene.id, "date": one.scene.time.date(), "sensor": one.scene.sensor, "bands": list(one.bands),
            "quality": one.scene.quality, "scale": one.scene.scale, "offset": one.scene.offset,
        }
        for one in found.scenes
    ]  # fmt: skip
    problems = [{"file": path.encode(errors="replace").decode(), "why": why} for path, why in found.problems]
    return {
        "catalogue": None if catalogue is None else str(catalogue), "scenes": scenes, "problems": problems,
        "unread": dict(sorted(found.unread.items())),
    }  # fmt: skip


def _print(found: "FolderIndex", folder: Path) -> None:
    for one in found.scenes:
        scene = one.scene
        quality = "no quality layer: clouds are not masked" if scene.quality == "none" else f"quality {scene.quality}"
        typer.echo(
            f"{scene.time:%Y-%m-%d}  {printable(scene.id)}  {' '.join(one.bands)}; {quality}; "
            f"reflectance = {scene.scale:g} * number {'-' if scene.offset < 0 else '+'} {abs(scene.offset):g}"
        )
    _print_problems(found)
    if not found.scenes:
        typer.echo("No scene can be used, so nothing was written.")
        return
    name = json.dumps(str(folder), ensure_ascii=False)
    days = [one.scene.time.date() for one in found.scenes]
    typer.echo(f"{len(days)} scenes. Put this into regrowth.toml, with folders as seen from it:\n")
    typer.echo(f'[source]\nkind = "stac"\nurl = {name}\nallow_hosts = [{name}]\nsince = "{min(days)}"')


def _print_problems(found: "FolderIndex") -> None:
    by_reason: dict[str, list[str]] = {}
    for path, why in found.problems:
        by_reason.setdefault(why, []).append(path)
    for why, paths in by_reason.items():
        typer.echo(f"not used: {printable(why)}")
        for path in paths[:MAX_PROBLEMS]:
            typer.echo(f"    {printable(path)}")
        if len(paths) > MAX_PROBLEMS:
            typer.echo(f"    and {len(paths) - MAX_PROBLEMS} more; --json lists all")
    if found.unread:
        layers = ", ".join(f"{name.upper()} ({count})" for name, count in sorted(found.unread.items()))
        typer.echo(f"Layers that are not needed: {printable(layers)}.")
