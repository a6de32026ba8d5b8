"""How often rows arrive, by length bucket: exponentially weighted over a second."""

from math import exp, log

from greenserve.units import NS_PER_S

MEMORY_S = 1.0
SHORT_S = 0.01
GAP_QUANTILE, GAP_STEP, SILENT_GAPS = 0.25, 0.1, 10.0
SHORTEST_LOG_GAP, LONGEST_LOG_GAP = log(1e3), log(1e10)
BELIEVED = 1.0
"""So many arrivals are believed to be possible in a time in which none came (that has a chance of 1 in 3)."""
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


class Gaps:
    """When it has been silent for so long that nobody else is coming.

    Clients that send again when they are answered come in bursts: once all of them wait, none can join, whatever the
    mean rate says. So silence is judged by the short gaps, the 25 % quantile, learned step by step; of a Poisson
    stream's gaps one in twenty is longer than ten of these.

    State: the quantile [ns] and the last arrival; a guess of a millisecond before anything was seen.
    """

    __slots__ = ("_last_ns", "_log_gap")

    def __init__(self) -> None:
        self._log_gap = log(1e6)
        self._last_ns: int | None = None

    def note(self, now_ns: int) -> None:
        """A row arrives."""
        if self._last_ns is not None:
            shorter = now_ns - self._last_ns < exp(self._log_gap)
            self._log_gap += GAP_STEP * (GAP_QUANTILE - shorter)
            self._log_gap = min(LONGEST_LOG_GAP, max(SHORTEST_LOG_GAP, self._log_gap))
        self._last_ns = now_ns

    @property
    def silent_from_ns(self) -> int:
        """From when on nobody is expected any more [ns], unless a row arrives before."""
        return (self._last_ns or 0) + int(SILENT_GAPS * exp(self._log_gap))


class Company:
    """How often a request arrives while others are there: the rate at which somebody who waits gets company.

    A client that sends its next request when the last one is answered never joins anybody, however fast it is; over all
    time it would look like a stream. What was learned of a crowd is given up as soon as it is contradicted: after `t`
    seconds without company the rate is at most `BELIEVED / t`. Those seconds are the ones in which somebody waited or
    ran since company last came, or the silence before whoever is there now, if it was longer.

    State: decayed arrivals and time [s] while busy, both sorts of time without company [s], whether it is busy now.
    """

    __slots__ = ("_alone_s", "_arrivals", "_busy", "_silent_s", "_since_ns", "_time_s")

    def __init__(self) -> None:
        self._arrivals = 0.0
        self._time_s = 0.0
        self._alone_s = 0.0
        self._silent_s = 0.0
        self._busy = False
        self._since_ns = 0

    def arrived(self, now_ns: int) -> None:
        """A request arrives, and is there from now on; its own rows are no company for each other."""
        if self._busy:
            self._advance(now_ns)
            self._arrivals += 1.0
            self._alone_s = self._silent_s = 0.0
            return
        self._busy = True
        self._silent_s = (now_ns - self._since_ns) / NS_PER_S
        self._since_ns = now_ns

    def emptied(self, now_ns: int) -> None:
        """Nothing runs or waits any more."""
        if self._busy:
            self._advance(now_ns)
            self._busy = False

    def per_s(self, now_ns: int) -> float:
        """Arrivals per second [1/s] of the time that others are there; 0 before that was ever seen for long."""
        self._advance(now_ns)
        learned = self._arrivals / (self._time_s + SHORT_S)
        without_s = max(self._alone_s, self._silent_s)
        return learned if learned * without_s <= BELIEVED else BELIEVED / without_s

    def _advance(self, now_ns: int) -> None:
        """Count the time since the last call, if somebody was there."""
        if not self._busy:
            return
        spent_s = (now_ns - self._since_ns) / NS_PER_S
        if spent_s > 0.0:
            fading = exp(-spent_s / MEMORY_S)
            self._arrivals *= fading
            self._time_s = self._time_s * fading + MEMORY_S * (1.0 - fading)
            self._alone_s += spent_s
        self._since_ns = now_ns
