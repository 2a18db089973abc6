"""Hectares of a programme by status, province, intervention, partner, lot and year, against the pledge.

Each site counts with its hectares as registered now, once, under its latest assessment. Sites without an assessment, or
without a province, are counted too, so that all sums agree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from monitor.sites.site import Site
from monitor.verdict.lots import lot_of

SHOWN_STATUSES: Final = (
    "on_track", "recovered", "no_loss_seen", "undecided", "lagging", "failing", "disturbed", "too_early",
    "insufficient_data",
)  # fmt: skip
"""In the order shown; sites without an assessment follow."""
GROUPS: Final[Mapping[str, Callable[[Site], str | int | None]]] = {
    "province": lambda site: site.province,
    "intervention": lambda site: site.intervention,
    "partner": lambda site: site.partner,
    "lot": lambda site: lot.id if (lot := lot_of(site)) else None,
    "programme_year": lambda site: site.programme_year,
}
"""What hectares are summed by, and its value for a site; None: the site has none."""
ALERT_LEVELS: Final = ("red", "watch", "none")
UNJUDGED: Final = "not_assessed"
"""Status and alert of a site without an assessment."""


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
        What ``regrowth programme --json`` prints, apart from ``lots`` and ``precision``. ``hectares`` are by status,
        :data:`UNJUDGED` among them, for the programme and for each row of ``groups``, which has ``by`` and ``value``.
    """
    status = {site.id: _status(site, latest) for site in sites}
    alert = {site.id: latest.get(site.id, {}).get("alert") or "not_assessed" for site in sites}

    def row(members: Sequence[Site]) -> dict[str, Any]:
        hectares = sum(site.hectares for site in members)
        share = round(hectares / pledge, 6) if pledge else None
        return {"sites": len(members), "total_hectares": round(hectares, 2), "share_of_pledge": share}

    groups = []
    for by, value_of in GROUPS.items():
        of = {site.id: value_of(site) for site in sites}
        for value in sorted(set(of.values()), key=lambda value: (value is None, value)):
            members = [site for site in sites if of[site.id] == value]
            groups.append({"by": by, "value": value, **row(members), "hectares": _hectares(members, status)})
    return {
        "as_of": max((latest[site.id]["as_of"] for site in sites if site.id in latest), default=None),
        "pledge_hectares": pledge,
        **row(sites),
        "false_reds_expected_at_most": round(alpha * len(sites), 2),
        "hectares": _hectares(sites, status),
        "by_status": {name: row([s for s in sites if status[s.id] == name]) for name in (*SHOWN_STATUSES, UNJUDGED)},
        "by_alert": {name: row([s for s in sites if alert[s.id] == name]) for name in (*ALERT_LEVELS, UNJUDGED)},
        "uplift_confirmed": row([site for site in sites if latest.get(site.id, {}).get("uplift_confirmed")]),
        "groups": groups,
    }


def _hectares(members: Sequence[Site], status: Mapping[str, str]) -> dict[str, float]:
    """Hectares of some sites by status."""
    sums = dict.fromkeys((*SHOWN_STATUSES, UNJUDGED), 0.0)
    for site in members:
        sums[status[site.id]] += site.hectares
    return {name: round(hectares, 2) for name, hectares in sums.items()}


def _status(site: Site, latest: Mapping[str, Mapping[str, Any]]) -> str:
    """Status under which a site counts: without a promised uplift, on track only means that no loss is seen."""
    status: str = latest.get(site.id, {}).get("status") or UNJUDGED
    return "no_loss_seen" if status == "on_track" and site.plan.A <= 0 else status
