"""The image and the CronJob: what can be checked of them without a container engine."""

import re
import shlex
import sys
import tomllib
from importlib.metadata import entry_points
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import yaml

from jobs.runtime.exits import Exit
from jobs.runtime.settings import load
from tests.test_docs import blocks

UID = 10001


@pytest.fixture(scope="module")
def stages(root):
    """Instructions of each stage, as (name, arguments)."""
    text = (root / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    instructions = [tuple(line.split(None, 1)) for line in lines if line]
    starts = [i for i, (name, _) in enumerate(instructions) if name == "FROM"]
    return [instructions[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]


def arguments(stage, name):
    return [text for instruction, text in stage if instruction == name]


def test_both_stages_begin_with_one_base_named_by_a_tag(stages):
    bases = {arguments(stage, "FROM")[0].removesuffix(" AS build") for stage in stages}
    (base,) = bases
    assert re.fullmatch(r"docker\.io/library/debian:[a-z]+-slim(@sha256:[0-9a-f]{64})?", base)
    labels = dict(word.split("=", 1) for word in shlex.split(arguments(stages[-1], "LABEL")[0]))
    assert labels["org.opencontainers.image.base.name"] == base


def test_labels_are_those_of_the_project(stages, root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(word.split("=", 1) for word in shlex.split(arguments(stages[-1], "LABEL")[0]))
    named = [labels[f"org.opencontainers.image.{key}"] for key in ("title", "version", "licenses")]
    assert named == [project["name"], project["version"], project["license"]]


def test_only_what_the_lock_names_with_its_hash_is_installed(stages):
    installs = [run for run in arguments(stages[0], "RUN") if " pip " in run]
    assert len(installs) == 2
    assert "--no-deps --require-hashes" in installs[0]
    assert "--requirement requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert not any("pip" in run for run in arguments(stages[1], "RUN"))


def test_the_context_holds_what_is_copied_and_nothing_else(stages, root):
    copied = {source for copy in arguments(stages[0], "COPY") for source in copy.split()[:-1]}
    assert all((root / source).exists() for source in copied)
    ignore = (root / ".containerignore").read_text(encoding="utf-8").split("\n")
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


def test_kernels_are_compiled_for_any_processor_after_the_times_of_the_sources_are_set(stages):
    (run,) = (run for run in arguments(stages[0], "RUN") if "jobs.kernels" in run)
    assert run.index("touch --date=") < run.index("compileall") < run.index("-m jobs.kernels")
    assert "NUMBA_CPU_NAME=generic" in arguments(stages[0], "ENV")[0]
    assert "NUMBA_CPU_NAME=generic" in arguments(stages[1], "ENV")[0]


def test_the_image_runs_as_an_ordinary_user_and_writes_below_its_work_folder(stages):
    last = stages[-1]
    assert arguments(last, "USER") == [f"{UID}:{UID}"]
    assert (arguments(last, "WORKDIR"), arguments(last, "ENTRYPOINT")) == (["/data"], [])
    assert arguments(last, "CMD") == ['["regrowth", "--help"]']
    assert "HOME=/data" in arguments(last, "ENV")[0].split()
    assert [name for name, _ in last].index("USER") > max(i for i, (name, _) in enumerate(last) if name == "RUN")


def test_the_image_holds_no_secret(root):
    text = (root / "Containerfile").read_text(encoding="utf-8")
    assert not re.search(r"token|password|secret|credential|\bARG\b|https?://(?!127\.0\.0\.1)", text, re.I)


def test_the_guide_builds_and_runs_the_version_of_the_project_with_the_least_rights(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    guide = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = [line for line in "\n".join(blocks(guide, "sh")).splitlines() if line.startswith("podman ")]
    assert len(commands) == 3
    assert all(f" regrowth-monitor:{project['version']} " in command for command in commands)
    for command in commands[1:]:
        options = {"--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs"}
        assert options <= set(command.split())
    assert "--network=none" in commands[1]


def test_the_operator_of_the_guide_starts_programs_that_the_image_has(root, monkeypatch):
    def make_cluster_spec(*, worker_command, **_):  # as dask-kubernetes 2026.3
        worker = [*worker_command.split(" "), "--name", "one", "--dashboard", "--dashboard-address", "8788"]
        kinds = {"worker": worker, "scheduler": ["dask-scheduler", "--host", "0.0.0.0"]}
        return {"spec": {kind: {"spec": {"containers": [{"args": args}]}} for kind, args in kinds.items()}}

    made = []
    operator = ModuleType("dask_kubernetes.operator")
    operator.make_cluster_spec = make_cluster_spec
    operator.KubeCluster = lambda custom_cluster_spec, **_: made.append(custom_cluster_spec["spec"]) or MagicMock()
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", operator)
    guide = (root / "docs" / "cluster.md").read_text(encoding="utf-8")
    (recipe,) = (block for block in blocks(guide, "python") if "KubeCluster" in block)
    exec(recipe, {})
    commands = {each.name: each.load() for each in entry_points(group="dask_cli")}
    for kind in ("worker", "scheduler"):
        program, name, *arguments = made[0][kind]["spec"]["containers"][0]["args"]
        assert program in {each.name for each in entry_points(group="console_scripts")}
        assert name == kind
        commands[name].make_context(name, arguments)


@pytest.fixture(scope="module")
def objects(root):
    text = (root / "jobs" / "deploy" / "cronjob.yaml").read_text(encoding="utf-8")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def job(objects):
    return objects["CronJob"]["spec"]["jobTemplate"]["spec"]


@pytest.fixture(scope="module")
def pod(job):
    return job["template"]["spec"]


def test_the_pod_has_no_more_rights_than_the_image_needs(pod, stages):
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}  # a slow night is no failed one
    assert container["args"][0] == "regrowth"


def test_every_place_that_a_night_writes_to_is_mounted(pod, objects):
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    writable = {mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")}
    assert writable == {"/data", "/tmp"}
    assert "emptyDir" in volumes["tmp"]
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert claim == objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]


def test_the_configuration_is_valid_and_writes_to_the_volume_only(objects, pod, tmp_path):
    (text,) = objects["ConfigMap"]["data"].values()
    (tmp_path / "regrowth.toml").write_text(text, encoding="utf-8")
    settings = load(tmp_path / "regrowth.toml")
    paths = [settings.store.root, settings.outputs.root, settings.registry.path]
    assert all(path.is_relative_to("/data") for path in paths)
    assert settings.ledger.url == "sqlite:////data/regrowth.db"
    assert "secret" not in text.lower()
    (container,) = pod["containers"]
    assert container["args"] == ["regrowth", "run", "--config", "/etc/regrowth/regrowth.toml"]
    assert list(objects["ConfigMap"]["data"]) == ["regrowth.toml"]


def test_a_killed_night_runs_again_once_and_one_that_ended_by_itself_does_not(job, pod):
    moved, ended = job["podFailurePolicy"]["rules"]
    assert (moved["action"], moved["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (ended["action"], ended["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert ended["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    assert set(ended["onExitCodes"]["values"]) == set(map(int, Exit)) - {Exit.DONE}
    assert job["backoffLimit"] == 1


def test_nights_do_not_overlap_and_end_before_the_next_one_begins(objects, job, pod):
    spec = objects["CronJob"]["spec"]
    assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Etc/UTC")
    assert spec["startingDeadlineSeconds"] + job["activeDeadlineSeconds"] < 24 * 3600
    assert pod["terminationGracePeriodSeconds"] > 30  # SIGTERM: a night ends within 30 s
    assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= spec.keys()
