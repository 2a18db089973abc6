"""The demonstration: the monitor finds the changes that were put into real imagery."""

import json
import re
import shutil
from dataclasses import replace
from datetime import date
from fnmatch import fnmatch

import pandas as pd
import pytest

from jobs.install import demonstration as module
from jobs.night.pipeline import night
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json
from jobs.runtime.settings import load
from monitor.errors import BadConfiguration
from monitor.sites.site import Site
from monitor.verdict.assess import assess
from monitor.verdict.assessment import Series
from tests.builders import edited_features, printed_json, regrowth
from tests.jobs.reproduction import assert_reproduced, assert_same, differences, reassessed
from tests.landscape import series_of
from tests.loopback.mail import MAIL_TO_MANAGERS, MailServer


@pytest.fixture(scope="module")
def shown(demo, tmp_path_factory):
    """A copy of the demonstration, whose nights are the same if it is run again."""
    out = tmp_path_factory.mktemp("demo") / "out"
    shutil.copytree(demo, out, ignore=shutil.ignore_patterns("regrowth.db-*"))  # others may be reading it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST_NIGHT", date(2020, 10, 3))
        yield out


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_site_has_the_status_of_its_fate(shown):
    truth, found = read(shown / "truth.json"), read(shown / "status.json")
    assert {one["site"]: one["status"] for one in found} == {site: dealt["fate"] for site, dealt in truth.items()}


def test_the_interval_of_the_share_holds_the_true_share(shown):
    truth = read(shown / "truth.json")
    for one in read(shown / "status.json"):
        true = truth[one["site"]]["theta"]
        if true is not None:
            assert one["theta_low"] <= true <= one["theta_high"], one["site"]


