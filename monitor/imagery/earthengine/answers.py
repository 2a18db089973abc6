"""Decode the answers of Earth Engine into scenes, pixels and tables; anything unexpected is an error."""

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
class ImageHandle:
    """Names the image of a scene in a request."""

    collection: str  # collection that the image belongs to
    index: str  # its `system:index` there
    area: BaseGeometry  # area of the search that returned it [degree]


def scene_from_feature(
    feature: dict[str, Any], collection: str, area: BaseGeometry, source: str, *, scored: bool
) -> Scene:
    """The scene of an image as a search describes it; TryLater if the description lacks a usable name or time.

    `collection` is a key of :data:`PRODUCTS`, `area` that of the search; `scored`: whether Cloud Score+ is read with
    it.
    """
    product = PRODUCTS[collection]
    properties: dict[str, Any] = feature.get("properties") or {}
    index = str(properties.get("system:index") or str(feature.get("id", "")).rpartition("/")[2])
    try:
        time = datetime.fromtimestamp(float(properties["system:time_start"]) / 1000.0, UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        time = None
    if time is None or not re.fullmatch(r"[\w-]+", index):
        raise TryLater(f"Earth Engine describes an image of {collection} ({index[:80]!r}) without a name or a time")

    def text(*names: str) -> list[str]:
        return [str(properties.get(name) or "") for name in names]

    if product.quality_kind == "scl":
        identity = acquisition_id.sentinel2(
            *text("DATATAKE_IDENTIFIER", "PRODUCT_ID", "GRANULE_ID"), index, platform=text("SPACECRAFT_NAME")[0],
            tile=text("MGRS_TILE")[0], time=time, baseline=properties.get("PROCESSING_BASELINE", ""),
            orbit=properties.get("SENSING_ORBIT_NUMBER", ""),
        )  # fmt: skip
        sensor = f"sentinel-{identity.acquisition[1:3].lower()}" if identity.acquisition else "sentinel-2"
    else:
        identity = acquisition_id.landsat(
            *text("LANDSAT_PRODUCT_ID", "L1_LANDSAT_PRODUCT_ID", "LANDSAT_SCENE_ID"), index,
            platform=text("SPACECRAFT_ID")[0], path=properties.get("WRS_PATH", ""), row=properties.get("WRS_ROW", ""),
            time=time,
        )  # fmt: skip
        sensor = f"landsat-{collection[11]}"
    layers = feature.get("bands") or [{}]
    return Scene(
        id=f"{collection}/{index}", acquisition=identity.acquisition or f"{collection}/{index}", tile=identity.tile,
        time=time, sensor=sensor, baseline=identity.baseline, source=source, scale=product.scale,
        offset=product.offset, quality=f"{product.quality_kind}_cs" if scored else product.quality_kind,
        crs=str(layers[0].get("crs") or _utm_of_tile(identity.tile)), orbit=identity.orbit,
        footprint=_footprint(properties.get("system:footprint")), handle=ImageHandle(collection, index, area),
    )  # fmt: skip


def _utm_of_tile(tile: str) -> str:
    """UTM system of a Sentinel-2 tile; empty for anything else."""
    if not re.fullmatch(r"\d\d[A-Z]{3}", tile):
        return ""
    return f"EPSG:{(32600 if tile[2] >= 'N' else 32700) + int(tile[:2])}"


def _footprint(geojson: Any) -> BaseGeometry | None:
    """Polygon of a footprint, which the server gives as a ring; None: unknown."""
    try:
        if geojson["type"] == "LinearRing":
            return Polygon(geojson["coordinates"]).buffer(0)
        polygon = shape(geojson)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ShapelyError):
        return None
    return polygon if polygon.area > 0 and polygon.is_valid else None


def decode_array(content: bytes) -> np.ndarray:
    """Decode an answer in NPY format: an array with one field per band; ValueError if it is not complete."""
    try:
        # The names of 1,024 bands are longer than the largest header that numpy accepts by default.
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False, max_header_size=1 << 20)
    except (ValueError, EOFError, SyntaxError, OSError) as error:
        raise ValueError(f"{len(content)} bytes are not a complete array ({error})") from None


def decode_pixels(content: bytes, names: Sequence[str], size: tuple[int, ...]) -> np.ndarray:
    """Decode an answer in NPY format to (band, y, x) uint16; ValueError if it is not what was requested.

    `names` are the requested bands, in the order of the result, and `size` the requested rows and columns.
    """
    array = decode_array(content)
    if array.shape != size:
        raise ValueError(f"an array of {array.shape} pixels, not {size}")
    if set(array.dtype.names or ()) != set(names):
        raise ValueError(f"{len(array.dtype.names or ())} bands, not the {len(names)} requested ones")
    pixels = np.empty((len(names), *size), dtype=np.uint16)
    for number, name in enumerate(names):
        values = array[name]
        if values.dtype.kind not in "ui" or (values.size and not 0 <= values.min() <= values.max() <= 65535):
            raise ValueError(f"values of type {values.dtype}, not integers of 16 bits")
        pixels[number] = values
    return pixels


def decode_table(answer: Any, units: int, names: Sequence[str]) -> np.ndarray:
    """Decode the features that ``reduceRegions`` returns to a (unit, name) float64 array; NaN where a value is missing.

    Features have the number of their unit, of all `units` that were sent, as ``unit``; `names` are the properties to be
    read. Raises ValueError if the answer is not such a table.
    """
    table = np.full((units, len(names)), np.nan)
    try:
        for feature in answer["features"]:
            properties = feature["properties"]
            values = [properties.get(name) for name in names]
            table[int(properties["unit"])] = [np.nan if value is None else float(value) for value in values]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no table of units ({error!r})") from None
    return table
