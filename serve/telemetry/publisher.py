"""One file of series per process in the run folder: any process of the node reads them all for its `/metrics`.

State: the folder. A process writes only its own file, whole, by renaming; who takes in the files of processes that
are gone holds the lock. Counters of the dead stay, in one file; their gauges vanish with them.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.serve.telemetry.series import Document, Series, labels_for, series_of

log = logging.getLogger("greenserve.telemetry")
DEPARTED = "departed.series"
LOCK = "departed.lock"
SUFFIX = ".series"


class Publisher:
    """The series of this process and the file that shows them to the others."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.series = Series()
        self._folder = folder
        self._file = folder / f"{name}-{os.getpid()}{SUFFIX}"
        self._mine = {"pid": os.getpid(), "start_ticks": start_ticks_of(os.getpid())}
        self.take_in_departed()

    def __repr__(self) -> str:
        return f"<Publisher {self._file.name}: {self.series!r}>"

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self.series.add(name, labels_for(name, labels), amount)

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        """Set a gauge; None: it is not known."""
        self.series.set(name, labels_for(name, labels), value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        self.series.observe(name, labels_for(name, labels), value)

    def document(self) -> dict[str, Any]:
        """What the file is to hold."""
        return self._mine | {"series": self.series.document()}

    def write(self, document: dict[str, Any]) -> None:
        """Replace the file; blocking. Raises OSError."""
        _replace(self._file, document)

    def publish(self) -> None:
        """Show the values of now; blocking. Raises OSError."""
        self.write(self.document())

    def snapshot(self) -> Series:
        """A copy of this process's series, for another thread."""
        return series_of(self.series.document())

    def merged(self, mine: Series | None = None) -> Series:
        """The series of all processes of the node; blocking. `mine` is this one's, else what its file holds."""
        whole = Series()
        if mine is not None:
            whole.merge(mine)
        with self._locked(fcntl.LOCK_SH):
            for path, document in _documents(self._folder):
                if mine is None or path != self._file:
                    whole.merge(series_of(document["series"]), gauges=_lives(document))
        return whole

    def take_in_departed(self) -> None:
        """Fold the files of processes that are gone into one, so that restarts do not pile them up; blocking."""
        with self._locked(fcntl.LOCK_EX):
            found = dict(_documents(self._folder))
            departed = self._folder / DEPARTED
            before = found.pop(departed, {"series": [], "taken": []})
            gone = {path: document for path, document in found.items() if not _lives(document)}
            if not gone:
                return
            whole = series_of(before["series"])
            for path, document in gone.items():
                if path.name not in before["taken"]:  # else the last one who did this ended before it was removed
                    whole.merge(series_of(document["series"]), gauges=False)
            taken = [path.name for path in gone]
            _replace(departed, {"pid": 0, "start_ticks": None, "series": whole.document(), "taken": taken})
            for path in gone:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        with (self._folder / LOCK).open("ab") as lock:
            fcntl.flock(lock, kind)
            yield


def _documents(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            yield path, _read(path)
        except FileNotFoundError:
            continue  # taken in meanwhile
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out of the metrics: %s", path.name, error)


def _read(path: Path) -> dict[str, Any]:
    document = orjson.loads(path.read_bytes())
    series: Document = document["series"]
    return {
        "pid": int(document["pid"]),
        "start_ticks": document["start_ticks"],
        "series": series,
        "taken": document.get("taken", []),
    }


def _replace(path: Path, document: dict[str, Any]) -> None:
    whole = path.with_suffix(".new")
    whole.write_bytes(orjson.dumps(document))
    whole.replace(path)


def _lives(document: dict[str, Any]) -> bool:
    """The same process, not another one with its number."""
    ticks = start_ticks_of(document["pid"]) if document["pid"] else None
    return ticks is not None and ticks == document["start_ticks"]
