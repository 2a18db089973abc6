"""The account as files: what a reader, a spreadsheet and a GIS find in them, whatever people wrote as names."""

import csv
import io
import json
import re
from dataclasses import replace
from urllib.parse import quote

import geopandas as gpd
import pytest
import shapely
from shapely.geometry import box

from monitor.publish.period import taking_hold
from monitor.publish.period_view import STATUS_WORDS
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import account_csv, account_geojson, write_account, write_period
from monitor.publish.programme_page import account_page
from monitor.publish.statuses import SIDES
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.names import folder_name
from monitor.verdict.assessment import AlertLevel, Status, assessment_to_json
from tests.publish.conftest import AS_OF, make_assessment, make_site, make_undecided
from tests.publish.moved import moved
from tests.publish.test_hostile import HOSTILE

FILES = (
    "programme.html", "programme.zh.html", "programme.csv", "programme.json", "programme.geojson", "visit-first.csv",
    "programme-moves.csv",
)  # fmt: skip


def make_account(text=None, *, pledge=2_000.0):
    """Eleven sites of a kilometre, one of each fate, and one on half of the first; a name may be given to all."""
    fates = [*Status, "no_loss", "not_assessed", "twice", "suspected"]
    sites, latest = [], {}
    for n, fate in enumerate(fates):
        x = 106.0 + (0.0045 if fate == "twice" else 0.02 * n)
        outline = box(x, 40.0, x + 0.009, 40.009)
        name = f"{text}{n}" if text else f"地块 {n}"
        site = make_site(
            name, name=name, geometry=outline, hectares=geodesic_hectares(outline), province=text or "甘肃",
            partner=text or ("绿洲" if n % 2 else "Loess Cooperative"), programme_year=2021, manager_name="Li",
            manager_email="li@example.org",
        )  # fmt: skip
        if fate == "no_loss":
            site = replace(site, plan=replace(site.plan, A=0.0), intervention="tending")
        sites.append(site)
        status = {"no_loss": Status.ON_TRACK, "twice": Status.ON_TRACK, "suspected": Status.DISTURBED}.get(fate, fate)
        sure = 0.5 if fate == "suspected" else 0.95
        if fate == Status.UNDECIDED:
            latest[name] = assessment_to_json(make_undecided(name))
        elif fate != "not_assessed":
            reasons = ("FEW_SCENES",) if fate == Status.INSUFFICIENT_DATA else ()
            none = dict.fromkeys(("p_failing", "p_lagging", "p_on_track")) if fate == "no_loss" else {}
            a = make_assessment(
                name, status=status, reasons=reasons, alert=AlertLevel.NONE, alert_rule=None, probability=sure, **none
            )
            latest[name] = assessment_to_json(a)
    return programme_account(sites, latest, pledge=pledge, alpha=0.05, more={"lots": [], "precision": []})


@pytest.fixture(scope="module")
def account():
    return make_account()


def rows_of(account):
    return list(csv.DictReader(io.StringIO(account_csv(account).decode("utf-8-sig"), newline="")))


def features_of(account):
    return json.loads(account_geojson(account))["features"]


def headings(page):
    return re.findall(r"<h2 id=[^>]*>(.*?)</h2>", page)


def test_the_page_begins_with_a_finding_and_what_changed_and_says_what_is_unknown(account):
    period = moved(account, AS_OF)
    grown = taking_hold(period.closing)
    total = account.summary["total_hectares"]
    page = account_page(account, "en", as_of=AS_OF, period=period)
    finding = f"{grown:,.0f} of {total:,.0f} ha are taking hold, {grown:,.0f} ha more than at New Year"
    assert re.search(r"<h1>(.*?)</h1>", page)[1] == finding
    assert headings(page)[:7] == [
        "Hectares by status at the end of each month", "Taking hold: account for 2021, to 20 August 2021",
        "Account by year", "What changed in August 2021", "By lot", "Unknown today, and why",
        "What the probabilities expect",
    ]  # fmt: skip
    unknown = page[page.index("Unknown today, and why") : page.index('id="chances"')]
    for status in SIDES["unknown"]:
        assert STATUS_WORDS[status]["en"] in unknown
    assert "Fewer than three usable scenes" in unknown
    zh = account_page(account, "zh", as_of=AS_OF, period=period)
    assert len(headings(zh)) == len(headings(page))
    assert "2021年8月20日" in zh
    assert not [text for text in headings(zh) if text.isascii()]
    assert f"{15 * grown:,.0f} 亩（{grown:,.0f} 公顷）见效" in zh


def test_every_status_with_hectares_is_a_layer_of_the_drawing_with_its_name_and_hectares(account):
    period = moved(account, AS_OF)
    page = account_page(account, "en", as_of=AS_OF, period=period)
    layers = dict(re.findall(r"<title>(.*?) ([\d,.]+)</title>", page[: page.index('id="account"')]))
    shown = {name: float(hectares.replace(",", "")) for name, hectares in layers.items()}
    closing = {STATUS_WORDS[status]["en"]: hectares for status, hectares in period.closing.items() if hectares}
    assert shown == pytest.approx(closing, abs=0.5)


def test_only_what_is_taking_hold_is_compared_with_the_path(account):
    period = moved(account, AS_OF, {2020: 0.0, 2021: 900.0})
    grown, target = taking_hold(period.closing), 900 * 232 / 365
    page = account_page(account, "en", as_of=AS_OF, period=period)
    title = f"{grown:,.0f} ha are taking hold: {target - grown:,.0f} ha behind the path to the pledge"
    assert re.search(r"<h1>(.*?)</h1>", page)[1] == title
    assert 'class="pl"' in page
    assert f"−{target - grown:,.0f}" in page
    ahead = account_page(account, "zh", as_of=AS_OF, period=moved(account, AS_OF, {2020: 0.0}))
    assert "超前于承诺进度" in ahead


