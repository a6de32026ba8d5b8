"""What counts as the same question, and for how long an answer is kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.config import Config
from greenserve.records import Admitted, Hints, Span, Tenant
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


def key(cache: AnswerCache, admitted: Admitted, model: ServedModel) -> tuple[bytes, ...] | None:
    """The keys of a request's items."""
    key_of = cache.keys(admitted, model)
    return None if key_of is None else tuple(map(key_of, admitted.request.rows))


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

    assert key(cache, an_admitted(), model) != key(cache, OTHERS[name], model)
    cache.close()


@pytest.mark.parametrize("name", SAME)
def test_what_cannot_change_the_answer_leaves_the_key(name: str, model: ServedModel) -> None:
    """Who asks how, and what of the answer is shown."""
    cache = AnswerCache([model])

    assert key(cache, an_admitted(), model) == key(cache, SAME[name], model)
    cache.close()


rows = st.lists(st.lists(st.integers(0, 30_000), min_size=1, max_size=5).map(tuple), min_size=1, max_size=4).map(tuple)


@given(rows, rows)
def test_keys_are_equal_exactly_for_equal_tokens(
    one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...]
) -> None:
    """No two different questions meet, the same always does."""
    cache, model = SHARED[0]

    same = key(cache, an_admitted(rows=one), model) == key(cache, an_admitted(rows=other), model)

    assert (one == other) == same


SHARED: list[tuple[AnswerCache, ServedModel]] = []


@pytest.fixture(autouse=True)
def _shared(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not SHARED:
        SHARED.append(with_cache(tiny_manifest, tmp_path_factory.mktemp("cache")))


def test_keys_of_two_processes_differ(model: ServedModel) -> None:
    """A key says nothing to whoever does not hold the secret."""
    one, other = AnswerCache([model]), AnswerCache([model])

    assert key(one, an_admitted(), model) != key(other, an_admitted(), model)
    one.close()
    other.close()


def test_a_shared_scope_answers_all_tenants(tiny_manifest: Path, tmp_path: Path) -> None:
    """Only where the model's owner says so."""
    cache, model = with_cache(tiny_manifest, tmp_path, scope="shared")

    assert key(cache, an_admitted(), model) == key(cache, OTHERS["another tenant"], model)
    cache.close()


def test_nothing_is_cached_where_it_is_switched_off(tiny_manifest: Path, tmp_path: Path) -> None:
    """Neither with `enabled: false` nor for a caller that says no-store."""
    cache, model = with_cache(tiny_manifest, tmp_path, enabled=False)

    assert None is key(cache, an_admitted(), model)
    assert None is key(SHARED[0][0], an_admitted(hints=Hints(no_store=True)), SHARED[0][1])
    cache.close()


KEY = b"k" * 32


async def test_a_landed_flight_is_an_answer_and_no_flight_any_more(model: ServedModel) -> None:
    """In the air it may be joined, afterwards its answer is stored with the decision that made it."""
    cache = AnswerCache([model])
    asked = Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, asked.flight)
    in_the_air = (cache.in_flight(KEY), cache.get(model, KEY))

    land(asked.flight)

    stored = cache.get(model, KEY)
    assert (asked.flight, None) == in_the_air
    assert None is cache.in_flight(KEY)
    assert stored is not None
    assert (OUTPUTS, "fp32") == (stored.outputs, stored.decision.variant)
    cache.close()


OUTPUTS = {"probabilities": np.ones((1, 3), dtype=np.float32)}
SPAN = Span(
    batch_id="batch", variant="fp32", device="cpu", start_ns=10, end_ns=15, cpu_ns=4, lengths=(2,), padded_length=2
)


def land(flight: Flight) -> None:
    """As the batcher does."""
    flight.land(OUTPUTS, SPAN, cpu_ns=1, held_ns=1)


async def test_an_answer_of_a_variant_that_changed_since_is_none(model: ServedModel) -> None:
    """A manifest was reloaded: the stored answer was made by other weights."""
    cache = AnswerCache([model])
    asked = Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, asked.flight)
    land(asked.flight)
    changed = replace(model.variants["fp32"], variant=replace(model.variants["fp32"].variant, digest="f" * 64))
    reloaded = replace(model, variants={"fp32": changed})

    assert None is cache.get(reloaded, KEY)
    assert None is cache.get(replace(model, variants={}), KEY)
    assert None is not cache.get(model, KEY)
    cache.close()


async def test_a_failed_flight_leaves_no_answer(model: ServedModel) -> None:
    """The next one asks the model again."""
    cache = AnswerCache([model])
    asked = Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, asked.flight)

    asked.flight.poison("a test")

    assert (None, None) == (cache.in_flight(KEY), cache.get(model, KEY))
    cache.close()


async def test_a_flight_that_nobody_waits_for_is_not_joined(model: ServedModel) -> None:
    """Its item may vanish from the queue: who comes then starts a flight of its own, and the old one cannot end it."""
    cache = AnswerCache([model])
    left, fresh = Asked(model.variants["fp32"], (1,)), Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, left.flight)
    left.future.cancel()
    nobody = cache.in_flight(KEY)
    cache.take_off(KEY, fresh.flight)

    land(left.flight)

    assert (None, fresh.flight) == (nobody, cache.in_flight(KEY))
    fresh.future.cancel()
    cache.close()


def test_the_configuration_of_the_tests_caches(config: Config) -> None:
    """Otherwise the tests above would pass without a cache."""
    assert config.models[0].cache.enabled
    assert "acme" == TENANT.tenant_id
