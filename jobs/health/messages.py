"""Checks of what reaches people: channels and their secrets, recipients, answers, heartbeat, and the outbox."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jobs.health.finding import Finding, broken, list_ids, note, ok, one_line
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings

MIN_CERTIFICATE: Final = timedelta(days=14)  # a certificate that ends sooner should have been renewed
RECENT: Final = timedelta(days=30)  # messages that were given up longer ago need no correction any more


def channels(settings: "Settings") -> Iterator[Finding]:
    """Each configured channel has its secrets, and failed nights reach somebody. Nothing is sent."""
    from jobs.messages.channels import open_channels

    if not settings.channels:
        return  # messages are files
    described = []
    with open_channels(settings) as opened:
        for name, channel in settings.channels.items():
            try:
                _ = opened[name]
            except MonitorError as error:
                yield broken("channels", one_line(error), f"then: regrowth notify test --channel {name}")
            else:
                described.append(f"{name} ({channel.kind})")
    if described:
        yield ok("channels", f"{', '.join(described)}; to try them: regrowth notify test")
    if not settings.operators.channels:
        yield note("channels", "nobody is notified of failed nights", 'set channels = ["..."] in [operators]')


def recipients(settings: "Settings") -> Iterator[Finding]:
    """Each current site has a recipient, and names no channel that does not exist."""
    from jobs.health.ledger import reading
    from jobs.register.alerting import address_book
    from jobs.runtime.records import current_sites
    from monitor.alerts.recipients import FILES

    with reading(settings.ledger.url) as t:
        sites = current_sites(t)
    book = address_book(settings)
    unknown = {site.id: site.manager_channel for site in sites if site.manager_channel not in (None, *book.kinds)}
    if unknown:
        names = ", ".join(sorted({str(name) for name in unknown.values()}))
        message = f"manager_channel names channels that do not exist ({names}): {list_ids(sorted(unknown))}"
        yield broken("recipients", one_line(message), "add [channels.NAME], or correct the registry")
    if not settings.channels:
        return  # messages are files
    nobody = [site.id for site in sites if book.of_site(site)[0].channel == FILES]
    if nobody:
        fix = "add manager_email or manager_channel to the registry, or set [operators]"
        yield broken("recipients", f"nobody receives the alerts of {list_ids(nobody)}: they are only files", fix)
    elif not unknown and sites:
        whose = "the site" if len(sites) == 1 else f"all {len(sites)} sites"
        yield ok("recipients", f"the alerts of {whose} reach a manager or the operators")


def answers(settings: "Settings") -> Iterator[Finding]:
    """Links to answer can be signed, and are not sent over the network in the clear."""
    from jobs.runtime.secrets import secret

    url = urlsplit(settings.answers.base_url)
    if not url.netloc:
        return
    try:
        key = secret("ANSWER_KEY")
    except MonitorError as error:
        yield broken("answers", one_line(error), "correct REGROWTH_ANSWER_KEY_FILE")
        return
    if key is None:
        fix = "set REGROWTH_ANSWER_KEY, or name its file by REGROWTH_ANSWER_KEY_FILE (openssl rand -hex 32)"
        yield broken("answers", "[answers] base_url is set, but there is no key to sign the links with", fix)
    elif url.scheme != "https" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
        fix = "put 'regrowth serve' behind a proxy with TLS (docs/operations.md), and write https"
        yield broken("answers", f"[answers] base_url is not https: whoever sees a link at {url.netloc} can use it", fix)
    else:
        yield ok("answers", f"links lead to {url.scheme}://{url.netloc}, valid {settings.answers.valid_days:g} days")


def certificates(settings: "Settings") -> Iterator[Finding]:
    """The certificates of the public addresses are valid for some time yet; each is asked for."""
    from monitor.alerts.channels.certificate import certificate_end

    urls = [urlsplit(url) for url in (settings.outputs.base_url, settings.answers.base_url)]
    places = dict.fromkeys((url.hostname, url.port or 443) for url in urls if url.scheme == "https" and url.hostname)
    for host, port in places:
        try:
            left = certificate_end(str(host), port) - datetime.now(UTC)
        except MonitorError as error:
            yield broken("certificate", one_line(error), f"renew it, or start the server of {host}")
            continue
        message = f"that of {host} is valid for {left.days} days"
        if left < MIN_CERTIFICATE:
            yield broken("certificate", message, "renew it (certbot renew), and see why it is not done by itself")
        else:
            yield ok("certificate", message)


def heartbeat(settings: "Settings") -> Iterator[Finding]:
    """The heartbeat is configured, if operators are; it is not requested, which would report a night."""
    from monitor.alerts.channels.http_client import HttpClient

    url = settings.heartbeat.url
    if not url:
        if settings.operators.channels:
            fix = "set [heartbeat] url (docs/operations.md)"
            yield note("heartbeat", "nothing notices a night that does not start", fix)
        return
    host = urlsplit(url).hostname
    try:
        HttpClient(settings.heartbeat.allow_hosts, section="[heartbeat]").check(url)
    except MonitorError as error:
        yield broken("heartbeat", one_line(error), "correct [heartbeat]")
        return
    yield ok("heartbeat", f"each night reports to {host}")


def outbox(settings: "Settings") -> Iterator[Finding]:
    """Messages that wait, are held, or were given up lately, and why."""
    from jobs.health.ledger import reading

    with reading(settings.ledger.url) as t:
        rows = t.notices("waiting", "held", "dead")
    since = (datetime.now(UTC) - RECENT).isoformat()
    dead = [row for row in rows if row["state"] == "dead" and (row["first_tried"] or row["day"]) >= since]
    waiting = [row for row in rows if row["state"] == "waiting"]
    held = [row for row in rows if row["state"] == "held"]
    see = "regrowth alerts outbox"
    if dead:
        yield broken("outbox", f"{_messages(dead)} given up: {_why(dead)}", f"correct the address or channel; {see}")
    if waiting:
        first = min(row["day"] for row in waiting)
        yield note("outbox", f"{_messages(waiting)} waiting since {first}: {_why(waiting)}", see)
    if held:
        yield note("outbox", f"{_messages(held)} held: {_why(held)}", "regrowth alerts release")


def _messages(rows: Sequence[Mapping[str, Any]]) -> str:
    count = len({row["message"] or row["id"] for row in rows})
    return "1 message is" if count == 1 else f"{count} messages are"


def _why(rows: Sequence[Mapping[str, Any]]) -> str:
    """The error of the newest row that has one, with its channel and recipient."""
    row = next((row for row in reversed(rows) if row["error"]), None)
    if row is None:
        return "not tried yet"
    to = f" to {row['recipient']}" if row["recipient"] else ""
    return one_line(f"{row['channel']}{to}: {row['error']}")
