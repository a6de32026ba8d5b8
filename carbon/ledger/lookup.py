"""Questions to the ledger that need no fold: one row, a request's lines, changes, sums per group."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select

from greenserve.carbon.entries import PLATFORM, US_PER_HOUR, decode_entry
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.chain import Row, month_of
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.receipt import Line
from greenserve.errors import InvalidRequest
from greenserve.ids import unix_ms_of
from greenserve.records import TIERS

HOURS_PER_DAY = 24
MOST_TIER_REQUESTS = 1_000_000
"""Of how many requests at most the tiers are looked up one by one; reads about half a million lines a second."""
DIMENSIONS = ("day", "model", "variant", "region")
CHANGES = ("tenant", "key", "budget")
_US_PER_MS = 1_000
_DAY_OF = f"hour / {HOURS_PER_DAY}"
_SUMMED = ("requests", "energy_uj", "emissions_ng", "unknown_uj", "unmetered", "provisional")
_SPENDING = ("requests", "energy_uj", "emissions_ng", "unknown_uj", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Hours [first, end) since 1970 UTC, of one tenant or (None) of all."""

    first: int
    end: int
    tenant: str | None = None


class Group(NamedTuple):
    """Sums of a group: `key` is the tenant and what it is grouped by; energies [uJ], emissions [ng]. None = not kept.

    `unknown_uj` is site energy that the emissions do not cover; the counts are requests.
    """

    key: tuple[str | int, ...]
    requests: int
    energy_uj: int
    emissions_ng: int
    unknown_uj: int
    unmetered: int | None = None
    provisional: int | None = None
    tokens: int | None = None


def row_at(ledger: SqliteLedger, index: int) -> Row | None:
    """One row by its index."""
    with ledger.reading() as connection:
        row = connection.execute(select(schema.entry).where(schema.entry.c.idx == index)).one_or_none()
    return None if row is None else Row(*row)


