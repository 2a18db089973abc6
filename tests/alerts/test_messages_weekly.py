"""The weekly brief: every site of a manager in one message, the most urgent ones first."""

import email
import re
from datetime import date, timedelta
from email.policy import default

import pytest

from monitor.alerts.alert import AlertState, Verdict
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.channels.messenger import fitted
from monitor.alerts.mail import as_mail
from monitor.alerts.messages import compose_weekly
from monitor.alerts.messages.weekly import SECTIONS, SiteWeek
from monitor.verdict.assessment import AlertLevel, Status
from tests import builders
from tests.alerts.sample_news import HOSTILE, ID, TIME, assessment, check_only_names, site

DAY = date(2020, 8, 31)
ADDRESS = "https://answers.example.org/m/eyJuIjo0Mn0.aSkXyQ.7rIh0PqkzFv3mYw2c8Jd5LQ1"
HEAD = ChainHead(DAY, "0123456789abcdef" * 4)
LOSS = {
    "loss_after": date(2020, 6, 25), "loss_on": date(2020, 6, 30), "loss_from": 0.21, "loss_to": 0.05,
}  # fmt: skip


def week(key="mill", status=Status.ON_TRACK, theta=0.9, *, language="en", place=None, verdict=None, **more):
    """A site of 0.54 ha, judged and seen on the day of the brief, with the same status a week ago."""
    where = {"id": key, "name": f"Field {key}", "name_zh": f"{key}地", "hectares": 0.54, "manager_language": language}
    limits = {"theta_low": None, "theta_high": None}
    if theta is not None:
        limits = {"theta_low": theta - 0.2, "theta_high": theta + 0.2}
    judged = {"site": key, "as_of": DAY, "last_observed": DAY, "status": status, "theta": theta, **limits}
    return SiteWeek(
        site=site(**(where | (place or {}))), assessment=assessment(**(judged | (verdict or {}))),
        **({"before": status.value} | more),
    )  # fmt: skip


def alert(key="mill", rule="failure", *, days=67, **more):
    """A red alert of a site that has been open for some days."""
    return builders.alert(key, rule, opened=DAY - timedelta(days=days), **({"level": AlertLevel.RED} | more))


def every_kind(language="en"):
    """Sites in each section, in an order that is not that of the brief."""
    late = {"state": AlertState.SNOOZED, "snoozed_until": DAY + timedelta(days=7)}
    answered = {"state": AlertState.RESOLVED, "answer": Verdict.CONFIRMED}
    reviewed = {"state": AlertState.ACKNOWLEDGED, "answer": Verdict.FALSE_ALARM, "unreviewed": True}
    return [
        week("track", language=language),
        week("old", language=language, verdict={"last_observed": DAY - timedelta(days=40)}),
        week("young", Status.TOO_EARLY, None, language=language),
        week("grows", Status.TOO_EARLY, 0.6, language=language, first_growth=True),
        week("better", Status.ON_TRACK, language=language, before="lagging"),
        week("dark", language=language, unseen=True, verdict={"last_observed": date(2020, 4, 6)}),
        week("never", Status.INSUFFICIENT_DATA, None, language=language, verdict={"last_observed": None}),
        week("lags", Status.LAGGING, 0.32, language=language),
        week("sinks", Status.LAGGING, 0.32, language=language, before="on_track"),
        week("done", Status.FAILING, 0.1, language=language, alerts=[alert("done", **answered)]),
        week("review", Status.FAILING, 0.1, language=language, alerts=[alert("review", **reviewed)]),
        week("later", Status.FAILING, 0.1, language=language, alerts=[alert("later", **late)]),
        week("taken", Status.FAILING, 0.1, language=language,
             alerts=[alert("taken", state=AlertState.ACKNOWLEDGED)]),
        week("mill", Status.FAILING, -0.11, language=language, alerts=[alert()]),
        week("stone", Status.FAILING, 0.09, language=language,
             alerts=[alert("stone", clear_since=DAY - timedelta(days=9))]),
        week("lost", Status.DISTURBED, None, language=language, verdict=LOSS,
             alerts=[alert("lost", "disturbance", days=2)]),
        week("held", Status.FAILING, 0.1, language=language, held=True),
    ]  # fmt: skip


