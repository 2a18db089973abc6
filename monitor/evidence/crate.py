"""``ro-crate-metadata.json``: what is in a pack, in the words and terms of RO-Crate 1.1 [1]_.

References
----------
.. [1] P. Sefton et al., RO-Crate Metadata Specification 1.1, 2020, doi:10.5281/zenodo.4031327.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import quote

import shapely

from monitor.errors import BadData
from monitor.evidence.container import MANIFEST, SIGNATURE
from monitor.sites.names import without_invisible
from monitor.sites.site import Site

METADATA: Final = "ro-crate-metadata.json"
README: Final = "readme.txt"
SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
MAX_CORNERS: Final = 1000
"""Corners of an outline that is written as such; of a larger one the bounding box. All of it is in ``site.json``."""
LICENCE: Final = {
    "@id": "#licence",
    "@type": "CreativeWork",
    "name": "No licence is stated",
    "description": (
        "The programme has stated no licence for this pack; ask whoever gave it to you before passing it on. The "
        "pixels were read from the scenes listed under isBasedOn, and the terms of their providers apply to them. The "
        "software is under the Apache License 2.0, which does not extend to what it writes."
    ),
}

JSON, CSV, NETCDF, TEXT = "application/json", "text/csv", "application/x-netcdf", "text/plain"
MEMBERS: Final[Mapping[str, tuple[str, str, str]]] = {
    README: ("Read this first", TEXT, "What this pack is, how to check it, and what it does not prove."),
    "assessments.json": (
        "Assessments", JSON,
        "The stored assessments of the site up to the published one, which is the last, as in status.json: all of "
        "the newest 90 days, and earlier ones that changed status, alert or episode, that are named elsewhere, or that "
        "are the first, or the last of a month. Each with the digest of its inputs, the version of the site, the "
        "snapshot of the store (landscape and number of its rows), and the control units that no longer counted.",
    ),
    "observations.csv": (
        "Series", CSV,
        "Means of the site and of its control ground in every scene, as published; with the reason where a scene does "
        "not count. The last assessment was computed from this table and plan.json.",
    ),
    "plan.json": (
        "Plan and constants", JSON,
        "The plan of the site and all else that the last assessment used beside the series, as published.",
    ),
    "site.json": (
        "Site", "application/geo+json", "The site as registered, its outline and its episodes, without its manager.",
    ),
    "controls.json": (
        "Control units", JSON, "The frozen control units, how alike they were before the start, and which left.",
    ),
    "controls.geojson": (
        "Map of the control units", "application/geo+json",
        "Outlines of the control units, and which counted at the last assessment, as published.",
    ),
    "landscape.json": (
        "Grid of the site", JSON,
        "What was fixed when the store of the site was created: grid, pixels inside the site, control units.",
    ),
    "scenes.csv": (
        "Scenes", CSV,
        "Every stored row of the site: source, scene, granules, processing baseline, scale, offset, whether it counts, "
        "the checksum of the pixels read, and the means as recorded.",
    ),
    "unit-means.nc": (
        "Means of the control units", NETCDF,
        "Means of each control unit in each scene, as recorded. Pixels of control ground are not stored.",
    ),
    "unit-means-superseded.nc": (
        "Means of the control units, superseded", NETCDF,
        "The same in rows of scenes.csv that a later row of the same acquisition has replaced.",
    ),
    "alerts.json": (
        "Alerts", JSON,
        "The alerts of the site with all events and answers from the field. Photos are named by their SHA-256.",
    ),
    "chain.jsonl": (
        "Chain of nights", "application/jsonl",
        "One line a night: the root of the hash tree of its assessments and answers, and the hash of the line before.",
    ),
    "chain-proofs.json": (
        "Places in the chain", JSON,
        "For each assessment and answer of this pack the hashes that lead from it to the root of a line of the chain.",
    ),
    "environment.json": (
        "Environment", JSON, "Program, Python, libraries and kind of machine that wrote this pack.",
    ),
    MANIFEST: (
        "Checksums", TEXT,
        "SHA-256 of every other member but the signature, in the form of sha256sum. It lists this description, so its "
        "own checksum cannot be here.",
    ),
    SIGNATURE: (
        "Signature", "application/octet-stream",
        "Raw Ed25519 signature of the checksums. It is made last, so its own checksum cannot be here.",
    ),
}  # fmt: skip
"""Title, media type and description of each member."""
_PIXELS: Final = re.compile(r"pixels-(\d{4})(-superseded)?\.nc")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """Size and checksum of a member."""

    name: str
    size: int
    """[byte]"""
    sha256: str
    """In hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFacts:
    """A scene that pixels were read from."""

    source: str
    scene: str
    day: date
    baseline: str
    """Processing baseline; empty: unknown."""


