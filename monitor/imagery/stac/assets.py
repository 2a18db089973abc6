"""Select the files of a scene: one asset for each band, and its quality layer.

Assets are selected by the common names of their bands, then by the keys of the known products, so that the spelling of
the provider does not matter. Nothing here uses network or files.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.errors import BROKEN_SCENE
from monitor.imagery import bands
from monitor.imagery.stac.documents import as_list, as_mapping, as_number, item_rejected, listed_keys
from monitor.imagery.stac.products import FLOATS, NO_QUALITY, QUALITY_KEYS, QUALITY_TITLES, StacProduct
from monitor.imagery.stac.scaling import FLOAT_STEP

PICTURE_ROLES: Final = frozenset({"visual", "overview", "thumbnail", "preview", "metadata", "tiles"})
"""Roles and keys of assets that hold no measurements."""
_KEY_ENDING: Final = re.compile(r"(\.tiff?|_\d\dm)$")  # ending of a key that is not part of the band name


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAsset:
    """One band, or the quality layer, of a scene: where it is and what the item states about it."""

    key: str
    href: str  # address as written, relative to that of the item
    band: int = 0  # number of the band within the file, from 0
    nodata: float | None = None
    shape: tuple[int, int] | None = None  # rows and columns; None if not stated [pixel]
    transform: tuple[float, ...] | None = None  # six coefficients of the affine transform; None if not stated
    factor: float | None = None  # stored integer = factor * number, which may be a float; None: it is an integer [1]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneAssets:
    """The files of a scene."""

    bands: tuple[ItemAsset | None, ...]  # in the order of `monitor.imagery.bands.OBSERVED`; None: the scene lacks it
    quality: ItemAsset
    epsg: int | None
    base: str  # address of the item; relative addresses are joined to it
    item_address: str  # address under which the item can be fetched again, with new signatures; empty if there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class BandCandidate:
    """One band of one asset."""

    key: str  # key of the asset
    number: int  # number of the band within the file, from 0
    common_name: str  # common name, lower case; empty if not stated
    names: frozenset[str]  # key and band name, lower case and without ending: `b04` for `B04`, `B04.tif` and `B04_10m`
    is_single: bool  # whether the file has only this band
    asset: Mapping[str, Any]  # JSON of the asset
    band: Mapping[str, Any]  # JSON of the band, completed from the asset

    @property
    def pixel(self) -> float:
        """Side of a pixel; infinite if not stated. [m]"""
        stated = as_number(self.band.get("gsd")) or as_number(self.asset.get("gsd"))
        transform = _transform(self.asset, {})
        return stated or (abs(transform[0]) if transform else 0.0) or math.inf


def select_bands(item: Mapping[str, Any], product: StacProduct) -> list[BandCandidate | None]:
    """The asset of each band in :data:`monitor.imagery.bands.OBSERVED`; None where the scene lacks the band.

    Raises SceneRejected (``BROKEN``) without red or near infrared.
    """
    candidates = list(_candidates(item))
    selected = [
        _select_band(name, candidates, product.near_infrared if name == "nir" else (name,), product)
        for name in bands.OBSERVED
    ]
    missing = [name for name in ("red", "nir") if selected[bands.OBSERVED.index(name)] is None]
    if missing:
        assets = as_mapping(item.get("assets"))
        raise item_rejected(BROKEN_SCENE, f"has no asset for {' and '.join(missing)}; it has {listed_keys(assets)}")
    return selected


def select_quality(item: Mapping[str, Any], product: StacProduct) -> tuple[str, ItemAsset]:
    """Kind of the quality layer, a key of :data:`monitor.imagery.stac.products.QUALITY_KEYS`, and its asset.

    An item that states under :data:`monitor.imagery.stac.products.NO_QUALITY` that it has none is of the kind ``none``,
    for which the red band stands in. Raises SceneRejected (``BROKEN``) if no known one is found.
    """
    layers = list(image_assets(item))
    properties = as_mapping(item.get("properties"))
    for kind in product.quality:
        by_key = [layer for layer in layers if layer[0].lower() in QUALITY_KEYS[kind]]
        by_title = [layer for layer in layers if QUALITY_TITLES[kind].search(str(layer[1].get("title") or ""))]
        if found := by_key or by_title:
            return kind, _item_asset(*found[0], properties)
    candidates = list(_candidates(item))
    for kind in product.quality:
        for band in candidates:
            if band.names.intersection(QUALITY_KEYS[kind]):  # one of several bands of a file
                return kind, _item_asset(band.key, band.asset, properties, band.number)
    red = _select_band("red", candidates, ("red",), product)
    if properties.get(NO_QUALITY) is True and red is not None:
        return "none", _item_asset(red.key, red.asset, properties, red.number)
    present = listed_keys(as_mapping(item.get("assets")))
    why = f"has no quality layer that is known ({', '.join(product.quality)}); it has {present}"
    raise item_rejected(BROKEN_SCENE, why)


def scene_assets(
    item: Mapping[str, Any], selected: Sequence[BandCandidate | None], quality: ItemAsset, *, base: str, address: str
) -> SceneAssets:
    """The files of a scene, from the results of :func:`select_bands` and :func:`select_quality`.

    Raises SceneRejected (``BROKEN``) if bands are stated to be in several coordinate systems.
    """
    properties = as_mapping(item.get("properties"))
    is_float = properties.get(FLOATS) is True
    codes = {code for band in filter(None, selected) if (code := _epsg({**properties, **band.asset}))}
    if len(codes) > 1:
        raise item_rejected(BROKEN_SCENE, f"names several coordinate systems: {sorted(codes)}")

    def described(band: BandCandidate) -> ItemAsset:
        nodata, scale = (as_number(band.band.get(name)) for name in ("nodata", "scale"))
        asset = _item_asset(band.key, band.asset, properties, band.number, nodata)
        return replace(asset, factor=(scale or FLOAT_STEP) / FLOAT_STEP if is_float else None)

    return SceneAssets(
        bands=tuple(None if band is None else described(band) for band in selected), quality=quality,
        epsg=next(iter(codes), None), base=base, item_address=address,
    )  # fmt: skip


def image_assets(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and JSON of each asset that is a GeoTIFF or JPEG 2000 file of measurements."""
    for key, asset in as_mapping(item.get("assets")).items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            continue
        roles = {str(key).lower(), *(str(role).lower() for role in as_list(asset.get("roles")))}
        if (_is_geotiff(asset) or _is_jpeg2000(asset)) and not roles & PICTURE_ROLES:
            yield str(key), asset


