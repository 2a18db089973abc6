"""``regrowth status``: the latest assessment of each site."""

from contextlib import closing

from jobs.runtime.console import AsJson, Config, Sites, show


def status(config: Config = None, site: Sites = None, as_json: AsJson = False) -> None:
    """Latest assessment of each site."""
    from jobs.proof.sound_assessments import damage
    from jobs.runtime.settings import load
    from monitor.errors import BadData
    from monitor.ledger.ledger import Ledger

    settings = load(config)
    with closing(Ledger(settings.ledger.url)) as ledger, ledger.reading() as t:
        sites, newest = t.versions().keys(), t.latest_assessments(damaged=True)
    if not sites:
        raise BadData("there is no site to judge: add one to the registry, then: regrowth sites add FILE")
    if unknown := sorted(set(site or ()) - sites):
        raise BadData(f"no site {unknown[0]!r} in the ledger; 'regrowth sites list' shows all sites")
    shown = [one for site_id, one in sorted(newest.items()) if not site or site_id in site]
    if damaged := next((one for one in shown if not one.payload), None):
        raise BadData(damage(damaged))
    assessments = [one.payload for one in shown]
    lines = []
    for values in assessments:
        judged = values["status"] not in ("insufficient_data", "too_early")
        share = f", {values['theta']:z.0%} of the expected uplift" if judged and values["theta"] is not None else ""
        last, se = values.get("measured_season"), values.get("measured_season_se")
        if judged and last is not None and se is not None:
            share += f", last season measured {100 * last:+z.0f} points (± {100 * se:.0f})"
        lines.append(f"{values['site']}: {values['status']}, alert {values['alert']}{share} (as of {values['as_of']})")
    show(assessments, lines or "No site has been assessed yet: regrowth run", as_json=as_json)