def crate_metadata(
    site: Site,
    assessment: Mapping[str, Any],
    members: Sequence[MemberFacts],
    scenes: Sequence[SceneFacts],
    *,
    program: str,
    written_by: str | None,
) -> bytes:
    """Content of ``ro-crate-metadata.json``. It states no time but the days of the scenes and of the assessment.

    Parameters
    ----------
    site : Site
        The site of the assessment.
    assessment : mapping
        The published assessment, as in ``status.json``.
    members : sequence of MemberFacts
        All other members but the manifest and its signature.
    scenes : sequence of SceneFacts
        In order of time.
    program, written_by : str, str or None
        Name of the program, and the version that writes the pack.

    Raises
    ------
    BadData
        A member has no description.
    """
    files = [_file(member.name, member) for member in members]
    files += [_file(name, None) for name in (MANIFEST, SIGNATURE)]
    sources = {scene["@id"]: scene for scene in map(_scene, scenes)}
    place, outlines = _place(site)
    day, status = str(assessment["as_of"]), str(assessment["status"])
    name = without_invisible(site.id)
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Evidence for the assessment of site {name} on {day}",
        "description": (
            f"Regrowth at one site under restoration: the assessment of {day} (status {status}) with all that it was "
            "computed from, signed, so that it can be checked and computed again without its author. datePublished is "
            "the day of the assessment, not of the writing of this pack. Author and publisher are not known to the "
            "program that wrote it."
        ),
        "datePublished": day,
        "license": {"@id": LICENCE["@id"]},
        "contentLocation": {"@id": place["@id"]},
        "hasPart": [{"@id": file["@id"]} for file in files],
        "mentions": {"@id": "#assessment"},
    }
    if scenes:
        root["temporalCoverage"] = f"{min(s.day for s in scenes)}/{max(s.day for s in scenes)}"
        root["isBasedOn"] = _one_or_many([{"@id": identifier} for identifier in sources])
    judged, written = _software(program, assessment.get("code_version"), written_by)
    action = {
        "@id": "#assessment",
        "@type": "CreateAction",
        "name": f"Assessment of site {name} on {day}",
        "endTime": day,
        "instrument": {"@id": judged["@id"]},
        "object": [{"@id": "observations.csv"}, {"@id": "plan.json"}],
        "result": {"@id": "assessments.json"},
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": "./"},
        "description": "This description.",
        "creator": {"@id": written["@id"]},
    }
    software = [judged] if judged == written else [judged, written]
    graph = [descriptor, root, *files, LICENCE, place, *outlines, action, *software, *sources.values()]
    context = [f"{SPECIFICATION}/context", {"sha256": "http://schema.org/sha256"}]
    lines = ",\n".join(json.dumps(entity, ensure_ascii=False, allow_nan=False) for entity in graph)
    return f'{{"@context": {json.dumps(context)},\n"@graph": [\n{lines}\n]}}\n'.encode()


def title_of(name: str) -> str:
    """Title of a member.

    Raises
    ------
    BadData
        There is no such member.
    """
    return _described(name)[0]


def _described(name: str) -> tuple[str, str, str]:
    """Title, media type and description of a member."""
    if name in MEMBERS:
        return MEMBERS[name]
    pixels = _PIXELS.fullmatch(name)
    if pixels is None:
        msg = f"{name}: a member without a description; add one to monitor/evidence/crate.py"
        raise BadData(msg)
    which = "that a later row of the same acquisition has replaced" if pixels[2] else "that counts"
    about = (
        f"The pixels of the site in every row of scenes.csv of {pixels[1]} {which}: integers as delivered, the quality "
        "layer, and which pixels are clear."
    )
    return f"Pixels of {pixels[1]}{', superseded' if pixels[2] else ''}", NETCDF, about


def _file(name: str, facts: MemberFacts | None) -> dict[str, Any]:
    """Entity of a member."""
    title, media_type, about = _described(name)
    entity: dict[str, Any] = {
        "@id": name, "@type": "File", "name": title, "description": about, "encodingFormat": media_type,
    }  # fmt: skip
    return entity if facts is None else entity | {"contentSize": str(facts.size), "sha256": facts.sha256}


def _scene(scene: SceneFacts) -> dict[str, Any]:
    """Entity of a scene, under a name: what is stored is its source and id, not where it lay."""
    address = ":".join(quote(part.encode("utf-8", "surrogatepass"), safe="") for part in (scene.source, scene.scene))
    entity = {
        "@id": f"urn:scene:{address}",
        "@type": "CreativeWork",
        "name": without_invisible(scene.scene),
        "description": f"Satellite scene of the source {without_invisible(scene.source)}",
        "dateCreated": scene.day.isoformat(),
    }
    return entity | ({"version": without_invisible(scene.baseline)} if scene.baseline else {})


def _place(site: Site) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Entities of the site as a place and of its outline, one shape a polygon; latitude comes first in them."""
    shapes: list[dict[str, Any]] = []
    if not site.geometry.is_empty:
        polygons = shapely.get_parts(site.geometry).tolist()
        if shapely.get_num_coordinates(site.geometry) > MAX_CORNERS:
            left, bottom, right, top = map(float, site.geometry.bounds)
            shapes = [{"box": f"{bottom!r} {left!r} {top!r} {right!r}"}]
        else:
            corners = [shapely.get_coordinates(polygon.exterior).tolist() for polygon in polygons]
            shapes = [{"polygon": " ".join(f"{y!r} {x!r}" for x, y in ring)} for ring in corners]
    shapes = [
        {"@id": f"#outline-{number}", "@type": "GeoShape", "name": f"Part {number} of the site", **shape}
        for number, shape in enumerate(shapes, start=1)
    ]
    place: dict[str, Any] = {
        "@id": "#site",
        "@type": "Place",
        "name": without_invisible(site.name) or without_invisible(site.id),
        "identifier": without_invisible(site.id),
        "description": "The site. Its exact outline, holes included, is in site.json.",
    }
    return place | ({"geo": _one_or_many([{"@id": shape["@id"]} for shape in shapes])} if shapes else {}), shapes


def _software(program: str, judged: str | None, written: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Entities of the software that made the assessment, and of that which writes the pack."""

    def entity(version: str | None) -> dict[str, Any]:
        known = {"version": version, "softwareVersion": version} if version else {}
        return {
            "@id": f"#software-{quote(version or 'unknown', safe='')}",
            "@type": "SoftwareApplication",
            "name": program,
            **known,
        }

    return entity(judged), entity(written)


def _one_or_many(references: list[dict[str, Any]]) -> Any:
    """References of a property; in compacted JSON-LD a single one is no list."""
    return references[0] if len(references) == 1 else references
