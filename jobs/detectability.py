"""The detectability of failure of each site: simulated on all cores, stored in the ledger, read back for the page."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from dask import compute, delayed

from monitor.publish.view import DetectionAssumptions, DetectionChance
from monitor.verdict.detectability import in_words
from monitor.verdict.site_conditions import NO_VERDICT, SiteConditions, simulate


def simulate_all(conditions: Sequence[SiteConditions]) -> None:
    """Simulate each distinct set of conditions once, on all cores; the results stay in memory."""
    distinct = dict.fromkeys(known for known in conditions if not known.blind)
    compute(*(delayed(simulate, pure=False)(known) for known in distinct), scheduler="threads")


def detectability_json(conditions: SiteConditions, start: date) -> dict[str, Any]:
    """Detectability of failure at a site as plain values, for the ledger and for ``sites add --json``."""
    years = conditions.by_year(start)
    said = NO_VERDICT.get(conditions.blind) or [in_words(years, language=language) for language in ("en", "zh")]
    return {
        "made_from": conditions.key,
        "seasons_before": conditions.before,
        "scenes_a_year": conditions.scenes,
        "assumed": conditions.unseen,
        "years": [year.year for year in years],
        "until": [year.until for year in years],
        "red": [year.red for year in years],
        "watch": [year.watch for year in years],
        "said": dict(zip(("en", "zh"), said, strict=True)),
    }


def chances(stored: Mapping[str, Any] | None) -> tuple[DetectionChance, ...]:
    """Chances by year from what :func:`detectability_json` wrote, as the page shows them."""
    if stored is None:
        return ()
    return tuple(
        DetectionChance(years=years, red=red, watch=watch)
        for years, red, watch in zip(stored["years"], stored["red"], stored["watch"], strict=True)
    )


def assumptions(stored: Mapping[str, Any] | None) -> DetectionAssumptions | None:
    """Scenes and seasons that stored chances assume; None if nothing is stored, or observed scenes were used."""
    if stored is None or not stored.get("assumed"):
        return None
    return DetectionAssumptions(scenes=stored["scenes_a_year"], before=stored["seasons_before"])
