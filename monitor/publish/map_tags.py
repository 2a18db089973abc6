"""Tags of the maps of a site: which site, which time they show, and by which verdict and program they were drawn."""

from monitor.publish.chart import season_table
from monitor.publish.view import SiteView
from monitor.sites.growing_season import GrowingSeason


def map_tags(view: SiteView) -> dict[str, dict[str, str]]:
    """``SITE``, ``PERIOD``, ``AS_OF`` and ``VERSION`` of each map, by its name; at least one growing season has scenes.

    ``PERIOD`` is an ISO 8601 interval of days: the growing season shown; for ``slope`` from the first season to the
    last; for ``failing`` from the start of the work to the last look; for ``loss`` from the last scene before the loss
    to the first that shows it. ``AS_OF`` is the day of the verdict with which the map was drawn: it is not drawn again
    for each later one. ``VERSION`` is the program's.
    """
    a, growing, years = view.assessment, GrowingSeason.of(view.site), [season.year for season in season_table(view)]
    opened, closed = growing.days_of(years[-1])
    periods = dict.fromkeys(view.maps, (opened, closed)) | {"slope": (growing.days_of(years[0])[0], closed)}
    if a.hectares_failing_on is not None:
        periods["failing"] = view.site.start, a.hectares_failing_on
    if a.loss_after is not None and a.loss_on is not None:
        periods["loss"] = a.loss_after, a.loss_on
    tags = {"AS_OF": a.as_of.isoformat(), "VERSION": a.code_version}
    return {
        layer: {"SITE": view.site.id, "PERIOD": f"{first.isoformat()}/{min(last, a.as_of).isoformat()}", **tags}
        for layer, (first, last) in periods.items()
    }
