"""From finished requests to durable lines: nothing is acknowledged before it is on disk."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest

from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.clock import ManualClock
from greenserve.errors import LedgerUnavailable
from greenserve.records import Admitted
from greenserve.serve.finished import Finished, Run
from greenserve.serve.recorder import Recorder
from tests.serve.building import a_decision, a_recorder, an_admitted, spooled


def finished(admitted: Admitted | None = None, *, run: bool = True, intensity: bool = True) -> Finished:
    """A request that ran for 4 ms of CPU time, or a cache hit."""
    decision = a_decision() if intensity else a_decision(intensity=None)
    return Finished(
        admitted=admitted or an_admitted(),
        decision=decision,
        variant_digest="0" * 64,
        outputs={"probabilities": np.ones((1, 3), dtype=np.float32)},
        run=Run(
            batch_id="batch",
            batch_rows=2,
            start_ns=10,
            end_ns=20,
            cpu_ns=4_000_000,
            held_ns=5,
        )
        if run
        else None,
        cache="miss" if run else "hit",
        outcome="ok",
    )


async def running(folder: Path) -> Recorder:
    """A started recorder into `folder`."""
    recorder = a_recorder(SpoolWriter(folder, "gateway"), ManualClock())
    recorder.start()
    return recorder


async def test_a_future_resolves_when_its_line_is_on_disk(tmp_path: Path) -> None:
    """In the moment of its callback the line is there, with the usage that the future holds."""
    recorder = await running(tmp_path)
    seen: list[int] = []
    futures = [recorder.submit(finished()) for _ in range(20)]
    for future in futures:
        future.add_done_callback(lambda _: seen.append(len(spooled(tmp_path))))

    results = await asyncio.gather(*futures)

    bodies = [orjson.loads(body) for body in spooled(tmp_path)]
    assert [20] * 20 == seen
    assert [result.usage.active_uj for result in results] == [body["active_uj"] for body in bodies]
    assert [result.emissions_ng for result in results] == [body["loc_lifecycle_ng"] for body in bodies]
    assert {"provisional"} == {result.usage.state for result in results}
    await recorder.close()


async def test_unknown_intensity_is_no_zero(tmp_path: Path) -> None:
    """Emissions are None, not 0, in the answer and in the line."""
    recorder = await running(tmp_path)

    recorded = await recorder.submit(finished(intensity=False))

    assert None is recorded.emissions_ng
    assert recorded.usage.energy_uj > 0
    assert None is orjson.loads(spooled(tmp_path)[0])["loc_lifecycle_ng"]
    await recorder.close()


async def test_a_hit_uses_host_energy_only(tmp_path: Path) -> None:
    """No engine ran for it; the CPU time around it is its own."""
    recorder = await running(tmp_path)
    recorder.begin()

    recorded = await recorder.submit(finished(run=False))
    recorder.end()

    body = orjson.loads(spooled(tmp_path)[0])
    assert (0, 0, None, None) == (recorded.usage.active_uj, recorded.usage.held_uj, body["batch_id"], body["n_rows"])
    assert body["host_cpu_ns"] > 0
    await recorder.close()


async def test_the_host_time_of_a_group_is_shared_out_once(tmp_path: Path) -> None:
    """Equal parts within a group, and what a group was given the next one does not get again."""
    cpu_ns = [0]
    recorder = a_recorder(SpoolWriter(tmp_path, "gateway"), ManualClock(), lambda: cpu_ns[0])
    recorder.start()
    recorder.begin()
    cpu_ns[0] = 10**15  # so much that the spool's own time is nothing beside it
    await asyncio.gather(*(recorder.submit(finished()) for _ in range(4)))
    await asyncio.gather(*(recorder.submit(finished()) for _ in range(2)))
    recorder.end()
    recorder.begin()
    cpu_ns[0] = 3 * 10**15
    recorder.end()
    recorder.begin()
    await recorder.submit(finished())

    host_ns = [orjson.loads(body)["host_cpu_ns"] for body in spooled(tmp_path)]
    assert all(abs(part - 10**15 // 4) < 10**12 for part in host_ns[:4])
    assert max(host_ns[:4]) - min(host_ns[:4]) <= 1
    assert all(part < 10**12 for part in host_ns[4:])
    await recorder.close()


async def test_a_failed_write_acknowledges_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    """Every request of the group gets `ledger-unavailable`; then the disk is mended."""
    folder = tmp_path / "spool"
    recorder = await running(folder)
    folder.rmdir()

    results = await asyncio.gather(*(recorder.submit(finished()) for _ in range(3)), return_exceptions=True)
    folder.mkdir()
    again = an_admitted()
    await recorder.submit(finished(again))

    assert [LedgerUnavailable] * 3 == [type(result) for result in results]
    assert [again.request.request_id] == [orjson.loads(body)["request_id"] for body in spooled(folder)]
    await recorder.close()


async def test_a_disk_that_keeps_failing_is_told_once_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not for each group: thousands a second would fill the disk that is full."""
    folder = tmp_path / "spool"
    recorder = await running(folder)
    folder.rmdir()
    for _ in range(20):
        with pytest.raises(LedgerUnavailable):
            await recorder.submit(finished())
    folder.mkdir()
    for _ in range(2):
        await recorder.submit(finished())

    told = [(each.levelname, each.getMessage().partition(": ")[2][:9]) for each in caplog.records]
    assert [("ERROR", "the spool"), ("WARNING", "over afte")] == told
    await recorder.close()


