"""Convert STAC items to scenes; uses neither network nor files."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from monitor.errors import BROKEN_SCENE, SceneRejected
from monitor.imagery.acquisition_id import Identity
from monitor.imagery.addresses import is_remote
from monitor.imagery.source import IsStored, Scene
from monitor.imagery.stac.assets import scene_assets, select_bands, select_quality
from monitor.imagery.stac.documents import as_list, as_mapping, as_number, item_rejected, parse_time, safe_text
from monitor.imagery.stac.products import StacProduct, check_level, identify_item
from monitor.imagery.stac.scaling import scale_and_offset

MAX_FOOTPRINT_VERTICES: Final = 20_000  # a footprint with more vertices is replaced by its bounding box


def scene_from_item(item: Mapping[str, Any], *, base: str, source: str, stored: IsStored | None = None) -> Scene | None:
    """Convert a STAC item to a scene; None if the item has no id or no date, so that there is nothing to record.

    `base` is the address of the document that contains the item, `source` the name of the source that offers it,
    `stored` says whether a scene is stored already; its assets are then not selected. The handle of the scene is
    :class:`monitor.imagery.stac.assets.SceneAssets`; or the :class:`monitor.errors.SceneRejected` that says why it
    cannot be used; or None if it is stored (scale, offset, quality, crs are then placeholders).
    """
    item_id = safe_text(item.get("id"))
    time = _time(as_mapping(item.get("properties")))
    if not item_id or time is None:
        return None
    product, sensor, identity = identify_item(item, time)
    rejection: SceneRejected | None = None
    address = item_address(item)
    if is_remote(base) and is_remote(address):
        base = address  # in a response of an API relative addresses are relative to the item
    try:
        footprint = _footprint(item)
    except SceneRejected as error:
        footprint, rejection = None, error
    scene = Scene(
        id=item_id, acquisition=safe_text(identity.acquisition) or f"{sensor}/{time:%Y%m%dT%H%M%S}",
        tile=identity.tile, time=identity.start or time, sensor=sensor, baseline=identity.baseline, source=source,
        scale=1e-4, offset=0.0, quality=product.quality[0], orbit=identity.orbit, footprint=footprint,
    )  # fmt: skip
    if rejection is None and stored is not None and stored(scene):
        return scene
    try:
        scene = _with_assets(scene, item, product, identity, base=base, address=address)
    except SceneRejected as error:
        rejection = rejection or error
    return scene if rejection is None else rejected_scene(scene, rejection)


def rejected_scene(scene: Scene, reason: SceneRejected) -> Scene:
    """A scene that cannot be read. Without a baseline it never replaces a readable one, and any replaces it."""
    return replace(scene, baseline="", handle=reason)


def item_address(item: Mapping[str, Any]) -> str:
    """Address of an item, from its ``self`` link; empty if it has none."""
    for link in as_list(item.get("links")):
        if isinstance(link, dict) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    return ""


def _with_assets(
    scene: Scene, item: Mapping[str, Any], product: StacProduct, identity: Identity, *, base: str, address: str
) -> Scene:
    """The scene with its files, scale, offset and quality layer."""
    check_level(item, product, identity.baseline)
    selected = select_bands(item, product)
    kind, quality = select_quality(item, product)
    described = [(band.key, band.band) for band in filter(None, selected)]
    scale, offset = scale_and_offset(item, product, identity.baseline, described)
    assets = scene_assets(item, selected, quality, base=base, address=address)
    crs = f"EPSG:{assets.epsg}" if assets.epsg else ""
    return replace(scene, scale=scale, offset=offset, quality=kind, crs=crs, handle=assets)


def _footprint(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Outline of a scene, longitude and latitude; None if the item states none."""
    geometry = item.get("geometry")
    if isinstance(geometry, dict):
        try:
            with np.errstate(all="ignore"):  # NaN or huge coordinates would be warned of
                outline = shape(geometry)
                if shapely.get_num_coordinates(outline) > MAX_FOOTPRINT_VERTICES:
                    outline = box(*outline.bounds)
                if not outline.is_valid:
                    outline = shapely.make_valid(outline)
        except (
            ShapelyError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError,
        ) as error:  # fmt: skip
            raise item_rejected(BROKEN_SCENE, "has a geometry that makes no sense") from error
        if outline.is_valid and not outline.is_empty and _is_on_earth(outline.bounds):
            return outline
        raise item_rejected(BROKEN_SCENE, "has a geometry that is empty, broken or not on Earth")
    bbox = as_list(item.get("bbox"))
    if len(bbox) not in (4, 6):
        return None
    half = len(bbox) // 2
    sides = [as_number(value) for value in (*bbox[:2], *bbox[half : half + 2])]
    bounds = tuple(side for side in sides if side is not None)
    return box(*bounds) if len(bounds) == 4 and _is_on_earth(bounds) else None


def _is_on_earth(bounds: tuple[float, ...]) -> bool:
    left, bottom, right, top = bounds  # False for NaN
    return -180 <= left <= right <= 180 and -90 <= bottom <= top <= 90


def _time(properties: Mapping[str, Any]) -> datetime | None:
    """Scene time, UTC; None if the item states none."""
    texts = (properties.get(key) for key in ("datetime", "start_datetime"))
    return next((time for text in texts if isinstance(text, str) and (time := parse_time(text))), None)
