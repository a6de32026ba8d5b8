"""The closed form of a padded batch's Shapley value against its definition."""

from fractions import Fraction
from itertools import combinations, pairwise
from math import factorial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.shapley import (
    SCALE_BITS,
    BatchCost,
    TableCost,
    alone_uj,
    batch_pj,
    shapley_weights,
    split_amounts,
    split_batch,
)

# Small numbers first: they make equal lengths and zero coefficients likely.
coefficients = st.integers(0, 3) | st.integers(0, 10**8)
costs = st.builds(
    BatchCost,
    fixed_nj=coefficients,
    per_row_nj=coefficients,
    per_token_nj=coefficients,
    per_token_squared_pj=coefficients,
)
lengths = st.integers(1, 4) | st.integers(1, 512)


def value_by_definition(rows: list[int], cost: BatchCost) -> list[Fraction]:
    """Each row's marginal cost, averaged over every order in which the batch can assemble."""
    values = [Fraction(0)] * len(rows)
    for index in range(len(rows)):
        others = [place for place in range(len(rows)) if place != index]
        for size in range(len(rows)):
            weight = Fraction(factorial(size) * factorial(len(rows) - size - 1), factorial(len(rows)))
            for chosen in combinations(others, size):
                before = [rows[place] for place in chosen]
                values[index] += weight * (cost.batch_pj([*before, rows[index]]) - cost.batch_pj(before))
    return values


@settings(max_examples=60, deadline=None)
@given(st.lists(lengths, min_size=1, max_size=7), costs)
def test_the_closed_form_is_the_average_over_all_orders(rows: list[int], cost: BatchCost) -> None:
    """E7 equals brute force to 1e-9 of the batch (its integers round below 2^-20 pJ per level)."""
    expected = value_by_definition(rows, cost)

    weights = shapley_weights(rows, cost)

    if cost.batch_pj(rows):
        tolerance = Fraction(cost.batch_pj(rows), 10**9) + Fraction(len(rows) + 1, 2**SCALE_BITS)
        assert all(
            abs(value - Fraction(weight, 2**SCALE_BITS)) <= tolerance
            for value, weight in zip(expected, weights, strict=True)
        )


def test_the_worked_example_of_the_method() -> None:
    """F = 60 mJ, 1 mJ per token, lengths 8, 16, 64: 57.333, 61.333, 133.333 of 252, applied to 240,000 uJ."""
    cost = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=0)

    assert [54_603, 58_413, 126_984] == split_batch(240_000, [8, 16, 64], cost)


@given(st.integers(0, 10**9), st.lists(lengths, min_size=1, max_size=32), costs)
def test_the_parts_sum_to_the_amount_and_none_is_negative(total: int, rows: list[int], cost: BatchCost) -> None:
    """Conservation within a batch."""
    shares = split_batch(total, rows, cost)

    assert total == sum(shares)
    assert min(shares) >= 0


@given(st.integers(0, 10**9), st.lists(lengths, min_size=2, max_size=32), costs)
def test_more_tokens_never_cost_less_and_equal_ones_the_same(total: int, rows: list[int], cost: BatchCost) -> None:
    """Shares grow with length; equally long rows differ by 1 unit at most."""
    ordered = sorted(zip(rows, split_batch(total, rows, cost), strict=True))

    for (length, share), (next_length, next_share) in pairwise(ordered):
        if length == next_length:
            assert abs(next_share - share) <= 1
        else:
            # Largest remainder moves each share by less than one unit.
            assert next_share >= share - 1


@given(st.lists(lengths, min_size=2, max_size=32), costs)
def test_longer_rows_never_weigh_less(rows: list[int], cost: BatchCost) -> None:
    """Before rounding to units, weights follow the lengths without exception."""
    by_length = sorted(zip(rows, shapley_weights(rows, cost), strict=True))

    weights = [weight for _, weight in by_length]

    assert sorted(weights) == weights


@given(st.integers(0, 10**9), st.lists(lengths, min_size=1, max_size=32), costs, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(total: int, rows: list[int], cost: BatchCost, random: Random) -> None:
    """The same rows in another order get the same shares, length by length."""
    shuffled = random.sample(rows, k=len(rows))

    assert sorted(zip(rows, split_batch(total, rows, cost), strict=True)) == sorted(
        zip(shuffled, split_batch(total, shuffled, cost), strict=True)
    )


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=3), st.lists(lengths, min_size=1, max_size=9), costs)
def test_several_amounts_of_a_batch_split_like_each_alone(totals: list[int], rows: list[int], cost: BatchCost) -> None:
    """Sharing the weighing changes no result."""
    assert [split_batch(total, rows, cost) for total in totals] == split_amounts(totals, rows, cost)


