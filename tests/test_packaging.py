"""What is installed is the same for everyone, and nothing names a place it came from."""

import re
import tomllib

import pytest
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


def test_what_the_user_fixed_is_used_and_not_only_listed(root):
    code = "\n".join(
        path.read_text(encoding="utf-8") for part in ("monitor", "jobs") for path in (root / part).rglob("*.py")
    )
    for package in ("xarray", "rioxarray", "dask", "numpy"):
        assert re.search(rf"^(import {package}|from {package})\b", code, re.M), package
