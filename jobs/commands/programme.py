"""``regrowth programme``: hectares by status against the pledge, and how often alerts were right."""

from jobs.console import AsJson, Config, installation, print_json


def programme(config: Config = None, as_json: AsJson = False) -> None:
    """Hectares by status, province, intervention, partner, lot and year, against the pledge. Reads the ledger only.

    Ground that several sites have registered counts once. Where alerts were answered, also how often they were right.
    That changes no threshold.
    """
    from jobs.account import read_account
    from jobs.installation import selected_sites
    from jobs.programme_tables import print_account

    with installation(config) as (settings, ledger):
        with ledger.reading() as t:
            account = read_account(settings, t)
        if not account.sites:
            selected_sites(ledger)  # says what to do
    (print_json if as_json else print_account)(account.summary)
