"""The registry file and the ledger: no site is lost, forgotten or added without being named."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from shapely.geometry import box, mapping
from sqlalchemy import text

from jobs.night import pipeline
from jobs.proof.chain import problems
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from tests import builders
from tests.builders import edited_features, regrowth, use_sources
from tests.jobs.painted import DAYS, Painted, ground, installed
from tests.loopback.earthengine import EarthEngineServer
from tests.loopback.stac import StacServer, sentinel_item

FEW = DAYS[:3]
LAST = FEW[-1]
ROW = [(x, 12_000, x + 120, 12_120) for x in (8_000, 9_000, 10_000)]
ELSEWHERE = (50_000, 12_000, 50_120, 12_120)  # a site that no scene reaches


@pytest.fixture
def settings(tmp_path):
    return installed(tmp_path, ROW)


@pytest.fixture
def painted(monkeypatch):
    def use(source):
        use_sources(monkeypatch, source)
        monkeypatch.setattr("jobs.imagery.sources.open_sources", pipeline.open_sources)
        return source

    return use


@pytest.fixture
def run(settings, painted, monkeypatch):
    """Runs a command; returns its exit status and what it printed, parsed if that is JSON."""
    painted(Painted(FEW))
    # Pages take most of a night of three scenes.
    monkeypatch.setattr("jobs.night.pipeline.publish", lambda *_, **__: {})

    def command(*arguments):
        status, out, err = regrowth(*arguments, config=settings.registry.path.with_name("regrowth.toml"))
        return status, json.loads(out) if "--json" in arguments and out else out + err

    return command


NIGHT = ("run", "--as-of", str(LAST))


@contextmanager
def edited(settings):
    """Features of the registry file by id, which are written back as they are left."""
    with edited_features(settings.registry.path) as registered:
        features = {one["properties"]["id"]: one for one in registered}
        yield features
        registered[:] = features.values()


def drift(settings):
    with edited(settings) as features:
        features["s4"] = json.loads(json.dumps(features["s3"]).replace('"s3"', '"s4"'))
        features["s4"]["geometry"] = mapping(ground(11_000, 12_000, 11_120, 12_120))
        features["s2"]["properties"]["manager_name"] = "somebody else"
        del features["s1"]


def change(settings, **properties):
    with edited(settings) as features:
        features["s1"]["properties"] |= properties


def stored(settings, read):
    """What one reads in the ledger."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        return read(t)


def versions(settings):
    return stored(settings, lambda t: t.versions())


def doctor(run, *options):
    status, report = run("doctor", "--json", *options)
    return status, [one for one in report["checks"] if one["state"] != "ok"]


def test_a_night_adds_and_changes_sites_as_in_the_registry_and_missing_ones_stay_and_each_is_named(settings, run):
    assert run(*NIGHT, "--json")[1]["registry"]["added"] == ["s1", "s2", "s3"]
    before = versions(settings)
    drift(settings)

    status, planned = run(*NIGHT, "--dry-run", "--json")
    assert (status, versions(settings)) == (Exit.DONE, before)
    assert [site["site"] for site in planned["sites"]] == ["s1", "s2", "s3", "s4"]
    _, printed = run(*NIGHT, "--dry-run")
    for what in ("added: s4", "changed: s2", "missing from sites.geojson, kept: s1"):
        assert f"registry: {what}" in printed

    status, broken = doctor(run)
    assert status == Exit.CONFIGURATION
    assert {one["check"] for one in broken} >= {"registry"}
    printed = " ".join(f"{one['message']} {one['fix']}" for one in broken if one["check"] == "registry")
    for what in ("not in the ledger: s4", "changed in sites.geojson: s2", "regrowth sites add ",
                 "missing from sites.geojson and still judged: s1", "regrowth sites retire s1"):  # fmt: skip
        assert what in printed
    assert versions(settings) == before

    status, manifest = run(*NIGHT, "--json")
    assert (status, [site["site"] for site in manifest["sites"]]) == (Exit.DONE, ["s1", "s2", "s3", "s4"])
    names = ("added", "changed", "missing", "refused", "retired", "start_edited")
    assert [manifest["registry"][name] for name in names] == [["s4"], ["s2"], ["s1"], [], [], []]
    assert planned["registry"] == manifest["registry"]
    after = versions(settings)
    assert (after.keys(), after["s1"], after["s3"]) == ({"s1", "s2", "s3", "s4"}, before["s1"], before["s3"])
    assert after["s2"] != before["s2"]

    status, printed = run(*NIGHT)
    assert status == Exit.DONE
    assert printed.count("registry: ") == 1
    assert "registry: missing from sites.geojson, kept: s1; to stop judging: regrowth sites retire s1" in printed


