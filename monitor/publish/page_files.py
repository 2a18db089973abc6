"""Names of the files of pages, and what is stored of the pictures on them."""

import re
from typing import Final

import msgspec

PAGE_FILES: Final = {"en": "index.html", "zh": "index.zh.html"}  # file name of the page in each language
PICTURE_FILE: Final = re.compile(r"([a-z-]+)-[0-9a-f]{8}(\.png|\.jpg)")
"""Name of a picture: what it shows and a hash of its content. So a page goes on showing the pictures with which it was
written while a run writes new ones, or dies between them and the new page."""
TRACKS: Final = ("site.gpx", "site.kml")
"""Outline of a site and the first place to look at, for GPS devices and map apps."""


class PagePicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture or map on the page of a site."""

    file: str
    """Its name has a hash of its content."""
    window: tuple[float, float, float, float]
    """Part of the picture that is shown: left, top, width and height. [pixel]"""
