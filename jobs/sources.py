"""Sources from the settings, in order of preference."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from shapely.geometry.base import BaseGeometry

from jobs.executor import worker_processes
from jobs.settings import SourceSettings
from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.source import IsStored, Scene, Source

if TYPE_CHECKING:
    from monitor.imagery.earthengine.source import EarthEngine

log = structlog.get_logger()

IN_FLIGHT, A_MINUTE = 20, 3000
"""Most requests to Earth Engine at one time (it allows 40) and in a minute (6,000), for a whole run."""


@dataclass(slots=True)
class Sources:
    """The sources of a run. One that is down is not asked again in the same run."""

    opened: list[tuple[Source, SourceSettings]]
    down: dict[str, str] = field(default_factory=dict)
    """What a source that is down said, by name."""
    read_failures: dict[str, str] = field(default_factory=dict)
    """What a source said that went down while scenes were read, by the name of the layout that they were read for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_worker, (tuple(settings for _, settings in self.opened),)

    @property
    def first(self) -> Source:
        """The preferred one: it gives grids and rings."""
        return self.opened[0][0]

    @property
    def all(self) -> list[Source]:
        """In order of preference."""
        return [source for source, _ in self.opened]

    def by_name(self, name: str) -> Source:
        """The source of a name."""
        return next(source for source, _ in self.opened if source.name == name)

    def search(self, area: BaseGeometry, until: date, stored: IsStored | None = None) -> tuple[list[Scene], str]:
        """What all sources offer over an area, in order of preference, and why some could not be asked.

        What is `stored` need not be looked at, see :meth:`monitor.imagery.source.Source.search`.

        Raises
        ------
        TryLater
            None could be asked.
        UnknownCollection
            Nothing at all was found, and a source does not have a collection that is asked for.
        """
        found: list[Scene] = []
        asked = False
        for source, settings in self.opened:
            last = until if settings.until is None else min(until, settings.until)
            if last < settings.since:
                continue
            if source.name not in self.down:
                try:
                    found += source.search(area, settings.since, last, stored)
                    asked = True
                except TryLater as error:
                    log.warning("source is down", source=source.name, error=str(error))
                    self.down[source.name] = str(error)
        told = "; ".join(f"{name}: {why}" for name, why in self.down.items())
        if told and not asked:
            raise TryLater(told)
        if not found and not told:
            for source in self.all:
                source.check_collections()
        return found, told


def describe_sources(settings: Sequence[SourceSettings]) -> str:
    """Sources in words: kind, collections and days that are asked for."""
    return "; ".join(
        " ".join([
            chosen.kind,
            *([f"({', '.join(chosen.collections)})"] if chosen.collections else ()),
            f"since {chosen.since}",
            *([f"until {chosen.until}"] if chosen.until else ()),
        ])
        for chosen in settings
    )  # fmt: skip


def open_sources(settings: Sequence[SourceSettings]) -> Sources:
    """The sources that scenes are taken from.

    Raises
    ------
    BadConfiguration
        A source lacks what it needs.
    """
    opened: list[tuple[Source, SourceSettings]] = []
    for number, chosen in enumerate(settings, start=1):
        source = _open(chosen)
        if any(source.name == other.name for other, _ in opened):
            source.name = f"{source.name}-{number}"
        opened.append((source, chosen))
    return Sources(opened)


@lru_cache(maxsize=1)
def _in_worker(settings: tuple[SourceSettings, ...]) -> Sources:
    """The same sources in a worker process, opened once there."""
    return open_sources(settings)


def _open(chosen: SourceSettings) -> Source:
    if chosen.kind == "sample":
        from monitor.imagery.sample import Sample

        return Sample(chosen.seed)
    if chosen.kind == "stac":
        if not chosen.url:
            msg = '[source] kind = "stac" needs url = "<an API, a catalogue, or a folder of items>"'
            raise BadConfiguration(msg)
        from monitor.imagery.stac.source import MAX_REQUESTS_IN_FLIGHT, Stac

        return Stac(
            chosen.url, collections=chosen.collections, allow_hosts=chosen.allow_hosts,
            in_flight=max(1, MAX_REQUESTS_IN_FLIGHT // worker_processes()),
        )  # fmt: skip
    return open_earth_engine(chosen)


def open_earth_engine(chosen: SourceSettings) -> "EarthEngine":
    """Earth Engine, with the credentials of the environment."""
    from monitor.imagery.earthengine.source import EarthEngine

    key_file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    share = worker_processes()
    return EarthEngine(
        project=chosen.project,
        url=chosen.url,
        collections=chosen.collections,
        allow_hosts=chosen.allow_hosts,
        token=secret("REGROWTH_EE_TOKEN"),
        key_file=Path(key_file) if key_file else None,
        in_flight=max(1, IN_FLIGHT // share),
        a_minute=max(1, A_MINUTE // share),
    )


def secret(name: str) -> str | None:
    """A secret from the environment, or from the file that ``<name>_FILE`` names; None: there is none.

    Raises
    ------
    BadConfiguration
        The file cannot be read.
    """
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value or not file:
        return value or None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{name}_FILE names a file that cannot be read ({type(error).__name__}); put the secret there"
        raise BadConfiguration(msg) from error
