"""The detectability of failure of each site: simulated on all cores, stored in the ledger, read back for the page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final

from dask import compute, delayed, threaded

from monitor.publish.view import IMPROVEMENT_YEARS, DetectionAssumptions, DetectionChance
from monitor.sites.site import Site
from monitor.verdict.site_conditions import SiteConditions, simulate

# A plan is slow if it promises less uplift [cover fraction] this many years after the start [year]: such sites can
# hardly be judged one by one in their first six years with a ring of control ground.
SLOW_YEARS: Final = 5.0
SLOW_UPLIFT: Final = 0.10
ADVISED_YEARS: Final = (4, 5, 6)
IMPROVEMENT_WORDS: Final = {
    "now": "as it is", "more_scenes": "with twice the clear scenes", "strips": "with control strips",
    "both": "with both",
}  # fmt: skip


def simulate_all(conditions: Sequence[SiteConditions]) -> None:
    """Simulate each distinct set of conditions and its improvements once, on all cores; the results stay in memory."""
    _simulate(each for known in conditions if not known.blind for each in (known, *known.improved.values()))


def _simulate(conditions: Iterable[SiteConditions]) -> None:
    compute(*(delayed(simulate, pure=False)(known) for known in dict.fromkeys(conditions)), scheduler=threaded.get)


def chances(stored: Mapping[str, Any] | None) -> tuple[DetectionChance, ...]:
    """Chances by year, as the page shows them, from :func:`monitor.verdict.site_conditions.detectability_json`."""
    if stored is None:
        return ()
    return tuple(
        DetectionChance(years=years, red=red, watch=watch)
        for years, red, watch in zip(stored["years"], stored["red"], stored["watch"], strict=True)
    )


def improvements(stored: Mapping[str, Any] | None) -> dict[str, tuple[float, ...]]:
    """Chance of red in years 3 to 6 as things are, and if more were done; empty if no chance is stored."""
    if stored is None or not stored["red"]:
        return {}
    rows = {"now": stored["red"], **stored["improved"]}
    at = [stored["years"].index(year) for year in IMPROVEMENT_YEARS]
    return {name: tuple(red[i] for i in at) for name, red in rows.items()}


def improvements_in_words(stored: Mapping[str, Any]) -> str:
    """Gain of more scenes and strips, in one sentence; empty if no chance is stored."""
    rows = improvements(stored)
    if not rows:
        return ""
    first, last = IMPROVEMENT_YEARS[1], IMPROVEMENT_YEARS[-1]
    said = [f"{IMPROVEMENT_WORDS[name]} {red[1]:.0%} and {red[-1]:.0%}" for name, red in rows.items()]
    return f"Chance that a failure is red by the end of year {first} and {last}: {', '.join(said)}."


def advise_strips(sites: Sequence[Site], *, since: date, alpha: float) -> dict[str, str]:
    """Detectability of both designs, ring and strips, for each site with a slow plan: a sentence by site id.

    `since`: first day of imagery; `alpha`: lifetime false-alarm budget. [1]
    """
    slow = [site for site in sites if 0 < site.plan.uplift(SLOW_YEARS) < SLOW_UPLIFT]
    rings = [SiteConditions.assumed(site, since=since, alpha=alpha) for site in slow]
    designs = [(ring, replace(ring, strips=True)) for ring in rings]
    _simulate(each for pair in designs for each in pair if not each.blind)
    said = {}
    for site, pair in zip(slow, designs, strict=True):
        if pair[0].blind:
            continue
        ring, strips = (
            ", ".join(f"{year.red:.0%}" for year in one.by_year(site.start) if year.year in ADVISED_YEARS)
            for one in pair
        )
        said[site.id] = (
            f"A slow plan: if nothing grows here, it is red by the end of year 4, 5 and 6 with a chance of {ring} with "
            f"control ground around it, of {strips} with untreated strips."
        )
    return said


def assumptions(stored: Mapping[str, Any] | None) -> DetectionAssumptions | None:
    """Scenes and seasons that stored chances assume; None if nothing is stored, or observed scenes were used."""
    if stored is None or not stored.get("assumed"):
        return None
    return DetectionAssumptions(scenes=stored["scenes_a_year"], before=stored["seasons_before"])
