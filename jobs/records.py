"""Records of the library as plain values for the ledger, and back."""

from dataclasses import asdict, fields
from datetime import date
from typing import Any

from shapely.geometry import mapping, shape

from monitor.alerts.alert import Alert, AlertEvent, AlertState, Notice
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status


def site_to_json(site: Site) -> dict[str, Any]:
    """A site as plain values."""
    values = {field.name: getattr(site, field.name) for field in fields(site)}
    changed = {
        "geometry": mapping(site.geometry),
        "plan": asdict(site.plan),
        "start": site.start.isoformat(),
        "cohorts": [[begun.isoformat(), share] for begun, share in site.cohorts],
    }
    return {**values, **changed}


def site_from_json(values: dict[str, Any]) -> Site:
    """The site written by :func:`site_to_json`."""
    changed = {
        "geometry": shape(values["geometry"]),
        "plan": Plan(**values["plan"]),
        "start": date.fromisoformat(values["start"]),
        "cohorts": tuple((date.fromisoformat(begun), share) for begun, share in values.get("cohorts", ())),
    }
    return Site(**{**values, **changed})


def assessment_from_json(values: dict[str, Any]) -> Assessment:
    """The assessment that :func:`monitor.alerts.messages.assessment_to_json` wrote."""
    known: dict[str, Any] = {field.name: values[field.name] for field in fields(Assessment) if field.name in values}
    days = (
        "last_observed", "uplift_confirmed_on", "loss_on", "loss_confirmed_on", "calibration_dated",
        "hectares_failing_on",
    )  # fmt: skip
    changed: dict[str, Any] = {
        "as_of": date.fromisoformat(values["as_of"]),
        **{name: None if values.get(name) is None else date.fromisoformat(values[name]) for name in days},
        "status": Status(values["status"]),
        "alert": AlertLevel(values["alert"]),
        "reasons": tuple(values["reasons"]),
    }
    return Assessment(**{**known, **changed})


def alert_to_json(alert: Alert) -> dict[str, Any]:
    """An alert as plain values."""
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(alert).items()}


def alert_from_json(values: dict[str, Any]) -> Alert:
    """The alert written by :func:`alert_to_json`."""
    days = ("opened", "updated", "clear_since", "snoozed_until")
    changed = {name: None if values[name] is None else date.fromisoformat(values[name]) for name in days}
    return Alert(**{**values, **changed, "level": AlertLevel(values["level"]), "state": AlertState(values["state"])})


def notice_to_json(notice: Notice) -> dict[str, Any]:
    """A notice as plain values."""
    alert = alert_to_json(notice.alert)
    return {"id": notice.id, "alert": alert, "event": notice.event.value, "day": notice.day.isoformat()}


def notice_from_json(values: dict[str, Any]) -> Notice:
    """The notice written by :func:`notice_to_json`."""
    return Notice(
        id=values["id"],
        alert=alert_from_json(values["alert"]),
        event=AlertEvent(values["event"]),
        day=date.fromisoformat(values["day"]),
    )
