"""Pages of lots: what they say, that names stay text, and that unchanged ones are not written."""

import re
from dataclasses import replace
from datetime import date

import pytest

from monitor.alerts.alert import AlertState, Verdict
from monitor.publish.lots import LotView, lot_page, write_lots
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.lots import Lot, LotReason, LotVerdict, Use
from tests import builders
from tests.builders import write_index
from tests.publish.conftest import make_assessment, make_site
from tests.publish.test_pages import Page

LOT = Lot(partner="Green Fund 绿源", programme_year=2021, intervention="planting")
LOOKS = [
    LotVerdict(
        as_of=date(year, 10, 15), sites=2, hectares=96.5, alert=alert, alert_since=date(2023, 10, 15), theta=theta,
        theta_low=theta - 0.2, theta_high=theta + 0.2, p_failing=0.95, evidence=3.0, shock=0.012, members=("a", "b"),
    )
    for year, theta, alert in (
        (2022, 0.3, AlertLevel.NONE), (2023, 0.1, AlertLevel.WATCH), (2024, 0.02, AlertLevel.RED),
    )
]  # fmt: skip


def nothing(reason: LotReason) -> LotVerdict:
    """A lot that cannot be judged."""
    return LotVerdict(as_of=date(2024, 10, 15), sites=0, hectares=0.0, reasons=(reason,))


def overview(view: LotView, root, verdict: LotVerdict, alerts=()) -> Page:
    """The index of a programme of the sites of the lot."""
    rows = [(site, a) for site, a, _ in view.members]
    write_index(rows, alerts, root, date(2024, 11, 1), alpha=0.05, lots=[(LOT, 3, 144.8, verdict)])
    return Page((root / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def view() -> LotView:
    members = [
        (make_site(name, name=f"Plot {name}"), make_assessment(name, theta=theta, status=status), use)
        for name, theta, status, use in (
            ("a", 0.5, Status.UNDECIDED, Use.USED), ("b", 0.01, Status.FAILING, Use.USED),
            ("民勤", 0.9, Status.ON_TRACK, Use.REPLANTED),
        )
    ]  # fmt: skip
    return LotView(lot=LOT, hectares=144.8, verdict=LOOKS[-1], looks=LOOKS, members=members)


def test_a_page_says_what_the_lot_is_what_was_found_and_how_often_that_is_wrong(view):
    english, chinese = (Page(lot_page(view, language)).text for language in ("en", "zh"))
    for part in (
        "Green Fund 绿源, 2021", "The work of this lot as a whole is not taking hold", "2%", "−18% to 22%", "95%",
        "How often a watch is wrong", "How often red is wrong", "left out: new work has begun there", "1.2 points",
        LOT.id, "15 October 2023", "each site keeps its own verdict and alert",
    ):  # fmt: skip
        assert part in english, part
    for part in ("这一批工程总体上未见成效", "2021 年", "关注的误报率", "未计入：已重新施工", "1.2 个百分点"):
        assert part in chinese, part


def test_members_are_listed_worst_first_by_name_and_id_with_links_to_their_pages_and_the_share_that_was_judged(view):
    html = lot_page(view, "en")
    links = [attributes["href"] for name, attributes in Page(html).elements if name == "a"]
    sites = [link for link in links if "/sites/" in link]
    assert sites == [
        "../../sites/b/index.html", "../../sites/a/index.html", "../../sites/%E6%B0%91%E5%8B%A4/index.html",
    ]  # fmt: skip
    assert re.search(r"Plot 民勤\s*民勤", Page(html).text), "also by the id, which its message gives"
    assert re.findall(r'<td class="n">(–|\d+%)</td>', html) == ["1%", "–", "90%"], "no share where growth is not judged"


@pytest.mark.parametrize("reason", list(LotReason))
@pytest.mark.parametrize(("language", "words"), [("en", "No verdict"), ("zh", "暂无结论")])
def test_a_lot_that_cannot_be_judged_says_so_and_has_no_drawing(view, reason, language, words):
    html = lot_page(replace(view, verdict=nothing(reason), looks=[]), language)
    assert words in Page(html).text
    assert "<svg" not in html


def test_an_answer_stands_on_the_page_beside_what_is_still_seen(view):
    alert = builders.alert(
        LOT.id, "lot", opened=date(2023, 10, 20), updated=date(2023, 11, 2), state=AlertState.RESOLVED,
        answer=Verdict.TREATED, note="reseeded",
    )  # fmt: skip
    answered = Page(lot_page(replace(view, alert=alert), "en")).text
    assert "The alert was answered on 2 November 2023: treated. Note: reseeded" in answered
    waiting = Page(lot_page(replace(view, alert=replace(alert, state=AlertState.OPEN)), "zh")).text
    assert "警报开启于 2023年10月20日；状态：未处理" in waiting


def test_a_hostile_partner_stays_text(view):
    hostile = replace(LOT, partner="<script>alert(1)</script>\u202e{{7*7}}")
    html = lot_page(replace(view, lot=hostile), "en")
    assert "<script" not in html
    assert "\u202e" not in html
    assert "{{7*7}}" in html


def test_pages_are_written_once_and_the_index_links_to_them(view, tmp_path):
    write_lots([view], tmp_path)
    page = tmp_path / "lots" / LOT.id / "index.zh.html"
    before = page.stat().st_mtime_ns
    write_lots([view], tmp_path)
    assert page.stat().st_mtime_ns == before
    index = overview(view, tmp_path, LOOKS[-1])
    links = {attributes.get("href") for name, attributes in index.elements if name == "a"}
    assert f"lots/{LOT.id}/index.html" in links
    assert "Sites without a registered partner or programme year, which belong to no lot: 3" in index.text


def test_the_page_of_a_lot_without_sites_says_so_and_shows_no_alert(view):
    english, chinese = (Page(lot_page(replace(view, members=[]), language)).text for language in ("en", "zh"))
    assert "This lot has no sites any more" in english
    assert "The last verdict: At the end of the season, 15 October 2024" in english
    assert "Red alert" not in english
    assert "本批次已无地块" in chinese


def test_an_open_alert_of_a_lot_without_a_verdict_now_counts_on_the_overview(view, tmp_path):
    alert, none = builders.alert(LOT.id, "lot", opened=date(2023, 10, 20)), nothing(LotReason.FEW_SITES)
    text = overview(view, tmp_path, none, [alert]).text
    assert "1 lot has a red alert" in text
    assert "still open, nothing new seen" in text
    assert "has a red alert" not in overview(view, tmp_path, none).text
