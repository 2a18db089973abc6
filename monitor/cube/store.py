"""The store of a landscape: one icechunk repository, arrays over the pixels of its sites, one row an overpass.

Rows are only appended, in order of arrival: a late, reprocessed or retried scene is a new row, and for each acquisition
and site the newest row counts. What was known on a past night is therefore the first rows of the arrays, whatever was
stored since. The arrays along ``time`` (one row an overpass):

- ``pixels`` (time, band, pixel) uint16: :data:`monitor.cube.packed.PACKED_LAYERS` of the pixels inside each site, that
  is integers as delivered, the quality layer, and 1 where the ground was seen;
- ``site_means`` and ``control_means`` (time, site, measure) float64: means over clear pixels, and their mean over the
  control units that were seen, to six decimals; NaN where nothing was seen;
- ``unit_means`` (time, unit, unit_measure) float32: means of each control unit;
- ``state`` (time, site): whether the scene counts for a site, or why not; 0 where the row has nothing of the site;
- ``granules`` (time) and ``granule_bits`` (time, site): the granules that the row was made from.

For people only: ``pictures`` (picture, context_pixel, colour) uint8, natural colour of each site and its surroundings
in a few clear scenes (:mod:`monitor.cube.context_pictures`), 0 where nothing was seen.

A committed row is complete: pixels, means and metadata are in one commit. ``xarray.open_zarr(session.store)`` opens the
store without this package. Created and filled by :mod:`monitor.cube.arrays`, read site by site by
:mod:`monitor.cube.stored_site`.
"""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal

import icechunk
import numpy as np
import xarray as xr
import zarr

from monitor.cube.arrays import create_arrays, encode_rows, put_pictures
from monitor.cube.bucket import DERIVED_FOLDER, BucketFolder, Place, explained, local_folder
from monitor.cube.granules import Granules
from monitor.cube.grid import crs_of, grid_from_json
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import Member, Picture, SiteScene
from monitor.errors import BadData, StoreBroken, TryLater, as_disk_full, newer_format
from monitor.files import make_private_folder

FORMAT: Final = 1  # format of the arrays and attributes of a store; its attribute `format`
CHUNK_CACHE_BYTES: Final = 100_000_000  # most chunks of pixels that stay in memory for other sites in them [byte]

_UPDATES_PER_FILE: Final = 10
_FIRST_SNAPSHOT: Final = "1CECHNKREP0F1RSTCMT0"  # name of the first snapshot of every repository, written first
_STORE_ERRORS: Final = (
    icechunk.IcechunkError, OSError, KeyError, ValueError, RuntimeError, zarr.errors.BaseZarrError,
)  # fmt: skip
"""Errors that libraries raise for a store that is damaged or cannot be written to; RuntimeError: numcodecs 0.17."""


