"""Photos of answers: checked, decoded, and encoded again, so that only pixels of an uploaded file are stored.

The kind of a file is that of its content, never of its name. Nothing that follows or accompanies the picture survives.
Of the metadata only the time and the position stated by the camera are read, checked, and written again.

A malicious file can crash a decoder or keep it busy: :func:`read_photo_apart` decodes it in a process with limits.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from io import BytesIO
from typing import Any, Final, NamedTuple

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from monitor import sandbox
from monitor.errors import MonitorError

MAX_PHOTO_BYTES: Final = 15_000_000  # largest file that is read [byte]
MAX_SIDE: Final = 1600  # longest side of a stored photo [pixel]
MAX_STORED_BYTES: Final = 400_000  # largest stored photo [byte]
LIMITS: Final = sandbox.Limits(memory=1 << 30, cpu=15, seconds=15, answer=2 * MAX_STORED_BYTES)
"""Of the process that decodes a photo; the largest ones take half of that memory, and under 2 s."""
FIRST_DIGITAL_YEAR: Final = 1990
"""An earlier time is that of a camera whose clock was never set."""


class _Format(NamedTuple):
    mark: bytes
    place: int
    """Of the mark in the file. [byte]"""
    decoder: type[ImageFile]
    max_pixels: int
    """Largest photo that is decoded."""


_FORMATS: Final = (
    # main cameras of phones have up to 50 million pixels; a JPEG is decoded at a fraction of its size
    _Format(b"\xff\xd8\xff", 0, JpegImagePlugin.JpegImageFile, 64_000_000),
    _Format(b"\x89PNG\r\n\x1a\n", 0, PngImagePlugin.PngImageFile, 25_000_000),
    _Format(b"WEBP", 8, WebPImagePlugin.WebPImageFile, 25_000_000),
)
_TURNS: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""Turn that makes a picture upright, by its EXIF orientation."""
_QUALITIES: Final = (85, 75, 60, 45)
_UTC_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")


class PhotoProblem(StrEnum):
    """Why a photo cannot be used."""

    TOO_LARGE = "too_large"
    UNKNOWN_FORMAT = "unknown_format"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNREADABLE = "unreadable"


class PhotoRefused(MonitorError):
    """A photo cannot be used; ``problem`` says why."""

    def __init__(self, problem: str, message: str) -> None:
        super().__init__(message)
        self.problem = PhotoProblem(problem)
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photo as it is stored."""

    content: bytes = field(repr=False)
    """JPEG: upright, at most :data:`MAX_SIDE` pixels and :data:`MAX_STORED_BYTES` bytes."""
    taken: str | None
    """Time stated by the camera, ISO 8601, with its UTC offset where that is stated; None: not stated."""
    latitude: float | None
    """Position stated by the camera, WGS 84; None: not stated, or impossible. [degree]"""
    longitude: float | None

    @property
    def id(self) -> str:
        """SHA-256 of the content."""
        return sha256(self.content).hexdigest()


def read_photo_apart(content: bytes) -> Photo:
    """Decode a photo and encode it again in a child process, see :func:`read_photo`.

    Raises ``PhotoRefused`` as there, or where it takes too much time or memory, and ``TryLater`` where the system
    starts no further process.
    """
    try:
        return sandbox.call(read_photo, content, load=read_examples, returns=Photo, refusal=PhotoRefused, limits=LIMITS)
    except sandbox.ContentFailed as error:
        raise PhotoRefused(PhotoProblem.UNREADABLE, f"the photo {error}") from error


def read_examples() -> None:
    """Read a small photo of each format, since libraries load parts of themselves at first use."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2026:06:01 09:30:00", ExifTags.Base.OffsetTimeOriginal: "+08:00"}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (39.0, 0.0, 0.0), 3: "E", 4: (103.0, 0.0, 0.0)})
    for kind in ("JPEG", "PNG", "WEBP"):
        buffer = BytesIO()
        Image.new("RGBA" if kind == "PNG" else "RGB", (8, 8)).save(buffer, kind, exif=exif)
        read_photo(buffer.getvalue())


