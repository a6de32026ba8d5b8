"""From a line of a run across a slot's edge to its settled pieces, by the real writer, and through the audit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenserve.carbon.cuts import Later
from greenserve.carbon.entries import UsageLine
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.shares import WHOLE_PPB
from greenserve.carbon.statement import Scope, build_statement
from greenserve.records import IntensityReading
from tests.carbon import test_ingest_boards
from tests.carbon.statements import HOUR_US
from tests.carbon.worlds import World, steps

Lines = Callable[..., UsageLine]
MS = 1_000_000


def readings(edge_us: int) -> tuple[IntensityReading, IntensityReading]:
    """40 g/kWh up to an edge, 400 g/kWh from there on."""
    first = IntensityReading(
        zone="SE", start_us=edge_us - HOUR_US, end_us=edge_us, mg_per_kwh=40_000, basis="lifecycle", kind="average",
        origin="observed", provider="one", retrieved_us=edge_us,
    )  # fmt: skip
    return first, replace(first, start_us=edge_us, end_us=edge_us + HOUR_US, mg_per_kwh=400_000)


def test_a_request_across_an_edge_is_settled_slot_by_slot(tmp_path: Path, a_line: Lines) -> None:
    """A quarter of 15 mJ of work at 40 g/kWh, the rest at 400; the audit and the statement derive the same."""
    world = World(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    ingest = world.open()
    edge_us, end_ns = world.clock.unix_us() + 2_500, world.clock.monotonic_ns() + 10 * MS
    first, second = readings(edge_us)
    later = (Later(end_ns - 7_500_000, edge_us, second),)
    world.request(a_line, intensity=first, later=later, held_ns=0, pue_milli=1_000)
    steps(world, ingest, 4)
    ingest.finish()

    (provisional,), (settled,) = world.lines(revision=0), world.lines()
    body: Any = settled.body

    assert [[3_000, 0, 750], [9_000, 0, 2_250]] == body["slots"]
    assert 42 + 1_250 == body["loc_lifecycle_ng"]
    assert "ci_later" in provisional.body
    assert [] == world.book.verify()
    day = body["ended_us"] - body["ended_us"] % (24 * HOUR_US)
    scope = Scope(tenant="acme", start_us=day, end_us=day + 24 * HOUR_US, issuer="t", software="t", size=9, chain="")
    statement: Any = build_statement(world.book.entries(), scope).document
    assert "0.000001292" == statement["totals"]["loc_lifecycle_gco2e"]
    world.spool.close()
    world.book.close()


def test_a_batch_on_a_board_is_cut_for_the_member_that_crosses(tmp_path: Path, a_line: Lines) -> None:
    """Two members of a batch of 200 ms, in zones with other slots: one is cut in the middle, the other is not; a line
    without a meter keeps its estimate, cut by time."""
    world = test_ingest_boards.World(tmp_path, 1)
    world.run(ms=50)
    ingest = world.open()
    start_us, start_ns = world.clock.unix_us(), world.clock.monotonic_ns()
    first, second = readings(start_us + 100_000)
    times = world.run(ms=200, busy=[0])
    share = replace(test_ingest_boards.a_share("cuda:0", times), weight_ppb=WHOLE_PPB // 2)
    later = (Later(start_ns + 100 * MS, start_us + 100_000, second),)
    one = world.write(a_line, times, [share], intensity=first, later=later)
    other = world.write(a_line, times, [share])
    lost = world.write(a_line, times, [share], intensity=first, later=later, run_id="another run")
    world.steps(ingest, 5)
    ingest.finish()

    cut, whole, kept = world.settled(one), world.settled(other), world.settled(lost)

    assert [[10_000_000, 3_000_000, 3_000]] * 2 == cut["slots"]
    assert (20_000_000, 6_000_000) == (cut["active_uj"], cut["held_uj"]) == (whole["active_uj"], whole["held_uj"])
    assert "slots" not in whole
    assert "unmetered" in kept["flags"]
    assert kept["active_uj"] == sum(piece[0] for piece in kept["slots"])
    assert [] == world.book.verify()
    world.close()
