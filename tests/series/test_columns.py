"""The columns of a series."""

import numpy as np
import pytest

from monitor.cube.records import encode_texts
from monitor.series.columns import JUDGED_COLUMNS, content_hash, decode_texts, no_observations

HASHED = (*JUDGED_COLUMNS, "acquisition", "digest", "reason")


@pytest.mark.parametrize("name", HASHED)
def test_the_hash_of_a_series_covers_all_that_a_verdict_uses(name):
    rng = np.random.default_rng(3)
    kinds = {one: no_observations()[one].dtype.kind for one in HASHED}
    series = {one: rng.random(6) for one in HASHED if kinds[one] in "fb"}
    series |= {one: encode_texts(f"{one} {k}" for k in range(6)) for one in HASHED if kinds[one] == "S"}
    series |= {"accepted": np.array([True, False] * 3), "digest": rng.integers(0, 2**63, 6, np.uint64)}
    changed = {one: values.copy() for one, values in series.items()}
    changed[name][2] = {"S": b"other", "b": not changed[name][2], "f": np.nan, "u": 3}[kinds[name]]
    wider = {one: values.astype("S90") if kinds[one] == "S" else values for one, values in series.items()}
    assert content_hash(series) == content_hash(wider) != content_hash(changed)
    assert content_hash({one: values[:5] for one, values in series.items()}) != content_hash(series)


def test_texts_come_back_whatever_they_are():
    some = ["", "48SUF", "晋州", "\udcff from a file name", "a\x00b"]
    assert decode_texts(encode_texts(some)) == some
