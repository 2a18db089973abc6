"""Judge whether an outline is fit to be monitored, and mend it where that needs no guessing.

A mend never guesses what was meant beyond closing a ring, turning it round, and parting it where it crosses
itself, and says what it did to the area. ``buffer(0)`` is never used: it drops half of a bow-tie.
"""

from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from monitor.sites import gcj02
from monitor.sites.formats.feature import Feature, Polygons

PIXEL_HECTARES = 0.01
"""One pixel of 10 m: less cannot be seen at all. [ha]"""
TEN_PIXELS_HECTARES = 0.1
"""With less a site holds fewer than ten pixels of 10 m, and no scene of it counts. [ha]"""
FEW_PIXELS_HECTARES = 0.25
"""[D] Below 25 pixels of 10 m most are mixed with what lies around. [ha]"""
NARROW_METRES = 10.0
"""[D] Mean width (twice area over perimeter) below which hardly a pixel lies inside. [m]"""
SLIVER_METRES = 1.0
"""[D] Mean width below which an outline is a line drawn there and back. [m]"""
VERY_LARGE_HECTARES = 10_000.0
"""[D] A million pixels of 10 m: one verdict says little about so much ground, and a night is slow. [ha]"""
CROSSING_LIMIT = 200_000
"""Crossings above which an outline is not looked into: far beyond any real one, a second or two to mend."""
_BORDER_CROSSING_LIMIT = 5_000_000
"""The same for the borders of two outlines. Neighbours that share a border meet once or thrice an edge."""

