"""How often rows arrive, by length bucket: exponentially weighted over a second."""

from math import exp

from greenserve.units import NS_PER_S

MEMORY_S = 1.0
GONE = 30.0
"""So many memories after the last arrival the rate is nothing."""


class ArrivalRates:
    """Rates by bucket. State: per bucket the decayed count [1/s] and the time [ns] that it was decayed to."""

    __slots__ = ("_at_ns", "_counts")

    def __init__(self, buckets: int) -> None:
        self._counts = [0.0] * buckets
        self._at_ns = [0] * buckets

    def note(self, bucket: int, now_ns: int, rows: int = 1) -> None:
        """So many rows arrive now."""
        self._counts[bucket] = self.of(bucket, now_ns) + rows / MEMORY_S
        self._at_ns[bucket] = now_ns

    def of(self, bucket: int, now_ns: int) -> float:
        """The rate of a bucket now [1/s]."""
        count = self._counts[bucket]
        if count == 0.0:
            return 0.0
        age = (now_ns - self._at_ns[bucket]) / (MEMORY_S * NS_PER_S)
        if age > GONE:
            self._counts[bucket] = 0.0
            return 0.0
        return count * exp(-age) if age > 0.0 else count

    def between(self, first: int, last: int, now_ns: int) -> float:
        """The rate of the buckets `first`..`last` together, both included [1/s]."""
        return sum(self.of(bucket, now_ns) for bucket in range(first, last + 1))
