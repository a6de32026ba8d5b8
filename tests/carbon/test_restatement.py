"""Restating settled lines in a ledger: entries, sums, statements and receipts follow, and all of it re-derives."""

import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.memory import MemoryLedger
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.restated_receipt import receipt_lines
from greenserve.carbon.ledger.restatement import restate
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.receipt import receipt_document
from greenserve.carbon.restating import entered, restated_entry, revised
from greenserve.carbon.revision import revise
from greenserve.errors import InvalidRequest, LedgerUnavailable
from tests.carbon.restatements import NOW_US, a_pue, a_reading, a_scope, both, both_ways, document
from tests.carbon.statements import AT_US, DAY_US, HOUR_US
from tests.postgres_server import NewUrl

Lines = Callable[..., UsageLine]
MONTH_END_US = AT_US + 31 * DAY_US


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        urls: NewUrl = request.getfixturevalue("postgres_urls")
        url = urls()
    opened = open_ledger(url, tmp_path / "ledger.db", must_exist=False)
    yield opened
    opened.close()


def test_a_revised_reading_restates_what_rests_on_it_and_nothing_else(book: SqlLedger, a_line: Lines) -> None:
    """One cause, one entry per row of the sums: twice the intensity is twice the carbon, and no joule moves."""
    book.append([*both(a_line()), *both(a_line()), *both(a_line(provider="another")), *both(a_line(zone="NO"))])
    book.append([usage_entry(a_line(variant="fp32"))])
    before = document(book, a_scope(book))
    bodies = [row.body for row in book.rows()]

    found = restate(book, [a_reading(), a_reading(62_000, zone="FI")], reason="the provider revised it", now_us=NOW_US)

    sums, folded = both_ways(book, a_scope(book))
    assert ["intensity", "restated"] == [entry.kind for entry in found.entries]
    assert ([2], 1, [False]) == ([row.lines for row in found.rows], found.provisional, [r.closed for r in found.rows])
    assert (1_194, 2_388) == found.totals("loc_lifecycle_ng")
    assert bodies == [row.body for row in book.rows()][:-2]
    assert sums == folded
    assert before["totals"]["energy_joules"] == sums["totals"]["energy_joules"]
    grams = [Decimal(one["totals"]["loc_lifecycle_gco2e"]) for one in (before, sums)]
    assert Decimal("0.000001194") == grams[1] - grams[0]
    assert [] == book.verify()


def test_what_is_restated_once_is_not_restated_again(book: SqlLedger, a_line: Lines) -> None:
    """The same readings find nothing left; a line that was settled since is found, by the same cause."""
    first = usage_entry(a_line())
    book.append([*both(a_line()), first])
    restate(book, [a_reading()], reason="revised", now_us=NOW_US)

    again = restate(book, [a_reading()], reason="revised", now_us=NOW_US)
    book.append([both(a_line(request_id=first.key))[1]])
    later = restate(book, [a_reading()], reason="revised", now_us=NOW_US + 1)

    assert ([], 1) == (list(again.entries), again.provisional)
    assert [("restated", 1)] == [(entry.kind, entry.revision) for entry in later.entries]
    assert [3] == later.entries[0].body["causes"]
    assert [] == book.verify()


def test_a_value_may_be_revised_twice_and_back(book: SqlLedger, a_line: Lines) -> None:
    """Each revision of a slot is an entry with its number; the last one counts."""
    book.append(both(a_line()))
    grams = []
    for mg_per_kwh in (62_000, 31_000, 62_000):
        restate(book, [a_reading(mg_per_kwh)], reason=f"now {mg_per_kwh}", now_us=NOW_US)
        grams.append(document(book, a_scope(book))["totals"]["loc_lifecycle_gco2e"])

    revisions = [(e.kind, e.revision) for _, e in book.entries() if e.kind != "usage"]
    assert ["0.000001194", "0.000000597", "0.000001194"] == grams
    assert [(kind, n) for n in range(3) for kind in ("intensity", "restated")] == revisions
    assert [] == book.verify()


def test_a_dry_run_says_what_would_change_and_writes_nothing(book: SqlLedger, a_line: Lines) -> None:
    """The same rows and figures as the run that follows."""
    book.append(both(a_line()))
    head = book.head()

    dry = restate(book, [a_reading()], reason="revised", now_us=NOW_US, dry_run=True)
    unchanged = book.head()
    done = restate(book, [a_reading()], reason="revised", now_us=NOW_US)

    assert head == unchanged
    assert dry == done


