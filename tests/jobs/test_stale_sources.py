"""A source that offers nothing newer although it usually would: the operators are notified, once."""

from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.imagery.freshness import source_results, usual_gap
from jobs.imagery.sources import Sources
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import SourceSettings
from tests import builders
from tests.builders import feature, regrowth, use_sources
from tests.jobs.painted import Painted, ground

TODAY = date(2026, 7, 1)
NETWORK = {"kind": "stac", "url": "https://archive.example/v1"}


def offering(days, *, down=False, **settings):
    """What a source is that offers scenes of some days."""
    source = SimpleNamespace(name="one")
    sources = Sources([(source, SourceSettings(**NETWORK | settings))], offered={"one": set(days)})
    if down:
        sources.down["one"] = "no answer"
    (result,) = source_results(sources, {"one": 4}, TODAY)
    return result


def every(step, *, last, years=3):
    """A day in so many, up to a number of days before today."""
    return [TODAY - timedelta(days=days) for days in range(last, last + 365 * years, step)]


@pytest.mark.parametrize(("age", "stale"), [(5, False), (20, False), (21, True), (60, True)])
def test_a_source_is_stale_once_its_newest_scene_is_more_than_twenty_days_old(age, stale):
    result = offering(every(5, last=age))
    assert (result.stale, result.newest, result.usual_gap) == (stale, TODAY - timedelta(days=age), 5)
    assert (result.provider, result.scenes_new) == ("archive.example", 4)


def test_the_dark_of_a_polar_winter_is_usual_and_a_longer_one_is_not():
    def seen(today):
        days = [today - timedelta(days=n) for n in range(1100)]
        return [day for day in days if 60 <= day.timetuple().tm_yday <= 290 and day.toordinal() % 5 == 0]

    for today, stale in ((date(2027, 2, 20), False), (date(2027, 4, 20), False)):
        sources = Sources([(SimpleNamespace(name="one"), SourceSettings(**NETWORK))], offered={"one": set(seen(today))})
        assert source_results(sources, {}, today)[0].stale == stale
    sources.offered["one"] = {day for day in seen(today) if day < date(2026, 12, 1)}
    assert source_results(sources, {}, today)[0].stale, "the light is back for fifty days, and nothing came"


def test_a_gap_of_long_ago_is_not_usual_any_more():
    days = [*every(5, last=0, years=2), TODAY - timedelta(days=4 * 365)]
    assert usual_gap(days) == 5
    assert usual_gap(days[:9]) is None


@pytest.mark.parametrize(("days", "settings"), [
    (every(5, last=60), {"until": TODAY}), ([], {}), (every(5, last=60)[:9], {}), (every(5, last=60), {"down": True}),
    (every(5, last=60), {"url": "/srv/scenes"}), (every(5, last=60), {"kind": "sample", "url": None}),
], ids=["with an end", "nothing here", "too young", "down", "a folder", "the sample"])  # fmt: skip
def test_a_source_of_which_nothing_new_is_expected_is_never_stale(days, settings):
    assert not offering(days, **settings).stale


DAYS = [date(2018, 5, 15) + timedelta(days=d) for d in range(0, 760, 10)]
NIGHT = DAYS[-1] + timedelta(days=10)


@pytest.fixture
def programme(tmp_path, monkeypatch):
    """An installation with operators, and a function that runs a night on sources of a network."""
    outline = feature("s1", ground(12_000, 12_000, 12_120, 12_120), start="2019-06-01", intervention="tending")
    config = f'kind = "stac"\nurl = "{NETWORK["url"]}"\nsince = "2018-01-01"\n'
    config += '[operators]\nchannels = ["ops"]\n[channels.ops]\nkind = "webhook"\nurl = "http://127.0.0.1:9/hook"\n'
    config += 'allow_hosts = ["127.0.0.1"]\n'
    settings = builders.installed(tmp_path, [outline], config)

    def night(day, *sources):
        use_sources(monkeypatch, *sources)
        return regrowth("run", "--as-of", day, config=tmp_path / "regrowth.toml")

    return settings, night


def notices(settings):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return [row["payload"] for row in t.notices("waiting", "sent", "held") if row["kind"] == "source_stale"]


def test_the_night_that_finds_a_source_stale_says_so_and_which_source_filled_the_gap(programme, tmp_path):
    settings, night = programme
    old, other = Painted(DAYS[:-3]), Painted(DAYS, name="other")
    night(DAYS[-3], old, other)
    assert notices(settings) == []
    _, printed, _ = night(NIGHT, old, other)
    assert "New scenes: 0 from painted (archive.example), 2 from other (archive.example)" in printed
    assert f"painted (archive.example) offers nothing newer than {DAYS[-4]}" in printed
    (stale,) = notices(settings)
    assert stale == {
        "provider": "archive.example", "newest": f"{DAYS[-4]}", "days": 40, "usual_gap": 10,
        "others": [["archive.example", 2]],
    }  # fmt: skip
    night(NIGHT + timedelta(days=1), Painted(DAYS[:-2]), other)
    assert len(notices(settings)) == 1, "it offers one old scene more, and is as stale as before"
    families = text_string_to_metric_families((settings.outputs.root / "metrics.prom").read_text())
    metrics = {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}
    assert [metrics["regrowth_source_stale", name] for name in ("painted", "other")] == [1, 0]
    assert metrics["regrowth_night_scenes", "painted"] == 0
    _, printed, _ = regrowth("doctor", config=tmp_path / "regrowth.toml")
    assert f"painted (archive.example) offers nothing newer than {DAYS[-3]}" in printed
