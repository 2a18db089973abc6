"""The catalogue of words: both languages everywhere, the same placeholders in both, and no text that nothing uses."""

import re
import string
from dataclasses import replace
from datetime import date
from itertools import product

import pytest

from monitor.alerts import words
from monitor.alerts.alert import AlertEvent, FalseAlarmReason, Verdict
from monitor.alerts.chain_head import ChainHead
from monitor.alerts.messages import compose_alert, compose_digest, compose_operators, compose_test
from monitor.alerts.messages.steps import site_steps
from monitor.sites.site import INTERVENTIONS
from monitor.verdict.assessment import AlertLevel, Status
from tests.alerts.sample_news import ANSWER, ID, TIME, assessment, news, site
from tests.alerts.test_messages_digest import OPERATORS, alerts
from tests.alerts.test_messages_weekly import alert, brief, every_kind, week

TABLES = (
    "status", "level", "answer", "rule", "watch", "intervention", "promise_column", "false_alarm_reason", "outcome",
    "problem", "alert_state", "days_open", "site_finding", "sort", "filter", "script", "erosion_grade", "unverified",
    "field_kind", "improvement", "rejected", "came_by", "control_reason", "account_status", "account_reason",
    "account_group", "account_state", "account_claim", "account_why", "lot_reason", "lot_use", "constant", "pack",
)  # fmt: skip
"""Sections that are used as a whole, each looked up by a code."""
COMPOSED = (
    "label", "change", "finding", "unit", "where", "step", "message", "digest", "weekly", "handover", "operators",
    "exit", "test", "lot", "chain", "promise", "personal_link",
)  # fmt: skip
"""Sections of the messages that the functions of :mod:`monitor.alerts.messages` compose."""
ENTRIES = [(section, name) for section, names in words.TEXTS.items() for name in names]


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("section", words.TEXTS)
def test_every_text_is_there_in_both_languages_with_the_same_placeholders(section):
    for name, entry in words.TEXTS[section].items():
        assert set(entry) == {"en", "zh"}, name
        assert all(text.strip() or section == "unit" for text in entry.values()), name
        english, chinese = (_placeholders(entry[language]) for language in words.LANGUAGES)
        assert english == chinese, name
        assert all(re.fullmatch("[a-z_]+", placeholder) for placeholder in english), name
        assert not re.search("[\u4e00-\u9fff]", entry["en"]), name
        assert not re.search(r" -\d|(^| )-\w|\.\.\.", entry["en"]), name


@pytest.fixture
def used(monkeypatch) -> set[str]:
    """Collects the keys of all texts that are used after the call."""
    keys: set[str] = set()
    text = words.text

    def noted(key: str, language: str, **values: object) -> str:
        keys.add(key)
        return text(key, language, **values)

    for module in ("alert_message", "digest", "findings", "lots", "operators", "steps", "tracks", "weekly"):
        monkeypatch.setattr(f"monitor.alerts.messages.{module}.text", noted)
    monkeypatch.setattr(words, "text", noted)
    return keys


