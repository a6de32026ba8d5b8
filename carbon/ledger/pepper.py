"""The server's secret beside the ledger: without it the stored HMACs say nothing about the keys."""

import os
import secrets
import stat
from pathlib import Path

from greenserve.errors import LedgerUnavailable

PEPPER_BYTES = 32


def pepper_path(ledger: Path) -> Path:
    """Where the pepper of a ledger lies."""
    return ledger.with_name(ledger.name + ".pepper")


def read_pepper(ledger: Path, *, keys_exist: bool) -> bytes:
    """The pepper (32 bytes), made on first use and readable by its owner alone.

    LedgerUnavailable if others may read it, or if it is lost although keys were made with it.
    """
    path = pepper_path(ledger)
    if not path.exists():
        if keys_exist:
            raise LedgerUnavailable(
                f"{path} is missing, and no key can be checked without it: restore it from the backup, or revoke all "
                "keys and make new ones"
            )
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise LedgerUnavailable(f"{path} is open to other users: run `chmod 600 {path}`")
    pepper = path.read_bytes()
    if len(pepper) != PEPPER_BYTES:
        raise LedgerUnavailable(f"{path} has {len(pepper)} bytes, not {PEPPER_BYTES}: restore it from the backup")
    return pepper


def _make(path: Path) -> None:
    """Whole or not at all, and only one wins where two processes start together."""
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(PEPPER_BYTES))
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(descriptor)
        draft.unlink()
