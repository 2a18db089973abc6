"""Stores in a bucket: a night is the same as with a folder, and whatever the bucket's service does, nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import xarray as xr

import monitor
from jobs.install.backup import back_up
from jobs.night.pipeline import night
from jobs.night.snapshot_expiry import expire_snapshots
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import hold_landscape, hold_ledger
from jobs.runtime.settings import load
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import BadConfiguration, BadData, TryLater
from tests.builders import regrowth
from tests.jobs.conftest import NIGHT, assert_held
from tests.ledger.conftest import migrated as migrated
from tests.ledger.conftest import postgresql as postgresql
from tests.loopback.proxy import Proxy
from tests.loopback.s3 import KEYS, Service

BUCKET = "regrowth"


@pytest.fixture(scope="module")
def service():
    with Service() as running:
        running.buckets[BUCKET] = {}
        yield running


@pytest.fixture
def in_bucket(service, install, tmp_path, monkeypatch, postgresql, migrated):
    """An installation with its stores in a bucket and its ledger on a server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    service.refuse = lambda _: None
    service.buckets[BUCKET] = {}
    made = install(tmp_path)
    made.replace("sqlite:///regrowth.db", postgresql(template=migrated))
    root = f'root = "s3://{BUCKET}/{tmp_path.name}"\nendpoint_url = "{service.url}"\nregion = "us-east-1"'
    made.replace('root = "store"', root)
    return made


def test_a_night_with_stores_in_a_bucket_is_the_same_as_with_a_folder(in_bucket, first_night, service):
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status
    assert any(key.endswith("/repo") for key in service.buckets[BUCKET])
    assert [path.name for path in in_bucket.root.glob(".store/*")] == ["derived"]
    assert not (in_bucket.root / "store").exists()


