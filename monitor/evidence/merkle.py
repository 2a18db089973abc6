"""The hash tree of RFC 6962 [1]_: one hash for many records, and a short proof that a record is among them.

A leaf is the hash of a record, a node the hash of the two below it; the two begin with different bytes, so that no
record can pass for a node. In a level with an odd number of hashes the last one moves up as it is, which is the tree
of the RFC.

References
----------
.. [1] B. Laurie, A. Langley and E. Kasper, "Certificate Transparency," RFC 6962, section 2.1, 2013,
   doi:10.17487/RFC6962.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from monitor.errors import BadData

HASH_SIZE: Final = 32  # size of a hash, SHA-256 [byte]


def leaf_hash(record: bytes) -> bytes:
    """Leaf of a record: SHA-256 of a zero byte and the record."""
    return sha256(b"\x00" + record).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over leaves (:func:`leaf_hash`) in order; for no leaf SHA-256 of nothing, as in the RFC."""
    return _levels(leaves)[-1][0] if leaves else sha256(b"").digest()


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Hashes that lead from the leaf at a position, from 0, to the root: the neighbour of each level, the lowest first.

    At most as many as log2 of the number of leaves, rounded up; none for a lone leaf.
    """
    path = []
    for level in _levels(leaves)[:-1]:
        if (index ^ 1) < len(level):
            path.append(level[index ^ 1])
        index >>= 1
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Root of the tree in which a path leads up from a leaf: the verifier's side of :func:`inclusion_path`.

    Equal to the root of a tree of `size` leaves only if the leaf is at this position in it, from 0. Raises ``BadData``
    where a tree of this size has no such leaf, or its path has another length.
    """
    if not 0 <= index < size:
        raise BadData(f"there is no leaf {index} among {size}")
    root, neighbours, last = leaf, iter(path), size - 1
    try:
        while last:
            if index % 2:
                root = _node(next(neighbours), root)
            elif index < last:
                root = _node(root, next(neighbours))
            index, last = index // 2, last // 2
    except StopIteration:
        root = b""
    if not root or next(neighbours, None) is not None:
        raise BadData(f"a path of {len(path)} hashes does not fit a leaf of a tree of {size}")
    return root


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All hashes of the tree over one leaf or more, level by level from the leaves to the root."""
    levels = [list(leaves)]
    while len(below := levels[-1]) > 1:
        pairs = zip(below[::2], below[1::2], strict=False)
        lone = below[-1:] if len(below) % 2 else []
        levels.append([*(_node(left, right) for left, right in pairs), *lone])
    return levels