def brief(sites, **more):
    return compose_weekly(sites, **({"day": DAY, "id": ID, "time": TIME, "address": ADDRESS, "head": HEAD} | more))


def sent(message):
    return as_mail(message, sender="monitor@example.org", recipient="li@example.org").as_bytes()


def test_every_site_stands_in_one_section_and_the_most_urgent_come_first():
    message = brief(every_kind())
    assert message.record["sites"] == {
        "unanswered": ["lost", "mill", "stone"], "later": ["later", "taken"], "answered": ["done", "review"],
        "lagging": ["lags", "sinks"], "unseen": ["dark", "never"], "improving": ["grows", "better"],
        "on_track": ["old", "track"], "undecided": ["held", "young"],
    }  # fmt: skip
    assert [*message.record["sites"]] == [*SECTIONS]
    names = [name for section in message.record["sites"].values() for name in section]
    for text in (message.text, message.html):
        places = [text.index(f"Field {name}") for name in names]
        assert places == sorted(places)
        assert HEAD.hash in text
    for name in names:
        assert f"Field {name}" in f"{message.brief}"
    assert message.html.count("<a href") - message.html.count("uri.amap.com") == 1, "one button"
    assert ADDRESS in message.links


def test_each_row_says_what_is_known_and_how_old_its_imagery_is():
    text = brief(every_kind()).text
    for line in (
        "◆ Field lost 0.54 ha: New this week. Sudden loss between 25 June and 30 June; against the control ground "
        "+21 → +5 points. Last usable scene 31 August.",
        "▼ Field mill 0.54 ha: Waiting for 67 days. Regrowth absent. At most 9% of the plan. Last usable scene 31",
        "Regrowth absent, not seen since 22 August. 9% of the plan (−11% to 29%).",
        "▼ Field later 0.54 ha: Regrowth absent. Put off until 7 September.",
        "Taken on, not yet answered.",
        "▼ Field done 0.54 ha: Answer: confirmed in the field. Not taking hold. 10% of the plan",
        "▼ Field review 0.54 ha: Answer: false alarm. The operators are reviewing it. Not taking hold. 10% of the",
        "Lagging (2 sites, 1.1 ha; 1 new this week)",
        "○ Field never 0.54 ha: No usable scene yet. Please go and look, and send photographs.",
        "Last usable scene 6 April, 147 days ago. Please go and look",
        "◇ Field grows 0.54 ha: Begun on 1 April 2017, too early to judge; first growth is seen. 60% of the plan",
        "▲ Field better 0.54 ha: Was lagging, now on track. 90% of the plan",
        "▲ Field old (90%, last usable scene 22 July, 40 days ago), ▲ Field track (90%)",
        "▼ Field held (being checked), ◇ Field young (too early to say)",
    ):
        assert line in text, line


def test_nobody_is_asked_to_visit_a_site_that_the_monitor_failed_to_judge():
    new = SiteWeek(site=site(id="new", name="Field new", hectares=0.54, manager_language="en"), assessment=None)
    left = week("left", verdict={"as_of": DAY - timedelta(days=10), "last_observed": DAY - timedelta(days=15)})
    said = brief([new, left]).text
    assert "Field new 0.54 ha: Not judged yet, because of the monitor." in said
    assert "Not judged since 21 August, because of the monitor." in said
    assert "go and look" not in said


def test_in_chinese_names_are_short_and_mu_come_first():
    message = brief(every_kind("zh"))
    assert message.subject == "每周简报（2020年8月31日）：3 块等您答复，2 块滞后，2 块看不清，2 块好转"
    assert "17 块地，138 亩：3 块等您答复" in message.html
    assert "▼ mill地 8.1 亩：已等 67 天。未见成效。至多完成规划的 9%。最近影像 8月31日。" in message.text
    assert "Field" not in message.text


