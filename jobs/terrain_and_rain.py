"""Terrain and rain of the sites: what is known of the ground beside its imagery. Optional, and never fatal."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import structlog

from jobs.settings import Settings, SourceSettings, TerrainSettings
from jobs.sources import open_earth_engine
from monitor.errors import BadConfiguration, MonitorError
from monitor.imagery.auxiliary.rainfall import DailyRain, LocalRain, RainfallProduct, anomaly, merge_rain
from monitor.imagery.auxiliary.terrain import ElevationModel, LocalElevation
from monitor.ledger.ledger import Ledger
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site, ground_key
from monitor.verdict.reasons import Reason

log = structlog.get_logger()

YEARS_BEFORE: Final = 15
"""Of rain before the start that say what is usual. [year]"""
AGAIN: Final = timedelta(days=60)
"""Products correct their newest days: so many are asked for again."""


def elevation_model(chosen: TerrainSettings, sources: Sequence[SourceSettings]) -> ElevationModel | None:
    """The elevation model of ``[terrain]``; None: there is none.

    Raises
    ------
    BadConfiguration
        It names a model that no source has.
    """
    if chosen.path is not None:
        return LocalElevation(chosen.path)
    if chosen.collection is None:
        return None
    if chosen.collection.startswith("COPERNICUS/"):
        from monitor.imagery.auxiliary.earthengine import EarthEngineElevation

        return EarthEngineElevation(
            open_earth_engine(_source(sources, "earthengine", "[terrain] collection")).connection
        )
    from monitor.imagery.auxiliary.stac import StacElevation

    source = _source(sources, "stac", "[terrain] url") if chosen.url is None else None
    url = chosen.url or (source.url if source else None) or ""
    hosts = [host for one in sources if one.kind == "stac" for host in one.allow_hosts]
    return StacElevation(url, collection=chosen.collection, allow_hosts=hosts)


def rain_reasons(settings: Settings, ledger: Ledger, sites: Sequence[Site], *, as_of: date) -> dict[str, Reason | None]:
    """By site what the rain of the season adds to the reasons of a verdict: that it is low, or not known."""
    known: dict[str, DailyRain | None] = dict.fromkeys((site.id for site in sites), None)
    try:
        product = _rainfall(settings)
        if product is not None:
            known |= _rain(product, settings, ledger, sites, as_of=as_of)
    except BadConfiguration:
        raise
    except MonitorError as error:
        log.warning("rain is not known tonight", error=str(error))
    found: dict[str, Reason | None] = {}
    for site in sites:
        rain, window = known[site.id], GrowingSeason.of(site)
        if rain is None:
            found[site.id] = Reason.RAIN_UNKNOWN
            continue
        told = anomaly(rain, opens=window.opens, length=window.length, start=site.start, as_of=as_of)
        low = Reason.RAIN_LOW if told.code == "DROUGHT" else None
        found[site.id] = Reason.RAIN_UNKNOWN if told.z is None else low
    return found


def _rain(
    product: RainfallProduct, settings: Settings, ledger: Ledger, sites: Sequence[Site], *, as_of: date
) -> dict[str, DailyRain | None]:
    """Rain of each site up to a day. What comes over the network is kept in the ledger and only extended."""
    points = [(site.geometry.centroid.x, site.geometry.centroid.y) for site in sites]
    since = {site.id: date(site.start.year - YEARS_BEFORE, 1, 1) for site in sites}
    if settings.rain.path is not None:
        found = product.at(points, since=min(since.values()), until=as_of)
        return {site.id: rain for site, rain in zip(sites, found, strict=True)}
    with ledger.reading() as t:
        known = t.all_ground_data("rain")
        kept = {site.id: known.get(ground_key(site)) for site in sites}
    stored = {site: None if values is None else DailyRain.from_json(values) for site, values in kept.items()}
    rains: dict[str, DailyRain | None] = {}
    groups: dict[date, list[int]] = {}
    for number, site in enumerate(sites):
        before = stored[site.id]
        groups.setdefault(since[site.id] if before is None else before.last - AGAIN, []).append(number)
    for first, members in groups.items():
        for number, later in zip(
            members, product.at([points[n] for n in members], since=first, until=as_of), strict=True
        ):
            before = stored[sites[number].id]
            rains[sites[number].id] = merge_rain(before, later) if before and later else later or before
    with ledger.transaction() as t:
        for site in sites:
            rain = rains[site.id]
            if rain is not None and (values := rain.to_json()) != kept[site.id]:
                t.save_ground_data(ground_key(site), "rain", values)
    return rains


def _rainfall(settings: Settings) -> RainfallProduct | None:
    chosen = settings.rain
    if chosen.path is not None:
        return LocalRain(chosen.path, chosen.variable)
    if chosen.collection is None:
        return None
    from monitor.imagery.auxiliary.earthengine import EarthEngineRain

    return EarthEngineRain(open_earth_engine(_source(settings.source, "earthengine", "[rain] collection")).connection)


def _source(sources: Sequence[SourceSettings], kind: str, what: str) -> SourceSettings:
    for source in sources:
        if source.kind == kind:
            return source
    msg = f'{what} needs a [source] of kind = "{kind}"; there is none'
    raise BadConfiguration(msg)
