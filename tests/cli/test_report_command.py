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
    "report --tenant acme -f docx": "json, html, csv, focus, boamps, parquet, pdf",
    "report": "give one tenant",
    "report acme --operator": "give one tenant",
    "report acme --tenant globex": "give one tenant",
    "report acme --month 2026-01 --period 2026": "give one of them",
    "report acme --month january": "such as 2026-11",
    "report acme -f json,csv -o one.json": "a folder or one format",
    "report acme --baseline fp16": "carbon.baselines",
    "report --verify out.json": "needs --key PUB",
    "report --verify none.json --key none.pub": "none.json: cannot be read",
    "report acme --key none.pub": "belongs to --verify",
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
    assert "Ed25519, key" in done.out
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


def test_a_stranger_verifies_with_the_public_key_alone(used: Path, greenserve: Any) -> None:
    """The file and the key, no ledger and no configuration; one changed digit is exit 5 with what is wrong."""
    (done,) = greenserve("report acme --month 2026-01 -f json -o signed.json")
    signed = (used / "signed.json").read_text()
    (used / "changed.json").write_text(signed.replace('"0.061903"', '"0.061904"'))
    key = "ledger.db.signing-key.pub"
    for name in ("greenserve.yaml", "ledger.db"):
        (used / name).rename(used / f"away-{name}")

    good, bad = greenserve(f"report --verify signed.json --key {key}", f"report --verify changed.json --key {key}")

    assert (0, 0, 5) == (done.code, good.code, bad.code)
    assert "signed with key" in good.out
    assert "was changed after it was signed" in bad.out


def test_an_auditor_derives_a_statement_again(used: Path, greenserve: Any) -> None:
    """With the ledger every member comes out the same, also after the ledger went on; a forged one does not."""
    (done,) = greenserve("report acme --month 2026-01 -f json -o signed.json")
    record(used, [a_request()])
    document = json.loads((used / "signed.json").read_bytes())
    (used / "forged.json").write_text(json.dumps(document | {"issuer": "somebody else"}))

    good, bad = greenserve("ledger replay signed.json", "ledger replay forged.json")

    assert (0, 0, 5) == (done.code, good.code, bad.code)
    assert "every member" in good.out
    assert "the content was changed" in bad.out


def test_later_requests_make_the_next_version(used: Path, greenserve: Any) -> None:
    """Twice the same is one version; a request that arrived since makes version 2 with its corrections."""
    first, again = greenserve(
        "report acme --month 2026-01 -f json --json", "report acme --month 2026-01 -f json --json"
    )
    record(used, [a_request()])

    (second,) = greenserve("report acme --month 2026-01 -f json,focus --json")

    documents = [done.document["statement"] for done in (first, again, second)]
    assert [1, 1, 2] == [one["version"] for one in documents]
    assert documents[0] == documents[1]
    assert documents[0]["statement_id"] == documents[2]["replaces"]
    assert "Correction" in (used / "reports" / "acme-2026-01.focus.csv").read_text()


def test_the_operator_sees_all_tenants(used: Path, greenserve: Any) -> None:
    """Everybody's requests of the month, with the scopes of who burns the power."""
    (done,) = greenserve("report --operator --month 2026-01 -f json --json")

    statement = done.document["statement"]
    assert (2, "operator") == (statement["totals"]["requests"], statement["scopes"]["view"])
    assert ["acme", "globex"] == [line["tenant"] for line in statement["tenants"]]
    assert (used / "reports" / "operator-2026-01.json").is_file()
