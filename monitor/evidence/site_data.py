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
from typing import Final, NamedTuple, Protocol

import icechunk
import numpy as np
from odc.geo.xr import xr_coords

from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES, UNIT_MEASURES, Member, SiteScene, encode_texts
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData
from monitor.evidence import site_netcdf
from monitor.evidence.landscape_file import LANDSCAPE, landscape_json, read_landscape
from monitor.evidence.scene_table import (
    COLUMNS,
    SCENES,
    SceneRow,
    pixels_sha256,
    read_scenes_csv,
    scenes_csv,
)
from monitor.evidence.site_netcdf import SCENE_ARRAYS, UNIT_ARRAY, Arrays, Step, layer_variable

UNIT_MEANS: Final = "unit-means"
PIXELS: Final = "pixels"
SUPERSEDED: Final = "-superseded"
"""Ends the name of a file of rows that a later row of the same acquisition replaced, or that share their time with
another scene: on an axis of time each time occurs once."""

MAX_BYTES: Final = 2**37
"""Values of all NetCDF members that are read, at most: ten years of 10,000 ha have about 30 GB. [byte]"""
MAX_EMPTY_PIXELS: Final = 10**10
"""Pixels of the site in rows that do not have it, at most: a large site has few neighbours in its landscape."""
MAX_FILE_OVERHEAD: Final = 10**6
"""Size of a NetCDF member beyond its arrays, at most. [byte]"""
MAX_BATCH: Final = 512
"""Rows that are appended to a store at a time, at most."""


class Members(Protocol):
    """The members of a pack, as :class:`monitor.evidence.container.Container` gives them."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the members."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a small member."""
        ...

    def copy(self, name: str, path: Path) -> None:
        """Copy a member of any size to a new file."""
        ...


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


def rebuild_store(
    source: Members | Mapping[str, bytes | Path], folder: Path, *, compare_pixels: bool = True
) -> StoredSite:
    """Make a store of the scenes of a site, from the members that :func:`site_data_members` yields.

    Parameters
    ----------
    source : Members or mapping of names to contents or files
        Nothing in it is trusted, and nothing but it and `folder` is read or written.
    folder : Path
        Existing empty folder, for the store and for copies of members while they are read.
    compare_pixels : bool
        Whether pixels that are not those that ``scenes.csv`` states are refused; else the caller compares them.

    Returns
    -------
    StoredSite
        Its rows have the numbers that they had, and the same values.

    Raises
    ------
    BadData
        A member is missing or not as it should be, or they contradict each other; the message names the member.
    """
    members = _Mapped(source) if isinstance(source, Mapping) else source
    fixed, member = read_landscape(_content(members, LANDSCAPE))
    table = _content(members, SCENES)
    scenes = read_scenes_csv(table, limit=fixed.rows)
    if (fixed.rows - len(scenes)) * int(member.inside.sum()) > MAX_EMPTY_PIXELS:
        msg = f"{LANDSCAPE} states {fixed.rows} rows, and {SCENES} has {len(scenes)}: too few for so large a site"
        raise BadData(msg)
    icechunk.set_logs_filter("error")  # it warns of concurrent commits; nothing else writes to this folder
    store = LandscapeStore(folder / fixed.landscape)
    store.create([member], biome=fixed.biome, definition=fixed.biome_definition)
    with tempfile.TemporaryDirectory(dir=folder) as copies:
        files = _copied(members, member, scenes, Path(copies))
        checksums = _append_scenes(store, fixed.rows, member, scenes, files)
    stored = StoredSite(store, fixed.ground)
    if not compare_pixels:
        checksums = [scene.pixels_sha256 for scene in scenes]
    _compare_tables(table, scenes_csv(stored, np.array([scene.row for scene in scenes], np.int64), checksums))
    return stored


def _content(members: Members, name: str) -> bytes:
    if name not in members.names:
        raise _missing(name)
    return members.read(name)


def _missing(name: str) -> BadData:
    return BadData(f"the pack has no member {name}")


