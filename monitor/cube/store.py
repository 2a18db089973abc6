"""What is kept of a site's scenes: one icechunk repository a site, pixels and scene ledger in one commit.

A scene fills one slot along the first dimension of three arrays, in order of arrival:

- ``pixels`` (slot, layer, y, x) uint16: the layers of :data:`monitor.cube.packed.LAYERS`;
- ``units`` (slot, unit, measure) float32: means over the clear pixels of each control unit;
- ``scenes`` (slot, byte) uint8: the ledger, one JSON record a scene.

A night therefore writes one small chunk to each, whatever the length of the history. A newer processing baseline takes
the slot of the older one, in a new snapshot; the older snapshot keeps it until that expires. Readers see scenes in
order of acquisition, never of arrival.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dask.array as da
import icechunk
import msgspec
import numpy as np
import xarray as xr
import zarr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from zarr.codecs import Crc32cCodec, ZstdCodec

from monitor.cube.grid import grid_from_json, grid_to_json
from monitor.cube.packed import LAYERS, unpack
from monitor.errors import BadData, StoreBroken, TryLater, full_disk
from monitor.imagery.source import Scene

CHUNK_BYTES: Final = 32_000_000
"""Size of the dask chunks of a cube as read: many scenes of a small site, one of a large one."""

RECORD_BYTES: Final = 4096
"""Room for the record of a scene, filled up with blanks: fixed, so that a record is written in place."""

LEDGER_TOGETHER: Final = 64
"""Records, and means of units, of so many scenes lie in one chunk: the whole ledger is read at once, every night."""

SMALL: Final = 2**18
"""Scenes of a small site lie together in a stored chunk of at most this size, at most :data:`MOST_TOGETHER` of them:
a night rewrites so much, and a history is read in so many fewer pieces. [byte]"""
MOST_TOGETHER: Final = 16

TAGS: Final = 3
"""A snapshot that goes takes some seven files along, a tag leaves one more, as large as the list of snapshots."""

_CONFIG: Final = icechunk.RepositoryConfig(num_updates_per_repo_info_file=10)
"""Each commit leaves a copy of the file that lists the snapshots. With no more updates told in it than so many it is
half as large: 200 commits left 1.3 MB of copies by icechunk's own setting, and leave .7."""

_PLAIN: Final[dict[str, Any]] = {"zarr_format": 3, "use_consolidated": False}
"""How a group is opened without looking for others."""

_TROUBLE: Final = (icechunk.IcechunkError, OSError, KeyError, ValueError, RuntimeError, zarr.errors.BaseZarrError)
"""What a store that is damaged, or can not be written to, makes libraries raise; RuntimeError: numcodecs 0.17."""

PACKED: Final = (ZstdCodec(), Crc32cCodec())
"""How chunks are packed: a checksum lies behind each and is compared whenever it is read, which takes a twentieth of
the time of unpacking. Most bits of reflectances do not pack: a damaged byte of them would pass for another value. And
every chunk is kept, an empty one too, so that none that the list of them has lost passes for ground that was not seen.
"""

TILE: Final = 512
"""Longest side of a chunk: a provider's own block. [pixel]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the ledger knows of one stored scene: the scene, how it was judged, and the means drawn from it."""

    scene: str
    acquisition: str
    time: str
    """ISO 8601, UTC."""
    sensor: str
    baseline: str
    """Of the preferred granule."""
    source: str
    scale: float
    offset: float
    quality: str
    orbit: str
    """Relative orbit or path; empty: not known."""
    granules: dict[str, str]
    """Baseline of each granule that went in, by tile."""
    bandpass: bool
    """Whether its reflectances are brought from Landsat's bands to those of Sentinel-2."""
    accepted: bool
    reason: str
    """Empty for an accepted scene."""
    clear_fraction: float
    """Share of the site that was seen. [1]"""
    n_pixels: int
    """Pixels of the site that were seen."""
    measures: dict[str, float | None]
    """Means over the clear pixels of the site, by name; None: not told."""
    digest: str
    """SHA-256 of the pixels and unit means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scene on its way into the store."""

    record: Record
    pixels: np.ndarray
    """(layer, y, x) uint16."""
    units: np.ndarray
    """(unit, measure) float32, NaN where a unit was not seen."""