def products(folder):
    """Content of each file that a demonstration writes, by its name; stores and ledger are left out."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    names = [name for name in names if name.parts[0] != "store" and not name.name.startswith("regrowth.db")]
    return {name.as_posix(): (folder / name).read_bytes() for name in names}


def test_a_second_run_changes_no_byte_and_sends_nothing(shown, capsys):
    before = products(shown)
    assert len(before) > 100
    assert any(name.startswith("messages/") for name in before)
    assert module.demonstrate(shown, seed=1, as_json=False) is Exit.DONE
    assert differences(before, products(shown)) == {}
    assert "nights; 0 messages sent now." in capsys.readouterr().out


def test_published_series_and_plans_give_back_every_published_number(shown, tmp_path):
    assert_reproduced(shown, tmp_path)


def test_published_files_of_all_sites_may_be_joined(shown, tmp_path):
    published = {one["site"]: one for one in read(shown / "status.json")}
    folders = [shown / "sites" / site for site in published]
    tables = [pd.read_csv(folder / "observations.csv", dtype=str) for folder in folders]
    pd.concat(tables).sample(frac=1, random_state=2).to_csv(tmp_path / "series.csv", index=False)
    (tmp_path / "plans.json").write_text(json.dumps([read(folder / "plan.json") for folder in folders]))
    found = reassessed(tmp_path / "series.csv", tmp_path / "plans.json", tmp_path / "out.parquet")
    assert found.keys() == published.keys()
    for site, theirs in published.items():
        assert_same(found[site], theirs)


def test_every_published_file_is_in_the_data_dictionary(shown, root):
    text = (root / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (.*?) \| ", text[: text.index("## When a file changes")], re.M)
    patterns = [re.sub("<[a-z]+>", "*", name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    own = ("regrowth.toml", "regrowth.db*", "sites.geojson", "store/*")  # the installation, beside its outputs
    files = [path.relative_to(shown).as_posix() for path in shown.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in (*patterns, *own))] == []


def test_the_guide_shows_an_auditor_how(shown, root, tmp_path, monkeypatch, capsys):
    text = (root / "docs" / "assess.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if "outputs/demo/sites/demo-02" in line)
    monkeypatch.chdir(tmp_path)
    status, _, error = regrowth(*(word.replace("outputs/demo", str(shown)) for word in command.split()[1:]))
    assert (status, error) == (0, "")
    last = pd.read_csv("verdict.csv").iloc[-1]
    theirs = next(one for one in read(shown / "status.json") if one["site"] == "demo-02")
    assert last.theta == pytest.approx(theirs["theta"], abs=1e-6)
    for site in ("demo-02", "demo-09"):
        monkeypatch.chdir(shown / "sites" / site)
        exec(compile(text.split("```python\n")[1].split("```")[0], "docs/assess.md", "exec"), {})
        assert capsys.readouterr().out == "True\n"


def test_an_edited_series_or_constant_is_named(shown, tmp_path):
    folder = shown / "sites" / "demo-02"
    table, plan = pd.read_csv(folder / "observations.csv", dtype=str), read(folder / "plan.json")
    place = table.index[table.accepted == "true"][40]
    table.loc[place, "cover"] = "0.123456"
    table.to_csv(tmp_path / "series.csv", index=False)
    plan["calibration"]["scene_sd"] *= 1.001
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    series, constants = printed_json(
        "assess", tmp_path / "series.csv", "--plans", tmp_path / "plan.json", "--out", tmp_path / "o.csv"
    )["notes"]
    assert "site 'demo-02': the series is not the one of the verdict published as of 2020-10-31" in series
    assert "the constants are not those of the published verdict" in constants


def test_assess_gives_the_same_verdicts_for_the_published_series(shown, tmp_path):
    tables = [pd.read_csv(path) for path in sorted(shown.glob("sites/*/observations.csv"))]
    exported = pd.concat(tables).rename(columns={"control_cover": "control", "clear_fraction": "clear"})
    exported[["site", "date", "cover", "control", "clear"]].to_csv(tmp_path / "series.csv", index=False)
    sites = [feature["properties"] for feature in read(shown / "sites.geojson")["features"]]
    plans = pd.DataFrame(sites).rename(columns={"id": "site", "plan_A": "A", "plan_k": "k", "plan_L": "L"})
    columns = ["site", "start", "intervention", "biome", "A", "k", "L", "too_early_years"]
    plans[columns].to_csv(tmp_path / "plans.csv", index=False)
    arguments = ["assess", tmp_path / "series.csv", "--plans", tmp_path / "plans.csv", "--out", tmp_path / "out.csv"]
    assert regrowth(*arguments, "--at", module.LAST_NIGHT.isoformat())[0] == 0
    theirs = pd.read_csv(tmp_path / "out.csv").set_index("site")
    with open_ledger(load(shown / "regrowth.toml")) as ledger, ledger.transaction() as t:
        stored = [from_json(values, Site) for values in t.sites()]
    found = {one["site"]: one["status"] for one in read(shown / "status.json")}
    same = [site.id for site in stored if theirs.status[site.id] == found[site.id]]
    assert len(same) >= 9, "a sudden loss may be denied by the second index alone, which a table does not have"
    for site in stored:
        # A table knows neither the area, which counts for the noise, nor a second index: without them the same number.
        known = replace(Series.of(series_of(load(shown / "regrowth.toml"), site.id)), second=None)
        bare = assess(known, replace(site, hectares=float("nan")), as_of=module.LAST_NIGHT)
        assert theirs.status[site.id] == bare.status
        assert theirs.theta[site.id] == pytest.approx(bare.theta, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_the_fates_of_other_seeds_are_named_correctly_too(seed, tmp_path):
    from monitor.imagery.sample import Sample, deal_fates

    dealt = deal_fates(seed)
    (tmp_path / "regrowth.toml").write_text(module.CONFIGURATION.format(seed=seed), encoding="utf-8")
    (tmp_path / "sites.geojson").write_text(module._registry(Sample(seed), dealt), encoding="utf-8")
    manifest = night(load(tmp_path / "regrowth.toml"), as_of=module.LAST_NIGHT, pages=False)
    found = {one.site: one.status for one in manifest.sites}
    assert found == {module._id(place): fate.name for place, fate in dealt}


@pytest.mark.slow
def test_another_seed_makes_the_folder_again_but_leaves_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_NIGHT", date(2015, 9, 1))
    monkeypatch.setattr(module, "LAST_NIGHT", date(2015, 9, 1))
    module.demonstrate(tmp_path, seed=1, as_json=True)
    (tmp_path / "notes.txt").write_text("mine")
    first = (tmp_path / "truth.json").read_text()
    module.demonstrate(tmp_path, seed=2, as_json=True)
    assert (tmp_path / "truth.json").read_text() != first
    assert (tmp_path / "notes.txt").read_text() == "mine"


def edited(out, port):
    """The files of a demonstration as a person edits them: a mail server, and addresses of the managers."""
    module.write_inputs(out, seed=1)
    config, registry = out / "regrowth.toml", out / "sites.geojson"
    config.write_text(config.read_text(encoding="utf-8") + MAIL_TO_MANAGERS.format(port=port), encoding="utf-8")
    with edited_features(registry) as features:
        for feature in features:
            feature["properties"]["manager_email"] = f"{feature['properties']['id']}@example.org"
    return {path: path.read_bytes() for path in (config, registry)}


def test_files_of_a_demonstration_that_were_edited_are_left_as_they_are(tmp_path):
    before = edited(tmp_path, 25)
    module._remove_other_seed(tmp_path, 1)
    module.write_inputs(tmp_path, seed=1)
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "regrowth.toml").write_text(f"{module.CONFIGURATION.splitlines()[0]}\n[source\n", encoding="utf-8")
    with pytest.raises(BadConfiguration, match="cannot be read"):
        module._remove_other_seed(tmp_path, 1)
    assert (tmp_path / "sites.geojson").is_file()


@pytest.mark.slow
def test_with_a_mail_server_in_its_configuration_it_delivers_to_the_managers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_NIGHT", date(2020, 10, 3))
    with MailServer() as server:
        before = edited(tmp_path, server.port)
        assert module.demonstrate(tmp_path, seed=1, as_json=False) is Exit.DONE
        assert {path: path.read_bytes() for path in before} == before
        alerts = {one["site"] for one in read(tmp_path / "status.json") if one["alert"] != "none"}
        to = {True: set(), False: set()}  # by whether it is a weekly brief
        for mail in server.mails:
            subject = mail.message["Subject"]
            to["Weekly brief" in subject or "每周简报" in subject].add(mail.recipients[0].partition("@")[0])
        assert to == {False: alerts, True: {f"demo-{n:02d}" for n in range(1, 11)}}
        assert not (tmp_path / "messages").exists()
        sent = len(server.mails)
        assert module.demonstrate(tmp_path, seed=1, as_json=False) is Exit.DONE
        assert len(server.mails) == sent


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(BadConfiguration, match="choose another folder"):
        module.demonstrate(tmp_path, seed=1, as_json=False)
    assert (tmp_path / "thesis.doc").read_text() == "precious"
