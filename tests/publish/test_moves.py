"""Hectares that move between statuses: every hectare once, every move with its reason, and the past stays."""

from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from jobs.pages.period import read_moves
from jobs.runtime.records import to_json
from monitor.ledger.ledger import Ledger
from monitor.publish.moves import STATUSES, balance
from monitor.publish.period import by_month, months_of, path_on, period_csv, period_of, taking_hold
from monitor.publish.period_view import period_view
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.shared_ground import counted_hectares, overlaps
from monitor.sites.site import Plan, site_version
from tests import builders
from tests.ledger.assessed import add_assessment

PLAN = Plan(A=0.2, k=0.5, L=1.0, too_early_years=2.0)


def place(site_id, n=0, **values):
    outline = box(100 + n, 40, 100.01 + n, 40.01)
    about = {"name": f"Site {site_id}", "hectares": 10.0, "geometry": outline, "plan": PLAN, **values}
    site = builders.site(site_id, **about)
    return replace(site, version=site_version(site))


class Programme:
    """A programme in a ledger."""

    def __init__(self):
        self.ledger = Ledger("sqlite://")
        self.sites = {}
        self.episodes = {}

    def register(self, site):
        self.sites[site.id] = site
        self.episodes.setdefault(site.id, 1)
        with self.ledger.transaction() as t:
            t.add_site(site.id, site.version, to_json(site), start="2020-01-01", now="n")

    def retire(self, name):
        del self.sites[name]
        with self.ledger.transaction() as t:
            t.retire_site(name)

    def replant(self, name):
        self.episodes[name] += 1
        with self.ledger.transaction() as t:
            t.begin_episode(name, self.episodes[name], start="2021-01-01", budget=0.5, why="died", now="n")

    def night(self, day, run="r", **statuses):
        """Judge some sites; `run` marks constants of its own."""
        with self.ledger.transaction() as t:
            for name, status in statuses.items():
                site = self.sites[name]
                payload = {"status": status, "hectares": site.hectares, "episode": self.episodes[name]}
                add_assessment(t, name, day, f"{day}{run}{status}", payload, version=site.version, snapshot="land:1")

    def moves(self):
        with self.ledger.reading() as t:
            return read_moves(t)

    def period(self, first, last, path=None):
        with self.ledger.reading() as t:
            days = (date.fromisoformat(first), date.fromisoformat(last))
            return period_of(read_moves(t), t.night_days(), *days, path or {})

    def moves_between(self, first, last):
        moves = self.period(first, last).summary["moves"]
        return [(one["site"], one["date"], one["from"], one["to"], one["hectares"], one["reason"]) for one in moves]


@pytest.fixture
def programme():
    made = Programme()
    with closing(made.ledger):
        yield made


def test_each_move_has_its_reason_and_the_moves_explain_the_closing_balance(programme):
    for n, name in enumerate("abcd"):
        programme.register(place(name, n))
    programme.night("2026-01-05", a="too_early", b="on_track", c="on_track", d="undecided")
    programme.night("2026-02-05", a="on_track", b="disturbed", c="lagging", d="insufficient_data")
    programme.retire("c")
    programme.night("2026-03-05", a="on_track", b="disturbed", d="on_track")
    assert programme.moves_between("2026-02-01", "2026-03-31") == [
        ("a", "2026-02-05", "too_early", "on_track", 10, "taking_hold"),
        ("b", "2026-02-05", "on_track", "disturbed", 10, "loss"),
        ("c", "2026-02-05", "on_track", "lagging", 10, "fell_below"),
        ("d", "2026-02-05", "undecided", "insufficient_data", 10, "not_seen"),
        ("c", "2026-03-05", "lagging", None, 10, "retired"),
        ("d", "2026-03-05", "insufficient_data", "on_track", 10, "taking_hold"),
    ]
    period = programme.period("2026-02-01", "2026-03-31")
    assert (taking_hold(period.opening), taking_hold(period.closing)) == (20, 20)
    assert sum(period.closing.values()) == 30


def test_before_the_first_night_nothing_counts_and_all_sites_are_new_with_it(programme):
    programme.register(place("a"))
    programme.night("2026-01-05", a="on_track")
    period = programme.period("2025-01-01", "2026-01-31")
    assert set(period.opening.values()) == {0.0}
    assert programme.moves_between("2025-01-01", "2026-01-31") == [("a", "2026-01-05", None, "on_track", 10, "new")]
    early = programme.period("2025-01-01", "2025-12-31")
    assert (early.night, early.summary["moves"], sum(early.closing.values())) == (None, [], 0)


