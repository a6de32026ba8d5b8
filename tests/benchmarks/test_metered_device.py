"""The simulated device tells the truth that it is judged by."""

from itertools import pairwise
from random import Random

import pytest

from benchmarks.attribution import errors_of
from benchmarks.metered_device import Device, counter_readings, run_device

SECOND, MS = 1_000_000_000, 1_000_000


@pytest.mark.parametrize("load", [0.6, 0.95])
def test_batches_follow_each_other_at_the_wanted_load(load: float) -> None:
    """One at a time, 6 to 70 ms each, all classes present."""
    batches = run_device(Device(), Random(1), load=load, duration_ns=60 * SECOND)

    assert all(first.end_ns <= second.start_ns for first, second in pairwise(batches))
    busy_ns = [batch.end_ns - batch.start_ns for batch in batches]
    assert load == pytest.approx(sum(busy_ns) / batches[-1].end_ns, rel=0.1)
    assert 5 * MS < min(busy_ns)
    assert max(busy_ns) < 72 * MS
    assert 3 == len({batch.work_class for batch in batches})


@pytest.mark.parametrize("seen", [1.0, 0.25])
def test_the_counter_sums_to_what_was_used(seen: float) -> None:
    """Within its noise; a sensor that sees a quarter is right in the mean only."""
    device, random = Device(), Random(1)
    batches = run_device(device, random, load=0.6, duration_ns=300 * SECOND)

    readings = counter_readings(device, batches, random, period_ns=100 * MS, seen=seen)

    end_ns, counter_uj, idle_uj = readings[-1]
    used_uj = sum(batch.energy_uj for batch in batches if batch.end_ns <= end_ns)
    assert used_uj == pytest.approx(counter_uj - idle_uj, rel=0.005 if seen == 1.0 else 0.05)


def test_errors_are_those_of_batches_and_of_classes() -> None:
    """All too high by a tenth: 10 % per batch and 10 % bias; the truth has none."""
    batches = run_device(Device(), Random(1), load=0.6, duration_ns=2 * SECOND)
    truth = {batch.name: batch.energy_uj for batch in batches}

    assert (0.0, 0.0) == errors_of(batches, truth)
    assert (10.0, 10.0) == pytest.approx(errors_of(batches, {name: 1.1 * uj for name, uj in truth.items()}))
