"""Search among unit vectors."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.align import unit
from greenserve.optimize.neighbours import nearest, shared, voted

seeds = st.integers(0, 2**32 - 1)


def vectors(seed: int, count: int, width: int = 5) -> npt.NDArray[np.float32]:
    """Random directions."""
    return unit(np.random.default_rng(seed).normal(size=(count, width)))


@given(seeds, st.integers(1, 30), st.integers(1, 12))
def test_the_nearest_are_those_that_brute_force_finds(seed: int, size: int, count: int) -> None:
    """Best first; an index of fewer vectors gives all of them."""
    index, queries = vectors(seed, size), vectors(seed + 1, 4)

    found = nearest(queries, index, count=count)

    for query, places in zip(queries, found, strict=True):
        wanted = sorted(range(size), key=lambda place: (-float(query @ index[place]), place))[:count]
        assert [float(query @ index[place]) for place in wanted] == [float(query @ index[place]) for place in places]
        assert min(count, size) == len(set(places.tolist()))


def test_equal_vectors_are_found_in_their_order() -> None:
    """So that two machines agree."""
    index = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], dtype=np.float32)

    assert [[1, 2]] == nearest(index[1:2], index, count=2).tolist()


@given(seeds, st.integers(11, 40))
def test_a_variant_that_says_the_same_shares_every_neighbour(seed: int, size: int) -> None:
    """And one that says the opposite shares none that it need not share."""
    index, queries = vectors(seed, size), vectors(seed + 1, 6)
    wanted = nearest(queries, index)

    assert [10] * 6 == shared(nearest(queries, index), wanted).tolist()
    assert [max(0, 20 - size)] * 6 == shared(nearest(-queries, index), wanted).tolist()


def test_shared_places_are_counted_whatever_their_order() -> None:
    """Row by row."""
    found, wanted = np.array([[3, 1, 2], [7, 8, 9]]), np.array([[1, 2, 3], [1, 2, 7]])

    assert [3, 1] == shared(found, wanted).tolist()


def test_the_nearer_texts_have_the_larger_say() -> None:
    """One close text of class 1 outweighs two far ones of class 0."""
    index = unit(np.array([[1.0, 0.0], [0.2, 1.0], [0.2, -1.0]], dtype=np.float32))
    labels = np.array([1, 0, 0])

    assert [1] == voted(index[:1], index, labels, classes=2, count=3).tolist()
    assert [0] == voted(index[1:2], index, labels, classes=2, count=1).tolist()
