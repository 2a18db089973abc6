"""What a STAC item offers, in the monitor's own terms: pure decisions, without network or file.

Assets are found by the common names of their bands (STAC 1.0 ``eo:bands``, STAC 1.1 ``bands``), then by the keys that
the known products use, so that no provider's spelling matters. Scale and offset come from what the item says of its
processing, never from the day of sensing.

==================== ======================== =========================== ===================
product              near infrared            scale, offset               quality
==================== ======================== =========================== ===================
Sentinel-2 L2A       B08, 10 m                .0001; see :func:`_msi`     SCL
Landsat C2 L2        nir08                    .0000275, -.2 unless said   QA_PIXEL
HLS 2.0              nir08: B8A of S30, B05   .0001, 0 unless said        Fmask
any other COG        nir, else nir08          as said, or refused         any of these
==================== ======================== =========================== ===================
"""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import Polygon, box, shape
from shapely.geometry.base import BaseGeometry

from monitor.errors import SceneRejected
from monitor.imagery import acquisition_id, bands
from monitor.imagery.acquisition_id import Identity
from monitor.imagery.source import IsStored, Scene
from monitor.imagery.transport import is_remote

BROKEN: Final = "BROKEN"
RADIOMETRY: Final = "RADIOMETRY"

LONGEST_ID: Final = 128
"""Longest id that is kept. [character]"""
MOST_VERTICES: Final = 20_000
"""A footprint of more is taken by its box."""
FEW_VERTICES: Final = 32
"""Of what is kept to be told again."""

LANDSAT_SCALE: Final = (2.75e-5, -0.2)
"""Landsat Collection 2 Level 2 surface reflectance (USGS LSDS-1619)."""
PLAIN_SCALE: Final = 1e-4
"""Sentinel-2 L2A (quantification value 10,000) and HLS 2.0."""
BOA_OFFSET: Final = -0.1
"""BOA_ADD_OFFSET of Sentinel-2 L2A from processing baseline 04.00 on: -1000 / 10,000."""
OFFSET_SINCE: Final = (4, 0)

QUALITY_KEYS: Final = {
    "scl": ("scl", "scl_20m", "scene_classification", "scene-classification"),
    "qa_pixel": ("qa_pixel", "qa_pixel.tif", "pixel_qa"),
    "fmask": ("fmask",),
}
QUALITY_TITLES: Final = {
    "scl": re.compile(r"scene.?class", re.I),
    "qa_pixel": re.compile(r"pixel.?quality.?assessment|\bQA_?PIXEL\b", re.I),
    "fmask": re.compile(r"\bfmask\b", re.I),
}

