"""What the pixels of a site tell, from the state of its maps (:mod:`monitor.trends.state`) after adding what is new."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from odc.geo.geobox import GeoBox

from jobs import derived
from monitor.cover.fraction import ENDMEMBERS
from monitor.cube.grid import inside
from monitor.cube.store import Entry, StoredSite, texts
from monitor.errors import StoreBroken
from monitor.series.columns import Columns, until
from monitor.sites.site import Site
from monitor.trends.kernels import failing as failing_ground
from monitor.trends.kernels import patches, yearly
from monitor.trends.kernels.failing import find, means, pixel_theta, times_of
from monitor.trends.kernels.yearly import inner_sums
from monitor.trends.state import (
    Look,
    Read,
    Scenes,
    Season,
    State,
    at_hand,
    blocks_of,
    bring_up_to_date,
    reader,
    recipe,
    sums_of,
)
from monitor.trends.stored import Stored
from monitor.verdict import assess, kernels, spatial, status, window
from monitor.verdict.assess import LastLook
from monitor.verdict.assessment import Assessment
from monitor.verdict.calibration import Calibration
from monitor.verdict.kernels import NORMAL_95
from monitor.verdict.spatial import FailingGround, tells_failing_ground
from monitor.verdict.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The state of a site's maps."""

    state: State
    grid: GeoBox
    ground: np.ndarray
    """(y, x) bool: pixels of the site."""


NEEDED: Final = ("acquisition", "time", "digest", "control_cover", "accepted")
"""Columns of the ledger, and ``date`` beside them, that tell which scenes go into the maps; with ``cover``, also where
a site fails."""


def mapped(stored: StoredSite, snapshot: str, site: Site, observed: Columns) -> Mapped | None:
    """Bring the state of a site's maps up to date; None where nothing was seen in a growing season.

    Parameters
    ----------
    stored : StoredSite
        Of the site.
    snapshot : str
        Of what is stored.
    site : Site
    observed : mapping
        :data:`NEEDED` columns up to the day that is asked for.

    Raises
    ------
    StoreBroken
        The store cannot be read.
    OSError
        The state cannot be written.
    """
    wanted = _Wanted.of(site, observed)
    if wanted is None:
        return None
    bring = partial(bring_up_to_date, _state(stored.derived), wanted.seasons)
    grid, state = _up_to_date(stored, snapshot, site, bring)
    return Mapped(state=state, grid=grid, ground=inside(site.geometry, grid))


def _up_to_date[T](stored: StoredSite, snapshot: str, site: Site, bring: Callable[..., T]) -> tuple[GeoBox, T]:
    """Grid of a site, and what is wanted of its state; pixels are read where need be."""
    endmembers = ENDMEMBERS[site.biome]
    read = reader(Stored(stored, snapshot), endmembers)
    return stored.grid, bring(read, made_by=recipe(endmembers, stored.grid), snapshot=snapshot, grid=stored.grid)


