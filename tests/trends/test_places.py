"""Arrays written over in place: however a write is cut short, what was committed before is still there, or nothing."""

import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.trends import places
from monitor.trends.places import HEAD, commit, load

SHAPES = (("<f4", (7, 700)), ("|u1", (5, 700)), ("<f8", (35,)), ("|u1", (0, 3)))


def night(number):
    """Arrays that tell one night from another."""
    rng = np.random.default_rng(number)
    return [rng.integers(0, 200, shape).astype(kind) for kind, shape in SHAPES]


def brought(path, numbers):
    for number in numbers:
        commit(path, {"night": number}, night(number))


def holds(path, number):
    found = load(path)
    if found is None:
        return False
    told, arrays = found
    same = [a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(arrays, night(number), strict=True)]
    return told == {"night": number} and all(same)


def test_what_was_committed_last_is_found_night_by_night_in_a_file_that_does_not_grow(tmp_path):
    path = tmp_path / "state"
    sizes = set()
    for number in range(6):
        brought(path, [number])
        assert holds(path, number)
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_what_was_loaded_before_stays_as_it_was_over_the_next_commit(tmp_path):
    path = tmp_path / "state"
    brought(path, [1, 2])
    told, arrays = load(path)
    brought(path, [3])
    assert told == {"night": 2}
    assert all(np.array_equal(a, b) for a, b in zip(arrays, night(2), strict=True))


def test_nothing_was_ever_committed(tmp_path):
    assert load(tmp_path / "state") is None


def test_arrays_that_outgrow_the_file_are_kept_all_the_same(tmp_path):
    path = tmp_path / "state"
    brought(path, [1, 2])
    large = np.arange(100_000, dtype=np.float32)
    for size in (10, 100_000, 30):
        commit(path, {"size": size}, [large[:size]])
        told, (found,) = load(path)
        assert told == {"size": size}
        np.testing.assert_array_equal(found, large[:size])


@pytest.mark.parametrize("moment", range(6))
def test_killed_between_any_two_writes_the_night_before_is_still_there(tmp_path, monkeypatch, moment):
    """So many bytes go in one write: the arrays take three, one, one and none, and the head one."""
    path = tmp_path / "state"
    brought(path, [1, 2])
    write, count = os.pwrite, iter(range(100))

    def dies(file, content, place):
        if next(count) == moment:
            raise KeyboardInterrupt
        return write(file, content[:8192], place)

    with monkeypatch.context() as patch:
        patch.setattr(places.os, "pwrite", dies)
        with pytest.raises(KeyboardInterrupt):
            brought(path, [3])
    assert holds(path, 2)
    brought(path, [4])
    assert holds(path, 4)


def test_killed_while_the_file_is_made_nothing_is_there_and_the_next_run_makes_it(tmp_path, monkeypatch):
    path = tmp_path / "state"

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(places.os, "pwrite", dies)
        with pytest.raises(KeyboardInterrupt):
            brought(path, [1])
    assert load(path) is None
    brought(path, [2])
    assert holds(path, 2)


@given(data=st.data())
def test_a_byte_spoilt_anywhere_is_the_night_before_or_unseen_padding_and_never_a_wrong_number(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("spoilt") / "state"
    brought(path, [1, 2])
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    assert holds(path, 2) or holds(path, 1)


@pytest.mark.parametrize("size", [0, 100, HEAD, 2 * HEAD, 3 * HEAD])
def test_a_file_cut_short_holds_nothing_and_is_made_again(tmp_path, size):
    path = tmp_path / "state"
    brought(path, [1, 2])
    os.truncate(path, size)
    assert load(path) is None
    brought(path, [3])
    assert holds(path, 3)


def test_a_file_of_another_kind_holds_nothing_and_is_made_again(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"\x93NUMPY" + bytes(100_000))
    assert load(path) is None
    brought(path, [1])
    assert holds(path, 1)


def test_another_version_of_the_layout_is_never_misread(tmp_path, monkeypatch):
    path = tmp_path / "state"
    brought(path, [1, 2])
    monkeypatch.setattr(places, "VERSION", places.VERSION + 1)
    assert load(path) is None
    brought(path, [3])
    assert holds(path, 3)


def test_more_told_than_the_head_has_room_for_is_refused_and_spoils_nothing(tmp_path):
    path = tmp_path / "state"
    brought(path, [1])
    with pytest.raises(ValueError, match="bytes"):
        commit(path, {"scenes": ["s2/long"] * HEAD}, night(2))
    assert holds(path, 1)


def test_a_head_tells_in_plain_text_what_it_holds(tmp_path):
    path = tmp_path / "state"
    brought(path, [1])
    text, _, check = path.read_bytes()[:HEAD].rstrip(b"\0").rpartition(b"\n")
    assert int(check, 16) == zlib.crc32(text)
    assert json.loads(text)["told"] == {"night": 1}
