"""The published series of a site as a table."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from monitor.access.installation import Installation
from monitor.access.stored import installation_of, published_site, stored_site
from monitor.errors import BadData
from monitor.series.observations import FORMULA_STARTS, MEAN_COLUMNS, OBSERVATION_COLUMNS
from monitor.sites.names import folder_name

_TEXTS: Final = ("site", "scene", "source", "baseline", "reason")


def open_series(path: str | Path, site: str) -> pd.DataFrame:
    """Open the published series of a site and its control ground.

    Parameters
    ----------
    path : str or Path
        The configuration file of the installation, or its output root. The environment is not read.
    site : str
        Id of the site.

    Returns
    -------
    pd.DataFrame
        One row an acquisition, in order of time, rejected ones too, with the columns of ``observations.csv`` under
        their names: ``date`` as datetime64 and ``accepted`` as bool, both columns and not the index; means as float64,
        NaN where not seen; ``n_pixels`` as int64; texts, empty where there is none. [1]

    Raises
    ------
    BadConfiguration
        `path` is not an installation.
    BadData
        `site` is not a text, the site is unknown, nothing of it is stored, or it was not judged yet.
    StoreBroken
        The store of the site cannot be read.

    Examples
    --------
    >>> series = open_series("outputs/demo", "demo-01")  # doctest: +SKIP
    >>> series[series.accepted].set_index("date")["cover"].plot()  # doctest: +SKIP
    """
    places = installation_of(path, site)
    series = published_series(places, site)
    if series is None:
        stored_site(places, site, published_site(places, site))  # a site that is unknown, or not fetched, is reported
        raise not_published(places, site)
    return series


def not_published(places: Installation, site: str) -> BadData:
    """The error about a site that is stored and has no published series."""
    return BadData(
        f"site {site!r} is stored, but its series is not published yet: there is no {_series_file(places, site)}; "
        "publish it first: regrowth run, or regrowth publish"
    )


def _series_file(places: Installation, site: str) -> Path:
    return places.outputs / "sites" / folder_name(site) / "observations.csv"


def published_series(places: Installation, site: str) -> pd.DataFrame | None:
    """The published series of a site, see :func:`open_series`; None: not published. BadData for a broken file."""
    file = _series_file(places, site)
    if not file.is_file():
        return None
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        columns = {name: _column(name, frame[name]) for name in OBSERVATION_COLUMNS}
    except (OSError, KeyError, ValueError) as error:
        msg = f"{file} is not a published series ({type(error).__name__}: {error}); write it again: regrowth publish"
        raise BadData(msg) from error
    return pd.DataFrame(columns)


def _column(name: str, cells: "pd.Series[str]") -> "pd.Series[Any]":
    """Values of a column from its cells."""
    if name in MEAN_COLUMNS:
        return pd.Series([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
    if name in _TEXTS:  # without the quote that makes a formula inert in a spreadsheet
        plain = [cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA_STARTS else cell for cell in cells]
        return pd.Series(plain, dtype=cells.dtype)
    if name == "date":
        return pd.to_datetime(cells, format="%Y-%m-%d").astype("datetime64[ns]")
    if name == "accepted":
        return cells.map({"true": True, "false": False}).astype(bool)
    return cells.astype(np.int64)
