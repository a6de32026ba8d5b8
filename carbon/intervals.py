"""From a meter's cumulative readings to the energy between two of them."""

from greenserve.records import TIERS, Interval, Reading


def interval_between(first: Reading, second: Reading) -> Interval | None:
    """The energy that flowed from `first` to `second`, or None where the two tell none.

    None for a counter that did not tick, for a repeated or older reading, and for a counter that fell (a restart).
    The caller keeps `first` as the base after a None, unless `is_restart` says that the counter began anew: then
    `second` is the new base and the time between is not metered. The tier is the weaker of both; `busy_ns` is None
    unless both readings count it. ValueError for readings of two devices or sources: their counters have nothing
    in common.
    """
    _check_same_counter(first, second)
    if second.at_ns <= first.at_ns or second.energy_uj <= first.energy_uj or second.static_uj < first.static_uj:
        return None
    energy_uj = second.energy_uj - first.energy_uj
    busy_ns = None
    if first.busy_ns is not None and second.busy_ns is not None:
        busy_ns = max(0, second.busy_ns - first.busy_ns)
    return Interval(
        device=second.device,
        start_ns=first.at_ns,
        end_ns=second.at_ns,
        energy_uj=energy_uj,
        static_uj=min(energy_uj, second.static_uj - first.static_uj),
        tier=max(first.tier, second.tier, key=TIERS.index),
        source=second.source,
        busy_ns=busy_ns,
    )


def is_restart(first: Reading, second: Reading) -> bool:
    """Whether the counter began anew between the two: later in time, but lower."""
    _check_same_counter(first, second)
    fell = second.energy_uj < first.energy_uj or second.static_uj < first.static_uj
    return second.at_ns > first.at_ns and fell


def _check_same_counter(first: Reading, second: Reading) -> None:
    if (first.device, first.source) != (second.device, second.source):
        raise ValueError(
            f"readings of one counter are needed, got {first.device} by {first.source!r} and "
            f"{second.device} by {second.source!r}; a changed source opens a new segment"
        )
