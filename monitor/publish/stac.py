"""The STAC catalogue of a programme: ``catalog.json``, and ``item.json`` beside the files of each site.

STAC 1.1 with the extensions projection, raster, processing and file [1]_. All addresses are relative, so that a copied
folder is a whole catalogue. Documents are plain dicts: a thousand are made every night.

References
----------
.. [1] SpatioTemporal Asset Catalog 1.1.0, https://stacspec.org; extensions, https://stac-extensions.github.io
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping

from monitor.cube.records import encode_texts
from monitor.publish.map_tags import map_tags
from monitor.publish.page_files import PICTURE_FILE
from monitor.publish.pictures import MAP_LAYERS, Layer
from monitor.publish.view import SiteView
from monitor.series.columns import decode_texts
from monitor.sites.names import folder_name, without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

ITEM: Final = "item.json"
CATALOG_FILE: Final = "catalog.json"
STAC_VERSION: Final = "1.1.0"
EXTENSIONS: Final = {
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}
SHA_256: Final = "1220"  # begins a multihash: SHA-256, of 32 bytes
CATALOGUE_ID: Final = "regrowth"
SOFTWARE: Final = "regrowth-monitor"
GEOTIFF: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
KINDS: Final = {
    ".tif": (GEOTIFF, "data"),
    ".qml": ("application/xml", "style"),
    ".png": ("image/png", "overview"),
    ".jpg": ("image/jpeg", "overview"),
    ".html": ("text/html", "overview"),
    ".csv": ("text/csv", "data"),
    ".json": ("application/json", "metadata"),
    ".geojson": ("application/geo+json", "data"),
    ".gpx": ("application/gpx+xml", "data"),
    ".kml": ("application/vnd.google-earth.kml+xml", "data"),
}
"""Media type and role of a file, by the end of its name."""
THUMBNAIL: Final = "now.jpg"  # the picture that is shown first
TITLES: Final = {
    "observations.csv": "Every acquisition, with the reason where it does not count",
    "field.csv": "Measurements on the ground",
    "plan.json": "The plan, and all else that the verdict used beside the series",
    "controls.geojson": "Control ground",
    "index.html": "Page in English",
    "index.zh.html": "Page in Chinese",
    "before.jpg": "The site before the work",
    "now.jpg": "The site now",
    "before-loss.png": "Cover above the control before the loss",
    "after-loss.png": "Cover above the control after the loss",
    "film.png": "Cover above the control in the same weeks of each year, side by side",
    "site.gpx": "Outline and worst patch, for GPS devices",
    "site.kml": "Outline and worst patch, for map programs",
}
GENERAL_TITLES: Final = {".jpg": "Picture:", ".png": "Picture of", ".qml": "QGIS style of"}
"""Begin the title of other files, by the end of the name."""
LINEAGE: Final = (
    "The maps show the growing season from start_datetime to end_datetime; those of another period state theirs. Links "
    "derived_from name the accepted scenes of that season, as they were when the maps were drawn. Scenes of earlier "
    "seasons, from which slope and uplift are computed too, and rejected ones are in observations.csv."
)


class StoredFile(msgspec.Struct, frozen=True, array_like=True):
    """Size and checksum of a file."""

    size: int
    """[byte]"""
    sha256: str
    """In hexadecimal."""

    @classmethod
    def of(cls, content: bytes) -> "StoredFile":
        """Size and checksum of some content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


