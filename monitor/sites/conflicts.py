"""Find conflicts between sites of a registry: equal ids, overlapping outlines, and copies shifted by a web map."""

from collections import defaultdict

import numpy as np
import shapely

from monitor.sites.checked_feature import CheckedFeature
from monitor.sites.geometry import PIXEL_HECTARES, borders_tangled
from monitor.sites.names import comparable_id, shown
from monitor.sites.shared_ground import MAX_SLIVER_SHARE, SAME_OUTLINE_SHARE, shifted_copies

MAX_PAIRS = 100_000  # number of pairs of neighbouring sites that are compared; beyond it, one more pair for each site
MAX_REPORTED_OVERLAPS = 5  # number of overlaps that are reported for a site; the largest come first


def add_id_conflicts(entries: list[CheckedFeature]) -> None:
    """Add ``ID_DUPLICATE`` to every site whose id another one has too, whatever its case and Unicode form (NFKC)."""
    same = defaultdict(list)
    for entry in entries:
        if entry.site_id is not None:
            same[comparable_id(entry.site_id)].append(entry)
    for group in same.values():
        for entry in group if len(group) > 1 else ():
            others = [other for other in group if other is not entry][:5]
            places = ", ".join(f"{shown(other.site_id)} (feature {other.place})" for other in others)
            message = f"The id is used more than once, case and Unicode form apart: {places}."
            entry.add("ID_DUPLICATE", message, "Give each site an id of its own.")


def add_outline_conflicts(entries: list[CheckedFeature]) -> None:
    """Add a problem to sites that share ground or are a shifted copy of another; all `entries` have an outline."""
    outlines = np.array([entry.outline for entry in entries], dtype=object)
    tree = shapely.STRtree(outlines)
    neighbours: list[tuple[int, int]] = []
    for i, outline in enumerate(outlines):
        near = tree.query(outline)
        near = near[near > i] if len(neighbours) < MAX_PAIRS else near[near > i][:1]
        neighbours += [(i, int(j)) for j in near]
    neighbours = [(i, j) for i, j in neighbours if not _add_tangle(entries[i], entries[j])]
    pairs = np.array(neighbours, dtype=np.intp).reshape(-1, 2)
    shared = shapely.area(shapely.intersection(outlines[pairs[:, 0]], outlines[pairs[:, 1]]))
    areas = shapely.area(outlines)
    share = shared / np.minimum(areas[pairs[:, 0]], areas[pairs[:, 1]])
    for place in np.argsort(-share, kind="stable"):  # the largest first: not all may be reported
        (i, j), common = pairs[place], shared[place]
        if common > 0:
            _add_overlap(entries[i], entries[j], common / areas[i], common / areas[j])
    for i, j in shifted_copies([entry.outline for entry in entries]):
        for entry, other in ((entries[i], entries[j]), (entries[j], entries[i])):
            message = (
                f"This outline and that of site {other.label!r} differ by just the offset of Chinese web maps "
                f"(GCJ-02): {entries[j].label!r} seems to be the shifted one."
            )
            fix = "Check both on satellite imagery; convert the shifted one to WGS 84."
            entry.add("GCJ02_SUSPECTED", message, fix, refuses=False)


def _add_tangle(first: CheckedFeature, second: CheckedFeature) -> bool:
    """Refuse two sites whose borders cross too often to be intersected; whether they do."""
    if first.outline is None or second.outline is None or not borders_tangled(first.outline, second.outline):
        return False
    for entry, neighbour in ((first, second), (second, first)):
        message = f"Its border crosses that of site {neighbour.label!r} millions of times."
        entry.add("OVERLAP", message, "Draw the two outlines apart, with fewer points.")
    return True


def _add_overlap(first: CheckedFeature, second: CheckedFeature, of_first: float, of_second: float) -> None:
    """Report the ground that two sites share, as a share of each."""
    union = 1 / of_first + 1 / of_second - 1
    for entry, neighbour, share in ((first, second, of_first), (second, first, of_second)):
        entry.overlaps += 1
        if entry.overlaps > MAX_REPORTED_OVERLAPS:
            continue
        hectares = share * (entry.hectares or 0.0)
        if 1 / union >= SAME_OUTLINE_SHARE:
            message = f"The outline is the same as that of site {neighbour.label!r}."
            fix = "Keep one of the two; a later phase on the same ground is a new version, not a new site."
            entry.add("OUTLINE_DUPLICATE", message, fix)
        elif max(of_first, of_second) > MAX_SLIVER_SHARE:
            ground = f"{hectares:,.2f} ha ({share:.0%})"
            message = f"{ground} also belong to site {neighbour.label!r} and would count twice."
            entry.add("OVERLAP", message, "Cut the shared ground out of one of the two, or join them.")
        elif hectares >= PIXEL_HECTARES:
            message = f"{hectares:,.2f} ha along the edge also belong to site {neighbour.label!r}."
            fix = "Snap the two outlines together when next you edit them."
            entry.add("OVERLAP_SLIVER", message, fix, refuses=False)
