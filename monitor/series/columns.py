"""The columns of a site's series: one value an acquisition, ascending by (time, acquisition).

=================== ============== ===== ==============================================================================
column              dtype          unit  value
=================== ============== ===== ==============================================================================
acquisition         bytes                one satellite pass, see :mod:`monitor.imagery.acquisition_id`
time                bytes                time of the preferred granule, ISO 8601, UTC
date                datetime64[D]        day of `time`
scene               bytes                id of the preferred granule
source              bytes                name of the source of the preferred granule
baseline            bytes                processing baseline of the preferred granule; empty: unknown
digest              uint64               hash of the stored pixels and unit means
accepted            bool                 whether the scene counts
reason              bytes                why it does not; empty for an accepted one
clear_fraction      float64        1     share of the site that was seen
n_pixels            int64                pixels of the site that were seen
ndvi                float64        1     mean over the clear pixels of the site
cover               float64        1     mean vegetation cover over the clear pixels of the site
ndmi, nbr           float64        1     means of these indices over the clear pixels of the site
control_ndvi, ...   float64        1     these four of the control ground: mean of the first ring of control units
control_cover_2     float64        1     cover of the second ring
control_low, _high  float64        1     10th and 90th percentile of the cover of the control units
reference_cover     float64        1     cover of ground that had the planned cover before the start
line                bytes                line of ``observations.csv`` without the site
=================== ============== ===== ==============================================================================

All means have six decimals: what is judged is exactly what ``observations.csv`` shows. They are NaN where a scene was
not accepted, and where nothing was seen. Texts are UTF-8 (:func:`monitor.cube.records.encode_texts`).
"""

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Final

import numpy as np

Columns = Mapping[str, np.ndarray]  # columns of a series, by name
SERIES_MEASURES: Final = ("ndvi", "cover", "ndmi", "nbr")
"""Means of a site and, as ``control_*``, of its control ground."""
SPREAD_COLUMNS: Final = ("control_low", "control_high")
CONTROL_COLUMNS: Final = ("control_cover_2", "reference_cover", *(f"control_{name}" for name in SERIES_MEASURES))
"""Columns of the control ground."""
JUDGED_COLUMNS: Final = (
    "time", "accepted", "clear_fraction", "control_cover_2", "reference_cover", *SERIES_MEASURES, *CONTROL_COLUMNS[2:],
)  # fmt: skip
"""Columns that a verdict is computed from, besides `date`."""


def no_observations() -> Columns:
    """Empty columns of a site without stored scenes."""
    kinds = {"date": "datetime64[D]", "accepted": "bool", "n_pixels": "int64", "digest": "uint64"}
    kinds |= dict.fromkeys(("acquisition", "time", "scene", "source", "baseline", "reason", "line"), "S1")
    kinds |= dict.fromkeys(("clear_fraction", *SERIES_MEASURES, *CONTROL_COLUMNS, *SPREAD_COLUMNS), "float64")
    return {name: np.array([], kind) for name, kind in kinds.items()}


def second_index(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """A second index of the site and of its control: NBR where both show it, else NDMI; (n,) arrays, NaN: not seen."""
    seen = np.isfinite(columns["nbr"] - columns["control_nbr"])
    return tuple(np.where(seen, columns[f"{of}nbr"], columns[f"{of}ndmi"]) for of in ("", "control_"))  # type: ignore[return-value]


def clearest_each_day(dates: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Index of one acquisition a day, the clearest one, ascending; of equally clear ones the first.

    `clear` is the clear share of the site on each of the dates. [1]
    """
    order = np.lexsort((-clear, dates))  # stable
    first: np.ndarray = order[np.unique(dates[order], return_index=True)[1]]
    return first


def decode_texts(column: np.ndarray) -> list[str]:
    """Decode an (n,) column of bytes (:func:`monitor.cube.records.encode_texts`) into n texts."""
    encoded = column.tolist()
    known = {text: text.decode("utf-8", "surrogatepass") for text in set(encoded)}  # a thousand reasons have few values
    return [known[text] for text in encoded]


def content_hash(observed: Columns) -> str:
    """SHA-256 of all that a verdict is computed from, and of the pixels behind it.

    `observed` has ``acquisition``, ``digest``, ``reason`` and :data:`JUDGED_COLUMNS`.
    """
    content = sha256()
    for name in ("acquisition", "digest", "reason", *JUDGED_COLUMNS):
        values = observed[name]
        if values.dtype.kind == "S":
            content.update(b"\n".join(values.tolist()) + b"\n")  # whatever their width
        else:
            content.update((values + 0.0 if values.dtype.kind == "f" else values).tobytes())  # no zero below zero
    return content.hexdigest()


def observed_until(observed: Columns, day: date) -> Columns:
    """Observations up to the end of a day."""
    count = int(np.searchsorted(observed["date"], np.datetime64(day, "D"), side="right"))
    return observed if count == observed["date"].size else {name: values[:count] for name, values in observed.items()}
