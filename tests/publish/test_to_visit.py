"""The sites to visit first, on page, in JSON and as a table; where there are too few sites, nothing."""

import csv
import io
import json

import numpy as np
import pytest

from jobs.pages.programme_tables import print_account
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import account_json, visit_csv, write_account
from monitor.publish.programme_page import account_page
from monitor.verdict.assessment import assessment_to_json
from monitor.verdict.programme_list import ProgrammePosterior
from tests.publish.conftest import AS_OF, make_assessment, make_site

ABOVE = np.array([0.02, 0.98, 0.06, 0.95])


def make_account(posterior, name="Dune"):
    sites = [
        make_site(site, name=f"{name} {site}", at=(106 + k / 10, 40.0), partner=name if k else None, province="甘肃")
        for k, site in enumerate("abcd")
    ]
    latest = {site.id: assessment_to_json(make_assessment(site.id)) for site in sites}
    return programme_account(
        sites, latest, pledge=None, alpha=0.05, posterior=posterior, more={"lots": [], "precision": []}
    )


@pytest.fixture(scope="module")
def posterior():
    return ProgrammePosterior(sites=tuple("abcd"), above=ABOVE, failing=np.tile(1 - ABOVE, (3, 1)))


def test_the_likeliest_failures_come_first_with_their_hectares_and_how_many_may_be_wrong(posterior):
    summary = make_account(posterior).summary
    assert [row["site"] for row in summary["to_visit"]["sites"]] == ["a", "c"]
    assert [row["probability"] for row in summary["to_visit"]["sites"]] == [0.98, 0.94]
    assert summary["to_visit"]["sites"][0]["hectares"] == 48.26
    assert summary["to_visit"]["share_wrong"] == pytest.approx(0.04)
    whole, biome, *partners = summary["failing_share"]
    assert (whole["by"], whole["value"], biome["value"]) == ("programme", None, "loess")
    assert whole["share"] == pytest.approx((4 - ABOVE.sum()) / 4)
    assert whole["low"] < whole["share"] < whole["high"]
    assert [(row["by"], row["value"]) for row in partners] == [("partner", "Dune"), ("partner", None)]


def test_the_list_raises_no_alert_and_changes_no_status(posterior):
    with_list, without = make_account(posterior), make_account(None)
    assert [member.assessment for member in with_list.sites] == [member.assessment for member in without.sites]
    for name in set(without.summary) - {"to_visit", "failing_share"}:
        assert with_list.summary[name] == without.summary[name]


def test_page_table_and_command_show_the_list_in_both_languages(posterior, capsys, tmp_path):
    account = make_account(posterior)
    en, zh = (account_page(account, language, as_of=AS_OF) for language in ("en", "zh"))
    assert "Visit these first" in en
    assert "About 4% of the sites on this list may be on it wrongly" in en
    assert "优先查看" in zh
    assert "约 4% 的地块可能是误列" in zh
    assert "sites/a/index.html" in en
    rows = list(csv.DictReader(io.StringIO(visit_csv(account).decode("utf-8-sig"))))
    assert [(row["site"], row["status"], row["province"]) for row in rows] == [
        ("a", "failing", "甘肃"),
        ("c", "failing", "甘肃"),
    ]
    assert float(rows[0]["longitude"]) == pytest.approx(106.0, abs=0.02)
    print_account(account.summary)
    assert "advice, not an alert" in capsys.readouterr().out
    write_account(account, tmp_path, as_of=AS_OF)
    assert (tmp_path / "visit-first.csv").read_bytes() == visit_csv(account)


def test_a_programme_of_few_sites_has_no_list_and_says_nothing_of_it():
    account = make_account(None)
    assert account.summary["to_visit"] == {"sites": [], "share_wrong": None}
    assert account.summary["failing_share"] == []
    assert "Visit these first" not in account_page(account, "en", as_of=AS_OF)
    assert visit_csv(account).count(b"\n") == 1
    json.loads(account_json(account))


def test_where_no_site_is_likely_enough_the_share_is_still_stated():
    above = np.full(4, 0.9)
    account = make_account(ProgrammePosterior(sites=tuple("abcd"), above=above, failing=np.full((3, 4), 0.1)))
    assert account.summary["to_visit"] == {"sites": [], "share_wrong": None}
    page = account_page(account, "en", as_of=AS_OF)
    assert "No site is likely enough to fail" in page
    assert "10% <span" in page


def test_names_that_people_wrote_stay_text(posterior):
    name = "=cmd|'/C calc'!A0<script>alert(1)</script>"
    account = make_account(posterior, name=name)
    assert "<script>alert" not in account_page(account, "en", as_of=AS_OF)
    rows = csv.reader(io.StringIO(visit_csv(account).decode("utf-8-sig")))
    assert not any(cell.startswith("=") for row in rows for cell in row)
