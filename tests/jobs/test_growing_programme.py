"""A programme that grows into its own control ground, and sites that were begun before there was imagery."""

from datetime import date

import numpy as np
import pytest

from jobs.register.registry import add_sites
from jobs.runtime.installation import open_ledger
from monitor.controls.control_means import choose_units, mean_of_units
from monitor.controls.selection import ControlSet
from monitor.sites.site import ground_key
from tests.builders import feature, use_sources, write_features
from tests.jobs.painted import DAYS, Painted, assessments, ground, installed, night, status
from tests.landscape import rows_of, series_of, site_of, stored_of

BEGUN = "2020-05-10"  # on the day of a scene
SITE = ground(12_000, 12_000, 12_120, 12_120)
EAST = ground(12_160, 11_000, 12_700, 13_000)
AROUND = ground(10_800, 10_800, 13_300, 13_300).difference(ground(11_985, 11_985, 12_135, 12_135))


def register(settings, **sites):
    """Write the registry, and put it into the ledger: outline and start of each site."""
    features = [
        feature(name, outline, start=start, intervention="assisted_regeneration")
        for name, (outline, start) in sites.items()
    ]
    write_features(settings.registry.path, features)
    with open_ledger(settings) as ledger:
        assert add_sites(ledger, settings.registry.path)["refused"] == []


@pytest.fixture
def settings(tmp_path):
    return installed(tmp_path, [])


@pytest.fixture
def source(monkeypatch):
    painted = Painted(DAYS)
    use_sources(monkeypatch, painted)
    return painted


def series(settings, site="s1"):
    return {row["time"][:10]: row for row in rows_of(series_of(settings, site))}


def own(row):
    return {name: value for name, value in row.items() if not name.startswith("control_")}


def controls(settings, site="s1"):
    """Frozen units, and their stored means."""
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        frozen = t.controls(ground_key(site_of(t, site)))
    return (None, None) if frozen is None else (ControlSet.from_json(frozen), stored_of(settings, site).unit_means())


def before_the_later_site(rows):
    return {day: row for day, row in rows.items() if day < BEGUN}


def test_units_under_a_later_site_count_until_its_start_and_no_earlier_verdict_changes(settings, source):
    register(settings, s1=(SITE, "2019-06-01"))
    night(settings)
    before, given = series(settings), assessments(settings)
    register(settings, s1=(SITE, "2019-06-01"), s2=(EAST, BEGUN))
    manifest = night(settings)
    assert [len(site.scenes_new) for site in manifest.sites] == [0, len(DAYS)]
    after = series(settings)
    assert before_the_later_site(after) == before_the_later_site(before)
    frozen, means = controls(settings)
    staying = [unit.id for unit in frozen.units if unit.ring == 1 and not unit.geometry.intersects(EAST)]
    assert 10 <= len(staying) < sum(unit.ring == 1 for unit in frozen.units)
    touched = np.isin(means.unit.values, [unit.id for unit in frozen.units if unit.geometry.intersects(EAST)])
    days, cover = means.time.values.astype("datetime64[D]"), means.sel(measure="cover").values.astype(np.float64)
    rings = {unit.id: unit.ring for unit in frozen.units}
    choice = choose_units(
        cover, days, date(2019, 6, 1), ring=np.array([rings[name] for name in means.unit.values]),
        present=~touched | (days < np.datetime64(BEGUN))[:, None],
    )  # fmt: skip
    ring = np.isin(means.unit.values, staying)
    fit, risen = (mask[:, ring] for mask in choice.at(days))
    expected = mean_of_units(cover[:, ring, None], fit, risen)[:, 0]
    for day, value in zip(days.astype(str), expected, strict=True):
        if day >= BEGUN:
            assert after[day]["control_cover"] == pytest.approx(value, abs=1e-6)
            assert after[day]["control_cover"] != before[day]["control_cover"]
            assert own(after[day]) == own(before[day])
    now = assessments(settings)
    assert now[: len(given)] == given
    assert len(now) == len(given) + 1
    assert "CONTROL_FEW" not in status(settings)["reasons"]
    night(settings)
    assert (series(settings), assessments(settings)) == (after, now)
    register(settings, s1=(SITE, "2019-06-01"))  # s2 is retired: its ground stays restored
    night(settings)
    assert (series(settings), assessments(settings)) == (after, now)


