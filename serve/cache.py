"""Exact-match answers and questions in flight: the same question of the same tenant runs once.

State: the stored answers and the flights by key, changed only on the event loop. A key is a BLAKE3 under this
process's random secret, over everything that may change the answer.
"""

import secrets
from collections.abc import Sequence

from blake3 import blake3

from greenserve.ports import CachedAnswer, ResponseCache
from greenserve.records import Admitted
from greenserve.serve.answer_store import MemoryAnswers
from greenserve.serve.batching.flight import Flight, Probabilities
from greenserve.serve.models import ServedModel


class AnswerCache:
    """A store of answers per model, and the flights that others may join."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._secret = secrets.token_bytes(32)
        self._stores: dict[str, ResponseCache] = {
            model.name: MemoryAnswers(max_entries=settings.max_entries, ttl_s=settings.ttl_s)
            for model in models
            if (settings := model.settings.cache).enabled
        }
        self._flights: dict[bytes, Flight] = {}

    def __repr__(self) -> str:
        return f"<AnswerCache {sorted(self._stores)}, {len(self._flights)} in flight>"

    def close(self) -> None:
        """Stop the stores' own threads."""
        for store in self._stores.values():
            store.close()

    def key(self, admitted: Admitted, model: ServedModel) -> bytes | None:
        """256 bits over scope, model, rows and every rule that may change the answer; None where nothing is cached."""
        request, hints = admitted.request, admitted.request.hints
        if model.name not in self._stores or hints.no_store:
            return None
        tenant = admitted.tenant
        scope = tenant.tenant_id if model.settings.cache.scope == "tenant" else "*"
        rules = (
            scope,
            model.name,
            model.manifest.digest,
            hints.variant,
            hints.min_quality,
            hints.policy or tenant.policy,
            sorted(hints.regions or ()),
            sorted(tenant.regions or ()),
            tenant.quality_floor,
            tenant.quality_mean,
            request.rows,
        )
        return blake3(repr(rules).encode(), key=self._secret).digest()

    def get(self, model: str, key: bytes | None) -> CachedAnswer | None:
        """The stored answer, or None."""
        return None if key is None else self._stores[model].get(key)

    def in_flight(self, key: bytes | None) -> Flight | None:
        """A flight with the same question whose answer somebody still waits for."""
        flight = None if key is None else self._flights.get(key)
        return flight if flight is not None and flight.wanted else None

    def take_off(self, model: str, key: bytes | None, flight: Flight) -> None:
        """Let others join `flight`, and keep its answer when it lands."""
        if key is None:
            return
        self._flights[key] = flight

        def landed(probabilities: Probabilities | None) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if probabilities is not None:
                answer = CachedAnswer(probabilities=probabilities, decision=flight.decision)
                self._stores[model].put(key, answer)

        flight.on_landed = landed
