"""Stages and how long they take."""

import pytest

from greenserve.clock import ManualClock
from greenserve.optimize.progress import Stages, Step
from greenserve.units import ns_from_seconds


def test_the_rest_is_what_was_expected_scaled_by_the_pace_so_far() -> None:
    """The first stage took twice what was expected, so the others will too."""
    clock, steps = ManualClock(), list[Step]()
    stages = Stages(expected_s={"one": 10.0, "two": 20.0, "three": 5.0}, clock=clock, tell=steps.append)

    stages.enter("one", "first")
    clock.advance(duration_ns=ns_from_seconds(20.0))
    stages.enter("two", "second")

    assert [(step.number, step.count, step.elapsed_s, step.remaining_s) for step in steps] == [
        (1, 3, 0.0, 35.0),
        (2, 3, 20.0, 50.0),
    ]


def test_one_odd_stage_does_not_promise_the_impossible() -> None:
    """A first stage that took no time halves the rest at most."""
    clock, steps = ManualClock(), list[Step]()
    stages = Stages(expected_s={"one": 10.0, "two": 20.0}, clock=clock, tell=steps.append)

    clock.advance(duration_ns=1)
    stages.enter("two", "")

    assert pytest.approx(steps[0].remaining_s) == 10.0
