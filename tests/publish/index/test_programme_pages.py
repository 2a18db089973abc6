"""The pages of the whole programme: what they say, what they never say, and how large they get."""

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from monitor.alerts.alert import AlertState, Verdict
from monitor.publish.index.basemap import Basemap
from monitor.publish.index.history import Changes, History, Night, Problem
from monitor.publish.index.locator import locator
from monitor.publish.index.page import programme_files
from monitor.publish.index.programme_view import ProgrammeView
from monitor.verdict.assessment import AlertLevel, Status
from tests import builders
from tests.builders import write_index
from tests.publish.conftest import HOSTILE_SITE, make_assessment, make_programme, make_site
from tests.publish.test_pages import Page

DAY = date(2021, 8, 20)
PROVINCES = ("Gansu", "Qinghai", "Ningxia", None)


def files_of(rows, **more):
    given = {"rows": rows, "alerts": {}, "as_of": DAY, "alpha": 0.05}
    return {name: content.decode() for name, content in programme_files(ProgrammeView(**(given | more))).items()}


def constant(script):
    """Value that a data script sets."""
    value = re.fullmatch(r"const \w+=(?:new Map\((.*)\)|(.*));\n", script, re.DOTALL)
    return dict(json.loads(value[1])) if value[1] else json.loads(value[2])


def column(script, name):
    sites = constant(script)
    return [row[sites["columns"].index(name)] for row in sites["rows"]]


@pytest.fixture(scope="module")
def large():
    """Two thousand sites in three provinces, and some without one."""
    rows = [
        (replace(site, province=PROVINCES[k % 4], partner=f"Partner {k % 7}", programme_year=2021), a)
        for k, (site, a) in enumerate(make_programme(2000))
    ]
    return rows, files_of(rows)


def test_few_sites_are_all_on_the_index_worst_first():
    rows = make_programme(30)
    files = files_of(rows)
    assert not [name for name in files if name.startswith("province/")]
    page = files["index.html"]
    order = re.findall(r'<li><div><span class="status s-(\w+)">', page)
    worst = [
        "failing", "disturbed", "lagging", "undecided", "insufficient_data", "too_early", "on_track", "recovered"
    ]  # fmt: skip
    assert len(order) == 30
    assert order == sorted(order, key=worst.index)
    assert page.count('href="sites/site-00000/index.html"') == 1
    assert f"at most {0.05 * 30:.3g} of these sites are expected ever to turn red falsely" in page


def judged(*names, **verdict):
    """Sites with a verdict each."""
    return [(make_site(name), make_assessment(name, **verdict)) for name in names]


def heading(rows, **more):
    files = files_of(rows, **more)
    return [re.search("<h1>(.*?)</h1>", files[name])[1] for name in ("index.html", "index.zh.html")]


def test_the_headline_is_a_finding():
    quiet = judged("s2", status=Status.ON_TRACK, alert=AlertLevel.NONE)
    assert heading(judged("s0", "s1") + quiet) == [
        "1 of 3 sites are taking hold; 2 need someone there", "3 个地块中 1 个符合规划；2 个须有人到现场"
    ]  # fmt: skip
    assert heading(quiet) == ["1 of 1 site is taking hold", "1 个地块中 1 个符合规划"]
    answered = builders.alert("s0", opened=date(2021, 8, 1), state=AlertState.RESOLVED, answer=Verdict.TREATED)
    assert heading(judged("s0") + quiet, alerts={"s0": answered})[0] == "1 of 2 sites are taking hold"


