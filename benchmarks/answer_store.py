"""Which store of answers is best (spike S8), and what a miss costs: `python -m benchmarks.answer_store`.

Stores of the same size in bytes replay the same Zipf traces; items have a size and joules of their own. `mixed` has
answers of 12 B to 48 KiB, `one` is a model whose answers are all of one size, `shift` changes halfway what is popular.
The miss is timed as the gateway meets it: rules, key, lookup, flight bookkeeping and storing, without running a model.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import numpy as np
from blake3 import blake3
from theine import Cache

from benchmarks.noop import write_echo_model
from greenserve.ports import CachedAnswer
from greenserve.records import Admitted, Decision, Hints, InferenceRequest, Reservation, Span, Tenant
from greenserve.sections import Model
from greenserve.serve.answer_store import ARRAY_BYTES, ENTRY_BYTES, LARGEST_ANSWER_BYTES, MemoryAnswers
from greenserve.serve.batching.flight import Flight, Waiter
from greenserve.serve.cache import AnswerCache, floor_of
from greenserve.serve.cache_watch import WINDOW
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.models import ServedModel, load_model

SEED = 7
OPERATIONS, ITEMS = 120_000, 150_000
STORE_BYTES = 8 * 2**20
TTL_S = 600.0
SIZES = (12, 1_536, 12_288, 49_152)
SHARES = (0.6, 0.3, 0.08, 0.02)
CLASSES = (1_024, 2_048, 4_096, 16_384, LARGEST_ANSWER_BYTES + ENTRY_BYTES + ARRAY_BYTES)
PAGES = 16
NS_PER_US = 1_000
FAR_NS = 10**18
ROUNDS = 5


class Store(Protocol):
    """What is compared."""

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None."""

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer."""


class Trace(NamedTuple):
    """Items in the order in which they are asked for, each item's answer and joules."""

    items: Sequence[int]
    answers: Sequence[CachedAnswer]
    energy_j: Sequence[float]


class Lru:
    """Least recently used, by bytes."""

    def __init__(self) -> None:
        self._stored: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None."""
        answer = self._stored.get(key)
        if answer is not None:
            self._stored.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer."""
        self._stored[key] = answer
        self._bytes += taken_bytes(answer)
        while self._bytes > STORE_BYTES:
            self._bytes -= taken_bytes(self._stored.popitem(last=False)[1])


