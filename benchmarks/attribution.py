"""Energy per batch on a simulated device whose truth is known, by the ledger's own code and by simpler methods.

    python -m benchmarks.attribution [--seeds fresh] [--case TEXT]

Prints each figure beside its bar and writes benchmarks/results/attribution-<time>.json. Everything is seeded; the
method was tuned while the tuned seeds were looked at, so `--seeds fresh` judges the cases with bars by twenty others.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson

from benchmarks.metered_device import Device, Ran, counter_readings, run_device
from greenserve.carbon.attribution import Sensor, WorkSpan
from greenserve.carbon.members import Member
from greenserve.carbon.published import BoardPower, PublishedPowers, estimates_of
from greenserve.carbon.settlement import Pending, Settler
from greenserve.carbon.shapley import BatchCost, shapley_weights, split_batch
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.carbon.span_settlement import DeviceSpan, SpanSettler
from greenserve.carbon.theta import FORGETTING, PARTIAL_FORGETTING, ClassPower, Learner, Theta
from greenserve.host import describe_host
from greenserve.records import Interval

RESULTS = Path("benchmarks/results")
MS, SECOND = 1_000_000, 1_000_000_000
GRACE_NS = 5 * SECOND
TUNED, FRESH = (1, 2, 3, 4, 5), tuple(range(3_001, 3_021))
"""Seeds that were looked at while the method was made, and seeds that nobody had looked at before."""
PRIOR = ClassPower(busy_mw=100_000, work_mw=100_000)
BATCH, REQUESTS = 32, 20_000


WHOLE = Sensor()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A device under a load, a sensor as it is (`seen`) and as the settler believes it to be, and the bars [%]."""

    name: str
    load: float
    seen: float = 1.0
    believed: Sensor = WHOLE
    clock_error_ns: int = 0
    period_ns: int = 100 * MS
    simulated_s: int = 600
    warm_s: int = 120
    bars: tuple[float, float] | None = None


CASES = (
    Case(name="100 ms counter, load 60 %", load=0.60, simulated_s=1_800, warm_s=300, bars=(3.5, 0.7)),
    Case(name="100 ms counter, load 95 %", load=0.95, simulated_s=1_800, warm_s=300, bars=(3.5, 0.7)),
    Case(name="the first ten minutes of a model, load 60 %", load=0.60, warm_s=0),
    Case(name="20 ms counter, load 60 %", load=0.60, period_ns=20 * MS),
    Case(name="100 ms counter, load 60 %, clocks 5 ms apart", load=0.60, clock_error_ns=5 * MS),
    Case(name="100 ms counter, load 60 %, clocks 10 ms apart", load=0.60, clock_error_ns=10 * MS),
    *(
        Case(
            name=f"sensor sees 25 %, known, load {load:.0%}",
            load=load,
            seen=0.25,
            believed=Sensor(observed_milli=250),
            simulated_s=1_800,
            warm_s=600,
            bars=(8.0, 2.0),
        )
        for load in (0.60, 0.95)
    ),
    Case(name="sensor sees 25 %, taken for whole, load 60 %", load=0.60, seen=0.25),
)