def test_all_is_called_on_track_only_if_every_site_is():
    assert brief([week("a"), week("b")]).subject == "Weekly brief, 31 August 2020: all on track"
    for other in (
        week("b", Status.LAGGING), week("b", unseen=True), week("b", Status.INSUFFICIENT_DATA, None),
        week("b", Status.UNDECIDED), week("b", verdict={"as_of": DAY - timedelta(days=8)}),
    ):  # fmt: skip
        message = brief([week("a"), other])
        assert "all on track" not in message.subject + message.text + message.brief
    assert message.record["sites"] == {"unseen": ["b"], "on_track": ["a"]}
    assert "Not judged since 23 August, because of the monitor." in message.text


@pytest.mark.parametrize(("before", "now", "improving"), [
    ("failing", Status.LAGGING, True), ("disturbed", Status.ON_TRACK, True), ("undecided", Status.ON_TRACK, True),
    ("too_early", Status.ON_TRACK, True), ("undecided", Status.LAGGING, False), ("on_track", Status.LAGGING, False),
    ("recovered", Status.ON_TRACK, False), (None, Status.ON_TRACK, False), ("failing", Status.TOO_EARLY, False),
])  # fmt: skip
def test_a_site_improves_if_its_status_is_better_than_a_week_ago(before, now, improving):
    assert (week(status=now, before=before).section(DAY) == "improving") is improving


def test_without_a_page_of_answers_each_alert_has_its_steps_and_the_place():
    message = brief([week("mill", Status.FAILING, 0.1, alerts=[alert()])], address=None, head=None)
    for text in (message.text, message.html):
        assert "Report it to your office: confirmed, false alarm or treated." in text
        assert "Walk the site and photograph where growth is missing." in text
        assert "uri.amap.com" in text
    assert message.links == ""


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("address", [ADDRESS, None])
def test_a_brief_of_sixty_sites_with_alerts_is_one_mail_of_100_kb_with_its_table(language, address):
    name = {"en": "Ulan Buh, north-eastern edge, plot {}", "zh": "乌兰布和沙漠东北缘第{}号固沙造林封育补播地块"}[
        language
    ]
    page = "https://pages.example.org/regrowth/sites/ulan-north-{}/index.zh.html"
    sites = [
        week(
            f"ulan-{k}", Status.FAILING, 0.1, language=language, page=page.format(k), alerts=[alert(f"ulan-{k}")],
            place={"name": name.format(k), "name_zh": name.format(k)},
        )
        for k in range(60)
    ]  # fmt: skip
    raw = sent(brief(sites, address=address))
    assert len(raw) <= 100_000
    parts = email.message_from_bytes(raw, policy=default)
    html, plain = (parts.get_body([kind]).get_content() for kind in ("html", "plain"))
    assert html.count("ulan-north-") == 60
    assert all(name.format(k)[:20] in plain for k in range(60))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_thousand_sites_are_all_named_in_a_mail_and_counted_in_a_text_that_fits_a_messenger(language):
    sites = [week(f"s{k}", Status.LAGGING if k % 2 else Status.ON_TRACK, language=language) for k in range(1000)]
    message = brief(sites)
    whole = f"{message.brief}\n{message.links}"
    assert fitted(message, 2_048, size=lambda text: len(text.encode())) == whole
    assert re.search(r"and \d+ more|另有 \d+ 块", message.brief)
    assert len(sent(message)) <= 100_000
    assert all(f"s{k}" in message.text for k in range(1000))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_brief_are_only_names(name):
    place = {"name": name, "name_zh": name}
    check_only_names(brief([week(name, place=place), week("b", Status.FAILING, place=place, alerts=[alert("b")])]))
