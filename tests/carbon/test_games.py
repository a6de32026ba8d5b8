"""Shapley values of batches that are not padded."""

from fractions import Fraction
from itertools import combinations
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.games import (
    PackedCost,
    StepCost,
    decoder_weights,
    equal_weights,
    packed_weights,
    sampled_weights,
)
from greenserve.carbon.shapley import SCALE_BITS

counts = st.lists(st.integers(1, 4) | st.integers(1, 4_096), min_size=1, max_size=6)
coefficients = st.integers(0, 3) | st.integers(0, 10**6)


def packed_pj(lengths: list[int], cost: PackedCost) -> int:
    own = sum(1_000 * cost.per_token_nj * length + cost.per_token_squared_pj * length**2 for length in lengths)
    return 1_000 * cost.fixed_nj + own if lengths else 0


def exact(rows: int, value: object) -> list[Fraction]:
    """The definition, over all orders."""
    assert callable(value)
    values = [Fraction(0)] * rows
    for row in range(rows):
        others = [other for other in range(rows) if other != row]
        for size in range(rows):
            weight = Fraction(factorial(size) * factorial(rows - size - 1), factorial(rows))
            for chosen in combinations(others, size):
                values[row] += weight * (value(frozenset({*chosen, row})) - value(frozenset(chosen)))
    return values


@given(
    counts, st.builds(PackedCost, fixed_nj=coefficients, per_token_nj=coefficients, per_token_squared_pj=coefficients)
)
def test_packed_rows_owe_their_own_tokens_and_an_equal_part_of_the_start(lengths: list[int], cost: PackedCost) -> None:
    """Equal to the definition, up to the last bit of the fixed part."""
    expected = exact(len(lengths), lambda chosen: packed_pj([lengths[place] for place in chosen], cost))

    for value, weight in zip(expected, packed_weights(lengths, cost), strict=True):
        assert 0 <= value - Fraction(weight, 2**SCALE_BITS) < Fraction(1, 2**SCALE_BITS)


def test_a_decoder_step_is_shared_by_those_active_in_it() -> None:
    """12 nJ for the step over 3, 2 nJ each, 5 pJ per token of context."""
    cost = StepCost(step_nj=12, per_sequence_nj=2, per_context_token_pj=5)

    assert [6_000, 6_500, 6_005] == [weight >> SCALE_BITS for weight in decoder_weights([0, 100, 1], cost)]


def test_rows_of_a_static_shape_owe_the_same() -> None:
    """Whatever they hold, the shape runs."""
    assert 1 == len(set(equal_weights(5)))
    with pytest.raises(ValueError, match="at least one row"):
        equal_weights(0)


def roofline_pj(lengths: list[int]) -> int:
    """Memory or arithmetic, whichever takes longer: no closed form."""
    tokens = sum(lengths)
    return max(5_000_000, 40_000 * tokens, 90 * tokens**2) if lengths else 0


def test_sampled_values_lie_within_their_error_of_the_exact_ones() -> None:
    """Six rows, 200 pairs of orders: each within three times its stated 90 % half width."""
    lengths = [3, 17, 50, 120, 121, 300]
    expected = exact(6, lambda chosen: roofline_pj([lengths[place] for place in chosen]))

    sampled = sampled_weights(6, lambda chosen: roofline_pj([lengths[place] for place in chosen]), batch_id="batch-1")

    for value, weight, half_width_bp in zip(expected, sampled.weights, sampled.half_width_bp, strict=True):
        off = abs(Fraction(weight, 2**SCALE_BITS) / value - 1)
        assert off <= Fraction(3 * half_width_bp, 10_000)
        assert half_width_bp < 2_000


@given(counts, st.text(max_size=8))
def test_sampled_values_sum_to_the_batch_and_repeat(lengths: list[int], batch_id: str) -> None:
    """The same batch id draws the same orders on every machine."""

    def value(chosen: frozenset[int]) -> int:
        return roofline_pj([lengths[place] for place in chosen])

    first = sampled_weights(len(lengths), value, batch_id=batch_id, orders=10)

    assert first == sampled_weights(len(lengths), value, batch_id=batch_id, orders=10)
    whole = roofline_pj(lengths) << SCALE_BITS
    assert 0 <= whole - sum(first.weights) < len(lengths)


def test_another_batch_draws_other_orders() -> None:
    """The seed is the batch's id, so nobody can choose it to their advantage after the fact."""
    lengths = [3, 17, 50, 120, 121, 300]

    def value(chosen: frozenset[int]) -> int:
        return roofline_pj([lengths[place] for place in chosen])

    assert sampled_weights(6, value, batch_id="a").weights != sampled_weights(6, value, batch_id="b").weights


def test_a_row_that_takes_cost_away_is_refused() -> None:
    """A falling cost has negative shares."""
    with pytest.raises(ValueError, match="less than"):
        sampled_weights(2, lambda chosen: 5 - len(chosen) if chosen else 0, batch_id="b")


@pytest.mark.parametrize("wrong", [[], [-1]])
def test_impossible_rows_are_refused(wrong: list[int]) -> None:
    """No rows, negative counts, negative coefficients."""
    with pytest.raises(ValueError, match="at least one row and"):
        packed_weights(wrong, PackedCost(fixed_nj=1, per_token_nj=1, per_token_squared_pj=1))
    with pytest.raises(ValueError, match="at least one row and"):
        decoder_weights(wrong, StepCost(step_nj=1, per_sequence_nj=1, per_context_token_pj=1))
    with pytest.raises(ValueError, match=">= 0"):
        PackedCost(fixed_nj=-1, per_token_nj=1, per_token_squared_pj=1)
    with pytest.raises(ValueError, match=">= 0"):
        StepCost(step_nj=-1, per_sequence_nj=1, per_context_token_pj=1)
    with pytest.raises(ValueError, match="two orders"):
        sampled_weights(1, len, batch_id="b", orders=1)
