"""The hash tree is that of RFC 6962."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.evidence.merkle import inclusion_path, leaf_hash, merkle_root, root_of_path

# Records and roots of the reference implementation of Certificate Transparency (google/certificate-transparency,
# cpp/merkletree/merkle_tree_test.cc): the root over the first n records.
RECORDS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(record) for record in RECORDS]


def node(left, right):
    return sha256(b"\x01" + left + right).digest()


def naive_root(records):
    """Root by the recursion of RFC 6962, section 2.1, word for word."""
    n = len(records)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + records[0]).digest()
    k = 1
    while 2 * k < n:
        k *= 2
    return node(naive_root(records[:k]), naive_root(records[k:]))


@pytest.mark.parametrize("n", range(9))
def test_roots_are_the_known_ones(n):
    assert merkle_root(LEAVES[:n]).hex() == ROOTS[n]


def test_the_root_is_that_of_the_recursion_of_the_rfc():
    for n in (*range(70), 255, 256, 257, 1000):
        records = [b"%d" % number for number in range(n)]
        assert merkle_root([leaf_hash(record) for record in records]) == naive_root(records)


def test_paths_are_those_of_the_example_of_the_rfc():
    # RFC 6962, section 2.1.3: a tree of seven records d0 to d6 with nodes a to l
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = node(a, b), node(c, d), node(e, f)
    k, l = node(g, h), node(i, j)  # noqa: E741 - the names of the RFC
    assert merkle_root(LEAVES[:7]) == node(k, l)
    assert inclusion_path(LEAVES[:7], 0) == [b, h, l]
    assert inclusion_path(LEAVES[:7], 3) == [c, g, l]
    assert inclusion_path(LEAVES[:7], 4) == [f, j, k]
    assert inclusion_path(LEAVES[:7], 6) == [i, k]


@given(size=st.integers(1, 70), data=st.data())
def test_a_path_leads_to_the_root_from_its_own_leaf_and_place_only(size, data):
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(leaves, index), merkle_root(leaves)
    assert root_of_path(leaves[index], index, size, path) == root
    assert root_of_path(leaf_hash(b"another"), index, size, path) != root
    if other != index:
        assert root_of_path(leaves[other], index, size, path) != root
        with suppress(BadData):  # its path has another length
            assert root_of_path(leaves[index], other, size, path) != root


@pytest.mark.parametrize("change", [lambda path: path[:-1], lambda path: [*path, path[0]], lambda path: []])
def test_a_path_of_another_length_is_refused(change):
    with pytest.raises(BadData, match="does not fit a leaf of a tree of 7"):
        root_of_path(LEAVES[3], 3, 7, change(inclusion_path(LEAVES[:7], 3)))


@pytest.mark.parametrize(("index", "size"), [(7, 7), (-1, 7), (0, 0)])
def test_a_leaf_outside_the_tree_is_refused(index, size):
    with pytest.raises(BadData, match=f"no leaf {index} among {size}"):
        root_of_path(LEAVES[0], index, size, [])
