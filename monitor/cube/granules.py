"""The granules of stored rows: one JSON text for each row, decoded once for all sites of a landscape."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np

from monitor.cube.records import encode_texts
from monitor.imagery import bands
from monitor.imagery.source import Scene

MAX_GRANULES: Final = 24
"""Granules of one overpass at most: ``granule_bits`` has one bit for each, and the preferred one in its highest byte. A
landscape of 100 km and its surroundings touch at most nine tiles of Sentinel-2, in two zones."""
TEXTS: Final = ("source", "baseline", "sensor", "quality", "orbit")  # columns of the preferred granule


class _Granule(msgspec.Struct, kw_only=True):
    id: str
    tile: str
    time: str
    baseline: str
    source: str
    sensor: str
    scale: float
    offset: float
    quality: str
    orbit: str


_DECODER: Final = msgspec.json.Decoder(list[_Granule])


def encode_granules(scenes: Sequence[Scene]) -> str:
    """The stored text of the granules of one row."""
    return json.dumps([_plain(scene) for scene in scenes], ensure_ascii=False)


def _plain(scene: Scene) -> dict[str, Any]:
    # A scene that was rejected because its scale is not a number has no pixels to be scaled.
    numbers = {name: float(getattr(scene, name)) for name in ("scale", "offset")}
    return {
        "time": scene.time.isoformat(),
        **{name: str(getattr(scene, name) or "") for name in ("id", "tile", *TEXTS)},
        **{name: value if isfinite(value) else 0.0 for name, value in numbers.items()},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Granules:
    """The granules of all rows of a landscape, one row after the other."""

    first: np.ndarray  # (row,) index of the first granule of each row
    acquisition: np.ndarray  # (row,) index into `acquisitions`
    acquisitions: np.ndarray  # (acquisition,) names, ascending
    order: np.ndarray  # (granule,) rank of each granule by (time, acquisition)
    earliest: np.ndarray  # (row,) lowest rank of the granules of each row
    tiles: list[str]
    baselines: list[str]
    columns: dict[str, np.ndarray]  # (granule,) values that `StoredSite.columns` takes from the preferred granule

    @classmethod
    def decode(cls, rows: np.ndarray, acquisitions: np.ndarray, resolution: float) -> "Granules":
        """Decode the texts of :func:`encode_granules` of all rows and their acquisitions; `resolution` is in m."""
        decoded = [_DECODER.decode(text) for text in rows]
        granules = [granule for row in decoded for granule in row]
        counts = np.array([len(row) for row in decoded], np.int64)
        names, number = np.unique(encode_texts(map(str, acquisitions)), return_inverse=True)
        time = encode_texts(g.time for g in granules)
        moment = np.array([g.time.removesuffix("+00:00") for g in granules], "datetime64[ns]")
        adjusted = [bands.is_adjusted_to_msi(g.sensor, g.quality, resolution) for g in granules]
        order = np.empty(len(granules), np.int64)
        order[np.lexsort((np.repeat(number, counts), time))] = np.arange(len(granules))
        row = np.repeat(np.arange(len(decoded)), counts)
        earliest = np.full(len(decoded), len(granules))
        np.minimum.at(earliest, row, order)
        columns = {
            "time": time,
            "moment": moment,
            "date": moment.astype("datetime64[D]"),
            "scene": encode_texts(g.id for g in granules),
            **{name: encode_texts(getattr(g, name) for g in granules) for name in TEXTS},
            "scale": np.array([g.scale for g in granules], np.float64),
            "offset": np.array([g.offset for g in granules], np.float64),
            "bandpass": np.array(adjusted, bool),
        }
        return cls(
            first=np.cumsum(counts) - counts, acquisition=number, acquisitions=names, order=order, earliest=earliest,
            tiles=[g.tile for g in granules], baselines=[g.baseline for g in granules], columns=columns,
        )  # fmt: skip
