"""How often rows arrive, by length bucket: exponentially weighted over a second."""

from math import exp

from greenserve.units import NS_PER_S

MEMORY_S = 1.0
SHORT_S = 0.01
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


class Company:
    """How often a row arrives while others are there: the rate at which somebody who waits gets company.

    A client that sends its next request when the last one is answered never joins anybody, however fast it is; over all
    time it would look like a stream. State: decayed arrivals and time [s] while busy, and whether it is busy now.
    """

    __slots__ = ("_arrivals", "_busy", "_since_ns", "_time_s")

    def __init__(self) -> None:
        self._arrivals = 0.0
        self._time_s = 0.0
        self._busy = False
        self._since_ns = 0

    def arrived(self, now_ns: int) -> None:
        """A row arrives, and is there from now on."""
        self._advance(now_ns)
        if self._busy:
            self._arrivals += 1.0
        self._busy = True

    def emptied(self, now_ns: int) -> None:
        """Nothing runs or waits any more."""
        self._advance(now_ns)
        self._busy = False

    def per_s(self, now_ns: int) -> float:
        """Arrivals per second [1/s] of the time that others are there; 0 before that was ever seen for long."""
        self._advance(now_ns)
        return self._arrivals / (self._time_s + SHORT_S)

    def _advance(self, now_ns: int) -> None:
        spent_s = (now_ns - self._since_ns) / NS_PER_S
        if self._busy and spent_s > 0.0:
            fading = exp(-spent_s / MEMORY_S)
            self._arrivals *= fading
            self._time_s = self._time_s * fading + MEMORY_S * (1.0 - fading)
        self._since_ns = now_ns
