"""Statements that were made, as files beside the ledger: the master JSON, from which every format derives."""

import os
import re
import tempfile
from pathlib import Path

import orjson

from greenserve.canonical import canonical_json
from greenserve.carbon.budgets import iso
from greenserve.carbon.periods import moment_us
from greenserve.errors import LedgerUnavailable, NotFound
from greenserve.records import Statement

STATEMENT_ID = re.compile(
    r"^[a-z0-9][a-z0-9-]{0,62}-[0-9]{4}-[0-9]{2}-[0-9]{2}h[0-9]{2}-[0-9-]{10}h[0-9]{2}-[0-9a-f]{12}$"
)


class StatementFiles:
    """Keeps statements in a folder. State: the folder alone; any number of processes may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<StatementFiles in {self._folder}>"

    def put(self, statement: Statement) -> bool:
        """Keep a statement; whether it is new. The same id is always the same bytes: a fold of the same entries."""
        path = self._path(statement.statement_id)
        if path.is_file():
            return False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
                file.write(canonical_json(statement.document) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError as error:
            raise LedgerUnavailable(
                f"the statement cannot be kept in {self._folder.name} ({error.strerror}): free disk space, or mend "
                "the folder's permissions"
            ) from error
        return True

    def get(self, statement_id: str) -> Statement:
        """One statement; NotFound."""
        path = self._path(statement_id)
        try:
            document = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            raise _unknown(statement_id) from None
        return Statement(
            statement_id=statement_id,
            tenant=document["tenant"],
            start_us=moment_us(document["start"]),
            end_us=moment_us(document["end"]),
            document=document,
        )

    def ids(self) -> list[str]:
        """The ids of all statements, in order."""
        return sorted(path.stem for path in self._folder.glob("*.json") if STATEMENT_ID.match(path.stem))

    def made(self, statement_id: str) -> str:
        """When a statement was made, as text; NotFound."""
        try:
            return iso(self._path(statement_id).stat().st_mtime_ns // 1_000)
        except FileNotFoundError:
            raise _unknown(statement_id) from None

    def _path(self, statement_id: str) -> Path:
        # The id becomes a file's name: nothing else than an id may reach the disk.
        if not STATEMENT_ID.match(statement_id):
            raise _unknown(statement_id)
        return self._folder / f"{statement_id}.json"


def statement_folder(ledger: Path) -> Path:
    """Where the statements of a ledger are kept."""
    return ledger.with_name(ledger.name + ".statements")


def _unknown(statement_id: str) -> NotFound:
    return NotFound(f"no statement has the id {statement_id!r:.120}; the list of statements has the ids")
