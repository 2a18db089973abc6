"""Named controls: control ground that people outline in a file, instead of a ring around the site."""

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
    """One outline in which control units are chosen."""

    geometry: BaseGeometry = field(repr=False)
    """Longitude and latitude. [degree]"""
    site: str | None
    """Id of the site that it is for; None: every site nearby."""


def read_named_controls(path: Path, *, sites: Collection[str]) -> list[NamedControl]:
    """Read a file of named controls, in any format of a registry and with its checks.

    The property ``site`` is optional, others are ignored; `sites` are the known site ids.

    Raises
    ------
    FileRefused
        The file cannot be read.
    BadData
        An outline is invalid or names an unknown site; the message has the first such problem and its fix.
    """
    controls = []
    for number, feature in enumerate(read_features(path), start=1):
        value = feature.properties.get("site")
        site = None if value is None or value == "" else str(value)
        where = f"{path.name}, control ground {number}"
        if site is not None and site not in sites:
            near = get_close_matches(site, sites, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"{where}: there is no site {without_invisible(site)[:60]!r}{hint}"
            raise BadData(msg + " Leave 'site' empty for ground that is for all.")
        outline = check_outline(feature)
        refused = next((p for p in outline.problems if p.refuses), None)
        if refused is not None or outline.geometry is None:
            problem = f"{refused.message} {refused.fix}" if refused else "it has no outline."
            msg = f"{where}: {problem}"
            raise BadData(msg)
        controls.append(NamedControl(geometry=outline.geometry, site=site))
    return controls


def named_controls_near(
    controls: Sequence[NamedControl], site: str, area: BaseGeometry
) -> tuple[BaseGeometry, ...] | None:
    """Outlines of the controls that name a site, else of those that name no site and touch `area`; None: none.

    Parameters
    ----------
    controls : sequence of NamedControl
    site : str
        Its id.
    area : shapely geometry
        Surroundings of the site, longitude and latitude. [degree]
    """
    own = tuple(control.geometry for control in controls if control.site == site)
    common = tuple(c.geometry for c in controls if c.site is None and c.geometry.intersects(area))
    return own or common or None