@pytest.mark.slow
def test_a_night_that_is_killed_between_its_commits_ends_after_a_second_run_as_one_that_was_not(in_bucket, first_night):
    code = (
        "import os, signal, sys\n"
        "from monitor.cube.store import LandscapeStore\n"
        "commit, done = LandscapeStore._commit, []\n"
        "def killed(store, message):\n"
        "    commit(store, message)\n"
        "    done.append(message)\n"
        "    len(done) < 4 or os.kill(os.getpid(), signal.SIGKILL)\n"
        "LandscapeStore._commit = killed\n"
        "from jobs.cli import main\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "run", "--config", str(in_bucket.config), "--as-of", NIGHT.isoformat()]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status


def run(installation, *arguments):
    status, out, err = regrowth(*arguments, config=installation.config)
    return status, out + err


def run_night(installation):
    return run(installation, "run", "--as-of", NIGHT)


def ends_with_78(installation, said):
    """The night cannot be run as it is configured, and what it prints says why; returns that."""
    status, printed = run_night(installation)
    assert (status, bool(re.search(said, printed))) == (Exit.CONFIGURATION, True), printed
    return printed


def test_a_second_night_is_refused_at_once_and_a_landscape_has_one_writer(in_bucket):
    settings = load(in_bucket.config)
    with open_ledger(settings) as first:
        with hold_ledger(first, "a night"):
            status, printed = run_night(in_bucket)
        assert (status, "held by a night, process" in printed) == (Exit.TRY_LATER, True), printed
        with hold_landscape(first, settings.store.root, "a backfill", "valley") as check:
            check()
            with open_ledger(settings) as second:
                held = rf"valley is held by a backfill, process {os.getpid()} on .*since 2"
                assert_held(held, hold_landscape(second, settings.store.root, "a night", "valley"))
                with hold_landscape(second, settings.store.root, "a night", "hill"):
                    pass
            status, printed = run(in_bucket, "doctor")
            assert f"held by a backfill, process {os.getpid()}" in printed
        with open_ledger(settings) as second, hold_landscape(second, settings.store.root, "a night", "valley"):
            pass


def test_a_run_whose_connection_with_the_locks_ended_commits_nothing_more(in_bucket):
    settings = load(in_bucket.config)
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where starts_with(application_name, 'a backfill')"
    with open_ledger(settings) as ledger:
        with hold_landscape(ledger, settings.store.root, "a backfill", "valley") as check:
            with ledger.transaction() as t:
                t._connection.exec_driver_sql(ended)
            with pytest.raises(TryLater, match="ended, and with it its locks"):
                check()
        assert_held("ended, and with it its locks", hold_landscape(ledger, settings.store.root, "a backfill", "hill"))


@pytest.fixture
def after_a_night(in_bucket):
    settings = load(in_bucket.config)
    night(settings, as_of=NIGHT)
    return settings


def test_old_snapshots_expire_and_all_rows_stay(after_a_night, monkeypatch):
    root = after_a_night.store.root
    stores = [LandscapeStore(folder) for folder in landscape_folders(root)]
    before = {store.name: (store.rows, store.dataset().load()) for store in stores}
    assert max(len(store.snapshots()) for store in stores) > 2
    monkeypatch.setattr("jobs.night.snapshot_expiry.EXPIRY_CYCLE", 1)
    monkeypatch.setattr("jobs.night.snapshot_expiry.RETENTION", timedelta(0))
    with open_ledger(after_a_night) as ledger:
        expire_snapshots(root, ledger)
    for folder in landscape_folders(root):
        store = LandscapeStore(folder)
        assert len(store.snapshots()) == 2  # the first, which is empty, and the newest
        assert store.rows == before[store.name][0]
        assert store.dataset().load().identical(before[store.name][1])


@pytest.mark.slow
def test_damage_is_named_by_doctor_set_aside_and_fetched_again(after_a_night, in_bucket, service, first_night):
    status, printed = run(in_bucket, "doctor", "--deep")
    assert "read in full" in printed
    root = after_a_night.store.root
    folder = landscape_folders(root)[0]
    objects = service.buckets[BUCKET]
    for key in [key for key in objects if key.startswith(f"{folder.prefix}/chunks/") and len(objects[key]) > 1000]:
        content = bytearray(objects[key])
        content[500] ^= 8
        objects[key] = bytes(content)
    status, printed = run(in_bucket, "doctor", "--deep")
    assert status != 0
    assert f"regrowth backfill --replace {folder.name}" in printed
    status, printed = run(in_bucket, "backfill", "--replace", folder.name)
    assert status == 0, printed
    assert f"set aside as {root}/.damaged/{folder.name}-" in printed
    assert "no longer offered" not in printed
    night(after_a_night, as_of=NIGHT)
    assert in_bucket.status == first_night.status


REFUSED = [
    (lambda r: (403, "AccessDenied"), "access is denied: the key needs the rights"),
    (lambda r: (403, "AccessDenied") if r.method == "PUT" else None, "access is denied"),
    (lambda r: (403, "InvalidAccessKeyId"), "does not accept the credentials"),
    (lambda r: (301, "PermanentRedirect"), r"not in this region: correct \[store\] region"),
    (lambda r: (404, "NoSuchBucket"), "the bucket does not exist"),
    (lambda r: (501, "NotImplemented") if conditional(r) else None, r"conditional_writes = false"),
]


def conditional(request):
    return request.method == "PUT" and ("If-Match" in request.headers or "If-None-Match" in request.headers)


@pytest.mark.parametrize(
    ("refuse", "said"), REFUSED, ids=["no rights", "only reading", "unknown key", "region", "no bucket", "conditional"]
)
def test_a_bucket_that_cannot_be_used_ends_the_night_with_78_and_says_what_to_correct(in_bucket, service, refuse, said):
    service.refuse = refuse
    printed = ends_with_78(in_bucket, said)
    assert not any(value in printed for value in KEYS.values())


def test_a_service_without_conditional_writes_serves_with_the_locks_of_the_ledger(in_bucket, service, first_night):
    service.refuse = REFUSED[-1][0]
    assert run_night(in_bucket)[0] == Exit.CONFIGURATION
    assert service.buckets[BUCKET]  # of a landscape whose creation was interrupted
    in_bucket.replace("[ledger]", "conditional_writes = false\n[ledger]")
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status


def test_a_service_that_fails_midway_loses_nothing_and_the_next_night_is_equal(
    in_bucket, service, first_night, monkeypatch
):
    monkeypatch.setattr("monitor.cube.bucket.TRIES", 1)
    written = []

    def fail(request):
        if request.method == "PUT":
            written.append(request.path)
        return (503, "SlowDown") if len(written) > 60 else None

    service.refuse = fail
    status, printed = run_night(in_bucket)
    assert status in (Exit.TRY_LATER, Exit.SOME_FAILED), printed
    assert "cannot be reached" in printed
    service.refuse = lambda _: None
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status


def test_an_endpoint_where_nothing_listens_is_tried_later(in_bucket, service):
    in_bucket.replace(service.url, "http://127.0.0.1:9")
    status, printed = run_night(in_bucket)
    assert (status, "cannot be reached" in printed) == (Exit.TRY_LATER, True), printed


def test_a_scientist_opens_a_site_by_configuration_or_by_the_address(after_a_night, in_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", after_a_night.store.endpoint_url)
    address = str(after_a_night.store.root)
    by_config, by_address = (
        monitor.open_site(path, "demo-02").ndvi.drop_vars(("accepted", "reason")).load()  # these are published
        for path in (in_bucket.config, address)
    )
    assert np.isfinite(by_address).any()
    xr.testing.assert_identical(by_address, by_config)
    with pytest.raises(BadData, match=r"site 'demo-3' was not found under s3://[^ ]*; the nearest names are 'demo-"):
        monitor.open_site(address, "demo-3")


def test_a_backup_has_the_ledger_and_goes_on_with_the_stores_in_the_bucket(
    after_a_night, in_bucket, tmp_path, postgresql, migrated, first_night
):
    backup = tmp_path / "backup"
    status, printed = run(in_bucket, "backup", str(backup))
    assert (status, "0 landscapes and a ledger of" in printed) == (0, True), printed
    empty = f'url = "{postgresql(template=migrated)}"'
    in_bucket.config.write_text(re.sub(r'url = "postgresql.*"', empty, in_bucket.config.read_text()))
    ends_with_78(in_bucket, "it is not the ledger that they were made with")
    status, printed = run(in_bucket, "restore", str(backup))
    assert status == 0, printed
    shutil.rmtree(in_bucket.root / ".store")  # a new machine
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status


def test_stores_of_a_backup_must_be_in_the_bucket_before_it_is_restored(in_bucket, judged_once_elsewhere, tmp_path):
    status, printed = run(in_bucket, "restore", str(judged_once_elsewhere))
    assert status == Exit.CONFIGURATION
    assert re.search(r"lacks landscapes of the backup.*copy them first.*aws s3 sync .*/store s3://regrowth/", printed)


@pytest.fixture
def judged_once_elsewhere(first_night, tmp_path):
    """A backup of an installation with its stores in a folder."""
    elsewhere = first_night.copied_to(tmp_path / "elsewhere")
    back_up(load(elsewhere.config), tmp_path / "of-a-folder", config=elsewhere.config)
    return tmp_path / "of-a-folder"


MISTAKES = [
    (
        {"regrowth": ""},
        r"store\.root: 's3:///test.*' is not the address of a bucket; write for instance s3://my-bucket",
    ),
    ({"s3://regrowth/": "s3://Regrowth_1/"}, "is not the address of a bucket"),
    ({"s3://regrowth/": "s3://regrowth/../"}, "is not the address of a bucket"),
    ({"s3://regrowth/": "gs://regrowth/"}, "'gs:/.* is an address"),
    ({"s3://regrowth/": "/tmp/regrowth/"}, "store: endpoint_url belongs to stores in a bucket"),
    ({"127.0.0.1": "10.1.2.3"}, "http does not encrypt what is sent to 10.1.2.3; use https, or name it by allow_hosts"),
    ({"postgresql": "sqlite"}, r"a ledger on a server.*\[ledger\] url to postgresql"),
    ({"http://": "http://me:hunter2@"}, r"store\.endpoint_url: "),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES)
def test_a_wrong_setting_of_a_bucket_is_refused_with_78(in_bucket, change, said):
    for before, after in change.items():
        in_bucket.replace(before, after)
    assert "hunter2" not in ends_with_78(in_bucket, said)


def test_an_unencrypted_endpoint_of_the_environment_is_refused_too(in_bucket, service, monkeypatch):
    in_bucket.replace(f'endpoint_url = "{service.url}"\n', "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.1.2.3:9000")
    with pytest.raises(BadConfiguration, match="http does not encrypt what is sent to"):
        load(in_bucket.config)


def test_an_unencrypted_endpoint_may_be_allowed(in_bucket):
    in_bucket.replace("127.0.0.1", "minio")
    in_bucket.replace("[ledger]", 'allow_hosts = ["minio"]\n[ledger]')
    assert load(in_bucket.config).store.root.endpoint.startswith("http://minio:")


def test_keys_of_the_bucket_come_from_the_environment_or_a_file_that_it_names(in_bucket, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    status, printed = run(in_bucket, "run")
    assert (status, "AWS_SECRET_ACCESS_KEY, or a file that AWS_SECRET_ACCESS_KEY_FILE names" in printed) == (78, True)
    (tmp_path / "key").write_text(KEYS["AWS_SECRET_ACCESS_KEY"] + "\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY_FILE", str(tmp_path / "key"))
    assert landscape_folders(load(in_bucket.config).store.root) == []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", os.environ["AWS_SECRET_ACCESS_KEY"])  # undone after the test


def test_doctor_says_that_a_key_may_only_read(in_bucket, service):
    service.refuse = REFUSED[1][0]
    status, printed = run(in_bucket, "doctor")
    assert status != 0
    assert "access is denied" in printed


def test_every_request_goes_through_the_proxy(in_bucket, service, monkeypatch):
    host = service.url.removeprefix("http://")
    in_bucket.replace(host, "bucket.example")
    in_bucket.replace("[ledger]", 'allow_hosts = ["bucket.example"]\n[ledger]')
    with Proxy(names={"bucket.example": host}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        root = load(in_bucket.config).store.root
        assert landscape_folders(root) == []
        listed = len(proxy.requests)
        assert not LandscapeStore(root / "valley").exists
    assert 0 < listed < len(proxy.requests)
    assert all(line.startswith(f"GET http://bucket.example/{BUCKET}") for line in proxy.requests)
