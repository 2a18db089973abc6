"""A failed night reaches the operators once, the heartbeat says how each night ended, and neither disturbs a night."""

import json
import logging
import re
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from unittest.mock import Mock

import pytest

from jobs.cli import main
from jobs.messages.outbox import send
from jobs.reports import night_report
from jobs.reports.failed_night import WITHOUT_LEDGER
from jobs.reports.heartbeat import DEADLINE, END_GRACE, START_GRACE
from jobs.reports.manifest import Manifest, SiteResult
from jobs.reports.night import Night
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import hold_lock
from jobs.runtime.records import to_json
from monitor.errors import BadConfiguration, BadData, TryLater
from monitor.ledger.ledger import LOCK_WAIT, Ledger
from tests import forked
from tests.ledger.conftest import postgresql as postgresql
from tests.loopback.mail import MAIL_CHANNEL, MailServer
from tests.loopback.receivers import Receiver

DAY = "2018-09-30"
SECRET = "0f9b3c5e-canary-4d1a"


@pytest.fixture
def post():
    with MailServer() as server:
        yield server


@pytest.fixture
def beats():
    with Receiver() as server:
        yield server


@pytest.fixture
def configure(installation):
    return installation.configure


def whole_night(*sites, **more):
    return Manifest(run="r", as_of=date.fromisoformat(DAY), sites=list(sites), **({"registry": {"said": []}} | more))


def failure(status, *sites, error=None):
    return Night(as_of=date.fromisoformat(DAY), status=status, error=error, manifest=whole_night(*sites)).failure()


def heartbeat(server):
    return f'[heartbeat]\nurl = "http://{server.host}/{SECRET}"\nallow_hosts = ["{server.host}"]'


def operators(post):
    return MAIL_CHANNEL.format(port=post.port) + '[operators]\nchannels = ["mail"]\nemail = "ops@example.org"\n'


@pytest.fixture
def mailbox(post, configure):
    """Mail server of the operators, whose address is in the configuration."""
    configure(operators(post))
    return post


@pytest.fixture
def command(installation, capsys):
    """Run a command as a scheduler does; returns exit status and what it wrote on stdout and stderr."""

    def _command(*arguments):
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--config", str(installation.config)])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return left.value.code, *capsys.readouterr()

    return _command


@pytest.fixture
def run(command):
    """Run a night; returns exit status and what it wrote on stderr."""
    return lambda *options, day=DAY: command("run", "--as-of", day, *options)[::2]


@pytest.fixture
def notify(command):
    """Run the command of the unit; returns exit status and what it wrote on stdout."""
    return lambda: command("notify", "failed-night")[:2]


@pytest.fixture
def nights(monkeypatch):
    """Replace the stages of a night by a result or an error."""

    def replace(states=(), error=None, **manifest):
        sites = [
            SiteResult(site=f"s{n}", state=state, error=None if state == "done" else f"site 's{n}': it is broken")
            for n, state in enumerate(states)
        ]
        whole = whole_night(*sites, **manifest)

        monkeypatch.setattr("jobs.night.pipeline.night", Mock(side_effect=error, return_value=whole))

    return replace


def paths(server):
    return [request.path for request in server.requests]


@pytest.mark.parametrize(("states", "error", "status"), [
    (["done", "done"], None, Exit.DONE), (["done", "failed"], None, Exit.SOME_FAILED),
    (["done", "deferred"], None, Exit.SOME_FAILED), (["failed"], None, Exit.ALL_FAILED),
    (["deferred"], None, Exit.TRY_LATER), ([], BadData("there is no site"), Exit.BAD_DATA),
    ([], RuntimeError("never seen before"), Exit.BUG), ([], TryLater("the scheduler is down"), Exit.TRY_LATER),
    ([], BadConfiguration("wrong credentials"), Exit.CONFIGURATION), ([], KeyboardInterrupt(), Exit.STOPPED),
])  # fmt: skip
def test_the_heartbeat_starts_and_ends_with_the_exit_status(beats, configure, run, nights, states, error, status):
    configure(heartbeat(beats))
    nights(states, error)
    assert run()[0] == status
    end = f"/{SECRET}" if status == 0 else f"/{SECRET}/fail?exit_status={int(status)}"
    assert paths(beats) == [f"/{SECRET}/start", end]
    assert {request.method for request in beats.requests} == {"GET"}


