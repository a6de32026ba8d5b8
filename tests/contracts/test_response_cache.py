"""The cache seam: one suite on every implementation."""

from collections.abc import Callable, Iterator
from hashlib import blake2b

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

    def make(*, max_bytes: int = 2**20, ttl_s: float = 600.0) -> ResponseCache:
        made.append(MemoryAnswers(max_bytes=max_bytes, ttl_s=ttl_s))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def a_key(number: int) -> bytes:
    """A digest, as keys are."""
    return blake2b(number.to_bytes(4), digest_size=32).digest()


ONE, TWO = a_key(1), a_key(2)


def an_answer(value: float, rows: int = 1) -> CachedAnswer:
    outputs = {"probabilities": np.full((rows, 3), value, dtype=np.float32)}
    return CachedAnswer(outputs=outputs, decision=a_decision(), variant_digest="d")


def test_what_was_put_is_got(a_cache: Maker) -> None:
    """The same answer under its key, nothing under another."""
    cache, answer = a_cache(), an_answer(0.5)

    cache.put(ONE, answer)

    found = cache.get(ONE)
    assert found is not None
    assert answer.outputs["probabilities"].tolist() == found.outputs["probabilities"].tolist()
    assert (answer.decision, "d") == (found.decision, found.variant_digest)
    assert None is cache.get(TWO)


def test_a_later_answer_replaces_an_earlier_one(a_cache: Maker) -> None:
    """Under the same key."""
    cache = a_cache()
    cache.put(ONE, an_answer(0.25))

    cache.put(ONE, an_answer(0.75))

    found = cache.get(ONE)
    assert found is not None
    assert 0.75 == found.outputs["probabilities"][0, 0]


def test_it_stays_within_its_size(a_cache: Maker) -> None:
    """However many come, the data of those that can be got take less than the bound."""
    cache = a_cache(max_bytes=65_536)

    for number in range(500):
        cache.put(a_key(number), an_answer(0.5, 50))

    kept = sum(cache.get(a_key(number)) is not None for number in range(500))
    assert 0 < kept * an_answer(0.5, 50).size_bytes <= 65_536


def test_an_answer_that_is_too_large_is_not_kept(a_cache: Maker) -> None:
    """It would take the place of many."""
    cache = a_cache()
    rows = LARGEST_ANSWER_BYTES // 12

    cache.put(ONE, an_answer(0.5, rows))
    cache.put(TWO, an_answer(0.5, rows + 1))

    assert (True, None) == (cache.get(ONE) is not None, cache.get(TWO))


def test_an_answer_ages(a_cache: Maker) -> None:
    """After a life of a millisecond it is gone."""
    cache = a_cache(ttl_s=0.001)

    cache.put(ONE, an_answer(0.5))

    assert wait_until(lambda: cache.get(ONE) is None, 5.0)


def test_a_closed_cache_holds_nothing(a_cache: Maker) -> None:
    """Its memory is given back."""
    cache = a_cache()
    cache.put(ONE, an_answer(0.5))

    cache.close()

    assert None is cache.get(ONE)
