"""Content of the page of one site. Everything comes from what is stored; no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from monitor.alerts.alert import Alert, FalseAlarmReason, Verdict
from monitor.maps.film_years import FilmYear
from monitor.maps.worst_patch import WorstPatch
from monitor.publish.control_ground import ControlGround
from monitor.series.field_rows import FieldRow
from monitor.sites.cover_scale import FieldFactor
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.fitted import Fitted
from monitor.verdict.growth import GrowthPoint
from monitor.verdict.lots import Lot


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A picture of the site from one scene: natural colour with its surroundings, or its cover above the control."""

    date: date
    scene: str
    """Identifies the scene: another picture of the site has another one."""
    size: tuple[int, int]
    """Width and height. [pixel]"""
    rgb: np.ndarray | None
    """(y, x, 3) uint8, as stored or in the colours of the film; 0 where not seen. None: see `SiteView.maps`."""
    outline: np.ndarray = field(repr=False)
    """(n, 2) outline of the site in pixels of the picture, x right, y down; rings separated by a row of NaN. [pixel]"""
    controls: np.ndarray | None = field(default=None, repr=False)
    """As `outline`, of the control units that count; None: none is known."""
    pixel: float
    """Side of a pixel. [m]"""
    level: float | None = None
    """Measured difference from the control; None: not stated. [cover fraction]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """Cover above the control in the same weeks of each year (:mod:`monitor.maps.film`)."""

    years: Mapping[int, FilmYear]
    """Frames, ascending by year."""
    scenes: str
    """Hash of the scenes and the zero: another film has another one."""
    frames: np.ndarray | None = field(default=None, repr=False)
    """(year, y, x) float32 on the grid of the maps, NaN where not seen; None: see `SiteView.maps`. [cover fraction]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionChance:
    """Probability that a site on which nothing grows has been reported by some year after the start."""

    years: float  # time since the start [year]
    red: float  # probability of a red alert [1]
    watch: float  # probability of a watch or a red alert [1]


NO_ANSWER: Final = (Status.UNDECIDED, Status.INSUFFICIENT_DATA, Status.TOO_EARLY)
"""Statuses of sites whose growth is not judged."""

