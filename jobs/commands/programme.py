"""``regrowth programme``: hectares by status against the pledge, and how often alerts were right."""

from jobs.runtime.console import AsJson, Config, installation, print_json


def programme(config: Config = None, as_json: AsJson = False) -> None:
    """Hectares by status, province, intervention, partner, lot and year, against the pledge. Reads the ledger only.

    Ground that several sites have registered counts once. Where alerts were answered, also how often they were right.
    That changes no threshold.
    """
    from jobs.pages.account import read_account
    from jobs.pages.programme_tables import print_account
    from jobs.runtime.installation import selected_sites

    with installation(config) as (settings, ledger):
        with ledger.reading() as t:
            account = read_account(settings, t)
        if not account.sites:
            selected_sites(ledger)  # says what to do
    (print_json if as_json else print_account)(account.summary)