def test_a_province_has_its_moves_of_the_period_also_where_the_period_begins_in_the_month_of_a_move(programme):
    programme.register(place("a", 0, province="Gansu"))
    programme.register(place("b", 1, province="Shanxi"))
    programme.night("2026-01-05", a="on_track", b="on_track")
    programme.night("2026-01-20", a="failing", b="on_track")
    groups = period_view(programme.period("2026-01-11", "2026-01-31"), "en", pledge=None)["groups"]
    assert {(name, sentence) for _, name, _, sentence in groups} == {
        ("Gansu", "0.00 of 10.00 ha taking hold; in the period −10.00 ha"),
        ("Shanxi", "10.00 of 10.00 ha taking hold; in the period unchanged"),
    }


def test_a_new_promise_a_new_outline_and_new_planting_are_named_as_the_cause(programme):
    for n, name in enumerate("abc"):
        programme.register(place(name, n))
    programme.night("2026-01-05", a="on_track", b="on_track", c="on_track")
    programme.register(place("a", 0, plan=replace(PLAN, A=0.4)))
    programme.register(place("b", 1, hectares=12.0, geometry=box(101, 40, 101.012, 40.01)))
    programme.replant("c")
    programme.night("2026-01-06", a="lagging", b="undecided")
    programme.night("2026-01-07", a="failing", b="undecided", c="too_early")
    assert programme.moves_between("2026-01-06", "2026-01-07") == [
        ("a", "2026-01-06", "on_track", "lagging", 10, "promise"),
        ("b", "2026-01-06", "on_track", "undecided", 10, "outline"),
        ("b", "2026-01-06", None, "undecided", 2, "outline"),
        ("c", "2026-01-06", "on_track", "not_assessed", 10, "replanted"),
        ("a", "2026-01-07", "lagging", "failing", 10, "fell_below"),
        ("c", "2026-01-07", "not_assessed", "too_early", 10, "other"),
    ]


def test_an_edit_of_the_registry_counts_from_the_next_night_on(programme):
    programme.register(place("a"))
    programme.night("2026-01-31", a="on_track")
    programme.retire("a")
    programme.register(place("b", 1))
    assert sum(programme.period("2026-01-01", "2026-01-31").closing.values()) == 10
    programme.night("2026-02-03", b="too_early")
    assert [move[1] for move in programme.moves_between("2026-02-01", "2026-02-28")] == ["2026-02-03", "2026-02-03"]


def test_a_site_that_another_run_of_the_same_night_judges_counts_from_that_night_on(programme):
    programme.register(place("a"))
    programme.night("2026-01-31", a="on_track")
    programme.register(place("b", 1))
    programme.register(place("a", 2))
    programme.night("2026-01-31", run="again", a="undecided", b="too_early")
    closing_balance = programme.period("2026-01-01", "2026-01-31").closing
    assert {status: area for status, area in closing_balance.items() if area} == {"undecided": 10, "too_early": 10}


def test_ground_of_two_sites_counts_for_the_first_until_it_is_retired(programme):
    outline = box(100, 40, 100.01, 40.01)
    first, second = place("a", geometry=outline), place("b", geometry=outline)
    programme.register(first)
    programme.register(second)
    programme.night("2026-01-05", a="on_track", b="failing")
    assert programme.period("2026-01-01", "2026-01-31").closing["failing"] == 0
    programme.retire("a")
    programme.night("2026-02-05", b="failing")
    assert programme.moves_between("2026-02-01", "2026-02-28") == [
        ("a", "2026-02-05", "on_track", None, 10, "retired"),
        ("b", "2026-02-05", None, "failing", 10, "outline"),
    ]


def test_the_account_of_a_closed_period_never_changes(programme):
    """Later nights, other runs of its nights, late verdicts, renamed, moved and retired sites leave every byte."""
    for n, name in enumerate("abc"):
        programme.register(place(name, n))
    programme.night("2026-01-05", a="too_early", b="on_track")
    programme.night("2026-01-31", a="on_track", b="on_track")
    programme.night("2026-02-01", a="on_track", b="on_track")

    def closed():
        return period_csv(programme.period("2026-01-01", "2026-01-31"))

    before = closed()
    programme.night("2026-01-31", run="other constants", a="failing", b="failing", c="failing")
    programme.night("2026-01-10", run="late", c="on_track")
    assert closed() == before
    programme.register(place("a", 0, name="Renamed", province="Gansu", partner="Oasis", programme_year=2021))
    programme.register(place("b", 0, hectares=3.0))
    programme.register(place("d", 0))
    programme.retire("c")
    programme.night("2026-02-05", a="failing", b="lagging", d="on_track")
    assert closed() == before
    assert programme.period("2026-02-01", "2026-02-28").closing["failing"] == 10


