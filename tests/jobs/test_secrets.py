"""Secrets stay out of every line: messages, logs and tracebacks, on a terminal and piped."""

import json
import logging
import os
import pty
import re
import sys
import textwrap
from urllib.parse import quote, quote_plus

import pytest
import structlog
from requests.utils import requote_uri

from jobs.runtime.exits import Exit
from jobs.runtime.logs import redacted, set_up_logs
from jobs.runtime.secrets import secret
from monitor.errors import BadConfiguration, BadData
from tests import forked

CANARY = "hunter2-Canary"
GOOD = '[source]\nkind = "sample"\n'


def spoken(arguments, *, terminal, environment=None, before=""):
    """Exit status and all that a command writes, run in a process of its own, after some lines of Python."""
    code = f"{before}\nimport sys\nfrom jobs.cli import main\nmain(sys.argv[1:])"
    command = ["-c", code, *map(str, arguments)]
    env = {**os.environ, **(environment or {})}
    if not terminal:
        done = forked.run(command, env=env)
        return done.returncode, done.stdout + done.stderr
    ours, theirs = pty.openpty()
    with forked.Python(command, env=env, terminal=os.ttyname(theirs)) as process:
        process.stdout.read()  # which ends once the command is at the terminal
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 4096):
                written += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
    return process.exitcode, written.decode()


@pytest.fixture(params=[False, True], ids=["piped", "terminal"])
def terminal(request):
    return request.param


@pytest.mark.parametrize(("command", "setting", "environment", "message"), [
    (
        "status", f'[ledger]\nurl = "postgresql+psycopg://me:{CANARY}@127.0.0.1:port/x"', {},
        "[ledger] url is not a database URL",
    ),
    ("status", f'[ledger]\nurl = "{CANARY}//x"', {}, "[ledger] url is not a database URL"),
    (
        "status", "", {"REGROWTH_SOURCE": f'{{"kind": "stac", "url": "https://me:{CANARY}@host/'},
        "REGROWTH_SOURCE in the environment is not JSON",
    ),
    ("status", f'[engine]\nscheduler = "{CANARY}"', {}, "engine.scheduler"),
    ("run", f'[engine]\nscheduler = "tcp://me:{CANARY}@127.0.0.1"', {}, "is not the address of a dask scheduler"),
], ids=["ledger port", "ledger", "malformed REGROWTH_SOURCE", "scheduler", "scheduler address"])  # fmt: skip
def test_a_wrong_setting_exits_with_78_and_a_line_without_its_secret(
    command, setting, environment, message, terminal, tmp_path
):
    (tmp_path / "regrowth.toml").write_text(GOOD + setting, encoding="utf-8")
    config = tmp_path / "regrowth.toml"
    left, printed = spoken([command, "--config", config], terminal=terminal, environment=environment)
    assert (left, message in printed) == (Exit.CONFIGURATION, True)
    assert not re.search(f"{CANARY}|Traceback", printed)
    assert terminal or len(printed.splitlines()) == 1  # on a terminal there is a progress bar too


def test_an_earth_engine_address_with_a_password_is_refused_without_it(terminal, installation):
    source = f'kind = "earthengine"\nproject = "p"\nurl = "https://me:{CANARY}@earthengine.example/?key={CANARY}"'
    installation.config.write_text(f'[registry]\npath = "sites.geojson"\n[source]\n{source}\n', encoding="utf-8")
    left, printed = spoken(["run", "--config", installation.config], terminal=terminal)
    assert (left, CANARY in printed) == (Exit.CONFIGURATION, False)
    assert "'https://earthengine.example/' is not an endpoint" in printed


BUG = textwrap.dedent("""
    import jobs.{module}
    def broken(*_args, **_more):
        password = "{canary}"
        raise RuntimeError("asked https://me:{canary}@host/a?access_token={canary} with Authorization: Bearer {canary}")
    jobs.{module}.{name} = broken
""")


@pytest.mark.parametrize(
    ("arguments", "module", "name"), [(["run"], "night.pipeline", "night"), (["status"], "runtime.settings", "load")]
)
def test_a_bug_is_reported_with_a_traceback_that_shows_no_values_and_no_secrets(
    arguments, module, name, terminal, tmp_path
):
    (tmp_path / "regrowth.toml").write_text(GOOD, encoding="utf-8")
    before = BUG.format(module=module, name=name, canary=CANARY)
    environment = {"REGROWTH_LEDGER__URL": f"sqlite:///x.db?{quote(CANARY)}", "REGROWTH_EE_TOKEN": CANARY}
    arguments = [*arguments, "--config", tmp_path / "regrowth.toml"]
    left, printed = spoken(arguments, terminal=terminal, environment=environment, before=before)
    assert left == Exit.BUG
    assert all(words in printed for words in ("Traceback (most recent call last)", "RuntimeError"))
    assert not re.search(f"{CANARY}|password = |╭", printed)


