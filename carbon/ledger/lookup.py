"""Questions to the ledger that need no fold: one row, a request's lines, changes, sums per group."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from greenserve.carbon.entries import PLATFORM, decode_entry
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.row import Row, salt_of, usage_key
from greenserve.carbon.receipt import Line
from greenserve.errors import InvalidRequest, NotFound
from greenserve.ids import is_request_id
from greenserve.records import TIERS

HOURS_PER_DAY = 24
DIMENSIONS = ("day", "model", "variant", "region")
CHANGES = ("tenant", "key", "budget")
_ROW = "idx, period, kind, key, attempt, revision, tenant, hour, body"
_GONE = "SELECT tenant FROM entry WHERE period = ? AND kind = 'usage' AND key = ? AND body IS NULL LIMIT 1"
_ERASED = "SELECT idx, body FROM entry WHERE period = 0 AND kind = 'erased' ORDER BY idx"
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


def row_at(ledger: SqlLedger, index: int) -> Row | None:
    """One row by its index."""
    found = ledger.query(f"SELECT {_ROW} FROM entry WHERE idx = ?", (index,))
    return ledger.archives.fill([Row._make(found[0])])[0] if found else None


def line_at(ledger: SqlLedger, index: int) -> Line | None:
    """One row with what proves it; None where there is none, or its body was erased."""
    row = row_at(ledger, index)
    return None if row is None or row.body is None else line_of(row, ledger.salt_secrets((row.tenant,)))


def lines_of(ledger: SqlLedger, request_id: str) -> list[Line]:
    """All lines of a request in order of index; `request_id` is a UUIDv7."""
    key, period = usage_key(request_id)
    statement = f"SELECT {_ROW} FROM entry WHERE period = ? AND kind = 'usage' AND key = ? ORDER BY idx"
    rows = ledger.archives.fill([Row._make(row) for row in ledger.query(statement, (period, key))])
    secrets = ledger.salt_secrets({row.tenant for row in rows})
    return [line_of(row, secrets) for row in rows if row.body is not None]


def lines_of_request(ledger: SqlLedger, given: str) -> list[Line]:
    """All lines of a request in order of index, by its id as somebody typed it.

    InvalidRequest for what is no UUID of version 7, NotFound where the ledger has no such request or it was erased.
    """
    if not is_request_id(given.lower()):
        raise InvalidRequest(f"{given!r:.80} is no request's id; it is a UUID of version 7")
    lines = lines_of(ledger, given.lower())
    if not lines:
        if (idx := erased_by(ledger, given.lower())) is not None:
            raise NotFound(f"request {given} was erased with its tenant's entries: entry {idx} says when and why")
        raise NotFound(f"the ledger has no request {given}; an answer's line is in it a second or so after the answer")
    return lines


def erased_by(ledger: SqlLedger, request_id: str) -> int | None:
    """The index of the `erased` entry that speaks of a request; None where the ledger never had it, or still has."""
    key, period = usage_key(request_id)
    found = ledger.query(_GONE, (period, key))
    for idx, data in ledger.query(_ERASED) if found else []:
        if orjson.loads(bytes(data))["subject"] == found[0][0]:
            return int(idx)
    return None


def line_of(row: Row, secrets: Mapping[str, bytes]) -> Line:
    """A row with its digests in hex; ValueError for one that was erased. `secrets` are the tenants' for salts."""
    if row.body is None:
        raise ValueError(f"entry {row.idx} was erased")
    salt = salt_of(secrets[row.tenant], row.kind, row.key, row.attempt, row.revision)
    return Line(
        index=row.idx,
        salt=salt.hex(),
        leaf_hash=leaf_hash(salt, row.body).hex(),
        body_sha256=hashlib.sha256(row.body).hexdigest(),
        body=decode_entry(row.body).body,
    )


def changes(ledger: SqlLedger, *, before: int | None, limit: int, kind: str | None, tenant: str | None) -> list[Line]:
    """Changes of tenants, keys and budgets, newest first, from the one before the index `before`."""
    # The plus keeps SQLite from walking the whole ledger backwards: all changes lie together in the unique index.
    query = f"SELECT {_ROW} FROM entry WHERE period = 0 AND kind IN (?, ?, ?) AND body IS NOT NULL"
    kinds = CHANGES if kind is None else (kind,) * len(CHANGES)
    parameters: list[str | int] = [*kinds]
    plain = "+" if ledger.is_sqlite else ""
    for column, value in (("idx <", before), ("tenant =", tenant)):
        if value is not None:
            query += f" AND {plain}{column} ?"
            parameters.append(value)
    rows = ledger.query(f"{query} ORDER BY {plain}idx DESC LIMIT ?", (*parameters, limit))
    found = [Row._make(row) for row in rows]
    secrets = ledger.salt_secrets({row.tenant for row in found})
    return [line_of(row, secrets) for row in found]


def usage_groups(
    ledger: SqlLedger, period: Period, by: Sequence[str], *, after: Sequence[str | int] | None, limit: int
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
    ledger: SqlLedger, period: Period, by: Sequence[str], *, after: Sequence[str | int] | None, limit: int
) -> list[Group]:
    """Sums by tenant, project and perhaps day, over whole days; `by` is (project,) or (day, project)."""
    rest, place = "substr(subject, 9)", "instr" if ledger.is_sqlite else "strpos"
    tenant, project = f"substr({rest}, 1, {place}({rest}, '/') - 1)", f"substr({rest}, {place}({rest}, '/') + 1)"
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


def weakest_tiers(ledger: SqlLedger, period: Period) -> dict[str, str]:
    """The weakest tier of each tenant's energy in a period; without tenants that have none."""
    weakest: dict[str, str] = {}
    for key, tally in ledger.rollup_rows(period.tenant, period.first, period.end):
        tier = tally.tier
        if tier is not None and key.tenant != PLATFORM:
            weakest[key.tenant] = max(tier, weakest.get(key.tenant, tier), key=TIERS.index)
    return weakest


def _sums(columns: Sequence[str]) -> str:
    return ", ".join(f"sum({column})" for column in columns)


def _group(row: Sequence[Any], width: int, columns: Sequence[str]) -> Group:
    return Group(key=tuple(row[:width]), **{name: int(value) for name, value in zip(columns, row[width:], strict=True)})


def _grouped(
    ledger: SqlLedger,
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
    return ledger.query(f"{query} ORDER BY {order} LIMIT ?", (*parameters, *(after or ()), limit))
