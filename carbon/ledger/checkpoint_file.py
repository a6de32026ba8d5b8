"""The newest checkpoint in a file beside the ledger, for who keeps copies elsewhere."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from greenserve.carbon.ledger.notes import key_path, parse_note
from greenserve.errors import InvalidRequest
from greenserve.trouble import Trouble


class CheckpointFile:
    """Shows notes that are committed. State: the newest that is not shown yet, and when one was tried last [us UTC].

    The table has every checkpoint, so a file that cannot be written is logged, and the note kept for the next time.
    """

    def __init__(self, ledger: Path, unix_us: Callable[[], int]) -> None:
        self.path = ledger.with_name(ledger.name + ".checkpoint")
        self._key, self._unix_us = key_path(ledger), unix_us
        self._note, self._tried_us = "", 0
        words = f"the checkpoint {self.path} cannot be written; the ledger's table has it"
        self._trouble = Trouble(logging.getLogger(__name__), words)

    def __repr__(self) -> str:
        return f"<CheckpointFile {self.path}{', behind' if self._note else ''}>"

    def hold(self, note: str) -> None:
        """A newer note was committed."""
        self._note = note

    def publish(self, *, every_us: int = 0) -> None:
        """Write the note that is held, where so much time has passed since the last try [us]. A note in the file of the
        same ledger with more entries stays: another process has written on since."""
        note, now_us = self._note, self._unix_us()
        if not note or 0 <= now_us - self._tried_us < every_us:
            return
        self._tried_us = now_us
        try:
            with self._alone():
                if self._is_newer(note):
                    self._write(note)
        except OSError as error:
            self._trouble.met(error)
            return
        if self._note == note:
            self._note = ""
        self._trouble.over()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Between looking and writing no other process writes: all of them have the key that signs."""
        descriptor = os.open(self._key, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _is_newer(self, note: str) -> bool:
        try:
            shown = parse_note(self.path.read_text())
        except (FileNotFoundError, UnicodeDecodeError, InvalidRequest):
            return True
        held = parse_note(note)
        return shown.origin != held.origin or shown.size < held.size

    def _write(self, note: str) -> None:
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            draft.write_text(note)
            draft.replace(self.path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
