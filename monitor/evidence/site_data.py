"""The record of one site as open files, and back: what was observed, and what was computed from it at ingest.

:func:`site_data_members` writes the members of an evidence pack that hold the scenes of a site: ``landscape.json``
(what was fixed when its landscape was created), ``pixels-2019.nc`` and so on, ``unit-means.nc`` and ``scenes.csv``.
:func:`rebuild_store` makes a store of them that has this site only, and the same rows under the same numbers, so that
every function of the night runs on it unchanged, and every snapshot that an assessment names has the same rows.

Context pictures are left out: no verdict reads them.
"""

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

import icechunk
import numpy as np
from odc.geo.xr import xr_coords

from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES, UNIT_MEASURES, Member, SiteScene, encode_texts
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.evidence import site_netcdf
from monitor.evidence.container import Container
from monitor.evidence.landscape_file import LANDSCAPE, landscape_json, read_landscape
from monitor.evidence.scene_table import COLUMNS, SCENES, SceneRow, read_scenes_csv, scenes_csv
from monitor.evidence.site_netcdf import SCENE_ARRAYS, UNIT_ARRAY, layer_variable
from monitor.sealed_netcdf import Arrays, SealedFiles

UNIT_MEANS: Final = "unit-means"
PIXELS: Final = "pixels"
SUPERSEDED: Final = "-superseded"
"""Ends the name of a file of rows that a later row of the same acquisition replaced, or that share their time with
another scene: on an axis of time each time occurs once."""

MAX_PIXELS: Final = 2 * 10**10
"""Rows of the landscape times pixels of the grid, at most: ten years of 10,000 ha have about a tenth. Files of a few
bytes can state any number."""
MAX_MEANS: Final = 10**6
"""Rows of the landscape times control units, at most: ten years of 60 units have about a sixth."""
MAX_BATCH: Final = 512
"""Rows that are appended to a store at a time, at most."""


def site_data_members(stored: StoredSite, snapshot: str, folder: Path) -> Iterator[tuple[str, bytes | Path]]:
    """The scenes of a site as members of a pack; the same store and snapshot give the same bytes.

    Parameters
    ----------
    stored : StoredSite
    snapshot : str, see :mod:`monitor.cube.stored_site`; rows after it are left out
    folder : Path
        Existing folder for large members, which the caller deletes when all members are written.

    Yields
    ------
    tuple
        Name, and content or file.

    Raises
    ------
    StoreBroken
        The store cannot be read, or has no such snapshot.
    OSError
        A file cannot be written.
    """
    rows = stored.every_row(snapshot)
    yield LANDSCAPE, landscape_json(stored, snapshot)
    checksums: dict[int, str] = {}
    history = f"written from the store {stored.landscape.name} as it was with {snapshot.rpartition(':')[2]} rows"
    for name, some, along in _files(stored.columns_of(rows)):
        path = folder / name
        if name.startswith(PIXELS):
            about = {"title": f"Pixels of site {stored.site}", "history": history}
            checksums |= site_netcdf.write_pixels(path, stored, some, along=along, attributes=about)
        elif stored.units:
            about = {"title": f"Means of the control units of site {stored.site}", "history": history}
            site_netcdf.write_units(path, stored, some, along=along, attributes=about)
        else:
            continue
        yield name, path
    yield SCENES, scenes_csv(stored, rows, [checksums[row] for row in rows.tolist()])


def _files(columns: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray, str]]:
    """NetCDF files of some rows, in order: name, numbers of the rows in it, and name of its first dimension.

    `columns` are ``row``, ``acquisition`` and ``moment`` of all rows of the site, ascending by row.
    """
    row, moment = columns["row"], columns["moment"]
    newest = {name: at for at, name in enumerate(columns["acquisition"].tolist())}  # the last one stays
    times = {moment[at]: at for at in newest.values()}
    counts = np.isin(np.arange(row.size), [*times.values()])
    order = np.lexsort((columns["acquisition"], moment))
    years = moment.astype("datetime64[Y]")
    parts = (("", "time", order[counts[order]]), (SUPERSEDED, "row", np.flatnonzero(~counts)))
    for year in np.unique(years):
        for end, along, chosen in parts:
            if (in_year := chosen[years[chosen] == year]).size:
                yield f"{PIXELS}-{year}{end}.nc", row[in_year], along
    for end, along, chosen in parts:
        if chosen.size:
            yield f"{UNIT_MEANS}{end}.nc", row[chosen], along


