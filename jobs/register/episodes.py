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

from jobs.register.answering import answer_alert
from jobs.runtime.clock import now
from jobs.runtime.installation import selected_sites
from jobs.runtime.records import from_json, to_json
from monitor.alerts.alert import Alert, AlertState, Verdict
from monitor.alerts.lifecycle import forget_answer
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site
from monitor.verdict.calibration import LEAST_ALPHA, remaining


def current_episode(day: date, episodes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Episode on a day: the last one that had begun, else the first."""
    begun = [episode for episode in episodes if episode["number"] == 1 or episode["start"] <= day.isoformat()]
    return begun[-1]


def in_episode(site: Site, episodes: Sequence[Mapping[str, Any]], number: int) -> Site:
    """Site with the start of its episode of this number; the site itself in the first or an unknown episode."""
    start = next((episode["start"] for episode in episodes if episode["number"] == number), None)
    if number == 1 or start is None:
        return site
    return replace(site, start=date.fromisoformat(start), cohorts=())


def episode_alpha(alpha: float, episode: Mapping[str, Any]) -> float:
    """False-alarm budget of an episode, from that of its site, at least the smallest that has a boundary. [1]"""
    return alpha if episode["number"] == 1 else max(alpha * float(episode["budget"]), LEAST_ALPHA)


def replant(ledger: Ledger, site_id: str, *, start: date, why: str, alpha: float, today: date) -> dict[str, Any]:
    """Close the current episode of a site and open the next one; its open alert is resolved as treated.

    `alpha`: false-alarm budget of the site [1]. Returns ``site``, ``episode``, ``start``, ``alpha`` of the new episode,
    ``alerts`` that were resolved, and ``new`` (False: the episode existed already, and nothing was done). Raises
    BadData if the site is unknown, or the start is not after that of the current episode, or in the future.
    """
    (site,) = selected_sites(ledger, [site_id])
    with ledger.transaction() as t:
        known = t.episodes(site_id)
        last = known[-1]
        begun = in_episode(site, known, last["number"]).start
        answer = {"site": site_id, "episode": last["number"], "start": start.isoformat()}
        if last["number"] > 1 and start == begun:
            return {**answer, "alpha": episode_alpha(alpha, last), "alerts": [], "new": False}
        if not begun < start <= today:
            raise BadData(
                f"site {site_id!r}: the new start, {start}, must be after {begun}, the start of the current episode, "
                f"and not after today, {today}; give the first day of the new work, once it has begun"
            )
        share = float(last["budget"]) * remaining(1.0, (start - begun).days / 365.25)
        answer["episode"] = last["number"] + 1
        t.begin_episode(site_id, answer["episode"], start=start.isoformat(), budget=share, why=why, now=now())
        treated = []
        for alert in (from_json(values, Alert) for values in t.alerts_of(site_id)):
            if alert.state is not AlertState.RESOLVED:
                answer_alert(t, alert.id, Verdict.TREATED, None, why, day=today, by="replant")
                treated.append(alert.id)
            t.save_alert(to_json(forget_answer(from_json(t.alert(alert.id) or {}, Alert))))
        rest = episode_alpha(alpha, t.episodes(site_id)[-1])
    return {**answer, "alpha": rest, "alerts": treated, "new": True}