def test_only_a_night_pings_not_a_dry_run(beats, configure, run):
    configure(heartbeat(beats))
    assert run("--dry-run")[0] == Exit.DONE
    assert beats.requests == []


def test_a_night_ahead_of_time_is_a_failure_to_the_heartbeat_and_no_message(beats, post, configure, run):
    configure(heartbeat(beats), operators(post))
    assert run(day="2199-01-01")[0] == Exit.USAGE
    assert paths(beats)[-1] == f"/{SECRET}/fail?exit_status=64"
    assert post.mails == []


def test_a_configuration_that_is_wrong_elsewhere_still_pings_and_reaches_the_operators(beats, post, configure, run):
    configure(heartbeat(beats), operators(post), "[stroe]\nroot = 'x'")
    status, printed = run()
    assert status == Exit.CONFIGURATION
    sent, error = printed.splitlines()
    assert ("message sent" in sent, "'stroe'" in error) == (True, True)
    assert paths(beats) == [f"/{SECRET}/start", f"/{SECRET}/fail?exit_status=78"]
    (mail,) = post.mails
    assert "'stroe'" in mail.text


def test_a_configuration_that_stays_wrong_is_one_message_a_night(post, configure, run, installation, monkeypatch):
    configure(operators(post), "[stroe]\nroot = 'x'")
    (installation.root / "store").mkdir(exist_ok=True)
    monkeypatch.chdir(installation.root.parent)
    for _ in range(2):
        assert run()[0] == Exit.CONFIGURATION
    assert len(post.mails) == 1


def test_without_a_configuration_the_heartbeat_of_the_environment_is_used(beats, run, installation, monkeypatch):
    monkeypatch.setenv("REGROWTH_HEARTBEAT__URL", f"http://{beats.host}/{SECRET}")
    monkeypatch.setenv("REGROWTH_HEARTBEAT__ALLOW_HOSTS", f'["{beats.host}"]')
    for text in (None, "[unfinished", "[stroe]\n"):
        installation.config.unlink(missing_ok=True)
        if text is not None:
            installation.config.write_text(text, encoding="utf-8")
        assert run()[0] == Exit.CONFIGURATION
    assert paths(beats) == [f"/{SECRET}/start", f"/{SECRET}/fail?exit_status=78"] * 3


@contextmanager
def silent():
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held, stop = [], threading.Event()

        def accept():
            server.settimeout(0.1)
            while not stop.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize("status", [Exit.DONE, Exit.BAD_DATA])
def test_a_heartbeat_address_that_never_answers_delays_a_night_by_less_than_5_s(configure, run, nights, status):
    nights(["done"], None if status == Exit.DONE else BadData("no site"))
    run()  # imports
    with silent() as host:
        configure(f'[heartbeat]\nurl = "http://{host}/{SECRET}"\nallow_hosts = ["{host}"]')
        assert START_GRACE + END_GRACE < 5
        begun = time.monotonic()
        left, printed = run()
        assert time.monotonic() - begun < DEADLINE, "a request was waited for until it was given up"
    assert left == status
    assert printed.count("heartbeat not delivered") == 1
    assert SECRET not in printed


@pytest.mark.parametrize("fault", ["dead", "refused", "redirect", "error", "drip", "closes"])
def test_a_heartbeat_address_that_fails_changes_nothing_and_is_logged_once_by_its_host(
    beats, configure, run, nights, fault
):
    nights(["done"])
    host = beats.host
    if fault == "dead":
        beats.__exit__()
    elif fault == "redirect":
        beats.redirect("http://127.0.0.1:1/elsewhere")
    elif fault == "error":
        beats.answer(500)
    elif fault == "drip":
        beats.drip(seconds=0.2)
    elif fault == "closes":
        beats.close_connection()
    allowed = "" if fault == "refused" else f'allow_hosts = ["{host}"]'
    configure(f'[heartbeat]\nurl = "http://{host}/{SECRET}"\n{allowed}')
    begun = time.monotonic()
    left, printed = run()
    assert (left, printed.count("heartbeat not delivered")) == (Exit.DONE, 1)
    assert time.monotonic() - begun < DEADLINE
    assert (SECRET in printed, "127.0.0.1" in printed) == (False, True)
    if fault == "refused":
        assert (beats.requests, "[heartbeat]" in printed) == ([], True)


