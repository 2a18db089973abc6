"""The state of a site's maps: sums of each growing season, brought up to date by the new scenes alone.

Of each pixel and season the sums of :data:`monitor.trends.kernels.yearly.ROWS` are kept, raw float32, one file a
season; the season in which the work began has two, of the scenes before and after that day. A file is complete in
itself: it names its recipe and its grid, the snapshot of the store that was committed then, and the scenes that went
in (acquisition, digest, cover of the control), and carries a checksum.

The maps need little of the seasons that are past: the mean cover of each, and the sums of what was seen before the
work began. That stands in one more file, which names the scenes of all those seasons by their digest. As long as it
fits, a night reads no season but the last. So it is with what tells where a site fails: sums of blocks of pixels.

A season to which scenes were only added at the end is added to. One that changed in any other way, because a scene
came late, was replaced or was rejected, is summed up again from the stored pixels in order of acquisition; nothing is
ever subtracted. Sums brought up to date night by night and sums from scratch are therefore the same to the bit.
All of it is derived: a file that is missing, broken or of another recipe is made again, and the folder may be deleted
at any time.
"""

import json
import operator
import os
from collections.abc import Buffer, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import google_crc32c
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from monitor.cover import fraction, indices, kernels
from monitor.cover.fraction import Endmembers, cover
from monitor.cover.indices import INDICES
from monitor.cube import packed
from monitor.cube.grid import grid_to_json
from monitor.cube.packed import unpack
from monitor.cube.store import Entry
from monitor.imagery import bands
from monitor.trends.kernels import yearly
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.trends.kernels.yearly import ROWS, add, inner_sums
from monitor.trends.stored import Stored

AT_ONCE: Final = 128_000_000
"""Values of scenes that are computed together. [byte]"""

DRAWN: Final = ("cover", "ndvi")
"""Values drawn from each scene, pixel by pixel."""

PAST: Final = "past.means"
"""File of what the maps need of the seasons that are past."""

BLOCKS: Final = "past.blocks"
"""File of what tells where a site fails, of the seasons that are past."""

_CHECK: Final = b', "check": '
"""What the last value of a file's first line is named: the checksum of what comes before it, and of the values."""

Season = tuple[int, bool]
"""Year of a growing season, and whether its scenes were taken before the work began."""


