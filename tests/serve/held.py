"""What the batcher's tests share: variants with declared costs, engines that fail on demand, requests in a row."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from greenserve.carbon.meters.cpu_time import host_power
from greenserve.clock import ManualClock, SystemClock
from greenserve.manifest import Profile
from greenserve.records import Batch, Span
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.execute import Ran, execute
from greenserve.serve.batching.flight import Flight
from greenserve.serve.batching.lane import LaneSettings
from greenserve.serve.batching.settings import Options
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.models import ServedVariant
from tests.serve.building import Asked, HeldEngines, until

BUCKETS = (4, 8, 16, 32, 64)


def lengths(engines: HeldEngines) -> list[int]:
    """Rows of the batches so far."""
    return [len(batch.rows) for batch in engines.batches]


def submitted(batcher: Batcher, *everybody: Asked) -> tuple[Asked, ...]:
    """Each as a request of its own."""
    for asked in everybody:
        batcher.submit([asked.flight])
    return everybody


async def occupied(batcher: Batcher, engines: HeldEngines, served: ServedVariant) -> Asked:
    """A request that holds the engine until it is released."""
    engines.hold()
    (first,) = submitted(batcher, Asked(served, (1,)))
    await until(lambda: len(engines.batches) == 1)
    return first


def with_costs(served: ServedVariant, *, fixed_s: float, row_s: float = 1e-4, max_batch: int = 8) -> ServedVariant:
    """The variant with a profile: a launch of `fixed_s` [s] and 1 J, `row_s` [s] and 0.01 J per row."""
    profile = Profile(
        fingerprint="a test",
        tier="simulated",
        t_s=(fixed_s, row_s, 0.0, 0.0),
        e_dynamic_j=(1.0, 0.01, 0.0, 0.0),
        q99=1.1,
        idle_w=None,
        held_w=None,
    )
    return replace(served, profile=profile, max_batch=max_batch)


def tuned(
    served: ServedVariant, clock: ManualClock | SystemClock, *, retry_s: float = 30.0, **settings: Any
) -> Batcher:
    """A batcher with one lane of these settings; it is not started."""
    whole: dict[str, Any] = {"buckets": BUCKETS, "max_batch": served.max_batch, "slo_s": None}
    lane = LaneSettings(**(whole | settings))
    return Batcher(
        clock=clock,
        buckets=BUCKETS,
        max_batch={},
        max_queued=64,
        share_milli=500,
        options=Options(lanes={served.key: lane}, power=host_power(), retry_s=retry_s),
    )


class NanEngine:
    """An echo engine whose logits are not a number for rows that hold the token `bad`; it counts its runs."""

    def __init__(self, *, bad: int, raises: frozenset[int] = frozenset()) -> None:
        self._echo = EchoEngine(variant="fp32")
        self._bad = bad
        self._raises = raises
        self.runs: list[tuple[object, ...]] = []

    def load(self) -> None:
        """Nothing to read."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """As the echo engine; raises for tokens in `raises`."""
        self.runs.append(batch.rows)
        tokens = {row[0] for row in batch.rows if isinstance(row, tuple)}
        if self._raises & tokens:
            raise RuntimeError("told to")
        outputs, span = self._echo.run(batch)
        for place, row in enumerate(batch.rows):
            if isinstance(row, tuple) and self._bad in row:
                outputs["logits"][place] = np.nan
        return outputs, span

    def describe(self) -> Mapping[str, object]:
        """Kind."""
        return {"kind": "nan"}


class Elsewhere:
    """An executor with two slots whose batches return when the test says so."""

    slots = 2

    def __init__(self) -> None:
        self.out: list[tuple[Sequence[Flight], asyncio.Future[list[Ran]]]] = []

    def start(self, flights: Sequence[Flight]) -> "asyncio.Future[list[Ran]]":
        """Out until `back`."""
        self.out.append((flights, asyncio.get_running_loop().create_future()))
        return self.out[-1][1]

    def back(self) -> None:
        """The oldest batch returns."""
        flights, future = self.out.pop(0)
        future.set_result(execute(flights))

    def close(self) -> None:
        """Nothing is left behind."""
        assert not self.out
