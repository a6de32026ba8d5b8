"""What an external meter's answer says: one number out of a text, with its time where it has one. Pure."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from greenserve.errors import MeterUnavailable
from greenserve.meter_amounts import Amount

LARGEST = Decimal(10) ** 30
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+(-?\d+))?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES = MappingProxyType({"n": "\n", '"': '"', "\\": "\\"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A number >= 0 as an answer gave it, and its own time [us since 1970 UTC]; None where it gave none."""

    number: Decimal
    at_us: int | None


def told_by(body: bytes, amount: Amount) -> Told:
    """The number in an answer; MeterUnavailable says what is wrong with it: unknown is never 0."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MeterUnavailable("the answer is no UTF-8 text") from None
    if amount.format == "prometheus":
        return _of_exposition(text, amount)
    if amount.format == "json":
        return _of_json(text, amount)
    return Told(number=_number(text.strip()), at_us=None)


def _of_exposition(text: str, amount: Amount) -> Told:
    found = []
    for line in text.splitlines():
        if line.startswith(amount.metric or "") and (sample := _SAMPLE.fullmatch(line.strip())):
            name, labels, number, at_ms = sample.groups()
            if name == amount.metric and amount.labels.items() <= _labels(labels or "").items():
                found.append((number, at_ms))
    if len(found) != 1:
        wanted = f"{amount.metric}{dict(amount.labels) or ''}"
        todo = "add labels until one is left" if found else "look at the answer for its name"
        raise MeterUnavailable(f"{len(found)} samples match {wanted}; {todo}")
    ((number, at_ms),) = found
    return Told(number=_number(number), at_us=None if at_ms is None else int(at_ms) * 1_000)


def _labels(text: str) -> dict[str, str]:
    return {
        name: re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), value)
        for name, value in _LABEL.findall(text)
    }


def _of_json(text: str, amount: Amount) -> Told:
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise MeterUnavailable(f"the answer is no JSON ({error!s:.80})") from None
    number = _at(document, amount.pointer or "")
    if isinstance(number, bool) or not isinstance(number, int | Decimal | float | str):
        raise MeterUnavailable(f"{amount.pointer} is {json.dumps(number, default=str)[:60]}, not a number")
    at_us = None if amount.time_pointer is None else _time_us(_at(document, amount.time_pointer))
    return Told(number=_number(str(number)), at_us=at_us)


def _at(document: Any, pointer: str) -> Any:
    value = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise MeterUnavailable(f"the answer has nothing at {pointer} (no {name!r:.40} there)") from None
    return value


def _time_us(value: Any) -> int:
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            if at.tzinfo is None:
                raise ValueError("it has no time zone")
            return round(at.timestamp() * 1_000_000)
        return int(Decimal(str(value)) * 1_000_000)
    except (ValueError, ArithmeticError, OverflowError) as error:
        raise MeterUnavailable(
            f"the answer's time is {value!r:.60}, no Unix seconds and no RFC 3339 ({error})"
        ) from None


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise MeterUnavailable(f"{text!r:.60} is no number") from None
    # NaN compares with nothing; it and infinity are refused alike.
    if not number.is_finite() or not 0 <= number < LARGEST:
        raise MeterUnavailable(f"{text:.60} is no energy or power: finite, not negative, under 1e30")
    return number
