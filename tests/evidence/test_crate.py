"""The description of a pack is an RO-Crate 1.1."""

import json
from datetime import date
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from monitor.errors import BadData
from monitor.evidence.crate import MEMBERS, crate_metadata, description_of, part_of

NAMES = ["observations.csv", "plan.json", "assessments.json", "data.zarr/zarr.json", "data.zarr/x/c/0", "readme.txt"]


def described(site="lowood"):
    return json.loads(crate_metadata({"site": site, "as_of": "2020-10-31", "status": "failing"}, NAMES))


def check_specification(document):
    """Check each MUST of RO-Crate 1.1 about structure, root, files and identifiers."""
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])  # no two entities have one @id
    assert all(isinstance(entity["@type"], str) and entity["@id"] for entity in entities.values())
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities[descriptor["about"]["@id"]]
    assert (root["@id"], root["@type"]) == ("./", "Dataset")
    assert date.fromisoformat(root["datePublished"])
    assert root["name"]
    assert root["description"]
    licence = entities[root["license"]["@id"]]
    assert licence["name"]
    assert licence["description"]
    parts = [entities[part["@id"]] for part in root["hasPart"]]
    assert all(part["@type"] == ("Dataset" if part["@id"].endswith("/") else "File") for part in parts)
    assert len(parts) == len([entity for entity in entities.values() if entity["@type"] in ("File", "Dataset")]) - 1
    for entity in entities.values():
        for value in entity.values():  # flattened: no nested entities, and every reference is described
            for one in value if isinstance(value, list) else [value]:
                assert isinstance(one, str) or one.keys() == {"@id"}
                if isinstance(one, dict) and not one["@id"].startswith("https://"):
                    assert one["@id"] in entities
    for file in parts:
        assert file["name"]
        assert file["description"]
        assert "/" in file["encodingFormat"]
    return entities


def test_every_must_of_the_specification_holds():
    entities = check_specification(described())
    assert entities["data.zarr/"]["name"] == "Scenes"
    assert {*map(part_of, NAMES), "manifest-sha256.txt", "manifest-sha256.txt.sig"} <= entities.keys()
    root = entities["./"]
    assert root["datePublished"] == "2020-10-31"
    assert "author" not in root


def test_a_hostile_name_is_inert():
    name = check_specification(described("=<script>\r\n\u202e泾"))["./"]["name"]
    assert name.split() == ["Evidence", "for", "the", "assessment", "of", "site", "=<script>", "泾", "on", "2020-10-31"]


def test_every_member_is_described_and_an_unknown_one_is_refused():
    assert all(all(words) for words in MEMBERS.values())
    for unknown in ("pixels.tif", "data.zarr", "other/"):
        with pytest.raises(BadData, match="without a description"):
            description_of(unknown)


def test_the_crate_loads_in_the_reference_library(tmp_path: Path):
    document = described()
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(document))
    (tmp_path / "data.zarr").mkdir()
    for entity in document["@graph"]:
        if entity["@type"] == "File":
            (tmp_path / entity["@id"]).write_bytes(b"content")
    crate = ROCrate(tmp_path)
    assert crate.root_dataset.datePublished.date() == date(2020, 10, 31)
    assert crate.get("data.zarr/")["encodingFormat"] == "application/vnd+zarr"
    assert {entity.id for entity in crate.data_entities} == {part["@id"] for part in document["@graph"][1]["hasPart"]}
