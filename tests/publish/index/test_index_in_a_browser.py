"""The pages of the whole programme in a browser: opened from a file, offline, with scripts and without."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from shapely.geometry import Point

from monitor.alerts.chain_head import ChainHead
from monitor.publish.index.basemap import Basemap
from monitor.publish.index.ground import Ground, ground_bounds
from monitor.publish.index.history import Changes, History
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import write_account
from monitor.sites.names import folder_name
from monitor.verdict.assessment import assessment_to_json
from monitor.verdict.growth import GrowthPoint
from tests.accessibility import violations
from tests.builders import write_index
from tests.publish.conftest import HOSTILE_SITE, make_assessment, make_programme
from tests.publish.index.test_programme_pages import NIGHTS
from tests.publish.moved import moved
from tests.publish.test_in_a_browser import OUTSIDE
from tests.publish.test_lots import LOOKS, LOT

SMALL, LARGE, HUGE = 40, 900, 10_000
PAGES = (
    "small/index.html", "small/index.zh.html", "small/nights.html", "small/nights.zh.html", "small/programme.html",
    "small/programme.zh.html", "large/index.html", "large/province/gansu/index.html",
    "large/province/青海/index.zh.html",
)  # fmt: skip
DRAWN = """() => {
    const canvas = document.querySelector('#map canvas'), paper = getComputedStyle(document.querySelector('#map'));
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = {};
    for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] === 255) {
            const colour = `${pixels[i]},${pixels[i + 1]},${pixels[i + 2]}`;
            colours[colour] = (colours[colour] || 0) + 1;
        }
    }
    return colours;
}"""
"""Number of pixels of each colour that the map has drawn."""


def programme(n):
    """Sites with provinces, partners, lots and managers."""
    provinces = ("Gansu", "青海", None)
    return [
        (
            replace(
                site, province=provinces[k % 3], partner=f"Partner {k % 5}", programme_year=2021 + k % 2,
                manager_name=f"Manager {k % 7}", hectares=float(k % 250 + 1),
            ),
            a,
        )
        for k, (site, a) in enumerate(make_programme(n))
    ]  # fmt: skip


def growth_of(rows):
    """Two seasons before the start and five since, of every second site."""
    return {
        site.id: tuple(
            GrowthPoint(date(year, 9, 1 + k % 20), 0.01 * (year - 2017), *((0.0, 0.1) if year > 2016 else ()))
            for year in range(2015, 2022)
        )
        for k, (site, _) in enumerate(rows)
        if k % 2 == 0
    }


def ground_of(site, root):
    """A grey picture around a site."""
    file = root / "assets/ground/a.webp"
    file.parent.mkdir(parents=True)
    Image.new("L", (20, 20), 128).save(file)
    return [Ground("assets/ground/a.webp", ground_bounds([site]))]


HEAD = ChainHead(date(2021, 8, 19), "0123456789abcdef" * 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A small programme with a hostile site, and one so large that each province has a page."""
    root = tmp_path_factory.mktemp("outputs")
    rows = programme(SMALL)
    rows.append((replace(HOSTILE_SITE, partner="Partner 1", programme_year=2021), make_assessment(HOSTILE_SITE.id)))
    retired = (dict.fromkeys(("en", "zh"), "Old"),)
    changes = Changes(since=date(2021, 7, 20), before={"site-00000": "on_track"}, new=("site-00003",), retired=retired)
    history = History(nights=NIGHTS, changes=changes, last_success=date(2021, 8, 17), unseen=("site-00002",))
    lots = [(LOT, 5, 240.0, LOOKS[-1])]
    day = rows[0][1].as_of
    growth = growth_of(rows)
    write_index(
        rows, [], root / "small", day, alpha=0.05, lots=lots, growth=growth, history=history, head=HEAD,
        grounds=ground_of(rows[0][0], root / "small"), manager_names=True,
    )  # fmt: skip
    # two more sites on ground that others have registered before, one across partners
    copies = [replace(rows[k][0], id=f"copy-{k}", partner="Another") for k in (1, 2)]
    latest = {site.id: assessment_to_json(a) for site, a in rows}
    account = programme_account([site for site, _ in rows] + copies, latest, pledge=9_999.0, alpha=0.05)
    write_account(account, root / "small", as_of=day, period=moved(account, day, {2020: 0.0, 2022: 2000.0}))
    for site, _ in rows:
        page = root / "small/sites" / folder_name(site.id) / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f"<title>{len(page.parts)}</title>")
    tiles = Basemap(url="tiles/{z}/{x}/{y}.png", attribution="© <i>Example</i>")
    write_index(rows, [], root / "tiled", day, alpha=0.05, basemap=tiles)
    rows = programme(LARGE)
    write_index(rows, [], root / "large", day, alpha=0.05, growth=growth_of(rows), history=history)
    return root


