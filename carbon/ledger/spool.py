"""Spools: each gateway's own durable queue of ledger bodies, on disk before an answer leaves.

A file is a series of frames: u32 length, u32 CRC-32, u64 sequence, body (big-endian; the CRC covers sequence and body).
Frame 0 is the file's header, a JSON object that names the writing process. What `append` returned for is on disk.
"""

import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson

from greenserve.errors import LedgerUnavailable

ROTATE_BYTES = 16 * 2**20
FRAME_BYTES = 16
LARGEST_BODY = 2**20
SEARCHED_SEQUENCES = 4096
_HEAD = struct.Struct(">IIQ")
_SEQUENCE = struct.Struct(">Q")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolHeader:
    """Who writes a spool file: a writer unique for ever and the how manieth of its files, in a process with its id and
    its start in clock ticks since boot."""

    writer_id: str
    name: str
    number: int
    pid: int
    start_ticks: int
    boot_id: str

    @property
    def spool_id(self) -> str:
        """The file's own id, under which the ledger keeps how far it was taken."""
        return f"{self.writer_id}.{self.number}"


class Frame(NamedTuple):
    """One complete frame; `end` is the file offset [bytes] behind it."""

    sequence: int
    body: bytes
    end: int


class SpoolWriter:
    """Appends bodies durably. State: the open file, its size and next sequence; one thread calls `append`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        max_bytes: int = 256 * 2**20,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """`sync` makes an open file durable: it returns when that is so, and raises OSError where it cannot."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a spool's name holds letters, digits, - and _, got {name!r}")
        self._folder, self._name, self._max_bytes, self._sync = folder, name, max_bytes, sync
        # A reader removes only files that have a successor, so that a bound must hold several.
        self._rotate_bytes = min(ROTATE_BYTES, max_bytes // 4)
        self._writer_id = secrets.token_hex(16)
        self._descriptor: int | None = None
        self._number, self._size, self._sequence = 0, 0, 0
        self._own: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<SpoolWriter {self._name}.{self._number} {self._size} bytes, next {self._sequence}>"

    def append(self, bodies: Sequence[bytes]) -> None:
        """Write the bodies as one group and sync; returns when they are on disk.

        LedgerUnavailable where the disk is full, the sync failed or the writer lags by `max_bytes`: then none of them
        may be acknowledged, and the next call starts a new file, since a failed sync is never asked again. A file of
        which nothing was acknowledged is removed, or each try at a disk that fails would leave one.
        """
        if not bodies:
            return
        if max(map(len, bodies)) > LARGEST_BODY or not min(map(len, bodies)):
            raise ValueError(f"a body has 1..{LARGEST_BODY} bytes, got {[len(body) for body in bodies]}")
        try:
            descriptor = self._open_file()
            group = b"".join(map(frame, range(self._sequence, self._sequence + len(bodies)), bodies))
            _write_all(descriptor, group)
            self._sync(descriptor)
        except OSError as error:
            self._give_up()
            raise LedgerUnavailable(
                f"the spool {self._folder / self._name} cannot take the record ({error.strerror}): free disk space "
                "or mend the disk; no answer leaves without its record"
            ) from error
        self._sequence += len(bodies)
        self._size += len(group)
        if self._size >= self._rotate_bytes:
            self.close()

    def close(self) -> None:
        """Close the file; the next `append` starts a new one."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _give_up(self) -> None:
        """Leave the open file, which can't be trusted any more."""
        if self._descriptor is not None and self._sequence == 1:
            with suppress(OSError):
                self._own[-1].unlink()
                self._own.pop()
        self.close()

    def _open_file(self) -> int:
        waiting = sum(map(_size_of, self._own))
        if waiting >= self._max_bytes:
            raise LedgerUnavailable(
                f"the spool {self._folder / self._name} holds {waiting} of {self._max_bytes} bytes that the ledger "
                "has not taken: is the ledger's writer running?",
                retry_after_s=1,
            )
        if self._descriptor is None:
            self._create()
        assert self._descriptor is not None
        return self._descriptor

    def _create(self) -> None:
        self._number += 1
        pid = os.getpid()
        header = SpoolHeader(
            writer_id=self._writer_id,
            name=self._name,
            number=self._number,
            pid=pid,
            start_ticks=start_ticks_of(pid) or 0,
            boot_id=boot_id(),
        )
        path = self._folder / f"{self._name}-{pid}-{self._writer_id[:8]}.{self._number}.spool"
        first = frame(0, orjson.dumps({name: getattr(header, name) for name in SpoolHeader.__slots__}))
        self._own = [*(own for own in self._own if own.exists()), path]
        self._size, self._sequence = len(first), 1
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._descriptor = descriptor
        _write_all(descriptor, first)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class SpoolReader:
    """The complete frames of one spool file, from a byte offset on, where `sequence` is expected.

    A file that is gone has none: its writer takes back one of which nothing was acknowledged.
    """

    def __init__(self, path: Path, offset: int = 0, sequence: int = 0) -> None:
        self._path, self._offset, self._sequence = path, offset, sequence

    def frames(self) -> Iterator[Frame]:
        """Frames in order, the header among them. A torn tail ends them (it was never acknowledged).

        LedgerUnavailable for damage before a good frame: it names the file and the offset.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        here, expected = 0, self._sequence
        while True:
            found = _frame_at(data, here)
            if found is None or found[0] != expected:
                break
            sequence, body, here = found
            expected = sequence + 1
            yield Frame(sequence, body, self._offset + here)
        if found is not None or _good_frame_follows(data, here, expected):
            raise LedgerUnavailable(
                f"{self._path}: the frame at byte {self._offset + here} is damaged and good ones follow it; "
                "keep the file and restore it from a copy of the disk, acknowledged records are in it"
            )

    def header(self) -> SpoolHeader | None:
        """Who writes the file, None while its first frame is not complete."""
        try:
            with self._path.open("rb") as file:
                found = _frame_at(file.read(FRAME_BYTES + 1024), 0)
        except FileNotFoundError:
            return None
        if found is None or found[0] != 0:
            return None
        return SpoolHeader(**orjson.loads(found[1]))


def frame(sequence: int, body: bytes) -> bytes:
    """The bytes of one frame."""
    numbered = _SEQUENCE.pack(sequence) + body
    return struct.pack(">II", len(body), zlib.crc32(numbered)) + numbered


def is_running(header: SpoolHeader) -> bool:
    """Whether the process that writes a file still runs: same boot, same process id, same start."""
    return header.boot_id == boot_id() and start_ticks_of(header.pid) == header.start_ticks


def start_ticks_of(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


@cache
def boot_id() -> str:
    """The kernel's random id of this boot: monotonic times of one boot compare, of two do not."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _frame_at(data: bytes, here: int) -> tuple[int, bytes, int] | None:
    if here + FRAME_BYTES > len(data):
        return None
    length, checksum, sequence = _HEAD.unpack_from(data, here)
    end = here + FRAME_BYTES + length
    if not 0 < length <= LARGEST_BODY or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[here + 8 : end]) != checksum:
        return None
    return sequence, data[here + FRAME_BYTES : end], end


def _good_frame_follows(data: bytes, here: int, expected: int) -> bool:
    """Whether a later frame of the file is whole: then what is bad at `here` is damage, not a torn tail.

    The bytes of the next sequences are searched for, since a damaged length says nothing about where frames start.
    """
    remaining = (len(data) - here) // FRAME_BYTES
    for sequence in range(expected + 1, expected + 1 + min(remaining, SEARCHED_SEQUENCES)):
        place = data.find(_SEQUENCE.pack(sequence), here + _SEQUENCE.size)
        found = _frame_at(data, place - _SEQUENCE.size) if place >= 0 else None
        if found is not None and found[0] == sequence:
            return True
    return False


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
