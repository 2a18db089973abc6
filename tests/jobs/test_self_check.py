"""Once a week a night recomputes a random site: equal, or the operators are notified once, and the night goes on."""

import json
import shutil
from contextlib import contextmanager
from datetime import date, timedelta

import pytest
from msgspec.structs import replace

from jobs.health.ledger import last_self_check
from jobs.night import self_check as module
from jobs.night.self_check import self_check
from jobs.reports.manifest import Manifest, SiteResult, exit_status, self_check_problems, summary, to_correct
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load
from tests.jobs.conftest import Installation
from tests.ledger.assessed import edit_payload

NEXT = date(2020, 11, 1)  # the day after the last night of the demonstration


@pytest.fixture(scope="module")
def copied(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("self-check") / "demo"
    shutil.copytree(demo, folder, ignore=shutil.ignore_patterns("*.tif", "*.png", "*.jpg", "*.html", "*.eml", "*.db-*"))
    url = 'url = "https://ops.example.org/hook"'
    Installation(folder).configure("[channels.ops]", 'kind = "webhook"', url, "[operators]", 'channels = ["ops"]')
    return folder


@pytest.fixture
def installed(copied):
    """Settings and ledger of a demonstration whose last self-check was long ago."""
    settings = load(copied / "regrowth.toml")
    with open_ledger(settings, create=False) as ledger:
        _forget(ledger)
        yield settings, ledger
        _forget(ledger)


def _forget(ledger):
    with ledger.transaction() as t:
        for rows in ("self_checks", "outbox where kind = 'self_check'", "runs where id = 'killed'"):
            t._connection.exec_driver_sql(f"delete from {rows}")


def notices(ledger):
    with ledger.reading() as t:
        return [row for row in t.notices("waiting", "held", "sent") if row["kind"] == "self_check"]


def checked(installed, day=NEXT):
    settings, ledger = installed
    return self_check(settings, ledger, run="next", as_of=day)


def site_of(installed):
    site = checked(installed)["site"]
    _forget(installed[1])
    return site


@contextmanager
def replaced(path, content):
    before = path.read_bytes()
    path.write_bytes(content(before))
    try:
        yield
    finally:
        path.write_bytes(before)


def with_another_k(plan):
    return json.dumps(json.loads(plan) | {"k": 99.0}).encode()


def test_a_sound_site_is_equal_and_nobody_is_notified(installed):
    result = checked(installed)
    assert (result["n_differences"], result["error"], result["published"]) == (0, None, True)
    assert result["scenes"] == result["of"] > 100
    assert result["as_of"] == "2020-10-31"
    assert notices(installed[1]) == []
    assert self_check_problems(result) == []
    with installed[1].reading() as t:
        assert last_self_check(t.last_self_check()).state == "ok"


def test_the_same_night_checks_nothing_again_and_the_next_check_is_a_week_later(installed, monkeypatch):
    first = checked(installed)
    with monkeypatch.context() as patch:
        patch.setattr(module, "check_site", lambda *_, **__: pytest.fail("it was checked again"))
        assert checked(installed) == first
        assert checked(installed, NEXT + timedelta(days=6)) is None
        assert checked(installed, NEXT - timedelta(days=30)) is None, "a night of an earlier day that runs later"
    assert checked(installed, NEXT + timedelta(days=7))["error"] is None


def test_the_site_follows_from_the_chain_and_the_day(installed, monkeypatch):
    equal = {"n_differences": 0, "error": None, "as_of": "", "scenes": 0, "differences": [], "of": 0, "published": True}
    monkeypatch.setattr(module, "_checked", lambda *_: equal)
    head = {"hash": "a" * 64}
    monkeypatch.setattr(module, "newest_line", lambda t: head)

    def sites():
        chosen = []
        for week in range(30):
            chosen.append(checked(installed, NEXT + timedelta(days=7 * week))["site"])
        _forget(installed[1])
        return chosen

    with_a = sites()
    assert sites() == with_a
    assert len({*with_a}) > 5
    head["hash"] = "b" * 64
    assert sites() != with_a


def test_a_changed_number_in_a_published_file_is_reported_once_to_the_operators_alone(installed):
    settings, ledger = installed
    site = site_of(installed)
    with replaced(settings.outputs.root / "sites" / site / "plan.json", with_another_k):
        result = checked(installed)
        checked(installed)
    assert result["differences"] == [f"plan: k is 99.0 as recorded, {0.9} recomputed"]
    (notice,) = notices(ledger)
    assert (notice["channel"], notice["recipient"], notice["site"]) == ("ops", "", None)
    assert notice["payload"]["differences"] == result["differences"]
    (sentence,) = self_check_problems(result)
    assert sentence.startswith(f"self-check of {site} as of 2020-10-31: 1 value differs; the first: plan: k")
    with ledger.reading() as t:
        finding = last_self_check(t.last_self_check())
    assert (finding.state, "k is 99.0" in finding.message) == ("broken", True)


def test_a_changed_assessment_in_the_ledger_is_found(installed):
    _, ledger = installed
    site = site_of(installed)
    with ledger.transaction() as t:
        newest = t.latest_assessment(site)
        before = newest.payload["n_scenes"]
        edit_payload(t, site, newest.as_of, n_scenes=7)
    try:
        result = checked(installed)
    finally:
        with ledger.transaction() as t:
            edit_payload(t, site, newest.as_of, n_scenes=before)
    assert f"verdict: n_scenes is 7 as recorded, {before} recomputed" in result["differences"]
    assert f"status.json: n_scenes is {before} as recorded, 7 recomputed" in result["differences"]


@pytest.mark.parametrize("name", ["plan.json", "controls.geojson", "status.json"])
def test_a_published_file_that_is_damaged_is_named_in_a_sentence(installed, name):
    settings, ledger = installed
    site, root = site_of(installed), settings.outputs.root
    file = root / name if name == "status.json" else root / "sites" / site / name
    with replaced(file, lambda content: content[:50]):
        result = checked(installed)
    assert result["error"].startswith("BadData: ")
    assert name in result["error"]
    assert len(notices(ledger)) == 1


def test_a_store_that_cannot_be_read_is_reported_and_stops_nothing(installed, tmp_path):
    settings, ledger = installed
    elsewhere = settings.store.model_copy(update={"root": tmp_path / "elsewhere"})
    result = checked((settings.model_copy(update={"store": elsewhere}), ledger))
    assert (result["n_differences"], result["scenes"]) == (0, 0)
    assert "StoreBroken" in result["error"] or "Error" in result["error"]
    (notice,) = notices(ledger)
    assert notice["payload"]["error"] == result["error"]
    assert "could not be recomputed" in self_check_problems(result)[0]


def test_an_index_of_the_ledger_that_hides_an_assessment_is_named_as_damage(installed, monkeypatch):
    monkeypatch.setattr("monitor.ledger.transaction.Transaction.assessments_of", lambda *_, **__: [])
    assert "are damaged: 'regrowth doctor --deep' names them" in checked(installed)["error"]


def test_after_a_night_that_was_killed_the_published_files_are_not_compared(installed):
    settings, ledger = installed
    site = site_of(installed)
    with ledger.transaction() as t:
        t.begin_run("killed", "night", "2020-10-31", now="2099-01-01T00:00:00+00:00")
    with replaced(settings.outputs.root / "sites" / site / "plan.json", with_another_k):
        result = checked(installed)
    assert (result["n_differences"], result["error"], result["published"]) == (0, None, False)


def test_as_many_random_scenes_of_a_large_site_are_compared_as_fit_the_limit(installed, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 640)
    result = checked(installed)
    assert (result["scenes"], result["n_differences"], result["error"]) == (10, 0, None)
    assert result["of"] > 100


def test_a_difference_is_on_the_page_of_the_nights_and_changes_no_exit_status():
    check = {"site": "a", "as_of": "2020-10-31", "scenes": 1, "of": 1, "differences": ["verdict: theta is 1.0"],
             "n_differences": 1, "error": None}  # fmt: skip
    sites = [SiteResult(site="a", state="done")]
    manifest = Manifest(run="r", as_of=date(2020, 11, 1), sites=sites, self_check=check)
    assert to_correct(manifest) == [], "the notice of a failed night does not repeat it"
    (problem,) = summary(manifest)["problems"]
    assert (problem["state"], "theta is 1.0" in problem["reason"]) == ("correct", True)
    assert exit_status(manifest) == exit_status(replace(manifest, self_check=None)) == 0


def test_sites_without_an_earlier_assessment_are_not_checked(installed):
    assert checked(installed, date(2000, 1, 1)) is None
