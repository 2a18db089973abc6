"""One small JPEG of a site before and now, side by side, with its outline."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from monitor.alerts.news import SitePicture

PANEL: Final = (320, 300)
"""Largest width and height of each picture: sharp on a phone, where both fill its width. [pixel]"""
GAP: Final = 8
"""Between the two. [pixel]"""
MAX_BYTES: Final = 35_000
"""Largest file, about a third of a mail. [byte]"""
PAPER: Final = (255, 255, 255)
NOT_SEEN: Final = (205, 202, 198)
OUTLINE: Final = (255, 255, 255)
PATCH: Final = (255, 214, 10)
UNDER: Final = (30, 28, 26)
"""Dark line under the outlines, which makes them visible on any ground."""


def side_by_side(pictures: Sequence[SitePicture]) -> bytes:
    """JPEG of one or two pictures from left to right, with the outlines of the site and of its worst patch.

    Parameters
    ----------
    pictures : sequence of SitePicture
        One or two.
    """
    panels = [_panel(picture) for picture in pictures]
    height = max(panel.height for panel in panels)
    sheet = Image.new("RGB", (PANEL[0] * len(panels) + GAP * (len(panels) - 1), height), PAPER)
    for number, panel in enumerate(panels):
        left = number * (PANEL[0] + GAP) + (PANEL[0] - panel.width) // 2
        sheet.paste(panel, (left, (height - panel.height) // 2))
    for quality in (85, 75, 65, 55, 45, 35, 25):
        content = _jpeg(sheet, quality)
        if len(content) <= MAX_BYTES:
            return content
    return _jpeg(sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS), 60)


def _panel(picture: SitePicture) -> Image.Image:
    rgb = np.where(picture.rgb.any(axis=2, keepdims=True), picture.rgb, np.array(NOT_SEEN, np.uint8))
    height, width = rgb.shape[:2]
    scale = min(PANEL[0] / width, PANEL[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    panel = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(panel)
    lines = [(picture.outline, OUTLINE), *([] if picture.patch is None else [(picture.patch, PATCH)])]
    for thickness, colour in ((4, UNDER), (2, None)):
        for line, own in lines:
            for ring in _rings(line * scale):
                draw.line(ring, fill=colour or own, width=thickness, joint="curve")
    return panel


def _rings(outline: np.ndarray) -> list[list[tuple[float, float]]]:
    rings: list[list[tuple[float, float]]] = [[]]
    for x, y in outline.tolist():
        if np.isfinite(x):
            rings[-1].append((x, y))
        else:
            rings.append([])
    return [ring for ring in rings if len(ring) > 1]


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, progressive=False)
    return file.getvalue()
