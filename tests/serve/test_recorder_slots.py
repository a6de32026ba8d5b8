"""Requests whose run crosses into another grid slot are recorded with the readings that they met."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.clock import ManualClock
from greenserve.records import IntensityReading
from greenserve.serve.finished import Finished, Run
from greenserve.serve.recorder import Recorder
from greenserve.units import NS_PER_S, US_PER_S
from tests.serve.building import a_decision, an_admitted, spooled

Reads = Callable[[str, int], IntensityReading | None]
HALF_HOUR_US = 1_800 * US_PER_S
EDGE_US = 1_000_000 * HALF_HOUR_US
FIRST = IntensityReading(
    zone="ZZ-NORTH", start_us=EDGE_US - HALF_HOUR_US, end_us=EDGE_US, mg_per_kwh=40_000, basis="lifecycle",
    kind="average", origin="annual", provider="a test", retrieved_us=0,
)  # fmt: skip


def after(_: str, at_us: int) -> IntensityReading | None:
    """400 g/kWh from the edge on."""
    assert at_us >= EDGE_US
    return replace(FIRST, start_us=EDGE_US, end_us=EDGE_US + HALF_HOUR_US, mg_per_kwh=400_000)


async def recorded(folder: Path, *, begins_s: float, ends_s: float, reads: Reads | None, run: bool = True) -> Any:
    """The body of a request that ran from `begins_s` to `ends_s` around the edge and is recorded 1 s later; `met` is
    what its answer shows instead of its decision's reading."""
    clock = ManualClock(monotonic_ns=5_000 * NS_PER_S, unix_us=EDGE_US + round((ends_s + 1) * US_PER_S))
    recorder = Recorder(
        spool=SpoolWriter(folder, "gateway"), power=host_power(), clock=clock, run_id="r", reads=reads,
        thread_cpu_ns=lambda: 0,
    )  # fmt: skip
    end_ns = clock.monotonic_ns() - NS_PER_S
    start_ns = end_ns - round((ends_s - begins_s) * NS_PER_S)
    recorder.start()
    result = await recorder.submit(
        Finished(
            admitted=an_admitted(received_ns=start_ns),
            decision=a_decision(intensity=FIRST),
            variant_digest="0" * 64,
            outputs={"probabilities": np.ones((1, 3), dtype=np.float32)},
            run=Run(batch_id="b", batch_rows=1, start_ns=start_ns, end_ns=end_ns, cpu_ns=4_000_000, held_ns=5)
            if run
            else None,
            cache="miss" if run else "hit",
            outcome="ok",
        )
    )
    await recorder.close()
    met = None if result.met is None else result.met.mg_per_kwh
    return orjson.loads(spooled(folder)[0]) | {"met": met}


async def test_a_run_across_the_edge_is_cut_there(tmp_path: Path) -> None:
    """A quarter before, three quarters after: by time, each by its own reading."""
    body = await recorded(tmp_path, begins_s=-1.0, ends_s=3.0, reads=after)

    (later,) = body["ci_later"]
    assert (40_000, 400_000, EDGE_US) == (body["ci"]["mg_per_kwh"], later["ci"]["mg_per_kwh"], later["from_us"])
    assert body["start_ns"] + NS_PER_S == later["from_ns"]
    before_uj, after_uj = (sum(piece) for piece in body["slots"])
    assert 3.0 == pytest.approx(after_uj / before_uj, rel=0.001)
    assert body["active_uj"] + body["held_uj"] + body["host_uj"] == before_uj + after_uj


async def test_the_answer_shows_the_mean_of_what_it_met(tmp_path: Path) -> None:
    """A quarter of the energy at 40 and three quarters at 400 g/kWh: 310, which gives the emissions beside it."""
    body = await recorded(tmp_path, begins_s=-1.0, ends_s=3.0, reads=after)

    assert 310_000 == pytest.approx(body["met"], rel=0.001)
    assert body["loc_lifecycle_ng"] == pytest.approx(body["facility_uj"] * body["met"] / 3_600_000, abs=2)


async def test_an_answer_without_emissions_has_no_mean(tmp_path: Path) -> None:
    """Behind the edge nobody knows the grid: the intensity stays the first slot's, and no emissions are shown."""
    body = await recorded(tmp_path, begins_s=-1.0, ends_s=3.0, reads=lambda zone, at_us: None)

    assert (None, None) == (body["loc_lifecycle_ng"], body["met"])


async def test_a_run_within_its_slot_is_recorded_as_ever(tmp_path: Path) -> None:
    """No member more, no feed asked, though it is recorded after the edge."""
    asked: list[int] = []

    def noted(zone: str, at_us: int) -> IntensityReading | None:
        asked.append(at_us)
        return None

    body = await recorded(tmp_path, begins_s=-3.0, ends_s=-0.5, reads=noted)

    assert [] == asked
    assert {"ci_later", "slots"}.isdisjoint(body)
    assert body["met"] is None
    assert 40_000 == body["ci"]["mg_per_kwh"]


async def test_a_run_that_waited_past_the_edge_meets_the_newer_reading(tmp_path: Path) -> None:
    """What was decided before the edge and ran behind it used the grid behind it."""
    body = await recorded(tmp_path, begins_s=0.5, ends_s=1.5, reads=after)

    assert 400_000 == body["ci"]["mg_per_kwh"]
    assert "ci_later" not in body
    assert 400_000 == body["met"]


async def test_a_hit_across_the_edge_is_cut_too(tmp_path: Path) -> None:
    """It ran nothing: its time is that from its arrival to its answer."""
    body = await recorded(tmp_path, begins_s=-0.5, ends_s=0.5, reads=after, run=False)

    assert 2 == len(body["slots"])
    assert [0, 0] == [active_uj + held_uj for active_uj, held_uj, _ in body["slots"]]


async def test_an_unknown_next_slot_leaves_the_emissions_unknown(tmp_path: Path) -> None:
    """Never by the reading of the slot before, and never zero."""
    body = await recorded(tmp_path, begins_s=-1.0, ends_s=3.0, reads=lambda zone, at_us: None)

    assert body["loc_lifecycle_ng"] is None
    assert body["ci_later"][0]["ci"] is None
    assert body["facility_uj"] > 0
