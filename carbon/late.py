"""Usage lines that come after their month was closed: entered where the ledger is open, their own time kept. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from greenserve.carbon.entries import BOOKED, US_PER_HOUR
from greenserve.carbon.ledger.forms import Known
from greenserve.carbon.ledger.row import Prepared, canonical_body, month_of, uuid_text
from greenserve.carbon.periods import bounds_of

LATE_PERIOD = "late_period"
"""The flag of such a line. (`late` says that a line came when its meter interval was shared already.)"""
Body = Mapping[str, Any]


def month_ended(body: Body) -> int:
    """The month (yyyymm) in which a request ended, wherever it counts."""
    return month_of(body["ended_us"] // US_PER_HOUR)


def month_text(month: int) -> str:
    """A month (yyyymm) as people write it."""
    return f"{month // 100}-{month % 100:02}"


def booked_late(line: Prepared, closed: Collection[int], now_us: int) -> Prepared:
    """A first line of a closed month as it is entered: flagged, and counting at `now_us` [us UTC], or where the first
    open month after it begins. Its request's id, time and figures stay. Any other line as it is."""
    if line.kind != "usage" or line.revision or (isinstance(line.form, Known) and _month_of(line.form) not in closed):
        return line
    if month_ended(line.decoded) not in closed or BOOKED in line.decoded:
        return line
    booked_us = now_us
    while (month := month_of(booked_us // US_PER_HOUR)) in closed:
        booked_us = bounds_of(month_text(month), now_us=now_us, hours=None)[1]
    body = {**line.decoded, BOOKED: booked_us, "flags": [*line.decoded["flags"], LATE_PERIOD]}
    hour = booked_us // US_PER_HOUR
    return line._replace(hour=hour, body=canonical_body(body, uuid_text(line.key)), members=body, form=None)


def is_booked_form(stored: Body, given: Body) -> bool:
    """Whether a stored late line is what `booked_late` once made of a given one: so that resending is harmless."""
    own = {name: value for name, value in stored.items() if name != BOOKED}
    own["flags"] = [flag for flag in own["flags"] if flag != LATE_PERIOD]
    return BOOKED in stored and own == {**given, "flags": list(given["flags"])}


def late_faults(body: Body, closed: Mapping[int, int]) -> Iterator[str]:
    """What is wrong with the time at which a first line counts; `closed` are the months closed before it, by the index
    of their `period` entries."""
    month = month_ended(body)
    if BOOKED not in body:
        if month in closed:
            yield (
                f"ended in {month_text(month)}, which entry {closed[month]} closed: a line that comes later counts in "
                "an open month"
            )
        return
    booked = month_of(body[BOOKED] // US_PER_HOUR)
    if month not in closed or LATE_PERIOD not in body["flags"]:
        yield f"is booked in {month_text(booked)} though {month_text(month)} was not closed, or without its flag"
    if booked in closed:
        yield f"is booked in {month_text(booked)}, which entry {closed[booked]} closed"


def _month_of(known: Known) -> int:
    return month_of(known.line.ended_us // US_PER_HOUR)