def test_a_row_says_what_is_known_and_how_long_an_alert_is_open():
    start, none = date(2020, 4, 1), {"alert": AlertLevel.NONE, "alert_rule": None}
    known = [
        ("a", {"theta": 0.08}, "Not taking hold: 8% of plan, −7% to 23% · 48.3 ha",
         "未见成效：完成规划的 8%（−7% 至 23%） · 724 亩"),
        ("b", {"theta": -0.02}, "Not taking hold: at most 23% of plan", "至多完成规划的 23%"),
        ("c", {"theta": -0.4, "theta_low": -0.7, "theta_high": -0.1}, "nothing of the plan", "规划增量尚未出现"),
        ("d", {"status": Status.DISTURBED, "loss_from": 0.23, "loss_to": 0.05, "loss_on": date(2021, 6, 30)},
         "Disturbed: +23 → +5 points since 30 June 2021", "2021年6月30日起 +23 → +5 个百分点"),
        ("e", {"status": Status.INSUFFICIENT_DATA, **none}, "Cannot tell: last seen 12 August 2021", "2021年8月12日"),
        ("f", {"status": Status.TOO_EARLY, **none}, "Too early to say: begun April 2020; 8% of plan, −7% to 23%",
         "2020年4月开工；完成规划的 8%"),
    ]  # fmt: skip
    rows = [(make_site(name, start=start), make_assessment(name, **values)) for name, values, _, _ in known]
    files = files_of(rows, alerts={"a": builders.alert("a", opened=date(2021, 4, 14))})
    english, chinese = (Page(files[name]).text for name in ("index.html", "index.zh.html"))
    for _, _, words, zh in known:
        assert words in english
        assert zh in chinese
    assert "Red alert, 128 days open" in english
    assert "红色警报，已 128 天" in chinese


def test_an_alert_held_by_an_earlier_promise_is_not_called_one_without_new_evidence():
    rows = judged("a-1", status=Status.ON_TRACK, alert=AlertLevel.NONE, alert_rule=None)
    files = files_of(rows, alerts={"a-1": builders.alert("a-1", opened=DAY, promise=1)})
    assert "still open, by the promise before" in files["index.html"]
    assert "仍未解除，按原承诺判断" in files["index.zh.html"]


def test_many_sites_have_a_page_a_province_and_each_site_is_on_exactly_one(large):
    rows, files = large
    pages = {name: content for name, content in files.items() if name.startswith("province/")}
    assert {name.split("/")[1] for name in pages} == {"gansu", "qinghai", "ningxia", "~none"}
    links = Counter(
        link
        for name, content in pages.items()
        if not name.endswith(".zh.html")
        for link in re.findall(r'href="(../../sites/[^"]*)"', content)
    )
    assert links == Counter(f"../../sites/{site.id}/index.html" for site, _ in rows)
    index = Page(files["index.html"])
    assert {link for link in index.values("href") if link.startswith("province/")} == {
        f"province/{name}/index.html" for name in ("gansu", "qinghai", "ningxia", "~none")
    }
    assert len(files["index.html"]) < 200_000
    assert max(map(len, pages.values())) < 400_000


def test_a_large_province_has_several_pages_that_lead_to_each_other():
    rows = [(replace(site, province="Gansu"), a) for site, a in make_programme(2400)]
    files = files_of(rows)
    english = [f"province/gansu/{name}" for name in ("index.html", "page-2.html", "page-3.html")]
    assert [name for name in files if name.startswith("province/") and ".zh." not in name] == english
    shown = [re.findall(r"sites/(site-\d+)/", files[name]) for name in english]
    assert [len(one) for one in shown] == [1000, 1000, 400]
    links = [link for link in Page(files[english[1]]).values("href") if link.startswith(("page-", "index."))]
    assert links[:2] == ["page-2.zh.html", "index.html"]
    assert "page-3.html" in links


def test_pages_of_a_province_that_has_no_sites_any_more_are_removed(large, tmp_path):
    rows, _ = large
    write_index(rows, [], tmp_path, DAY, alpha=0.05)
    assert (tmp_path / "province/gansu/index.zh.html").is_file()
    write_index([(replace(site, province="Shaanxi"), a) for site, a in rows[:600]], [], tmp_path, DAY, alpha=0.05)
    assert [path.name for path in (tmp_path / "province").iterdir()] == ["shaanxi"]


@pytest.mark.parametrize("status", [Status.UNDECIDED, Status.INSUFFICIENT_DATA, Status.TOO_EARLY])
def test_a_site_that_cannot_be_judged_shows_no_share_of_the_plan(status):
    none = {"alert": AlertLevel.NONE, "alert_rule": None, "probability": None}
    files = files_of(judged("a", status=status, theta=1.26, uplift=0.36, **none))
    hidden = status is Status.INSUFFICIENT_DATA
    assert ("126%" in files["index.html"]) != hidden
    assert column(files["assets/sites.js"], "theta") == [None if hidden else 126]