def test_a_backfill_adds_and_changes_sites_as_well(settings, run):
    run("backfill", "--json")
    drift(settings)
    status, manifest = run("backfill", "--json")
    assert (status, [site["site"] for site in manifest["sites"]]) == (Exit.DONE, ["s1", "s2", "s3", "s4"])
    assert (manifest["registry"]["added"], manifest["registry"]["missing"]) == (["s4"], ["s1"])


@pytest.mark.parametrize("text", [None, "{", '{"type": "FeatureCollection", "features": []}'])
def test_a_registry_that_cannot_be_read_is_named_and_the_sites_of_the_ledger_are_judged(settings, run, text):
    run(*NIGHT)
    if text is None:
        settings.registry.path.unlink()
    else:
        settings.registry.path.write_text(text)
    status, manifest = run(*NIGHT, "--json")
    assert (status, [site["state"] for site in manifest["sites"]]) == (Exit.SOME_FAILED, ["done"] * 3)
    assert "sites.geojson" in manifest["registry"]["error"]
    assert "the registry cannot be read; the run continues with the sites in the ledger" in run(*NIGHT)[1]
    assert set(versions(settings)) == {"s1", "s2", "s3"}


def test_a_refused_entry_is_named_by_every_night_and_a_known_site_stays_as_it_was(settings, run):
    run(*NIGHT)
    before = versions(settings)
    with edited(settings) as features:
        features["s1"]["properties"]["start"] = "some day"
        features["new"] = json.loads(json.dumps(features["s1"]).replace('"s1"', '"new"'))
        features["new"]["geometry"] = mapping(ground(12_000, 12_000, 12_120, 12_120))
    status, manifest = run(*NIGHT, "--json")
    assert (status, manifest["registry"]["refused"]) == (Exit.SOME_FAILED, ["s1", "new"])
    assert manifest["registry"]["missing"] == []
    assert versions(settings)["s1"] == before["s1"]


def test_a_wrong_start_can_be_corrected_until_the_site_has_been_judged(settings, run):
    run("sites", "add", settings.registry.path)
    change(settings, start="2019-07-01")
    status, report = run("sites", "add", settings.registry.path, "--json")
    assert (status, report["changed"], report["start_edited"]) == (Exit.DONE, ["s1"], [])
    _, sites = run("sites", "list", "--json")
    assert (sites[0]["start"], sites[0]["episode_start"]) == ("2019-07-01", "2019-07-01")


def test_an_edited_start_of_a_judged_site_is_refused_and_points_to_replant(settings, run):
    run(*NIGHT)
    before = versions(settings)
    change(settings, start="2020-05-01", manager_name="new")
    for command in (("sites", "add", settings.registry.path), NIGHT, (*NIGHT, "--dry-run")):
        status, printed = run(*command)
        assert "start of s1 is 2020-05-01 in the file and stays 2019-06-01" in printed
        assert "regrowth sites replant s1 --start 2020-05-01 --why TEXT" in printed
        assert "regrowth sites retire s1, and give the corrected site a new id" in printed
        if command is NIGHT:
            assert (status, "s1: done" in printed) == (Exit.SOME_FAILED, True)
    assert run("sites", "add", settings.registry.path)[0] == Exit.BAD_DATA
    assert versions(settings) == before
    status, broken = doctor(run)
    assert any("regrowth sites replant s1" in (one["fix"] or "") for one in broken)
    change(settings, start="2018-05-01")
    _, printed = run("sites", "add", settings.registry.path)
    assert "replant" not in printed  # no new work begins before the old
    assert "regrowth sites retire s1" in printed


