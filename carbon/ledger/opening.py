"""Opens the ledger that a URL names."""

from pathlib import Path

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.postgres import SCHEME, PostgresLedger
from greenserve.carbon.ledger.sqlite import SqliteLedger


def open_ledger(url: str, files: Path, *, must_exist: bool = False) -> SqlLedger:
    """The ledger at postgresql://..., with `files` beside it, or else the SQLite file `files`; LedgerUnavailable."""
    if url.startswith(SCHEME):
        return PostgresLedger(url, files, must_exist=must_exist)
    return SqliteLedger(files, must_exist=must_exist)
