"""What a page about a site is made from. Everything is read from what is stored; no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from monitor.alerts.alert import Alert
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A natural-colour picture of the site and its surroundings from one clear scene."""

    date: date
    scene: str
    """What it was taken from: another picture of the site has another."""
    size: tuple[int, int]
    """Width and height. [pixel]"""
    rgb: np.ndarray | None
    """(y, x, 3) uint8, all under one stretch; 0 where not seen. None: see `SiteView.maps`."""
    outline: np.ndarray = field(repr=False)
    """(n, 2) outline of the site in pixels of the picture, x right, y down; rings separated by a row of NaN. [pixel]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionChance:
    """How likely a site on which nothing grows has been told by then: whether it can be seen at all."""

    years: float
    """Since the start. [year]"""
    red: float
    """Chance of a red alert. [1]"""
    watch: float
    """Chance of at least a watch. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionAssumptions:
    """What chances rest on while no season of a site has been seen."""

    scenes: float
    """Clear scenes a season."""
    before: int
    """Seasons with scenes before the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTable:
    """What the constants of the verdict rest on."""

    source: tuple[str, str]
    """English, Chinese."""
    dated: date
    hash: str
    placebos: int
    """Placebo series that they were set on; 0: none."""
    rows: tuple[tuple[str, str, str], ...] = ()
    """What, in English and in Chinese, and how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """One site as it stands on the day of its assessment."""

    site: Site
    assessment: Assessment
    observations: Mapping[str, Any] = field(repr=False)
    """The columns of ``observations.csv``, n values each, ascending by date: `date` is datetime64, a mean is NaN where
    nothing was seen. A table of pandas serves as well. With `lines`, only `date`, `cover`, `control_cover`, `accepted`
    and `reason`."""
    before: Chip | None
    """Clearest scene before the start."""
    now: Chip | None
    """Newest clear scene."""
    maps: Mapping[str, xr.DataArray | None] = field(repr=False)
    """``ndvi``, ``cover``, ``slope``, ``uplift``, (y, x) float32 with CRS and transform in ``spatial_ref``, and, where
    it is known, ``failing``: probability that regrowth is absent; NaN outside the site or not seen. Empty where nothing
    was seen. None: as it was when the map in place was drawn (:func:`monitor.publish.products.outdated_pictures`)."""
    judged: float | None
    """How much ground the map ``failing`` has a value of; None without that map. [ha]"""
    grid: GeoBox | None
    """Of the maps; None where there are none."""
    outline: np.ndarray | None = field(repr=False)
    """(n, 2) outline of the site in pixels of the maps, x right, y down; rings separated by a row of NaN. [pixel]"""
    alert: Alert | None
    """The alert that is not yet resolved, or that a person has resolved while its cause is still seen, if any."""
    lines: Sequence[bytes] | None = field(default=None, repr=False)
    """Those of ``observations.csv`` (:func:`monitor.series.observations.observation_lines`) in UTF-8; None: yet to be
    made."""
    notice: Mapping[str, str] | None = None
    """By language, what a reader must know before all else, for instance that a demonstration's fates are injected."""
    power: tuple[DetectionChance, ...] = ()
    """By years since the start; empty: not told. This and what follows is shown only where it is known."""
    assumed: DetectionAssumptions | None = None
    """What `power` assumes; None: it is told from the scenes of the site."""
    calibration: CalibrationTable | None = None
    elevation: float | None = None
    """Above the sea, mean over the site. [m]"""
    slope: float | None = None
    """Of the ground, mean over the site. [degree]"""
