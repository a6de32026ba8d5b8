"""The ledger in a PostgreSQL database: the same tables, for when one machine is outgrown."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from greenserve.carbon.entries import US_PER_HOUR
from greenserve.carbon.ledger import postgres_tables, schema
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.upgrade import admit_signer
from greenserve.clock import SystemClock
from greenserve.errors import DependencyMissing, InvalidRequest, LedgerUnavailable
from greenserve.ports import Clock

SCHEME = "postgresql://"
WAIT_S = 10
_APPENDING, _WRITER = 0x67726E73, 0x67726E77
"""Advisory locks: of one transaction that appends, and of the one writer."""


class PostgresLedger(SqlLedger):
    """Entries in PostgreSQL. State: the database; what belongs beside a ledger (signing key, pepper, newest
    checkpoint, spools) lies in the folder of `files`, a path whose last part names the ledger there."""

    def __init__(self, url: str, files: Path, *, must_exist: bool = False, clock: Clock | None = None) -> None:
        """`url` is postgresql://USER:PASSWORD@HOST:PORT/DATABASE; LedgerUnavailable where it does not answer."""
        clock = clock or SystemClock()
        try:
            driver_url = make_url(url).set(drivername="postgresql+psycopg")
            engine = create_engine(
                driver_url,
                pool_pre_ping=True,
                connect_args={"application_name": "greenserve", "connect_timeout": WAIT_S},
            )
        except (ArgumentError, ValueError) as error:
            raise InvalidRequest(f"ledger.url: {error}; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
        except ImportError:
            raise DependencyMissing(
                "a ledger in PostgreSQL needs psycopg, which is not installed: `pip install 'greenserve[postgres]'`"
            ) from None
        event.listen(engine, "begin", _begin)
        super().__init__(engine=engine, path=files, clock=clock)
        self._unix_us = clock.unix_us
        self.url = url
        self._name = driver_url.render_as_string(hide_password=True)
        files.parent.mkdir(parents=True, exist_ok=True)
        try:
            if self._bring_up(must_exist):
                event.listen(engine, "begin", postgres_tables.confine)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresLedger {self._name}>"

    def lock_writer(self) -> "PostgresWriterLock":
        """Keep other writers out until released; LedgerUnavailable names who holds it."""
        return PostgresWriterLock(self._engine.connect(), self._name)

    def stored_bytes(self) -> int:
        """How large the ledger's tables and indices are [bytes]."""
        names = ", ".join(f"('{table.name}'::regclass)" for table in schema.metadata.sorted_tables)
        found = self.query(
            f"SELECT coalesce(sum(pg_total_relation_size(part.relid)), 0) FROM (VALUES {names}) AS whole (name), "
            "LATERAL pg_partition_tree(whole.name) AS part"
        )
        return int(found[0][0])

    def _bring_up(self, must_exist: bool) -> bool:
        """Make or check the tables; whether transactions can run as the role that only adds."""
        with self.writing() as connection:
            if not inspect(connection).has_table("ledger_format"):
                if must_exist:
                    raise LedgerUnavailable(
                        f"there is no ledger in {self._name}: `greenserve serve` or `tenant create` makes one"
                    )
                self._create(connection)
            version = postgres_tables.upgraded(connection)
            if version != schema.VERSION:
                raise LedgerUnavailable(
                    f"{self._name} has ledger format {version}, this program reads {schema.VERSION}: use the newer "
                    "GreenServe"
                )
            postgres_tables.bring_up(connection, self._unix_us() // US_PER_HOUR)
            return postgres_tables.confined(connection)

    def _create(self, connection: Connection) -> None:
        name = f"greenserve/{secrets.token_hex(8)}"
        postgres_tables.create_tables(connection, self._unix_us() // US_PER_HOUR)
        connection.execute(schema.tenancy.insert().values(one=1, revision=0))
        schema.set_origin(connection, name, chained=0, chain=b"")
        connection.exec_driver_sql("CREATE TABLE ledger_format (version integer NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO ledger_format VALUES ({schema.VERSION})")
        admit_signer(connection, self.path, name)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not isinstance(error, DBAPIError) and not hasattr(error, "sqlstate"):
                raise
            cause = str(error.orig if isinstance(error, DBAPIError) else error).strip()
            raise LedgerUnavailable(
                f"the ledger {self._name} failed ({cause}): check the server, its disk and the role's rights"
            ) from error


class PostgresWriterLock:
    """The session's advisory lock, which the server drops with the connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        held = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_WRITER})").scalar()
        holder = connection.exec_driver_sql(
            f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {_WRITER} AND granted"
        ).scalar()
        connection.commit()
        if not held:
            connection.close()
            raise LedgerUnavailable(
                f"server process {holder} of another gateway writes the ledger {name} already; stop that gateway, or "
                "give this one another ledger.url"
            )

    def __repr__(self) -> str:
        return "<PostgresWriterLock>"

    def release(self) -> None:
        """Let another writer in."""
        self._connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_WRITER})")
        self._connection.commit()
        self._connection.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(schema.WRITES, False):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_S}s'")
        # A server may be set to lose its last transactions in a crash; the ledger's are not among them.
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_APPENDING})")
    elif connection.get_execution_options().get(schema.READS, False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
