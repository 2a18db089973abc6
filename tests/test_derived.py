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
def asked(tmp_path):
    """A result, and how often it was made."""

    class Asked:
        path = tmp_path / "folder" / "result"
        made = 0

        def __call__(self, *inputs, path=None, module="monitor.series.build"):
            def make():
                self.made += 1
                return RESULT

            return derived.get(path or self.path, inputs, make, module=module)

    return Asked()


def same(found):
    assert found.keys() == RESULT.keys()
    assert found["plain"] == RESULT["plain"]
    for name in ("values", "text"):
        np.testing.assert_array_equal(found[name], RESULT[name])
        assert found[name].dtype == RESULT[name].dtype
    return True


def test_a_result_is_made_once_and_comes_back_as_it_was(asked):
    assert same(asked("input"))
    assert same(asked("input"))
    assert asked.made == 1


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
def test_another_input_makes_another_result(asked, before, after):
    asked("first", before)
    asked("first", before)
    assert asked.made == 1
    asked("first", after)
    assert asked.made == 2


def test_where_one_input_ends_and_the_next_begins_is_an_input_too(asked):
    asked(b"ab", b"c")
    asked(b"a", b"bc")
    assert asked.made == 2


@pytest.mark.parametrize("harm", ["empty", "torn", "a bit turned", "no message", "a folder"])
def test_a_file_that_cannot_be_trusted_is_made_again(asked, harm):
    asked("input")
    good = asked.path.read_bytes()
    if harm == "a folder":
        asked.path.unlink()
        asked.path.mkdir()
    else:
        turned = good[:40] + bytes([good[40] ^ 1]) + good[41:]
        bad = {"empty": b"", "torn": good[: len(good) // 2], "a bit turned": turned, "no message": bytes(400)}[harm]
        asked.path.write_bytes(bad)
    assert same(asked("input"))
    assert asked.made == 2
    assert asked.path.is_dir() or asked.path.read_bytes() == good


def test_a_shorter_result_leaves_nothing_of_a_longer_one_in_its_file(asked):
    derived.get(asked.path, ["long"], lambda: {"text": "long" * 1000}, module="monitor.series.build")
    asked("input")
    assert asked.path.stat().st_size < 1000
    assert same(asked("input"))
    assert asked.made == 1


@pytest.mark.parametrize("what", ["full", "read only", "a file in its way"])
def test_a_result_that_cannot_be_stored_is_made_each_time_and_is_no_error(asked, what, monkeypatch):
    def refused(*_):
        raise OSError(28 if what == "full" else 30, os.strerror(28))

    if what == "a file in its way":
        asked.path.parent.write_text("not a folder")
    else:
        monkeypatch.setattr(derived, "_overwrite", refused)
    for _ in range(2):
        assert same(asked("input"))
    assert asked.made == 2


def test_a_copy_by_hard_links_is_not_written_through(asked, tmp_path):
    asked("old")
    old = asked.path.read_bytes()
    copy = tmp_path / "copy"
    os.link(asked.path, copy)
    asked("new")
    assert copy.read_bytes() == old
    assert asked.path.read_bytes() != old
    asked("new")
    assert asked.made == 2


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
    asked, monkeypatch, tmp_path, maker, changed
):
    asked("input", module=maker)
    edited(monkeypatch, tmp_path, changed)
    assert same(asked("input", module=maker))
    assert asked.made == 2
    asked("input", module=maker)
    assert asked.made == 2


def test_an_edit_of_other_code_changes_nothing(asked, monkeypatch, tmp_path):
    asked("input")
    edited(monkeypatch, tmp_path, "monitor.alerts.messages.digest")
    asked("input")
    assert asked.made == 1
