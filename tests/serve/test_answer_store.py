"""Which answers stay in memory, and that they take no more of it than they may."""

import gc
import tracemalloc
from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.ports import CachedAnswer
from greenserve.serve.answer_store import LARGEST_ANSWER_BYTES, MemoryAnswers, Sketch
from tests.serve.building import a_decision

KB = 1_024
DECISIONS = {energy_j: a_decision(energy_j=energy_j) for energy_j in (None, 0.01, 1.0, 100.0)}


def a_key(number: int) -> bytes:
    """A digest, as keys are."""
    return blake2b(number.to_bytes(8), digest_size=32).digest()


def an_answer(size_bytes: int = 1_024, energy_j: float | None = 1.0) -> CachedAnswer:
    """An answer of `size_bytes` of data whose run takes `energy_j`."""
    outputs = {"y": np.zeros((1, size_bytes // 4), dtype=np.float32)}
    return CachedAnswer(outputs=outputs, decision=DECISIONS[energy_j], variant_digest="d")


def a_store(max_bytes: int = 256 * KB, ttl_s: float = 600.0, now_s: Callable[[], float] = lambda: 0.0) -> MemoryAnswers:
    """A store, on a clock of the test's."""
    return MemoryAnswers(max_bytes=max_bytes, ttl_s=ttl_s, now_s=now_s)


def ask(store: MemoryAnswers, number: int, answer: CachedAnswer | None = None) -> bool:
    """As the gateway does: look, and store what was not there; whether it was."""
    if store.get(a_key(number)) is not None:
        return True
    store.put(a_key(number), answer or an_answer())
    return False


steps = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([0, 12, 400, 3_000, 20_000, 70_000]), st.booleans()), max_size=120
)


@given(steps)
def test_the_counted_bytes_are_those_of_the_stored_answers_and_within_the_bound(
    asked: list[tuple[int, int, bool]],
) -> None:
    """After every step, in whatever order answers of all sizes come, are asked for again and grow old."""
    now_s = 0.0
    store = a_store(64 * KB, ttl_s=5.0, now_s=lambda: now_s)
    empty = store.size_bytes

    for number, size_bytes, later in asked:
        now_s += later
        ask(store, number, an_answer(size_bytes))
        assert store.size_bytes <= 64 * KB
    store.close()

    assert (empty, 0) == (store.size_bytes, len(store))


@pytest.mark.parametrize("size_bytes", [12, 1_536, 24_576])
def test_real_memory_stays_within_the_bound(size_bytes: int) -> None:
    """Measured, with Python's own share: rows of batches of eight, as the batcher hands them out."""
    max_bytes = 2**21
    gc.collect()
    tracemalloc.start()
    try:
        store = a_store(max_bytes)
        before = tracemalloc.get_traced_memory()[0] - store.size_bytes
        for number in range(3 * max_bytes // (size_bytes + 700)):
            batch = np.zeros((8, size_bytes // 4), dtype=np.float32)
            row = CachedAnswer(outputs={"y": batch[3:4]}, decision=DECISIONS[1.0], variant_digest="d")
            store.put(a_key(number), row)
        del batch, row
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert 0.9 * max_bytes < store.size_bytes <= max_bytes
    assert 0.6 * max_bytes < taken <= 1.02 * max_bytes


def test_answers_asked_for_once_displace_none_that_are_asked_for_again() -> None:
    """A scan over ten times the store's size leaves what is popular where it is."""
    store = a_store()
    for _ in range(5):
        for number in range(50):
            ask(store, number)

    for number in range(1_000, 3_000):
        ask(store, number)

    assert 45 <= sum(a_key(number) in store for number in range(50))


def test_of_equally_popular_answers_the_dear_ones_stay() -> None:
    """A place goes to whichever avoids more joules."""
    store = a_store()
    for _ in range(6):
        for number in range(400):
            ask(store, number, an_answer(energy_j=0.01 if number % 2 else 1.0))

    dear = sum(a_key(number) in store for number in range(0, 400, 2))
    cheap = sum(a_key(number) in store for number in range(1, 400, 2))

    assert dear > 2 * cheap


def test_a_large_answer_must_be_worth_all_that_would_go_for_it() -> None:
    """As often asked for as any single one of them, it stays out."""
    store = a_store()
    for _ in range(4):
        for number in range(140):
            ask(store, number, an_answer(1_024))
    held = len(store)

    for _ in range(4):
        ask(store, 1_000, an_answer(60_000))

    assert a_key(1_000) not in store
    assert len(store) >= held - 3


def test_what_was_popular_once_goes_in_time() -> None:
    """Counts are halved again and again, so that today's answers outweigh yesterday's."""
    store = a_store()
    for _ in range(200):
        for number in range(100):
            ask(store, number)

    for _ in range(60):
        for number in range(1_000, 1_100):
            ask(store, number)

    assert 60 <= sum(a_key(number) in store for number in range(1_000, 1_100))


def test_an_answer_of_unknown_energy_counts_as_the_mean_of_the_known() -> None:
    """Neither nothing nor everything: among answers of a hundredth of a joule it must not win by default."""
    store = a_store()
    for _ in range(6):
        for number in range(400):
            ask(store, number, an_answer(energy_j=None if number % 2 else 0.01))

    unknown = sum(a_key(number) in store for number in range(1, 400, 2))
    known = sum(a_key(number) in store for number in range(0, 400, 2))

    assert 0.4 < unknown / known < 2.5


def test_an_answer_ages_by_the_clock() -> None:
    """Up to its last second it is got, then not, and its bytes come free."""
    now_s = 0.0
    store = a_store(ttl_s=10.0, now_s=lambda: now_s)
    empty = store.size_bytes
    store.put(a_key(1), an_answer())
    now_s = 9.9
    young = store.get(a_key(1))

    now_s = 10.0

    assert young is not None
    assert (False, None) == (a_key(1) in store, store.get(a_key(1)))
    assert empty == store.size_bytes


def test_an_answer_of_another_gateway_has_only_the_time_that_is_left_of_it() -> None:
    """Never more than one of its own has."""
    now_s = 0.0
    store = a_store(ttl_s=10.0, now_s=lambda: now_s)
    store.put(a_key(1), an_answer(), ttl_s=1.0)
    store.put(a_key(2), an_answer(), ttl_s=99.0)

    now_s = 1.0
    after_1_s = (a_key(1) in store, a_key(2) in store)
    now_s = 10.0

    assert ((False, True), False) == (after_1_s, a_key(2) in store)


def test_expired_answers_are_worth_nothing() -> None:
    """However popular they were, new ones take their places."""
    now_s = 0.0
    store = a_store(ttl_s=10.0, now_s=lambda: now_s)
    for _ in range(9):
        for number in range(300):
            ask(store, number)

    now_s = 20.0
    for number in range(1_000, 1_100):
        ask(store, number)

    assert 90 <= sum(a_key(number) in store for number in range(1_000, 1_100))


def test_a_larger_answer_under_a_key_replaces_a_smaller_one_or_removes_it() -> None:
    """What is too large is not kept, and the older answer, which it was to replace, is not given any more."""
    store = a_store()
    store.put(a_key(1), an_answer(1_024))

    store.put(a_key(1), an_answer(LARGEST_ANSWER_BYTES + 4))

    assert None is store.get(a_key(1))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=300))
def test_a_sketch_never_counts_too_few(numbers: list[int]) -> None:
    """Before its first halving; keys that share counters may make it count too many."""
    sketch = Sketch(64 * KB)

    for number in numbers:
        sketch.count(a_key(number))

    assert all(min(255, numbers.count(number)) <= sketch.estimate(a_key(number)) for number in set(numbers))


def test_a_store_says_how_full_it_is() -> None:
    """In its repr."""
    store = a_store(ttl_s=60.0)
    store.put(a_key(1), an_answer())

    assert f"<MemoryAnswers 1 in {store.size_bytes} bytes, each for 60 s>" == repr(store)
