"""`greenserve ledger archive`: by retention, one month, and back; and what verify says meanwhile."""

from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import unmetered_entry
from greenserve.records import Entry
from tests.carbon.test_archive import request_id
from tests.cli.test_ledger_command import AT_US, a_request, record

pytest.importorskip("pyarrow", reason="pip install 'greenserve[parquet]'")


def both(number: int) -> list[Entry]:
    """A request whose key names January 2026."""
    body: Any = dict(a_request(ended_us=AT_US).body)
    body["request_id"] = request_id(number)
    first = Entry(
        kind="usage",
        key=body["request_id"],
        attempt=0,
        revision=0,
        tenant="acme",
        hour=AT_US // 3_600_000_000,
        body=body,
    )
    return [first, unmetered_entry(body)]


def test_months_past_their_retention_move_to_files_and_back(folder: Path, greenserve: Any) -> None:
    """Receipts go on; without the file verify names it and ends with 5; --restore brings all of it back."""
    record(folder, [*both(1), *both(2)])
    config = folder / "greenserve.yaml"
    file = folder / "ledger.db.archive" / "2026-01.parquet"
    config.write_text(config.read_text().replace("ledger: {", "ledger: {retention: 30d, "))

    early, closed, dry, done, again = greenserve(
        "ledger archive --month 2026-01", "ledger close 2026-01", "ledger archive --dry-run", "ledger archive",
        "ledger archive",
    )  # fmt: skip
    verified, receipt = greenserve("ledger verify", f"ledger receipt {request_id(1)}")
    file.rename(folder / "away")
    missing, lost = greenserve("ledger verify", f"ledger receipt {request_id(1)}")
    (folder / "away").rename(file)
    back, whole = greenserve("ledger archive --restore 2026-01 --json", "ledger verify --json")
    anew, told = greenserve("ledger archive", "ledger archive --restore 2026-01")

    assert [2, 0, 0, 0, 0] == [early.code, closed.code, dry.code, done.code, again.code]
    assert "2026-01 is not closed" in early.err
    assert "4 bodies" in dry.out
    assert "would go to" in dry.out
    assert "moved to" in done.out
    assert "no closed month is older than the retention (30d)" in again.err
    assert (0, 0) == (verified.code, receipt.code)
    assert "archived: 4 entries of 2026-01 in" in verified.out
    assert (5, 1) == (missing.code, lost.code)
    assert "put the file back" in missing.out.replace("\n", " ")
    assert "which cannot be read" in lost.err.replace("\n", " ")
    assert 4 == back.document["months"][0]["bodies"]
    assert (0, 0) == (anew.code, told.code)
    said = " ".join(told.err.split())
    assert f"next: greenserve ledger verify; {file.parent.name}/{file.name} is left and holds what" in said
    assert "remove it, or archive the month again" in said
    assert ([], []) == (whole.document["findings"], whole.document["archived"])


def test_by_default_everything_stays(folder: Path, greenserve: Any) -> None:
    """Without a retention a month is named, and months are written like 2026-10."""
    record(folder, both(1))

    keeps, odd, mixed, wrong, *others = greenserve(
        "ledger archive", "ledger archive --month 2026", "ledger archive --restore 2026-01 --dry-run",
        "ledger archive --restore 2026-01", "ledger archive --restore x", "ledger archive --month 2026-13",
        "ledger archive --month 2026-1x",
    )  # fmt: skip

    assert [2, 2, 2, 2] == [keeps.code, odd.code, mixed.code, wrong.code]
    assert "ledger.retention is keep: every body stays" in keeps.err
    for one in (odd, *others):
        assert (2, True) == (
            one.code,
            "months are archived, write YYYY-MM such as 2026-10" in " ".join(one.err.split()),
        )
    assert "--restore stands alone" in mixed.err
    assert "2026-01 is not archived" in wrong.err
