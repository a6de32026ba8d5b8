"""The cache seam: one suite on every implementation."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from greenserve.ports import CachedAnswer, ResponseCache
from greenserve.serve.answer_store import LARGEST_ANSWER_BYTES, MemoryAnswers
from tests.gateway_process import wait_until
from tests.serve.building import a_decision

Maker = Callable[..., ResponseCache]


@pytest.fixture(params=["memory"])
def a_cache(request: pytest.FixtureRequest) -> Iterator[Maker]:
    """Makes caches; all are closed."""
    made: list[ResponseCache] = []

    def make(*, max_entries: int = 100, ttl_s: float = 600.0) -> ResponseCache:
        made.append(MemoryAnswers(max_entries=max_entries, ttl_s=ttl_s))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def an_answer(value: float, rows: int = 1) -> CachedAnswer:
    return CachedAnswer(probabilities=np.full((rows, 3), value, dtype=np.float32), decision=a_decision())


def test_what_was_put_is_got(a_cache: Maker) -> None:
    """The same answer under its key, nothing under another."""
    cache, answer = a_cache(), an_answer(0.5)

    cache.put(b"one", answer)

    found = cache.get(b"one")
    assert found is not None
    assert (answer.probabilities.tolist(), answer.decision) == (found.probabilities.tolist(), found.decision)
    assert None is cache.get(b"two")


def test_a_later_answer_replaces_an_earlier_one(a_cache: Maker) -> None:
    """Under the same key."""
    cache = a_cache()
    cache.put(b"one", an_answer(0.25))

    cache.put(b"one", an_answer(0.75))

    found = cache.get(b"one")
    assert found is not None
    assert 0.75 == found.probabilities[0, 0]


def test_it_stays_within_its_size(a_cache: Maker) -> None:
    """However many come, no more than the bound can be got."""
    cache = a_cache(max_entries=50)

    for number in range(500):
        cache.put(number.to_bytes(4), an_answer(0.5))

    kept = sum(cache.get(number.to_bytes(4)) is not None for number in range(500))
    assert 0 < kept <= 50


def test_an_answer_that_is_too_large_is_not_kept(a_cache: Maker) -> None:
    """It would take the place of many."""
    cache = a_cache()
    rows = LARGEST_ANSWER_BYTES // 12

    cache.put(b"fits", an_answer(0.5, rows))
    cache.put(b"large", an_answer(0.5, rows + 1))

    assert (True, None) == (cache.get(b"fits") is not None, cache.get(b"large"))


def test_an_answer_ages(a_cache: Maker) -> None:
    """After a life of a millisecond it is gone."""
    cache = a_cache(ttl_s=0.001)

    cache.put(b"one", an_answer(0.5))

    assert wait_until(lambda: cache.get(b"one") is None, 5.0)