_GEOD = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a person should know of a site, and what to do."""

    code: str
    message: str
    fix: str
    refuses: bool = True
    """False: a warning; the site is taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An outline, judged."""

    problems: list[Problem]
    geometry: BaseGeometry | None = None
    """Valid polygon or multipolygon, outer rings counter-clockwise; None where a problem refuses it."""
    hectares: float | None = None
    """Geodesic area; of a refused outline as it is drawn, None where that means nothing. [ha]"""


def geodesic_hectares(geometry: BaseGeometry) -> float:
    """Area on the WGS 84 ellipsoid, whatever the winding, in hectares."""
    oriented = shapely.orient_polygons(geometry)
    return abs(_GEOD.geometry_area_perimeter(oriented)[0]) / 10_000.0


def check_outline(feature: Feature) -> Outline:
    """Judge an outline as it was drawn.

    Parameters
    ----------
    feature : Feature
        In longitude and latitude.

    Returns
    -------
    Outline
        All problems found before the first that makes the next question meaningless.
    """
    if place := _misplaced(feature):
        return Outline(problems=[place])
    problems = []
    if feature.unclosed or any(not np.array_equal(ring[0], ring[-1]) for ring in _rings(feature.polygons)):
        problems.append(
            Problem(
                code="UNCLOSED",
                message="A ring of the outline does not end where it starts.",
                fix="Repeat the first point at the end, or use --repair.",
            )
        )
    drawn = _drawn(feature.polygons)
    if drawn is None or shapely.convex_hull(drawn).area == 0:
        return Outline(
            problems=[
                *problems,
                Problem(
                    code="ZERO_AREA",
                    message="The outline encloses nothing: its points lie on one line, or are too few.",
                    fix="Draw it again.",
                ),
            ],
            hectares=0.0,
        )
    hectares = geodesic_hectares(drawn)
    if _tangled(feature.polygons):
        reason = "its edges cross each other hundreds of thousands of times"
    else:
        reason = "" if shapely.is_valid(drawn) else shapely.is_valid_reason(drawn)
    if reason:
        problems.append(
            Problem(
                code="SELF_CROSSING" if "ntersection" in reason or "cross" in reason else "RINGS",
                message=f"The outline is not a proper area: {reason}.",
                fix="Draw it without crossings, or use --repair and look at the result.",
            )
        )
    else:
        problems += _size(drawn, hectares)
    if feature.winding_wrong or (not reason and feature.winding_checked and _wound_wrong(feature.polygons)):
        problems.append(
            Problem(
                code="WINDING",
                message="Rings of the outline turn the wrong way for this format; the area is read rightly.",
                fix="Nothing need be done; --repair turns them.",
                refuses=False,
            )
        )
    fit = not any(problem.refuses for problem in problems)
    return Outline(
        problems=problems,
        geometry=shapely.orient_polygons(drawn) if fit else None,
        hectares=hectares if np.isfinite(hectares) else None,
    )


def repair_outline(feature: Feature, *, from_gcj02: bool) -> Polygons | None:
    """Rings closed, turned, and parted where they cross, all the area kept that the drawn line encloses.

    Parameters
    ----------
    feature : Feature
        In longitude and latitude, or as a Chinese web map shows them.
    from_gcj02 : bool
        The coordinates are stated to be GCJ-02, and are moved to WGS 84 first.

    Returns
    -------
    Polygons or None
        None where the outline is beyond mending.
    """
    polygons = feature.polygons
    if _misplaced(feature):
        return None
    if from_gcj02:
        if not all(gcj02.in_china(ring) for ring in _rings(polygons)):
            return None
        polygons = [[gcj02.to_wgs84(ring) for ring in rings] for rings in polygons]
    drawn = _drawn(polygons)
    if drawn is None or _tangled(polygons):
        return None
    if not shapely.is_valid(drawn):
        mended = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
        if mended.is_empty:  # a line drawn there, back and there again is lost by that method
            mended = shapely.make_valid(drawn, method="linework")
        # GEOS 3.14 leaves parts that share an edge apart, which is not valid: the union joins them.
        drawn = shapely.union_all([part for part in shapely.get_parts(mended) if part.area > 0])
    parts = [part for part in shapely.get_parts(drawn) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        return None
    return [
        [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
        for part in shapely.orient_polygons(parts)
    ]


def _misplaced(feature: Feature) -> Problem | None:
    """Tell what is wrong with where the outline lies, before its shape means anything."""
    rings = _rings(feature.polygons)
    if not rings:
        message = f"The site {feature.broken or 'has an outline without points'}."
        return Problem(code="NO_OUTLINE", message=message, fix="Draw its area as a Polygon or MultiPolygon.")
    points = np.concatenate(rings)
    if not np.isfinite(points).all():
        return Problem(
            code="NOT_A_NUMBER",
            message="A coordinate of the outline is no number (NaN or infinite).",
            fix="Correct that point, or draw the outline again.",
        )
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    found = f"x {west:.6g} to {east:.6g}, y {south:.6g} to {north:.6g}"
    furthest_x, furthest_y = max(abs(west), abs(east)), max(abs(south), abs(north))
    if furthest_x > 1000 or furthest_y > 1000:
        return Problem(
            code="CRS_UNSTATED",
            message=f"The coordinates look like metres of a projected system that the file does not name: {found}.",
            fix="Save the layer as EPSG:4326 (longitude and latitude).",
        )
    swapped = Problem(
        code="SWAPPED",
        message=f"Longitude and latitude look swapped: {found}.",
        fix="Write longitude first, then latitude.",
    )
    if furthest_y > 90:
        return swapped if furthest_y <= 180 and furthest_x <= 90 else _out_of_range(found)
    if west > 27 and east < 50 and south > 73.4:
        # Possible coordinates, of the Arctic Ocean. Turned round they lie in Xinjiang, Tibet or beside them.
        return swapped
    if (furthest_x > 180 and furthest_x <= 360 and min(abs(west), abs(east)) <= 180) or east - west > 180:
        return Problem(
            code="ANTIMERIDIAN",
            message=f"The outline crosses the 180th meridian: {found}.",
            fix="Enter the two sides as two sites.",
        )
    return _out_of_range(found) if furthest_x > 180 else None


def _out_of_range(found: str) -> Problem:
    return Problem(
        code="OUT_OF_RANGE",
        message=f"The outline lies outside the globe: {found}.",
        fix="Give longitude within -180 to 180 and latitude within -90 to 90, in degrees.",
    )


def _rings(polygons: Polygons) -> list[np.ndarray]:
    """All rings that have points."""
    return [ring for rings in polygons for ring in rings if len(ring)]


def _wound_wrong(polygons: Polygons) -> bool:
    """Whether an outer ring turns clockwise, or a hole the other way."""

    def clockwise(ring: np.ndarray) -> bool | None:
        x, y = (ring - ring[0]).T  # near zero, or the small differences drown in degrees
        area = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
        return None if area == 0 else area < 0

    return any(clockwise(ring) is (place == 0) for rings in polygons for place, ring in enumerate(rings) if len(ring))


def _drawn(polygons: Polygons) -> BaseGeometry | None:
    """Close the rings, valid or not; None where an outer ring has too few points."""
    areas = []
    for rings in polygons:
        closed = [r if np.array_equal(r[0], r[-1]) else np.vstack([r, r[:1]]) for r in rings if len(r)]
        if not closed or len(closed[0]) < 4:
            return None
        areas.append(Polygon(closed[0], [hole for hole in closed[1:] if len(hole) >= 4]))
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _size(drawn: BaseGeometry, hectares: float) -> list[Problem]:
    if hectares < PIXEL_HECTARES:
        return [
            Problem(
                code="TOO_SMALL",
                message=f"The site is smaller than one 10 m pixel: {hectares * 10_000:.3g} m2.",
                fix="Check the outline; a site needs some 25 pixels (0.25 ha) to be judged.",
            )
        ]
    perimeter = _GEOD.geometry_area_perimeter(drawn)[1]
    width = 2 * hectares * 10_000 / perimeter
    if width < SLIVER_METRES:
        return [
            Problem(
                code="ZERO_AREA",
                message=f"The outline encloses next to nothing: it is {width:.2g} m wide on average.",
                fix="Draw it again.",
            )
        ]
    if hectares < TEN_PIXELS_HECTARES:
        return [
            Problem(
                code="FEW_PIXELS",
                message=f"The site is too small to be judged ({hectares:.3f} ha): it holds fewer than ten pixels of "
                "10 m, and no scene of it will count.",
                fix="Join it with neighbours of the same start and kind.",
                refuses=False,
            )
        ]
    if hectares < FEW_PIXELS_HECTARES or width < NARROW_METRES:
        return [
            Problem(
                code="FEW_PIXELS",
                message=f"The site is small or narrow ({hectares:.2f} ha, {perimeter:.0f} m round): "
                "hardly a 10 m pixel lies wholly inside.",
                fix="Expect wide intervals, or join it with neighbours of the same start and kind.",
                refuses=False,
            )
        ]
    if hectares > VERY_LARGE_HECTARES:
        return [
            Problem(
                code="VERY_LARGE",
                message=f"The site has {hectares:,.0f} ha: one verdict says little about so much ground.",
                fix="Divide it by slope, start and kind of work.",
                refuses=False,
            )
        ]
    return []


def _tangled(polygons: Polygons) -> bool:
    """Whether edges cross so often that it is an attack: to look for the crossings one by one would take minutes."""
    starts = np.concatenate([ring[:-1] for ring in _rings(polygons)])
    ends = np.concatenate([ring[1:] for ring in _rings(polygons)])
    if len(starts) ** 2 / 2 <= CROSSING_LIMIT:
        return False
    edges = np.asarray(shapely.linestrings(np.stack([starts, ends], axis=1)))
    sample = edges[:: len(edges) // 50]
    some = edges[:: max(1, len(edges) // 2000)]
    # Edges of a sound outline meet themselves and two neighbours; one in two hundred is met only in a tangle.
    if _meetings(sample, some) > 200 + len(sample) * len(some) / 200:
        return True
    crossings = (_meetings(sample, edges) / len(sample) - 3) * len(edges) / 2
    return crossings > CROSSING_LIMIT


def borders_tangled(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Whether two borders cross so often that it is an attack: to lay one over the other could take all memory."""
    pairs = shapely.get_num_coordinates(one) * shapely.get_num_coordinates(other)
    if pairs <= _BORDER_CROSSING_LIMIT:
        return False
    sample, some = _border(one, 50), _border(other, 2000)
    return bool(_meetings(sample, some) / (len(sample) * len(some)) * pairs > _BORDER_CROSSING_LIMIT)


def _border(geometry: BaseGeometry, count: int) -> np.ndarray:
    """About so many edges of an outline, evenly along it."""
    points = shapely.get_coordinates(geometry)
    starts = np.arange(0, len(points) - 1, max(1, (len(points) - 1) // count))
    return np.asarray(shapely.linestrings(np.stack([points[starts], points[starts + 1]], axis=1)))


def _meetings(some: np.ndarray, others: np.ndarray) -> int:
    return int(shapely.STRtree(others).query(some, predicate="intersects").shape[1])
