"""Every command of docs/operations.md is executed, in order, on an installation of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ledger.conftest import postgresql as postgresql
from tests.loopback.mail import MAIL_CHANNEL, MailServer
from tests.loopback.postgresql import programs
from tests.test_docs import blocks

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")

OUTSIDE = ("systemctl", "journalctl", "kubectl", "podman", "crontab", "git", "make", "rsync")
"""Programs that would change the machine: a stand-in notes that it was called, and checks that its files exist."""
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "{calls}"
for word in "$@"; do
    case "$word" in
        jobs/deploy/*) test -f "$word" || {{ echo "there is no $word" >&2; exit 1; }} ;;
    esac
done
{more}
"""


@pytest.fixture
def place(tmp_path, root):
    """A folder that stands for the machine, with an installation on the embedded sample."""
    from jobs.install.demonstration import CONFIGURATION
    from tests.jobs.conftest import _registry_text

    srv = tmp_path / "srv" / "regrowth"
    for folder in ("etc/systemd/system", "etc/regrowth", "mnt/backup", "var/lib/prometheus/node-exporter", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    srv.mkdir(parents=True)
    (srv / "sites.geojson").write_text(_registry_text([1, 6, 9]), encoding="utf-8")
    text = CONFIGURATION.format(seed=1).replace('root = "."', 'root = "outputs"')
    (srv / "regrowth.toml").write_text(text, encoding="utf-8")
    (srv / "secrets.env").write_text("REGROWTH_CHANNEL_MAIL_PASSWORD=x\n", encoding="utf-8")
    shutil.copytree(root / "jobs" / "deploy", srv / "jobs" / "deploy")
    (srv / ".venv" / "bin").mkdir(parents=True)
    _script(srv / ".venv" / "bin" / "regrowth", f'#!/bin/sh\nexec {sys.executable} -m jobs.cli "$@"\n')
    for name in OUTSIDE:
        more = f'exec /usr/bin/make -n -C "{root}" "$@" > /dev/null' if name == "make" else ""
        _script(tmp_path / "bin" / name, STAND_IN.format(calls=tmp_path / "calls", more=more))
    _script(tmp_path / "bin" / "sudo", '#!/bin/sh\nexec "$@"\n')
    return tmp_path


def _script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _commands(root: Path, place: Path) -> str:
    """All shell blocks of the guide as one script, on the folder that stands for the machine.

    The landscape that the guide replaces has another name there, and is damaged before.
    """
    text = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    script = "\n".join(blocks(text, "sh"))
    landscape, damage = '"$(ls store | grep loess)"', "find store/*loess*/chunks -type f | xargs truncate -s 0"
    script = re.sub(r"^(.* --replace )\S+$", rf"{damage}\n\1{landscape}", script, count=1, flags=re.MULTILINE)
    return re.sub(r"(?<![\w/.])/(srv|etc|mnt|var)/", rf"{place}/\1/", script)


@pytest.mark.slow
def test_every_command_of_the_guide_works_in_its_order(place, root, postgresql):
    server = re.search(r"host=(.*)", postgresql())[1]
    srv = place / "srv" / "regrowth"
    environment = {
        "HOME": str(place), "PATH": f"{place}/bin:{programs()}:{os.environ['PATH']}", "LANG": "C.UTF-8",
        "PYTHONPATH": str(root), "PGHOST": server, "PGUSER": "regrowth",
        "NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"],
    }  # fmt: skip
    with MailServer() as post:
        with (srv / "regrowth.toml").open("a", encoding="utf-8") as file:
            file.write(
                MAIL_CHANNEL.format(port=post.port) + '[operators]\nchannels = ["mail"]\nemail = "ops@example.org"\n'
            )
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", _commands(root, place)],
            cwd=srv, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    calls = (place / "calls").read_text(encoding="utf-8").splitlines()
    assert {call.split()[0] for call in calls} == set(OUTSIDE)
    assert any("Test message" in mail.message["Subject"] for mail in post.mails)
    backups = sorted(path.name for path in (place / "mnt" / "backup").iterdir())
    assert (len(backups), backups[0], backups[-1]) == (3, "before-upgrade", "to-postgresql")
    assert "The last night did not fail." in done.stdout
    assert done.stdout.count("All is well.") == 5
    link = place / "var" / "lib" / "prometheus" / "node-exporter" / "regrowth.prom"
    assert "regrowth_night_exit_status 0.0" in link.read_text(encoding="utf-8")
    assert sorted(path.name for path in (place / "etc" / "systemd" / "system").iterdir()) == [
        "regrowth-failed.service", "regrowth-serve.service", "regrowth.service", "regrowth.timer",
    ]  # fmt: skip
    assert re.search(r"^REGROWTH_ANSWER_KEY=[0-9a-f]{64}$", (place / "etc/regrowth/secrets.env").read_text(), re.M)


@pytest.mark.parametrize("name", ["regrowth", "regrowth-failed", "regrowth-serve"])
def test_a_unit_can_write_and_call_no_more_than_it_needs(root, tmp_path, name):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze, and this machine has none (apt-get install systemd)")
    unit = root / "jobs" / "deploy" / f"{name}.service"
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout  # an exposure of at most 2.0
    assert "MemoryDenyWriteExecute" not in unit.read_text(encoding="utf-8")  # numba could not compile


@pytest.mark.parametrize("name", ["regrowth", "regrowth-failed"])
def test_the_web_server_can_read_the_pages_and_node_exporter_the_metrics_that_a_unit_writes(root, name):
    unit = (root / "jobs" / "deploy" / f"{name}.service").read_text(encoding="utf-8")
    assert int(re.findall(r"^UMask=(\d+)$", unit, re.MULTILINE)[0], 8) & 0o055 == 0


def test_systemd_accepts_the_units(place, root):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze, and this machine has none (apt-get install systemd)")
    program = place / "srv" / "regrowth" / "regrowth"
    _script(program, "#!/bin/sh\n")
    units = []
    for path in sorted((root / "jobs" / "deploy").glob("regrowth*.*er*")):
        unit = place / path.name
        text = path.read_text(encoding="utf-8").replace("/srv/regrowth/.venv/bin/regrowth", str(program))
        unit.write_text(text.replace("User=regrowth", "User=root"), encoding="utf-8")
        units.append(str(unit))
    assert len(units) == 4
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "regrowth" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
