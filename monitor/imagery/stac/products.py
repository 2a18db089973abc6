"""The products whose STAC items the monitor knows, and how an item is assigned to one of them.

A scale or offset stated by the item takes precedence, see :mod:`monitor.imagery.stac.scaling`.

**A collection of another sensor** needs no change here if its items name their bands by common name (STAC 1.0
``eo:bands``, STAC 1.1 ``bands``), state a scale, and have a quality layer of :data:`QUALITY_KEYS`: it is read as
:data:`OTHER`. **To add a product** whose items lack any of these:

1. add a :class:`StacProduct` below: asset keys of its bands, near infrared, quality layer, scale and offset;
2. recognise its items in :func:`identify_item`, and give its acquisitions an id in
   :mod:`monitor.imagery.acquisition_id` if it needs a new form;
3. for a new kind of quality layer, add its asset keys to :data:`QUALITY_KEYS` and :data:`QUALITY_TITLES`, and its
   classes or bits to :mod:`monitor.cube.masks`;
4. for a new sensor family, extend :func:`monitor.imagery.bands.sensor_family`;
5. add a recorded item to the tests, and its row to ``docs/sources.md``.

References
----------
.. [1] Sentinel-2 Products Specification Document, ESA: ``BOA_ADD_OFFSET``.
.. [2] Landsat 8-9 Collection 2 Level 2 Science Product Guide, USGS LSDS-1619.
.. [3] Geoscience Australia, definitions of the products ``ga_ls8c_ard_3`` and ``ga_s2am_ard_3``,
   https://github.com/GeoscienceAustralia/dea-config.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from monitor.errors import BROKEN_SCENE
from monitor.imagery import acquisition_id, bands
from monitor.imagery.acquisition_id import Identity
from monitor.imagery.stac.documents import as_mapping, first_text, first_value, item_rejected, safe_text

QUALITY_KEYS: Final = {
    "scl": ("scl", "scl_20m", "scene_classification", "scene-classification"),
    "qa_pixel": ("qa_pixel", "qa_pixel.tif", "pixel_qa"),
    "fmask": ("fmask",),
    "oa_fmask": ("oa_fmask",),
}
"""Asset keys, lower case, of each kind of quality layer."""
QUALITY_TITLES: Final = {
    "scl": re.compile(r"scene.?class", re.I),
    "qa_pixel": re.compile(r"pixel.?quality.?assessment|\bQA_?PIXEL\b", re.I),
    "fmask": re.compile(r"\bfmask\b", re.I),
    "oa_fmask": re.compile(r"\boa_fmask\b", re.I),
}
"""Asset titles of each kind of quality layer, used if no key matches."""
NO_QUALITY: Final = "regrowth:no_quality_layer"
"""Property of an item that is true if its scene has no quality layer, and people accept that: see
:mod:`monitor.imagery.stac.folder_scene`."""

FLOATS: Final = "regrowth:float_reflectance"
"""Property of an item that is true if its files hold reflectance or classes as floats whose scale was checked by their
pixels: see :mod:`monitor.imagery.stac.folder_pixels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StacProduct:
    """How the items of one product are read."""

    keys: Mapping[str, str]  # asset key of each band, lower case, without `.tif` and `_10m`; empty: the band's name
    near_infrared: tuple[str, ...] = ("nir08", "nir")  # common names of the near infrared, the preferred one first
    quality: tuple[str, ...]  # kinds of quality layer, the preferred one first
    scale: float | None  # scale if the item states none; None: the item must state it
    offset: float = 0.0  # offset if the item states none


def _keys(*keys: str) -> dict[str, str]:
    return dict(zip(bands.OBSERVED, keys, strict=True))


_MSI_KEYS: Final = _keys("b02", "b03", "b04", "b08", "b11", "b12")
_HLS_L30_KEYS: Final = _keys("b02", "b03", "b04", "b05", "b06", "b07")
_OLI_KEYS: Final = _keys("sr_b2", "sr_b3", "sr_b4", "sr_b5", "sr_b6", "sr_b7")
_TM_KEYS: Final = _keys("sr_b1", "sr_b2", "sr_b3", "sr_b4", "sr_b5", "sr_b7")

SENTINEL2_L2A: Final = StacProduct(keys=_MSI_KEYS, near_infrared=("nir", "nir08"), quality=("scl",), scale=1e-4)
"""Common name ``nir`` is B08 at 10 m. Its offset depends on the processing baseline [1]_, see
:func:`monitor.imagery.stac.scaling.scale_and_offset`."""
LANDSAT_OLI: Final = StacProduct(keys=_OLI_KEYS, quality=("qa_pixel",), scale=2.75e-5, offset=-0.2)
"""Landsat 8 and 9; scale and offset from [2]_."""
LANDSAT_TM: Final = StacProduct(keys=_TM_KEYS, quality=("qa_pixel",), scale=2.75e-5, offset=-0.2)  # Landsat 4, 5 and 7
HLS_S30: Final = StacProduct(keys={**_MSI_KEYS, "nir": "b8a"}, quality=("fmask",), scale=1e-4)
"""The narrow near infrared B8A, which matches that of Landsat; all bands have 30 m."""
HLS_L30: Final = StacProduct(keys=_HLS_L30_KEYS, quality=("fmask",), scale=1e-4)
DEA_SENTINEL2: Final = StacProduct(
    keys=_keys("nbart_blue", "nbart_green", "nbart_red", "nbart_nir_1", "nbart_swir_2", "nbart_swir_3"),
    quality=("oa_fmask",), scale=1e-4,
)  # fmt: skip
"""Collection 3 of Digital Earth Australia [3]_: reflectance corrected for terrain and view; ``nbart_nir_1`` is B08."""
DEA_LANDSAT: Final = StacProduct(
    keys=_keys("nbart_blue", "nbart_green", "nbart_red", "nbart_nir", "nbart_swir_1", "nbart_swir_2"),
    quality=("oa_fmask",), scale=1e-4,
)  # fmt: skip
OTHER: Final = StacProduct(keys={}, near_infrared=("nir", "nir08"), quality=tuple(QUALITY_KEYS), scale=None)
"""Any other item of GeoTIFFs."""

_HLS_ID: Final = re.compile(r"HLS\.([LS]30)\.")
_SENTINEL2_PLATFORM: Final = re.compile(r"sentinel[-_ ]?2|^s2[a-d]$")


def identify_item(item: Mapping[str, Any], time: datetime) -> tuple[StacProduct, str, Identity]:
    """Product (:data:`OTHER` if unknown), sensor (``sentinel-2a``) and acquisition of an item with a scene time."""
    product, sensor, identity = _identify(item, time)
    if "nbart_red" not in as_mapping(item.get("assets")):
        return product, sensor, identity
    properties = as_mapping(item.get("properties"))
    is_final = first_text(properties, "dea:dataset_maturity") == "final"
    identity = acquisition_id.dea(
        identity, version=first_text(properties, "odc:dataset_version"), is_final=is_final
    )  # fmt: skip
    return DEA_SENTINEL2 if product is SENTINEL2_L2A else DEA_LANDSAT, sensor, identity


def _identify(item: Mapping[str, Any], time: datetime) -> tuple[StacProduct, str, Identity]:
    properties = as_mapping(item.get("properties"))
    item_id = str(item.get("id", ""))
    assets = islice(as_mapping(item.get("assets")).values(), 40)
    hrefs = [str(asset.get("href", "")) for asset in assets if isinstance(asset, dict)]
    platform = first_text(properties, "platform", "eo:platform", "constellation")
    if harmonised := _HLS_ID.search(" ".join((item_id, *hrefs))):
        product = HLS_S30 if harmonised[1] == "S30" else HLS_L30
        return product, f"hls-{harmonised[1].lower()}", acquisition_id.hls(item_id, *hrefs)
    names = [
        first_text(properties, key)
        for key in (
            "s2:datatake_id", "eopf:datatake_id", "s2:product_uri", "sentinel:product_id", "s2:granule_id",
            "s2:tile_id", "sentinel:datastrip_id",
        )
    ]  # fmt: skip
    if _SENTINEL2_PLATFORM.search(platform.lower()) or re.match(r"S2[A-D]_", item_id) or any(names):
        identity = acquisition_id.sentinel2(
            *names, item_id, *hrefs, platform=platform, tile=_mgrs_tile(properties), time=time,
            baseline=first_value(
                properties, "s2:processing_baseline", "processing:version", "processing:baseline"
            ),
            orbit=first_value(properties, "sat:relative_orbit", "s2:relative_orbit"),
        )  # fmt: skip
        satellite = identity.acquisition[:3].lower()
        known = satellite in ("s2a", "s2b", "s2c", "s2d")
        return SENTINEL2_L2A, f"sentinel-2{satellite[2]}" if known else "sentinel-2", identity
    if "landsat" in platform.lower() or re.match(r"L[COTE]0\d_", item_id) or "landsat:wrs_path" in properties:
        identity = acquisition_id.landsat(
            first_text(properties, "landsat:product_id"), first_text(properties, "landsat:landsat_product_id"),
            item_id, first_text(properties, "landsat:scene_id"), first_text(properties, "landsat:landsat_scene_id"),
            *hrefs, platform=platform, path=first_value(properties, "landsat:wrs_path"),
            row=first_value(properties, "landsat:wrs_row"), time=time,
            collection=first_value(properties, "landsat:collection_number"),
        )  # fmt: skip
        number = re.search(r"(\d)$", platform) or re.match(r"L[COTE]0(\d)", identity.acquisition)
        product = LANDSAT_TM if identity.acquisition.startswith(("LE07", "LT0")) else LANDSAT_OLI
        return product, f"landsat-{number[1]}" if number else "landsat", identity
    collection = str(item.get("collection") or properties.get("collection") or "").lower()
    sensor = safe_text(platform.lower()) or safe_text(collection) or "unknown"
    identity = Identity(
        acquisition=f"{sensor}/{time:%Y%m%dT%H%M%S}",
        tile=safe_text(first_text(properties, "grid:code")),
        baseline=acquisition_id.normalised_baseline(first_value(properties, "processing:version")),
    )
    return OTHER, sensor, identity


def check_level(item: Mapping[str, Any], product: StacProduct, baseline: str) -> None:
    """Check that an item is surface reflectance.

    Raises SceneRejected (``BROKEN``) for Level 1, or Landsat of another collection than 2.
    """
    properties = as_mapping(item.get("properties"))
    product_ids = (item.get("id"), *(first_text(properties, key) for key in ("s2:product_uri", "landsat:product_id")))
    names = " ".join(map(str, product_ids))
    if product is SENTINEL2_L2A and re.search(r"_MSIL1[A-C]_|_L1C(_|$)", names):
        raise item_rejected(
            BROKEN_SCENE,
            "is Level 1C of Sentinel-2, not surface reflectance; take the product or collection of Level 2A",
        )
    if product not in (LANDSAT_OLI, LANDSAT_TM):
        return
    collection = str(first_value(properties, "landsat:collection_number") or "").lstrip("0")
    number = baseline.partition(".")[0].lstrip("0") or collection
    fix = "name a Collection 2 Level 2 collection"
    if number != "2":
        raise item_rejected(BROKEN_SCENE, f"is of Landsat collection {number or 'unknown'}; {fix}")
    if first_text(properties, "landsat:correction").startswith("L1") or re.search(r"L[COTE]0\d_L1", names):
        raise item_rejected(BROKEN_SCENE, f"is Level 1 of Landsat, not surface reflectance; {fix}")


def _mgrs_tile(properties: Mapping[str, Any]) -> str:
    if tile := first_text(properties, "s2:mgrs_tile", "grid:code", "odc:region_code"):
        return tile
    for prefix in ("mgrs", "sentinel"):
        keys = (f"{prefix}:utm_zone", f"{prefix}:latitude_band", f"{prefix}:grid_square")
        parts = [first_text(properties, key) for key in keys]
        if all(parts):
            return "".join(parts)
    return ""
