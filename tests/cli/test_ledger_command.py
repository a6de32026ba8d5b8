"""`greenserve ledger`, over sound, changed and cut ledgers."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.ledger.merkle import fold, leaf_hash
from greenserve.carbon.ledger.notes import Signer
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.errors import LedgerUnavailable
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


def test_an_export_is_enough_to_make_the_root_again(folder: Path, greenserve: Any) -> None:
    """Each line holds the salt and the body whose bytes the tree covers, so that a stranger can follow it."""
    record(folder, [a_request(), a_request("globex"), a_request()])

    exported, one, status = greenserve(
        "ledger export", "ledger export --tenant globex -o out.jsonl", "ledger status --json"
    )

    lines = [json.loads(line) for line in exported.out.splitlines()]
    leaves = [leaf_hash(bytes.fromhex(line["salt"]), ledger_json(line["body"])) for line in lines]
    assert [line["leaf"] for line in lines] == [leaf.hex() for leaf in leaves]
    assert status.document["chain"] == fold(leaves).hex()
    assert "1 entries exported" in one.err
    assert 1 == len((folder / "out.jsonl").read_text().splitlines())


def test_a_proof_is_checked_without_the_ledger(folder: Path, greenserve: Any) -> None:
    """By anybody who has the file and the verifier key; another key, or a changed body, is exit code 5."""
    entry = a_request()
    record(folder, [a_request(), entry, a_request()])
    (checkpoint,) = greenserve("ledger checkpoint --json")
    (key,) = checkpoint.document["verifier_keys"]

    proved, grown = greenserve(
        f"ledger prove {entry.key} -o proof.json", "ledger prove --consistency 3 3 -o grown.json"
    )
    changed = (folder / "proof.json").read_text().replace("54603", "54604")
    (folder / "changed.json").write_text(changed)
    for file in folder.glob("ledger.db*"):
        file.unlink()
    good, more, bad, unsigned, foreign = greenserve(
        f"ledger check proof.json --key {key}", f"ledger check grown.json --key {key}",
        f"ledger check changed.json --key {key}", "ledger check proof.json",
        f"ledger check proof.json --key {Signer('other', bytes(32)).verifier.text}",
    )  # fmt: skip

    assert [0, 0] == [proved.code, grown.code]
    assert [0, 0, 5, 0, 5] == [done.code for done in (good, more, bad, unsigned, foreign)]
    assert "it was changed" in bad.out
    assert "give --key" in unsigned.out


def test_a_kept_checkpoint_finds_what_was_changed_since(folder: Path, greenserve: Any) -> None:
    """A note in a file: good against the grown ledger, exit code 5 against another one."""
    record(folder, [a_request() for _ in range(3)])
    (kept,) = greenserve("ledger checkpoint -o kept.note")
    record(folder, [a_request()])
    (grown,) = greenserve("ledger verify --against kept.note")
    for file in folder.glob("ledger.db*"):
        file.unlink()
    record(folder, [a_request() for _ in range(4)])

    (other,) = greenserve("ledger verify --against kept.note --json")

    assert [0, 0, 5] == [kept.code, grown.code, other.code]
    assert any("not signed by a key of this ledger" in finding for finding in json.loads(other.out)["findings"])
    assert any("was changed" in finding for finding in json.loads(other.out)["findings"])


def test_a_new_key_signs_from_then_on(folder: Path, greenserve: Any) -> None:
    """A lost key is replaced on purpose, never silently; notes of both keys verify."""
    record(folder, [a_request()])
    (folder / "ledger.db.key").unlink()
    with pytest.raises(LedgerUnavailable, match="--new-key"):
        record(folder, [a_request()])

    (replaced,) = greenserve("ledger checkpoint --new-key --json")
    record(folder, [a_request()])
    (verified,) = greenserve("ledger verify")

    assert [0, 0] == [replaced.code, verified.code]
    assert 2 == len(replaced.document["verifier_keys"])


def test_a_month_is_closed_once_it_is_over(folder: Path, greenserve: Any) -> None:
    """Its sums are frozen: a later line counts elsewhere; a month that runs, or twice the same, is refused."""
    entry = a_request()
    record(folder, [entry, unmetered_entry(entry.body)])

    closed, again, running = greenserve(
        "ledger close 2026-01 --json", "ledger close 2026-01", f"ledger close {datetime.now(UTC):%Y-%m}"
    )
    (sound,) = greenserve("ledger verify")
    record(folder, [a_request()])
    (late,) = greenserve("ledger verify")
    book = SqliteLedger(folder / "ledger.db")
    flags = [entry.body["flags"] for _, entry in book.entries() if entry.kind == "usage"][-1]
    book.close()

    assert ["late_period"] == flags
    assert (1, 1) == (closed.document["requests"], closed.document["rollup_rows"])
    assert [2, 2, 0, 0] == [again.code, running.code, sound.code, late.code]


def test_a_statement_is_replayed_from_the_entries(folder: Path, greenserve: Any) -> None:
    """The same members; a changed figure is found."""
    record(folder, [a_request() for _ in range(2)])
    greenserve("tenant create acme", "report --tenant acme --period 2026-01 -f json -o out")
    path = folder / "out" / "acme-2026-01.json"
    (folder / "changed.json").write_text(path.read_text().replace('"requests":2', '"requests":3'))

    same, changed, nothing = greenserve(
        f"ledger replay {path}", "ledger replay changed.json", "ledger replay greenserve.yaml"
    )

    assert [0, 5, 2] == [same.code, changed.code, nothing.code]
    assert "every member" in same.out
    assert "the content was changed" in changed.out


def test_a_receipt_names_the_devices_of_a_request_with_their_tiers(folder: Path, greenserve: Any) -> None:
    """For people and as a document; what is not known is said with its reason."""
    entry = a_request()
    record(folder, [entry])
    request_id = str(entry.body["request_id"])

    plain, told = greenserve(f"ledger receipt {request_id}", f"ledger receipt {request_id.upper()} --json")

    assert 0 == plain.code
    words = " ".join(plain.out.split())
    assert "cpu: 0.061903 J (active 0.054603 J, held 0.003000 J, host 0.004300 J), tier modelled" in words
    assert "energy 0.061903 J (0.040000 .. 0.084000), tier modelled" in words
    assert "not known: market_gco2e: not available" in words
    assert [("cpu", "0.061903")] == [(one["device"], one["energy_joules"]) for one in told.document["devices"]]


@pytest.mark.parametrize(
    ("given", "words"),
    [("acme", "'acme' is no request's id; it is a UUID of version 7"), (new_request_id(), "the ledger has no request")],
)
def test_a_receipt_that_is_not_there_is_refused(folder: Path, greenserve: Any, given: str, words: str) -> None:
    """Exit 2, and what an id is."""
    record(folder, [a_request()])

    (refused,) = greenserve(f"ledger receipt {given}")

    assert 2 == refused.code
    assert words in " ".join(refused.err.split())


def test_what_is_no_request_id_is_wrong_usage(folder: Path, greenserve: Any) -> None:
    """Exit 2, as of a receipt; an id in capitals is the same one."""
    entry = a_request()
    record(folder, [entry])

    odd, capitals = greenserve("ledger prove xyz", f"ledger prove {entry.key.upper()}")

    assert (2, 0) == (odd.code, capitals.code), capitals.err
    assert "'xyz' is no request's id; it is a UUID of version 7" in odd.err
