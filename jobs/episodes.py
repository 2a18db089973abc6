"""Episodes of a site: each runs from its start until a person closes it, for instance because the site was replanted.

A new episode has its own start and evidence, the rest of the false-alarm budget, and the plan of the registry. Its
ground, observations and control units stay those of the registry's start, since the units were selected by imagery from
before the first work; nothing is fetched again, and units that were left out stay out. New growth is compared with all
time before the new start, earlier episodes included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from jobs.clock import now
from jobs.installation import selected_sites
from jobs.records import from_json, to_json
from jobs.settings import Settings
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.lifecycle import resolve
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site
from monitor.verdict.calibration import LEAST_ALPHA, remaining


def current_episode(day: date, episodes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Episode on a day: the last one that had begun, else the first."""
    begun = [episode for episode in episodes if episode["number"] == 1 or episode["start"] <= day.isoformat()]
    return begun[-1]


def in_episode(site: Site, episodes: Sequence[Mapping[str, Any]], number: int) -> Site:
    """Site with the start of one of its episodes.

    Parameters
    ----------
    site : Site
        Site of the registry.
    episodes : sequence of mapping
        Episodes of the site in the ledger.
    number : int
        Number of the episode.

    Returns
    -------
    Site
        In the first or an unknown episode, the site of the registry.
    """
    start = next((episode["start"] for episode in episodes if episode["number"] == number), None)
    if number == 1 or start is None:
        return site
    return replace(site, start=date.fromisoformat(start), cohorts=())


def episode_alpha(alpha: float, episode: Mapping[str, Any]) -> float:
    """False-alarm budget of an episode, from that of its site, at least the smallest that has a boundary. [1]"""
    return alpha if episode["number"] == 1 else max(alpha * float(episode["budget"]), LEAST_ALPHA)


def replant(settings: Settings, ledger: Ledger, site_id: str, *, start: date, why: str, today: date) -> dict[str, Any]:
    """Close the current episode of a site and open the next one; its open alert is resolved as treated.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the installation.
    site_id : str
        Id of the site.
    start : date
        First day of the new work.
    why : str
        What was done, in words.
    today : date
        Current date, UTC.

    Returns
    -------
    dict
        ``site``, ``episode``, ``start``, ``alpha`` (false-alarm budget of the new episode), ``alert`` (id of the alert
        that was resolved, or None) and ``new`` (False: the episode existed already, and nothing was done).

    Raises
    ------
    BadData
        The site is unknown, or the start is not after that of the current episode, or is in the future.
    """
    (site,) = selected_sites(settings, ledger, [site_id])
    with ledger.transaction() as t:
        known = t.episodes(site_id)
        last = known[-1]
        begun = in_episode(site, known, last["number"]).start
        answer = {"site": site_id, "start": start.isoformat()}
        if last["number"] > 1 and start == begun:
            left = episode_alpha(settings.alerts.alpha, last)
            return {**answer, "episode": last["number"], "alpha": left, "alert": None, "new": False}
        if not begun < start <= today:
            msg = (
                f"site {site_id!r}: the new start, {start}, must be after {begun}, the start of the current episode, "
                f"and not after today, {today}; give the first day of the new work, once it has begun"
            )
            raise BadData(msg)
        share = float(last["budget"]) * remaining(1.0, (start - begun).days / 365.25)
        number = last["number"] + 1
        t.begin_episode(site_id, number, start=start.isoformat(), budget=share, why=why, now=now())
        stored = t.last_alert(site_id)
        alert = None if stored is None else from_json(stored, Alert)
        if alert is not None and alert.state is not AlertState.RESOLVED:
            # Its cause ended with the episode: a later loss is a new alert.
            treated = replace(resolve(alert, answer="treated", note=why, day=today), clear_since=start)
            t.save_alert(to_json(treated))
        else:
            alert = None
        left = episode_alpha(settings.alerts.alpha, t.episodes(site_id)[-1])
    return {
        **answer, "episode": number, "alpha": left, "alert": None if alert is None else alert.id, "new": True
    }  # fmt: skip
