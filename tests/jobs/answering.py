"""An installation with one alert, and the answer pages served by a process of their own, as operators run them."""

import http.client
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from shapely.geometry import box

from jobs.register.alerting import record_event
from jobs.runtime.records import to_json
from monitor.alerts.alert import AlertEvent, alert_id
from monitor.alerts.links import link_address
from monitor.alerts.recipients import Recipient
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from tests import builders, forked
from tests.ledger.assessed import add_assessment

NOTHING: Mapping[str, str] = {}
KEY = "planted-answer-key-0123456789abcdef"
DAY = date(2026, 8, 20)
SITE = "minqin-03"
ALERT = alert_id(SITE, "failure")

CONFIGURATION = """
[registry]
path = "sites.geojson"

[source]
kind = "sample"

[ledger]
url = "{url}"

[outputs]
root = "."
base_url = "https://pages.example/regrowth"

[answers]
base_url = "{base}"
"""


def site(id: str = SITE, **more: Any) -> Site:
    values = {"name": "Minqin, Qingtu Lake, plot 3", "manager_language": "zh", "manager_email": "wang@example.org"}
    return builders.site(id, **(values | {"geometry": box(103.1, 39.0, 103.11, 39.006)} | more))


def add_site(t: Transaction, place: Site) -> None:
    t.add_site(place.id, place.version, to_json(place), start=place.start.isoformat(), now="n")


def assessment(id: str = SITE, **more: Any) -> Assessment:
    """A red verdict with a probability below that from which a false alarm needs a review."""
    values = {"as_of": DAY, "last_observed": date(2026, 8, 12), "probability": 0.9, "p_failing": 0.9}
    return builders.assessment(id, **(values | more))


@dataclass
class Programme:
    """An installation whose ledger has sites with one alert each."""

    root: Path
    url: str
    base: str = "https://answers.example"
    more: str = ""  # further lines of the configuration

    def __post_init__(self) -> None:
        text = CONFIGURATION.format(url=self.url, base=self.base)
        self.config.write_text(text + self.more, encoding="utf-8")

    @property
    def config(self) -> Path:
        return self.root / "regrowth.toml"

    def ledger(self) -> closing[Ledger]:
        return closing(Ledger(self.url))

    def add(self, place: Site | None = None, verdict: Assessment | None = None) -> None:
        """A site with an open alert, whose manager has been notified by two channels."""
        place = place or site()
        verdict = verdict or assessment(place.id)
        opened = builders.alert(place.id, opened=DAY)
        with self.ledger() as ledger, ledger.transaction() as t:
            add_site(t, place)
            add_assessment(t, place.id, DAY.isoformat(), "digest", to_json(verdict), version="1")
            to = [Recipient("mail", "wang@example.org"), Recipient("files", "")]
            record_event(t, opened, AlertEvent.OPENED, day=DAY, by="night", recipients=to)

    def token(self, place: str = SITE, *, recipient: int = 0, valid: timedelta = timedelta(days=30)) -> str:
        with self.ledger() as ledger, ledger.reading() as t:
            rows = [row for row in t.notices("waiting") if row["site"] == place]
        link = link_address("", KEY, rows[recipient]["link"], datetime.now(UTC) + valid)
        return link.removeprefix("/a/")

    def events(self, alert: str = ALERT) -> list[dict[str, Any]]:
        with self.ledger() as ledger, ledger.reading() as t:
            return t.events(alert)

    def answers(self, alert: str = ALERT) -> list[dict[str, Any]]:
        return [event for event in self.events(alert) if event["kind"] == "answered"]

    def photos(self, alert: str = ALERT) -> list[dict[str, Any]]:
        with self.ledger() as ledger, ledger.reading() as t:
            return t.photos(alert)

    def content(self) -> dict[str, list[Any]]:
        """All rows of all tables."""
        from sqlalchemy import select

        from monitor.ledger.models import Base

        with self.ledger() as ledger, ledger._engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table))]
                for table in Base.metadata.sorted_tables
            }


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Server:
    """``regrowth serve`` in a process of its own, at a free port of this machine."""

    process: forked.Python
    port: int = 0
    lines: list[str] = field(default_factory=list)  # lines of its log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NOTHING) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read().decode())

    def get(self, path: str, headers: Mapping[str, str] = NOTHING) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, fields: Mapping[str, str], *photos: tuple[str, bytes]) -> Reply:
        """Send a form, with photos by file name."""
        body, kind = form(fields, *photos)
        return self.request("POST", path, body, {"Content-Type": kind})


def form(fields: Mapping[str, str], *photos: tuple[str, bytes], photos_in: str = "photo") -> tuple[bytes, str]:
    """Body and content type of a form; `photos_in`: name of the field of the photos."""
    mark = "x-boundary-x"
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for file, content in photos:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{photos_in}"; filename="{file}"\r\n'
        parts.append(f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def command(programme: Programme, *options: str) -> list[str]:
    return ["-m", "jobs.cli", "serve", "--config", str(programme.config), "--port", "0", *options]


@contextmanager
def serving(programme: Programme, *options: str, environment: Mapping[str, str] = NOTHING) -> Iterator[Server]:
    environment = {**os.environ, "REGROWTH_ANSWER_KEY": KEY, **environment}
    with forked.Python(command(programme, *options), env=environment) as process:
        server = Server(process)
        reader = threading.Thread(target=lambda: server.lines.extend(process.stderr))
        reader.start()
        try:
            line = process.stdout.readline() or "nothing"
            found = re.fullmatch(r"Answers are served at http://127\.0\.0\.1:(\d+)\.\n", line)
            assert found, (line, server.lines)
            server.port = int(found[1])
            yield server
        finally:
            process.kill()
            reader.join()