@pytest.mark.parametrize("name", ["REGROWTH_EE_TOKEN", "REGROWTH_CHANNEL_MAIL_PASSWORD", "REGROWTH_ANSWER_KEY"])
@pytest.mark.parametrize("secret", ["plain-Canary", 'quo"ted\\Canary', "päss wörd-Canary"])
def test_a_secret_in_the_environment_is_replaced_in_every_event_and_every_record_of_a_library(
    name, secret, tmp_path, monkeypatch, capsys
):
    (tmp_path / "secret").write_text(f"{secret}\n", encoding="utf-8")
    for variable, value in ((name, secret), (f"{name}_FILE", str(tmp_path / "secret"))):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            set_up_logs()
            log = structlog.get_logger()
            log.warning(secret, reported=secret, inside=[{"it": secret}])
            library = logging.getLogger("urllib3.connectionpool")
            patch.setattr(library, "handlers", [logging.StreamHandler(sys.stderr)])
            library.setLevel(logging.DEBUG)
            library.debug("GET %s", secret)
            try:
                raise ValueError(secret)
            except ValueError:
                log.exception("a bug")
                library.exception("%s failed %r", "it", secret)
            library.setLevel(logging.NOTSET)
    printed = capsys.readouterr()
    assert printed.err.count("***") >= 12
    assert "Canary" not in printed.out + printed.err


WRITTEN = {
    "an address": quote, "a form": quote_plus, "an address of requests": requote_uri,
    "lower case": lambda text: re.sub("%..", lambda byte: byte[0].lower(), quote(text, safe="")),
    "quotes around it": lambda text: repr(f"'\"{text}"), "bytes": lambda text: repr(text.encode()), "ASCII": ascii,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "a message of Python in JSON": lambda text: json.dumps(repr([text])),
}  # fmt: skip
"""How libraries write a text."""


@pytest.mark.parametrize("written", WRITTEN)
def test_a_secret_is_replaced_in_whatever_form_it_is_written(written, monkeypatch):
    for number, text in enumerate(("to/ken+Canary==", "it's\\\"Canary", "päss wörd Canary", "first\t9\nCanary line")):
        monkeypatch.setenv(f"REGROWTH_CHANNEL_C{number}_TOKEN", text)
        assert "Canary" not in redacted(f"at {WRITTEN[written](text)} and on")


def test_a_password_that_is_part_of_a_word_hides_no_mark_of_another_secret(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "word")
    assert redacted("postgresql:///x?password=hunter2 for word") == "postgresql:///x?pass***=*** for ***"


@pytest.mark.parametrize("password", ["Tr0ub&4,dor", "p@ss/w@rd", "it's;so"])
def test_a_short_password_with_a_sign_that_ends_a_value_is_replaced_as_a_whole(password, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", password)
    assert redacted(f"password={password} at //me:{password}@host/x") == "password=*** at //***@host/x"


def test_a_file_of_a_secret_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for name in ("ANSWER_KEY", "EE_TOKEN", "CHANNEL_MAIL_PASSWORD"):
        monkeypatch.setenv(f"REGROWTH_{name}_FILE", str(tmp_path / "pipe"))
        with pytest.raises(BadConfiguration, match=f"REGROWTH_{name}_FILE names cannot be read: it is not a plain"):
            secret(name)
    assert redacted("nothing secret") == "nothing secret"


@pytest.mark.parametrize("text", [
    "postgresql+psycopg://me:{}@host:5432/x", "postgresql//me:{}@host", "https://host/a.tif?se=1&sig={}&x=1",
    "https://host/a.tif?X-Amz-Credential=a&X-Amz-Signature={}",
    "https://bucket.oss-cn-beijing.example/a.tif?OSSAccessKeyId={}&Expires=1&Signature={}&security-token={}",
    "https://bucket.cos.example/a.tif?q-sign-algorithm=sha1&q-signature={}&x-cos-security-token={}",
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIB\\n{}\\n-----END RSA PRIVATE KEY-----\\n",
    "-----BEGIN PRIVATE KEY-----\n{}\n{}", "https://qyapi.example/cgi-bin/webhook/send?key={}",
    "https://oapi.example/robot/send?access_token={}", "{{'Authorization': 'Bearer {}'}}",
    'Authorization: Basic {}"', "send: b'GET / HTTP/1.1\\r\\nauthorization: {}'",
    '{{"refresh_token": "{}", "client_secret": "{}"}}', "input_value={{'password': '{}'}}",
])  # fmt: skip
def test_a_secret_is_recognised_by_its_form_though_no_variable_has_it(text):
    message = text.format(*[CANARY] * text.count("{}"))
    assert CANARY in message
    assert CANARY not in redacted(message)
    assert CANARY not in str(BadData(message))


@pytest.mark.parametrize("text", [
    "sqlite:////srv/regrowth@home/regrowth.db cannot be used",
    "https://host/collections/a/items/b@2?limit=10&datetime=2020 gave no answer",
    "https://host/search?design=bold&assign=2&monkey=1",
    "unknown key 'ledger.urll'; the nearest known one is 'url'",
    "put a fresh one into REGROWTH_EE_TOKEN, for instance: gcloud auth print-access-token",
    "site 'lowood': manager_email nobody@example.org",
])  # fmt: skip
def test_a_message_without_a_secret_stays_as_it_is(text):
    assert redacted(text) == text
