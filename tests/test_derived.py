"""Stored results that can be made again."""

import inspect
import os

import numpy as np
import pytest

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
def test_a_result_that_cannot_be_stored_is_made_each_time_without_an_error(result, what, monkeypatch):
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


CODE = b"""
import monitor.verdict.status


def half(x, *, y=2):
    return [x / 2, f"{y!r}"]
"""


@pytest.mark.parametrize(("old", "new"), [
    (b"import", b'"""Docstring."""\n\nimport'), (b"return", b'"""Docstring."""\n    return'),
    (b"y=2", b"y = 2  # two\n"), (b"[x / 2,", b"[\n        (x / 2),  # a half\n       "),
    (b"    return", b"\n    return"), (b'"{y!r}"', b"'{y!r}'"),
])  # fmt: skip
def test_docstrings_comments_and_layout_are_not_code(old, new):
    assert CODE.replace(old, new, 1) != CODE
    assert derived._parsed(CODE.replace(old, new, 1)) == derived._parsed(CODE)


@pytest.mark.parametrize(("old", "new"), [
    (b"x / 2", b"x // 2"), (b"x / 2", b"2 / x"), (b"x / 2", b"x / 2.0"), (b"*, y", b"y"), (b"y=2", b"y=None"),
    (b"!r", b"!s"), (b"half", b"double"), (b"[x / 2,", b"[[x / 2],"), (b"    return", b"    x += 1\n    return"),
    (b"import monitor", b"from monitor import verdict as monitor  #"),
])  # fmt: skip
def test_all_else_is_code(old, new):
    assert CODE.replace(old, new, 1) != CODE
    assert derived._parsed(CODE.replace(old, new, 1))[0] != derived._parsed(CODE)[0]


def test_an_import_in_a_function_counts_as_one_at_the_top():
    nested = b"def f():\n    from monitor.verdict import status, reasons\n    import numpy\n"
    names = ["monitor.verdict", "monitor.verdict.status", "monitor.verdict.reasons"]
    assert derived._parsed(nested)[1] == names
    for module in ("jobs.register.lots", "monitor.publish.drafts"):
        assert derived.code_hash(module)
    with pytest.raises(ModuleNotFoundError):
        derived.code_hash("monitor.of_another_name")


def edited(monkeypatch, tmp_path, module, text):
    """Have the source of a module be a copy with more text."""
    source = derived._source
    copy = tmp_path / "edited.py"
    copy.write_bytes(source(module).read_bytes() + text)
    monkeypatch.setattr(derived, "_source", lambda name: copy if name == module else source(name))
    monkeypatch.setattr(derived, "code_hash", inspect.unwrap(derived.code_hash))  # as in another process


@pytest.mark.parametrize(("maker", "changed"), [
    ("monitor.series.build", "monitor.series.build"), ("monitor.series.build", "monitor.controls.orbit_bias"),
    ("monitor.series.build", "monitor.imagery.bands"), ("monitor.series.build", "monitor.cube.overpass"),
    ("monitor.verdict.assess", "monitor.verdict.reasons"), ("monitor.verdict.assess", "monitor.verdict.kernels.theta"),
])  # fmt: skip
def test_an_edit_of_the_code_that_makes_a_result_or_of_any_it_imports_has_it_made_again(
    result, monkeypatch, tmp_path, maker, changed
):
    result("input", module=maker)
    edited(monkeypatch, tmp_path, changed, b'\n# a comment\n\n"""And a text."""\n')
    result("input", module=maker)
    assert result.made == 1
    edited(monkeypatch, tmp_path, changed, b"EDITED = 1\n")
    assert same(result("input", module=maker))
    assert result.made == 2
    result("input", module=maker)
    assert result.made == 2


def test_an_edit_of_other_code_changes_nothing(result, monkeypatch, tmp_path):
    result("input")
    edited(monkeypatch, tmp_path, "monitor.alerts.messages.digest", b"EDITED = 1\n")
    result("input")
    assert result.made == 1
