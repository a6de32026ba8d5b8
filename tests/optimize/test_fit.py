"""Cost formulas from windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.optimize.fit import Cell, Window, features, fit_cost, interval, nonnegative_fit

GRID = [(batch, length) for batch in (1, 4, 16) for length in (16, 64, 128)]
TRUE = (3e-4, 1e-4, 6e-5, 1.5e-7)


def true_s(batch: int, length: int) -> float:
    """What the made-up variant takes [s]."""
    return float(np.dot(TRUE, features(batch, length)))


def cell_of(batch: int, length: int, seconds: float, *, runs: int = 10, windows: int = 3) -> Cell:
    """Steady windows, all time on the CPU."""
    window = Window(run_s=(seconds,) * runs, cpu_s=seconds * runs)
    return Cell(batch=batch, length=length, windows=(window,) * windows, noisy=False)


def test_coefficients_are_recovered_under_two_percent_noise() -> None:
    """Predictions lie within 5 % of the truth everywhere on the grid, in seconds and in joules."""
    random = np.random.default_rng(0)
    cells = [cell_of(b, n, true_s(b, n) * float(random.normal(1, 0.02))) for b, n in GRID]

    cost = fit_cost(cells, dynamic_w_per_cpu=2.0)

    for b, n in [*GRID, (8, 96), (2, 32)]:
        assert true_s(b, n) == pytest.approx(float(np.dot(cost.t_s, features(b, n))), rel=0.05)
        assert 2 * true_s(b, n) == pytest.approx(float(np.dot(cost.e_j, features(b, n))), rel=0.05)
    assert not cost.poor


@settings(max_examples=60)
@given(st.tuples(*[st.floats(0, 1) | st.just(0.0)] * 4).filter(lambda drawn: max(drawn) > 1e-2))
def test_exact_costs_are_fitted_exactly_and_never_negative(scales: tuple[float, float, float, float]) -> None:
    """Without noise nothing is left over, also where some parts cost nothing."""
    true = np.array(scales) * TRUE
    rows = [features(batch, length) for batch, length in GRID]
    values = [float(true @ row) for row in rows]

    found = nonnegative_fit(rows, values)

    assert found.min() >= 0
    assert values == pytest.approx([float(found @ row) for row in rows], rel=1e-6)


def test_a_cost_that_does_not_follow_the_formula_is_called_poor() -> None:
    """One cell three times too slow cannot be told from the others."""
    cells = [cell_of(b, n, true_s(b, n) * (3 if (b, n) == (4, 64) else 1)) for b, n in GRID]

    assert fit_cost(cells, dynamic_w_per_cpu=1.0).poor


def test_q99_is_how_far_slow_runs_exceed_the_formula() -> None:
    """Two in a hundred runs take twice the time: the 99th percentile sees them."""
    slow = [
        Cell(
            batch=b,
            length=n,
            windows=(Window(run_s=(true_s(b, n),) * 98 + (2 * true_s(b, n),) * 2, cpu_s=102 * true_s(b, n)),),
            noisy=False,
        )
        for b, n in GRID
    ]

    assert pytest.approx(fit_cost(slow, dynamic_w_per_cpu=1.0).q99, rel=1e-3) == 2.0


def test_p95_needs_enough_runs() -> None:
    """59 runs are not 60."""
    assert cell_of(1, 16, 0.001, runs=20).p95_s(least_runs=60) == pytest.approx(0.001)
    assert cell_of(1, 16, 0.001, runs=19).p95_s(least_runs=60) is None


def test_energy_counts_cpu_time_not_waiting() -> None:
    """Half of the time on the CPU at 4 W: 2 mJ per millisecond."""
    window = Window(run_s=(0.001,) * 4, cpu_s=0.002)
    cell = Cell(batch=1, length=16, windows=(window,), noisy=True)

    assert pytest.approx(cell.energy_j(4.0).value) == 0.002
    assert window.disturbed


def test_costs_that_are_not_positive_are_refused() -> None:
    """A window without CPU time was not measured; it is no zero cost."""
    with pytest.raises(ValueError, match="positive"):
        nonnegative_fit([features(1, 16), features(4, 16)], [0.001, 0.0])


def test_an_interval_is_students() -> None:
    """1, 2, 3: mean 2, standard error 1 / sqrt(3), quantile 4.303; one observation has no interval."""
    found, single = interval([1.0, 2.0, 3.0]), interval([1.0])

    assert found.value == 2.0
    assert found.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert (single.value, single.low, single.high) == (1.0, None, None)
