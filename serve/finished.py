"""A request that is about to be answered, what it took of the engine, and what the ledger then holds of it."""

from collections.abc import Sequence

from greenserve.carbon.entries import CacheResult, Outcome
from greenserve.carbon.shares import SpanShare
from greenserve.ports import Arrays
from greenserve.record import record
from greenserve.records import Admitted, Decision, IntensityReading, Usage
from greenserve.serve.batching.flight import Landed


@record(frozen=True, slots=True, kw_only=True)
class Run:
    """What a request took of the engine: monotonic times [ns] from its first span's start to its last one's end.

    `cpu_ns` and `held_ns` are its own part; `batch_id` and `batch_rows` are those of its first span. `spans` are its
    parts of batches on boards, `host_cpu_ns` is the CPU time of the engine's thread beside these.
    """

    batch_id: str
    batch_rows: int
    start_ns: int
    end_ns: int
    cpu_ns: int
    held_ns: int
    host_cpu_ns: int = 0
    spans: tuple[SpanShare, ...] = ()


def run_of(landed: Sequence[Landed]) -> Run | None:
    """The run of a request's items; None where all came from the cache."""
    spans = [each.span for each in landed if each.span is not None]
    if not spans:
        return None
    return Run(
        batch_id=spans[0].batch_id,
        batch_rows=len(spans[0].lengths),
        start_ns=min(span.start_ns for span in spans),
        end_ns=max(span.end_ns for span in spans),
        cpu_ns=sum(each.cpu_ns for each in landed if each.share is None),
        held_ns=sum(each.held_ns for each in landed),
        host_cpu_ns=sum(each.cpu_ns for each in landed if each.share is not None),
        spans=tuple(each.share for each in landed if each.share is not None),
    )


@record(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request that is about to be answered, whose client left, or that failed after something ran for it.

    `outputs` are [items, ...] by name; `run` is None where nothing ran for it. `began_ns` (monotonic) is when a request
    that was held began; any other begins when it is received.
    """

    admitted: Admitted
    decision: Decision
    variant_digest: str
    outputs: Arrays
    run: Run | None
    cache: CacheResult
    outcome: Outcome
    began_ns: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the ledger now holds of a request: its provisional usage, and its emissions [ng] where known.

    `met` is what its run met of the grid, where that is another reading than its decision was made by: over several
    slots the mean by its energy in each.
    """

    usage: Usage
    emissions_ng: int | None
    met: IntensityReading | None = None
