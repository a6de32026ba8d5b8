"""What counts as the same question, and for how long an answer is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.config import Config
from greenserve.records import Admitted, Hints, Tenant
from greenserve.serve.batching.flight import Flight
from greenserve.serve.cache import AnswerCache
from greenserve.serve.models import Models, ServedModel
from tests.serve.building import FAR_NS, TENANT, Asked, HeldEngines, a_config, an_admitted, models_of

OTHERS: dict[str, Admitted] = {
    "another tenant": an_admitted(tenant=Tenant(tenant_id="globex", name="Globex")),
    "another floor of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", quality_floor=0.8)),
    "another mean of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", quality_mean=0.8)),
    "another policy of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", policy="min-latency")),
    "other regions of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", regions=frozenset({"x"}))),
    "other tokens": an_admitted(rows=((3, 1),)),
    "other split of the tokens": an_admitted(rows=((3,), (0,))),
    "another order": an_admitted(rows=((0, 3),)),
    "a pinned variant": an_admitted(hints=Hints(variant="fp32")),
    "a least quality": an_admitted(hints=Hints(min_quality=0.8)),
    "a policy": an_admitted(hints=Hints(policy="min-carbon")),
    "a region": an_admitted(hints=Hints(regions=frozenset({"here"}))),
}
SAME: dict[str, Admitted] = {
    "another id": an_admitted(request_id="x", client_id="y"),
    "another protocol": an_admitted(protocol="grpc"),
    "other outputs": an_admitted(outputs=("label",)),
    "another deadline": an_admitted(deadline_ns=FAR_NS + 5, hints=Hints(deadline_s=3.0)),
    "another exposure": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", exposure="off")),
}


@pytest.fixture
def model(models: Models) -> ServedModel:
    return models.find("tiny")


def with_cache(manifest: Path, folder: Path, **settings: Any) -> tuple[AnswerCache, ServedModel]:
    """A cache with settings of its own."""
    entry = {"name": "tiny", "manifest": manifest, "cache": settings}
    models = models_of(a_config(manifest, folder, models=[entry]), HeldEngines())
    return AnswerCache(list(models)), models.find("tiny")


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_may_change_the_answer_changes_the_key(name: str, model: ServedModel) -> None:
    """Tenant, its rules, tokens, and the hints that routing follows."""
    cache = AnswerCache([model])

    assert cache.key(an_admitted(), model) != cache.key(OTHERS[name], model)
    cache.close()


@pytest.mark.parametrize("name", SAME)
def test_what_cannot_change_the_answer_leaves_the_key(name: str, model: ServedModel) -> None:
    """Who asks how, and what of the answer is shown."""
    cache = AnswerCache([model])

    assert cache.key(an_admitted(), model) == cache.key(SAME[name], model)
    cache.close()


rows = st.lists(st.lists(st.integers(0, 30_000), min_size=1, max_size=5).map(tuple), min_size=1, max_size=4).map(tuple)


@given(rows, rows)
def test_keys_are_equal_exactly_for_equal_tokens(
    one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...]
) -> None:
    """No two different questions meet, the same always does."""
    cache, model = SHARED[0]

    same = cache.key(an_admitted(rows=one), model) == cache.key(an_admitted(rows=other), model)

    assert (one == other) == same


SHARED: list[tuple[AnswerCache, ServedModel]] = []


@pytest.fixture(autouse=True)
def _shared(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not SHARED:
        SHARED.append(with_cache(tiny_manifest, tmp_path_factory.mktemp("cache")))


def test_keys_of_two_processes_differ(model: ServedModel) -> None:
    """A key says nothing to whoever does not hold the secret."""
    one, other = AnswerCache([model]), AnswerCache([model])

    assert one.key(an_admitted(), model) != other.key(an_admitted(), model)
    one.close()
    other.close()


def test_a_shared_scope_answers_all_tenants(tiny_manifest: Path, tmp_path: Path) -> None:
    """Only where the model's owner says so."""
    cache, model = with_cache(tiny_manifest, tmp_path, scope="shared")

    assert cache.key(an_admitted(), model) == cache.key(OTHERS["another tenant"], model)
    cache.close()


def test_nothing_is_cached_where_it_is_switched_off(tiny_manifest: Path, tmp_path: Path) -> None:
    """Neither with `enabled: false` nor for a caller that says no-store."""
    cache, model = with_cache(tiny_manifest, tmp_path, enabled=False)

    assert None is cache.key(an_admitted(), model)
    assert None is SHARED[0][0].key(an_admitted(hints=Hints(no_store=True)), SHARED[0][1])
    assert None is cache.get("tiny", None)
    assert None is cache.in_flight(None)
    cache.close()


async def test_a_landed_flight_is_an_answer_and_no_flight_any_more(model: ServedModel) -> None:
    """In the air it may be joined, afterwards its answer is stored with the decision that made it."""
    cache = AnswerCache([model])
    key = cache.key(an_admitted(), model)
    asked = Asked(model.variants["fp32"], [[1]])
    cache.take_off("tiny", key, asked.flight)
    in_the_air = (cache.in_flight(key), cache.get("tiny", key))

    probabilities = land(asked.flight)

    stored = cache.get("tiny", key)
    assert (asked.flight, None) == in_the_air
    assert None is cache.in_flight(key)
    assert stored is not None
    assert (probabilities.tolist(), "fp32") == (stored.probabilities.tolist(), stored.decision.variant)
    cache.close()


def land(flight: Flight) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Tell the cache that a flight has landed."""
    probabilities = np.ones((1, 3), dtype=np.float32)
    flight.on_landed(probabilities)
    return probabilities


async def test_a_failed_flight_leaves_no_answer(model: ServedModel) -> None:
    """The next one asks the model again."""
    cache = AnswerCache([model])
    key = cache.key(an_admitted(), model)
    asked = Asked(model.variants["fp32"], [[1]])
    cache.take_off("tiny", key, asked.flight)

    asked.flight.on_landed(None)

    assert (None, None) == (cache.in_flight(key), cache.get("tiny", key))
    cache.close()


async def test_a_flight_that_nobody_waits_for_is_not_joined(model: ServedModel) -> None:
    """Its rows may vanish from the queue: who comes then starts a flight of its own, and the old one cannot end it."""
    cache = AnswerCache([model])
    key = cache.key(an_admitted(), model)
    left, fresh = Asked(model.variants["fp32"], [[1]]), Asked(model.variants["fp32"], [[1]])
    cache.take_off("tiny", key, left.flight)
    left.future.cancel()
    nobody = cache.in_flight(key)
    cache.take_off("tiny", key, fresh.flight)

    land(left.flight)

    assert (None, fresh.flight) == (nobody, cache.in_flight(key))
    fresh.future.cancel()
    cache.close()


def test_the_configuration_of_the_tests_caches(config: Config) -> None:
    """Otherwise the tests above would pass without a cache."""
    assert config.models[0].cache.enabled
    assert "acme" == TENANT.tenant_id