def test_a_retired_site_is_not_judged_its_alert_is_closed_and_no_night_adds_it_again(settings, run):
    run(*NIGHT)
    stored(settings, lambda t: t.save_alert(to_json(builders.alert("s1", opened=LAST))))
    status, printed = run("sites", "retire", "s1", "nobody")
    assert (status, "nobody" in printed, set(versions(settings))) == (Exit.BAD_DATA, True, {"s1", "s2", "s3"})

    status, report = run("sites", "retire", "s1", "s2", "--json")
    assert (status, report) == (Exit.DONE, {"retired": ["s1", "s2"], "already": [], "alerts": ["s1/failure"]})
    status, printed = run("sites", "retire", "s1")
    assert (status, "s1: was retired already" in printed) == (Exit.DONE, True)
    assert run("alerts", "list", "--json")[1] == []
    (resolved,) = run("alerts", "list", "--all", "--json")[1]
    assert (resolved["state"], resolved["answer"], resolved["note"]) == ("resolved", None, "the site was retired")

    status, manifest = run(*NIGHT, "--json")
    assert (status, [site["site"] for site in manifest["sites"]]) == (Exit.DONE, ["s3"])
    assert manifest["registry"]["retired"] == ["s1", "s2"]
    assert "retired, still in sites.geojson: s1, s2" in run(*NIGHT)[1]
    assert [one["site"] for one in run("status", "--json")[1]] == ["s3"]

    status, report = run("sites", "add", settings.registry.path, "--json")
    assert (status, report["added"], report["unchanged"]) == (Exit.DONE, ["s1", "s2"], ["s3"])
    assert set(versions(settings)) == {"s1", "s2", "s3"}


def test_when_all_sites_are_retired_a_night_says_so_and_adds_none_again(settings, run):
    run(*NIGHT)
    run("sites", "retire", "s1", "s2", "s3")
    status, printed = run(*NIGHT)
    assert (status, versions(settings)) == (Exit.BAD_DATA, {})
    assert "all are retired; to take them back: regrowth sites add FILE" in printed


def test_columns_that_are_not_read_are_named_by_check_add_night_and_doctor(settings, run):
    with edited(settings) as features:
        features["s2"]["properties"] |= {"Start Date": "x", "OBJECTID": 1}
    named = "'Start Date' (did you mean 'start'?), 'OBJECTID'"
    for command in (("sites", "add", settings.registry.path), NIGHT, (*NIGHT, "--dry-run")):
        status, printed = run(*command)
        assert (status, f"columns of sites.geojson that are not read: {named}" in printed) == (Exit.DONE, True)
    _, manifest = run(*NIGHT, "--json")
    assert manifest["registry"]["unknown_columns"] == {"Start Date": "start", "OBJECTID": None}
    assert any(named in one["message"] and one["state"] == "note" for one in doctor(run)[1])


def test_a_site_that_was_never_offered_a_scene_fails_with_its_place_and_the_others_are_judged(settings, run, painted):
    run(*NIGHT)
    with edited(settings) as features:
        features["s1"]["geometry"] = mapping(ground(*ELSEWHERE))
    x, y = ground(*ELSEWHERE).centroid.coords[0]
    place = f"longitude {x:.4f}, latitude {y:.4f}"
    status, planned = run(*NIGHT, "--dry-run", "--json")
    assert (status, list(planned["failed"]), place in planned["failed"]["s1"]) == (Exit.SOME_FAILED, ["s1"], True)
    status, manifest = run(*NIGHT, "--json")
    assert (status, [site["state"] for site in manifest["sites"]]) == (Exit.SOME_FAILED, ["failed", "done", "done"])
    assert place in manifest["sites"][0]["error"]
    assert "since 2018-01-01" in manifest["sites"][0]["error"]

    status, printed = run("explain", "s1")
    assert (status, place in printed, "since 2018-01-01" in printed) == (Exit.SOME_FAILED, True, True)
    status, printed = run("explain", "s1", "--language", "zh")
    assert (status, "从未有数据源提供过此处" in printed) == (Exit.SOME_FAILED, True)
    assert run("explain", "s2")[0] == Exit.DONE

    status, broken = doctor(run, "--online")
    (imagery,) = [one for one in broken if one["check"] == "imagery"]
    assert imagery["message"] == "1 of 3 sites were never offered a scene: s1"
    assert place in imagery["fix"]

    painted(Painted(FEW, tiles={"48SUF": (0, 0, 60e3, 30e3)}))
    status, _ = run(*NIGHT)
    assert status == Exit.DONE
    assert run("explain", "s1")[0] == Exit.DONE


