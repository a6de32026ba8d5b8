"""The one writer on a node with boards: spool, settlement and audit over NVML's double and batches of known times."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, usage_body
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.boards import Metered
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.row import canonical_body
from greenserve.carbon.ledger.settled_rows import Written
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.pick import Machine, Picked, pick_node
from greenserve.carbon.shares import WHOLE_PPB, SpanShare
from greenserve.clock import ManualClock
from greenserve.ids import new_request_id
from greenserve.records import Entry, Reading
from greenserve.units import NS_PER_S
from tests.fake_nvml import FakeBoard, FakeNvml

Lines = Callable[..., UsageLine]
MS = 1_000_000
IDLE_W, BUSY_W = 60, 200
NODE_PARTS = ("active_uj", "held_uj", "host_uj", "idle_uj", "load_uj", "waste_uj", "background_uj", "foreign_uj")


def a_probe(uuid: str) -> Characterisation:
    return Characterisation(
        uuid=uuid, driver="580.1", board="NVIDIA Test Board", at_us=1, period_ns=100 * MS, jitter_ns=0, quantum_mj=1,
        power_period_ns=None, idle_mw=IDLE_W * 1_000, lag_ns=0, share_milli=1000, r2_milli=990, duty_unknown=False,
        counter_per_power_milli=None, call_ns=1, slowdown_milli=None,
    )  # fmt: skip


class CpuCounter:
    """A node of 2 W at rest and 3 W per busy CPU."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock, self.busy_ns = clock, 0

    def read(self) -> Reading:
        at_ns = self._clock.monotonic_ns()
        static_uj = 2 * at_ns // 1_000
        return Reading(
            device="cpu", energy_uj=static_uj + 3 * self.busy_ns // 1_000, static_uj=static_uj, at_ns=at_ns,
            source="hand", tier="modelled", busy_ns=self.busy_ns,
        )  # fmt: skip

    def describe(self) -> Mapping[str, object]:
        return {"device": "cpu", "source": "hand", "tier": "modelled", "half_width_pct": 35, "alpha": 1.0}


class World:
    """One node with boards, of which each draws 60 W at rest and 200 W more while a batch runs."""

    def __init__(self, folder: Path, boards: int) -> None:
        self.folder = folder
        self.clock = ManualClock(monotonic_ns=100 * NS_PER_S)
        self.boards = [FakeBoard(uuid=f"GPU-000{number}") for number in range(boards)]
        self.cpu = CpuCounter(self.clock)
        self.book: SqlLedger = open_ledger("", folder / "ledger.db")
        self.spool = SpoolWriter(folder / "spool", "gateway")
        self.reader = self.new_reader()

    def new_reader(self) -> NodeMeter:
        nvml = FakeNvml(*self.boards, clock=self.clock)
        probes = [a_probe(board.uuid) for board in self.boards]
        found = pick_node(["nvml"], clock=self.clock, machine=Machine(nvml=lambda: nvml), boards=probes)
        cpu = Picked(name="hand", meter=self.cpu, rejected=())
        return NodeMeter([*found.devices, cpu], clock=self.clock)

    def open(self, written: Callable[[Sequence[Written]], object] | None = None) -> Ingest:
        uuids = [board.uuid for board in self.boards]
        metered = Metered(
            reader=self.reader,
            boards=uuids,
            probes=[a_probe(uuid) for uuid in uuids[:1]],
            names={f"cuda:{number}": uuid for number, uuid in enumerate(uuids)},
        )
        node = Node(
            meter=self.reader.meter_of("cpu"), own_cpu=lambda: self.cpu.busy_ns, boot_id="boot-1", run_id="run-1",
            metered=metered,
        )  # fmt: skip
        pace = Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S)
        spools = self.folder / "spool"
        return Ingest(
            ledger=self.book, spool_folder=spools, node=node, clock=self.clock, pace=pace, written=written
        )  # fmt: skip

    def run(self, *, ms: int, busy: Sequence[int] = ()) -> tuple[int, int]:
        """Let so many ms pass with batches on these boards; the start and the end [ns]."""
        start_ns = self.clock.monotonic_ns()
        for _ in range(0, ms, 50):
            self.clock.advance(duration_ns=50 * MS)
            for number, board in enumerate(self.boards):
                board.counter_mj += 50 * (IDLE_W + BUSY_W * (number in busy))
                board.power_mw = 1_000 * (IDLE_W + BUSY_W * (number in busy))
            self.reader.step()
        return start_ns, self.clock.monotonic_ns()

    def steps(self, ingest: Ingest, seconds: int) -> None:
        for _ in range(seconds):
            self.run(ms=1_000)
            ingest.step()

    def entries(self, kind: str, revision: int = 0) -> list[Any]:
        return [e.body for _, e in self.book.entries() if (e.kind, e.revision) == (kind, revision)]

    def settled(self, request_id: str) -> Any:
        return next(body for body in self.entries("usage", 1) if body["request_id"] == request_id)

    def batch(
        self, a_line: Lines, weights: Sequence[int], *, board: int = 0, ms: int = 200, **changes: Any
    ) -> list[str]:
        """A batch of requests with these weights [ppb] on a board, each with 2 ms of CPU time around it."""
        times = self.run(ms=ms, busy=[board])
        share = a_share(f"cuda:{board}", times)
        return [self.write(a_line, times, [replace(share, weight_ppb=weight)], **changes) for weight in weights]

    def write(self, a_line: Lines, times: tuple[int, int], spans: Sequence[SpanShare], **changes: Any) -> str:
        self.cpu.busy_ns += 2 * MS
        whole = {"start_ns": times[0], "end_ns": times[1], "ended_us": self.clock.unix_us(), "spans": tuple(spans)}
        whole |= {"cpu_ns": 0, "host_cpu_ns": 2 * MS, "held_ns": 0, "device": "cuda:0"}
        line = a_line(**(whole | changes))
        self.spool.append([ledger_json(usage_body(line))])
        return line.request_id

    def close(self) -> None:
        self.spool.close()
        self.book.close()


