"""Read the registry of sites, repair outlines, and write the result."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import shapely

from monitor.errors import BadData
from monitor.sites.checks import CheckedFeature, Report, check
from monitor.sites.columns import canonical_properties, drop_datum_columns, stated_datum
from monitor.sites.formats.feature import Feature
from monitor.sites.formats.reader import read_features
from monitor.sites.geometry import repair_outline
from monitor.sites.names import without_invisible

REPAIRABLE = ("UNCLOSED", "WINDING", "SELF_CROSSING", "RINGS", "GCJ02")
"""Codes of problems that :func:`repair` can fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineRepair:
    """Repair of one outline."""

    entry: CheckedFeature
    """Checked feature with the repaired outline."""
    codes: list[str]
    """Problems that it had, of :data:`REPAIRABLE`."""
    hectares_before: float | None
    """Area of the ring as drawn; the two sides of a crossing have opposite signs. [ha]"""


def read_sites(path: Path) -> Report:
    """Read a registry file and check every site in it.

    Parameters
    ----------
    path : Path
        File in any format of :func:`monitor.sites.formats.reader.read_features`.

    Returns
    -------
    Report
        Sites, and every problem with its fix.

    Raises
    ------
    FileRefused
        No site can be read.
    """
    return check(read_features(path))


def repair(report: Report) -> tuple[Report, list[OutlineRepair]]:
    """Repair outlines where possible, and check the result.

    Parameters
    ----------
    report : Report
        Checks of the file.

    Returns
    -------
    report : Report
        Checks of the repaired features, in the same order.
    repairs : list of OutlineRepair
        One for each changed outline.
    """
    features: list[Feature] = []
    for entry in report.entries:
        polygons = None
        if any(problem.code in REPAIRABLE for problem in entry.problems):
            datum = stated_datum(canonical_properties(entry.feature.properties))
            if datum is None or "gcj" in datum.lower():  # other web maps (BD-09) are moved differently
                polygons = repair_outline(entry.feature, from_gcj02=datum is not None)
        if polygons is None:
            features.append(entry.feature)
            continue
        features.append(
            replace(
                entry.feature,
                polygons=polygons,
                properties=drop_datum_columns(entry.feature.properties),
                winding_wrong=False,
                unclosed=False,
            )
        )
    after = check(features)
    repairs = [
        OutlineRepair(
            entry=new,
            codes=[p.code for p in old.problems if p.code in REPAIRABLE],
            hectares_before=old.hectares,
        )
        for old, new in zip(report.entries, after.entries, strict=True)
        if old.feature is not new.feature
    ]
    return after, repairs


def write_geojson(entries: Iterable[CheckedFeature], path: Path) -> None:
    """Write accepted sites as GeoJSON (RFC 7946), in one atomic step.

    Parameters
    ----------
    entries : iterable of Entry
        Entries without a site are omitted.
    path : Path
        An existing file is replaced.

    Raises
    ------
    BadData
        The file cannot be written.
    """
    features = [
        {
            "type": "Feature",
            "properties": _json_properties(canonical_properties(entry.feature.properties)),
            "geometry": shapely.geometry.mapping(entry.site.geometry),
        }
        for entry in entries
        if entry.site is not None
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".registry-", delete=False
        ) as file:
            whole = Path(file.name)
            try:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
                whole.chmod(0o644)
                whole.replace(path)
            except BaseException:
                whole.unlink(missing_ok=True)
                raise
    except OSError as error:
        msg = f"{str(path)!r} cannot be written ({error.strerror}). Name a file in a folder that exists and has space."
        raise BadData(msg) from None


def _json_properties(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties that JSON can represent, without invisible characters."""
    return {
        without_invisible(key): without_invisible(value) if isinstance(value, str) else value
        for key, value in properties.items()
        if value is not None and value == value and isinstance(value, str | int | float)  # NaN is not itself
    }