def rebuild_store(pack: Container, folder: Path) -> StoredSite:
    """Make a store of the scenes of a site, from the members that :func:`site_data_members` yields.

    Whether its pixels are those of the checksums in ``scenes.csv`` is for the caller to compare.

    Parameters
    ----------
    pack : Container
        Nothing in it is trusted, and nothing but it and `folder` is read or written.
    folder : Path
        Existing empty folder, for the store and for copies of members while they are read.

    Returns
    -------
    StoredSite
        Its rows have the numbers that they had, and the same values.

    Raises
    ------
    BadData
        A member is missing or not as it should be, or they contradict each other; the message names the member.
    """
    fixed, member = read_landscape(pack.read(LANDSCAPE))
    table = pack.read(SCENES)
    scenes = read_scenes_csv(table, limit=fixed.rows)
    if fixed.rows * member.inside.size > MAX_PIXELS or fixed.rows * len(member.units) > MAX_MEANS:
        msg = f"{LANDSCAPE}: {fixed.rows} rows are too many for so large a grid, or so many control units"
        raise BadData(msg)
    icechunk.set_logs_filter("error")  # it warns of concurrent commits; nothing else writes to this folder
    store = LandscapeStore(folder / fixed.landscape)
    store.create([member], biome=fixed.biome, definition=fixed.biome_definition)
    with tempfile.TemporaryDirectory(dir=folder) as copies:
        files = _copied(pack, member, scenes, Path(copies))
        with SealedFiles([arrays for arrays, _ in files]) as opened:
            for number, (arrays, of_file) in enumerate(files):
                _compare_scenes(arrays.path.name, opened.read(number, [*SCENE_ARRAYS], 0, len(of_file)), of_file)
                if "inside" in arrays.arrays:
                    _compare_grid(arrays.path.name, opened, number, member)
            _append_scenes(store, fixed.rows, member, scenes, _observed(opened, files, scenes, member))
    stored = StoredSite(store, fixed.ground)
    rows = np.array([scene.row for scene in scenes], np.int64)
    _compare_tables(table, scenes_csv(stored, rows, [scene.pixels_sha256 for scene in scenes]))
    return stored


def _copied(
    pack: Container, member: Member, scenes: Sequence[SceneRow], folder: Path
) -> list[tuple[Arrays, list[SceneRow]]]:
    """Copies of the NetCDF members in a folder, how their arrays must be, and the scenes in each."""
    columns = {
        "row": np.array([scene.row for scene in scenes], np.int64),
        "acquisition": encode_texts(scene.record.acquisition for scene in scenes),
        "moment": np.array([_naive(scene) for scene in scenes], "datetime64[ns]"),
    }
    by_row = {scene.row: scene for scene in scenes}
    files = []
    for name, rows, _along in _files(columns):
        is_pixels = name.startswith(PIXELS)
        if is_pixels or member.units:
            pack.copy(name, folder / name)
            arrays = site_netcdf.expected_arrays(member.grid if is_pixels else None, rows.size, len(member.units))
            files.append((Arrays(folder / name, arrays), [by_row[row] for row in rows.tolist()]))
    known = {arrays.path.name for arrays, _ in files}
    others = [name for name in pack.names if name.endswith(".nc") and name not in known]
    if others:
        msg = f"{SCENES} has no rows for the member {others[0]}"
        raise BadData(msg)
    return files


