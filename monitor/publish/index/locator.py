"""Small map of the sites of a programme, for the index."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from monitor.publish.index.ground import Ground
from monitor.publish.svg import round_below
from monitor.sites.site import Site

MAP_WIDTH: Final = 480  # width of the drawing [pixel]
_Place = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
MAX_LABELS: Final = 24  # sites of a map that has their names, at most
LABEL_GAP: Final = 4.0  # between an outline and its name [pixel]
FINENESS: Final = 0.2
"""Largest distance of a drawn outline from the true one. [pixel]"""
MAP_MARGIN: Final = 32.0  # space for degree labels along the edge [pixel]
STATUS_MARKS: Final = {
    "failing": "m-5-4h10l-5 9z",
    "lagging": "m-5-4h10l-5 9z",
    "on_track": "m-5 4h10l-5-9z",
    "disturbed": "m0-6l6 6-6 6-6-6z",
    "too_early": "m0-6l6 6-6 6-6-6z",
    "undecided": "m-4.5-4.5h9v9h-9z",
    "no_loss": "m-5 4h10l-5-9z",
    "recovered": "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "insufficient_data": "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
}
"""Shape of each status, so that colour is never needed to distinguish them; some are filled, some open."""


def locator(sites: Sequence[tuple[Site, str]], grounds: Sequence[Ground] = ()) -> dict[str, Any] | None:
    """Map of sites with their statuses, worst first: one mark a site, on its outline where most are large enough to
    see.

    Returns
    -------
    dict or None
        ``height`` of the map [pixel]; ``grounds`` (file, left, top, width, height); ``places`` (site, status, path of
        the outline); ``marks`` (status and one path with the marks of all its sites, the worst last), and their scale
        ``mark_size``; ``labels`` (x, y, site), where there is room for names, else ``meridians`` and ``parallels``
        (position [pixel] and label); ``bar``, length [pixel] and label of the scale bar. None without sites.
    """
    if not sites:
        return None
    geometries = np.array([site.geometry for site, _ in sites], dtype=object)
    bounds = shapely.bounds(geometries)
    west, south = bounds[:, :2].min(axis=0)
    east, north = bounds[:, 2:].max(axis=0)
    shrink = math.cos(math.radians((south + north) / 2))
    span = max((east - west) * shrink, (north - south) / 0.8, 1e-3)
    scale = (MAP_WIDTH - 2 * MAP_MARGIN) / span
    height = max((north - south) * scale, 200.0) + 2 * MAP_MARGIN
    middle = (west + east) / 2, (south + north) / 2

    def place(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return MAP_WIDTH / 2 + (lon - middle[0]) * shrink * scale, height / 2 - (lat - middle[1]) * scale

    sizes = np.maximum((bounds[:, 2] - bounds[:, 0]) * shrink, bounds[:, 3] - bounds[:, 1]) * scale
    drawn = len(sites) <= 200 and float(np.median(sizes)) > 14
    places, marks, mark_size = [], [], 1.0 if len(sites) <= 500 else 0.5
    coarse = 1 if len(sites) <= 500 else 10  # of marks that lie on each other the worst is drawn
    if drawn:
        places = [(site, status, _outline(site.geometry, place)) for site, status in reversed(sites)]
    x, y = place(*shapely.get_coordinates(shapely.centroid(geometries)).T)
    cells = np.round(np.column_stack([x, y]) / mark_size / coarse).astype(int) * coarse
    worst = dict(zip(map(tuple, cells[::-1].tolist()), (status for _, status in reversed(sites)), strict=True))
    for status in reversed(STATUS_MARKS):
        at = sorted(cell for cell, shown in worst.items() if shown == status)
        if at:
            marks.append((status, "".join(f"M{a} {b}{STATUS_MARKS[status]}" for a, b in at)))
    kilometre = scale / 111.2
    length = round_below(MAP_WIDTH / 4 / kilometre)
    across, up = (MAP_WIDTH - 2 * MAP_MARGIN) / scale / shrink, height / scale
    pictures = []
    for file, (left, bottom, right, top) in grounds if drawn else ():
        (x0, x1), (y0, y1) = (values.tolist() for values in place(np.array([left, right]), np.array([top, bottom])))
        pictures.append((file, *(round(value, 1) for value in (x0, y0, x1 - x0, y1 - y0))))
    labels = []
    if drawn and len(sites) <= MAX_LABELS:
        rows = zip(x.tolist(), (y - sizes / 2 - LABEL_GAP).tolist(), sites, strict=True)
        labels = [(round(a, 1), round(b, 1), site) for a, b, (site, _) in rows]
    return {
        "height": round(height, 1), "grounds": pictures, "labels": labels, "places": places, "marks": marks,
        "mark_size": mark_size,
        "meridians": [
            (round(float(place(np.array(v), np.array(0.0))[0]), 1), _degrees(v, "EW", step))
            for v, step in _graticule(middle[0], across * (1 - 80 / MAP_WIDTH))
        ],
        "parallels": [
            (round(float(place(np.array(0.0), np.array(v))[1]), 1), _degrees(v, "NS", step))
            for v, step in _graticule(middle[1], up)
        ],
        "bar": (round(length * kilometre, 1), f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"),
    }  # fmt: skip


def _outline(geometry: BaseGeometry, place: _Place) -> str:
    polygons = getattr(geometry, "geoms", [geometry])
    path = []
    for ring in (ring for p in polygons for ring in (p.exterior, *p.interiors)):
        drawn = shapely.LinearRing(np.column_stack(place(*shapely.get_coordinates(ring).T)))
        points = [f"{x:.1f},{y:.1f}" for x, y in shapely.get_coordinates(drawn.simplify(FINENESS))[:-1].tolist()]
        path.append("M" + "L".join(points) + "Z")
    return "".join(path)


def _graticule(middle: float, span: float) -> list[tuple[float, float]]:
    """Two to five round values around a middle, each with the step between them. [degree]"""
    step = round_below(span / 2)
    first, last = math.ceil((middle - span / 2) / step), math.floor((middle + span / 2) / step)
    return [(i * step, step) for i in range(first, last + 1)]


def _degrees(value: float, letters: str, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step)))
    return f"{abs(value):.{digits}f}° {letters[0] if value >= 0 else letters[1]}"