async def test_whoever_leaves_is_recorded_all_the_same(tmp_path: Path) -> None:
    """A cancelled future and one that nobody waits for have their lines; neither stops the task."""
    recorder = await running(tmp_path)
    recorder.submit(finished()).cancel()
    recorder.submit_unanswered(finished())

    await recorder.submit(finished())

    assert 3 == len(spooled(tmp_path))
    await recorder.close()


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    """Lines that were submitted in the last moment are not lost."""
    recorder = await running(tmp_path)
    future = recorder.submit(finished())

    await recorder.close()

    assert future.done()
    assert 1 == len(spooled(tmp_path))


async def test_the_line_names_what_was_decided_and_reserved(tmp_path: Path) -> None:
    """Region, zone, variant, reason, PUE, batch, tokens: what an auditor asks for."""
    recorder = await running(tmp_path)
    await recorder.submit(finished(an_admitted(rows=((1, 2, 3), (4,)), protocol="grpc")))

    body = orjson.loads(spooled(tmp_path)[0])
    expected = {
        "tenant": "acme", "key_id": "0123456789ab", "model": "tiny", "run_id": "run-1", "protocol": "grpc",
        "rows": 2, "tokens_in": 4, "region": "north", "zone": "ZZ-NORTH", "variant": "fp32", "reason": "carbon",
        "pue_milli": 1100, "emulated": True, "batch_id": "batch", "n_rows": 2, "cpu_ns": 4_000_000, "held_ns": 5,
        "budget_id": None, "state": "provisional",
    }  # fmt: skip
    assert expected == {name: body[name] for name in expected}
    await recorder.close()


class CountedSpool(SpoolWriter):
    """A spool on a disk whose every write takes 250 us, by the clock that is given."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        super().__init__(folder, "gateway")
        self.writes: list[int] = []
        self._clock = clock

    def append(self, bodies: Sequence[bytes]) -> None:
        """Write, count, and let the time pass."""
        super().append(bodies)
        self.writes.append(len(bodies))
        self._clock.advance(duration_ns=250_000)


async def one_request(recorder: Recorder) -> None:
    """A request that ends within one step of the loop, as one that the cache answers."""
    recorder.begin()
    try:
        await recorder.submit(finished(run=False))
    finally:
        recorder.end()


async def test_requests_that_end_in_one_step_each_share_their_writes(tmp_path: Path) -> None:
    """Nobody is in progress beside them when they end, and yet a burst is not written line by line."""
    clock = ManualClock()
    spool = CountedSpool(tmp_path, clock)
    recorder = a_recorder(spool, clock)
    recorder.start()

    for _ in range(20):
        await asyncio.gather(*(one_request(recorder) for _ in range(32)))

    assert 640 == sum(spool.writes)
    assert len(spool.writes) <= 40
    await recorder.close()


async def test_a_lone_request_is_written_in_its_own_step(tmp_path: Path) -> None:
    """With time between requests and a quick disk, a line is durable when `submit` returns."""
    clock = ManualClock()
    spool = CountedSpool(tmp_path, clock)
    recorder = a_recorder(spool, clock)
    recorder.start()
    durable = []

    for _ in range(20):
        clock.advance(duration_ns=10_000_000)
        recorder.begin()
        future = recorder.submit(finished())
        durable.append(future.done())
        await future
        recorder.end()

    assert [True] * 8 == durable[-8:]
    assert [1] * 20 == spool.writes
    await recorder.close()


class DyingSpool(CountedSpool):
    """A disk that takes half a second to fail."""

    dying = False

    def append(self, bodies: Sequence[bytes]) -> None:
        """As a good one until it dies."""
        if self.dying:
            self._clock.advance(duration_ns=500_000_000)
            raise LedgerUnavailable("no disk")
        super().append(bodies)


async def test_a_disk_that_fails_slowly_is_a_slow_one(tmp_path: Path) -> None:
    """After its first failure nobody else on the loop waits for it: lines go beside."""
    clock = ManualClock()
    spool = DyingSpool(tmp_path, clock)
    recorder = a_recorder(spool, clock)
    recorder.start()
    done = []
    for number in range(23):
        spool.dying = number >= 20
        clock.advance(duration_ns=10_000_000)
        recorder.begin()
        future = recorder.submit(finished())
        done.append(future.done())
        await asyncio.wait([future])
        recorder.end()
        if spool.dying:
            assert isinstance(future.exception(), LedgerUnavailable)

    assert [True, True, False, False] == done[-4:]
    await recorder.close()
