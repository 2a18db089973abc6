"""Terrain and rain of the sites. Optional: a product that cannot be read never stops a night."""

from collections.abc import Sequence
from datetime import date

import structlog

from jobs.imagery.sources import open_earth_engine
from jobs.runtime.settings import RainSettings, SourceSettings, TerrainSettings
from monitor.errors import BadConfiguration, MonitorError
from monitor.imagery.auxiliary.elevation import ElevationModel, LocalElevation
from monitor.imagery.auxiliary.rainfall import REVISED_PERIOD, DailyRain, LocalRain, RainfallProduct, merge_rain
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site, ground_key
from monitor.verdict.rain import first_rain_day, rain_reason
from monitor.verdict.reasons import Reason

log = structlog.get_logger()


def elevation_model(chosen: TerrainSettings, sources: Sequence[SourceSettings]) -> ElevationModel | None:
    """Open the elevation model of ``[terrain]``; None: none is configured.

    Raises BadConfiguration if no source has the model; BadData if a local file is not an elevation model.
    """
    if chosen.path is not None:
        return LocalElevation(chosen.path)
    if chosen.collection is None:
        return None
    if chosen.collection.startswith("COPERNICUS/"):
        from monitor.imagery.auxiliary.earthengine import EarthEngineElevation

        source = _source_of_kind(sources, "earthengine", "[terrain] collection")
        return EarthEngineElevation(open_earth_engine(source).connection)
    from monitor.imagery.auxiliary.stac import StacElevation

    url = _source_of_kind(sources, "stac", "[terrain] url").url if chosen.url is None else chosen.url
    hosts = [host for source in sources if source.kind == "stac" for host in source.allow_hosts]
    return StacElevation(url or "", collection=chosen.collection, allow_hosts=hosts)


def rain_reasons(
    chosen: RainSettings, sources: Sequence[SourceSettings], ledger: Ledger, sites: Sequence[Site], *, as_of: date
) -> dict[str, Reason | None]:
    """Effect of the rain of the season on each site's reasons, see :func:`monitor.verdict.rain.rain_reason`.

    Rain from the network is stored in the ledger. Raises BadConfiguration if no source has the product; any other
    failure leaves the rain unknown.
    """
    rains: dict[str, DailyRain | None] = {}
    try:
        if chosen.path is not None:
            points, since = _points(sites), min(map(first_rain_day, sites))
            rain = LocalRain(chosen.path, chosen.variable).at([*points.values()], since=since, until=as_of)
            rains = dict(zip(points, rain, strict=True))
        elif chosen.collection is not None:
            from monitor.imagery.auxiliary.earthengine import EarthEngineRain

            source = _source_of_kind(sources, "earthengine", "[rain] collection")
            rains = _updated_rain(EarthEngineRain(open_earth_engine(source).connection), ledger, sites, as_of)
    except BadConfiguration:
        raise
    except MonitorError as error:
        log.warning("rain is unknown tonight", error=str(error))
    return {site.id: rain_reason(rains.get(site.id), site, as_of=as_of) for site in sites}


def _points(sites: Sequence[Site]) -> dict[str, tuple[float, float]]:
    return {site.id: (site.geometry.centroid.x, site.geometry.centroid.y) for site in sites}


def _updated_rain(
    product: RainfallProduct, ledger: Ledger, sites: Sequence[Site], as_of: date
) -> dict[str, DailyRain | None]:
    """Rain of each site up to a day, as stored in the ledger; only new days are requested, and then stored."""
    points, since = _points(sites), {site.id: first_rain_day(site) for site in sites}
    with ledger.reading() as t:
        by_ground = t.all_ground_data("rain")
    stored = {site.id: by_ground.get(ground_key(site)) for site in sites}
    rains = {site: None if values is None else DailyRain.from_json(values) for site, values in stored.items()}
    groups: dict[date, list[str]] = {}
    for site, rain in rains.items():
        groups.setdefault(since[site] if rain is None else rain.last - REVISED_PERIOD, []).append(site)
    for first, members in groups.items():
        newer = product.at([points[site] for site in members], since=first, until=as_of)
        for site, rain in zip(members, newer, strict=True):
            before = rains[site]
            rains[site] = merge_rain(before, rain) if before and rain else rain or before
    with ledger.transaction() as t:
        for member in sites:
            rain = rains[member.id]
            if rain is not None and (values := rain.to_json()) != stored[member.id]:
                t.save_data({(ground_key(member), "rain"): values})
    return rains


def _source_of_kind(sources: Sequence[SourceSettings], kind: str, setting: str) -> SourceSettings:
    if source := next((source for source in sources if source.kind == kind), None):
        return source
    raise BadConfiguration(f'{setting} needs a [source] of kind = "{kind}"; there is none')
