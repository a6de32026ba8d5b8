"""The boards of a node for the ledger's writer: their rows, their models, what their meters say of themselves."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from greenserve.carbon.closed import DeviceClosed, Settled
from greenserve.carbon.device_entries import device_entry, meter_entry, theta_entry
from greenserve.carbon.entries import BY_SPANS, Body
from greenserve.carbon.gathering import Whole
from greenserve.carbon.intervals import Row
from greenserve.carbon.ledger.beyond import BeyondDevices
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.node_accounts import NodeAccounts, board_settler
from greenserve.carbon.node_overhead import NODE, DeclaredOverhead
from greenserve.carbon.theta import Theta
from greenserve.errors import MeterUnavailable
from greenserve.records import Entry, Usage

STARTED = "the writer started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A node's devices: the reader of all of them, the boards among them, what probes found out about these, and by
    which names engines call them (`cuda:0`). `overhead` is what the node is declared to draw beyond its devices."""

    reader: NodeMeter
    boards: Sequence[str] = ()
    probes: Sequence[Characterisation] = ()
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    overhead: DeclaredOverhead | None = None

    def __post_init__(self) -> None:
        missing = sorted(set(self.boards) - set(self.reader.devices))
        if missing:
            raise ValueError(f"{self.reader!r} does not read {', '.join(missing)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes, for the entries: this boot and this run."""

    boot_id: str
    run_id: str


class Boards:
    """What the writer keeps of the boards. State: the accounts; the newest model of each board by version; how many
    meter entries and exchanges of meters were told; each board's evidence at its last row."""

    def __init__(self, *, cpu: str, writer: Writer, metered: Metered | None) -> None:
        self._writer, self._metered = writer, metered
        boards = metered.boards if metered else ()
        described = {board: metered.reader.describe(board) for board in boards} if metered else {}
        self.accounts = NodeAccounts(
            cpu=cpu,
            boards={board: board_settler(board, described[board]) for board in boards},
            names=metered.names if metered else {},
        )
        self._beyond = BeyondDevices(
            cpu=cpu,
            devices=boards,
            metered=metered is not None and NODE in metered.reader.devices,
            declared=metered.overhead if metered else None,
            writer=(writer.boot_id, writer.run_id),
        )
        self._digests: dict[tuple[str, int], str] = {}
        self._changes = self._told = 0
        self._started = False

    def __repr__(self) -> str:
        return f"<Boards of {self.accounts!r}>"

    def collect(self) -> None:
        """Take the rows that the reader has made since the last time."""
        for board in self.accounts.boards:
            self.accounts.add_rows(board, self._take(board))
        if self._metered is not None and NODE in self._metered.reader.devices:
            self._beyond.rows(self._take(NODE))

    def read(self) -> None:
        """Read every board and the node now, so that nothing up to now stays without a row; what cannot be read has had
        its last row before."""
        if self._metered is None:
            return
        for device in (*self.accounts.boards, *({NODE} & set(self._metered.reader.devices))):
            with suppress(MeterUnavailable):
                self._metered.reader.read(device)

    def meters(self, at_us: int) -> list[Entry]:
        """Entries for the meters in use when the writer began, and for each that was exchanged since; told once."""
        if self._metered is None:
            return []
        told = []
        if not self._started:
            self._started = True
            told += [self._meter(device, STARTED, at_us) for device in self._metered.reader.devices]
        changes = self._metered.reader.changes[self._changes :]
        self._changes += len(changes)
        for change in changes:
            reason = f"{change.before} gave way to {change.after}: {change.reason}"
            told.append(self._meter(change.device, reason, at_us))
        return told

    def models(self, thetas: Sequence[Theta], at_us: int) -> list[Entry]:
        """Entries of published models; parts settled from now on name them by their digest."""
        for theta in thetas:
            self._digests[theta.device, theta.version] = theta.digest()
        writer = self._writer
        return [theta_entry(theta, at_us=at_us, run_id=writer.run_id, boot_id=writer.boot_id) for theta in thetas]

    def interval(self, closed: Mapping[str, Any], at_us: int) -> Entry:
        """The entry of a board's closed stretch of time."""
        end = {"at_ns": closed["end_ns"], "source": closed["source"], "tier": closed["tier"]}
        body = {**closed, "flags": [], "settled_by": BY_SPANS}
        writer = self._writer
        return device_entry(body, at_us=at_us, run_id=writer.run_id, boot_id=writer.boot_id, end=end)

    def beyond(self, closed: Sequence[DeviceClosed], least_ns: int, at_us: int) -> list[Entry]:
        """The entry of what the node drew beyond its devices, once it is known for so long [ns]; written behind the
        round's own intervals."""
        self._beyond.took(closed)
        return self._beyond.entries(least_ns, at_us)

    def parts(self, whole: Whole) -> list[Body]:
        """The parts of a request, as its settled line carries them."""
        return [
            {
                "device": name.device,
                "batch": name.span_id or None,
                "active_uj": part.active_uj,
                "held_uj": part.held_uj,
                "host_uj": part.host_uj,
                "over_attributed_uj": part.over_attributed_uj,
                "tier": part.tier,
                "theta": self._digest(name.device, part),
                "theta_version": part.theta,
            }
            for name, part in whole.parts
        ]

    def usage(self, whole: Whole, request_id: str, half_width_of: Mapping[str, int | None]) -> Usage:
        """The settled usage of a request of several devices: sums, the weakest tier, and the sum of the parts' bounds,
        since what one meter shows too much another may, too."""
        parts = [(name.device, part) for name, part in whole.parts]
        limits = [bounds(_energy_uj(part), half_width_of.get(device)) for device, part in parts]
        assert whole.tier is not None
        return Usage(
            request_id=request_id,
            active_uj=sum(part.active_uj for _, part in parts),
            held_uj=sum(part.held_uj for _, part in parts),
            host_uj=sum(part.host_uj for _, part in parts),
            low_uj=sum(low for low, _ in limits),
            high_uj=sum(high for _, high in limits),
            tier=whole.tier,
            state="settled",
        )

    def half_widths(self) -> dict[str, int | None]:
        """Half widths of the boards' energy [%] as their present meters say; None where one has none."""
        if self._metered is None:
            return {}
        return {board: half_width_of(self._metered.reader.describe(board)) for board in self.accounts.boards}

    def _take(self, board: str) -> list[Row]:
        assert self._metered is not None
        return self._metered.reader.take(board)

    def _digest(self, device: str, part: Settled) -> str | None:
        return None if part.theta is None else self._digests[device, part.theta]

    def _meter(self, device: str, reason: str, at_us: int) -> Entry:
        assert self._metered is not None
        described = {name: _plain(value) for name, value in self._metered.reader.describe(device).items()}
        probe = next(
            (one for one in self._metered.probes if (one.uuid, one.driver) == (device, described.get("driver"))), None
        )
        found = None if probe is None else asdict(probe)
        self._told += 1
        return meter_entry(
            device,
            described
            | {"characterisation": found, "characterisation_sha256": None if found is None else _digest(found)},
            reason=reason,
            number=self._told,
            at_us=at_us,
            run_id=self._writer.run_id,
            boot_id=self._writer.boot_id,
        )


def half_width_of(described: Mapping[str, object]) -> int | None:
    """The half width of a meter's 90 % interval [%] as it describes itself; None for a simulated one."""
    half_width = described.get("half_width_pct")
    return half_width if isinstance(half_width, int) else None


def bounds(energy_uj: int, half_width_pct: int | None) -> tuple[int, int]:
    """The 90 % interval [uJ] of a metered energy; a simulated device has no width, its interval is the value itself."""
    if half_width_pct is None:
        return energy_uj, energy_uj
    return energy_uj * max(0, 100 - half_width_pct) // 100, -(-energy_uj * (100 + half_width_pct) // 100)


def _energy_uj(part: Settled) -> int:
    return part.active_uj + part.held_uj + part.host_uj


def _plain(value: object) -> object:
    """A value as bodies hold it: numbers with a point and what is no plain value become text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        inner = [_plain(item) for item in value]
        return sorted(map(str, inner)) if isinstance(value, set | frozenset) else inner
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return str(value)


def _digest(document: Mapping[str, object]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