def _observed(
    opened: SealedFiles, files: Sequence[tuple[Arrays, list[SceneRow]]], scenes: Sequence[SceneRow], member: Member
) -> Iterator[SiteScene]:
    """The scenes in order, with (layer, pixel) uint16 pixels and (unit, measure) float32 means of the units."""
    places: dict[int, tuple[int, int]] = {}
    means = {scene.row: np.full((max(len(member.units), 1), len(MEASURES)), np.nan, np.float32) for scene in scenes}
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    for number, (arrays, of_file) in enumerate(files):
        if UNIT_ARRAY in arrays.arrays:
            (of_units,) = opened.read(number, [UNIT_ARRAY], 0, len(of_file))
            for scene, values in zip(of_file, of_units, strict=True):
                means[scene.row][:, columns] = values
        else:
            places |= {scene.row: (number, at) for at, scene in enumerate(of_file)}
    layers = [layer_variable(name) for name in PACKED_LAYERS]
    for scene in scenes:
        number, at = places[scene.row]
        pixels = [layer[0, member.inside].astype(np.uint16) for layer in opened.read(number, layers, at, at + 1)]
        yield SiteScene(record=scene.record, pixels=np.stack(pixels), units=means[scene.row], granules=scene.granules)


def _append_scenes(
    store: LandscapeStore, rows: int, member: Member, scenes: Sequence[SceneRow], observed: Iterator[SiteScene]
) -> None:
    """Append all rows, those without the site as empty ones."""
    has_site = {scene.row for scene in scenes}
    size = 2 * len(PACKED_LAYERS) * int(member.inside.sum())
    step = max(min(site_netcdf.BATCH_BYTES // size, MAX_BATCH), 1)
    for start in range(0, rows, step):
        batch = [
            {member.ground: next(observed)} if row in has_site else {} for row in range(start, min(start + step, rows))
        ]
        store.append(batch, f"rows from {start}")


def _naive(scene: SceneRow) -> str:
    """Time of a scene as numpy reads it: in UTC, without saying so."""
    return scene.record.time.removesuffix("+00:00")


def _compare_scenes(name: str, arrays: Sequence[np.ndarray], scenes: Sequence[SceneRow]) -> None:
    """Compare the numbers along the first dimension of a NetCDF member with the table of scenes."""
    expected = {
        "time": np.array([_naive(scene) for scene in scenes], "datetime64[us]").astype(np.int64),
        "row": np.array([scene.row for scene in scenes]),
        "scale": np.array([scene.record.scale for scene in scenes]),
        "offset": np.array([scene.record.offset for scene in scenes]),
        "bandpass": np.array([scene.record.bandpass for scene in scenes]),
    }
    for which, values in zip(SCENE_ARRAYS, arrays, strict=True):
        differs = np.flatnonzero(values != expected[which])
        if differs.size:
            at = int(differs[0])
            msg = (
                f"{name} has {which} {values[at]} in place {at}, and {SCENES} has {expected[which][at]} for row "
                f"{scenes[at].row}"
            )
            raise BadData(msg)


def _compare_grid(name: str, opened: SealedFiles, number: int, member: Member) -> None:
    """Compare the grid of a file of pixels with that of the landscape."""
    height, width = member.inside.shape
    (x,) = opened.read(number, ["x"], 0, width)
    y, inside = opened.read(number, ["y", "inside"], 0, height)
    coordinates = xr_coords(member.grid)
    same = np.array_equal(x, coordinates["x"].values) and np.array_equal(y, coordinates["y"].values)
    if not same or not np.array_equal(inside, member.inside):
        msg = f"{name} has another grid, or other pixels inside the site, than {LANDSCAPE}"
        raise BadData(msg)


def _compare_tables(given: bytes, made: bytes) -> None:
    """Compare the table of scenes with the one that follows from the store made of it."""
    if given == made:
        return
    nothing: list[str] = []
    for number, (old, new) in enumerate(zip_longest(_cells(given), _cells(made), fillvalue=nothing), start=1):
        for name, stated, here in zip_longest(COLUMNS, old, new, fillvalue=""):
            if stated != here:
                msg = f"{SCENES}, line {number}: {name} is {stated[:80]!r}, and {here[:80]!r} by the other members"
                raise BadData(msg)
    msg = f"{SCENES} has the values of the other members, but is written in another form"
    raise BadData(msg)


def _cells(table: bytes) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(table.decode(), newline=""))
