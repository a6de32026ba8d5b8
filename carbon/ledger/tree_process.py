"""The half of a verification that hashes, in a process of its own beside the half that adds up.

Both read all rows. Neither needs anything of the other, so that what they find is what one process finds.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from greenserve.errors import LedgerUnavailable

ALONE = 50_000
"""Below so many entries a second process takes longer to start than it saves."""
_COMMAND = (sys.executable, "-P", "-m", "greenserve.carbon.ledger.offline")


class TreeProcess:
    """Verifies a ledger's tree, checkpoints and keys while its block runs; ended with the block. State: the process."""

    def __init__(self, url: str, files: Path) -> None:
        # The URL may hold a password: it goes where other users of the machine do not see it.
        self._job = orjson.dumps({"kind": "tree", "ledger": url, "files": str(files)})
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __repr__(self) -> str:
        return f"<TreeProcess {self._process.pid}>"

    def __enter__(self) -> Self:
        assert self._process.stdin is not None
        # A process that has ended by now says in `findings` why.
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(self._job)
        self._process.stdin = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def findings(self) -> list[str]:
        """What it found, once it has ended; LedgerUnavailable where it could not do its work."""
        out, complaint = self._process.communicate()
        try:
            told = orjson.loads(out)
        except orjson.JSONDecodeError:
            reason = complaint.decode(errors="replace").strip().rpartition("\n")[2] or "it was ended from outside"
            raise LedgerUnavailable(
                f"the process that hashes the ledger again ended with {self._process.returncode} ({reason}); check "
                "the machine's memory, and verify again"
            ) from None
        if "error" in told:
            raise LedgerUnavailable(told["error"])
        return [str(finding) for finding in told["findings"]]