def test_all_tables_of_the_page_come_to_the_ground_of_the_union(account):
    union = geodesic_hectares(shapely.union_all([member.site.geometry for member in account.sites]))
    assert account.summary["total_hectares"] == pytest.approx(union, abs=0.01)
    assert sum(moved(account, AS_OF).closing.values()) == pytest.approx(union, abs=0.01)
    rows = rows_of(account)
    for by in ("programme", "province", "intervention", "partner", "lot", "programme_year"):
        chosen = [row for row in rows if row["by"] == by]
        assert sum(float(row["total_hectares"]) for row in chosen) == pytest.approx(union, abs=0.01), by
        statuses = sum(float(row[status]) for row in chosen for status in account.summary["hectares"])
        assert statuses == pytest.approx(union, abs=0.01), by
    counted = [one["properties"]["counted_hectares"] for one in features_of(account)[:-1]]
    assert sum(counted) == pytest.approx(union, abs=0.01)


def test_a_pair_on_the_same_ground_is_in_page_table_json_and_map(account):
    (claim,) = account.summary["double_registrations"]
    assert claim["kind"] == "OVERLAP"
    assert claim["across_partners"] is False
    assert claim["share_of_smaller"] == pytest.approx(0.5, abs=1e-6)
    row = rows_of(account)[-1]
    assert (row["by"], row["site"], row["other_site"]) == ("double_registration", "地块 0", "地块 10")
    assert float(row["shared_hectares"]) == pytest.approx(claim["hectares"], abs=1e-6)
    assert row["total_hectares"] == ""
    ground = features_of(account)[-1]
    assert ground["properties"]["feature"] == "shared_ground"
    assert geodesic_hectares(shapely.geometry.shape(ground["geometry"])) == pytest.approx(claim["hectares"], abs=1e-4)
    page = account_page(account, "en", as_of=AS_OF)
    assert "1 pair of sites claims the same ground" in page
    assert f'href="sites/{quote(folder_name(claim["site"]))}/index.html"' in page


def test_sites_without_a_finding_have_no_probability_on_the_map(account):
    chances = {one["properties"]["status"]: one["properties"]["p_failing"] for one in features_of(account)[:-1]}
    assert {status for status, chance in chances.items() if chance is None} == {
        "no_loss_seen", "disturbed", "loss_suspected", "too_early", "insufficient_data", "not_assessed",
    }  # fmt: skip


def test_the_map_is_rfc_7946(account, tmp_path):
    document = json.loads(account_geojson(account))
    assert set(document) == {"type", "features"}  # no crs
    for feature in document["features"]:
        assert set(feature) == {"type", "properties", "geometry"}
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
        assert shapely.is_ccw(shapely.geometry.shape(feature["geometry"]).exterior)
    path = tmp_path / "programme.geojson"
    path.write_bytes(account_geojson(account))
    table = gpd.read_file(path)
    assert table.crs.to_epsg() == 4326
    assert table["site"].tolist()[:2] == ["地块 0", "地块 1"]
    assert table["province"].tolist()[0] == "甘肃"


def test_the_page_names_lots_also_before_they_are_judged_and_says_how_old_verdicts_are(account):
    page = account_page(account, "zh", as_of=AS_OF)
    assert "<bdi>绿洲，2021，" in page
    assert "早于该日" not in page
    later = account_page(account, "en", as_of=AS_OF.replace(day=30))
    judged = [member for member in account.sites if member.assessment]
    assert f"That of {len(judged)} sites, " in later
    assert "the oldest of 20 August 2021." in later


def test_what_has_not_changed_is_not_written_again(account, tmp_path):
    write_account(account, tmp_path, as_of=AS_OF, period=moved(account, AS_OF))
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    before = {path: path.stat().st_ino for path in tmp_path.iterdir()}  # a file that is replaced is another one
    write_account(account, tmp_path, as_of=AS_OF, period=moved(account, AS_OF))
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before


def test_a_programme_without_sites_or_pledge_has_an_account_too(tmp_path):
    empty = programme_account([], {}, pledge=None, alpha=0.05, more={"lots": [], "precision": []})
    write_account(empty, tmp_path, as_of=AS_OF)
    assert "The account of hectares" in (tmp_path / "programme.html").read_text(encoding="utf-8")
    write_period(moved(empty, AS_OF), tmp_path, pledge=None)
    page = tmp_path / "programme-2021-01-01-2021-08-20.html"
    assert "No pledge is stated" in page.read_text(encoding="utf-8")
    assert gpd.read_file(tmp_path / "programme.geojson").empty
    assert [row["by"] for row in rows_of(empty)] == ["programme"]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[1:24])
def test_names_are_inert_in_every_file_and_addresses_of_managers_in_none(text, tmp_path):
    account = make_account(text)
    write_account(account, tmp_path, as_of=AS_OF, period=moved(account, AS_OF))
    assert json.loads((tmp_path / "programme.json").read_bytes())["groups"][0]["value"] == text
    assert features_of(account)[0]["properties"]["partner"] == text
    rows = rows_of(account)
    assert {row["value"].removeprefix("'") for row in rows if row["by"] == "partner"} == {text}
    moves = csv.DictReader(io.StringIO((tmp_path / "programme-moves.csv").read_text(encoding="utf-8-sig"), newline=""))
    for row in (*rows, *moves):
        assert not [cell for cell in row.values() if cell[:1] in set("=+-@＝＋－＠\t\r\n") and cell[:1]]
    for name in ("programme.html", "programme.zh.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script" not in page
        assert "\u202e" not in page
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert not [path for path in tmp_path.iterdir() if b"li@example.org" in path.read_bytes()]
