"""`python -m benchmarks.batching_live`: the Azure trace on the real engine, GreenBatch and `@serve.batch` in turn.

Both run in this process on one engine thread, without any server around them; the same trace is simulated with the
manifest's costs, so that the simulator can be believed or not. Energy is the power model's, from measured CPU time.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks.batching import (
    LOADS,
    MANIFEST,
    MAX_BATCH,
    MAX_QUEUED,
    NOISE,
    RESULTS,
    SEED,
    SLO_S,
    TRACE,
    VARIANT,
    a_lane,
    azure,
    capacity_per_s,
    lengths_of,
)
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.shapley import BatchCost
from greenserve.clock import SystemClock
from greenserve.errors import GreenServeError
from greenserve.host import describe_host
from greenserve.inputs import TextEncoder
from greenserve.manifest import Manifest, load_manifest
from greenserve.records import Decision, Span
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.execute import InlineExecutor
from greenserve.serve.batching.flight import Flight, Waiter
from greenserve.serve.batching.policy import Policy
from greenserve.serve.batching.queue import Ticket
from greenserve.serve.batching.regression import Regression
from greenserve.serve.batching.rivals import ServeBatch
from greenserve.serve.batching.settings import Options
from greenserve.serve.batching.simulate import Arrival, Truth, simulate_policy, simulate_rival
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.models import ServedVariant
from greenserve.serve.tasks import task_of
from greenserve.units import NS_PER_S, joules_from_uj

REQUESTS = 2_200
LOAD = LOADS[0]
PATIENCE_S = 5.0
SWITCH_INTERVAL_S = 0.0005
SIZE, TIMEOUT_S = 4, 0.005
"""`@serve.batch` at its best in the simulation of this trace at this load."""


@dataclass(slots=True)
class Live:
    """What a run measured; CPU time [ns] of the engine alone, waits from arrival to answer [s]."""

    offered: int = 0
    good: int = 0
    answered: int = 0
    refused: int = 0
    batches: int = 0
    cpu_ns: int = 0
    latencies_s: list[float] = field(default_factory=list)


def served_variant(manifest: Manifest) -> ServedVariant:
    """The variant on its engine, loaded."""
    variant, pre = manifest.variant(VARIANT), manifest.preprocessing
    assert pre is not None
    engine = engine_for(manifest, variant)
    engine.load()
    encoder = TextEncoder(
        tokenizer_file=manifest.path_of(pre.files[0]), max_length=pre.max_length, truncate=pre.truncate
    )
    profile = variant.profiles[0]
    return ServedVariant(
        key=VARIANT,
        variant=variant,
        engine=engine,
        task=task_of(manifest, encoder, max_items=1),
        input_names=tuple(spec.name for spec in manifest.inputs),
        cost=BatchCost.from_coefficients(profile.e_dynamic_j),
        profile=profile,
        max_batch=MAX_BATCH,
        example=(101,) * 16,
    )


def decision() -> Decision:
    """A decision that says nothing: no routing happens here."""
    return Decision(
        region="here",
        zone="",
        variant=VARIANT,
        reason="benchmark",
        latency_s=None,
        energy_j=None,
        emissions_g=None,
        intensity=None,
        pue_milli=1000,
        emulated=False,
    )


def flight_of(served: ServedVariant, length: int, live: Live) -> Flight:
    """A text of that many tokens, with a client that counts its answer."""
    now_ns = SystemClock().monotonic_ns()
    flight = Flight(
        served=served,
        decision=decision(),
        item=(101,) * length,
        arrived_ns=now_ns,
        deadline_ns=now_ns + 30 * NS_PER_S,
    )
    waiter = Waiter(1, lambda waiter: None)

    def answered(future: "asyncio.Future[None]") -> None:
        if future.exception() is None:
            live.answered += 1
            live.latencies_s.append((SystemClock().monotonic_ns() - now_ns) / NS_PER_S)
            live.good += live.latencies_s[-1] <= SLO_S

    waiter.future.add_done_callback(answered)
    flight.join(waiter, 0, deadline_ns=flight.deadline_ns)
    return flight


async def replay(arrivals: Sequence[Arrival], send: Callable[[int], None]) -> None:
    """Call `send` with each row's length when it is due."""
    loop, start_s = asyncio.get_running_loop(), asyncio.get_running_loop().time() + 0.2
    for arrival in arrivals:
        loop.call_at(start_s + (arrival.at_ns - arrivals[0].at_ns) / NS_PER_S, send, arrival.length)
    await asyncio.sleep((arrivals[-1].at_ns - arrivals[0].at_ns) / NS_PER_S + PATIENCE_S)


async def ours(served: ServedVariant, arrivals: Sequence[Arrival], manifest: Manifest) -> Live:
    """The batcher as the gateway uses it."""
    live = Live(offered=len(arrivals))

    def seen(key: str, span: Span, predicted_s: float | None) -> None:
        live.batches += 1
        live.cpu_ns += span.cpu_ns

    lane = a_lane(manifest, served.profile or manifest.variant(VARIANT).profiles[0]).settings
    batcher = Batcher(
        clock=SystemClock(),
        buckets=lane.buckets,
        max_batch={},
        max_queued=MAX_QUEUED,
        share_milli=500,
        options=Options(lanes={VARIANT: lane}, power=host_power(), on_span=seen),
    )
    batcher.start()

    def send(length: int) -> None:
        try:
            batcher.submit([flight_of(served, length, live)])
        except GreenServeError:
            live.refused += 1

    await replay(arrivals, send)
    await batcher.close()
    return live


