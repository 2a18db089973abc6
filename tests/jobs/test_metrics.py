"""metrics.prom says what a dashboard needs, follows the conventions of Prometheus, and never stops a night."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import partial
from unittest.mock import Mock

from prometheus_client.parser import text_string_to_metric_families

from jobs.imagery.freshness import SourceResult
from jobs.reports.manifest import Manifest
from jobs.reports.metrics import FILE, write_metrics
from jobs.reports.night import Night
from jobs.runtime.exits import Exit
from jobs.runtime.records import from_json
from jobs.runtime.settings import SourceSettings
from monitor.errors import BadData
from tests.builders import regrowth
from tests.ledger.assessed import add_assessment

EARLIER = "2026-06-01T02:30:00.000+00:00"


def values(root):
    """Every sample of the file, by name and label."""
    families = text_string_to_metric_families((root / FILE).read_text(encoding="utf-8"))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def a_night(status=0, day=1, manifest=None):
    began = f"2026-06-0{day}T02:30"
    times = {"began": f"{began}:00.000+00:00", "ended": f"{began[:-2]}31:30.000+00:00"}
    return Night(as_of=date(2026, 6, day), status=status, manifest=manifest, **times)


def test_every_number_is_that_of_the_ledger(settings, ledger, installation):
    with ledger.transaction() as t:
        for site in "abcd":
            t.add_site(site, "1", {"id": site}, start="2020-01-01", now=EARLIER)
        t.retire_site("d")
        for site, status, alert, last in (
            ("a", "failing", "red", "2026-05-30"), ("b", "on_track", "none", "2026-05-31"),
            ("d", "failing", "red", "2026-06-01"),
        ):  # fmt: skip
            content = {"status": status, "alert": alert, "last_observed": last}
            add_assessment(t, site, "2026-05-31", "x", content)
        t.save_alert({"id": "a/failure", "site": "a", "state": "open", "opened": "2026-05-01", "level": "red"})
        t.save_alert({"id": "b/failure", "site": "b", "state": "resolved", "opened": "2026-05-01", "level": "red"})
        for state, events in {"waiting": "12", "held": "3", "dead": "456", "sent": "7"}.items():
            for event in events:
                t.add_notice(event, "alert", {}, day="2026-05-31", recipients=[("mail", "x@example.org")])
                ids = [row["id"] for row in t.notices("waiting") if row["event"] == event]
                t.change_notices(ids, state=state)
        sites = [{"site": "a", "state": "done"}, {"site": "b", "state": "failed"}, {"site": "c", "state": "done"}]
        wait = {"scene": "x", "since": "2026-05-26", "reason": "no answer", "sites": ["a"], "n_sites": 1}
        unread = {"unread_count": 3, "unread": [{**wait, "age_days": days} for days in (5, 0)]}
        manifest = {"run": "r", "as_of": "2026-05-31", "sites": sites, **unread}
        t.begin_run("good", "night", "2026-05-30", now="2026-05-30T02:30:00+00:00")
        good = {"run": "good", "as_of": "2026-05-30", "sites": []}
        t.end_run("good", status=0, manifest=good, now="2026-05-30T03:00:00+00:00")
    write_metrics(settings, ledger, a_night(status=10, manifest=from_json(manifest, Manifest)))
    metrics = values(installation.root)
    assert {key[1]: value for key, value in metrics.items() if key[0] == "regrowth_sites" and value} == {
        "failing": 1, "on_track": 1, "not_assessed": 1,
    }  # fmt: skip
    assert [metrics["regrowth_sites_by_alert", level] for level in ("red", "watch", "none")] == [1, 0, 2]
    assert [metrics["regrowth_night_sites", state] for state in ("done", "failed", "deferred")] == [2, 1, 0]
    assert metrics["regrowth_unread_scenes",] == 3
    assert metrics["regrowth_unread_scenes_oldest_age_seconds",] == 5 * 86_400
    assert [metrics["regrowth_messages", state] for state in ("waiting", "held", "dead")] == [2, 1, 3]
    assert [metrics["regrowth_open_alerts", level] for level in ("red", "watch")] == [1, 0]
    ended = datetime.fromisoformat(EARLIER) + timedelta(seconds=90)
    newest = datetime(2026, 5, 31, tzinfo=UTC)
    assert metrics["regrowth_newest_scene_timestamp_seconds",] == newest.timestamp()
    assert metrics["regrowth_newest_scene_age_seconds",] == (ended - newest).total_seconds()
    assert metrics["regrowth_last_night_timestamp_seconds",] == ended.timestamp()
    assert metrics["regrowth_night_duration_seconds",] == 90
    assert metrics["regrowth_night_exit_status",] == 10
    assert metrics["regrowth_last_success_timestamp_seconds",] == datetime(2026, 5, 30, 3, tzinfo=UTC).timestamp()


def test_without_a_ledger_the_night_is_reported_and_the_last_success_stays(settings, ledger, installation):
    write_metrics(settings, ledger, a_night())
    before = values(installation.root)
    write_metrics(settings, None, a_night(status=65, day=2))
    after = values(installation.root)
    success = ("regrowth_last_success_timestamp_seconds",)
    assert after[success] == before[success]
    assert after["regrowth_night_exit_status",] == 65
    assert not any(key[0] == "regrowth_sites" for key in after)


def test_names_and_help_follow_the_conventions_and_the_data_dictionary_lists_all(settings, ledger, installation, root):
    with ledger.transaction() as t:
        t.add_site("a", "1", {"id": "a"}, start="2020-01-01", now=EARLIER)
        content = {"status": "failing", "alert": "red", "last_observed": "2026-05-30"}
        add_assessment(t, "a", "2026-05-31", "x", content)
    budgeted = SourceSettings(kind="earthengine", eecu_hours_per_month=9)
    newest = date(2026, 5, 1)
    offered = SourceResult(source="stac", provider="x", newest=newest, usual_gap=9, scenes_new=0, stale=True)
    night = a_night(manifest=Manifest(run="r", as_of=date(2026, 5, 31), sites=[], sources=[offered]))
    write_metrics(settings.model_copy(update={"source": (budgeted,)}), ledger, night)
    guide = (root / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    families = list(text_string_to_metric_families((installation.root / FILE).read_text(encoding="utf-8")))
    for family in families:
        assert re.fullmatch(r"regrowth_[a-z_]+", family.name)
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        assert not re.search("days|hours|minutes|_ms|_total$", family.name)
        assert f"`{family.name}" in guide, family.name
    assert set(re.findall(r"`(regrowth_\w+)", guide)) == {family.name for family in families}


def test_a_failed_night_writes_metrics_too_and_a_place_that_cannot_be_written_fails_no_night(installation, monkeypatch):
    run = partial(regrowth, "run", "--as-of", "2018-09-30", config=installation.config)
    monkeypatch.setattr("jobs.night.pipeline.night", Mock(side_effect=BadData("there is no site to judge")))
    assert run()[0] == Exit.BAD_DATA
    assert values(installation.root)["regrowth_night_exit_status",] == 65
    (installation.root / FILE).unlink()
    (installation.root / FILE).mkdir()
    status, _, error = run()
    assert (status, error.splitlines()[-1]) == (Exit.BAD_DATA, "there is no site to judge")
    assert not list(installation.root.glob(".metrics*"))


def test_no_secret_and_no_name_of_a_site_or_person_is_in_it(settings, ledger, installation, monkeypatch):
    monkeypatch.setenv("REGROWTH_CHANNEL_MAIL_PASSWORD", "hunter2-Canary")
    with ledger.transaction() as t:
        t.add_site("secret-place", "1", {"id": "secret-place"}, start="2020-01-01", now=EARLIER)
        t.add_notice("e", "alert", {}, day="2026-05-31", recipients=[("mail", "li@example.org")])
    write_metrics(installation.settings, ledger, a_night())
    text = (installation.root / FILE).read_text(encoding="utf-8")
    assert not re.search("Canary|secret-place|example", text)
