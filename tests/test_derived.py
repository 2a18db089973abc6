"""Stored results that can be made again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import monitor
from monitor import derived

RESULT = {"values": np.arange(6, dtype=np.float32).reshape(2, 3), "text": np.array([b"a", b"bc"]), "plain": {"a": [1]}}


@pytest.fixture
def result(tmp_path):
    """A result, and how often it was made."""

    class Counted:
        path = tmp_path / "folder" / "result"
        made = 0

        def __call__(self, *inputs, path=None, module="monitor.series.build"):
            def make():
                self.made += 1
                return RESULT

            return derived.get(path or self.path, inputs, make, module=module)

    return Counted()


def same(found):
    assert found.keys() == RESULT.keys()
    assert found["plain"] == RESULT["plain"]
    for name in ("values", "text"):
        np.testing.assert_array_equal(found[name], RESULT[name])
        assert found[name].dtype == RESULT[name].dtype
    return True


def test_a_result_is_made_once_and_comes_back_as_it_was(result):
    assert same(result("input"))
    assert same(result("input"))
    assert result.made == 1


def test_arrays_without_a_value_come_back_too(tmp_path):
    empty = {"numbers": np.zeros((0, 3)), "texts": np.array([], "S4")}
    for _ in range(2):
        found = derived.get(tmp_path / "empty", [], lambda: empty, module="monitor.series.build")
        assert {name: (values.shape, values.dtype) for name, values in found.items()} == {
            "numbers": ((0, 3), np.float64), "texts": ((0,), np.dtype("S4"))
        }  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [
    ("a", "b"), (1, 1.5), (b"ab", b"abc"), (np.arange(4), np.arange(4.0)), (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.array([b"a"]), np.array([b"b"])), (None, "None "),
], ids=["text", "number", "bytes", "kind of array", "shape of an array", "content of an array", "nothing"])  # fmt: skip
def test_another_input_makes_another_result(result, before, after):
    result("first", before)
    result("first", before)
    assert result.made == 1
    result("first", after)
    assert result.made == 2


def test_where_one_input_ends_and_the_next_begins_is_an_input_too(result):
    result(b"ab", b"c")
    result(b"a", b"bc")
    assert result.made == 2


@pytest.mark.parametrize("harm", ["empty", "torn", "a bit turned", "no message", "a folder"])
def test_a_file_that_cannot_be_trusted_is_made_again(result, harm):
    result("input")
    good = result.path.read_bytes()
    if harm == "a folder":
        result.path.unlink()
        result.path.mkdir()
    else:
        turned = good[:40] + bytes([good[40] ^ 1]) + good[41:]
        bad = {"empty": b"", "torn": good[: len(good) // 2], "a bit turned": turned, "no message": bytes(400)}[harm]
        result.path.write_bytes(bad)
    assert same(result("input"))
    assert result.made == 2
    assert result.path.is_dir() or result.path.read_bytes() == good


def test_a_shorter_result_leaves_nothing_of_a_longer_one_in_its_file(result):
    derived.get(result.path, ["long"], lambda: {"text": "long" * 1000}, module="monitor.series.build")
    result("input")
    assert result.path.stat().st_size < 1000
    assert same(result("input"))
    assert result.made == 1


@pytest.mark.parametrize("what", ["full", "read only", "a file in its way"])
def test_a_result_that_cannot_be_stored_is_made_each_time_and_is_no_error(result, what, monkeypatch):
    def refused(*_):
        raise OSError(28 if what == "full" else 30, os.strerror(28))

    if what == "a file in its way":
        result.path.parent.write_text("not a folder")
    else:
        monkeypatch.setattr(derived, "_overwrite", refused)
    for _ in range(2):
        assert same(result("input"))
    assert result.made == 2


def test_a_copy_by_hard_links_is_not_written_through(result, tmp_path):
    result("old")
    old = result.path.read_bytes()
    copy = tmp_path / "copy"
    os.link(result.path, copy)
    result("new")
    assert copy.read_bytes() == old
    assert result.path.read_bytes() != old
    result("new")
    assert result.made == 2


def edited(monkeypatch, tmp_path, module):
    """Have the source of a module be a copy with one more line."""
    source = Path(monitor.__file__).parent.parent.joinpath(*module.split("."))
    copy = tmp_path / "edited.py"
    shutil.copy(source.with_suffix(".py"), copy)
    with copy.open("a") as file:
        file.write("# an edit\n")
    found = derived._source
    monkeypatch.setattr(derived, "_source", lambda name: copy if name == module else found(name))
    monkeypatch.setattr(derived, "code_hash", derived.code_hash.__wrapped__)  # as in another process


@pytest.mark.parametrize(("maker", "changed"), [
    ("monitor.series.build", "monitor.series.build"), ("monitor.series.build", "monitor.controls.orbit_bias"),
    ("monitor.series.build", "monitor.imagery.bands"), ("monitor.series.build", "monitor.cube.overpass"),
    ("monitor.verdict.assess", "monitor.verdict.reasons"), ("monitor.verdict.assess", "monitor.verdict.kernels.theta"),
])  # fmt: skip
def test_an_edit_of_the_code_that_makes_a_result_or_of_any_it_imports_has_it_made_again(
    result, monkeypatch, tmp_path, maker, changed
):
    result("input", module=maker)
    edited(monkeypatch, tmp_path, changed)
    assert same(result("input", module=maker))
    assert result.made == 2
    result("input", module=maker)
    assert result.made == 2


def test_an_edit_of_other_code_changes_nothing(result, monkeypatch, tmp_path):
    result("input")
    edited(monkeypatch, tmp_path, "monitor.alerts.messages.digest")
    result("input")
    assert result.made == 1
