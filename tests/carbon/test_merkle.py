"""The tree and its proofs, against the definition of RFC 6962 written down once more."""

import hashlib
import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.ledger.merkle import (
    EMPTY_ROOT,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from greenserve.carbon.ledger.tiles import WIDTH, Tiles, Tree

LEAVES = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(70_000)]
sizes = st.integers(1, 1_200) | st.sampled_from([WIDTH - 1, WIDTH, WIDTH + 1, WIDTH**2 - 1, WIDTH**2, WIDTH**2 + 257])


def mth(leaves: list[bytes]) -> bytes:
    """Section 2.1 of RFC 6962, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    cut = 1
    while 2 * cut < len(leaves):
        cut *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:cut]) + mth(leaves[cut:])).digest()


def _read(stored: dict[tuple[int, int], bytes], level: int, position: int) -> bytes:
    return stored[level, position]


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """The tiles of 70,000 leaves, grown in groups of all kinds, and loaded again in between."""
    stored: dict[tuple[int, int], bytes] = {}
    tree, at, draw = Tree(), 0, random.Random(1)
    while at < len(LEAVES):
        count = min(draw.choice([1, 3, WIDTH - 1, WIDTH, WIDTH + 1, 5_000]), len(LEAVES) - at)
        stored |= tree.add(LEAVES[at : at + count])
        at += count
        if draw.random() < 0.2:
            tree = Tree(at, partial(_read, stored))
    assert mth(LEAVES) == tree.root()
    return Tiles(partial(_read, stored))


def test_hashes_of_the_standard() -> None:
    """The empty tree and the empty leaf of RFC 6962; a salt stands in front of the body."""
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == EMPTY_ROOT.hex()
    assert "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" == leaf_hash(b"", b"").hex()
    assert leaf_hash(b"", b"saltbody") == leaf_hash(b"salt", b"body")
    assert EMPTY_ROOT == Tree().root()


@given(sizes)
def test_the_root_of_every_size_is_the_definition(tiles: Tiles, size: int) -> None:
    """Tiles that were made for a larger tree give the roots of all smaller ones."""
    assert mth(LEAVES[:size]) == tiles.root(size)


@given(sizes, st.data())
def test_a_leaf_is_proved_and_no_other_one(tiles: Tiles, size: int, data: st.DataObject) -> None:
    """The path leads to the root, and neither another leaf, place, size nor a changed path does."""
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(index, size, tiles.node), tiles.root(size)

    assert verify_inclusion(LEAVES[index], index, size, path, root)
    assert (size - 1).bit_length() >= len(path)
    assert not verify_inclusion(LEAVES[index + 1], index, size, path, root)
    assert not verify_inclusion(LEAVES[index], index, size, [*path, root], root)
    assert not verify_inclusion(LEAVES[index], size, size, path, root)
    for at in range(len(path)):
        changed = [*path[:at], node_hash(path[at], path[at]), *path[at + 1 :]]
        assert not verify_inclusion(LEAVES[index], index, size, changed, root)
    if path:
        assert not verify_inclusion(LEAVES[index], index, size, path[1:], root)
        assert not verify_inclusion(LEAVES[index], index ^ 1, size, path, root) or size == 1


@given(sizes, sizes)
def test_growth_is_proved_and_change_is_not(tiles: Tiles, one: int, other: int) -> None:
    """The newer tree begins with the older one; with another older root it does not."""
    old, new = min(one, other), max(one, other)
    path = consistency_path(old, new, tiles.node)
    old_root, new_root = tiles.root(old), tiles.root(new)

    assert verify_consistency(old, new, old_root, new_root, path)
    assert not verify_consistency(old, new, node_hash(old_root, old_root), new_root, path)
    assert not verify_consistency(old, new, old_root, node_hash(new_root, new_root), path)
    if path:
        assert not verify_consistency(old, new, old_root, new_root, path[:-1])


def test_what_is_not_there_cannot_be_proved(tiles: Tiles) -> None:
    """Indices and sizes outside the tree are errors that say what it has."""
    with pytest.raises(ValueError, match="leaves 0 to 4, not 5"):
        inclusion_path(5, 5, tiles.node)
    with pytest.raises(ValueError, match="0 < old <= new"):
        consistency_path(0, 5, tiles.node)