@pytest.mark.slow
def test_when_later_sites_leave_fewer_than_ten_units_no_new_scene_counts_and_the_reason_is_reported(settings, source):
    register(settings, s1=(SITE, "2019-06-01"))
    night(settings)
    before, given = series(settings), assessments(settings)
    register(settings, s1=(SITE, "2019-06-01"), s2=(AROUND, BEGUN))
    night(settings, pages=True)
    after = series(settings)
    assert before_the_later_site(after) == before_the_later_site(before)
    assert {(row["accepted"], row["reason"]) for day, row in after.items() if day >= BEGUN} == {(False, "CONTROL_FEW")}
    assert "CONTROL_FEW" in status(settings)["reasons"]
    assert assessments(settings)[: len(given)] == given
    page = (settings.outputs.root / "sites" / "s1" / "index.html").read_text(encoding="utf-8")
    assert "[registry] controls" in page


@pytest.mark.slow
def test_a_unit_left_out_for_a_later_site_counts_again_once_the_outline_of_that_site_is_corrected(settings, source):
    register(settings, s1=(SITE, "2019-06-01"))
    night(settings)
    before = series(settings)
    register(settings, s1=(SITE, "2019-06-01"), s2=(EAST, BEGUN))
    night(settings, only=["s1"])
    assert series(settings) != before
    register(settings, s1=(SITE, "2019-06-01"), s2=(ground(20_000, 12_000, 20_120, 12_120), BEGUN))
    night(settings, only=["s1"])
    assert series(settings) == before


def test_new_control_ground_does_not_lie_where_a_retired_site_was(settings, source):
    register(settings, s2=(EAST, "2019-06-01"))
    register(settings, s1=(SITE, "2019-06-01"))
    night(settings)
    frozen, _ = controls(settings)
    assert len(frozen.units) >= 10
    assert not any(unit.geometry.intersects(EAST) for unit in frozen.units)


def test_a_site_begun_before_all_imagery_is_compared_with_ground_chosen_on_the_first_season_seen(settings, source):
    register(settings, s1=(SITE, "2017-06-01"))
    night(settings)
    frozen, _ = controls(settings)
    assert frozen.compared.sum() >= 10
    assert frozen.compared.all(), "the cover that the site should reach is not known"
    assert {row["reason"] for row in series(settings).values()} == {""}
    found = status(settings)
    assert found["status"] != "insufficient_data"
    assert found["theta_low"] < found["theta"] < found["theta_high"]
    assert "NO_PRE_SEASONS" in found["reasons"]
    assert not {"CONTROL_FEW", "CONTROL_POOR"} & {*found["reasons"]}
    last = assessments(settings)
    night(settings)
    assert assessments(settings) == last


def test_without_a_season_seen_the_choice_waits_and_is_tried_once_a_season(settings, source):
    source.cloudy = frozenset(DAYS[2:10])  # of the first season two clear scenes are left
    register(settings, s1=(SITE, "2017-06-01"))
    for as_of in (date(2018, 8, 1), date(2018, 12, 1), date(2018, 12, 2), date(2019, 8, 1)):
        (site,) = night(settings, as_of=as_of).sites
        assert (site.state, site.status) == ("done", "insufficient_data")
        assert controls(settings) == (None, None)
        assert {row["reason"] for row in series(settings).values()} <= {"CLOUD", "CONTROL_POOR"}
        assert not {"CONTROL_FEW", "CONTROL_POOR"} & {*status(settings)["reasons"]}
    first = f"painted-48SUF-{DAYS[0]}-02.09"
    assert source.read_scenes.count(first) == 2, "read when it was stored, and once more when its season was over"
    given = assessments(settings)
    night(settings)
    frozen, means = controls(settings)
    assert frozen.compared.sum() >= 10
    assert means.sizes["time"] == len(DAYS)
    assert {row["reason"] for row in series(settings).values()} == {"", "CLOUD"}
    assert "NO_PRE_SEASONS" in status(settings)["reasons"]
    assert assessments(settings)[: len(given)] == given
    (site,) = night(settings).sites
    assert site.scenes_new == []


def test_the_reason_why_no_scene_shows_a_site_is_recorded(settings, source):
    source.cloudy = frozenset(DAYS)
    register(settings, s1=(SITE, "2019-06-01"))
    night(settings)
    assert {row["reason"] for row in series(settings).values()} == {"CLOUD"}
    assert status(settings)["status"] == "insufficient_data"
