"""Check a registry: the values and outline of every site, and conflicts between sites.

A problem that would make a verdict wrong or impossible refuses the site; any other problem is a warning. Sites that
contradict each other are all refused, since the file does not show which one is right.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from monitor.sites.columns import unknown_columns
from monitor.sites.conflicts import add_id_conflicts, add_outline_conflicts
from monitor.sites.draft import draft_site
from monitor.sites.formats.feature import Feature
from monitor.sites.geometry import Problem
from monitor.sites.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFeature:
    """One feature of the file, with its problems and, if it is accepted, its site."""

    label: str
    """Id of the site; without an id, its place in the file."""
    feature: Feature = field(repr=False)
    problems: list[Problem]
    hectares: float | None
    """Geodesic area of the outline as drawn; None: it has no area. [ha]"""
    site: Site | None
    """None: a problem refuses it."""

    @property
    def ok(self) -> bool:
        """Whether the site is accepted."""
        return self.site is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Results of the checks of a registry, in the order of the file."""

    entries: list[CheckedFeature]
    columns: dict[str, str | None] = field(default_factory=dict)
    """Unknown columns of the file, each with the nearest known column or None."""

    @property
    def sites(self) -> list[Site]:
        """Accepted sites."""
        return [entry.site for entry in self.entries if entry.site is not None]

    @property
    def refused(self) -> list[CheckedFeature]:
        """Refused features."""
        return [entry for entry in self.entries if not entry.ok]

    @property
    def problems(self) -> list[tuple[str, Problem]]:
        """Every problem, warnings included, with the label of its site."""
        return [(entry.label, problem) for entry in self.entries for problem in entry.problems]


def check(features: Iterable[Feature]) -> Report:
    """Check all features of a registry.

    Parameters
    ----------
    features : iterable of Feature
        Result of :func:`monitor.sites.formats.reader.read_features`.

    Returns
    -------
    Report
        With a site for each feature that no problem refuses.
    """
    features = list(features)
    columns = unknown_columns(features)
    drafts = [draft_site(feature, place, columns) for place, feature in enumerate(features, start=1)]
    add_id_conflicts(drafts)
    add_outline_conflicts([draft for draft in drafts if draft.outline is not None])
    entries = [
        CheckedFeature(
            label=draft.label, feature=draft.feature, problems=draft.problems, hectares=draft.hectares,
            site=None if draft.refused else draft.site,
        )
        for draft in drafts
    ]  # fmt: skip
    return Report(entries=entries, columns=columns)
