"""Answers that were given before, and items that are being answered now, by digest: both item by item.

State: a shelf per model, the flights in the air, and what is computed once for many requests (keyed hashers, the
decisions kept with answers); changed only on the event loop.
"""

import secrets
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.power_model import CpuPower
from greenserve.ports import CachedAnswer
from greenserve.records import Admitted, Decision, Item
from greenserve.serve.answer_store import MemoryAnswers
from greenserve.serve.batching.flight import Flight, Landed
from greenserve.serve.cache_watch import PROBED_OF, Watch, Watched
from greenserve.serve.models import ServedModel, ServedVariant
from greenserve.serve.shared_cache import NOTHING, Fetched, SharedAnswers, SharedCounts
from greenserve.units import joules_from_uj

Key = bytes
LOOKUP_NS = 10_000
"""CPU time of key, lookup, store and flight of one item that misses (benchmarks/answer_store.py measures it)."""

MOST_HASHERS = 1_024
MOST_DECISIONS = 1_024
SECRET_CONTEXT = "greenserve 2026-11-22 answer cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """How a model's cache does: stored answers and the bytes that they take, and what its watch has counted."""

    answers: int
    size_bytes: int
    watched: Watched


@dataclass(slots=True, eq=False)
class _Shelf:
    """A model's store and watch; `repeatable`: the manifest of that digest says that equal inputs get equal outputs."""

    store: MemoryAnswers
    watch: Watch
    ttl_s: float
    digest: str
    repeatable: bool


class AnswerCache:
    """A store of answers per model, and the flights that others may join.

    `secret` (32 bytes) keys the digests: gateways that share answers share it, others draw their own. `shared` is the
    second tier, None: there is none. `power` says what the CPU time of a lookup costs, by default on this machine.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        secret: bytes | None = None,
        shared: SharedAnswers | None = None,
        power: CpuPower | None = None,
    ) -> None:
        self.shared = shared
        self._secret = secret or secrets.token_bytes(32)
        lookup_j = float(joules_from_uj((power or host_power()).active_uj(LOOKUP_NS)))
        self._shelves = {
            model.name: _Shelf(
                store=MemoryAnswers(max_bytes=settings.max_bytes, ttl_s=settings.ttl_s),
                watch=Watch(lookup_j=lookup_j),
                ttl_s=settings.ttl_s,
                digest=model.manifest.digest,
                repeatable=_repeatable(model),
            )
            for model in models
            if (settings := model.settings.cache).enabled
        }
        self._flights: dict[Key, Flight] = {}
        self._hashers: dict[tuple[object, ...], blake3] = {}
        self._decisions: dict[tuple[object, ...], Decision] = {}

    def __repr__(self) -> str:
        shelves = ", ".join(f"{name}: {shelf.store!r} {shelf.watch!r}" for name, shelf in sorted(self._shelves.items()))
        return f"<AnswerCache {shelves or 'of nothing'}, {len(self._flights)} in flight, shared {self.shared!r}>"

    def close(self) -> None:
        """Let go of the stored answers."""
        for shelf in self._shelves.values():
            shelf.store.close()

    def state(self) -> dict[str, CacheState]:
        """How each model's cache does, by the model's name."""
        return {
            name: CacheState(answers=len(shelf.store), size_bytes=shelf.store.size_bytes, watched=shelf.watch.watched())
            for name, shelf in self._shelves.items()
        }

    def shared_counts(self) -> SharedCounts | None:
        """What the second tier did; None where there is none."""
        return None if self.shared is None else self.shared.counts()

    def keys(self, admitted: Admitted, model: ServedModel) -> Callable[[Item], Key | None] | None:
        """What tells an item's key, 256 bits over scope, model, item and the rules that an answer can't be checked for.

        None where nothing is cached; it tells None for items that are not looked up while the cache is off. A floor of
        quality is no part of the key: whoever asks checks the answer's (`floor_of`, `get`).
        """
        shelf = self._shelves.get(model.name)
        if shelf is None or admitted.request.hints.no_store:
            return None
        if shelf.digest != model.manifest.digest:
            shelf.digest, shelf.repeatable = model.manifest.digest, _repeatable(model)
        if not shelf.repeatable:
            return None
        keyed = self._keyed(admitted, model)
        if shelf.watch.on:
            return lambda item: keyed.copy().update(_bytes_of(item)).digest()
        return lambda item: None if _sample(item) % PROBED_OF else keyed.copy().update(_bytes_of(item)).digest()

    def get(self, model: ServedModel, key: Key, floor: float = 0.0, fetched: Fetched = NOTHING) -> CachedAnswer | None:
        """The stored (or just `fetched`) answer, where its variant is still served as it was and is over the floor."""
        shelf = self._shelves[model.name]
        shelf.watch.looked()
        answer = _valid(shelf.store.get(key), model, floor)
        if answer is None and (found := fetched.get(key)) is not None:
            made, left_s = found
            if (answer := _valid(made, model, floor)) is not None:
                shelf.store.put(key, answer, ttl_s=left_s)
        if answer is not None:
            shelf.watch.found(answer.decision.energy_j)
        return answer

    def in_flight(self, key: Key, floor: float = 0.0) -> Flight | None:
        """A flight of the same item, by a variant over the floor, whose answer somebody still waits for."""
        flight = self._flights.get(key)
        if flight is None or not flight.wanted or flight.served.variant.value_low < floor:
            return None
        self._shelves[_model_of(flight)].watch.joined()
        return flight

    async def fetch(self, admitted: Admitted, model: ServedModel) -> Fetched:
        """What the second tier has of the items that are neither stored nor in flight here, for `get` to judge.

        Takes no longer than its timeout, and finds nothing where it is away or there is none.
        """
        key_of = self.keys(admitted, model)
        if self.shared is None or key_of is None:
            return NOTHING
        shelf = self._shelves[model.name]
        wanted = [
            key
            for row in admitted.request.rows
            if (key := key_of(row)) is not None and key not in shelf.store and key not in self._flights
        ]
        return await self.shared.lookup(wanted)

    def take_off(self, key: Key, flight: Flight) -> None:
        """Let others join `flight`, and keep its answer when it lands."""
        self._flights[key] = flight
        flight.on_landed = partial(self._landed, key, flight)

    def _landed(self, key: Key, flight: Flight, result: Landed | None) -> None:
        if self._flights.get(key) is not flight:
            return  # another took its place, for a higher floor or since nobody waited: that one's answer is kept
        del self._flights[key]
        if result is None:
            return
        shelf = self._shelves[_model_of(flight)]
        decision = self._decision_of(flight)
        shelf.watch.ran(decision.energy_j)
        answer = CachedAnswer(outputs=result.outputs, decision=decision, variant_digest=flight.served.variant.digest)
        shelf.store.put(key, answer)
        if self.shared is not None:
            self.shared.put(key, answer, shelf.ttl_s)

    def _keyed(self, admitted: Admitted, model: ServedModel) -> blake3:
        """The hasher of a scope and its rules, made once: with hints that anybody may invent it is not remembered."""
        tenant, hints = admitted.tenant, admitted.request.hints
        rules = (
            tenant.tenant_id if model.settings.cache.scope == "tenant" else "*",
            model.name,
            model.manifest.digest,
            hints.variant,
            hints.policy or tenant.policy,
            hints.regions,
            tenant.regions,
            tenant.quality_mean,
        )
        keyed = self._hashers.get(rules)
        if keyed is None:
            text = repr([sorted(rule) if isinstance(rule, frozenset) else rule for rule in rules])
            # The length tells the rules from the item that follows them.
            keyed = blake3(len(text.encode()).to_bytes(8, "little") + text.encode(), key=self._secret)
            if hints.regions is None and (hints.variant is None or hints.variant in model.variants):
                if len(self._hashers) >= MOST_HASHERS:
                    self._hashers.clear()
                self._hashers[rules] = keyed
        return keyed

    def _decision_of(self, flight: Flight) -> Decision:
        """What of a flight's decision is kept with its answer, one for all of a length; its energy is e(1,L) [J]."""
        made, served, length = flight.decision, flight.served, len(flight.item)
        where = (made.region, made.zone, made.pue_milli, made.emulated, made.flags)
        facts = (served.key, served.variant.digest, where, length)
        kept = self._decisions.get(facts)
        if kept is None:
            if len(self._decisions) >= MOST_DECISIONS:
                self._decisions.clear()
            kept = self._decisions[facts] = replace(
                made, latency_s=None, energy_j=_joules_of(served, length), emissions_g=None, intensity=None, beaten=()
            )
        return kept


