"""What probes found out about boards, kept in one JSON file: a board's UUID and driver version name each."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from greenserve.carbon.meters.characterise import Characterisation
from greenserve.errors import ConfigInvalid

SCHEMA = "greenserve.boards/1"
FILE = "boards.json"


def meters_folder(ledger: Path) -> Path:
    """Where the meters of a ledger keep their journal and what probes found."""
    return ledger.with_name(ledger.name + ".meters")


def read_boards(file: Path) -> tuple[Characterisation, ...]:
    """All that is known; nothing where the file is missing. ConfigInvalid names what is wrong with it."""
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{file} cannot be read as JSON ({error}); remove it and probe again") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ConfigInvalid(f"{file} is no {SCHEMA} document; remove it and run `greenserve meters probe` again")
    try:
        return tuple(Characterisation(**board) for board in document["boards"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(f"{file} is damaged ({error}); remove it and run `greenserve meters probe` again") from None


def write_board(file: Path, board: Characterisation) -> None:
    """Add a board, in place of what was known of it with the same driver; the file appears whole or not at all."""
    kept = [one for one in read_boards(file) if (one.uuid, one.driver) != (board.uuid, board.driver)]
    _write(file, [*kept, board])


def known(boards: Iterable[Characterisation], *, uuid: str, driver: str) -> Characterisation | None:
    """What holds for a board with this driver; None where it was not probed, or with another driver only."""
    return next((one for one in boards if (one.uuid, one.driver) == (uuid, driver)), None)


def _write(file: Path, boards: Iterable[Characterisation]) -> None:
    names = [one.name for one in fields(Characterisation)]
    document = {"schema": SCHEMA, "boards": [{name: asdict(board)[name] for name in names} for board in boards]}
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(fresh, file)
