"""What a manager is sent: complete, in their language, the same each time, and nothing a name can break."""

import email
import json
import math
from dataclasses import replace
from datetime import date
from email.policy import default

import pytest
from shapely.geometry import box

from monitor.alerts.alert import Alert, AlertEvent, AlertState, Notice
from monitor.alerts.messages import compose_mail, message_to_json, write_message
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status

HOSTILE = "<script>alert(1)</script>{{7*7}}\r\nBcc: all@example.org\u202egnp.exe"


def site(**more) -> Site:
    given = {
        "id": "ulan-03", "name": "Ulan Buh, plot 3", "geometry": box(106.9, 40.1, 106.91, 40.11),
        "start": date(2017, 4, 1), "intervention": "planting", "biome": "loess",
        "plan": Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5), "hectares": 94.6, "manager_name": "Li Na",
    }  # fmt: skip
    return Site(**(given | more))


def assessment(**more) -> Assessment:
    given = {
        "site": "ulan-03", "as_of": date(2021, 8, 20), "last_observed": date(2021, 8, 12), "status": Status.FAILING,
        "probability": 0.97, "alert": AlertLevel.RED, "alert_rule": "failure", "theta": 0.08, "theta_low": -0.07,
        "theta_high": 0.23, "uplift": 0.023, "uplift_low": -0.02, "uplift_high": 0.066, "expected": 0.289,
        "cover": 0.21, "control_cover": 0.19, "e_failure": 412.7, "n_scenes": 78, "n_pre": 24,
        "reasons": ("LOW_UPLIFT",), "hectares": 94.6, "hectares_failing": None,
    }  # fmt: skip
    return Assessment(**(given | more))


def notice(
    event: AlertEvent = AlertEvent.OPENED, number: int = 1, site_id: str = "ulan-03", rule: str = "failure"
) -> Notice:
    alert = Alert(
        id=f"{site_id}/2021-08-20", site=site_id, level=AlertLevel.RED, rule=rule, state=AlertState.OPEN,
        opened=date(2021, 8, 20), updated=date(2021, 8, 20),
    )  # fmt: skip
    return Notice(id=f"{alert.id}/{number}", alert=alert, event=event, day=date(2021, 8, 20))


def read(message) -> tuple[email.message.EmailMessage, str, str]:
    """A message as its recipient's program reads it: headers, plain text, HTML."""
    got = email.message_from_bytes(message.as_bytes(), policy=default)
    return got, got.get_body(["plain"]).get_content(), got.get_body(["html"]).get_content()


@pytest.mark.parametrize("form", ["plain", "html"])
def test_a_message_says_which_site_what_was_found_how_sure_what_was_expected_what_next_and_where(form):
    _, plain, html = read(compose_mail(notice(), site(), assessment()))
    text = plain if form == "plain" else html
    for said in ("Ulan Buh, plot 3", "ulan-03", "Not taking hold", "97%", "8%", "−7%", "23%", "+29", "Walk the site",
                 "40.10500, 106.90500", "sites/ulan-03/index.html", "12 August 2021", "Li Na"):  # fmt: skip
        assert said in text


def test_a_chinese_manager_is_written_to_in_chinese():
    got, plain, html = read(compose_mail(notice(), site(name="乌兰布和三号", manager_language="zh"), assessment()))
    assert got["Subject"] == "[红色警报] 乌兰布和三号：植被未恢复"
    assert got["Content-Language"] == "zh-Hans"
    assert "请到现场查看" in plain
    assert "规划预期到目前为 +29 个百分点" in plain
    assert "sites/ulan-03/index.zh.html" in plain
    assert '<html lang="zh-Hans">' in html
    assert "What" not in plain


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (AlertEvent.OPENED, "[Red alert] Ulan Buh, plot 3: regrowth absent"),
        (AlertEvent.WORSENED, "[Red alert, worse] Ulan Buh, plot 3: regrowth absent"),
        (AlertEvent.RESOLVED, "[Resolved] Ulan Buh, plot 3: on track"),
    ],
)
def test_the_subject_says_what_happened(event, subject):
    status = Status.ON_TRACK if event is AlertEvent.RESOLVED else Status.FAILING
    got, plain, _ = read(compose_mail(notice(event), site(), assessment(status=status)))
    assert got["Subject"] == subject
    assert ("WHAT TO DO NEXT" in plain) == (event is not AlertEvent.RESOLVED)


def test_a_watch_is_early_news_and_does_not_claim_a_failure():
    watched = notice()
    watched = replace(watched, alert=replace(watched.alert, level=AlertLevel.WATCH))
    got, plain, _ = read(compose_mail(watched, site(), assessment(alert=AlertLevel.WATCH, status=Status.LAGGING)))
    assert got["Subject"] == "[Watch] Ulan Buh, plot 3: regrowth may be absent"
    assert "regrowth absent" not in plain


