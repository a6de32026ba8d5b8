"""The ledger seam: one suite on every implementation."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.canonical import ledger_json
from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.entries import UsageLine, entry_of, unmetered_entry, usage_entry
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.memory import MemoryLedger
from greenserve.carbon.ledger.postgres import PostgresLedger
from greenserve.carbon.ledger.row import Head
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.errors import LedgerUnavailable
from greenserve.ids import new_request_id
from greenserve.ports import Ledger
from greenserve.records import Entry, Usage

AT_US = 1_767_225_600_000_000


class Book(Ledger, Protocol):
    """A ledger that tells its head."""

    def head(self) -> Head: ...


def an_entry(*, active_uj: int = 1000, tenant: str = "acme", **changes: Any) -> Entry:
    request_id = changes.pop("request_id", None) or new_request_id()
    usage = Usage(
        request_id=request_id, active_uj=active_uj, held_uj=0, host_uj=0, low_uj=0, high_uj=2 * active_uj,
        tier="modelled", state="provisional",
    )  # fmt: skip
    whole: dict[str, Any] = {
        "request_id": request_id, "tenant": tenant, "key_id": None, "model": "m", "run_id": "r", "ended_us": AT_US,
        "start_ns": 0, "end_ns": 1, "outcome": "ok", "protocol": "http", "cache": "miss", "rows": 1, "usage": usage,
        "intensity": None, "pue_milli": 1000,
    }  # fmt: skip
    return usage_entry(UsageLine(**(whole | changes)))


KINDS = ["sqlite", "memory", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    opened = (
        SqliteLedger(tmp_path / "ledger.db")
        if request.param == "sqlite"
        else PostgresLedger(request.getfixturevalue("postgres_urls")(), tmp_path / "ledger")
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=KINDS)
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Book]]:
    opened: list[SqlLedger] = []
    urls = request.getfixturevalue("postgres_urls") if request.param == "postgres" else None

    def make() -> Book:
        folder = tmp_path_factory.mktemp("ledger")
        if request.param == "memory":
            return MemoryLedger()
        opened.append(SqliteLedger(folder / "ledger.db") if urls is None else PostgresLedger(urls(), folder / "ledger"))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def test_entries_come_back_in_order_with_dense_indices(book: Book) -> None:
    """What was appended is read in the order of appending, numbered from 0."""
    entries = [an_entry(active_uj=number) for number in range(5)]

    assert (2, 3) == (book.append(entries[:2]), book.append(entries[2:]))

    assert [0, 1, 2, 3, 4] == [index for index, _ in book.entries()]
    assert [entry.key for entry in entries] == [entry.key for _, entry in book.entries()]


def test_reading_starts_behind_an_index_and_takes_one_tenant(book: Book) -> None:
    """Filters leave the indices as they are."""
    book.append([an_entry(tenant=name) for name in ("acme", "globex", "acme", "globex")])

    assert [2, 3] == [index for index, _ in book.entries(after=1)]
    assert [1, 3] == [index for index, _ in book.entries(tenant="globex")]


def test_the_same_entry_twice_is_one_entry(book: Book) -> None:
    """Resending is harmless, within a group and across groups."""
    entry = an_entry()

    assert (1, 0) == (book.append([entry, entry]), book.append([entry]))
    assert 1 == len(list(book.entries()))


def test_the_same_key_with_another_body_is_refused_whole(book: Book) -> None:
    """A request that would be recorded in two ways is an alarm, and nothing of its group is written."""
    request_id = new_request_id()
    book.append([an_entry(request_id=request_id)])

    with pytest.raises(LedgerUnavailable, match=request_id):
        book.append([an_entry(), an_entry(request_id=request_id, active_uj=7)])

    assert 1 == len(list(book.entries()))


def test_a_settled_line_needs_its_provisional_one(book: Book) -> None:
    """Nothing settles that was never recorded; a request settles once."""
    entry = an_entry()

    with pytest.raises(LedgerUnavailable, match="follows no revision 0"):
        book.append([unmetered_entry(entry.body)])

    assert (2, 0) == (book.append([entry, unmetered_entry(entry.body)]), book.append([unmetered_entry(entry.body)]))
    assert [] == list(book.verify())


@pytest.mark.parametrize("value", [1.5, 2**53, float("nan"), b"x", {"\u00fc": 1}])
def test_a_body_outside_the_form_is_refused(book: Book, value: object) -> None:
    """No floats, no integers beyond 2^53, ASCII names: every machine must write the same bytes."""
    entry = an_entry()
    bad = Entry(
        kind=entry.kind, key=entry.key, attempt=0, revision=0, tenant="acme", hour=entry.hour,
        body=dict(entry.body) | {"reason": value},
    )  # fmt: skip

    with pytest.raises(LedgerUnavailable):
        book.append([bad])


def test_columns_must_follow_from_the_body(book: Book) -> None:
    """An entry whose tenant column differs from its body is refused."""
    entry = an_entry()
    moved = Entry(
        kind=entry.kind, key=entry.key, attempt=0, revision=0, tenant="globex", hour=entry.hour, body=entry.body
    )

    with pytest.raises(LedgerUnavailable, match="columns"):
        book.append([moved])


def an_interval(start_ns: int, *, metered_uj: int, **parts: int) -> Entry:
    names = (
        "active",
        "held",
        "host",
        "idle",
        "waste",
        "background",
        "foreign",
        "gap",
        "pending_before",
        "pending_after",
    )
    closed: dict[str, Any] = {f"{name}_uj": parts.get(name, 0) for name in names}
    closed |= {
        "device": "cpu", "start_ns": start_ns, "end_ns": start_ns + 1, "intervals": 1, "metered_uj": metered_uj,
        "static_uj": 0, "unmetered_ns": 0, "tier": "modelled", "source": "s", "flags": [],
    }  # fmt: skip
    return device_entry(closed, at_us=AT_US, run_id="r", boot_id="b", end={})


def test_a_wrong_balance_of_a_device_is_found(book: Book) -> None:
    """Metered energy that no pool holds, and parts that no request settled, are findings that name the index."""
    book.append([an_entry(), an_interval(0, metered_uj=8, active=5)])

    findings = book.verify()

    assert any("entry 1" in finding and "8 uJ, placed 5" in finding for finding in findings)
    assert any("active_uj is 5, the requests settled with it sum to 0" in finding for finding in findings)


def test_energy_cannot_vanish_between_two_intervals(book: Book) -> None:
    """What was pending after one interval is pending before the next one of the device."""
    book.append([an_interval(0, metered_uj=8, pending_after=8), an_interval(1, metered_uj=5, idle=5)])

    assert ["entry 1"] == [finding[:7] for finding in book.verify()]


def test_a_line_with_wrong_arithmetic_is_found(book: Book) -> None:
    """Site energy and emissions follow from the line's own parts (E9, E11), though the chain is whole."""
    body = dict(an_entry(active_uj=1000).body)
    book.append([an_entry(), entry_of(body | {"facility_uj": 999})])

    findings = [finding for finding in book.verify() if "rollup" not in finding]

    assert 1 == len(findings)
    assert findings[0].startswith("entry 1 ")
    assert "(1000, None, None)" in findings[0]


