"""How often alerts were right, on the index page."""

import pytest

from monitor.alerts.precision import AnsweredOpening, measured_precision
from monitor.publish.page_files import PAGE_FILES
from monitor.verdict.assessment import AlertLevel
from tests.builders import write_index
from tests.publish.conftest import make_programme

HOSTILE = "<script>alert(1)</script>{{7*7}}\u202e"


@pytest.fixture
def index(tmp_path):
    def written(openings, sites):
        rows = make_programme(3)
        measured = measured_precision(openings, sites)
        write_index(rows, [], tmp_path, rows[0][1].as_of, alpha=0.05, precision=measured)
        return {language: (tmp_path / name).read_text(encoding="utf-8") for language, name in PAGE_FILES.items()}

    return written


def test_the_index_says_how_many_answered_alerts_were_right_and_how_little_few_answers_say(index):
    openings = [
        AnsweredOpening("a", "failure", AlertLevel.RED, is_right=right) for right in (True, True, True, False)
    ]  # fmt: skip
    pages = index(openings, {"a": {"province": HOSTILE, "intervention": "planting"}})
    for words in ("3 / 4", "regrowth absent, red", "30% to 95%", "change no threshold", "Few answers say little"):
        assert words in pages["en"]
    for words in ("3 / 4", "未见成效，红色", "30% 至 95%", "不会改变任何判定阈值", "造林种草"):
        assert words in pages["zh"]
    for page in pages.values():
        assert "75%" not in page.split("<main")[1], "few answers are no percentage"
        assert "<script>alert" not in page
        assert "{{7*7}}" in page
        assert "\u202e" not in page


def test_the_index_says_nothing_about_answers_where_there_are_none(index):
    pages = index([], {})
    assert "were right" not in pages["en"]
    assert "准确情况" not in pages["zh"]


def test_a_grouping_without_known_values_is_left_out(index):
    pages = index(
        [AnsweredOpening("a", "failure", AlertLevel.WATCH, is_right=True)], {"a": {"intervention": "tending"}}
    )
    assert "By intervention" in pages["en"]
    assert "By province" not in pages["en"]