def test_names_of_managers_are_published_where_a_setting_says_so_and_their_mail_and_telephone_nowhere():
    names = ("Li Ming, +86 139 1234 5678", "王芳 (wang.fang@example.org)", "13912345678", "Bao (0931-8765432)")
    rows = [
        (
            make_site(f"s{k}", manager_name=name, manager_email=f"secret{k}@example.org", manager_channel="ops-room"),
            make_assessment(f"s{k}"),
        )
        for k, name in enumerate(names)
    ]
    for manager_names, listed in ((True, ["Li Ming", "王芳", "Bao"]), (False, [])):
        files = files_of(rows, manager_names=manager_names)
        assert constant(files["assets/sites.js"])["lists"]["manager"] == listed
        everything = "".join(content for name, content in files.items() if "leaflet" not in name)
        for secret in ("@example.org", "5678", "8765432", "secret0", "ops-room"):
            assert secret not in everything
        assert any(name in everything for name in ("Li Ming", "王芳", "Bao")) == manager_names


def test_hostile_texts_are_shown_and_end_no_element_and_no_line_of_a_script():
    a = make_assessment(HOSTILE_SITE.id, reasons=())
    site = replace(HOSTILE_SITE, programme_year=2021, name=HOSTILE_SITE.name + "\u2028</script>", partner="</script>")
    night = Night(
        day=DAY, started=datetime(2021, 8, 20, 2, tzinfo=UTC), status=10, failed=1,
        problems=(Problem(state="failed", reason="<script>alert(1)</script>", sites=(site.id,), n_sites=1),),
    )  # fmt: skip
    notice = dict.fromkeys(("en", "zh"), HOSTILE_SITE.name)
    changes = Changes(
        since=DAY, before={site.id: "on_track"}, retired=(dict.fromkeys(("en", "zh"), "<script>alert(2)</script>"),)
    )
    files = files_of([(site, a)], notice=notice, history=History(nights=(night,), changes=changes))
    for name, content in files.items():
        if name.endswith(".html"):
            page = Page(content)
            scripts = [attrs for tag, attrs in page.elements if tag == "script"]
            assert all("src" in attrs or attrs.get("type") == "application/json" for attrs in scripts)
            assert not {"img", "iframe", "object"} & {tag for tag, _ in page.elements}
            assert not [attr for _, attrs in page.elements for attr in attrs if attr.startswith("on")]
            assert not [v for v in (*page.values("href"), *page.values("src")) if re.match(r"\w+:|//", v)]
            assert "<script>alert(1)</script>" in page.text
        if name == "assets/sites.js":
            assert "<" not in content
            assert not re.search("[\u202e\u2028\u2029\r]", content)
            assert column(content, "name")[0].startswith("<script>alert(1)</script>{{7*7}} Bcc:")


def test_outlines_are_those_of_the_sites_to_a_fiftieth_of_their_size():
    square = box(106.0, 40.0, 106.02, 40.01)
    holed = box(100.0, 39.0, 100.02, 39.02).difference(box(100.005, 39.005, 100.01, 39.01))
    shapes = {"__proto__": square, "b": holed}
    rows = [(make_site(name, geometry=shape), make_assessment(name)) for name, shape in shapes.items()]
    files = files_of(rows)
    outlines = constant(files["assets/outlines.js"])
    first, second = outlines["__proto__"], outlines["b"]
    assert len(first) == 1
    assert len(second) == 2
    corners, at = set(), [0, 0]
    for k in range(0, len(first[0]), 2):
        at = [at[0] + first[0][k], at[1] + first[0][k + 1]]
        corners.add(tuple(at))
    assert corners == {
        (10_600_000, 4_000_000), (10_602_000, 4_000_000), (10_602_000, 4_001_000), (10_600_000, 4_001_000)
    }  # fmt: skip
    assert column(files["assets/sites.js"], "size") == [pytest.approx(1704, abs=2), pytest.approx(2224, abs=2)]


