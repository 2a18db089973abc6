"""The program and the machine that write a pack: ``environment.json``."""

import hashlib
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from monitor import __version__
from monitor.evidence.container import FORMAT

DISTRIBUTION: Final = "regrowth-monitor"
CODE: Final = Path(__file__).resolve().parent.parent.parent  # folder of the packages of this program
PACKAGES: Final = ("jobs", "monitor")
LOCK: Final = "requirements.lock"
ABOUT: Final = (
    "The program and the machine that wrote this pack. code_version in assessments.json is the version that made each "
    "assessment. code_sha256: what `find jobs monitor -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum` "
    "prints in the folder of the code. lock_sha256: SHA-256 of requirements.lock, which pins every library; null where "
    "the program was installed without it. Numbers are equal to the last digit with the same libraries on the same "
    "kind of processor."
)


def environment() -> dict[str, Any]:
    """Versions of this program, Python and every installed library that it needs, and the kind of machine.

    Nothing that names the machine, its user or a folder is in it.
    """
    from llvmlite import binding  # type: ignore[import-untyped]

    lock, libraries = CODE / LOCK, _versions()
    libraries.pop(DISTRIBUTION, None)
    return {
        "format": FORMAT, "about": ABOUT, "program": DISTRIBUTION, "version": __version__,
        "code_sha256": code_sha256(CODE),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "python": platform.python_version(), "implementation": platform.python_implementation(),
        "machine": {
            "system": platform.system(), "architecture": platform.machine(), "processor": binding.get_host_cpu_name(),
            "byte_order": sys.byteorder,
        },
        "libraries": libraries,
    }  # fmt: skip


def _versions() -> dict[str, str]:
    """Installed version of this program and of every library that it requires, directly or not, without its extras; by
    name, sorted.

    Requirements that do not apply to this machine are not installed, and left out.
    """
    versions: dict[str, str] = {}
    pending, known = [DISTRIBUTION], {DISTRIBUTION}
    while pending:
        try:
            found = metadata.distribution(name := pending.pop())
        except metadata.PackageNotFoundError:
            continue
        versions[name] = found.version
        required = [line for line in found.requires or () if "extra ==" not in line]
        # names as indexes compare them
        names = {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line, maxsplit=1)[0]).lower() for line in required} - known
        known |= names
        pending += names
    return dict(sorted(versions.items()))


def code_sha256(folder: Path) -> str:
    """SHA-256 of the list, in the form of ``sha256sum``, of all Python files of the packages under a folder."""
    files = [path for package in PACKAGES for path in (folder / package).rglob("*.py")]
    names = sorted(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") for path in files)
    lines = b"".join(
        hashlib.sha256((folder / name.decode("utf-8", "surrogateescape")).read_bytes()).hexdigest().encode()
        + b"  " + name + b"\n"
        for name in names
    )  # fmt: skip
    return hashlib.sha256(lines).hexdigest()
