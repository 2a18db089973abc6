"""The stored scenes of the sites of a landscape, as a Dataset on (site, time): one entry a site and acquisition.

Of each acquisition the newest row that has a site counts for it. Where an acquisition does not cover a site, ``there``
is false and the other values mean nothing.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import xarray as xr

from monitor.cube.granules import MAX_GRANULES
from monitor.cube.records import MEANS, STATES, encode_texts
from monitor.cube.store import LandscapeStore

_REASONS: Final = encode_texts("" if state == "ACCEPTED" else state for state in STATES)
_OF_SITE: Final = ("site", "time")


def stored_scenes(landscape: LandscapeStore, sites: Sequence[int] | None = None, rows: int | None = None) -> xr.Dataset:
    """All stored values of each acquisition but pixels and unit means, on (site, time); see :func:`scenes_of_rows`.

    Ascending by (time, acquisition). `sites` are numbers of sites in the landscape, by default all; with `rows` only
    the first rows are read: what a past night knew. Raises StoreBroken if the store cannot be read.
    """
    numbers = np.arange(len(landscape.grounds)) if sites is None else np.asarray(sites, np.int64)
    return scenes_of_rows(landscape, numbers, newest_rows(landscape, numbers, rows))


def newest_rows(landscape: LandscapeStore, sites: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Number of the row that counts for each site and acquisition, (site, time); -1: not covered.

    Ascending by (time, acquisition), without acquisitions that cover none of the sites; arguments as for
    :func:`stored_scenes`.
    """
    with landscape.guarded():
        granules, state = landscape.granules(), landscape.whole("state")[:rows][:, sites]
        stored = granules.acquisition[: len(state)]
        newest = np.full((granules.acquisitions.size, len(sites)), -1)
        np.maximum.at(newest, stored, np.where(state > 0, np.arange(len(state))[:, None], -1))
        rank = np.full(granules.acquisitions.size, granules.order.size)
        np.minimum.at(rank, stored, granules.earliest[: len(state)])
    covering = np.flatnonzero((newest >= 0).any(axis=1))
    return np.ascontiguousarray(newest[covering[np.argsort(rank[covering])]].T)


def scenes_of_rows(landscape: LandscapeStore, sites: np.ndarray, row: np.ndarray) -> xr.Dataset:
    """Stored values of rows given by number, (site, time); -1: none. All of one column are of one acquisition.

    On (site, time): ``there``, ``row``, ``digest`` (hash of the stored pixels and unit means), ``accepted`` and
    ``reason`` as stored, ``clear_fraction`` [1], ``n_pixels``, ``n_units`` (-1: unknown); of the preferred granule
    ``utc`` (ISO 8601), ``moment`` and ``date`` (UTC), ``scene``, ``source``, ``baseline``, ``sensor``, ``quality``,
    ``orbit`` (empty: unknown), ``scale``, ``offset``, ``bandpass``; ``site_means`` and ``control_means`` with a
    dimension ``measure`` (:data:`monitor.cube.records.MEANS`; NaN: unknown). On (time): ``acquisition``. Texts are
    bytes, see :func:`monitor.cube.records.encode_texts`.
    """
    there, of = row >= 0, np.asarray(sites, np.int64)[:, None]
    with landscape.guarded():
        granules = landscape.granules()
        preferred = granules.first[row] + (landscape.whole("granule_bits")[row, of] >> MAX_GRANULES)
        preferred = np.where(there, preferred, 0)
        state, counts = np.where(there, landscape.whole("state")[row, of], 0), landscape.whole("counts")[row, of]
        digest = landscape.whole("digest")[row, of]
        means = {name: landscape.whole(name)[row, of] for name in ("site_means", "control_means")}
        sizes = np.diff(landscape.fixed["first_pixel"].astype(np.int64))[of]
    if row.shape[1] == 0:  # no granule is stored: there is none to be preferred
        of_granule = {name: np.empty(row.shape, column.dtype) for name, column in granules.columns.items()}
        acquisition = granules.acquisitions[:0]
    else:
        of_granule = {name: column[preferred] for name, column in granules.columns.items()}
        acquisition = granules.acquisitions[granules.acquisition[row.max(axis=0)]]
    of_granule["utc"] = of_granule.pop("time")  # of the dimension's name there can be one for each time only
    values = {
        **of_granule, "there": there, "row": row, "digest": digest, "accepted": state == STATES.index("ACCEPTED"),
        "reason": _REASONS[state], "clear_fraction": rounded(counts[..., 0] / sizes, 4),
        "n_pixels": counts[..., 0].astype(np.int64), "n_units": counts[..., 1].astype(np.int64),
    }  # fmt: skip
    return xr.Dataset(
        {name: (_OF_SITE, one) for name, one in values.items()}
        | {name: ((*_OF_SITE, "measure"), one) for name, one in means.items()}
        | {"acquisition": ("time", acquisition)},
        coords={"measure": list(MEANS)},
    )


def of_one_site(scenes: xr.Dataset, site: int = 0) -> dict[str, np.ndarray]:
    """(n,) arrays of the entries of one site, by its place along ``site``; ``utc`` is named ``time``.

    Of variables with measures there is one for each: those of ``site_means`` are named by the measure, those of
    ``control_means`` ``control_...``.
    """
    there = np.flatnonzero(scenes["there"].values[site])
    columns: dict[str, np.ndarray] = {"acquisition": scenes["acquisition"].values[there]}
    for name, values in scenes.data_vars.items():
        if values.dims == _OF_SITE and name != "there":
            columns[str(name)] = values.values[site, there]
    columns["time"] = columns.pop("utc")
    columns["date"] = columns["date"].astype("datetime64[D]")  # xarray has seconds at most
    for prefix, name in (("", "site_means"), ("control_", "control_means")):
        if name in scenes:
            means = scenes[name].values[site, there]
            columns |= {f"{prefix}{measure}": means[:, at] for at, measure in enumerate(scenes["measure"].values)}
    return columns


def rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """Values rounded as Python's ``round`` does, to the bit, where ``np.round`` differs in the last digit at times."""
    scaled = values * 10.0**decimals
    near = np.rint(scaled) / 10.0**decimals
    tie = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < 1e-6
    if tie.any():
        near[tie] = [round(value, decimals) for value in values[tie].tolist()]
    return near
