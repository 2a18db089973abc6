"""Check outlines, and repair them where no guessing is needed.

A repair closes rings, reverses them, and splits them where they cross themselves; the change of area is reported.
``buffer(0)`` is never used: it drops half of a bow-tie.
"""

from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from monitor.sites import gcj02
from monitor.sites.formats.feature import Feature, Polygons
from monitor.sites.names import without_invisible

PIXEL_HECTARES = 0.01  # area of one pixel of 10 m; smaller sites are refused [ha]
TEN_PIXELS_HECTARES = 0.1  # area of ten pixels of 10 m; no scene of a smaller site is accepted [ha]
FEW_PIXELS_HECTARES = 0.25  # 25 pixels of 10 m; in smaller sites most pixels are mixed with their surroundings [ha]
NARROW_METRES = 10.0  # mean width (twice area over perimeter) below which hardly any pixel is entirely inside [m]
SLIVER_METRES = 1.0  # mean width below which an outline is a line that was drawn back and forth [m]
VERY_LARGE_HECTARES = 10_000.0  # a million pixels of 10 m: beyond, one verdict says little, and a night is slow [ha]
CROSSING_LIMIT = 200_000  # self-crossings above which an outline is refused unexamined; real ones have far fewer
_BORDER_CROSSING_LIMIT = 5_000_000  # of two borders that are intersected; shared ones have one to three an edge

_GEOD = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of a site, and how to fix it."""

    code: str
    message: str
    fix: str
    refuses: bool = True  # False: a warning; the site is accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Outline after its checks."""

    problems: list[Problem]
    geometry: BaseGeometry | None = None  # valid, outer rings counter-clockwise; None: a problem refuses it
    hectares: float | None = None  # geodesic area as drawn; None: it has no area [ha]


def geodesic_hectares(geometry: BaseGeometry) -> float:
    """Area on the WGS 84 ellipsoid, whatever the winding. [ha]"""
    return geodesic_size(geometry)[0]


def geodesic_size(geometry: BaseGeometry) -> tuple[float, float]:
    """Area [ha] and mean width (twice area over perimeter) [m] on the WGS 84 ellipsoid; 0 without an area."""
    area = perimeter = 0.0
    for polygon in shapely.get_parts(shapely.orient_polygons(geometry)):
        rings = [_GEOD.polygon_area_perimeter(*shapely.get_coordinates(r).T) for r in shapely.get_rings(polygon)]
        area += sum(signed for signed, _ in rings)  # of holes negative
        perimeter += rings[0][1] if rings else 0.0
    return abs(area) / 10_000.0, 2.0 * abs(area) / perimeter if perimeter else 0.0


def check_outline(feature: Feature) -> Outline:
    """Check an outline as drawn; the problems end with the first one that makes further checks meaningless."""
    if misplaced := _misplaced(feature):
        return Outline(problems=[misplaced])
    problems = []
    if feature.unclosed or any(not np.array_equal(ring[0], ring[-1]) for ring in _rings(feature.polygons)):
        message = "A ring of the outline does not end where it starts."
        problems.append(Problem("UNCLOSED", message, "Repeat the first point at the end, or use --repair."))
    drawn = _drawn(feature.polygons)
    if drawn is None or shapely.convex_hull(drawn).area == 0:
        problems = []  # closing a ring without area does not repair it
        message = "The outline encloses nothing: its points lie on one line, or are too few."
        return Outline(problems=[*problems, Problem("ZERO_AREA", message, "Draw it again.")], hectares=0.0)
    hectares = geodesic_hectares(drawn)
    fix = "Draw it without crossings, or use --repair and look at the result."
    if _tangled(feature.polygons):
        reason, fix = "its edges cross each other hundreds of thousands of times", "Draw it again, with fewer points."
    else:
        reason = "" if shapely.is_valid(drawn) else shapely.is_valid_reason(drawn)
    if reason:
        code = "SELF_CROSSING" if "ntersection" in reason or "cross" in reason else "RINGS"
        problems.append(Problem(code, f"The outline is not a proper area: {reason}.", fix))
    elif unsuitable := _unsuitable_size(drawn, hectares):
        problems.append(unsuitable)
    if feature.winding_wrong or (not reason and feature.winding_checked and _wound_wrong(feature.polygons)):
        message = "Rings of the outline turn the wrong way for this format; the area is correct."
        problems.append(Problem("WINDING", message, "Nothing needs to be done; --repair turns them.", refuses=False))
    fit = not any(problem.refuses for problem in problems)
    return Outline(
        problems=problems,
        geometry=shapely.orient_polygons(drawn) if fit else None,
        hectares=hectares if np.isfinite(hectares) else None,
    )


