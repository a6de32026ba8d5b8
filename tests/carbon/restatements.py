"""Builders of revised readings and settled requests, shared by the tests of restating and of late lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.feeds.levels import graded
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.stating import from_sums, kept_in, restated_in, stated
from greenserve.carbon.restating import PueRevision, pue_body, reading_body
from greenserve.carbon.statement import Scope, build_statement
from greenserve.records import Entry, IntensityReading
from tests.carbon.statements import AT_US, DAY_US, HOUR_US

NOW_US = AT_US + 40 * DAY_US


def a_reading(mg_per_kwh: int = 62_000, **changes: Any) -> Mapping[str, Any]:
    """The cause that a newer value of the builders' slot and zone is."""
    whole: dict[str, Any] = {
        "zone": "SE", "start_us": AT_US, "end_us": AT_US + HOUR_US, "mg_per_kwh": mg_per_kwh, "basis": "lifecycle",
        "kind": "average", "origin": "observed", "provider": "a table", "retrieved_us": NOW_US,
    }  # fmt: skip
    return reading_body(graded(IntensityReading(**(whole | changes))))


def a_pue(pue_milli: int = 1_400, **changes: Any) -> Mapping[str, Any]:
    """The cause that another PUE of the region north is."""
    whole: dict[str, Any] = {
        "region": "north", "start_us": AT_US, "end_us": AT_US + DAY_US, "pue_milli": pue_milli, "source": "a report"
    }  # fmt: skip
    return pue_body(PueRevision(**(whole | changes)))


def both(line: UsageLine) -> list[Entry]:
    """A request's provisional and settled line, the energy as estimated."""
    first = usage_entry(line)
    return [first, unmetered_entry(first.body)]


def a_scope(book: SqlLedger, *, start_us: int = AT_US, end_us: int = AT_US + DAY_US, tenant: str = "acme") -> Scope:
    """A statement's scope up to the ledger's end."""
    head = book.head()
    return Scope(
        tenant=tenant, start_us=start_us, end_us=end_us, issuer="Demo", software="test", size=head.size,
        chain=head.root,
    )  # fmt: skip


def both_ways(book: SqlLedger, scope: Scope) -> Sequence[Mapping[str, Any]]:
    """The document from the hourly sums, and from the single entries."""
    entries = build_statement(book.entries(), scope, restated_in(book), kept_in(book))
    return from_sums(book, scope).document, entries.document


def document(book: SqlLedger, scope: Scope) -> Mapping[str, Any]:
    """The document as commands make it."""
    return stated(book, scope).document
