"""`greenserve report`, over a ledger made for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.ids import new_request_id
from greenserve.records import Entry, IntensityReading, Usage

AT_US = 1_767_225_600_000_000

WRONG = {
    "report --tenant nobody": "no tenant 'nobody'",
    "report --tenant acme --period 2026-13": "2026-11",
    "report --tenant acme --period 2026-02-30": "2026-11",
    "report --tenant acme -f pdf": "json, html, csv",
    "report": "--tenant",
}


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


@pytest.fixture
def used(folder: Path, greenserve: Any) -> Path:
    """Acme asked once in January, once in February; globex once."""
    greenserve("tenant create acme")
    first = a_request()
    later = a_request(ended_us=AT_US + 40 * 86_400_000_000)
    record(folder, [first, unmetered_entry(first.body), a_request("globex"), later])
    return folder


def test_a_report_writes_three_formats_with_one_truth(used: Path, greenserve: Any) -> None:
    """JSON, HTML and CSV of one period, named after it; the terminal shows the headline figures."""
    (done,) = greenserve("report --tenant acme --period 2026-01 -o out")

    written = sorted(path.name for path in (used / "out").iterdir())
    totals = json.loads((used / "out" / "acme-2026-01.json").read_bytes())["totals"]
    assert (0, ["acme-2026-01.csv", "acme-2026-01.html", "acme-2026-01.json"]) == (done.code, written)
    assert (1, "0.061903", "0.000000597") == tuple(
        totals[name] for name in ("requests", "energy_joules", "loc_lifecycle_gco2e")
    )
    assert "0.061903 J, modelled" in done.out
    assert "unsigned" in done.out
    assert 80 >= max(len(line) for line in done.out.splitlines() if not line.startswith("verify"))


def test_all_covers_everything_and_its_proof_verifies(used: Path, greenserve: Any) -> None:
    """Every hour of the ledger; the head on the statement is one that `ledger verify` accepts."""
    (done,) = greenserve("report -t acme -f json --json")
    statement = done.document["statement"]

    (verified,) = greenserve(statement["proof"]["verify"].removeprefix("greenserve "))

    assert (2, "2026-01-01T00:00:00Z") == (statement["totals"]["requests"], statement["start"])
    assert 0 == verified.code


def test_wrong_usage_is_told_with_exit_code_2(used: Path, greenserve: Any) -> None:
    """A statement of nobody or of no time is never written."""
    wrong = greenserve(*WRONG)

    assert [(2, "")] * len(WRONG) == [(done.code, done.out) for done in wrong]
    assert [] == [done.err for done, told in zip(wrong, WRONG.values(), strict=True) if told not in done.err]
    assert not (used / "reports").exists()


def test_without_a_ledger_there_is_no_report(folder: Path, greenserve: Any) -> None:
    """A mistyped path does not become an empty statement."""
    (done,) = greenserve("report -t acme")

    assert 1 == done.code
    assert "there is no ledger at" in done.err
    assert not (folder / "ledger.db").exists()
