"""``regrowth programme``: hectares by status, now or over a period, and how often alerts were right."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.runtime.console import DAY_FORMS, AsJson, Config, installation, print_json

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings
    from monitor.ledger.transaction import Transaction
    from monitor.publish.period import Period


def programme(
    config: Config = None,
    as_json: AsJson = False,
    begin: Annotated[
        datetime | None,
        typer.Option("--from", formats=DAY_FORMS, help="First day of a period. Default with --to: 1 January."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", formats=DAY_FORMS, help="Last day of the period. Default with --from: the newest night."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write page and table of the period into this folder.")
    ] = None,
) -> None:
    """Hectares by status, province, intervention, partner, lot and year, against the pledge. Reads the ledger only.

    Ground that several sites have registered counts once. Where alerts were answered, also how often they were right.
    That changes no threshold.

    With --from and --to: opening, what moved and why, and closing of a period, as the nights published it. Once a later
    night has run, the account of a period does not change any more.
    """
    if out is not None and begin is None and end is None:
        raise typer.BadParameter("needs --from and --to", param_hint="--out")
    with installation(config) as (settings, ledger):
        if begin is None and end is None:
            from jobs.pages.account import read_account
            from jobs.pages.programme_tables import print_account
            from jobs.runtime.installation import selected_sites

            with ledger.reading() as t:
                account = read_account(settings, t)
            if not account.sites:
                selected_sites(ledger)  # says what to do
            (print_json if as_json else print_account)(account.summary)
            return
        with ledger.reading() as t:
            period = _period(settings, t, begin and begin.date(), end and end.date())
    if out is not None:
        from monitor.publish.programme_files import write_period

        write_period(period, out, pledge=settings.programme.pledge_hectares)
    if as_json:
        print_json(period.summary)
        return
    from jobs.pages.programme_tables import print_period

    print_period(period)


def _period(settings: "Settings", t: "Transaction", begin: date | None, end: date | None) -> "Period":
    """The account of a period; BadParameter: it ends before it begins or in the future; BadData: no night has run."""
    from jobs.pages.period import read_period
    from jobs.runtime.clock import today
    from monitor.errors import BadData

    period = read_period(settings, t, begin, end)
    if period is None:
        raise BadData("no night has judged a site yet, so nothing was published: regrowth run")
    if period.first > period.last:
        what = f"the period ends on {period.last}, before it begins on {period.first}"
        raise typer.BadParameter(what, param_hint="--to" if end else "--from")
    newest = max(today().isoformat(), t.night_days()[-1])
    if period.last.isoformat() > newest:
        raise typer.BadParameter(f"{period.last} is in the future; give a day up to {newest}", param_hint="--to")
    return period
