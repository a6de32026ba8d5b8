"""The ledger in SQL tables: what SQLite and PostgreSQL share. Transactions, appending, reading in order."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import orjson
from sqlalchemy import Connection, Engine

from greenserve.carbon.budgets import Budget, window
from greenserve.carbon.entries import PLATFORM, decode_entry
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.archives import Archives
from greenserve.carbon.ledger.checkpoint_file import CheckpointFile
from greenserve.carbon.ledger.driver import Driver, PostgresDriver, SqliteDriver
from greenserve.carbon.ledger.late_lines import in_open_months
from greenserve.carbon.ledger.notes import Signer, Verifier, key_path, make_key, read_key
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.ledger.row import Head, Prepared, Row, prepare, prepare_bytes, usage_key
from greenserve.carbon.ledger.rows import Appender, Cursor, Placed, put_cursors, size_of, tile_reader
from greenserve.carbon.ledger.spend import Spend, balance, stretches
from greenserve.carbon.ledger.tiles import Tiles
from greenserve.carbon.ledger.tree_process import ALONE, TreeProcess
from greenserve.carbon.ledger.verify import verify_all, verify_keys, verify_sums, verify_tree
from greenserve.carbon.tally import Tally
from greenserve.errors import LedgerUnavailable
from greenserve.ports import Clock
from greenserve.records import Entry

PAGE_ROWS = 1_000
PUBLISH_EVERY_US = 1_000_000
APPENDER = "greenserve_appender"
_HELD = "SELECT body FROM entry WHERE period = ? AND kind = 'usage' AND key = ? AND revision = 0"
_COLUMNS = "idx, period, kind, key, attempt, revision, tenant, hour, body"
_SPENT = (
    "SELECT coalesce(sum(requests), 0), coalesce(sum(tokens), 0), coalesce(sum(energy_uj), 0), "
    "coalesce(sum(emissions_ng), 0), coalesce(sum(unknown_uj), 0) FROM spend "
    "WHERE subject = ? AND grain = ? AND at >= ? AND at < ?"
)
_UNSETTLED = (
    "SELECT first.idx, first.body FROM (SELECT DISTINCT tenant, hour FROM rollup WHERE provisional > 0) AS unpaid "
    "JOIN entry AS first ON first.tenant = unpaid.tenant AND first.hour = unpaid.hour "
    "WHERE first.kind = 'usage' AND first.revision = 0 AND NOT EXISTS (SELECT 1 FROM entry AS later "
    "WHERE later.period = first.period AND later.kind = 'usage' AND later.key = first.key "
    "AND later.attempt = first.attempt AND later.revision = 1) ORDER BY first.idx"
)


class Lock(Protocol):
    """Held by the one writer."""

    def release(self) -> None:
        """Let another writer in."""


class SqlLedger(ABC):
    """Entries in tables. State: the database, and the appender's view of its end; any number of processes may hold it
    open.

    Write transactions exclude each other and read the ledger's end inside, so that a command that adds a tenant and
    the gateway's writer never number the same row. Beside `path` lie the signing key and the newest checkpoint.
    """

    def __init__(self, *, engine: Engine, path: Path, clock: Clock) -> None:
        self.path, self.archives = path, Archives(path)
        self.url = str(path)
        self._engine = engine
        self._thread_lock, self._unix_us = threading.Lock(), clock.unix_us
        self._checkpoint, self._publish_every_us = CheckpointFile(path, clock.unix_us), 0
        self._appender = Appender(signer=self._find_signer, unix_us=clock.unix_us)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: durable when the block ends, undone when it raises."""
        with self._thread_lock, self._mapped():
            try:
                with self._engine.connect() as plain:
                    connection = plain.execution_options(**{schema.WRITES: True, APPENDER: self._appender})
                    with connection.begin():
                        yield connection
            except BaseException:
                self._appender.forget()
                self._appender.note = None
                raise
            note, self._appender.note = self._appender.note, None
            if note:
                self._checkpoint.hold(note)
            self._checkpoint.publish(every_us=self._publish_every_us)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction: the same state for all its queries."""
        with self._mapped(), self._engine.connect() as plain:
            connection = plain.execution_options(**{schema.READS: True})
            with connection.begin():
                yield connection

    def append(self, entries: Sequence[Entry]) -> int:
        """Add what is new, in one durable transaction; the number added. The same key with another body raises."""
        return len(self.append_lines([prepare(entry) for entry in entries]))

    def append_lines(
        self, lines: Sequence[Prepared], cursors: Mapping[str, Cursor] | None = None, epoch: int | None = None
    ) -> list[Placed]:
        """As `append`, and move the spools' cursors in the same transaction; what was new. A request of a month that is
        closed is entered where the ledger is open.

        With `epoch`, LedgerUnavailable where another writer has taken over since.
        """
        with self.writing() as connection:
            driver = driver_of(connection)
            if epoch is not None:
                _check_epoch(driver, epoch)
            placed = self._appender.append(driver, in_open_months(driver, lines, self._unix_us()))
            put_cursors(driver, cursors or {})
        return placed

    def take_over(self, holder: str) -> int:
        """Become the writer: the epoch to append with; writers before can append no more. Its checkpoints reach their
        file once a second, with an entry or with `publish`."""
        self._publish_every_us = PUBLISH_EVERY_US
        with self.writing() as connection:
            driver = driver_of(connection)
            driver.many("UPDATE writer SET epoch = epoch + 1, holder = ? WHERE one = 1", [(holder,)])
            return int(driver.all("SELECT epoch FROM writer")[0][0])

    @property
    def is_sqlite(self) -> bool:
        """Whether queries may use what only SQLite has."""
        return self._engine.dialect.name == "sqlite"

    @abstractmethod
    def lock_writer(self) -> Lock:
        """Keep other writers out until released; LedgerUnavailable names who holds it."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """How large the ledger is on disk [bytes]."""

    def entries(self, *, after: int = -1, tenant: str | None = None) -> Iterable[tuple[int, Entry]]:
        """(index, entry) in order of index, page by page, from the one after `after`, of one tenant or of all."""
        for row in self.rows(after=after, tenant=tenant):
            if row.body is not None:
                yield row.idx, decode_entry(row.body)

    def rows(self, *, after: int = -1, tenant: str | None = None) -> Iterator[Row]:
        """The stored rows, as `entries`."""
        scope = "idx > ?" if tenant is None else "tenant = ? AND idx > ?"
        own = () if tenant is None else (tenant,)
        while True:
            statement = f"SELECT {_COLUMNS} FROM entry WHERE {scope} ORDER BY idx LIMIT {PAGE_ROWS}"
            page = self.query(statement, (*own, after))
            yield from self.archives.fill(map(Row._make, page))
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def head(self) -> Head:
        """How many entries there are, and the root hash of their tree."""
        with self.reading() as connection:
            driver = driver_of(connection)
            size = size_of(driver)
            return Head(size=size, root=Tiles(tile_reader(driver)).root(size).hex())

    def root_at(self, size: int) -> str | None:
        """The root hash in hex when the ledger had `size` entries; None while it has fewer."""
        with self.reading() as connection:
            driver = driver_of(connection)
            return Tiles(tile_reader(driver)).root(size).hex() if size <= size_of(driver) else None

    def verify(self, *, alone_below: int = ALONE) -> Sequence[str]:
        """Findings, empty when everything re-derives: each names the first bad index.

        From `alone_below` entries on a second process does a part of it; LedgerUnavailable where that one fails.
        """
        # One read transaction for each part: rows and sums of the same moment, though the writer goes on.
        with self.reading() as connection:
            driver = driver_of(connection)
            if size_of(driver) < alone_below:
                return verify_all(driver, self.archives)
        with TreeProcess(self.url, self.path) as tree, self.reading() as connection:
            sums = verify_sums(driver_of(connection), self.archives)
            return [*tree.findings(), *sums]

    def verify_tree(self) -> Sequence[str]:
        """The findings of `verify` that need hashes or keys alone; `verify` has them from a process of its own."""
        with self.reading() as connection:
            driver = driver_of(connection)
            return [*verify_tree(driver, self.archives), *verify_keys(driver)]

    def used(self, budget: Budget, now_us: int) -> int:
        """What the budget's window around `now_us` has used, in its unit's ledger integer (ng, uJ or a count)."""
        return self.balances([budget], now_us)[budget.budget_id]

    def balances(self, budgets: Iterable[Budget], now_us: int) -> dict[str, int]:
        """What each budget's window around `now_us` has used, by its id: `used` for all of them at one moment."""
        with self.reading() as connection:
            driver = driver_of(connection)
            return {budget.budget_id: _balance(driver, budget, now_us) for budget in budgets}

    def rollup_rows(self, tenant: str | None, start_hour: int, end_hour: int) -> list[tuple[RollupKey, Tally]]:
        """The sums of a tenant (None: of all) in the hours [start, end) since 1970 UTC, in order of key."""
        scope, own = ("", ()) if tenant is None else ("tenant = ? AND ", (tenant,))
        rows = self.query(
            f"SELECT tenant, key_id, hour, model, variant, region, role, tally FROM rollup WHERE {scope}"
            "hour >= ? AND hour < ?",
            (*own, start_hour, end_hour),
        )
        found = [(RollupKey(*row[:-1]), Tally.from_json(bytes(row[-1]))) for row in rows]
        return sorted(found, key=itemgetter(0))

    def holds_usage(self, request_id: str) -> bool:
        """Whether a request's charged line is in the ledger, whichever of its attempts that is; one whose body was
        taken out since was there too."""
        key, period = usage_key(request_id)
        bodies = [body for (body,) in self.query(_HELD, (period, key))]
        return any(body is None or orjson.loads(bytes(body))["charged"] for body in bodies)

    def cursors(self) -> dict[str, Cursor]:
        """How far each spool was taken."""
        rows = self.query('SELECT spool, "offset", sequence FROM intake_cursor')
        return {spool: Cursor(offset=offset, sequence=sequence) for spool, offset, sequence in rows}

    def forget_cursors(self, spools: Sequence[str]) -> None:
        """Drop the cursors of spools whose files are gone."""
        with self.writing() as connection:
            driver_of(connection).many("DELETE FROM intake_cursor WHERE spool = ?", [(spool,) for spool in spools])

    def unsettled(self) -> list[Entry]:
        """Requests with a provisional line alone, in order; found by the hours whose sums hold provisional ones."""
        return [decode_entry(bytes(body)) for _, body in self.query(_UNSETTLED)]

    def unsettled_lines(self) -> list[Placed]:
        """As `unsettled`, with their indices."""
        return [Placed(idx, prepare_bytes(bytes(body))) for idx, body in self.query(_UNSETTLED)]

    def last_device_interval(self, device: str) -> Entry | None:
        """The newest interval of a device, None before its first."""
        statement = (
            "SELECT body FROM entry WHERE tenant = ? AND kind = 'device_interval' AND body IS NOT NULL "
            "ORDER BY hour DESC, idx DESC "
            f"LIMIT {PAGE_ROWS} OFFSET ?"
        )
        for offset in count(0, PAGE_ROWS):
            page = self.query(statement, (PLATFORM, offset))
            for (body,) in page:
                if orjson.loads(bytes(body))["device"] == device:
                    return decode_entry(bytes(body))
            if not page:
                break
        return None

    def hours(self) -> tuple[int, int] | None:
        """First and last hour (since 1970 UTC) that anything was metered or asked in; None for an empty ledger."""
        found = self.query("SELECT min(hour), max(hour) FROM entry WHERE kind IN ('usage', 'device_interval')")[0]
        return None if found[0] is None else (found[0], found[1])

    def salt_secrets(self, tenants: Iterable[str]) -> dict[str, bytes]:
        """The secrets of tenants' salts: with them, and only with them, hashes in the tree can be guessed at."""
        wanted = set(tenants)
        rows = self.query("SELECT tenant, salt FROM tenant_salt")
        return {tenant: bytes(salt) for tenant, salt in rows if tenant in wanted}

    def query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one query in a read transaction of its own; `?` stands for a value."""
        with self.reading() as connection:
            return driver_of(connection).all(statement, values)

    def replace_key(self) -> Verifier:
        """Move the signing key aside and make a new one, which signs from the next entry on; its verifier key."""
        path = key_path(self.path)
        with self.writing() as connection:
            driver = driver_of(connection)
            if path.exists():
                path.rename(path.with_name(f"{path.name}.{read_key(path).verifier.key_id.hex()}"))
            verifier = make_key(path, str(driver.all("SELECT name FROM origin")[0][0])).verifier
            driver.many("INSERT INTO signer VALUES (?, ?)", [(verifier.text, size_of(driver))])
            self._appender.forget()
        return verifier

    def _find_signer(self, driver: Driver) -> Signer:
        signer = read_key(key_path(self.path))
        if not driver.all("SELECT 1 FROM signer WHERE verifier = ?", (signer.verifier.text,)):
            raise LedgerUnavailable(
                f"{key_path(self.path)} is not this ledger's signing key: restore the right file from the backup, or "
                "let this key sign from now on with `greenserve ledger checkpoint --new-key`"
            )
        return signer

    def publish(self, *, every_us: int = 0) -> None:
        """Write the newest checkpoint to its file, for who keeps copies, where so much time has passed since [us].
        Where that fails it is logged: the ledger has it."""
        self._checkpoint.publish(every_us=every_us)

    @abstractmethod
    def _mapped(self) -> AbstractContextManager[None]:
        """Turns the database's errors into LedgerUnavailable."""


def driver_of(connection: Connection) -> Driver:
    """The connection inside, for statements that run thousands of times a second."""
    inner: Any = connection.connection.driver_connection
    return SqliteDriver(inner) if connection.dialect.name == "sqlite" else PostgresDriver(inner)


def append_with(connection: Connection, lines: Sequence[Prepared]) -> list[Placed]:
    """Append inside a transaction of `SqlLedger.writing`, with what else it changes."""
    appender: Appender = connection.get_execution_options()[APPENDER]
    return appender.append(driver_of(connection), lines)


def _check_epoch(driver: Driver, epoch: int) -> None:
    now, holder = driver.all("SELECT epoch, holder FROM writer")[0]
    if now != epoch:
        raise LedgerUnavailable(f"{holder} has taken over the ledger (epoch {now}, this writer's is {epoch}): stop")


def _balance(driver: Driver, budget: Budget, now_us: int) -> int:
    total = Spend()
    for stretch in stretches(window(budget, now_us)):
        total = total.plus(Spend(*map(int, driver.all(_SPENT, (budget.subject, *stretch))[0])))
    return balance(budget.unit, total)
