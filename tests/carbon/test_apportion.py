"""Largest remainder: exact sums, closest shares, ties that every machine settles alike."""

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.apportion import apportion, apportion_list

amounts = st.integers(0, 50) | st.integers(0, 10**15)
weight_lists = st.lists(st.integers(0, 3), min_size=1, max_size=20) | st.lists(
    st.integers(0, 10**12), min_size=1, max_size=20
)
weights_by_id = st.dictionaries(st.binary(min_size=2, max_size=2), st.integers(0, 3), min_size=1, max_size=20)


@given(amounts, weight_lists.filter(any))
def test_no_unit_is_lost_or_invented(total: int, weights: list[int]) -> None:
    """The parts sum to the amount, each less than 1 from its true share."""
    shares = apportion_list(total, weights)

    assert total == sum(shares)
    assert all(
        abs(share - Fraction(total * weight, sum(weights))) < 1 for share, weight in zip(shares, weights, strict=True)
    )


@given(amounts, weights_by_id, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(total: int, weights: dict[bytes, int], random: Random) -> None:
    """Ties are settled by id: two machines that replay the ledger agree."""
    shuffled = dict(random.sample(list(weights.items()), k=len(weights)))

    assert apportion(total, weights) == apportion(total, shuffled)


def test_equal_remainders_go_to_the_smaller_id() -> None:
    """Of equal claims on the last unit, the smaller id gets it, whatever the order of the mapping."""
    assert {"a": 2, "b": 2, "c": 1} == apportion(5, {"c": 1, "b": 1, "a": 1})


def test_equal_remainders_go_to_the_earlier_position() -> None:
    """A list has no ids: the earlier position gets the last unit."""
    assert [2, 2, 1] == apportion_list(5, [1, 1, 1])


def test_the_largest_remainder_gets_the_last_unit() -> None:
    """10 over 1:1:4 is 1.67, 1.67, 6.67: the first two by position round up."""
    assert [2, 2, 6] == apportion_list(10, [1, 1, 4])
    assert [1, 3] == apportion_list(4, [3, 7])


def test_without_any_weight_all_share_equally() -> None:
    """All weights zero count as equal weights: the amount still has to go somewhere."""
    assert [3, 2, 2] == apportion_list(7, [0, 0, 0])


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, []), (1, [2, -1])])
def test_negative_or_missing_numbers_are_refused(total: int, weights: list[int]) -> None:
    """An amount or weight below zero, or nobody to share with, is an error."""
    with pytest.raises(ValueError, match="needs an amount >= 0"):
        apportion_list(total, weights)