def lines_of(ledger: SqliteLedger, request_id: str) -> list[Line]:
    """All lines of a request in order of index; `request_id` is a UUIDv7."""
    table = schema.entry.c
    query = select(schema.entry).where(
        table.period == month_of(unix_ms_of(request_id) * _US_PER_MS // US_PER_HOUR),
        table.kind == "usage",
        table.key == request_id,
    )
    with ledger.reading() as connection:
        rows = [Row(*row) for row in connection.execute(query.order_by(table.attempt, table.revision)).all()]
    return sorted(map(line_of, rows), key=lambda line: line.index)


def line_of(row: Row) -> Line:
    """A row with its digests in hex."""
    return Line(
        index=row.idx,
        chain=bytes(row.chain).hex(),
        body_sha256=hashlib.sha256(row.body).hexdigest(),
        body=decode_entry(row.body).body,
    )


def changes(
    ledger: SqliteLedger, *, before: int | None, limit: int, kind: str | None, tenant: str | None
) -> list[Line]:
    """Changes of tenants, keys and budgets, newest first, from the one before the index `before`."""
    # The plus keeps SQLite from walking the whole ledger backwards: all changes lie together in the unique index.
    query = "SELECT * FROM entry WHERE period = 0 AND kind IN (?, ?, ?)"
    kinds = CHANGES if kind is None else (kind,) * len(CHANGES)
    parameters: list[str | int] = [*kinds]
    for condition, value in ((" AND +idx < ?", before), (" AND +tenant = ?", tenant)):
        if value is not None:
            query += condition
            parameters.append(value)
    rows = _all(ledger, f"{query} ORDER BY +idx DESC LIMIT ?", (*parameters, limit))
    return [line_of(Row(*row)) for row in rows]


def usage_groups(
    ledger: SqliteLedger, period: Period, by: Sequence[str], *, after: Sequence[str | int] | None, limit: int
) -> list[Group]:
    """Sums by tenant and any of DIMENSIONS, in order of these, from the group after `after`."""
    names = ["tenant", *(_DAY_OF if name == "day" else name for name in by)]
    query = f"SELECT {', '.join(names)}, {_sums(_SUMMED)} FROM rollup WHERE hour >= ? AND hour < ?"
    parameters: list[str | int] = [period.first, period.end]
    if period.tenant is not None:
        query += " AND tenant = ?"
        parameters.append(period.tenant)
    rows = _grouped(ledger, query, names, parameters, after=after, limit=limit)
    return [_group(row, len(names), _SUMMED) for row in rows]


def project_groups(
    ledger: SqliteLedger, period: Period, by: Sequence[str], *, after: Sequence[str | int] | None, limit: int
) -> list[Group]:
    """Sums by tenant, project and perhaps day, over whole days; `by` is (project,) or (day, project)."""
    rest = "substr(subject, 9)"
    tenant, project = f"substr({rest}, 1, instr({rest}, '/') - 1)", f"substr({rest}, instr({rest}, '/') + 1)"
    names = [tenant, *({"project": project, "day": "at"}[name] for name in by)]
    # Subjects are project/<tenant>/<project>, and 0 is the character behind the slash.
    scope = "project" if period.tenant is None else f"project/{period.tenant}"
    query = (
        f"SELECT {', '.join(names)}, {_sums(_SPENDING)} FROM spend WHERE subject > ? AND subject < ? AND grain = 1 "
        "AND at >= ? AND at < ?"
    )
    days = (period.first // HOURS_PER_DAY, period.end // HOURS_PER_DAY)
    rows = _grouped(ledger, query, names, [f"{scope}/", f"{scope}0", *days], after=after, limit=limit)
    return [_group(row, len(names), _SPENDING) for row in rows]


def weakest_tiers(ledger: SqliteLedger, period: Period) -> dict[str, str]:
    """The weakest tier of each tenant's energy in a period, by the newest lines; without tenants that have none.

    InvalidRequest where that would take too long.
    """
    scope, parameters = "hour >= ? AND hour < ?", [period.first, period.end]
    tenant: tuple[str, ...] = () if period.tenant is None else (period.tenant,)
    condition = f"{scope} AND tenant = ?" if tenant else scope
    count = _all(ledger, f"SELECT coalesce(sum(requests), 0) FROM rollup WHERE {condition}", (*parameters, *tenant))
    if count[0][0] > MOST_TIER_REQUESTS:
        raise InvalidRequest(
            f"from, to: the period holds {count[0][0]:,} requests; usage covers up to {MOST_TIER_REQUESTS:,} at once, "
            "since the evidence of each is looked up: ask for less time or one tenant, or make a statement"
        )
    found = _all(
        ledger,
        "SELECT DISTINCT one.tenant, json_extract(CAST(one.body AS TEXT), '$.tier') FROM entry AS one "
        f"WHERE {condition} AND kind = 'usage' AND tenant != ? AND (revision > 0 OR NOT EXISTS "
        "(SELECT 1 FROM entry AS next WHERE next.period = one.period AND next.kind = 'usage' "
        "AND next.key = one.key AND next.attempt = one.attempt AND next.revision = 1))",
        (*parameters, *tenant, PLATFORM),
    )
    weakest: dict[str, str] = {}
    for name, tier in found:
        if tier is not None and TIERS.index(tier) >= TIERS.index(weakest.get(name, TIERS[0])):
            weakest[name] = tier
    return weakest


def _sums(columns: Sequence[str]) -> str:
    return ", ".join(f"sum({column})" for column in columns)


def _group(row: Sequence[Any], width: int, columns: Sequence[str]) -> Group:
    return Group(key=tuple(row[:width]), **dict(zip(columns, row[width:], strict=True)))


def _grouped(
    ledger: SqliteLedger,
    query: str,
    names: Sequence[str],
    parameters: Sequence[str | int],
    *,
    after: Sequence[str | int] | None,
    limit: int,
) -> Sequence[Sequence[Any]]:
    query = f"{query} GROUP BY {', '.join(names)} HAVING sum(requests) > 0"
    if after is not None:
        query += f" AND ({', '.join(names)}) > ({', '.join('?' * len(names))})"
    order = ", ".join(map(str, range(1, len(names) + 1)))
    return _all(ledger, f"{query} ORDER BY {order} LIMIT ?", (*parameters, *(after or ()), limit))


def _all(ledger: SqliteLedger, query: str, parameters: tuple[str | int, ...]) -> Sequence[Sequence[Any]]:
    with ledger.reading() as connection:
        return connection.exec_driver_sql(query, parameters).all()