def main() -> None:
    """Simulate, time, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution")
    parser.add_argument("--seeds", choices=("tuned", "fresh"), default="tuned", help="fresh: cases with bars alone")
    parser.add_argument("--case", default="", help="only cases whose name holds this text, and no timings")
    given = parser.parse_args()
    fresh, started = given.seeds == "fresh", datetime.now(UTC)
    cases = [case for case in CASES if given.case in case.name and (case.bars or not fresh)]
    if not cases:
        parser.error(f"no case holds {given.case!r}; there are: {'; '.join(case.name for case in CASES)}")
    seeds = FRESH if fresh else TUNED
    document = {
        "schema": "greenserve.attribution/1",
        "at": started.isoformat(timespec="seconds"),
        "machine": describe_host(),
        "seeds": seeds,
        "errors": [figures(case, seeds) for case in cases],
        "timings": None if fresh or given.case else timings(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    named = f"-{given.seeds}" if fresh else ""
    file = RESULTS / f"attribution{named}-{started:%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"wrote {file}")


def figures(case: Case, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean error per batch and worst class bias [%] of each method: the mean over the seeds, and the worst seed."""
    per_seed = [simulate(case, seed) for seed in seeds]
    methods: dict[str, Any] = {}
    for name in per_seed[0]:
        per_batch = [one[name][0] for one in per_seed]
        bias = [one[name][1] for one in per_seed]
        methods[name] = {
            "per_batch_pct": round(statistics.mean(per_batch), 3),
            "per_batch_worst_seed_pct": round(max(per_batch), 3),
            "class_bias_pct": round(statistics.mean(bias), 3),
            "class_bias_worst_seed_pct": round(max(bias), 3),
            "class_bias_each_seed_pct": [round(one, 3) for one in bias],
        }
    print(case.name)
    for name, one in methods.items():
        bars = case.bars if name == "settled" else None
        print(
            f"  {name:<24} per batch {one['per_batch_pct']:7.2f} % (worst seed {one['per_batch_worst_seed_pct']:.2f}"
            f"{f'; bar {bars[0]}' if bars else ''})   class bias {one['class_bias_pct']:6.2f} %"
            f" (worst seed {one['class_bias_worst_seed_pct']:.2f}{f'; bar {bars[1]}' if bars else ''})",
            flush=True,
        )
    return {"case": case.name, "bars_pct": case.bars, "methods": methods}


def simulate(case: Case, seed: int) -> dict[str, tuple[float, float]]:
    """(mean error per batch, worst class bias) [%] of each method; for fresh seeds of our own alone."""
    random = Random(seed)
    device = Device()
    batches = run_device(device, random, load=case.load, duration_ns=case.simulated_s * SECOND)
    readings = counter_readings(device, batches, random, period_ns=case.period_ns, seen=case.seen)
    settled, told, averaged = settle(case, batches, readings)
    late_ns, end_ns = case.warm_s * SECOND, readings[-1][0] - SECOND
    judged = [one for one in batches if one.start_ns >= late_ns and one.end_ns <= end_ns]
    own = {
        "settled": errors_of(judged, settled),
        "provisional, published": errors_of(judged, told),
        "provisional, average": errors_of(judged, averaged),
    }
    if seed in FRESH:
        return own
    return own | {
        "split by time": errors_of(judged, by_time(judged, device, readings)),
        "counter at batch edges": errors_of(judged, at_edges(judged, device, readings)),
    }


