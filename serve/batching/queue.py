"""The rows that wait, by variant and length bucket, in deadline order.

State: one heap per (variant, bucket); changed only by the batcher that owns the queue. Decisions are pure in time:
`now_ns` is an argument.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from greenserve.inputs import bucket_of

WASTE_LIMIT = 0.25


@dataclass(order=True, slots=True)
class Waiting:
    """A row in the queue, ordered by deadline [monotonic ns], then by arrival."""

    deadline_ns: int
    sequence: int
    length: int = field(compare=False)
    key: str = field(compare=False)
    row: object = field(compare=False)


class DeadlineQueue:
    """Rows of all variants; `alive` says whether anybody still wants a row."""

    def __init__(self, *, buckets: Sequence[int], alive: Callable[[Waiting], bool]) -> None:
        self._buckets = tuple(buckets)
        self._alive = alive
        self._heaps: dict[str, dict[int, list[Waiting]]] = {}
        self._sequence = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<DeadlineQueue {self._count} rows {self.waiting()}>"

    def push(self, *, key: str, length: int, deadline_ns: int, row: object) -> None:
        """Let a row of `length` tokens wait for the variant of that key."""
        self._sequence += 1
        bucket = bucket_of(length, self._buckets)
        heap = self._heaps.setdefault(key, {}).setdefault(bucket, [])
        heapq.heappush(
            heap,
            Waiting(deadline_ns=deadline_ns, sequence=self._sequence, length=length, key=key, row=row),
        )
        self._count += 1

    def waiting(self) -> dict[str, int]:
        """Rows that wait, by key."""
        return {key: sum(map(len, heaps.values())) for key, heaps in self._heaps.items()}

    def cut(self, *, now_ns: int, max_batch: Mapping[str, int]) -> tuple[list[Waiting], list[Waiting]]:
        """(batch, expired): the batch of the earliest deadline, filled in deadline order, and rows that came too late.

        The head's bucket fills first, then shorter buckets while padding stays under 25 %. Nobody's rows are dropped
        silently: rows that nobody wants any more simply vanish, expired ones are returned.
        """
        expired: list[Waiting] = []
        while (head := self._head()) is not None and head.deadline_ns <= now_ns:
            expired.append(self._pop(head.key, bucket_of(head.length, self._buckets)))
        if head is None:
            return [], expired
        return self._fill(head, max_batch[head.key]), expired

    def _fill(self, head: Waiting, max_batch: int) -> list[Waiting]:
        first = bucket_of(head.length, self._buckets)
        batch: list[Waiting] = []
        tokens, longest = 0, 0
        for bucket in sorted((edge for edge in self._heaps[head.key] if edge <= first), reverse=True):
            for row in self._take(head.key, bucket):
                longest = max(longest, row.length)
                waste = 1.0 - (tokens + row.length) / ((len(batch) + 1) * longest)
                if len(batch) == max_batch or (bucket < first and waste > WASTE_LIMIT):
                    return batch
                batch.append(self._pop(head.key, bucket))
                tokens += row.length
        return batch

    def _take(self, key: str, bucket: int) -> Iterator[Waiting]:
        heap = self._heaps[key][bucket]
        while heap:
            if self._alive(heap[0]):
                yield heap[0]
            else:
                self._pop(key, bucket)

    def _head(self) -> Waiting | None:
        heads = [
            row
            for key, heaps in self._heaps.items()
            for bucket in heaps
            if (row := next(self._take(key, bucket), None)) is not None
        ]
        return min(heads, default=None)

    def _pop(self, key: str, bucket: int) -> Waiting:
        self._count -= 1
        return heapq.heappop(self._heaps[key][bucket])
