"""Budgets: a limit per window, and what it says about the next request. The balance is the ledger's, not kept here."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from greenserve.carbon.windows import ROLLING, US_PER_QUARTER, Span, check, length_s, span_of
from greenserve.errors import BudgetClosed, BudgetExhausted, GreenServeError, InvalidRequest
from greenserve.records import Exposure
from greenserve.units import NG_PER_G, UJ_PER_J, US_PER_S, two_digits

Unit = Literal["gCO2e", "J", "requests", "tokens"]
Mode = Literal["warn", "degrade", "enforce"]
UNITS: tuple[Unit, ...] = ("gCO2e", "J", "requests", "tokens")
MODES: tuple[Mode, ...] = ("warn", "degrade", "enforce")
SCALE = MappingProxyType({"gCO2e": NG_PER_G, "J": UJ_PER_J, "requests": 1, "tokens": 1})
"""Ledger integers (ng, uJ, count) in one of the budget's unit."""
LARGEST = 2**53 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z0-9]+)\s*")
_PERCENT = re.compile(r"\s*([0-9]{1,3})\s*%?\s*")
_COUNTED = ("requests", "tokens")
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
        "tokens": ("tokens", Decimal(1)),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """What is added to a budget's limit, in its ledger integer, until a moment [us UTC]."""

    amount: int
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit per window on what an org, a tenant, a tenant's project, key or model, or a model as a whole may use.

    `limit` counts ng of location-based lifecycle emissions, uJ of IT energy, requests, or tokens; `raises` add to it
    for a time. `per` is day, week or month in the time zone `zone`, lifetime, or rolling:<duration>. `warn` never
    refuses; `enforce` refuses at the limit; `degrade` asks for cheaper answers from `at_pct` [%] of it on, then
    refuses.
    """

    budget_id: str
    unit: Unit
    limit: int
    per: str
    mode: Mode
    at_pct: int = 80
    zone: str = "UTC"
    raises: tuple[Raise, ...] = ()
    org: str | None = None
    tenant: str | None = None
    project: str | None = None
    key_id: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.limit <= LARGEST or not 0 < self.at_pct <= 100:
            raise ValueError(f"a budget's limit lies in 1..2^53 and its threshold in 1..100 %, got {self!r}")
        if self.unit not in UNITS or self.mode not in MODES:
            raise ValueError(f"units are {UNITS}, modes {MODES}, got {self!r}")
        check(self.per, self.zone)
        if any(not 0 < one.amount <= LARGEST for one in self.raises):
            raise ValueError(f"a raise adds 1..2^53 to the limit, got {self!r}")
        attached = (self.org, self.tenant, self.project, self.key_id, self.model)
        if tuple(part is not None for part in attached) not in _ATTACHMENTS:
            raise ValueError(
                "a budget attaches to an org, a tenant, a tenant's project, key or model, or a model; "
                f"got org, tenant, project, key, model = {attached}"
            )

    @property
    def subject(self) -> str:
        """Whose use it counts, by its name in the ledger's balances."""
        if self.org is not None:
            return f"org/{self.org}"
        if self.key_id is not None:
            return f"key/{self.key_id}"
        if self.project is not None:
            return f"project/{self.tenant}/{self.project}"
        if self.model is not None:
            return f"model/{self.tenant or ''}/{self.model}"
        return f"tenant/{self.tenant}"

    @property
    def owner(self) -> str:
        """Whose use it counts, as people say it: `acme`, `key 0123456789ab of acme`, `model tiny`."""
        of = "" if self.tenant is None else f" of {self.tenant}"
        named = (("org", self.org), ("key", self.key_id), ("project", self.project), ("model", self.model))
        return next((f"{kind} {name}{of}" for kind, name in named if name is not None), str(self.tenant))

    def limit_at(self, now_us: int) -> int:
        """The limit with the raises that are in force at `now_us`."""
        if not self.raises:
            return self.limit
        return self.limit + sum(one.amount for one in self.raises if now_us < one.until_us)