IMPROVEMENT_YEARS: Final = (3, 4, 5, 6)
"""Years after the start for which improvements are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionAssumptions:
    """Assumptions behind the detection chances of a site without an observed season."""

    scenes: float
    """Clear scenes a season."""
    before: int
    """Seasons with scenes before the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPhoto:
    """A photo of an answer, which is in the folder ``photos`` of the site."""

    id: str
    """SHA-256 of the file, its name without ``.jpg``."""
    taken: datetime | None
    """Time stated by the camera, local; None: not stated."""
    position: tuple[float, float] | None
    """Latitude and longitude stated by the camera, WGS 84; None: not stated. [degree]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldAnswer:
    """An answer to an alert: the finding of people in the field."""

    day: date  # of the finding
    by: str  # how it came: `link`, `command`, `import` or `replant`
    rule: str  # of the alert
    level: str  # of the alert
    finding: Verdict
    reason: FalseAlarmReason | None  # of a false alarm; None: not stated
    note: str | None
    photos: tuple[FieldPhoto, ...] = ()
    rejected: bool = False  # whether a review did not accept it


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """Content of the page of one site that the ledger has."""

    site: Site
    """The site in the episode of its assessment."""
    assessment: Assessment
    alert: Alert | None
    """The alert that is not resolved, or that a person has resolved while its cause is still seen; None: no alert."""
    answers: tuple[FieldAnswer, ...] = ()
    """Answers to all alerts of the site, newest first."""
    measured: tuple[FieldRow, ...] = ()
    """Measurements on the ground, oldest first."""
    biome_factor: FieldFactor | None = None
    """Index cover per field cover by the field rows of all sites of the biome; None: too few."""
    promises: tuple[Mapping[str, Any], ...] = ()
    """Promises up to the one that the assessment rests on, see :func:`monitor.sites.promise.entry`."""
    notice: Mapping[str, str] | None = None
    """By language, a notice shown first."""
    growth: tuple[GrowthPoint, ...] = ()
    """Points of its growth chart, ascending by day."""
    detectability: tuple[DetectionChance, ...] = ()
    """By years since the start; empty: unknown, and not shown."""
    detection_improvements: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Probability of a red alert on a site on which nothing grows, by the end of each of :data:`IMPROVEMENT_YEARS`:
    ``now``, with ``more_scenes`` (twice the clear scenes), control ``strips`` or ``both``; empty: unknown. [1]"""
    calibration: Calibration | None = None
    """Constants of the verdict; None: unknown."""
    detection_assumptions: DetectionAssumptions | None = None
    """Assumptions of `detectability`; None: it is based on the scenes of the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView(PageFacts):
    """Content of the page of one site on the day of its assessment."""

    observations: Mapping[str, Any] = field(repr=False)
    """Columns of ``observations.csv``, n values each, ascending by date: `date` is datetime64, a mean is NaN where
    nothing was seen. A DataFrame works too. With `lines`, only `date`, `cover`, `control_cover`, `accepted`,
    `reason`, `scene` and `source` are needed; the last two may be bytes in UTF-8. The 10th and 90th percentile of the
    control units, `control_low` and `control_high`, are drawn where they are given."""
    fitted: Fitted | None = None
    """The curve that the filter fits; None: not known, or the verdict gives no answer."""
    before: Chip | None
    """Clearest scene before the start."""
    now: Chip | None
    """Newest clear scene."""
    before_loss: Chip | None = None
    """Cover above the control in the last scene before a sudden loss, on the grid of the maps."""
    after_loss: Chip | None = None
    """That in the first scene that shows the loss."""
    maps: Mapping[str, xr.DataArray | None] = field(repr=False)
    """``ndvi``, ``cover``, ``slope``, ``uplift``, (y, x) float32 with CRS and transform in ``spatial_ref``, and, where
    it is known, ``failing``: probability that regrowth is absent, and ``loss``: that of a sudden loss; NaN outside the
    site or not seen. ``uplift_se`` is the standard error of ``uplift``, in its file. Empty where nothing was seen.
    None: not computed, because the existing file is up to date (:func:`monitor.publish.outdated.outdated_pictures`).
    """
    judged_hectares: float | None
    """Area in which the map ``failing`` or ``loss`` has a value; None without such a map. [ha]"""
    grid: GeoBox | None
    """Grid of the maps; None where there are none."""
    outline: np.ndarray | None = field(repr=False)
    """(n, 2) outline of the site in pixels of the maps, x right, y down; rings separated by a row of NaN. [pixel]"""
    patch: tuple[WorstPatch, np.ndarray] | None = field(default=None, repr=False)
    """Worst patch, of a sudden loss or else of failing ground, and its outline as `outline`; None: none is known."""
    lines: Sequence[bytes] | None = field(default=None, repr=False)
    """Lines of ``observations.csv`` (:func:`monitor.series.observations.observation_lines`) in UTF-8; None: not made
    yet."""
    film: Film | None = None
    """None: no scene in the weeks that it shows."""
    controls: ControlGround | None = None
    """Control ground of the site; None: it has none yet."""
    lot: Lot | None = None
    """None: the site belongs to no lot."""
    elevation: float | None = None
    """Mean elevation of the site above sea level. [m]"""
    slope: float | None = None
    """Mean slope of the terrain of the site. [degree]"""

    @property
    def chips(self) -> dict[str, Chip]:
        """The pictures that exist, by name."""
        chips = {
            "before": self.before, "now": self.now, "before-loss": self.before_loss, "after-loss": self.after_loss,
        }  # fmt: skip
        return {name: chip for name, chip in chips.items() if chip is not None}

    @property
    def is_judged(self) -> bool:
        """Whether the verdict answers how growth is; if not, no map or drawing may suggest an answer."""
        return self.assessment.status not in NO_ANSWER

    @property
    def shown_maps(self) -> tuple[str, ...]:
        """Names of the maps that the page shows."""
        if self.assessment.status in (Status.UNDECIDED, Status.INSUFFICIENT_DATA):
            return ()
        hidden = set() if self.is_judged else {"failing", "uplift", "slope"}
        return tuple(name for name in self.maps if name not in hidden)
