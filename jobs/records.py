"""Records of the library as plain values for the ledger, and back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import date
from hashlib import sha256
from typing import Any

import numpy as np
from shapely.geometry import mapping, shape

from monitor.alerts.alert import Alert, Event, Notice, State
from monitor.cube.store import Record
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status

OBSERVED = ("ndvi", "cover", "ndmi", "nbr")
"""Means that are kept of a site and, as ``control_*``, of its control."""
_MEANS = (*OBSERVED, *(f"control_{name}" for name in OBSERVED))
Columns = Mapping[str, Any]
"""Observations column by column, (n,) arrays ascending by time: :data:`TEXTS` as :func:`texts` has them, of the others
NaN where a row has nothing."""
TEXTS = frozenset({"acquisition", "time", "scene", "source", "baseline", "reason", "digest", "line"})
JUDGED = ("time", "accepted", "clear_fraction", "control_cover_2", "reference_cover", *_MEANS)
"""Columns of the ledger that :func:`series` reads; and ``date``, see :func:`typed`."""


def site_to_json(site: Site) -> dict[str, Any]:
    """A site as plain values."""
    values = {field.name: getattr(site, field.name) for field in fields(site)}
    changed = {
        "geometry": mapping(site.geometry),
        "plan": asdict(site.plan),
        "start": site.start.isoformat(),
        "cohorts": [[begun.isoformat(), share] for begun, share in site.cohorts],
    }
    return {**values, **changed}


def site_from_json(values: dict[str, Any]) -> Site:
    """The site written by :func:`site_to_json`."""
    changed = {
        "geometry": shape(values["geometry"]),
        "plan": Plan(**values["plan"]),
        "start": date.fromisoformat(values["start"]),
        "cohorts": tuple((date.fromisoformat(begun), share) for begun, share in values.get("cohorts", ())),
    }
    return Site(**{**values, **changed})


def observation(record: Record) -> dict[str, Any]:
    """A stored scene as a row of the series; the second ring and the reference are settled with the other scenes."""
    n_units = record.measures.get("n_units")
    measures = record.measures if record.accepted else {}
    return {
        "acquisition": record.acquisition, "time": record.time, "scene": record.scene, "source": record.source,
        "baseline": record.baseline, "sensor": record.sensor, "orbit": record.orbit, "granules": record.granules,
        "clear_fraction": record.clear_fraction, "n_pixels": record.n_pixels,
        **{name: measures.get(name) for name in _MEANS},
        "control_cover_2": None, "reference_cover": None,
        "n_units": None if n_units is None else int(n_units),
        "accepted": record.accepted, "reason": record.reason, "digest": record.digest,
    }  # fmt: skip


def columns(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Columns:
    """Some columns of rows."""
    return typed({name: [row[name] for row in rows] for name in names})


def typed(plain: Mapping[str, Sequence[Any]]) -> Columns:
    """Columns of the ledger, plain values there, as they are used; beside ``time`` there is ``date``, its day (UTC)."""
    told: dict[str, Any] = {
        name: texts(values) if name in TEXTS else np.array(values, kind(name))  # None becomes NaN
        for name, values in plain.items()
    }
    if "time" in plain:
        told["date"] = np.array([time[:10] for time in plain["time"]], kind("date"))
    return told


def texts(values: Iterable[str]) -> np.ndarray:
    """Texts as they are kept: ten years of them are read at once, and only those become texts again that are looked at.

    Parameters
    ----------
    values : iterable of str
        None of which ends in NUL: it would be lost.

    Returns
    -------
    (n,) array of bytes
        In UTF-8, as wide as the longest.
    """
    return np.array([text.encode("utf-8", "surrogatepass") for text in values], np.bytes_)


def plain_texts(column: np.ndarray) -> list[str]:
    """The n texts that an (n,) array of :func:`texts` was made of."""
    told = column.tolist()
    known = {text: text.decode("utf-8", "surrogatepass") for text in set(told)}  # of a thousand reasons a few differ
    return [known[text] for text in told]


def kind(name: str) -> np.dtype[Any]:
    """What the array of a column other than :data:`TEXTS` holds."""
    special = {"accepted": "bool", "n_pixels": "int64", "date": "datetime64[D]", "chain": "V16"}
    return np.dtype(special.get(name, "float64"))


def chained(observed: Columns, before: bytes = b"") -> np.ndarray:
    """Of each observation a hash of what is judged of it and of all that came before it.

    Parameters
    ----------
    observed : mapping
        ``acquisition``, ``digest``, ``reason`` and :data:`JUDGED` columns.
    before : bytes
        The same of the observation before the first; empty: there is none.

    Returns
    -------
    (n,) array of 16 bytes
        Of equal columns equal ones.
    """
    names = ("time", "acquisition", "digest", "reason")
    told = zip(*(plain_texts(observed[name]) for name in names), strict=True)
    numbers = [np.asarray(observed[name], np.float64) for name in JUDGED if name != "time"]
    values = np.ascontiguousarray(np.stack(numbers, axis=1) + 0.0)  # no zero below zero
    found = []
    for text, row in zip(told, values, strict=True):
        before = sha256(before + repr(text).encode("utf-8", "surrogatepass") + row.tobytes()).digest()[:16]
        found.append(before)
    return np.frombuffer(b"".join(found), kind("chain"))


def until(observed: Columns, day: date) -> Columns:
    """Observations up to the end of a day."""
    count = int(np.searchsorted(observed["date"], np.datetime64(day, "D"), side="right"))
    return observed if count == observed["date"].size else {name: values[:count] for name, values in observed.items()}


def series(observed: Columns) -> Series:
    """The series as it is judged, of :data:`JUDGED` columns: accepted scenes only, one a day (the clearest)."""
    accepted, clear = np.flatnonzero(observed["accepted"]), observed["clear_fraction"]
    day = observed["date"][accepted]
    order = np.lexsort((-clear[accepted], day))  # equally clear ones stay in the order of time
    dates, first = np.unique(day[order], return_index=True)
    chosen = accepted[order[first]]
    column = {name: observed[name][chosen] for name in JUDGED if name not in ("time", "accepted")}
    second = np.where(
        np.isfinite(column["nbr"] - column["control_nbr"]),
        column["nbr"] - column["control_nbr"],
        column["ndmi"] - column["control_ndmi"],
    )
    return Series(
        dates=dates,
        cover=column["cover"],
        control=column["control_cover"],
        control_2=_if_any(column["control_cover_2"]),
        reference=_if_any(column["reference_cover"]),
        clear=column["clear_fraction"],
        second=_if_any(second),
    )


def _if_any(values: np.ndarray) -> np.ndarray | None:
    return values if np.isfinite(values).any() else None


def assessment_from_json(values: dict[str, Any]) -> Assessment:
    """The assessment that :func:`monitor.publish.products.as_json` wrote."""
    known: dict[str, Any] = {field.name: values[field.name] for field in fields(Assessment) if field.name in values}
    days = (
        "last_observed", "uplift_confirmed_on", "loss_on", "loss_confirmed_on", "calibration_dated",
        "hectares_failing_on",
    )  # fmt: skip
    changed: dict[str, Any] = {
        "as_of": date.fromisoformat(values["as_of"]),
        **{name: None if values.get(name) is None else date.fromisoformat(values[name]) for name in days},
        "status": Status(values["status"]),
        "alert": AlertLevel(values["alert"]),
        "reasons": tuple(values["reasons"]),
    }
    return Assessment(**{**known, **changed})


def alert_to_json(alert: Alert) -> dict[str, Any]:
    """An alert as plain values."""
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(alert).items()}


def alert_from_json(values: dict[str, Any]) -> Alert:
    """The alert written by :func:`alert_to_json`."""
    days = ("opened", "updated", "clear_since", "snoozed_until")
    changed = {name: None if values[name] is None else date.fromisoformat(values[name]) for name in days}
    return Alert(**{**values, **changed, "level": AlertLevel(values["level"]), "state": State(values["state"])})


def notice_to_json(notice: Notice) -> dict[str, Any]:
    """A notice as plain values."""
    alert = alert_to_json(notice.alert)
    return {"id": notice.id, "alert": alert, "event": notice.event.value, "day": notice.day.isoformat()}


def notice_from_json(values: dict[str, Any]) -> Notice:
    """The notice written by :func:`notice_to_json`."""
    return Notice(
        id=values["id"],
        alert=alert_from_json(values["alert"]),
        event=Event(values["event"]),
        day=date.fromisoformat(values["day"]),
    )
