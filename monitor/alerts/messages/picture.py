"""One small JPEG of a site before and now, side by side, with its outline."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from monitor.alerts.news import SitePicture
from monitor.cube.context_pictures import Stretch, for_the_eye, stretch_of

PANEL: Final = 320
"""Width and largest height of each picture: sharp on a phone, where both fill its width. [pixel]"""
VIEW: Final = 2.0  # width of the ground shown, relative to the site [1]
MIN_VIEW_METRES: Final = 500.0
MIN_VIEW_PIXELS: Final = 40
"""Least ground shown: a smaller site is shown with more of its surroundings. [m], [pixel]"""
GAP: Final = 8  # between the two [pixel]
MAX_BYTES: Final = 35_000  # largest file, about a third of a mail [byte]
PAPER: Final = (255, 255, 255)
NOT_SEEN: Final = (205, 202, 198)
OUTLINE: Final = (255, 255, 255)
PATCH: Final = (255, 214, 10)
UNDER: Final = (30, 28, 26)
"""Dark line under the outlines, which makes them visible on any ground."""


def side_by_side(pictures: Sequence[SitePicture]) -> bytes:
    """JPEG of one or two pictures from left to right, with the outlines of the site and of its worst patch."""
    stretch = stretch_of([picture.rgb for picture in pictures])
    panels = [_panel(picture, stretch) for picture in pictures]
    height = max(panel.height for panel in panels)
    sheet = Image.new("RGB", (PANEL * len(panels) + GAP * (len(panels) - 1), height), PAPER)
    for number, panel in enumerate(panels):
        left = number * (PANEL + GAP) + (PANEL - panel.width) // 2
        sheet.paste(panel, (left, (height - panel.height) // 2))
    for quality in (85, 75, 65, 55, 45, 35, 25):
        content = _jpeg(sheet, quality)
        if len(content) <= MAX_BYTES:
            return content
    return _jpeg(sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS), 60)


def ground_width(picture: SitePicture) -> float:
    """Width of the ground that a picture shows. [m]"""
    left, _, right, _ = _window(picture)
    return (right - left) * picture.pixel


def _window(picture: SitePicture) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a picture to show: the site in its surroundings. [pixel]"""
    height, width = picture.rgb.shape[:2]
    first, last = np.nanmin(picture.outline, axis=0), np.nanmax(picture.outline, axis=0)
    extent = float((last - first).max())
    side = max(VIEW * extent, MIN_VIEW_METRES / picture.pixel, MIN_VIEW_PIXELS) if picture.natural else 1.2 * extent + 2
    edges = []
    for middle, size in zip((first + last) / 2, (width, height), strict=True):
        extent = min(round(side), size)
        start = min(max(round(float(middle) - extent / 2), 0), size - extent)
        edges.append((start, start + extent))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _panel(picture: SitePicture, stretch: Stretch) -> Image.Image:
    left, top, right, bottom = _window(picture)
    rgb = picture.rgb[top:bottom, left:right]
    shown = for_the_eye(rgb, stretch) if picture.natural else rgb
    rgb = np.where(rgb.any(axis=2, keepdims=True), shown, np.array(NOT_SEEN, np.uint8))
    scale = PANEL / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    smooth = Image.Resampling.BICUBIC if picture.natural else Image.Resampling.NEAREST
    panel = Image.fromarray(rgb).resize(size, smooth)
    draw = ImageDraw.Draw(panel)
    lines = [(picture.outline, OUTLINE), *([] if picture.patch is None else [(picture.patch, PATCH)])]
    for thickness, colour in ((5, UNDER), (3, None)):
        for line, own in lines:
            for ring in _rings((line - (left, top)) * scale):
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
