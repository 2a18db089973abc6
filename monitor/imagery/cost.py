"""Estimate what reading scenes will request from the sources, before anything is requested."""

from collections.abc import Sequence
from typing import Any

from odc.geo.geobox import GeoBox

from monitor.imagery import bands
from monitor.imagery.source import Cost, Scene, Source


def reading_costs(
    sources: Sequence[Source], readings: Sequence[tuple[Sequence[Scene], int]], grid: GeoBox, *, batch: int
) -> list[Cost | None]:
    """Cost of reading the scenes of a site, for each batch of scenes that is read together.

    Parameters
    ----------
    sources : sequence of Source
        That offer the scenes.
    readings : sequence of (scenes, int)
        Scenes of each overpass, and the number of units averaged in them.
    grid : GeoBox
        Of the site.
    batch : int
        Most scenes of a batch.

    Returns
    -------
    list of Cost or None
        None where the source cannot know the cost beforehand.
    """
    costs: list[Cost | None] = []
    for source in sources:
        for units in sorted({units for _, units in readings}):
            number = sum(scene.source == source.name for scenes, n in readings if n == units for scene in scenes)
            costs += [source.cost(min(batch, number - first), grid, units) for first in range(0, number, batch)]
    return costs


def pixel_megabytes(scenes: int, grid: GeoBox) -> float:
    """Size of all layers of scenes on a grid, two bytes a pixel. [MB]"""
    height, width = grid.shape
    return float(scenes * height * width * 2 * (len(bands.OBSERVED) + 1) / 1e6)


def total_cost(costs: Sequence[Cost | None], *, megabytes: float) -> dict[str, Any]:
    """Sum costs for a report.

    Parameters
    ----------
    costs : sequence of Cost or None
        Of all batches; None: unknown.
    megabytes : float
        Size of the pixels, for the case that a cost is unknown. [MB]

    Returns
    -------
    dict
        ``megabytes`` [MB], ``requests`` without searches, ``eecu_seconds`` [EECU s]; the last two None where a cost
        is unknown.
    """
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return {"megabytes": round(megabytes, 3), "requests": None, "eecu_seconds": None}
    return {
        "megabytes": round(sum(cost.megabytes for cost in known), 3),
        "requests": sum(cost.requests for cost in known),
        "eecu_seconds": round(sum(cost.eecu_seconds for cost in known), 1),
    }
