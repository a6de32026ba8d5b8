"""What counts as the same question, and for how long an answer is kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.power_model import CpuPower
from greenserve.config import Config
from greenserve.records import Admitted, Hints, Span, Tenant
from greenserve.serve.batching.flight import Flight
from greenserve.serve.cache import AnswerCache, floor_of, secret_from
from greenserve.serve.models import Models, ServedModel
from tests.serve.building import FAR_NS, TENANT, Asked, HeldEngines, a_config, an_admitted, models_of

OTHERS: dict[str, Admitted] = {
    "another tenant": an_admitted(tenant=Tenant(tenant_id="globex", name="Globex")),
    "another mean of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", quality_mean=0.8)),
    "another policy of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", policy="min-latency")),
    "other regions of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", regions=frozenset({"x"}))),
    "other tokens": an_admitted(rows=((3, 1),)),
    "other split of the tokens": an_admitted(rows=((3,), (0,))),
    "another order": an_admitted(rows=((0, 3),)),
    "a pinned variant": an_admitted(hints=Hints(variant="fp32")),
    "a policy": an_admitted(hints=Hints(policy="min-carbon")),
    "a region": an_admitted(hints=Hints(regions=frozenset({"here"}))),
}
SAME: dict[str, Admitted] = {
    "another floor of the tenant": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", quality_floor=0.8)),
    "a least quality": an_admitted(hints=Hints(min_quality=0.8)),
    "another id": an_admitted(request_id="x", client_id="y"),
    "another protocol": an_admitted(protocol="grpc"),
    "other outputs": an_admitted(outputs=("label",)),
    "another deadline": an_admitted(deadline_ns=FAR_NS + 5, hints=Hints(deadline_s=3.0)),
    "another exposure": an_admitted(tenant=Tenant(tenant_id="acme", name="Acme", exposure="off")),
}


def key(cache: AnswerCache, admitted: Admitted, model: ServedModel) -> tuple[bytes | None, ...] | None:
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
    """Tenant, its rules, tokens, and the hints that routing follows and an answer does not show."""
    cache = AnswerCache([model])

    assert key(cache, an_admitted(), model) != key(cache, OTHERS[name], model)
    cache.close()


@pytest.mark.parametrize("name", SAME)
def test_what_cannot_change_the_answer_leaves_the_key(name: str, model: ServedModel) -> None:
    """Who asks how, what of the answer is shown, and floors, which each answer is held against when it is found."""
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


def test_keys_of_gateways_with_one_secret_agree(model: ServedModel) -> None:
    """Made from the pepper of their ledger, which it does not tell."""
    one, other, foreign = (AnswerCache([model], secret=secret_from(pepper)) for pepper in (b"a" * 32, b"a" * 32, b"b"))

    assert key(one, an_admitted(), model) == key(other, an_admitted(), model)
    assert key(one, an_admitted(), model) != key(foreign, an_admitted(), model)
    assert b"a" * 32 != secret_from(b"a" * 32)
    for cache in (one, other, foreign):
        cache.close()


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


async def stored(cache: AnswerCache, model: ServedModel, variant: str, *, under: bytes = KEY) -> Flight:
    """A flight of a variant that has landed under a key."""
    asked = Asked(model.variants[variant], (1, 2))
    cache.take_off(under, asked.flight)
    land(asked.flight)
    return asked.flight


async def test_an_answer_counts_only_over_the_floor_of_who_asks(model: ServedModel) -> None:
    """The same stored answer serves those whom its variant's proven quality is enough for, and only those."""
    cache = AnswerCache([model])
    worst = min(model.variants.values(), key=lambda served: served.variant.value_low).variant
    await stored(cache, model, worst.name)

    assert None is not cache.get(model, KEY, worst.value_low)
    assert None is cache.get(model, KEY, worst.value_low + 1e-9)
    cache.close()


async def test_a_flight_is_joined_only_over_the_floor_of_who_asks(model: ServedModel) -> None:
    """Who asks for more takes off a flight of its own, and that one's answer is kept, whichever lands last."""
    cache = AnswerCache([model])
    low, high = sorted(model.variants.values(), key=lambda served: served.variant.value_low)[:: len(model.variants) - 1]
    cheap, better = Asked(low, (1,)), Asked(high, (1,))
    floor = high.variant.value_low
    cache.take_off(KEY, cheap.flight)
    joined = (cache.in_flight(KEY, low.variant.value_low), cache.in_flight(KEY, floor))
    cache.take_off(KEY, better.flight)

    land(better.flight)
    land(cheap.flight)

    kept = cache.get(model, KEY, floor)
    assert (cheap.flight, None) == joined
    assert kept is not None
    assert high.variant.name == kept.decision.variant
    cache.close()


@pytest.mark.parametrize(
    ("own", "asked", "floor"),
    [(None, None, 0.6), (0.8, None, 0.8), (0.5, None, 0.5), (0.8, 0.7, 0.8), (None, 0.9, 0.9)],
)
def test_the_floor_is_the_tenants_else_the_models_and_hints_only_raise_it(
    own: float | None, asked: float | None, floor: float, model: ServedModel
) -> None:
    """As routing has it: the model's own is 0.6."""
    tenant = Tenant(tenant_id="acme", name="Acme", quality_floor=own)

    assert floor == floor_of(an_admitted(tenant=tenant, hints=Hints(min_quality=asked)), model)