@pytest.fixture(scope="module")
def open_page(root, browser) -> Iterator[Callable[..., Any]]:
    """Open a page in a tab of its own; its requests and console messages are in ``requested`` and ``complaints``."""
    contexts = []

    def opens(page: str, *, width: int = 1280, scripts: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, java_script_enabled=scripts, offline=True
        )
        contexts.append(context)
        tab = context.new_page()
        tab.requested, tab.complaints = [], []
        tab.on("request", lambda request: tab.requested.append(request.url))
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        file, _, mark = page.partition("#")
        tab.goto((root / file).as_uri() + (f"#{mark}" if mark else ""))
        if scripts and "/index" in f"/{file.split('/', 1)[-1]}" and "province" not in file:
            tab.wait_for_selector("html[data-ready=map]", state="attached")
        return tab

    yield opens
    for context in contexts:
        context.close()


def until(tab, expression):
    """Wait until something is true; Playwright's own way is eval(), which the page forbids."""
    for _ in range(200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(expression)


def names(tab):
    return tab.locator("#rows a").all_inner_texts()


@pytest.fixture(scope="module")
def small(open_page):
    return open_page("small/index.html")


def fresh_tab(tab):
    tab.goto(tab.url.partition("#")[0] + "#again")
    tab.reload()
    tab.wait_for_selector("html[data-ready=map]", state="attached")
    tab.evaluate("document.querySelector('#finder details').open = true")
    return tab


def test_a_search_finds_names_and_ids(small):
    tab = fresh_tab(small)
    assert len(names(tab)) == 41
    tab.fill("#q", "SITE-0003")
    until(tab, "document.querySelectorAll('#rows li').length === 10")
    assert tab.locator("#count").inner_text() == "10 of 41 sites"
    tab.fill("#q", "township 0, PLOT 7")
    until(tab, "document.querySelectorAll('#rows li').length === 1")
    assert names(tab) == ["Township 0, plot 7"]
    tab.fill("#q", "nowhere")
    until(tab, "document.querySelectorAll('#rows li').length === 0")
    assert tab.complaints == []


@pytest.mark.parametrize(("name", "choice", "found"), [
    ("status", "Disturbed", 3), ("alert", "Watch", 3), ("province", "Not stated", 13), ("partner", "Partner 3", 8),
    ("lot", "Partner 4, 2021, planting", 4), ("manager", "Manager 6", 5),
])  # fmt: skip
def test_each_filter_leaves_its_sites(small, name, choice, found):
    tab = fresh_tab(small)
    tab.select_option(f"#by-{name}", label=choice)
    assert len(names(tab)) == found
    assert tab.locator("#count").inner_text() == f"{found} of 41 sites"


def test_filters_work_together_and_come_back_with_the_address_and_the_other_language(small, open_page):
    tab = fresh_tab(small)
    tab.select_option("#by-province", label="青海")
    tab.select_option("#by-partner", label="Partner 1")
    tab.select_option("#by-sort", "hectares")
    shown = names(tab)
    assert len(shown) == 3
    again = open_page(f"small/index.html#{tab.url.partition('#')[2]}")
    assert names(again) == shown
    again.click("a.tongue")
    again.wait_for_url("**/index.zh.html#*")
    again.wait_for_selector("html[data-ready=map]", state="attached")
    assert again.url.split("/")[-1].startswith("index.zh.html#")
    assert names(again) == shown
    assert again.locator("#count").inner_text() == "共 41 个地块，符合条件 3 个"


def test_an_address_typed_into_the_open_page_is_followed_and_a_link_to_a_section_changes_nothing(small):
    tab = fresh_tab(small)
    tab.evaluate("location.hash = 'status=disturbed&sort=name&province=nowhere'")
    until(tab, "document.querySelectorAll('#rows li').length === 3")
    assert tab.input_value("#by-status") == "disturbed"
    assert tab.url.partition("#")[2] == "sort=name&status=disturbed"
    tab.evaluate("location.hash = 'lots'")
    tab.wait_for_timeout(100)
    assert len(names(tab)) == 3
    tab.evaluate("location.hash = 'sort=toString'")
    until(tab, "document.querySelectorAll('#rows li').length === 41")
    assert tab.input_value("#by-sort") == "status"
    assert tab.complaints == []


def test_the_list_is_ordered_and_unknown_values_stay_last(small):
    tab = fresh_tab(small)

    def shown(pattern, order):
        tab.select_option("#by-sort", order)
        return [re.search(pattern, text) for text in tab.locator("#rows small").all_inner_texts()]

    areas = [float(found[1]) for found in shown(r"([\d.]+) ha", "hectares")]
    assert areas == sorted(areas, reverse=True)
    shares = [found and int(found[1]) for found in shown(r"(\d+)% of plan", "theta")]
    assert shares[-3:] == [None] * 3
    known = [share for share in shares if share is not None]
    assert known == sorted(known, reverse=True)
    tab.select_option("#by-sort", "name")
    assert names(tab)[1:4] == ["Township 0, plot 0", "Township 0, plot 1", "Township 0, plot 2"]


def test_the_script_writes_and_draws_a_row_as_the_page_has_it_without_scripts(open_page):
    tab = open_page("small/index.html")

    def rows():
        until(tab, "typeof GROWTH === 'object'")
        texts, drawings = [], []
        for row in tab.locator("#rows li").all():
            texts.append((row.locator("a").get_attribute("href"), " ".join(row.inner_text().split())))
            shapes = row.locator("svg > *").evaluate_all(
                "all => all.map(one => [one.className.baseVal, one.getAttribute('d') || one.getAttribute('cy')])"
            )
            drawings.append([(name, [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]) for name, path in shapes])
        return texts, drawings

    texts, drawings = rows()
    tab.fill("#q", "nowhere")
    until(tab, "document.querySelectorAll('#rows li').length === 0")
    tab.fill("#q", "")
    until(tab, "document.querySelectorAll('#rows li').length === 41")
    texts_again, drawings_again = rows()
    assert texts_again == texts
    for once, again in zip(drawings, drawings_again, strict=True):
        assert [name for name, _ in again] == [name for name, _ in once]
        for (_, numbers), (_, others) in zip(once, again, strict=True):
            assert others == pytest.approx(numbers, abs=0.16)
    without = open_page("small/index.html", scripts=False)
    assert [(row.locator("a").get_attribute("href"), " ".join(row.inner_text().split()))
            for row in without.locator("#rows li").all()] == texts  # fmt: skip
    assert without.locator("#finder, #live").evaluate_all("all => all.every(one => one.hidden)")
    assert without.locator(".still svg").is_visible()


def test_the_map_is_folded_on_a_phone_until_it_is_opened(open_page):
    tab = open_page("small/index.html", width=360)
    assert not tab.locator("#map").is_visible()
    assert not tab.locator("#map canvas").count()
    tab.locator("#map-box summary").click()
    tab.wait_for_selector("#map canvas")
    plain = open_page("small/index.html", width=360, scripts=False)
    assert not plain.locator(".still svg").is_visible()
    plain.locator("#map-box summary").click()
    assert plain.locator(".still svg").is_visible()


def test_pictures_of_the_ground_are_under_the_map(open_page):
    tab = open_page("small/index.html")
    assert tab.locator("#map img.ground").get_attribute("src") == "assets/ground/a.webp"
    assert "Contains modified Copernicus Sentinel data" in tab.inner_text("#map-box")
    assert not open_page("large/index.html").locator(".ground").count()


def test_the_counts_by_status_filter_the_list(small):
    tab = fresh_tab(small)
    tab.locator(".sum button", has_text="Too early").click()
    assert tab.locator("#rows .status").evaluate_all("all => all.every(one => one.className === 'status s-too_early')")
    assert tab.locator("#rows li").count() == 5


def test_the_map_draws_marks_of_every_status_and_outlines_when_near(open_page):
    tab = open_page("small/index.html")
    assert not [url for url in tab.requested if url.endswith("outlines.js")]
    far = tab.evaluate(DRAWN)
    assert sum(far.values()) > 1000
    tab.select_option("#by-status", label="Not taking hold")
    tab.fill("#q", "site-00000")
    until(tab, "typeof OUTLINES === 'object'")
    failing = "179,38,30"
    until(tab, f"({DRAWN})()['{failing}'] > 500")


def test_a_page_that_is_open_while_a_night_publishes_draws_each_site_in_its_own_place(root, open_page):
    rows = programme(SMALL)
    day = rows[0][1].as_of
    write_index(rows, [], root / "open", day, alpha=0.05)
    tab = open_page("open/index.html")
    last_first = [(site, replace(a, status=rows[-1 - k][1].status)) for k, (site, a) in enumerate(rows)]
    write_index(last_first[1:], [], root / "open", day, alpha=0.05)
    tab.fill("#q", "site-00007")
    until(tab, "typeof OUTLINES === 'object'")
    site = rows[7][0]
    lon, lat = tab.evaluate("OUTLINES.get('site-00007')[0].slice(0, 2)")
    assert site.geometry.buffer(1e-4).covers(Point(lon * 1e-5, lat * 1e-5))
    until(tab, f"Object.values(({DRAWN})()).reduce((a, b) => a + b, 0) > 400")
    tab.fill("#q", "site-00000")  # it is retired meanwhile
    tab.wait_for_timeout(300)
    assert tab.complaints == []


def test_a_click_on_a_site_opens_its_page(open_page):
    tab = open_page("small/index.html#q=site-00007")
    until(tab, "typeof OUTLINES === 'object'")
    tab.locator("#map").scroll_into_view_if_needed()
    box = tab.locator("#map").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait_for_url("**/sites/site-00007/index.html")


def test_the_map_is_used_by_keyboard_and_names_what_is_in_its_middle(open_page):
    tab = open_page("small/index.html")
    tab.locator("#map").focus()
    before = tab.locator("#near a").all_inner_texts()
    assert len(before) == 5
    near = "[...document.querySelectorAll('#near a')].map(one => one.innerText)"
    for _ in range(3):
        tab.keyboard.press("+")
        tab.wait_for_timeout(400)
    tab.keyboard.press("ArrowRight")
    until(tab, f"JSON.stringify({near}) !== JSON.stringify({json.dumps(before)})")
    assert tab.evaluate("document.activeElement.id") == "map"
    for _ in range(8):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.closest('#near') !== null"):
            break
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/sites/*/index.html")


def test_a_hostile_name_is_text_in_list_map_and_filters(small):
    tab = fresh_tab(small)
    tab.fill("#q", "{{7*7}}")
    until(tab, "document.querySelectorAll('#rows li').length === 1")
    assert names(tab)[0].startswith("<script>alert(1)</script>{{7*7}} Bcc:")
    assert tab.locator("#near a").inner_text().startswith("<script>alert(1)</script>{{7*7}} Bcc:")
    assert tab.locator("#by-manager option", has_text="<script>").count() == 1
    assert tab.locator("script").count() == 6  # Leaflet, sites, index, words, growth, and outlines once they are near
    assert "\u202e" not in tab.content()
    assert tab.complaints == []


def test_tiles_are_requested_only_where_the_settings_name_them(open_page, root):
    tab = open_page("tiled/index.html")
    for _ in range(200):
        if any(url.endswith(".png") for url in tab.requested):
            break
        tab.wait_for_timeout(50)
    tiles = {Path(unquote(urlsplit(url).path)).parents[2] for url in tab.requested if url.endswith(".png")}
    assert tiles == {root / "tiled/tiles"}
    assert tab.locator(".leaflet-control-attribution").inner_text() == "© <i>Example</i>"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_page_fits_a_phone_and_a_desk_and_asks_for_nothing_but_files_under_the_output_root(open_page, root, scripts):
    for page in PAGES:
        tab = open_page(page, width=360, scripts=scripts)
        for width in (360, 1280):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate(OUTSIDE.replace("'body *'", "'body *:not(#map *, .wide *)'")) == []  # .wide scrolls
            assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert all(url.startswith(root.as_uri()) for url in tab.requested)
        assert tab.complaints == []


def test_the_name_of_a_province_however_long_does_not_widen_the_page(root, open_page):
    rows = [(replace(site, province="x" * 300), a) for site, a in make_programme(501)]
    write_index(rows, [], root / "long", rows[0][1].as_of, alpha=0.05)
    for page in ("long/index.html", f"long/province/{folder_name('x' * 300)}/index.html"):
        tab = open_page(page, width=360, scripts=False)
        assert tab.evaluate("document.documentElement.scrollWidth") == 360


def test_the_name_of_a_site_however_long_widens_neither_the_page_nor_its_label_on_the_map(root, open_page):
    rows = [(replace(site, name="x" * 300), a) for site, a in make_programme(4)]
    write_index(rows, [], root / "long-names", rows[0][1].as_of, alpha=0.05)
    tab = open_page("long-names/index.html", width=1280)
    until(tab, "document.querySelector('#near a') && document.querySelector('#map .label')")
    assert tab.evaluate("document.documentElement.scrollWidth") == 1280
    assert tab.locator("#map .label span").first.bounding_box()["width"] <= 160


def test_axe_finds_nothing_by_day_and_in_the_colours_of_the_night(open_page, root):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for page in ("small/index", "large/index"):  # axe is a script itself: what a browser without scripts shows
        plain = re.sub("<script.*?</script>", "", (root / f"{page}.html").read_text(encoding="utf-8"), flags=re.DOTALL)
        (root / f"{page.replace('index', 'plain')}.html").write_text(plain, encoding="utf-8")
    pages = ["small/index.html", "small/index.zh.html", "small/nights.html", "small/plain.html", "large/plain.html"]
    for page in [*pages, "small/programme.html", "small/programme.zh.html", "large/province/gansu/index.html"]:
        tab = open_page(page, width=360)
        if "province" in page:  # a thousand rows are alike
            tab.evaluate("[...document.querySelectorAll('.rows li')].slice(40).forEach(row => row.remove())")
        assert violations(axe.Axe(), tab) == []


@pytest.mark.slow
def test_ten_thousand_sites_are_searched_and_shown_in_seconds(open_page, root):
    rows = programme(HUGE)
    write_index(rows, [], root / "huge", date(2021, 8, 20), alpha=0.05, growth=growth_of(rows))
    sizes = {
        name: (root / "huge" / name).stat().st_size for name in ("index.html", "assets/sites.js", "assets/growth.js")
    }
    assert sizes["index.html"] < 300_000
    assert sizes["assets/sites.js"] < 1_500_000
    assert sizes["assets/growth.js"] < 1_500_000
    began = time.monotonic()
    tab = open_page("huge/index.html", width=360)
    assert time.monotonic() - began < 20  # under 2 s on a quiet machine
    assert tab.locator("#count").inner_text() == "10,000 of 10,000 sites"
    assert tab.evaluate("document.querySelectorAll('*').length") < 5000
    assert not [url for url in tab.requested if url.endswith("outlines.js")]
    tab.fill("#q", "site-09999")
    until(tab, "document.querySelectorAll('#rows li').length === 1")
    tab.locator("#map-box summary").click()
    until(tab, "typeof OUTLINES === 'object'")
    tab.fill("#q", "")
    until(tab, "document.querySelectorAll('#rows li').length === 50")
    tab.click("#more")
    assert len(names(tab)) == 100


def test_a_large_programme_is_searched_and_shown_a_part_at_a_time(open_page):
    tab = open_page("large/index.html", width=360)
    assert tab.locator("#count").inner_text() == "900 of 900 sites"
    assert len(names(tab)) == 50
    tab.click("#more")
    assert len(names(tab)) == 100
    tab.fill("#q", "site-00899")
    until(tab, "document.querySelectorAll('#rows li').length === 1")


def test_on_paper_there_are_lists_and_no_controls(open_page):
    tab = open_page("small/index.html")
    tab.emulate_media(media="print")
    assert tab.locator("#finder, #more, #live").evaluate_all(
        "all => all.every(one => getComputedStyle(one).display === 'none')"
    )
    assert tab.locator("#rows li").first.is_visible()
    assert tab.locator(".map svg").is_visible()  # the one that moves is of no use on paper
    large = open_page("large/index.html#province=Gansu")
    assert len(names(large)) == 50
    large.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(names(large)) == 300