def test_the_head_grows_with_each_group(book: Book) -> None:
    """The root of no entries is the hash of nothing; the same entries again leave it as it is, a new one does not."""
    heads = [book.head()]
    entries = [an_entry(), an_entry()]
    for group in (entries, entries, [an_entry()]):
        book.append(group)
        heads.append(book.head())

    assert Head(size=0, root=sha256().hexdigest()) == heads[0]
    assert heads[1] == heads[2]
    assert [0, 2, 2, 3] == [head.size for head in heads]
    assert 3 == len({head.root for head in heads})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 10**9), st.booleans(), st.integers(0, 2)), max_size=12), st.data())
def test_any_order_of_groups_verifies_and_adds_up(
    fresh: Callable[[], Book], drawn: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    """However entries are grouped and resent, the audit is clean and nothing is there twice."""
    book = fresh()
    entries = [an_entry(active_uj=uj, tenant=f"t{tenant}") for uj, _, tenant in drawn]
    entries += [unmetered_entry(one.body) for one, (_, settle, _) in zip(entries, drawn, strict=False) if settle]
    cut = data.draw(st.integers(0, len(entries)))

    book.append(entries[:cut])
    book.append(entries)

    assert [] == list(book.verify())
    assert len(entries) == len(list(book.entries()))


def test_an_append_survives_kill_9(tmp_path: Path) -> None:
    """What `append` returned for is there after the process is killed in the next breath."""
    path = tmp_path / "ledger.db"
    SqliteLedger(path).close()
    program = (
        "import os, signal, sys, orjson; from pathlib import Path\n"
        "from greenserve.carbon.ledger.sqlite import SqliteLedger; from greenserve.carbon.entries import decode_entry\n"
        "book = SqliteLedger(Path(sys.argv[1])); book.append([decode_entry(sys.argv[2].encode())])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    entry = an_entry()
    body = ledger_json(entry.body).decode()

    done = subprocess.run([sys.executable, "-c", program, str(path), body], check=False, timeout=60)

    book = SqliteLedger(path, must_exist=True)
    assert -9 == done.returncode
    assert [entry.key] == [found.key for _, found in book.entries()]
    assert [] == list(book.verify())
    book.close()
