"""What waits in the spools of all gateways of a node: read in groups, and removed once the ledger holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenserve.carbon.ledger.known import Readings
from greenserve.carbon.ledger.row import Prepared
from greenserve.carbon.ledger.rows import Cursor
from greenserve.carbon.ledger.spool import SpoolHeader, SpoolReader, is_running, start_ticks_of
from greenserve.errors import LedgerUnavailable

LARGEST_GROUP = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The lines of one look at the spools, the cursors behind them, files that are done with, and damage found.

    At most LARGEST_GROUP lines: `more` says that some were left for the next look.
    """

    lines: Sequence[Prepared]
    cursors: Mapping[str, Cursor]
    finished: Sequence[tuple[Path, str | None]]
    damage: Sequence[str]
    more: bool


class Intake:
    """Tails every `*.spool` in a folder. State: the files' headers, the cursors as last acknowledged, and grid readings
    that were seen."""

    def __init__(self, folder: Path, cursors: Mapping[str, Cursor]) -> None:
        self._folder = folder
        self._cursors = dict(cursors)
        self._headers: dict[Path, SpoolHeader] = {}
        self._readings = Readings()
        folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<Intake of {self._folder}: {len(self._headers)} spools>"

    def look(self) -> Waiting:
        """What is complete in the spools and not yet acknowledged by `took`, up to LARGEST_GROUP lines."""
        lines: list[Prepared] = []
        readings = self._readings
        cursors: dict[str, Cursor] = {}
        finished: list[tuple[Path, str | None]] = []
        damage: list[str] = []
        # A file is sealed if that was so before it is read: what is behind its last frame then never comes.
        headers = {path: self._header(path) for path in sorted(self._folder.glob("*.spool"))}
        sealed = {path for path in headers if self._sealed(path, headers)}
        for path, header in headers.items():
            if header is None:
                if path in sealed:
                    finished.append((path, None))
                continue
            before = self._cursors.get(header.spool_id, Cursor(offset=0, sequence=0))
            cursor = before
            try:
                for frame in SpoolReader(path, cursor.offset, cursor.sequence).frames():
                    if len(lines) == LARGEST_GROUP:
                        break
                    if frame.sequence:
                        lines.append(readings.prepare(frame.body))
                    cursor = Cursor(offset=frame.end, sequence=frame.sequence + 1)
                else:
                    if path in sealed:
                        finished.append((path, header.spool_id))
            except LedgerUnavailable as error:
                damage.append(str(error))
            if cursor != before:
                cursors[header.spool_id] = cursor
        more = len(lines) == LARGEST_GROUP
        return Waiting(lines=lines, cursors=cursors, finished=finished, damage=damage, more=more)

    def took(self, waiting: Waiting) -> list[str]:
        """The ledger holds what waited: remove the files that are done with. The spools whose cursors may go."""
        self._cursors.update(waiting.cursors)
        gone = []
        for path, spool_id in waiting.finished:
            path.unlink(missing_ok=True)
            self._headers.pop(path, None)
            if spool_id is not None:
                self._cursors.pop(spool_id, None)
                gone.append(spool_id)
        return gone

    def _header(self, path: Path) -> SpoolHeader | None:
        if path not in self._headers:
            found = SpoolReader(path).header()
            if found is None:
                return None
            self._headers[path] = found
        return self._headers[path]

    @staticmethod
    def _sealed(path: Path, headers: Mapping[Path, SpoolHeader | None]) -> bool:
        """Whether nobody appends any more: the writer has a newer file, or is gone."""
        header = headers[path]
        if header is None:
            # A crash while the file was made; its name holds the writer's process id.
            return start_ticks_of(int(path.name.rpartition("-")[0].rpartition("-")[2])) is None
        newer = any(
            other is not None and other.writer_id == header.writer_id and other.number > header.number
            for other in headers.values()
        )
        return newer or not is_running(header)


def spools_of(ledger: Path) -> Path:
    """Where the gateways of a ledger spool their lines."""
    return ledger.with_name(ledger.name + ".spool")


def unshipped_lines(folder: Path, cursors: Mapping[str, Cursor]) -> dict[Path, int]:
    """How many complete lines of each spool in a folder the ledger has not taken yet; spools without any left out."""
    left = {}
    for path in sorted(folder.glob("*.spool")):
        header = SpoolReader(path).header()
        if header is None:
            continue
        cursor = cursors.get(header.spool_id, Cursor(offset=0, sequence=0))
        frames = SpoolReader(path, cursor.offset, cursor.sequence).frames()
        if count := sum(1 for frame in frames if frame.sequence):
            left[path] = count
    return left