def add(
    store: StoredSite, snapshot: str, site: Site, observed: Columns, new: Collection[str], entries: Sequence[Entry]
) -> None:
    """Bring the seasons of new scenes up to date as these are stored, where the work is spread over many workers.

    Where that fails it is left to :func:`mapped`, which tells of it, as is every other season.

    Parameters
    ----------
    store : StoredSite
        Of the site; what is not yet committed counts.
    snapshot : str
        Of the store that is committed by now.
    site, observed
        See :func:`mapped`.
    new : collection of str
        Acquisitions that were stored.
    entries : sequence of Entry
        Those of them that are still in memory: where they are all that is missing no pixel is read.
    """
    wanted, endmembers = _Wanted.of(site, observed), ENDMEMBERS[site.biome]
    here = {entry.record.acquisition for entry in entries}

    def read(acquisitions: Sequence[str]) -> Iterator[Look]:
        known = here.issuperset(acquisitions)
        drawn = at_hand(entries, endmembers) if known else reader(Stored(store), endmembers)
        return drawn(acquisitions)

    if wanted is not None:
        added = texts(new)
        seasons = {
            season: scenes for season, scenes in wanted.seasons.items() if np.isin(scenes.acquisitions, added).any()
        }
        with suppress(OSError, StoreBroken):
            sums_of(
                _state(store.derived), seasons, read,
                made_by=recipe(endmembers, store.grid), snapshot=snapshot, grid=store.grid,
            )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What goes into the maps of a site."""

    seasons: Mapping[Season, Scenes]

    @classmethod
    def of(cls, site: Site, observed: Columns) -> "_Wanted | None":
        """None where nothing was seen in a growing season."""
        controls = np.asarray(observed["control_cover"], np.float64)
        counts = np.asarray(observed["accepted"], bool) & ~np.isnan(controls)
        names, digests, day = (observed[name][counts] for name in ("acquisition", "digest", "date"))
        if not day.size:
            return None
        window, controls = Window.of(site), controls[counts]
        first_year, last_year = (day[[0, -1]].astype("datetime64[Y]").astype(np.int64) + 1970).tolist()
        years = np.arange(first_year - 1, last_year + 1)
        opened = (years - 1970).astype("datetime64[Y]").astype("datetime64[D]") + np.timedelta64(window.opens, "D")
        started = int(np.searchsorted(day, np.datetime64(site.start, "D")))
        closed = opened + np.timedelta64(window.length, "D")
        bounds = (np.searchsorted(day, days).tolist() for days in (opened, closed))
        seasons: dict[Season, Scenes] = {}
        for year, first, end in zip(years.tolist(), *bounds, strict=True):
            for before, some in ((True, slice(first, min(end, started))), (False, slice(max(first, started), end))):
                if some.start < some.stop:
                    seasons[year, before] = Scenes(
                        acquisitions=names[some], digests=digests[some], controls=controls[some]
                    )
        if not seasons:
            return None
        return cls(seasons=seasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """Where a site fails, as it stood at the last look."""

    ground: FailingGround
    chance: np.ndarray
    """(block, block) float32: smoothed probability of failing of blocks of pixels; NaN where it is not told. [1]"""
    times: int
    """Pixels along each side of a block."""

    def on(self, ground: np.ndarray) -> np.ndarray:
        """The chance of each pixel of the site, of (y, x) bool `ground`; (y, x) float32, NaN elsewhere. [1]"""
        height, width = ground.shape
        fine = self.chance.repeat(self.times, axis=0).repeat(self.times, axis=1)[:height, :width]
        return np.where(ground, fine, np.float32(np.nan))


class _Kept(msgspec.Struct, kw_only=True):
    """What is kept beside a store of where its site fails."""

    key: str
    """Hash of all that it was made from."""
    ground: FailingGround | None
    shape: tuple[int, ...]
    """Of `chance`; empty without `ground`."""
    chance: bytes
    times: int

    @classmethod
    def of(cls, key: str, found: Failing | None) -> "_Kept":
        """Of what was found."""
        if found is None:
            return cls(key=key, ground=None, shape=(), chance=b"", times=1)
        chance = found.chance.astype("<f4")
        return cls(key=key, ground=found.ground, shape=chance.shape, chance=chance.tobytes(), times=found.times)

    @property
    def failing(self) -> Failing | None:
        """The same again."""
        if self.ground is None:
            return None
        chance = np.frombuffer(self.chance, "<f4").reshape(self.shape)
        return Failing(ground=self.ground, chance=chance, times=self.times)


def failing(
    stored: StoredSite,
    snapshot: str,
    site: Site,
    observed: Columns,
    look: LastLook | None,
    *,
    constants: Calibration,
) -> Failing | None:
    """Where a site fails, from the scenes up to the last look; None where it is not told.

    Parameters as for :func:`mapped`, with the columns ``cover`` and ``chain``, and

    look : LastLook or None
        The last one, of these scenes.
    constants : Calibration
        Of the verdict.

    Returns
    -------
    Failing or None
        A function of what was stored up to the look alone: kept beside the store under the hash of that, so that from
        one look to the next, most of a year, no pixel is read.
    """
    if look is None:
        return None
    seen = until(observed, look.day)
    content = [_code(), site.version, site.start.isoformat(), site.slope_degrees, constants.hash]
    key = sha256(json.dumps(content).encode() + seen["chain"][-1:].tobytes()).hexdigest()
    path = _place(stored.derived)
    kept = derived.kept(path, _Kept)
    if kept is not None and kept.key == key:
        return kept.failing
    found = _failing(stored, snapshot, site, observed, look)
    if path.parent.is_dir():
        derived.keep(path, _Kept.of(key, found))
    return found


def as_told(folder: Path, verdict: Assessment) -> Failing | None:
    """Where a site fails, as :func:`failing` kept it; None if that is not what the verdict tells."""
    kept = derived.kept(_place(folder), _Kept)
    found = None if kept is None else kept.failing
    told = (
        verdict.hectares_failing, verdict.hectares_failing_low, verdict.hectares_failing_high,
        verdict.hectares_failing_on,
    )  # fmt: skip
    if found is None or (found.ground.hectares, found.ground.low, found.ground.high, found.ground.day) != told:
        return None
    return found


def _failing(stored: StoredSite, snapshot: str, site: Site, observed: Columns, look: LastLook) -> Failing | None:
    verdict, promised, wanted = look.verdict(), look.promised(), _Wanted.of(site, observed)
    if wanted is None or not tells_failing_ground(verdict, site):
        return None
    # all scenes of them, so that the state stays as it is: those since the look lie in a season that does not count yet
    seasons = {season: wanted.seasons[season] for season in sorted(wanted.seasons) if season[0] in promised}
    if not seasons or verdict.theta is None or verdict.theta_low is None or verdict.theta_high is None:
        return None
    blocks = partial(_blocks, stored.derived, site, seasons)
    grid, (ground, (total, count)) = _up_to_date(stored, snapshot, site, blocks)
    pixel = abs(grid.resolution.x)
    times = times_of(pixel)
    within = inner_sums(ground.astype(np.float32), ground, times) >= times * times / 2
    expected = np.array([0.0 if before else promised[year] for year, before in seasons])
    found = find(
        *pixel_theta(*means(total, count, times), expected), within, site_theta=verdict.theta,
        site_variance=((verdict.theta_high - verdict.theta_low) / (2 * NORMAL_95)) ** 2, pixel=pixel * times,
    )  # fmt: skip
    told = FailingGround.of(found, site.hectares, verdict.as_of)
    if told is None:
        return None
    return Failing(ground=told, chance=found.smoothed.astype(np.float32), times=times)


def _blocks(
    folder: Path, site: Site, seasons: Mapping[Season, Scenes], read: Read, *, grid: GeoBox, **made: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a site, and their sums in blocks as large as are judged."""
    ground, times = inside(site.geometry, grid), times_of(abs(grid.resolution.x))
    return ground, blocks_of(_state(folder), seasons, ground, times, read, grid=grid, **made)


@cache
def _code() -> str:
    """Hash of the code that a site's failing ground depends on."""
    digest = sha256()
    for module in (failing_ground, patches, yearly, spatial, assess, kernels, status, window):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def _state(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.maps")


def _place(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.failing")
