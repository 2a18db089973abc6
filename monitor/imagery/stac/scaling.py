"""Scale and offset of a scene, decided from what its item states of its processing, never from its date."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from monitor.errors import WRONG_RADIOMETRY
from monitor.imagery.stac.documents import as_mapping, as_number, first_value, item_rejected, safe_text
from monitor.imagery.stac.products import FLOATS, OTHER, SENTINEL2_L2A, StacProduct

BOA_OFFSET: Final = -0.1  # BOA_ADD_OFFSET of Sentinel-2 L2A from `BOA_OFFSET_BASELINE` on: -1000 / 10,000 [1]
BOA_OFFSET_BASELINE: Final = (4, 0)  # first processing baseline of Sentinel-2 L2A with an offset, 04.00
FLOAT_STEP: Final = 1e-4  # reflectance as floats is stored as integers of this step [1]
_DECIMAL: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?", re.ASCII)


def scale_and_offset(
    item: Mapping[str, Any], product: StacProduct, baseline: str, bands: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[float, float]:
    """Scale and offset that are valid for all bands of a scene: reflectance = scale * integer + offset. [1]

    Of floats it is the scale of the integers that they are stored as, :data:`FLOAT_STEP`. `baseline` is the processing
    baseline, ``05.09``, empty if unknown; `bands` have the asset key and description of each band that is read. Raises
    SceneRejected (``RADIOMETRY``) if bands differ, values are not integers as delivered, or nothing states the scale.
    """
    described = list(bands)
    is_float = as_mapping(item.get("properties")).get(FLOATS) is True
    for key, band in described:
        data_type = str(band.get("data_type") or "").lower()
        if data_type and data_type not in ("uint16", "int16") and not (is_float and data_type.startswith("float")):
            what = f"says that {safe_text(key)!r} holds {data_type}"
            raise item_rejected(WRONG_RADIOMETRY, f"{what}: stretched or already scaled, not integers as delivered")
    scales = {value for key, band in described if (value := _stated(key, band, "scale")) is not None}
    offsets = {value for key, band in described if (value := _stated(key, band, "offset")) is not None}
    if len(scales) > 1 or len(offsets) > 1:
        why = f"has bands of different scale {sorted(scales)} or offset {sorted(offsets)}"
        raise item_rejected(WRONG_RADIOMETRY, why)
    scale, offset = next(iter(scales), None), next(iter(offsets), None)
    if scale == 1 and not offset and product is not OTHER and not is_float:
        scale = offset = None  # defaults of the tool that wrote the item, impossible for the known products
    if product is SENTINEL2_L2A:
        offset = _sentinel2_offset(as_mapping(item.get("properties")), baseline, offset)
    scale = scale or product.scale
    offset = product.offset if offset is None else offset
    if scale is None:
        why = "states no scale, and belongs to no product whose scale is known; add raster:bands to it"
        raise item_rejected(WRONG_RADIOMETRY, why)
    if is_float:
        scale = FLOAT_STEP
    if not 0 < scale <= 0.01:
        why = f"says scale {scale:g}: stretched or already scaled, not reflectance as delivered"
        raise item_rejected(WRONG_RADIOMETRY, why)
    if not -1 <= offset <= 1:
        raise item_rejected(WRONG_RADIOMETRY, f"says offset {offset:g}, which is not possible for reflectance")
    return scale, offset


def _sentinel2_offset(properties: Mapping[str, Any], baseline: str, stated: float | None) -> float:
    """Offset of a Sentinel-2 L2A scene.

    A flag that the offset was already applied decides; Earth Search sets it and still states an offset. Without it,
    pixels of a baseline before 04.00 never have an offset, whatever is stated; later ones have the stated offset, and
    -.1 if none is stated. The flag is wrong for some items, which :mod:`monitor.cube.offset_check` detects.
    """
    flag = first_value(properties, "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
    if flag is True:
        return 0.0
    if not baseline:
        return stated or 0.0
    major, _, minor = baseline.partition(".")
    if (int(major), int(minor)) < BOA_OFFSET_BASELINE:
        return 0.0
    return BOA_OFFSET if stated is None or flag is False else stated


def _stated(key: str, band: Mapping[str, Any], name: str) -> float | None:
    """Scale or offset that the item states for a band, in STAC 1.1 (``raster:scale``) or 1.0 (``scale``)."""
    for field in (f"raster:{name}", name):
        value = band.get(field)
        number = as_number(float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()) else value)
        if number is None and value is not None:
            why = f"says {name} {safe_text(str(value))!r} of {safe_text(key)!r}, which is not a number"
            raise item_rejected(WRONG_RADIOMETRY, why)
        if number is not None:
            return number
    return None
