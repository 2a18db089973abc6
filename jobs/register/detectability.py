"""The detectability of failure of each site: simulated on all cores, stored in the ledger, read back for the page."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dask import compute, delayed, threaded

from monitor.publish.view import IMPROVEMENT_YEARS, DetectionAssumptions, DetectionChance, DetectionImprovement
from monitor.verdict.site_conditions import SiteConditions, simulate

IMPROVEMENT_WORDS: Final = {
    "now": "as it is", "more_scenes": "with twice the clear scenes", "strips": "with control strips",
    "both": "with both",
}  # fmt: skip


def simulate_all(conditions: Sequence[SiteConditions]) -> None:
    """Simulate each distinct set of conditions and its improvements once, on all cores; the results stay in memory."""
    possible = [known for known in conditions if not known.blind]
    distinct = dict.fromkeys(each for known in possible for each in (known, *known.improved.values()))
    compute(*(delayed(simulate, pure=False)(known) for known in distinct), scheduler=threaded.get)


def chances(stored: Mapping[str, Any] | None) -> tuple[DetectionChance, ...]:
    """Chances by year, as the page shows them, from :func:`monitor.verdict.site_conditions.detectability_json`."""
    if stored is None:
        return ()
    return tuple(
        DetectionChance(years=years, red=red, watch=watch)
        for years, red, watch in zip(stored["years"], stored["red"], stored["watch"], strict=True)
    )


def improvements(stored: Mapping[str, Any] | None) -> tuple[DetectionImprovement, ...]:
    """Chance of red in years 3 to 6 as things are, and if more were done; empty where there is no chance."""
    if stored is None or not stored["red"]:
        return ()
    rows = {"now": stored["red"], **stored["improved"]}
    at = [stored["years"].index(year) for year in IMPROVEMENT_YEARS]
    return tuple(DetectionImprovement(name=name, red=tuple(red[i] for i in at)) for name, red in rows.items())


def improvements_in_words(stored: Mapping[str, Any]) -> str:
    """What more scenes and strips would buy, in one sentence; empty where there is no chance."""
    rows = {row.name: row.red for row in improvements(stored)}
    if not rows:
        return ""
    first, last = IMPROVEMENT_YEARS[1], IMPROVEMENT_YEARS[-1]
    said = [f"{words} {rows[name][1]:.0%} and {rows[name][-1]:.0%}" for name, words in IMPROVEMENT_WORDS.items()]
    return f"Chance that a failure is red by the end of year {first} and {last}: {', '.join(said)}."


def assumptions(stored: Mapping[str, Any] | None) -> DetectionAssumptions | None:
    """Scenes and seasons that stored chances assume; None if nothing is stored, or observed scenes were used."""
    if stored is None or not stored.get("assumed"):
        return None
    return DetectionAssumptions(scenes=stored["scenes_a_year"], before=stored["seasons_before"])
