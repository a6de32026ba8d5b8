"""What the batcher knows of its own health: variants that fail, runs that hang, work that nobody starts. Pure in time.

State: failures by variant, when the running batches began, when waiting rows are due; changed by the batcher,
read by whoever asks for its health.
"""

from collections import deque
from dataclasses import dataclass, field

from greenserve.units import NS_PER_S

ROWS = 64
ENOUGH_ROWS = 16
BATCHES = 3
STALL_S = 1.0
HANG_S = 5.0
HANG_FACTOR = 10.0


@dataclass(slots=True)
class _Record:
    """The last rows [failed?] of a variant and its failed batches in a row; `doubt` until a trial has decided."""

    rows: deque[bool] = field(default_factory=lambda: deque(maxlen=ROWS))
    failed_batches: int = 0
    doubt: str | None = None
    sick: str | None = None


class Watch:
    """Tells unhealthy variants and a stuck batcher from a busy one."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._running: dict[int, tuple[str, int, float]] = {}
        self._due_ns: int | None = None

    @property
    def sick(self) -> dict[str, str]:
        """Variants that are not to be used, each with the reason, until a trial goes well or they are `healed`."""
        return {key: record.sick for key, record in list(self._records.items()) if record.sick is not None}

    def ran(self, key: str, *, rows: int, failed: int) -> bool:
        """A batch of a variant is done; True where it is in doubt from now on, and `tried` has to tell.

        Over half of the last rows that failed, or three whole batches in a row, raise the doubt: what callers send may
        be the cause, so that only an item that is known to run can tell.
        """
        record = self._records.setdefault(key, _Record())
        record.rows.extend([False] * (rows - failed) + [True] * failed)
        record.failed_batches = record.failed_batches + 1 if failed == rows else 0
        if record.doubt is not None or record.sick is not None:
            return False
        if record.failed_batches >= BATCHES:
            record.doubt = f"{record.failed_batches} batches in a row failed"
        elif len(record.rows) >= ENOUGH_ROWS and 2 * sum(record.rows) > len(record.rows):
            record.doubt = f"{sum(record.rows)} of the last {len(record.rows)} rows failed"
        return record.doubt is not None

    def tried(self, key: str, *, well: bool | None) -> None:
        """What came of running an item that is known to run: a variant that cannot is sick, one that can begins anew.

        None: no engine ran it, and the next batch that fails raises the doubt again.
        """
        record = self._records.get(key)
        if record is None:
            return
        if well:
            self._records.pop(key, None)  # it may have been loaded again meanwhile, on another thread
        elif well is not None and record.doubt is not None:
            record.sick = f"{record.doubt}, and so did a trial with an item that ran when it was loaded"
        record.doubt = None

    def healed(self, key: str) -> None:
        """The variant was loaded again."""
        self._records.pop(key, None)

    def launched(self, number: int, key: str, now_ns: int, high_s: float | None) -> None:
        """Batch `number` of a variant starts, with t+ [s] where it is known."""
        self._running[number] = (key, now_ns, high_s or 0.0)
        self._due_ns = None

    def returned(self, number: int) -> None:
        """Batch `number` is back."""
        self._running.pop(number, None)

    def waits(self, now_ns: int, *, until_s: float) -> None:
        """Rows wait although an engine is free, deliberately for at most `until_s` [s] from now.

        Every arrival decides anew, so the latest word counts; 0 s is no deliberate wait: the first such time stays.
        """
        if until_s > 0.0 or self._due_ns is None:
            self._due_ns = now_ns + int(until_s * NS_PER_S)
        else:
            self._due_ns = min(self._due_ns, now_ns)

    def idles(self) -> None:
        """Nothing waits."""
        self._due_ns = None

    def findings(self, now_ns: int) -> list[str]:
        """What is wrong now, a sentence each; empty = healthy."""
        found = [f"variant {key} is unhealthy: {reason}" for key, reason in self.sick.items()]
        for key, since_ns, high_s in list(self._running.values()):
            age_s = (now_ns - since_ns) / NS_PER_S
            limit_s = max(HANG_S, HANG_FACTOR * high_s)
            if age_s > limit_s:
                found.append(f"a batch of {key} has run for {age_s:.1f} s, over its limit of {limit_s:.1f} s")
        due_ns = self._due_ns
        if due_ns is not None and not self._running:
            late_s = (now_ns - due_ns) / NS_PER_S
            if late_s > STALL_S:
                found.append(f"rows have waited for {late_s:.1f} s while the engine was free")
        return found
