"""What the reading of a site will ask its sources for, before it is asked: for ``regrowth run --dry-run``."""

import math
from collections.abc import Sequence
from typing import Any

from odc.geo.geobox import GeoBox
from shapely.ops import unary_union

from jobs.fetch import COMMIT_SIZE, SiteTask, selection_scenes
from jobs.sources import Sources
from monitor.controls.selection import MAX_REFERENCES, UNITS_PER_RING, candidate_units
from monitor.cube.context_pictures import context_grid
from monitor.cube.overpass import Overpass
from monitor.imagery import bands
from monitor.imagery.source import Cost

PICTURES = 3
"""Context pictures of a site in a batch of scenes, at most: the newest, that of the season, that before the start."""
MOST_UNITS = 2 * UNITS_PER_RING + MAX_REFERENCES
"""Of a site whose units are not chosen yet."""
LAYERS = len(bands.OBSERVED) + 1
"""Read of each pixel, two bytes each."""


def estimate_cost(task: SiteTask, left: Sequence[Overpass], grid: GeoBox, sources: Sources) -> dict[str, Any]:
    """What reading the scenes left to do of a site asks for, at most: of few scenes a context picture is taken too.

    Returns
    -------
    dict
        ``megabytes`` of pixels [MB], ``requests`` besides searches, ``eecu_seconds`` [EECU s]; the last two None where
        its sources cannot tell beforehand.
    """
    if task.controls is None:
        covered = unary_union([scene.footprint for scene in task.offered if scene.footprint is not None])
        others = [outline for outline, _ in task.others]
        around = len(
            candidate_units(task.site.geometry, others, grid, sources.first.ring, covered=covered, within=task.within)
        )
        # Scenes that the control units are chosen on are read twice: for that, then to be kept.
        looks = [(one, around) for one in next(filter(None, selection_scenes(task, left)), [])]
        looks += [(one, min(around, MOST_UNITS)) for one in left]
    else:
        looks = [(one, len(task.controls.units)) for one in left]
    costs: list[Cost | None] = []
    for source in sources.all:
        for units in sorted({units for _, units in looks}):
            scenes = sum(scene.source == source.name for one, n in looks if n == units for scene in one.granules)
            costs += [
                source.cost(min(COMMIT_SIZE, scenes - first), grid, units) for first in range(0, scenes, COMMIT_SIZE)
            ]
    pictures = min(len(left), PICTURES * math.ceil(len(left) / COMMIT_SIZE))
    costs += [sources.first.cost(1, context_grid(task.site, grid), 0)] * pictures
    known = [cost for cost in costs if cost is not None]
    whole = len(known) == len(costs)
    pixels = sum(len(one.granules) for one, _ in looks) * grid.shape[0] * grid.shape[1] * 2 * LAYERS / 1e6
    return {
        "megabytes": round(sum(cost.megabytes for cost in known) if whole else pixels, 3),
        "requests": sum(cost.requests for cost in known) if whole else None,
        "eecu_seconds": round(sum(cost.eecu_seconds for cost in known), 1) if whole else None,
    }
