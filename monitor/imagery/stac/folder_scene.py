"""One scene of a folder of images: its files, and the STAC item made of their headers.

Files are read as bytes: GDAL opens none of them, so that anything but a plain GeoTIFF or JPEG 2000 file is
refused (a VRT, for instance, may name any other file). Pixels are read only of floats, to see their scale
(:mod:`monitor.imagery.stac.folder_pixels`). An item is then read as a night reads it
(:func:`monitor.imagery.stac.items.scene_from_item`), and one that a night would reject is refused here.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import shapely
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from monitor.errors import BROKEN_SCENE, WRONG_RADIOMETRY, BadData, SceneRejected
from monitor.imagery import bands
from monitor.imagery.byte_ranges import LocalFile
from monitor.imagery.source import Scene
from monitor.imagery.stac.blocks import TiffMetadata, TileLayout, read_layout, read_metadata
from monitor.imagery.stac.documents import parse_time, safe_text
from monitor.imagery.stac.file_names import NamedImage, normalised_band, satellite, tile, time_in_path
from monitor.imagery.stac.file_names import product as product_name
from monitor.imagery.stac.folder_pixels import check_classes, checked_scale, sample
from monitor.imagery.stac.grid_index import crs_name
from monitor.imagery.stac.items import scene_from_item
from monitor.imagery.stac.products import (
    FLOATS,
    NO_QUALITY,
    OTHER,
    QUALITY_KEYS,
    SENTINEL2_L2A,
    StacProduct,
    check_level,
    identify_item,
)
from monitor.imagery.stac.scaling import BOA_OFFSET, BOA_OFFSET_BASELINE
from monitor.imagery.transport import TransferCounts
from monitor.sites.projection import lonlat

TIME_TAGS: Final = ("acquisitiondatetime", "acquisition_date", "date_acquired", "sensing_time", "datetime", "date")
"""Names of the texts of a GeoTIFF that may state the time of its scene, best first. Its tag ``DateTime`` is not among
them: it says when the file was written."""
_NEEDS_QUALITY: Final = (
    "has no quality layer, so clouds look like ground. Put one beside it, NAME_SCL.tif (4 ground, 9 "
    "cloud, 0 nothing), NAME_QA_PIXEL.tif or NAME_Fmask.tif, where NAME is what the name of the image begins with; "
    "or, if clouds have no value already, take it as it is: --no-quality"
)
_NEEDS_SCALE: Final = (
    "states no scale, so its numbers have no meaning; name it: --scale 0.0001 for reflectance times 10,000"
)
_NEEDS_OFFSET: Final = (
    "is Sentinel-2 and does not say whether 1,000 was added to its numbers, as from baseline 04.00 on (January 2022): "
    "state --offset -0.1 if so in the whole folder, --offset 0 if nowhere; else compare the scenes: --check"
)
FIRST_WITH_OFFSET: Final = "{:02}.{:02}".format(*BOA_OFFSET_BASELINE)  # first baseline with an offset, as text
_FLOAT_SCALES: Final = ((1.0, 0.0), (1e-4, 0.0))  # of floats: reflectance, and reflectance times 10,000 [1]
_STATED_PRODUCT: Final = re.compile(
    rb"(?:PRODUCT_URI|TILE_ID)(?:\s[^<>]*)?>\s*([\w.-]{1,100})|LANDSAT_PRODUCT_ID(?:>|\s*=\s*\")([\w-]{1,100})",
    re.ASCII,
)
MAX_METADATA_BYTES: Final = 1 << 20  # bytes that are read of the metadata of a product [byte]
QUALITY_KIND: Final = {name: kind for kind, names in QUALITY_KEYS.items() for name in names}
_EXTENSIONS: Final = ("eo/v1.1.0", "file/v2.1.0", "projection/v2.0.0", "raster/v1.1.0")
_ALIASES: Final = {**{name: name for name in bands.OBSERVED}, "nir08": "nir", "swir1": "swir16", "swir2": "swir22"}
"""Names of bands that need no product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """Statements about the files."""

    bands: Mapping[str, str] = field(default_factory=dict)  # number in each file, from 1, or name, by band or quality
    scale: float | None = None  # reflectance = scale * integer + offset; None: as the files or their product state [1]
    offset: float | None = None
    offsets: Mapping[str, float] = field(default_factory=dict)  # by id of a scene; the others have `offset` [1]
    no_quality: bool = False  # whether scenes without a quality layer are taken
    check: bool = False  # whether class bands are read, and a missing Sentinel-2 offset is 0, to be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedScene:
    """One scene of the folder."""

    item: Mapping[str, Any]  # its STAC item, without links
    scene: Scene  # the item as a night reads it
    bands: tuple[str, ...]  # names of its bands, of `monitor.imagery.bands.OBSERVED`
    states_offset: bool  # whether the offset is known