def test_the_address_of_the_heartbeat_is_in_no_log_not_at_debug_either(beats, configure, run, nights, caplog):
    configure(heartbeat(beats))
    nights([], RuntimeError(f"GET http://{beats.host}/{SECRET}/start"))
    with caplog.at_level(logging.DEBUG):
        status, printed = run()
    assert status == Exit.BUG
    assert any("/start HTTP" in record.getMessage() for record in caplog.records)
    assert SECRET not in printed + caplog.text


def test_a_night_whose_sites_failed_is_one_message_however_often_it_runs(mailbox, run, nights):
    nights(["failed", "done", "deferred"], messages_waiting=2)
    assert run()[0] == Exit.SOME_FAILED
    (mail,) = mailbox.mails
    assert mail.recipients == ["ops@example.org"]
    assert all(words in mail.text for words in ("s0", "s0: it is broken", "status 10", "状态 10"))
    nights([], BadData("something else"))
    assert run()[0] == Exit.BAD_DATA
    assert run()[0] == Exit.BAD_DATA
    assert len(mailbox.mails) == 1
    run(day="2018-10-01")
    assert len(mailbox.mails) == 2
    assert "something else" in mailbox.mails[1].text


def test_a_night_that_could_do_nothing_says_why():
    sites = [SiteResult(site=f"s{n}", state="deferred", error=f"site 's{n}': no answer") for n in range(3)]
    sites.append(SiteResult(site="s4", state="deferred", error="a backfill holds its landscape"))
    assert failure(Exit.TRY_LATER, *sites)["error"] == "no answer"


@pytest.mark.parametrize(("manifest", "failed"), [
    ({"states": ["done"], "messages_waiting": 3}, False), ({"states": ["done", "deferred"]}, False),
    ({"states": ["done"], "pages_failed": {"s0": "no room"}}, True),
    ({"states": ["done"], "registry": {"said": ["s9 was refused"], "refused": ["s9"]}}, True),
], ids=["messages wait", "some deferred", "a page", "the registry"])  # fmt: skip
def test_a_night_with_waiting_messages_or_deferred_sites_has_not_failed(mailbox, run, nights, manifest, failed):
    nights(**manifest)
    assert run()[0] == Exit.SOME_FAILED
    assert len(mailbox.mails) == failed


def test_a_second_run_beside_a_night_is_not_a_failed_night_but_one_beside_a_backup_is(mailbox, run, installation):
    with hold_lock(installation.root, "a night", "regrowth.db.lock"):
        assert run()[0] == Exit.TRY_LATER
    assert mailbox.mails == []
    with hold_lock(installation.root, "a backup", "regrowth.db.lock"):
        status, printed = run()
    assert status == Exit.TRY_LATER
    assert "held by a backup" in printed.splitlines()[-1]
    with closing(Ledger(installation.settings.ledger.url)) as ledger, ledger.reading() as t:
        (notice,) = t.notices("waiting")  # the holder of the lock, or the next night, sends it
    assert "held by a backup" in notice["payload"]["error"]


def test_an_unreachable_operator_gets_it_from_the_next_night_under_the_same_id(mailbox, run, nights, installation):
    mailbox.drop_after_data(times=1)
    nights([], BadData("no site"))
    assert run()[0] == Exit.BAD_DATA
    assert mailbox.mails == []
    with open_ledger(installation.settings) as ledger:
        assert send(installation.settings, ledger).sent == 1
    assert mailbox.mails[0].id == mailbox.attempts[0].id
    assert "no site" in mailbox.mails[0].text