def test_a_batch_without_known_cost_is_split_equally() -> None:
    """All coefficients zero say nothing about who caused what."""
    nothing = BatchCost(fixed_nj=0, per_row_nj=0, per_token_nj=0, per_token_squared_pj=0)

    assert [4, 3, 3] == split_batch(10, [5, 50, 500], nothing)


def test_a_profile_in_joules_becomes_exact_integers() -> None:
    """Joules over [1, b, bL, bL^2] turn into nJ, and pJ for the smallest."""
    expected = BatchCost(fixed_nj=3_000_000, per_row_nj=1_000_000, per_token_nj=100_000, per_token_squared_pj=33_000)

    assert expected == BatchCost.from_coefficients([0.003, 0.001, 1e-4, 3.3e-8])


@pytest.mark.parametrize("wrong", [[1.0, 1.0, 1.0], [1.0, -1e-9, 0.0, 0.0], [float("nan"), 0.0, 0.0, 0.0]])
def test_a_profile_that_could_pay_a_row_is_refused(wrong: list[float]) -> None:
    """Negative, missing or undefined coefficients have no Shapley value in closed form."""
    with pytest.raises(ValueError, match="four finite coefficients"):
        BatchCost.from_coefficients(wrong)


@pytest.mark.parametrize("wrong", [[], [0], [4, -1]])
def test_a_row_holds_at_least_one_token(wrong: list[int]) -> None:
    """An empty batch or an empty row cannot be split."""
    with pytest.raises(ValueError, match="at least one row of at least one token"):
        split_batch(1, wrong, BatchCost(fixed_nj=1, per_row_nj=1, per_token_nj=1, per_token_squared_pj=1))


TABLE = TableCost(fixed_nj=20_000, edges=(16, 32, 128), row_nj=(900, 1_500, 7_000))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 128), min_size=1, max_size=6))
def test_a_table_of_buckets_follows_the_definition_too(rows: list[int]) -> None:
    """E7 with g read from the bucket's edge equals the average over all orders to 1e-9."""
    values = [Fraction(0)] * len(rows)
    for index in range(len(rows)):
        others = [place for place in range(len(rows)) if place != index]
        for size in range(len(rows)):
            weight = Fraction(factorial(size) * factorial(len(rows) - size - 1), factorial(len(rows)))
            for chosen in combinations(others, size):
                before = [rows[place] for place in chosen]
                values[index] += weight * (batch_pj([*before, rows[index]], TABLE) - batch_pj(before, TABLE))

    for value, got in zip(values, shapley_weights(rows, TABLE), strict=True):
        assert abs(value - Fraction(got, 2**SCALE_BITS)) <= Fraction(batch_pj(rows, TABLE), 10**9)


def test_rows_of_one_bucket_owe_the_same_and_finer_buckets_less() -> None:
    """17 and 32 tokens are padded to 32 alike; 16 is cheaper."""
    shorter, longer, longest = shapley_weights([16, 17, 32], TABLE)

    assert longer == longest
    assert shorter < longer


def test_a_row_beyond_the_table_is_refused() -> None:
    """What was not measured is not guessed, and a table that falls or skips is none."""
    with pytest.raises(ValueError, match="129 tokens exceeds the largest bucket of 128"):
        shapley_weights([1, 129], TABLE)
    for edges, row_nj in (((16, 8), (1, 2)), ((8, 16), (2, 1)), ((8,), (1, 2)), ((), ())):
        with pytest.raises(ValueError, match="edges rising and costs never falling"):
            TableCost(fixed_nj=0, edges=edges, row_nj=row_nj)


def test_a_rows_own_cost_is_its_own() -> None:
    """The value is additive: 7 pJ more for the second row, and nothing for the others."""
    cost = BatchCost(fixed_nj=3, per_row_nj=0, per_token_nj=1, per_token_squared_pj=0)
    plain = shapley_weights([4, 4, 8], cost)

    assert [plain[0], plain[1] + (7 << SCALE_BITS), plain[2]] == shapley_weights([4, 4, 8], cost, own_pj=[0, 7, 0])
    with pytest.raises(ValueError, match="own cost"):
        shapley_weights([4, 4], cost, own_pj=[1])


def test_what_rows_would_have_used_alone() -> None:
    """The example of the method: 68, 76, 124 of 252 mJ, scaled to the metered 240,000 uJ; unknown without a cost."""
    cost = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=0)
    nothing = BatchCost(fixed_nj=0, per_row_nj=0, per_token_nj=0, per_token_squared_pj=0)

    assert [64_761, 72_380, 118_095] == alone_uj(240_000, [8, 16, 64], cost)
    assert [None, None] == alone_uj(10, [1, 2], nothing)
