"""Windows of budgets: calendar days, weeks and months in a time zone, rolling durations, and all time."""

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from greenserve.errors import InvalidRequest
from greenserve.units import US_PER_S

CALENDAR = ("day", "week", "month")
LIFETIME = "lifetime"
ROLLING = "rolling:"
US_PER_QUARTER = 900 * US_PER_S
"""The ledger keeps balances by quarters of an hour: every time zone's midnight falls between two of them."""
SHORTEST_ROLLING_S, LONGEST_ROLLING_S = 3_600, 366 * 86_400
ALLOWED = "day, week, month, lifetime or rolling:<duration> from 1h to 366d, as in rolling:24h"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = MappingProxyType({"m": 60, "h": 3_600, "d": 86_400})
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_DAYS = MappingProxyType({"day": 1, "week": 7})


class Span(NamedTuple):
    """[start, end) in us since 1970 UTC; `end_us` None where the window has none, or moves on with the time."""

    start_us: int
    end_us: int | None


def span_of(per: str, zone: str, now_us: int) -> Span:
    """The window around `now_us`: calendar windows in `zone`, weeks from Monday, rolling ones by whole quarters."""
    if per == LIFETIME:
        return Span(0, None)
    if per.startswith(ROLLING):
        first = (now_us - rolling_s(per) * US_PER_S) // US_PER_QUARTER
        return Span(max(0, first) * US_PER_QUARTER, None)
    place = ZoneInfo(zone)
    today = (_EPOCH + timedelta(microseconds=now_us)).astimezone(place).replace(tzinfo=None)
    start = today.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if per == "month":
        start = start.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    else:
        start -= timedelta(days=start.weekday() if per == "week" else 0)
        end = start + timedelta(days=_DAYS[per])
    # Local midnights, not multiples of 24 hours: a day on which clocks change has 23 or 25.
    return Span(_us(start.replace(tzinfo=place)), _us(end.replace(tzinfo=place)))


def rolling_s(per: str) -> int:
    """`rolling:24h` to seconds; ValueError says what is allowed."""
    matched = _DURATION.fullmatch(per.removeprefix(ROLLING))
    seconds = int(matched[1]) * _SECONDS[matched[2]] if matched else 0
    if not SHORTEST_ROLLING_S <= seconds <= LONGEST_ROLLING_S:
        raise ValueError(f"{per!r} is no window: {ALLOWED}")
    return seconds


def check(per: str, zone: str) -> None:
    """ValueError for what is no window or no time zone, with what is allowed."""
    if per.startswith(ROLLING):
        rolling_s(per)
    elif per not in (*CALENDAR, LIFETIME):
        raise ValueError(f"{per!r} is no window: {ALLOWED}")
    if zone != "UTC" and per not in CALENDAR:
        raise ValueError(f"a {per} window has no time zone, got {zone!r}; day, week and month have one")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone!r} is no time zone: give an IANA name such as UTC or Europe/Stockholm") from None


def parse_per(text: str, zone: str) -> str:
    """The window as it is stored; InvalidRequest says what is allowed."""
    try:
        check(text, zone)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return text


def length_s(per: str, span: Span) -> int | None:
    """How long the window is [s]; None for all time."""
    if per.startswith(ROLLING):
        return rolling_s(per)
    return None if span.end_us is None else (span.end_us - span.start_us) // US_PER_S


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
