"""`greenserve ledger`, over sound, changed and cut ledgers."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.ledger.chain import link
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.ids import new_request_id
from greenserve.records import Entry, IntensityReading, Usage

AT_US = 1_767_225_600_000_000


def a_request(tenant: str = "acme", *, ended_us: int = AT_US) -> Entry:
    request_id = new_request_id()
    usage = Usage(
        request_id=request_id, active_uj=54_603, held_uj=3_000, host_uj=4_300, low_uj=40_000, high_uj=84_000,
        tier="modelled", state="provisional",
    )  # fmt: skip
    reading = IntensityReading(
        zone="SE", start_us=AT_US, end_us=AT_US + 1, mg_per_kwh=31_000, basis="lifecycle", kind="average",
        origin="annual", provider="a table", retrieved_us=AT_US,
    )  # fmt: skip
    return usage_entry(
        UsageLine(
            request_id=request_id, tenant=tenant, key_id=None, model="sentiment", run_id="r", ended_us=ended_us,
            start_ns=0, end_ns=1, outcome="ok", protocol="http", cache="miss", rows=1, usage=usage, intensity=reading,
            pue_milli=1120, variant="int8-dyn", region="north", zone="SE",
        )
    )  # fmt: skip


def record(folder: Path, entries: list[Entry]) -> None:
    book = SqliteLedger(folder / "ledger.db")
    book.append(entries)
    book.close()


def test_a_sound_ledger_verifies_and_tells_its_head(folder: Path, greenserve: Any) -> None:
    """The head of `status` is what `verify --against` takes, now and after more entries."""
    record(folder, [a_request() for _ in range(3)])
    (status,) = greenserve("ledger status --json")
    record(folder, [a_request()])

    head = f"{status.document['size']}:{status.document['chain']}"
    verified, shown, malformed = greenserve(
        f"ledger verify --against {head}", "ledger status", "ledger verify --against abc"
    )

    assert (3, 3) == (status.document["size"], status.document["provisional_requests"])
    assert 0 == verified.code
    assert "verified: 4 entries" in verified.out
    assert "4, of these 4 requests still provisional" in shown.out
    assert 2 == malformed.code
    assert "ledger status" in malformed.err


def test_a_changed_byte_is_exit_code_5_and_names_the_entry(folder: Path, greenserve: Any) -> None:
    """One byte of one body."""
    record(folder, [a_request() for _ in range(3)])
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("DROP TRIGGER entry_no_update")
        connection.execute("UPDATE entry SET body = CAST(replace(body, '54603', '54604') AS BLOB) WHERE idx = 1")
    connection.close()

    (done,) = greenserve("ledger verify --json")

    assert 5 == done.code
    assert any(finding.startswith("entry 1") for finding in json.loads(done.out)["findings"])


def test_a_cut_tail_is_exit_code_5_against_an_older_head(folder: Path, greenserve: Any) -> None:
    """Without the older head the rest looks sound; with it the missing entries are told."""
    entries = [a_request() for _ in range(3)]
    record(folder, entries)
    (status,) = greenserve("ledger status --json")
    for file in folder.glob("ledger.db*"):
        file.unlink()
    record(folder, entries[:2])

    alone, against = greenserve(
        "ledger verify", f"ledger verify --against {status.document['size']}:{status.document['chain']}"
    )

    assert [0, 5] == [alone.code, against.code]
    assert "its tail was cut" in against.out


def test_an_export_is_enough_to_check_the_chain(folder: Path, greenserve: Any) -> None:
    """Each line holds the body whose bytes the chain binds, so that a stranger can follow it."""
    record(folder, [a_request(), a_request("globex")])

    exported, one = greenserve("ledger export", "ledger export --tenant globex -o out.jsonl")

    lines = [json.loads(line) for line in exported.out.splitlines()]
    previous = bytes(32)
    for line in lines:
        previous = link(previous, ledger_json(line["body"]))
        assert line["chain"] == previous.hex()
    assert 2 == len(lines)
    assert "1 entries exported" in one.err
    assert 1 == len((folder / "out.jsonl").read_text().splitlines())
