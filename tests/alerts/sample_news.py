"""News of made-up alerts, for tests of messages."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
from shapely.geometry import box

from monitor.alerts.alert import AlertEvent
from monitor.alerts.channels.channel import Message
from monitor.alerts.news import AlertNews, SitePicture, WorstPatch
from monitor.sites.names import has_invisible
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from tests import builders

TIME = datetime(2021, 8, 21, 2, 30, tzinfo=UTC)
ID = "0123456789abcdef0123456789abcdef01234567"
ANSWER = "https://answers.example.org/answer/eyJuIjo0Mn0.aSkXyQ.7rIh0PqkzFv3mYw2c8Jd5LQ1"
PAGE = "https://pages.example.org/sites/ulan-03/index.html"
PATCH = WorstPatch(
    latitude=40.10512, longitude=106.90534, hectares=12.4,
    ring=((106.904, 40.104), (106.907, 40.104), (106.907, 40.106), (106.904, 40.106), (106.904, 40.104)),
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>",
    "{{7*7}} {% for x in y %} {what} {0}",
    "Ulan\r\nBcc: all@example.org\r\n\r\n<h1>x</h1>",
    "\u202egnp.exe\u2066\u200bx\x00\ufffe",
    "=cmd|' /C calc'!A0",
    '"><img src=x onerror=alert(1)>&amp;]]>',
    "民" * 300,
)
"""Names that someone might enter to break what shows them."""


def site(**more) -> Site:
    given = {
        "id": "ulan-03", "name": "Ulan Buh, plot 3", "geometry": box(106.9, 40.1, 106.91, 40.11),
        "start": date(2017, 4, 1), "plan": Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5), "hectares": 94.6,
        "manager_name": "Li Na",
    }  # fmt: skip
    return builders.site(**(given | more))


def assessment(**more) -> Assessment:
    measured = {"measured": 0.03, "measured_se": 0.022, "measured_season": -0.01, "measured_season_se": 0.018}
    return builders.assessment(**({"site": "ulan-03"} | measured | more))


def check_only_names(message: Message) -> None:
    """Whatever people wrote as names is text, and nothing in it is evaluated."""
    assert "<script" not in message.html
    assert "<img" not in message.html
    assert "49" not in message.text.replace("4967", "")
    for text in (message.subject, message.text, message.brief):
        assert not any(has_invisible(line) or line.startswith("Bcc:") for line in text.splitlines())


def picture(day: date, *, size: tuple[int, int] = (150, 150), seed: int = 0, patch: bool = False) -> SitePicture:
    """Patchy ground with a site of a third of the width in the middle."""
    height, width = size
    patches = np.random.default_rng(seed).integers(100, 150, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    rgb = patches.repeat(5, axis=0).repeat(5, axis=1)[:height, :width]
    line = np.array([[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]], float) * (width / 3, height / 3)
    inner = (line - line.mean(axis=0)) * 0.4 + line.mean(axis=0)
    return SitePicture(date=day, rgb=rgb, pixel=10.0, outline=line, patch=inner if patch else None)


def news(
    event: AlertEvent = AlertEvent.OPENED,
    *,
    rule: str = "failure",
    level: AlertLevel = AlertLevel.RED,
    language: str = "en",
    name: str | None = None,
    pictures: bool = False,
    **more,
) -> AlertNews:
    """News of an alert; `more`: fields of :class:`AlertNews`."""
    place = more.pop("site", None) or site(manager_language=language)
    place = place if name is None else replace(place, name=name)
    verdict = assessment(alert=level, alert_rule=rule, site=place.id)
    if rule == "disturbance":
        verdict = replace(
            verdict, status=Status.DISTURBED, loss_after=date(2021, 5, 26), loss_on=date(2021, 6, 5),
            loss_confirmed_on=date(2021, 7, 3), loss_from=0.14, loss_to=-0.02,
        )  # fmt: skip
    alert = builders.alert(place.id, rule, opened=date(2021, 8, 20), level=level)
    given = {
        "alert": alert, "event": event, "day": date(2021, 8, 20), "site": place, "assessment": verdict,
        "patch": PATCH if rule == "failure" and event is not AlertEvent.RESOLVED else None, "page": PAGE,
        "answer": ANSWER,
    }  # fmt: skip
    if pictures:
        given |= {
            "before": picture(date(2016, 10, 14), seed=1, patch=rule == "failure"),
            "now": picture(date(2021, 8, 12), seed=2, patch=rule == "failure"),
        }
    return AlertNews(**(given | more))
