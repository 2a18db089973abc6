"""``regrowth status``: the latest assessment of each site."""

from contextlib import closing

from jobs.console import AsJson, Config, Sites, print_json, print_line


def status(config: Config = None, site: Sites = None, as_json: AsJson = False) -> None:
    """Latest assessment of each site."""
    from jobs.settings import load
    from monitor.errors import BadData
    from monitor.ledger.ledger import Ledger

    settings = load(config)
    with closing(Ledger(settings.ledger.url)) as ledger, ledger.reading() as t:
        sites, newest = t.versions().keys(), t.latest_assessments()
    if not sites:
        msg = f"there is no site to judge: add one to {settings.registry.path.name}, then: regrowth sites add FILE"
        raise BadData(msg)
    if unknown := sorted(set(site or ()) - sites):
        msg = f"no site {unknown[0]!r} in the ledger; 'regrowth sites list' names those there are"
        raise BadData(msg)
    found = [latest for one, (_, _, latest) in sorted(newest.items()) if not site or one in site]
    if as_json:
        print_json(found)
        return
    for one in found:
        told = one["theta"] is not None and one["status"] not in ("insufficient_data", "too_early")
        share = f", {one['theta']:z.0%} of the expected uplift" if told else ""
        print_line(f"{one['site']}: {one['status']}, alert {one['alert']}{share} (as of {one['as_of']})")
    if not found:
        print_line("No site has been assessed yet: regrowth run")