def settle(
    case: Case, batches: Sequence[Ran], readings: Sequence[tuple[int, int, int]]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Energy of each batch [uJ] by the real path, and as its answer tells it before the meter spoke: by the model that
    is published then (taken up once a second), and by a board's average; checks conservation."""
    forgetting = FORGETTING if case.believed.whole else PARTIAL_FORGETTING
    learner = Learner("gpu0", priors={}, default=PRIOR, forgetting=forgetting)
    settler = SpanSettler("gpu0", learner=learner, sensor=case.believed)
    settled: dict[str, float] = {}
    told: dict[str, float] = {}
    averaged: dict[str, float] = {}
    powers: PublishedPowers | None = None
    metered = placed = 0
    coming = iter(batches)
    batch = next(coming, None)
    for start_ns, end_ns, energy_uj, static_uj in intervals_of(readings):
        settler.add_interval(an_interval(start_ns, end_ns, energy_uj, static_uj))
        while batch is not None and batch.end_ns <= end_ns:
            work = span_of(batch, case.clock_error_ns)
            if powers is None or batch.end_ns - powers.at_ns >= SECOND:
                powers = published(learner.published, batch.end_ns)
            share = share_of(work)
            (first,), (average,) = estimates_of([share], powers, batch.end_ns), estimates_of([share], None, 0)
            told[batch.name], averaged[batch.name] = first.active_uj, average.active_uj
            settler.add_span(DeviceSpan(work=work, members=(Member(request_id=batch.name, weight=1),)))
            batch = next(coming, None)
        closed = settler.close(end_ns - GRACE_NS)
        if closed is not None:
            settled |= {one.request_id: one.active_uj for one in closed.settled}
            metered += closed.device.metered_uj
    last = settler.finish()
    if last is None:
        raise RuntimeError("the simulated meter never spoke")
    settled |= {one.request_id: one.active_uj for one in last.settled}
    metered += last.device.metered_uj
    placed = sum(energy for _, _, energy, _ in intervals_of(readings))
    if metered != placed or last.device.pending_after_uj:
        raise RuntimeError(f"{metered} uJ were taken of {placed} uJ, {last.device.pending_after_uj} are pending")
    return settled, told, averaged


def published(theta: Theta, at_ns: int) -> PublishedPowers:
    """What the replicas know at a moment."""
    board = BoardPower(theta=theta, sha256=theta.digest(), static_mw=80_000, tier="measured")
    return PublishedPowers(run_id="run", at_ns=at_ns, boards={theta.device: board})


def share_of(work: WorkSpan) -> SpanShare:
    """The whole batch as one request's share."""
    return SpanShare(
        batch_id=work.span_id,
        device="gpu0",
        work_class=work.work_class,
        start_ns=work.start_ns,
        end_ns=work.end_ns,
        work=work.work,
        share_milli=1_000,
        weight_ppb=WHOLE_PPB,
    )


def intervals_of(readings: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
    """(start, end, energy, static) of joined readings (at [ns], counter [uJ], static counter [uJ])."""
    return [(first[0], second[0], second[1] - first[1], second[2] - first[2]) for first, second in pairwise(readings)]


def an_interval(start_ns: int, end_ns: int, energy_uj: int, static_uj: int) -> Interval:
    """An interval of the simulated board."""
    return Interval(
        device="gpu0",
        start_ns=start_ns,
        end_ns=end_ns,
        energy_uj=energy_uj,
        static_uj=min(static_uj, energy_uj),
        tier="simulated",
        source="a simulated counter",
    )


def span_of(batch: Ran, clock_error_ns: int) -> WorkSpan:
    """The span as a replica reports it."""
    times_ns = (batch.start_ns + clock_error_ns, batch.end_ns + clock_error_ns)
    return WorkSpan.ended(batch.name, batch.work_class, times_ns, work=batch.work)


def by_time(batches: Sequence[Ran], device: Device, readings: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """Each interval's dynamic energy shared by time alone, as if all work drew the same power."""
    busy = dict.fromkeys(range(len(readings)), 0)
    period = readings[1][0] - readings[0][0]
    shares: list[tuple[str, int, int]] = []
    for batch in batches:
        for place in range(batch.start_ns // period, (batch.end_ns - 1) // period + 1):
            overlap = min(batch.end_ns, (place + 1) * period) - max(batch.start_ns, place * period)
            busy[place] += overlap
            shares.append((batch.name, place, overlap))
    found: dict[str, float] = {}
    for name, place, overlap in shares:
        if place + 1 < len(readings):
            dynamic = readings[place + 1][1] - readings[place][1] - device.idle_mw * period / 1e6
            found[name] = found.get(name, 0.0) + max(0.0, dynamic) * overlap / busy[place]
    return found


def at_edges(batches: Sequence[Ran], device: Device, readings: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """The counter as it stands at a batch's end less that at its start, less idle power for the time between."""
    period = readings[1][0] - readings[0][0]
    counters = [counter for _, counter, _ in readings]
    return {
        batch.name: max(
            0.0,
            counters[min(batch.end_ns // period, len(counters) - 1)]
            - counters[min(batch.start_ns // period, len(counters) - 1)]
            - device.idle_mw * (batch.end_ns - batch.start_ns) / 1e6,
        )
        for batch in batches
    }


def errors_of(batches: Sequence[Ran], found: dict[str, float]) -> tuple[float, float]:
    """Mean of |found - true| / true over the batches, worst |sum found / sum true - 1| of a class [%]."""
    per_batch = statistics.mean(abs(found.get(one.name, 0.0) - one.energy_uj) / one.energy_uj for one in batches)
    biases = []
    for work_class in {one.work_class for one in batches}:
        own = [one for one in batches if one.work_class == work_class]
        biases.append(abs(sum(found.get(one.name, 0.0) for one in own) / sum(one.energy_uj for one in own) - 1.0))
    return 100.0 * per_batch, 100.0 * max(biases)


def timings() -> dict[str, Any]:
    """CPU time [us]: one batch of 32 split over its requests, and all of attribution and settlement per request."""
    random = Random(7)
    cost = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=3_000)
    lengths = [random.randint(4, 128) for _ in range(BATCH)]
    batch_us = least_us(lambda: split_batch(240_000_000, lengths, cost), times=500)
    cpu_us = least_us(settle_cpu, times=1) / REQUESTS
    spans_us = least_us(settle_spans, times=1) / REQUESTS
    single_us = least_us(lambda: settle_spans(rows=1), times=1) / REQUESTS
    print(f"a batch of {BATCH} attributed to its requests            {batch_us:6.1f} us (bar 100)")
    print(f"attribution + settlement per request, CPU device    {cpu_us:6.1f} us (bar 50)")
    print(f"the same, by spans, batches of {BATCH}                   {spans_us:6.1f} us (bar 50)")
    print(f"the same, by spans, batches of 1                    {single_us:6.1f} us (bar 50)")
    return {
        "batch_of_32_us": batch_us,
        "request_cpu_us": cpu_us,
        "request_spans_us": spans_us,
        "request_spans_of_one_us": single_us,
    }


def least_us(work: Any, *, times: int, rounds: int = 5) -> float:
    """CPU time of one call [us]: the least of the rounds."""
    found = []
    for _ in range(rounds):
        before = time.process_time_ns()
        for _ in range(times):
            work()
        found.append((time.process_time_ns() - before) / times / 1_000)
    return round(min(found), 2)


def settle_cpu() -> None:
    """Requests at 1,000/s on a CPU device, batches of 32 split by E7, intervals of a second."""
    cost = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=3_000)
    lengths = [4 + 3 * place for place in range(BATCH)]
    settler = Settler("gpu0")
    for number in range(REQUESTS // BATCH):
        start_ns = number * BATCH * MS
        parts = split_batch(20 * MS, lengths, cost)
        for row, cpu_ns in enumerate(parts):
            settler.add_request(
                Pending(
                    request_id=f"{number:06}-{row:02}",
                    start_ns=start_ns,
                    end_ns=start_ns + 20 * MS,
                    cpu_ns=cpu_ns,
                    host_cpu_ns=100_000,
                    held_ns=cpu_ns,
                )
            )
    for second in range(REQUESTS // 1_000 + 1):
        settler.add_interval(an_interval(second * SECOND, (second + 1) * SECOND, 10_000_000, 4_000_000), SECOND)
        settler.close((second + 1) * SECOND)
    settler.finish()


def settle_spans(rows: int = BATCH) -> None:
    """Requests on a device with a 100 ms counter: E3, E4, E6, E7, E8; a batch takes 20 of each 32 ms."""
    cost = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=3_000)
    lengths = [4 + 3 * place for place in range(rows)]
    learner = Learner("gpu0", priors={}, default=PRIOR)
    settler = SpanSettler("gpu0", learner=learner)
    interval = 0
    for number in range(REQUESTS // rows):
        start_ns = number * 32 * MS
        weights = shapley_weights(lengths, cost)
        settler.add_span(
            DeviceSpan(
                work=WorkSpan(
                    span_id=f"{number:06}",
                    work_class=f"class {number % 3}",
                    start_ns=start_ns,
                    end_ns=start_ns + (16 + number % 5 * 2) * MS,
                    work=rows * lengths[-1],
                ),
                members=tuple(
                    Member(request_id=f"{number:06}-{row:02}", weight=weight) for row, weight in enumerate(weights)
                ),
            )
        )
        while (interval + 1) * 100 * MS <= start_ns:
            settler.add_interval(an_interval(interval * 100 * MS, (interval + 1) * 100 * MS, 20_000_000, 8_000_000))
            settler.close((interval + 1) * 100 * MS - GRACE_NS)
            interval += 1
    settler.finish()


if __name__ == "__main__":
    main()
