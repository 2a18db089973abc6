"""Open the sources of the settings, in order of preference, and search them together."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from shapely.geometry.base import BaseGeometry

from jobs.runtime.executor import worker_processes
from jobs.runtime.progress import SceneProgress
from jobs.runtime.secrets import secret
from jobs.runtime.settings import SourceSettings
from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.source import IsStored, Scene, Source

if TYPE_CHECKING:
    from monitor.imagery.earthengine.source import EarthEngine

log = structlog.get_logger()

EE_IN_FLIGHT = 20  # most requests to Earth Engine at one time (it allows 40), for a whole run


@dataclass(slots=True)
class Sources:
    """The sources of a run. One that is down is not searched again in the same run."""

    opened: list[tuple[Source, SourceSettings]]  # sources with their settings, in order of preference
    down: dict[str, str] = field(default_factory=dict)  # error of each source that is down, by its name
    read_failures: dict[str, str] = field(default_factory=dict)  # source that failed while reading, by layout
    offered: dict[str, set[date]] = field(default_factory=dict)  # days of all scenes offered, by source
    progress: SceneProgress = field(default_factory=SceneProgress)  # counts the scenes that are read in this process

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_worker, (tuple(settings for _, settings in self.opened),)

    @property
    def first(self) -> Source:
        """The preferred source: it determines grids and rings."""
        return self.opened[0][0]

    @property
    def all(self) -> list[Source]:
        """All sources in order of preference."""
        return [source for source, _ in self.opened]

    def by_name(self, name: str) -> Source:
        """The source with this name; raises StopIteration if none has it."""
        return next(source for source, _ in self.opened if source.name == name)

    def scene_read(self) -> None:
        """Count a scene that was read."""
        self.progress.count_read()

    def search(self, area: BaseGeometry, until: date, stored: IsStored | None = None) -> tuple[list[Scene], str]:
        """Scenes that the sources offer over an area (longitude, latitude [degree]), and why some were not searched.

        Scenes are in order of preference of their sources; `stored`: see :meth:`monitor.imagery.source.Source.search`.
        Raises TryLater if no source could be searched. Raises BadConfiguration if one refuses credentials or request.
        Raises UnknownCollection if no scene was returned, and a source lacks a configured collection.
        """
        scenes: list[Scene] = []
        searched = False
        for source, settings in self.opened:
            last = until if settings.until is None else min(until, settings.until)
            if last < settings.since:
                continue
            if source.name not in self.down:
                try:
                    found = source.search(area, settings.since, last, stored)
                    scenes += found
                    self.offered.setdefault(source.name, set()).update(scene.time.date() for scene in found)
                    searched = True
                except TryLater as error:
                    log.warning("source is down", source=source.name, error=str(error))
                    self.down[source.name] = str(error)
        errors = "; ".join(f"{name}: {why}" for name, why in self.down.items())
        if errors and not searched:
            raise TryLater(errors)
        if not scenes and not errors:
            for source in self.all:
                source.check_collections()
        return scenes, errors


def describe_sources(settings: Sequence[SourceSettings]) -> str:
    """Describe sources in words: kind, collections and days."""
    return "; ".join(
        chosen.kind
        + (f" ({', '.join(chosen.collections)})" if chosen.collections else "")
        + f" since {chosen.since}"
        + (f" until {chosen.until}" if chosen.until else "")
        for chosen in settings
    )


def open_sources(settings: Sequence[SourceSettings]) -> Sources:
    """Open the sources under distinct names; raises BadConfiguration if a setting is missing or not allowed."""
    opened: list[tuple[Source, SourceSettings]] = []
    for number, chosen in enumerate(settings, start=1):
        source = _open(chosen)
        if any(source.name == other.name for other, _ in opened):
            source.name = f"{source.name}-{number}"
        opened.append((source, chosen))
    return Sources(opened)


@lru_cache(maxsize=1)
def _in_worker(settings: tuple[SourceSettings, ...]) -> Sources:
    """The sources in a worker process, opened once there so that its tasks share connections and limits."""
    return open_sources(settings)


def _open(chosen: SourceSettings) -> Source:
    if chosen.kind == "sample":
        from monitor.imagery.sample import Sample

        return Sample(chosen.seed)
    if chosen.kind == "stac":
        if not chosen.url:
            raise BadConfiguration('[source] kind = "stac" needs url = "<an API, a catalogue, or a folder of items>"')
        from monitor.imagery.stac.buckets import ACCOUNT_CONNECTIONS, ACCOUNT_DOMAIN, S3Account
        from monitor.imagery.stac.source import MAX_REQUESTS_IN_FLIGHT, Stac

        needs_account = (urlsplit(chosen.url).hostname or "").endswith(ACCOUNT_DOMAIN)
        most = ACCOUNT_CONNECTIONS if needs_account else MAX_REQUESTS_IN_FLIGHT
        return Stac(
            chosen.url, collections=chosen.collections, allow_hosts=chosen.allow_hosts,
            account=S3Account(secret("S3_KEY") or "", secret("S3_SECRET") or ""),
            in_flight=max(1, most // worker_processes()),
        )  # fmt: skip
    return open_earth_engine(chosen)


def open_earth_engine(chosen: SourceSettings) -> "EarthEngine":
    """Open Earth Engine with the credentials of the environment, or raise BadConfiguration."""
    from monitor.imagery.earthengine.connection import connect
    from monitor.imagery.earthengine.source import EarthEngine

    key_file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    workers = worker_processes()
    connection = connect(
        project=chosen.project,
        url=chosen.url,
        token=secret("EE_TOKEN"),
        key_file=Path(key_file) if key_file else None,
        allow_hosts=chosen.allow_hosts,
        in_flight=max(1, EE_IN_FLIGHT // workers),
    )
    return EarthEngine(connection, collections=chosen.collections)
