"""The pages as people open them: from a file, offline, without scripts, on a phone or a desk, by day and by night."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from monitor.publish.lots import LotView, write_lots
from monitor.publish.pictures import NOT_SEEN
from monitor.publish.products import write_photos, write_site
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.erosion import UNVERIFIED
from monitor.verdict.lots import Use
from tests.accessibility import violations
from tests.builders import write_index
from tests.publish.conftest import (
    FACTS,
    HOSTILE_SITE,
    MEASURED,
    bare,
    make_assessment,
    make_loss_view,
    make_programme,
    make_site,
    make_undecided,
    make_view,
)
from tests.publish.test_lots import LOOKS, LOT

PAGES = (
    "sites/ulan-03/index.html", "sites/民勤-03/index.zh.html", "sites/new/index.html",
    "sites/hostile/index.html", "sites/unsure/index.html", "sites/lost/index.html", "sites/early/index.zh.html",
    f"lots/{LOT.id}/index.html", f"lots/{LOT.id}/index.zh.html",
)  # fmt: skip

WITH_ALL = {
    "hectares_failing": 12.34, "hectares_failing_low": 9.1, "hectares_failing_high": 16.6,
    "hectares_failing_on": date(2021, 8, 2), "uplift_confirmed": True, "uplift_confirmed_on": date(2020, 9, 7),
    "erosion_grade": "moderate", "erosion_grade_without": "very_intense", "soil_loss_ratio": 0.61,
    "soil_loss_ratio_low": 0.48, "soil_loss_ratio_high": 0.77, "notes": UNVERIFIED,
    "reasons": ("SPATIAL_PATCH", "LOW_UPLIFT", "DRY_MATTER"), "field_cover": 0.26, "field_cover_low": 0.22,
    "field_cover_high": 0.3, "measured": 0.031, "measured_se": 0.02, "measured_season": -0.04,
    "measured_season_se": 0.02, "contradiction": True, "field_factor": 0.82,
    "field_factor_low": 0.71, "field_factor_high": 0.95,
}  # fmt: skip
"""All facts that a verdict may have beside it."""

OUTSIDE = """() => [...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1) && getComputedStyle(e).clipPath === 'none';
}).map(e => `${e.tagName}: ${e.textContent.slice(0, 60)}`)"""
"""Visible elements that stick out of the window."""


@dataclass(frozen=True)
class Opened:
    """A page in the browser, what it requested, and its messages on the console."""

    page: str
    tab: Any
    requested: list[str]
    complaints: list[str]


@pytest.fixture(scope="module")
def root(answers, field_photos, tmp_path_factory) -> Path:
    """A programme of every status, with the pages of a failing, a good, an unseen and a hostile site."""
    failing = make_view(assessment=make_assessment(**WITH_ALL), answers=answers, measured=MEASURED, **FACTS)
    good = make_view(
        site=make_site("民勤-03", name="民勤县青土湖三号地块", at=(103.1, 39.0), province="甘肃"), share=0.95,
        alert=None, notice=None,
        assessment=make_assessment(
            "民勤-03", status=Status.ON_TRACK, alert=AlertLevel.NONE, alert_rule=None, theta=0.95, theta_low=0.8,
            theta_high=1.1, uplift=0.27, uplift_low=0.23, uplift_high=0.31, reasons=(),
        ),
        **FACTS,
    )  # fmt: skip
    new = bare(make_view(site=make_site("new", name="Not seen yet", at=(105.0, 37.0))))
    hostile = make_view(site=replace(HOSTILE_SITE, id="hostile"), assessment=make_assessment("hostile"), alert=None)
    undecided = make_view(
        site=make_site("unsure", name="Ulan Buh, plot 9", at=(106.2, 39.6)), share=0.4, alert=None, notice=None,
        assessment=make_undecided("unsure"),
    )  # fmt: skip
    lost = make_loss_view("lost")
    early = make_view(
        site=make_site("early", name="Newly planted", at=(105.5, 38.0)), alert=None, notice=None,
        assessment=make_assessment(
            "early", status=Status.TOO_EARLY, alert=AlertLevel.NONE, alert_rule=None, reasons=("TOO_EARLY",),
            **dict.fromkeys(("probability", "p_failing", "p_lagging", "p_on_track")),
        ),
    )  # fmt: skip
    name = "Ulan-Buh-民勤 " * 25
    long = replace(make_loss_view("long"), notice=dict.fromkeys(("en", "zh"), 5 * name))
    long = replace(
        long, site=replace(long.site, name=name, province=name), alert=replace(long.alert, note=name),
        assessment=replace(long.assessment, uplift_confirmed=True, uplift_confirmed_on=date(2020, 9, 7)),
    )  # fmt: skip
    views = (failing, good, new, hostile, undecided, lost, early, long)
    root = tmp_path_factory.mktemp("outputs")
    for view in views:
        write_site(view, root)
    write_photos(failing.site.id, root, field_photos)
    rows = [*make_programme(15), *((view.site, view.assessment) for view in views)]
    members = [(view.site, view.assessment, use) for view, use in zip(views, Use, strict=False)]
    write_lots([LotView(lot=LOT, hectares=240.0, verdict=LOOKS[-1], looks=LOOKS, members=members)], root)
    lots = [(LOT, len(views), 240.0, LOOKS[-1])]
    write_index(rows, [failing.alert], root, failing.assessment.as_of, alpha=0.05, lots=lots, notice=failing.notice)
    return root


@pytest.fixture(scope="module")
def open_page(root, browser) -> Callable[..., Opened]:
    def opens(page: str, *, width: int = 1280, scheme: str = "light", scripts: bool = False) -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts, offline=True
        )
        opened = Opened(page=page, tab=context.new_page(), requested=[], complaints=[])
        opened.tab.on("request", lambda request: opened.requested.append(request.url))
        opened.tab.on("console", lambda message: opened.complaints.append(message.text))
        opened.tab.goto((root / page).as_uri())
        return opened

    return opens


@pytest.fixture(scope="module", params=PAGES)
def opened(request, open_page) -> Iterator[Opened]:
    """Each page in turn, opened once, without scripts."""
    opened = open_page(request.param)
    yield opened
    opened.tab.context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_fits_its_width_with_everything_unfolded(opened, width):
    opened.tab.set_viewport_size({"width": width, "height": 800})
    folded = opened.tab.locator("details:not([open]) > summary")
    while folded.count():
        folded.first.click()
    assert opened.tab.evaluate(OUTSIDE) == []
    assert opened.tab.evaluate("document.documentElement.scrollWidth") == width


def test_a_page_asks_for_nothing_but_files_beside_it(opened, root):
    assert all(urlsplit(url).scheme == "file" for url in opened.requested)
    folder = (root / opened.page).parent
    assert {Path(unquote(urlsplit(url).path)).parent for url in opened.requested} <= {folder, folder / "photos"}
    assert opened.complaints == []
    assert opened.tab.evaluate("document.scripts.length") == 0


def test_headings_are_in_order_and_the_language_is_named(opened):
    levels = opened.tab.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert opened.tab.evaluate("document.documentElement.lang") == ("zh-Hans" if ".zh." in opened.page else "en")
    assert opened.tab.title()


def test_the_pictures_of_a_site_load(opened):
    pictures = opened.tab.eval_on_selector_all("image", "all => all.map(e => e.href.baseVal)")
    photos = opened.tab.eval_on_selector_all("img", "all => all.map(e => e.getAttribute('src').split('/').pop())")
    pictures_requested = {Path(urlsplit(url).path).name for url in opened.requested}
    assert set(pictures) == pictures_requested - {Path(opened.page).name, *photos}
    folder = opened.page.rpartition("/")[0]
    number = {"": 0, f"lots/{LOT.id}": 0, "sites/new": 0, "sites/unsure": 2, "sites/early": 4, "sites/lost": 11}
    assert len(pictures) == number.get(folder, 7)  # of the loss, one twice


def test_a_hostile_name_is_shown_as_it_is_written(open_page):
    opened = open_page("sites/hostile/index.html", scripts=True)
    assert opened.tab.locator("h1").inner_text().startswith("<script>alert(1)</script>{{7*7}} Bcc:")
    assert "\u202e" not in opened.tab.content()
    assert opened.tab.evaluate("document.scripts.length") == 0
    assert opened.complaints == []


ORDER = """() => [
    '#verdict', 'svg.gc', '.place', '.steps li, .steps p', '#specialists', 'svg.plot', '.code'
    ].map(
    one => document.querySelector(one)).filter(one => one).map(
    (one, at, all) => at === 0 || !!(all[at - 1].compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING))"""
"""Whether each part of a page comes after the one before it."""


@pytest.mark.parametrize("opened", [page for page in PAGES if page.startswith("sites/")], indirect=True)
def test_a_page_says_first_what_where_and_what_to_do_and_folds_statistics_and_codes_for_specialists(opened):
    assert all(opened.tab.evaluate(ORDER))
    assert opened.tab.locator("main .code").count() == opened.tab.locator("#specialists .code").count() > 0
    opened.tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    seen = opened.tab.evaluate("document.querySelector('main').innerText.split(/For specialists|专业数据/)[0]")
    assert not re.search(r"interval|区间|[A-Z]+_[A-Z]+", seen)
    steps = opened.tab.locator(".steps li").count()
    assert steps == (0 if "民勤" in opened.page else 3)


def test_dates_are_in_words_and_negative_numbers_have_a_minus(opened):
    opened.tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    text = opened.tab.evaluate("document.body.textContent.replace(document.querySelector('style').textContent, '')")
    assert re.findall(r"\d{4}-\d{2}(?:-\d{2})?\b", text) == []
    assert re.findall(r"(?<![\w-])-\d", text) == []


def test_a_site_that_is_not_judged_shows_nothing_that_suggests_an_answer(open_page):
    for page, drawn in (("unsure/index.html", []), ("early/index.zh.html", ["cover", "ndvi"]), ("new/index.html", [])):
        tab = open_page(f"sites/{page}").tab
        assert tab.eval_on_selector_all("[data-map]", "all => all.map(e => e.dataset.map)") == drawn
        assert tab.locator(".theta, .estimate").count() == 0
    judged = open_page("sites/ulan-03/index.html").tab
    maps = judged.eval_on_selector_all("[data-map]", "all => all.map(e => e.dataset.map)")
    assert maps == ["failing", "uplift", "slope", "cover", "ndvi"]
    assert judged.locator(".theta, .estimate").count() == 3


def test_a_sudden_loss_has_its_own_pair_of_pictures_its_map_and_its_hectares(open_page):
    tab = open_page("sites/lost/index.html").tab
    captions = [one.split("\n")[0] for one in tab.locator(".views figcaption").all_inner_texts()]
    assert captions == [
        "Last scene before the loss 25 June 2021", "First scene that shows it 30 June 2021",
        "Lost a quarter of its cover or more",
    ]  # fmt: skip
    assert tab.locator(".views [data-map=loss]").count() == 1
    assert "Lost a quarter of its cover or more: 12.3 ha of 48.3 ha." in tab.locator(".views").inner_text()
    assert "Worst patch" in tab.locator(".where").inner_text()


def test_pictures_have_outlines_of_site_and_control_ground_a_scale_bar_and_no_blank_ground(open_page):
    tab = open_page("sites/lost/index.html").tab
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.locator(".units").count() == 1, "the specialists' map alone has the control ground"
    now = tab.locator("#specialists svg:has(.units)")
    lines = now.locator("path").evaluate_all("all => all.map(e => getComputedStyle(e).strokeDasharray)")
    assert sorted(line != "none" for line in lines) == [False] * 5 + [True], "the control ground alone is dashed"
    length = float(now.locator("path.bar").last.get_attribute("d").rpartition("h")[2])
    assert now.locator("text").text_content() == f"{length * 20:.0f} m", "pixels of 20 m"
    image = np.asarray(Image.open(BytesIO(now.screenshot())).convert("RGB")).reshape(-1, 3)
    assert (np.abs(image.astype(int) - NOT_SEEN).max(axis=1) < 6).mean() < 0.05


@pytest.mark.parametrize(("language", "sites"), [
    (".zh", ["lost"]),
    ("", ["long"]),
    pytest.param(".zh", ["ulan-03", "民勤-03", "new", "unsure", "early"], marks=pytest.mark.slow),
    pytest.param("", ["ulan-03", "民勤-03", "new", "unsure", "early", "lost"], marks=pytest.mark.slow),
])  # fmt: skip
def test_a_site_is_printed_on_one_page(open_page, language, sites):
    for site in sites:
        tab = open_page(f"sites/{site}/index{language}.html", scheme="dark").tab
        printed = tab.pdf(prefer_css_page_size=True, print_background=True)
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1, site
        tab.emulate_media(media="print")
        assert tab.locator(".steps").is_visible()
        assert not tab.locator("#specialists").is_visible()
        assert all(tab.locator(part).is_visible() for part in ("h1", ".place", ".lead time"))
        tab.context.close()


def test_ground_at_the_edge_is_hatched_and_ground_outside_is_not(open_page):
    tab = open_page("sites/ulan-03/index.html").tab
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    drawing = tab.locator("svg[aria-label='Map: Regrowth absent']")

    def drawn():
        return np.asarray(Image.open(BytesIO(drawing.screenshot())).convert("RGB")).astype(int)

    with_lines = drawn()
    tab.locator("path.unjudged").evaluate("path => path.remove()")
    lines = np.abs(with_lines - drawn()).max(axis=2) > 40
    assert 0.005 < lines.mean() < 0.1, "lines in two pixels along the edge"
    margin = max(lines.shape) // 20
    assert lines[margin:-margin, margin:-margin].sum() == lines.sum()


def test_a_chinese_page_says_nothing_in_english(open_page):
    text = open_page("sites/民勤-03/index.zh.html", width=360).tab.locator("main").inner_text()
    assert "符合规划" in text
    for english in ("Probability", "points", "The ", "Site", "Cover", "Before", "planting", "of the"):
        assert english not in text


def test_languages_and_pages_are_a_link_apart(open_page, root):
    tab = open_page("index.html", width=360).tab
    for link, page in (
        ("Ulan Buh, plot 3", "sites/ulan-03/index.html"),
        ("中文", "sites/ulan-03/index.zh.html"),
        ("← 项目总览", "index.zh.html"),
        ("English", "index.html"),
    ):
        tab.get_by_role("link", name=link, exact=True).click()
        tab.wait_for_url((root / page).as_uri())


def test_axe_finds_nothing_by_day_or_by_night(open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

    def paper(tab):
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in re.findall(r"\d+", colour)]

    for page in (
        "sites/ulan-03/index.html", "sites/民勤-03/index.zh.html", "sites/new/index.zh.html",
        "sites/lost/index.html", f"lots/{LOT.id}/index.html", f"lots/{LOT.id}/index.zh.html",
    ):  # fmt: skip
        tab = open_page(page, width=360, scripts=True).tab
        assert min(paper(tab)) >= 230
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert violations(axe.Axe(), tab) == []
        tab.emulate_media(color_scheme="dark")
        assert max(paper(tab)) <= 40, "by night"


def test_answers_from_the_field_stand_on_the_page_with_note_and_photos(open_page):
    tab = open_page("sites/ulan-03/index.html", width=360, scripts=True).tab
    newest, older = (item.inner_text() for item in tab.locator(".answers li").all())
    assert newest.startswith("Confirmed in the field\n18 August 2021, about the alert “regrowth absent”")
    assert "by the link in a message" in newest
    assert "Half of the seedlings are dry.\n  - north: 30 of 100 alive\n<script>alert(1)</script>gnp.exe" in newest
    assert older.startswith("False alarm: grazing\n3 August 2020, about the alert “regrowth may be absent”")
    photos = tab.locator(".answers img")
    assert photos.evaluate_all("all => all.map(e => e.alt)") == [
        "Photo from the field, taken 17 August 2021 09:30",
        "Photo from the field",
    ]
    assert photos.evaluate_all("all => all.map(e => e.loading)") == ["lazy", "lazy"]
    photos.first.scroll_into_view_if_needed()
    photos.first.evaluate("img => img.decode()")
    assert photos.first.evaluate("img => img.naturalWidth") == 1600
    assert "40.10310°N, 106.90420°E" in newest
    chinese = open_page("sites/ulan-03/index.zh.html").tab.locator(".answers li").first.inner_text()
    assert chinese.startswith("属实\n2021年8月18日，针对“未见成效”警报，通过消息中的链接答复")
