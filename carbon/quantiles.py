"""Quantiles of energy per request from a histogram that adds: the same from single requests and from hourly sums."""

from collections import Counter
from collections.abc import Mapping

EXACT_BELOW = 16


class Histogram:
    """Counts of values >= 0 [uJ] by bit length and the next 4 bits: a bucket is at most 6.25 % wide.

    State: the counts, changed by `add` and `merge` alone.
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = Counter(counts or {})

    def __repr__(self) -> str:
        return f"<Histogram of {self._counts.total()} values>"

    def add(self, value: int) -> None:
        """Count one value."""
        self._counts[bucket_of(value)] += 1

    def merge(self, other: "Histogram") -> None:
        """Count all values of another histogram."""
        self._counts.update(other.counts())

    def counts(self) -> dict[int, int]:
        """How many values by bucket."""
        return dict(self._counts)

    def percentile(self, percent: int) -> int | None:
        """The largest value of the bucket that holds the nearest-rank percentile; None without values."""
        if not 0 < percent <= 100:
            raise ValueError(f"a percentile lies above 0 and up to 100, got {percent}")
        total = self._counts.total()
        if not total:
            return None
        rank, seen = -(-total * percent // 100), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return largest_of(bucket)
        raise AssertionError("the counts of a histogram sum to its total")


def bucket_of(value: int) -> int:
    """The bucket of a value: below 16 the value itself, above by bit length and the 4 bits after the first."""
    if value < 0:
        raise ValueError(f"a histogram counts values >= 0, got {value}")
    if value < EXACT_BELOW:
        return value
    shift = value.bit_length() - 5
    return (shift + 1) * EXACT_BELOW + ((value >> shift) & (EXACT_BELOW - 1))


def largest_of(bucket: int) -> int:
    """The largest value that a bucket holds."""
    if bucket < EXACT_BELOW:
        return bucket
    shift = bucket // EXACT_BELOW - 1
    return ((EXACT_BELOW + bucket % EXACT_BELOW + 1) << shift) - 1
