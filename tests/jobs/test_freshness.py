"""An edit of code changes what depends on it in the next night; an edit of words changes nothing."""

from datetime import date, timedelta

import pytest

from jobs.night import judging
from jobs.night.pipeline import night
from jobs.runtime.installation import open_ledger
from monitor.controls.control_means import mean_of_units
from monitor.verdict.detectability import _drift
from monitor.verdict.lots import member_of
from monitor.verdict.site_conditions import detectability_json, simulate
from monitor.verdict.usable_scenes import usable_scenes
from tests.builders import edited_features, use_sources
from tests.edited import edit
from tests.jobs.painted import Painted, growing, planted_sites

DAYS = [date(year, 5, 10) + timedelta(days=d) for year in range(2015, 2022) for d in range(0, 141, 14)]
NIGHT = date(2021, 11, 30)


class Planted(Painted):
    def _frame(self, scene, grid):
        return growing(scene.handle, grid, 1.0)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installation of one site of a lot: runs a night, and returns what is stored afterwards."""
    settings = planted_sites(tmp_path, {"a": (12_000, 12_000, 12_300, 12_300)})
    with edited_features(settings.registry.path) as features:
        features[0]["properties"] |= {"partner": "Green Fund", "programme_year": 2018}
    use_sources(monkeypatch, Planted(DAYS))

    def run(day=NIGHT):
        simulate.cache_clear()  # as in another process
        night(settings, as_of=day, pages=False)
        (series,) = settings.store.root.rglob("*.series")
        with open_ledger(settings) as ledger, ledger.reading() as t:
            stored = {kind: t.all_ground_data(kind) for kind in ("detectability", "seasons")}
            lots, assessments = t.latest_lot_verdicts(), t.assessments_of("a", day=day.isoformat())
        digests = {lot: digest for lot, (_, digest, _) in lots.items()}
        return {**stored, "series": series.read_bytes(), "lots": digests, "assessments": assessments}

    return run


@pytest.fixture
def made(monkeypatch):
    names = []

    def counted(make):
        return lambda *given, **more: names.append(make.__name__) or make(*given, **more)

    for make in (detectability_json, member_of):
        monkeypatch.setattr(judging, make.__name__, counted(make))
    return names


def test_an_edit_of_a_docstring_or_a_comment_has_nothing_computed_again(installed, made, monkeypatch, tmp_path):
    (tmp_path / "edits").mkdir()
    before = installed()
    assert made == ["detectability_json", "member_of"]
    for function, old, new in (
        (_drift, '"""Ornstein', '"""Paths of Ornstein'), (mean_of_units, '"""Mean', '"""The mean'),
        (usable_scenes, "    nothing = ", "    # a comment\n\n    nothing = "),
    ):  # fmt: skip
        edit(monkeypatch, tmp_path / "edits", function, old, new)
    after = installed()
    assert len(made) == 2
    assert after == before


def test_an_edit_of_a_function_behind_two_imports_changes_results_of_the_next_night(installed, monkeypatch, tmp_path):
    (tmp_path / "edits").mkdir()
    before = installed()
    # jobs.night.judging -> site_conditions -> detectability
    edit(monkeypatch, tmp_path / "edits", _drift, "    return path", "    return 4.0 * path")
    # jobs.night.judging -> lots -> usable_scenes
    edit(monkeypatch, tmp_path / "edits", usable_scenes, "calibration.clear)", "calibration.clear) & (day % 3 > 0)")
    # jobs.night.ingest -> build -> control_means
    edit(monkeypatch, tmp_path / "edits", mean_of_units, ".sum(axis=-2) / np", ".sum(axis=-2) * 0.9 / np")
    again = installed()
    assert len(again["assessments"]) == 2, "the same night by other code is another assessment"
    after = installed(NIGHT + timedelta(days=1))
    for result in ("detectability", "seasons", "series", "lots"):
        assert after[result] == again[result] != before[result], result
    ((old,), (new,)) = (stored["detectability"].values() for stored in (before, after))
    assert new["red"][4] < old["red"][4]
    ((old,), (new,)) = (stored["seasons"].values() for stored in (before, after))
    assert new["member"] != old["member"]
