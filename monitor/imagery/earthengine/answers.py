"""What Earth Engine answers, made into scenes, pixels and tables; anything else is an error."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from shapely.errors import ShapelyError
from shapely.geometry import Polygon, shape
from shapely.geometry.base import BaseGeometry

from monitor.errors import TryLater
from monitor.imagery import acquisition_id
from monitor.imagery.earthengine.expressions import PRODUCTS
from monitor.imagery.source import Scene


@dataclass(frozen=True, slots=True)
class Asset:
    """What is needed to ask for a scene again."""

    collection: str
    index: str
    area: BaseGeometry
    """In which it was found."""


def scene_of(feature: dict[str, Any], collection: str, area: BaseGeometry, source: str, *, scored: bool) -> Scene:
    """A scene of an image as the server describes it."""
    product = PRODUCTS[collection]
    known: dict[str, Any] = feature.get("properties") or {}
    index = str(known.get("system:index") or str(feature.get("id", "")).rpartition("/")[2])
    try:
        time = datetime.fromtimestamp(float(known["system:time_start"]) / 1000.0, UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        time = None
    if time is None or not re.fullmatch(r"[\w-]+", index):
        msg = f"Earth Engine describes an image of {collection} ({index[:80]!r}) without a name or a time"
        raise TryLater(msg)

    def text(*names: str) -> list[str]:
        return [str(known.get(name) or "") for name in names]

    if product.quality == "scl":
        who = acquisition_id.sentinel2(
            *text("DATATAKE_IDENTIFIER", "PRODUCT_ID", "GRANULE_ID"), index,
            platform=text("SPACECRAFT_NAME")[0], tile=text("MGRS_TILE")[0], time=time,
            baseline=known.get("PROCESSING_BASELINE", ""), orbit=known.get("SENSING_ORBIT_NUMBER", ""),
        )  # fmt: skip
        sensor = f"sentinel-{who.acquisition[1:3].lower()}" if who.acquisition else "sentinel-2"
    else:
        who = acquisition_id.landsat(
            *text("LANDSAT_PRODUCT_ID", "L1_LANDSAT_PRODUCT_ID", "LANDSAT_SCENE_ID"), index,
            platform=text("SPACECRAFT_ID")[0], path=known.get("WRS_PATH", ""), row=known.get("WRS_ROW", ""), time=time,
        )  # fmt: skip
        sensor = f"landsat-{collection[11]}"
    layers = feature.get("bands") or [{}]
    return Scene(
        id=f"{collection}/{index}",
        acquisition=who.acquisition or f"{collection}/{index}",
        tile=who.tile,
        time=time,
        sensor=sensor,
        baseline=who.baseline,
        source=source,
        scale=product.scale,
        offset=product.offset,
        quality=f"{product.quality}_cs" if scored else product.quality,
        crs=str(layers[0].get("crs") or _zone(who.tile)),
        orbit=who.orbit,
        footprint=_footprint(known.get("system:footprint")),
        handle=Asset(collection, index, area),
    )


def _zone(tile: str) -> str:
    """UTM system of a Sentinel-2 tile; empty for anything else."""
    if not re.fullmatch(r"\d\d[A-Z]{3}", tile):
        return ""
    return f"EPSG:{(32600 if tile[2] >= 'N' else 32700) + int(tile[:2])}"


def _footprint(given: Any) -> BaseGeometry | None:
    """Polygon of a footprint, which the server gives as a ring; None: not told."""
    try:
        if given["type"] == "LinearRing":
            return Polygon(given["coordinates"]).buffer(0)
        found = shape(given)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ShapelyError):
        return None
    return found if found.area > 0 and found.is_valid else None


def unpacked(content: bytes, names: Sequence[str], size: tuple[int, ...]) -> np.ndarray:
    """(band, y, x) uint16 of an answer.

    Raises
    ------
    ValueError
        It is not the array asked for.
    """
    try:
        found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False, max_header_size=1 << 20)
    except (ValueError, EOFError, SyntaxError, OSError) as error:
        msg = f"{len(content)} bytes are no whole array ({error})"
        raise ValueError(msg) from None
    if found.shape != size:
        msg = f"an array of {found.shape} pixels, not {size}"
        raise ValueError(msg)
    if set(found.dtype.names or ()) != set(names):
        msg = f"{len(found.dtype.names or ())} bands, not the {len(names)} asked for"
        raise ValueError(msg)
    pixels = np.empty((len(names), *size), dtype=np.uint16)
    for number, name in enumerate(names):
        values = found[name]
        if values.dtype.kind not in "ui" or (values.size and not 0 <= values.min() <= values.max() <= 65535):
            msg = f"values of type {values.dtype}, not integers of 16 bits"
            raise ValueError(msg)
        pixels[number] = values
    return pixels


def table_of(answer: Any, units: int, names: Sequence[str]) -> np.ndarray:
    """(unit, name) float64 of a reduced collection; NaN where a unit or a value is missing.

    Raises
    ------
    ValueError
        The answer is not of that form.
    """
    found = np.full((units, len(names)), np.nan)
    try:
        for feature in answer["features"]:
            known = feature["properties"]
            values = [known.get(name) for name in names]
            found[int(known["unit"])] = [np.nan if value is None else float(value) for value in values]
    except (KeyError, TypeError, IndexError) as error:
        msg = f"no table of units ({error!r})"
        raise ValueError(msg) from None
    return found