class DrawnMaps(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the maps of a site, as it was when they were drawn."""

    period: tuple[str, str]  # first and last day of the growing season, ISO 8601
    grid: dict[str, Any]  # fields `proj:*`
    scenes: list[tuple[str, str]]  # source and id of the accepted scenes of that season, in order of time
    layers: dict[str, dict[str, Any]]  # fields of the asset of each map


def drawn_maps(view: SiteView, drawn: Collection[str], before: DrawnMaps | None) -> DrawnMaps | None:
    """Content of the maps of a site; None where it has none.

    `view` has the values of the maps with the names `drawn`, which are drawn now; `before` is that of the maps in
    place; None: all maps are drawn.
    """
    if view.grid is None or not view.maps:
        return None
    layers, tags = {} if before is None else before.layers, map_tags(view) if drawn else {}
    shown = {
        layer.name: _layer_fields(view, layer, tags[layer.name]) if layer.name in drawn else layers[layer.name]
        for layer in MAP_LAYERS
        if layer.name in view.maps
    }
    if before is not None and "ndvi" not in drawn:
        return DrawnMaps(period=before.period, grid=before.grid, scenes=before.scenes, layers=shown)
    first, last = tags["ndvi"]["PERIOD"].split("/")
    return DrawnMaps(period=(first, last), grid=_projection(view.grid), scenes=_scenes(view, first, last), layers=shown)


def _layer_fields(view: SiteView, layer: Layer, tags: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the asset of one map."""
    values = view.maps[layer.name]
    assert values is not None
    assert view.grid is not None
    first, last = tags["PERIOD"].split("/")
    error = view.maps.get(f"{layer.name}_se")
    return {
        "title": layer.title[0],
        "bands": [
            _band(layer.name, layer, values),
            *([] if error is None else [_band(f"{layer.name}_se", layer, error) | {"description": "Standard error"}]),
        ],
        "raster:sampling": "area", "raster:spatial_resolution": abs(float(view.grid.resolution.x)),
        **_interval(first, last), "regrowth:as_of": tags["AS_OF"], "processing:version": tags["VERSION"],
    }  # fmt: skip


def _band(name: str, layer: Layer, values: xr.DataArray) -> dict[str, Any]:
    """Name, type and statistics of one band of a map."""
    band: dict[str, Any] = {"name": name, "data_type": "float32", "nodata": "nan", "unit": layer.unit}
    seen = np.asarray(values, np.float64)[np.isfinite(values)]
    if seen.size:
        figures = {"minimum": seen.min(), "maximum": seen.max(), "mean": seen.mean(), "stddev": seen.std()}
        band["statistics"] = {name: round(float(figure), 6) for name, figure in figures.items()}
        band["statistics"]["valid_percent"] = round(100 * seen.size / values.size, 2)
    return band


def _projection(grid: GeoBox) -> dict[str, Any]:
    """Fields of the extension projection."""
    code = grid.crs.to_epsg() if grid.crs is not None else None
    wkt = {"proj:wkt2": grid.crs.to_wkt()} if code is None and grid.crs is not None else {}
    return {
        "proj:code": None if code is None else f"EPSG:{code}",
        **wkt,
        "proj:shape": [int(side) for side in grid.shape],
        "proj:transform": [float(number) for number in grid.affine[:6]],
        "proj:bbox": [float(number) for number in grid.boundingbox],
    }


def _scenes(view: SiteView, first: str, last: str) -> list[tuple[str, str]]:
    """Source and id of the accepted scenes of a period whose control ground was seen."""
    table = view.observations
    day = np.asarray(table["date"], "datetime64[D]")
    counts = np.asarray(table["accepted"], bool) & np.isfinite(np.asarray(table["control_cover"], np.float64))
    counts &= (day >= np.datetime64(first)) & (day <= np.datetime64(last))
    columns = (np.asarray(table[name])[counts] for name in ("source", "scene"))
    texts = [decode_texts(column if column.dtype.kind == "S" else encode_texts(column)) for column in columns]
    return list(dict.fromkeys(zip(*texts, strict=True)))


def site_item(
    site: Site, assessment: Assessment, files: Mapping[str, StoredFile], maps: DrawnMaps | None,
    notice: Mapping[str, str] | None,
) -> dict[str, Any]:  # fmt: skip
    """The item of a site: its current files, by name, and their content.

    Without maps the item has no raster, and its time is the day of the verdict. A notice by language, such as that of
    the demonstration, begins the description.
    """
    as_of, empty = assessment.as_of.isoformat(), site.geometry.is_empty
    used = ("file", "processing") if maps is None else tuple(EXTENSIONS)
    about = f"Maps, series, plan and verdict ({assessment.status.value}, {as_of}) of one site under restoration."
    properties: dict[str, Any] = {
        "title": _title(site),
        "description": f"{notice['en']} {about}" if notice else about,
        "datetime": f"{as_of}T00:00:00Z" if maps is None else None,
        **({} if maps is None else _interval(*maps.period) | maps.grid),
        "processing:level": "L4",
        "processing:lineage": LINEAGE if maps is not None else "No scene was accepted in a growing season.",
        "processing:software": {SOFTWARE: assessment.code_version},
        "regrowth:site": site.id.encode("utf-8", "replace").decode(),  # lone surrogates cannot be encoded
        "regrowth:status": assessment.status.value,
        "regrowth:as_of": as_of,
    }
    up = {"href": f"../../{CATALOG_FILE}", "type": "application/json"}
    links: list[dict[str, Any]] = [{"rel": "root", **up}, {"rel": "parent", **up}]
    links += [_derived_from(source, scene) for source, scene in (() if maps is None else maps.scenes)]
    return {
        "type": "Feature", "stac_version": STAC_VERSION, "stac_extensions": [EXTENSIONS[name] for name in used],
        "id": folder_name(site.id),
        **({"geometry": None} if empty else {"geometry": mapping(site.geometry), "bbox": [*site.geometry.bounds]}),
        "properties": properties, "links": links,
        "assets": dict(_asset(name, files[name], maps) for name in sorted(files)),
    }  # fmt: skip


def catalogue(
    rows: Sequence[tuple[Site, Assessment]], *, since: date | None, notice: Mapping[str, str] | None
) -> dict[str, Any]:
    """The catalogue of a programme, with a link to the item of each site.

    `since` is the first day that any map shows; None: no map. ``extent`` is that of a STAC collection: the box around
    all sites, and the days from the first one shown to the newest verdict.
    """
    bounds = np.array([site.geometry.bounds for site, _ in rows if not site.geometry.is_empty]).reshape(-1, 4)
    about = "Sites under restoration: for each the current maps, series, plan and verdict."
    last = max((assessment.as_of for _, assessment in rows), default=None)
    extent: dict[str, Any] = {}
    if len(bounds) and last is not None:
        box = [*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist()]
        first, until = f"{min(since or last, last)}T00:00:00Z", f"{last}T23:59:59Z"
        extent = {"extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [[first, until]]}}}
    itself = {"href": f"./{CATALOG_FILE}", "type": "application/json"}
    items = [
        {
            "rel": "item", "href": f"./sites/{folder_name(site.id)}/{ITEM}", "type": "application/geo+json",
            "title": _title(site),
        }
        for site, _ in rows
    ]  # fmt: skip
    return {
        "type": "Catalog", "stac_version": STAC_VERSION, "id": CATALOGUE_ID, "title": "Regrowth monitor",
        "description": f"{notice['en']} {about}" if notice else about, **extent,
        "links": [{"rel": "root", **itself}, *items],
    }  # fmt: skip


def _title(site: Site) -> str:
    return without_invisible(site.name) or folder_name(site.id)


def _interval(first: str, last: str) -> dict[str, str]:
    return {"start_datetime": f"{first}T00:00:00Z", "end_datetime": f"{last}T23:59:59Z"}


def _derived_from(source: str, scene: str) -> dict[str, Any]:
    """Link to a source scene, under a name: the store records source and id of a scene, not where it lay."""
    address = ":".join(quote(part.encode("utf-8", "surrogatepass"), safe="") for part in (source, scene))
    return {"rel": "derived_from", "href": f"urn:scene:{address}", "title": without_invisible(scene)}


def _asset(name: str, file: StoredFile, maps: DrawnMaps | None) -> tuple[str, dict[str, Any]]:
    """Key and asset of a file. The key is its name without the hash; that of a map is the name of the layer."""
    picture = PICTURE_FILE.fullmatch(name)
    stem, ending = picture.groups() if picture else os.path.splitext(name)
    media_type, role = KINDS.get(ending, ("application/octet-stream", "data"))
    layer: Mapping[str, Any] = {}
    if ending == ".tif":
        key, layer = stem, {} if maps is None else maps.layers.get(stem, {})
        title = layer.get("title")
    else:
        key = f"{stem}{ending}"
        title = TITLES.get(key) or (f"{GENERAL_TITLES[ending]} {stem}" if ending in GENERAL_TITLES else None)
    asset = {
        "href": f"./{name}",
        "type": media_type,
        "roles": ["thumbnail" if key == THUMBNAIL else role],
        **({"title": title} if title else {}),
        **layer,
        "file:size": file.size,
        "file:checksum": f"{SHA_256}{file.sha256}",
    }
    return key, asset
