"""A sheet for inspectors to fill in: random points inside each site, and what to measure there.

It has the columns of ``regrowth field add``. Day and value are empty; filled in, the sheet is added as it is.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadData
from monitor.series.field_rows import FIELD_COLUMNS, MIN_FACTOR_ROWS
from monitor.series.observations import csv_cell, marked
from monitor.sites.biomes import biome_of
from monitor.sites.site import Site

POINTS: Final = MIN_FACTOR_ROWS
"""Points in each site: with as many rows of cover its factor between index cover and field cover is estimated."""
_MOST_TRIES: Final = 1_000_000
"""Points after which an outline is given up: ten of them are in a site that fills a hundred thousandth of its box."""


def field_sheet(sites: Sequence[Site], *, seed: str) -> bytes:
    """CSV in UTF-8 with a line for each site, in their order, point and kind of measurement.

    The points follow from `seed`, whose beginning stands in the notes. Raises ``BadData`` where an outline is too
    narrow, see :func:`random_points`.
    """
    lines = [",".join(FIELD_COLUMNS)]
    for site in sites:
        for number, (lon, lat) in enumerate(random_points(site, POINTS, seed=seed), start=1):
            note = csv_cell(f"audit {seed[:12]}, point {number}")
            lines += [f"{csv_cell(site.id)},,{kind},,,{lon:.6f},{lat:.6f},{note}" for kind in kinds_to_measure(site)]
    return marked(("\n".join(lines) + "\n").encode())


def kinds_to_measure(site: Site) -> tuple[str, ...]:
    """Kinds of measurement that show whether the work of a site took hold.

    Cover everywhere, since the verdict is about cover. Where trees or shrubs were planted also the share that lives:
    it is seen years before their cover is. Where seedlings are to come up by themselves also their density.
    """
    if site.intervention == "planting" and (site.subtype or biome_of(site).planting) != "reseeding":
        return ("cover", "survival")
    if site.intervention == "assisted_regeneration" and site.subtype != "reseeding":
        return ("cover", "density")
    return ("cover",)


def random_points(site: Site, count: int, *, seed: str) -> list[tuple[float, float]]:
    """Random points of a site, each place equally likely: holes have none, parts have them by their area.

    A point is drawn in the boxes around the parts, by area on the sphere (longitude, and sine of the latitude), and
    counts if it is inside the part whose box it was drawn in; else another one is drawn. The numbers are those of
    Python's generator, which its documentation promises to keep, from `seed` and the id; a larger `count` begins with
    the same points.

    Returns longitude and latitude, WGS 84, six decimals (0.1 m). [degree] Raises ``BadData`` where the outline, a valid
    polygon or multipolygon, is so narrow that too few of a million points were inside it.
    """
    generator = Random(f"{seed}\n{site.id}")
    parts = [part for part in shapely.get_parts(site.geometry) if part.area > 0]
    shapely.prepare(parts)
    boxes = [_Box(part) for part in parts]
    ends = list(accumulate(box.area for box in boxes))
    points: list[tuple[float, float]] = []
    for _ in range(_MOST_TRIES):
        place = min(bisect_right(ends, generator.random() * ends[-1]), len(boxes) - 1)
        point = boxes[place].point(generator.random(), generator.random())
        if shapely.contains_xy(parts[place], *point):
            points.append(point)
            if len(points) == count:
                return points
    msg = f"site {site.id!r} is so narrow that hardly any random point lies inside it; choose its points by hand"
    raise BadData(msg)


class _Box:
    """Box around a part of a site, in longitude and sine of the latitude: areas are true there."""

    def __init__(self, part: BaseGeometry) -> None:
        self.west, south, east, north = part.bounds
        self.south = math.sin(math.radians(south))
        self.width, self.height = east - self.west, math.sin(math.radians(north)) - self.south

    @property
    def area(self) -> float:
        return self.width * self.height

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude of a place in the box, by two numbers from 0 to 1, to six decimals."""
        sine = min(max(self.south + y * self.height, -1.0), 1.0)
        return round(self.west + x * self.width, 6), round(math.degrees(math.asin(sine)), 6)