@pytest.mark.parametrize(
    ("language", "watched", "sure", "claim"),
    [
        (
            "en", "[Watch] Ulan Buh, plot 3: possible sudden loss",
            "[Red alert, worse] Ulan Buh, plot 3: sudden loss", "lost suddenly",
        ),
        (
            "zh", "[关注] Ulan Buh, plot 3：植被可能突然减少",
            "[红色警报（升级）] Ulan Buh, plot 3：植被突然减少", "突然受损",
        ),
    ],
)  # fmt: skip
def test_a_loss_is_possible_while_it_is_watched_and_said_outright_once_it_is_red(language, watched, sure, claim):
    lost = assessment(
        status=Status.DISTURBED, alert_rule="disturbance", alert=AlertLevel.WATCH, loss_on=date(2025, 6, 12),
        loss_confirmed_on=date(2025, 7, 3), probability=0.7,
    )  # fmt: skip
    first, later = notice(rule="disturbance"), notice(AlertEvent.WORSENED, 2, rule="disturbance")
    first = replace(first, alert=replace(first.alert, level=AlertLevel.WATCH))
    place, may = site(manager_language=language), {"en": "may have been lost suddenly", "zh": "可能突然受损"}[language]
    got, plain, _ = read(compose_mail(first, place, lost))
    assert got["Subject"] == watched
    assert may in plain
    got, plain, _ = read(compose_mail(later, place, replace(lost, alert=AlertLevel.RED, probability=0.9)))
    assert got["Subject"] == sure
    assert claim in plain
    assert may not in plain


@pytest.mark.parametrize("rule", ["failure", "disturbance", "erosion"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_rule_says_what_to_do_in_each_language(rule, language):
    _, plain, _ = read(compose_mail(notice(rule=rule), site(manager_language=language), assessment(alert_rule=rule)))
    assert {"failure": ("survivors", "成活"), "disturbance": ("soon", "尽快"), "erosion": ("rain", "雨后")}[rule][
        language == "zh"
    ] in plain


def test_the_same_notice_gives_the_same_bytes_and_another_notice_another_id():
    first, again = (compose_mail(notice(), site(), assessment()) for _ in range(2))
    later = compose_mail(notice(AlertEvent.WORSENED, 2), site(), assessment())
    assert first.as_bytes() == again.as_bytes()
    assert first["Message-ID"] != later["Message-ID"]
    assert later["References"] == first["Message-ID"]


def test_a_mail_is_dated_by_the_night_it_is_about():
    assert compose_mail(notice(), site(), assessment())["Date"] == "Fri, 20 Aug 2021 00:00:00 +0000"


def test_hostile_names_break_neither_headers_nor_html():
    hostile = site(id=HOSTILE, name=HOSTILE, manager_name=HOSTILE, province=HOSTILE)
    message = compose_mail(notice(site_id=HOSTILE), hostile, assessment(site=HOSTILE))
    got, plain, html = read(message)
    assert set(got.keys()) == {
        "Subject", "Message-ID", "Date", "Auto-Submitted", "Content-Language", "MIME-Version", "Content-Type"
    }  # fmt: skip
    assert got["Bcc"] is None
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "{{7*7}}" in plain
    assert "{{7*7}}" in html
    assert all("\u202e" not in part for part in (str(got["Subject"]), plain, html))
    assert not any(line.startswith("Bcc:") for line in message.as_bytes().decode("ascii").splitlines())
    assert not any(line.startswith("Bcc:") for line in plain.splitlines())


def test_the_whole_mail_is_ascii_with_short_lines():
    raw = compose_mail(notice(), site(name="乌兰布和" * 60, manager_language="zh"), assessment()).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998


def test_a_written_message_is_a_mail_and_a_record_and_writing_it_again_changes_nothing(tmp_path):
    path = write_message(notice(), site(), assessment(), tmp_path)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    write_message(notice(), site(), assessment(), tmp_path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert sorted(before) == sorted([path.name, path.with_suffix(".json").name])
    assert path.name.startswith("ulan-03_2021-08-20_1")
    assert json.loads(path.with_suffix(".json").read_text())["assessment"]["theta"] == 0.08


@pytest.mark.parametrize("name", ["../../etc", "CON", "a" * 300, "🌱", "a\0b", "民勤"])
def test_messages_of_any_id_stay_in_their_folder(tmp_path, name):
    root = tmp_path / "deep" / "outputs"
    write_message(notice(site_id=name), site(id=name), assessment(site=name), root)
    assert {p.parent for p in tmp_path.rglob("*") if p.is_file()} == {root / "messages"}


def test_two_ids_that_differ_never_share_a_file(tmp_path):
    a = write_message(notice(site_id="a/b"), site(id="a/b"), assessment(), tmp_path)
    b = write_message(notice(site_id="a_b"), site(id="a_b"), assessment(), tmp_path)
    assert a != b


def test_the_record_has_null_where_there_is_no_number():
    values = message_to_json(notice(), site(), assessment(theta=math.nan, e_failure=math.inf, last_observed=None))
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text)["assessment"]["theta"] is None
    assert values["assessment"]["e_failure"] is None
    assert values["alert"]["level"] == "red"
    assert values["site"]["latitude"] == 40.105


def test_a_site_with_nothing_known_can_still_be_told_about():
    nothing = dict.fromkeys(
        ("theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "expected", "probability",
         "last_observed")
    )  # fmt: skip
    _, plain, _ = read(compose_mail(notice(), site(manager_name=None), assessment(**nothing)))
    assert "Last usable scene: none" in plain
    assert "None" not in plain