def _is_geotiff(asset: Mapping[str, Any]) -> bool:
    kind = str(asset.get("type") or "").lower()
    return "tiff" in kind if kind else _ending(asset) in ("tif", "tiff")


def _is_jpeg2000(asset: Mapping[str, Any]) -> bool:
    return str(asset.get("type") or _ending(asset)).lower().startswith(("image/jp2", "image/jpx", "jp2"))


def _ending(asset: Mapping[str, Any]) -> str:
    """Ending of the address of an asset, lower case."""
    return re.split(r"[?#]", str(asset["href"]))[0].lower().rpartition(".")[2]


def _candidates(item: Mapping[str, Any]) -> Iterator[BandCandidate]:
    """Every band of every asset."""
    shared = as_mapping(item.get("properties")).get("eo:bands")
    for key, asset in image_assets(item):
        described = [as_mapping(band) for band in as_list(asset.get("bands"))]
        optical, raster = as_list(asset.get("eo:bands")), as_list(asset.get("raster:bands"))
        count = max(len(described), len(optical), len(raster), 1)
        for number in range(count):
            band = {name: value for name, value in asset.items() if name.startswith(("eo:", "raster:"))}
            for entries in (described, raster, optical):
                if number < len(entries):
                    entry = entries[number]
                    if isinstance(entry, int) and isinstance(shared, list) and 0 <= entry < len(shared):
                        entry = shared[entry]  # STAC 0.9: a number into the list of the item
                    band.update(as_mapping(entry))
            for field in ("nodata", "data_type"):
                band.setdefault(field, asset.get(field))
            yield BandCandidate(
                key=key, number=number,
                common_name=str(band.get("eo:common_name") or band.get("common_name") or "").lower(),
                names=frozenset(_KEY_ENDING.sub("", str(name).lower()) for name in (key, band.get("name") or "")),
                is_single=count == 1, asset=asset, band=band,
            )  # fmt: skip


def _select_band(
    name: str, candidates: Sequence[BandCandidate], common_names: Sequence[str], product: StacProduct
) -> BandCandidate | None:
    """The best asset for a band, by common name, else by key, GeoTIFFs first; None if there is none."""
    key = product.keys.get(name, name)
    named = ([c for c in candidates if c.common_name == common_name] for common_name in common_names)
    keyed = [c for c in candidates if c.is_single and not c.common_name and key in c.names]
    return min(
        next(filter(None, named), keyed), default=None,
        key=lambda c: (_is_jpeg2000(c.asset), not c.is_single, product.keys.get(name) not in c.names, c.pixel, c.key),
    )  # fmt: skip


def _item_asset(
    key: str, asset: Mapping[str, Any], properties: Mapping[str, Any], band: int = 0, nodata: float | None = None
) -> ItemAsset:
    return ItemAsset(
        key=key, href=str(asset["href"]), band=band, nodata=nodata, shape=_shape(asset, properties),
        transform=_transform(asset, properties), factor=1.0 if properties.get(FLOATS) is True else None,
    )  # fmt: skip


def _epsg(described: Mapping[str, Any]) -> int | None:
    """EPSG code of the coordinate system; None if not stated."""
    number = described.get("proj:epsg")
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        return number
    matched = re.fullmatch(r"EPSG:(\d{4,6})", str(described.get("proj:code") or "").upper())
    return int(matched[1]) if matched else None


def _shape(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns, from the asset, else from the item."""
    for described in (asset, properties):
        sides = described.get("proj:shape")
        if isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
            return sides[0], sides[1]
    return None


def _transform(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Coefficients of the affine transform, from the asset, else from the item."""
    for described in (asset, properties):
        coefficients = described.get("proj:transform")
        if isinstance(coefficients, list) and len(coefficients) in (6, 9):
            numbers = tuple(number for value in coefficients[:6] if (number := as_number(value)) is not None)
            if len(numbers) == 6:
                return numbers
    return None