def repair_outline(feature: Feature, *, from_gcj02: bool) -> Polygons | None:
    """Close and reverse rings and split them at crossings, keeping all the area that the drawn line encloses.

    `from_gcj02` converts the coordinates to WGS 84 first. None: the outline cannot be repaired.
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
        repaired = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
        if repaired.is_empty:  # that method loses a line that was drawn back and forth
            repaired = shapely.make_valid(drawn, method="linework")
        # GEOS 3.14 returns parts that share an edge, which is invalid: the union joins them.
        drawn = shapely.union_all([part for part in shapely.get_parts(repaired) if part.area > 0])
    parts = [part for part in shapely.get_parts(drawn) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        return None
    return [
        [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
        for part in shapely.orient_polygons(parts)
    ]


def _misplaced(feature: Feature) -> Problem | None:
    """Problem with the location of the outline; None: its shape can be checked."""
    rings = _rings(feature.polygons)
    if not rings:
        message = f"The site {without_invisible(feature.broken) or 'has an outline without points'}."
        return Problem("NO_OUTLINE", message, "Draw its area as a Polygon or MultiPolygon.")
    points = np.concatenate(rings)
    if not np.isfinite(points).all():
        message = "A coordinate of the outline is not a number (NaN or infinite)."
        return Problem("NOT_A_NUMBER", message, "Correct that point, or draw the outline again.")
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    extent = f"x {west:.6g} to {east:.6g}, y {south:.6g} to {north:.6g}"
    furthest_x, furthest_y = max(abs(west), abs(east)), max(abs(south), abs(north))
    if furthest_x > 1000 or furthest_y > 1000:
        message = f"The coordinates look like metres of a projected system that the file does not name: {extent}."
        return Problem("CRS_UNSTATED", message, "Save the layer as EPSG:4326 (longitude and latitude).")
    # Longitude 73 to 97 and latitude 27 to 50, in Xinjiang and Tibet, are valid when swapped: in the Arctic Ocean.
    if (90 < furthest_y <= 180 and furthest_x <= 90) or (furthest_y <= 90 and west > 27 and east < 50 and south > 73.4):
        message = f"Longitude and latitude look swapped: {extent}."
        return Problem("SWAPPED", message, "Write longitude first, then latitude.")
    across = (180 < furthest_x <= 360 and min(abs(west), abs(east)) <= 180) or east - west > 180
    if furthest_y <= 90 and across:
        message = f"The outline crosses the 180th meridian: {extent}."
        return Problem("ANTIMERIDIAN", message, "Enter the two sides as two sites.")
    if furthest_x > 180 or furthest_y > 90:
        fix = "Give longitude within -180 to 180 and latitude within -90 to 90, in degrees."
        return Problem("OUT_OF_RANGE", f"The outline lies outside the globe: {extent}.", fix)
    return None


def _rings(polygons: Polygons) -> list[np.ndarray]:
    """All rings with points."""
    return [ring for rings in polygons for ring in rings if len(ring)]


def _wound_wrong(polygons: Polygons) -> bool:
    """Whether an outer ring is clockwise or a hole counter-clockwise."""

    def clockwise(ring: np.ndarray) -> bool | None:
        x, y = (ring - ring[0]).T  # near zero: otherwise rounding hides small differences
        area = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
        return None if area == 0 else area < 0

    return any(clockwise(ring) is (place == 0) for rings in polygons for place, ring in enumerate(rings) if len(ring))


def _drawn(polygons: Polygons) -> BaseGeometry | None:
    """Geometry with closed rings, valid or not; None: an outer ring has too few points."""
    areas = []
    for rings in polygons:
        closed = [r if np.array_equal(r[0], r[-1]) else np.vstack([r, r[:1]]) for r in rings if len(r)]
        if not closed or len(closed[0]) < 4:
            return None
        areas.append(Polygon(closed[0], [hole for hole in closed[1:] if len(hole) >= 4]))
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _unsuitable_size(drawn: BaseGeometry, hectares: float) -> Problem | None:
    if hectares < PIXEL_HECTARES:
        message = f"The site is smaller than one 10 m pixel: {hectares * 10_000:.3g} m2."
        fix = "Check the outline; a site needs some 25 pixels (0.25 ha) to be judged."
        return Problem("TOO_SMALL", message, fix)
    width = geodesic_size(drawn)[1]
    perimeter = 2 * hectares * 10_000 / width
    if width < SLIVER_METRES:
        message = f"The outline encloses next to nothing: it is {width:.2g} m wide on average."
        return Problem("ZERO_AREA", message, "Draw it again.")
    if hectares < TEN_PIXELS_HECTARES:
        size = f"The site is too small to be judged ({hectares:.3f} ha)"
        message = f"{size}: it holds fewer than ten pixels of 10 m, and no scene of it will count."
        return Problem("FEW_PIXELS", message, "Join it with neighbours of the same start and kind.", refuses=False)
    if hectares < FEW_PIXELS_HECTARES or width < NARROW_METRES:
        size = f"The site is small or narrow ({hectares:.2f} ha, {perimeter:.0f} m round)"
        fix = "Expect wide intervals, or join it with neighbours of the same start and kind."
        return Problem("FEW_PIXELS", f"{size}: hardly a 10 m pixel lies wholly inside.", fix, refuses=False)
    if hectares > VERY_LARGE_HECTARES:
        message = f"The site has {hectares:,.0f} ha: one verdict says little about so much ground."
        return Problem("VERY_LARGE", message, "Divide it by slope, start and kind of work.", refuses=False)
    return None


def _tangled(polygons: Polygons) -> bool:
    """Whether edges cross so often that finding all crossings would take minutes: an attack."""
    starts = np.concatenate([ring[:-1] for ring in _rings(polygons)])
    ends = np.concatenate([ring[1:] for ring in _rings(polygons)])
    if len(starts) ** 2 / 2 <= CROSSING_LIMIT:
        return False
    edges = np.asarray(shapely.linestrings(np.stack([starts, ends], axis=1)))
    sample = edges[:: len(edges) // 50]
    larger_sample = edges[:: max(1, len(edges) // 2000)]
    # An edge of a valid outline meets itself and two neighbours; meeting one edge in 200 happens only in a tangle.
    if _count_meetings(sample, larger_sample) > 200 + len(sample) * len(larger_sample) / 200:
        return True
    crossings = (_count_meetings(sample, edges) / len(sample) - 3) * len(edges) / 2
    return crossings > CROSSING_LIMIT


def borders_tangled(first: BaseGeometry, second: BaseGeometry) -> bool:
    """Whether two borders cross so often that their intersection could take all memory: an attack."""
    pairs = int(shapely.get_num_coordinates(first)) * int(shapely.get_num_coordinates(second))
    if pairs <= _BORDER_CROSSING_LIMIT:
        return False
    sample, larger_sample = _border(first, 50), _border(second, 2000)
    share = _count_meetings(sample, larger_sample) / (len(sample) * len(larger_sample))
    return bool(share * pairs > _BORDER_CROSSING_LIMIT)


def _border(geometry: BaseGeometry, count: int) -> np.ndarray:
    """About `count` edges of an outline, evenly distributed."""
    points = shapely.get_coordinates(geometry)
    starts = np.arange(0, len(points) - 1, max(1, (len(points) - 1) // count))
    return np.asarray(shapely.linestrings(np.stack([points[starts], points[starts + 1]], axis=1)))


def _count_meetings(edges: np.ndarray, others: np.ndarray) -> int:
    return int(shapely.STRtree(others).query(edges, predicate="intersects").shape[1])
