"""Budgets: a limit per window, and what it says about the next request. The balance is the ledger's, not kept here."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from greenserve.errors import BudgetClosed, BudgetExhausted, GreenServeError, InvalidRequest
from greenserve.units import NG_PER_G, UJ_PER_J, US_PER_S

Unit = Literal["gCO2e", "J", "requests"]
Per = Literal["day", "week", "month", "lifetime"]
Mode = Literal["warn", "degrade", "enforce"]
UNITS: tuple[Unit, ...] = ("gCO2e", "J", "requests")
WINDOWS: tuple[Per, ...] = ("day", "week", "month", "lifetime")
MODES: tuple[Mode, ...] = ("warn", "degrade", "enforce")
SCALE = MappingProxyType({"gCO2e": NG_PER_G, "J": UJ_PER_J, "requests": 1})
"""Ledger integers (ng, uJ, count) in one of the budget's unit."""
LARGEST = 2**53 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMOUNT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z0-9]+)\s*$")
_PERCENT = re.compile(r"^\s*([0-9]{1,3})\s*%?\s*$")
_WRITTEN: MappingProxyType[str, tuple[Unit, Decimal]] = MappingProxyType(
    {
        "ngCO2e": ("gCO2e", Decimal(1)),
        "ugCO2e": ("gCO2e", Decimal(10**3)),
        "mgCO2e": ("gCO2e", Decimal(10**6)),
        "gCO2e": ("gCO2e", Decimal(10**9)),
        "kgCO2e": ("gCO2e", Decimal(10**12)),
        "J": ("J", Decimal(10**6)),
        "kJ": ("J", Decimal(10**9)),
        "kWh": ("J", Decimal(36 * 10**11)),
        "requests": ("requests", Decimal(1)),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A tenant's limit per UTC window.

    `limit` counts ng of location-based lifecycle emissions, uJ of IT energy, or requests. `warn` never refuses;
    `enforce` refuses at the limit; `degrade` asks for cheaper answers from `at_pct` [%] of it on, then refuses.
    """

    budget_id: str
    tenant: str
    unit: Unit
    limit: int
    per: Per
    mode: Mode
    at_pct: int = 80

    def __post_init__(self) -> None:
        if not 0 < self.limit <= LARGEST or not 0 < self.at_pct <= 100:
            raise ValueError(f"a budget's limit lies in 1..2^53 and its threshold in 1..100 %, got {self!r}")
        if self.unit not in UNITS or self.per not in WINDOWS or self.mode not in MODES:
            raise ValueError(f"units are {UNITS}, windows {WINDOWS}, modes {MODES}, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a budget says: go on (`refusal` None), how much cheaper to go (0..1), whether the threshold is passed."""

    refusal: GreenServeError | None
    degrade: float
    warning: bool


def window(budget: Budget, now_us: int) -> tuple[int, int | None]:
    """[start, end) of the window around `now_us`, us since 1970 UTC; a lifetime has no end. Weeks start on Monday."""
    if budget.per == "lifetime":
        return 0, None
    now = _EPOCH + timedelta(microseconds=now_us)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.per == "day":
        end = start + timedelta(days=1)
    elif budget.per == "week":
        start -= timedelta(days=start.weekday())
        end = start + timedelta(days=7)
    else:
        start = start.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    return _us(start), _us(end)


def judge(budget: Budget, used: int, reserved: int, estimate: int, now_us: int) -> Verdict:
    """Whether a request that may cost up to `estimate` fits beside what is `used` and `reserved` (the limit's unit).

    A refusal is BudgetExhausted with the seconds until waiting helps, or BudgetClosed where it never does.
    """
    if min(used, reserved, estimate) < 0:
        raise ValueError(f"used, reserved and estimate are >= 0, got {used}, {reserved}, {estimate}")
    committed = used + reserved + estimate
    threshold = budget.limit * budget.at_pct
    warning = committed * 100 >= threshold
    degrade = 0.0
    if budget.mode == "degrade" and warning:
        room = budget.limit * 100 - threshold
        degrade = 1.0 if room == 0 else min(1.0, (committed * 100 - threshold) / room)
    if budget.mode == "warn" or committed <= budget.limit:
        return Verdict(refusal=None, degrade=degrade, warning=warning)
    return Verdict(refusal=_refusal(budget, used, reserved, estimate, now_us), degrade=degrade, warning=True)


def allowance(budget: Budget, used: int, replicas: int) -> int:
    """What one of `replicas` gateways may spend before it reads `used` again: an equal part of what is left.

    The parts together never pass the limit, whatever each of the gateways does.
    """
    if replicas < 1:
        raise ValueError(f"at least one replica, got {replicas}")
    return max(0, budget.limit - used) // replicas


def parse_amount(text: str) -> tuple[Unit, int]:
    """`1mgCO2e`, `2.5kWh`, `1000requests` to (unit, ledger integer), exact; InvalidRequest says what is allowed."""
    matched = _AMOUNT.match(text)
    if matched is None or matched[2] not in _WRITTEN:
        raise InvalidRequest(f"{text!r} is no limit: write a number and one of {', '.join(_WRITTEN)}, as in 1mgCO2e")
    unit, scale = _WRITTEN[matched[2]]
    value = Decimal(matched[1]) * scale
    if value != int(value) or not 0 < value <= LARGEST:
        smallest = {"gCO2e": "1ngCO2e", "J": "0.000001J", "requests": "1requests"}[unit]
        raise InvalidRequest(f"{text!r} is no whole multiple of {smallest}, or over 2^53 of these")
    return unit, int(value)


def parse_percent(text: str) -> int:
    """`80%` or `80` to 80; InvalidRequest outside 1..100."""
    matched = _PERCENT.match(text)
    if matched is None or not 1 <= int(matched[1]) <= 100:
        raise InvalidRequest(f"{text!r} is no threshold: write a whole percentage from 1% to 100%")
    return int(matched[1])


def format_amount(unit: Unit, value: int) -> str:
    """A ledger integer in the largest fitting unit, exact: `1 mgCO2e`, `2.5 kJ`, `12 requests`."""
    if unit == "requests":
        return f"{value} requests"
    if not value:
        return f"0 {unit}"
    names = ("kgCO2e", "gCO2e", "mgCO2e", "ugCO2e", "ngCO2e") if unit == "gCO2e" else ("kJ", "J")
    name = next((name for name in names if abs(value) >= _WRITTEN[name][1]), names[-1])
    return f"{plain(Decimal(value) / _WRITTEN[name][1])} {name}"


def decimal_amount(unit: Unit, value: int) -> str:
    """A ledger integer as an exact decimal string in the budget's unit (g, J or requests)."""
    return plain(Decimal(value) / SCALE[unit])


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(at_us: int) -> str:
    """us since 1970 UTC as `2026-11-22T00:00:00Z`; parts of a second are cut."""
    return (_EPOCH + timedelta(seconds=at_us // US_PER_S)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal(budget: Budget, used: int, reserved: int, estimate: int, now_us: int) -> GreenServeError:
    _, end_us = window(budget, now_us)
    unit, limit = budget.unit, budget.limit
    details: dict[str, object] = {
        "policy": budget.budget_id,
        "unit": unit,
        "limit": decimal_amount(unit, limit),
        "used": decimal_amount(unit, used),
        "reserved": decimal_amount(unit, reserved),
        "resets_at": None if end_us is None else iso(end_us),
        "actions": ["wait", "raise-budget"] if end_us is not None else ["raise-budget"],
    }
    message = (
        f"{budget.tenant}: {format_amount(unit, used)} of {format_amount(unit, limit)} used and "
        f"{format_amount(unit, reserved)} reserved per {budget.per}; this request may need up to "
        f"{format_amount(unit, estimate)}"
    )
    if used + estimate <= limit:
        return BudgetExhausted(f"{message}; requests in flight hold the rest", retry_after_s=1, details=details)
    if end_us is None:
        return BudgetClosed(f"{message}; a lifetime budget does not renew, it must be raised", details=details)
    seconds = max(1, -(-(end_us - now_us) // US_PER_S))
    return BudgetExhausted(f"{message}; it renews at {iso(end_us)}", retry_after_s=seconds, details=details)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
