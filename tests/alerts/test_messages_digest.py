"""Many alerts of one night in one message; messages to operators; test messages."""

import email
import re
from dataclasses import replace
from datetime import date
from email.policy import default
from html import unescape

import msgspec
import pytest
from typer.main import get_command

from jobs.cli import app
from monitor.alerts.alert import AlertEvent
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.channels.messenger import fitted
from monitor.alerts.mail import as_mail
from monitor.alerts.messages import compose_digest, compose_operators, compose_test
from monitor.sites.names import has_invisible
from monitor.verdict.assessment import AlertLevel
from tests.alerts.sample_news import ANSWER, HOSTILE, ID, TIME, check_only_names, news, site

HEAD = ChainHead(date(2021, 8, 20), "0123456789abcdef" * 4)

NAMES = {"en": "Ulan Buh, plot 3", "zh": "乌兰布和三号"}
OPERATORS = {
    "failed_night": [{
        "as_of": "2021-08-20", "status": 20, "error": "the catalogue does not answer", "n_failed": 31, "n_deferred": 2,
        "messages_waiting": 4,
        "failed": [{"site": "ulan-03", "error": "503 three times"}, {"site": "ulan-04", "error": "503 three times"}],
    }],
    "silence": [
        {
            "site": "ulan-03", "last_observed": "2021-06-01", "days": 80, "name": NAMES,
            "manager": "Li Na", "recipients": [["mail", "li@example.org"]],
            "pages": {"en": "https://pages.example.org/index.html"},
        },
        {"site": "ulan-04", "last_observed": None, "days": 200},
    ],
    "source_stale": [{
        "provider": "archive.example", "newest": "2021-06-01", "days": 80, "usual_gap": 12,
        "others": [["second.example", 7]],
    }],
    "mass_fall": [{"day": "2021-08-20", "fell": 30, "sites": 40, "messages": 28}],
    "escalation": [{
        "alert": msgspec.to_builtins(news().alert), "event": "escalated", "number": 2, "name": NAMES,
        "manager": "Li Na", "recipients": [["mail", "li@example.org"]], "days": 14, "answer": ANSWER,
        "pages": {"en": "https://pages.example.org/index.html"},
    }],
    "review": [{
        "alert": msgspec.to_builtins(news().alert) | {"answer_reason": "snow", "note": "late <b>snow</b>"}, "number": 2,
        "name": NAMES, "manager": "Li Na", "recipients": [["mail", "li@example.org"]], "days": 14,
        "answer": None, "pages": {"en": "https://pages.example.org/index.html"},
    }],
    "lot": [{
        "alert": {"id": "lot-2021-planting-12345678/lot", "rule": "lot", "level": "red", "opened": "2024-10-20"},
        "event": "opened", "number": 1, "hectares": 1100.0,
        "lot": {"partner": "Green Fund 绿源", "programme_year": 2021, "intervention": "planting"},
        "verdict": {
            "as_of": "2024-10-15", "sites": 20, "hectares": 1000.0, "theta": 0.05, "theta_low": -0.08,
            "theta_high": 0.18, "p_failing": 0.997, "alert": "red", "alert_since": "2023-10-15",
        },
        "members": [{"site": "ulan-03", "status": "failing", "theta": -0.1}],
        "pages": {"en": "https://pages.example.org/lots/x/index.html"},
    }],
    "self_check": [
        {
            "site": "ulan-03", "day": "2021-08-20", "as_of": "2021-08-19", "n_differences": 3, "error": None,
            "differences": ["verdict: theta is 0.5 as recorded, 0.1 recomputed"],
        },
        {
            "site": "ulan-04", "day": "2021-08-27", "as_of": None, "n_differences": 0, "differences": [],
            "error": "StoreBroken: the store cannot be read",
        },
    ],
    "plan_edited": [{"site": "ulan-03", "said": "plan_A 0.3 -> 0.04"}],
    "replan": [{
        "site": "ulan-03", "name": NAMES, "from": "2021-08-01", "by": "Director Wang", "number": 2,
        "why": "half the planting density", "alerts": ["ulan-03/failure"],
        "columns": {
            "plan_A": [0.3, 0.04], "biome": ["loess", "own 1a2b3c4d"], "intervention": ["planting", "tending"],
            "cohorts": ["", "2021-04-01:1.0"], "plan_k": [0.2, 0.3],
        },
    }],
}  # fmt: skip


def alerts(n: int, *, language: str = "en", name: str = "Ulan Buh, plot {}") -> list:
    """News of n failing sites, each with its own link."""
    return [
        news(
            site=site(id=f"ulan-{k:03}", name=name.format(k), manager_language=language), answer=f"{ANSWER}{k:03}",
            assessment=replace(news().assessment, theta=k / 1000),
        )
        for k in range(n)
    ]  # fmt: skip


