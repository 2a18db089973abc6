"""Hectares of a programme by status, alert, province, intervention and year, against the pledge.

Each site counts with its hectares as registered now, once, under its latest assessment. A site that is not assessed yet
has no status and one without a province no province: both are None, so that all sums agree.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from monitor.sites.site import Site

SHOWN_STATUSES: Final = (
    "on_track", "recovered", "no_loss_seen", "undecided", "lagging", "failing", "disturbed", "too_early",
    "insufficient_data",
)  # fmt: skip
"""In the order shown; sites without an assessment follow."""
GROUPS: Final = ("province", "intervention", "programme_year")
"""Fields of a site by which hectares are summed."""
ALERT_LEVELS: Final = ("red", "watch", "none")


def programme_summary(
    sites: Sequence[Site], latest: Mapping[str, Mapping[str, Any]], *, pledge: float | None, alpha: float
) -> dict[str, Any]:
    """Sum the hectares of a programme.

    Parameters
    ----------
    sites : sequence of Site
        The sites that are judged now.
    latest : mapping
        Latest assessment of each site by its id, as JSON; sites may be missing.
    pledge : float or None
        Hectares pledged; None: unknown, and all shares of it are None. [ha]
    alpha : float
        Lifetime false-alarm budget of one site: at most this share of the sites is expected ever to turn red falsely,
        by whatever rule. [1]

    Returns
    -------
    dict
        What ``regrowth programme --json`` prints. Each row has ``sites``, ``hectares`` and ``share_of_pledge``; rows of
        a group also hectares by status, with ``not_assessed`` for sites without an assessment.
    """
    status = {site.id: _status(site, latest) for site in sites}
    alert = {site.id: latest.get(site.id, {}).get("alert") for site in sites}

    def row(members: Sequence[Site]) -> dict[str, Any]:
        hectares = sum(site.hectares for site in members)
        share = round(hectares / pledge, 6) if pledge else None
        return {"sites": len(members), "hectares": round(hectares, 2), "share_of_pledge": share}

    def rows(name: str, values: Sequence[Any], of: Callable[[Site], Hashable]) -> list[dict[str, Any]]:
        return [{name: value, **row([site for site in sites if of(site) == value])} for value in values]

    groups = {}
    for name in GROUPS:
        values = sorted({getattr(site, name) for site in sites}, key=lambda value: (value is None, value))
        groups[f"by_{name}"] = [
            {name: value, **row(members), "hectares_by_status": _hectares_by_status(members, status)}
            for value in values
            if (members := [site for site in sites if getattr(site, name) == value])
        ]
    return {
        "as_of": max((latest[site.id]["as_of"] for site in sites if site.id in latest), default=None),
        "pledge_hectares": pledge,
        **row(sites),
        "false_reds_expected_at_most": round(alpha * len(sites), 2),
        "by_status": rows("status", (*SHOWN_STATUSES, None), lambda site: status[site.id]),
        "by_alert": rows("alert", (*ALERT_LEVELS, None), lambda site: alert[site.id]),
        "uplift_confirmed": row([site for site in sites if latest.get(site.id, {}).get("uplift_confirmed")]),
        **groups,
    }


def _hectares_by_status(members: Sequence[Site], status: Mapping[str, str | None]) -> dict[str, float]:
    sums = dict.fromkeys((*SHOWN_STATUSES, "not_assessed"), 0.0)
    for site in members:
        sums[status[site.id] or "not_assessed"] += site.hectares
    return {name: round(hectares, 2) for name, hectares in sums.items()}


def _status(site: Site, latest: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Status under which a site counts: without a promised uplift, on track only means that no loss is seen."""
    status: str | None = latest.get(site.id, {}).get("status")
    return "no_loss_seen" if status == "on_track" and site.plan.A <= 0 else status
