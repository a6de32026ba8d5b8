"""A verification in two processes finds what one finds."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tree_process import TreeProcess
from greenserve.errors import LedgerUnavailable

Lines = Callable[..., UsageLine]


def test_two_processes_find_what_one_finds(tmp_path: Path, a_line: Lines) -> None:
    """A flipped byte and a missing row, in a ledger of more than one tile, are named the same and in the same order."""
    book = SqliteLedger(tmp_path / "ledger.db")
    book.append([usage_entry(a_line()) for _ in range(600)])
    with sqlite3.connect(book.path) as connection:
        connection.execute("DROP TRIGGER entry_no_update")
        connection.execute("DROP TRIGGER entry_no_delete")
        connection.execute("UPDATE entry SET body = CAST(replace(body, '54603', '54604') AS BLOB) WHERE idx = 300")
        connection.execute("DELETE FROM entry WHERE idx = 599")
    connection.close()

    alone, side_by_side = book.verify(), book.verify(alone_below=0)

    book.close()
    assert any(found.startswith("entry 300 (") and "its hash is not the tree's" in found for found in alone)
    assert any(found.startswith("entry 300 (") and "E9" in found for found in alone)
    assert any("there were 600 entries" in found for found in alone)
    assert list(alone) == list(side_by_side)


def test_a_process_that_cannot_open_the_ledger_says_why(tmp_path: Path) -> None:
    """Its error is the verification's."""
    missing = tmp_path / "none.db"

    with TreeProcess(str(missing), missing) as tree, pytest.raises(LedgerUnavailable, match="there is no ledger"):
        tree.findings()


def test_a_block_that_fails_leaves_no_process(tmp_path: Path) -> None:
    """The process ends with the block, whatever ended that."""
    missing = tmp_path / "none.db"
    tree = TreeProcess(str(missing), missing)

    with pytest.raises(KeyboardInterrupt), tree:
        raise KeyboardInterrupt

    with pytest.raises(LedgerUnavailable, match="ended with"):
        tree.findings()
