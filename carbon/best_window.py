"""The cleanest time for a job: the start whose window has the lowest mean intensity. Pure and exact."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An intensity [mg/kWh] that is expected over [start_us, end_us) UTC, its half width [1/100 %]; None: unknown."""

    start_us: int
    end_us: int
    mg_per_kwh: int | None
    half_width_bp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window: its start [us UTC], its mean intensity [mg/kWh], and the widest half width of its steps [1/100 %]."""

    start_us: int
    mean_mg_per_kwh: Fraction
    half_width_bp: int | None


def window_at(steps: Sequence[Step], start_us: int, duration_us: int) -> Window | None:
    """The window that starts at `start_us` [us]; None where part of it is unknown or beyond the steps."""
    end_us = start_us + duration_us
    parts = [(max(one.start_us, start_us), min(one.end_us, end_us), one) for one in steps]
    inside = [(until - since, one) for since, until, one in parts if until > since]
    if sum(length for length, _ in inside) != duration_us:
        return None
    total = 0
    for length, one in inside:
        if one.mg_per_kwh is None:
            return None
        total += length * one.mg_per_kwh
    widths = [one.half_width_bp for _, one in inside]
    known = [width for width in widths if width is not None]
    return Window(
        start_us=start_us,
        mean_mg_per_kwh=Fraction(total, duration_us),
        half_width_bp=max(known) if len(known) == len(widths) else None,
    )


def best_window(steps: Sequence[Step], duration_us: int, *, earliest_us: int, deadline_us: int) -> Window | None:
    """The window of `duration_us` [us] with the lowest mean that starts at `earliest_us` or later and ends by
    `deadline_us`; the earliest of equal ones, None where none is known whole.

    The mean is piecewise linear in the start and bends only where an edge of the window meets an edge of a step: one of
    those starts is best. ValueError for a duration <= 0.
    """
    if duration_us <= 0:
        raise ValueError(f"a window lasts a positive time, got {duration_us} us")
    edges = {edge for one in steps for edge in (one.start_us, one.end_us)}
    starts = edges | {edge - duration_us for edge in edges} | {earliest_us, deadline_us - duration_us}
    allowed = sorted(start for start in starts if earliest_us <= start <= deadline_us - duration_us)
    found = [window for start in allowed if (window := window_at(steps, start, duration_us)) is not None]
    return min(found, key=lambda window: (window.mean_mg_per_kwh, window.start_us), default=None)
