"""Canonical JSON gives the known answers of RFC 8785, and any value that a ledger can hold has one."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.evidence.canonical import LARGEST_INTEGER, canonical, representable

# RFC 8785, appendix B: doubles of IEEE 754 in hexadecimal, and what they are written as.
NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0",
    "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992", "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000", "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000", "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21", "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001", "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325", "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334", "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333", "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_in_appendix_b_of_the_rfc(bits, text):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == text.encode()


def test_the_sample_of_section_3_2_2_of_the_rfc():
    sample = r"""{
       "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
       "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
       "literals": [null, true, false]
     }"""
    expected = (
        r'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + r"'B\"\\\\\"/" + r'"}'
    )
    assert canonical(json.loads(sample)) == expected.encode()


def test_keys_are_sorted_as_in_section_3_2_3_of_the_rfc():
    sample = {
        "€": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "😀": "Emoji: Grinning Face", "\x80": "Control", "ö": "Latin Small Letter O With Diaeresis",
    }  # fmt: skip
    assert list(json.loads(canonical(sample)).values()) == [
        "Carriage Return", "One", "Control", "Latin Small Letter O With Diaeresis", "Euro Sign",
        "Emoji: Grinning Face", "Hebrew Letter Dalet With Dagesh",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, LARGEST_INTEGER + 1, "half \ud83d", {"half \ud83d": 1}, {1: 1}, b"bytes"],
    ids=["nan", "infinity", "integer", "surrogate", "surrogate key", "key", "bytes"],
)
def test_what_the_rfc_does_not_represent_is_refused(value):
    with pytest.raises(BadData, match="no canonical JSON"):
        canonical({"value": [value]})


def test_a_value_nested_very_deeply_is_refused_without_a_crash():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(BadData, match="no canonical JSON"):
        canonical(value)


@pytest.mark.parametrize(("value", "replaced"), [
    (math.nan, {"$number": "NaN"}),
    (-math.inf, {"$number": "-Infinity"}),
    (2**53, {"$number": "9007199254740992"}),
    (-(10**30), {"$number": "-1000000000000000000000000000000"}),
    (1e16, {"$number": "10000000000000000"}),
    ("half \ud83d \\", {"$text": "half \\ud83d \\\\"}),
    ({"$number": "NaN"}, {"$$number": "NaN"}),
    ({"\udc00": 1}, {"$text:\\udc00": 1}),
])  # fmt: skip
def test_each_such_value_of_a_ledger_has_a_stated_replacement(value, replaced):
    assert representable([value]) == [replaced]


@pytest.mark.parametrize("value", [None, True, 0, -1.5, 1e300, LARGEST_INTEGER, "旱柳 😀", {"a": [1, "x"]}])
def test_any_other_value_stays_as_it_is(value):
    assert representable(value) == value


# "\ud83d\ude00" as two halves cannot come from JSON text, which joins them
texts = st.text(st.characters(codec=None, exclude_categories=[]), max_size=4).map(
    lambda text: json.loads(json.dumps(text))
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["$number", "$text", "NaN"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(texts | st.sampled_from(["$number", "$$number", "$text:"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def same(one, other):
    """Whether two values are the same JSON: numbers of equal value are, NaN is NaN, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(one=values, other=values)
def test_every_value_has_canonical_json_and_different_values_have_different_json(one, other):
    written = canonical(representable(one))
    assert (written == canonical(representable(other))) == same(one, other)


@given(value=values)
def test_what_was_written_is_read_and_written_again_as_the_same_bytes(value):
    written = canonical(representable(value))
    assert canonical(json.loads(written)) == written