@dataclass(slots=True, kw_only=True)
class _Opened:
    """What was read of a snapshot, or of the newest one."""

    session: Any
    """That of the newest can be written into and committed, once."""
    group: zarr.Group | None
    """None: nothing was laid out yet."""
    attributes: dict[str, Any]
    arrays: dict[str, Any] = field(default_factory=dict)
    records: list[Record] | None = None

    def array(self, name: str) -> Any:
        """One of the three arrays, opened when it is asked for first: most sites of a night without news need none."""
        if name not in self.arrays:
            if self.group is None:
                raise KeyError(name)
            array: Any = self.group[name]
            if Crc32cCodec() in array.metadata.codecs:  # an older store left empty chunks out
                array = array.with_config({"write_empty_chunks": True, "read_missing_chunks": False})
            self.arrays[name] = array
        return self.arrays[name]


def record_of(scene: Scene, **judged: Any) -> Record:
    """Record of an acquisition by its preferred granule, and what was found on it (see :class:`Record`).

    Without `acquisition` and `granules` it is that of the one granule.
    """
    told: dict[str, Any] = {
        "scene": scene.id, "acquisition": scene.acquisition, "time": scene.time.isoformat(), "sensor": scene.sensor,
        "baseline": scene.baseline, "source": scene.source, "scale": scene.scale, "offset": scene.offset,
        "quality": scene.quality, "orbit": scene.orbit, "granules": {scene.tile: scene.baseline},
        "bandpass": False,
    }  # fmt: skip
    return Record(**{**told, **judged})


def digest(pixels: np.ndarray, units: np.ndarray) -> str:
    """SHA-256 of what is stored of a scene."""
    return hashlib.sha256(pixels.tobytes() + units.tobytes()).hexdigest()


