"""Scene, band, satellite, tile and time of an image, read from its path.

Paths are relative to the folder of the images, with ``/``. Nothing here opens a file.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import PurePosixPath
from typing import Final

from monitor.imagery.day_in_name import day_in_name

_BANDS: Final = (
    r"b0?\d{1,2}|b8a|sr_b\d|blue|green|red|nir|nir08|swir16|swir22|scl|scene_classification|qa_pixel|pixel_qa|fmask"
)
_OTHERS: Final = (
    r"aot|wvp|tci|pvi|visual|vaa|vza|saa|sza|sr_qa_aerosol|sr_atmos_opacity|sr_cloud_qa|qa_radsat|st_[a-z0-9]+"
    r"|msk_[a-z0-9]+|snw|cld|datamask"
)
"""Layers of known products that are not read."""
_RESOLUTION_FOLDER: Final = re.compile(r"R\d0m", re.IGNORECASE)  # of Sentinel-2; it does not name a scene
_SENTINEL_2: Final = re.compile(r"(?<![A-Z0-9])S2([A-D])_")
_SOME_SENTINEL_2: Final = re.compile(r"(?<![A-Z0-9])(T\d\d[A-Z]{3}_\d{8}T\d{6}_|(S|SENTINEL[-_]?)2(?![A-Z0-9]))")
_LANDSAT: Final = re.compile(r"(?<![A-Z0-9])L[COTE]0([45789])_L\d")
_METADATA: Final = re.compile(r"MTD_(MSIL[12][A-C]|TL)\.xml|.*_MTL\.(txt|xml)", re.IGNORECASE)
_PRODUCT: Final = re.compile(r"S2[A-D]_MSIL\d\w+|L[COTE]0\d_L\w{3}_\d{6}_\d{8}_\d{8}_\d\d_(?:T1|T2|RT)")
_TILE: Final = re.compile(r"(?<![A-Z0-9])T(\d\d[A-Z]{3})(?![A-Z0-9])")
_CLOCK: Final = re.compile(r"(?<!\d)\d{7,8}T([01]\d|2[0-3])([0-5]\d)([0-5]\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """Parts of the path of an image."""

    path: PurePosixPath
    scene: str  # folder and beginning of the name, the same for all files of a scene
    band: str  # ending of the name that says which band it holds, lower case, `b04` for `B4` and `B04`; empty: none
    is_read: bool  # whether it may be a band or quality layer that is read


def read_name(path: PurePosixPath, bands: Iterable[str] = ()) -> NamedImage:
    """Scene and band of a file by its name; `bands` are further endings that name bands.

    >>> named = read_name(PurePosixPath("S2A.SAFE/R10m/T48SUD_20210706T033541_B04_10m.tif"))
    >>> named.scene, named.band
    ('S2A.SAFE/T48SUD_20210706T033541', 'b04')
    """
    own = "|".join(re.escape(name) for name in bands)
    names = "|".join(filter(None, (own, _BANDS, _OTHERS)))
    ending = re.compile(rf"^(?P<scene>.*?)(?:^|[_.\- ])(?P<band>{names})(?:[_.\-]\d0m|_\(raw\))?$", re.IGNORECASE)
    folder = path.parent
    if _RESOLUTION_FOLDER.fullmatch(folder.name):
        folder = folder.parent
    matched = ending.match(path.stem)
    if matched is None:
        return NamedImage(path, str(folder / path.stem), "", True)
    band = normalised_band(matched["band"])
    scene = re.sub(r"[_.\- ]+(?:SR)?$", "", matched["scene"])
    is_read = re.fullmatch(_OTHERS, band) is None or band in map(str.lower, bands)
    return NamedImage(path, str(folder / scene) if scene else str(folder), band, is_read)


def normalised_band(name: str) -> str:
    """Name of a band, lower case, with two digits: ``B4`` and ``B04`` are one band of Sentinel-2."""
    name = name.strip().lower()
    return f"b0{name[1]}" if re.fullmatch(r"b\d", name) else name


def satellite(path: PurePosixPath) -> str:
    """Satellite in a path, as STAC spells it; empty if there is none.

    >>> satellite(PurePosixPath("LC08_L2SP_129034_20210706_20210714_02_T1_SR_B4.TIF"))
    'landsat-8'
    """
    text = str(path).upper()
    if matched := _SENTINEL_2.search(text):
        return f"sentinel-2{matched[1].lower()}"
    if matched := _LANDSAT.search(text):
        return f"landsat-{matched[1]}"
    return "sentinel-2" if _SOME_SENTINEL_2.search(text) else ""


def is_metadata(path: PurePosixPath) -> bool:
    """Whether a file states the product that images beside and below it belong to."""
    return _METADATA.fullmatch(path.name) is not None


def product(path: PurePosixPath) -> str:
    """Full name of a product in a path; empty if there is none."""
    matched = _PRODUCT.search(str(path))
    return matched[0] if matched else ""


def tile(path: PurePosixPath) -> str:
    """Tile of Sentinel-2 in a path, ``48SUD``; empty if there is none."""
    matched = _TILE.search(str(path).upper())
    return matched[1] if matched else ""


def time_in_path(path: PurePosixPath) -> datetime | None:
    """Time of a scene in the name of its file, else in the nearest folder that has one, UTC; None without one.

    Where only the day is stated, it is midnight. Raises BadData as :func:`monitor.imagery.day_in_name.day_in_name`.
    """
    for name in (path.stem, *(parent.name for parent in path.parents)):
        if (day := day_in_name(name)) is not None:
            clock = _CLOCK.search(name.upper())
            of_day = time(int(clock[1]), int(clock[2]), int(clock[3])) if clock else time()
            return datetime.combine(day, of_day, tzinfo=UTC)
    return None