MSI_KEYS: Final = {
    "blue": ("b02",), "green": ("b03",), "red": ("b04",), "nir": ("b08",), "swir16": ("b11",), "swir22": ("b12",),
}  # fmt: skip
HLS_KEYS: Final = {
    "S30": {**MSI_KEYS, "nir": ("b8a",)},
    "L30": {"blue": ("b02",), "green": ("b03",), "red": ("b04",), "nir": ("b05",), "swir16": ("b06",),
            "swir22": ("b07",)},
}  # fmt: skip
OLI_KEYS: Final = {
    "blue": ("sr_b2",), "green": ("sr_b3",), "red": ("sr_b4",), "nir": ("sr_b5",), "swir16": ("sr_b6",),
    "swir22": ("sr_b7",),
}  # fmt: skip
TM_KEYS: Final = {
    "blue": ("sr_b1",), "green": ("sr_b2",), "red": ("sr_b3",), "nir": ("sr_b4",), "swir16": ("sr_b5",),
    "swir22": ("sr_b7",),
}  # fmt: skip
NEAR_INFRARED: Final = {"msi": ("nir", "nir08"), "hls": ("nir08", "nir"), "landsat": ("nir08", "nir")}
"""Common names of the near infrared, the preferred one first. Of Sentinel-2 ``nir`` is B08 at 10 m; of HLS the narrow
B8A is what Landsat sees, and both have 30 m."""
NOT_DATA: Final = frozenset({"visual", "overview", "thumbnail", "preview", "metadata", "tiles"})
"""Roles and keys of pictures of the scene."""
_HLS: Final = re.compile(r"HLS\.([LS]30)\.")
_SENTINEL: Final = re.compile(r"sentinel[-_ ]?2|^s2[a-d]$")
_DECIMAL: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?", re.ASCII)
_ENDING: Final = re.compile(r"(\.tiff?|_\d\dm)$")
"""What a key may end in besides the name of its band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """Where one band is, and what the item says of it."""

    key: str
    href: str
    """As written; relative to where the item lies."""
    band: int = 0
    """Within the file, from 0."""
    nodata: float | None = None
    shape: tuple[int, int] | None = None
    """Rows and columns, if the item tells. [pixel]"""
    transform: tuple[float, ...] | None = None
    """Six numbers as of an affine transform, if the item tells."""
    found: str = ""
    """How it was found: ``common name``, ``key``, ``role`` or ``title``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What is read of a scene."""

    bands: tuple[Asset | None, ...]
    """In the order of :data:`monitor.imagery.bands.OBSERVED`; None: the scene lacks it."""
    quality: Asset
    epsg: int | None
    base: str
    """Address of the item, which relative addresses count from."""
    again: str
    """Address under which the item can be had once more, with fresh signatures; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A kind of item."""

    name: str
    """``msi``, ``landsat``, ``hls`` or ``cog``."""
    sensor: str
    identity: Identity
    keys: Mapping[str, Sequence[str]]


def scene_of(item: Mapping[str, Any], *, base: str, source: str, stored: IsStored | None = None) -> Scene | None:
    """The scene of an item.

    Parameters
    ----------
    item : mapping
        As its JSON says.
    base : str
        Address of the item or of what it came in.
    source : str
        Name of the source that offers it.
    stored : callable, optional
        Tells of which scenes the assets are not looked for, which is three quarters of the work. Default: of none.

    Returns
    -------
    Scene or None
        Its handle is :class:`Assets`; where the item cannot be read, the :class:`monitor.errors.SceneRejected` that
        says why; None where it is stored. None: it is no item of any day, so there is nothing to record.
    """
    properties = _mapping(item.get("properties"))
    name = inert(item.get("id"))
    when = _time(properties)
    if not name or when is None:
        return None
    product = _product(item, properties, when)
    seen = product.identity
    refusal: SceneRejected | None = None
    if is_remote(base) and is_remote(address(item)):
        base = address(item)  # an answer of an API: relative addresses count from the item itself
    try:
        footprint = _footprint(item)
    except SceneRejected as error:
        footprint, refusal = None, error
    scene = Scene(
        id=name,
        acquisition=inert(seen.acquisition) or f"{product.sensor}/{when:%Y%m%dT%H%M%S}",
        tile=seen.tile,
        time=seen.start or when,
        sensor=product.sensor,
        baseline=seen.baseline,
        source=source,
        scale=PLAIN_SCALE,
        offset=0.0,
        quality={"landsat": "qa_pixel", "hls": "fmask"}.get(product.name, "scl"),
        orbit=seen.orbit,
        footprint=footprint,
    )
    if refusal is None and stored is not None and stored(scene):
        return scene
    try:
        assets, quality, scale, offset = _resolved(item, properties, product, base)
    except SceneRejected as error:
        return refused(scene, refusal or error)
    scene = replace(
        scene, scale=scale, offset=offset, quality=quality, crs=f"EPSG:{assets.epsg}" if assets.epsg else "",
        handle=assets,
    )  # fmt: skip
    return scene if refusal is None else refused(scene, refusal)


def refused(scene: Scene, why: SceneRejected) -> Scene:
    """A scene that cannot be read, under no baseline: it never takes the place of what can, and gives way to it."""
    return replace(scene, baseline="", handle=why)


def address(item: Mapping[str, Any]) -> str:
    """Address of the item itself, as it says."""
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    return ""


def inert(value: object) -> str:
    """A text from a catalogue that does nothing wherever it is shown: no control or direction characters, not long.

    Examples
    --------
    >>> inert("S2A" + chr(13) + chr(10) + "Bcc: x" + chr(0x202E))
    'S2ABcc: x'
    """
    if not isinstance(value, str | int | float):
        return ""
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter for letter in text if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    text = text.strip()
    if len(text) <= LONGEST_ID:
        return text
    return f"{text[: LONGEST_ID - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _product(item: Mapping[str, Any], properties: Mapping[str, Any], when: datetime) -> _Product:
    """Which kind of item it is, and which acquisition."""
    title = str(item.get("id", ""))
    assets = islice(_mapping(item.get("assets")).values(), 40)
    hrefs = [str(asset.get("href", "")) for asset in assets if isinstance(asset, dict)]
    platform = _text(properties, "platform", "eo:platform", "constellation")
    collection = str(item.get("collection") or properties.get("collection") or "").lower()
    harmonised = _HLS.search(" ".join((title, *hrefs)))
    if harmonised:
        kind = harmonised[1]
        seen = acquisition_id.hls(title, *hrefs)
        return _Product(name="hls", sensor=f"hls-{kind.lower()}", identity=seen, keys=HLS_KEYS[kind])
    told = [
        _text(properties, key)
        for key in ("s2:datatake_id", "s2:product_uri", "sentinel:product_id", "s2:granule_id", "s2:tile_id")
    ]
    if _SENTINEL.search(platform.lower()) or re.match(r"S2[A-D]_", title) or any(told):
        square = _text(properties, "s2:mgrs_tile", "grid:code") or _square(properties)
        seen = acquisition_id.sentinel2(
            *told, title, *hrefs, platform=platform, tile=square, time=when,
            baseline=_first(properties, "s2:processing_baseline", "processing:version", "processing:baseline"),
            orbit=_first(properties, "sat:relative_orbit", "s2:relative_orbit"),
        )  # fmt: skip
        craft = seen.acquisition[:3].lower()
        sensor = f"sentinel-2{craft[2]}" if craft in ("s2a", "s2b", "s2c", "s2d") else "sentinel-2"
        return _Product(name="msi", sensor=sensor, identity=seen, keys=MSI_KEYS)
    if "landsat" in platform.lower() or re.match(r"L[COTE]0\d_", title) or "landsat:wrs_path" in properties:
        seen = acquisition_id.landsat(
            _text(properties, "landsat:product_id"), _text(properties, "landsat:landsat_product_id"), title,
            _text(properties, "landsat:scene_id"), _text(properties, "landsat:landsat_scene_id"), *hrefs,
            platform=platform, path=_first(properties, "landsat:wrs_path"), row=_first(properties, "landsat:wrs_row"),
            time=when, collection=_first(properties, "landsat:collection_number"),
        )  # fmt: skip
        number = re.search(r"(\d)$", platform) or re.match(r"L[COTE]0(\d)", seen.acquisition)
        old = seen.acquisition.startswith(("LE07", "LT0"))
        return _Product(
            name="landsat",
            sensor=f"landsat-{number[1]}" if number else "landsat",
            identity=seen,
            keys=TM_KEYS if old else OLI_KEYS,
        )
    sensor = inert(platform.lower()) or inert(collection) or "unknown"
    seen = Identity(
        acquisition=f"{sensor}/{when:%Y%m%dT%H%M%S}",
        tile=inert(_text(properties, "grid:code")),
        baseline=acquisition_id.normalised_baseline(_first(properties, "processing:version")),
        orbit="",
        exact=False,
    )
    return _Product(name="cog", sensor=sensor, identity=seen, keys={})


def _square(properties: Mapping[str, Any]) -> str:
    for zone, band, square in (
        ("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square"),
        ("sentinel:utm_zone", "sentinel:latitude_band", "sentinel:grid_square"),
    ):
        parts = [_text(properties, key) for key in (zone, band, square)]
        if all(parts):
            return "".join(parts)
    return ""


def _resolved(
    item: Mapping[str, Any], properties: Mapping[str, Any], product: _Product, base: str
) -> tuple[Assets, str, float, float]:
    """Assets, kind of quality layer, scale and offset."""
    _level(item, properties, product)
    layers = list(_layers(item))
    candidates = list(_candidates(layers, properties))
    names = NEAR_INFRARED.get(product.name, ("nir", "nir08"))
    chosen = [_band(name, candidates, names if name == "nir" else (name,), product) for name in bands.OBSERVED]
    missing = [name for name, one in zip(bands.OBSERVED, chosen, strict=True) if one is None and name in ("red", "nir")]
    if missing:
        raise _refused(
            BROKEN, f"has no asset for {' and '.join(missing)}; it has {_listed(_mapping(item.get('assets')))}"
        )
    quality, layer = _quality(item, layers, product)
    used = [one for one, _ in filter(None, chosen)]
    scale, offset = _radiometry(properties, product, used)
    codes = {code for one in used for code in [_epsg({**properties, **one.raw})] if code}
    if len(codes) > 1:
        raise _refused(BROKEN, f"names several coordinate systems: {sorted(codes)}")
    assets = Assets(
        bands=tuple(_asset(*one, properties) if one else None for one in chosen),
        quality=layer,
        epsg=next(iter(codes), None),
        base=base,
        again=address(item),
    )
    return assets, quality, scale, offset


def _level(item: Mapping[str, Any], properties: Mapping[str, Any], product: _Product) -> None:
    """Refuse what is known to be no surface reflectance that the monitor understands."""
    names = " ".join(
        str(name)
        for name in (item.get("id"), _text(properties, "s2:product_uri"), _text(properties, "landsat:product_id"))
    )
    if product.name == "msi" and re.search(r"_MSIL1[A-C]_|_L1C(_|$)", names):
        raise _refused(BROKEN, "is Level 1C of Sentinel-2, not surface reflectance; name the Level 2A collection")
    if product.name != "landsat":
        return
    collection = str(_first(properties, "landsat:collection_number") or "").lstrip("0")
    correction = _text(properties, "landsat:correction")
    told = product.identity.baseline.partition(".")[0].lstrip("0") or collection
    if told != "2":
        raise _refused(BROKEN, f"is of Landsat collection {told or 'unknown'}; name a Collection 2 Level 2 collection")
    if correction.startswith("L1") or re.search(r"L[COTE]0\d_L1", names):
        raise _refused(BROKEN, "is Level 1 of Landsat, not surface reflectance; name a Collection 2 Level 2 collection")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One band of one asset."""

    key: str
    """Of the asset."""
    number: int
    """Within the file, from 0."""
    common: str
    """Common name; empty: none."""
    called: frozenset[str]
    """Keys and names, without endings: ``b04`` of ``B04``, ``B04.tif`` and ``B04_10m``."""
    single: bool
    raw: Mapping[str, Any]
    """The asset as its JSON says."""
    band: Mapping[str, Any]
    """What is said of the band itself."""

    @property
    def gsd(self) -> float:
        """Side of a pixel; infinite: not told. [m]"""
        return _number(self.band.get("gsd")) or _number(self.raw.get("gsd")) or _pixel(self.raw) or math.inf


