"""Periods as people write them: a year, a month or a day of UTC, and bounds in whole hours."""

import re
from datetime import UTC, datetime, timedelta

from greenserve.carbon.entries import US_PER_HOUR
from greenserve.errors import InvalidRequest

FIRST_YEAR, LAST_YEAR = 1970, 9998
WRITTEN = "2026-11, 2026-11-22, 2026, today or all"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_US = timedelta(microseconds=1)
_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


def bounds_of(period: str, *, now_us: int, hours: tuple[int, int] | None) -> tuple[int, int]:
    """[start, end) of a period [us UTC]; `hours` are the first and last of the ledger, which `all` asks for.

    InvalidRequest says what is allowed.
    """
    if period == "all":
        if hours is None:
            raise InvalidRequest("period: the ledger holds no request and no metered interval yet; send requests first")
        return hours[0] * US_PER_HOUR, (hours[1] + 1) * US_PER_HOUR
    if period == "today":
        period = (_EPOCH + timedelta(microseconds=now_us)).strftime("%Y-%m-%d")
    matched = _PERIOD.fullmatch(period)
    try:
        if matched is None or not FIRST_YEAR <= int(matched[1]) <= LAST_YEAR:
            raise ValueError(f"years are {FIRST_YEAR} to {LAST_YEAR}")
        year, month, day = (None if part is None else int(part) for part in matched.groups())
        start = datetime(year or 0, 1 if month is None else month, 1 if day is None else day, tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequest(f"period {period!r:.40}: write {WRITTEN} ({error})") from None
    if day is not None:
        end = start + timedelta(days=1)
    elif month is not None:
        end = (start + timedelta(days=31)).replace(day=1)
    else:
        end = start.replace(year=start.year + 1)
    return (start - _EPOCH) // _ONE_US, (end - _EPOCH) // _ONE_US


def moment_us(text: str) -> int:
    """`2026-11-22` or `2026-11-22T05:00:00Z` to us since 1970 UTC; InvalidRequest without an offset from UTC."""
    try:
        moment = datetime.fromisoformat(text)
        if len(text) == len("2026-11-22"):
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is None:
            raise ValueError("its offset from UTC is missing, such as Z")
        at_us = (moment - _EPOCH) // _ONE_US
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{text!r:.40} is no time: write 2026-11-22 or 2026-11-22T05:00Z ({error})") from None
    if not 0 <= at_us or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidRequest(f"{text!r:.40} is no time here: years are {FIRST_YEAR} to {LAST_YEAR}")
    return at_us


def month_start_us(now_us: int) -> int:
    """When the UTC month of a moment [us UTC] began."""
    moment = _EPOCH + timedelta(microseconds=now_us)
    return (moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - _EPOCH) // _ONE_US
