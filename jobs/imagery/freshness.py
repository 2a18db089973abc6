"""Offers of each source in a night, and whether one is stale: it offers nothing newer although it usually would."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from monitor.imagery.addresses import is_remote

if TYPE_CHECKING:
    from jobs.imagery.sources import Sources
    from jobs.runtime.settings import SourceSettings

STALE_AFTER: Final = 20  # age of the newest scene up to which a source is never stale [day]
RHYTHM: Final = timedelta(days=3 * 366)  # before its newest scene; the longest gap in it, e.g. a polar winter, is usual
MIN_DAYS: Final = 10  # fewest days with scenes in that period from which a usual gap is known


class SourceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Offer of a source in a night."""

    source: str  # name in logs
    provider: str  # host, or kind where it has none
    newest: date | None  # day of the newest scene that it offers over any site; None: it was down, or has none
    usual_gap: int | None  # longest time without a scene in the years before; None: unknown [day]
    scenes_new: int  # scenes stored by the night that came from it
    stale: bool  # whether it offers nothing newer although it usually would


def source_results(sources: "Sources", scenes_new: Mapping[str, int], as_of: date) -> list[SourceResult]:
    """Offers of the sources of a night, after they were searched; one that was down has no newest scene.

    `scenes_new`: scenes stored by the night, by source.
    """
    results = []
    for source, settings in sources.opened:
        days = set() if source.name in sources.down else sources.offered.get(source.name, set())
        newest = max(days, default=None)
        usual = usual_gap(days)
        stale = newest is not None and usual is not None and (as_of - newest).days > max(STALE_AFTER, usual)
        provider = urlsplit(settings.url or "").hostname or settings.kind
        results.append(SourceResult(
            source=source.name, provider=provider, newest=newest, usual_gap=usual,
            scenes_new=scenes_new.get(source.name, 0), stale=stale and _goes_on(settings),
        ))  # fmt: skip
    return results


def usual_gap(days: Collection[date]) -> int | None:
    """Longest time between days with scenes in :data:`RHYTHM` before the newest; None: there are too few. [day]"""
    lately = sorted(day for day in days if day >= max(days) - RHYTHM)
    return max((b - a).days for a, b in pairwise(lately)) if len(lately) >= MIN_DAYS else None


def _goes_on(settings: "SourceSettings") -> bool:
    """Whether new scenes are expected of a source: a provider on the network that is used without end."""
    remote = settings.kind == "earthengine" or (settings.kind == "stac" and is_remote(settings.url or ""))
    return remote and settings.until is None
