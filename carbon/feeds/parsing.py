"""Numbers, times and documents as providers send them: what is missing or impossible becomes None, never zero."""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from greenserve.errors import GridUnavailable
from greenserve.records import LARGEST_MG_PER_KWH, IntensityReading
from greenserve.units import US_PER_S

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_US = timedelta(microseconds=1)
MINUTE_US = 60 * US_PER_S
HOUR_US = 3_600 * US_PER_S
DAY_US = 24 * HOUR_US
LARGEST_AMOUNT = 10**9
DIGITS = 30
_DURATION = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,3})H)?(?:(\d{1,4})M)?)?")


def amount(given: object) -> Fraction | None:
    """A number, or a number in words as some providers send it; None for null, NaN, infinity and over 1e9."""
    if isinstance(given, bool) or not isinstance(given, int | Decimal | str):
        return None
    try:
        value = Decimal(given)
    except InvalidOperation:
        return None
    # The size is looked at before the exact fraction is made: 1e999999999 has as many digits.
    if not value.is_finite() or (value and not -DIGITS <= value.adjusted() < DIGITS):
        return None
    exact = Fraction(value)
    return exact if abs(exact) <= LARGEST_AMOUNT else None


def intensity(given: object, mg_per_unit: Fraction | int) -> int | None:
    """A value times `mg_per_unit` in mg/kWh, rounded half to even; None where it is missing or outside 0..2,000,000."""
    value = amount(given)
    if value is None:
        return None
    mg_per_kwh = round(value * mg_per_unit)
    return mg_per_kwh if 0 <= value and mg_per_kwh <= LARGEST_MG_PER_KWH else None


def moment_us(text: object, *, zone: Any = None) -> int:
    """ISO 8601 to us since 1970 UTC; `zone` is that of times without an offset. ValueError where there is neither."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.40} is no time")
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        if zone is None:
            raise ValueError(f"the time {text:.40} lacks its offset from UTC")
        at = at.replace(tzinfo=zone)
    return (at - EPOCH) // ONE_US


def at_utc(at_us: int) -> datetime:
    """The moment as a date and time in UTC."""
    return EPOCH + timedelta(microseconds=at_us)


def duration_us(text: str) -> int:
    """`PT15M`, `PT1H`, `P1D` in us; ValueError for anything else and for none."""
    found = _DURATION.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    length_us = days * DAY_US + hours * HOUR_US + minutes * MINUTE_US
    if not length_us:
        raise ValueError(f"{text!r:.40} is no duration such as PT15M")
    return length_us


def json_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer; NaN and infinity in it become None. ValueError for anything else."""
    document = json.loads(body, parse_float=Decimal, parse_constant=lambda _: None)
    if not isinstance(document, dict):
        raise ValueError(f"an object is needed, got {type(document).__name__}")
    return document


Parse = Callable[[], Iterable[IntensityReading]]


async def parsed(parse: Parse, *, provider: str, what: str) -> list[IntensityReading]:
    """What `parse` makes of an answer, in a thread: a week of five minutes takes a tenth of a second, and the loop that
    waits for it answers requests.

    What is not as the provider documents it becomes GridUnavailable, with what was in the way.
    """

    def guarded() -> list[IntensityReading]:
        with documented_shape(provider, what):
            return list(parse())

    return await asyncio.to_thread(guarded)


@contextmanager
def documented_shape(provider: str, what: str) -> Iterator[None]:
    """What is not as the provider documents it becomes GridUnavailable, with what was in the way."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise GridUnavailable(
            f"{provider}: {what} is not in the documented shape ({type(error).__name__}: {error!s:.120}); "
            "it is left out, a later answer may be whole"
        ) from None
