"""Episodes: a site's plan from its start until a person closes it, for instance because it was replanted.

The next episode has a start and evidence of its own, what is left of the false-alarm budget, and the plan of the
registry. The ground stays that of the registry: its pixels are the same, and its control units were chosen by what lay
before the first work, which no later planting can have touched. So nothing is fetched again, and a unit that has been
left out stays out. What lies before the new start, the first episode too, is what the new growth is compared with.
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
    """The episode that a night is in: the last one that had begun, else the first."""
    begun = [one for one in episodes if one["number"] == 1 or one["start"] <= day.isoformat()]
    return begun[-1]


def in_episode(site: Site, episodes: Sequence[Mapping[str, Any]], number: int) -> Site:
    """A site as it is judged in one of its episodes: the first as the registry has it, others from their own start."""
    start = next((one["start"] for one in episodes if one["number"] == number), None)
    if number == 1 or start is None:
        return site
    return replace(site, start=date.fromisoformat(start), cohorts=())


def episode_alpha(alpha: float, episode: Mapping[str, Any]) -> float:
    """False-alarm budget of an episode, of that of the site; no less than the least that has a boundary. [1]"""
    return alpha if episode["number"] == 1 else max(alpha * float(episode["budget"]), LEAST_ALPHA)


def replant(settings: Settings, ledger: Ledger, site_id: str, *, start: date, why: str, today: date) -> dict[str, Any]:
    """Close the current episode of a site and open the next one; its open alert is resolved as treated.

    Parameters
    ----------
    settings, ledger
        Of the installation.
    site_id : str
    start : date
        First day of the new work.
    why : str
        What was done, in words.
    today : date
        Day on which a person says so.

    Returns
    -------
    dict
        ``site``, ``episode``, ``start``, ``alpha`` (what is left of the budget), ``alert`` (id of the one that was
        resolved, or None) and ``new`` (False: there is such an episode already, and nothing was done).

    Raises
    ------
    BadData
        There is no such site, or the start is no later than that of the current episode, or still to come.
    """
    (site,) = selected_sites(settings, ledger, [site_id])
    with ledger.transaction() as t:
        known = t.episodes(site_id)
        last = known[-1]
        begun = in_episode(site, known, last["number"]).start
        told = {"site": site_id, "start": start.isoformat()}
        if last["number"] > 1 and start == begun:
            left = episode_alpha(settings.alerts.alpha, last)
            return {**told, "episode": last["number"], "alpha": left, "alert": None, "new": False}
        if not begun < start <= today:
            msg = (
                f"site {site_id!r}: a new start on {start} is not after {begun}, when the current episode began, and "
                f"up to today, {today}; give the first day of the new work, once it has begun"
            )
            raise BadData(msg)
        share = float(last["budget"]) * remaining(1.0, (start - begun).days / 365.25)
        number = last["number"] + 1
        t.begin_episode(site_id, number, start=start.isoformat(), budget=share, why=why, now=now())
        stored = t.last_alert(site_id)
        alert = None if stored is None else from_json(stored, Alert)
        if alert is not None and alert.state is not AlertState.RESOLVED:
            # Its cause is over with the episode: what comes is new, and is told anew.
            treated = replace(resolve(alert, answer="treated", note=why, day=today), clear_since=start)
            t.save_alert(to_json(treated))
        else:
            alert = None
        left = episode_alpha(settings.alerts.alpha, t.episodes(site_id)[-1])
    return {
        **told, "episode": number, "alpha": left, "alert": None if alert is None else alert.id, "new": True
    }  # fmt: skip