def test_outlines_are_the_same_file_whatever_the_sites_are_judged():
    def outlines(a, b):
        return files_of(judged("a", status=a) + judged("b", status=b))["assets/outlines.js"]

    assert outlines(Status.FAILING, Status.ON_TRACK) == outlines(Status.ON_TRACK, Status.FAILING)


def test_an_outline_of_very_many_points_is_drawn_with_few():
    angles = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    radii = 0.05 * (1 + 0.1 * np.sin(400 * angles) + 0.01 * np.sin(9000 * angles))
    ragged = Polygon(np.column_stack([103 + radii * np.cos(angles), 38 + radii * np.sin(angles)]))
    files = files_of([(make_site("a", geometry=ragged), make_assessment("a"))])
    assert len(files["index.html"]) < 80_000
    assert len(files["assets/outlines.js"]) < 20_000


def test_a_province_spelt_in_two_ways_is_one_choice_and_one_list():
    rows = [(replace(site, province=("Gansu", "GANSU ")[k % 2]), a) for k, (site, a) in enumerate(make_programme(600))]
    files = files_of(rows)
    (spelt,) = constant(files["assets/sites.js"])["lists"]["province"]
    assert {name.split("/")[1] for name in files if name.startswith("province/")} == {"gansu"}
    assert spelt in Page(files["index.html"]).text


def test_the_index_leads_to_every_table():
    links = Page(files_of(judged("a"))["index.html"]).values("href")
    assert {"status.json", "sites.parquet", "catalog.json"} <= set(links)


def test_what_changed_lately_is_said_in_words():
    rows = [(make_site(name, name=f"Plot {name}", name_zh="老地块"), make_assessment(name)) for name in "abc"]
    loss = {"loss_on": date(2021, 6, 30), "loss_confirmed_on": date(2021, 8, 2)}
    rows.append((make_site("d", name="Burnt"), make_assessment("d", status=Status.DISTURBED, **loss)))
    changes = Changes(
        since=date(2021, 7, 20), before={"a": "undecided", "d": "on_track"}, new=("c",),
        retired=({"en": "Old plot", "zh": "旧地块"},), replanted=(("b", date(2021, 8, 18)),),
    )  # fmt: skip
    history = History(changes=changes, unseen=("b",), last_success=date(2021, 8, 18), silence_days=45)
    files = files_of(rows, history=history)
    english, chinese = (" ".join(Page(files[name]).text.split()) for name in ("index.html", "index.zh.html"))
    for words in (
        "Since 20 July: Plot a: Undecided → Not taking hold.",
        "Burnt lost what it had grown (30 June, confirmed 2 August).",
        "New: Plot c.", "Replanted: Plot b, from 18 August 2021.", "Retired: Old plot. No other status changed.",
        "4 red alerts have no answer. 1 site has not been seen for 45 days of the growing season.",
    ):  # fmt: skip
        assert words in english
    for words in (
        "自7月20日以来：老地块：尚难判定 → 未见成效。Burnt 植被突然受损（6月30日，8月2日证实）。",
        "补植：老地块，起始日 2021年8月18日", "停止监测：旧地块。", "4 条红色警报尚未答复。",
    ):  # fmt: skip
        assert words in chinese
    quiet = Page(files_of(rows, history=History(changes=Changes(since=DAY)))["index.html"]).text
    assert "no status changed." in quiet
    assert "The first night" in Page(files_of(rows)["index.html"]).text


def test_many_changes_are_counted_and_not_all_named():
    rows = make_programme(90)
    changes = Changes(since=DAY, new=tuple(site.id for site, _ in rows))
    text = Page(files_of(rows, history=History(changes=changes))["index.html"]).text
    assert "and 84 more" in text


NIGHTS = (
    Night(day=DAY, started=datetime(2021, 8, 20, 2, 5, tzinfo=UTC), status=10, done=8, failed=1, deferred=1, scenes=3,
          sent=2, waiting=0, seconds=3725.0,
          problems=(Problem(state="failed", reason="store is broken", sites=("a", "gone"), n_sites=12),)),
    Night(day=date(2021, 8, 19), started=datetime(2021, 8, 19, 2, tzinfo=UTC), status=78, error="no such collection"),
    Night(day=date(2021, 8, 18), started=datetime(2021, 8, 18, 2, tzinfo=UTC), status=None),
    Night(day=date(2021, 8, 17), started=datetime(2021, 8, 17, 2, tzinfo=UTC), status=0, done=10, failed=0, deferred=0,
          scenes=0, sent=0, waiting=0, seconds=31.0),
)  # fmt: skip