@dataclass(frozen=True, slots=True)
class Image:
    """One file with its header."""

    name: NamedImage
    reader: LocalFile
    layout: TileLayout
    metadata: TiffMetadata
    bands: tuple[str, ...]  # name of each band, lower case; empty where there is none

    @property
    def pixel(self) -> float:
        """Diagonal of a pixel of an upright grid, in the unit of its coordinate system."""
        return math.hypot(self.layout.transform.a, self.layout.transform.d)

    @property
    def is_float(self) -> bool:
        """Whether it holds floats."""
        return self.layout.dtype.startswith("float")


def open_image(folder: Path, name: NamedImage, options: IndexOptions) -> Image:
    """Read the header of one file of a folder.

    Raises SceneRejected if it is not a plain GeoTIFF or JPEG 2000 file, or names no coordinate system, and OSError if
    it cannot be read.
    """
    reader = LocalFile(folder / name.path, TransferCounts())
    reader.name = "it"
    layout = read_layout(reader)
    if not layout.wkt:
        raise SceneRejected(BROKEN_SCENE, "names no coordinate system; assign it, for instance by gdal_edit.py -a_srs")
    metadata = read_metadata(reader, layout)
    named_by_path = layout.samples == 1 and name.band
    names = [name.band] if named_by_path else [normalised_band(text) for text in metadata.names]
    for band, place in options.bands.items():
        if not place.isdigit():
            names = [band if name == normalised_band(place) else name for name in names]
        elif 1 <= int(place) <= layout.samples and not named_by_path:
            names[int(place) - 1] = band
    return Image(name, reader, layout, metadata, tuple(names))


def stated_product(path: Path) -> str:
    """Name of the product that a file of metadata states (``MTD_MSIL2A.xml``, ``MTD_TL.xml``, ``..._MTL.txt``).

    The text is searched, not parsed as XML: nothing in it is expanded or followed. Empty if it states none.
    """
    with path.open("rb") as file:
        found = _STATED_PRODUCT.search(file.read(MAX_METADATA_BYTES))
    return (found[1] or found[2]).decode() if found else ""


