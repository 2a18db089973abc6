"""The growth chart: zones from the plan, one point a season, and the one number beside it."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date

import pytest

from monitor.alerts.messages.progress import growth_bar, progress
from monitor.publish.growth_chart import growth_chart
from monitor.sites.site import Plan
from monitor.verdict.assessment import Status
from monitor.verdict.growth import GrowthPoint
from tests import builders

SITE = builders.site(start=date(2017, 1, 1), plan=Plan(A=0.3, k=0.9, L=0.0, too_early_years=1.0))
VERDICT = builders.assessment(
    as_of=date(2020, 12, 31), status=Status.LAGGING, alert_rule=None, theta=0.32, theta_low=0.15, theta_high=0.53,
    uplift=0.09, uplift_low=0.04, uplift_high=0.15, expected=0.29,
)  # fmt: skip
SEEN = (
    GrowthPoint(date(2016, 7, 1), 0.0), GrowthPoint(date(2017, 7, 1), 0.02, -0.02, 0.06),
    GrowthPoint(date(2018, 7, 1), 0.21, 0.1, 0.25), GrowthPoint(date(2020, 7, 1), 0.091, 0.04, 0.15),
)  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def drawn(seen=SEEN, site=SITE, a=VERDICT, size="page", language="en") -> ET.Element:
    text = growth_chart(seen, site, a, size=size, language=language)
    return ET.fromstring(text.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1))


def circles(svg: ET.Element) -> list[tuple[float, float]]:
    return [(float(c.get("cx")), float(c.get("cy"))) for c in svg.iter(f"{SVG}circle")]


def paths(svg: ET.Element, kind: str) -> list[str]:
    return [path.get("d") for path in svg.iter(f"{SVG}path") if path.get("class") == kind]


def test_a_point_is_in_the_column_of_its_year_and_at_the_height_of_its_uplift():
    found = circles(drawn())  # five columns of 65.6; from -.105 to .42 over 196 pixels
    assert [x for x, _ in found] == pytest.approx([32.6, 98.1, 163.7, 295.0], abs=0.3)
    assert [y for _, y in found] == pytest.approx([156.8, 149.3, 78.4, 123.2], abs=0.1)  # the newest: 9 points
    assert len(paths(drawn(), "iv")) == 3


def test_the_zones_end_at_seven_tenths_and_a_quarter_of_what_the_plan_promises_by_then():
    svg = drawn()
    promised = 0.3 * (1 - 2.718281828 ** (-0.9 * 3.9986))
    for zone, share in (("za", 0.7), ("zr", 0.25), ("plan", 1.0)):
        (path,) = paths(svg, zone)
        last = re.findall(r"([\d.]+),([\d.]+)", path)[-1]
        assert [float(v) for v in last] == pytest.approx([327.8, 156.8 - share * promised / 0.525 * 196], abs=0.3)
    assert not paths(drawn(site=replace(SITE, plan=replace(SITE.plan, A=0.0))), "zg")


def test_a_row_has_no_words_and_marks_the_newest_point_in_the_colour_of_the_status():
    row = growth_chart(SEEN, SITE, VERDICT, size="row", language="en")
    assert "<text" not in row
    assert row.count("<circle") == 1
    assert "var(--lagging)" in row
    assert len(row) < 900


@pytest.mark.parametrize("size", ["page", "row"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_an_estimate_before_the_start_and_after_one_season_a_chart_can_be_drawn(size, language):
    assert not circles(drawn((), size=size, language=language))
    assert paths(drawn((), size=size), "zg")
    future = replace(VERDICT, as_of=date(2016, 8, 1), theta=None, uplift=None, expected=None)
    assert not paths(drawn(SEEN[:1], a=future, size=size), "zg")
    assert len(circles(drawn(SEEN[1:2], size=size, language=language))) == 1


def test_unseen_time_is_hatched_and_keeps_the_last_estimate_of_its_day():
    unseen = replace(VERDICT, status=Status.INSUFFICIENT_DATA)
    svg = drawn(SEEN[:3], a=unseen)
    assert paths(svg, "gap")
    assert circles(svg)[-1][1] == 78.4
    assert progress(unseen, SEEN[:3], "zh") == ("+21", "个百分点，比对照地（最后看清：2018年7月）")


def test_where_the_control_predicts_nothing_no_estimate_of_any_season_is_shown():
    unfit = replace(VERDICT, status=Status.INSUFFICIENT_DATA, reasons=("CONTROL_CONSTANT", "DATA_OLD"))
    assert not circles(drawn(a=unfit))
    assert progress(unfit, SEEN, "en") is None


def test_a_loss_has_its_day_and_the_measured_numbers_before_and_since():
    lost = replace(
        VERDICT, status=Status.DISTURBED, alert_rule="disturbance", loss_on=date(2020, 6, 30), loss_from=0.21,
        loss_to=0.05,
    )  # fmt: skip
    svg = drawn((*SEEN[:3], GrowthPoint(date(2020, 10, 1), 0.05)), a=lost, language="zh")
    assert paths(svg, "ev")
    assert any(text.text == "2020年6月30日 受损" for text in svg.iter(f"{SVG}text"))
    assert progress(lost, SEEN, "zh") == ("+21 → +5", "个百分点（比对照地，实测）")
    assert growth_bar(lost) == ""
    assert progress(replace(lost, loss_to=None), SEEN, "en") is None


def test_the_number_is_the_share_of_the_plan_at_most_its_upper_limit_where_that_is_not_above_zero():
    assert progress(VERDICT, SEEN, "en") == ("32%", "of plan (15% to 53%)")
    low = replace(VERDICT, theta=-0.1, theta_low=-0.28, theta_high=0.07)
    assert progress(low, SEEN, "zh") == ("至多 7%", "完成规划")
    tended = replace(VERDICT, theta=None, theta_low=None, theta_high=None, measured_season=-0.02)
    assert progress(tended, SEEN, "en").number == "−2"
    assert progress(replace(tended, measured_season=None), SEEN, "en") is None
    assert 'width="32%"' in growth_bar(VERDICT)
    assert growth_bar(low).count("<td") == 1


def test_a_hostile_name_is_not_in_the_chart():
    hostile = replace(SITE, id="<script>", name='"><script>')
    for size in ("page", "row"):
        assert growth_chart(SEEN, hostile, VERDICT, size=size, language="en") == growth_chart(
            SEEN, SITE, VERDICT, size=size, language="en"
        )
