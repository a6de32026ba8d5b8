"""What a stranger can check in a statement alone: its id, its sums and its reconciliation."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from greenserve.carbon.statement_document import SCHEMA, identified

Document = Mapping[str, Any]
Check = Callable[[Document], Iterator[str]]
SUMMED = (
    "requests",
    "requests_ok",
    "requests_error",
    "requests_cancelled",
    "cache_hit",
    "cache_joined",
    "cache_miss",
    "cache_off",
    "rows",
    "tokens_in",
    "active_joules",
    "held_joules",
    "host_joules",
    "energy_joules",
    "facility_joules",
    "facility_unknown_joules",
    "loc_direct_gco2e",
    "loc_direct_uncovered_joules",
    "loc_lifecycle_gco2e",
    "loc_lifecycle_uncovered_joules",
    "market_gco2e",
    "market_uncovered_joules",
    "embodied_gco2e",
    "provisional_joules",
    "unreconciled_joules",
    "unmetered_requests",
)
"""Figures of which the total is the sum of the breakdown."""


def faults_of(document: Document) -> tuple[str, ...]:
    """All findings, empty where everything adds up; a document of another form gives one finding."""
    if document.get("schema") != SCHEMA:
        return (f"schema {document.get('schema')!r}: this version checks {SCHEMA}",)
    try:
        return tuple(finding for check in CHECKS for finding in check(document))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return (f"the document is not whole: {type(error).__name__} {error}",)


def _id(document: Document) -> Iterator[str]:
    expected = identified(document)["statement_id"]
    if document["statement_id"] != expected:
        yield f"statement_id is {document['statement_id']}, its content gives {expected}: the content was changed"


def _sums(document: Document) -> Iterator[str]:
    for figure in SUMMED:
        total = document["totals"][figure]
        parts = [line[figure] for line in document["breakdown"] if line[figure] is not None]
        if total is None and not parts:
            continue
        if total is None or Decimal(total) != sum(map(Decimal, parts), Decimal(0)):
            yield f"totals.{figure} is {total}, the breakdown sums to {sum(map(Decimal, parts), Decimal(0)):f}"


def _energy(document: Document) -> Iterator[str]:
    for line in [*document["breakdown"], document["totals"]]:
        if line["energy_joules"] is None:
            continue
        parts = sum(Decimal(line[name]) for name in ("active_joules", "held_joules", "host_joules"))
        if parts != Decimal(line["energy_joules"]):
            yield f"{line.get('day', 'totals')}: active + held + host is {parts:f} J, not {line['energy_joules']} J"


def _reconciliation(document: Document) -> Iterator[str]:
    node = document["reconciliation"]
    places = ("this_tenant", "other_tenants", "platform", "idle", "background", "foreign", "gap", "pending_after")
    unknown_at_times = [Decimal(node.get(f"{name}_joules") or 0) for name in ("load", "overhead")]
    placed = sum([Decimal(node[f"{name}_joules"]) for name in places] + unknown_at_times)
    metered = Decimal(node["metered_joules"]) + Decimal(node["pending_before_joules"])
    if metered != placed or Decimal(node["difference_joules"]) != metered - placed:
        yield f"reconciliation: metered + pending before is {metered:f} J, the places sum to {placed:f} J"


def _bridge(document: Document) -> Iterator[str]:
    own = document["reconciliation_of_tenant"]
    names = ("reconciled_here", "of_requests_of_other_periods", "reconciled_in_other_periods", "provisional")
    parts = sum(Decimal(own[f"{name}_joules"]) for name in (*names, "unreconciled"))
    # Statements without restated energy do not tell any.
    parts += Decimal(own.get("restated_joules", 0))
    total = Decimal(document["totals"]["energy_joules"] or 0)
    if not parts == Decimal(own["total_joules"]) == total:
        yield f"reconciliation of the tenant: its parts sum to {parts:f} J, the total is {total:f} J"


def _shared(document: Document) -> Iterator[str]:
    """Of statements of before hours were closed nothing is known here."""
    shared = document.get("shared")
    if shared is None:
        return
    pools = ("idle_joules", "load_joules", "overhead_joules")
    pooled = sum(Decimal(shared[name] or 0) for name in pools)
    if pooled != Decimal(shared["pooled_joules"] or 0):
        yield f"shared.pooled_joules is {shared['pooled_joules']}, idle, load and overhead sum to {pooled:f}"
    all_in = document["boundary"]["all_in_joules"]
    if document["view"] == "tenant":
        for line in document["lines"]:
            name = f"{line['line']}_joules"
            if name in pools and line["joules"] != shared[name]:
                yield f"line {line['line']} is {line['joules']} J, the shares of closed hours are {shared[name]} J"
        whole = Decimal(document["totals"]["energy_joules"] or 0) + pooled
        if all_in is not None and Decimal(all_in) != whole:
            yield f"boundary.all_in_joules is {all_in}, the requests and their shares sum to {whole:f} J"


def _watermarks(document: Document) -> Iterator[str]:
    if document["watermarks"] and document["signature"] is not None:
        yield "the statement is watermarked and signed: simulated or recorded inputs are never signed"


CHECKS: tuple[Check, ...] = (_id, _sums, _energy, _reconciliation, _bridge, _shared, _watermarks)
