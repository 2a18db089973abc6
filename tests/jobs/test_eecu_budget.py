"""The monthly budget of Earth Engine: what counts, when reading stops, and what continues it."""

from datetime import date
from functools import partial
from types import SimpleNamespace

import pytest
from dask import delayed

from jobs.imagery import eecu_budget
from jobs.imagery.eecu_budget import eecu_use, spend
from jobs.night.ingest import _Run
from jobs.reports.metrics import write_metrics
from jobs.reports.night import Night
from jobs.runtime.progress import SceneProgress
from jobs.runtime.settings import Settings, SourceSettings, load
from monitor.errors import BadConfiguration
from tests import builders


@pytest.fixture
def settings(tmp_path):
    return builders.installed(tmp_path, [])


@pytest.fixture(autouse=True)
def _last_days_of_november(monkeypatch):
    on(monkeypatch, date(2026, 11, 28))


def on(monkeypatch, day):
    monkeypatch.setattr(eecu_budget, "today", lambda: day)


@pytest.fixture
def batch(monkeypatch):
    monkeypatch.setattr("jobs.imagery.cost_estimate.estimate_eecu_seconds", lambda step: step.seconds)
    return SimpleNamespace(seconds=1800.0)


def earth_engine(budget=None):
    return [SourceSettings(kind="earthengine", project="p", eecu_hours_per_month=budget)]


def used(ledger):
    with ledger.reading() as t:
        return {month: t.eecu_seconds(month) for month in ("2026-11", "2026-12")}


def test_batches_are_read_until_the_month_has_used_its_budget(ledger, batch):
    budget = partial(spend, earth_engine(1.2), ledger)
    assert [budget(batch) for _ in range(3)] == [None] * 3
    why = budget(batch)
    assert "1.50 of 1.2 EECU hours in 2026-11" in why
    assert "[source] eecu_hours_per_month = 1.2 holds until 2026-11-30 (UTC)" in why
    assert used(ledger) == {"2026-11": 3 * 1800.0, "2026-12": 0.0}


def test_each_month_has_a_separate_budget(ledger, batch, monkeypatch):
    budget = partial(spend, earth_engine(0.5), ledger)
    assert (budget(batch), budget(batch) is None) == (None, False)
    on(monkeypatch, date(2026, 12, 1))
    assert budget(batch) is None
    assert "until 2026-12-31" in budget(batch)


def test_a_larger_budget_continues_in_the_same_month(ledger, batch):
    spend(earth_engine(0.5), ledger, batch)
    assert spend(earth_engine(0.5), ledger, batch) is not None
    assert spend(earth_engine(1.0), ledger, batch) is None


def test_without_a_budget_everything_is_read_and_counted(ledger, batch):
    budget = partial(spend, earth_engine(), ledger)
    assert [budget(batch) for _ in range(9)] == [None] * 9
    assert used(ledger)["2026-11"] == 9 * 1800.0


def test_another_source_uses_no_budget(ledger, batch):
    assert spend([SourceSettings(kind="sample")], ledger, batch) is None
    batch.seconds = 0.0  # scenes of a catalogue, read beside those of Earth Engine
    exhausted = partial(spend, [*earth_engine(0.1), SourceSettings(kind="stac", url="https://c.example")], ledger)
    with ledger.transaction() as t:
        t.add_eecu_seconds("2026-11", 3600.0)
    assert exhausted(batch) is None
    assert used(ledger)["2026-11"] == 3600.0


def test_a_batch_counts_before_it_is_requested_so_a_kill_loses_no_count(ledger, batch):
    spend(earth_engine(9.0), ledger, batch)  # killed here
    spend(earth_engine(9.0), ledger, batch)  # the rerun reads the batch again
    assert used(ledger)["2026-11"] == 3600.0


def test_the_batches_over_the_budget_are_deferred_and_not_computed(ledger, batch):
    done, deferred = [], []
    steps = [
        SimpleNamespace(seconds=1800.0, scenes=1, graph=partial(delayed, n), take=done.append, defer=deferred.append)
        for n in range(3)
    ]

    def landscape():
        yield steps
        return []

    def compute(graphs):
        return ((number, graph.compute(scheduler="sync")) for number, graph in enumerate(graphs))

    run = _Run(compute, lambda: None, SceneProgress(), partial(spend, earth_engine(0.7), ledger))
    assert list(run.outcomes([landscape()], [3])) == [[]], "no site of the landscape was judged"
    assert (done, len(deferred)) == ([0, 1], 1)
    assert "holds until 2026-11-30" in deferred[0]


def test_the_smallest_of_several_budgets_holds(ledger):
    with ledger.reading() as t:
        assert eecu_use(t, [*earth_engine(5), *earth_engine(2), *earth_engine()]).budget == 2


def test_metrics_state_use_and_budget(ledger, tmp_path, batch):
    settings = Settings(source=earth_engine(2.0), outputs={"root": tmp_path})
    spend(settings.source, ledger, batch)
    day = "2026-11-28T02:30"
    times = {"began": f"{day}:00+00:00", "ended": f"{day}:01+00:00"}
    write_metrics(settings, ledger, Night(as_of=date(2026, 11, 28), status=0, **times))
    text = (settings.outputs.root / "metrics.prom").read_text(encoding="utf-8")
    assert "regrowth_earthengine_month_eecu_seconds 1800.0\n" in text
    assert "regrowth_earthengine_budget_eecu_seconds 7200.0\n" in text


@pytest.mark.parametrize(("kind", "hours"), [("stac", 5), ("earthengine", 0), ("earthengine", "inf")])
def test_a_budget_is_positive_and_belongs_to_earth_engine(tmp_path, kind, hours):
    text = f'[source]\nkind = "{kind}"\neecu_hours_per_month = {hours}\n'
    (tmp_path / "regrowth.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadConfiguration, match="eecu_hours_per_month"):
        load(tmp_path / "regrowth.toml")
