"""The time kept free after a run."""

from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.batching.tail import EVERY, FIRST_NS, LEAST_NS, MOST_NS, WINDOW, Tail


def test_it_starts_from_an_assumption_and_then_follows_what_was_seen() -> None:
    """The first look is after 32 requests."""
    tail = Tail()
    assert {FIRST_NS} == {tail.note(7_000_000) for _ in range(EVERY - 1)}
    assert 7_000_000 == tail.note(7_000_000)


def test_one_slow_request_in_a_hundred_is_not_it_and_four_are() -> None:
    """It is the 99th percentile of the last 256."""
    tail = Tail()
    for place in range(WINDOW):
        tail.note(19_000_000 if place == 7 else 3_000_000)
    assert 3_000_000 == tail.ns
    for place in range(WINDOW):
        tail.note(19_000_000 if place % 25 == 0 else 3_000_000)
    assert 19_000_000 == tail.ns


@given(st.lists(st.integers(0, 10**12), min_size=EVERY, max_size=3 * EVERY))
def test_it_stays_within_its_bounds(took_ns: list[int]) -> None:
    """Never under one millisecond, never over twenty."""
    tail = Tail()
    assert all(LEAST_NS <= tail.note(took) <= MOST_NS for took in took_ns)