def a_share(device: str, times: tuple[int, int], *, weight_ppb: int = WHOLE_PPB) -> SpanShare:
    return SpanShare(
        batch_id=new_request_id(), device=device, work_class="sentiment/fp16/cuda", start_ns=times[0],
        end_ns=times[1], work=64, share_milli=1_000, weight_ppb=weight_ppb,
    )  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[int], World]]:
    made: list[World] = []

    def build(boards: int = 1) -> World:
        made.append(World(tmp_path, boards))
        made[-1].run(ms=50)
        return made[-1]

    yield build
    for world in made:
        world.close()


def assert_conserved(world: World, start_mj: Sequence[int]) -> None:
    """Each board's intervals hold what its counter gained, and every interval closes to the microjoule."""
    assert [] == world.book.verify()
    for board, before_mj in zip(world.boards, start_mj, strict=True):
        own = [body for body in world.entries("device_interval") if body["device"] == board.uuid]
        assert (board.counter_mj - before_mj) * 1_000 == sum(body["metered_uj"] for body in own)
        assert {"spans"} == {body["settled_by"] for body in own}
        assert sum(body["metered_uj"] for body in own) == sum(body[part] for body in own for part in NODE_PARTS)


def test_a_batch_on_a_board_is_settled_to_its_members(make: Callable[[int], World], a_line: Lines) -> None:
    """200 ms at 200 W are 40 J of work and 12 J of idle power held, shared 1 to 3; the host's CPU time beside it."""
    world = make(1)
    start_mj = [board.counter_mj for board in world.boards]
    ingest = world.open()
    one, other = world.batch(a_line, [WHOLE_PPB // 4, WHOLE_PPB * 3 // 4])
    world.steps(ingest, 5)

    small, large = world.settled(one), world.settled(other)

    assert (10_000_000, 3_000_000) == (small["active_uj"], small["held_uj"])
    assert (30_000_000, 9_000_000) == (large["active_uj"], large["held_uj"])
    assert 6_000 == small["host_uj"] == large["host_uj"]
    assert ("modelled", []) == (small["tier"], small["flags"])
    assert [("GPU-0000", "measured"), ("cpu", "modelled")] == [
        (part["device"], part["tier"]) for part in small["devices"]
    ]
    assert 13_000_000 * 95 // 100 + 6_000 * 65 // 100 == small["low_uj"]
    ingest.finish()
    assert_conserved(world, start_mj)


def test_a_node_of_two_boards_and_a_cpu_closes_to_the_microjoule(make: Callable[[int], World], a_line: Lines) -> None:
    """Requests of the CPU alone, of one board, of both; charged and lost; steps between: difference 0 everywhere."""
    world = make(2)
    start_mj = [board.counter_mj for board in world.boards]
    ingest = world.open()
    for number in range(12):
        world.batch(a_line, [333_333_333, 333_333_333, 333_333_334], board=number % 2, charged=number % 4 != 3)
        times = world.run(ms=150, busy=[0, 1])
        world.write(a_line, times, [a_share("cuda:0", times), a_share("cuda:1", times)], tenant="globex")
        world.write(a_line, times, [], cpu_ns=MS, held_ns=MS)
        if number % 3 == 0:
            ingest.step()
    ingest.finish()

    settled = world.entries("usage", 1)
    assert 60 == len(settled)
    assert {0, 2, 3} == {len(body.get("devices", ())) for body in settled}
    assert not any("gap" in body["flags"] or "unmetered" in body["flags"] for body in settled)
    assert_conserved(world, start_mj)


def test_models_and_meters_are_entries_before_what_uses_them(make: Callable[[int], World], a_line: Lines) -> None:
    """Each settled part names a model by a digest that an entry before it holds; a probe's digest is kept."""
    world = make(1)
    ingest = world.open()
    for _ in range(100):
        world.batch(a_line, [WHOLE_PPB])
        ingest.step()
    world.steps(ingest, 4)
    ingest.finish()

    order = [(entry.kind, entry.body) for _, entry in world.book.entries()]
    meters: dict[str, Any] = {body["device"]: body["meter"] for body in world.entries("meter")}
    seen: set[str] = set()
    named: set[str] = set()
    for kind, body in order:
        seen |= {str(body["sha256"])} if kind == "theta" else set()
        parts: Any = body.get("devices", ()) if kind == "usage" else ()
        named |= {part["theta"] for part in parts if part["theta"] is not None}
        assert named <= seen
    assert 2 <= len(named)
    assert {"cpu", "GPU-0000"} == set(meters)
    assert 64 == len(meters["GPU-0000"]["characterisation_sha256"])
    assert ("1.0", None) == (meters["cpu"]["alpha"], meters["cpu"]["characterisation"])
    assert [] == world.book.verify()


def test_rows_that_nobody_recorded_are_background(make: Callable[[int], World], a_line: Lines) -> None:
    """A member whose line never comes takes its share out of the others' bill, and no line stands behind it."""
    world = make(1)
    start_mj = [board.counter_mj for board in world.boards]
    ingest = world.open()
    (one,) = world.batch(a_line, [WHOLE_PPB // 2])
    world.steps(ingest, 5)
    ingest.finish()

    assert (20_000_000, 6_000_000) == (world.settled(one)["active_uj"], world.settled(one)["held_uj"])
    assert 26_000_000 == sum(b["background_uj"] for b in world.entries("device_interval") if b["device"] != "cpu")
    assert_conserved(world, start_mj)


def test_a_line_after_its_batch_was_settled_is_a_lower_bound(make: Callable[[int], World], a_line: Lines) -> None:
    """What the CPU's meter saw counts; the part on the board is missing, flagged, never zero without a word."""
    world = make(1)
    ingest = world.open()
    times = world.run(ms=200, busy=[0])
    share = a_share("cuda:0", times, weight_ppb=WHOLE_PPB // 2)
    first = world.write(a_line, times, [share])
    world.steps(ingest, 4)
    late = world.write(a_line, times, [share])
    world.steps(ingest, 4)
    ingest.finish()

    assert ([], 20_000_000) == (world.settled(first)["flags"], world.settled(first)["active_uj"])
    assert {"gap"} <= set(world.settled(late)["flags"])
    assert (0, ["cpu"]) == (
        world.settled(late)["active_uj"], [part["device"] for part in world.settled(late)["devices"]]
    )  # fmt: skip
    assert [] == world.book.verify()


def test_a_device_that_nobody_meters_leaves_a_lower_bound(make: Callable[[int], World], a_line: Lines) -> None:
    """A board that NVML does not show: the host's part is known, the board's is not."""
    world = make(1)
    ingest = world.open()
    times = world.run(ms=200)
    request = world.write(a_line, times, [a_share("cuda:7", times)])
    world.steps(ingest, 4)
    ingest.finish()

    assert (["gap"], 6_000) == (world.settled(request)["flags"], world.settled(request)["host_uj"])
    assert [] == world.book.verify()


def test_a_writer_that_died_loses_no_board_energy(make: Callable[[int], World], a_line: Lines) -> None:
    """What was pending on the boards becomes background; requests it had not written keep a lower bound."""
    world = make(1)
    first = world.open()
    world.batch(a_line, [WHOLE_PPB])
    world.steps(first, 3)
    times = world.run(ms=200, busy=[0])
    world.write(a_line, times, [a_share("cuda:0", times)])
    first.step()
    first.abandon()

    world.reader = world.new_reader()
    world.run(ms=100)
    second = world.open()
    world.batch(a_line, [WHOLE_PPB])
    world.steps(second, 5)
    second.finish()

    released = [b for b in world.entries("device_interval") if b["flags"] == ["writer_restarted"]]
    assert "GPU-0000" in {body["device"] for body in released}
    assert 3 == len(world.entries("usage", 1))
    assert [] == world.book.verify()


def test_a_changed_part_is_found_by_the_audit(make: Callable[[int], World], a_line: Lines) -> None:
    """A part whose sum is not the line's, or another device's, breaks the audit by name."""
    world = make(1)
    ingest = world.open()
    world.batch(a_line, [WHOLE_PPB])
    world.steps(ingest, 5)
    ingest.finish()
    entries = [entry for _, entry in world.book.entries()]

    assert [] == audited(world, entries)
    moved = [_with_part(entry, active_uj=1) for entry in entries]
    assert any("sum to" in finding for finding in audited(world, moved))
    renamed = [_with_part(entry, theta="0" * 64) for entry in entries]
    assert any("which no entry before it holds" in finding for finding in audited(world, renamed))


def audited(world: World, entries: Sequence[Entry]) -> list[str]:
    """The audit's findings over these entries; stored sums are those of the ledger."""
    from_book = Audit()
    for row, entry in zip(world.book.rows(), entries, strict=True):
        from_book.see(row._replace(body=canonical_body(entry.body, "a test")))
    return [finding for finding in from_book.finish({}) if "rollup" not in finding]


def _with_part(entry: Entry, **changes: Any) -> Entry:
    body: Any = dict(entry.body)
    if "devices" in body:
        body["devices"] = [part | changes if part["device"] != "cpu" else part for part in body["devices"]]
    return replace(entry, body=body)