async def theirs(served: ServedVariant, arrivals: Sequence[Arrival]) -> Live:
    """`@serve.batch`'s rule on the same engine thread."""
    live, clock, executor = Live(offered=len(arrivals)), SystemClock(), InlineExecutor()
    rival = ServeBatch(size=SIZE, timeout_s=TIMEOUT_S, max_queued=MAX_QUEUED)
    work = asyncio.Event()

    def send(length: int) -> None:
        flight = flight_of(served, length, live)
        ticket = Ticket(row=flight, length=length, arrival_ns=flight.arrived_ns, deadline_ns=flight.deadline_ns)
        live.refused += not rival.arrive(ticket, clock.monotonic_ns())
        work.set()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        while True:
            work.clear()
            step = rival.cut(clock.monotonic_ns())
            if not step.tickets:
                timer = None
                if step.at_ns is not None:
                    timer = loop.call_later(max(0.0, (step.at_ns - clock.monotonic_ns()) / NS_PER_S), work.set)
                await work.wait()
                if timer is not None:
                    timer.cancel()
                continue
            flights = [ticket.row for ticket in step.tickets if isinstance(ticket.row, Flight)]
            for ran in await executor.start(flights):
                assert ran.outputs is not None
                assert ran.span is not None
                live.batches += 1
                live.cpu_ns += ran.span.cpu_ns
                for place, flight in enumerate(ran.flights):
                    own = {name: array[place : place + 1] for name, array in ran.outputs.items()}
                    flight.land(own, ran.span, cpu_ns=0, held_ns=0)

    serving = asyncio.create_task(serve())
    await replay(arrivals, send)
    serving.cancel()
    executor.close()
    return live


def figures(live: Live) -> dict[str, Any]:
    """Shares and means of a run."""
    joules = joules_from_uj(host_power().active_uj(live.cpu_ns))
    shown = {key: value for key, value in asdict(live).items() if key != "latencies_s"}
    return shown | {
        "good_share": live.good / live.offered,
        "mj_per_answer": 1e3 * joules / live.answered if live.answered else None,
        "rows_per_batch": live.answered / live.batches if live.batches else None,
        "p50_ms": 1e3 * float(np.median(live.latencies_s)) if live.latencies_s else None,
    }


def main() -> None:
    """Replay and simulate, print and write."""
    if not MANIFEST.is_file() or not TRACE.is_file():
        sys.exit(f"needs {MANIFEST} (`greenserve optimize demo:minilm`) and {TRACE}")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    manifest = load_manifest(MANIFEST)
    served = served_variant(manifest)
    profile = manifest.variant(VARIANT).profiles[0]
    random = np.random.default_rng(SEED)
    probe = lengths_of(random, 2_000, 256)
    rate = LOAD * capacity_per_s(a_lane(manifest, profile), probe)
    times_s = azure(random, rate)[:REQUESTS]
    lengths = lengths_of(random, len(times_s), 256)
    arrivals = [Arrival(NS_PER_S + int(at * NS_PER_S), length) for at, length in zip(times_s, lengths, strict=True)]
    truth = Truth(
        seconds=Regression(profile.t_s),
        joules=Regression(profile.e_dynamic_j),
        noise=np.exp(random.normal(0.0, NOISE, 4_096)).tolist(),
    )
    policy = Policy([a_lane(manifest, profile)], max_queued=MAX_QUEUED)
    simulated = {
        "greenbatch": simulate_policy(policy, VARIANT, arrivals, truth, slo_s=SLO_S, patience="balanced"),
        "serve_batch": simulate_rival(
            ServeBatch(size=SIZE, timeout_s=TIMEOUT_S, max_queued=MAX_QUEUED), arrivals, truth, slo_s=SLO_S
        ),
    }
    live = {
        "greenbatch": asyncio.run(ours(served, arrivals, manifest)),
        "serve_batch": asyncio.run(theirs(served, arrivals)),
    }
    document: dict[str, Any] = {
        "schema": "greenserve.bench-batching-live/1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_host(),
        "threads": threading.active_count(),
        "energy": {"part": "dynamic", "source": host_power().source, "tier": host_power().tier},
        "live": {name: figures(run) for name, run in live.items()},
        "simulated": {
            name: {
                "good_share": outcome.good / outcome.offered,
                "mj_per_answer": None if outcome.j_per_answer is None else 1e3 * outcome.j_per_answer,
                "rows_per_batch": outcome.rows_per_batch,
            }
            for name, outcome in simulated.items()
        },
    }
    for kind in ("live", "simulated"):
        for name, run in document[kind].items():
            print(
                f"{kind:<10} {name:<12} "
                + "  ".join(f"{key} {value if value is None else format(value, '.4g')}" for key, value in run.items())
            )
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"batching-live-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
