"""What pages say and draw: right numbers, both languages, links that lead somewhere, and names that stay text."""

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from shapely.geometry import box

from monitor.maps.film_years import FilmYear
from monitor.publish.chart import COVER_HEIGHT, DIFFERENCE_HEIGHT, season_table, series_chart
from monitor.publish.page_files import PagePicture
from monitor.publish.pages import site_pages
from monitor.publish.pictures import outline_path
from monitor.publish.products import write_catalogue, write_site
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import write_account
from monitor.publish.view import DetectionAssumptions, Film
from monitor.sites.cover_scale import FieldFactor
from monitor.verdict.assessment import AlertLevel, Status, assessment_to_json
from monitor.verdict.erosion import UNVERIFIED
from monitor.verdict.fitted import Fitted
from monitor.verdict.growth import GrowthPoint
from tests.builders import PLAN, write_index
from tests.publish.conftest import (
    FACTS,
    HOSTILE_SITE,
    MEASURED,
    bare,
    make_assessment,
    make_loss_view,
    make_site,
    make_undecided,
    make_view,
    pages_of,
)

LANGUAGES = ("en", "zh")
MAP_LINK = r"https://(uri\.amap\.com/marker|www\.openstreetmap\.org/)\?[\w%.,=&#/+~-]*"
"""The only links that leave the pages."""


