"""A node with a ledger, a spool, a meter and a clock that the test moves by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, usage_body
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.records import Entry, Reading
from greenserve.units import NS_PER_S
from tests.carbon.statements import AT_US, HOUR_US

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US
STATIC_MW, DYNAMIC_MW = 2_000, 3_000


class HandMeter:
    """A node of 2 W at rest and 3 W per busy CPU, whose CPU time the test sets."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.busy_ns = 0
        self.broken = False

    def read(self) -> Reading:
        if self.broken:
            raise MeterUnavailable("the hand meter is broken; mend it")
        at_ns = self._clock.monotonic_ns()
        static_uj = STATIC_MW * at_ns // 1_000_000
        return Reading(
            device="cpu",
            energy_uj=static_uj + DYNAMIC_MW * self.busy_ns // 1_000_000,
            static_uj=static_uj,
            at_ns=at_ns,
            source="hand",
            tier="modelled",
            busy_ns=self.busy_ns,
        )

    def describe(self) -> Mapping[str, object]:
        return {"device": "cpu", "source": "hand", "tier": "modelled", "half_width_pct": 35}


class World:
    """One node: a ledger, a spool, a meter and a clock; `open` starts a writer."""

    def __init__(self, folder: Path, book: SqlLedger) -> None:
        self.folder = folder
        self.clock = ManualClock(monotonic_ns=100 * NS_PER_S)
        self.meter = HandMeter(self.clock)
        self.book = book
        self.spool = SpoolWriter(folder / "spool", "gateway")

    def open(self, run_id: str = "run-1", boot_id: str = "boot-1") -> Ingest:
        return Ingest(
            ledger=self.book,
            spool_folder=self.folder / "spool",
            node=Node(meter=self.meter, own_cpu=lambda: self.meter.busy_ns, boot_id=boot_id, run_id=run_id),
            clock=self.clock,
            pace=Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S),
        )

    def request(self, a_line: Lines, **changes: Any) -> str:
        """One request of 10 ms that used 5 ms of CPU and ends now."""
        self.clock.advance(duration_ns=10_000_000)
        self.meter.busy_ns += 5_000_000
        now_ns = self.clock.monotonic_ns()
        times = {"start_ns": now_ns - 10_000_000, "end_ns": now_ns, "ended_us": self.clock.unix_us()}
        line = a_line(**(times | {"cpu_ns": 4_000_000, "host_cpu_ns": 1_000_000} | changes))
        self.spool.append([ledger_json(usage_body(line))])
        return line.request_id

    def lines(self, kind: str = "usage", revision: int = 1) -> list[Entry]:
        return [entry for _, entry in self.book.entries() if (entry.kind, entry.revision) == (kind, revision)]


def steps(world: World, ingest: Ingest, count: int) -> None:
    for _ in range(count):
        world.clock.advance(duration_ns=NS_PER_S)
        ingest.step()


def past_the_hour(world: World, hour: int = HOUR) -> None:
    """Move to the moment at which an hour closes."""
    closes_us = (hour + 1) * HOUR_US + 600_000_000
    world.clock.advance(duration_ns=max(0, 1_000 * (closes_us - world.clock.unix_us())))
