"""Histograms of energy per request: narrow buckets, and quantiles that merging does not change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.quantiles import Histogram, bucket_of, largest_of

values = st.integers(0, 300) | st.integers(0, 10**15)


@given(values)
def test_a_bucket_holds_its_value_and_is_narrow(value: int) -> None:
    """The largest value of its bucket lies at most 6.25 % above a value, and is in the same bucket."""
    largest = largest_of(bucket_of(value))

    assert bucket_of(value) == bucket_of(largest)
    assert 0 <= 16 * (largest - value) <= max(value, 0)
    assert bucket_of(value) + 1 == bucket_of(largest + 1)


@given(st.lists(values, min_size=1, max_size=60), st.integers(1, 100), st.integers(0, 60))
def test_percentiles_are_nearest_ranks_and_survive_merging(drawn: list[int], percent: int, cut: int) -> None:
    """The value of that rank falls in the bucket; two halves merged say the same as the whole."""
    whole, left, right = Histogram(), Histogram(), Histogram()
    for place, value in enumerate(drawn):
        whole.add(value)
        (left if place < cut else right).add(value)
    left.merge(right)
    ranked = sorted(drawn)[-(-len(drawn) * percent // 100) - 1]

    assert largest_of(bucket_of(ranked)) == whole.percentile(percent) == left.percentile(percent)


def test_nothing_has_no_percentile() -> None:
    """Without a value a quantile is unknown, not 0; a percentile beyond 100 and a negative value are refused."""
    assert Histogram().percentile(50) is None
    with pytest.raises(ValueError, match="got 101"):
        Histogram().percentile(101)
    with pytest.raises(ValueError, match="got -1"):
        Histogram().add(-1)
