"""Stores in a bucket: a night is the same as with a folder, and whatever the bucket's service does, nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta

import pytest

from jobs.cli import main
from jobs.night.pipeline import night
from jobs.night.snapshot_expiry import expire_snapshots
from jobs.runtime.exits import Exit
from jobs.runtime.settings import load
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from tests.jobs.conftest import NIGHT
from tests.ledger.conftest import migrated as migrated
from tests.ledger.conftest import postgresql as postgresql
from tests.loopback.s3 import KEYS, Service

BUCKET = "regrowth"


@pytest.fixture(scope="module")
def service():
    with Service() as running:
        running.create(BUCKET)
        yield running


@pytest.fixture
def in_bucket(service, install, tmp_path, monkeypatch, postgresql, migrated):
    """An installation with its stores in a bucket and its ledger on a server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    service.refuse = lambda _: None
    service.requests.clear()
    made = install(tmp_path)
    text = made.config.read_text().replace("sqlite:///regrowth.db", postgresql(template=migrated))
    root = f'root = "s3://{BUCKET}/{tmp_path.name}"\nendpoint_url = "{service.url}"\nregion = "us-east-1"'
    made.config.write_text(text.replace('root = "store"', root))
    return made


def test_a_night_with_stores_in_a_bucket_is_the_same_as_with_a_folder(in_bucket, first_night, service):
    night(load(in_bucket.config), as_of=NIGHT)
    assert in_bucket.status == first_night.status
