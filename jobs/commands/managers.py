"""``regrowth managers``: the managers of the registry, and their personal links."""

from typing import Annotated, Any

import typer

from jobs.runtime.clock import now
from jobs.runtime.console import AsJson, Config, count_of, installation, new_group, show
from monitor.errors import BadConfiguration, BadData

app = new_group("Managers of the registry, and their personal links.")

Manager = Annotated[
    str, typer.Argument(metavar="MANAGER", help="Mail address, or the name of a channel that has one receiver.")
]


@app.command("list")
def managers_list(config: Config = None, as_json: AsJson = False) -> None:
    """Every manager who can be reached, with the number of sites and of open alerts."""
    from jobs.register.alerting import address_book
    from jobs.runtime.records import current_sites
    from monitor.alerts import words

    with installation(config) as (settings, ledger), ledger.reading() as t:
        managers = address_book(settings).managers(current_sites(t))
        open_at = [alert["site"] for alert in t.alerts(["open"])]
    rows: list[dict[str, Any]] = []
    for (channel, address), sites in managers.items():
        ids, names = {site.id for site in sites}, [site.manager_name for site in sites if site.manager_name]
        rows.append({
            "manager": address or channel, "name": next(iter(names), None),
            "language": words.language_of(sites[0]), "channel": channel, "sites": len(sites),
            "open": sum(site in ids for site in open_at),
        })  # fmt: skip
    lines = []
    for row in rows:
        name = f" ({row['name']})" if row["name"] else ""
        counts = f"{count_of(row['sites'], 'site')}, {count_of(row['open'], 'open alert')}"
        lines.append(f"{row['manager']}{name}: {counts}, {row['channel']}")
    no_channel = "no channel is configured (docs/channels.md)"
    why = "the sites name no address or channel" if settings.channels else no_channel
    show(rows, lines or f"No manager can be reached: {why}; messages are files.", as_json=as_json)


@app.command("link")
def managers_link(manager: Manager, config: Config = None, as_json: AsJson = False) -> None:
    """Print a personal link, by which a manager sees their sites and answers their alerts. It is a password.

    Exit status: 0 printed, 65 no site reaches such a manager, 78 no pages are served.
    """
    from jobs.messages.outbox import answer_key
    from jobs.messages.personal_links import personal_address
    from jobs.register.alerting import address_book
    from jobs.runtime.records import current_sites

    with installation(config) as (settings, ledger), ledger.transaction() as t:
        if (key := answer_key(settings)) is None:
            raise BadConfiguration("no pages are served: set [answers] base_url")
        known = address_book(settings).managers(current_sites(t))
        found = [one for one in known if manager in (one.address or one.channel,)]
        if not found:
            raise BadData(f"no site reaches a manager {manager!r}; 'regrowth managers list' shows all")
        for recipient in found:
            t.make_personal_link(*recipient, now=now())
        links = [personal_address(t, settings, recipient, key=key) for recipient in found]
    show(links, filter(None, links), as_json=as_json)


@app.command("revoke")
def managers_revoke(manager: Manager, config: Config = None, as_json: AsJson = False) -> None:
    """End all personal links of a manager. The next message to them has a new one, unless they have no site any more.

    Exit status: 0 revoked, 65 the manager has no valid link.
    """
    with installation(config) as (_, ledger), ledger.transaction() as t:
        revoked = t.revoke_personal_links(manager, now=now())
    if not revoked:
        raise BadData(f"{manager!r} has no valid personal link")
    show({"revoked": revoked}, f"{manager}: revoked.", as_json=as_json)