def test_a_closed_month_gets_a_new_version_that_says_why(book: SqlLedger, a_line: Lines) -> None:
    """The digest it was closed with still holds for the entries before; the statement lists reason and reading."""
    book.append(both(a_line()))
    close_period(book, "2026-01", now_us=MONTH_END_US + GRACE_HOURS * HOUR_US)
    before = document(book, a_scope(book))

    found = restate(book, [a_reading()], reason="values of the provider after 72 h", now_us=NOW_US)

    after = revise(document(book, a_scope(book)), before)
    (told,) = after["restatements"]
    assert [True] == [row.closed for row in found.rows]
    assert (2, before["statement_id"]) == (after["version"], after["replaces"])
    assert ("values of the provider after 72 h", True, 1) == (told["reason"], told["after_close"], told["requests"])
    assert ("0.000000597", "0.000001194") == tuple(told[when]["loc_lifecycle_gco2e"] for when in ("old", "new"))
    assert [("grid intensity", "62.000", 1)] == [
        (one["factor"], one["gco2e_per_kwh"], one["revision"]) for one in told["factors"]
    ]
    assert {"restated by entries 4 to 4: values of the provider after 72 h"} == {
        one["reason"] for one in after["corrections"]
    }
    assert ["loc_lifecycle_gco2e"] == [one["figure"] for one in after["corrections"]]
    assert [] == book.verify()


def test_another_pue_changes_site_energy_and_carbon(book: SqlLedger, a_line: Lines) -> None:
    """E9 and E11 again over the same IT energy, for the region's requests alone."""
    book.append([*both(a_line()), *both(a_line(region="south"))])

    found = restate(book, [a_pue()], reason="metered at last", now_us=NOW_US)

    sums, folded = both_ways(book, a_scope(book))
    assert ["factor", "restated"] == [entry.kind for entry in found.entries]
    assert (69_331, 86_664) == found.totals("facility_uj")
    assert (597, 746) == found.totals("loc_lifecycle_ng")
    assert sums == folded
    assert ["1.400"] == [one["pue"] for one in sums["restatements"][0]["factors"]]
    assert [] == book.verify()


def test_budgets_follow(book: SqlLedger, a_line: Lines) -> None:
    """There is no counter beside the ledger: the balance of the window is what the restated lines sum to."""
    book.append(both(a_line()))
    budget = Budget(budget_id="b", tenant="acme", unit="gCO2e", limit=10**6, per="month", mode="enforce")

    used = [book.used(budget, AT_US)]
    restate(book, [a_reading()], reason="revised", now_us=NOW_US)
    used.append(book.used(budget, AT_US))

    assert [597, 1_194] == used


def test_a_receipt_tells_the_restatement_and_its_proof(book: SqlLedger, a_line: Lines) -> None:
    """State, figures and reading are the new ones; history keeps the old; the proof is the restating entry's."""
    entries = both(a_line())
    book.append([*entries, *both(a_line(variant="fp32"))])
    plain = receipt_document(receipt_lines(book, entries[0].key), rounded=False)
    restate(book, [a_reading()], reason="revised", now_us=NOW_US)

    receipt: Any = receipt_document(receipt_lines(book, entries[0].key), rounded=False)

    assert ("settled", "restated") == (plain["state"], receipt["state"])
    assert [("provisional", 0), ("settled", 1), ("restated", 2)] == [
        (step["state"], step["revision"]) for step in receipt["history"]
    ]
    assert "0.000001194" == receipt["carbon"]["loc_lifecycle_gco2e"]
    assert "62.000" == receipt["factors"][0]["gco2e_per_kwh"]
    assert [e.kind for i, e in book.entries() if i == receipt["proof"]["index"]] == ["restated"]


def test_an_entry_that_says_otherwise_than_its_lines_is_refused(book: SqlLedger, a_line: Lines) -> None:
    """Figures, line counts and causes are derived again before anything is written; nothing is."""
    entries = both(a_line())
    whole = {**entries[0].body, **entries[1].body}
    cause = entered(a_reading(), revision=0, at_us=NOW_US, reason="r")
    new = revised(whole, [cause.body])
    assert new is not None
    book.append([*entries, cause])
    row = restate(book, [a_reading(70_000)], reason="r", now_us=NOW_US, dry_run=True).rows[0].row
    told: dict[str, Any] = {"revision": 0, "at_us": NOW_US, "reason": "r", "closed": False}
    wrong = [
        restated_entry(row, [2], [(whole, {**new, "loc_lifecycle_ng": 5})], **told),
        restated_entry(row, [2], [(whole, new)] * 2, **told),
        restated_entry(row, [1], [(whole, new)], **told),
    ]

    for entry, why in zip(wrong, ("new figures", "restates 2 lines", "no intensity or factor entry"), strict=True):
        with pytest.raises(LedgerUnavailable, match=why):
            book.append([entry])

    assert 3 == book.head().size
    assert 1 == book.append([restated_entry(row, [2], [(whole, new)], **told)])
    assert [] == book.verify()