def index_scene(
    images: Sequence[Image], options: IndexOptions, scene_id: str, *, stated: str, base: str
) -> IndexedScene:
    """Item of a scene, checked as a night reads it from the address `base`.

    `stated` is the product that its metadata name, used where its path names none; empty: they name none. Raises
    SceneRejected or BadData if it cannot be used.
    """
    name = product_name(images[0].name.path) or stated
    origin = PurePosixPath(name) / images[0].name.path
    time = _time(images, origin)
    properties = _properties(images, name, origin, time)
    item: dict[str, Any] = {
        "type": "Feature", "stac_version": "1.0.0", "id": scene_id,
        "stac_extensions": [f"https://stac-extensions.github.io/{one}/schema.json" for one in _EXTENSIONS],
        "properties": properties,
        "assets": {str(number): {"href": str(image.name.path)} for number, image in enumerate(images)},
    }  # fmt: skip
    product, _, identity = identify_item(item, time)
    check_level(item, product, identity.baseline)
    chosen = _choose(images, product)
    if QUALITY_KEYS.keys().isdisjoint(chosen):
        if not options.no_quality:
            raise SceneRejected(BROKEN_SCENE, _NEEDS_QUALITY)
        properties[NO_QUALITY] = True
    optical: dict[str, tuple[Image, int]] = {name: chosen[name] for name in bands.OBSERVED if name in chosen}
    scale, offset = _radiometry(list(optical.values()), options)
    is_float = any(image.is_float for image, _ in chosen.values())
    is_sentinel2 = product is SENTINEL2_L2A
    has_offset = is_sentinel2 and identity.baseline >= FIRST_WITH_OFFSET
    if scene_id in options.offsets:
        offset = options.offsets[scene_id]
    elif has_offset and not is_float and offset not in (None, BOA_OFFSET):
        why = f"is of baseline {identity.baseline} with the offset {BOA_OFFSET:g}, where --offset or a file says"
        way = "say which holds for this scene in a table with the columns scene and offset: --offsets"
        raise SceneRejected(WRONG_RADIOMETRY, f"{why} {offset:g}; {way}")
    for kind in QUALITY_KEYS.keys() & chosen.keys():
        image, number = chosen[kind]
        if image.layout.samples > 1 or image.is_float or options.check:  # else it is as it was delivered
            check_classes(kind, sample(image.reader, image.layout, number))
    if is_float or scale not in (None, product.scale):
        scale, found = _checked_scale(optical, product, scale, offset)
        if is_float and offset is None and not is_sentinel2:
            offset = found
    if is_float:
        properties[FLOATS] = True
    if product is OTHER and scale is None:
        raise SceneRejected(BROKEN_SCENE, _NEEDS_SCALE)
    # The offset of a newer baseline may have been subtracted when floats were made.
    is_stated = bool(identity.baseline) and not (is_float and has_offset)
    states_offset = offset is not None or not is_sentinel2 or is_stated
    if not states_offset:
        if not options.check:
            raise SceneRejected(BROKEN_SCENE, _NEEDS_OFFSET)
        offset = 0.0
    radiometry = {key: value for key, value in (("scale", scale), ("offset", offset)) if value is not None}
    item["assets"] = {_asset_key(image): _asset(image, chosen, product, radiometry) for image, _ in chosen.values()}
    outline = _outline(chosen["red"][0].layout)
    item |= {"geometry": mapping(outline), "bbox": [round(side, 7) for side in outline.bounds]}
    scene = scene_from_item(item, base=base, source="folder")
    if scene is None:
        raise SceneRejected(BROKEN_SCENE, "has a name that cannot be an id")
    if isinstance(scene.handle, SceneRejected):
        raise scene.handle
    return IndexedScene(item=item, scene=scene, bands=tuple(optical), states_offset=states_offset)


def _properties(images: Sequence[Image], name: str, origin: PurePosixPath, time: datetime) -> dict[str, Any]:
    """Properties of an item, from the name of its product and its path under it (`origin`)."""
    named = {band for image in images for band in image.bands}
    platform = satellite(origin) or ("sentinel-2" if "scl" in named else "")
    properties = {"datetime": f"{time:%Y-%m-%dT%H:%M:%SZ}"}
    if name:
        properties["landsat:product_id" if name.startswith("L") else "s2:product_uri"] = name
    if any(band.startswith("sr_b") for band in named):
        properties["landsat:collection_number"] = "02"  # the first whose bands have these names
    if platform:
        properties["platform"] = platform
    if platform.startswith("sentinel-2") and (square := tile(origin)):
        properties["grid:code"] = f"MGRS-{square}"
    return properties


def _checked_scale(
    optical: Mapping[str, tuple[Image, int]], product: StacProduct, scale: float | None, offset: float | None
) -> tuple[float, float]:
    """Scale and offset of reflectance, checked by pixels; of floats without a stated scale also found by them. [1]"""
    samples = {name: sample(image.reader, image.layout, number) for name, (image, number) in optical.items()}
    scales: Sequence[tuple[float, float]] = _FLOAT_SCALES
    if scale is not None:
        scales = ((scale, offset or 0.0),)
    elif product.offset and product.scale:
        scales = (_FLOAT_SCALES[0], (product.scale, product.offset))
    return checked_scale(samples, scales)


def _time(images: Sequence[Image], path: PurePosixPath) -> datetime:
    """Time of a scene, from its path and the product before it, else from the tags of any of its files."""
    if (time := time_in_path(path)) is not None:
        return time
    texts = [image.metadata.texts.get(tag, "").strip() for image in images for tag in TIME_TAGS]
    stated = next((time for text in texts if (time := parse_time(text) or parse_time(text[:10]))), None)
    if stated is None:
        raise BadData("has no day in its name, its folder or its tags; rename it like scene_2021-07-15.tif")
    return stated