@pytest.mark.parametrize("ledger", ["no ledger", "a directory", "wrong stores", "a server that is down"])
def test_without_a_ledger_the_message_is_sent_directly_once(mailbox, run, installation, ledger, monkeypatch):
    if ledger == "a server that is down":
        monkeypatch.setenv("REGROWTH_LEDGER__URL", f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/x")
    elif ledger == "no ledger":
        (installation.root / "regrowth.db").write_bytes(b"no database, but long enough to be taken for one" * 20)
    elif ledger == "a directory":
        (installation.root / "regrowth.db").mkdir()
    elif ledger == "wrong stores":
        (installation.root / "store" / "x" / "repo").mkdir(parents=True)
    (installation.root / "store").mkdir(exist_ok=True)
    status, printed = run()
    assert status in (Exit.BAD_DATA, Exit.CONFIGURATION, Exit.TRY_LATER)
    assert printed.splitlines()[-1].startswith("the ledger")
    assert SECRET not in printed + mailbox.mails[0].text
    run()
    assert [mail.recipients for mail in mailbox.mails] == [["ops@example.org"]]
    assert (installation.root / "store" / WITHOUT_LEDGER).read_text() == f"night/{DAY}"
    assert not (installation.root / "metrics.prom").read_text().count("regrowth_sites")


def test_a_ledger_that_the_night_waited_for_is_not_waited_for_again_as_long(mailbox, run, installation, monkeypatch):
    Ledger(f"sqlite:///{installation.root / 'regrowth.db'}").close()
    monkeypatch.setattr("monitor.ledger.ledger.LOCK_WAIT", 1)
    monkeypatch.setattr(night_report, "LEDGER_WAIT", 0.2)
    with closing(sqlite3.connect(installation.root / "regrowth.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        start = time.monotonic()
        assert run()[0] == Exit.TRY_LATER
        assert time.monotonic() - start < LOCK_WAIT / 2
    assert len(mailbox.mails) == 1


def test_a_ledger_server_records_a_failed_night_and_its_message(mailbox, run, nights, notify, postgresql, monkeypatch):
    url = postgresql()
    monkeypatch.setenv("REGROWTH_LEDGER__URL", url)
    nights(["failed"])
    assert [run()[0], run()[0]] == [Exit.ALL_FAILED] * 2
    assert len(mailbox.mails) == 1
    with closing(Ledger(url)) as ledger, ledger.reading() as t:
        (notice,) = t.notices("sent")
        assert (t.newest_night()["status"], notice["event"]) == (20, f"night/{DAY}")
    assert notify()[0] == Exit.DONE
    assert len(mailbox.mails) == 1


def test_a_report_that_breaks_hides_neither_the_error_nor_the_status(mailbox, run, nights, monkeypatch):
    burst = Mock(side_effect=RuntimeError("the report itself"))
    nights([], BadData("there is no site to judge"))
    for name in (
        "messages.outbox.send_event", "reports.failed_night.report_without_ledger", "reports.metrics.write_metrics",
        "reports.failed_night.queue",
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(f"jobs.{name}", burst)
            status, printed = run(day=DAY)
        assert status == Exit.BAD_DATA
        assert printed.splitlines()[-1] == "there is no site to judge"


def test_no_operators_no_message(run, nights, installation):
    nights([], BadData("no site"))
    assert run()[0] == Exit.BAD_DATA
    assert not (installation.root / "messages").exists()


@contextmanager
def started(installation, *, where):
    """A night in a process of its own that says where it is, and waits there."""
    code = (
        "import sys, time, jobs.night.pipeline\n"
        "def wait(*_, **__):\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)\n"
        f"{where} = wait\n"
        "from jobs.cli import main\n"
        "main(sys.argv[1:])"
    )
    command = ["-c", code, "run", "--config", str(installation.config), "--as-of", DAY]
    with forked.Python(command) as process:
        assert process.stdout.readline() == "there\n"
        yield process


@pytest.mark.parametrize(
    "where",
    ["jobs.night.pipeline.apply_registry", pytest.param("jobs.night.pipeline.Calibrations", marks=pytest.mark.slow)],
    ids=["at work", "holding the ledger"],
)
def test_a_night_that_is_stopped_is_reported_within_seconds(beats, post, configure, installation, where, notify):
    configure(heartbeat(beats), operators(post))
    with started(installation, where=where) as process:
        begun = time.monotonic()
        process.terminate()
        _, printed = process.communicate(timeout=30)
    assert process.exitcode == Exit.STOPPED
    assert time.monotonic() - begun < 12
    assert paths(beats) == [f"/{SECRET}/start", f"/{SECRET}/fail?exit_status=143"]
    (mail,) = post.mails
    assert "status 143" in mail.text
    assert SECRET not in printed
    assert notify() == (Exit.DONE, f"The night of {DAY} failed and was reported before.\n")
    assert len(post.mails) == 1


def test_a_killed_night_is_reported_once_by_the_command_of_the_unit(mailbox, installation, notify, monkeypatch):
    with started(installation, where="jobs.night.pipeline.apply_registry") as process:
        process.kill()
    assert process.exitcode == -signal.SIGKILL
    assert mailbox.mails == []
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "oom-kill")
    monkeypatch.setenv("MONITOR_EXIT_CODE", "killed")
    monkeypatch.setenv("MONITOR_EXIT_STATUS", "KILL")
    status, printed = notify()
    assert (status, printed) == (Exit.DONE, f"night of {DAY}, mail to ops@example.org: reported\n")
    (mail,) = mailbox.mails
    assert "memory ran out" in mail.text
    assert "status 137" in mail.text
    assert "regrowth_night_exit_status 137.0" in (installation.root / "metrics.prom").read_text()
    assert notify() == (Exit.DONE, f"The night of {DAY} failed and was reported before.\n")
    assert len(mailbox.mails) == 1


def test_a_killed_night_that_was_not_reported_is_reported_when_the_next_begins(mailbox, run, installation, monkeypatch):
    no_registry = Mock(side_effect=BadData("the registry is empty"))
    monkeypatch.setattr("jobs.night.pipeline.apply_registry", no_registry)
    with closing(Ledger(installation.settings.ledger.url)) as ledger, ledger.transaction() as t:
        t.begin_run("killed", "night", "2018-09-29", now="2018-09-30T02:30:00.000+00:00")
    for _ in range(2):
        run()
    killed, failed = (mail.text for mail in mailbox.mails)
    assert all(words in killed for words in ("night of 29 September 2018 ended with status 137", "memory ran out"))
    assert all(words in failed for words in ("night of 30 September 2018", "the registry is empty"))


def good_night(installation, when):
    with closing(Ledger(installation.settings.ledger.url)) as ledger, ledger.transaction() as t:
        t.begin_run("good", "night", DAY, now=when.isoformat())
        t.end_run("good", status=0, manifest=to_json(whole_night()), now=when.isoformat())


def test_the_command_of_the_unit_is_silent_after_a_reported_or_good_night(mailbox, run, nights, notify, installation):
    good_night(installation, datetime.now(UTC))
    assert notify() == (Exit.DONE, "The last night did not fail.\n")
    nights([], BadData("no site"))
    run()
    assert len(mailbox.mails) == 1
    assert notify()[0] == Exit.DONE
    assert len(mailbox.mails) == 1


def test_a_night_that_could_not_even_start_is_reported_by_the_command_of_the_unit(mailbox, notify, installation):
    good_night(installation, datetime.now(UTC) - timedelta(hours=23))
    assert notify()[0] == Exit.DONE
    assert "it left no trace in the ledger" in mailbox.mails[0].text


def test_a_command_of_the_unit_that_reaches_nobody_exits_with_10_and_the_message_waits(mailbox, notify, installation):
    mailbox.answer("DATA", "451 later", times=1)
    status, printed = notify()
    assert status == Exit.SOME_FAILED
    assert "NOT reported" in printed
    assert notify()[0] == Exit.DONE
    assert len(mailbox.mails) == 1


def test_the_report_of_a_site_name_or_error_with_a_secret_has_none(monkeypatch):
    monkeypatch.setenv("REGROWTH_EE_TOKEN", "tops3cret")
    site = SiteResult(site="a", state="failed", error="GET https://me:pw12345@host/?key=abc said tops3cret")
    payload = json.dumps(failure(20, site, error="tops3cret"))
    assert not re.search("tops3cret|pw12345|key=abc", payload)


def test_at_most_twenty_failed_sites_are_named():
    sites = [SiteResult(site=f"s{n}", state="failed", error="x") for n in range(30)]
    payload = failure(20, *sites)
    assert (len(payload["failed"]), payload["n_failed"]) == (20, 30)
