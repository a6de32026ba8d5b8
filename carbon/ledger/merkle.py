"""The Merkle tree of RFC 6962: hashes, and proofs that anybody can check without the ledger. Pure.

A proof is a list of hashes. `node(height, position)` gives the hash of the complete subtree over the leaves
[position * 2^height, (position + 1) * 2^height).
"""

import hashlib
from collections.abc import Callable, Sequence

EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves."""
Node = Callable[[int, int], bytes]
_sha256 = hashlib.sha256


def leaf_hash(salt: bytes, body: bytes) -> bytes:
    """SHA-256(00 || salt || body): the salt keeps those who see the hash from guessing the body."""
    return _sha256(b"\x00" + salt + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over these hashes; ValueError for none."""
    if not hashes:
        raise ValueError("the root over no hashes is EMPTY_ROOT, and no node has it")
    level = list(hashes)
    while len(level) > 1:
        # An odd one at the end moves up as it is: that is the tree that splits at the largest power of two.
        above = [_sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def root_of_range(first: int, end: int, node: Node) -> bytes:
    """The root over the leaves [first, end); `first` is a multiple of the largest power of two below the length."""
    length = end - first
    if length == 1 << (length.bit_length() - 1):
        return node(length.bit_length() - 1, first // length)
    cut = first + _split(length)
    return node_hash(root_of_range(first, cut, node), root_of_range(cut, end, node))


def inclusion_path(index: int, size: int, node: Node) -> list[bytes]:
    """Why the leaf `index` is in the tree of `size` leaves: siblings from the bottom up (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has the leaves 0 to {size - 1}, not {index}")
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        cut = first + _split(end - first)
        if index < cut:
            path.append(root_of_range(cut, end, node))
            end = cut
        else:
            path.append(root_of_range(first, cut, node))
            first = cut
    return path[::-1]


def consistency_path(old: int, new: int, node: Node) -> list[bytes]:
    """Why the tree of `new` leaves begins with the tree of `old` ones (RFC 6962, 2.1.2)."""
    if not 0 < old <= new:
        raise ValueError(f"consistency is between sizes 0 < old <= new, got {old} and {new}")
    path: list[bytes] = []
    first, end, known = 0, new, True
    while old != end:
        cut = first + _split(end - first)
        if old <= cut:
            path.append(root_of_range(cut, end, node))
            end = cut
        else:
            path.append(root_of_range(first, cut, node))
            first, known = cut, False
    if not known:
        path.append(root_of_range(first, end, node))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from the leaf to the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if here % 2 or here == last:
            found = node_hash(sibling, found)
            while here % 2 == 0 and here:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path shows that the new tree begins with the old one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    here, last = old - 1, new - 1
    while here % 2:
        here, last = here >> 1, last >> 1
    hashes = list(path) if here else [old_root, *path]
    if not hashes:
        return False
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if here % 2 or here == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while here % 2 == 0 and here:
                here, last = here >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and old_found == old_root and new_found == new_root


def _split(length: int) -> int:
    """The largest power of two below a length of 2 or more."""
    return 1 << ((length - 1).bit_length() - 1)
