"""The writer's account of what the node draws beyond its devices, and the entries of it."""

from collections.abc import Iterable, Sequence
from typing import Any

from greenserve.carbon.closed import DeviceClosed
from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.entries import POOLS
from greenserve.carbon.intervals import Row
from greenserve.carbon.node_overhead import Beyond, DeclaredOverhead, NodeBalance, declared_over
from greenserve.records import Entry

Writer = tuple[str, str]
"""This boot and this run."""


class BeyondDevices:
    """State: with a meter of the node the balance of its stretches; with a declared power from when to when the CPU's
    intervals have reached and were told [monotonic ns]."""

    def __init__(
        self, *, cpu: str, devices: Iterable[str], metered: bool, declared: DeclaredOverhead | None, writer: Writer
    ) -> None:
        """`metered` says whether a meter of the whole node is read: it goes before what is `declared`."""
        self._cpu, self._writer = cpu, writer
        self._balance = NodeBalance({cpu, *devices}) if metered else None
        self._declared = None if metered else declared
        self._told_ns: int | None = None
        self._reached_ns: int | None = None

    def __repr__(self) -> str:
        told = self._balance or (self._declared and self._declared.source) or "nothing"
        return f"<BeyondDevices by {told!r}>"

    def rows(self, rows: Iterable[Row]) -> None:
        """Take rows of the node's meter; an estimate over a hole of it is no measurement of the overhead."""
        for row in rows:
            if self._balance is not None and row.interval is not None and not row.is_gap:
                one = row.interval
                self._balance.node((one.start_ns, one.end_ns), one.energy_uj, tier=one.tier, source=one.source)

    def took(self, intervals: Sequence[DeviceClosed]) -> None:
        """Take what a round closed."""
        for one in intervals:
            if one.device == self._cpu and one.end_ns > one.start_ns:
                self._told_ns = one.start_ns if self._told_ns is None else self._told_ns
                self._reached_ns = one.end_ns
            if self._balance is not None:
                stretch = (one.start_ns, one.end_ns)
                self._balance.device(one.device, stretch, one.metered_uj, unmetered_ns=one.unmetered_ns, tier=one.tier)

    def entries(self, least_ns: int, at_us: int) -> list[Entry]:
        """The interval of the node, once it is at least so long [ns]; none before, nor where nothing is known."""
        beyond = self._beyond(least_ns)
        if beyond is None:
            return []
        body: dict[str, Any] = dict.fromkeys(POOLS, 0) | beyond.members()
        boot_id, run_id = self._writer
        end = {"at_ns": beyond.end_ns, "source": beyond.source, "tier": beyond.tier}
        return [device_entry(body, at_us=at_us, run_id=run_id, boot_id=boot_id, end=end)]

    def _beyond(self, least_ns: int) -> Beyond | None:
        if self._balance is not None:
            return self._balance.close(least_ns)
        start_ns, end_ns = self._told_ns, self._reached_ns
        if self._declared is None or start_ns is None or end_ns is None or end_ns - start_ns < max(1, least_ns):
            return None
        self._told_ns = end_ns
        return declared_over(self._declared, start_ns, end_ns)
