"""What the ledger costs: `python -m benchmarks.ledger [REQUESTS [POSTGRES_URL]]` prints one line per figure.

Synthetic usage lines go the whole way, spool -> ingest -> SQLite, and are settled against a meter that the run moves
by hand, so that every request has its provisional and its settled entry. Figures are CPU and wall time of this
process on the disk of the working folder; they hold for the machine that ran them.
"""

import gc
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, settled_body, usage_body, usage_entry
from greenserve.carbon.folded import EVERYBODY
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.ingest import Ingest, Node, Pace
from greenserve.carbon.ledger.postgres import PostgresLedger
from greenserve.carbon.ledger.rollup import Rollups, rollup_key
from greenserve.carbon.ledger.rows import put_rollups
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.stating import from_sums
from greenserve.carbon.statement import Scope, build_statement
from greenserve.carbon.tally import Tally
from greenserve.clock import ManualClock
from greenserve.ids import new_request_id
from greenserve.records import IntensityReading, Reading, Usage
from greenserve.serve.writer import COLLECT
from greenserve.units import NS_PER_S

PER_STEP = 2_500
TENANTS, VARIANTS = ("acme", "globex", "initech", "umbrella"), ("fp32", "int8-dyn", "drop3-int8-dyn")
APPENDS = 500
AT_US = 1_767_225_600_000_000
WINDOW_NS = 1_000_000
US_PER_HOUR = 3_600_000_000
MONTH_HOURS, ROWS_PER_HOUR, MONTH_REQUESTS = 30 * 24, 24, 5_000_000


class SteadyMeter:
    """A node of 2 W at rest and 3 W per busy CPU."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.busy_ns = 0

    def read(self) -> Reading:
        """The counters at the clock's time."""
        at_ns = self._clock.monotonic_ns()
        static_uj = 2 * at_ns // 1_000
        return Reading(
            device="cpu", energy_uj=static_uj + 3 * self.busy_ns // 1_000, static_uj=static_uj, at_ns=at_ns,
            source="steady", tier="modelled", busy_ns=self.busy_ns,
        )  # fmt: skip

    def describe(self) -> Mapping[str, object]:
        """As a real meter does."""
        return {"device": "cpu", "source": "steady", "tier": "modelled", "half_width_pct": 35}


def a_line(number: int, now_ns: int, now_us: int) -> UsageLine:
    """A request of one of the tenants and variants that ends now."""
    request_id = new_request_id()
    reading = IntensityReading(
        zone="SE", start_us=AT_US, end_us=AT_US + 3_600_000_000, mg_per_kwh=31_000, basis="lifecycle",
        kind="average", origin="recorded", provider="a series", retrieved_us=AT_US,
    )  # fmt: skip
    usage = Usage(
        request_id=request_id, active_uj=54_603 + number % 997, held_uj=3_000, host_uj=4_300, low_uj=40_000,
        high_uj=84_000, tier="modelled", state="provisional",
    )  # fmt: skip
    return UsageLine(
        request_id=request_id, tenant=TENANTS[number % len(TENANTS)], key_id=f"key{number % 8:09}", model="sentiment",
        run_id="run", ended_us=now_us, start_ns=now_ns - WINDOW_NS, end_ns=now_ns, outcome="ok", protocol="http",
        cache="miss", rows=1, usage=usage, intensity=reading, pue_milli=1120, variant=VARIANTS[number % len(VARIANTS)],
        variant_digest="0" * 64, region="north", zone="SE", device="cpu", batch_id=request_id, n_rows=8, tokens_in=12,
        cpu_ns=400_000, host_cpu_ns=100_000, held_ns=500_000, reason="lowest carbon within the objective",
    )  # fmt: skip


def show(name: str, value: float, unit: str, bar: str = "") -> None:
    """One figure."""
    print(f"{name:<44}{value:>12,.2f} {unit}{f'   (bar {bar})' if bar else ''}", flush=True)


