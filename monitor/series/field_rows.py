"""Measurements on the ground: cover, survival and density as people wrote them, beside the series of a site.

They never change a verdict. Rows of cover, where there are enough, give the factor between index cover and field cover
on the site itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from scipy.special import stdtrit

from monitor.series.columns import Columns
from monitor.series.observations import csv_cell, marked
from monitor.sites.cover_scale import FieldFactor

FIELD_COLUMNS: Final = ("site", "date", "kind", "value", "n", "lon", "lat", "note")
"""Columns of the file that is read, and of ``field.csv``."""
FIELD_KINDS: Final = ("cover", "survival", "density")
"""Kinds of measurements: fractions of ground or of plants, and plants a hectare."""
MIN_FACTOR_ROWS: Final = 5
"""Rows of cover with index cover beside them from which a factor is estimated: fewer give no usable interval."""
MIN_FACTOR_SITES: Final = 3
"""Sites of a biome with a local factor from which one of the biome is estimated."""
SAME_TIME_DAYS: Final = 20
"""Longest time between a row of cover and the scenes whose index cover it is compared with. [day]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRow:
    """One measurement on the ground."""

    site: str
    date: date
    kind: str  # one of `FIELD_KINDS`
    value: float  # fraction, 0..1; for a density, plants a hectare
    n: int = 1  # plots or plants behind the value
    lon: float | None = None
    lat: float | None = None  # both WGS 84; None: not stated [degree]
    note: str | None = None


def field_csv(rows: Iterable[FieldRow]) -> bytes:
    """``field.csv``: measurements in :data:`FIELD_COLUMNS`, in UTF-8; with a byte order mark if not all is ASCII."""
    lines = [",".join(FIELD_COLUMNS)]
    for row in rows:
        place = ("" if value is None else f"{value:.10g}" for value in (row.lon, row.lat))
        cells = (csv_cell(row.site), row.date.isoformat(), row.kind, f"{row.value:.10g}", str(row.n), *place)
        lines.append(",".join((*cells, csv_cell(row.note or ""))))
    return marked(("\n".join(lines) + "\n").encode())


def index_cover_beside(rows: Sequence[FieldRow], observed: Columns) -> np.ndarray:
    """Index cover of the site at the time of each of its rows: mean of its accepted scenes up to 20 days before or
    after.

    `observed` has `date`, `accepted` and `cover`. NaN where the site was not seen then. [cover fraction]
    """
    used = np.asarray(observed["accepted"], bool) & np.isfinite(observed["cover"])
    day, cover = observed["date"][used].astype("datetime64[D]"), observed["cover"][used]
    means = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        near = np.abs(day - np.datetime64(row.date, "D")).astype(np.int64) <= SAME_TIME_DAYS
        if near.any():
            means[place] = cover[near].mean()
    return means


def local_factor(rows: Sequence[FieldRow], observed: Columns, *, until: date) -> FieldFactor | None:
    """Index cover per field cover of one site, by its rows of cover until a day.

    The factor is the ratio of the two means over the rows, each weighted by its `n`; its 95 % interval is from the
    ratios without one row each (jackknife [1]_), by Student's t. It shows how much the rows differ, not an error that
    they share. None: fewer than :data:`MIN_FACTOR_ROWS` rows have index cover beside them, or their interval reaches
    zero.

    References
    ----------
    .. [1] B. Efron and C. Stein, "The jackknife estimate of variance," Ann. Stat., 1981, doi:10.1214/aos/1176345462.
    """
    covers = [row for row in rows if row.kind == "cover" and row.date <= until]
    index = index_cover_beside(covers, observed)
    known = np.isfinite(index)
    count = int(known.sum())
    if count < MIN_FACTOR_ROWS:
        return None
    n = np.array([row.n for row in covers], np.float64)[known]
    seen, measured = n * index[known], n * np.array([row.value for row in covers])[known]
    rest = measured.sum() - measured
    if not (rest > 0).all():
        return None
    without = (seen.sum() - seen) / rest
    sd = float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
    value, margin = float(seen.sum() / measured.sum()), float(stdtrit(count - 1, 0.975)) * sd
    if value - margin <= 0:
        return None
    return FieldFactor(value=value, low=value - margin, high=value + margin, rows=count)


def biome_factor(local: Sequence[FieldFactor]) -> FieldFactor | None:
    """Index cover per field cover of a biome, by the factors of its sites that have one (:func:`local_factor`).

    Geometric mean over the sites, rounded to hundredths, with a 95 % interval by Student's t from how much they differ:
    sites count alike, so that the one with most rows does not stand for the biome. None: fewer than
    :data:`MIN_FACTOR_SITES` sites.

    Examples
    --------
    >>> sites = [FieldFactor(value=value, low=0.1, high=2.0, rows=6) for value in (0.5, 0.6, 0.72)]
    >>> biome_factor(sites)
    FieldFactor(value=0.6, low=0.38, high=0.94, rows=18)
    """
    if len(local) < MIN_FACTOR_SITES:
        return None
    logs = np.log([factor.value for factor in local])
    middle, margin = logs.mean(), stdtrit(logs.size - 1, 0.975) * logs.std(ddof=1) / np.sqrt(logs.size)
    value, low, high = (round(float(end), 2) for end in np.exp([middle, middle - margin, middle + margin]))
    return FieldFactor(value=value, low=low, high=high, rows=sum(factor.rows for factor in local))
