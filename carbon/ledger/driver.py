"""What the hot path needs of a database: plain statements with `?`, in the caller's transaction."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from greenserve.carbon.ledger.packing import unpacked

Values = Sequence[Any]
BODY = "body"
_INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ENTRY_TYPES = ("int8", "int4", "text", "bytea", "int4", "int4", "text", "int8", "bytea")
_UNIQUE_VIOLATION = "23505"


class Driver(Protocol):
    """A connection below SQLAlchemy, for statements that run thousands of times a second.

    `table_only` behind a table's name in a query keeps its indices out of it. A column that a query calls `body` comes
    unpacked; by another name it comes as it is kept (`packing.stored`).
    """

    table_only: str

    def all(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def each(self, statement: str, values: Values = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query too large to hold."""

    def many(self, statement: str, rows: Iterable[Values]) -> None:
        """A statement once per row."""

    def insert_entries(self, rows: Sequence[Values]) -> bool:
        """Insert rows into `entry`, all or, where one's key is there already, none: then False."""


class SqliteDriver:
    """A driver over a SQLite connection."""

    table_only = "NOT INDEXED"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return "<SqliteDriver>"

    def all(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        cursor = self._connection.execute(statement, values)
        return list(_unpacked(cursor, _place(cursor.description)))

    def each(self, statement: str, values: Values = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query too large to hold."""
        cursor = self._connection.execute(statement, values)
        return _unpacked(cursor, _place(cursor.description))

    def many(self, statement: str, rows: Iterable[Values]) -> None:
        """A statement once per row."""
        self._connection.executemany(statement, rows)

    def insert_entries(self, rows: Sequence[Values]) -> bool:
        """Insert rows into `entry`, all or, where one's key is there already, none: then False."""
        self._connection.execute("SAVEPOINT entries")
        try:
            self._connection.executemany(_INSERT, rows)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise
            self._connection.execute("ROLLBACK TO entries")
            return False
        finally:
            self._connection.execute("RELEASE entries")
        return True


class PostgresDriver:
    """A driver over a psycopg connection."""

    table_only = ""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return "<PostgresDriver>"

    def all(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        cursor = self._connection.execute(_positional(statement), values)
        return list(_unpacked(cursor, _place(cursor.description)))

    def each(self, statement: str, values: Values = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query too large to hold."""
        with self._connection.cursor(name="each") as cursor:
            cursor.itersize = 5_000
            cursor.execute(_positional(statement), values)
            yield from _unpacked(cursor, _place(cursor.description))

    def many(self, statement: str, rows: Iterable[Values]) -> None:
        """A statement once per row."""
        rows = list(rows)
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(_positional(statement), rows)

    def insert_entries(self, rows: Sequence[Values]) -> bool:
        """Insert rows into `entry`, all or, where one's key is there already, none: then False."""
        self._connection.execute("SAVEPOINT entries")
        try:
            with self._connection.cursor() as cursor, cursor.copy("COPY entry FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(_ENTRY_TYPES)
                for row in rows:
                    copy.write_row(row)
        except Exception as error:
            if getattr(error, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise
            self._connection.execute("ROLLBACK TO entries")
            return False
        self._connection.execute("RELEASE entries")
        return True


def _place(description: Sequence[Sequence[Any]] | None) -> int | None:
    """Where in its rows a query has the column `body`."""
    names = [column[0] for column in description or ()]
    return names.index(BODY) if BODY in names else None


def _unpacked(rows: Iterable[tuple[Any, ...]], place: int | None) -> Iterator[tuple[Any, ...]]:
    if place is None:
        return iter(rows)
    return (
        row if row[place] is None else (*row[:place], unpacked(bytes(row[place])), *row[place + 1 :]) for row in rows
    )


def _positional(statement: str) -> str:
    return statement.replace("?", "%s")
