"""The ledger in one SQLite file."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from greenserve.carbon.budgets import Budget, window
from greenserve.carbon.entries import PLATFORM, US_PER_HOUR, decode_entry
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.chain import GENESIS, Head, Row, month_of
from greenserve.carbon.ledger.rollup import RollupKey, Sums
from greenserve.carbon.ledger.rows import Cursor, append_rows, put_cursors
from greenserve.carbon.ledger.spend import Spend, SpendKey, balance, stretches
from greenserve.carbon.ledger.upgrade import bring_up
from greenserve.errors import LedgerUnavailable
from greenserve.ids import unix_ms_of
from greenserve.records import Entry

PAGE_ROWS = 2_000
_US_PER_MS = 1_000
_SPENT = (
    "SELECT coalesce(sum(requests), 0), coalesce(sum(tokens), 0), coalesce(sum(energy_uj), 0), "
    "coalesce(sum(emissions_ng), 0), coalesce(sum(unknown_uj), 0) FROM spend "
    "WHERE subject = ? AND grain = ? AND at >= ? AND at < ?"
)


class SqliteLedger:
    """Entries in SQLite (WAL, synchronous FULL). State: the file alone; any number of processes may hold it open.

    A write transaction takes the file's write lock when it begins and reads the head inside it, so that a command
    that adds a tenant and the gateway's writer never number the same row.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self._engine = schema.open_engine(path, must_exist=must_exist)
        with self.writing() as connection:
            bring_up(connection, path)

    def __repr__(self) -> str:
        return f"<SqliteLedger {self.path}>"

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: durable when the block ends, undone when it raises."""
        with _mapped(self.path), self._engine.connect() as plain:
            connection = plain.execution_options(**{schema.WRITES: True})
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction: the same state for all its queries."""
        with _mapped(self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    def append(self, entries: Sequence[Entry]) -> int:
        """Add what is new, in one durable transaction; the number added. The same key with another body raises."""
        return len(self.append_group(entries))

    def append_group(self, entries: Sequence[Entry], cursors: Mapping[str, Cursor] | None = None) -> list[Entry]:
        """As `append`, and move the spools' cursors in the same transaction; the entries that were new."""
        with self.writing() as connection:
            added = append_rows(driver_of(connection), entries)
            put_cursors(connection, cursors or {})
        return added

    def entries(self, *, after: int = -1, tenant: str | None = None) -> Iterable[tuple[int, Entry]]:
        """(index, entry) in order of index, page by page, from the one after `after`, of one tenant or of all."""
        for row in self.rows(after=after, tenant=tenant):
            yield row.idx, decode_entry(row.body)

    def rows(self, *, after: int = -1, tenant: str | None = None) -> Iterator[Row]:
        """The stored rows, as `entries`."""
        while True:
            query = select(schema.entry).where(schema.entry.c.idx > after)
            if tenant is not None:
                query = query.where(schema.entry.c.tenant == tenant)
            with self.reading() as connection:
                page = connection.execute(query.order_by(schema.entry.c.idx).limit(PAGE_ROWS)).all()
            yield from (Row(*row) for row in page)
            if len(page) < PAGE_ROWS:
                return
            after = page[-1].idx

    def head(self) -> Head:
        """How many rows there are, and the last one's chain hash."""
        query = select(schema.entry.c.idx, schema.entry.c.chain).order_by(schema.entry.c.idx.desc()).limit(1)
        with self.reading() as connection:
            last = connection.execute(query).one_or_none()
        return Head(size=0, chain=GENESIS.hex()) if last is None else Head(size=last.idx + 1, chain=last.chain.hex())

    def chain_at(self, size: int) -> str | None:
        """The chain hash in hex when the ledger had `size` rows; None while it has fewer."""
        if size == 0:
            return GENESIS.hex()
        with self.reading() as connection:
            chain = connection.execute(select(schema.entry.c.chain).where(schema.entry.c.idx == size - 1)).scalar()
        return None if chain is None else bytes(chain).hex()

    def verify(self) -> Sequence[str]:
        """Findings, empty when everything re-derives: each names the first bad index."""
        audit = Audit()
        # One read transaction: rows and sums of the same moment, though the writer goes on.
        with self.reading() as connection:
            stored = connection.execute(select(schema.rollup)).all()
            spent = connection.execute(select(schema.spend)).all()
            for row in connection.execution_options(yield_per=PAGE_ROWS).execute(
                select(schema.entry).order_by(schema.entry.c.idx)
            ):
                audit.see(Row(*row))
            twice = connection.exec_driver_sql(
                "SELECT period, kind, key, attempt, revision, max(idx) AS idx FROM entry NOT INDEXED "
                "GROUP BY period, kind, key, attempt, revision HAVING count(*) > 1 ORDER BY idx LIMIT 10"
            ).all()
        findings = audit.finish(
            {RollupKey(*row[:5]): Sums(*row[5:]) for row in stored},
            {SpendKey(*row[:3]): Spend(*row[3:]) for row in spent},
        )
        return [*findings, *(f"entry {row.idx}: {row.kind} {row.key} stands twice" for row in twice)]

    def used(self, budget: Budget, now_us: int) -> int:
        """What the budget's window around `now_us` has used, in its unit's ledger integer (ng, uJ or a count)."""
        return self.balances([budget], now_us)[budget.budget_id]

    def balances(self, budgets: Iterable[Budget], now_us: int) -> dict[str, int]:
        """What each budget's window around `now_us` has used, by its id: `used` for all of them at one moment."""
        with self.reading() as connection:
            driver = driver_of(connection)
            return {budget.budget_id: _balance(driver, budget, now_us) for budget in budgets}

    def holds_usage(self, request_id: str) -> bool:
        """Whether a request's first line is in the ledger."""
        period = month_of(unix_ms_of(request_id) * _US_PER_MS // US_PER_HOUR)
        found = self._rows_of(
            "SELECT 1 FROM entry WHERE period = ? AND kind = 'usage' AND key = ? AND attempt = 0 AND revision = 0",
            (period, request_id),
        )
        return bool(found)

    def cursors(self) -> dict[str, Cursor]:
        """How far each spool was taken."""
        with self.reading() as connection:
            rows = connection.execute(select(schema.intake_cursor)).all()
        return {row.spool: Cursor(offset=row.offset, sequence=row.sequence) for row in rows}

    def forget_cursors(self, spools: Sequence[str]) -> None:
        """Drop the cursors of spools whose files are gone."""
        with self.writing() as connection:
            connection.execute(schema.intake_cursor.delete().where(schema.intake_cursor.c.spool.in_(spools)))

    def unsettled(self) -> list[Entry]:
        """Requests with a provisional line alone, in order; found by the hours whose sums hold provisional ones."""
        query = (
            "SELECT first.body FROM (SELECT DISTINCT tenant, hour FROM rollup WHERE provisional > 0) AS open "
            "JOIN entry AS first ON first.tenant = open.tenant AND first.hour = open.hour "
            "WHERE first.kind = 'usage' AND first.revision = 0 AND NOT EXISTS (SELECT 1 FROM entry AS next "
            "WHERE next.period = first.period AND next.kind = 'usage' AND next.key = first.key "
            "AND next.attempt = first.attempt AND next.revision = 1) ORDER BY first.idx"
        )
        return [decode_entry(row[0]) for row in self._rows_of(query)]

    def last_device_interval(self, device: str) -> Entry | None:
        """The newest interval of a device, None before its first."""
        query = (
            "SELECT body FROM entry WHERE tenant = ? AND kind = 'device_interval' AND instr(key, ?) > 0 "
            "ORDER BY hour DESC, idx DESC LIMIT 1"
        )
        found = self._rows_of(query, (PLATFORM, f"/{device}/"))
        return decode_entry(found[0][0]) if found else None

    def hours(self) -> tuple[int, int] | None:
        """First and last hour (since 1970 UTC) that anything was metered or asked in; None for an empty ledger."""
        query = "SELECT min(hour), max(hour) FROM entry WHERE kind IN ('usage', 'device_interval')"
        found = self._rows_of(query)[0]
        return None if found[0] is None else (found[0], found[1])

    def _rows_of(self, query: str, parameters: tuple[str | int, ...] = ()) -> Sequence[Sequence[Any]]:
        with self.reading() as connection:
            return connection.exec_driver_sql(query, parameters).all()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The sqlite3 connection inside, for statements that run thousands of times a second."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _balance(driver: sqlite3.Connection, budget: Budget, now_us: int) -> int:
    total = Spend()
    for stretch in stretches(window(budget, now_us)):
        total = total.plus(Spend(*driver.execute(_SPENT, (budget.subject, *stretch)).fetchone()))
    return balance(budget.unit, total)


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise LedgerUnavailable(
            f"the ledger {path} failed ({cause}): check the disk's space and the file's permissions"
        ) from error
