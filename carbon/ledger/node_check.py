"""Whether what a node drew beyond its devices follows from its devices' intervals. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from greenserve.carbon.node_overhead import BY_POWER, UNCOVERED, Stretches, difference
from greenserve.carbon.pools import overhead_uj

Body = Mapping[str, Any]


class NodeCheck:
    """Feed it the intervals of devices and of the node, in order of index.

    State: the run that it looks at; the stretches of its devices; where the node's last interval ended, and the
    deficit that it left.
    """

    def __init__(self) -> None:
        self._run: tuple[str, str] | None = None
        self._stretches = Stretches()
        self._end_ns: int | None = None
        self._deficit_uj = 0

    def __repr__(self) -> str:
        return f"<NodeCheck of {self._stretches!r}>"

    def device(self, body: Body) -> None:
        """A device's interval."""
        self._of(body)
        self._stretches.take(
            body["device"], body["start_ns"], body["end_ns"], body["metered_uj"], body.get("unmetered_ns", 0)
        )

    def beyond(self, body: Body) -> Iterator[str]:
        """An interval of the node: what in it does not follow."""
        self._of(body)
        start_ns, end_ns = body["start_ns"], body["end_ns"]
        if start_ns >= end_ns or (self._end_ns is not None and start_ns < self._end_ns):
            yield f"its stretch {start_ns}..{end_ns} ns is not behind the one before, which ended at {self._end_ns} ns"
        before_uj = self._deficit_uj if start_ns == self._end_ns else 0
        self._end_ns = end_ns
        if body["metered_uj"] != (body["overhead_uj"] or 0):
            yield f"metered_uj is {body['metered_uj']}, beyond its devices the node has {body['overhead_uj']}"
        if body["settled_by"] == BY_POWER:
            if (again := overhead_uj(body["power_mw"], end_ns - start_ns)) != body["overhead_uj"]:
                yield f"overhead_uj is {body['overhead_uj']}, {body['power_mw']} mW over its time give {again}"
            return
        devices = {name: self._stretches.within(name, start_ns, end_ns) for name in self._stretches.devices}
        told = {name: energy_uj for name, (energy_uj, _) in devices.items()}
        if told != body["devices"]:
            yield f"devices is {body['devices']}, their intervals give {told}"
        # Whether the node's own meter covered the stretch no entry tells but this one.
        covered = UNCOVERED not in body["flags"] or not all(whole for _, whole in devices.values())
        found = (before_uj, *difference((body["node_uj"], covered), devices, before_uj))
        names = ("deficit_before_uj", "overhead_uj", "deficit_after_uj")
        stored = (*(body[name] for name in names), tuple(body["flags"]))
        if found != stored:
            yield f"deficit before, overhead, deficit after and flags are {stored}, the meters give {found}"
        self._deficit_uj = body["deficit_after_uj"]
        self._stretches.forget(end_ns)

    def _of(self, body: Body) -> None:
        """A new run begins anew: its meters are others."""
        run = (body["boot_id"], body["run_id"])
        if run != self._run:
            self._run, self._stretches, self._end_ns, self._deficit_uj = run, Stretches(), None, 0
