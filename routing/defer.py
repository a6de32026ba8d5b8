"""When a request that may wait should run: at the start of the cleanest slot that is still in time."""

from collections.abc import Sequence
from typing import NamedTuple

LEAST_GAIN = 0.01
"""Nobody waits for less than this share of what the answer would emit now."""


class Slot(NamedTuple):
    """[start_us, end_us) [us UTC], and what a joule of IT energy emits there at best, as intensity times PUE [mg/kWh].

    None: no source knows it.
    """

    start_us: int
    end_us: int
    mg_per_kwh: float | None


def greenest_start(slots: Sequence[Slot], *, now_us: int, latest_us: int) -> int:
    """The first moment in [now_us, latest_us] at which the grid is at its cleanest.

    It is `now_us` where that cannot be told: the intensity of now is unknown, nothing later is known, or nothing
    later is cleaner by at least 1 %. Some best moment is the start of a slot, since intensity is constant in one.
    """
    here = next((slot.mg_per_kwh for slot in slots if slot.start_us <= now_us < slot.end_us), None)
    if here is None:
        return now_us
    later = [
        (slot.mg_per_kwh, slot.start_us)
        for slot in slots
        if slot.mg_per_kwh is not None and now_us < slot.start_us <= latest_us
    ]
    if not later:
        return now_us
    least, start_us = min(later)
    return start_us if least < here and least <= here * (1.0 - LEAST_GAIN) else now_us
