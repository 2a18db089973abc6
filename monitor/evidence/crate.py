"""``ro-crate-metadata.json``: the content of a pack, as an RO-Crate 1.1 [1]_.

References
----------
.. [1] P. Sefton et al., RO-Crate Metadata Specification 1.1, 2020, doi:10.5281/zenodo.4031327.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from monitor.errors import BadData
from monitor.evidence.container import MANIFEST, SIGNATURE
from monitor.sites.names import without_invisible

METADATA: Final = "ro-crate-metadata.json"
README: Final = "readme.txt"
SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
LICENCE: Final = {
    "@id": "#licence",
    "@type": "CreativeWork",
    "name": "No licence is stated",
    "description": (
        "The programme has stated no licence for this pack; ask whoever gave it to you before passing it on. The "
        "terms of their providers apply to the pixels of the scenes in observations.csv. The software is under the "
        "Apache License 2.0, which does not extend to what it writes."
    ),
}

_JSON, _CSV, _TEXT = "application/json", "text/csv", "text/plain"
MEMBERS: Final[Mapping[str, tuple[str, str, str]]] = {
    README: ("Read this first", _TEXT, "What this pack is, how to check it, and what it does not prove."),
    "assessments.json": (
        "Assessments", _JSON,
        "The stored assessments of the site up to the published one, which is the last, as in status.json: all of "
        "the newest 90 days, and earlier ones that changed status, alert or episode, that are named elsewhere, or that "
        "are the first, or the last of a month. Each with the digest of its inputs, the version of the site, the "
        "snapshot of the store (landscape and number of its rows), and the control units that no longer counted.",
    ),
    "observations.csv": (
        "Series", _CSV,
        "Means of the site and of its control ground in every scene, as published; with the reason where a scene does "
        "not count. The last assessment was computed from this table and plan.json.",
    ),
    "plan.json": (
        "Plan and constants", _JSON,
        "The plan of the site and all else that the last assessment used beside the series, as published.",
    ),
    "site.json": (
        "Site", "application/geo+json", "The site as registered, its outline and its episodes, without its manager.",
    ),
    "controls.json": (
        "Control units", _JSON, "The frozen control units, how alike they were before the start, and which left.",
    ),
    "controls.geojson": (
        "Map of the control units", "application/geo+json",
        "Outlines of the control units, and which counted at the last assessment, as published.",
    ),
    "data.zarr/": (
        "Scenes", "application/vnd+zarr",
        "A Zarr group of all stored scenes of the site: pixels as delivered, means of the site and of each control "
        "unit, and whether each scene counts. Pixels of control ground are not stored.",
    ),
    "alerts.json": (
        "Alerts", _JSON,
        "The alerts of the site with all events and answers from the field. Photos are named by their SHA-256.",
    ),
    "chain.jsonl": (
        "Chain of nights", "application/jsonl",
        "One line a night: the root of the hash tree of its assessments and answers, and the hash of the line before.",
    ),
    "chain-proofs.json": (
        "Places in the chain", _JSON,
        "For each assessment and answer of this pack the hashes that lead from it to the root of a line of the chain.",
    ),
    "environment.json": (
        "Environment", _JSON, "Program, Python, libraries and kind of machine that wrote this pack.",
    ),
    MANIFEST: (
        "Checksums", _TEXT,
        "SHA-256 of every other member but the signature, in the form of sha256sum. It lists this description, so its "
        "own checksum cannot be here.",
    ),
    SIGNATURE: (
        "Signature", "application/octet-stream",
        "Raw Ed25519 signature of the checksums. It is made last, so its own checksum cannot be here.",
    ),
}  # fmt: skip
"""Title, media type and description of each member."""


def part_of(member: str) -> str:
    """Name of a member in the description, or its folder."""
    folder, slash, _ = member.partition("/")
    return folder + slash


def description_of(name: str) -> tuple[str, str, str]:
    """Title, media type and description of a part of a pack; ``BadData``: it has none."""
    if name not in MEMBERS:
        raise BadData(f"{name}: a member without a description; add one to monitor/evidence/crate.py")
    return MEMBERS[name]


def crate_metadata(assessment: Mapping[str, Any], members: Iterable[str]) -> bytes:
    """Content of ``ro-crate-metadata.json``. It states no time but the day of the assessment.

    `assessment` is the published one, as in ``status.json``; `members` are the names of all others but the manifest and
    its signature. Raises ``BadData`` where one of them has no description.
    """
    parts = [_part(name) for name in dict.fromkeys([*map(part_of, members), MANIFEST, SIGNATURE])]
    day, name = str(assessment["as_of"]), without_invisible(str(assessment["site"]))
    descriptor = {
        "@id": METADATA, "@type": "CreativeWork", "conformsTo": {"@id": SPECIFICATION}, "about": {"@id": "./"},
    }  # fmt: skip
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Evidence for the assessment of site {name} on {day}",
        "description": (
            f"Regrowth at one site under restoration: the assessment of {day} (status {assessment['status']}) with all "
            "that it was computed from, signed, so that it can be checked and computed again without its author. "
            "datePublished is the day of the assessment, not of the writing of this pack. Author and publisher are not "
            "known to the program that wrote it, whose version is in environment.json."
        ),
        "datePublished": day,
        "license": {"@id": LICENCE["@id"]},
        "hasPart": [{"@id": part["@id"]} for part in parts],
    }
    lines = ",\n".join(
        json.dumps(entity, ensure_ascii=False, allow_nan=False) for entity in (descriptor, root, LICENCE, *parts)
    )
    return f'{{"@context": "{SPECIFICATION}/context",\n"@graph": [\n{lines}\n]}}\n'.encode()


def _part(name: str) -> dict[str, Any]:
    title, media_type, about = description_of(name)
    kind = "Dataset" if name.endswith("/") else "File"
    return {"@id": name, "@type": kind, "name": title, "description": about, "encodingFormat": media_type}