def test_when_no_site_was_ever_offered_a_scene_the_configuration_is_wrong(settings, run, painted):
    painted(Painted([]))
    for command in (NIGHT, (*NIGHT, "--dry-run"), ("backfill",)):
        status, printed = run(*command)
        assert (status, printed.count("has ever been offered") >= 3) == (Exit.CONFIGURATION, True)
    assert run("explain", "s1")[0] == Exit.CONFIGURATION
    assert any(one["check"] == "imagery" for one in doctor(run, "--online")[1])
    status, printed = run("run", "--as-of", "2017-06-01")
    assert (status, "since 2018-01-01" in printed) == (Exit.CONFIGURATION, True)


def test_rejected_scenes_or_a_source_that_is_down_are_not_called_a_configuration_error(settings, run, painted):
    for source, status, state in (
        (Painted(FEW, down=True), Exit.TRY_LATER, "deferred"), (Painted(FEW, cloudy=frozenset(FEW)), Exit.DONE, "done"),
        (Painted([]), Exit.DONE, "done"),  # known sites go on when no scene is offered any more
    ):  # fmt: skip
        painted(source)
        planned, printed = run(*NIGHT, "--dry-run")
        assert planned == status
        left, manifest = run(*NIGHT, "--json")
        assert (left, {site["state"] for site in manifest["sites"]}) == (status, {state})
    assert "EECU" not in printed, "nothing is left to fetch, and no source is Earth Engine"


@pytest.fixture
def catalogue(tmp_path):
    """An installation on a STAC API with one granule, in which the site lies."""
    item = sentinel_item(
        tmp_path / "files", "S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512",
        href=lambda path: f"file://{path}", size=120,
    )  # fmt: skip
    root = tmp_path / "run"

    def install(source):
        settings = installed(root)
        x, y = box(*item["bbox"]).centroid.coords[0]
        with edited(settings) as features:
            features["s1"]["geometry"] = mapping(box(x, y, x + 1e-3, y + 1e-3))
        text = f'[registry]\npath = "sites.geojson"\n[source]\nsince = "2018-01-01"\n{source}\n'
        (root / "regrowth.toml").write_text(text, encoding="utf-8")
        return settings

    with StacServer(tmp_path / "files") as server:
        server.items = [item]
        server.collections = ["sentinel-2-l2a", "landsat-c2-l2"]
        yield install, server, tmp_path / "files"


@pytest.fixture
def shell(tmp_path):
    def command(*arguments):
        status, out, err = regrowth(*arguments, config=tmp_path / "run" / "regrowth.toml")
        return status, out + err

    return command


