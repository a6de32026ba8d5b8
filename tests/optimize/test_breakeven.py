"""When a run is repaid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.optimize.breakeven import requests_to_repay


@given(st.just(0.0) | st.floats(1e-3, 1e6), st.floats(1e-6, 10))
def test_the_requests_save_at_least_the_run_and_one_less_does_not(run_j: float, saved_j: float) -> None:
    """The least whole number that repays."""
    requests = requests_to_repay(run_j=run_j, saved_j=saved_j, saved_low_j=saved_j / 2)

    assert requests is not None
    assert requests * saved_j >= run_j * (1 - 1e-12)
    assert requests == 0 or (requests - 1) * saved_j <= run_j


@pytest.mark.parametrize("saved_low_j", [0.0, -1.0])
def test_a_saving_that_is_not_sure_never_repays(saved_low_j: float) -> None:
    """Null, not a large number."""
    assert requests_to_repay(run_j=1.0, saved_j=0.5, saved_low_j=saved_low_j) is None


def test_a_negative_cost_is_refused() -> None:
    """Nothing costs less than nothing."""
    with pytest.raises(ValueError, match=">= 0 J"):
        requests_to_repay(run_j=-1.0, saved_j=1.0, saved_low_j=1.0)
