"""The one writer, killed with SIGKILL again and again: acknowledged is recorded, once, and no joule is lost."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.ledger import SteadyMeter, a_line
from greenserve.canonical import ledger_json
from greenserve.carbon.entries import POOLS, usage_body
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.clock import ManualClock
from greenserve.units import NS_PER_S

KILLS = 10
STEP_NS = NS_PER_S // 4


class Node1:
    """One life of a node's writer and its gateway: the clock and the meter go on where no life before came to."""

    def __init__(self, folder: Path, life: int) -> None:
        self.clock = ManualClock(monotonic_ns=(1 + life) * 1_000 * NS_PER_S)
        self.meter = SteadyMeter(self.clock)
        self.meter.busy_ns = life * 100 * NS_PER_S
        self.book = SqliteLedger(folder / "ledger.db")
        self.ingest = Ingest(
            ledger=self.book,
            spool_folder=folder / "spool",
            node=Node(meter=self.meter, own_cpu=lambda: self.meter.busy_ns, boot_id="boot", run_id="run"),
            clock=self.clock,
            pace=Pace(settle_every_ns=NS_PER_S // 2, grace_ns=NS_PER_S // 2),
        )


def live(folder: Path, life: int, acknowledged: Connection) -> None:
    """Append, acknowledge, take in and settle until killed."""
    node = Node1(folder, life)
    spool = SpoolWriter(folder / "spool", "gateway")
    for number in count():
        node.clock.advance(duration_ns=STEP_NS)
        node.meter.busy_ns += STEP_NS // 4
        line = a_line(number, node.clock.monotonic_ns(), node.clock.unix_us())
        spool.append([ledger_json(usage_body(line))])
        acknowledged.send(line.request_id)
        node.ingest.step()


def lives(folder: Path) -> Iterator[list[str]]:
    """What each life acknowledged before it was killed, at a moment that nobody chose."""
    context, random = multiprocessing.get_context("fork"), Random(4)
    for life in range(KILLS):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=live, args=(folder, life, sending))
        process.start()
        sending.close()
        told = [receiving.recv() for _ in range(random.randint(1, 25))]
        process.kill()
        process.join()
        # What it had sent when it died counts too.
        try:
            while True:
                told.append(receiving.recv())
        except EOFError:
            receiving.close()
        yield told


def test_ten_kills_lose_no_acknowledged_request_and_no_joule(tmp_path: Path) -> None:
    """Each acknowledged request has one first line and one settled one; the intervals' parts are the metered energy."""
    acknowledged = [request_id for told in lives(tmp_path) for request_id in told]

    last = Node1(tmp_path, KILLS)
    last.ingest.finish()

    entries = [entry for _, entry in last.book.entries()]
    lines = Counter((one.body["request_id"], one.revision) for one in entries if one.kind == "usage")
    intervals: list[Any] = [one.body for one in entries if one.kind == "device_interval"]
    assert {1} == set(lines.values())
    assert {(one, revision) for one in acknowledged for revision in (0, 1)} <= lines.keys()
    assert 2 * (len(acknowledged) + KILLS) >= len(lines)
    metered_uj = sum(one["metered_uj"] for one in intervals)
    assert metered_uj == sum(one[pool] for one in intervals for pool in POOLS)
    assert [] == last.book.verify()
    last.book.close()
