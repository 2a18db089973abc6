"""Data for the script of the index: scripts that set one constant each, since pages opened from a file fetch nothing.

Texts stay texts: they are JSON without ``<`` and line separators, and the script writes them as text only.
"""

import json
import math
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from monitor.alerts import words
from monitor.publish.index.programme_view import ProgrammeView
from monitor.sites.site import Site

COLUMNS: Final = (
    "id", "name", "name_zh", "folder", "status", "alert", "finding", "theta", "low", "high", "hectares", "seen",
    "province", "partner", "lot", "manager", "lon", "lat", "size",
)  # fmt: skip
"""Columns of the rows of ``SITES``. Those in ``lists`` are places in these lists, -1 for none; a position is that of a
point inside; ``size`` is the longer side of the outline [m]."""
STEP: Final = 1e-5  # unit of coordinates: about a metre [degree]
SIMPLIFIED: Final = 0.02
"""Largest distance of a drawn outline from the true one, as a share of the size of the site. [1]"""


class Places[Value: Hashable](dict[Value, int]):
    """Place of each value in the list of distinct ones; -1 for None."""

    def __call__(self, value: Value | None) -> int:
        """Place of a value, which is added if it is new."""
        return -1 if value is None else self.setdefault(value, len(self))


def sites_script(view: ProgrammeView) -> bytes:
    """``const SITES``: the columns and the rows, worst first."""
    statuses, alerts, findings, provinces, partners, lots, managers = (Places[Any]() for _ in range(7))
    places, sizes = _positions([site for site, _ in view.ordered])
    rows = [
        [
            row.id, row.name["en"] if row.name["en"] != row.id else 0,
            row.name["zh"] if row.name["zh"] != row.name["en"] else 0, row.folder if row.folder != row.id else 0,
            statuses(row.status), alerts(row.alert), findings(row.finding), row.theta, row.low, row.high,
            round(row.hectares, 2), row.seen and row.seen.isoformat(), provinces(row.province), partners(row.partner),
            lots(row.lot), managers(row.manager), lon, lat, size,
        ]
        for row, (lon, lat), size in zip(view.sites, places, sizes, strict=True)
    ]  # fmt: skip
    content = {
        "columns": COLUMNS,
        "lists": {
            "status": list(statuses),
            "alert": [[one.level, [one.badge(language) for language in words.LANGUAGES]] for one in alerts],
            "finding": list(findings), "province": list(provinces), "partner": list(partners),
            "lot": [[lot.id, lot.partner, lot.programme_year, lot.intervention] for lot in lots],
            "manager": list(managers),
        },
    }  # fmt: skip
    head, lines = script_json(content), ",\n".join(map(script_json, rows))
    return f'const SITES={head[:-1]},"rows":[\n{lines}\n]}};\n'.encode("utf-8", "replace")


def outlines_script(view: ProgrammeView) -> bytes:
    """``const OUTLINES``: the rings of each site by its id, each a list of numbers [:data:`STEP`].

    A ring begins with its first point, longitude and latitude; the others follow as steps from the one before. They go
    by id, not by the row of ``SITES``: a page that is open while a night publishes reads ``SITES`` of the night before.
    """
    outlines = sorted((row.id, site.geometry) for (site, _), row in zip(view.ordered, view.sites, strict=True))
    lines = ",\n".join(script_json([site, _rings(geometry)]) for site, geometry in outlines)
    return f"const OUTLINES=new Map([\n{lines}\n]);\n".encode("utf-8", "replace")


def script_json(value: Any) -> str:
    """JSON that cannot end the script element or the line that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _positions(sites: Sequence[Site]) -> tuple[list[list[float]], list[int]]:
    """Longitude and latitude [degree] of a point inside each site, and the longer side of its outline [m]."""
    geometries = np.array([site.geometry for site in sites], dtype=object)
    if not sites:
        return [], []
    points = np.round(shapely.get_coordinates(shapely.point_on_surface(geometries)), 5)
    west, south, east, north = shapely.bounds(geometries).T
    across = (east - west) * np.cos(np.radians((south + north) / 2))
    sizes = np.maximum(across, north - south) * 111_200
    return points.tolist(), [max(1, round(size)) for size in sizes.tolist()]


def _rings(geometry: BaseGeometry) -> list[list[int]]:
    west, south, east, north = geometry.bounds
    size = max((east - west) * math.cos(math.radians((south + north) / 2)), north - south)
    plain = geometry.simplify(SIMPLIFIED * size)
    if plain.is_empty:
        plain = geometry
    rings = []
    for polygon in getattr(plain, "geoms", [plain]):
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.round(shapely.get_coordinates(ring)[:-1] / STEP).astype(np.int64)
            rings.append([*points[0].tolist(), *np.diff(points, axis=0).ravel().tolist()])
    return rings
