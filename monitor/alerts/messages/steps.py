"""Three steps in the field: for messages about alerts and for the pages of sites."""

from typing import Final

from monitor.alerts.words import Language, text
from monitor.verdict.assessment import AlertLevel, Assessment, Status

_STATUS_STEPS: Final = {
    Status.FAILING: ("failure_site", "failure_look", "report"),
    Status.DISTURBED: ("disturbance_go", "disturbance_look", "report"),
    Status.LAGGING: ("lagging_go", "failure_look", "lagging_report"),
    Status.UNDECIDED: ("undecided_go", "count", "tell"),
    Status.TOO_EARLY: ("early_go", "count", "tell"),
    Status.INSUFFICIENT_DATA: ("unseen_go", "count", "tell"),
}
"""Names of the steps, by status of a site without an alert; other sites need nothing."""


def alert_steps(rule: str, *, patch: bool, link: bool, language: Language) -> tuple[str, ...]:
    """Steps about an alert; `patch`: the worst one is known, `link`: a link to answer stands below."""
    keys = {
        "failure": ("failure_patch" if patch else "failure_site", "failure_look"),
        "disturbance": ("disturbance_go", "disturbance_look"),
        "erosion": ("erosion_go", "erosion_look"),
    }[rule]
    return tuple(text(f"step.{key}", language) for key in (*keys, "answer" if link else "report"))


def site_steps(a: Assessment, *, patch: bool, language: Language) -> tuple[str, ...]:
    """Steps at a site, by its alert or, without one, by its status; empty where nothing needs to be done."""
    if a.alert is not AlertLevel.NONE and a.alert_rule is not None:
        return alert_steps(a.alert_rule, patch=patch, link=False, language=language)
    return tuple(text(f"step.{key}", language) for key in _STATUS_STEPS.get(a.status, ()))
