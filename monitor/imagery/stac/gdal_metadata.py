"""What GDAL writes into a GeoTIFF beside its pixels: names, scale and offset of bands, and free text.

The tag is read from the header as bytes and parsed here: GDAL never opens the file, which may be hostile.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.imagery.stac.blocks import Reader, read_tag

GDAL_METADATA: Final = 42112
"""Number of the tag."""
MAX_METADATA_BYTES: Final = 1 << 20
"""Longer metadata is not read. [byte]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GdalMetadata:
    """Metadata of a GeoTIFF; bands are counted from 0."""

    descriptions: Mapping[int, str] = field(default_factory=dict)
    """Names of bands."""
    scales: Mapping[int, float] = field(default_factory=dict)
    offsets: Mapping[int, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """Texts about the whole file, by their names in lower case."""


def read_gdal_metadata(reader: Reader) -> GdalMetadata:
    """Metadata of a GeoTIFF; empty if it has none, or none that can be read.

    Raises
    ------
    SceneRejected
        ``BROKEN``: it is no TIFF, or is cut short.
    """
    data = read_tag(reader, GDAL_METADATA).rstrip(b"\0 \n")
    if not data or len(data) > MAX_METADATA_BYTES or b"<!" in data:  # no DTD, so no entities
        return GdalMetadata()
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError):
        return GdalMetadata()
    bands: dict[str, dict[int, str]] = {"description": {}, "scale": {}, "offset": {}}
    texts: dict[str, str] = {}
    for item in root.iter("Item"):
        role, sample, text = item.get("role", ""), item.get("sample", ""), (item.text or "").strip()
        if role in bands and sample.isascii() and sample.isdigit():
            bands[role][int(sample)] = text
        elif not sample:
            texts[item.get("name", "").lower()] = text
    return GdalMetadata(
        descriptions={band: text for band, text in bands["description"].items() if text},
        scales=_numbers(bands["scale"]),
        offsets=_numbers(bands["offset"]),
        texts=texts,
    )


def _numbers(texts: Mapping[int, str]) -> dict[int, float]:
    numbers: dict[int, float] = {}
    for band, text in texts.items():
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            numbers[band] = number
    return numbers
