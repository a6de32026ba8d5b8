"""Statements kept beside the ledger: an id is a file's name, and nothing else reaches the disk."""

from pathlib import Path

import pytest

from greenserve.carbon.ledger.statement_files import StatementFiles, statement_folder
from greenserve.errors import LedgerUnavailable, NotFound
from greenserve.records import Statement

ID = "acme-2026-01-01h00-2026-01-02h00-0123456789ab"
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000


def a_statement(statement_id: str = ID) -> Statement:
    """A day of acme's."""
    document = {"tenant": "acme", "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z", "joules": "1.5"}
    return Statement(
        statement_id=statement_id, tenant="acme", start_us=START_US, end_us=START_US + DAY_US, document=document
    )


def test_a_statement_is_kept_once_and_read_back(tmp_path: Path) -> None:
    """The second time it is there already; what is read equals what was kept."""
    files = StatementFiles(statement_folder(tmp_path / "ledger.db"))

    assert (True, False) == (files.put(a_statement()), files.put(a_statement()))
    assert a_statement() == files.get(ID)
    assert [ID] == files.ids()
    assert [f"{ID}.json"] == [path.name for path in (tmp_path / "ledger.db.statements").iterdir()]


@pytest.mark.parametrize("name", ["../secret", "secret", "/etc/passwd", "", ".", f"{ID}/../../secret"])
def test_what_is_no_id_reaches_no_file(name: str, tmp_path: Path) -> None:
    """Neither read nor written nor dated, though a file of that name is there."""
    (tmp_path / "secret.json").write_text('{"tenant": "x", "start": "2026-01-01", "end": "2026-01-02"}')
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "secret.json").write_text("{}")
    files = StatementFiles(folder)

    for reach in (files.get, files.made, lambda given: files.put(a_statement(given))):
        with pytest.raises(NotFound):
            reach(name)
    assert [] == files.ids()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """An error that names the folder, and no half a file."""
    (tmp_path / "kept").write_text("a file where the folder should be")

    with pytest.raises(LedgerUnavailable, match="cannot be kept in kept"):
        StatementFiles(tmp_path / "kept").put(a_statement())
