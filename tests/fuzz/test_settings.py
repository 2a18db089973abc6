"""Whatever a configuration holds, it is read or refused by name, and nothing that it names is opened."""

import json

import pytest
from hypothesis import example, given

from jobs.runtime.settings import Settings, load, load_readable
from monitor.errors import BadConfiguration
from tests.fuzz.hostile import altered, damaged, nothing_else_touched, quickly

CONFIGURATION = {
    "source": [
        {"kind": "stac", "url": "https://stac.example/v1", "collections": ["sentinel-2-l2a"], "since": "2016-01-01"}
    ],
    "registry": {"path": "aoi/sites.geojson"},
    "store": {"root": "stores"},
    "ledger": {"url": "sqlite:///regrowth.db"},
    "outputs": {"root": "outputs"},
    "engine": {"scheduler": "processes"},
    "alerts": {"alpha": 0.05, "channels": ["mail"], "digest_above": 3},
    "heartbeat": {"url": "https://beats.example/1"},
    "channels": {
        "mail": {"kind": "smtp", "host": "127.0.0.1", "port": 25, "starttls": True, "sender": "r@example.org"},
        "ops": {"kind": "webhook", "url": "http://127.0.0.1:9000/hook", "allow_hosts": ["127.0.0.1:9000"]},
    },
    "operators": {"channels": ["ops"]},
    "answers": {"base_url": "https://answers.example", "valid_days": 30},
}


def toml(value):
    """A value as TOML; what TOML has no word for is an empty text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return str(value)
    return '""' if value is None else json.dumps(value)


def document(value):
    lines = value.items() if isinstance(value, dict) else [("source", value)]
    return "".join(f"{json.dumps(str(key))} = {toml(item)}\n" for key, item in lines)


def examine(path):
    with nothing_else_touched(path.parent):
        try:
            read = load(path)
        except BadConfiguration as error:
            read, why = None, str(error)
            load_readable(path)
    assert isinstance(read, Settings) or (why.encode() and len(why) < 5000)


@pytest.mark.parametrize("examples", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_any_key_may_have_any_value(tmp_path, examples):
    path = tmp_path / "regrowth.toml"
    path.write_text(document(CONFIGURATION))
    assert isinstance(load(path), Settings)

    @quickly(examples)
    @given(altered(CONFIGURATION).map(document))
    @example(f'source = [{{kind = "stac", url = "{"x" * 300}"}}]')  # longer than the name of a file may be
    def attack(text):
        path.write_text(text)
        examine(path)

    attack()


@pytest.mark.parametrize("examples", [40, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_damaged_configuration_is_read_or_refused(tmp_path, examples):
    path = tmp_path / "regrowth.toml"

    @quickly(examples)
    @given(damaged(document(CONFIGURATION).encode()))
    def attack(content):
        path.write_bytes(content)
        examine(path)

    attack()


def test_an_address_with_an_impossible_host_is_not_reported_as_a_bug(tmp_path):
    path = tmp_path / "regrowth.toml"
    path.write_text(document({**CONFIGURATION, "heartbeat": {"url": "http://[::1/aaaa-bbbb-cccc"}}))
    examine(path)
    assert load_readable(path) is not None
