"""The interval journal: one append-only file per device and UTC day, 48 bytes a row, from which replays start."""

import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from greenserve.carbon.intervals import Row, cut
from greenserve.errors import LedgerUnavailable
from greenserve.records import TIERS

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

log = logging.getLogger("greenserve.meters")
RECORD = struct.Struct("<qqqqqIHBB")
UNKNOWN = -1
NO_TIER = 255
ROW, CLOCK = 0, 1
NS_PER_US = 1_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
KEPT_DAYS = 90
MOVED_US = 1_000
"""Civil time that moved more than a millisecond against monotonic time is noted: readers then convert exactly."""
FLAGS = (
    "gap",
    "estimated",
    "reset",
    "source_changed",
    "quarantined",
    "hole",
    "read_failed",
    "foreign",
    "foreign_unknown",
    "meter_disagreement",
    "simulated",
)
"""Bits of a row's flags, lowest first; append only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A row as it is kept: with the UTC time of its start [us since 1970] and without its source's text."""

    start_us: int
    row: Row


class Journal:
    """Writes the rows of one device, cut at UTC hours, so that no row belongs to two hours.

    State: the open file of the present day, and the civil offset last noted in it; the owner is one thread at a time.
    A torn row at a file's end (a crash) is cut when the file is opened again. Nothing is ever rewritten.
    """

    def __init__(self, folder: Path, device: str, *, clock: "Clock", kept_days: int = KEPT_DAYS) -> None:
        self._folder, self._device, self._clock, self._kept_days = folder, device, clock, kept_days
        self._file: BinaryIO | None = None
        self._day: int | None = None
        self._offset_us: int | None = None
        self._sources: dict[int, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.first_segment = 1 + max((segment for segment, _ in read_sources(folder, device)), default=-1)
        """Segments go on counting where the last writer ended."""

    def __repr__(self) -> str:
        return f"<Journal of {self._device} in {self._folder}>"

    def append(self, row: Row) -> None:
        """Keep a row; LedgerUnavailable where the file takes none (a full disk): metering goes on without it."""
        offset_us = self._clock.unix_us() - self._clock.monotonic_ns() // NS_PER_US
        start_us, end_us = row.start_ns // NS_PER_US + offset_us, row.end_ns // NS_PER_US + offset_us
        hours = range(start_us // HOUR_US + 1, end_us // HOUR_US + 1)
        try:
            for piece in cut(row, [(hour * HOUR_US - offset_us) * NS_PER_US for hour in hours]):
                self._write(piece, offset_us)
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise LedgerUnavailable(
                f"the interval journal {self._folder} takes no row ({error.strerror}); free space there"
            ) from None

    def close(self) -> None:
        """Make what was written durable."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _write(self, row: Row, offset_us: int) -> None:
        self._turn_to((row.start_ns // NS_PER_US + offset_us) // DAY_US)
        assert self._file is not None
        if self._offset_us is None or abs(offset_us - self._offset_us) > MOVED_US:
            at_us = row.start_ns // NS_PER_US + offset_us
            self._file.write(RECORD.pack(row.start_ns, at_us, 0, 0, 0, 0, 0, NO_TIER, CLOCK))
            self._offset_us = offset_us
        if self._sources.get(row.segment) != row.source:
            self._sources[row.segment] = row.source
            with sources_file(self._folder, self._device).open("a") as file:
                file.write(json.dumps({"segment": row.segment, "source": row.source}) + "\n")
        self._file.write(packed(row))

    def _turn_to(self, day: int) -> None:
        if self._file is not None and day == self._day:
            return
        self.close()
        file = day_file(self._folder, self._device, day)
        if file.exists() and (torn := file.stat().st_size % RECORD.size):
            log.warning("cutting %d bytes of a torn row from %s", torn, file)
            os.truncate(file, file.stat().st_size - torn)
        self._file = file.open("ab")
        self._day, self._offset_us = day, None
        for old in self._folder.glob(f"{quote(self._device, safe='')}.*.intervals"):
            if int(old.name.rsplit(".", 2)[1]) < day - self._kept_days:
                old.unlink()


def packed(row: Row) -> bytes:
    """A row's 48 bytes."""
    flags = sum(1 << FLAGS.index(flag) for flag in row.flags)
    return RECORD.pack(
        row.start_ns,
        row.end_ns,
        UNKNOWN if row.energy_uj is None else row.energy_uj,
        UNKNOWN if row.static_uj is None else row.static_uj,
        UNKNOWN if row.busy_ns is None else row.busy_ns,
        row.segment,
        flags,
        NO_TIER if row.tier is None else TIERS.index(row.tier),
        ROW,
    )


def day_file(folder: Path, device: str, day: int) -> Path:
    """The file of a device and a day counted from 1970 UTC."""
    return folder / f"{quote(device, safe='')}.{day}.intervals"


def sources_file(folder: Path, device: str) -> Path:
    """Which source each segment of a device had: JSON lines."""
    return folder / f"{quote(device, safe='')}.sources"


def read_sources(folder: Path, device: str) -> Iterator[tuple[int, str]]:
    """(segment, source) in the order of writing; a torn last line is left out."""
    try:
        lines = sources_file(folder, device).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return
    for line in lines:
        if line.endswith("\n"):
            known = json.loads(line)
            yield int(known["segment"]), str(known["source"])


def read_day(folder: Path, device: str, day: int) -> Iterator[Written]:
    """The rows of a device and day in the order of writing; nothing where there is no file. A torn end is left out."""
    sources = dict(read_sources(folder, device))
    for start_us, record in _records(folder, device, day):
        start_ns, end_ns, energy_uj, static_uj, busy_ns, segment, bits, tier, _ = RECORD.unpack(record)
        row = Row(
            device=device,
            segment=segment,
            start_ns=start_ns,
            end_ns=end_ns,
            energy_uj=None if energy_uj == UNKNOWN else energy_uj,
            static_uj=None if static_uj == UNKNOWN else static_uj,
            tier=None if tier == NO_TIER else TIERS[tier],
            source=sources.get(segment, ""),
            flags=frozenset(name for place, name in enumerate(FLAGS) if bits >> place & 1),
            busy_ns=None if busy_ns == UNKNOWN else busy_ns,
        )
        yield Written(start_us=start_us, row=row)


def hour_digest(folder: Path, device: str, hour: int) -> str | None:
    """SHA-256 (hex) of the raw rows that begin in an hour counted from 1970 UTC; None without a row."""
    digest, count = hashlib.sha256(), 0
    for start_us, record in _records(folder, device, hour // 24):
        if start_us // HOUR_US == hour:
            digest.update(record)
            count += 1
    return digest.hexdigest() if count else None


def _records(folder: Path, device: str, day: int) -> Iterator[tuple[int, bytes]]:
    """(UTC start [us], raw row) of a day, civil times from the clock records between the rows."""
    try:
        data = day_file(folder, device, day).read_bytes()
    except FileNotFoundError:
        return
    offset_us = 0
    for place in range(0, len(data) - RECORD.size + 1, RECORD.size):
        record = data[place : place + RECORD.size]
        start_ns, second, *_, kind = RECORD.unpack(record)
        if kind == CLOCK:
            offset_us = second - start_ns // NS_PER_US
        else:
            yield start_ns // NS_PER_US + offset_us, record
