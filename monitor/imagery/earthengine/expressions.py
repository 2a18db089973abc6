"""Expressions that Earth Engine evaluates: filters, selections, masks, joins, stacks, reductions and arithmetic only.

The server functions that requests use are listed in ``docs/sources.md``, and a test compares the two. Images become
integers first (:func:`to_integers`) and all computation starts from these, so that means computed by the server follow
the same rules as pixels that are read and masked here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import ee
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from monitor.imagery import bands

CLOUD_SCORE_PLUS: Final = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
"""Cloud Score+: one image for each Sentinel-2 image, with the same ``system:index``."""
QUALITY: Final = "quality"
CLEAR, CLOUD = "clear", "cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarthEngineProduct:
    """Band names, scaling and pixels of a collection."""

    band_names: tuple[str, ...]  # names of the bands of `monitor.imagery.bands.OBSERVED`, in that order
    quality_band: str  # name of the quality layer
    quality_kind: str  # what the quality layer holds, see `monitor.imagery.source.Scene`
    saturation_band: str = ""  # name of a layer that is not 0 where a pixel is saturated; empty: there is none
    scale: float  # reflectance = scale * integer + offset [1]
    offset: float  # reflectance of the integer 0 [1]
    pixel: float  # side of the finest pixels [m]
    corner: float  # corners of pixels are at multiples of `pixel` plus this [m]


_LANDSAT: Final = EarthEngineProduct(
    band_names=("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), quality_band="QA_PIXEL",
    quality_kind="qa_pixel", saturation_band="QA_RADSAT", scale=2.75e-5, offset=-0.2, pixel=30.0, corner=15.0,
)  # fmt: skip
PRODUCTS: Final = {
    "COPERNICUS/S2_SR_HARMONIZED": EarthEngineProduct(
        band_names=("B2", "B3", "B4", "B8", "B11", "B12"), quality_band="SCL", quality_kind="scl", scale=1e-4,
        offset=0.0, pixel=10.0, corner=0.0,
    ),
    "LANDSAT/LC08/C02/T1_L2": _LANDSAT,
    "LANDSAT/LC09/C02/T1_L2": _LANDSAT,
}  # fmt: skip
"""Known collections. In the harmonised Sentinel-2 collection the offset of baselines from 04.00 on is already
subtracted from the integers; Landsat Collection 2 Level 2 has the scale and offset of USGS LSDS-1619."""


def search_images(collection: str, area: BaseGeometry, since: date, until: date, *, scored: bool) -> Any:
    """Images of a collection over an area, both days included, with one band (and Cloud Score+ if `scored`)."""
    images = _filtered(collection, area, since, until).select([PRODUCTS[collection].band_names[0]])
    return _with_cloud_score(images) if scored else images


def images_by_index(
    collection: str, area: BaseGeometry, since: date, until: date, indices: Sequence[str], *, scored: bool
) -> Any:
    """Images of a collection as :func:`to_integers`, selected by ``system:index``.

    Area and days are those of the search that returned them: they only spare the server a scan of the whole collection.
    If `scored`, Cloud Score+ is added to the quality layer.
    """
    images = _filtered(collection, area, since, until).filter(ee.Filter.inList("system:index", list(indices)))
    images = _with_cloud_score(images) if scored else images
    return images.map(lambda image: to_integers(image, PRODUCTS[collection], scored=scored))


def stack_bands(images: Any, indices: Sequence[str], layers: Sequence[str]) -> Any:
    """One image with some layers of several images, named as :func:`stack_names` says.

    `images` contains at least those with the ``system:index`` of `indices`; the request fails if one is missing.
    """
    names = [f"{index}_{layer}" for index in indices for layer in layers]
    return images.toBands().select(names, stack_names(len(indices), layers))


def stack_names(images: int, layers: Sequence[str]) -> list[str]:
    """Names of the bands of :func:`stack_bands`: ``s<number of the image>_<layer>``."""
    return [f"s{number}_{layer}" for number in range(images) for layer in layers]


def to_integers(image: Any, product: EarthEngineProduct, *, scored: bool) -> Any:
    """Bands of ``OBSERVED`` and ``quality`` of an image as uint16, 0 where there is no value.

    `product` describes its collection. If `scored`, it has a Cloud Score+ band ``cs_cdf``, which becomes the high byte
    of ``quality``.
    """
    values = image.select(list(product.band_names), list(bands.OBSERVED)).unmask(0)
    if product.saturation_band:
        saturated = image.select(product.saturation_band).unmask(0).neq(0)
        values = values.multiply(saturated.Not()).add(saturated.multiply(bands.SATURATED))
    quality = image.select(product.quality_band).unmask(0)
    if scored:
        percent = image.select("cs_cdf").multiply(100).round()
        quality = quality.add(percent.add(1).unmask(0).multiply(256))
    # The first image gives the name that a stack uses; the result of arithmetic has lost it.
    combined = image.addBands(values.toUint16()).addBands(quality.rename(QUALITY).toUint16())
    return combined.select([*bands.OBSERVED, QUALITY])


def clear_and_cloud(image: Any, quality_kind: str, *, scale: float, offset: float) -> tuple[Any, Any]:
    """Which pixels of an image of :func:`to_integers` show the ground, and which cloud that masks would grow: 0 or 1.

    The rules of :mod:`monitor.cube.masks`, except that clouds are not grown, which server arithmetic cannot do.
    `quality_kind` is that of :class:`monitor.imagery.source.Scene`; reflectance = scale * integer + offset [1].
    """
    quality = image.select(QUALITY)
    if quality_kind == "qa_pixel":
        empty = quality.bitwiseAnd(0b1).neq(0).Or(quality.eq(0))
        cloud = quality.bitwiseAnd(0b11100).neq(0).And(empty.Not())
        ground = quality.bitwiseAnd(0b10111110).eq(0).And(empty.Not())
    else:
        scene_class = quality.bitwiseAnd(255)
        ground = _is_any_of(scene_class, (4, 5))
        cloud = _is_any_of(scene_class, (3, 8, 9, 10))
        if quality_kind == "scl_cs":
            score = quality.subtract(scene_class).divide(256)
            has_score, high_score = score.gt(0), score.gt(bands.SCORE_CLEAR)
            never_clear = _is_any_of(scene_class, (0, 1, 6)).Or(scene_class.gte(11))
            ground = has_score.Not().And(ground).Or(high_score.And(never_clear.Not()))
            cloud = has_score.Not().And(cloud).Or(has_score.And(high_score.Not()))
    for name in ("red", "nir"):
        ground = ground.And(_has_value(image.select(name)))
        if quality_kind == "qa_pixel":
            reflectance = image.select(name).multiply(scale).add(offset)
            ground = ground.And(reflectance.gt(0)).And(reflectance.gte(1).Not())
    return ground.And(_snow(image, scale, offset).Not()), cloud


def _snow(image: Any, scale: float, offset: float) -> Any:
    """Snow by its colour, as :func:`monitor.cube.masks.snow`."""
    green, infrared = image.select("green"), image.select("swir16")
    a, b = (band.multiply(scale).add(offset) for band in (green, infrared))
    bright = _has_value(green).And(_has_value(infrared)).And(green.gte((bands.SNOW_BRIGHT - offset) / scale))
    return bright.And(a.subtract(b).gt(a.add(b).multiply(bands.NDSI_SNOW)))


def _has_value(values: Any) -> Any:
    return values.neq(bands.NODATA).And(values.neq(bands.SATURATED))


def clear_and_cloud_bands(image: Any, quality_kind: str, *, scale: float, offset: float) -> Any:
    """Bands ``clear`` and ``cloud`` of :func:`clear_and_cloud`, under the name of the image; same parameters."""
    clear, cloud = clear_and_cloud(image, quality_kind, scale=scale, offset=offset)
    return image.addBands(clear.rename(CLEAR)).addBands(cloud.rename(CLOUD)).select([CLEAR, CLOUD])


def clear_layers(
    image: Any, quality_kind: str, recipe: Callable[[Any], Mapping[str, Any]], *, scale: float, offset: float
) -> Any:
    """Layers on the clear pixels of an image, masked elsewhere; parameters as of :func:`clear_and_cloud`.

    `recipe` returns layers by name, computed from an image of reflectances.
    """
    values = image.select(list(bands.OBSERVED))
    reflectance = values.multiply(scale).add(offset).updateMask(_has_value(values))
    clear, _ = clear_and_cloud(image, quality_kind, scale=scale, offset=offset)
    layers = recipe(reflectance)
    for name, layer in layers.items():
        image = image.addBands(layer.updateMask(clear).rename(f"of_{name}"))
    return image.select([f"of_{name}" for name in layers], list(layers))


def unit_features(units: Sequence[BaseGeometry]) -> Any:
    """Feature collection of units in longitude and latitude, numbered by the property ``unit``; sides are planar."""
    return ee.FeatureCollection(
        [ee.Feature(ee.Geometry(mapping(unit), None, False), {"unit": i}) for i, unit in enumerate(units)]
    )


def _filtered(collection: str, area: BaseGeometry, since: date, until: date) -> Any:
    day_after = until + timedelta(days=1)
    region = ee.Geometry(mapping(area), None, False)
    return ee.ImageCollection(collection).filterDate(since.isoformat(), day_after.isoformat()).filterBounds(region)


def _with_cloud_score(images: Any) -> Any:
    return images.linkCollection(ee.ImageCollection(CLOUD_SCORE_PLUS), ["cs_cdf"])


def _is_any_of(image: Any, values: Sequence[int]) -> Any:
    matches = image.eq(values[0])
    for value in values[1:]:
        matches = matches.Or(image.eq(value))
    return matches