def _choose(images: Sequence[Image], product: StacProduct) -> dict[str, tuple[Image, int]]:
    """File and number of each band, and of the quality layer, by band or kind; of several the finest."""
    places: dict[str, tuple[Image, int]] = {}
    for image in sorted(images, key=lambda one: (one.pixel, one.name.path)):
        for number, name in enumerate(image.bands):
            known = _known_band(name, product)
            if known is None:
                continue
            other, at = places.setdefault(known, (image, number))
            if other.pixel == image.pixel and (other, at) != (image, number):
                msg = f"and {other.name.path} both hold the {known} band of one scene; name one of them differently"
                raise BadData(msg)
    if missing := [name for name in ("red", "nir") if name not in places]:
        present = sorted({name or "a band without a name" for image in images for name in image.bands})
        fix = (
            "Name the bands by their number or name: --bands blue=1,green=2,red=3,nir=4"
            if images[0].layout.samples > 1
            else "A product that was not downloaded whole: download it again"
        )
        why = f"has no {' and no '.join(missing)} band; it has {safe_text(', '.join(present))}. {fix}"
        raise SceneRejected(BROKEN_SCENE, why)
    for name, (image, _) in places.items():
        if name in bands.OBSERVED and image.layout.dtype not in ("uint16", "int16") and not image.is_float:
            way = "a picture stretched for the eye has no reflectance: take the product that it was made from"
            raise SceneRejected(BROKEN_SCENE, f"holds {image.layout.dtype}, not floats or integers of 16 bits; {way}")
    return places


def _known_band(name: str, product: StacProduct) -> str | None:
    """Band, or kind of quality layer, that a name stands for; None if it is neither."""
    keys = {key: band for band, key in product.keys.items()}
    landsat = f"sr_b{name[2:]}" if name.startswith("b0") else name
    return keys.get(name) or keys.get(landsat) or _ALIASES.get(name) or QUALITY_KIND.get(name)


def _radiometry(chosen: Sequence[tuple[Image, int]], options: IndexOptions) -> tuple[float | None, float | None]:
    """Scale and offset that people or the files state for all bands; None: not stated. [1]"""
    stated = {image.metadata.radiometry[number] for image, number in chosen}
    if len(stated) > 1 and None in (options.scale, options.offset):
        raise SceneRejected(BROKEN_SCENE, f"has bands of different scale and offset: {sorted(stated)}")
    is_known = len(stated) == 1 and stated != {(1.0, 0.0)}
    scale, offset = stated.pop() if is_known else (None, None)
    return (scale if options.scale is None else options.scale, offset if options.offset is None else options.offset)


def _asset_key(image: Image) -> str:
    return image.name.band.upper() if image.layout.samples == 1 and image.name.band else image.name.path.stem


def _asset(
    image: Image, chosen: Mapping[str, tuple[Image, int]], product: StacProduct, stated: dict[str, float]
) -> dict[str, Any]:
    """Asset of one file: address, grid and bands; `stated` are the scale and offset of reflectance."""
    layout = image.layout
    common = {
        number: product.near_infrared[0] if name == "nir" else name
        for name, (one, number) in chosen.items()
        if one is image and name in bands.OBSERVED
    }
    described: dict[str, Any] = {"data_type": layout.dtype}
    if layout.nodata is not None and math.isfinite(layout.nodata):
        described["nodata"] = layout.nodata
    return {
        "href": f"../{image.name.path}",
        "type": "image/jp2" if layout.codestream else "image/tiff; application=geotiff",
        "roles": ["data"],
        "file:size": image.reader.size,
        "proj:code" if layout.epsg else "proj:wkt2": crs_name(layout),
        "proj:shape": list(layout.shape),
        "proj:transform": list(layout.transform)[:6],
        "eo:bands": [
            {"name": safe_text(name) or f"band-{number + 1}"}
            | ({"common_name": common[number]} if number in common else {})
            for number, name in enumerate(image.bands)
        ],
        "raster:bands": [described | (stated if number in common else {}) for number in range(layout.samples)],
    }


def _outline(layout: TileLayout) -> BaseGeometry:
    """Outline of a file, longitude and latitude. [degree]"""
    grid = GeoBox(layout.shape, layout.transform, crs_name(layout))
    side = grid.extent.length / 4
    # A straight line of a projected system is curved in longitude and latitude.
    outline = lonlat(shapely.segmentize(grid.extent.geom, side / 10), CRS(crs_name(layout)))
    if not all(map(math.isfinite, outline.bounds)):
        raise SceneRejected(BROKEN_SCENE, "lies where its coordinate system is not defined")
    return shapely.set_precision(outline, 1e-7) if outline.is_valid else shapely.envelope(outline)
