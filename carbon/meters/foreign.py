"""Whether somebody else works on a board: asked by a slow thread, never by the sampler."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenserve.carbon.meters.nvml import Board, process_ids
from greenserve.errors import MeterUnavailable

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

log = logging.getLogger("greenserve.meters")
EVERY_S = 10.0
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What was seen on a board at a monotonic time [ns]: how many processes are not ours, None where it is not known.

    `unmatched` are processes whose ids do not exist here (another namespace): they may be ours.
    """

    at_ns: int
    processes: int | None
    unmatched: int
    reason: str = ""

    @property
    def flags(self) -> frozenset[str]:
        """`foreign` where somebody else is there, `foreign_unknown` where that cannot be told."""
        if self.processes is None or self.unmatched:
            return frozenset({"foreign_unknown"}) | ({"foreign"} if self.processes else set())
        return frozenset({"foreign"}) if self.processes else frozenset()


def compare(running: frozenset[int], ours: frozenset[int], here: Callable[[int], bool], *, at_ns: int) -> Foreign:
    """Who of the `running` process ids is not ours; `here` tells whether an id exists on this side."""
    others = running - ours
    unmatched = sum(1 for pid in others if not here(pid))
    return Foreign(at_ns=at_ns, processes=len(others) - unmatched, unmatched=unmatched)


class ForeignWatch:
    """Asks every ten seconds which processes are on the boards.

    State: `_seen`, the last answer by board; written by its thread (or `look`), read by anyone.
    """

    def __init__(
        self,
        nvml: Any,
        boards: tuple[Board, ...],
        *,
        ours: Callable[[], frozenset[int]],
        clock: "Clock",
        proc: Path = PROC,
    ) -> None:
        """`ours` gives the ids of our own processes."""
        self._nvml, self._boards, self._ours, self._clock, self._proc = nvml, boards, ours, clock, proc
        self._seen: dict[str, Foreign] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter-foreign", daemon=True)

    def __repr__(self) -> str:
        return f"<ForeignWatch of {len(self._boards)} boards>"

    def seen(self, device: str) -> Foreign | None:
        """The last answer for a board's UUID; None before the first one and for devices that are no board."""
        return self._seen.get(device)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Ask once, all boards."""
        for board in self._boards:
            try:
                ours = self._ours()
                running = process_ids(self._nvml, board)
            except MeterUnavailable as error:
                if (last := self._seen.get(board.uuid)) is None or last.processes is not None:
                    log.warning("foreign work on %s is not known: %s", board.uuid, error)
                seen = Foreign(at_ns=self._clock.monotonic_ns(), processes=None, unmatched=0, reason=str(error))
            else:
                seen = compare(running, ours, self._exists, at_ns=self._clock.monotonic_ns())
            self._seen[board.uuid] = seen

    def _exists(self, pid: int) -> bool:
        return (self._proc / str(pid)).exists()

    def _run(self) -> None:
        self.look()
        while not self._stopping.wait(EVERY_S):
            self.look()
