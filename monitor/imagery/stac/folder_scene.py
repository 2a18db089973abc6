"""One scene of a folder of GeoTIFFs: its files, and the STAC item made of their headers.

Files are read as bytes, and only their headers: GDAL opens none of them, so that what is no plain GeoTIFF (a VRT, for
instance, which may name any other file) is refused. An item is then read as a night reads it
(:func:`monitor.imagery.stac.items.scene_from_item`), and one that a night would reject is refused here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import shapely
from odc.geo import CRS
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from monitor.errors import BROKEN_SCENE, BadData, SceneRejected
from monitor.imagery import bands
from monitor.imagery.byte_ranges import LocalFile
from monitor.imagery.source import Scene
from monitor.imagery.stac.blocks import TileLayout, read_layout
from monitor.imagery.stac.documents import safe_text
from monitor.imagery.stac.file_names import (
    NamedImage,
    normalised_band,
    satellite,
    tile,
    time_in_path,
    time_in_text,
)
from monitor.imagery.stac.gdal_metadata import GdalMetadata, read_gdal_metadata
from monitor.imagery.stac.items import scene_from_item
from monitor.imagery.stac.products import NO_QUALITY, OTHER, QUALITY_KEYS, SENTINEL2_L2A, StacProduct, identify_item
from monitor.imagery.transport import TransferCounts
from monitor.sites.projection import lonlat

TIME_TAGS: Final = ("acquisitiondatetime", "acquisition_date", "date_acquired", "sensing_time", "datetime", "date")
"""Names of the texts of a GeoTIFF that may state the time of its scene, best first. Its tag ``DateTime`` is not among
them: it says when the file was written."""
QUALITY_KIND: Final = {name: kind for kind, names in QUALITY_KEYS.items() for name in names}
_ALIASES: Final = {**{name: name for name in bands.OBSERVED}, "nir08": "nir", "swir1": "swir16", "swir2": "swir22"}
"""Names of bands that need no product."""
_EDGE_POINTS: Final = 10
"""Segments of an outline's side, since a straight line of a projected system is curved in longitude and latitude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What people say of their files."""

    bands: Mapping[str, str] = field(default_factory=dict)
    """By band or kind of quality layer: its number in each file, from 1, or its name."""
    scale: float | None = None
    """Reflectance = scale * integer + offset; None: as the files or their product state. [1]"""
    offset: float | None = None
    no_quality: bool = False
    """Whether scenes without a quality layer are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedScene:
    """One scene of the folder."""

    item: Mapping[str, Any]
    """Its STAC item, without links."""
    scene: Scene
    """The item as a night reads it."""
    bands: tuple[str, ...]
    """Names of its bands, of :data:`monitor.imagery.bands.OBSERVED`."""


@dataclass(frozen=True, slots=True)
class Image:
    """One file with its header."""

    name: NamedImage
    layout: TileLayout
    metadata: GdalMetadata

    @property
    def pixel(self) -> float:
        """Diagonal of a pixel of an upright grid, in the unit of its coordinate system."""
        return math.hypot(self.layout.transform.a, self.layout.transform.d)

    def band_names(self, options: IndexOptions) -> list[str]:
        """Name of each of its bands, lower case; empty where there is none."""
        described = [normalised_band(self.metadata.descriptions.get(band, "")) for band in range(self.layout.samples)]
        if self.layout.samples == 1 and self.name.band:
            described = [self.name.band]
        for band, place in options.bands.items():
            if not place.isdigit():
                described = [band if name == normalised_band(place) else name for name in described]
            elif 1 <= int(place) <= self.layout.samples and not (self.layout.samples == 1 and self.name.band):
                described[int(place) - 1] = band
        return described


def open_image(folder: Path, name: NamedImage) -> Image:
    """Read the header of one file of a folder.

    Raises
    ------
    SceneRejected
        It is no plain GeoTIFF, or names no coordinate system.
    OSError
        It cannot be read.
    """
    reader = LocalFile(folder / name.path, TransferCounts())
    reader.name = "it"
    layout = read_layout(reader)
    if not layout.wkt:
        raise SceneRejected(BROKEN_SCENE, "names no coordinate system; assign it, for instance by gdal_edit.py -a_srs")
    return Image(name, layout, read_gdal_metadata(reader))


def index_scene(images: Sequence[Image], options: IndexOptions, ids: set[str]) -> IndexedScene:
    """Item of a scene, checked as a night reads it.

    Raises
    ------
    SceneRejected, BadData
        It cannot be used.
    """
    time = _time(images)
    names = {name for image in images for name in image.band_names(options)}
    first = images[0].name.path
    properties: dict[str, Any] = {"datetime": f"{time:%Y-%m-%dT%H:%M:%SZ}"}
    if platform := satellite(first) or ("sentinel-2" if "scl" in names else ""):
        properties["platform"] = platform
    if platform.startswith("sentinel-2") and (square := tile(first)):
        properties["grid:code"] = f"MGRS-{square}"
    item: dict[str, Any] = {
        "type": "Feature", "stac_version": "1.0.0", "id": _free_id(images[0].name.scene, ids),
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "properties": properties,
        "assets": {str(number): {"href": str(image.name.path)} for number, image in enumerate(images)},
    }  # fmt: skip
    product, _, identity = identify_item(item, time)
    chosen = _choose(images, product, options)
    used = {id(image): image for image, _ in chosen.values()}
    if not any(name in QUALITY_KIND for name in chosen):
        _check_no_quality(options)
        properties[NO_QUALITY] = True
    scale, offset = _radiometry([chosen[name] for name in bands.OBSERVED if name in chosen], options)
    if product is OTHER and scale is None:
        why = "states no scale, so its numbers have no meaning; name it: --scale 0.0001 for reflectance times 10,000"
        raise SceneRejected(BROKEN_SCENE, why)
    if product is SENTINEL2_L2A and offset is None and not identity.baseline:
        why = (
            "is Sentinel-2 and does not say whether 1,000 was added to its numbers, as from baseline 04.00 on "
            "(January 2022): state --offset -0.1 if so, else --offset 0"
        )
        raise SceneRejected(BROKEN_SCENE, why)
    item["assets"] = {
        _asset_key(image): _asset(image, chosen, product, scale=scale, offset=offset) for image in used.values()
    }
    outline = _outline(chosen["red"][0].layout)
    item |= {"geometry": mapping(outline), "bbox": [round(side, 7) for side in outline.bounds]}
    scene = scene_from_item(item, base="item.json", source="folder")
    if scene is None or isinstance(scene.handle, SceneRejected):
        raise scene.handle if scene is not None else SceneRejected(BROKEN_SCENE, "has a name that cannot be an id")
    present = tuple(name for name, asset in zip(bands.OBSERVED, scene.handle.bands, strict=True) if asset is not None)
    return IndexedScene(item=item, scene=scene, bands=present)


def _time(images: Sequence[Image]) -> datetime:
    """Time of a scene, from the name of its first file, else from the tags of any."""
    path = images[0].name.path
    if (time := time_in_path(path)) is not None:
        return time
    texts = (image.metadata.texts.get(tag, "") for image in images for tag in TIME_TAGS)
    stated = next((time for text in texts if (time := time_in_text(text)) is not None), None)
    if stated is None:
        msg = "has no day in its name, its folder or its tags; rename it like scene_2021-07-15.tif"
        raise BadData(msg)
    return stated


def _choose(images: Sequence[Image], product: StacProduct, options: IndexOptions) -> dict[str, tuple[Image, int]]:
    """File and number of each band, and of the quality layer, by band or kind; of several the finest."""
    places: dict[str, tuple[Image, int]] = {}
    for image in sorted(images, key=lambda one: (one.pixel, one.name.path)):
        for number, name in enumerate(image.band_names(options)):
            known = _known_band(name, product)
            if known is None:
                continue
            if known in places and image.pixel == places[known][0].pixel:
                other = places[known][0].name.path
                msg = f"and {other} both hold the {known} band of one scene; name one of them differently"
                raise BadData(msg)
            places.setdefault(known, (image, number))
    if missing := [name for name in ("red", "nir") if name not in places]:
        present = sorted({name or "a band without a name" for image in images for name in image.band_names(options)})
        why = (
            f"has no {' and no '.join(missing)} band; it has {safe_text(', '.join(present))}. Name the bands by "
            "their number or name: --bands blue=1,green=2,red=3,nir=4"
        )
        raise SceneRejected(BROKEN_SCENE, why)
    for name, (image, _) in places.items():
        if name in bands.OBSERVED and image.layout.dtype not in ("uint16", "int16"):
            numbers = sorted(number + 1 for known, (one, number) in places.items()
                             if one is image and known in bands.OBSERVED)  # fmt: skip
            scaled = " ".join(f"-scale_b{number} 0 1 0 10000" for number in numbers)
            way = (
                f"if reflectance runs from 0 to 1, scale its bands alone, so that others, like classes, stay as they "
                f"are: gdal_translate -ot UInt16 {scaled} -a_nodata 0 IN OUT; then index OUT with --scale 0.0001 "
                "--offset 0"
                if image.layout.dtype.startswith("float")
                else "a picture stretched for the eye has no reflectance: take the product that it was made from"
            )
            why = f"holds {image.layout.dtype}, and pixels are stored as integers of 16 bits; {way}"
            raise SceneRejected(BROKEN_SCENE, why)
    return places


def _known_band(name: str, product: StacProduct) -> str | None:
    """Band, or kind of quality layer, that a name stands for; None if it is neither."""
    keys = {key: band for band, key in product.keys.items()}
    landsat = f"sr_b{name[2:]}" if name.startswith("b0") else name
    return keys.get(name) or keys.get(landsat) or _ALIASES.get(name) or QUALITY_KIND.get(name)


def _check_no_quality(options: IndexOptions) -> None:
    """Refuse a scene without a quality layer, unless people accept that."""
    if options.no_quality:
        return
    why = (
        "has no quality layer, so clouds look like ground. Put one beside it, NAME_SCL.tif (4 ground, 9 "
        "cloud, 0 nothing), NAME_QA_PIXEL.tif or NAME_Fmask.tif, where NAME is what the name of the image begins with; "
        "or, if clouds have no value already, take it as it is: --no-quality"
    )
    raise SceneRejected(BROKEN_SCENE, why)


def _radiometry(chosen: Sequence[tuple[Image, int]], options: IndexOptions) -> tuple[float | None, float | None]:
    """Scale and offset that people or the files state for all bands; None: not stated. [1]"""
    stated = {
        (image.metadata.scales.get(band), image.metadata.offsets.get(band)) for image, band in chosen
    }  # fmt: skip
    if len(stated) > 1 and (options.scale is None or options.offset is None):
        raise SceneRejected(BROKEN_SCENE, f"has bands of different scale and offset: {sorted(map(str, stated))}")
    scale, offset = next(iter(stated)) if len(stated) == 1 else (None, None)
    if scale is not None and offset is None:
        offset = 0.0  # by GDAL's convention
    return (
        scale if options.scale is None else options.scale,
        offset if options.offset is None else options.offset,
    )


def _asset_key(image: Image) -> str:
    return image.name.band.upper() if image.layout.samples == 1 and image.name.band else image.name.path.stem


def _asset(
    image: Image, chosen: Mapping[str, tuple[Image, int]], product: StacProduct, *,
    scale: float | None, offset: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Asset of one file: address, grid and bands."""
    held = {number: name for name, (one, number) in chosen.items() if one is image}
    eo, raster = [], []
    for number in range(image.layout.samples):
        name = held.get(number, "")
        is_band = name in bands.OBSERVED
        own = safe_text(image.metadata.descriptions.get(number, "")) or f"band-{number + 1}"
        common = product.near_infrared[0] if name == "nir" else name
        eo.append({"name": own if is_band or not name else name, **({"common_name": common} if is_band else {})})
        described: dict[str, Any] = {"data_type": image.layout.dtype}
        if image.layout.nodata is not None and math.isfinite(image.layout.nodata):
            described["nodata"] = image.layout.nodata
        if is_band:
            described |= {key: value for key, value in (("scale", scale), ("offset", offset)) if value is not None}
        raster.append(described)
    crs = {"proj:code": f"EPSG:{image.layout.epsg}"} if image.layout.epsg else {"proj:wkt2": image.layout.wkt}
    return {
        "href": f"../{image.name.path}",
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        **crs,
        "proj:shape": list(image.layout.shape),
        "proj:transform": list(image.layout.transform)[:6],
        "eo:bands": eo,
        "raster:bands": raster,
    }


