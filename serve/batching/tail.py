"""What encoding, recording and sending take after a batch: kept free before objectives and deadlines."""

from collections import deque

WINDOW = 256
EVERY = 32
SHARE = 0.99
FIRST_NS = 2_000_000
LEAST_NS, MOST_NS = 1_000_000, 20_000_000


class Tail:
    """A rolling 99th percentile [ns] of the last 256 requests, within 1 and 20 ms. State: their times."""

    def __init__(self) -> None:
        self.ns = FIRST_NS
        self._seen: deque[int] = deque(maxlen=WINDOW)
        self._fresh = 0

    def __repr__(self) -> str:
        return f"<Tail {self.ns / 1e6:.1f} ms>"

    def note(self, took_ns: int) -> int:
        """A request left `took_ns` [ns] after its run; the percentile now, which is looked up every 32 requests."""
        self._seen.append(took_ns)
        self._fresh += 1
        if self._fresh >= EVERY:
            self._fresh = 0
            ordered = sorted(self._seen)
            self.ns = min(MOST_NS, max(LEAST_NS, ordered[int(SHARE * (len(ordered) - 1))]))
        return self.ns
