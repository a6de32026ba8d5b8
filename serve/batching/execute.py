"""Running a batch: on the engine's thread here, or wherever another executor sends it. Never raises.

Where the engine raises, halves run again until the culprit stands alone, within a bound of runs; a row whose output is
not finite fails alone.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from greenserve.errors import GreenServeError
from greenserve.ids import new_request_id
from greenserve.ports import Arrays
from greenserve.record import record
from greenserve.records import Batch, Item, Span, TensorItem
from greenserve.serve.batching.flight import Flight
from greenserve.serve.call_thread import CallThread
from greenserve.serve.frames import Outcome
from greenserve.serve.models import ServedVariant
from greenserve.serve.niceness import give_way
from greenserve.serve.tasks import Tensors

NOT_FINITE = "an output is not a finite number"


@record(frozen=True, slots=True, kw_only=True)
class Ran:
    """Flights that went through the engine together, or the error that they met; `bad` are places that failed alone.

    `retry` says that an earlier run of these flights had failed. `refused` is set where no engine ran them, and is no
    fault of theirs or of the variant.
    """

    flights: Sequence[Flight]
    outputs: Arrays | None
    span: Span | None
    error: str | None = None
    bad: frozenset[int] = frozenset()
    retry: bool = False
    refused: GreenServeError | None = None


class Executor(Protocol):
    """Where batches run. `slots` is how many may be out at once, the one that waits for the engine included."""

    slots: int

    def start(self, flights: Sequence[Flight]) -> "asyncio.Future[list[Ran]]":
        """Run these flights of one variant; the future never holds an exception."""

    def close(self) -> None:
        """Nothing comes any more; all futures are done."""


class InlineExecutor:
    """One thread of this process, so that the event loop goes on."""

    slots = 1

    def __init__(self) -> None:
        self._thread = CallThread("engine", begin=give_way)

    def start(self, flights: Sequence[Flight]) -> "asyncio.Future[list[Ran]]":
        """Run on the thread."""
        return self._thread.submit(execute, flights)

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.close()


def execute(flights: Sequence[Flight]) -> list[Ran]:
    """Run the flights of one variant, those of one shape together; blocks, never raises."""
    done: list[Ran] = []
    for group in alike(flights):
        done += [ran_of(group, each) for each in run_rows(group[0].served, [flight.item for flight in group])]
    return done


def alike(flights: Sequence[Flight]) -> list[list[Flight]]:
    """The flights that can run together: of one artefact (two while a variant is replaced), of one shape."""
    groups: dict[object, list[Flight]] = {}
    for flight in flights:
        shapes = flight.item.shapes if isinstance(flight.item, TensorItem) else None
        groups.setdefault((id(flight.served), shapes), []).append(flight)
    return list(groups.values())


def ran_of(flights: Sequence[Flight], outcome: Outcome) -> Ran:
    """What a run means for the flights at its places."""
    return Ran(
        flights=[flights[place] for place in outcome.places],
        outputs=outcome.outputs,
        span=outcome.span,
        error=outcome.error,
        bad=outcome.bad,
        retry=outcome.retry,
    )


def run_rows(served: ServedVariant, rows: Sequence[Item]) -> list[Outcome]:
    """Rows of one shape in one run, or, where it fails, in at most 2 ceil(log2 b) + 1 more; blocks, never raises."""
    everything = tuple(range(len(rows)))
    whole = _run(served, rows, everything, retry=False)
    if whole.error is None or len(rows) == 1:
        return [whole]
    budget = 2 * (len(rows) - 1).bit_length() + 1
    done: list[Outcome] = []
    todo: list[tuple[tuple[int, ...], bool]] = [(everything, True)]
    while todo:
        group, failed = todo.pop()
        if failed and len(group) > 1:
            middle = len(group) // 2
            todo += [(group[middle:], False), (group[:middle], False)]
            continue
        if not budget:
            done.append(Outcome(places=group, outputs=None, span=None, error=whole.error, retry=True))
            continue
        budget -= 1
        outcome = _run(served, rows, group, retry=True)
        if outcome.error is not None and len(group) > 1:
            todo.append((group, True))
        else:
            done.append(outcome)
    return done


def _run(served: ServedVariant, rows: Sequence[Item], places: tuple[int, ...], *, retry: bool) -> Outcome:
    together = tuple([rows[place] for place in places])
    batch = Batch(
        batch_id=new_request_id(),
        variant=served.variant.name,
        rows=together,
        padded_length=max(map(len, together)),
        input_names=served.input_names,
    )
    try:
        raw, span = served.engine.run(batch)
        outputs = served.task.finish(raw)
        short = {name: len(array) for name, array in outputs.items() if len(array) != len(places)}
        if short:
            raise ValueError(f"the engine answered {short} rows for {len(places)}")
        bad = frozenset() if isinstance(served.task, Tensors) else _not_finite(outputs)
        return Outcome(places=places, outputs=outputs, span=span, bad=bad, retry=retry)
    except Exception as error:  # an engine may raise anything; the request that caused it gets the message
        return Outcome(places=places, outputs=None, span=None, error=type(error).__name__, retry=retry)


def _not_finite(outputs: Arrays) -> frozenset[int]:
    """Places of rows with a number that is not finite; tensors of a user's own model may hold such on purpose."""
    bad: set[int] = set()
    for array in outputs.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
            bad.update(np.flatnonzero(~rows).tolist())
    return frozenset(bad)
