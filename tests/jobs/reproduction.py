"""Check that published files give back the published verdicts, and that two sets of files are the same."""

import json
from datetime import date
from difflib import unified_diff
from itertools import islice
from pathlib import Path

import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from typer.testing import CliRunner

from jobs.cli import app
from monitor.evidence.container import Container
from monitor.evidence.recompute import recompute
from monitor.evidence.verify import Verified, verify_pack

NOT_OF_A_SERIES = {"series_digest", "code_version"}  # fields of an assessment that say what it was made from


def reassessed(series: Path, plans: Path, out: Path) -> dict[str, dict]:
    """The last row of each site that ``regrowth assess`` gives, with the values of ``status.json``."""
    ran = CliRunner().invoke(app, ["assess", str(series), "--plans", str(plans), "--out", str(out)])
    assert (ran.exit_code, ran.stderr) == (0, ""), ran.exception
    found = {}
    for row in pyarrow.parquet.read_table(out).to_pylist():
        row |= {name: value.isoformat() for name, value in row.items() if isinstance(value, date)}
        found[row["site"]] = row | {"reasons": row["reasons"].split(";") if row["reasons"] else []}
    return found


def assert_same(found: dict, published: dict) -> None:
    """Every field of a published assessment that a series can give is in a row of ``assess``, to 1e-6."""
    assert published.keys() - found.keys() == NOT_OF_A_SERIES
    for name in published.keys() - NOT_OF_A_SERIES:
        ours, theirs = found[name], published[name]
        assert ours == theirs or ours == pytest.approx(theirs, abs=1e-6), (published["site"], name)


def assert_reproduced(root: Path, tmp_path: Path) -> None:
    """Each site under an output root by itself."""
    for published in json.loads((root / "status.json").read_text(encoding="utf-8")):
        folder = root / "sites" / published["site"]
        found = reassessed(folder / "observations.csv", folder / "plan.json", tmp_path / "again.parquet")
        assert_same(found[published["site"]], published)


def verified_and_recomputed(pack: Path, public: Ed25519PublicKey, folder: Path) -> Verified:
    """What a check of a pack finds, which also gives the same verdict again in a folder that is made for it."""
    folder.mkdir()
    with Container(pack, public) as opened:
        again = recompute(opened, folder)
    assert (again.differences, again.tolerance) == ((), 0.0)
    return verify_pack(pack, public)


def differences(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, list[str]]:
    """Each file that is not the same, with the first lines that differ: a failure elsewhere can be read."""

    def lines(content: bytes) -> list[str]:
        return content.decode("utf-8", "replace").splitlines()

    found = {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, b""), after.get(name, b"")
        if old != new or (name in before) != (name in after):
            changes = unified_diff(lines(old), lines(new), "before", "after", n=0, lineterm="")
            found[name] = [line[:200] for line in islice(changes, 10)]
    return found