def digest(items, language: str = "en", **more):
    return compose_digest(items, id=ID, time=TIME, language=language, **more)


def test_a_digest_names_every_site_with_level_cause_share_of_the_uplift_and_its_own_link():
    message = digest(alerts(5))
    assert message.subject == "5 alerts, 5 of them red"
    for k in range(5):
        assert re.search(
            rf"\[Red alert\] ulan-00{k} Ulan Buh, plot {k}: regrowth absent, {round(k / 10)}% of the planned uplift "
            rf"\(40.10512°N, 106.90534°E\)\n"
            rf"Answer: {re.escape(ANSWER)}00{k}\n",
            message.text,
        )
        assert message.html.count(f"{ANSWER}00{k}") == 1
        assert f"ulan-00{k}" in message.html


def test_every_link_of_a_digest_stands_in_its_plain_part_too():
    message = digest(alerts(5))
    links = {unescape(link) for link in re.findall('href="([^"]+)"', message.html)}
    assert len(links) == 5 + 1 + 1  # answers; map and page, which are those of one site here
    assert links == set(re.findall(r"https://\S+", message.text))


def test_the_worst_comes_first():
    items = [
        news(AlertEvent.RESOLVED, site=site(id="d")),
        news(level=AlertLevel.WATCH, site=site(id="c"), assessment=replace(news().assessment, theta=-0.5)),
        news(rule="disturbance", site=site(id="e")),
        news(site=site(id="b"), assessment=replace(news().assessment, theta=0.2)),
        news(site=site(id="a"), assessment=replace(news().assessment, theta=-0.1)),
    ]
    message = digest(items)
    order = re.findall(r"^\d\. \[[^]]+\] (\w)", message.text, re.M)
    assert order == ["e", "a", "b", "c", "d"]
    assert "5 alerts, worst first: 3 red, 1 watch, 1 resolved." in message.text
    resolved = message.text[message.text.index("[Resolved]") :]
    assert ANSWER not in resolved


def test_a_chinese_digest_is_chinese():
    message = digest(alerts(4, language="zh", name="乌兰布和{}号"), "zh")
    assert message.subject == "4 条警报，其中红色 4 条"
    assert "1. [红色警报] ulan-000 乌兰布和0号：未见成效，完成规划的 0%" in message.text
    assert "answers.example.org" in message.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_three_hundred_alerts_are_one_mail_of_100_kb_that_names_every_site_and_its_link(language):
    name = (
        "乌兰布和沙漠东北缘第{}号固沙造林地块（封育与补播）"
        if language == "zh"
        else "Ulan Buh, north-eastern edge, plot {}"
    )
    message = digest(alerts(320, language=language, name=name), language)
    raw = as_mail(message, sender="monitor@example.org", recipient="li@example.org").as_bytes()
    assert len(raw) <= 100_000
    plain = email.message_from_bytes(raw, policy=default).get_body(["plain"]).get_content()
    for k in range(320):
        assert f"ulan-{k:03}" in plain
        assert f"{ANSWER}{k:03}" in plain


def test_a_digest_of_a_dozen_sites_has_its_table_in_the_mail():
    raw = as_mail(digest(alerts(60)), sender="monitor@example.org", recipient="li@example.org").as_bytes()
    html = email.message_from_bytes(raw, policy=default).get_body(["html"]).get_content()
    assert html.count("<tr>") == 60


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("limit", [1_900, 19_000])
def test_a_messenger_gets_links_of_the_worst_then_names_then_the_number_of_the_others(language, limit):
    message = digest(alerts(300, language=language, name="乌兰布和第{}号地块"), language, brief_bytes=limit)
    text = f"{message.brief}\n{message.links}".strip()
    assert len(text.encode()) <= limit
    named = re.findall(r"ulan-(\d+)", text.replace(ANSWER, ""))
    assert named == [f"{k:03}" for k in range(len(named))]
    linked = re.findall(rf"^ulan-(\d+) {ANSWER}(\d+)$", text, re.M)
    assert len(linked) > limit / 150
    assert linked == [(f"{k:03}", f"{k:03}") for k in range(len(linked))]
    left = {"en": "and {} more", "zh": "另有 {} 条"}[language].format(300 - len(named))
    assert len(named) == 300 or text.splitlines()[-1] == left
    assert len(text.encode()) > limit * 0.9, "the room is used"


def test_a_messenger_gets_every_site_with_its_link_if_need_be_without_more_words():
    many = digest(alerts(14)).brief.splitlines()
    assert many[1:] == [f"ulan-{k:03} {ANSWER}{k:03}" for k in range(14)]
    few = digest(alerts(5)).brief
    assert few.count(ANSWER) == 5
    assert few.count("regrowth absent") == 5


