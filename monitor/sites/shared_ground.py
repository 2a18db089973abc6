"""Ground that several sites share: which sites, how much, and for which of them it counts.

Outlines are in longitude and latitude (EPSG:4326), and their order is that of registration: ground that belongs to
several sites counts for the first of them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import shapely
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from monitor.sites import gcj02
from monitor.sites.geometry import NARROW_METRES, TEN_PIXELS_HECTARES, borders_tangled, geodesic_hectares, geodesic_size

MAX_SLIVER_SHARE: Final = 0.05  # of the smaller site: less is inaccurate drawing, more counts twice [1]
SAME_OUTLINE_SHARE: Final = 0.99  # intersection over union from which two outlines are the same [1]
NOTHING: Final = 1e-13  # shared area of sites that only touch: .001 m2, the rounding of their points [square degree]
LARGEST_SQUARE_DEGREE: Final = 1.25e6  # no square degree has more hectares [ha]


class Overlap(NamedTuple):
    """Ground that two sites share, slivers along a border included."""

    first: int  # place of the site that was registered first
    second: int
    ground: BaseGeometry | None  # polygons that both have; None: their borders cross too often to compute it
    share: float | None  # of the smaller site; None as for `ground` [1]
    same: bool = False  # whether one outline is a copy of the other (SAME_OUTLINE_SHARE)


class DoubleRegistration(NamedTuple):
    """Two sites that claim the same ground, beyond inaccurate drawing."""

    first: int  # place of the site that was registered first
    second: int
    kind: str  # code of the problem in the check of a registry: `OUTLINE_DUPLICATE`, `OVERLAP` or `GCJ02_SUSPECTED`
    ground: BaseGeometry | None  # shared ground; None where it is unknown, or there is none
    hectares: float | None  # geodesic area of the shared ground; None: unknown [ha]
    share: float | None  # of the smaller site [1]


def overlaps(outlines: Sequence[BaseGeometry]) -> list[Overlap]:
    """All pairs of outlines that share an area, ascending; outlines may be invalid or empty, or touch each other."""
    shapes = np.array([polygons(outline) for outline in outlines], dtype=object)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.stack([first, second], axis=1)[first < second]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    tangled = np.array([borders_tangled(shapes[i], shapes[j]) for i, j in pairs], bool)
    common = np.full(len(pairs), None, dtype=object)
    i, j = pairs[~tangled].T
    common[~tangled] = shapely.intersection(shapes[i], shapes[j])
    areas = shapely.area(shapes)
    found = []
    for (one, other), ground, area in zip(pairs.tolist(), common, shapely.area(common).tolist(), strict=True):
        if ground is None:
            found.append(Overlap(one, other, None, None))
        elif area > NOTHING:
            same = bool(area / (areas[one] + areas[other] - area) >= SAME_OUTLINE_SHARE)
            found.append(Overlap(one, other, polygons(ground), area / float(min(areas[one], areas[other])), same))
    return found


def counted_hectares(
    outlines: Sequence[BaseGeometry], hectares: Sequence[float], shared: Sequence[Overlap]
) -> list[float]:
    """Area by which each site counts, so that all of them add up to the area of their union. [ha]

    A site that shares no ground counts with its `hectares`. Others count with what they add to the ground of the sites
    registered before: by how much the area of the union grows, so that edges which others cut, and which are straight
    on the ellipsoid only as a whole, count the same on both sides.
    """
    before: dict[int, list[int]] = {}
    for overlap in shared:
        if overlap.ground is not None:
            before.setdefault(overlap.second, []).append(overlap.first)
    counted = [float(area) for area in hectares]
    for place, earlier in before.items():
        counted[place] = added_hectares(outlines[place], counted[place], [outlines[other] for other in earlier])
    return counted


def added_hectares(outline: BaseGeometry, hectares: float, earlier: Sequence[BaseGeometry]) -> float:
    """Area that a site of so many `hectares` adds to the ground of sites registered before, which it overlaps. [ha]"""
    taken = shapely.union_all([polygons(other) for other in earlier])
    grown = shapely.union(taken, polygons(outline))
    return min(max(geodesic_hectares(grown) - geodesic_hectares(taken), 0.0), hectares)


def double_registrations(outlines: Sequence[BaseGeometry], shared: Sequence[Overlap]) -> list[DoubleRegistration]:
    """Pairs of sites that claim the same ground, and copies shifted by the offset of Chinese web maps.

    Two sites claim the same ground if they share more than :data:`MAX_SLIVER_SHARE` of the smaller one, as the check of
    a registry refuses them, or at least ten pixels (0.1 ha) that are wider than a pixel: what is narrower lies along a
    border that was drawn inaccurately. Those that share most come first; borders that cross too often before all.
    """
    shifted = {(min(pair), max(pair)) for pair in shifted_copies(outlines)}
    found = []
    for one in shared:
        copy = (one.first, one.second) in shifted
        if one.ground is None or one.share is None:
            found.append(DoubleRegistration(one.first, one.second, "OVERLAP", None, None, None))
        elif copy or one.share > MAX_SLIVER_SHARE or _wide_hectares(one.ground) >= TEN_PIXELS_HECTARES:
            kind = "GCJ02_SUSPECTED" if copy else "OUTLINE_DUPLICATE" if one.same else "OVERLAP"
            ground = geodesic_hectares(one.ground)
            found.append(DoubleRegistration(one.first, one.second, kind, one.ground, ground, one.share))
    apart = shifted - {(one.first, one.second) for one in shared}
    found += [DoubleRegistration(i, j, "GCJ02_SUSPECTED", None, 0.0, 0.0) for i, j in apart]
    return sorted(found, key=lambda one: (-np.inf if one.hectares is None else -one.hectares, one.first, one.second))


def _wide_hectares(ground: BaseGeometry) -> float:
    """Area of the parts of some ground that are wider than a pixel; 0 where all of it is too little. [ha]"""
    if ground.area * LARGEST_SQUARE_DEGREE < TEN_PIXELS_HECTARES:
        return 0.0
    sizes = [geodesic_size(part) for part in shapely.get_parts(ground)]
    return sum(hectares for hectares, width in sizes if width >= NARROW_METRES)


def polygons(geometry: BaseGeometry) -> BaseGeometry:
    """Valid polygon or multipolygon of the same ground, without lines and points; may be empty."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def shifted_copies(outlines: Sequence[BaseGeometry | None]) -> list[tuple[int, int]]:
    """Find pairs of outlines that are the same, except that one is shifted by the GCJ-02 offset of Chinese web maps.

    A single outline does not show which datum it was drawn in. Two outlines do, if one matches the other after a shift
    by the offset at that place, which is hundreds of metres. Returns the places of the outline in WGS 84 and of its
    shifted copy; outlines that are None, empty or outside China are left out.
    """
    drawn = [(place, outline) for place, outline in enumerate(outlines) if outline is not None and not outline.is_empty]
    inside = [(place, outline) for place, outline in drawn if gcj02.in_china(shapely.get_coordinates(outline))]
    if not inside:
        return []
    places, shapes = [place for place, _ in inside], [outline for _, outline in inside]
    low = shapely.bounds(shapes)[:, :2]
    tree = shapely.STRtree([Point(corner) for corner in low])
    # The offset varies by metres over a site, so corners of boxes agree to some 20 m (2e-4 degrees).
    near = tree.query([Point(corner) for corner in gcj02.from_wgs84(low)], predicate="dwithin", distance=2e-4)
    pairs = []
    for i, j in near.T:
        if i == j or borders_tangled(shapes[i], shapes[j]):
            continue
        moved = shapely.transform(shapes[i], gcj02.from_wgs84)
        common = shapely.area(shapely.intersection(moved, shapes[j]))
        if common > SAME_OUTLINE_SHARE * shapely.area(shapely.union(moved, shapes[j])):
            pairs.append((places[i], places[j]))
    return pairs
