"""Read and check the registry of sites, repair outlines, and write the result.

A problem that would make a verdict wrong or impossible refuses the site; any other problem is a warning. Sites that
contradict each other are all refused, since the file does not show which one is right.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import shapely

from monitor.errors import BadData
from monitor.files import write_atomically
from monitor.sites.checked_feature import CheckedFeature, check_feature
from monitor.sites.columns import drop_datum_columns, stated_datum, unknown_columns
from monitor.sites.conflicts import add_id_conflicts, add_outline_conflicts
from monitor.sites.formats.feature import Feature
from monitor.sites.formats.reader import read_features
from monitor.sites.geometry import Problem, repair_outline
from monitor.sites.names import without_invisible
from monitor.sites.site import Biome, Site

REPAIRABLE = ("UNCLOSED", "WINDING", "SELF_CROSSING", "RINGS", "GCJ02")  #: codes that :func:`repair` can fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Results of the checks of a registry, in the order of the file."""

    entries: list[CheckedFeature]
    columns: dict[str, str | None]  #: unknown columns of the file, each with the nearest known column or None
    biomes: Mapping[str, Biome] = field(default_factory=dict)  #: biomes that were known beside the built-in ones

    @property
    def sites(self) -> list[Site]:
        """Accepted sites."""
        return [entry.site for entry in self.entries if entry.site is not None]

    @property
    def refused(self) -> list[CheckedFeature]:
        """Refused features."""
        return [entry for entry in self.entries if entry.site is None]

    @property
    def problems(self) -> list[tuple[str, Problem]]:
        """Every problem, warnings included, with the label of its site."""
        return [(entry.label, problem) for entry in self.entries for problem in entry.problems]


def read_sites(path: Path, biomes: Mapping[str, Biome] | None = None) -> Report:
    """Read a registry file, in any format of :func:`read_features`, and check every site in it.

    Parameters
    ----------
    path : Path
    biomes : mapping of str to Biome, optional
        Biomes that the registry may name beside the built-in ones.

    Returns
    -------
    Report
        Every feature of the file with its problems, also the refused ones.

    Raises
    ------
    FileRefused
        No site can be read.
    """
    return _check(read_features(path), biomes or {})


def repair(report: Report) -> Report:
    """Repair outlines where possible; checks of the repaired features, in the same order."""
    after = _check([_repaired(entry) for entry in report.entries], report.biomes)
    for before, entry in zip(report.entries, after.entries, strict=True):
        if entry.feature is not before.feature:
            entry.repaired = tuple(problem.code for problem in before.problems if problem.code in REPAIRABLE)
            entry.hectares_before = before.hectares
    return after


def _check(features: list[Feature], biomes: Mapping[str, Biome]) -> Report:
    columns = unknown_columns(features)
    entries = [check_feature(feature, place, columns, biomes) for place, feature in enumerate(features, start=1)]
    add_id_conflicts(entries)
    add_outline_conflicts([entry for entry in entries if entry.outline is not None])
    return Report(entries=entries, columns=columns, biomes=biomes)


def _repaired(entry: CheckedFeature) -> Feature:
    """The feature with a repaired outline; the same object where nothing can be repaired."""
    feature = entry.feature
    datum = stated_datum(entry.properties)
    if (
        not any(problem.code in REPAIRABLE for problem in entry.problems)
        or (datum is not None and "gcj" not in datum.lower())  # other web maps (BD-09) are shifted differently
        or (polygons := repair_outline(feature, from_gcj02=datum is not None)) is None
    ):
        return feature
    properties = drop_datum_columns(feature.properties)
    return replace(feature, polygons=polygons, properties=properties, winding_wrong=False, unclosed=False)


def write_geojson(entries: Iterable[CheckedFeature], path: Path) -> None:
    """Write accepted sites as GeoJSON (RFC 7946), in one atomic step; an existing file is replaced.

    Parameters
    ----------
    entries : iterable of CheckedFeature
        Refused ones are left out.
    path : Path

    Raises
    ------
    BadData
        The file cannot be written.
    """
    features = [
        {
            "type": "Feature",
            "properties": {
                without_invisible(key): without_invisible(value) if isinstance(value, str) else value
                for key, value in entry.properties.items()
                if isinstance(value, str | int | float) and value == value  # NaN is not itself
            },
            "geometry": shapely.geometry.mapping(entry.site.geometry),
        }
        for entry in entries
        if entry.site is not None
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1)
    try:
        write_atomically(path, f"{text}\n".encode(), lasting=True)
    except OSError as error:
        msg = f"{str(path)!r} cannot be written ({error.strerror}). Name a file in a folder that exists and has space."
        raise BadData(msg) from None
