"""Granules, baselines, several catalogues and outages: every acquisition once, whatever the order of events."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from shapely.geometry import Polygon
from structlog.testing import capture_logs

from jobs.night.pipeline import exit_status
from jobs.register.alerting import address_book, record_event
from jobs.register.promises import replan
from jobs.register.registry import add_sites
from jobs.reports.manifest import Rejected
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import load
from monitor.alerts.alert import Alert, AlertEvent, AlertState
from monitor.alerts.recipients import FILES, Recipient
from monitor.errors import SceneRejected
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.series.build import landscape_series
from monitor.sites.registry import read_sites
from monitor.sites.site import Site, ground_key
from monitor.verdict.assess import DEFAULT, JudgedSites, judge_sites
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.explain import TOO_SMALL, explain
from monitor.verdict.reasons import Reason, sentence
from monitor.verdict.site_conditions import NO_VERDICT
from tests.builders import regrowth, use_sources
from tests.jobs.painted import (
    DAYS,
    FEW,
    FIRST,
    NIGHT,
    SITE,
    Painted,
    assessments,
    ground,
    installed,
    night,
    observations,
    status,
)
from tests.landscape import records, stored_of


@pytest.fixture
def settings(tmp_path):
    return installed(tmp_path)


@pytest.fixture
def begun(made_once):
    """An installation after a night over painted land. One of each kind is made, and copied to where it is needed."""

    def use(root, source, sites=(SITE,), *, as_of=NIGHT):
        def fill(folder):
            settings = installed(folder, sites)
            with pytest.MonkeyPatch.context() as patch:
                use_sources(patch, source)
                night(settings, as_of=as_of)

        kind = hashlib.sha256(repr((source, tuple(sites), as_of)).encode()).hexdigest()
        shutil.copytree(made_once(f"painted-{kind}", fill), root, dirs_exist_ok=True)
        return load(root / "regrowth.toml")

    return use


@pytest.mark.slow
def test_two_granules_of_one_overpass_are_one_row_and_fill_each_other(tmp_path, night_with):
    whole, halves = installed(tmp_path / "whole"), installed(tmp_path / "halves")
    night_with(whole, Painted(DAYS))
    given = Painted(DAYS, tiles={"48SUF": (0, 0, 12_060, 30e3), "48SVF": (12_060, 0, 30e3, 30e3)})
    manifest = night_with(halves, given)
    assert len(manifest.sites[0].scenes_new) == len(DAYS)
    ours, theirs = (observations(one).decode().splitlines() for one in (halves, whole))
    assert [row.split(",")[6:9] for row in ours] == [row.split(",")[6:9] for row in theirs]  # pixels, ndvi, cover
    # Each unit is in the granule that it lies in; those on the line between the granules may be lost.
    ours, theirs = (np.array([one.n_units for one in records(stored_of(made, "s1"))]) for made in (halves, whole))
    assert (ours >= 0.8 * theirs).all()
    assert night(halves).sites[0].scenes_new == []


@pytest.mark.slow
def test_a_unit_shown_in_too_small_a_part_has_no_means(settings, night_with):
    night_with(settings, Painted(DAYS[:-1:2]), Painted(DAYS[-1:], name="part", tiles={"48SVF": (0, 0, 12_165, 30e3)}))
    means = stored_of(settings, "s1").unit_means()
    seen, full = means.sel(measure="n_pixels").values, means.sel(measure="n_pixels").values.max()
    has_cover = np.isfinite(means.sel(measure="cover").values)
    assert ((seen[-1] > 0) & (seen[-1] < 0.6 * full)).any()
    assert (has_cover == (seen >= 0.6 * full)).all()


@pytest.mark.slow
def test_a_scene_that_does_not_reach_a_site_has_no_row(tmp_path, night_with):
    settings = installed(tmp_path, [SITE, (20_000, 12_000, 20_120, 12_120)])
    given = Painted(DAYS[::2], name="both"), Painted(DAYS[1::2], name="west", tiles={"48SVF": (0, 0, 15_000, 30e3)})
    new = [len(site.scenes_new) for site in night_with(settings, *given).sites]
    assert new == [len(DAYS), len(DAYS[::2])]


WHOLE = (0, 0, 30e3, 30e3)


def test_where_the_preferred_granule_is_torn_the_other_is_read_by_its_own_offset(tmp_path, night_with):
    alone, beside = installed(tmp_path / "alone"), installed(tmp_path / "beside")
    second = partial(Painted, DAYS[::2], name="second", tiles={"48SVF": WHOLE}, baseline="05.00", offset=-0.1)
    night_with(alone, second())
    torn = frozenset(f"painted-48SUF-{day}-02.09" for day in DAYS[::2])
    night_with(beside, Painted(DAYS[::2], tiles={"48SUF": WHOLE}, broken=torn), second())
    ours, theirs = ([(row["date"], row["ndvi"], row["cover"]) for row in rows(one)] for one in (beside, alone))
    assert ours == theirs


class Boundless(Painted):
    def scene(self, day, tile, footprint):
        return replace(super().scene(day, tile, footprint), footprint=None)

    def _frame(self, scene, grid):
        return super()._frame(replace(scene, footprint=ground(*WHOLE)), grid)


def test_a_scene_without_a_footprint_is_read_for_every_site(tmp_path, night_with, begun):
    known, fresh = begun(tmp_path / "known", Painted(FEW)), installed(tmp_path / "fresh")
    night_with(fresh, Boundless(FEW))
    assert observations(fresh) == observations(known)


class Misshapen(Painted):
    def read(self, scenes, grids):
        for frames in super().read(scenes, grids):
            yield [replace(one, pixels=one.pixels[:, :, :-1], quality=one.quality[:, :-1]) for one in frames]


def test_pixels_on_another_grid_than_requested_are_never_stored(settings, night_with):
    (site,) = night_with(settings, Painted(DAYS[:-10]), Misshapen(DAYS[-10:], name="other")).sites
    assert {one.reason for one in site.scenes_rejected} == {"BROKEN"}
    assert len(site.scenes_rejected) == 10
    assert not stored_of(settings, "s1").cube()["red"][-10:].notnull().any()


def test_control_ground_is_chosen_from_scenes_before_the_start_alone(tmp_path, begun):
    before = begun(tmp_path / "before", Painted(DAYS), as_of=date(2019, 5, 31))
    after = begun(tmp_path / "after", Painted(DAYS))
    assert stored_of(before, "s1").controls == stored_of(after, "s1").controls
    assert stored_of(after, "s1").controls["units"]


def test_a_scene_that_shows_too_little_of_the_site_does_not_affect_the_control_ground(tmp_path, night_with, begun):
    without, beside = begun(tmp_path / "without", Painted(DAYS[::2])), installed(tmp_path / "beside")
    night_with(beside, Painted(DAYS[::2]), Painted(DAYS[1::2], name="part", tiles={"48SVF": (12_070, 0, 30e3, 30e3)}))
    assert len(records(stored_of(beside, "s1"))) == 2 * len(records(stored_of(without, "s1")))
    assert stored_of(beside, "s1").controls["units"] == stored_of(without, "s1").controls["units"]


def test_a_scene_that_shows_three_quarters_of_a_site_counts_with_that_share(settings, night_with):
    gap = {"48SUF": (0, 0, 12_030, 30e3), "48SVF": (12_060, 0, 30e3, 30e3)}  # a strip that neither granule shows
    night_with(settings, Painted(DAYS[::2]), Painted(DAYS[1:2], name="part", tiles=gap))
    counted = {(row["source"], row["n_pixels"], float(row["clear_fraction"]), row["reason"]) for row in rows(settings)}
    assert counted == {("painted", "144", 1.0, ""), ("part", "108", 0.75, "")}


def test_a_scene_that_hides_the_control_ground_is_set_aside_for_that_reason(settings, night_with):
    near = Painted(DAYS[1:2], name="near", tiles={"48SVF": (11_900, 11_900, 12_220, 12_220)})
    night_with(settings, Painted(DAYS[::2]), near)
    assert {row["reason"] for row in rows(settings) if row["source"] == "near"} == {"CONTROL_HIDDEN"}
    assert {row["reason"] for row in rows(settings) if row["source"] != "near"} == {""}


def test_ground_is_new_with_its_outline_start_or_biome_and_with_nothing_else(settings):
    with open_ledger(settings) as ledger:
        add_sites(ledger, settings.registry.path)
        with ledger.transaction() as t:
            site = from_json(t.sites()[0], Site)
    begun_elsewhere = Polygon([*site.geometry.exterior.coords[2:], *site.geometry.exterior.coords[1:3]])
    for change in ({"start": FIRST}, {"biome": "sandy"}, {"geometry": site.geometry.buffer(1e-5)}):
        assert ground_key(replace(site, **change)) != ground_key(site)
    for change in ({"manager_name": "x"}, {"plan": replace(site.plan, A=0.3)}, {"geometry": begun_elsewhere}):
        assert ground_key(replace(site, **change)) == ground_key(site)


def test_a_ledger_older_than_its_stores_learns_from_them_and_nothing_is_read_again(tmp_path, night_with, begun):
    settings = begun(tmp_path, Painted(DAYS), as_of=DAYS[-4])
    only = Painted(DAYS)
    ledger = tmp_path / "regrowth.db"
    older = ledger.read_bytes()
    night_with(settings, only)
    assessment, read, snapshot = status(settings), len(only.read_scenes), stored_of(settings, "s1").snapshot
    ledger.write_bytes(older)
    assert night(settings).sites[0].scenes_new == []
    assert (len(only.read_scenes), stored_of(settings, "s1").snapshot) == (read, snapshot)
    assert status(settings) == assessment
    assert len(rows(settings)) == len(DAYS)


@pytest.mark.parametrize(("site", "ring", "reason", "status_reason", "blind"), [
    (SITE, (50.0, 140.0), "CONTROL_POOR", "CONTROL_FEW", "ground"),
    ((12_000, 12_000, 12_030, 12_030), (50.0, 1000.0), "FEW_PIXELS", "FEW_PIXELS", "small"),
], ids=["fewer than ten units", "nine pixels"])  # fmt: skip
def test_a_site_that_can_never_be_judged_has_that_reason_though_some_scenes_are_torn_or_cloudy(
    tmp_path, night_with, site, ring, reason, status_reason, blind
):
    settings = installed(tmp_path, [site])
    torn = frozenset({f"painted-48SUF-{DAYS[7]}-02.09"})
    night_with(settings, Painted(DAYS, ring=ring, broken=torn, cloudy=frozenset(DAYS[20:23])))
    assert (len(stored_of(settings, "s1").units) < 10) == (blind == "ground")
    assert {"BROKEN", reason} <= {row["reason"] for row in rows(settings)} <= {"BROKEN", "CLOUD", reason}
    assert (status(settings)["status"], status(settings)["alert"]) == ("insufficient_data", "none")
    assert status_reason in status(settings)["reasons"]
    stored = detectability(settings)
    assert (stored["red"], stored["said"]["en"]) == ([], NO_VERDICT[blind][0])
    if blind == "small":
        site = read_sites(settings.registry.path).sites[0]
        said = [sentence("FEW_PIXELS", "en"), TOO_SMALL[0]]
        assert explain(from_json(status(settings), Assessment), site)[1:] == said


def detectability(settings):
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        (stored,) = t.all_ground_data("detectability").values()
    return stored


class Tardy(Painted):
    """A catalogue that names each acquisition by the start of its granule, some seconds after that of the datatake."""

    def scene(self, day, tile, footprint):
        found = super().scene(day, tile, footprint)
        return replace(found, acquisition=found.acquisition.replace("T035141", "T035155"))


def test_an_acquisition_that_another_catalogue_dates_seconds_later_is_not_fetched_again(tmp_path, night_with, begun):
    settings = begun(tmp_path, Painted(FEW))
    other = Tardy(FEW, name="other")
    assert night_with(settings, other).sites[0].scenes_new == []
    assert other.read_scenes == []


def test_a_newer_baseline_with_another_offset_replaces_the_older_with_the_same_values(tmp_path, night_with, begun):
    settings, scratch = begun(tmp_path / "replaced", Painted(DAYS)), installed(tmp_path / "scratch")
    new = dict(baseline="05.00", offset=-0.1)
    earlier = assessments(settings)
    given = Painted(DAYS[:20], name="old"), Painted(DAYS[:20], name="new", **new), Painted(DAYS, name="rest")
    assert len(night_with(settings, *given).sites[0].scenes_new) == 20
    assert night(settings).sites[0].scenes_new == []
    night(scratch)
    rows = [[row.split(",") for row in observations(one).decode().splitlines()[1:]] for one in (settings, scratch)]
    assert len(rows[0]) == len(DAYS)
    assert [row[4] for row in rows[0]] == ["05.00"] * 20 + ["02.09"] * (len(DAYS) - 20)
    assert [[*row[4:10]] for row in rows[0]] == [[*row[4:10]] for row in rows[1]]
    # The verdict on the older scenes stays as it was, and so do their pixels.
    assert assessments(settings)[0] == earlier[0]
    assert len(assessments(settings)) == 2
    assert {r.baseline for r in records(stored_of(settings, "s1"), earlier[0].snapshot)} == {"02.09"}
    assert {r.baseline for r in records(stored_of(settings, "s1"))} == {"02.09", "05.00"}


def test_the_same_acquisition_from_two_catalogues_is_counted_once(settings, night_with):
    first, second = Painted(FEW, name="first"), Painted(FEW, name="second")
    new = night_with(settings, first, second).sites[0].scenes_new
    assert len(new) == len(FEW)
    assert all(scene.startswith("first-") for scene in new)
    assert second.read_scenes == []


def test_when_the_preferred_source_is_down_the_next_one_gives_the_new_scenes(settings, night_with):
    first, second = Painted(FEW, name="first"), Painted(FEW, name="second")
    night_with(settings, first, second, as_of=FEW[-2])
    first.down = True
    (site,) = night(settings).sites
    assert site.state == "done"
    assert site.scenes_new == [f"second-48SUF-{FEW[-1]}-02.09"]
    first.down = False
    assert night(settings).sites[0].scenes_new == []


def test_a_new_site_waits_until_its_whole_history_is_offered(settings, night_with):
    first, second = Painted(FEW[:5], name="first", down=True), Painted(FEW[5:], name="second")
    manifest = night_with(settings, second, first)
    assert manifest.sites[0].state == "deferred"
    assert exit_status(manifest) is Exit.TRY_LATER
    first.down = False
    assert len(night(settings).sites[0].scenes_new) == len(FEW)


def test_a_provider_that_is_down_defers_its_sites_and_the_next_night_catches_up(tmp_path, night_with):
    settings = installed(tmp_path, [SITE, (20_000, 12_000, 20_120, 12_120)])
    only = Painted(FEW)
    published = (settings.outputs.root / "sites/s1/observations.csv").read_bytes
    night_with(settings, only, as_of=FEW[-4], pages=True)
    before = published()
    assert before == observations(settings)
    only.down = True
    manifest = night(settings, pages=True)
    assert [site.state for site in manifest.sites] == ["deferred", "deferred"]
    assert "does not answer" in manifest.sites[0].error
    assert exit_status(manifest) is Exit.TRY_LATER
    assert published() == before
    only.down = False
    assert [len(site.scenes_new) for site in night(settings).sites] == [3, 3]


def test_sites_of_one_tile_are_searched_together_and_an_unchanged_night_reads_no_pixels(tmp_path, night_with):
    # On both sides of a line of hundreds of kilometres, which a tile of Sentinel-2 reaches across.
    settings = installed(tmp_path, [(x, 12_000, x + 120, 12_120) for x in (-9_000, 10_000, 14_000, 20_000)])
    only = Painted(FEW, tiles={"48SUF": (-15e3, 0, 30e3, 30e3)})
    night_with(settings, only)
    assert only.searches == 1
    reads = len(only.read_scenes)
    assert len(set(only.read_scenes)) == len(FEW)
    night(settings)
    assert (only.searches, len(only.read_scenes)) == (2, reads)


def test_sites_read_together_have_the_same_results_as_sites_read_alone(tmp_path, night_with, begun):
    outlines = [(x, 12_000, x + 120, 12_120) for x in (8_000, 8_700)]
    together, alone = begun(tmp_path / "together", Painted(DAYS), outlines), installed(tmp_path / "alone", outlines)
    for site in ("s1", "s2"):
        night_with(alone, Painted(DAYS), only=[site])
    for site in ("s1", "s2"):
        assert observations(together, site) == observations(alone, site)
        assert status(together, site) == status(alone, site)


@pytest.mark.parametrize("baseline", ["02.09", ""], ids=["baseline stated", "no baseline"])
def test_a_scene_that_cannot_be_read_yet_is_tried_again_for_a_month(settings, night_with, baseline):
    old, new = (f"painted-48SUF-{day}-{baseline}" for day in (DAYS[7], DAYS[-2]))
    rejected, snapshots, results = [], [], []
    for torn in ({old, new}, {old, new}, {old}):
        last = Painted(DAYS, broken=frozenset(torn), baseline=baseline)
        (site,) = night_with(settings, last).sites
        rejected.append({one.scene for one in site.scenes_rejected})
        snapshots.append(stored_of(settings, "s1").snapshot)
        results.append((observations(settings), len(assessments(settings))))
    assert rejected == [{old, new}, set(), set()], "the second time nothing new was found"
    assert snapshots[0] == snapshots[1] != snapshots[2]
    assert results[0] == results[1]
    assert {*last.read_scenes} == {old, new}, "however old it is"
    assert (site.scenes_new, site.scenes_unread) == ([new], 1)
    days = [*DAYS, *(DAYS[-1] + timedelta(days=days) for days in (30, 31))]
    for until, given_up in ((days[-2], False), (days[-1], True)):
        (site,) = night_with(settings, Painted(days, broken=frozenset({old}), baseline=baseline), as_of=until).sites
        assert site.scenes_unread == 1 - given_up
    assert site.scenes_rejected == [Rejected(old, "BROKEN")]
    last = Painted(days, baseline=baseline)
    night_with(settings, last, as_of=days[-1])
    assert last.read_scenes == []


def test_a_reprocessed_scene_that_cannot_be_read_leaves_the_stored_one_in_place(settings, night_with):
    night_with(settings, Painted(DAYS))
    before = observations(settings)
    new = Painted(DAYS, baseline="05.00")
    new.broken = frozenset(f"painted-48SUF-{day}-05.00" for day in DAYS)
    (site,) = night_with(settings, new).sites
    assert (site.state, site.scenes_new, site.scenes_unread) == ("done", [], len(DAYS))
    assert observations(settings) == before
    new.broken = frozenset()
    assert len(night(settings).sites[0].scenes_new) == len(DAYS)


@pytest.mark.slow
def test_a_granule_that_cannot_be_read_yet_fills_its_overpass_as_soon_as_it_can(tmp_path, night_with):
    settings, undisturbed = installed(tmp_path / "a"), installed(tmp_path / "b")
    halves = {"48SUF": (0, 0, 12_060, 30e3), "48SVF": (12_060, 0, 30e3, 30e3)}
    given = Painted(DAYS, tiles=halves, broken=frozenset({f"painted-48SVF-{DAYS[-1]}-02.09"}))
    (site,) = night_with(settings, given).sites
    assert site.scenes_rejected != []  # half of the site was not seen
    (site,) = night_with(settings, Painted(DAYS, tiles=halves)).sites
    assert (len(site.scenes_new), site.scenes_rejected) == (1, [])
    night(undisturbed)
    assert observations(settings) == observations(undisturbed)


def test_control_ground_is_not_chosen_on_a_night_on_which_most_files_cannot_be_read(tmp_path, night_with, begun):
    settings, undisturbed = installed(tmp_path / "a"), begun(tmp_path / "b", Painted(DAYS))
    before = [day for day in DAYS if day < date(2019, 6, 1)]
    torn = frozenset(f"painted-48SUF-{day}-02.09" for day in before[: len(before) // 2 + 1])
    manifest = night_with(settings, Painted(DAYS, broken=torn))
    (site,) = manifest.sites
    assert (site.state, exit_status(manifest)) == ("deferred", Exit.TRY_LATER)
    assert f"of {len(before)} scenes from before its start {len(torn)} cannot be read; the first: " in site.error
    assert night_with(settings, Painted(DAYS)).sites[0].state == "done"
    assert observations(settings) == observations(undisturbed)
    assert stored_of(settings, "s1").controls == stored_of(undisturbed, "s1").controls


def test_a_torn_scene_is_recorded_with_its_reason_and_the_others_are_taken(settings, night_with):
    torn = f"painted-48SUF-{DAYS[7]}-02.09"
    (site,) = night_with(settings, Painted(DAYS, broken=frozenset({torn}))).sites
    assert site.scenes_rejected == [Rejected(torn, "BROKEN")]
    rows = [row.split(",") for row in observations(settings).decode().splitlines()[1:]]
    assert [row[11].lower() for row in rows].count("true") == len(DAYS) - 1
    assert [*rows[7][7:11], rows[7][11].lower(), rows[7][12]] == ["", "", "", "", "false", "BROKEN"]


def test_no_scenes_after_the_end_of_a_source_are_requested(settings, night_with):
    assert len(night_with(settings, Painted(DAYS), until=DAYS[9]).sites[0].scenes_new) == 10


def rows(settings):
    return list(csv.DictReader(observations(settings).decode().splitlines()))


def test_forty_cloudy_days_change_no_verdict_and_the_last_look_grows_older(settings, night_with):
    last = DAYS[-3]
    cloudy = [last + timedelta(days=d) for d in range(5, 41, 5)]
    night_with(settings, Painted([*DAYS[:-2], *cloudy], cloudy=frozenset(cloudy)), as_of=last)
    before = status(settings)
    for as_of in (cloudy[3], cloudy[-1]):
        manifest = night(settings, as_of=as_of)
        assert exit_status(manifest) is Exit.DONE
        assert {one.reason for one in manifest.sites[0].scenes_rejected} == {"CLOUD"}
        after = status(settings)
        same = ("status", "alert", "last_observed", "n_scenes", "theta", "e_failure")
        assert [after[name] for name in same] == [before[name] for name in same]
        assert after["as_of"] == as_of.isoformat()
    assert messages(settings) == []


@pytest.fixture
def judging(monkeypatch):
    """Replace fields of the verdicts that follow from the scenes; the function gives the changed fields of one."""

    def use(change):
        plain = JudgedSites.assessment

        def judged(one, place):
            found = plain(one, place)
            return replace(found, **change(found))

        monkeypatch.setattr(JudgedSites, "assessment", judged)

    return use


FELL = {"alert": AlertLevel.WATCH, "alert_rule": "disturbance"}
LAGS = {**FELL, "status": Status.LAGGING}
NO_ALERT = {"alert": AlertLevel.NONE, "alert_rule": None}


@pytest.fixture
def falling(judging):
    """Make the verdict on given sites a disturbance, from a day on."""

    def use(names, since):
        judging(lambda found: FELL if found.site in names and found.as_of >= since else {})

    return use


def why_waiting(settings):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return {row["error"] for row in t.notices("waiting", "held")}


def messages(settings):
    return sorted(path.name for path in (settings.outputs.root / "messages").glob("*"))


def test_an_alert_that_gets_worse_is_reported_again_and_every_change_once(settings, night_with, judging):
    days = {DAYS[-6]: AlertLevel.WATCH, DAYS[-4]: AlertLevel.RED}
    judging(lambda found: LAGS | {"alert": days[found.as_of]})
    for day in (*days, *days):
        night_with(settings, Painted(DAYS[::2]), as_of=day)

    def alert():
        with open_ledger(settings) as ledger, ledger.transaction() as t:
            (only,) = t.alerts_of("s1")
            return only

    stands = alert()
    days[DAYS[-5]] = AlertLevel.NONE
    night(settings, as_of=DAYS[-5])
    assert alert() == stands, "a day before the newest is judged for the record"
    sent = [json.loads((settings.outputs.root / "messages" / name).read_text()) for name in messages(settings)[1::2]]
    assert [(one["id"], one["event"], one["alert"]["level"]) for one in sent] == [
        ("s1/disturbance/1", "opened", "watch"), ("s1/disturbance/2", "worsened", "red"),
    ]  # fmt: skip


def test_detectability_is_estimated_again_as_seasons_pass_and_not_for_a_day_before_the_newest(settings, night_with):
    def detectability_as_of(day):
        night_with(settings, Painted(DAYS), as_of=day)
        return detectability(settings)

    first, later = detectability_as_of(date(2018, 6, 30)), detectability_as_of(date(2020, 12, 31))
    assert first["made_from"] != later["made_from"]
    assert detectability_as_of(date(2018, 7, 31)) == later


def test_a_scene_that_arrives_later_on_the_same_day_is_reported_that_day(settings, night_with, judging):
    days = DAYS[::2]
    judging(lambda found: FELL if found.n_scenes == len(days) else {})
    assert night_with(settings, Painted(days[:-1])).messages_sent == 0
    assert night_with(settings, Painted(days)).messages_sent == 1
    assert night(settings).messages_sent == 0


def registered_with(settings, more):
    path = settings.registry.path
    path.write_text(path.read_text(encoding="utf-8").replace('"biome"', f'{more}, "biome"'), encoding="utf-8")
    with open_ledger(settings) as ledger:
        add_sites(ledger, path)


def on_a_slope(settings, degrees):
    """Store the slope of the first site as if from a model of elevation."""
    lie = Terrain(elevation=1500.0, slope=degrees, northness=0.0, eastness=1.0, known=1.0, source="a model")
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        t.save_data({(ground_key(from_json(t.sites()[0], Site)), "terrain"): lie.to_json()})


def test_the_slope_is_from_the_registry_else_from_the_model_else_reported_as_unknown(settings, night_with, monkeypatch):
    judged = Mock(side_effect=judge_sites)
    monkeypatch.setattr("monitor.maps.site_verdict.judge_sites", judged)
    slopes = []
    stated = partial(registered_with, settings, '"slope_degrees": 31.0')
    for change in (lambda: None, partial(on_a_slope, settings, 12.346), stated):
        change()
        night_with(settings, Painted(DAYS[::2]))
        slope = judged.call_args.args[1][0].slope_degrees
        slopes.append((slope, {"TERRAIN_UNKNOWN", "RAIN_UNKNOWN"} & set(status(settings)["reasons"])))
    unknown = {"TERRAIN_UNKNOWN", "RAIN_UNKNOWN"}
    assert slopes == [(None, unknown), (12.35, {"RAIN_UNKNOWN"}), (31.0, {"RAIN_UNKNOWN"})]


@pytest.mark.parametrize(
    ("ground_colour", "expected"),
    [((1400, 1900, 2400, 3600, 4200, 2500), True), ((900, 1300, 1700, 2300, 3000, 2800), False)],
    ids=["straw", "bare soil"],
)
def test_dry_plants_on_a_slope_of_erosion_control_are_named_as_a_reason(
    tmp_path, settings, night_with, monkeypatch, ground_colour, expected
):
    path = settings.registry.path
    text = path.read_text(encoding="utf-8").replace("assisted_regeneration", "erosion_control")
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr("tests.jobs.painted.SOIL", np.array(ground_colour))
    night_with(settings, Painted(DAYS[::2]), pages=True)
    assert ("DRY_MATTER" in status(settings)["reasons"]) is expected
    page = (tmp_path / "outputs/sites/s1/index.html").read_text(encoding="utf-8")
    assert ("count green cover only" in page) is expected


def test_a_site_is_judged_again_once_when_any_input_of_its_verdict_changed(settings, night_with, monkeypatch):
    for day in (DAYS[-6], NIGHT, DAYS[-6]):  # later scenes do not count on an earlier day
        night_with(settings, Painted(DAYS[::2]), as_of=day)
    earlier = assessments(settings)
    assert [one.as_of for one in earlier] == [DAYS[-6].isoformat(), NIGHT.isoformat()]

    def observed_otherwise(column):
        def changed(*given, **more):
            series = landscape_series(*given, **more).copy(deep=True)
            series[column][0, 19] = 7 if column == "digest" else 0.123
            return series

        monkeypatch.setattr("jobs.night.ingest.landscape_series", changed)

    def replanted():
        with open_ledger(settings) as ledger, ledger.transaction() as t:
            t.begin_episode("s1", 2, start="2020-05-01", budget=0.5, why="replanted", now="2020-05-01")

    def replanned():
        with open_ledger(settings) as ledger:
            replan(
                ledger, "s1", begins=NIGHT, why="denser", by="Li", columns={"plan_A": 0.31}, biomes={},
                book=address_book(settings), today=NIGHT,
            )  # fmt: skip

    another = replace(DEFAULT, source="another")
    changes = [
        replanned,
        partial(on_a_slope, settings, 12.0),
        partial(on_a_slope, settings, 20.0),
        lambda: monkeypatch.setattr("monitor.derived.code_hash", lambda module: f"another {module}"),
        lambda: monkeypatch.setattr("jobs.night.judging.episode_alpha", lambda *_: 0.01),
        replanted,  # with as much of the budget
        lambda: monkeypatch.setattr("jobs.night.pipeline.Calibrations.of", lambda *_: another),
        lambda: monkeypatch.setattr("jobs.night.pipeline.rain_reasons", lambda *_, **__: {"s1": Reason.RAIN_LOW}),
        *(partial(observed_otherwise, column) for column in
          ("digest", "cover", "control_cover", "control_cover_2", "reference_cover")),
    ]  # fmt: skip
    for number, change in enumerate(changes, start=3):
        change()
        night(settings)
        assert len(assessments(settings)) == number
    given = assessments(settings)
    night(settings)
    assert assessments(settings) == given
    assert given[:2] == earlier


def test_an_answer_is_shown_beside_the_red_alert_as_long_as_its_cause_is_seen(tmp_path, settings, night_with, judging):
    seen = LAGS | {"alert": AlertLevel.RED}
    judging(lambda _: seen)

    def published():
        pages = {"en": "index.html", "zh": "index.zh.html"}
        root = settings.outputs.root
        return {
            language: ((root / "sites" / "s1" / name).read_text(encoding="utf-8"), (root / name).read_text("utf-8"))
            for language, name in pages.items()
        }

    night_with(settings, Painted(DAYS[::2]), as_of=DAYS[-4], pages=True)
    assert "not answered" in published()["en"][0]
    words = ("resolve", "s1/disturbance", "--verdict", "false-alarm", "--note", "trees stand")
    for command in (("alerts", *words), ("publish",)):
        assert regrowth(*command, config=tmp_path / "regrowth.toml")[0] == 0
    for language, answer, badge in (("en", "false alarm", "answered: false alarm"), ("zh", "误报", "已答复：误报")):
        page, index = published()[language]
        assert answer in page
        assert "trees stand" in page
        assert badge in index
    assert "not answered" not in published()["en"][0]
    seen.update(NO_ALERT)
    night(settings, as_of=DAYS[-2], pages=True)
    assert "false alarm" not in published()["en"][0]
    assert "answered: false alarm" not in published()["en"][1]


@pytest.mark.parametrize(("fell", "held"), [(5, True), (4, False)])
def test_when_most_sites_fall_in_one_night_messages_are_held_until_they_are_released(
    tmp_path, night_with, begun, falling, capsys, fell, held
):
    outlines = [(x, 12_000, x + 120, 12_120) for x in range(4_000, 20_000, 2_000)]
    settings = begun(tmp_path, Painted(DAYS[::2]), outlines, as_of=DAYS[-4])
    falling({f"s{n}" for n in range(1, fell + 1)}, NIGHT)
    assert messages(settings) == []
    for _ in range(2):  # a night that is run again holds them as well
        manifest = night_with(settings, Painted(DAYS[::2]))
        assert (manifest.messages_waiting, bool(messages(settings))) == ((fell, False) if held else (0, True))
        assert exit_status(manifest) is (Exit.SOME_FAILED if held else Exit.DONE)
    fix = "look at their scenes, then: regrowth alerts release"
    assert why_waiting(settings) == ({f"5 of 8 sites fell on {NIGHT}; {fix}"} if held else set())
    log = capsys.readouterr()  # on stderr once a command was run in this process, before that on stdout
    assert ("5 of 8 sites fell on 2020-09-30" in log.out + log.err) == held
    status, printed, _ = regrowth("alerts", "release", "--json", config=tmp_path / "regrowth.toml")
    assert status == 0
    assert json.loads(printed) == {"messages_sent": fell if held else 0, "messages_waiting": 0}
    assert len([name for name in messages(settings) if name.endswith(".json")]) == fell


@pytest.mark.slow
def test_a_held_message_that_is_out_of_date_when_released_is_not_sent(tmp_path, night_with, falling):
    outlines = [(x, 12_000, x + 120, 12_120) for x in range(4_000, 18_000, 2_000)]
    settings = installed(tmp_path, outlines)
    falling({f"s{n}" for n in range(1, 6)}, NIGHT)
    night_with(settings, Painted(DAYS[::2]), as_of=DAYS[-4])
    assert night(settings).messages_waiting == 5

    def command(*arguments):
        status, printed, _ = regrowth(*arguments, "--json", config=tmp_path / "regrowth.toml")
        assert status == 0
        return json.loads(printed)

    command("alerts", "resolve", "s1/disturbance", "--verdict", "false-alarm")
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        t.retire_site("s2")
        # The third alert resolved by itself a month later: no message says that an unreported alert is over.
        alert = replace(from_json(t.alert("s3/disturbance"), Alert), state=AlertState.RESOLVED)
        day = NIGHT + timedelta(days=31)
        record_event(t, alert, AlertEvent.RESOLVED, day=day, by="night", recipients=[Recipient(FILES, "")])
        # The fourth alert is over as well, and another rule has raised one, which was reported.
        first = from_json(t.alert("s4/disturbance"), Alert)
        t.save_alert(to_json(replace(first, state=AlertState.RESOLVED)))
        t.save_alert(to_json(replace(first, id="s4/failure", rule="failure", opened=NIGHT + timedelta(days=40))))
    assert command("alerts", "release") == {"messages_sent": 1, "messages_waiting": 0}
    assert {name.split("_")[0] for name in messages(settings)} == {"s5"}
    assert why_waiting(settings) == set()
    assert command("alerts", "release") == {"messages_sent": 0, "messages_waiting": 0}


def test_messages_that_cannot_be_written_wait_and_count_for_their_night(tmp_path, night_with, judging, monkeypatch):
    settings = installed(tmp_path, [(x, 12_000, x + 120, 12_120) for x in range(4_000, 16_000, 2_000)])
    down = {"s1": DAYS[-4], "s2": DAYS[-4], "s3": DAYS[-4], "s4": NIGHT, "s5": NIGHT}
    judging(lambda found: LAGS if found.as_of >= down.get(found.site, date.max) else LAGS | NO_ALERT)
    night_with(settings, Painted(DAYS[::2]), as_of=DAYS[-6])
    with monkeypatch.context() as patch:
        refused = Mock(side_effect=PermissionError(13, "read only"))
        patch.setattr("monitor.alerts.channels.files.write_atomically", refused)
        patch.setattr("jobs.messages.outbox.QUICK_RETRIES", ())
        manifest = night(settings, as_of=DAYS[-4])
    assert (manifest.messages_sent, manifest.messages_waiting) == (0, 3)
    (why,) = why_waiting(settings)
    assert why.endswith("messages cannot be written: read only")
    assert exit_status(manifest) is Exit.SOME_FAILED
    manifest = night(settings)  # five wait, of six sites, but three and two fell at a time
    assert (manifest.messages_sent, manifest.messages_waiting) == (5, 0)


@pytest.mark.slow
def test_a_night_without_any_scene_is_done_and_the_last_look_grows_older(tmp_path, settings, night_with):
    night_with(settings, Painted(DAYS))
    manifest = night(settings, as_of=NIGHT + timedelta(days=200))
    assert exit_status(manifest) is Exit.DONE
    assert (manifest.sites[0].state, manifest.sites[0].scenes_new) == ("done", [])
    assert status(settings)["last_observed"] == DAYS[-1].isoformat()
    never = installed(tmp_path / "never")
    manifest = night_with(never, Painted([]))
    assert (manifest.sites[0].state, exit_status(manifest)) == ("failed", Exit.CONFIGURATION)


class Stretched(Painted):
    """Values that are not the reflectance that the items state."""

    def read(self, scenes, grids):
        return (SceneRejected("RADIOMETRY", f"scene {scene.id!r} holds float32") for scene in scenes)


def test_a_site_whose_scenes_have_a_wrong_offset_is_explained_by_it_with_their_number(tmp_path, settings, night_with):
    night_with(settings, Stretched(DAYS), pages=True)
    assert "RADIOMETRY" in status(settings)["reasons"]
    sentences = regrowth("explain", "s1", config=tmp_path / "regrowth.toml")[1].splitlines()
    assert sentences[1] == sentence("RADIOMETRY", "en")
    assert "correct the offset" in sentences[2]
    assert f"RADIOMETRY: {len(DAYS)} of {len(DAYS)} scenes" in sentences[-1]


def test_sites_deferred_for_one_reason_are_one_line_of_the_log(tmp_path, night_with):
    settings = installed(tmp_path, [SITE, (20_000, 12_000, 20_120, 12_120)])
    with capture_logs() as logged:
        night_with(settings, Painted(DAYS, down=True))
    (line,) = [one for one in logged if one["log_level"] == "error"]
    assert (line["sites"], line["n_sites"]) == (["s1", "s2"], 2)


@pytest.mark.slow
def test_a_scene_with_a_wrong_flag_is_set_aside_and_results_are_as_without_it(tmp_path, night_with):
    flawed, without = installed(tmp_path / "flawed"), installed(tmp_path / "without")
    often = [FIRST + timedelta(days=d) for d in range(0, 880, 8)]
    day = next(one for one in often if (one.year, one.month) == (2020, 7))
    manifest = night_with(flawed, Painted(often, flawed=frozenset({day})))
    assert [one.reason for one in manifest.sites[0].scenes_rejected] == ["RADIOMETRY"]
    night_with(without, Painted([one for one in often if one != day]))
    assert [row for row in rows(flawed) if row["date"] != day.isoformat()] == rows(without)
    same = ("status", "alert", "theta", "theta_low", "theta_high", "cover", "control_cover", "n_scenes")
    assert [status(flawed)[name] for name in same] == [status(without)[name] for name in same]


@pytest.mark.slow
def test_landsat_before_sentinel_2_makes_no_step_and_the_same_verdict_as_one_sensor(tmp_path, night_with):
    alone, mixed = installed(tmp_path / "alone"), installed(tmp_path / "mixed")
    often = [FIRST + timedelta(days=d) for d in range(0, 880, 8)]
    change = date(2019, 6, 1)  # the start of the work: the worst day for a step
    night_with(alone, Painted(often))
    landsat = Painted([day for day in often if day < change], name="landsat", landsat=True)
    night_with(mixed, Painted([day for day in often if day >= change], name="sentinel"), landsat)
    seen = {(r.sensor, r.bandpass) for r in records(stored_of(mixed, "s1"))}
    assert seen == {("landsat-8", True), ("sentinel-2a", False)}
    ours, theirs = rows(mixed), rows(alone)
    early = [row["date"] < change.isoformat() for row in ours]
    assert [row["source"] for row in ours] == ["landsat" if one else "sentinel" for one in early]
    assert len(ours) == len(theirs)
    apart = [
        float(a["cover"]) - float(a["control_cover"]) - float(b["cover"]) + float(b["control_cover"])
        for a, b in zip(ours, theirs, strict=True) if a["accepted"] == b["accepted"] == "true"
    ]  # fmt: skip
    assert len(apart) > 60
    assert max(abs(one) for one in apart) < 0.002
    one, other = status(mixed), status(alone)
    assert (one["status"], one["alert"]) == (other["status"], other["alert"])
    assert abs(one["theta"] - other["theta"]) < 0.05