def compose_everything() -> None:
    """Compose every kind of message in every variety."""
    empty = assessment(uplift=None, expected=None, theta=None, probability=None, last_observed=None)
    for event, language, rule, level in product(
        [event for event in AlertEvent if f"{event}" in words.TEXTS["label"]], words.LANGUAGES,
        ("failure", "disturbance", "erosion"), (AlertLevel.RED, AlertLevel.WATCH),
    ):  # fmt: skip
        item = news(event, rule=rule, level=level, language=language)
        held = replace(item.alert, promise=1)
        compose_alert(replace(item, alert=held), id=ID, time=TIME)
        known = replace(item.assessment, hectares_failing=3.0, hectares_failing_low=1.0, hectares_failing_high=5.0)
        part = replace(known, reasons=("SPATIAL_PATCH",), theta=0.6)
        level_with = replace(known, uplift=0.001, probability=0.6)
        below, above = replace(known, uplift=-0.01, loss_on=None), replace(known, uplift=0.01)
        lost = replace(known, loss_after=None, hectares_lost=3.0, hectares_lost_low=1.0, hectares_lost_high=5.0)
        maybe = replace(lost, probability=0.6)
        for verdict, answer in product((known, part, level_with, below, above, lost, maybe, empty), (ANSWER, None)):
            compose_alert(replace(item, assessment=verdict, answer=answer), id=ID, time=TIME)
        compose_alert(replace(item, assessment=replace(below, probability=0.6), patch=None), id=ID, time=TIME)
        if item.patch is not None:
            whole = replace(item.patch, hectares=item.site.hectares)
            compose_alert(replace(item, patch=whole), id=ID, time=TIME)
    for language, status, patch in product(words.LANGUAGES, Status, (True, False)):
        site_steps(assessment(status=status, alert=AlertLevel.NONE), patch=patch, language=language)
    for language in words.LANGUAGES:
        drawn = news(language=language, pictures=True)
        narrow = [replace(one, pixel=1.0, patch=None) for one in (drawn.before, drawn.now)]
        for item in (drawn, replace(drawn, before=narrow[0], now=narrow[1]), replace(drawn, of_loss=True)):
            compose_alert(item, id=ID, time=TIME)
        head = ChainHead(date(2021, 8, 20), "ab" * 32)
        compose_digest(alerts(60, language=language), id=ID, time=TIME, language=language, head=head)
        repeated = [news(AlertEvent.REMINDED, language=language)]
        compose_digest(repeated, id=ID, time=TIME, language=language)
        gone = replace(repeated[0], alert=replace(repeated[0].alert, clear_since=date(2021, 8, 1)))
        compose_alert(gone, id=ID, time=TIME)
        for address in (ANSWER, None):
            brief(every_kind(language) * 20, address=address)
        for one in every_kind(language):
            brief([one])
        first = week("a", Status.UNDECIDED, language=language, verdict={"as_of": date(2020, 1, 1)})
        lost = {"loss_on": date(2020, 6, 30)}
        brief([first, week(language=language, alerts=[alert(rule="disturbance")], verdict=lost)])
        brief([replace(first, assessment=None)])
    for kind, payloads in OPERATORS.items():
        compose_operators(kind, payloads, id=ID, time=TIME)
        compose_operators(kind, [payloads[0]] * 2, id=ID, time=TIME)
        compose_operators(kind, [payloads[0]], id=ID, time=TIME)
    for language, to in product(words.LANGUAGES, ("manager", "operators")):
        note = {"site": "a", "name": "b", "to": to, "language": language, "day": "2021-08-20"}
        compose_operators("handover", [note], id=ID, time=TIME)
        compose_operators("handover", [note] * 2, id=ID, time=TIME)
    compose_operators("escalation", [OPERATORS["escalation"][0] | {"recipients": []}], id=ID, time=TIME)
    head = {"number": 9, "night": "2021-08-31", "hash": "0" * 64, "month": "2021-08"}
    compose_operators("head", [head], id=ID, time=TIME)
    lot = OPERATORS["lot"][0]
    for level, event, members in product(("red", "watch"), ("opened", "resolved"), ([], lot["members"])):
        changed = {"alert": lot["alert"] | {"level": level}, "event": event, "members": members}
        compose_operators("lot", [lot | changed], id=ID, time=TIME)
    for status in (*words.TEXTS["exit"], "137"):
        night = OPERATORS["failed_night"][0] | {"status": status}
        compose_operators("failed_night", [night], id=ID, time=TIME)
    compose_operators("personal_link", [{"language": "en", "address": ANSWER}], id=ID, time=TIME)
    compose_test("wecom", id=ID, time=TIME)


def test_every_text_of_the_messages_is_used_and_every_text_that_is_used_is_there(used):
    compose_everything()
    there = {f"{section}.{name}" for section, name in ENTRIES if section in COMPOSED}
    assert used - there == set()
    assert there - used == {"step.nothing"}, "which only pages say"


def test_every_text_of_other_sections_is_named_in_the_code(root):
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("monitor/alerts", "monitor/publish", "jobs")
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in (".py", ".html", ".txt")
    )
    unused = []
    for section, name in ENTRIES:
        if section in (*TABLES, *COMPOSED):
            continue
        stem = name.removesuffix("_hint").removesuffix("_text")
        named = any(f"{quote}{stem}{quote}" in sources for quote in "\"'") or f"{section}.{name}" in sources
        if not named:
            unused.append(f"{section}.{name}")
    assert unused == []


def test_the_names_of_statuses_levels_answers_and_interventions_are_complete():
    assert {*words.STATUS_NAMES} == {*Status, "no_loss"}
    assert {*words.ALERT_LEVEL_NAMES} == {*AlertLevel}
    assert {*words.ANSWER_NAMES} == {*Verdict}
    assert {*words.INTERVENTION_NAMES} == {*INTERVENTIONS}
    assert [*words.STATUS_NAMES][:2] == ["failing", "disturbed"]  # worst first: pages list sites in this order
    assert len(FalseAlarmReason) == 5


def test_a_value_is_never_searched_for_placeholders():
    assert words.text("finding.above", "en", points="{expected}", expected="{0}") == (
        "cover is {expected} above the control ground; the plan for now is {0}"
    )


def test_a_missing_value_or_key_is_an_error():
    with pytest.raises(KeyError):
        words.text("finding.above", "en", points="1")
    with pytest.raises(KeyError):
        words.text("finding.nothing", "en")


def test_a_site_without_a_language_of_ours_is_written_to_in_english():
    assert compose_alert(news(site=site(manager_language="fr")), id=ID, time=TIME).language == "en"
