"""What Earth Engine is asked to compute: only filters, selections, masks, joins, stacks, reductions and arithmetic.

Every function that stands in a request is in :data:`FUNCTIONS`, and a test compares the two. Products are delivered as
integers first (:func:`delivered`), and everything that is computed of them starts from those same integers, so that
means drawn by the server follow the rules of pixels read and masked here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import ee
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from monitor.imagery import bands

FUNCTIONS: Final = (
    "Collection", "Collection.filter", "Collection.map", "DateRange", "Feature", "Filter.dateRangeContains",
    "Filter.intersects", "Filter.listContains", "GeometryConstructors.MultiPolygon",
    "GeometryConstructors.Polygon", "Image.add", "Image.addBands", "Image.and", "Image.bitwiseAnd",
    "Image.constant", "Image.divide", "Image.eq", "Image.gt", "Image.gte", "Image.linkCollection", "Image.max",
    "Image.min", "Image.multiply", "Image.neq", "Image.not", "Image.or", "Image.reduceRegions", "Image.rename",
    "Image.round", "Image.select", "Image.sqrt", "Image.subtract", "Image.tanh", "Image.toUint16",
    "Image.unmask", "Image.updateMask", "ImageCollection.load", "ImageCollection.toBands", "Projection",
    "Reducer.mean", "Reducer.sum", "Reducer.unweighted",
)  # fmt: skip
"""All functions that may stand in a request."""

SCORES: Final = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
"""Cloud Score+, an image for each of Sentinel-2 under the same ``system:index``."""
QUALITY: Final = "quality"
CLEAR, CLOUD = "clear", "cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """How a collection keeps what is needed of it."""

    names: tuple[str, ...]
    """Of the bands of :data:`monitor.imagery.bands.OBSERVED`, in that order."""
    mask: str
    """Of the quality layer."""
    quality: str
    """What that holds, see :class:`monitor.imagery.source.Scene`."""
    saturation: str = ""
    """Of a layer that is not 0 where a pixel is saturated; empty: there is none."""
    scale: float
    """Reflectance = scale * integer + offset. [1]"""
    offset: float
    """See ``scale``. [1]"""
    pixel: float
    """Side of the finest pixels. [m]"""
    corner: float
    """Where the corners of pixels lie on multiples of ``pixel``, plus this. [m]"""


_LANDSAT: Final = Product(
    names=("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), mask="QA_PIXEL", quality="qa_pixel",
    saturation="QA_RADSAT", scale=2.75e-5, offset=-0.2, pixel=30.0, corner=15.0,
)  # fmt: skip
PRODUCTS: Final = {
    "COPERNICUS/S2_SR_HARMONIZED": Product(
        names=("B2", "B3", "B4", "B8", "B11", "B12"), mask="SCL", quality="scl", scale=1e-4, offset=0.0, pixel=10.0,
        corner=0.0,
    ),
    "LANDSAT/LC08/C02/T1_L2": _LANDSAT,
    "LANDSAT/LC09/C02/T1_L2": _LANDSAT,
}  # fmt: skip
"""Known collections. The harmonised one of Sentinel-2 has the offset of baselines from 04.00 on taken out of its
integers; Landsat Collection 2 Level 2 has the scale and offset of USGS LSDS-1619."""


def offered(collection: str, area: BaseGeometry, since: date, until: date, *, scored: bool) -> Any:
    """Images of a collection over an area, days included, with nothing but one band (and the joined score)."""
    product = PRODUCTS[collection]
    found = _over(collection, area, since, until).select([product.names[0]])
    return _scored(found) if scored else found


def stack(images: Any, order: Sequence[str], layers: Sequence[str]) -> Any:
    """One image of all layers of all images, named ``s<number of the image>_<layer>``.

    Parameters
    ----------
    images : ee.ImageCollection
        That holds at least those named.
    order : sequence of str
        ``system:index`` of the images wanted; one that is missing is an error of the request.
    layers : sequence of str
        Of each image.
    """
    names = [f"{index}_{layer}" for index in order for layer in layers]
    return images.toBands().select(names, stacked(len(order), layers))


def stacked(n: int, layers: Sequence[str]) -> list[str]:
    """Names of the bands of :func:`stack`."""
    return [f"s{number}_{layer}" for number in range(n) for layer in layers]


def named(collection: str, area: BaseGeometry, since: date, until: date, order: Sequence[str], *, scored: bool) -> Any:
    """The images of a collection with the given ``system:index``, as :func:`delivered`.

    Area and days are those they were found by: they name no other images, but spare the server a walk through all.
    """
    product = PRODUCTS[collection]
    found = _over(collection, area, since, until).filter(ee.Filter.inList("system:index", list(order)))
    found = _scored(found) if scored else found
    return found.map(lambda image: delivered(image, product, scored=scored))


def delivered(image: Any, product: Product, *, scored: bool) -> Any:
    """Integers of an image: the bands of ``OBSERVED`` and ``quality``, uint16, 0 where there is no value."""
    values = image.select(list(product.names), list(bands.OBSERVED)).unmask(0)
    if product.saturation:
        saturated = image.select(product.saturation).unmask(0).neq(0)
        values = values.multiply(saturated.Not()).add(saturated.multiply(bands.SATURATED))
    quality = image.select(product.mask).unmask(0)
    if scored:
        percent = image.select("cs_cdf").multiply(100).round()
        quality = quality.add(percent.add(1).unmask(0).multiply(256))
    # The first image gives what a stack is named by; what arithmetic returns has lost it.
    together = image.addBands(values.toUint16()).addBands(quality.rename(QUALITY).toUint16())
    return together.select([*bands.OBSERVED, QUALITY])


def flags(image: Any, kind: str, *, scale: float, offset: float) -> tuple[Any, Any]:
    """Whether pixels of a :func:`delivered` image show the ground, and whether they are cloud: images of 0 and 1.

    The rules of :mod:`monitor.cube.masks`, but for the growing of clouds, which a server cannot do by arithmetic.
    Cloud is what would be grown.
    """
    quality = image.select(QUALITY)
    if kind == "qa_pixel":
        empty = quality.bitwiseAnd(0b1).neq(0).Or(quality.eq(0))
        cloud = quality.bitwiseAnd(0b11100).neq(0).And(empty.Not())
        ground = quality.bitwiseAnd(0b10111110).eq(0).And(empty.Not())
    else:
        scene = quality.bitwiseAnd(255)
        ground = _one_of(scene, (4, 5))
        cloud = _one_of(scene, (3, 8, 9, 10))
        if kind == "scl_cs":
            score = quality.subtract(scene).divide(256)
            has, sees = score.gt(0), score.gt(bands.SCORE_CLEAR)
            closed = _one_of(scene, (0, 1, 6)).Or(scene.gte(11))
            ground = has.Not().And(ground).Or(sees.And(closed.Not()))
            cloud = has.Not().And(cloud).Or(has.And(sees.Not()))
    for name in ("red", "nir"):
        ground = ground.And(_valued(image.select(name)))
        if kind == "qa_pixel":
            reflectance = image.select(name).multiply(scale).add(offset)
            ground = ground.And(reflectance.gt(0)).And(reflectance.gte(1).Not())
    return ground.And(_snow(image, scale, offset).Not()), cloud


def _snow(image: Any, scale: float, offset: float) -> Any:
    """Snow by its colour, as :func:`monitor.cube.masks.snow`."""
    green, infrared = image.select("green"), image.select("swir16")
    a, b = (band.multiply(scale).add(offset) for band in (green, infrared))
    bright = _valued(green).And(_valued(infrared)).And(green.gte((bands.SNOW_BRIGHT - offset) / scale))
    return bright.And(a.subtract(b).gt(a.add(b).multiply(bands.NDSI_SNOW)))


def _valued(values: Any) -> Any:
    return values.neq(bands.NODATA).And(values.neq(bands.SATURATED))


def flagged(image: Any, kind: str, *, scale: float, offset: float) -> Any:
    """A :func:`delivered` image with nothing but ``clear`` and ``cloud``."""
    clear, cloud = flags(image, kind, scale=scale, offset=offset)
    return image.addBands(clear.rename(CLEAR)).addBands(cloud.rename(CLOUD)).select([CLEAR, CLOUD])


def layered(image: Any, kind: str, recipe: Callable[[Any], Mapping[str, Any]], *, scale: float, offset: float) -> Any:
    """Layers of a recipe, over the clear pixels of a :func:`delivered` image."""
    values = image.select(list(bands.OBSERVED))
    reflectance = values.multiply(scale).add(offset).updateMask(_valued(values))
    clear, _ = flags(image, kind, scale=scale, offset=offset)
    layers = recipe(reflectance)
    for name, layer in layers.items():
        image = image.addBands(layer.updateMask(clear).rename(f"of_{name}"))
    return image.select([f"of_{name}" for name in layers], list(layers))


def features(shapes: Sequence[BaseGeometry]) -> Any:
    """Shapes (longitude and latitude, sides straight in them) that know their number as ``unit``."""
    return ee.FeatureCollection(
        [ee.Feature(ee.Geometry(mapping(shape), None, False), {"unit": i}) for i, shape in enumerate(shapes)]
    )


def _over(collection: str, area: BaseGeometry, since: date, until: date) -> Any:
    after = until + timedelta(days=1)
    region = ee.Geometry(mapping(area), None, False)
    return ee.ImageCollection(collection).filterDate(since.isoformat(), after.isoformat()).filterBounds(region)


def _scored(images: Any) -> Any:
    return images.linkCollection(ee.ImageCollection(SCORES), ["cs_cdf"])


def _one_of(image: Any, values: Sequence[int]) -> Any:
    found = image.eq(values[0])
    for value in values[1:]:
        found = found.Or(image.eq(value))
    return found
