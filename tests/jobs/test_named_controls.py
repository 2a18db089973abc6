"""Control ground that people have named: units are cut from it and frozen; a bad file defers new sites."""

import json
from datetime import date

import pytest
from shapely.geometry import box, mapping, shape
from shapely.ops import unary_union

from jobs.night.pipeline import exit_status, night
from jobs.register.registry import add_sites, apply_registry
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from jobs.runtime.settings import load
from monitor import open_site
from monitor.errors import BadData
from monitor.imagery.sample import LAEA, Sample
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.named_controls import NamedControl, named_controls_near, read_named_controls
from monitor.sites.projection import lonlat
from monitor.sites.site import Site, ground_key
from tests.builders import printed, printed_json, regrowth, write_features

NIGHT = date(2018, 8, 1)


def strip(west, east):
    """A strip of the sample's square kilometre, from one share of its width to another."""
    left, bottom, right, top = Sample(1)._series[1].extent.boundingbox.bbox
    return lonlat(box(left + west * (right - left), bottom, left + east * (right - left), top), LAEA)


def name_ground(installation, *ground):
    features = [
        {"type": "Feature", "properties": properties, "geometry": mapping(outline)} for outline, properties in ground
    ]
    write_features(installation.root / "controls.geojson", features)
    line = 'controls = "controls.geojson"'
    config = installation.config.read_text(encoding="utf-8")
    if line not in config:
        installation.config.write_text(config.replace("[registry]", f"[registry]\n{line}"), encoding="utf-8")
    return load(installation.config)


def frozen(settings):
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        found = {values["id"]: t.controls(ground_key(from_json(values, Site))) for values in t.sites()}
    return {
        site: None if one is None else unary_union([shape(unit["geometry"]) for unit in one["units"]])
        for site, one in found.items()
    }


@pytest.mark.slow
def test_units_are_cut_from_named_ground_alone_and_stay_when_the_file_changes(installation):
    east, west = strip(0.6, 1.0), strip(0.0, 0.45)
    settings = name_ground(installation, (east, {}), (west, {"site": "demo-07", "note": "fenced"}))
    manifest = night(settings, as_of=NIGHT, pages=False)
    assert exit_status(manifest) is Exit.DONE
    units = frozen(settings)
    assert all(not one.is_empty for one in units.values())
    assert east.contains(units["demo-02"])
    assert east.contains(units["demo-10"])
    assert west.contains(units["demo-07"]), "the ground that names it, and no other"
    name_ground(installation, (strip(0.3, 0.7), {}))
    night(settings, as_of=date(2018, 9, 30), pages=False)
    assert frozen(settings) == units


@pytest.mark.slow
def test_a_file_that_cannot_be_used_defers_new_sites_and_no_other(installation):
    settings = name_ground(installation, (strip(0.6, 1.0), {}))
    night(settings, as_of=NIGHT, only=["demo-02"], pages=False)
    name_ground(installation, (strip(0.6, 1.0), {"site": "demo-7"}))
    manifest = night(settings, as_of=date(2018, 9, 30), pages=False)
    assert {site.site: site.state for site in manifest.sites} == {
        "demo-02": "done", "demo-07": "deferred", "demo-10": "deferred",
    }  # fmt: skip
    error = next(site.error for site in manifest.sites if site.site == "demo-07")
    assert "[registry] controls" in error
    assert "'demo-7'" in error
    assert "did you mean 'demo-07'?" in error
    name_ground(installation, (strip(0.6, 1.0), {}))
    assert exit_status(night(settings, as_of=date(2018, 9, 30), pages=False)) is Exit.DONE


@pytest.mark.parametrize("geometry", [
    {"type": "Polygon", "coordinates": [[[25, 46], [25.1, 46.1], [25.1, 46], [25, 46.1], [25, 46]]]},
    {"type": "Point", "coordinates": [25, 46]},
    {"type": "Polygon", "coordinates": [[[46000, 46], [46100, 46], [46100, 47], [46000, 46]]]},
], ids=["crosses itself", "a point", "metres"])  # fmt: skip
def test_an_outline_that_cannot_be_used_is_named_with_its_fix(tmp_path, geometry):
    path = tmp_path / "controls.geojson"
    write_features(path, [{"type": "Feature", "properties": {}, "geometry": geometry}])
    with pytest.raises(BadData, match=r"controls\.geojson, control ground 1: "):
        read_named_controls(path, sites=["a"])


def test_ground_for_one_site_precedes_ground_for_all_and_ground_out_of_reach_is_left_out():
    mine, near, far = box(50, 0, 51, 1), box(0, 0, 1, 1), box(9, 9, 10, 10)
    given = [NamedControl(geometry=one, site=site) for one, site in ((mine, "a"), (near, None), (far, None))]
    area = box(0.5, 0.5, 2, 2)
    assert named_controls_near(given, "a", area) == (mine,)
    assert named_controls_near(given, "b", area) == (near,)
    assert named_controls_near(given, "b", box(20, 20, 21, 21)) is None