def test_hostile_names_in_a_digest_are_only_names():
    items = [news(site=site(id=f"{k}{name}", name=name, name_zh=name)) for k, name in enumerate(HOSTILE)]
    message = digest(items)
    check_only_names(message)
    for text in (message.subject, message.text, message.brief, message.html):
        assert "49" not in text
        assert not any(has_invisible(line) or line.startswith("Bcc:") for line in text.splitlines())
    assert len(re.findall(r"^\d\. ", message.text, re.M)) == len(HOSTILE)


def test_the_record_of_a_digest_has_every_alert():
    values = msgspec.json.decode(msgspec.json.encode(dict(digest(alerts(3)).record)))
    assert [one["id"] for one in values["alerts"]] == ["ulan-000/failure", "ulan-001/failure", "ulan-002/failure"]
    assert values["alerts"][1]["answer"] == f"{ANSWER}001"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("n", [4, 300])
def test_every_part_of_a_digest_states_the_head_of_the_chain_within_the_limits_of_the_channels(language, n):
    message = digest(alerts(n, language=language, name="乌兰布和第{}号地块"), language, head=HEAD)
    day = {"en": "20 August 2021", "zh": "2021年8月20日"}[language]
    for text in (message.text, message.html, message.links):
        assert HEAD.hash in text
        assert day in text
    assert message.record["chain_head"] == HEAD.hash
    whole = f"{message.brief}\n{message.links}"
    assert len(whole.encode()) <= 1_900
    assert fitted(message, 2_048, size=lambda text: len(text.encode())) == whole
    assert HEAD.hash in fitted(message, 600, size=lambda text: len(text.encode())), "even where the text is cut"
    raw = as_mail(message, sender="monitor@example.org", recipient="li@example.org").as_bytes()
    assert len(raw) <= 100_000
    assert HEAD.hash in email.message_from_bytes(raw, policy=default).get_body(["plain"]).get_content()


def test_before_the_first_night_of_the_chain_a_digest_says_nothing_of_it():
    assert "evidence chain" not in digest(alerts(4)).text
    assert digest(alerts(4)).record["chain_head"] is None


def test_a_digest_of_lots_states_the_head_of_the_chain_in_both_languages():
    message = compose_operators("lot", OPERATORS["lot"] * 2, id=ID, time=TIME, head=HEAD)
    for text in (message.text, message.html, message.links):
        assert text.count(HEAD.hash) == 2
    assert message.record["chain_head"] == HEAD.hash
    assert HEAD.hash in fitted(message, 2_048, size=lambda text: len(text.encode()))


@pytest.mark.parametrize("kind", OPERATORS)
def test_operators_read_what_happened_in_both_languages_and_the_command_that_helps(kind):
    message = compose_operators(kind, OPERATORS[kind], id=ID, time=TIME)
    for text in (message.text, message.html, message.brief):
        assert re.search("[a-z]{4}", text)
        assert re.search("[\u4e00-\u9fff]{4}", text)
        assert "regrowth " in text
    command = {
        "failed_night": "regrowth doctor", "silence": "regrowth explain SITE", "mass_fall": "regrowth alerts release",
        "source_stale": "regrowth doctor --online",
            "plan_edited": "regrowth sites replan SITE", "replan": "regrowth alerts list",
        "self_check": "regrowth doctor", "escalation": "regrowth alerts resolve",
        "review": "regrowth alerts review ulan-03/failure --close",
        "lot": "regrowth alerts resolve lot-2021-planting-12345678/lot",
    }[kind]  # fmt: skip
    assert command in message.text
    assert " / " in message.subject
    assert "\n" not in message.subject


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_commands_that_operators_are_given_exist(kind):
    text = compose_operators(kind, OPERATORS[kind], id=ID, time=TIME).text
    commands = re.findall("^  regrowth (.*)$", text, re.M)
    assert commands
    for command in commands:
        known = get_command(app)
        for word in re.findall("^(?:[a-z]+(?= |$) ?)+", command)[0].split():
            known = known.commands[word]
        options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall("--[a-z-]+", command)) <= options


