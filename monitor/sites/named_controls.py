"""Control ground that people have named, where they know better than a ring round the site."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from shapely.geometry.base import BaseGeometry

from monitor.errors import BadData
from monitor.sites.formats.reader import read_features
from monitor.sites.geometry import check_outline
from monitor.sites.names import without_invisible


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedControl:
    """One outline of named control ground."""

    geometry: BaseGeometry = field(repr=False)
    """Longitude and latitude. [degree]"""
    site: str | None
    """The site that it is for; None: for every site that has it in reach."""


def read_named_controls(path: Path, *, sites: Collection[str]) -> list[NamedControl]:
    """Read named control ground, as strictly as a registry.

    Parameters
    ----------
    path : Path
        Any kind of file that a registry may be; the property ``site`` is optional, others are not read.
    sites : collection of str
        Ids that there are.

    Raises
    ------
    FileRefused
        The file cannot be read.
    BadData
        An outline cannot be used, or names a site that there is not; the first one is told, with its fix.
    """
    found = []
    for place, feature in enumerate(read_features(path), start=1):
        said = feature.properties.get("site")
        site = None if said is None or said == "" else str(said)
        here = f"{path.name}, control ground {place}"
        if site is not None and site not in sites:
            near = get_close_matches(site, sites, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = (
                f"{here}: there is no site {without_invisible(site)[:60]!r}{hint} "
                "Leave 'site' empty for ground that is for all."
            )
            raise BadData(msg)
        outline = check_outline(feature)
        refused = next((problem for problem in outline.problems if problem.refuses), None)
        if refused is not None or outline.geometry is None:
            told = f"{refused.message} {refused.fix}" if refused else "it has no outline."
            msg = f"{here}: {told}"
            raise BadData(msg)
        found.append(NamedControl(geometry=outline.geometry, site=site))
    return found


def named_controls_near(
    given: Sequence[NamedControl], site: str, area: BaseGeometry
) -> tuple[BaseGeometry, ...] | None:
    """Named control ground of a site: what names it, else what names none and touches `area`; None: there is none."""
    own = tuple(one.geometry for one in given if one.site == site)
    common = tuple(one.geometry for one in given if one.site is None and one.geometry.intersects(area))
    return own or common or None
