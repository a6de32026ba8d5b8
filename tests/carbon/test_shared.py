"""What statements say of closed hours: the tenant's shares of idle, load and overhead energy."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from greenserve.canonical import canonical_json
from greenserve.carbon.entries import PLATFORM, UsageLine, settled_entry, usage_entry
from greenserve.carbon.formats.csv import render as as_csv
from greenserve.carbon.formats.html import render as as_html
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.stating import from_sums
from greenserve.carbon.pools import closes_at_us
from greenserve.carbon.statement import EVERYBODY, Scope, build_statement
from greenserve.carbon.statement_audit import faults_of
from greenserve.carbon.statement_document import identified
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry, Statement, Usage
from tests.carbon.statements import AT_US, HOUR_US, interval

Lines = Callable[..., UsageLine]
HOUR = AT_US // HOUR_US


@pytest.fixture
def book(tmp_path: Path, a_line: Lines) -> Iterator[SqliteLedger]:
    """Two hours of two tenants: 1,000 uJ per request and hour, 4,000 uJ idle and 400 uJ load by 3 ms and 1 ms; then an
    hour that nobody used."""
    made = SqliteLedger(tmp_path / "ledger.db")
    for hour in range(2):
        at_us = AT_US + hour * HOUR_US
        for tenant, held_ns in (("acme", 3_000_000), ("globex", 1_000_000)):
            first = usage_entry(a_line(tenant=tenant, held_ns=held_ns, ended_us=at_us))
            usage = Usage(
                request_id=first.key, active_uj=900, held_uj=60, host_uj=40, low_uj=0, high_uj=2_000, tier="measured",
                state="settled",
            )  # fmt: skip
            made.append([first, settled_entry(first.body, usage)])
        parts = {"active": 1_800, "held": 120, "host": 80, "idle": 4_000, "load": 400, "background": 70}
        made.append([interval(hour, at_us=at_us, **parts)])
    made.append([interval(2, at_us=AT_US + 2 * HOUR_US, idle=500, load=0)])
    yield made
    made.close()


def close_hours(book: SqliteLedger, count: int = 3) -> list[Entry]:
    """Close the first hours."""
    entries = HourCloser(book).due(closes_at_us(HOUR + count - 1))
    book.append(entries)
    return entries


def stated(book: SqliteLedger, tenant: str, hours: int = 3) -> Statement:
    """The statement by both ways, which must agree."""
    scope = Scope(
        tenant=tenant, start_us=AT_US, end_us=AT_US + hours * HOUR_US, issuer="i", software="s", size=book.head().size,
        chain="0" * 64,
    )  # fmt: skip
    statement = build_statement(book.entries(), scope)
    assert canonical_json(statement.document) == canonical_json(from_sums(book, scope).document)
    return statement


def member(statement: Statement, name: str) -> Any:
    return statement.document[name]


def lines(statement: Statement) -> Mapping[str, str | None]:
    return {line["line"]: line["joules"] for line in member(statement, "lines") if "joules" in line}


def test_before_an_hour_is_closed_the_shares_are_null_and_say_why(book: SqliteLedger) -> None:
    """Unknown is never 0: the reason says when they come."""
    statement = stated(book, "acme")

    assert (None, None, None) == tuple(lines(statement)[name] for name in ("idle", "load", "overhead"))
    assert (0, 3) == tuple(member(statement, "shared")[name] for name in ("hours_closed", "hours_open"))
    assert None is member(statement, "boundary")["all_in_joules"]
    assert {"idle", "load", "overhead", "all_in", "shared"} <= member(statement, "unknown_reasons").keys()
    assert () == faults_of(statement.document)


def test_a_tenant_has_its_part_of_each_closed_hour(book: SqliteLedger) -> None:
    """Three quarters of the busy time are three quarters of idle and load; overhead stays unknown."""
    close_hours(book)
    statement = stated(book, "acme")

    assert ("0.006000", "0.000600", None) == tuple(lines(statement)[name] for name in ("idle", "load", "overhead"))
    assert "0.002000" == member(statement, "totals")["energy_joules"]
    assert "0.008600" == member(statement, "boundary")["all_in_joules"]
    shared = member(statement, "shared")
    assert ("0.006600", 3, 0, "measured") == tuple(
        shared[name] for name in ("pooled_joules", "hours_closed", "hours_open", "tier")
    )
    ratio = Decimal(shared["loc_lifecycle_gco2e"]) / Decimal(member(statement, "totals")["loc_lifecycle_gco2e"])
    assert abs(ratio - Decimal("3.3")) < Decimal("0.01")
    assert {"idle", "load", "all_in", "shared"}.isdisjoint(member(statement, "unknown_reasons"))
    assert "overhead" in member(statement, "unknown_reasons")
    assert () == faults_of(statement.document)


def test_the_shares_of_all_tenants_and_the_platform_are_the_operators(book: SqliteLedger) -> None:
    """Nothing is shared twice or lost: two tenants, and the platform for the hour that nobody used."""
    close_hours(book)
    parts = [stated(book, tenant) for tenant in ("acme", "globex", PLATFORM)]
    operator = stated(book, EVERYBODY)

    for name in ("idle_joules", "load_joules", "pooled_joules", "loc_lifecycle_gco2e"):
        known = [Decimal(member(one, "shared")[name]) for one in parts if member(one, "shared")[name] is not None]
        assert Decimal(member(operator, "shared")[name]) == sum(known), name
    assert "0.008500" == lines(operator)["idle"]
    assert "0.000500" == member(operator, "shared")["of_platform_joules"]
    assert "0.000000" == member(operator, "reconciliation")["difference_joules"]
    assert "0.000500" == lines(parts[2])["idle"]


def test_an_open_hour_leaves_the_whole_unknown(book: SqliteLedger) -> None:
    """The shares of closed hours are told, and that one hour is missing."""
    close_hours(book, 2)
    statement = stated(book, "globex")

    assert ("0.002000", "0.000200") == (lines(statement)["idle"], lines(statement)["load"])
    assert (2, 1) == tuple(member(statement, "shared")[name] for name in ("hours_closed", "hours_open"))
    assert None is member(statement, "boundary")["all_in_joules"]
    assert "all_in" in member(statement, "unknown_reasons")


def test_closed_hours_stand_for_their_intervals(book: SqliteLedger) -> None:
    """Reconciliation, sensors and market sums are the same before and after hours are closed."""
    before = stated(book, EVERYBODY)
    close_hours(book)
    after = stated(book, EVERYBODY)

    for name in ("totals", "reconciliation", "reconciliation_of_tenant", "data_quality", "scopes"):
        assert member(before, name) == member(after, name), name


def test_a_wrong_share_stops_a_fold_and_is_named(book: SqliteLedger) -> None:
    """Whoever folds the entries derives each closing again."""
    good = HourCloser(book).due(closes_at_us(HOUR))
    share = next(entry for entry in good if entry.tenant == "acme")
    wrong = Entry(
        kind=share.kind, key=share.key, attempt=0, revision=0, tenant=share.tenant, hour=share.hour,
        body=dict(share.body) | {"idle_uj": 3_001},
    )  # fmt: skip
    book.append([wrong if entry is share else entry for entry in good])

    with pytest.raises(LedgerUnavailable, match="idle_uj is 3001, the lines and intervals give 3000"):
        stated(book, "acme")
    assert ["idle_uj is 3001, the lines and intervals give 3000"] == [
        finding.partition("): ")[2] for finding in book.verify()
    ]


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [("shared", "idle_joules", "0.005999"), ("boundary", "all_in_joules", "0.008599"), ("shared", "load_joules", None)],
)
def test_a_changed_share_is_found_in_the_statement_alone(
    book: SqliteLedger, where: str, name: str, value: str | None
) -> None:
    """Lines, shares and the all-in figure agree, whoever recomputes the id."""
    close_hours(book)
    document = dict(stated(book, "acme").document)
    document[where] = {**member(stated(book, "acme"), where), name: value}

    assert faults_of(identified(document))


def test_pages_and_tables_keep_their_totals(book: SqliteLedger) -> None:
    """Closing hours adds to the page and changes no total of another format."""
    before = stated(book, "acme")
    close_hours(book)
    after = stated(book, "acme")

    assert as_csv(before) == as_csv(after).replace(after.statement_id.encode(), before.statement_id.encode())
    page = as_html(after).decode()
    assert "0.006000 J" in page
    assert "0.006600" in page
