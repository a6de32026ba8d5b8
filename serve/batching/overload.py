"""Too much work: how close the queue is to what can still be answered in time, and who gives way first."""

from collections.abc import Iterable, Mapping, Sequence

from greenserve.units import NS_PER_S

BROWNOUT = 0.9
CALM = 0.7
SUSTAINED_NS = NS_PER_S // 2
BUSY, RELIEVED = 0.95, 0.85
BUSY_FOR_NS = NS_PER_S


class Latch:
    """On once a value has stayed over `high` for a time [ns], off once it falls under `low`. State: since when."""

    __slots__ = ("_for_ns", "_high", "_low", "_since_ns", "on")

    def __init__(self, *, high: float, low: float, for_ns: int) -> None:
        self._high = high
        self._low = low
        self._for_ns = for_ns
        self._since_ns: int | None = None
        self.on = False

    def see(self, value: float, now_ns: int) -> bool:
        """Take the value of now; whether it is on."""
        if value > self._high:
            if self._since_ns is None:
                self._since_ns = now_ns
            elif now_ns - self._since_ns >= self._for_ns:
                self.on = True
        else:
            self._since_ns = None
            if value < self._low:
                self.on = False
        return self.on


def brownout_latch() -> Latch:
    """On while the pressure has been over 0.9 for half a second: cheaper variants answer before anybody is refused."""
    return Latch(high=BROWNOUT, low=CALM, for_ns=SUSTAINED_NS)


def goodput_latch() -> Latch:
    """On while arrivals need more than 95 % of the engine's time for a second."""
    return Latch(high=BUSY, low=RELIEVED, for_ns=BUSY_FOR_NS)


def over_share(
    tenant: str,
    own_s: float,
    *,
    queued: Iterable[Mapping[str, Sequence[float]]],
    weights: Mapping[str, float],
    horizon_s: float,
) -> bool:
    """Whether a tenant's queued work with `own_s` [s] more passes its weighted part of the `horizon_s` [s].

    `queued` holds [rows, predicted seconds] by tenant, one mapping per queue. Only work over half the horizon binds,
    and only against others that wait; a weight that is not given is 1.
    """
    parts: dict[str, float] = {tenant: own_s}
    for by_tenant in queued:
        for name, held in by_tenant.items():
            parts[name] = parts.get(name, 0.0) + held[1]
    if len(parts) == 1 or sum(parts.values()) <= 0.5 * horizon_s:
        return False
    whole = sum(weights.get(name, 1.0) for name in parts)
    return parts[tenant] > horizon_s * weights.get(tenant, 1.0) / whole
