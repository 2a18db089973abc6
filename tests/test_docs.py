"""The README and the guides say what is there."""

import re
import shlex
import tomllib

import pytest
from typer.main import get_command

from jobs.cli import app
from jobs.runtime.exits import Exit
from jobs.runtime.settings import Settings
from tests.conftest import ROOT


def commands():
    root = get_command(app)
    found = {}
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            found |= {f"{name} {sub}": command.commands[sub] for sub in command.commands}
        else:
            found[name] = command
    return found


def test_every_command_is_on_the_page_of_commands_and_every_one_there_exists(root):
    text = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    there = set(commands())
    named = set()
    for line in re.findall(r"^\| `regrowth ([^|]+)\|", text, re.M):
        first = re.match(r"(alerts|audit|field|keys|managers|notify|sites|source) ", line)
        words = re.findall(r"(?:regrowth |`)?([a-z]+(?:-[a-z]+)*)", line)
        if first:
            group = first.group(1)
            named |= {f"{group} {word}" for word in words if f"{group} {word}" in there}
        else:
            named |= {words[0], *(word for word in words if word in there)}
    assert named == there


def test_every_option_in_the_readme_and_on_the_page_of_commands_exists(root):
    text = "".join((root / name).read_text(encoding="utf-8") for name in ("README.md", "docs/commands.md"))
    known = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--no-deps"}
    assert mentioned <= known, mentioned - known


def test_every_module_job_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"python -m (jobs\.\w+)", text)):
        assert (root / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_command_explains_itself():
    for name, command in commands().items():
        assert command.help, name
        assert len(command.help.splitlines()[0]) > 20, name


def test_commands_that_read_a_configuration_take_it_by_option_and_all_speak_json():
    without_configuration = {"demo", "keys new", "recompute", "sites sample", "source index", "trends", "verify"}
    for name, command in commands().items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options or name == "serve", name  # which prints nothing
        assert ("--config" in options) == (name not in without_configuration), name


def test_every_make_target_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z]+)`", text)) | {"demo", "test", "setup", "lint", "bench"}:
        assert re.search(rf"^{target}:", makefile, re.M), target


def blocks(text, language):
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


GUIDES = [
    "README.md", "CONTRIBUTING.md", "aoi/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")), "README.zh.md",
]  # fmt: skip


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_and_option_of_a_guide_exists(root, guide):
    text = (root / guide).read_text(encoding="utf-8")
    known = commands()
    written = re.findall(r"`(regrowth [a-z][^`|]*)`", text)
    written += [line for block in blocks(text, "sh") for line in block.splitlines()]
    found = 0
    for line in written:
        words = shlex.split(line.split(" # ")[0].split(" | ")[0])
        if not words or words[0].removeprefix(".venv/bin/") != "regrowth":
            continue
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in known else words[1] if len(words) > 1 else ""
        if name.startswith("-") or "..." in line:
            continue
        assert name in known, line
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= options, line
        found += 1
    assert found or guide not in ("README.md", "docs/operations.md", "docs/assess.md", "docs/channels.md")


@pytest.mark.parametrize(
    ("guide", "twin"),
    [
        ("README.zh.md", "README.md"),
        ("docs/zh/first-hour.md", "docs/first-hour.md"),
        ("docs/zh/operations.md", "docs/operations.md"),
    ],
)
def test_a_chinese_guide_gives_the_commands_of_its_english_twin(root, guide, twin):
    written = {
        line.split(" --language zh")[0].split("  #")[0]
        for block in blocks((root / guide).read_text(encoding="utf-8"), "sh")
        for line in map(str.strip, block.splitlines())
    }
    english = (root / twin).read_text(encoding="utf-8")
    assert written
    assert not [line for line in written if line not in english]


def test_the_readmes_state_the_measured_night_of_the_whole_programme(root):
    measured = (root / "benchmarks" / "results" / "night.md").read_text(encoding="utf-8")
    seconds, _, memory = re.findall(r"(?:2,000 sites of 130 ha|the same)[^|]*\| [^|]*\| ([\d.]+)", measured)
    english, chinese = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert f"2,000 sites (26 Mpx) with a new scene everywhere takes {seconds} s and {memory} GiB" in english
    assert f"在两个处理器上用 {seconds} 秒、{memory} GiB 内存" in chinese


@pytest.mark.parametrize("guide", GUIDES)
def test_every_key_of_a_guide_is_known(root, guide):
    for block in blocks((root / guide).read_text(encoding="utf-8"), "toml"):
        Settings(**tomllib.loads(block))


def test_the_guide_explains_each_exit_status_and_what_to_do(root):
    text = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", text, re.M))
    assert {int(status) for status in rows} == {int(status) for status in Exit}
    for status, row in rows.items():
        assert len(row.split(" | ")) == 2 or status == "0"


def test_every_file_of_the_deployment_is_in_the_guide_and_names_commands_that_exist(root):
    text = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    for path in sorted((root / "jobs" / "deploy").iterdir()):
        assert f"jobs/deploy/{path.name}" in text, path.name
        for line in re.findall(r"^ExecStart=\S*/regrowth (.*)$", path.read_text(encoding="utf-8"), re.M):
            words = line.split()
            assert words[0] in commands() or " ".join(words[:2]) in commands(), line
