"""The description of a pack is an RO-Crate 1.1, whatever names a registry or a catalogue has."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate
from shapely.geometry import MultiPolygon, Point, box

from monitor.errors import BadData
from monitor.evidence.crate import MEMBERS, MemberFacts, SceneFacts, crate_metadata, title_of
from tests.evidence.test_documents import SITE

STATUS = {"site": SITE.id, "as_of": "2020-10-31", "status": "failing", "code_version": "0.1.0"}
FACTS = [
    MemberFacts(name=name, size=7, sha256="ab" * 32)
    for name in ("observations.csv", "plan.json", "assessments.json", "readme.txt", "pixels-2019.nc")
]
SCENES = [
    SceneFacts(source="s2", scene="S2A_1", day=date(2019, 5, 1), baseline="05.11"),
    SceneFacts(source="s2", scene="S2A_1", day=date(2019, 5, 1), baseline="05.11"),
    SceneFacts(source="a b:c", scene="=<script>\r\n\u202e\ud800 泾", day=date(2020, 6, 2), baseline=""),
]


def described(site=SITE, members=FACTS, scenes=SCENES, **more):
    options = {"program": "regrowth-monitor", "written_by": "0.1.0", **more}
    content = crate_metadata(site, STATUS, members, scenes, **options)
    content.decode()
    return json.loads(content)


def check_specification(document):
    """Check each MUST of RO-Crate 1.1 about structure, root, files and identifiers."""
    assert "https://w3id.org/ro/crate/1.1/context" in document["@context"]
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
    files = [entity for entity in entities.values() if entity["@type"] == "File"]
    assert [part["@id"] for part in root["hasPart"]] == [file["@id"] for file in files]
    for entity in entities.values():
        for value in entity.values():  # flattened: no nested entities, and every reference is described
            for one in value if isinstance(value, list) else [value]:
                assert isinstance(one, str) or one.keys() == {"@id"}
                if isinstance(one, dict) and not one["@id"].startswith("https://"):
                    assert one["@id"] in entities
            assert not isinstance(value, list) or len(value) > 1  # compacted
    for file in files:
        assert file["name"]
        assert file["description"]
        assert "/" in file["encodingFormat"]
    return entities


def test_every_must_of_the_specification_holds():
    entities = check_specification(described())
    file = entities["pixels-2019.nc"]
    assert (file["contentSize"], file["sha256"], file["name"]) == ("7", "ab" * 32, "Pixels of 2019")
    assert {"manifest-sha256.txt", "manifest-sha256.txt.sig"} <= entities.keys()
    root = entities["./"]
    assert root["datePublished"] == "2020-10-31"
    assert root["temporalCoverage"] == "2019-05-01/2020-06-02"
    assert "author" not in root
    assert "publisher" not in root


def test_a_scene_is_named_once_and_a_hostile_one_is_inert():
    entities = check_specification(described())
    scenes = [entity for entity in entities.values() if entity["@id"].startswith("urn:scene:")]
    assert [scene["name"] for scene in scenes] == ["S2A_1", "=<script>  泾"]
    assert scenes[1]["@id"] == "urn:scene:a%20b%3Ac:%3D%3Cscript%3E%0D%0A%E2%80%AE%ED%A0%80%20%E6%B3%BE"
    assert scenes[0]["version"] == "05.11"
    assert "version" not in scenes[1]


def test_one_scene_and_one_part_are_no_lists_and_a_site_without_scenes_has_no_period():
    site = replace(SITE, geometry=box(10, 20, 11, 21))
    entities = check_specification(described(site=site, scenes=SCENES[:1]))
    assert entities["./"]["isBasedOn"] == {"@id": "urn:scene:s2:S2A_1"}
    assert entities["#site"]["geo"] == {"@id": "#outline-1"}
    assert entities["#outline-1"]["polygon"] == "20.0 11.0 21.0 11.0 21.0 10.0 20.0 10.0 20.0 11.0"
    assert "temporalCoverage" not in check_specification(described(scenes=[]))["./"]


def test_the_outline_of_a_large_site_is_its_box():
    rough = MultiPolygon([Point(10, 20).buffer(1, quad_segs=200), Point(15, 20).buffer(1, quad_segs=200)])
    entities = check_specification(described(site=replace(SITE, geometry=rough)))
    assert entities["#outline-1"]["box"] == "19.0 9.0 21.0 16.0"
    assert len(check_specification(described())["#site"]["geo"]) == 2


def test_two_versions_of_the_program_are_distinguished():
    entities = check_specification(described(written_by="0.2.0"))
    assert entities["ro-crate-metadata.json"]["creator"] == {"@id": "#software-0.2.0"}
    assert entities["#assessment"]["instrument"] == {"@id": "#software-0.1.0"}


def test_every_member_is_described_and_an_unknown_one_is_refused():
    assert title_of("pixels-2031-superseded.nc") == "Pixels of 2031, superseded"
    assert all(all(words) for words in MEMBERS.values())
    for unknown in ("pixels-2031.tif", "pixels-31.nc", "other.txt"):
        with pytest.raises(BadData, match="without a description"):
            title_of(unknown)


def test_the_crate_loads_in_the_reference_library(tmp_path: Path):
    document = described()
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(document))
    for file in document["@graph"]:
        if file["@type"] == "File":
            (tmp_path / file["@id"]).write_bytes(b"content")
    crate = ROCrate(tmp_path)
    assert crate.root_dataset.datePublished.date() == date(2020, 10, 31)
    assert crate.get("pixels-2019.nc")["encodingFormat"] == "application/x-netcdf"
    assert {entity.id for entity in crate.data_entities} == {part["@id"] for part in document["@graph"][1]["hasPart"]}