class SiteStore:
    """The stored scenes of one site.

    One process writes at a time: the caller holds the lock of the store's root, since commits on
    a local file system do not exclude each other (icechunk 2.3 warns of it).

    Parameters
    ----------
    path : Path
        Folder of the repository.
    lent : optional
        A session lent by :meth:`lend`, in a worker: what is written goes into it and is committed by the lender.

    Notes
    -----
    What was opened or read once is kept: what others write is seen by a new object only.
    """

    def __init__(self, path: Path, lent: Any = None) -> None:
        self.path = path
        self._lent = lent
        self._repository: Any = None
        self._shelf: dict[str | None, _Opened] = {}

    @property
    def exists(self) -> bool:
        """Whether anything was ever committed for the site."""
        if not self.path.is_dir():
            return False
        with self._guarded():
            try:
                return self._opened().group is not None
            except icechunk.RepositoryNotFoundError:
                return False

    def create(
        self, *, site: str, grid: GeoBox, units: Sequence[str], measures: Sequence[str], controls: dict[str, Any],
        again: bool = False,
    ) -> str:  # fmt: skip
        """Lay out the arrays of a new site; a creation that was cut short is taken up again.

        Parameters
        ----------
        site : str
            Id of the site, for messages.
        grid : GeoBox
            The site's own fixed grid.
        units, measures : sequence of str
            Names along the dimensions of ``units``.
        controls : dict
            The frozen control units as plain values, so that the store can be understood by itself.
        again : bool
            Whether scenes were stored before there were control units: they stay in older snapshots alone.

        Returns
        -------
        str
            Id of the snapshot.
        """
        if self._lent is None:
            self._begin()
        with self._guarded():
            session = self._writable()
            self._shelf.clear()
            attributes = {
                "site": site, "grid": grid_to_json(grid), "units": list(units), "measures": list(measures),
                "layers": list(LAYERS),
                "controls": controls,
            }  # fmt: skip
            group = zarr.create_group(session.store, overwrite=again, attributes=attributes)
            height, width = grid.shape
            chunk = (len(LAYERS), min(height, TILE), min(width, TILE))
            together = max(1, min(MOST_TOGETHER, SMALL // int(2 * np.prod(chunk))))
            group.create_array(
                "pixels", shape=(0, len(LAYERS), height, width), chunks=(together, *chunk), dtype="uint16",
                compressors=PACKED,
            )  # fmt: skip
            means = (max(len(units), 1), len(measures))
            group.create_array(
                "units", shape=(0, *means), chunks=(LEDGER_TOGETHER, *means), dtype="float32", fill_value=np.nan,
                compressors=PACKED,
            )  # fmt: skip
            group.create_array(
                "scenes", shape=(0, RECORD_BYTES), chunks=(LEDGER_TOGETHER, RECORD_BYTES), dtype="uint8",
                compressors=PACKED,
            )  # fmt: skip
            return self._commit(session, f"lay out site {site}")

    @property
    def snapshot(self) -> str:
        """Id of the newest snapshot; in a lent session, of the one it started from."""
        with self._guarded():
            return str(self._lent.snapshot_id if self._lent else self._open().lookup_branch("main"))

    @property
    def written(self) -> datetime:
        """When the newest snapshot was written, UTC; in a lent session, the one it started from."""
        with self._guarded():
            found: datetime = self._open().lookup_snapshot(self.snapshot).written_at
            return found

    def lend(self) -> tuple[Any, Any]:
        """A session, and its copy for a worker that writes chunks elsewhere: small, and safe to pickle."""
        self._begin()
        with self._guarded():
            session = self._open().writable_session("main")
            return session, session.fork()

    def adopt(self, session: Any, copy: Any, message: str) -> str:
        """Commit what a worker wrote into the copy of a session; the id of the new snapshot."""
        with self._guarded():
            session.merge(copy)
            self._shelf.pop(None, None)
            return str(session.commit(message))

    def _begin(self) -> None:
        with self._guarded():
            with suppress(icechunk.RepositoryNotFoundError):
                self._open()
                return
            # What is killed midway in the making of a repository can neither be opened nor made again in its place.
            fresh = self.path.with_name(f".{self.path.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            icechunk.Repository.create(icechunk.local_filesystem_storage(str(fresh)))
            fresh.replace(self.path)

    def _writable(self) -> Any:
        return self._lent or self._open().writable_session("main")

    def _commit(self, session: Any, message: str) -> str:
        return str(session.snapshot_id if self._lent else session.commit(message))

    @contextmanager
    def _writing(self) -> Iterator["_Opened"]:
        """The newest snapshot to be written into; what was not committed is forgotten."""
        opened = self._opened()
        if opened.session.read_only:  # of an earlier commit
            opened = self._opened(anew=True)
        try:
            yield opened
        except BaseException:
            self._shelf.pop(None, None)
            raise

    @property
    def grid(self) -> GeoBox:
        """The site's own fixed grid."""
        with self._guarded():
            return grid_from_json(self._opened().attributes["grid"])

    @property
    def controls(self) -> dict[str, Any]:
        """The frozen control units, as given at the creation."""
        with self._guarded():
            return dict(self._opened().attributes["controls"])

    @property
    def units(self) -> list[str]:
        """Ids of the control units, in order."""
        with self._guarded():
            return list(self._opened().attributes["units"])

    def records(self, snapshot: str | None = None) -> list[Record]:
        """The scene ledger, by slot."""
        with self._guarded():
            opened = self._opened(snapshot)
            if opened.records is None:
                opened.records = _decode(np.asarray(opened.array("scenes")[:]))
            return list(opened.records)

    def put(self, entries: Sequence[Entry], message: str) -> str:
        """Store scenes, all or none: new acquisitions in new slots, newer baselines in the slot of the older one.

        What is there already, down to its digest, is not stored again.

        Returns
        -------
        str
            Id of the new snapshot; of the present one if there was nothing to store.
        """
        records = self.records() if entries else []
        slots = {record.acquisition: slot for slot, record in enumerate(records)}
        entries = [
            entry
            for entry in entries
            if entry.record.acquisition not in slots or records[slots[entry.record.acquisition]] != entry.record
        ]
        if not entries:
            return self.snapshot
        fresh = [entry for entry in entries if entry.record.acquisition not in slots]
        places: list[tuple[slice, list[Entry]]] = []
        if fresh:
            places.append((slice(len(slots), len(slots) + len(fresh)), fresh))
        for entry in entries:
            slot = slots.get(entry.record.acquisition)
            if slot is not None:
                places.append((slice(slot, slot + 1), [entry]))
        with self._guarded(), self._writing() as opened:
            opened.records = records
            self._write(opened, places, len(slots) + len(fresh))
            return self._commit(opened.session, message)

    def append(self, entries: Sequence[Entry], message: str) -> str:
        """Store acquisitions of which the caller knows that none is stored; the ledger of the scenes is not read.

        Returns
        -------
        str
            Id of the new snapshot.
        """
        with self._guarded(), self._writing() as opened:
            known = opened.array("scenes").shape[0]
            total = known + len(entries)
            self._write(opened, [(slice(known, total), entries)], total)
            return self._commit(opened.session, message)

    def _write(self, opened: "_Opened", places: Sequence[tuple[slice, Sequence[Entry]]], total: int) -> None:
        for array in map(opened.array, ("pixels", "units", "scenes")):
            array.resize((total, *array.shape[1:]))
        for place, chosen in places:
            opened.array("pixels")[place] = np.stack([entry.pixels for entry in chosen])
            opened.array("units")[place] = np.stack([entry.units for entry in chosen])
            rows = np.stack([_encode(entry.record) for entry in chosen])
            opened.array("scenes")[place] = rows
            if opened.records is not None:
                opened.records[place] = _decode(rows)

    def expire(self, spent: Collection[str], kept: timedelta) -> int:
        """Let go of snapshots that nobody needs, and of what they alone hold.

        Parameters
        ----------
        spent : collection of str
            Ids of those that may go, if they are old enough. What is as old and may not go is marked in the repository
            by a tag, once; while that would take more than :data:`TAGS` for each that goes, nothing is done.
        kept : timedelta
            So far back from the newest snapshot nothing goes, nor what was the newest at that time.

        Returns
        -------
        int
            How many snapshots went. What a run that is killed here leaves behind goes as the next ones do.

        Raises
        ------
        StoreBroken, DiskFull
            It could not be done, or not to its end; what is to be kept is as it was.
        """
        with self._guarded("could not be rid of old snapshots", "What is to be kept is as it was."):
            repository = self._open()
            history = [one for one in repository.ancestry(branch="main") if one.parent_id is not None]
            old = [one for one in history if one.written_at < history[0].written_at - kept]
            going = {one.id for one in old[1:]}.intersection(spent)
            if not going:
                return 0
            tagged = repository.list_tags()
            staying = [one.id for one in old[1:] if one.id not in going and f"kept-{one.id}" not in tagged]
            if len(staying) > TAGS * len(going):
                return 0
            for snapshot in staying:
                repository.create_tag(f"kept-{snapshot}", snapshot)
            repository.expire_snapshots(old[0].written_at)
            repository.garbage_collect(old[0].written_at)
            self._shelf.clear()
            return len(going)

    def cube(self, snapshot: str | None = None, *, layers: Collection[str] = LAYERS) -> xr.Dataset:
        """The stored scenes as a lazy cube.

        Parameters
        ----------
        snapshot : str, optional
            As it stood then; None: as it stands.
        layers : collection of str
            Those wanted, of :data:`monitor.cube.packed.LAYERS`.

        Returns
        -------
        xr.Dataset
            As :mod:`monitor.cube.packed` says, in dask chunks of :data:`CHUNK_BYTES`, with ``scene`` and ``accepted``
            along time.
        """
        records = self.records(snapshot)
        order = _by_time(records)
        kept = [records[slot] for slot in order]
        with self._guarded():
            # What is lazy must not see what is put later.
            opened = self._opened(snapshot if self._lent else snapshot or self.snapshot)
            pixels = opened.array("pixels")
            stored = pixels.chunks[0]
            together = max(1, CHUNK_BYTES // int(2 * stored * np.prod(pixels.shape[1:])))
            packed = da.from_zarr(pixels, chunks=(stored * together, *pixels.chunks[1:]))
            cube = unpack(
                packed if order == list(range(len(order))) else packed[order],
                ("y", "x"),
                times=[datetime.fromisoformat(r.time) for r in kept],
                scale=[r.scale for r in kept],
                offset=[r.offset for r in kept],
                bandpass=[r.bandpass for r in kept],
                layers=layers,
            )
            cube = cube.assign_coords(xr_coords(grid_from_json(opened.attributes["grid"])))
            site = str(opened.attributes["site"])
        scenes = np.array([r.scene for r in kept], dtype=object)
        accepted = np.array([r.accepted for r in kept], dtype=bool)
        cube = cube.assign_coords(scene=("time", scenes), accepted=("time", accepted))
        return cube.assign_attrs(site=site, snapshot=snapshot or self.snapshot)

    def unit_means(self, snapshot: str | None = None) -> xr.DataArray:
        """Means of the control units, (time, unit, measure) float32, time ascending; NaN where not seen."""
        records = self.records(snapshot)
        order = _by_time(records)
        with self._guarded():
            opened = self._opened(snapshot)
            values = np.asarray(opened.array("units")[:])[order]
            names = {"unit": opened.attributes["units"], "measure": opened.attributes["measures"]}
        utc = [records[slot].time.removesuffix("+00:00") for slot in order]
        coords = {"time": np.array(utc, dtype="datetime64[ns]"), **names}
        return xr.DataArray(values[:, : len(names["unit"])], dims=("time", "unit", "measure"), coords=coords)

    def _storage(self) -> Any:
        return icechunk.local_filesystem_storage(str(self.path))

    def _open(self) -> Any:
        if self._repository is None:
            self._repository = icechunk.Repository.open(self._storage(), config=_CONFIG)
        return self._repository

    def _opened(self, snapshot: str | None = None, *, anew: bool = False) -> "_Opened":
        if anew or snapshot not in self._shelf:
            session = self._open().readonly_session(snapshot_id=snapshot) if snapshot else self._writable()
            try:
                group = zarr.open_group(session.store, mode="r" if snapshot else "r+", **_PLAIN)
            except zarr.errors.GroupNotFoundError:  # nothing was laid out yet
                self._shelf[snapshot] = _Opened(session=session, group=None, attributes={})
            else:
                self._shelf[snapshot] = _Opened(session=session, group=group, attributes=dict(group.attrs))
        return self._shelf[snapshot]

    @contextmanager
    def _guarded(
        self,
        trouble: str = "can not be read",
        advice: str = (
            "Nothing in it was changed. Check the disk, then try again: regrowth run; if it stays so, name another "
            "folder by [store] root: scenes are then fetched again, and this one stays as it is."
        ),
    ) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            if isinstance(error, RuntimeError) and "compression" not in str(error):
                raise  # no damaged chunk that its codec met, but a bug
            if full := full_disk(error, self.path.parent):
                raise full from error
            told = next(iter(str(error).splitlines()), "no more is told")
            if isinstance(error, icechunk.SnapshotNotFoundError):
                trouble = "does not have the snapshot that is asked for"
                advice = (
                    "Nights let go of old ones on which no message and no end of a season rests. If an older copy of "
                    "the store was put back, take over what it has: regrowth run."
                )
            store = f"{self.path.parent.name}/{self.path.name}"
            if "timestamp ordering" in told:  # icechunk 2.3
                msg = (
                    f"the store {store} has a snapshot newer than the clock shows ({told.partition('. ')[2]}): check "
                    "the clock (timedatectl). The store is sound, and takes new scenes from that time on"
                )
                raise TryLater(msg) from error
            msg = f"the store {store} {trouble} ({type(error).__name__}: {told}). {advice}"
            raise StoreBroken(msg) from error


def _by_time(records: Sequence[Record]) -> list[int]:
    return sorted(range(len(records)), key=lambda slot: (records[slot].time, records[slot].acquisition))


def _encode(record: Record) -> np.ndarray:
    text = json.dumps(asdict(record), ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
    if len(text) > RECORD_BYTES:
        msg = f"scene {record.scene[:80]!r}: its record needs {len(text)} bytes, {RECORD_BYTES} are kept; ids too long?"
        raise BadData(msg)
    return np.frombuffer(text.ljust(RECORD_BYTES), dtype=np.uint8)


def _decode(rows: np.ndarray) -> list[Record]:
    """Records of (record, byte) uint8 rows; read as one list, for there may be many."""
    text, size = rows.tobytes(), rows.shape[1]
    told = b"[" + b",".join(text[start : start + size].rstrip() for start in range(0, len(text), size)) + b"]"
    try:
        return _RECORDS.decode(told)
    except msgspec.DecodeError:  # of an older version, or damaged
        return [_record(values) for values in json.loads(told)]


def _record(values: dict[str, Any]) -> Record:
    if values.keys() == _FIELDS:
        return Record(**values)
    if "granules" not in values:  # written before granules were told apart
        values |= {"granules": {"": values["baseline"]}, "orbit": "", "bandpass": False}
    return Record(**{name: values[name] for name in _FIELDS})


_RECORDS: Final = msgspec.json.Decoder(list[Record])
_FIELDS: Final = {field.name for field in fields(Record)}