def test_a_collection_that_an_api_does_not_have_is_named_with_the_nearest_and_stops_with_78(catalogue, shell):
    install, server, files = catalogue
    source = f'kind = "stac"\nurl = "{server.url}"\nallow_hosts = ["{server.host}", "{files}"]\n'
    install(f'{source}collections = ["sentinel2-l2a"]')
    for command in (("run",), ("run", "--dry-run"), ("backfill",), ("doctor", "--online")):
        status, printed = shell(*command)
        assert status == Exit.CONFIGURATION
        assert "has no collection 'sentinel2-l2a'; did you mean 'sentinel-2-l2a'" in printed
    assert shell("run", "--as-of", "2020-12-31")[0] == Exit.CONFIGURATION
    for language in ("en", "zh"):
        status, printed = shell("explain", "s1", "--language", language)
        assert (status, "has no collection 'sentinel2-l2a'" in printed) == (Exit.CONFIGURATION, True)
    install(f'{source}collections = ["sentinel-2-l2a"]')
    server.forget()
    assert shell("run", "--as-of", "2020-12-31")[0] == Exit.DONE
    assert server.counts["collections"] == 0  # a night that finds something does not ask
    shell("doctor", "--online")
    assert server.counts["collections"] > 0


def test_an_api_that_lists_no_collections_is_believed(catalogue, shell):
    install, server, files = catalogue
    server.collections = None
    hosts = f'allow_hosts = ["{server.host}", "{files}"]'
    install(f'kind = "stac"\nurl = "{server.url}"\n{hosts}\ncollections = ["nothing"]')
    status, printed = shell("run")
    assert (status, "has no collection" in printed) == (Exit.CONFIGURATION, False)
    assert "stac (nothing) since 2018-01-01" in printed


