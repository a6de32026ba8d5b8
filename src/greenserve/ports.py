"""The seams: what GreenServe needs from meters, feeds, engines, the ledger, the cache and other regions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from greenserve.record import record
from greenserve.records import Batch, Decision, Entry, InferenceRequest, IntensityReading, Reading, Span

Arrays = Mapping[str, npt.NDArray[np.generic]]


class Clock(Protocol):
    """Monotonic time for durations, civil time for records."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps, common to all processes of a node."""

    def unix_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""


class EnergyMeter(Protocol):
    """One device's cumulative energy."""

    def read(self) -> Reading:
        """The counter now; raises MeterUnavailable instead of returning a zero that was not measured."""

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%] and parameters, as they appear on entries and statements."""


class IntensityFeed(Protocol):
    """Grid intensity by zone and time."""

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The reading that holds at `at_us` [us since 1970 UTC], or None where this feed knows none."""

    def zones(self) -> frozenset[str]:
        """The zones that this feed covers."""


@record(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """How a provider publishes: who it is, what can be asked of it, and how often that is worth while.

    `signals` are asked apart, each with its own level in the fallback chain; `forecasts` are those with a forecast.
    `slot_us` [us] is the usual length of a value; `recent_us` how far back a poll looks, late publication included;
    `history_us` the longest time that one call may cover; `spacing_s` [s] the least time between two calls.
    """

    provider: str
    signals: tuple[str, ...]
    forecasts: tuple[str, ...]
    slot_us: int
    recent_us: int
    history_us: int
    spacing_s: float = 0.25


class GridSource(Protocol):
    """A provider of grid intensity on the network: asked in the background, never while a request waits."""

    def about(self) -> SourceFacts:
        """How it publishes."""

    async def read(self, *, zone: str, signal: str, start_us: int, end_us: int) -> Sequence[IntensityReading]:
        """What is published for [start_us, end_us) UTC; missing values are left out. Raises GridUnavailable."""

    async def forecast(self, *, zone: str, signal: str) -> Sequence[IntensityReading]:
        """What is expected from now on; empty where there is no forecast. Raises GridUnavailable."""

    def zones(self) -> frozenset[str]:
        """The zones that can be asked for."""


class Engine(Protocol):
    """Runs batches of one variant; blocking, called from one executor thread."""

    def load(self) -> None:
        """Read the files and be ready to run; raises ManifestInvalid where they do not fit."""

    def run(self, batch: Batch) -> tuple[Arrays, Span]:
        """Outputs by name, one row each for the rows of the batch in their order, and the span that they took."""

    def describe(self) -> Mapping[str, object]:
        """Kind, provider, threads, device: what the entry and `status` say."""


class Ledger(Protocol):
    """Append-only entries behind one writer."""

    def append(self, entries: Sequence[Entry]) -> int:
        """Add what is new, in one durable transaction; the number added. The same key with another body raises."""

    def entries(self, *, after: int = -1, tenant: str | None = None) -> Iterable[tuple[int, Entry]]:
        """(index, entry) in order of index, from the one after `after`, of one tenant or of all."""

    def verify(self) -> Sequence[str]:
        """Findings, empty when everything re-derives: each names the first bad index."""


@record(frozen=True, slots=True, kw_only=True)
class CachedAnswer:
    """A stored answer to one item: its outputs [1, ...] by name, the decision that made them, the variant's digest."""

    outputs: Arrays
    decision: Decision
    variant_digest: str

    @property
    def size_bytes(self) -> int:
        """What the outputs take [bytes]."""
        return sum(array.nbytes for array in self.outputs.values())


class ResponseCache(Protocol):
    """Answers by digest of their question."""

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None."""

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer for as long as size and age allow."""

    def close(self) -> None:
        """Let go of what the store holds."""


class RegionClient(Protocol):
    """Another region's gateway."""

    async def forward(self, request: InferenceRequest, decision: Decision) -> tuple[Arrays, Mapping[str, object]]:
        """The outputs and the reported usage of a request run in that region."""