class LandscapeStore:
    """The stored scenes of one landscape, named by the last part of its path.

    One process writes at a time: the caller holds the lock of the landscape, since commits on a local file system do
    not exclude each other (icechunk 2.3 warns of it), nor do those to a bucket without conditional writes.

    The small arrays are read once for all sites: what another process writes is seen by a new object only. Every
    property and method that reads or writes raises StoreBroken where the store cannot be read, BadData where a newer
    version made it, DiskFull where the disk is full, and TryLater where the clock is behind the newest snapshot. In a
    bucket also TryLater where its service fails, and BadConfiguration where it refuses. To a `read_only` store nothing
    can be appended; it stays readable while a run appends to it.
    """

    def __init__(self, path: Place, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.name = path.name
        self._repository: Any = None
        self._group: zarr.Group | None = None
        self._session: Any = None
        self.memory: dict[str, Any] = {}  # values of the newest rows, by name; emptied with every commit
        self._chunks: dict[tuple[int, int], np.ndarray] = {}  # chunks of pixels, by row and number; oldest first

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the store again."""
        return partial(LandscapeStore, read_only=self.read_only), (self.path,)

    @property
    def derived(self) -> Path:
        """Folder for results that are computed from the landscape, of this machine."""
        return local_folder(self.path.parent) / DERIVED_FOLDER

    @property
    def exists(self) -> bool:
        """Whether the landscape was created and committed."""
        if isinstance(self.path, Path) and not self.path.is_dir():
            return False
        with self.guarded():
            try:
                return bool(self._opened().attrs)
            except (icechunk.RepositoryNotFoundError, zarr.errors.GroupNotFoundError):
                return False

    def create(self, members: Sequence[Member], *, biome: str, definition: Mapping[str, Any] | None = None) -> None:
        """Create the arrays of a new landscape; an interrupted creation is completed.

        The sites are `members` for good, and their grids share one projected system. `definition` is that of a biome
        that is not built in (:func:`monitor.sites.own_biome.biome_json`). Raises StoreBroken if the folder holds files
        but no repository.
        """
        self._create_repository()
        crs = crs_of(members[0].grid)
        with self.guarded():
            self._session = self._writable()
            attributes: dict[str, Any] = {
                "format": FORMAT, "landscape": self.name, "biome": biome, "proj:code": str(crs),
                "Conventions": "CF-1.11", **({} if definition is None else {"biome_definition": dict(definition)}),
            }  # fmt: skip
            self._group = zarr.create_group(self._session.store, attributes=attributes)
            create_arrays(self._group, members)
            self._commit(f"lay out {self.name}: {', '.join(member.site for member in members)[:400]}")

    @property
    def rows(self) -> int:
        """Number of stored rows."""
        with self.guarded():
            return self.remembered("rows", lambda: int(self._array("time").shape[0]))

    @property
    def biome(self) -> str:
        """Biome of all sites."""
        with self.guarded():
            return str(self._opened().attrs["biome"])

    @property
    def biome_definition(self) -> Any:
        """Definition of the biome as it was created with, unchecked; None: it is built in."""
        with self.guarded():
            return self._opened().attrs.get("biome_definition")

    @property
    def is_newest(self) -> bool:
        """Whether nothing was stored since this object first read the store."""
        if self._session is None:
            return True
        with self.guarded():
            return bool(self._session.snapshot_id == self._open().lookup_branch("main"))

    @property
    def written(self) -> datetime:
        """When the newest snapshot was written, UTC."""
        with self.guarded():
            written: datetime = self._open().lookup_snapshot(self._open().lookup_branch("main")).written_at
            return written

    @property
    def created(self) -> datetime:
        """When the landscape was created, UTC."""
        with self.guarded():
            created: datetime = list(self._open().ancestry(branch="main"))[-1].written_at
            return created

    @property
    def array_names(self) -> list[str]:
        """Names of all arrays."""
        with self.guarded():
            return sorted(self._opened().array_keys())

    def snapshots(self) -> list[Any]:
        """Snapshots of icechunk, newest first."""
        with self.guarded():
            return list(self._open().ancestry(branch="main"))

    def session_at(self, snapshot: str) -> Any:
        """A session of icechunk on one of its snapshots, which reads only."""
        with self.guarded():
            return self._open().readonly_session(snapshot_id=snapshot)

    def release(self) -> None:
        """Free what was read; it is read again when needed."""
        self._group = self._session = None
        self.memory, self._chunks = {}, {}

    @cached_property
    def grounds(self) -> tuple[str, ...]:
        """Ground keys of the sites (:func:`monitor.sites.site.ground_key`), in order."""
        with self.guarded():
            return tuple(map(str, self.fixed["ground"]))

    @cached_property
    def fixed(self) -> "_Fixed":
        """Arrays that never change, by name; each is read when first used."""
        return _Fixed(self)

    def append(
        self,
        rows: Sequence[Mapping[str, SiteScene]],
        message: str,
        pictures: Mapping[str, Sequence[Picture]] | None = None,
    ) -> int:
        """Store overpasses, all or none, each as one new row; returns the number of rows afterwards.

        `rows` has for each overpass what each site saw, by ground key; a site that is missing was not covered, or has
        the scene already. `pictures`, by ground key, replace those of the same name. Raises BadData for an overpass
        with more granules than can be stored.
        """
        if not rows:
            return self.rows
        # not guarded: an error here is not a broken store
        return self.append_encoded(encode_rows(rows, self.fixed, self.grounds), message, pictures)

    def append_encoded(
        self, encoded: Mapping[str, np.ndarray], message: str, pictures: Mapping[str, Sequence[Picture]] | None = None
    ) -> int:
        """As :meth:`append`, of the arrays of :func:`monitor.cube.arrays.encode_rows`."""
        with self.guarded():
            try:
                if self._session is None or self._session.read_only:
                    self.release()
                group: Any = self._opened()
                before = int(group["time"].shape[0])
                after = before + len(encoded["time"])
                for name, values in encoded.items():
                    array = group[name]
                    array.resize((after, *array.shape[1:]))
                    array.with_config({"write_empty_chunks": True})[before:] = values
                put_pictures(group, pictures or {}, self.fixed["first_context"], self.grounds)
                self._commit(message)
            except BaseException:
                self.release()
                raise
            return after

    def dataset(self, rows: int | None = None) -> xr.Dataset:
        """The first rows, or all, as ``xarray.open_zarr`` opens them: lazy, one dask chunk a stored chunk."""
        with self.guarded():
            self._opened()
            stored: xr.Dataset = xr.open_zarr(self._session.store, consolidated=False, chunks={})
        return stored if rows is None else stored.isel(time=slice(rows))

    def expire(self, retention: timedelta) -> int:
        """Remove snapshots older than the newest by more than `retention`, and return their number; all rows stay.

        What a killed run leaves behind is removed by the next one.
        """
        with self.guarded():
            for staged in self.path.rglob("*#[0-9]*") if isinstance(self.path, Path) else ():
                staged.unlink()  # written, but not renamed to its object
            repository = self._open()
            history = list(repository.ancestry(branch="main"))
            until = history[0].written_at - retention
            expired = [old for old in history[1:] if old.written_at < until and old.parent_id is not None]
            if not expired:
                return 0
            repository.expire_snapshots(until)
            repository.garbage_collect(until)
            if isinstance(self.path, Path):  # in a bucket they cost next to nothing, and stay
                _remove_logs(self.path, until, {snapshot.id for snapshot in repository.ancestry(branch="main")})
            self.release()
            return len(expired)

    def read(self, name: str, place: Any) -> np.ndarray:
        """Values of an array; a missing chunk is damage, for every chunk is written."""
        return np.asarray(self._array(name).with_config({"read_missing_chunks": False})[place])

    def remembered[T](self, name: str, compute: Callable[[], T]) -> T:
        """A value of the newest rows, computed once."""
        if name not in self.memory:
            self.memory[name] = compute()
        value: T = self.memory[name]
        return value

    def whole(self, name: str) -> np.ndarray:
        """All rows of a small array, read once."""
        return self.remembered(name, lambda: self.read(name, slice(None)))

    def granules(self) -> Granules:
        """The granules of all rows, decoded once."""

        def decode() -> Granules:
            pixel = abs(grid_from_json(json.loads(self.fixed["grid"][0])).resolution.x)
            return Granules.decode(self.whole("granules"), self.whole("acquisition"), pixel)

        return self.remembered("granules of rows", decode)

    def picture(self, slot: int) -> np.ndarray:
        """(context_pixel, colour) uint8 of all sites in one picture slot, read once: sites share stored chunks."""
        return self.remembered(f"picture {slot}", lambda: np.asarray(self._array("pictures")[slot]))

    def unit_means(self, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
        """(..., measure) float32 of rows and units, arrays of one shape; those after the first row are all read."""
        first = int(rows.min(initial=self.rows))
        if first < self.memory.get("first row of unit means", first + 1):
            self.memory["unit_means"] = self.read("unit_means", slice(first, None))
            self.memory["first row of unit means"] = first
        means: np.ndarray = self.memory["unit_means"][rows - self.memory["first row of unit means"], units]
        return means

    def scenes(self, rows: Sequence[int], place: slice) -> np.ndarray:
        """(row, layer, pixel) uint16 of some rows, as :meth:`pixels`; several threads may call it at once."""
        with self.guarded():
            array = self._array("pixels").with_config({"read_missing_chunks": False})
            return np.asarray(array.oindex[np.asarray(rows), :, place])

    def pixels(self, rows: Sequence[int], place: slice) -> np.ndarray:
        """(row, layer, pixel) uint16 of some rows.

        Sites are read one after the other and share stored chunks, which are decompressed whole: as many as fit into
        :data:`CHUNK_CACHE_BYTES` stay in memory for the next site.
        """
        array = self._array("pixels").with_config({"read_missing_chunks": False})
        width = array.chunks[2]
        first = place.start // width
        chunks = range(first, -(-place.stop // width))
        if len(rows) * len(chunks) * len(PACKED_LAYERS) * width * array.dtype.itemsize > CHUNK_CACHE_BYTES:
            return np.asarray(array.oindex[np.asarray(rows), :, place])
        pixels = np.empty((len(rows), len(PACKED_LAYERS), len(chunks) * width), np.uint16)
        for chunk in chunks:
            missing = sorted({row for row in rows if (row, chunk) not in self._chunks})
            if missing:
                start, stop = missing[0], missing[-1] + 1
                these: Any = slice(start, stop) if stop - start == len(missing) else np.asarray(missing)
                read = np.asarray(array.oindex[these, :, slice(chunk * width, (chunk + 1) * width)])
                self._chunks |= {(row, chunk): values for row, values in zip(missing, read, strict=True)}
            for at, row in enumerate(rows):
                values = self._chunks[row, chunk]
                pixels[at, :, (chunk - first) * width :][:, : values.shape[1]] = values
        most = max(CHUNK_CACHE_BYTES // (len(PACKED_LAYERS) * width * array.dtype.itemsize), 1)
        for key in [*self._chunks][: max(len(self._chunks) - most, 0)]:
            del self._chunks[key]
        return pixels[:, :, place.start - first * width : place.stop - first * width]

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Convert errors of the libraries underneath to those of this class, with the cause and what to do."""
        try:
            yield
        except _STORE_ERRORS as error:
            self.release()  # what was written and not committed must not be in the next commit
            if isinstance(error, RuntimeError) and "compression" not in str(error):
                raise  # a bug, not a damaged chunk
            if full := as_disk_full(error, self.path.parent):
                raise full from error
            if isinstance(self.path, BucketFolder) and (other := explained(error, self.path)) is not error:
                raise other from error
            cause = next(iter(str(error).splitlines()), "no more is known")
            if "timestamp ordering" in cause or "machine clock" in cause:  # icechunk 2.3
                raise TryLater(
                    f"the store {self.name} has a snapshot newer than the clock shows ({cause.partition('. ')[2]}): "
                    "check the clock (timedatectl). The store is sound, and takes new scenes from that time on"
                ) from error
            raise StoreBroken(
                f"the store {self.name} cannot be read ({type(error).__name__}: {cause}). Nothing in it was changed. "
                "Check the disk, then try again: regrowth run; 'regrowth doctor --deep' names what is damaged. If it "
                f"stays so, fetch its history again: regrowth backfill --replace {self.name}"
            ) from error

    def _create_repository(self) -> None:
        with self.guarded():
            with suppress(icechunk.RepositoryNotFoundError):
                self._open()
                return
            # A repository whose creation was interrupted can neither be opened nor created again in its place.
            if isinstance(self.path, Path):
                begun = self.path.is_dir() and any(self.path.iterdir())
            else:
                files = [entry.base_name for entry in self.path.entries(recursive=True) if entry.is_file]
                begun = any(name != _FIRST_SNAPSHOT for name in files)
            if begun:
                raise StoreBroken(
                    f"the store {self.name} has lost its file 'repo'. Nothing in it was changed. Put that file back "
                    f"from a backup, or fetch its history again: regrowth backfill --replace {self.name}"
                )
            make_private_folder(self.derived)
            if isinstance(self.path, Path):
                fresh = self.path.with_name(f".{self.path.name}.new")
                shutil.rmtree(fresh, ignore_errors=True)
                make_private_folder(fresh)
                icechunk.Repository.create(icechunk.local_filesystem_storage(str(fresh)))
                fresh.replace(self.path)
            else:
                self.path.remove()
                icechunk.Repository.create(self.path.storage(), config=self._config())

    def _config(self) -> Any:
        storage = None if isinstance(self.path, Path) else self.path.storage_settings()
        return icechunk.RepositoryConfig(num_updates_per_repo_info_file=_UPDATES_PER_FILE, storage=storage)

    def _open(self) -> Any:
        if self._repository is None:
            path = self.path
            storage = icechunk.local_filesystem_storage(str(path)) if isinstance(path, Path) else path.storage()
            self._repository = icechunk.Repository.open(storage, config=self._config())
        return self._repository

    def _writable(self) -> Any:
        return self._open().writable_session("main")

    def _opened(self) -> zarr.Group:
        group = self._group
        if group is None:
            session = self._open().readonly_session("main") if self.read_only else self._writable()
            mode: Literal["r", "r+"] = "r" if self.read_only else "r+"
            group = zarr.open_group(session.store, mode=mode, zarr_format=3, use_consolidated=False)
            stated: Any = group.attrs.get("format", FORMAT)  # none yet while it is being created
            if stated > FORMAT:
                raise BadData(f"the store {self.name} has {newer_format(stated, FORMAT)}. Nothing in it was changed")
            self._session, self._group = session, group
        return group

    def _array(self, name: str) -> Any:
        return self._opened()[name]

    def _commit(self, message: str) -> None:
        self._session.commit(message)
        self.memory = {}


class _Fixed(dict[str, np.ndarray]):
    """Arrays of a landscape that never change, by name; read when first used."""

    def __init__(self, landscape: LandscapeStore) -> None:
        super().__init__()
        self._landscape = landscape

    def __missing__(self, name: str) -> np.ndarray:
        with self._landscape.guarded():
            self[name] = self._landscape.read(name, slice(None))
        return self[name]


def _remove_logs(path: Path, until: datetime, snapshots: Collection[str]) -> None:
    """Remove files of a repository older than `until` that no reader of its `snapshots` needs.

    That is, copies of overwritten repository files, which only the operations log reads, and transaction logs of
    removed snapshots, which only a writer reads that has to merge its changes. icechunk 2.3 never removes them.
    """
    copies, logs = (path / name for name in ("overwritten", "transactions"))
    for file in (*copies.glob("*"), *(log for log in logs.glob("*") if log.name not in snapshots)):
        if file.stat().st_mtime < until.timestamp():
            file.unlink()


def landscape_at_snapshot(root: Place, snapshot: str, opened: LandscapeStore | None = None) -> LandscapeStore:
    """Open the landscape that a snapshot (:mod:`monitor.cube.stored_site`) names, under the root of the stores.

    `opened` is returned if it is that landscape and has all rows of the snapshot.
    """
    name, _, rows = snapshot.rpartition(":")
    if opened is not None and opened.path == root / name and opened.rows >= int(rows):
        return opened
    return LandscapeStore(root / name)