def outline(installation, site):
    features = json.loads(installation.registry.read_text(encoding="utf-8"))["features"]
    return next(shape(one["geometry"]) for one in features if one["properties"]["id"] == site)


def strip_of(installation, site):
    west, south, east, north = outline(installation, site).bounds
    return box(west - 1e-5, south - 1e-5, west + (east - west) / 3, north + 1e-5)


def stored_hectares(settings):
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        return {values["id"]: values["hectares"] for values in t.sites()}


def test_the_check_and_the_ledger_know_the_strips_of_a_site(installation):
    settings = name_ground(installation, (strip_of(installation, "demo-07"), {"site": "demo-07"}))
    check = ("sites", "check", installation.registry)
    without = {site["site"]: site["hectares"] for site in printed_json(*check)["sites"]}
    found = {site["site"]: site for site in printed_json(*check, config=installation.config)["sites"]}
    assert [problem["code"] for problem in found["demo-07"]["problems"]] == ["STRIPS"]
    assert found["demo-07"]["hectares"] < 0.75 * without["demo-07"]
    assert found["demo-02"]["hectares"] == without["demo-02"]
    printed("sites", "add", installation.registry, config=installation.config)
    assert stored_hectares(settings)["demo-07"] == found["demo-07"]["hectares"]


def test_the_check_names_a_site_that_the_control_ground_knows_and_the_registry_does_not(installation):
    name_ground(installation, (strip_of(installation, "demo-07"), {"site": "demo-7"}))
    status, out, err = regrowth("sites", "check", installation.registry, "--json", config=installation.config)
    assert status == 0
    assert "site that is not in the file: 'demo-7'; did you mean 'demo-07'?" in err
    assert json.loads(out)["sites"]


def test_strips_that_cover_a_whole_site_are_refused_with_what_to_do_and_the_other_sites_are_taken(installation):
    whole = outline(installation, "demo-07")
    settings = name_ground(installation, (whole.buffer(1e-4), {"site": "demo-07"}))
    config = {"config": installation.config, "status": 65}
    assert "[STRIPS_COVER_SITE]" in printed("sites", "check", installation.registry, **config)
    printed("sites", "add", installation.registry, **config)
    assert stored_hectares(settings).keys() == {"demo-02", "demo-10"}


def test_a_file_of_strips_that_cannot_be_read_leaves_the_sites_of_the_ledger_as_they_are(installation):
    settings = name_ground(installation, (strip_of(installation, "demo-07"), {"site": "demo-07"}))
    with open_ledger(settings) as ledger:
        assert [site.id for site in apply_registry(ledger, settings).added] == ["demo-02", "demo-07", "demo-10"]
        (installation.root / "controls.geojson").write_text("no JSON", encoding="utf-8")
        drift = apply_registry(ledger, settings)
        assert (drift.changed, sorted(drift.unchanged)) == ((), ["demo-02", "demo-07", "demo-10"])
        assert any("named control ground cannot be read" in sentence for sentence in drift.sentences())
        with pytest.raises(BadData, match=r"\[registry\] controls"):
            add_sites(ledger, settings.registry.path, controls=settings.registry.controls)


@pytest.mark.slow
def test_a_site_is_compared_with_its_strip_and_the_strip_is_not_judged(installation):
    strip = strip_of(installation, "demo-07")
    settings = name_ground(installation, (strip, {"site": "demo-07"}))
    manifest = night(settings, as_of=NIGHT, only=["demo-07"])
    assert exit_status(manifest) is Exit.DONE
    units = frozen(settings)["demo-07"]
    assert strip.buffer(1e-9).contains(units)
    assert installation.verdicts["demo-07"]["hectares"] < 0.75 * geodesic_hectares(outline(installation, "demo-07"))
    shown = json.loads((settings.outputs.root / "sites" / "demo-07" / "controls.geojson").read_text(encoding="utf-8"))
    assert unary_union([shape(one["geometry"]) for one in shown["features"]]).equals(units)


def test_units_chosen_again_are_cut_from_the_ground_named_since_and_the_decision_is_published(installation):
    controls, config = ("sites", "controls", "demo-02"), {"config": installation.config}
    printed(*controls, "--again", status=Exit.BAD_DATA, **config)  # not chosen yet
    night(installation.settings, as_of=NIGHT, only=["demo-02"], pages=False)
    before = printed_json(*controls, **config)["units"]
    settings = name_ground(installation, (strip(0.6, 1.0), {}))
    printed(*controls, "--again", "--by", "Li Wei", "--why", "the fence was moved <b>", **config)
    (done,) = night(settings, as_of=date(2018, 9, 30), only=["demo-02"]).sites
    assert (done.state, done.error) == ("done", None)
    assert strip(0.6, 1.0).contains(frozen(settings)["demo-02"])
    assert printed_json(*controls, **config)["units"] != before
    page = (settings.outputs.root / "sites" / "demo-02" / "index.html").read_text(encoding="utf-8")
    assert "Li Wei: the fence was moved &lt;b&gt;" in page
    assert open_site(installation.config, "demo-02").sizes["time"] == len(done.scenes_new), (
        "its history was fetched again"
    )
