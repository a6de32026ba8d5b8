"""What closed hours save: `python -m benchmarks.hours [SECONDS]` prints one line per figure.

A month of 10 M entries as hourly sums, with a device interval every SECONDS (10 unless told), first with all hours
open, then closed. The intervals are written as rows alone, without the tree: only reading is timed.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.ledger import AT_US, MONTH_HOURS, MONTH_REQUESTS, TENANTS, US_PER_HOUR, WINDOW_NS, a_line, rows_of_month
from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.entries import settled_entry, usage_entry
from greenserve.carbon.folded import EVERYBODY
from greenserve.carbon.ledger.book import driver_of
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.row import prepare
from greenserve.carbon.ledger.rows import put_rollups, size_of
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.stating import from_sums
from greenserve.carbon.pools import CLOSE_AFTER_US
from greenserve.carbon.scope import Scope
from greenserve.records import Entry, Usage
from greenserve.units import NS_PER_S, US_PER_S

PLACES = ("active", "held", "host", "waste", "background", "foreign", "gap", "pending_before", "pending_after")
END_US = AT_US + MONTH_HOURS * US_PER_HOUR


def an_interval(at_us: int, seconds: int) -> Entry:
    """A stretch of an idle device at 20 W, as the writer records it."""
    idle_uj = 20 * seconds * US_PER_S
    closed: dict[str, Any] = {f"{place}_uj": 0 for place in PLACES}
    closed |= {"device": "cpu", "idle_uj": idle_uj, "metered_uj": idle_uj, "static_uj": idle_uj, "load_uj": 0}
    closed |= {
        "start_ns": (at_us - AT_US) * 1_000,
        "end_ns": (at_us - AT_US) * 1_000 + seconds * NS_PER_S,
        "intervals": seconds,
    }
    closed |= {"unmetered_ns": 0, "tier": "modelled", "source": "steady", "flags": [], "over_attributed_uj": 0}
    end = {"energy_uj": at_us, "static_uj": at_us, "at_ns": 0, "busy_ns": 0, "source": "steady",
           "tier": "modelled", "own_cpu_ns": 0}  # fmt: skip
    return device_entry(closed, at_us=at_us, run_id="run", boot_id="boot", end=end)


def entries_of_month(seconds: int) -> Iterator[Entry]:
    """Each hour: a request of every tenant, so that all have shares, then the intervals."""
    for hour_us in range(AT_US, END_US, US_PER_HOUR):
        for number in range(len(TENANTS)):
            first = usage_entry(a_line(number, WINDOW_NS, hour_us))
            usage = Usage(
                request_id=first.key, active_uj=1, held_uj=1, host_uj=1, low_uj=1, high_uj=9, tier="modelled",
                state="settled",
            )  # fmt: skip
            yield from (first, settled_entry(first.body, usage))
        for at_us in range(hour_us, hour_us + US_PER_HOUR, seconds * US_PER_S):
            yield an_interval(at_us, seconds)


def timed(book: "Book", name: str) -> None:
    """One tenant's statement and the operator's."""
    for tenant in (TENANTS[0], EVERYBODY):
        scope = Scope(
            tenant=tenant, start_us=AT_US, end_us=END_US, issuer="i", software="s", size=book.head_size(),
            chain="0" * 64,
        )  # fmt: skip
        start_s = time.perf_counter()
        shared: Any = from_sums(book, scope).document["shared"]
        took_s = time.perf_counter() - start_s
        print(f"{name}, {tenant}: {took_s:.2f} s (bar < 2), {shared['pooled_joules']} J pooled", flush=True)


class Book(SqliteLedger):
    """A ledger of rows without a tree."""

    def head_size(self) -> int:
        """How many rows there are."""
        with self.reading() as connection:
            return size_of(driver_of(connection))

    def add(self, entries: Iterator[Entry]) -> int:
        """Write entries as rows; how many."""
        with self.writing() as connection:
            driver = driver_of(connection)
            size = size_of(driver)
            rows = [(index, *prepare(entry)[:8]) for index, entry in enumerate(entries, size)]
            driver.insert_entries(rows)
        return len(rows)


def main(seconds: int) -> None:
    """All figures."""
    with TemporaryDirectory(prefix="bench-", dir=".") as folder:
        book = Book(Path(folder) / "month.db")
        with book.writing() as connection:
            put_rollups(driver_of(connection), rows_of_month(MONTH_REQUESTS))
        count = book.add(entries_of_month(seconds))
        timed(book, f"{count:,} rows, hours open")
        closer = HourCloser(book)
        start_s, closings = time.perf_counter(), list[Entry]()
        while not closings:
            closings = closer.due(END_US + CLOSE_AFTER_US)
        took_s = time.perf_counter() - start_s
        print(f"hours folded and closed: {1e6 * took_s / count:.0f} us a row, {len(closings):,} entries", flush=True)
        book.add(iter(closings))
        timed(book, "hours closed")
        book.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10)