def read_photo(content: bytes) -> Photo:
    """Decode a photo (JPEG, PNG or WebP; of an animation the first picture counts) and encode it again.

    Raises ``PhotoRefused`` where it is too large, has another format or too many pixels, or is damaged or incomplete.
    """
    if len(content) > MAX_PHOTO_BYTES:
        raise PhotoRefused(PhotoProblem.TOO_LARGE, f"the photo has {len(content):,} bytes")
    kind = next((kind for kind in _FORMATS if content.startswith(kind.mark, kind.place)), None)
    if kind is None:
        raise PhotoRefused(PhotoProblem.UNKNOWN_FORMAT, "the photo is neither JPEG, PNG nor WebP")
    try:
        with kind.decoder(BytesIO(content)) as image:
            if math.prod(image.size) > kind.max_pixels:
                raise Image.DecompressionBombError
            exif = _exif(image)
            image.draft("RGB", (MAX_SIDE, MAX_SIDE))
            picture, turn = _rgb(image), _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
            picture = picture if turn is None else picture.transpose(turn)
    except Image.DecompressionBombError as error:
        msg = f"the photo has more than {kind.max_pixels:,} pixels"
        raise PhotoRefused(PhotoProblem.TOO_MANY_PIXELS, msg) from error
    except Exception as error:  # decoders raise nearly every kind of error for a damaged file
        msg = f"the photo is damaged or incomplete ({type(error).__name__})"
        raise PhotoRefused(PhotoProblem.UNREADABLE, msg) from error
    taken, position = _time_taken(exif), _position(exif)
    latitude, longitude = position or (None, None)
    stored = _jpeg(picture, _metadata(taken, position))
    return Photo(
        content=stored, taken=None if taken is None else taken.isoformat(), latitude=latitude, longitude=longitude
    )


def _rgb(image: Image.Image) -> Image.Image:
    """Decoded picture in RGB, at most :data:`MAX_SIDE` wide and high; what is transparent is white."""
    if image.mode.startswith("I"):  # 16 bits: a conversion would cut values above 255
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def _jpeg(picture: Image.Image, exif: Image.Exif) -> bytes:
    """JPEG of at most :data:`MAX_STORED_BYTES`, in the best quality and size for which that is so."""
    picture.info.clear()  # comments and profiles would be written again
    while True:
        for quality in _QUALITIES:
            buffer = BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True, exif=exif)
            if buffer.tell() <= MAX_STORED_BYTES:
                return buffer.getvalue()
        picture = picture.reduce(2)


def _exif(image: ImageFile) -> dict[int, Any]:
    """Tags of the camera that are used: orientation, and those of the sub-directories for time and position.

    Empty where the metadata cannot be read: a photo is worth having without them.
    """
    try:
        tags = image.getexif()
        inner = {int(part): dict(tags.get_ifd(part)) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)}
        return {ExifTags.Base.Orientation: tags.get(ExifTags.Base.Orientation), **inner}
    except Exception:  # noqa: BLE001 - as above: nearly every kind of error
        return {}


def _time_taken(exif: Mapping[int, Any]) -> datetime | None:
    """Local time, with its UTC offset where that is stated; None: not stated or impossible."""
    tags = exif.get(ExifTags.IFD.Exif, {})
    text = str(tags.get(ExifTags.Base.DateTimeOriginal)).strip("\0 ")
    offset = str(tags.get(ExifTags.Base.OffsetTimeOriginal)).strip("\0 ")
    try:
        taken = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - a camera's local time
    except ValueError:
        return None
    if _UTC_OFFSET.fullmatch(offset):
        taken = taken.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
    return taken if taken.year >= FIRST_DIGITAL_YEAR else None


def _position(exif: Mapping[int, Any]) -> tuple[float, float] | None:
    """Latitude and longitude; None: not stated or impossible."""
    tags = exif.get(ExifTags.IFD.GPSInfo, {})
    latitude = _degrees(tags, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "S", 90)
    longitude = _degrees(tags, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "W", 180)
    if latitude is None or longitude is None or latitude == longitude == 0:  # what a camera writes without a position
        return None
    return latitude, longitude


def _degrees(tags: Mapping[int, Any], value: int, reference: int, negative: str, limit: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in tags[value])
        angle = degrees + minutes / 60 + seconds / 3600
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not (math.isfinite(angle) and 0 <= angle <= limit):
        return None
    sign = -1 if str(tags.get(reference, "")).strip("\0 ").upper() == negative else 1
    return round(sign * angle, 7)


def _metadata(taken: datetime | None, position: tuple[float, float] | None) -> Image.Exif:
    """Metadata of a stored photo: time and position only."""
    exif = Image.Exif()
    if taken is not None:
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        tags[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        if taken.tzinfo is not None:
            tags[ExifTags.Base.OffsetTimeOriginal] = taken.isoformat()[-6:]
    if position is not None:
        tags = exif.get_ifd(ExifTags.IFD.GPSInfo)
        references = ((ExifTags.GPS.GPSLatitudeRef, "NS"), (ExifTags.GPS.GPSLongitudeRef, "EW"))
        for (reference, letters), angle in zip(references, position, strict=True):
            tags[reference] = letters[angle < 0]
            minutes, seconds = divmod(abs(angle) * 3600, 60)
            tags[reference + 1] = (minutes // 60, minutes % 60, round(seconds, 4))
    return exif
