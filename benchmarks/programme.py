"""A programme in a ledger, without imagery: sites with managers, and a night on which alerts open."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from shapely.geometry import box

from jobs.register.alerting import NIGHT, address_book, record_event
from jobs.runtime.clock import now
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import Settings, load
from monitor.alerts.alert import Alert, AlertEvent, AlertState, alert_id
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status

CONFIGURATION = """\
[source]
kind = "sample"
[ledger]
url = "{ledger}"
[alerts]
channels = ["mail"]
digest_above = 3
[channels.mail]
kind = "smtp"
host = "127.0.0.1"
port = {port}
starttls = false
sender = "regrowth@example.org"
"""


def configure(root: Path, *, port: int, ledger: str = "sqlite:///regrowth.db", more: str = "") -> Settings:
    """Write a configuration with a mail server on this machine, and load it."""
    path = root / "regrowth.toml"
    path.write_text(CONFIGURATION.format(port=port, ledger=ledger) + more, encoding="utf-8")
    return load(path)


def site(name: str, email: str | None, **more: Any) -> Site:
    """A site of 94.6 ha."""
    values = {
        "id": name, "name": f"Site {name}", "geometry": box(106.9, 40.1, 106.91, 40.11), "start": date(2017, 4, 1),
        "intervention": "planting", "biome": "loess", "plan": Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5),
        "hectares": 94.6, "manager_email": email, "version": f"version of {name}",
    }  # fmt: skip
    return Site(**(values | more))


def register(ledger: Ledger, sites: Iterable[Site]) -> None:
    """Put sites into a ledger."""
    with ledger.transaction() as t:
        for one in sites:
            t.add_site(one.id, one.version, to_json(one), start=one.start.isoformat(), now=now())


def assess(t: Transaction, name: str, day: date, *, alert: AlertLevel = AlertLevel.NONE, **more: Any) -> None:
    """Store an assessment of a site; with an alert that of a site which fails."""
    t.add_assessments([assessment_of(name, day, alert=alert, **more)], run="run")


def assessment_of(
    name: str, day: date, *, snapshot: str = "s", alert: AlertLevel = AlertLevel.NONE, **more: Any
) -> StoredAssessment:
    """An assessment of a site as the ledger stores it, see :func:`assess`."""
    fails = alert is not AlertLevel.NONE
    values = {
        "site": name, "as_of": day, "last_observed": day, "status": Status.FAILING if fails else Status.ON_TRACK,
        "probability": 0.97, "alert": alert, "alert_rule": "failure" if fails else None,
        "theta": 0.08, "theta_low": -0.07, "theta_high": 0.23, "uplift": 0.023, "uplift_low": -0.02,
        "uplift_high": 0.066, "expected": 0.289, "cover": 0.21, "control_cover": 0.19, "e_failure": 412.7,
        "n_scenes": 78, "n_pre": 24, "reasons": ("LOW_UPLIFT",), "hectares": 94.6, "hectares_failing": None,
    }  # fmt: skip
    assessment = Assessment(**(values | more))
    return StoredAssessment(
        site=name, as_of=day.isoformat(), digest=f"{name} {day}", version="v", snapshot=snapshot,
        payload=to_json(assessment),
    )  # fmt: skip


def report(
    ledger: Ledger, settings: Settings, names: Iterable[str], day: date, *, event: AlertEvent = AlertEvent.OPENED
) -> None:
    """Let an alert of each site open on a day (or `event` happen to it), as a night does."""
    book = address_book(settings)
    with ledger.transaction() as t:
        registered = {values["id"]: from_json(values, Site) for values in t.sites()}
        for name in names:
            assess(t, name, day, alert=AlertLevel.RED)
            alert = Alert(
                id=alert_id(name, "failure"), site=name, level=AlertLevel.RED, rule="failure",
                state=AlertState.RESOLVED if event is AlertEvent.RESOLVED else AlertState.OPEN, opened=day, updated=day,
            )  # fmt: skip
            record_event(t, alert, event, day=day, by=NIGHT, recipients=book.of_site(registered[name]))
