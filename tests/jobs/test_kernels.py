"""Compiled kernels are stored where this user alone can write, whatever the installation allows."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import monitor.kernel_cache
from jobs.runtime import kernel_cache
from monitor.kernel_cache import cache_name

NOBODY = 65534


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has not chosen yet, with a package and a home of its own."""
    for folder in ("library", "home", "store"):
        (tmp_path / folder).mkdir(mode=0o755)
    monkeypatch.setattr("monitor.kernel_cache.LIBRARY", tmp_path / "library")
    monkeypatch.setattr(kernel_cache, "temporary_folder", None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that what is set here is taken back
    monkeypatch.delenv("NUMBA_CACHE_DIR")

    def choose():
        kernel_cache.choose_cache()
        kernel_cache.choose_cache(tmp_path / "store")
        return Path(os.environ["NUMBA_CACHE_DIR"])

    return choose


def beside(root):
    return root / "library" / "__pycache__" / cache_name()


def test_kernels_are_stored_beside_the_code_for_this_user_alone(fresh, tmp_path):
    assert fresh() == beside(tmp_path)
    assert beside(tmp_path).stat().st_mode & 0o777 == 0o700


def test_kernels_of_older_code_do_not_pile_up(fresh, tmp_path):
    parent = beside(tmp_path).parent
    for age in range(5):
        (parent / f"kernels-{age}").mkdir(parents=True)
        (parent / f"kernels-{age}" / "index.nbi").write_text("old")
        os.utime(parent / f"kernels-{age}", (1e9 - age, 1e9 - age))
    (parent / "module.pyc").write_text("of Python")
    chosen = fresh()
    left = {"kernels-0", "kernels-1", chosen.name, "module.pyc"}
    assert {path.name for path in parent.iterdir()} == left
    (parent / "kernels-9").mkdir()
    assert fresh() == chosen  # only where a new folder is made is anything removed
    assert {path.name for path in parent.iterdir()} == left | {"kernels-9"}


def test_a_folder_that_the_environment_names_is_used_as_it_is(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    assert fresh() == tmp_path / "named"


@pytest.mark.parametrize("trap", ["another owner", "writable by all", "link"])
def test_a_folder_that_another_user_could_write_to_is_not_used(fresh, tmp_path, trap):
    there = beside(tmp_path)
    there.parent.mkdir()
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        there.symlink_to(tmp_path / "elsewhere")
    else:
        there.mkdir()
        if trap == "writable by all":
            there.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(there, NOBODY, NOBODY)
        else:
            pytest.skip("a folder of another user is needed, and only root can change the owner")
    assert fresh() == tmp_path / "home" / ".cache" / "regrowth" / cache_name()


@pytest.mark.parametrize(("mode", "copied"), [(0o644, True), (0o666, False)])
def test_a_folder_starts_with_the_installed_kernels_unless_another_user_can_change_them(fresh, tmp_path, mode, copied):
    kernel = beside(tmp_path) / "cover_1f" / "ndvi.nbi"
    kernel.parent.mkdir(parents=True, mode=0o755)
    kernel.write_bytes(b"compiled")
    kernel.chmod(mode)
    home = tmp_path / "home" / cache_name()
    assert monitor.kernel_cache.first_usable([home]) == home
    assert [path.name for path in home.rglob("*.nbi")] == (["ndvi.nbi"] if copied else [])
    assert (home.stat().st_mode & 0o777, [path.name for path in home.parent.iterdir()]) == (0o700, [home.name])
    (home / "own").touch()
    monitor.kernel_cache.first_usable([home])
    assert (home / "own").exists()  # what a folder has already stays


@pytest.mark.parametrize(("mode", "used"), [(0o755, True), (0o775, False), (0o1777, False)])
def test_the_root_of_the_stores_is_used_only_if_no_other_user_can_create_a_folder_there(fresh, tmp_path, mode, used):
    (tmp_path / "library" / "__pycache__").write_text("no folder can be made here")
    (tmp_path / "home" / ".cache").write_text("nor here")
    (tmp_path / "store").chmod(mode)
    chosen = fresh()
    assert (chosen == tmp_path / "store" / ".kernels" / cache_name()) is used
    assert used or (chosen == kernel_cache.temporary_folder and chosen.stat().st_mode & 0o777 == 0o700)


@pytest.fixture
def installed(root):
    """A copy of the package that only root can write to, and an open folder for what a user may write."""
    if os.geteuid() != 0:
        pytest.skip("the test runs a process as another user, which only root can start")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        for part in ("jobs", "monitor"):
            shutil.copytree(root / part, place / part, ignore=shutil.ignore_patterns("kernels-*", "*.nb?"))
        (place / "mine").mkdir()
        os.chown(place / "mine", NOBODY, NOBODY)
        if closed := closed_to_others(Path(sys.executable), Path(sys.executable).resolve(), Path(pytest.__file__)):
            pytest.skip(
                f"Python cannot be tried as another user here: it is in {closed}, which only its owner may read"
            )
        found = as_nobody(place, "import jobs.kernels; print(jobs.kernels.__file__)")
        assert found.stdout.startswith(folder), found.stderr
        yield place


def closed_to_others(*files):
    """The first folder on the way to some files that other users cannot enter or list; None: they reach all of them."""
    folders = (folder for file in files for folder in reversed(file.parents))
    return next((folder for folder in folders if folder.stat().st_mode & 0o005 != 0o005), None)


def as_nobody(place, code, **environment):
    path = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(place / "mine"), **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=place, env=path, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_an_install_that_cannot_be_written_works_for_another_user_without_a_home(installed):
    mine = installed / "mine"
    (installed / "regrowth.toml").write_text(
        f'[source]\nkind = "sample"\n[ledger]\nurl = "sqlite:///{mine}/regrowth.db"\n'
        f'[store]\nroot = "{mine}/store"\n[outputs]\nroot = "{mine}/outputs"\n',
        encoding="utf-8",
    )
    code = (
        "import json, os, sys\nfrom jobs.cli import main\n"
        "try:\n    main(['publish'])\nexcept SystemExit as left: status = left.code\n"
        "print(json.dumps([status, os.environ['NUMBA_CACHE_DIR']]))"
    )
    done = as_nobody(installed, code, HOME="/nonexistent")
    assert "cannot cache function" not in done.stdout + done.stderr
    status, folder = json.loads(done.stdout.splitlines()[-1])
    assert (status, Path(folder).parent) == (0, mine / "store" / ".kernels")
    assert Path(folder).stat().st_uid == NOBODY


WHERE = (
    "import numba, sys\n"
    "assert not numba.config.CACHE_DIR\n"
    "from monitor.cover.kernels import ndvi\n"
    "@numba.njit(cache=True)\n"
    "def of_the_user(number): return number\n"
    "print(ndvi.stats.cache_path, ndvi(0.25, 0.75), 'jobs' in sys.modules, sep='\\n')\n"
    "print(of_the_user.stats.cache_path, bool(numba.config.CACHE_DIR), sep='\\n')"
)
"""Where a process that loads only the library stores a kernel, and where a function of the user."""


def test_the_library_alone_uses_the_kernels_that_are_installed(root, tmp_path):
    (tmp_path / "of_the_user.py").write_text(WHERE, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["PYTHONPATH"] = str(root)
    run = [sys.executable, "of_the_user.py"]
    found = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    where, value, jobs, other, named = found.splitlines()
    assert Path(where).parent == root / "monitor" / "__pycache__" / cache_name()
    assert (value, jobs, named) == ("0.5", "False", "False")
    assert Path(other).is_relative_to(tmp_path)
    named = {**environment, "NUMBA_CACHE_DIR": str(tmp_path / "named")}
    code = "from monitor.cover.kernels import ndvi; print(ndvi.stats.cache_path)"
    found = subprocess.run([sys.executable, "-c", code], env=named, capture_output=True, text=True, check=True).stdout
    assert Path(found).parent == tmp_path / "named"


def test_the_library_alone_stores_kernels_in_the_home_and_else_for_this_process(fresh, tmp_path, monkeypatch):
    library = monitor.kernel_cache
    assert library.kernel_folder.__wrapped__() == beside(tmp_path)
    shutil.rmtree(tmp_path / "library" / "__pycache__")
    (tmp_path / "library" / "__pycache__").write_text("no folder can be made here")
    assert library.kernel_folder.__wrapped__() == tmp_path / "home" / ".cache" / "regrowth" / cache_name()
    for home in (str(tmp_path / "library" / "__pycache__"), "relative"):
        monkeypatch.setenv("HOME", home)
        assert library.kernel_folder.__wrapped__() == library.temporary_folder()
    assert library.temporary_folder().stat().st_mode & 0o777 == 0o700


def test_every_kernel_is_declared_with_the_decorator_that_knows_the_folder(root):
    direct = re.compile(r"from numba import .*\b(n?jit|g?u?vectorize)\b|numba\.(n?jit|g?u?vectorize)\(")
    files = {path for path in (root / "monitor").rglob("*.py") if direct.search(path.read_text(encoding="utf-8"))}
    assert files <= {root / "monitor" / "kernel_cache.py"}


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/nonexistent", ""])
def test_the_library_alone_works_for_another_user_without_a_home(installed, home):
    code = "from monitor.cover.kernels import ndvi; print(ndvi.stats.cache_path, ndvi(0.25, 0.75), sep='\\n')"
    done = as_nobody(installed, code, **({} if home is None else {"HOME": home}))
    assert done.stdout.endswith("0.5\n"), done.stderr
    assert Path(done.stdout.splitlines()[0]).parent.parent == installed / "mine"  # TMPDIR


def test_kernels_are_stored_in_the_home_of_a_user_who_cannot_write_to_the_package(fresh, tmp_path):
    (tmp_path / "library" / "__pycache__").write_text("no folder can be made here")
    assert fresh() == tmp_path / "home" / ".cache" / "regrowth" / cache_name()


def test_a_compilation_is_announced_once_and_what_is_compiled_already_is_not():
    from numba import njit

    @njit
    def double(number):
        return 2 * number

    announced = []
    with kernel_cache.announcing_compilation(lambda: announced.append("compiling")):
        assert (double(1), double(1.5)) == (2, 3.0)  # two compilations
    assert announced == ["compiling"]
    with kernel_cache.announcing_compilation(lambda: announced.append("again")):
        assert double(2) == 4
    assert announced == ["compiling"]
