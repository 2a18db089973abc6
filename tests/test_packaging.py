"""What is installed is the same for everyone, and nothing names a place it came from."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs import __version__

RUNTIME, DEVELOPMENT, BENCHMARKS = LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "benchmarks/requirements.lock",
)
EXPOSED = (
    "cryptography", "dask", "distributed", "h11", "jinja2", "pillow", "pyarrow", "python-multipart", "requests",
    "starlette", "urllib3",
)  # fmt: skip
LOCK_OF = {"plot": DEVELOPMENT, "docs": DEVELOPMENT, "lint": DEVELOPMENT, "test": DEVELOPMENT, "bench": BENCHMARKS}
"""The lock of an extra or a group; of any other it is RUNTIME."""


def locked(root, lock="requirements.lock"):
    text = (root / lock).read_text(encoding="utf-8")
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.M)
    }


def test_every_dependency_of_the_project_is_locked_at_a_version_it_allows(root):
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    assert {one["include-group"] for one in groups.pop("dev")} == {"docs", "lint", "test"}
    required = [(RUNTIME, text) for text in project["dependencies"]]
    optional = project["optional-dependencies"] | groups
    required += [(LOCK_OF.get(name, RUNTIME), text) for name, listed in optional.items() for text in listed]
    for lock, text in required:
        requirement = Requirement(text)
        name, versions = canonicalize_name(requirement.name), locked(root, lock)
        assert name in versions, f"{name} is not in {lock}: make lock"
        assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]}: make lock"
    assert project["version"] == __version__
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {__version__}\n" in citation


def test_type_checkers_see_the_package_in_an_editable_install_too(root):
    """They follow paths, not the import hook that setuptools writes for other layouts."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["package-dir"] == {"": "."}
    assert (root / "monitor" / "py.typed").is_file()


def test_what_reads_bytes_of_others_is_required_as_new_as_the_lock_has_it(root):
    """Older versions of these have known advisories, and the lock is what is looked after."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors = {one.name: str(one.specifier) for one in map(Requirement, project["dependencies"])}
    for name in EXPOSED:
        assert floors[name] == f">={locked(root)[name]}", f"{name}: raise its floor in pyproject.toml"


@pytest.mark.parametrize("lock", [DEVELOPMENT, BENCHMARKS])
def test_the_other_locks_change_no_version_of_the_product(root, lock):
    ours = locked(root)
    assert {name: version for name, version in locked(root, lock).items() if ours.get(name, version) != version} == {}


def test_operators_install_no_test_tools(root):
    assert not {"pytest", "playwright", "mypy", "ruff"} & locked(root).keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_everything_and_names_no_address(root, lock):
    text = (root / lock).read_text(encoding="utf-8")
    assert "://" not in text
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(blocks) == len(locked(root, lock))
    assert all("--hash=sha256:" in block for block in blocks)


SAMPLE = "jobs/install/sample"  # a link to aoi/sample


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """Tracked files, source distribution made of them, and wheel made of that."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the files of the package are compared with those that git tracks, and this is not a git clone")
    place = tmp_path_factory.mktemp("built")
    tracked = {name for name in listed.stdout.split("\0") if (root / name).is_file()}
    for name in tracked:
        (place / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, place / "copy" / name)
    (place / "copy" / SAMPLE).symlink_to((root / SAMPLE).readlink())

    def build(kind, folder):
        code = f"import setuptools.build_meta as backend; backend.build_{kind}({str(place)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True)

    build("sdist", place / "copy")
    (source,) = place.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    build("wheel", unpacked)
    (wheel,) = place.glob("*.whl")
    return tracked, unpacked, set(zipfile.ZipFile(wheel).namelist())


def test_the_source_distribution_has_every_file_of_the_repository(built):
    tracked, unpacked, _ = built
    assert sorted(name for name in tracked if not (unpacked / name).is_file()) == []


def test_the_wheel_has_every_file_of_the_program_and_the_sample_of_the_first_hour(built):
    tracked, _, wheel = built
    sample = {f"{SAMPLE}/sites.geojson", f"{SAMPLE}/regrowth.toml"}
    assert {name for name in wheel if ".dist-info/" not in name} == sample | {
        name for name in tracked if name.startswith(("jobs/", "monitor/"))
    }


def test_hooks_before_a_commit_are_checks_of_make_lint_and_download_nothing(root):
    (local,) = yaml.safe_load((root / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    lint = (root / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    checks = set(re.findall(r"\$\(BIN\)/(\w[\w-]*(?: check| format)?)", lint))
    commands = [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]]
    assert {command.removesuffix(" --force-exclude").removesuffix(" .") for command in commands} == checks
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


def test_github_runs_the_same_script_as_everyone(root):
    workflow = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step] == ["bash .ci/run"]


def test_conda_users_get_the_same_through_the_same_lock(root):
    text = (root / "environment.yml").read_text(encoding="utf-8")
    assert "      - -r requirements.lock\n" in text
    dependencies = re.findall(r"^  - ([^:\n]+)$", text, re.M)
    assert [one.split("=")[0] for one in dependencies if one != "pip"] == ["conda-forge", "nodefaults", "python"]


def test_pip_options_stand_each_on_a_line_of_its_own_since_pip_ignores_those_after_the_first(root):
    text = (root / "environment.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^      - (.*)$", text, re.M)
    assert listed == ["--require-hashes", "-r requirements.lock"]


def test_setup_installs_the_complete_lock_without_resolving_so_that_the_first_pip_of_python_3_12_can(root):
    # pip 23.2.1 takes the extra that pytest-cov asks of coverage for one more requirement that has no hash.
    text = (root / "Makefile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install .*requirements[a-z-]*\.lock", text)
    assert len(installs) == len(LOCKS)
    assert all("--no-deps --require-hashes" in line for line in installs)


def test_set_up_on_an_older_python_names_the_one_it_needs(root, tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / "python3").write_text("#!/bin/sh\necho Python 3.11.2\ntest $1 = --version\n", encoding="utf-8")
    (tmp_path / "python3").chmod(0o755)
    ran = subprocess.run(
        [shutil.which("make"), "setup"], cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert ran.returncode
    assert "needs Python 3.12 or newer" in ran.stderr
    assert "here is Python 3.11.2" in ran.stderr


def test_import_on_an_older_python_names_the_one_it_needs(root):
    if not (older := shutil.which("python3.11")):
        pytest.skip("the refusal of Python 3.11 needs python3.11, which is not installed")
    ran = subprocess.run([older, "-B", "-c", "import monitor"], cwd=root, capture_output=True, text=True)
    assert "needs Python 3.12 or newer; this is 3.11" in ran.stderr


def test_what_the_user_fixed_is_used_and_not_only_listed(root):
    code = "\n".join(
        path.read_text(encoding="utf-8") for part in ("monitor", "jobs") for path in (root / part).rglob("*.py")
    )
    for package in ("xarray", "rioxarray", "dask", "numpy"):
        assert re.search(rf"^(import {package}|from {package})\b", code, re.M), package
