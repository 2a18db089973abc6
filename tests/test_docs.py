"""The README says what is there."""

import re

from typer.main import get_command

from jobs.cli import app


def commands():
    root = get_command(app)
    found = {}
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            found |= {f"{name} {sub}": command.commands[sub] for sub in command.commands}
        else:
            found[name] = command
    return found


def test_every_command_is_in_the_readme_and_every_one_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    there = set(commands())
    named = set()
    for line in re.findall(r"^\| `regrowth ([^|]+)\|", text, re.M):
        first = re.match(r"(alerts|sites) ", line)
        words = re.findall(r"(?:regrowth |`)?([a-z]+)", line)
        if first:
            group = first.group(1)
            named |= {f"{group} {word}" for word in words if f"{group} {word}" in there}
        else:
            named.add(words[0])
    assert named == there


def test_every_option_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    known = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    asked = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--no-deps"}
    assert asked <= known, asked - known


def test_every_module_job_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"python -m (jobs\.\w+)", text)):
        assert (root / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_command_explains_itself():
    for name, command in commands().items():
        assert command.help, name
        assert len(command.help.splitlines()[0]) > 20, name


def test_commands_that_read_a_configuration_take_it_by_option_and_all_speak_json():
    without_configuration = {"demo", "assess", "trends", "sites check"}
    for name, command in commands().items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name
        assert ("--config" in options) == (name not in without_configuration), name


def test_every_make_target_in_the_readme_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z]+)`", text)) | {"demo", "test", "setup", "lint", "bench"}:
        assert re.search(rf"^{target}:", makefile, re.M), target
