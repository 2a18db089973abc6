"""Missed nights, a clock that was set, leap days and daylight saving: every scene once, at most one notice an alert."""

import json
import shutil
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest

from jobs.cli import main
from jobs.install.backup import back_up
from jobs.install.restoring import restore
from jobs.night.pipeline import fetch_history, night
from jobs.register.answering import answer_alert
from jobs.runtime.installation import open_ledger
from jobs.runtime.settings import load
from monitor.alerts.alert import Verdict
from monitor.errors import TryLater
from monitor.ledger.models import Base
from tests.loopback.mail import MAIL_TO_MANAGERS, MailServer

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")

SOURCE = '[source]\nkind = "sample"\nsince = "{since}"\nseed = 1\n[outputs]\nroot = "."\n'


def installed(root, *, since, more=""):
    """One site of the sample, with the mail address of its manager."""
    from tests.faults.small import registry

    root.mkdir(parents=True, exist_ok=True)
    (root / "sites.geojson").write_text(registry([6]), encoding="utf-8")
    config = root / "regrowth.toml"
    config.write_text('[registry]\npath = "sites.geojson"\n' + SOURCE.format(since=since) + more, encoding="utf-8")
    return load(config)


def scenes(manifest):
    (site,) = manifest.sites
    assert site.state == "done"
    return site.scenes_new


def test_after_ten_missed_nights_one_night_catches_up_and_sends_one_message_about_an_alert(tmp_path):
    with MailServer() as server:
        settings = installed(tmp_path, since="2017-03-01", more=MAIL_TO_MANAGERS.format(port=server.port))
        night(settings, as_of=date(2018, 9, 18), pages=False)
        before = len(server.mails)
        missed = [date(2018, 9, 19) + timedelta(days=n) for n in range(10)]
        manifest = night(settings, as_of=missed[-1] + timedelta(days=1), pages=False)
        assert scenes(manifest) == ["romania-2018-09-19", "romania-2018-09-29"]
        assert [len(server.mails) - before, manifest.messages_sent] == [1, 1]
        for day in (missed[0], missed[-1]):  # should anybody run them later
            assert night(settings, as_of=day, pages=False).messages_sent == 0
        with open_ledger(settings) as ledger, ledger.reading() as t:
            assert len(t.alerts_of("demo-07")) == 1


def test_nights_across_a_leap_day_and_the_change_of_daylight_saving_are_the_same_in_every_time_zone(
    tmp_path, monkeypatch
):
    nights = (date(2020, 2, 28), date(2020, 2, 29), date(2020, 3, 1), date(2020, 3, 8), date(2020, 3, 29))
    found = {}
    for zone in ("UTC", "America/St_Johns"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        settings = installed(tmp_path / zone.replace("/", "-"), since="2020-02-01")
        new = [scene for day in nights for scene in scenes(night(settings, as_of=day))]
        assert len(new) == len(set(new)) > 3
        root = settings.outputs.root
        (status,) = json.loads((root / "status.json").read_text())
        assert status["as_of"] == "2020-03-29"
        found[zone] = new, status, (root / "sites/demo-07/observations.csv").read_bytes()
    monkeypatch.undo()
    time.tzset()
    assert found["UTC"] == found["America/St_Johns"]


def content(settings, folder):
    """Files and rows of an installation, without who held the ledger last."""
    with open_ledger(settings) as ledger, ledger.reading() as t:
        rows = {
            table.name: t._connection.execute(table.select()).all()
            for table in Base.metadata.sorted_tables
            if table.name != "ledger"
        }
    files = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("regrowth.db")}
    return rows, {path: path.read_bytes() for path in files}


def test_a_clock_set_back_is_named_before_anything_is_written_and_no_advice_touches_what_is_sound(tmp_path):
    settings = installed(tmp_path, since="2020-02-01")
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        ahead = datetime.now(UTC) + timedelta(days=1)
        t.begin_run("night-of-a-fast-clock", "night", "2020-03-01", now=ahead.isoformat(timespec="milliseconds"))
    before = content(settings, tmp_path)
    for job in (partial(night, as_of=date(2020, 3, 1)), partial(fetch_history, until=date(2020, 3, 1))):
        with pytest.raises(
            TryLater, match=r"nothing was done: the clock shows .* the newest run .*timedatectl"
        ) as refused:
            job(settings)
        assert not {"delete", "move", "restore"} & set(str(refused.value).lower().split())
    assert content(settings, tmp_path) == before


def test_after_a_night_with_a_clock_a_year_ahead_a_backup_is_the_way_on(tmp_path, monkeypatch, capsys):
    root, today, ahead = tmp_path / "programme", date(2018, 10, 5), timedelta(days=365)
    offered = '2017-03-01"\nuntil = "2018-10-05'  # there are no scenes of the future
    with MailServer() as server:
        settings = installed(root, since=offered, more=MAIL_TO_MANAGERS.format(port=server.port))
        night(settings, as_of=date(2018, 9, 30))
        assert len(server.mails) == 1
        with open_ledger(settings) as ledger, ledger.transaction() as t:
            (alert,) = t.alerts()
            answer_alert(t, alert["id"], Verdict.CONFIRMED, None, None, date(2018, 10, 1), "command")
        back_up(settings, tmp_path / "backup", config=root / "regrowth.toml")
        undisturbed = load(shutil.copytree(root, tmp_path / "undisturbed") / "regrowth.toml")
        night(undisturbed, as_of=today)

        class Ahead(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + ahead

        with monkeypatch.context() as patch:
            patch.setattr("jobs.runtime.clock.datetime", Ahead)
            run = night(settings, as_of=today + ahead).run
        sent = len(server.mails)
        with pytest.raises(
            TryLater, match=rf"the newest run in the ledger, {run}, is of .*'regrowth restore' with the"
        ):
            night(settings, as_of=today)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["doctor", "--json", "--config", str(root / "regrowth.toml")])
        (clock,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["check"] == "clock"]
        assert run in clock["message"]
        assert "'regrowth restore' with the newest backup from before that run" in clock["fix"]

        with (root / "regrowth.toml").open("a") as config:
            config.write('[ledger]\nurl = "sqlite:///new.db"\n[store]\nroot = "new"\n')
        settings = load(root / "regrowth.toml")
        restore(settings, tmp_path / "backup")
        manifest = night(settings, as_of=today)
        assert (manifest.messages_sent, len(server.mails)) == (0, sent)
        assert scenes(manifest) != []
        for name in ("status.json", "sites/demo-07/observations.csv", "index.html"):
            assert (root / name).read_bytes() == (undisturbed.outputs.root / name).read_bytes()
        with open_ledger(settings) as ledger, ledger.reading() as t:
            (alert,) = t.alerts()
            assert [event["kind"] for event in t.events(alert["id"])] == ["opened", "answered"]