def test_each_message_to_operators_has_its_facts():
    texts = {kind: compose_operators(kind, payloads, id=ID, time=TIME).text for kind, payloads in OPERATORS.items()}
    for fact in ("20 August 2021", "status 20: all sites failed", "the catalogue does not answer", "failed: 31",
                 "ulan-04: 503 three times", "and 29 more sites", "Messages waiting: 4", "2021年8月20日"):  # fmt: skip
        assert fact in texts["failed_night"]
    for fact in ("Ulan Buh, plot 3 (ulan-03): last usable scene 1 June 2021, 80 days ago. Manager: Li Na",
                 "ulan-04: no usable scene yet", "https://pages.example.org/index.html",
                 "Their managers read it in the weekly brief."):  # fmt: skip
        assert fact in texts["silence"]
    for fact in ("archive.example offers over any site is of 1 June 2021, 80 days ago", "more than 12 days",
                 "7 new scenes of second.example", "距今 80 天"):  # fmt: skip
        assert fact in texts["source_stale"]
    assert "30 of 40 sites" in texts["mass_fall"]
    assert "28 messages to managers are held" in texts["mass_fall"]
    for fact in ("1 red alert without an answer", "regrowth alerts resolve ulan-03/failure --verdict",
                 "Ulan Buh, plot 3 (ulan-03/failure): regrowth absent, open since 20 August 2021",
                 "14 days without an answer. Manager: Li Na, li@example.org (mail)",
                 f"Answer for ulan-03: {ANSWER}", "14 天无人答复"):  # fmt: skip
        assert fact in texts["escalation"]
    for fact in ("3 values of ulan-03 as of 19 August 2021", "theta is 0.5 as recorded, 0.1 recomputed",
                 "and 2 more values", "27 August 2021", "of ulan-04 could not be done", "Error: StoreBroken",
                 "no manager was notified", "2021年8月19日"):  # fmt: skip
        assert fact in texts["self_check"]


def test_a_status_without_a_meaning_and_a_night_without_sites_are_reported_as_well():
    night = OPERATORS["failed_night"][0] | {"status": 137, "error": None, "failed": [], "n_failed": 0}
    text = compose_operators("failed_night", [night], id=ID, time=TIME).text
    assert "status 137: it ended unexpectedly" in text
    assert "None" not in text


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["failed_night", "silence", "escalation", "replan", "self_check"])
def test_hostile_names_in_messages_to_operators_are_only_names(kind, name):
    payload = OPERATORS[kind][0] | {"name": dict.fromkeys(("en", "zh"), "ulan-03")}
    payload = msgspec.json.decode(msgspec.json.encode(payload).replace(b"ulan-03", b"NAME"))
    as_text = msgspec.json.encode(name.encode("utf-8", "replace").decode()).strip(b'"')
    payload = msgspec.json.decode(msgspec.json.encode(payload).replace(b"NAME", as_text))
    check_only_names(compose_operators(kind, [payload], id=ID, time=TIME))


def test_a_thousand_silent_sites_are_one_message():
    silent = [{"site": f"ulan-{k}", "last_observed": "2021-06-01", "days": 80} for k in range(1000)]
    message = compose_operators("silence", silent, id=ID, time=TIME)
    assert len(message.brief.encode()) <= 2_048
    assert "1000 个地块" in message.brief
    assert message.brief.endswith("regrowth explain SITE")
    assert "1000 sites" in message.subject
    assert "and 800 more" in message.text
    assert len(as_mail(message, sender="a@example.org", recipient="b@example.org").as_bytes()) <= 100_000


def test_a_hundred_unanswered_alerts_are_one_mail_with_links_and_a_text_that_fits_a_messenger():
    many = OPERATORS["escalation"] * 100
    message = compose_operators("escalation", many, id=ID, time=TIME)
    assert message.text.count(ANSWER) == 2 * 50
    assert "and 50 more" in message.text
    assert message.html.count(f'href="{ANSWER}"') == 2 * 50
    assert len(as_mail(message, sender="a@example.org", recipient="b@example.org").as_bytes()) <= 100_000
    few = compose_operators("escalation", many[:3], id=ID, time=TIME)
    assert fitted(few, 2_048, size=lambda text: len(text.encode())).count(f"Answer for ulan-03: {ANSWER}") == 3


def test_a_site_without_manager_or_address_is_escalated_with_these_words():
    nobody = OPERATORS["escalation"][0] | {"manager": None, "recipients": [], "pages": {}, "answer": None}
    text = compose_operators("escalation", [nobody] * 2, id=ID, time=TIME).text
    assert "Manager: no address in the registry" in text
    assert "http" not in text
    assert "regrowth alerts resolve ALERT" in text


def test_a_test_message_names_the_channel_in_both_languages():
    message = compose_test("wecom\r\nBcc: x", id=ID, time=TIME)
    assert "channel “wecom Bcc: x”" in message.text
    assert "这是渠道“wecom Bcc: x”的测试消息" in message.text
    assert message.html is not None


def test_a_manager_reads_of_a_new_promise_in_one_language_and_operators_in_both():
    (change,) = OPERATORS["replan"]
    manager = compose_operators("replan", [{**change, "language": "zh"}], id=ID, time=TIME)
    assert (manager.language, manager.subject) == ("zh", "承诺指标变更：乌兰布和三号")
    assert "成熟期增量：30 个百分点 → 4 个百分点" in manager.text
    assert "uplift" not in manager.text
    both = compose_operators("replan", [change], id=ID, time=TIME).text
    assert "uplift at maturity: 30 points → 4 points" in both
    assert "成熟期增量" in both