def _append_scenes(
    store: LandscapeStore, rows: int, member: Member, scenes: Sequence[SceneRow],
    files: Sequence[tuple[Arrays, np.ndarray]],
) -> list[str]:  # fmt: skip
    """Append all rows, those without the site as empty ones, and return the checksum of the pixels of each scene.

    `files` are the NetCDF files with the numbers of the rows in each.
    """
    observed = _observed(files, scenes, member)
    by_row = {scene.row: scene for scene in scenes}
    checksums: list[str] = []
    step = max(min(site_netcdf.BATCH_BYTES // (2 * len(PACKED_LAYERS) * int(member.inside.sum())), MAX_BATCH), 1)
    for start in range(0, rows, step):
        batch: list[dict[str, SiteScene]] = []
        for row in range(start, min(start + step, rows)):
            batch.append({})
            if row in by_row:
                pixels, units = next(observed)
                checksums.append(pixels_sha256(pixels))
                scene = by_row[row]
                entry = SiteScene(record=scene.record, pixels=pixels, units=units, granules=scene.granules)
                batch[-1][member.ground] = entry
        store.append(batch, f"rows from {start}")
    next(observed, None)  # ends the process that reads
    return checksums


def _observed(
    files: Sequence[tuple[Arrays, np.ndarray]], scenes: Sequence[SceneRow], member: Member
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(layer, pixel) uint16 pixels and (unit, measure) float32 means of the units of each scene, in order."""
    inside, units = member.inside, len(member.units)
    layers = [layer_variable(name) for name in PACKED_LAYERS]
    runs = _runs(files, [scene.row for scene in scenes], max(site_netcdf.BATCH_BYTES // (16 * inside.size), 1))
    steps = [step for number, (file, rows) in enumerate(files) for step in _first_steps(number, file, rows.size)]
    for run in runs:
        steps.append(Step(run.pixels, layers, run.first, run.first + run.size))
        if units:
            steps.append(Step(run.units, [UNIT_ARRAY], run.first_units, run.first_units + run.size))
    arrays = site_netcdf.read_arrays([file for file, _ in files], steps)
    by_row = {scene.row: scene for scene in scenes}
    for file, rows in files:
        name = file.path.name
        _compare_coordinates(name, next(arrays), [by_row[row] for row in rows.tolist()])
        if "inside" in file.arrays:
            (x,), (y, in_file) = next(arrays), next(arrays)
            _compare_grid(name, member, x, y, in_file)
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    for run in runs:
        pixels = np.stack([layer[:, inside].astype(np.uint16) for layer in next(arrays)], axis=1)
        means = np.full((run.size, max(units, 1), len(MEASURES)), np.nan, np.float32)
        if units:
            (means[:, :, columns],) = next(arrays)
        yield from zip(pixels, means, strict=True)
    next(arrays, None)


def _first_steps(number: int, file: Arrays, n: int) -> list[Step]:
    """What is read of a file before its scenes, to be compared with the other members."""
    steps = [Step(number, [*SCENE_ARRAYS], 0, n)]
    if "inside" in file.arrays:
        height, width = file.arrays["inside"]["shape"]
        steps += [Step(number, ["x"], 0, width), Step(number, ["y", "inside"], 0, height)]
    return steps


class _Run(NamedTuple):
    """Rows that follow each other in the store and in the files."""

    pixels: int
    """Number of the file with their pixels."""
    first: int
    """Place of the first in it."""
    units: int
    """Number of the file with the means of their units; -1: there is none."""
    first_units: int
    size: int

    @property
    def next(self) -> "_Run":
        """The row that would continue it, as a run of its own."""
        units = self.first_units + self.size if self.units >= 0 else -1
        return _Run(self.pixels, self.first + self.size, self.units, units, 1)


def _runs(files: Sequence[tuple[Arrays, np.ndarray]], rows: Sequence[int], most: int) -> list[_Run]:
    """Runs of at most so many rows, together all rows in order."""
    places: dict[tuple[bool, int], tuple[int, int]] = {}
    for number, (file, of_file) in enumerate(files):
        is_units = UNIT_ARRAY in file.arrays
        places |= {(is_units, row): (number, at) for at, row in enumerate(of_file.tolist())}
    runs: list[_Run] = []
    for row in rows:
        new = _Run(*places[False, row], *places.get((True, row), (-1, -1)), 1)
        last = runs[-1] if runs else None
        if last is not None and last.size < most and new == last.next:
            runs[-1] = last._replace(size=last.size + 1)
        else:
            runs.append(new)
    return runs


def _copied(
    members: Members, member: Member, scenes: Sequence[SceneRow], folder: Path
) -> list[tuple[Arrays, np.ndarray]]:
    """Copies of the NetCDF members in a folder, how their arrays must be, and the numbers of the rows in each."""
    columns = {
        "row": np.array([scene.row for scene in scenes], np.int64),
        "acquisition": encode_texts(scene.record.acquisition for scene in scenes),
        "moment": np.array([scene.record.time.removesuffix("+00:00") for scene in scenes], "datetime64[ns]"),
    }
    files = []
    for name, rows, _along in _files(columns):
        is_pixels = name.startswith(PIXELS)
        if not is_pixels and not member.units:
            continue
        if name not in members.names:
            raise _missing(name)
        members.copy(name, folder / name)
        arrays = site_netcdf.expected_arrays(member.grid if is_pixels else None, rows.size, len(member.units))
        files.append((Arrays(folder / name, arrays), rows))
        if (folder / name).stat().st_size > MAX_FILE_OVERHEAD + 2 * files[-1][0].size:
            msg = f"{name} is much larger than its arrays: more is in it than {SCENES} speaks of"
            raise BadData(msg)
    if sum(file.size for file, _ in files) > MAX_BYTES:
        msg = f"the NetCDF members have more than {MAX_BYTES:,} bytes of values, too many to be read"
        raise BadData(msg)
    known = {file.path.name for file, _ in files}
    others = [name for name in members.names if name.endswith(".nc") and name not in known]
    if others:
        msg = f"{SCENES} has no rows for the member {others[0]}"
        raise BadData(msg)
    return files


def _compare_coordinates(name: str, arrays: Sequence[np.ndarray], scenes: Sequence[SceneRow]) -> None:
    """Compare the numbers along the first dimension of a NetCDF member with the table of scenes."""
    times = [scene.record.time.removesuffix("+00:00") for scene in scenes]
    expected = {
        "time": np.array(times, "datetime64[us]").astype(np.int64),
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


def _compare_grid(name: str, member: Member, x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> None:
    """Compare the grid of a file of pixels with that of the landscape."""
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


class _Mapped:
    """Members by name, as content or files."""

    def __init__(self, members: Mapping[str, bytes | Path]) -> None:
        self._members = members
        self.names = tuple(members)

    def read(self, name: str) -> bytes:
        content = self._members[name]
        return content.read_bytes() if isinstance(content, Path) else content

    def copy(self, name: str, path: Path) -> None:
        path.write_bytes(self.read(name))