def secret_from(pepper: bytes) -> bytes:
    """The key of a deployment's digests (32 bytes), from the pepper of its ledger; it tells nothing of the pepper."""
    return blake3(pepper, derive_key_context=SECRET_CONTEXT).digest()


def floor_of(admitted: Admitted, model: ServedModel) -> float:
    """The least quality that an answer to this request may have: the tenant's or the model's, and the caller's."""
    own, asked = admitted.tenant.quality_floor, admitted.request.hints.min_quality
    floor = model.settings.objective.quality_floor if own is None else own
    return floor if asked is None else max(floor, asked)


def _valid(answer: CachedAnswer | None, model: ServedModel, floor: float) -> CachedAnswer | None:
    if answer is None:
        return None
    served = model.variants.get(answer.decision.variant)
    if served is None or served.variant.digest != answer.variant_digest or served.variant.value_low < floor:
        return None
    return answer


def _model_of(flight: Flight) -> str:
    return flight.served.key.partition("/")[0]


def _joules_of(served: ServedVariant, length: int) -> float | None:
    return None if served.profile is None else served.profile.joules(batch=1, length=length)


def _repeatable(model: ServedModel) -> bool:
    """Whether the manifest calls none of the served variants non-deterministic."""
    return not any(
        entry["name"] in model.variants and entry["properties"].get("deterministic", True) is False
        for entry in model.manifest.document["variants"]
    )


def _sample(item: Item) -> int:
    """A number that is always the same for the same item, for less than its key costs."""
    if isinstance(item, tuple):
        return hash(item)
    return crc32(b"".join(map(_data_of, item.arrays)))


def _bytes_of(item: Item) -> bytes:
    """An item's content: unambiguous, since its model fixes the number and types of its arrays."""
    if isinstance(item, tuple):
        return array("I", item).tobytes()
    parts = [repr([(each.dtype.str, each.shape) for each in item.arrays]).encode()]
    parts += map(_data_of, item.arrays)
    return b"\0".join(parts)


def _data_of(each: npt.NDArray[np.generic]) -> bytes:
    return repr(each.tolist()).encode() if each.dtype == object else each.tobytes()
