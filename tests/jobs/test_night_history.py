"""What the pages say about nights comes from the ledger: which ran, which did not, what failed, what changed."""

from contextlib import closing
from dataclasses import replace
from datetime import date

import pytest
from shapely.geometry import box

from jobs.reports.manifest import Manifest, SiteResult, public, summary
from jobs.reports.night_history import read_history
from jobs.runtime.records import to_json
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Plan
from monitor.verdict.assessment import AlertLevel, Status
from tests import builders
from tests.ledger.assessed import add_assessment

PLAN = Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5)


def site(name):
    return builders.site(name, name=f"Plot {name}", geometry=box(100, 40, 100.01, 40.01), start=date(2017, 4, 1),
                         plan=PLAN, version="v")  # fmt: skip


def assessment(name, day, status, *, seen=date(2021, 8, 1)):
    return builders.assessment(name, as_of=day, last_observed=seen, status=status, alert=AlertLevel.NONE, reasons=())


def manifest(run="run", *, sent=0, waiting=0, scenes=(), seconds=90, pages=(), **errors):
    """Manifest of a night: sites a, b and c, done unless an error is given."""
    sites = [
        SiteResult(site=name, state="failed" if name in errors else "done", error=errors.get(name), scenes_new=scenes)
        for name in "abc"
    ]
    return Manifest(
        run=run, as_of=date(2021, 8, 20), sites=sites, messages_sent=sent, messages_waiting=waiting, seconds=seconds,
        pages_failed=dict(pages),
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as with_sites:
        with with_sites.transaction() as t:
            for name in "abc":
                payload = {"id": name, "name": f"Plot {name}", "start": "2017-04-01"}
                t.add_site(name, "v", payload, start="2017-04-01", now="2021-07-01T00:00:00+00:00")
        yield with_sites


def ran(t, day, hour=2, *, done=None, **ended):
    """A night of August 2021: its manifest, or how else it ended."""
    run, began = f"night-{day}-{hour}", f"2021-08-{day:02d}T{hour:02d}:00:00+00:00"
    t.begin_run(run, "night", f"2021-08-{day:02d}", now=began)
    if done is not None:
        ended = {"status": 10 if done.messages_waiting else 0, **recorded(done)} | ended
    if ended:
        t.end_run(run, now=began.replace(":00:00", ":01:30"), **ended)


def recorded(done):
    return {"manifest": to_json(done), "summary": summary(done)}


def history(ledger, *, day=20, night=None, rows=None):
    if rows is None:
        rows = [(site(name), assessment(name, date(2021, 8, day), Status.ON_TRACK)) for name in "abc"]
    with ledger.reading() as t:
        return read_history(t, rows, day=date(2021, 8, day), night=night, silence_days=45)


def test_nights_are_newest_first_with_their_counts_and_a_killed_one_among_them(ledger):
    with ledger.transaction() as t:
        ran(t, 17, done=manifest(scenes=["x", "y"], sent=2))
        ran(
            t, 18, status=78, error="[source] /srv/regrowth/key.json: no such file; https://u:word@host.example/a?sig=b"
        )
        ran(t, 19)
        ran(t, 20, done=manifest(a="site 'a': its store is broken", b="site 'b': its store is broken"), status=10)
    found = history(ledger)
    assert [night.day.day for night in found.nights] == [20, 19, 18, 17]
    assert [night.outcome for night in found.nights] == ["failed", "trace", "configuration", "done"]
    failed, killed, refused, good = found.nights
    assert (good.done, good.scenes, good.sent, good.waiting, good.seconds) == (3, 2, 2, 0, 90)
    assert [(one.state, one.reason, one.sites, one.n_sites) for one in failed.problems] == [
        ("failed", "its store is broken", ("a", "b"), 2)
    ]
    assert (killed.status, killed.done, killed.error) == (None, None, None)
    assert refused.error == "[source] (path): no such file; https://***@host.example"
    assert found.last_success == date(2021, 8, 17)


def test_a_repeated_night_is_listed_only_if_it_did_something_new(ledger):
    with ledger.transaction() as t:
        ran(t, 17, 2, done=manifest(scenes=["x"]))
        ran(t, 17, 3, done=manifest())
        ran(t, 18, 2, done=manifest(waiting=1))
        ran(t, 18, 3, done=manifest(sent=1))
        ran(t, 18, 4, done=manifest())
        t.begin_run("catching-up", "night", "2021-08-16", now="2021-08-19T02:00:00+00:00")
        t.end_run("catching-up", status=0, now="2021-08-19T02:01:00+00:00", **recorded(manifest()))
    hours = [(night.day.day, night.started.hour) for night in history(ledger).nights]
    assert hours == [(18, 3), (18, 2), (17, 2)]


def test_the_night_that_writes_the_pages_is_shown_as_it_will_be_recorded(ledger):
    with ledger.transaction() as t:
        ran(t, 19, done=manifest(scenes=["x"]))
        t.begin_run("now", "night", "2021-08-20", now="2021-08-20T02:00:00+00:00")
    done = manifest("now", scenes=["z"], seconds=61.0, pages={"a": "the disk is full"})
    shown = history(ledger, night=done).nights[0]
    assert (shown.status, shown.outcome, shown.scenes, shown.seconds) == (10, "correct", 1, 61.0)
    assert [one.reason for one in shown.problems] == ["page of a not written: the disk is full"]
    with ledger.transaction() as t:
        t.end_run("now", status=10, now="2021-08-20T02:09:00+00:00", **recorded(done))
    assert history(ledger).nights[0] == shown


def test_changes_are_those_of_a_month_or_of_longer_if_nothing_changed_in_it(ledger):
    def assess(t, name, day, status):
        add_assessment(t, name, f"2021-{day}", f"{name}{day}", {"status": status})

    with ledger.transaction() as t:
        for name in "ab":
            assess(t, name, "04-10", "on_track")
        assess(t, "a", "06-01", "lagging")
    rows = [(site(name), assessment(name, date(2021, 8, 20), Status.ON_TRACK)) for name in "ab"]
    rows[0] = (rows[0][0], replace(rows[0][1], status=Status.LAGGING))
    changes = history(ledger, rows=rows).changes
    assert (changes.since, changes.before) == (date(2021, 5, 20), {"a": "on_track"})
    with ledger.transaction() as t:
        assess(t, "b", "08-01", "failing")
    rows[1] = (rows[1][0], replace(rows[1][1], status=Status.FAILING))
    changes = history(ledger, rows=rows).changes
    assert (changes.since, changes.before) == (date(2021, 7, 20), {"b": "on_track"})


def test_a_young_programme_is_compared_with_its_first_night(ledger):
    with ledger.transaction() as t:
        for name in "abc":
            add_assessment(t, name, "2021-08-16", "d", {"status": "on_track"})
        ran(t, 16, done=manifest())
        t.retire_site("c")
        t.begin_episode("b", 2, start="2021-08-10", budget=0.5, why="drought", now="2021-08-17T10:00:00+00:00")
    rows = [(site(name), assessment(name, date(2021, 8, 20), Status.ON_TRACK)) for name in "abd"]
    changes = history(ledger, rows=rows).changes
    assert (changes.since, changes.before, changes.new) == (date(2021, 8, 16), {}, ("d",))
    assert changes.replanted == (("b", date(2021, 8, 10)),)
    assert changes.retired == ({"en": "Plot c", "zh": "Plot c"},)
    assert history(ledger, day=16).changes is None


def test_a_site_counts_as_unseen_by_the_days_of_its_growing_season(ledger):
    seen = {"a": date(2021, 8, 12), "b": date(2021, 6, 1), "c": None}
    rows = [(site(name), assessment(name, date(2021, 8, 20), Status.ON_TRACK, seen=day)) for name, day in seen.items()]
    assert history(ledger, rows=rows).unseen == ("b", "c")
    early = replace(rows[1][0], start=date(2021, 8, 1))
    assert history(ledger, rows=[rows[0], (early, rows[1][1])]).unseen == ()


@pytest.mark.parametrize(("text", "shown"), [
    ("cannot read '/srv/data/a b.tif'", "cannot read '(path) b.tif'"),
    ("file:///srv/regrowth/x.json is missing", "(path) is missing"),
    ("store/loess-1 has 3/4 of its rows", "store/loess-1 has 3/4 of its rows"),
    ("~/secret/key and ../private/key", "(path) and (path)"),
    ("https://host.example/v1/search?token=abc: 500", "https://host.example 500"),
    ("uplift: 1.5 m/s, 2021/08/20", "uplift: 1.5 m/s, 2021/08/20"),
])  # fmt: skip
def test_reasons_name_no_paths(text, shown):
    assert public(text) == shown


def test_reasons_name_no_secrets(monkeypatch):
    monkeypatch.setenv("REGROWTH_CHANNEL_OPS_SECRET", "hunter2hunter2")
    done = manifest(a="site 'a': the receiver refused hunter2hunter2")
    assert summary(done)["problems"][0]["reason"] == "the receiver refused ***"