class Page(HTMLParser):
    """Elements and text of a page, as a browser would take them apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def text_of(view, language="en"):
    """Words of the page of a site, a space apart."""
    return " ".join(Page(pages_of(view)[language]).text.split())


MARKS = {
    "site dots": "k-site", "difference dots": "k-site", "site line": "k-site", "difference faint": "k-faint",
    "control line": "k-control", "spread": "k-spread", "band": "k-fit", "fit": "k-fit", "expected line": "k-expected",
    "estimate": "k-estimate", "estimate dot": "k-estimate", "field": "k-field", "field core": "k-field",
    "rejected rug": "k-rejected", "season": "k-season",
}  # fmt: skip
"""Entry of the key for each mark of the drawing."""


def with_fit(view):
    """The view with a fitted curve and the spread of control units."""
    table = view.observations
    day = table.date.to_numpy().astype("datetime64[D]").astype(np.int64)
    curves = [np.linspace(0.1, height, day.size) for height in (0.3, 0.2, 0.4, 0.05, -0.02, 0.12)]
    rows = table.assign(control_low=table.control_cover - 0.03, control_high=table.control_cover + 0.03)
    return replace(view, observations=rows, fitted=Fitted(day, *curves))


@pytest.mark.parametrize("kind", ["whole", "plain", "tending", "karst", "one scene"])
def test_every_mark_of_the_chart_is_in_the_key_and_every_entry_of_the_key_is_drawn(kind, three_scenes):
    site = {"tending": make_site(plan=replace(PLAN, A=0.0), intervention="tending"), "karst": make_site(biome="karst")}
    view = three_scenes if kind == "one scene" else make_view(site=site.get(kind))
    view = with_fit(replace(view, measured=MEASURED)) if kind == "whole" else view
    figure = pages_of(view)["zh"].split('<figure class="series">')[1].split("</figure>")[0]
    page = Page(figure)
    marks = {
        attrs["class"] for tag, attrs in page.elements if "class" in attrs and attrs.get("d", tag) not in ("", "g")
    }
    marks = {mark for mark in marks if mark in MARKS or mark.split()[0] in {one.split()[0] for one in MARKS}}
    keys = {name for name in page.values("class") if name.startswith("k-")}
    assert marks <= MARKS.keys()
    assert {MARKS[mark] for mark in marks} == keys


def test_a_pointer_reads_the_values_of_a_season_and_of_the_newest_scenes(three_scenes):
    chart = series_chart(three_scenes)
    assert [values for _, _, values, _ in chart["hovered"]] == ["20% − 20% = 0", "30% − 25% = +5"]
    texts = [values for _, _, values in chart["seasons"]]
    assert [text for text in texts if text] == ["2016: 20% − 20% = 0 (n = 1)", "2018: 30% − 25% = +5 (n = 1)"]
    pages = pages_of(three_scenes)
    assert pages["en"].count("<title>1 July 2018: 30% − 25% = +5</title>") == 1
    assert pages["zh"].count("<title>2018年7月1日：30% − 25% = +5</title>") == 1


def test_a_decade_with_a_scene_every_third_day_is_a_page_of_less_than_a_quarter_of_a_megabyte():
    view = make_view()
    table = pd.concat([view.observations] * 6, ignore_index=True)
    dates = pd.date_range("2015-08-01", periods=len(table), freq="3D")
    page = pages_of(with_fit(replace(view, observations=table.assign(date=dates))))["zh"]
    assert len(table) > 1000
    assert page.count('class="hover"') == 100
    assert len(page.encode()) < 250_000


def test_the_noise_of_a_tended_site_does_not_fill_the_panel_and_nothing_is_expected_of_it(three_scenes):
    view = replace(three_scenes, site=replace(three_scenes.site, plan=replace(PLAN, A=0.0), intervention="tending"))
    chart = series_chart(view)
    labels = [tick.label for tick in chart["difference"].ticks]
    assert (labels[0], labels[-1]) == ("−20", "+20")
    assert (chart["expected_line"], chart["plan_line"]) == ("", "")


@pytest.mark.parametrize("status", [Status.UNDECIDED, Status.INSUFFICIENT_DATA, Status.TOO_EARLY])
def test_a_verdict_without_an_answer_has_no_fitted_curve(status):
    view = with_fit(make_view(assessment=make_assessment(status=status)))
    assert series_chart(with_fit(make_view()))["fit"]
    assert not series_chart(view)["fit"]


@pytest.fixture
def three_scenes():
    """Before the start equal to the control; then 5 points over it in July 2018; a cloudy scene between."""
    view = make_view()
    rows = view.observations.head(3).assign(
        date=pd.to_datetime(["2016-07-01", "2017-07-01", "2018-07-01"]), cover=[0.2, np.nan, 0.3],
        control_cover=[0.2, np.nan, 0.25], accepted=[True, False, True], reason=["", "CLOUD", ""],
    )  # fmt: skip
    return replace(view, observations=rows)


def test_the_expected_cover_is_the_control_and_the_promised_uplift(three_scenes):
    promise = three_scenes.site.plan.uplift((pd.Timestamp("2018-07-01") - pd.Timestamp("2017-04-01")).days / 365.25)
    seasons = season_table(three_scenes)
    assert [(s.year, s.scenes, s.cover, s.control) for s in seasons] == [(2016, 1, 0.2, 0.2), (2018, 1, 0.3, 0.25)]
    assert seasons[0].expected is None
    assert seasons[1].expected == pytest.approx(0.25 + promise)
    chart = series_chart(three_scenes)
    across, down = map(float, re.fullmatch(r"M(.*),(.*)h0", chart["expected_line"]).groups())
    top = float(chart["cover"].ticks[-1].label) / 100
    assert down == pytest.approx(COVER_HEIGHT * (1 - (0.25 + promise) / top), abs=0.06)
    assert across == pytest.approx(float(re.findall(r"M([\d.]+)", chart["site_dots"])[-1]))


def test_the_difference_is_zero_before_the_start_five_points_after_and_rejected_scenes_are_marked_apart(three_scenes):
    chart = series_chart(three_scenes)
    assert (chart["site_dots"].count("M"), chart["rejected_rug"].count("M")) == (2, 1)
    before, after = (float(y) for y in re.findall(r",([\d.]+)h0", chart["difference_dots"]))
    low, high = (
        float(t.label.replace("−", "-")) for t in (chart["difference"].ticks[0], chart["difference"].ticks[-1])
    )
    assert before == chart["difference"].zero
    assert before - after == pytest.approx(5 / (high - low) * DIFFERENCE_HEIGHT, abs=0.11)


def test_a_site_that_cannot_be_judged_shows_no_estimate():
    judged = make_view(assessment=make_assessment())
    unsure = make_assessment(status=Status.INSUFFICIENT_DATA, theta=1.26, uplift=0.36)
    assert series_chart(judged)["estimate"] is not None
    assert series_chart(make_view(assessment=unsure))["estimate"] is None
    assert not re.search(r"126%|\+36 p", text_of(make_view(assessment=unsure)))


def test_an_undecided_site_says_so_and_why_its_probabilities_differ_from_its_interval():
    pages = pages_of(make_view(assessment=make_undecided("ulan-03"), alert=None))
    for language, words in (
        ("en", "Undecided: not yet clear whether the work is taking hold."),
        ("en", "not taking hold 27%, lagging 37%, on track 36%"),
        ("en", "They allow for a plan up to a fifth too large or growth up to a year late"),
        ("zh", "尚难判定"), ("zh", "未见成效 27%，进展滞后 37%，符合规划 36%"),
    ):  # fmt: skip
        assert words in Page(pages[language]).text
    assert 's-undecided"' in pages["en"]
    assert 's-on_track"' not in pages["en"]


def test_without_a_usable_scene_nothing_is_drawn(three_scenes):
    assert series_chart(replace(three_scenes, observations=three_scenes.observations.assign(accepted=False))) is None
    assert season_table(replace(three_scenes, observations=three_scenes.observations[:0])) == []


def test_seasons_are_shaded_where_growth_rests_and_nowhere_else():
    assert len(series_chart(make_view())["seasons"]) == 7  # 2015 to 2021
    assert series_chart(make_view(site=make_site(biome="karst")))["seasons"] == ()


def test_a_chart_without_scenes_before_the_start_is_still_drawn():
    view = make_view()
    assert series_chart(replace(view, observations=view.observations[100:]))["start"] is None


@pytest.fixture(scope="module")
def hostile_pages():
    a = make_assessment(HOSTILE_SITE.id, reasons=())
    view = make_view(site=HOSTILE_SITE, assessment=a, notice=dict.fromkeys(("en", "zh"), HOSTILE_SITE.name))
    rows, alert = view.observations.assign(reason="<img src=x>"), replace(view.alert, note=HOSTILE_SITE.name)
    return list(pages_of(replace(view, alert=alert, observations=rows)).values())


def test_hostile_names_are_shown_and_do_nothing(hostile_pages):
    for html in hostile_pages:
        page = Page(html)
        tags = Counter(tag for tag, _ in page.elements)
        assert not {"script", "img", "iframe", "object", "b-passwd"} & set(tags)
        assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
        assert "{{7*7}}" in page.text
        assert "<script>alert(1)</script>" in page.text
        assert "\u202e" not in html
        outside = [v for v in (*page.values("href"), *page.values("src")) if re.match(r"\w+:|//", v)]
        assert all(re.fullmatch(MAP_LINK, link) for link in outside)


SCARCE = {
    "no scenes": (
        bare,
        ("No usable scene", "No picture:", "so there is no series", "No control ground is known", "Visit the site"),
    ),
    "no controls": (
        lambda view: bare(view, reasons=("CONTROL_FEW",)),
        ("Fewer than ten control units", "No control ground is known"),
    ),
    "one pixel": (
        lambda view: bare(view, reasons=("FEW_PIXELS",)), ("fewer than ten pixels", "join it with neighbours"),
    ),
    "one year": (
        lambda view: replace(
            view,
            observations=view.observations[-36:], before=None,
            assessment=replace(
                view.assessment, status=Status.TOO_EARLY, alert=AlertLevel.NONE, alert_rule=None, probability=None,
                reasons=("TOO_EARLY", "NO_PRE_SEASONS"),
            ),
        ),
        ("Too early to judge", "No clear scene before the start is stored", "No estimate is drawn"),
    ),
}  # fmt: skip
"""Sites with little known about them, and words of their pages."""


@pytest.mark.parametrize("name", SCARCE)
def test_the_page_of_a_site_says_how_little_is_known_of_it(name):
    change, words = SCARCE[name]
    view = change(make_view())
    assert [word for word in words if word not in text_of(view)] == []
    assert re.search("看不清|为时尚早", text_of(view, "zh"))


@pytest.mark.slow
def test_a_page_begins_with_the_number_the_growth_chart_and_a_frame_of_the_film_for_each_year():
    seen = (GrowthPoint(date(2019, 9, 1), 0.01, -0.03, 0.05), GrowthPoint(date(2021, 8, 12), 0.02, -0.02, 0.06))
    film = Film(years={2019: FilmYear(3, 0.01), 2021: FilmYear(4, 0.02)}, scenes="a")
    view = make_view()
    drawn = {"film": PagePicture(file="film-01234567.png", window=(0.0, 0.0, 12.0, 10.0))}
    pages = site_pages(replace(view, growth=seen, film=film), drawn)
    for language, number in (("en", "8% of plan (−7% to 23%)"), ("zh", "8% 完成规划（−7% 至 23%）")):
        page = Page(pages[language])
        assert number in " ".join(page.text.split())
        frames = [attrs for tag, attrs in page.elements if tag == "use" and attrs["href"] == "#film"]
        assert len(frames) == 2
        assert pages[language].count('<span class="none">') == 3  # 2017, 2018 and 2020 were not seen
    assert '<svg viewBox="13 0 12 10"' in pages["en"]
    assert "48.3 ha" in Page(pages["en"]).text
    assert "724 亩（48.3 公顷）" in Page(pages["zh"]).text


def test_one_sentence_says_why_the_map_of_absent_growth_differs_from_the_headline():
    lagging = make_assessment(status=Status.LAGGING, theta=0.32, theta_low=0.15, theta_high=0.5)
    view = make_view(assessment=lagging)
    for chance, differs in ((0.9, True), (0.1, False)):
        failing = xr.full_like(view.maps["failing"], chance)
        shown = replace(view, maps=view.maps | {"failing": failing})
        assert ("the headline is about the mean of the whole site, 32% of plan" in text_of(shown)) is differs
        assert ("标题说的是整个地块的平均（完成规划 32%）" in text_of(shown, "zh")) is differs


def test_the_page_of_ten_thousand_hectares_needs_less_than_250_kb(tmp_path):
    site = make_site(geometry=box(106.9, 40.1, 107.02, 40.19), hectares=10_000.0)
    view = make_view(site=site, assessment=replace(make_loss_view("lost").assessment, site=site.id))
    assert max(view.grid.shape) > 450
    rough = np.random.default_rng(5).integers(60, 200, (*view.grid.shape, 3), dtype=np.uint8)
    pair = {name: replace(view.now, scene=name, rgb=rough) for name in ("before", "now", "before_loss", "after_loss")}
    frames = np.random.default_rng(6).normal(0, 0.1, (5, *view.grid.shape)).astype(np.float32)
    film = Film(years={year: FilmYear(3, 0.1) for year in range(2017, 2022)}, scenes="a", frames=frames)
    write_site(replace(view, **pair, maps=view.maps | {"loss": view.maps["failing"]}, film=film), tmp_path)
    folder = tmp_path / "sites/ulan-03"
    pictures = {file for file in folder.iterdir() if file.suffix in (".png", ".jpg")}
    assert len(pictures) == 11
    assert sum(file.stat().st_size for file in (*pictures, folder / "index.html")) < 250_000


def test_the_sentences_of_a_page_do_not_repeat_its_steps_and_write_areas_as_its_figures_do():
    view = make_loss_view("lost")
    areas = {"hectares_lost": 2512.3, "hectares_lost_low": 2000.0, "hectares_lost_high": 3000.0, "hectares": 10_000.0}
    large = replace(view, site=replace(view.site, hectares=10_000.0), assessment=replace(view.assessment, **areas))
    for one in (make_view(), large):
        for language, check in (("en", "Check the ground"), ("zh", "请实地核查")):
            text = Page(pages_of(one)[language]).text
            before, _, specialists = text.partition("For specialists" if language == "en" else "专业数据")
            assert check not in before
            assert specialists
    assert "About 2,512 of 10,000 hectares lost" in text_of(large)
    assert "About 2,512 of 10,000 hectares (2,000 to 3,000) lost" in text_of(large)


@pytest.fixture(scope="module")
def site_on_disk(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    views = [
        make_view(),
        make_view(site=make_site("民勤 03", name="民勤县青土湖"), assessment=make_assessment("民勤 03")),
    ]
    for view in views:
        write_site(view, root)
    rows, notice = [(v.site, v.assessment) for v in views], {"en": "read me", "zh": "请读"}
    write_catalogue(rows, root, since=None)
    day, latest = views[0].assessment.as_of, {site.id: assessment_to_json(assessment) for site, assessment in rows}
    write_index(rows, [], root, day, alpha=0.05, notice=notice)
    write_account(programme_account([site for site, _ in rows], latest, pledge=None, alpha=0.05), root, as_of=day)
    return root


def test_every_link_leads_to_a_file_or_a_place_on_a_page(site_on_disk):
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site_on_disk.rglob("*.html")}
    assert len(pages) == 10
    for path, page in pages.items():
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        for link in page.values("href"):
            if not re.fullmatch(MAP_LINK, link):
                name, _, place = link.partition("#")
                target = path if not name else path.parent / unquote(name)
                assert target.is_file(), (path.name, link)
                assert not place or place in pages[target.resolve()].values("id"), (path.name, link)


@pytest.mark.parametrize(
    ("file", "lang", "other"), [("index.html", "en", "zh-Hans"), ("index.zh.html", "zh-Hans", "en")]
)
def test_each_page_says_its_language_and_links_to_the_other(site_on_disk, file, lang, other):
    for path in site_on_disk.rglob(file):
        page = Page(path.read_text(encoding="utf-8"))
        assert dict(page.elements)["html"]["lang"] == lang
        assert other in page.values("hreflang")
        chinese = len(re.findall(r"[\u4e00-\u9fff]", page.text))
        assert (chinese > 200) == (lang == "zh-Hans")


def test_headings_descend_by_one_and_drawings_have_names(site_on_disk):
    for path in site_on_disk.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        for tag, attrs in page.elements:
            if tag == "svg" and attrs.get("role") == "img":
                named = attrs.get("aria-label") or set(attrs["aria-labelledby"].split()) <= set(page.values("id"))
                assert named


def test_a_page_says_the_verdict_with_its_probability_and_the_doubt_of_absolute_cover(site_on_disk):
    page = Page((site_on_disk / "sites/ulan-03/index.html").read_text())
    text = page.text
    assert "Not taking hold." in text
    assert "not taking hold 97%" in text
    assert "uncertain by 0.10 to 0.15 either way" in text
    assert "LOW_UPLIFT" in text
    assert {"site.gpx", "site.kml"} <= set(page.values("href"))


def test_a_page_shows_what_was_measured_in_the_field_newest_first():
    pages = {language: Page(text) for language, text in pages_of(make_view(measured=MEASURED)).items()}
    text = pages["en"].text
    shown = text[text.index("Measured in the field") : text.index("All rows")]
    order = [shown.index(text) for text in ("plants a hectare", "40.10310°N", "1,650", "82%", "24%", "30%", "33%")]
    assert order == sorted(order)
    assert "<script>alert(1)</script> {{ 7 * 7 }}" in shown  # as text
    assert "实地测量" in pages["zh"].text
    assert "field.csv" in pages["en"].values("href")
    assert "Measured in the field" not in Page(pages_of(make_view())["en"]).text


def test_measured_cover_stands_in_the_drawing_where_its_axes_say():
    drawing = series_chart(make_view(measured=MEASURED))
    dots = [tuple(map(float, dot.split(","))) for dot in drawing["field_dots"].strip("M").replace("h0", "").split("M")]
    assert len(dots) == 4
    first, last = dots[0], dots[-1]
    ticks = {tick.label: tick.at for tick in drawing["cover"].ticks}
    years = {tick.label: tick.at for tick in drawing["years"]}
    assert ticks["40"] < first[1] < ticks["20"]
    assert first[1] - last[1] == pytest.approx((0.24 - 0.28) / 0.2 * (ticks["0"] - ticks["20"]), abs=0.2)
    assert years["2019"] < first[0] < years["2020"]
    assert series_chart(make_view())["field_dots"] == ""


def test_the_factor_of_a_biome_is_stated_with_its_rows():
    factor = FieldFactor(value=0.61, low=0.52, high=0.72, rows=40)
    for language, words in (("en", "By 40 field rows of all sites"), ("zh", "共 40 条实地记录")):
        text = text_of(make_view(biome_factor=factor), language)
        assert words in text
        assert "0.61" in text
        assert words not in text_of(make_view(), language)


def test_only_the_newest_rows_are_on_the_page_and_it_says_so():
    many = tuple(replace(MEASURED[0], note=f"row {k}") for k in range(100))
    text = text_of(make_view(measured=many))
    assert "The newest 60 of 100 rows" in text
    assert "row 99" in text
    assert "row 39" not in text


BESIDE = {
    "detectability": ("Detectability of failure 2 11% 42% 3.5 63% 87%", "有效监测 2 11% 42% 3.5 63% 87%"),
    "calibration": (
        "placebos of the loess, tile T48 1 November 2026 1,234 Noise of one scene, cover 0.025",
        "对照地块，T48 2026年11月1日 1,234 单景噪声（覆盖度） 0.025",
    ),
    "elevation": ("Elevation 1,432 m above sea level", "海拔 1,432 米"),
    "slope": ("Mean slope 18°", "平均坡度 18°"),
}
"""Words, in this order, of each fact that is shown only where it is known."""

OF_THE_VERDICT = {
    "erosion": (
        {"erosion_grade": "moderate", "erosion_grade_without": "very_intense", "soil_loss_ratio": 0.61,
         "soil_loss_ratio_low": 0.48, "soil_loss_ratio_high": 0.77, "notes": UNVERIFIED},
        ("Soil moderate very intense 61% 48% to 77% Unverified:", "水土流失 中度 极强烈 61% 48% 至 77% 未经核实："),
    ),
    "soil without a slope": (
        {"soil_loss_ratio": 0.61}, ("Soil 61% No grade: the slope is unknown", "水土流失 61% 未分级：坡度未知"),
    ),
    "certificate": (
        {"uplift_confirmed": True, "uplift_confirmed_on": date(2020, 9, 7)},
        ("was confirmed on 7 September 2020 . It shows", "核证： 2020年9月7日 证实植被覆盖度"),
    ),
    "failing ground": (
        {"hectares_failing": 12.34, "hectares_failing_low": 9.1, "hectares_failing_high": 16.6},
        ("Failing ground 12.3 ha 9.10 to 16.6", "未见成效面积 12.3 公顷 9.10 至 16.6"),
    ),
}  # fmt: skip
"""Facts that only some verdicts have, and their words on the page."""


@pytest.mark.parametrize("name", [*BESIDE, *OF_THE_VERDICT])
@pytest.mark.parametrize(("language", "place"), [("en", 0), ("zh", 1)])
def test_facts_beside_the_verdict_are_shown_if_known_and_leave_no_trace_if_not(name, language, place):
    fields, sentences = OF_THE_VERDICT.get(name, ({}, None))
    words = (sentences or BESIDE[name])[place].split()
    known = {"assessment": make_assessment(**fields)} if sentences else {name: FACTS[name]}
    text, without = text_of(make_view(**known), language), text_of(make_view(), language)
    at = [text.find(words[0])]
    for word in words[1:]:
        at.append(text.find(word, at[-1]))
    assert -1 not in at, (words[at.index(-1)], text)
    assert len(text) > len(without)
    head = {"detectability": ("Detectability of", "有效监测"), "erosion": ("Soil", "水土流失")}.get(name)
    assert head is None or head[place] not in without


def test_the_map_of_failing_ground_says_that_the_edge_is_not_judged_and_how_the_hectares_count_it():
    view = make_view(assessment=make_assessment(hectares_failing=40.2), judged_hectares=4.0)
    pages = pages_of(view)
    for language, words in {
        "en": ("edge or not seen, not judged on its own", "here 4.00 of 48.3 ha are judged",
               "failing area of 40.2 ha is"),
        "zh": ("边缘或未观测到，不单独判断", "48.3 公顷中，单独判断的为 4.00 公顷",
               "未见成效面积 40.2 公顷是对整个地块而言"),
    }.items():  # fmt: skip
        page = Page(pages[language])
        assert all(text in page.text for text in words)
        hatched = [attrs["d"] for tag, attrs in page.elements if (attrs.get("fill") or "").startswith("url(#unjudged")]
        assert len(hatched) == 1
        assert hatched[0] == outline_path(view.outline)
    less = {name: values for name, values in view.maps.items() if name != "failing"}
    without = pages_of(replace(view, maps=less, judged_hectares=None))
    assert "unjudged" not in Page(without["en"]).values("class")
    assert "The failing area of" not in without["en"]


def test_while_no_season_was_seen_the_page_says_what_the_chances_assume():
    def shown(language, assumed):
        return text_of(make_view(detectability=FACTS["detectability"], detection_assumptions=assumed), language)

    for language, seen, one, none in (
        ("en", "given the scenes and the control ground of this site",
         "15 clear scenes a season, the cover of such ground, and 1 season with scenes before the start.",
         "and no seasons with scenes before the start."),
        ("zh", "以本地块现有的影像和对照条件",
         "每个生长季 15 景无云影像、同类地面的植被覆盖度，且开工前有 1 个可观测的生长季。",
         "且开工前没有可观测的生长季。"),
    ):  # fmt: skip
        text = shown(language, DetectionAssumptions(scenes=15.0, before=1))
        assert one in text
        assert seen not in text
        assert none in shown(language, DetectionAssumptions(scenes=15.0, before=0))
        assert seen in shown(language, None)


def test_a_page_says_plainly_what_cannot_be_known_before_the_sixth_year():
    def text(language, *, ring=0.11, start=date(2017, 4, 1), **strips):
        rows = {"now": (0.0, 0.02, ring, 0.3)} | strips
        return text_of(make_view(site=make_site(start=start), detection_improvements=rows), language)

    with_ring = text("en", strips=(0.1, 0.2, 0.5, 0.65))
    for words in (
        "cannot be known from imagery before its sixth year", "by the end of year 5 with a chance of only 11%",
        "With untreated strips inside the site as control ground it would be red by the end of year 6 with 65%",
    ):  # fmt: skip
        assert words in with_ring
    assert "开工第六年之前，仅凭影像无法得知" in text("zh", strips=(0.1, 0.2, 0.5, 0.65))
    assert "untreated strips inside the site as" not in text("en")  # it has them
    assert "cannot be known" not in text("en", ring=0.6)
    assert "cannot be known" not in text("en", start=date(2015, 4, 1))  # the sixth year is over


def test_the_source_of_a_calibration_and_a_note_are_text():
    known = {
        "calibration": replace(FACTS["calibration"], source="<script>, tile <script>"),
        "assessment": make_assessment(soil_loss_ratio=0.5, notes="<script>"),
    }
    for html in pages_of(make_view(**known)).values():
        page = Page(html)
        assert "script" not in {tag for tag, _ in page.elements}
        assert page.text.count("<script>") >= 2
