"""The data dictionary lists exactly the fields that the program publishes and stores."""

import csv
import io
import json
import re
from dataclasses import fields, replace
from datetime import date
from inspect import getdoc

import pytest
import zarr

from monitor.access.cube import SCENE_COORDINATES
from monitor.access.export import SERIES_VARIABLES
from monitor.alerts.alert import AlertLevel
from monitor.alerts.words import TEXTS
from monitor.cube.arrays import create_arrays
from monitor.cube.records import STATES
from monitor.evidence.chain import Line, Proof
from monitor.evidence.site_data import ARRAYS, Attributes
from monitor.imagery import bands
from monitor.ledger.models import Base
from monitor.publish.control_ground import control_ground
from monitor.publish.map_tags import map_tags
from monitor.publish.period import CSV_COLUMNS
from monitor.publish.pictures import MAP_LAYERS
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import VISIT_COLUMNS, account_csv, account_geojson
from monitor.publish.tables import sites_parquet, status_json
from monitor.series.field_rows import FIELD_COLUMNS
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.sites.biomes import BIOMES
from monitor.verdict.assessment import Assessment, Status, assessment_to_json
from monitor.verdict.calibration import Calibration
from monitor.verdict.erosion import GRADE_NAMES
from monitor.verdict.reasons import SENTENCES, Reason
from monitor.verdict.status import RULES
from monitor.verdict.tables.plan_json import plan_json
from tests.cube.test_store import members
from tests.publish.conftest import make_assessment, make_site, make_view
from tests.publish.test_control_ground import NAMES, UNITS, choice


@pytest.fixture(scope="module")
def dictionary(root):
    """Tables of the dictionary: by heading and first column, the rows as lists of cells."""
    tables, heading, rows = {}, "", None
    for line in (root / "docs" / "data-dictionary.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.strip("# `")
        if not line.startswith("|"):
            rows = None
        if not line.startswith("| "):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if rows is None:
            rows = tables.setdefault((heading, cells[0]), [])
        else:
            rows.append(cells)
    return tables


def names(rows):
    """Names in the first column, in order."""
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]


def meaning(rows, name):
    """The row about a name, as one text."""
    return next(" ".join(row) for row in rows if f"`{name}`" in row[0])


def test_status_json_has_these_fields_in_this_order(dictionary):
    rows = dictionary["status.json", "field"]
    assert names(rows) == [field.name for field in fields(Assessment)]
    assert names(rows) == list(assessment_to_json(make_assessment("a")))
    codes = {"alert": AlertLevel, "alert_rule": RULES, "erosion_grade": GRADE_NAMES}
    for name, known in codes.items():
        assert all(f"`{code}`" in meaning(rows, name) for code in known), name
    assert names(dictionary["Statuses", "status"]) == [status.value for status in Status]
    assert [row for row in dictionary["Reasons", "code"]] == [[f"`{r.value}`", SENTENCES[r][0]] for r in Reason]


def test_fields_that_may_be_null_say_when(dictionary):
    nullable = {field.name for field in fields(Assessment) if "None" in str(field.type)}
    for row in dictionary["status.json", "field"]:
        for name in names([row]):
            assert bool(row[4]) == (name in nullable), name


