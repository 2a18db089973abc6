"""Mails as they are seen on a phone: what, where, picture, three steps and the link to answer on one screen."""

import base64
import re
from typing import Any

import pytest

from monitor.alerts.alert import AlertEvent
from monitor.alerts.messages import compose_alert, compose_digest, compose_operators
from tests.alerts.sample_news import ANSWER, HOSTILE, ID, TIME, news
from tests.alerts.test_messages_digest import OPERATORS, alerts
from tests.alerts.test_messages_weekly import brief, every_kind, week

PHONE = {"width": 360, "height": 740}
"""A small phone of today. [CSS pixel]"""


@pytest.fixture(scope="module")
def phone(browser) -> Any:
    return browser.new_context(viewport=PHONE, java_script_enabled=True, offline=True).new_page()


def show(phone, message) -> None:
    picture = base64.b64encode(message.picture or b"").decode()
    phone.set_content(message.html.replace("cid:picture", f"data:image/jpeg;base64,{picture}"))


def bottom(phone, selector: str) -> float:
    return phone.evaluate(
        "s => Math.max(...[...document.querySelectorAll(s)].map(e => e.getBoundingClientRect().bottom))", selector
    )


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("rule", ["failure", "disturbance", "erosion"])
@pytest.mark.parametrize("event", [AlertEvent.OPENED, AlertEvent.WORSENED, AlertEvent.WOKEN])
def test_what_where_picture_steps_and_link_are_on_one_screen_and_statistics_below(phone, language, rule, event):
    name = {"en": "Ulan Buh, north-eastern edge, plot 3", "zh": "乌兰布和沙漠东北缘三号固沙造林地块"}[language]
    show(phone, compose_alert(news(event, rule=rule, language=language, name=name, pictures=True), id=ID, time=TIME))
    for selector in ("h1", "img", "ol", f'a[href="{ANSWER}"]'):
        assert phone.locator(selector).count() == 1
        assert bottom(phone, selector) <= PHONE["height"]
    assert phone.evaluate("document.querySelector('img').naturalWidth") == 648
    table = phone.evaluate("document.querySelector('table').getBoundingClientRect().top")
    assert table > bottom(phone, f'a[href="{ANSWER}"]')
    assert phone.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") < 16
    assert bottom(phone, f'a[href="{ANSWER}"]') - phone.evaluate(
        "s => document.querySelector(s).getBoundingClientRect().top", f'a[href="{ANSWER}"]'
    ) >= 44  # a finger  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_scrolls_sideways_and_nothing_runs_whatever_the_name(phone, name):
    complaints = []
    phone.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
    messages = [compose_alert(news(name=name, pictures=True), id=ID, time=TIME)]
    messages.append(
        compose_digest(alerts(3, name=name.replace("{", "{{").replace("}", "}}")), id=ID, time=TIME, language="zh")
    )
    for message in messages:
        show(phone, message)
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert not phone.evaluate("[...document.querySelectorAll('script')].length")
    assert complaints == []


def test_no_other_message_scrolls_sideways_either(phone):
    messages = [compose_operators(kind, payloads, id=ID, time=TIME) for kind, payloads in OPERATORS.items()]
    messages += [brief(every_kind("zh")), brief([week(name, place={"name": name}) for name in HOSTILE])]
    messages.append(compose_digest(alerts(30), id=ID, time=TIME, language="en"))
    for message in messages:
        show(phone, message)
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_mail_asks_nothing_of_the_network():
    for message in (
        compose_alert(news(pictures=True), id=ID, time=TIME),
        compose_digest(alerts(3), id=ID, time=TIME, language="en"),
    ):
        assert not re.findall(r"""(?:src|background)=["'](?!cid:)""", message.html)
        assert "url(" not in message.html
