"""The columns of a series."""

import numpy as np
import pytest

from monitor.cube.records import encode_texts
from monitor.series.columns import JUDGED_COLUMNS, chain_hashes, decode_texts, no_observations

CHAINED = (*JUDGED_COLUMNS, "acquisition", "digest", "reason")


@pytest.mark.parametrize("name", CHAINED)
def test_the_chain_covers_each_observation_and_all_before_it(name):
    rng = np.random.default_rng(3)
    kinds = {one: no_observations()[one].dtype.kind for one in CHAINED}
    series = {one: rng.random(6) for one in CHAINED if kinds[one] != "S"}
    series |= {one: encode_texts(f"{one} {k}" for k in range(6)) for one in CHAINED if kinds[one] == "S"}
    series["accepted"] = np.array([True, False] * 3)
    changed = {one: values.copy() for one, values in series.items()}
    changed[name][2] = {"S": b"other", "b": not changed[name][2], "f": np.nan}[kinds[name]]
    assert (chain_hashes(series) == chain_hashes(changed)).tolist() == [True, True, False, False, False, False]

    head, rest = ({one: values[part] for one, values in series.items()} for part in (slice(4), slice(4, None)))
    assert (
        chain_hashes(series).tobytes()
        == chain_hashes(head).tobytes() + chain_hashes(rest, chain_hashes(head)[-1:].tobytes()).tobytes()
    )


def test_texts_come_back_whatever_they_are():
    some = ["", "48SUF", "晋州", "\udcff from a file name", "a\x00b"]
    assert decode_texts(encode_texts(some)) == some