def test_a_site_that_changes_its_lot_takes_its_hectares_along(programme):
    programme.register(place("a", province="Gansu"))
    programme.night("2026-01-05", a="on_track")
    programme.register(place("a", province="Qinghai"))
    programme.night("2026-02-05", a="on_track")
    moves, last = programme.moves(), date(2026, 2, 28)
    assert by_month(moves, months_of(moves, last), lambda site: site.province) == {
        "Gansu": {"on_track": [10, 0]}, "Qinghai": {"on_track": [0, 10]},
    }  # fmt: skip
    assert programme.moves_between("2026-02-01", "2026-02-28") == []


JUDGED = ("too_early", "undecided", "on_track", "lagging", "failing", "disturbed", "insufficient_data", "recovered")
EVENTS = st.one_of(
    st.tuples(st.just("night"), st.dictionaries(st.sampled_from("abc"), st.sampled_from(JUDGED))),
    st.tuples(st.sampled_from(("retire", "replant")), st.sampled_from("abc")),
    st.tuples(st.just("register"), st.tuples(st.sampled_from("abc"), st.integers(0, 4))),
)
OUTLINES = [box(100 + 0.004 * n, 40, 100.01 + 0.004 * n, 40.01) for n in range(5)]
"""Neighbours overlap."""


@given(events=st.lists(EVENTS, max_size=25))
def test_opening_and_moves_are_the_closing_balance_of_a_recount_of_the_assessments(events):
    programme = Programme()
    with closing(programme.ledger):
        day, recounts = date(2026, 1, 1), {}
        for event, what in [("register", ("a", 0)), *events]:
            if event == "register":
                outline = OUTLINES[what[1]]
                programme.register(place(what[0], geometry=outline, hectares=geodesic_hectares(outline)))
            elif event == "night":
                day += timedelta(days=9)
                judged = {name: status for name, status in what.items() if name in programme.sites}
                if not judged:
                    continue
                programme.night(day.isoformat(), **judged)
                recounts[day] = recount(programme)
            elif what in programme.sites:
                getattr(programme, event)(what)
        days = sorted(recounts)
        for first, last in pairwise(days):
            period = programme.period((first + timedelta(days=1)).isoformat(), last.isoformat())
            assert period.opening == pytest.approx(recounts[first], abs=1e-9)
            assert period.closing == pytest.approx(recounts[last], abs=1e-9)
            sums = dict(period.opening)
            for move in period.summary["moves"]:
                for status, sign in ((move["from"], -1), (move["to"], 1)):
                    if status is not None:
                        sums[status] += sign * move["hectares"]
            assert sums == pytest.approx(period.closing, abs=1e-9)
            assert all(move["hectares"] >= 0 for move in period.summary["moves"])


def recount(programme):
    """Hectares by status of the sites that are registered now, from their newest assessments."""
    sums = dict.fromkeys(STATUSES, 0.0)
    with programme.ledger.reading() as t:
        latest = t.latest_assessments()
        sites = [programme.sites[name] for name in t.sites_as_registered() if name in programme.sites]
    outlines = [site.geometry for site in sites]
    counted = counted_hectares(outlines, [site.hectares for site in sites], overlaps(outlines))
    for name, site, hectares in zip((site.id for site in sites), sites, counted, strict=True):
        newest = latest.get(name)
        valid = newest is not None and newest.payload["episode"] == programme.episodes[name]
        if valid and newest.version != site.version:
            with programme.ledger.reading() as t:
                valid = t.site_version(name, newest.version)["geometry"] == to_json(site)["geometry"]
        sums[newest.payload["status"] if valid else "not_assessed"] += hectares
    return sums


def test_the_path_is_linear_between_the_ends_of_years_and_unknown_before_the_first():
    path = {2024: 100.0, 2026: 300.0}
    assert path_on(path, date(2024, 12, 30)) is None
    assert path_on(path, date(2024, 12, 31)) == 100
    assert path_on(path, date(2025, 12, 31)) == 200
    assert path_on(path, date(2026, 12, 31)) == path_on(path, date(2030, 1, 1)) == 300
    assert balance([]) == dict.fromkeys(STATUSES, 0.0)