def test_the_last_nights_say_how_they_ended_and_why():
    files = files_of(judged("a"), history=History(nights=NIGHTS, last_success=NIGHTS[3].day))
    english, chinese = (Page(files[name]) for name in ("nights.html", "nights.zh.html"))
    text = " ".join(english.text.split())
    for words in (
        "20 August 2021started 20 August 2021, 02:05 UTC",
        "Some sites failedexit status 10 8 / 1 / 1 3 2 / 0 1 h 2 min",
        "Failed, 12 sites (a, gone, …): store is broken", "Stopped: the settings are wrongexit status 78 – / – / –",
        "no such collection", "Ended without saying why", "All done 10 / 0 / 0", "under 1 min",
        "The last night without any failure: 17 August 2021. Not listed",
    ):  # fmt: skip
        assert words in text
    assert "失败，12 个地块（a、gone等）：store is broken" in " ".join(chinese.text.split())
    assert english.values("href").count("sites/a/index.html") == 1
    assert "nights.zh.html" in english.values("href")
    assert "nights.html" in Page(files["index.html"]).values("href")


def test_tiles_are_named_only_where_the_settings_do():
    rows = judged("a")
    plain = files_of(rows)["index.html"]
    assert "https:" not in plain
    tiles = Basemap(url="https://{s}.tiles.example.org:8443/{z}/{x}/{y}.png", attribution="© <b>Example</b>")
    page = files_of(rows, basemap=tiles)["index.html"]
    assert "img-src 'self' file: data: https://*.tiles.example.org:8443;" in page
    assert '"credit":"© \\u003cb>Example\\u003c/b>"' in page
    beside = files_of(rows, basemap=Basemap(url="tiles/{z}/{x}/{-y}.png"))["index.html"]
    assert "img-src 'self' file: data:;" in beside


@pytest.mark.parametrize(("url", "words"), [
    ("https://tiles.example.org/{z}/{x}.png", "needs {y}"),
    ("http://tiles.example.org/{z}/{x}/{y}.png", "https"),
    ("javascript:alert({z}{x}{y})", "https"),
    ("//tiles.example.org/{z}/{x}/{y}.png", "relative"),
    ("/tiles/{z}/{x}/{y}.png", "relative"),
    ("https://user:word@tiles.example.org/{z}/{x}/{y}.png", "user"),
    ("https://tiles.example.org/{z}/{x}/{y}.png;script-src *", "semicolons"),
    ("https://a'b.example.org/{z}/{x}/{y}", "quotes"),
    ("https://tiles.example.org/{z}/{x}/{y}?k={key}", "{key}"),
    ("file:///srv/{z}/{x}/{y}.png", "https"),
])  # fmt: skip
def test_an_invalid_template_is_refused(url, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Basemap(url=url)


def test_far_sites_are_marks_and_near_ones_outlines():
    near = [(make_site("a", geometry=box(106.0, 40.0, 106.01, 40.01)), "failing")]
    far = [*near, (make_site("b", geometry=box(96.0, 34.0, 96.01, 34.01)), "on_track")]
    assert len(locator(near)["places"]) == 1
    assert [status for status, _ in locator(near)["marks"]] == ["failing"]  # so that colour is not needed
    assert [status for status, _ in locator(far)["marks"]] == ["on_track", "failing"]
    assert locator([]) is None


def test_the_scale_bar_is_true():
    half_degree = [(make_site("a", geometry=box(100.0, 39.75, 100.1, 40.25)), "failing")]
    drawing = locator(half_degree)
    parallels = {label: y for y, label in drawing["parallels"]}
    pixels_a_degree = (parallels["40.0° N"] - parallels["40.2° N"]) / 0.2
    assert drawing["bar"][0] / pixels_a_degree * 111.2 == pytest.approx(float(drawing["bar"][1].split()[0]), rel=0.01)
