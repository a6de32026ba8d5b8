"""One writer per ledger, by a lock that the kernel drops with the process."""

import fcntl
import os
from pathlib import Path

from greenserve.errors import LedgerUnavailable


class WriterLock:
    """An exclusive lock on `<ledger>.lock`, held from construction to `release`. The file names its holder."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 64).decode().strip() or "unknown"
            os.close(self._descriptor)
            raise LedgerUnavailable(
                f"process {holder} writes the ledger {ledger} already; stop it, or give this gateway another ledger.url"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def __repr__(self) -> str:
        return f"<WriterLock {self._path}>"

    def release(self) -> None:
        """Let another writer in."""
        os.close(self._descriptor)
