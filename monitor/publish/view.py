"""What a page about a site is made from. Everything is read from what is stored; no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd
import xarray as xr

from monitor.alerts.alert import Alert
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A natural-colour picture of the site from one clear scene."""

    date: date
    rgb: np.ndarray
    """(y, x, 3) float32, surface reflectance of red, green, blue; NaN where not seen. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """One site as it stands on the day of its assessment."""

    site: Site
    assessment: Assessment
    observations: pd.DataFrame = field(repr=False)
    """The columns of ``observations.csv``, ascending by date; `date` is datetime64."""
    before: Chip | None
    """Last clear growing-season scene before the start."""
    now: Chip | None
    """Last clear scene."""
    maps: xr.Dataset | None = field(repr=False)
    """``ndvi``, ``cover``, ``slope``, ``uplift`` on (y, x) with the site's CRS; NaN outside the site or not seen."""
    outline: np.ndarray | None = field(repr=False)
    """(n, 2) outline of the site in pixels of the chips, x right, y down; rings separated by a row of NaN. [pixel]"""
    alert: Alert | None
    """The alert that is not yet resolved, if any."""
    notice: Mapping[str, str] | None = None
    """By language, what a reader must know before all else, for instance that a demonstration's fates are injected."""
