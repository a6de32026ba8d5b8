"""Answers that were given before, and items that are being answered now, by digest: both item by item.

State: a store per model, and the flights in the air; changed only on the event loop.
"""

import secrets
from array import array
from collections.abc import Callable, Sequence

from blake3 import blake3

from greenserve.ports import CachedAnswer, ResponseCache
from greenserve.records import Admitted, Item
from greenserve.serve.answer_store import MemoryAnswers
from greenserve.serve.batching.flight import Flight, Landed
from greenserve.serve.models import ServedModel

Key = bytes


class AnswerCache:
    """A store of answers per model, and the flights that others may join."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._secret = secrets.token_bytes(32)
        self._stores: dict[str, ResponseCache] = {
            model.name: MemoryAnswers(max_bytes=settings.max_bytes, ttl_s=settings.ttl_s)
            for model in models
            if (settings := model.settings.cache).enabled
        }
        self._flights: dict[Key, Flight] = {}

    def __repr__(self) -> str:
        return f"<AnswerCache {sorted(self._stores)}, {len(self._flights)} in flight>"

    def close(self) -> None:
        """Stop the stores' own threads."""
        for store in self._stores.values():
            store.close()

    def keys(self, admitted: Admitted, model: ServedModel) -> Callable[[Item], Key] | None:
        """What tells an item's key, 256 bits over scope, model, item and every rule that may change the answer.

        None where nothing is cached.
        """
        request, hints = admitted.request, admitted.request.hints
        if model.name not in self._stores or hints.no_store:
            return None
        tenant = admitted.tenant
        scope = tenant.tenant_id if model.settings.cache.scope == "tenant" else "*"
        rules = (
            scope,
            request.model,
            model.manifest.digest,
            hints.variant,
            hints.min_quality,
            hints.policy or tenant.policy,
            sorted(hints.regions or ()),
            sorted(tenant.regions or ()),
            tenant.quality_floor,
            tenant.quality_mean,
        )
        keyed = blake3(repr(rules).encode(), key=self._secret)

        def key(item: Item) -> Key:
            return keyed.copy().update(_bytes_of(item)).digest()

        return key

    def get(self, model: ServedModel, key: Key) -> CachedAnswer | None:
        """The stored answer, where the variant that made it is still served as it was."""
        answer = self._stores[model.name].get(key)
        if answer is None:
            return None
        served = model.variants.get(answer.decision.variant)
        return answer if served is not None and served.variant.digest == answer.variant_digest else None

    def in_flight(self, key: Key) -> Flight | None:
        """A flight of the same item whose answer somebody still waits for."""
        flight = self._flights.get(key)
        return flight if flight is not None and flight.wanted else None

    def take_off(self, key: Key, flight: Flight) -> None:
        """Let others join `flight`, and keep its answer when it lands."""
        self._flights[key] = flight
        store = self._stores[flight.served.key.partition("/")[0]]

        def landed(result: Landed | None) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if result is not None:
                answer = CachedAnswer(
                    outputs=result.outputs, decision=flight.decision, variant_digest=flight.served.variant.digest
                )
                store.put(key, answer)

        flight.on_landed = landed


def _bytes_of(item: Item) -> bytes:
    """An item's content: unambiguous, since its model fixes the number and types of its arrays."""
    if isinstance(item, tuple):
        return array("I", item).tobytes()
    parts = [repr([(each.dtype.str, each.shape) for each in item.arrays]).encode()]
    for each in item.arrays:
        parts.append(repr(each.tolist()).encode() if each.dtype == object else each.tobytes())
    return b"\0".join(parts)