def _outline(layout: TileLayout) -> BaseGeometry:
    """Outline of a file, longitude and latitude. [degree]"""
    height, width = layout.shape
    corners = [layout.transform @ corner for corner in ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))]
    outline = shapely.Polygon(corners)
    side = max(outline.bounds[2] - outline.bounds[0], outline.bounds[3] - outline.bounds[1])
    crs = CRS(f"EPSG:{layout.epsg}") if layout.epsg else CRS(layout.wkt)
    turned = lonlat(shapely.segmentize(outline, side / _EDGE_POINTS), crs)
    if not all(map(math.isfinite, turned.bounds)):
        raise SceneRejected(BROKEN_SCENE, "lies where its coordinate system is not defined")
    return shapely.set_precision(turned, 1e-7) if turned.is_valid else box(*turned.bounds)


def _free_id(scene: str, ids: set[str]) -> str:
    """Id of a scene: the last part of its path, with as many folders before it as make it unique."""
    parts = [part for part in PurePosixPath(scene).parts if part not in (".", "..")] or ["scene"]
    for first in range(len(parts) - 1, -1, -1):
        name = safe_text("_".join(parts[first:])) or "scene"
        if name not in ids:
            return name
    return next(name for number in range(2, len(ids) + 3) if (name := f"{safe_text(parts[-1])}_{number}") not in ids)
