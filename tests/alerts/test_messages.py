"""What a manager is sent about an alert: complete, in their language, on one screen, and nothing a name can break."""

import email
import io
import json
import math
import re
from dataclasses import replace
from datetime import date
from email.policy import default
from html.parser import HTMLParser

import pytest
from PIL import Image

from monitor.alerts.alert import AlertEvent
from monitor.alerts.mail import as_mail
from monitor.alerts.messages import compose_alert
from monitor.sites.names import has_invisible
from monitor.verdict.assessment import AlertLevel, Status
from tests.alerts.sample_news import ANSWER, HOSTILE, ID, PAGE, PATCH, TIME, assessment, news, picture, site

EVENTS = [
    AlertEvent.OPENED, AlertEvent.WORSENED, AlertEvent.REOPENED, AlertEvent.WOKEN, AlertEvent.REMINDED,
    AlertEvent.HANDED_OVER, AlertEvent.RESOLVED,
]  # fmt: skip


class _Text(HTMLParser):
    """Text of an HTML page, its elements, and the addresses it links to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.links, self.alt = "", [], [], []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        self.alt += [value for name, value in attributes if name == "alt"]


def compose(item=None, **more):
    return compose_alert(item or news(**more), id=ID, time=TIME)


@pytest.mark.parametrize("form", ["plain", "html"])
def test_a_message_says_what_where_since_when_how_sure_the_share_of_the_uplift_and_what_to_do(form):
    message = compose(pictures=True)
    text = message.text if form == "plain" else _Text(message.html).text
    for words in (
        "Ulan Buh, plot 3", "ulan-03", "Red alert",  # which site
        "Regrowth is not taking hold: cover is 2 points above the control ground; the plan for now is 29 points.",
        "Worst patch, 12.4 of 94.6 ha", "40.10512°N, 106.90534°E",  # where
        "Alert since", "20 August 2021",  # since when
        "97% (not taking hold)",  # how sure
        "8% (95% interval −7% to 23%)",  # share of the expected uplift
        "+2 points (95% interval −2 to +7 points); planned +29 points", "12 August 2021", "Li Na",
        "this season +3 points (± 2); last season −1 points (± 2)",  # measured
        "Go to the worst patch and photograph it.", "Count survivors", "Answer below",  # three steps
    ):  # fmt: skip
        assert words in text, words
    assert not re.search(r"(^|[ (])-\d", text)  # true minus signs
    assert not re.search(r"\d{4}-\d\d-\d\d", text.replace(ANSWER, ""))  # dates in words


def test_a_chinese_manager_is_written_to_in_chinese():
    message = compose(language="zh", name="乌兰布和三号", pictures=True)
    assert message.subject == "[红色警报] 乌兰布和三号：未见成效"
    assert message.language == "zh"
    for words in ("未见成效：植被覆盖比对照地高 2 个百分点，按规划此时应高 29 个百分点。", "到最差处查看并拍照。",
                 "最差处 186 亩，地块共 1,419 亩（94.6 公顷）", "8%（95% 区间 −7% 至 23%）", "2021年8月20日",
                 "本季 +3 个百分点（± 2）；上一季 −1 个百分点（± 2）"):  # fmt: skip
        assert words in message.text
        assert words in _Text(message.html).text
    assert '<html lang="zh-Hans">' in message.html
    english = re.sub(r"https?:\S+|ulan-03|WGS|GPS|GPX|KML|Li Na|[NE]\b", "", f"{message.text}{message.brief}")
    assert not re.search("[A-Za-z]{2}", english)


def test_there_is_one_link_to_answer_and_every_link_stands_in_the_plain_part_too():
    message = compose(pictures=True)
    page = _Text(message.html)
    assert page.links.count(ANSWER) == 1
    assert message.text.count(ANSWER) == 1
    assert set(page.links) - {"cid:picture"} == set(re.findall(r"https?://\S+", message.text))
    assert PAGE in message.text


def test_without_addresses_no_link_is_made_up():
    message = compose(page=None, answer=None)
    links = re.findall(r"https?://\S+", f"{message.text} {message.links} {' '.join(_Text(message.html).links)}")
    assert links
    assert all(link.startswith("https://uri.amap.com/marker") for link in links)
    assert "Report it to your office" in message.text
    assert "Answer below" not in message.text
    assert "None" not in message.text + message.brief + message.links + message.html


@pytest.mark.parametrize(("event", "subject", "change"), [
    (AlertEvent.OPENED, "[Red alert] Ulan Buh, plot 3: regrowth absent", None),
    (AlertEvent.WORSENED, "[Red alert, worse] Ulan Buh, plot 3: regrowth absent", "It was a watch before."),
    (AlertEvent.REOPENED, "[Red alert, again] Ulan Buh, plot 3: regrowth absent", "had been resolved"),
    (AlertEvent.WOKEN, "[Red alert, still there] Ulan Buh, plot 3: regrowth absent", "was snoozed"),
    (AlertEvent.REMINDED, "[Red alert, reminder] Ulan Buh, plot 3: regrowth absent", "nobody has answered it"),
    (AlertEvent.HANDED_OVER, "[Red alert, now yours] Ulan Buh, plot 3: regrowth absent", "You have taken over"),
    (AlertEvent.RESOLVED, "[Resolved] Ulan Buh, plot 3: on track", "has not been seen for 30 days"),
])  # fmt: skip
def test_each_event_says_what_changed(event, subject, change):
    status = Status.ON_TRACK if event is AlertEvent.RESOLVED else Status.FAILING
    message = compose(news(event, assessment=assessment(status=status)))
    assert message.subject == subject
    for text in (message.text, message.brief, message.html):
        assert change is None or change in text
    resolved = event is AlertEvent.RESOLVED
    assert ("What to do" in message.text) != resolved
    assert (ANSWER in message.text) != resolved
    assert (ANSWER in message.links) != resolved
    assert bool(message.attachments) != resolved


def test_the_changes_differ_in_both_languages():
    for language in ("en", "zh"):
        sentences = {compose(news(event, language=language)).brief.splitlines()[2] for event in EVENTS[1:]}
        assert len(sentences) == len(EVENTS) - 1


def test_a_watch_is_early_news_and_does_not_claim_a_failure():
    message = compose(
        news(level=AlertLevel.WATCH, assessment=assessment(alert=AlertLevel.WATCH, status=Status.LAGGING))
    )
    assert message.subject == "[Watch] Ulan Buh, plot 3: regrowth may be absent"
    assert "regrowth absent" not in message.text
    assert "Regrowth may not be taking hold" in message.text
    assert "is not taking hold" not in message.text
    assert "early news without a guarantee" in message.text


def test_a_site_that_fails_in_part_is_not_called_failing_as_a_whole():
    part = assessment(
        alert=AlertLevel.WATCH, theta=0.6, reasons=("SPATIAL_PATCH",), hectares_failing=38.2,
        hectares_failing_low=33.0, hectares_failing_high=45.5,
    )  # fmt: skip
    text = compose(news(level=AlertLevel.WATCH, assessment=part)).text
    assert "A large part of the site is not taking hold" in text
    assert "38.2 ha (33.0 to 45.5 ha)" in text


@pytest.mark.parametrize(("language", "watched", "sure", "claim", "may"), [
    (
        "en", "[Watch] Ulan Buh, plot 3: possible sudden loss", "[Red alert, worse] Ulan Buh, plot 3: sudden loss",
        "was lost suddenly, most likely between 26 May 2021 and 5 June 2021",
        "may have been lost suddenly, most likely between 26 May 2021 and 5 June 2021",
    ),
    (
        "zh", "[关注] Ulan Buh, plot 3：可能突然受损", "[红色警报（升级）] Ulan Buh, plot 3：突然受损",
        "突然受损，很可能在2021年5月26日至2021年6月5日之间",
        "可能突然受损，很可能在2021年5月26日至2021年6月5日之间",
    ),
])  # fmt: skip
def test_a_loss_is_called_possible_while_it_is_watched_and_certain_once_it_is_red(language, watched, sure, claim, may):
    first = news(rule="disturbance", level=AlertLevel.WATCH, language=language)
    first = replace(first, assessment=replace(first.assessment, probability=0.7))
    later = news(AlertEvent.WORSENED, rule="disturbance", language=language)
    later = replace(later, assessment=replace(later.assessment, probability=0.9))
    message = compose(first)
    assert message.subject == watched
    assert may in message.text
    message = compose(later)
    assert message.subject == sure
    assert claim in message.text
    assert may not in message.text


def test_the_message_of_a_loss_says_hectares_place_and_dates():
    item = news(rule="disturbance")
    area = {"hectares_lost": 12.34, "hectares_lost_low": 9.1, "hectares_lost_high": 16.6}
    item = replace(item, assessment=replace(item.assessment, **area), patch=PATCH)
    text = compose(item).text
    assert "between 26 May 2021 and 5 June 2021, on about 12.3 of 94.6 ha." in text
    assert f"Worst patch, {PATCH.hectares:.1f} of 94.6 ha: {PATCH.latitude:.5f}" in text
    assert "Lost a quarter of its cover or more: 12.3 ha (9.1 to 16.6 ha)" in text
    assert "Loss confirmed: 3 July 2021" in text
    whole = replace(item, assessment=replace(item.assessment, hectares_lost=94.0))
    assert "Nearly the whole site, 94.0 of 94.6 ha; start here" in compose(whole).text


def test_a_loss_of_unknown_area_means_the_whole_site_and_gives_a_point_inside_it():
    message = compose(rule="disturbance")
    assert "The whole site, 94.6 ha; a point inside" in message.text
    assert "40.10500°N, 106.90500°E" in message.text
    assert "orst patch" not in message.text


def test_a_site_that_fails_nearly_everywhere_is_called_so_by_its_patch_or_by_its_hectares():
    almost = replace(news().patch, hectares=90.1)
    assert "Nearly the whole site, 90.1 of 94.6 ha; start here" in compose(patch=almost).text
    areas = {"hectares_failing": 93.0, "hectares_failing_low": 60.0, "hectares_failing_high": 94.6}
    assert "Nearly the whole site, 93.0 of 94.6 ha; start here" in compose(assessment=assessment(**areas)).text


@pytest.mark.parametrize("rule", ["failure", "disturbance", "erosion"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("answer", [ANSWER, None])
def test_each_rule_gives_three_steps_in_each_language(rule, language, answer):
    message = compose(rule=rule, language=language, answer=answer)
    word = {"failure": ("survivors", "成活"), "disturbance": ("soon", "尽快"), "erosion": ("rain", "雨后")}[rule]
    for text in (message.text, message.brief):
        assert word[language == "zh"] in text
        assert re.findall(r"^(\d)\. ", text, re.M) == ["1", "2", "3"]
    assert _Text(message.html).tags.count("li") == 3


def test_the_same_news_gives_the_same_message():
    assert compose(pictures=True) == compose(pictures=True)


@pytest.mark.parametrize("event", EVENTS)
def test_a_message_threads_under_the_one_it_follows(event):
    assert compose_alert(news(event), id=ID, time=TIME, follows="f" * 40).follows == "f" * 40


def test_the_picture_is_one_small_jpeg_with_before_and_now_side_by_side_and_dates_as_text_below():
    message = compose(pictures=True)
    with Image.open(io.BytesIO(message.picture)) as image:
        assert image.format == "JPEG"
        assert image.size == (648, 320)
    assert len(message.picture) <= 35_000
    page = _Text(message.html)
    for caption in ("Before, 14 October 2016", "Now, 12 August 2021", "Yellow: the worst patch."):
        assert caption in page.text
        assert caption in page.alt[0]
    assert "Width: 1.0 km." in page.text  # twice the site, which is a third of 150 pixels of 10 m


def test_a_message_about_a_loss_shows_the_scenes_before_and_after_it():
    item = news(rule="disturbance", pictures=True, of_loss=True)
    for language, captions in (
        ("en", ("Before the loss, 14 October 2016", "After it, 12 August 2021")),
        ("zh", ("受损前，2016年10月14日", "受损后，2021年8月12日")),
    ):
        page = _Text(compose(replace(item, site=replace(item.site, manager_language=language)), pictures=True).html)
        for caption in captions:
            assert caption in page.text
            assert caption in page.alt[0]


def test_both_outlines_can_be_seen_in_the_picture():
    dark = picture(date(2021, 8, 12), patch=True)
    dark = replace(dark, rgb=dark.rgb // 4)
    message = compose(news(before=None, now=dark))
    with Image.open(io.BytesIO(message.picture)) as image:
        pixels = image.convert("RGB")
        assert image.size == (320, 320)
        white = sum(min(pixels.getpixel((x, 80))) > 200 for x in range(320))
        yellow = sum(p[0] > 180 and p[2] < 120 for p in (pixels.getpixel((x, 160)) for x in range(320)))
    assert white > 130  # the upper side of the site, half of the width
    assert yellow >= 4  # two sides of the patch


def test_a_picture_of_any_size_of_site_and_of_missing_ground_stays_small():
    for size in ((900, 900), (60, 600), (20, 20)):
        shown = picture(date(2021, 8, 12), size=size)
        shown.rgb[:, : size[1] // 2] = 0  # not seen
        message = compose(news(before=shown, now=shown))
        assert len(message.picture) <= 35_000


def test_without_pictures_the_message_mentions_none():
    message = compose()
    assert message.picture is None
    assert "cid:" not in message.html
    assert "Yellow" not in message.html


def test_the_whole_mail_with_picture_and_attachments_is_complete_within_100_kb():
    item = news(pictures=True, name="民" * 300, language="zh", site=site(id="民" * 130, manager_language="zh"))
    message = compose(item)
    mail = as_mail(message, sender="monitor@example.org", recipient="li@example.org")
    raw = mail.as_bytes()
    assert len(raw) <= 100_000
    names = [part.get_filename() for part in email.message_from_bytes(raw, policy=default).iter_attachments()]
    assert [name[-4:] for name in names if name] == [".gpx", ".kml"]
    assert b"<picture>" in raw


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_text_for_messengers_is_short_and_its_links_come_last(event, language):
    message = compose(news(event, language=language, name="民" * 300, pictures=True))
    assert "http" not in message.brief
    assert all("http" in line for line in message.links.splitlines())
    if event is not AlertEvent.RESOLVED:
        assert message.links.splitlines()[-1].endswith(ANSWER)
    assert len(f"{message.brief}\n{message.links}".encode()) <= 2_048
    assert not message.brief.endswith("\n")


@pytest.mark.parametrize(("language", "shown"), [("zh", "乌兰三号"), ("en", "Plot 3")])
def test_a_chinese_message_calls_the_site_by_its_chinese_name(language, shown):
    message = compose(news(site=site(name="Plot 3", name_zh="乌兰三号", manager_language=language)))
    names = {name for name in ("乌兰三号", "Plot 3") if name in message.subject + message.text + message.html}
    assert names == {shown}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("event", [AlertEvent.OPENED, AlertEvent.RESOLVED])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_hostile_name_is_only_a_name(name, event, language):
    names = {"name": "Plot", "name_zh": name} if language == "zh" else {"name": name}
    place = site(id=name, **names, manager_name=name, province=name, manager_language=language)
    message = compose(news(event, site=place, pictures=True))
    for text in (message.subject, message.text, message.brief, message.links, message.html):
        lines = text.splitlines()
        assert not any(has_invisible(line) for line in lines)
        assert "49" not in re.sub(r"https?://\S+", "", text)
        assert not any(line.lstrip().startswith("Bcc:") for line in lines)
    assert "\n" not in message.subject
    page = _Text(message.html)
    assert not {"script", "h1x", "object", "iframe"} & set(page.tags)
    assert page.tags.count("h1") == 1
    assert page.tags.count("img") == 1
    assert all(link == "cid:picture" or link.startswith("https://") for link in page.links)
    raw = as_mail(message, sender="monitor@example.org", recipient="li@example.org").as_bytes()
    got = email.message_from_bytes(raw, policy=default)
    assert got["Bcc"] is None
    assert raw.isascii()
    assert json.loads(json.dumps(dict(message.record), allow_nan=False))["site"]["id"] == name


def test_braces_in_a_name_stay_as_they_are():
    assert "{{7*7}}" in compose(name="{{7*7}} {what}").text
    assert "{{7*7}} {what}" in compose(name="{{7*7}} {what}").subject


def test_the_record_has_null_where_there_is_no_number():
    broken = assessment(theta=math.nan, e_failure=math.inf, last_observed=None)
    record = compose(news(assessment=broken, number=3)).record
    values = json.loads(json.dumps(record, allow_nan=False))
    assert values["assessment"]["theta"] is None
    assert values["assessment"]["e_failure"] is None
    assert values["alert"]["level"] == "red"
    assert values["site"]["latitude"] == 40.105
    assert values["patch"]["hectares"] == 12.4
    assert (values["id"], values["message_id"]) == ("ulan-03/failure/3", ID)
    assert values["answer"] == ANSWER


def test_a_site_with_nothing_known_can_still_be_reported():
    nothing = dict.fromkeys(
        ("theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "expected", "probability",
         "last_observed", "p_failing", "p_lagging", "p_on_track")
    )  # fmt: skip
    bare = news(assessment=assessment(**nothing), site=site(manager_name=None), patch=None, page=None, answer=None)
    message = compose(bare)
    assert "Regrowth is not taking hold." in message.text
    assert "Last usable scene: none" in message.text
    for text in (message.text, message.brief, message.links, message.html):
        assert "None" not in text
        assert "nan" not in text


@pytest.mark.parametrize(("uplift", "expected", "sentence"), [
    (0.012, 0.289, "cover is 1 point above the control ground; the plan for now is 29 points."),
    (-0.034, 0.289, "cover is 3 points below the control ground; the plan for now is 29 points above it."),
    (0.001, 0.011, "cover is level with the control ground; the plan for now is 1 point above it."),
])  # fmt: skip
def test_numbers_have_their_unit_and_one_point_is_singular(uplift, expected, sentence):
    assert sentence in compose(assessment=assessment(uplift=uplift, expected=expected)).text