async def test_who_joins_a_flight_is_counted(model: ServedModel) -> None:
    """A run was spared; where there is no flight none was."""
    cache, asked = AnswerCache([model]), Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, asked.flight)

    for under in (KEY, b"x" * 32):
        cache.get(model, under)
        cache.in_flight(under)

    watched = cache.state()["tiny"].watched
    assert (2, 0, 1) == (watched.lookups, watched.hits, watched.joined)
    asked.future.cancel()
    cache.close()


async def test_what_is_kept_of_a_row_is_not_its_batch(model: ServedModel) -> None:
    """A view of the batch's output would hold all of it."""
    cache, asked = AnswerCache([model]), Asked(model.variants["fp32"], (1,))
    cache.take_off(KEY, asked.flight)
    batch = np.arange(12, dtype=np.float32).reshape(4, 3)

    asked.flight.land({"probabilities": batch[1:2]}, SPAN, cpu_ns=1, held_ns=1)

    kept = cache.get(model, KEY)
    assert kept is not None
    assert ([[3.0, 4.0, 5.0]], None) == (kept.outputs["probabilities"].tolist(), kept.outputs["probabilities"].base)
    cache.close()


async def test_an_answer_is_kept_with_the_joules_of_a_run_of_its_own(model: ServedModel) -> None:
    """e(1, L) by the variant's profile, which is what a hit avoids; a hit adds it up."""
    cache = AnswerCache([model])
    profile = model.variants["fp32"].profile
    assert profile is not None

    await stored(cache, model, "fp32")
    kept = cache.get(model, KEY)

    assert kept is not None
    assert profile.joules(batch=1, length=2) == kept.decision.energy_j
    assert profile.joules(batch=1, length=2) == cache.state()["tiny"].watched.avoided_j
    assert (None, None, ()) == (kept.decision.latency_s, kept.decision.intensity, kept.decision.beaten)
    cache.close()


def without_repeats(model: ServedModel) -> ServedModel:
    """The same model, one of whose variants gives another answer each time."""
    entries = [dict(entry) for entry in model.manifest.document["variants"]]
    entries[0]["properties"] = dict(entries[0]["properties"]) | {"deterministic": False}
    document = dict(model.manifest.document) | {"variants": entries}
    return replace(model, manifest=replace(model.manifest, document=document, digest="e" * 64))


def test_answers_of_a_model_that_does_not_repeat_itself_are_not_cached(model: ServedModel) -> None:
    """Neither from the start nor after its manifest was loaded again."""
    before, after = AnswerCache([without_repeats(model)]), AnswerCache([model])

    assert None is key(before, an_admitted(), without_repeats(model))
    assert None is key(after, an_admitted(), without_repeats(model))
    assert None is not key(after, an_admitted(), model)
    before.close()
    after.close()


def missed(cache: AnswerCache, model: ServedModel, lookups: int) -> None:
    """So many lookups that find nothing."""
    for number in range(lookups):
        cache.get(model, number.to_bytes(32))


def test_a_cache_that_never_hits_looks_up_one_key_in_sixteen(model: ServedModel) -> None:
    """After a thousand misses; always the same ones, so that what is probed can hit."""
    cache = AnswerCache([model])
    missed(cache, model, 1_001)
    rows = tuple((number, 7 * number) for number in range(2_000))

    first, second = (key(cache, an_admitted(rows=rows), model) for _ in range(2))

    assert first is not None
    assert first == second
    assert 60 <= sum(each is not None for each in first) <= 190
    assert "under 2% hits" == cache.state()["tiny"].watched.why
    assert "off (under 2% hits)" in repr(cache)
    cache.close()


async def test_hits_among_the_probes_switch_it_on_again(model: ServedModel) -> None:
    """Then every key is looked up."""
    cache = AnswerCache([model])
    missed(cache, model, 1_001)
    await stored(cache, model, "fp32")

    for _ in range(11):
        assert None is not cache.get(model, KEY)

    assert "" == cache.state()["tiny"].watched.why
    assert None not in (key(cache, an_admitted(rows=tuple((n,) for n in range(1, 100))), model) or (None,))
    cache.close()


async def test_a_model_that_costs_less_than_three_lookups_is_not_cached(model: ServedModel) -> None:
    """By the joules of a run against those of a lookup's CPU time; here each core takes a kilowatt."""
    dear = CpuPower(idle_mw=0, dynamic_mw_per_cpu=10**9, tier="class_average", half_width_pct=50, source="a test")
    cache = AnswerCache([model], power=dear)

    for number in range(1_001):
        asked = number.to_bytes(32)
        cache.get(model, asked)
        await stored(cache, model, "fp32", under=asked)

    assert "a run costs less than three lookups" == cache.state()["tiny"].watched.why
    cache.close()


def test_the_configuration_of_the_tests_caches(config: Config) -> None:
    """Otherwise the tests above would pass without a cache."""
    assert config.models[0].cache.enabled
    assert "acme" == TENANT.tenant_id
