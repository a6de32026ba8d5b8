"""The learned models of the node's boards and CPU, from the ledger's writer to the gateway's replicas, by a file of the
run.

The writer replaces it whole once a second, so that a reader knows that somebody still learns; there is none before
anything is learned. A board's model is in it only after its entry is in the ledger, so no line can name a model that
comes later.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from greenserve.carbon.cpu_learning import UNFIT, CpuLearner, CpuUse, cpu_use_of, tier_of
from greenserve.carbon.ledger.boards import half_width_of
from greenserve.carbon.ledger.forms import FirstLine, Known, SettledLine
from greenserve.carbon.ledger.settled_rows import Written
from greenserve.carbon.power_model import MW_NS_PER_UJ, CpuPower
from greenserve.carbon.provisional import CPU
from greenserve.carbon.published import BoardPower, PublishedPowers
from greenserve.carbon.theta import Theta
from greenserve.ports import Clock
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.power")
POWER_FILE = Path("ray") / "power.json"
"""In the part of the run folder that is removed with the run."""
RENEW_NS = NS_PER_S
BASIS_POINTS_PER_PCT = 100


class PowerPublisher:
    """The writer's side. State: each board's newest model, power at rest and evidence, as written entries tell them;
    what settled requests tell of the CPU; when the file was written last [monotonic ns]."""

    def __init__(
        self, file: Path, *, run_id: str, names: Mapping[str, str], clock: Clock, cpu: CpuPower | None = None
    ) -> None:
        """`cpu` is the configured or average power, which what is learned goes before; None: it is not learned."""
        self._cpu = None if cpu is None else CpuLearner(cpu)
        self._file, self._run_id, self._names, self._clock = file, run_id, dict(names), clock
        self._thetas: dict[str, tuple[Theta, str]] = {}
        self._rest: dict[str, Mapping[str, Any]] = {}
        self._meters: dict[str, Mapping[str, Any]] = {}
        self._written_ns: int | None = None
        file.unlink(missing_ok=True)  # what a writer before this one learned is gone with it

    def __repr__(self) -> str:
        return f"<PowerPublisher of {len(self._thetas)} boards>"

    def written(self, written: Sequence[Written]) -> None:
        """Take what the ledger now holds."""
        for line, _ in written:
            if line.kind == "theta":
                body = line.decoded
                self._thetas[body["device"]] = (Theta.of_document(body["theta"]), body["sha256"])
            elif line.kind == "meter":
                self._meters[line.decoded["device"]] = line.decoded["meter"]
            elif line.kind == "device_interval" and _metered_ns(line.decoded) > 0:
                self._rest[line.decoded["device"]] = line.decoded
        if self._cpu is not None:
            for use in cpu_uses_of(written):
                self._cpu.take(use)

    def publish(self) -> bool:
        """Replace the file where a second has passed; whether it was. Blocking; raises OSError."""
        now_ns = self._clock.monotonic_ns()
        boards = {device: self._board(device) for device in self._thetas if device in self._rest}
        cpu = self._cpu_power()
        if not (boards or cpu) or (self._written_ns is not None and now_ns - self._written_ns < RENEW_NS):
            return False
        powers = PublishedPowers(run_id=self._run_id, at_ns=now_ns, boards=boards, names=self._names, cpu=cpu)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(powers.document()))
        fresh.replace(self._file)
        self._written_ns = now_ns
        return True

    def _cpu_power(self) -> CpuPower | None:
        return None if self._cpu is None else self._cpu.power(half_width_of(self._meters.get(CPU, {})))

    def _board(self, device: str) -> BoardPower:
        theta, sha256 = self._thetas[device]
        rest = self._rest[device]
        half_width_pct = half_width_of(self._meters.get(device, {}))
        return BoardPower(
            theta=theta,
            sha256=sha256,
            static_mw=rest["static_uj"] * MW_NS_PER_UJ // _metered_ns(rest),
            tier=rest["tier"],
            meter_bp=None if half_width_pct is None else half_width_pct * BASIS_POINTS_PER_PCT,
        )


def cpu_uses_of(written: Sequence[Written]) -> Iterator[CpuUse]:
    """What of the settled requests among these tells the CPU's power; those that were kept in their form by tier."""
    by_tier: dict[str, list[tuple[FirstLine, SettledLine]]] = {}
    for line, first in written:
        if line.kind != "usage" or line.revision != 1 or first is None:
            continue
        if not (isinstance(line.form, SettledLine) and isinstance(first.form, Known)):
            use = cpu_use_of({**first.decoded, **line.decoded})
            if use is not None:
                yield use
        elif _tells(first.form.line) and UNFIT.isdisjoint(line.form.flags):
            by_tier.setdefault(line.form.tier, []).append((first.form.line, line.form))
    for tier, pairs in by_tier.items():
        yield CpuUse(
            end_ns=max(first.end_ns for first, _ in pairs),
            tier=tier_of(tier),
            cpu_uj=sum(settled.active_uj + settled.host_uj for _, settled in pairs),
            cpu_ns=sum((first.cpu_ns or 0) + (first.host_cpu_ns or 0) for first, _ in pairs),
            held_uj=sum(settled.held_uj for _, settled in pairs),
            held_ns=sum(first.held_ns or 0 for first, _ in pairs),
            lines=len(pairs),
        )


def _tells(first: FirstLine) -> bool:
    return first.cpu_ns is not None and first.host_cpu_ns is not None


class PowerReader:
    """A replica's side. State: `now`, what answers are estimated by (None: nothing published); changed by `refresh`."""

    def __init__(self, file: Path, *, run_id: str) -> None:
        self._file, self._run_id = file, run_id
        self._stamp: tuple[int, int] | None = None
        self.now: PublishedPowers | None = None

    def __repr__(self) -> str:
        return f"<PowerReader of {self._file.name}: {'nothing' if self.now is None else len(self.now.boards)}>"

    def refresh(self) -> None:
        """Read the file where it was replaced; blocking, never on the way of a request.

        What is damaged or of another run counts as not published; the log says so once per file.
        """
        stamp = None
        try:
            found = self._file.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp == self._stamp:
                return
            powers = PublishedPowers.of_document(orjson.loads(self._file.read_bytes()))
        except FileNotFoundError:
            self._stamp = self.now = None
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._stamp, self.now = stamp, None
            log.warning("%s is not used, answers are estimated by a board's average: %s", self._file.name, error)
            return
        self._stamp = stamp
        self.now = powers if powers.run_id == self._run_id else None


def _metered_ns(body: Mapping[str, Any]) -> int:
    length_ns: int = body["end_ns"] - body["start_ns"] - body.get("unmetered_ns", 0)
    return length_ns