def ingest(folder: Path, requests: int) -> SqliteLedger:
    """Spool -> ingest -> SQLite of `requests`, provisional and settled."""
    clock = ManualClock(monotonic_ns=100 * NS_PER_S)
    meter = SteadyMeter(clock)
    book = SqliteLedger(folder / "ledger.db")
    spool = SpoolWriter(folder / "spool", "gateway", max_bytes=2**34)
    node = Node(meter=meter, own_cpu=lambda: meter.busy_ns, boot_id="boot", run_id="run")
    writer = Ingest(
        ledger=book, spool_folder=folder / "spool", node=node, clock=clock,
        pace=Pace(settle_every_ns=NS_PER_S, grace_ns=2 * NS_PER_S),
    )  # fmt: skip
    wall_s = cpu_s = 0.0
    for first in range(0, requests, PER_STEP):
        bodies = []
        for number in range(first, min(first + PER_STEP, requests)):
            clock.advance(duration_ns=NS_PER_S // PER_STEP)
            meter.busy_ns += 500_000
            bodies.append(ledger_json(usage_body(a_line(number, clock.monotonic_ns(), clock.unix_us()))))
        spool.append(bodies)
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        writer.step()
        wall_s += time.perf_counter() - start_s
        cpu_s += time.process_time() - start_cpu_s
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    writer.finish()
    wall_s += time.perf_counter() - start_s
    cpu_s += time.process_time() - start_cpu_s
    spool.close()
    entries = book.head().size
    show("ingest and settlement", entries / wall_s, "entries/s", ">= 20,000")
    show("CPU per request (provisional + settled)", 1e6 * cpu_s / requests, "us", "< 100")
    show("wall per request", 1e6 * wall_s / requests, "us")
    show("entries", entries, "")
    show("disk per request", book.stored_bytes() / requests, "bytes", "<= 1,800")
    return book


def batched(book: SqlLedger, requests: int, bar: str) -> None:
    """Append alone, in groups of 5,000, all tables, each group signed and durable."""
    entries = [usage_entry(a_line(number, WINDOW_NS, AT_US + number)) for number in range(requests)]
    start_s = time.perf_counter()
    for first in range(0, requests, 5_000):
        book.append(entries[first : first + 5_000])
    show("append in groups of 5,000", requests / (time.perf_counter() - start_s), "entries/s", bar)
    times_ms = []
    for number in range(APPENDS):
        entry = usage_entry(a_line(number, WINDOW_NS, AT_US + number))
        start_s = time.perf_counter()
        book.append([entry])
        times_ms.append(1e3 * (time.perf_counter() - start_s))
    book.close()
    show("durable single append, p50", statistics.median(times_ms), "ms")
    show("durable single append, p99", statistics.quantiles(times_ms, n=100)[98], "ms", "<= 10")


def read_back(book: SqliteLedger) -> None:
    """Verify, and one tenant's statement from the entries."""
    head = book.head()
    start_s = time.perf_counter()
    findings = book.verify()
    per_million_s = (time.perf_counter() - start_s) * 1e6 / head.size
    show("verify 1 M entries", per_million_s, f"s, {len(findings)} findings", "< 10")
    first, end = book.hours() or (0, 0)
    start_s = time.perf_counter()
    rows = book.rollup_rows("acme", first, end + 1)
    whole = Tally()
    for _, tally in rows:
        whole.merge(tally)
    show(f"fold of {len(rows)} rollup rows", 1e3 * (time.perf_counter() - start_s), "ms")
    scope = Scope(tenant="acme", start_us=0, end_us=4 * AT_US, issuer="i", software="s", size=head.size, chain="0" * 64)
    start_s = time.perf_counter()
    build_statement(book.entries(), scope)
    show("statement folded from 1 M entries", (time.perf_counter() - start_s) * 1e6 / head.size, "s")


def rows_of_month(requests: int) -> Rollups:
    """The sum rows of a month of `requests`: no row is a single line's."""
    per_row = max(1, requests // (MONTH_HOURS * ROWS_PER_HOUR))
    rows: Rollups = {}
    first_hour = AT_US // US_PER_HOUR
    for number in range(ROWS_PER_HOUR):
        tally = Tally()
        for one in range(per_row):
            body = usage_body(a_line(number + one * ROWS_PER_HOUR, WINDOW_NS, AT_US))
            usage = Usage(
                request_id=body["request_id"], active_uj=54_000 + one, held_uj=3_000, host_uj=4_300, low_uj=40_000,
                high_uj=84_000, tier="modelled", state="settled",
            )  # fmt: skip
            tally.add({**body, **settled_body(body, usage)})
            tally.describe(body)
        for hour in range(first_hour, first_hour + MONTH_HOURS):
            rows[rollup_key(body, hour)] = tally
    return rows


def month_of_sums(folder: Path, requests: int) -> None:
    """Statements of a month of `requests`, two entries each, from its sum rows alone; `benchmarks.hours` has its
    devices' intervals too."""
    book, rows = SqliteLedger(folder / "month.db"), rows_of_month(requests)
    with book.writing() as connection:
        put_rollups(driver_of(connection), rows)
    for tenant in (TENANTS[0], EVERYBODY):
        scope = Scope(
            tenant=tenant, start_us=AT_US, end_us=AT_US + MONTH_HOURS * US_PER_HOUR, issuer="i", software="s", size=0,
            chain="0" * 64,
        )  # fmt: skip
        start_s = time.perf_counter()
        told = from_sums(book, scope).document["totals"]
        name = f"{tenant}: month of {2 * sum(tally.requests for tally in rows.values()):,} entries"
        show(f"{name}, {len(rows)} rows", time.perf_counter() - start_s, f"s ({told['requests']} requests)", "< 2")  # type: ignore[index]
    book.close()


def main(requests: int, url: str | None) -> None:
    """All figures, with the writer's own pace of garbage collection."""
    gc.set_threshold(*COLLECT)
    with TemporaryDirectory(prefix="bench-", dir=".") as name:
        batched(SqliteLedger(Path(name) / "batched.db"), min(requests, 50_000), ">= 20,000")
        if url is not None:
            print("the same in PostgreSQL, which keeps what it is given:")
            batched(PostgresLedger(url, Path(name) / "postgres"), min(requests, 50_000), ">= 10,000")
        month_of_sums(Path(name), MONTH_REQUESTS)
        book = ingest(Path(name), requests)
        read_back(book)
        book.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100_000, sys.argv[2] if sys.argv[2:] else None)
