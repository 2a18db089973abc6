"""Read and draw the context pictures of newly stored scenes."""

from collections.abc import Mapping, Sequence

import numpy as np
import structlog

from monitor.cube.context_pictures import is_clear_around, natural_colour, picture_candidates
from monitor.cube.packed import pack
from monitor.cube.records import Picture, SiteScene
from monitor.errors import SceneRejected, TryLater
from monitor.imagery.source import Scene
from monitor.ingest.site_update import SiteUpdate
from monitor.ingest.task import RankedSources
from monitor.sites.growing_season import GrowingSeason

log = structlog.get_logger()


def new_pictures(
    updates: Sequence[SiteUpdate], new: Mapping[str, Sequence[SiteScene]], sources: RankedSources
) -> dict[str, list[Picture]]:
    """Context pictures of the `new` scenes of a landscape's sites, both by ground key; unreadable ones are left out."""
    requests: dict[tuple[str, str], tuple[Scene, list[tuple[SiteUpdate, str, str]]]] = {}
    stored: dict[str, dict[str, Picture]] = {}
    for update in updates:
        ground = update.task.ground
        if not update.alive or not new.get(ground):
            continue
        stored[ground] = update.store.pictures(pixels=False)
        site = update.task.site
        candidates = picture_candidates(
            new[ground], stored[ground], start=site.start, season=GrowingSeason.of(site)
        )  # fmt: skip
        for name, one in candidates.items():
            scene = one.scene
            requests.setdefault((scene.source, scene.id), (scene, []))[1].append((update, name, scene.time.isoformat()))
    pictures: dict[str, list[Picture]] = {}
    for scene, wanted in requests.values():
        drawn = _draw(scene, [update for update, _, _ in wanted], sources)
        for update, name, time in wanted if drawn else ():
            ground = update.task.ground
            rgb, clear = drawn[ground]
            if rgb.shape[:2] != update.store.context.shape:
                log.warning("no context picture of a scene", scene=scene.id, why="its shape is not the requested one")
            elif name != "now" or is_clear_around(clear, float(rgb.any(axis=2).mean()), stored[ground]):
                pictures.setdefault(ground, []).append(Picture(name=name, time=time, clear=clear, rgb=rgb))
    return pictures


def _draw(scene: Scene, updates: Sequence[SiteUpdate], sources: RankedSources) -> dict[str, tuple[np.ndarray, float]]:
    """Picture and clear share of a scene for each site, by ground key; empty if the scene cannot be read."""
    grids = {update.task.ground: update.store.context for update in updates}
    try:
        (frames,) = sources.by_name(scene.source).read([scene], list(grids.values()))
        if isinstance(frames, SceneRejected):
            return {}
        return {ground: natural_colour(pack(frame, scene), scene) for ground, frame in zip(grids, frames, strict=True)}
    except (SceneRejected, TryLater) as error:
        log.warning("no context picture of a scene", scene=scene.id, why=str(error))
    except Exception:  # pictures are for people only: an error in one stops nothing
        log.exception("a bug in a context picture", scene=scene.id)
    return {}