def test_the_double_keeps_the_same_rules(a_line: Lines) -> None:
    """A ledger in memory restates and verifies as the others do."""
    memory, entries = MemoryLedger(), both(a_line())
    whole = {**entries[0].body, **entries[1].body}
    cause = entered(a_reading(), revision=0, at_us=NOW_US, reason="r")
    new = revised(whole, [cause.body])
    assert new is not None
    memory.append([*entries, cause])
    with TemporaryDirectory() as folder:
        book = SqliteLedger(Path(folder) / "ledger.db")
        book.append(entries)
        (row,) = restate(book, [a_reading()], reason="r", now_us=NOW_US, dry_run=True).rows
        book.close()
    told: dict[str, Any] = {"revision": 0, "at_us": NOW_US, "reason": "r", "closed": False}

    with pytest.raises(LedgerUnavailable, match="restates 2 lines"):
        memory.append([restated_entry(row.row, [2], [(whole, new)] * 2, **told)])
    memory.append([restated_entry(row.row, [2], [(whole, new)], **told)])

    assert [] == memory.verify()


def test_a_changed_restatement_is_found(tmp_path: Path, a_line: Lines) -> None:
    """Its figures are derived again by verify, beside its hash; a cause taken away is named."""
    book = SqliteLedger(tmp_path / "ledger.db")
    book.append(both(a_line()))
    restate(book, [a_reading()], reason="revised", now_us=NOW_US)
    book.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TRIGGER entry_no_update")
        connection.execute("UPDATE entry SET body = CAST(replace(body, '1194', '1195') AS BLOB) WHERE idx = 3")
    connection.close()

    book = SqliteLedger(tmp_path / "ledger.db")
    findings = book.verify()
    book.close()

    assert any("entry 3" in one and "hash" in one for one in findings)
    assert any("entry 3" in one and "new figures" in one for one in findings)


def test_two_values_for_one_slot_are_refused(book: SqlLedger) -> None:
    """Which of them is right is for a person to say; the same value twice is one."""
    with pytest.raises(InvalidRequest, match="two values at once for the intensity SE a table lifecycle"):
        restate(book, [a_reading(1), a_reading(2)], reason="revised", now_us=NOW_US)

    assert [] == list(restate(book, [a_reading(1), a_reading(1)], reason="revised", now_us=NOW_US).entries)


@pytest.mark.parametrize(("reason", "causes"), [(" ", [a_reading()]), ("x" * 201, [a_reading()]), ("revised", [])])
def test_a_restatement_needs_a_reason_and_a_cause(book: SqlLedger, reason: str, causes: list[Any]) -> None:
    """Statements print the reason, so it is asked for."""
    with pytest.raises(InvalidRequest, match=r"write 1 to 200 characters|nothing to restate by"):
        restate(book, causes, reason=reason, now_us=NOW_US)


asked = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["acme", "globex"]),
        "region": st.sampled_from(["north", "south", None]),
        "ended_us": st.sampled_from([AT_US, AT_US + 1, AT_US + HOUR_US, AT_US + 2 * HOUR_US]),
        "pue_milli": st.sampled_from([1_120, None]),
        "provider": st.sampled_from(["a table", "another"]),
        "basis": st.sampled_from(["lifecycle", "direct"]),
        "charged": st.sampled_from([True, True, False]),
        "known": st.sampled_from([True, True, False]),
        "metered": st.sampled_from([True, True, False]),
    }
)
readings = st.builds(
    lambda slot, **rest: a_reading(start_us=AT_US + slot * HOUR_US, end_us=AT_US + (slot + 1) * HOUR_US, **rest),
    st.integers(0, 2),
    mg_per_kwh=st.sampled_from([0, 31_000, 62_000]),
    basis=st.sampled_from(["lifecycle", "direct"]),
    provider=st.sampled_from(["a table", "another"]),
)
causes = st.lists(
    readings | st.builds(a_pue, st.sampled_from([1_000, 1_400])),
    min_size=1,
    max_size=3,
    unique_by=lambda cause: entered(cause, revision=0, at_us=0, reason="").key,
)
steps = st.lists(st.tuples(st.just("ask"), asked) | st.tuples(st.just("restate"), causes), min_size=1, max_size=8)


@settings(max_examples=15)
@given(steps)
def test_sums_and_entries_agree_whatever_was_restated(a_line: Lines, given: list[tuple[str, Any]]) -> None:
    """A statement is the same bytes from the sums and from the entries, and verify derives all of it again."""
    with TemporaryDirectory() as folder:
        book = SqliteLedger(Path(folder) / "ledger.db")
        for kind, value in [*given, ("ask", None)]:
            if kind == "restate":
                restate(book, value, reason="revised", now_us=NOW_US)
                assert [] == list(restate(book, value[-1:], reason="again", now_us=NOW_US, dry_run=True).entries)
                continue
            members = dict(value or {"known": True, "metered": True})
            known, metered = members.pop("known"), members.pop("metered")
            members |= {} if metered else {"usage": None}
            line = a_line(**members) if known else a_line(**members, intensity=None)
            book.append(both(line))

        for tenant in ("acme", "_operator"):
            sums, folded = both_ways(book, a_scope(book, tenant=tenant))
            assert folded == sums
        assert [] == book.verify()
        book.close()
