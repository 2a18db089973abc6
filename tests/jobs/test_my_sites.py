"""The pages behind a personal link: a manager's sites, one form for many alerts, and who may not use it."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from xml.etree import ElementTree as ET

import pytest
from shapely.geometry import box

from jobs.answers.serve import HEADERS
from jobs.messages.compose import compose
from jobs.register.answering import review_alert
from jobs.runtime.clock import now
from jobs.runtime.records import to_json
from jobs.runtime.settings import load
from monitor.alerts.alert import AlertEvent
from monitor.alerts.links import link_address
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import AlertLevel, Status
from tests import builders
from tests.accessibility import violations
from tests.alerts.test_photos import encoded, picture
from tests.jobs.answering import DAY, KEY, Programme, Server, add_site, assessment, form, serving, site
from tests.ledger.assessed import add_assessment

CHANNELS = """
[channels.mail]
kind = "smtp"
host = "127.0.0.1"
sender = "monitor@example.org"

[alerts]
channels = ["mail"]

[operators]
channels = ["mail"]
email = "ops@example.org"
"""
HOSTILE = "<script>alert(1)</script>{{7*7}}\r\nBcc: all@example.org\u202egnp.exe"
SURE = {"probability": 0.97, "p_failing": 0.97}
NUMBERS = count()


@pytest.fixture(scope="module")
def programme(tmp_path_factory) -> Programme:
    root = tmp_path_factory.mktemp("programme")
    return Programme(root, f"sqlite:///{root / 'regrowth.db'}", "https://answers.example/regrowth/", CHANNELS)


@pytest.fixture(scope="module")
def server(programme) -> Iterator[Server]:
    with serving(programme) as server:
        yield server


class Manager:
    def __init__(self, programme: Programme, server: Server) -> None:
        self.programme, self.server, self.number = programme, server, next(NUMBERS)
        self.address = f"li-{self.number}@example.org"
        with programme.ledger() as ledger, ledger.transaction() as t:
            self.link = t.make_personal_link("mail", self.address, now=now())
        self.path = self.path_of(timedelta(days=30))

    def path_of(self, valid: timedelta) -> str:
        return link_address("", KEY, self.link, datetime.now(UTC) + valid, folder="m")

    def add(self, key: str, *, verdict=None, **more) -> str:
        """A site with a red alert; returns the id of the alert."""
        place = site(f"{key}-{self.number}", **{"manager_email": self.address, "manager_language": "en"} | more)
        self.programme.add(place, assessment(place.id, **(verdict or {})))
        return f"{place.id}/failure"

    def add_without_alert(self, name: str, status: Status, **verdict) -> Site:
        place = site(f"{name}-{self.number}", name=name, manager_email=self.address, manager_language="en")
        judged = assessment(place.id, status=status, alert=AlertLevel.NONE, alert_rule=None, **verdict)
        with self.programme.ledger() as ledger, ledger.transaction() as t:
            add_site(t, place)
            add_assessment(t, place.id, DAY.isoformat(), "d", to_json(judged), version="1")
        return place

    def answer(self, fields, *photos):
        return self.server.post(f"{self.path}/answer", fields, *photos)

    def page(self, rest="", language="en") -> str:
        return self.server.get(f"{self.path}{rest}?language={language}").text

    def answers(self, alert):
        return self.programme.answers(alert)

    def state(self, alert):
        with self.programme.ledger() as ledger, ledger.reading() as t:
            return t.alert(alert)


@pytest.fixture
def manager(programme, server) -> Manager:
    return Manager(programme, server)


def test_the_page_has_the_sites_of_the_manager_alone_by_what_to_do_and_folds_the_rest(manager, programme, server):
    manager.add("plot", name="Failing plot", name_zh="失败地")
    manager.add_without_alert("Lagging plot", Status.LAGGING, theta=0.32, theta_low=0.15, theta_high=0.53)
    manager.add_without_alert("Good plot", Status.ON_TRACK, theta=1.0, theta_low=0.8, theta_high=1.2)
    Manager(programme, server).add("else", name="Plot of somebody else")
    page = manager.server.get(manager.path)
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= page.headers.items()
    order = ["Waiting for your answer", "Failing plot", "Keep an eye on", "Lagging plot", "32% of plan (15% to 53%)",
             "Nothing to do", "<details>", "Good plot"]  # fmt: skip
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert page.text.count('<svg class="gc row"') == 3
    assert "Plot of somebody else" not in page.text
    assert manager.address not in page.text
    assert "失败地" in manager.page(language="zh")
    assert " style=" not in page.text, "the policy of the pages allows no style but that of the page"


def test_many_alerts_are_answered_by_one_form_each_for_itself(manager):
    right, treated, later, left = (manager.add(name) for name in ("a", "b", "c", "d"))
    form = manager.page("/answer")
    assert re.findall(r'name="verdict:([^"]+)" value="confirmed"', form) == [right, treated, later, left]
    fields = {f"verdict:{right}": "confirmed", f"verdict:{treated}": "treated", f"verdict:{later}": "later",
              "note": "seen on Sunday"}  # fmt: skip
    page = manager.answer(fields)
    assert (page.status, "Your answers are recorded" in page.text) == (200, True)
    for alert, answer in ((right, "confirmed"), (treated, "treated")):
        (event,) = manager.answers(alert)
        assert (event["answer"], event["note"], event["personal_link"]) == (answer, "seen on Sunday", manager.link)
    assert manager.state(later)["state"] == "snoozed"
    assert manager.state(later)["snoozed_until"] >= (datetime.now(UTC).date() + timedelta(days=6)).isoformat()
    assert manager.state(left)["state"] == "open"
    for words in ("Answer all at once (1)", "put off until", "answered: confirmed in the field"):
        assert words in manager.page()


def test_a_photo_belongs_to_its_site(manager):
    first, second = manager.add("a"), manager.add("b")
    fields = {f"verdict:{first}": "confirmed", f"verdict:{second}": "confirmed"}
    body, kind = form(fields, ("a.jpg", encoded(picture(300, 200))), photos_in=f"photo:{second}")
    assert manager.server.request("POST", f"{manager.path}/answer", body, {"Content-Type": kind}).status == 200
    assert [len(manager.programme.photos(alert)) for alert in (first, second)] == [0, 1]


def test_one_refused_answer_does_not_lose_the_others(manager):
    sure, other = manager.add("a", verdict=SURE, name="Sure plot"), manager.add("b", name="Other plot")
    page = manager.answer({f"verdict:{sure}": "false-alarm", f"reason:{sure}": "", f"verdict:{other}": "confirmed"})
    assert page.status == 200
    for words in ("Recorded: 1", "Not recorded: 1", "Sure plot: A false alarm needs a reason here"):
        assert words in page.text
    assert f'name="verdict:{sure}" value="false-alarm" checked' in page.text, "the form is shown again, for it alone"
    assert f'name="verdict:{other}"' not in page.text
    assert (manager.answers(sure), len(manager.answers(other))) == ([], 1)
    assert manager.answer({f"verdict:{sure}": "false-alarm", f"reason:{sure}": "snow"}).status == 200
    assert (manager.state(sure)["state"], manager.state(sure)["unreviewed"]) == ("acknowledged", True)
    assert "answered, unreviewed: false alarm" in manager.page()


@pytest.mark.parametrize("fields", [{}, {"note": "nothing chosen"}])
def test_a_form_without_a_choice_says_so(manager, fields):
    manager.add("a")
    page = manager.answer(fields)
    assert (page.status, "Choose a finding for at least one site" in page.text) == (422, True)


@pytest.mark.parametrize("value", ["true", "", "LATER", "<b>"])
def test_an_unknown_finding_is_refused_and_named_with_its_site(manager, value):
    alert = manager.add("a", name="Plot A")
    page = manager.answer({f"verdict:{alert}": value})
    assert (page.status, "Plot A: Choose what you found." in page.text) == (422, True)
    assert manager.answers(alert) == []


def test_a_form_that_is_sent_again_records_nothing_twice_also_after_another_answer(manager):
    alert, later = manager.add("a"), manager.add("b")
    seen = re.search(rf'name="seen:{alert}" value="(\d+)"', manager.page("/answer"))[1]
    fields = {f"verdict:{alert}": "confirmed", f"seen:{alert}": seen, f"verdict:{later}": "later"}
    assert "recorded before" not in manager.answer(fields).text
    before = len(manager.programme.events(alert)), len(manager.programme.events(later))
    again = manager.answer(fields)
    assert again.status == 200
    assert again.text.count("recorded before") == 2
    assert (len(manager.programme.events(alert)), len(manager.programme.events(later))) == before
    assert manager.answer({f"verdict:{alert}": "treated"}).status == 200, "an answer can be changed"
    assert "recorded before" in manager.answer(fields).text
    assert [event["answer"] for event in manager.answers(alert)] == ["confirmed", "treated"]


def test_of_simultaneous_submits_of_one_form_one_is_recorded(manager):
    alerts = [manager.add(name) for name in "abc"]
    fields = {f"verdict:{alert}": "confirmed" for alert in alerts}
    with ThreadPoolExecutor(6) as pool:
        pages = list(pool.map(lambda _: manager.answer(fields), range(6)))
    assert {page.status for page in pages} == {200}
    assert [len(manager.answers(alert)) for alert in alerts] == [1, 1, 1]


def test_a_site_of_somebody_else_is_refused_by_the_name_that_was_sent_and_no_more_is_said(manager, programme, server):
    other = Manager(programme, server)
    own, foreign = manager.add("own"), other.add("theirs", name="Secret name")
    page = manager.answer(
        {f"verdict:{foreign}": "false-alarm", f"reason:{foreign}": "snow", f"verdict:{own}": "treated"}
    )
    assert page.status == 200
    assert f"{foreign.removesuffix('/failure')}: not recorded, it is not one of your sites." in page.text
    assert "Secret name" not in page.text
    assert (other.answers(foreign), len(manager.answers(own))) == ([], 1)
    for made_up in (foreign, "nothing/failure", "<script>alert(1)</script>/failure", "x"):
        page = manager.answer({f"verdict:{made_up}": "confirmed"})
        assert (page.status, "<script>alert" in page.text) == (403, False)
    assert "Secret name" not in manager.server.get(f"{manager.path}/answer?alert={foreign}").text


def test_two_managers_of_one_site_do_not_overwrite_each_other_unseen(programme, server):
    first, second = Manager(programme, server), Manager(programme, server)
    alert = first.add("both", manager_email=f"{first.address}; {second.address}", name="Common plot")
    seen = re.search(rf'name="seen:{alert}" value="(\d+)"', second.page("/answer"))[1]
    assert first.answer({f"verdict:{alert}": "confirmed", f"seen:{alert}": seen}).status == 200
    late = second.answer({f"verdict:{alert}": "treated", f"seen:{alert}": seen})
    assert late.status == 403
    assert "Common plot: not recorded. It was answered or changed while this page was open" in late.text
    assert "answered: confirmed in the field" in second.page()
    seen = re.search(r'name="seen:[^"]+" value="(\d+)"', server.get(f"{second.path}/answer?alert={alert}").text)[1]
    assert second.answer({f"verdict:{alert}": "treated", f"seen:{alert}": seen}).status == 200
    assert [event["personal_link"] for event in first.answers(alert)] == [first.link, second.link]


def test_an_expired_link_offers_a_new_one_which_goes_to_the_registered_address_alone(manager, programme):
    alert = manager.add("a")
    old = manager.path_of(timedelta(seconds=-1))
    for page in (manager.server.get(old), manager.server.post(f"{old}/answer", {f"verdict:{alert}": "confirmed"})):
        assert (page.status, f'action="/regrowth{old}/renew' in page.text) == (403, True)
    assert manager.answers(alert) == []
    for _ in range(3):
        sent = manager.server.post(f"{old}/renew", {})
        assert (sent.status, "/m/" in sent.text, manager.address in sent.text) == (200, False, False)
    with programme.ledger() as ledger, ledger.reading() as t:
        (notice,) = [row for row in t.notices("waiting") if row["kind"] == "personal_link"]
        assert (notice["channel"], notice["recipient"]) == ("mail", manager.address)
        message, _ = compose(t, load(programme.config), [{**notice, "message": "m", "first_tried": now()}], key=KEY)
    (new,) = re.findall(r"https://answers\.example/regrowth(/m/\S+)", message.text)
    assert manager.server.get(new).status == 200
    assert "Whoever holds this link can see these sites and answer for you" in message.text
    with programme.ledger() as ledger, ledger.transaction() as t:
        t.change_notices([notice["id"]], state="sent")


def test_a_forwarded_link_works_until_it_is_revoked_and_then_neither_opens_nor_renews(manager, programme):
    alert = manager.add("a")
    forwarded = manager.server.get(manager.path, {"User-Agent": "the phone of somebody else"})
    assert (forwarded.status, "Whoever holds this link" in forwarded.text) == (200, True)
    status, out, _ = builders.regrowth("managers", "revoke", manager.address, "--json", config=programme.config)
    assert (status, '"revoked": 1' in out) == (0, True)
    old = manager.path_of(timedelta(seconds=-1))
    for page in (
        manager.server.get(manager.path), manager.answer({f"verdict:{alert}": "confirmed"}),
        manager.server.get(f"{manager.path}/points.gpx"), manager.server.post(f"{old}/renew", {}),
        manager.server.post(f"{manager.path}/renew", {}),
    ):  # fmt: skip
        assert (page.status, "This link was revoked" in page.text) == (403, True)
    assert manager.answers(alert) == []
    assert builders.regrowth("managers", "revoke", manager.address, config=programme.config)[0] == 65
    with programme.ledger() as ledger, ledger.transaction() as t:
        assert t.make_personal_link("mail", manager.address, now=now()) != manager.link


def test_a_manager_who_left_sees_and_answers_nothing_and_gets_no_new_link(manager, programme):
    alert = manager.add("a", name="Plot of the successor")
    place = site(alert.removesuffix("/failure"), name="Plot of the successor", manager_email="new@example.org")
    with programme.ledger() as ledger, ledger.transaction() as t:
        add_site(t, place)
        notices = len(t.notices())
    page = manager.server.get(manager.path)
    assert (page.status, "No site is assigned to you any more" in page.text) == (200, True)
    assert manager.answer({f"verdict:{alert}": "confirmed"}).status == 403
    assert manager.server.post(f"{manager.path}/renew", {}).status == 200
    for path in ("", "/answer", f"/answer?alert={alert}", "/points.gpx"):
        assert "successor" not in manager.server.get(f"{manager.path}{path}").text
    assert manager.answers(alert) == []
    with programme.ledger() as ledger, ledger.reading() as t:
        assert len(t.notices()) == notices


def test_an_altered_or_foreign_token_opens_nothing_and_a_get_changes_nothing(manager, programme):
    alert = manager.add("a")
    answer = f"/m/{programme.token(alert.removesuffix('/failure'))}"
    for path in (f"{manager.path[:-1]}{'A' if manager.path[-1] != 'A' else 'B'}", "/m/x", answer):
        for rest in ("", "/answer", "/points.gpx"):
            assert manager.server.get(f"{path}{rest}").status == 403
        assert manager.server.post(f"{path}/renew", {}).status == 403
    before = programme.content()
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        for rest in ("", f"/answer?verdict:{alert}=confirmed", "/points.gpx", "/renew"):
            manager.server.request(method, f"{manager.path}{rest}")
    assert programme.content() == before


def test_hostile_names_are_inert_in_every_page(manager):
    alert = manager.add("a", name=HOSTILE, name_zh=HOSTILE, manager_name=HOSTILE)
    pages = [manager.page(), manager.page(language="zh"), manager.page("/answer"), manager.page("/points.gpx")]
    pages.append(manager.answer({f"verdict:{alert}": "confirmed", "note": HOSTILE}).text)
    for page in pages:
        assert [text in page for text in ("<script>alert", "{{7*7}}", "\u202e")] == [False, True, False]


def test_the_waypoints_are_the_worst_points_of_all_sites_to_look_at(manager, programme):
    alert = manager.add("a", name="Plot & A")
    manager.add_without_alert("Good plot", Status.ON_TRACK)
    ring = tuple(box(103.101, 39.001, 103.102, 39.002).exterior.coords)
    patch = WorstPatch(latitude=39.0015, longitude=103.1015, hectares=0.5, ring=ring)
    with programme.ledger() as ledger, ledger.transaction() as t:
        place = site(alert.removesuffix("/failure"))
        t.save_data({(ground_key(place), "worst_patch"): to_json(patch)})
    file = manager.server.get(f"{manager.path}/points.gpx")
    assert file.headers["content-type"] == "application/gpx+xml"
    space = {"g": "http://www.topografix.com/GPX/1/1"}
    points = ET.fromstring(file.text).findall("g:wpt", space)
    assert [(one.get("lat"), one.get("lon")) for one in points] == [("39.00150", "103.10150")]
    assert points[0].find("g:name", space).text == "Plot & A: Worst patch"


def test_managers_are_listed_with_their_sites_and_get_a_link_by_command(manager, programme, monkeypatch):
    manager.add("a", manager_name="Li Na", manager_language="zh")
    managers = partial(builders.regrowth, "managers", config=programme.config)
    assert {(manager.address, "Li Na")} <= {
        (one["manager"], one["name"]) for one in json.loads(managers("list", "--json")[1])
    }
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", KEY)
    status, out, _ = managers("link", manager.address)
    assert (status, out.startswith("https://answers.example/regrowth/m/")) == (0, True)
    assert manager.server.get(out.strip().removeprefix("https://answers.example")).status == 200
    assert managers("link", "nobody@example.org")[0] == 65


def test_without_a_channel_the_list_of_managers_says_that_messages_are_files(installation):
    builders.regrowth("sites", "add", str(installation.root / "sites.geojson"), config=installation.config)
    _, out, _ = builders.regrowth("managers", "list", config=installation.config)
    assert "no channel is configured (docs/channels.md); messages are files" in out


def test_an_alert_that_was_reopened_by_a_review_waits_for_an_answer_again(manager, programme):
    alert = manager.add("a", verdict=SURE)
    manager.answer({f"verdict:{alert}": "false-alarm", f"reason:{alert}": "snow"})
    assert "Answer all at once (1)" not in manager.page()
    with programme.ledger() as ledger, ledger.transaction() as t:
        review_alert(t, alert, close=False, why="no snow that week", managers=lambda site: [])
    assert "Answer all at once (1)" in manager.page()
    assert programme.events(alert)[-1]["kind"] == AlertEvent.REVIEWED


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("zh", "dark")])
def test_all_pages_fit_a_phone_and_axe_finds_nothing_and_the_form_needs_no_script(browser, manager, language, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    manager.add_without_alert("Good plot", Status.ON_TRACK)
    for scripts in (True, False):
        alerts = [manager.add(f"{key}-{scripts}", name="Minqin " * 12 + "x" * 80, verdict=SURE) for key in "ab"]
        context = browser.new_context(
            viewport={"width": 360, "height": 740}, java_script_enabled=scripts, bypass_csp=scripts,
            color_scheme=scheme,
        )  # fmt: skip
        tab, complaints = context.new_page(), []
        tab.on("console", lambda message: complaints.append(message.text))  # noqa: B023 - of this pass
        for rest in ("", "/answer"):
            tab.goto(f"{manager.server.url}{manager.path}{rest}?language={language}")
            if scripts:
                assert tab.evaluate("document.documentElement.scrollWidth") == 360
                assert violations(axe, tab) == []
        tab.check(f'input[name="verdict:{alerts[0]}"][value=confirmed]', force=True)
        tab.check(f'input[name="verdict:{alerts[1]}"][value=false-alarm]', force=True)
        assert tab.locator("select >> visible=true").count() == 1, "a reason is asked for where it is needed"
        with tab.expect_navigation():
            tab.click("button")
        assert tab.locator("[role=alert] li").count() == 1, "the false alarm lacks its reason"
        if scripts:
            assert violations(axe, tab) == []
        else:
            assert complaints == []
        context.close()
        assert (len(manager.answers(alerts[0])), manager.answers(alerts[1])) == (1, [])