class Used(NamedTuple):
    """A scene that goes into the maps: all that decides what it adds to the sums."""

    acquisition: str
    digest: str
    """Of its stored pixels: another one for a newer processing baseline."""
    control: float
    """Mean cover of the control ground. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenes:
    """Those of a season that go into the maps, in order of acquisition; column by column, as :class:`Used`."""

    acquisitions: np.ndarray
    """(scene,) bytes, UTF-8."""
    digests: np.ndarray
    """Likewise."""
    controls: np.ndarray
    """(scene,) float64. [1]"""

    @classmethod
    def of(cls, used: Sequence[Used]) -> "Scenes":
        """Of scenes one by one."""
        names = np.array([[scene.acquisition.encode(), scene.digest.encode()] for scene in used], np.bytes_)
        controls = np.array([scene.control for scene in used], np.float64)
        return cls(acquisitions=names[:, 0], digests=names[:, 1], controls=controls)

    def used(self) -> list[Used]:
        """One by one."""
        told = zip(self.acquisitions.tolist(), self.digests.tolist(), self.controls.tolist(), strict=True)
        return [Used(name.decode(), digest.decode(), control) for name, digest, control in told]


class Look(NamedTuple):
    """What is drawn from one stored scene."""

    cover: np.ndarray
    """(y, x) float32, NaN where not seen. [1]"""
    ndvi: np.ndarray
    """As `cover`."""


Read = Callable[[Sequence[str]], Iterator[Look]]
"""Reads scenes, given by acquisition, in the order given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the maps of a site are made from."""

    seasons: Sequence[Season]
    """With a scene, ascending."""
    sums: Mapping[Season, np.ndarray] = field(repr=False)
    """Of the seasons of the last year: (row, y, x) float32; see :data:`ROWS`."""
    past: np.ndarray = field(repr=False)
    """(years before the last and rows, y, x) float32: mean cover of each of those years, NaN where not seen, and the
    sums of their scenes from before the start."""

    @classmethod
    def of(cls, sums: Mapping[Season, np.ndarray]) -> "State":
        """From the sums of all seasons."""
        seasons = sorted(sums)
        *years, last = sorted({year for year, _ in seasons})
        covers = [_mean(_total(sums[season] for season in seasons if season[0] == year), "cover") for year in years]
        before = np.zeros_like(sums[seasons[0]])
        for season in seasons:
            if season[1] and season[0] < last:
                before += sums[season]
        now = {season: sums[season] for season in seasons if season[0] == last}
        return cls(seasons=seasons, sums=now, past=np.stack([*covers, *before]))


def maps(state: State, ground: np.ndarray) -> dict[str, np.ndarray]:
    """NDVI and cover of the last growing season, trend of cover over the seasons, uplift over the control.

    Parameters
    ----------
    state : State
        Of at least one scene.
    ground : (y, x) bool array
        Pixels of the site; the others are left empty.

    Returns
    -------
    dict of (y, x) float32 array
        ``ndvi`` [1], ``cover`` [1], ``slope`` (Theil-Sen, of the seasons' means, a year apart) [1/year] and ``uplift``
        [1]; NaN outside the site, where not seen, and without two seasons for ``slope``.
        Uplift is the mean difference from the control in the last season, less that of all scenes before the start;
        scenes of a season that began before the start count for it only if there is none since.
    """
    years = np.array(sorted({year for year, _ in state.seasons}), np.float64)
    last = state.seasons[-1][0]
    now = _total(state.sums[season] for season in sorted(state.sums))
    cover = _mean(now, "cover")
    here = np.flatnonzero(ground)
    covers = np.empty((years.size, here.size), np.float32)
    state.past.reshape(len(state.past), -1)[: -len(ROWS)].take(here, axis=1, out=covers[:-1])
    cover.take(here, out=covers[-1])
    slope = np.full(ground.shape, np.nan, np.float32)
    slope.reshape(-1)[here], _ = slope_and_score(years, covers)
    uplift = _mean(state.sums.get((last, False), now), "over")
    if any(before for _, before in state.seasons):
        begun = [state.sums[season] for season in state.sums if season[1]]
        uplift = uplift - _mean(_total([state.past[-len(ROWS) :], *begun]), "over")
    layers = {"ndvi": _mean(now, "ndvi"), "cover": cover, "slope": slope, "uplift": uplift}
    return {name: np.where(ground, values, np.float32(np.nan)) for name, values in layers.items()}


def _total(sums: Iterable[np.ndarray]) -> np.ndarray:
    total: np.ndarray = reduce(operator.add, sums)
    return total


def _mean(sums: np.ndarray, row: str) -> np.ndarray:
    """(y, x) float32 mean of a row over scenes, NaN where the pixel was not seen."""
    seen = sums[0]
    mean: np.ndarray = np.full_like(seen, np.nan)
    np.divide(sums[ROWS.index(row)], seen, out=mean, where=seen > 0)
    return mean


def recipe(endmembers: Endmembers, grid: GeoBox) -> str:
    """Hash of all that the state depends on besides the scenes: grid, end members, and the code of the arithmetic."""
    content = repr((endmembers, tuple(grid.affine)[:6], tuple(grid.shape), str(grid.crs))).encode()
    return sha256(_code() + content).hexdigest()[:16]


def bring_up_to_date(
    folder: Path,
    seasons: Mapping[Season, Scenes],
    read: Read,
    *,
    made_by: str,
    snapshot: str,
    grid: GeoBox,
) -> State:
    """State of a site's maps, after adding what is new.

    Parameters
    ----------
    folder : Path
        Where the state is kept; made if need be.
    seasons : mapping
        All scenes that go into the maps.
    read : callable
        Asked once, for the scenes that are missing; not at all if none is.
    made_by : str
        See :func:`recipe`.
    snapshot : str
        Of the store that is committed by now.
    grid : GeoBox
        Of the site.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    *years, last = sorted({year for year, _ in seasons})
    before = {season: scenes for season, scenes in seasons.items() if season[0] < last}
    names = [_digest(before)] if before else []
    have, past = _load(folder / PAST, made_by, (len(years) + len(ROWS), grid.shape.y, grid.shape.x))
    fits = have == names
    needed = {season: scenes for season, scenes in seasons.items() if season[0] == last} if fits else seasons
    sums = sums_of(folder, needed, read, made_by=made_by, snapshot=snapshot, grid=grid)
    if fits:
        state = State(seasons=sorted(seasons), sums=sums, past=past)
    else:
        state = State.of(sums)
        _save(folder / PAST, state.past, names, recipe=made_by, grid=grid_to_json(grid), snapshot=snapshot)
    known = {*map(_sums, seasons), *([PAST] if before else []), BLOCKS}
    if folder.is_dir():
        for name in os.listdir(folder):
            if name not in known:  # of a season that lost all its scenes, or left by a run that was killed
                (folder / name).unlink()
    return state


def sums_of(
    folder: Path,
    seasons: Mapping[Season, Scenes],
    read: Read,
    *,
    made_by: str,
    snapshot: str,
    grid: GeoBox,
) -> dict[Season, np.ndarray]:
    """Sums of some seasons, after adding what is new; no other is looked at.

    Parameters and errors as for :func:`bring_up_to_date`.

    Returns
    -------
    dict
        By season, (row, y, x) float32; see :data:`ROWS`. Not to be written to.
    """
    shape = (grid.shape.y, grid.shape.x)
    sums: dict[Season, np.ndarray] = {}
    used = {season: scenes.used() for season, scenes in seasons.items()}
    left: dict[Season, list[Used]] = {}
    for season, wanted in used.items():
        have, sums[season] = _load(folder / _sums(season), made_by, (len(ROWS), *shape))
        if have != [list(scene) for scene in wanted[: len(have)]]:
            have, sums[season] = [], np.zeros_like(sums[season])
        if len(have) < len(wanted):
            left[season] = wanted[len(have) :]
    missing = [scene.acquisition for rest in left.values() for scene in rest]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        made = {"recipe": made_by, "grid": grid_to_json(grid), "snapshot": snapshot}
        looks = read(missing)
        for season, rest in left.items():
            sums[season] = sums[season].copy()
            for scene in rest:
                look = next(looks)
                add(sums[season].reshape(len(ROWS), -1), look.cover.ravel(), look.ndvi.ravel(), scene.control)
            _save(folder / _sums(season), sums[season], used[season], **made)
    return sums


def blocks_of(
    folder: Path,
    seasons: Mapping[Season, Scenes],
    ground: np.ndarray,
    times: int,
    read: Read,
    *,
    made_by: str,
    snapshot: str,
    grid: GeoBox,
) -> np.ndarray:
    """How far the ground of a site stood over its control, and in how many scenes it was seen, by blocks of pixels.

    Parameters and errors as for :func:`bring_up_to_date`, and

    seasons : mapping
        Of at least one season.
    ground : (y, x) bool array
        Pixels of the site.
    times : int
        Pixels along each side of a block.

    Returns
    -------
    (2, season, block, block) float32 array
        The rows ``over`` and ``seen`` of :data:`ROWS` summed up inside the site, seasons ascending.
    """
    last = max(year for year, _ in seasons)
    before = {season: scenes for season, scenes in seasons.items() if season[0] < last}
    height, width = (-(-side // times) for side in ground.shape)
    names = [_digest(before), sha256(ground).hexdigest(), str(times)]
    have, past = _load(folder / BLOCKS, made_by, (2, len(before), height, width))
    fits = have == names
    needed = {season: seasons[season] for season in sorted(seasons) if not (fits and season in before)}
    sums = sums_of(folder, needed, read, made_by=made_by, snapshot=snapshot, grid=grid)
    rows = [ROWS.index("over"), ROWS.index("seen")]
    found = np.stack([inner_sums(sums[season][rows], ground, times) for season in needed], axis=1)
    if fits:
        return np.concatenate([past, found], axis=1)
    if before:
        made = {"recipe": made_by, "grid": grid_to_json(grid), "snapshot": snapshot}
        _save(folder / BLOCKS, found[:, : len(before)], names, **made)
    return found


def reader(stored: Stored, endmembers: Endmembers) -> Read:
    """Reads scenes of a store by dask, so many at a time that memory stays bounded."""
    needed, values = _recipe(endmembers)

    def read(acquisitions: Sequence[str]) -> Iterator[Look]:
        drawn = stored.draw(acquisitions, values, names=DRAWN, layers=needed)
        scheduler = "threads" if drawn.data.npartitions > 1 else "synchronous"
        together = max(1, AT_ONCE // (4 * len(DRAWN) * drawn.sizes["y"] * drawn.sizes["x"]))
        for first in range(0, len(acquisitions), together):
            some = slice(first, first + together)
            for found in drawn.isel(acquisition=some).compute(scheduler=scheduler).values:
                yield Look(*found)

    return read


def at_hand(entries: Sequence[Entry], endmembers: Endmembers) -> Read:
    """The same of scenes that are in memory.

    Raises
    ------
    KeyError
        As it is asked for a scene that is not, before it draws any.
    """
    needed, values = _recipe(endmembers)
    scenes = {entry.record.acquisition: entry for entry in entries}

    def read(acquisitions: Sequence[str]) -> Iterator[Look]:
        return (look(entry) for entry in [scenes[name] for name in acquisitions])

    def look(entry: Entry) -> Look:
        record = entry.record
        cube = unpack(
            entry.pixels[None], ("y", "x"), times=[datetime.fromisoformat(record.time)], scale=[record.scale],
            offset=[record.offset], bandpass=[record.bandpass], layers=needed,
        )  # fmt: skip
        made = values(cube.drop_vars("time"))  # to compare the times of every pair of layers would cost the most
        return Look(*(np.asarray(one, np.float32)[0] for one in made))

    return read


def _recipe(endmembers: Endmembers) -> tuple[set[str], Callable[[xr.Dataset], list[xr.DataArray]]]:
    """Layers that are needed, and what makes the values of :data:`DRAWN` of a cube of them."""
    index, needed = INDICES[endmembers.index]

    def values(cube: xr.Dataset) -> list[xr.DataArray]:
        seen = {"ndvi": INDICES["ndvi"][0](cube["red"], cube["nir"]).where(cube["clear"])}
        if endmembers.index not in seen:
            seen[endmembers.index] = index(*(cube[band] for band in needed)).where(cube["clear"])
        return [cover(seen[endmembers.index], endmembers), seen["ndvi"]]

    return {"red", "nir", "clear", *needed}, values


def _digest(seasons: Mapping[Season, Scenes]) -> str:
    """Of all that decides what some seasons add up to."""
    digest = sha256()
    for season in sorted(seasons):
        scenes = seasons[season]
        told = b"\n".join([f"{season}".encode(), *scenes.acquisitions.tolist(), *scenes.digests.tolist()])
        digest.update(told + scenes.controls.tobytes())
    return digest.hexdigest()


def _sums(season: Season) -> str:
    return f"{season[0]}{'-before' if season[1] else ''}.sums"


@cache
def _code() -> bytes:
    """Hash of the code that the values in the state depend on."""
    digest = sha256()
    for module in (bands, fraction, indices, kernels, packed, yearly):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.digest()


def _load(path: Path, made_by: str, shape: tuple[int, ...]) -> tuple[list[Any], np.ndarray]:
    """What names the scenes that went into a file, and its values, which are not to be written to; nothing and zeros
    where it is not to be trusted.
    """
    try:
        content = path.read_bytes()
        line = content[: content.index(b"\n") + 1]
        told, values = json.loads(line), np.frombuffer(content, "<f4", offset=len(line)).reshape(shape)
        if (told["recipe"], told["check"]) == (made_by, _checksum(line.rpartition(_CHECK)[0], values)):
            return told["scenes"], values
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return [], np.zeros(shape, np.float32)


def _save(path: Path, values: np.ndarray, scenes: Sequence[Used | str], **made: Any) -> None:
    body = np.ascontiguousarray(values, "<f4")
    head = json.dumps(made | {"scenes": scenes}, ensure_ascii=False).encode().removesuffix(b"}")
    line = b"%s%s%d}" % (head, _CHECK, _checksum(head, body))
    # spaces at its end, so that the values lie where they can be used as they are read
    overwrite(path, line.ljust(len(line) + -(len(line) + 1) % 16) + b"\n", body)


def overwrite(path: Path, *parts: Buffer) -> None:
    """Write a derived file that carries a checksum, over what was there.

    A run that dies here leaves a torn one, which its checksum finds out. Any other file is to be replaced whole; but to
    make a new one and remove the old takes the file system several times as long, the more the more of them there are.
    A file that a copy shares, or that may not be written, gives way to a new one.

    Parameters
    ----------
    path : Path
        Its folder is there.
    *parts : bytes or contiguous array
        All of the content, one after the other.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written; what was there may be lost.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_nlink > 1 or not os.access(path, os.W_OK):
            path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        for part in parts:
            file.write(part)
        file.truncate()


def _checksum(head: bytes, values: np.ndarray) -> int:
    return int(google_crc32c.extend(google_crc32c.value(head), values.reshape(-1).view(np.uint8)))
