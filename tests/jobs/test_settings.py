"""Settings from file and environment."""

import re
from pathlib import Path

import pytest

from jobs.runtime.settings import load
from monitor.errors import BadConfiguration

GOOD = '[source]\nkind = "sample"\n'


def write(tmp_path, text):
    path = tmp_path / "regrowth.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_count_from_the_folder_of_the_file(tmp_path):
    settings = load(write(tmp_path, GOOD + '[outputs]\nroot = "out"\n[registry]\npath = "/srv/sites.geojson"\n'))
    assert settings.outputs.root == tmp_path / "out"
    assert settings.store.root == tmp_path / "store"
    assert str(settings.registry.path) == "/srv/sites.geojson"
    assert settings.ledger.url == f"sqlite:///{tmp_path}/regrowth.db"


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("REGROWTH_ALERTS__ALPHA", "0.02")
    monkeypatch.setenv("REGROWTH_LEDGER__URL", "postgresql+psycopg://user:word@host/db")
    settings = load(write(tmp_path, GOOD + "[alerts]\nalpha = 0.05\n"))
    assert settings.alerts.alpha == 0.02
    assert settings.ledger.url == "postgresql+psycopg://user:word@host/db"


def test_the_file_may_be_named_by_the_environment_and_is_else_in_the_working_folder(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    monkeypatch.setenv("REGROWTH_CONFIG", str(path))
    assert load(None).source[0].kind == "sample"
    monkeypatch.delenv("REGROWTH_CONFIG")
    monkeypatch.chdir(tmp_path)
    assert load(None).source[0].kind == "sample"


@pytest.mark.parametrize(("text", "message"), [
    (GOOD + "[allerts]\nalpha = 0.05\n", "'allerts'; the nearest known one is 'alerts'"),
    (GOOD + "[alerts]\nalhpa = 0.05\n", "'alerts.alhpa'; the nearest known one is 'alpha'"),
    (GOOD + '[biomes.x]\nlike = "loess"\nsaeson = ["04-15", "10-31"]\n', "nearest known one is 'season'"),
    (GOOD + '[biomes.x]\nlike="loess"\ntree={A=0.2, k=1, l=1}\n', "'biomes.x.tree.l'; the nearest known one is"),
    (GOOD + '[biomes.x]\nseason = ["04-15", "10-31"]\n', "biomes.x.like: Field required"),
    (GOOD + '[biomes.x]\nlike = "loess"\nfull_cover = 8.0\n', "biomes: [biomes.x]: full_cover is 8; give"),
    (GOOD + '[biomes.steppe]\nlike = "loess"\n', "[biomes.steppe]: 'steppe' is built in"),
    ('[source]\nkind = "sample"\ncolections = ["a"]\n', "nearest known one is 'collections'"),
    ('[[source]]\nkind = "sample"\n[[source]]\nkind = "sample"\nurll = "x"\n', "nearest known one is 'url'"),
    ('[source]\nkind = "landsat"\n', "'earthengine', 'stac' or 'sample'"),
    (GOOD + "[alerts]\nalpha = 1.5\n", "alerts.alpha"),
    (GOOD + "[programme]\npledge_hectares = inf\n", "programme.pledge_hectares"),
    (GOOD + "[programme]\npledge_hectares = true\n", "programme.pledge_hectares"),
    (GOOD + "[alerts]\nsilence_days = true\n", "true or false is neither a number"),
    (GOOD.replace("sample", "earthengine") + "eecu_hours_per_month = true\n", "eecu_hours_per_month"),
    (GOOD + "[programme]\npledge_hectares = 0\n", "programme.pledge_hectares"),
    (GOOD + '[programme]\npath = { "next" = 1 }\n', "'next' is not a year"),
    (GOOD + '[programme]\npath = { "2025" = -1 }\n', "programme.path.2025"),
    (GOOD + '[programme]\npath = { "2025" = nan }\n', "programme.path.2025"),
    (GOOD + '[programme]\npath = { "2025" = 9, "2026" = 5 }\n', "falls from 9 ha at the end of 2025 to 5 ha"),
    (GOOD + '[programme]\npledge_hectares = 5\npath = { "2025" = 9 }\n', "ends above pledge_hectares, 5"),
    (GOOD + '[ledger]\nurl = "no url"\n', "database URL"),
    (GOOD + '[channels.a]\nkind = "smtp"\nhost = "h"\n', "needs sender"),
    (GOOD + '[channels.a]\nkind = "wecom"\nport = 25\n', "has no 'port'"),
    (GOOD + '[channels.a]\nkind = "wecom"\ntoken = "x"\n', "unknown key 'channels.a.token'"),
    (GOOD + '[channels.a]\nkind = "webhook"\nurl = "https://me@host/"\n', "channels.a.url"),
    (GOOD + '[channels.a]\nkind = "apprise"\nurl = "https://host/"\n', "REGROWTH_CHANNEL_<NAME>_URL"),
    (GOOD + '[channels.a-b]\nkind = "wecom"\n[channels.a_b]\nkind = "wecom"\n', "would share their secrets"),
    (GOOD + '[channels.Ops]\nkind = "wecom"\n[channels.ops]\nkind = "wecom"\n', "would share their secrets"),
    (GOOD + '[channels."a b"]\nkind = "wecom"\n', "channels.a b"),
    (GOOD + "[answers]\nvalid_days = 1e9\n", "answers.valid_days"),
    (GOOD + '[channels.files]\nkind = "wecom"\n', "this name is taken"),
    (GOOD + '[alerts]\nchannels = ["mail"]\n', "there is no [channels.mail]"),
    ("[registry]\n", "there is no [source]"), ("[source", "cannot be read"),
])  # fmt: skip
def test_an_invalid_setting_is_refused_in_one_line_with_its_place(tmp_path, text, message):
    with pytest.raises(BadConfiguration) as caught:
        load(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_channel_has_any_name_of_letters_digits_and_the_marks_of_names(tmp_path):
    text = GOOD + "".join(f'[channels."{name}"]\nkind = "wecom"\n' for name in ("Ops", "county.group-2", "县级群"))
    assert list(load(write(tmp_path, text)).channels) == ["Ops", "county.group-2", "县级群"]


@pytest.mark.parametrize("name", ["nowhere.toml", "regrowth.toml"])
def test_a_missing_configuration_is_named_with_where_it_was_expected(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        with pytest.raises(BadConfiguration, match=f"no configuration at {tmp_path}/{name}"):
            load(path)


def test_every_example_of_a_source_is_a_configuration(root, tmp_path):
    text = (root / "docs" / "sources.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    assert len(examples) >= 6
    for example in examples:
        source = "" if "[source]" in example else '[[source]]\nkind = "sample"\n'
        (tmp_path / "regrowth.toml").write_text(example + source, encoding="utf-8")
        assert load(tmp_path / "regrowth.toml").source


@pytest.mark.parametrize(("url", "message"), [
    ("postgresql//user:CANARY@host", "database URL"),
    ("postgresql+psycopg://u:p@CANARYx9Zq7/@127.0.0.1:9/db", "%40"),  # an at sign in the password
])  # fmt: skip
def test_a_ledger_address_that_is_wrong_is_refused_without_showing_any_of_its_password(tmp_path, url, message):
    with pytest.raises(BadConfiguration, match=message) as refused:
        load(write(tmp_path, f'{GOOD}[ledger]\nurl = "{url}"\n'))
    assert "CANARY" not in str(refused.value)


PATHS = [
    ("store", "root"), ("outputs", "root"), ("registry", "path"), ("registry", "controls"), ("terrain", "path"),
    ("rain", "path"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "key", "address"),
    [(*path, address) for path in PATHS for address in ("gs://regrowth", "file:///srv/store")]
    + [(*path, "s3://regrowth/store") for path in PATHS if path != ("store", "root")],
)
def test_an_address_in_place_of_a_folder_or_file_is_refused_by_name(tmp_path, section, key, address):
    file = write(tmp_path, f'{GOOD}\n[{section}]\n{key} = "{address}"\n')
    with pytest.raises(BadConfiguration, match=rf"{section}\.{key}: .* is an address; .*local or mounted disk"):
        load(file)