_ATTACHMENTS = frozenset(
    {
        (True, False, False, False, False),
        (False, True, False, False, False),
        (False, True, True, False, False),
        (False, True, False, True, False),
        (False, False, False, False, True),
        (False, True, False, False, True),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a budget says: go on (`refusal` None), how much cheaper to go (0..1), whether the threshold is passed."""

    refusal: GreenServeError | None
    degrade: float
    warning: bool


def subjects_of(org: str | None, tenant: str, project: str | None, key_id: str | None, model: str) -> tuple[str, ...]:
    """All that a request counts for, by the names that `Budget.subject` gives."""
    subjects = [f"tenant/{tenant}", f"model//{model}", f"model/{tenant}/{model}"]
    if key_id is not None:
        subjects.append(f"key/{key_id}")
    if project is not None:
        subjects.append(f"project/{tenant}/{project}")
    if org is not None:
        subjects.append(f"org/{org}")
    return tuple(subjects)


def default_id(budget: Budget) -> str:
    """The id that a budget has unless it is given one: what it attaches to, unit and window, such as acme.j.day.

    Tenants' ids hold no colon, so that org:x is never taken for a tenant.
    """
    named = (("org", budget.org), ("project", budget.project), ("key", budget.key_id), ("model", budget.model))
    parts = [budget.tenant, *(f"{kind}:{name}" for kind, name in named if name is not None)]
    return ".".join([*(part for part in parts if part), budget.unit.lower(), budget.per.replace(":", "-")])


def window(budget: Budget, now_us: int) -> Span:
    """[start, end) of the window around `now_us` [us UTC]; a lifetime and a rolling window have no end."""
    return span_of(budget.per, budget.zone, now_us)


def judge(
    budget: Budget, used: int, reserved: int, estimate: int, now_us: int, *, exposure: Exposure = "exact"
) -> Verdict:
    """Whether a request that may cost up to `estimate` fits beside what is `used` and `reserved` (the limit's unit).

    A refusal is BudgetExhausted with the seconds until waiting helps, or BudgetClosed where it never does. It tells of
    these three what `exposure` allows, and nothing of use that is not one tenant's alone.
    """
    if used < 0 or reserved < 0 or estimate < 0:
        raise ValueError(f"used, reserved and estimate are >= 0, got {used}, {reserved}, {estimate}")
    committed, limit = used + reserved + estimate, budget.limit_at(now_us)
    threshold = limit * budget.at_pct
    warning = committed * 100 >= threshold
    degrade = 0.0
    if budget.mode == "degrade" and warning:
        room = limit * 100 - threshold
        degrade = 1.0 if room == 0 else min(1.0, (committed * 100 - threshold) / room)
    if budget.mode == "warn" or committed <= limit:
        return Verdict(refusal=None, degrade=degrade, warning=warning)
    return Verdict(refusal=_refusal(budget, used, reserved, estimate, now_us, exposure), degrade=degrade, warning=True)


def parse_amount(text: str) -> tuple[Unit, int]:
    """`1mgCO2e`, `2.5kWh`, `1000requests` to (unit, ledger integer), exact; InvalidRequest says what is allowed."""
    matched = _AMOUNT.fullmatch(text)
    if matched is None or matched[2] not in _WRITTEN:
        raise InvalidRequest(f"{text!r} is no limit: write a number and one of {', '.join(_WRITTEN)}, as in 1mgCO2e")
    unit, scale = _WRITTEN[matched[2]]
    value = Decimal(matched[1]) * scale
    if value != int(value) or not 0 < value <= LARGEST:
        smallest = {"gCO2e": "1ngCO2e", "J": "0.000001J"}.get(unit, f"1{unit}")
        raise InvalidRequest(f"{text!r} is no whole multiple of {smallest}, or over 2^53 of these")
    return unit, int(value)


def parse_percent(text: str) -> int:
    """`80%` or `80` to 80; InvalidRequest outside 1..100."""
    matched = _PERCENT.fullmatch(text)
    if matched is None or not 1 <= int(matched[1]) <= 100:
        raise InvalidRequest(f"{text!r} is no threshold: write a whole percentage from 1% to 100%")
    return int(matched[1])


def format_amount(unit: Unit, value: int) -> str:
    """A ledger integer in the largest fitting unit, exact: `1 mgCO2e`, `2.5 kJ`, `12 requests`."""
    if unit in _COUNTED:
        return f"{value} {unit}"
    if not value:
        return f"0 {unit}"
    names = ("kgCO2e", "gCO2e", "mgCO2e", "ugCO2e", "ngCO2e") if unit == "gCO2e" else ("kJ", "J")
    name = next((name for name in names if abs(value) >= _WRITTEN[name][1]), names[-1])
    return f"{plain(Decimal(value) / _WRITTEN[name][1])} {name}"


def decimal_amount(unit: Unit, value: int) -> str:
    """A ledger integer as an exact decimal string in the budget's unit (g, J, requests or tokens)."""
    return plain(Decimal(value) / SCALE[unit])


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(at_us: int) -> str:
    """us since 1970 UTC as `2026-11-22T00:00:00Z`; parts of a second are cut."""
    return (_EPOCH + timedelta(seconds=at_us // US_PER_S)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _exposed(budget: Budget, exposure: Exposure) -> Exposure:
    """What may be shown of a budget's use: counts are no secret of whose they are, others' use is no caller's."""
    if budget.tenant is None:
        return "off"
    return "exact" if budget.unit in _COUNTED else exposure


def _figures(budget: Budget, used: int, reserved: int, exposure: Exposure) -> dict[str, str]:
    shown = _exposed(budget, exposure)
    if shown == "off":
        return {}
    if shown == "rounded":
        used, reserved = two_digits(used), two_digits(reserved)
    return {"used": decimal_amount(budget.unit, used), "reserved": decimal_amount(budget.unit, reserved)}


def _said(budget: Budget, used: int, reserved: int, estimate: int, limit: int, exposure: Exposure) -> str:
    shown, unit = _exposed(budget, exposure), budget.unit
    of_limit = format_amount(unit, limit)
    if shown == "off":
        return f"{budget.owner}: too little is left of {of_limit} per {budget.per} for what this request may need"
    if shown == "rounded":
        used, reserved, estimate = two_digits(used), two_digits(reserved), two_digits(estimate)
    return (
        f"{budget.owner}: {format_amount(unit, used)} of {of_limit} used and {format_amount(unit, reserved)} reserved "
        f"per {budget.per}; this request may need up to {format_amount(unit, estimate)}"
    )


def _refusal(
    budget: Budget, used: int, reserved: int, estimate: int, now_us: int, exposure: Exposure
) -> GreenServeError:
    span = window(budget, now_us)
    unit, limit, end_us = budget.unit, budget.limit_at(now_us), span.end_us
    rolling = budget.per.startswith(ROLLING)
    allow = ["allow-degrade"] if budget.mode == "enforce" and unit not in _COUNTED else []
    details: dict[str, object] = {
        "policy": budget.budget_id,
        "unit": unit,
        "limit": decimal_amount(unit, limit),
        **_figures(budget, used, reserved, exposure),
        "window": budget.per,
        "window_s": length_s(budget.per, span),
        "resets_at": None if end_us is None else iso(end_us),
        "actions": [*(["wait"] if rolling or end_us is not None else []), "raise-budget", *allow],
    }
    message = _said(budget, used, reserved, estimate, limit, exposure)
    if used + estimate <= limit:
        return BudgetExhausted(f"{message}; requests in flight hold the rest", retry_after_s=1, details=details)
    if rolling:
        # When enough of it is old enough is not known here; the next quarter is when any of it may be.
        again_us = (now_us // US_PER_QUARTER + 1) * US_PER_QUARTER
        message += f"; use older than {budget.per.removeprefix(ROLLING)} is freed every quarter of an hour"
    elif end_us is None:
        return BudgetClosed(f"{message}; a lifetime budget does not renew, it must be raised", details=details)
    else:
        again_us = end_us
        message += f"; it renews at {iso(end_us)}"
    seconds = max(1, -(-(again_us - now_us) // US_PER_S))
    return BudgetExhausted(message, retry_after_s=seconds, details=details)
