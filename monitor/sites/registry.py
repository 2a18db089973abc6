"""The registry of sites: read it, and write back what could be mended."""

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
from monitor.sites.names import folder_name, without_invisible

__all__ = ["REPAIRABLE", "OutlineRepair", "folder_name", "read_sites", "repair", "write_geojson"]

REPAIRABLE = ("UNCLOSED", "WINDING", "SELF_CROSSING", "RINGS", "GCJ02")
"""Codes of problems that :func:`repair` can do something about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineRepair:
    """What a repair did to one outline."""

    entry: CheckedFeature
    """Of the mended outline."""
    codes: list[str]
    """What was wrong, of :data:`REPAIRABLE`."""
    hectares_before: float | None
    """Area by the formula for the ring as drawn, which counts the two sides of a crossing against each other. [ha]"""


def read_sites(path: Path) -> Report:
    """Read a registry file and judge every site in it.

    Parameters
    ----------
    path : Path
        See :func:`monitor.sites.formats.reader.read_features`.

    Returns
    -------
    Report
        Typed sites, and every problem with its fix.

    Raises
    ------
    FileRefused
        If no site can be read.
    """
    return check(read_features(path))


def repair(report: Report) -> tuple[Report, list[OutlineRepair]]:
    """Mend what can be mended, and judge the result.

    Parameters
    ----------
    report : Report
        Of the file as it is.

    Returns
    -------
    report : Report
        Of the mended features, in the same order.
    mendings : list of Mending
        One for each outline that was changed.
    """
    mended: list[Feature] = []
    for entry in report.entries:
        polygons = None
        if any(problem.code in REPAIRABLE for problem in entry.problems):
            datum = stated_datum(canonical_properties(entry.feature.properties))
            if datum is None or "gcj" in datum.lower():  # other web maps (BD-09) are moved differently
                polygons = repair_outline(entry.feature, from_gcj02=datum is not None)
        if polygons is None:
            mended.append(entry.feature)
            continue
        mended.append(
            replace(
                entry.feature,
                polygons=polygons,
                properties=drop_datum_columns(entry.feature.properties),
                winding_wrong=False,
                unclosed=False,
            )
        )
    after = check(mended)
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
    """Write the sites that are taken as GeoJSON (RFC 7946), whole or not at all.

    Parameters
    ----------
    entries : iterable of Entry
        Those without a site are left out.
    path : Path
        Replaced if it exists.

    Raises
    ------
    BadData
        If it cannot be written there.
    """
    features = [
        {
            "type": "Feature",
            "properties": _said(canonical_properties(entry.feature.properties)),
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


def _said(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties as JSON can hold them, without invisible signs."""
    return {
        without_invisible(key): without_invisible(value) if isinstance(value, str) else value
        for key, value in properties.items()
        if value is not None and value == value and isinstance(value, str | int | float)  # NaN is not itself
    }
