"""Cost of fetching scenes: for ``regrowth run --dry-run`` and the budget of Earth Engine."""

import math
from collections.abc import Sequence
from typing import Any

from odc.geo.geobox import GeoBox

from jobs.imagery.sources import Sources
from monitor.controls.selection import MAX_REFERENCES, UNITS_PER_RING
from monitor.cube.context_pictures import context_grid
from monitor.cube.overpass import Overpass
from monitor.imagery import bands
from monitor.ingest.control_choice import selection_scenes, task_candidates
from monitor.ingest.steps import COMMIT_SIZE, Step
from monitor.ingest.task import SiteTask

PICTURES_PER_BATCH = 3  # at most, of a site: the newest, that of the season, that before the start
MAX_UNITS = 2 * UNITS_PER_RING + MAX_REFERENCES  # most control units of a site whose units are not chosen yet


def estimate_cost(task: SiteTask, missing: Sequence[Overpass], grid: GeoBox, sources: Sources) -> dict[str, Any]:
    """Upper limit of what fetching the `missing` overpasses of a site requests, context pictures included.

    ``megabytes`` of pixels [MB], ``requests`` without searches, ``eecu_seconds`` [EECU s]; `requests` None where a
    source cannot know its cost beforehand, `eecu_seconds` where none can.
    """
    if task.controls is None:
        around = len(task_candidates(task, grid, sources.first.ring))
        # Scenes from which the control units are chosen are read twice: for the choice, then to be stored.
        choice = next(filter(None, selection_scenes(task, missing)), [])
        readings = [(overpass.granules, around) for overpass in choice]
        readings += [(overpass.granules, min(around, MAX_UNITS)) for overpass in missing]
    else:
        readings = [(overpass.granules, len(task.controls.units)) for overpass in missing]
    costs = []
    for source in sources.all:
        for units in sorted({units for _, units in readings}):
            number = sum(scene.source == source.name for scenes, n in readings if n == units for scene in scenes)
            batches = (min(COMMIT_SIZE, number - first) for first in range(0, number, COMMIT_SIZE))
            costs += [source.cost(size, grid, units) for size in batches]
    pictures = min(len(missing), PICTURES_PER_BATCH * math.ceil(len(missing) / COMMIT_SIZE))
    costs += [sources.first.cost(1, context_grid(task.site, grid), 0)] * pictures
    known = [cost for cost in costs if cost is not None]
    seconds = round(sum(cost.eecu_seconds for cost in known), 1)
    if len(known) < len(costs):
        pixels = sum(len(scenes) for scenes, _ in readings) * grid.shape[0] * grid.shape[1]
        megabytes = pixels * 2 * (len(bands.OBSERVED) + 1) / 1e6
        return {"megabytes": round(megabytes, 3), "requests": None, "eecu_seconds": seconds if known else None}
    return {
        "megabytes": round(sum(cost.megabytes for cost in known), 3),
        "requests": sum(cost.requests for cost in known),
        "eecu_seconds": seconds,
    }


def estimate_eecu_seconds(step: Step) -> float:
    """Computing time of Earth Engine that a step uses, an upper limit for its context pictures. [EECU s]"""
    costs = [
        reading.source.cost(len(reading.scenes), update.grid, len(step.units[update]))
        for reading in step.readings
        for update in reading.updates
    ]
    pictures = min(len(step.rows), PICTURES_PER_BATCH)
    costs += [step.sources.first.cost(1, context_grid(u.task.site, u.grid), 0) for u in step.updates] * pictures
    return sum(cost.eecu_seconds for cost in costs if cost is not None)
