"""Named controls: control ground that people outline in a file, instead of a ring around the site.

What lies within the outline of a site are its strips: ground left untreated to compare with. It is control ground like
any other and no part of the site: not judged, not in its hectares.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.errors import BadData
from monitor.sites.checked_feature import CheckedFeature
from monitor.sites.formats.reader import read_features
from monitor.sites.geometry import PIXEL_HECTARES, check_outline, geodesic_hectares
from monitor.sites.names import shown
from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import site_version

MIN_PIXELS: Final = 10  # least of a site without its strips, and of the control ground of one with strips [pixel]
PIXEL_SIDE: Final = 10.0  # [m]
SURROUNDINGS: Final = 20.0  # larger ground than the site by this factor surrounds it: no strips of the site [1]
NEARBY: Final = 0.1  # distance within which ground for all sites counts for one: about the ring around it [degree]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedControl:
    """One polygon in which control units are chosen."""

    geometry: BaseGeometry = field(repr=False)  # longitude and latitude [degree]
    site: str | None  # id of the site that it is for; None: every site nearby


def read_named_controls(path: Path, *, sites: Collection[str] | None) -> list[NamedControl]:
    """Read a file of named controls, in any format of a registry and with its checks; each polygon is one.

    The property ``site`` is optional, others are ignored; `sites` are the known site ids, None: any may be named.
    BadData for the first outline that is invalid or names an unknown site; FileRefused for the file.
    """
    controls = []
    for number, feature in enumerate(read_features(path), start=1):
        site = CheckedFeature(feature=feature, place=number, properties=dict(feature.properties)).text("site")
        where = f"{path.name}, control ground {number}"
        if site is not None and sites is not None and site not in sites:
            fix = "Leave 'site' empty for ground that is for all."
            raise BadData(f"{where}: there is no site {unknown_site(site, sites)} {fix}")
        outline = check_outline(feature)
        refused = next((p for p in outline.problems if p.refuses), None)
        if refused is not None or outline.geometry is None:
            problem = f"{refused.message} {refused.fix}" if refused else "it has no outline."
            raise BadData(f"{where}: {problem}")
        controls += [NamedControl(geometry=part, site=site) for part in shapely.get_parts(outline.geometry)]
    return controls


def unknown_site(site: str, sites: Collection[str]) -> str:
    """The id of an unknown site as messages quote it, with the nearest of the known ones."""
    near = get_close_matches(site, sites, n=1)
    return f"{shown(site)}{f'; did you mean {near[0]!r}?' if near else '.'}"


def leave_out_strips(entries: Sequence[CheckedFeature], controls: Sequence[NamedControl]) -> None:
    """Cut the named control ground out of the sites in which it lies, each with a problem that says so.

    Outline and hectares of the sites are changed in place. ``STRIPS_COVER_SITE`` refuses a site of which fewer than ten
    pixels are left, or of whose whole pixels fewer than ten and than half are; ``STRIPS_TOO_SMALL`` one whose control
    ground, strips and all, holds fewer than ten whole pixels.
    """
    tree = shapely.STRtree([control.geometry for control in controls])
    for entry in entries:
        site = entry.site
        if site is None or entry.outline is None:
            continue
        near = [controls[i] for i in sorted(tree.query(entry.outline, predicate="intersects"))]
        for_it = [
            control.geometry for control in near
            if control.site in (None, site.id) and control.geometry.area <= SURROUNDINGS * entry.outline.area
        ]  # fmt: skip
        strips = unary_union(for_it).intersection(entry.outline) if for_it else None
        if strips is None or not strips.area > 0:
            continue
        left = shapely.orient_polygons(_polygons(entry.outline.difference(strips)))
        within, hectares = geodesic_hectares(_polygons(strips)), geodesic_hectares(left)
        own = [control.geometry for control in controls if control.site == site.id]
        common = [controls[i] for i in tree.query(entry.outline, predicate="dwithin", distance=NEARBY)]
        ground = own or [control.geometry for control in common if control.site is None]
        enough = min(MIN_PIXELS, _whole_pixels(entry.outline) / 2)  # a narrow site has few whole ones anyway
        if hectares < MIN_PIXELS * PIXEL_HECTARES or _whole_pixels(left) < enough:
            areas = f"of {within + hectares:,.2f} ha only {hectares:,.2f} are left to judge"
            message = f"Control strips cover the site: {areas}."
            entry.add("STRIPS_COVER_SITE", message, "Draw the strips narrower, or correct the site that they are for.")
        elif _whole_pixels(unary_union(ground)) < MIN_PIXELS:
            message = f"Its control strips hold fewer than {MIN_PIXELS} whole pixels of 10 m."
            fix = "Draw them at least 20 m wide, and some 100 m long in all; 30 m wide or more is better."
            entry.add("STRIPS_TOO_SMALL", message, fix)
        else:
            strip = f"{within:,.2f} ha of control strips are compared with, not judged"
            message = f"{strip}; {hectares:,.2f} ha are judged."
            entry.add("STRIPS", message, "Nothing need be done.", refuses=False)
            cut = replace(site, geometry=left, hectares=hectares)
            entry.site, entry.hectares = replace(cut, version=site_version(cut)), hectares


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of a geometry, without the lines and points at which two outlines touch."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _whole_pixels(ground: BaseGeometry) -> float:
    """Number of pixels that are wholly inside, on average over the lattices."""
    inner = projected(ground, utm_zone(ground)).buffer(-PIXEL_SIDE / 2, join_style="mitre")
    return float(inner.area) / PIXEL_SIDE**2


def named_controls_near(
    controls: Sequence[NamedControl], site: str, area: BaseGeometry
) -> tuple[BaseGeometry, ...] | None:
    """Outlines of the controls for a site, else of those for all that touch `area`, its surroundings; None: none."""
    own = tuple(control.geometry for control in controls if control.site == site)
    common = tuple(c.geometry for c in controls if c.site is None and c.geometry.intersects(area))
    return own or common or None
