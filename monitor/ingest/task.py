"""Input and result of the update of a site."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple, Protocol

from shapely.geometry.base import BaseGeometry

from monitor.controls.screening import LeftOut
from monitor.controls.selection import ControlSet
from monitor.cover.observe import SourceLookup
from monitor.cube.bucket import Place
from monitor.cube.overpass import PendingDays
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.imagery.source import Scene, Source
from monitor.sites.site import Site

type Baselines = Mapping[str, Mapping[str, str]]  # processing baseline of each stored granule, by acquisition and tile


class RankedSources(SourceLookup, Protocol):
    """The sources of a run, in order of preference."""

    @property
    def first(self) -> Source:
        """The preferred source, which gives grids and rings."""
        ...

    @property
    def all(self) -> list[Source]:
        """All sources."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGranules:
    """Granules that are stored for a site; one object for all sites of a landscape that have the same."""

    landscape: LandscapeStore | None  # the store as it was read; None: nothing is stored
    baselines: Baselines
    key: tuple[str, int] = ("", 0)  # name of the landscape and a number in it: equal where the granules are shared


NOTHING_STORED: Final = StoredGranules(landscape=None, baselines={})


class UnreadScene(NamedTuple):
    """A scene that could not be read and waits: later nights try it again."""

    scene: str  # id
    since: str  # day of the newest scene offered when it could first not be read, ISO 8601
    why: str  # explanation for people


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTask:
    """Input of the update of one site."""

    site: Site
    ground: str  # key of its outline, start and biome, see `monitor.sites.site.ground_key`
    folder: Place  # folder of its landscape; for a new site, of the landscape that is to be created
    offered: tuple[Scene, ...]  # scenes offered over the site, in order of preference of their sources
    pending: PendingDays | None = None  # scenes of the days that may lack one; None: not computed
    searched: BaseGeometry  # area of the search that found them, longitude and latitude [degree]
    stored: StoredGranules = NOTHING_STORED  # granules of the site, as read before its landscape was locked
    controls: ControlSet | None  # frozen; None: those of the store, else they are chosen in this update
    others: tuple[tuple[BaseGeometry, date], ...]
    """Outline and start of every other site near the units or their search area, retired ones included: no control
    unit is chosen in them, and units in a site that was registered later are left out."""
    until: date
    waiting_in: Place | None = None  # store where it waits without control units, if they are chosen now elsewhere
    left_out: LeftOut = field(default_factory=dict)  # according to the ledger
    within: tuple[BaseGeometry, ...] | None = None  # control areas named by people; None: a ring around the site
    terrain: Terrain | None = None  # terrain of the site according to the ledger; None: unknown
    unread_since: Mapping[str, str] = field(default_factory=dict)  # by acquisition, `UnreadScene.since`
    missing_source: str = ""  # why a source could not be searched: a new site is not begun with half of its history


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """State of one site after its update."""

    stored: StoredSite
    snapshot: str
    new: tuple[str, ...]  # acquisitions stored by this update
    controls: ControlSet  # the control units; empty while they cannot be chosen
    new_controls: bool  # whether the ledger lacks them
    left_out: LeftOut  # units that no longer count from a day on
    new_left_out: bool  # whether the ledger has others
    terrain: Terrain | None
    new_terrain: bool  # whether the ledger lacks it
    unread: Mapping[str, UnreadScene] = field(default_factory=dict)  # by acquisition, scenes that wait
    tried: int | None = None  # last complete growing season when choosing the units failed; None: it did not fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the update of one site ended."""

    site: Site
    state: str  # `done`, `failed` or `deferred`
    error: str | None = None  # why it is not done
    fetched: FetchResult | None = None  # state of a site that is done
    never_offered: bool = False  # whether it failed because no source has ever offered a scene of it
