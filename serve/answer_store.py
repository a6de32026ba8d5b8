"""Answers in this process's memory: W-TinyLFU by bytes, where what an answer is worth is its use times its joules.

A new answer enters a small window. What falls out of it stays only if it is worth more than what must go for it, so
that many answers asked for once displace nothing. The rest is two LRU lists: probation, and protected for those that
were asked for again. How often a key was asked for is estimated by a sketch that halves itself now and then.
Why not a library: docs/decisions/0012-answer-cache.md.

State: the three lists, their bytes and the sketch; changed by `get` and `put`, on one thread.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import NamedTuple

from greenserve.ports import CachedAnswer

LARGEST_ANSWER_BYTES = 65_536
ENTRY_BYTES = 640
"""What Python takes for a key, an entry and an answer beside its arrays, measured by the tests."""

ARRAY_BYTES = 144
"""What Python takes for an array beside its data."""

WINDOW_SHARE = 0.01
PROTECTED_SHARE = 0.8
COUNTER_PER_BYTES = 512
LEAST_COUNTERS = 1_024
MOST_COUNT = 255
HALVE_AFTER = 10
"""Lookups per entry that fits, after which all counts are halved, so that what was popular once may go."""

TYPICAL_ENTRY_BYTES = 1_024
_PARTS: Callable[[bytes], tuple[int, int, int, int]] = Struct("<4I").unpack_from
HALVED = bytes(count // 2 for count in range(256))


class Entry(NamedTuple):
    """A stored answer, the bytes that it takes, the joules that a hit avoids, and its last second (monotonic)."""

    answer: CachedAnswer
    size_bytes: int
    energy_j: float
    until_s: float


class MemoryAnswers:
    """A ResponseCache of at most `max_bytes`, each answer kept for at most `ttl_s` [s]. Used by one thread.

    An answer's `decision.energy_j` is what a hit avoids [J]; where it is unknown it counts as the mean of the others.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._now_s = now_s
        self._sketch = Sketch(max_bytes)
        room = max_bytes - self._sketch.size_bytes
        self._window_most = int(room * WINDOW_SHARE)
        self._main_most = room - self._window_most
        self._protected_most = int(self._main_most * PROTECTED_SHARE)
        self._window: OrderedDict[bytes, Entry] = OrderedDict()
        self._probation: OrderedDict[bytes, Entry] = OrderedDict()
        self._protected: OrderedDict[bytes, Entry] = OrderedDict()
        self._window_bytes = self._probation_bytes = self._protected_bytes = 0
        self._mean_j: float | None = None

    def __repr__(self) -> str:
        return f"<MemoryAnswers {len(self)} in {self.size_bytes} bytes, each for {self._ttl_s:g} s>"

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    def __contains__(self, key: bytes) -> bool:
        """Whether an answer is stored; does not count as use."""
        entry = self._window.get(key) or self._protected.get(key) or self._probation.get(key)
        return entry is not None and entry.until_s > self._now_s()

    @property
    def size_bytes(self) -> int:
        """What the store takes [bytes], Python's own share included."""
        return self._sketch.size_bytes + self._window_bytes + self._probation_bytes + self._protected_bytes

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None; both count as use of the key."""
        self._sketch.count(key)
        if (entry := self._protected.get(key)) is not None:
            self._protected.move_to_end(key)
        elif (entry := self._probation.get(key)) is not None:
            self._protect(key, entry)
        elif (entry := self._window.get(key)) is not None:
            self._window.move_to_end(key)
        else:
            return None
        if entry.until_s <= self._now_s():
            self._take_out(key)
            return None
        return entry.answer

    def put(self, key: bytes, answer: CachedAnswer, *, ttl_s: float | None = None) -> None:
        """Keep an answer if it is worth its place; one over 64 KiB is not. An older one under the key goes.

        `ttl_s` [s] is what is left of the time of one that another gateway made (None: it is new).
        """
        self._take_out(key)
        data_bytes = answer.size_bytes
        if data_bytes > LARGEST_ANSWER_BYTES:
            return
        answer = _compact(answer)
        size_bytes = ENTRY_BYTES + ARRAY_BYTES * len(answer.outputs) + data_bytes
        energy_j = answer.decision.energy_j
        if energy_j is not None:
            self._mean_j = energy_j if self._mean_j is None else 0.99 * self._mean_j + 0.01 * energy_j
        worth_j = energy_j if energy_j is not None else 1.0 if self._mean_j is None else self._mean_j
        self._window[key] = Entry(
            answer, size_bytes, worth_j, self._now_s() + min(self._ttl_s, self._ttl_s if ttl_s is None else ttl_s)
        )
        self._window_bytes += size_bytes
        while self._window_bytes > self._window_most:
            oldest, entry = self._window.popitem(last=False)
            self._window_bytes -= entry.size_bytes
            self._admit(oldest, entry)

    def close(self) -> None:
        """Let go of all answers."""
        for part in (self._window, self._probation, self._protected):
            part.clear()
        self._window_bytes = self._probation_bytes = self._protected_bytes = 0

    def _protect(self, key: bytes, entry: Entry) -> None:
        del self._probation[key]
        self._probation_bytes -= entry.size_bytes
        self._protected[key] = entry
        self._protected_bytes += entry.size_bytes
        while self._protected_bytes > self._protected_most:
            oldest, moved = self._protected.popitem(last=False)
            self._protected_bytes -= moved.size_bytes
            self._probation[oldest] = moved
            self._probation_bytes += moved.size_bytes

    def _admit(self, key: bytes, entry: Entry) -> None:
        """Into probation, if it is worth more than the oldest there that would have to go for it."""
        missing = self._probation_bytes + self._protected_bytes + entry.size_bytes - self._main_most
        if missing > 0:
            now_s = self._now_s()
            missing -= self._drop_expired(now_s)
        if missing > 0:
            going = self._victims(self._worth(key, entry, now_s), missing, now_s)
            if going is None:
                return
            for victim in going:
                self._probation_bytes -= self._probation.pop(victim).size_bytes
        self._probation[key] = entry
        self._probation_bytes += entry.size_bytes

    def _drop_expired(self, now_s: float) -> int:
        """Forget those unused the longest that have expired; their bytes. One that is used is dropped by `get`."""
        before = self._probation_bytes + self._protected_bytes
        for part in (self._probation, self._protected):
            while part and part[oldest := next(iter(part))].until_s <= now_s:
                self._take_out(oldest)
        return before - self._probation_bytes - self._protected_bytes

    def _victims(self, worth: float, missing: int, now_s: float) -> list[bytes] | None:
        """The oldest on probation that take `missing` bytes, None where they are worth as much as `worth`."""
        going: list[bytes] = []
        for key, entry in self._probation.items():
            worth -= self._worth(key, entry, now_s)
            going.append(key)
            missing -= entry.size_bytes
            if worth <= 0 or missing <= 0:
                break
        if worth > 0 and missing <= 0:
            return going
        if going:
            self._probation.move_to_end(going[0])  # the next one that comes is weighed against another
        return None

    def _worth(self, key: bytes, entry: Entry, now_s: float) -> float:
        return self._sketch.estimate(key) * entry.energy_j if entry.until_s > now_s else 0.0

    def _take_out(self, key: bytes) -> None:
        if (entry := self._window.pop(key, None)) is not None:
            self._window_bytes -= entry.size_bytes
        elif (entry := self._probation.pop(key, None)) is not None:
            self._probation_bytes -= entry.size_bytes
        elif (entry := self._protected.pop(key, None)) is not None:
            self._protected_bytes -= entry.size_bytes


class Sketch:
    """How often keys were asked for lately: a count-min sketch of one row that four parts of a key index.

    Keys are uniformly random, since they come from a keyed hash: no further hash is needed, and nobody who does not
    hold its secret can make two of them meet. State: the counts, changed by `count`.
    """

    def __init__(self, max_bytes: int) -> None:
        counters = max(LEAST_COUNTERS, 1 << (max_bytes // COUNTER_PER_BYTES - 1).bit_length())
        self._mask = counters - 1
        self._counts = bytearray(counters)
        self._seen = 0
        self._halve_at = max(LEAST_COUNTERS, HALVE_AFTER * max_bytes // TYPICAL_ENTRY_BYTES)

    @property
    def size_bytes(self) -> int:
        """What the counts take [bytes]."""
        return len(self._counts)

    def estimate(self, key: bytes) -> int:
        """How often a key of at least 16 bytes was counted, at most 255: never too low before the first halving."""
        first, second, third, fourth = _PARTS(key)
        counts, mask = self._counts, self._mask
        return min(counts[first & mask], counts[second & mask], counts[third & mask], counts[fourth & mask])

    def count(self, key: bytes) -> None:
        """One more use of a key."""
        first, second, third, fourth = _PARTS(key)
        counts, mask = self._counts, self._mask
        places = (first & mask, second & mask, third & mask, fourth & mask)
        one_more = min([counts[place] for place in places]) + 1
        if one_more <= MOST_COUNT:
            for place in places:
                if counts[place] < one_more:
                    counts[place] = one_more
        self._seen += 1
        if self._seen >= self._halve_at:
            self._seen //= 2
            self._counts = counts.translate(HALVED)


def _compact(answer: CachedAnswer) -> CachedAnswer:
    """The same answer with data of its own: a row of a batch's output would keep the whole batch in memory."""
    if all(array.base is None for array in answer.outputs.values()):
        return answer
    return replace(
        answer,
        outputs={name: array if array.base is None else array.copy() for name, array in answer.outputs.items()},
    )