def test_sites_parquet_has_these_columns_before_those_of_status_json(dictionary, tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "sites.parquet"
    path.write_bytes(sites_parquet([(make_site("a"), make_assessment("a"))]))
    of_assessment = names(dictionary["status.json", "field"])[1:]
    assert sorted(pq.read_schema(path).names) == sorted(names(dictionary["sites.parquet", "column"]) + of_assessment)


def test_status_json_is_a_list_without_nan():
    assert [row["site"] for row in json.loads(status_json([make_assessment("b"), make_assessment("a")]))] == ["a", "b"]


def test_the_account_has_these_fields(dictionary):
    """Two sites on the same ground, so that there is a pair, as the command prints it."""
    sites = [make_site("a"), make_site("b")]
    latest = {"a": assessment_to_json(make_assessment("a"))}
    account = programme_account(sites, latest, pledge=1.0, alpha=0.05, more={"lots": [], "precision": []})
    rows = dictionary["programme.json", "field"]
    assert names([[row[0]] for row in rows]) == list(account.summary)
    assert all(f"`{key}`" in meaning(rows, "hectares") or key in list(Status) for key in account.summary["hectares"])
    for name, keys in (("groups", ("by", "value")), ("why_unknown", account.summary["why_unknown"][0])):
        assert all(f"`{key}`" in meaning(rows, name) for key in keys), name
    first, last = (list(account.summary).index(name) for name in ("sites", "undecided_failing_area_of"))
    of_groups = ["by", "value", *list(account.summary)[first : last + 1], "hectares"]
    assert sorted(account.summary["groups"][0]) == sorted(of_groups)
    (claim,) = account.summary["double_registrations"]
    assert names(dictionary["programme.json", "member"]) == list(claim)

    assert names(dictionary["visit-first.csv", "column"]) == list(VISIT_COLUMNS)

    assert names(dictionary["programme-moves.csv", "column"]) == list(CSV_COLUMNS)

    columns = next(csv.reader(io.StringIO(account_csv(account).decode("utf-8-sig"))))
    sums = list(account.summary)[list(account.summary).index("posterior_hectares") : last + 1]
    listed = names([[row[0]] for row in dictionary["programme.csv", "column"]])
    at = listed.index("posterior_hectares")
    assert [*listed[:at], *sums, *listed[at + 2 :]] == columns

    site, _, ground = (feature["properties"] for feature in json.loads(account_geojson(account))["features"])
    assert names([[row[0]] for row in dictionary["programme.geojson", "property"]]) == list(site)
    assert list(ground) == ["feature", *claim]


def test_tables_of_a_site_have_these_columns(dictionary):
    assert names(dictionary["observations.csv", "column"]) == list(OBSERVATION_COLUMNS)
    reasons = names(dictionary["observations.csv", "`reason`"])
    assert sorted([*reasons, "NOT_COVERED", "ACCEPTED"]) == sorted([*STATES, "CONTROL_FEW"])
    assert names(dictionary["field.csv", "column"]) == list(FIELD_COLUMNS)


def test_the_cube_of_a_site_has_these_variables(dictionary):
    of_cube = [*bands.OBSERVED, "clear", "ndvi", "cover", "inside", "accepted", *SCENE_COORDINATES]
    exported = [name for name, _ in SERIES_VARIABLES.values()]
    rows = dictionary["The cube of a site", "variable"]
    assert sorted(names(rows)) == sorted([*of_cube, *exported])


def test_plan_json_has_these_fields_in_any_order(dictionary):
    fields_known = {"hectares_failing_on": date(2025, 1, 1), "loss_on": date(2025, 1, 1), "field_factor": 0.8}
    own = replace(make_site("a"), own_biome=BIOMES["loess"])
    plan = plan_json(own, make_assessment("a", **fields_known), Calibration())
    rows = dictionary["plan.json", "field"]
    assert sorted(names([[row[0]] for row in rows])) == sorted(plan)
    for name in ("failing_area", "loss_ground", "field_factor"):
        assert all(f"`{member}`" in meaning(rows, name) for member in plan[name]), name


def test_control_ground_has_these_properties(dictionary):
    shown = control_ground(UNITS, NAMES, choice(), {}, date(2021, 1, 1))
    rows = dictionary["controls.geojson", "property"]
    assert names(rows) == list(json.loads(shown.geojson)["features"][0]["properties"])
    assert all(f"`{reason}`" in meaning(rows, "reason") for reason in TEXTS["control_reason"])


def test_evidence_packs_have_these_arrays_attributes_and_entries(dictionary, root):
    heading = "Evidence packs"
    rows = dictionary[heading, "array of a pack"]
    assert sorted(names([[row[0]] for row in rows])) == sorted(ARRAYS)
    assert names(dictionary[heading, "entry of a line"]) == list(Line.__annotations__)
    text = (root / "docs" / "data-dictionary.md").read_text(encoding="utf-8").split(f"## {heading}")[1]
    attributes = [name for name in Attributes.__struct_encode_fields__ if name != "coordinates"]
    assert all(f"`{name}`" in text for name in (*Proof.__annotations__, *attributes))


def test_maps_and_their_tags_are_these(dictionary):
    assert sorted(names(dictionary["Maps", "file"])) == sorted(f"{layer.name}.tif" for layer in MAP_LAYERS)
    assert names(dictionary["Maps", "tag"]) == list(map_tags(make_view())["ndvi"])


def test_stores_have_these_arrays_along_these_dimensions(dictionary):
    group = zarr.create_group(store=zarr.storage.MemoryStore())
    create_arrays(group, members("low", "high"))
    listed = {name: row[1] for row in dictionary["Stores", "array"] for name in names([row])}
    assert sorted(listed) == sorted(group.array_keys())
    for name, dimensions in listed.items():
        expected = (name,) if dimensions == "each its own" else tuple(dimensions.replace(",", "").split())
        assert (group[name].metadata.dimension_names or ()) == expected, name


def test_the_ledger_has_these_tables(dictionary):
    assert sorted(names(dictionary["Ledger", "table"])) == sorted(Base.metadata.tables)
    assert all(getdoc(mapper.class_) for mapper in Base.registry.mappers)
