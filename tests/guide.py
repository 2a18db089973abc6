"""Guides whose commands are run as they stand: tasks, with files to write, commands, and what they print."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Task:
    """One task of a guide."""

    name: str
    needs: list[str]  # files that the reader brings
    continues: str  # task in whose folder this one goes on
    steps: list[tuple[str, str]] = field(default_factory=list)
    """Name and content of a file (empty name: commands), in order."""
    prints: list[str] = field(default_factory=list)  # lines that the commands print

    def script(self, root: Path) -> str:
        commands = "\n".join(text for name, text in self.steps if not name)
        return commands.replace("PROJECT", shlex.quote(str(root)))

    def write_files(self, place: Path) -> None:
        for name, text in self.steps:
            if name:
                (place / name).write_text(text, encoding="utf-8")


def tasks(guide: Path) -> dict[str, Task]:
    """Tasks of a guide by name. Blocks without a language, and those before the first task, are not run."""
    found = {}
    for part in re.split(r"(?=<!-- task: )", guide.read_text(encoding="utf-8"))[1:]:
        name, needs, continues = re.match(
            r"<!-- task: ([\w ]+)(?:; needs: ([\w., -]+))?(?:; continues: (\w+))? -->", part
        ).groups()
        task = Task(name, needs.split(", ") if needs else [], continues or "")
        for kind, file, language, block in re.findall(
            r"(?:<!-- (file|prints)(?:: (\S+))? -->\n)?^```(\w*)\n(.*?)^```$", part, re.M | re.S
        ):
            if kind == "prints":
                task.prints += block.splitlines()
            elif kind or language:
                task.steps.append((file, block))
        found[name] = task
    return found


def run_script(script: str, place: Path, root: Path) -> str:
    """Run commands in a shell that knows ``regrowth`` and this Python; returns what they print."""
    (place / ".bin").mkdir(exist_ok=True)
    for name, command in (("regrowth", "-m jobs.cli"), ("python3", "")):
        program = place / ".bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}/.bin:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