def test_a_collection_without_an_item_in_a_folder_is_named_with_those_that_have_one(catalogue, shell):
    install, server, files = catalogue
    (files / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": server.items}))
    install(f'kind = "stac"\nurl = "{files}/items.json"\nallow_hosts = ["{files}"]\ncollections = ["hls2-s30"]')
    status, printed = shell("run")
    assert status == Exit.CONFIGURATION
    assert "has no collection 'hls2-s30'; it has sentinel-2-l2a" in printed


def test_a_collection_that_earth_engine_does_not_have_is_named_and_stops_with_78(catalogue, shell, monkeypatch):
    install, _, _ = catalogue
    monkeypatch.setenv("REGROWTH_EE_TOKEN", "token")
    with EarthEngineServer(token="token") as server:
        install(
            f'kind = "earthengine"\nproject = "p"\nurl = "{server.url}"\nallow_hosts = ["127.0.0.1"]\n'
            'collections = ["LANDSAT/LC08/C02/T1_L2"]'
        )
        for command in (("run",), ("doctor", "--online")):
            status, printed = shell(*command)
            assert status == Exit.CONFIGURATION
            assert "LANDSAT/LC08/C02/T1_L2" in printed
            assert "not found" in printed


def test_a_site_that_is_retired_while_a_night_is_under_way_is_not_judged_and_opens_no_alert(settings, run, monkeypatch):
    whole = Painted.search

    def retiring(*arguments):
        stored(settings, lambda t: t.retire_site("s2"))
        return whole(*arguments)

    monkeypatch.setattr(Painted, "search", retiring)
    status, manifest = run("run", "--as-of", LAST, "--json")
    assert status == Exit.DONE
    judged = {site["site"]: site["status"] is not None for site in manifest["sites"]}
    assert judged == {"s1": True, "s2": False, "s3": True}
    assert stored(settings, lambda t: t.latest_assessment("s2")) is None
    assert stored(settings, lambda t: t.latest_assessment("s1")) is not None


OWN = """
[biomes.pontic]
like = "steppe"
bare_soil = 0.1
full_cover = {full_cover}
closure = {{ A = {A}, k = 0.4, L = 0.5, too_early_years = 2 }}
"""


@pytest.fixture
def define(settings):
    """Define a biome of one's own in the configuration, or remove it."""
    config = settings.registry.path.with_name("regrowth.toml")
    plain = config.read_text(encoding="utf-8")

    def _define(**values):
        config.write_text(plain + (OWN.format(**values) if values else ""), encoding="utf-8")

    return _define


def test_a_changed_definition_of_a_biome_is_named_and_one_that_vanished_keeps_the_site(run, settings, define):
    with edited(settings) as features:
        for one in features.values():
            one["properties"] |= {"biome": "pontic", "intervention": "assisted_regeneration"}
    define(full_cover=0.8, A=0.2)
    assert run("sites", "add", settings.registry.path)[0] == 0
    first = {site["id"]: site for site in run("sites", "list", "--json")[1]}
    assert all(site["plan"]["A"] == 0.2 for site in first.values())

    define(full_cover=0.8, A=0.3)
    status, printed = run("sites", "add", settings.registry.path)
    (name, *_) = sorted(first)
    assert status == 0
    assert f"{name} (plan, definition of biome pontic)" in printed

    define(full_cover=0.7, A=0.3)
    _, printed = run("sites", "add", settings.registry.path)
    assert f"{name} (definition of biome pontic; its scenes are fetched again)" in printed

    define()
    status, printed = run("sites", "add", settings.registry.path)
    assert status == Exit.BAD_DATA
    assert "biome is 'pontic', which is unknown" in printed
    assert len(run("sites", "list", "--json")[1]) == len(first)


REPLAN = ("sites", "replan", "s1", "--from", "2019-07-01", "--why", "the planting density was halved", "--by", "王局长")


def promises_of(settings, site="s1"):
    return stored(settings, lambda t: t.promises(site))


def notices(settings, kind):
    return stored(settings, lambda t: [row for row in t.notices("waiting", "held", "sent") if row["kind"] == kind])


def test_an_edit_of_a_judged_promise_is_named_and_not_applied_and_the_rest_of_the_edit_is(settings, run):
    run(*NIGHT)
    before = versions(settings)
    change(settings, plan_A=0.01, subtype="enclosure", manager_name="new")
    for _ in range(2):
        status, manifest = run(*NIGHT, "--json")
        assert (status, manifest["registry"]["plan_edited"]) == (Exit.SOME_FAILED, ["s1"])
    assert manifest["registry"]["changed"] == []
    said = " ".join(manifest["registry"]["said"])
    assert "plan_A 0.18 -> 0.01, subtype empty -> enclosure" in said
    assert "regrowth sites replan s1 --from DATE --why TEXT --by NAME --plan-a 0.01" in said
    status, report = run("sites", "add", settings.registry.path, "--json")
    assert (status, report["plan_edited"]) == (Exit.BAD_DATA, ["s1"])
    assert versions(settings)["s1"] != before["s1"]
    site = stored(settings, lambda t: t.site("s1"))
    assert (site["manager_name"], site["subtype"], site["plan"]["A"] > 0.01) == ("new", None, True)
    assert len(notices(settings, "plan_edited")) == 1, "operators hear of an edit once"
    _, broken = doctor(run)
    assert any("sites replan s1" in (one["fix"] or "") for one in broken)


def test_an_edited_promise_beside_an_edited_start_is_named_too(settings, run):
    run(*NIGHT)
    change(settings, plan_A=0.01, start="2018-05-01")
    status, manifest = run(*NIGHT, "--json")
    registry = manifest["registry"]
    assert (status, registry["start_edited"], registry["plan_edited"]) == (Exit.SOME_FAILED, ["s1"], ["s1"])
    assert len(notices(settings, "plan_edited")) == 1


def test_a_column_written_out_with_its_default_is_not_an_edit_and_an_unjudged_site_changes_as_before(settings, run):
    run("sites", "add", settings.registry.path)
    change(settings, plan_A=0.3)
    assert run("sites", "add", settings.registry.path, "--json")[1]["changed"] == ["s1"]
    run(*NIGHT)
    (first,) = promises_of(settings)
    assert (first["by"], first["begins"], first["payload"]["plan_A"]) == (None, "2019-06-01", 0.3)
    change(settings, plan_k=first["payload"]["plan_k"], plan_cover="index")
    assert run(*NIGHT, "--json")[1]["registry"]["plan_edited"] == []


def test_another_table_of_default_plans_changes_no_promise(settings, run, monkeypatch):
    from monitor.sites import biomes

    run(*NIGHT)
    before = versions(settings)
    for name, biome in biomes.BIOMES.items():
        monkeypatch.setitem(biomes.BIOMES, name, replace(biome, closure=replace(biome.closure, A=0.5)))
    status, manifest = run(*NIGHT, "--json")
    assert (status, manifest["registry"]["plan_edited"], versions(settings)) == (Exit.DONE, [], before)


def test_a_replan_is_recorded_with_who_why_and_from_when_and_the_file_may_follow(settings, run):
    run(*NIGHT)
    status, done = run(*REPLAN, "--plan-a", "0.05", "--json")
    assert (status, done["columns"]["plan_A"][1], done["alerts"]) == (Exit.DONE, 0.05, [])
    assert run(*NIGHT, "--json")[1]["registry"]["plan_edited"] == ["s1"], "the file is behind"
    assert notices(settings, "plan_edited") == [], "operators know of the change"
    change(settings, plan_A=0.05)
    assert run(*NIGHT, "--json")[1]["registry"]["plan_edited"] == []
    first, second = promises_of(settings)
    assert (second["begins"], second["by"], second["why"]) == ("2019-07-01", "王局长", REPLAN[6])
    assert second["payload"] == {**first["payload"], "plan_A": 0.05, "defaults": second["payload"]["defaults"]}
    assert stored(settings, lambda t: [*problems(t)]) == []
    stored(settings, lambda t: t._connection.execute(text("update promises set why = 'none' where number = 2")))
    assert any("promise 2 about site 's1'" in problem for problem in stored(settings, lambda t: [*problems(t)]))


@pytest.mark.parametrize(("options", "status", "message"), [
    (("--plan-a", "0.05", "--why", " "), Exit.USAGE, "--why is empty"),
    ((), Exit.USAGE, "this is the promise that stands"),
    (("--intervention", "assisted_regeneration"), Exit.USAGE, "this is the promise that stands"),
    (("--plan-z", "1"), Exit.USAGE, "--plan-z"), (("--plan-a", "7"), Exit.BAD_DATA, "plan_A is '7'"),
    (("--biome", "moon"), Exit.BAD_DATA, "biome is 'moon', which is unknown"),
    (("--plan-a", "0.05", "--from", "2999-01-01"), Exit.BAD_DATA, "to today"),
    (("--plan-a", "0.05", "--from", "2019-05-31"), Exit.BAD_DATA, "must be from 2019-06-01"),
])  # fmt: skip
def test_a_replan_that_is_wrong_changes_nothing(settings, run, options, status, message):
    run(*NIGHT)
    left, printed = run(*REPLAN, *options)
    assert (left, message in printed) == (status, True), printed
    assert len(promises_of(settings)) == 1


def test_only_a_judged_current_site_is_replanned(settings, run):
    run("sites", "add", settings.registry.path)
    assert "has not been judged yet" in run(*REPLAN, "--plan-a", "0.05")[1]
    run(*NIGHT)
    run("sites", "retire", "s1")
    status, printed = run(*REPLAN, "--plan-a", "0.05")
    assert (status, "is retired" in printed) == (Exit.BAD_DATA, True)
    assert run("sites", "replan", "nobody", *REPLAN[3:], "--plan-a", "0.05")[0] == Exit.BAD_DATA


def test_a_changed_definition_of_an_own_biome_is_taken_over_by_its_name(settings, run, define):
    define(full_cover=0.8, A=0.2)
    change(settings, biome="pontic")
    run(*NIGHT)
    define(full_cover=0.7, A=0.2)
    status, manifest = run(*NIGHT, "--json")
    assert (status, manifest["registry"]["plan_edited"]) == (Exit.SOME_FAILED, ["s1"])
    assert "--biome pontic" in " ".join(manifest["registry"]["said"])
    assert promises_of(settings)[-1]["payload"]["biome_definition"]["full_cover"] == 0.8
    assert run(*REPLAN, "--biome", "pontic")[0] == Exit.DONE
    assert promises_of(settings)[-1]["payload"]["biome_definition"]["full_cover"] == 0.7
    assert run(*NIGHT, "--json")[1]["registry"]["plan_edited"] == []
