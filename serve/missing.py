"""The items of a request that have to run: neither stored nor in flight."""

from collections.abc import Sequence

from greenserve.record import record
from greenserve.records import Decision, InferenceRequest, Item
from greenserve.serve.batching.flight import Flight, Waiter
from greenserve.serve.call import CacheResult
from greenserve.serve.models import ServedVariant


@record(frozen=True, slots=True, kw_only=True)
class Missing:
    """`rows` are the missing items, each with its place and the key under which it will be known (None: it is not
    shared); `found` the qualities of the others' variants; `result` how the cache did."""

    rows: Sequence[tuple[int, Item, bytes | None]]
    found: Sequence[float]
    result: CacheResult

    def flights(
        self, request: InferenceRequest, served: ServedVariant, decision: Decision, waiter: Waiter, now_ns: int
    ) -> tuple[list[Flight], dict[bytes, Flight]]:
        """A flight for each missing item, equal ones share theirs; and those that others may join, by key."""
        flights: list[Flight] = []
        by_key: dict[bytes, Flight] = {}
        for place, row, key in self.rows:
            twin = by_key.get(key) if key is not None else None
            if twin is not None:
                twin.join(waiter, place, deadline_ns=request.deadline_ns)
                continue
            flight = Flight(
                served=served,
                decision=decision,
                item=row,
                arrived_ns=now_ns,
                deadline_ns=request.deadline_ns,
                priority=request.hints.priority,
            )
            flight.join(waiter, place, deadline_ns=request.deadline_ns)
            flights.append(flight)
            if key is not None:
                by_key[key] = flight
        return flights, by_key
