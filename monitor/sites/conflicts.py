"""Find conflicts between sites of a registry: equal ids, overlapping outlines, and copies shifted by a web map."""

from collections import defaultdict

import numpy as np
import shapely
from shapely.geometry import Point

from monitor.sites import gcj02
from monitor.sites.draft import SiteDraft, shown
from monitor.sites.geometry import PIXEL_HECTARES, borders_tangled
from monitor.sites.names import comparable_id

MAX_SLIVER_SHARE = 0.05
"""Share of the smaller site up to which an overlap is taken for inaccurate drawing; more counts ground twice. [1]"""
SAME_OUTLINE_SHARE = 0.99
"""Intersection over union from which two outlines are the same. [1]"""
MAX_PAIRS = 100_000
"""Number of pairs of neighbouring sites that are compared; beyond it, one more pair for each site."""
MAX_REPORTED_OVERLAPS = 5
"""Number of overlaps that are reported for a site; the largest come first."""


def add_id_conflicts(drafts: list[SiteDraft]) -> None:
    """Add a problem to every site whose id another site has too; case and Unicode form make no difference."""
    same = defaultdict(list)
    for draft in drafts:
        if draft.site_id is not None:
            same[comparable_id(draft.site_id)].append(draft)
    for group in same.values():
        if len(group) == 1:
            continue
        for draft in group:
            others = [other for other in group if other is not draft][:5]
            places = ", ".join(f"{shown(other.site_id)} (feature {other.place})" for other in others)
            draft.add(
                "ID_DUPLICATE",
                f"The id is used more than once, case and Unicode form apart: {places}.",
                "Give each site an id of its own.",
            )


def add_outline_conflicts(drafts: list[SiteDraft]) -> None:
    """Add a problem to sites that share ground, and to those that are a shifted copy of another.

    Parameters
    ----------
    drafts : list of SiteDraft
        Sites with an outline.
    """
    outlines = np.array([draft.outline for draft in drafts], dtype=object)
    tree = shapely.STRtree(outlines)
    neighbours: list[tuple[int, int]] = []
    for i, outline in enumerate(outlines):
        near = tree.query(outline)
        near = near[near > i] if len(neighbours) < MAX_PAIRS else near[near > i][:1]
        neighbours += [(i, int(j)) for j in near]
    neighbours = [(i, j) for i, j in neighbours if not _add_tangle(drafts[i], drafts[j])]
    pairs = np.array(neighbours, dtype=np.intp).reshape(-1, 2)
    shared = shapely.area(shapely.intersection(outlines[pairs[:, 0]], outlines[pairs[:, 1]]))
    areas = shapely.area(outlines)
    share = shared / np.minimum(areas[pairs[:, 0]], areas[pairs[:, 1]])
    for place in np.argsort(-share, kind="stable"):  # the largest first: not all may be reported
        (i, j), common = pairs[place], shared[place]
        if common > 0:
            _add_overlap(drafts[i], drafts[j], common / areas[i], common / areas[j])
    _add_shifts(drafts)


def _add_tangle(first: SiteDraft, second: SiteDraft) -> bool:
    """Refuse two sites whose borders cross too often to be intersected; whether they do."""
    if first.outline is None or second.outline is None or not borders_tangled(first.outline, second.outline):
        return False
    for draft, neighbour in ((first, second), (second, first)):
        draft.add(
            "OVERLAP",
            f"Its border crosses that of site {neighbour.label!r} millions of times.",
            "Draw the two outlines apart, with fewer points.",
        )
    return True


def _add_overlap(first: SiteDraft, second: SiteDraft, of_first: float, of_second: float) -> None:
    """Report the ground that two sites share, as a share of each."""
    union = 1 / of_first + 1 / of_second - 1
    for draft, neighbour, share in ((first, second, of_first), (second, first, of_second)):
        draft.overlaps += 1
        if draft.overlaps > MAX_REPORTED_OVERLAPS:
            continue
        hectares = share * (draft.hectares or 0.0)
        if 1 / union >= SAME_OUTLINE_SHARE:
            draft.add(
                "OUTLINE_DUPLICATE",
                f"The outline is the same as that of site {neighbour.label!r}.",
                "Keep one of the two; a later phase on the same ground is a new version, not a new site.",
            )
        elif max(of_first, of_second) > MAX_SLIVER_SHARE:
            draft.add(
                "OVERLAP",
                f"{hectares:,.2f} ha ({share:.0%}) also belong to site {neighbour.label!r} and would count twice.",
                "Cut the shared ground out of one of the two, or join them.",
            )
        elif hectares >= PIXEL_HECTARES:
            draft.add(
                "OVERLAP_SLIVER",
                f"{hectares:,.2f} ha along the edge also belong to site {neighbour.label!r}.",
                "Snap the two outlines together when next you edit them.",
                refuses=False,
            )


def _add_shifts(drafts: list[SiteDraft]) -> None:
    """Report pairs of sites of which one is the other shifted by the GCJ-02 offset.

    One outline does not reveal its datum, but two do: it is no coincidence if they agree after a shift by exactly the
    offset, hundreds of metres, at that place.
    """
    drafts = [draft for draft in drafts if all(gcj02.in_china(rings[0]) for rings in draft.feature.polygons)]
    if not drafts:
        return
    low = shapely.bounds([draft.outline for draft in drafts])[:, :2]
    tree = shapely.STRtree([Point(corner) for corner in low])
    # The offset varies by metres over a site, so corners of boxes agree to some 20 m (2e-4 degrees).
    near = tree.query([Point(corner) for corner in gcj02.from_wgs84(low)], predicate="dwithin", distance=2e-4)
    for i, j in near.T:
        if i == j or borders_tangled(drafts[i].outline, drafts[j].outline):
            continue
        moved = shapely.transform(drafts[i].outline, gcj02.from_wgs84)
        common = shapely.area(shapely.intersection(moved, drafts[j].outline))
        if common > SAME_OUTLINE_SHARE * shapely.area(shapely.union(moved, drafts[j].outline)):
            for draft, other in ((drafts[i], drafts[j]), (drafts[j], drafts[i])):
                draft.add(
                    "GCJ02_SUSPECTED",
                    f"This outline and that of site {other.label!r} differ by just the offset of Chinese web maps "
                    f"(GCJ-02): {drafts[j].label!r} seems to be the shifted one.",
                    "Check both on satellite imagery; convert the shifted one to WGS 84.",
                    refuses=False,
                )