class Entries:
    """theine by number of entries, as many as fit if all are of the largest size: bounded whatever comes."""

    def __init__(self) -> None:
        self._cache: Cache[bytes, CachedAnswer] = Cache(STORE_BYTES // CLASSES[-1])

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None."""
        found: CachedAnswer | None = self._cache.get(key)[0]
        return found

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer."""
        self._cache.set(key, answer, timedelta(seconds=TTL_S))


class SizeClasses:
    """theine per size class: pages of equal bytes go to whichever class avoids most joules with one.

    A class spreads its keys over its pages by their hash, so that a page more moves few of them.
    """

    def __init__(self) -> None:
        self._pages: list[list[Cache[bytes, CachedAnswer]]] = [[] for _ in CLASSES]
        self._free, self._puts = PAGES, 0
        self._avoided_j = [0.0] * len(CLASSES)

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None; no key tells its class, so each is asked."""
        for place, pages in enumerate(self._pages):
            if pages and (found := pages[slot_of(key, len(pages))].get(key)[0]) is not None:
                self._avoided_j[place] += found.decision.energy_j
                answer: CachedAnswer = found
                return answer
        return None

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer."""
        place = next(place for place, most in enumerate(CLASSES) if taken_bytes(answer) <= most)
        pages = self._pages[place]
        self._puts += 1
        if self._free and (not pages or (self._puts % 64 == 0 and len(pages[-1]) >= 0.9 * slots(place))):
            self._free -= 1
            pages.append(Cache(slots(place)))
        elif not self._free and (not pages or self._puts % 5_000 == 0):
            self._move_page(place)
        if pages:
            pages[slot_of(key, len(pages))].set(key, answer, timedelta(seconds=TTL_S))

    def _move_page(self, place: int) -> None:
        per_page = [j / max(1, len(pages)) for j, pages in zip(self._avoided_j, self._pages, strict=True)]
        givers = [one for one, pages in enumerate(self._pages) if len(pages) > 1]
        best = per_page.index(max(per_page)) if self._pages[place] else place
        if givers:
            poorest = min(givers, key=per_page.__getitem__)
            if poorest != best and (not self._pages[place] or per_page[best] > 2 * per_page[poorest]):
                self._pages[poorest].pop().close()
                self._pages[best].append(Cache(slots(best)))
        self._avoided_j = [j / 2 for j in self._avoided_j]


def slots(place: int) -> int:
    """How many answers of a class fit on a page."""
    return max(4, STORE_BYTES // PAGES // CLASSES[place])


def slot_of(key: bytes, count: int) -> int:
    """The page of a key by rendezvous with each."""
    return max(range(count), key=lambda page: (key[page] << 8) | key[page + PAGES])


def taken_bytes(answer: CachedAnswer) -> int:
    """What an answer takes, Python's share included."""
    return ENTRY_BYTES + ARRAY_BYTES * len(answer.outputs) + answer.size_bytes


def flat(answer: CachedAnswer) -> CachedAnswer:
    """The same answer, worth what every other is."""
    return CachedAnswer(outputs=answer.outputs, decision=a_decision(1.0), variant_digest=answer.variant_digest)


class ByUse(MemoryAnswers):
    """Ours, all joules equal."""

    def put(self, key: bytes, answer: CachedAnswer, *, ttl_s: float | None = None) -> None:
        """Keep an answer."""
        super().put(key, flat(answer), ttl_s=ttl_s)


def a_decision(energy_j: float) -> Decision:
    """What is stored with an answer."""
    return Decision(
        region="here",
        zone="ZZ",
        variant="fp32",
        reason="cache",
        latency_s=None,
        energy_j=energy_j,
        emissions_g=None,
        intensity=None,
        pue_milli=1_000,
        emulated=False,
    )


def trace(name: str, exponent: float) -> Trace:
    """A trace of OPERATIONS lookups in ITEMS items; popularity ~ rank ** -exponent, joules ~ length of a text."""
    rng = np.random.default_rng(SEED)
    weight = np.arange(1, ITEMS + 1) ** -exponent
    items = rng.choice(ITEMS, size=OPERATIONS, p=weight / weight.sum())
    if name == "shift":
        items[OPERATIONS // 2 :] = (items[OPERATIONS // 2 :] + ITEMS // 2) % ITEMS
    sizes = np.full(ITEMS, 1_536) if name == "one" else rng.choice(SIZES, size=ITEMS, p=SHARES)
    lengths = np.clip(rng.lognormal(3.2, 0.9, ITEMS), 4, 384)
    arrays = {size: np.zeros((1, size // 4), dtype=np.float32) for size in SIZES}
    energy_j = [float(each) for each in 0.005 + 0.002 * lengths]
    answers = [
        CachedAnswer(outputs={"y": arrays[int(size)]}, decision=a_decision(joules), variant_digest="d")
        for size, joules in zip(sizes, energy_j, strict=True)
    ]
    return Trace(items.tolist(), answers, energy_j)


def replay(store: Store, played: Trace, keys: Sequence[bytes]) -> dict[str, float]:
    """Share of hits and of joules avoided, and the medians of a lookup and a store [us]."""
    hits, avoided_j, asked_j = 0, 0.0, 0.0
    get_ns: list[int] = []
    put_ns: list[int] = []
    for item in played.items:
        key = keys[item]
        asked_j += played.energy_j[item]
        start_ns = time.perf_counter_ns()
        found = store.get(key)
        get_ns.append(time.perf_counter_ns() - start_ns)
        if found is not None:
            hits += 1
            avoided_j += played.energy_j[item]
            continue
        start_ns = time.perf_counter_ns()
        store.put(key, played.answers[item])
        put_ns.append(time.perf_counter_ns() - start_ns)
    return {
        "hits": hits / len(played.items),
        "joules": avoided_j / asked_j,
        "get_us": float(np.median(get_ns)) / NS_PER_US,
        "put_us": float(np.median(put_ns)) / NS_PER_US,
    }


STORES: dict[str, Callable[[], Any]] = {
    "LRU by bytes": Lru,
    "theine, bounded by entries": Entries,
    "theine per size class": SizeClasses,
    "W-TinyLFU by bytes, by use": lambda: ByUse(max_bytes=STORE_BYTES, ttl_s=TTL_S),
    "W-TinyLFU by bytes, by joules": lambda: MemoryAnswers(max_bytes=STORE_BYTES, ttl_s=TTL_S),
}


def misses(model: ServedModel, cache: AnswerCache, hints: Hints, count: int) -> float:
    """Median time [us] of a request of one 12-token text that misses, without what would be spent on no cache at all.

    Rules, key, lookup, flight, landing and storing; the text lands as one of a batch of eight, a view of its output.
    """
    served, decision = next(iter(model.variants.values())), a_decision(0.01)
    span = Span(
        batch_id="b", variant="v", device="cpu", start_ns=1, end_ns=2, cpu_ns=1, lengths=(12,) * 8, padded_length=12
    )
    texts = [tuple(row) for row in np.random.default_rng().integers(0, 30_000, (count, 12)).tolist()]
    batch = np.zeros((8, 3), dtype=np.float32)
    taken_ns: list[int] = []
    for text in texts:
        admitted = an_admitted(model.name, text, hints)
        flight = Flight(served=served, decision=decision, item=text, arrived_ns=0, deadline_ns=FAR_NS)
        waiter = Waiter(1, waits_for_nothing)
        flight.join(waiter, 0, deadline_ns=FAR_NS)
        outputs = {"y": batch[3:4]}
        start_ns = time.perf_counter_ns()
        if (key_of := cache.keys(admitted, model)) is not None:
            floor, key = floor_of(admitted, model), key_of(text)
            if key is not None and cache.get(model, key, floor) is None and cache.in_flight(key, floor) is None:
                cache.take_off(key, flight)
        flight.land(outputs, span, cpu_ns=1, held_ns=1)
        taken_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(taken_ns)) / NS_PER_US


def waits_for_nothing(waiter: Waiter) -> None:
    """No client of these leaves."""


def an_admitted(model: str, text: tuple[int, ...], hints: Hints) -> Admitted:
    """A request for one text."""
    request = InferenceRequest(
        request_id="r",
        model=model,
        rows=(text,),
        outputs=("y",),
        protocol="http",
        received_ns=0,
        deadline_ns=FAR_NS,
        hints=hints,
    )
    tenant, reservation = Tenant(tenant_id="acme", name="Acme"), Reservation(budget_id=None, amount=0)
    return Admitted(request=request, tenant=tenant, key_id="k", reservation=reservation)


async def cost_of_misses() -> tuple[float, float, float]:
    """Median [us] per request: all keys looked up, switched off by its misses (one in 16 probed), with `no-store`."""
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        settings = Model(name="echo", manifest=write_echo_model(Path(folder)))
        model = load_model(settings, engine_for, fingerprint="", max_items=32)
    on = [misses(model, AnswerCache([model]), Hints(), WINDOW) for _ in range(ROUNDS)]
    cache = AnswerCache([model])
    misses(model, cache, Hints(), 2 * WINDOW)
    off = [misses(model, cache, Hints(), WINDOW) for _ in range(ROUNDS)]
    none = [misses(model, cache, Hints(no_store=True), WINDOW) for _ in range(ROUNDS)]
    return float(np.median(on)), float(np.median(off)), float(np.median(none))


def main() -> None:
    """Print a row per trace and store, then what a miss costs."""
    on, off, none = asyncio.run(cost_of_misses())
    print(f"a miss costs {on - none:.1f} us, switched off {off - none:.1f} us (without a cache {none:.1f} us)\n")
    keys = [blake3(number.to_bytes(4, "little")).digest() for number in range(ITEMS)]
    print("| trace | store | hits | joules avoided | lookup us | store us |\n|---|---|---|---|---|---|")
    for name in ("mixed", "one", "shift"):
        for exponent in (0.8, 1.0):
            played = trace(name, exponent)
            for label, make in STORES.items():
                found = replay(make(), played, keys)
                print(
                    f"| {name} {exponent} | {label} | {found['hits']:.1%} | {found['joules']:.1%} | "
                    f"{found['get_us']:.2f} | {found['put_us']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
