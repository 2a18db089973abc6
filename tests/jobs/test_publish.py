"""Pages are written where the store is, once, and again after what wrote them died."""

import re
import shutil
from datetime import date

import pytest

from jobs.night.pipeline import night
from jobs.pages.publishing import publish, publish_once
from jobs.runtime.executor import open_executor
from jobs.runtime.installation import open_ledger
from monitor.imagery.sample import DEMONSTRATION_NOTICE, SAMPLE_NOTICE
from monitor.publish import drafts
from monitor.series import build
from tests.publish.test_stac import check_files, check_valid

NIGHT = date(2018, 9, 30)


def dying(calls):
    yield from ((number, RuntimeError("killed")) for number, _ in enumerate(calls))


def test_a_page_whose_process_died_is_reported_and_written_again_and_so_is_a_plan(stocked, tmp_path):
    settings = stocked.settings
    night(settings, as_of=NIGHT, pages=False)
    with open_ledger(settings) as ledger:
        assert [*publish(settings, ledger, dying).values()] == ["its worker died: killed"] * 3
        with open_executor("") as work:
            assert [*publish(settings, ledger, work).values()] == [None] * 3
            assert publish(settings, ledger, work) == {}
            plan = tmp_path / "sites" / "demo-07" / "plan.json"
            written = plan.read_bytes()
            plan.unlink()
            plan.mkdir()
            assert "Is a directory" in publish(settings, ledger, work).pop("demo-07")
            plan.rmdir()
            assert publish(settings, ledger, work) == {}
            assert plan.read_bytes() == written
    check_files(tmp_path)


def test_pages_build_the_series_of_a_landscape_once_and_no_year_that_is_over_again(stocked, monkeypatch):
    settings = stocked.settings
    night(settings, as_of=NIGHT, pages=False)
    built, series = [], drafts.landscape_series
    monkeypatch.setattr(drafts, "landscape_series", lambda one, *a, **k: built.append(one.name) or series(one, *a, **k))
    monkeypatch.setattr(build, "_years_over", lambda *_: pytest.fail("a year that is over was built again"))
    assert [*publish_once(settings)[0].values()] == [None] * 3
    assert sorted(built) == sorted({*built})


@pytest.mark.slow
def test_pages_are_the_same_with_and_without_derived_files(installation, settings, tmp_path):
    night(settings, as_of=NIGHT)
    before = {path: path.read_bytes() for path in (tmp_path / "sites").rglob("*.*")}
    assert before
    check_files(tmp_path)
    check_valid(tmp_path)
    for lost in (["sites"], ["sites", "store/derived"]):
        for folder in lost:
            shutil.rmtree(tmp_path / folder)
        publish_once(settings)
        assert {path: path.read_bytes() for path in (tmp_path / "sites").rglob("*.*")} == before


@pytest.mark.slow
def test_only_sites_with_an_assigned_fate_have_the_notice_of_the_demonstration(installation, settings, tmp_path):
    night(settings, as_of=NIGHT)

    def first(page):
        text = (tmp_path / page).read_text(encoding="utf-8")
        return re.search('class="notice"[^>]*>([^<]*)<', text).group(1)

    assert first("index.html") == first("sites/demo-02/index.html") == SAMPLE_NOTICE["en"]
    assert first("sites/demo-02/index.zh.html") == SAMPLE_NOTICE["zh"]
    (tmp_path / "truth.json").write_text('{"demo-02": {}, "demo-07": {}}')
    publish_once(settings)
    assert first("sites/demo-02/index.html") == DEMONSTRATION_NOTICE["en"]
    assert first("sites/demo-02/index.zh.html") == DEMONSTRATION_NOTICE["zh"]
    assert first("sites/demo-10/index.html") == first("index.html") == SAMPLE_NOTICE["en"]
    (tmp_path / "truth.json").write_text('{"demo-02": {}, "demo-07": {}, "demo-10": {}}')
    publish_once(settings)
    assert first("sites/demo-10/index.html") == first("index.html") == DEMONSTRATION_NOTICE["en"]
