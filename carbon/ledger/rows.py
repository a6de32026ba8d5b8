"""Rows into SQLite: the one insert that numbers entries, chains them and keeps the sums of them."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert

from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.chain import GENESIS, body_bytes, identity_of, link
from greenserve.carbon.ledger.rollup import Deltas, empty_deltas, fold
from greenserve.carbon.ledger.spend import Places, Spends, fold_spend, spends_of
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry

Identity = tuple[int, str, str, int, int]
_INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND = "SELECT body FROM entry WHERE period = ? AND kind = ? AND key = ? AND attempt = ? AND revision = ?"
_ADD_UP = (
    "INSERT INTO rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "requests = requests + excluded.requests, energy_uj = energy_uj + excluded.energy_uj, "
    "emissions_ng = emissions_ng + excluded.emissions_ng, unknown_uj = unknown_uj + excluded.unknown_uj, "
    "unmetered = unmetered + excluded.unmetered, provisional = provisional + excluded.provisional"
)
_SPEND = (
    "INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "requests = requests + excluded.requests, tokens = tokens + excluded.tokens, "
    "energy_uj = energy_uj + excluded.energy_uj, emissions_ng = emissions_ng + excluded.emissions_ng, "
    "unknown_uj = unknown_uj + excluded.unknown_uj"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a spool file was taken: the byte offset behind the last frame, and the sequence expected there."""

    offset: int
    sequence: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    identity: Identity
    entry: Entry
    body: bytes


def append_rows(driver: sqlite3.Connection, entries: Iterable[Entry]) -> list[Entry]:
    """Insert the entries that are new, inside the caller's write transaction; those that were.

    The same key with the same body is skipped; with another body it is LedgerUnavailable, and nothing is written.
    """
    prepared = [_Prepared(identity_of(entry), entry, body_bytes(entry)) for entry in entries]
    seen: dict[Identity, bytes] = {}
    new = []
    for one in prepared:
        known = seen.get(one.identity) or _stored(driver, one.identity)
        if known is None:
            new.append(one)
            seen[one.identity] = one.body
        elif known != one.body:
            raise LedgerUnavailable(
                f"{one.entry.kind} {one.entry.key} attempt {one.entry.attempt} revision {one.entry.revision} is in "
                "the ledger with another body: two requests share an id, or a record was changed on its way",
                details={"kind": one.entry.kind, "key": one.entry.key},
            )
    _insert(driver, new)
    _add_up(driver, new, seen)
    return [one.entry for one in new]


def put_cursors(connection: Connection, cursors: Mapping[str, Cursor]) -> None:
    """Remember how far each spool was taken."""
    for spool, cursor in cursors.items():
        values = {"offset": cursor.offset, "sequence": cursor.sequence}
        statement = insert(schema.intake_cursor).values(spool=spool, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["spool"], set_=values))


def _stored(driver: sqlite3.Connection, identity: Identity) -> bytes | None:
    found = driver.execute(_FIND, identity).fetchone()
    return None if found is None else bytes(found[0])


def _insert(driver: sqlite3.Connection, new: Sequence[_Prepared]) -> None:
    last = driver.execute("SELECT idx, chain FROM entry ORDER BY idx DESC LIMIT 1").fetchone()
    idx, chain = (-1, GENESIS) if last is None else (last[0], bytes(last[1]))
    rows = []
    for one in new:
        idx, chain = idx + 1, link(chain, one.body)
        rows.append((idx, *one.identity, one.entry.tenant, one.entry.hour, one.body, chain))
    driver.executemany(_INSERT, rows)


def _add_up(driver: sqlite3.Connection, new: Sequence[_Prepared], seen: Mapping[Identity, bytes]) -> None:
    deltas: Deltas = empty_deltas()
    places: Places = {}
    for one in new:
        if one.entry.kind == "usage":
            replaced = _replaced(driver, one, seen)
            fold(deltas, one.entry, replaced)
            fold_spend(places, one.entry, replaced)
    driver.executemany(_ADD_UP, [(*key, *sums) for key, sums in deltas.items()])
    put_spends(driver, spends_of(places))


def put_spends(driver: sqlite3.Connection, spends: Spends) -> None:
    """Add to the sums that budgets are read from."""
    driver.executemany(_SPEND, [(*key, *spent) for key, spent in spends.items()])


def _replaced(driver: sqlite3.Connection, one: _Prepared, seen: Mapping[Identity, bytes]) -> dict[str, object] | None:
    """The body that a settled line takes the place of."""
    revision = one.entry.revision
    if revision == 0:
        return None
    before: Identity = (*one.identity[:4], revision - 1)
    body = seen.get(before) or _stored(driver, before)
    if body is None or revision > 1:
        raise LedgerUnavailable(
            f"usage {one.entry.key} revision {revision} follows no revision {revision - 1}; a request has a "
            "provisional line (0) and a settled one (1)"
        )
    replaced: dict[str, object] = orjson.loads(body)
    return replaced