def _candidates(layers: Iterable[tuple[str, Mapping[str, Any]]], properties: Mapping[str, Any]) -> Iterator[_Candidate]:
    """Every band of every asset that may be read."""
    shared = properties.get("eo:bands")
    for key, raw in layers:
        described = [_mapping(one) for one in raw.get("bands") or ()] if isinstance(raw.get("bands"), list) else []
        optical = raw.get("eo:bands") if isinstance(raw.get("eo:bands"), list) else []
        raster = raw.get("raster:bands") if isinstance(raw.get("raster:bands"), list) else []
        count = max(len(described), len(optical or ()), len(raster or ()), 1)
        for number in range(count):
            own: dict[str, Any] = {name: said for name, said in raw.items() if name.startswith(("eo:", "raster:"))}
            for some in (described, raster or [], optical or []):
                if number < len(some):
                    one = some[number]
                    if isinstance(one, int) and isinstance(shared, list) and 0 <= one < len(shared):
                        one = shared[one]  # STAC 0.9: a number into the list of the item
                    own.update(_mapping(one))
            for field in ("nodata", "data_type"):
                own.setdefault(field, raw.get(field))
            yield _Candidate(
                key=key,
                number=number,
                common=str(own.get("eo:common_name") or own.get("common_name") or "").lower(),
                called=frozenset(_ENDING.sub("", str(name).lower()) for name in (key, own.get("name") or "")),
                single=count == 1,
                raw=raw,
                band=own,
            )


def _layers(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Assets that may be read, by key."""
    for key, raw in _mapping(item.get("assets")).items():
        if isinstance(raw, dict) and _is_tiff(raw) and not _is_picture(str(key), raw):
            yield str(key), raw


def _is_tiff(raw: Mapping[str, Any]) -> bool:
    if not isinstance(raw.get("href"), str) or not raw["href"]:
        return False
    media = str(raw.get("type") or "").lower()
    if media:
        return "tiff" in media
    return re.split(r"[?#]", raw["href"])[0].lower().endswith((".tif", ".tiff"))


def _is_picture(key: str, raw: Mapping[str, Any]) -> bool:
    roles = raw.get("roles") if isinstance(raw.get("roles"), list) else []
    return bool({str(key).lower(), *(str(role).lower() for role in roles or ())} & NOT_DATA)


def _band(
    name: str, candidates: Sequence[_Candidate], commons: Sequence[str], product: _Product
) -> tuple[_Candidate, str] | None:
    """The best asset for a band, and how it was found: by common name, else by key."""
    for common in commons:
        found = [one for one in candidates if one.common == common]
        if len(found) == 1:
            return found[0], "common name"
        if found:
            keys = product.keys.get(name, ())
            best = min(found, key=lambda one: (not one.single, one.called.isdisjoint(keys), one.gsd, one.key))
            return best, "common name"
    wanted = product.keys.get(name, (name,))
    found = [one for one in candidates if one.single and not one.common and not one.called.isdisjoint(wanted)]
    return (min(found, key=lambda one: (one.gsd, one.key)), "key") if found else None


def _quality(
    item: Mapping[str, Any], layers: Sequence[tuple[str, Mapping[str, Any]]], product: _Product
) -> tuple[str, Asset]:
    """The quality layer: of the kind of the product, else of any kind that is known."""
    kinds = {"msi": ("scl",), "landsat": ("qa_pixel",), "hls": ("fmask",)}.get(product.name, tuple(QUALITY_KEYS))
    properties = _mapping(item.get("properties"))
    for kind in kinds:
        for key, raw in layers:
            if key.lower() in QUALITY_KEYS[kind]:
                return kind, _layer(key, raw, properties, "key")
        for key, raw in layers:
            if QUALITY_TITLES[kind].search(str(raw.get("title") or "")):
                return kind, _layer(key, raw, properties, "title")
    raise _refused(
        BROKEN,
        f"has no quality layer that is known ({', '.join(kinds)}); it has {_listed(_mapping(item.get('assets')))}",
    )


def _asset(one: _Candidate, how: str, properties: Mapping[str, Any]) -> Asset:
    return Asset(
        key=one.key, href=str(one.raw["href"]), band=one.number, nodata=_number(one.band.get("nodata")),
        shape=_shape(one.raw, properties), transform=_transform(one.raw, properties), found=how,
    )  # fmt: skip


def _layer(key: str, raw: Mapping[str, Any], properties: Mapping[str, Any], how: str) -> Asset:
    return Asset(
        key=key, href=str(raw["href"]), shape=_shape(raw, properties), transform=_transform(raw, properties), found=how
    )


def _radiometry(properties: Mapping[str, Any], product: _Product, used: Sequence[_Candidate]) -> tuple[float, float]:
    """Scale and offset that hold for all bands of a scene."""
    for one in used:
        kind = str(one.band.get("data_type") or "").lower()
        if kind and kind not in ("uint16", "int16"):
            what = f"says that {inert(one.key)!r} holds {kind}"
            raise _refused(RADIOMETRY, f"{what}: stretched or already scaled, not integers as delivered")
    scales = {value for one in used for value in [_told(one, "scale")] if value is not None}
    offsets = {value for one in used for value in [_told(one, "offset")] if value is not None}
    if len(scales) > 1 or len(offsets) > 1:
        raise _refused(RADIOMETRY, f"has bands of different scale {sorted(scales)} or offset {sorted(offsets)}")
    scale, offset = next(iter(scales), None), next(iter(offsets), None)
    if scale == 1 and not offset and product.name != "cog":
        scale = offset = None  # defaults of a tool that wrote the item: of these products it cannot be meant
    if product.name == "msi":
        scale, offset = scale or PLAIN_SCALE, _msi(properties, product.identity.baseline, offset)
    elif product.name == "landsat":
        scale, offset = (scale or LANDSAT_SCALE[0]), (LANDSAT_SCALE[1] if offset is None else offset)
    elif product.name == "hls":
        scale, offset = scale or PLAIN_SCALE, offset or 0.0
    elif scale is None:
        raise _refused(RADIOMETRY, "says no scale, and is of no product whose scale is known; add raster:bands to it")
    offset = offset or 0.0
    if not 0 < scale <= 0.01:
        raise _refused(RADIOMETRY, f"says scale {scale:g}: stretched or already scaled, not reflectance as delivered")
    if not -1 <= offset <= 1:
        raise _refused(RADIOMETRY, f"says offset {offset:g}, which is no reflectance")
    return scale, offset


def _msi(properties: Mapping[str, Any], baseline: str, declared: float | None) -> float:
    """Offset of a Sentinel-2 L2A scene, decided by its processing.

    A flag that the offset was applied decides; it is what Earth Search sets, whose declared offset is then not meant.
    Otherwise pixels of a baseline before 04.00 never carry one, whatever is declared; later ones carry what is
    declared, and -.1 where nothing is. The flag is wrong for some items: :mod:`monitor.cube.offset_check` tests it.
    """
    flag = _first(properties, "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
    if flag is True:
        return 0.0
    if not baseline:
        return declared or 0.0
    major, _, minor = baseline.partition(".")
    if (int(major), int(minor)) < OFFSET_SINCE:
        return 0.0
    return BOA_OFFSET if declared is None or flag is False else declared


def _told(one: _Candidate, name: str) -> float | None:
    """Scale or offset of a band, as STAC 1.0 (``scale``) or 1.1 (``raster:scale``) spells it."""
    for key in (f"raster:{name}", name):
        given = one.band.get(key)
        value = _number(float(given) if isinstance(given, str) and _DECIMAL.fullmatch(given.strip()) else given)
        if value is None and given is not None:
            raise _refused(RADIOMETRY, f"says {name} {inert(str(given))!r} of {inert(one.key)!r}, which is no number")
        if value is not None:
            return value
    return None


def _footprint(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Where the scene has pixels."""
    given = item.get("geometry")
    if isinstance(given, dict):
        if (plain := _plain(given)) is not None:
            return plain
        try:
            found = shape(given)
            if shapely.get_num_coordinates(found) > MOST_VERTICES:
                found = box(*found.bounds)
            if not found.is_valid:
                found = shapely.make_valid(found)
        except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise _refused(BROKEN, "has a geometry that makes no sense") from error
        if not found.is_empty and _on_earth(found.bounds):
            return found
        raise _refused(BROKEN, "has a geometry that is empty or not on Earth")
    limits = item.get("bbox")
    if isinstance(limits, list) and len(limits) in (4, 6):
        half = len(limits) // 2
        found_ = [_number(value) for value in (*limits[:2], *limits[half : half + 2])]
        sides = [value for value in found_ if value is not None]
        if len(sides) == 4 and _on_earth((sides[0], sides[1], sides[2], sides[3])):
            return box(sides[0], sides[1], sides[2], sides[3])
    return None


def _plain(given: Mapping[str, Any]) -> Polygon | None:
    """A sound polygon of few corners without holes, as nearly all are; None: it takes a closer look."""
    if given.get("type") != "Polygon":
        return None
    try:
        (ring,) = given["coordinates"]
        return _outlined(tuple(map(tuple, ring))) if len(ring) <= FEW_VERTICES else None
    except (ShapelyError, ValueError, TypeError, KeyError):
        return None


@lru_cache(maxsize=1024)
def _outlined(ring: tuple[tuple[Any, ...], ...]) -> Polygon | None:
    """The same of a ring: a tile that an orbit sees whole has one outline in the items of all years."""
    found = shapely.polygons(ring)
    return found if isinstance(found, Polygon) and found.is_valid and _on_earth(found.bounds) else None


def _on_earth(bounds: tuple[float, float, float, float]) -> bool:
    left, bottom, right, top = bounds  # what is no number is in no order
    return -180 <= left <= right <= 180 and -90 <= bottom <= top <= 90


def _time(properties: Mapping[str, Any]) -> datetime | None:
    for key in ("datetime", "start_datetime"):
        text = properties.get(key)
        if not isinstance(text, str):
            continue
        try:
            found = datetime.fromisoformat(text.strip())
            return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _epsg(said: Mapping[str, Any]) -> int | None:
    """Number of the coordinate system, if the item tells."""
    number = said.get("proj:epsg")
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        return number
    matched = re.fullmatch(r"EPSG:(\d{4,6})", str(said.get("proj:code") or "").upper())
    return int(matched[1]) if matched else None


def _shape(raw: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[int, int] | None:
    """Of the asset, or of the item if it is said of no asset."""
    for said in (raw, properties):
        sides = said.get("proj:shape")
        if isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
            return sides[0], sides[1]
    return None


def _transform(raw: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[float, ...] | None:
    for said in (raw, properties):
        numbers = said.get("proj:transform")
        if isinstance(numbers, list) and len(numbers) in (6, 9):
            found = [_number(value) for value in numbers[:6]]
            if None not in found:
                return tuple(value for value in found if value is not None)
    return None


def _pixel(raw: Mapping[str, Any]) -> float | None:
    found = _transform(raw, {})
    return abs(found[0]) if found else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(properties: Mapping[str, Any], *keys: str) -> Any:
    for key in keys:
        if (value := properties.get(key)) is not None:
            return value
    return None


def _text(properties: Mapping[str, Any], *keys: str) -> str:
    value = _first(properties, *keys)
    return str(value)[:400] if isinstance(value, str | int) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _listed(assets: Mapping[str, Any]) -> str:
    names = [inert(key) for key in assets][:12]
    return ", ".join(names) + (", ..." if len(assets) > len(names) else "") if names else "none"


def _refused(reason: str, why: str) -> SceneRejected:
    return SceneRejected(reason, f"the item {why}")
