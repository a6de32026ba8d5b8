"""`/admin/v1/usage`: what tenants used, summed by model, variant, region, project or day."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import US_PER_HOUR
from greenserve.carbon.ledger.lookup import (
    DIMENSIONS,
    HOURS_PER_DAY,
    Group,
    Period,
    project_groups,
    usage_groups,
    weakest_tiers,
)
from greenserve.carbon.periods import moment_us, month_start_us
from greenserve.errors import InvalidRequest
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Key, Limit, after_of, cut_of
from greenserve.units import decimal_grams, decimal_joules

MOST_DAYS = 400
PROJECT = "project"
US_PER_DAY = HOURS_PER_DAY * US_PER_HOUR
GROUPINGS = (*DIMENSIONS, PROJECT)
_TIMES = Query(alias="from", max_length=40, description="A UTC day or full hour; default: the month's start.")


class UsageShown(BaseModel):
    """What a group used. Quantities are exact decimals; null is unknown, or not kept for this grouping.

    `energy_joules` is IT energy of the metered requests; `tier` is the weakest evidence behind any of the tenant's
    energy in the period. `uncovered_joules` is site energy that the emissions do not cover.
    """

    tenant: str
    day: str | None
    model: str | None
    variant: str | None
    region: str | None
    project: str | None
    requests: int
    tokens_in: int | None
    unmetered_requests: int | None
    provisional_requests: int | None
    energy_joules: str | None
    tier: str
    loc_lifecycle_gco2e: str | None
    uncovered_joules: str


class UsagePage(BaseModel):
    """Groups in order of tenant and of what they are grouped by; `start` and `end` bound the period (UTC)."""

    start: str
    end: str
    by: list[str]
    items: list[UsageShown]
    next_cursor: str | None


class UsagePaths:
    """Sums over the ledger, without reading every request."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["usage"])
        router.get("/usage", responses={200: {"model": UsagePage}})(self.page)
        return router

    async def page(
        self,
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Annotated[str | None, Query(max_length=200)] = None,
        by: Annotated[str, Query(max_length=80, description="Of day, model, variant, region; or project.")] = "",
        start: Annotated[str | None, _TIMES] = None,
        end: Annotated[str | None, Query(alias="to", max_length=40, description="Default: the end of today.")] = None,
    ) -> Response:
        """What tenants used in a period, grouped."""
        chosen = _grouping(by)
        period = self._period(start, end, tenant, whole_days=PROJECT in chosen)
        after = after_of(cursor, f"usage:{by}", [str, *(_kind(name) for name in chosen)])
        work = partial(self._groups, period, chosen, after, limit)
        groups, tiers = await self._office.desk.run(work)
        items, next_cursor = cut_of(groups, key=lambda group: group.key, limit=limit, name=f"usage:{by}")
        page = UsagePage(
            start=iso(period.first * US_PER_HOUR),
            end=iso(period.end * US_PER_HOUR),
            by=list(chosen),
            items=[_shown(group, chosen, tiers) for group in items],
            next_cursor=next_cursor,
        )
        return answer(page)

    def _groups(
        self, period: Period, by: Sequence[str], after: Key | None, limit: int
    ) -> tuple[Sequence[Group], Mapping[str, str]]:
        ledger = self._office.ledger
        if period.tenant is not None:
            self._office.store.tenant(period.tenant)
        of = project_groups if PROJECT in by else usage_groups
        return of(ledger, period, by, after=after, limit=limit + 1), weakest_tiers(ledger, period)

    def _period(self, start: str | None, end: str | None, tenant: str | None, *, whole_days: bool) -> Period:
        now_us = self._office.clock.unix_us()
        start_us = month_start_us(now_us) if start is None else _hour_us("from", start)
        end_us = (now_us // US_PER_DAY + 1) * US_PER_DAY if end is None else _hour_us("to", end)
        if not start_us < end_us <= start_us + MOST_DAYS * US_PER_DAY:
            raise InvalidRequest(
                f"from, to: a period of up to {MOST_DAYS} days that ends after it starts, got {iso(start_us)} to "
                f"{iso(end_us)}"
            )
        if whole_days and (start_us % US_PER_DAY or end_us % US_PER_DAY):
            raise InvalidRequest("from, to: by project the sums are kept per UTC day; give days such as 2026-11-22")
        return Period(first=start_us // US_PER_HOUR, end=end_us // US_PER_HOUR, tenant=tenant)


def _grouping(by: str) -> tuple[str, ...]:
    """The groupings that were named, in our order."""
    named = [part.strip() for part in by.split(",") if part.strip()]
    unknown = [part for part in named if part not in GROUPINGS]
    if unknown:
        raise InvalidRequest(f"by: {unknown[0]!r:.40} is no grouping; group by {', '.join(GROUPINGS)}")
    if PROJECT in named and not {*named} <= {PROJECT, "day"}:
        raise InvalidRequest("by: projects are summed by project and day alone, not by model, variant or region")
    return tuple(name for name in GROUPINGS if name in named)


def _kind(name: str) -> type:
    return int if name == "day" else str


def _hour_us(field: str, text: str) -> int:
    try:
        at_us = moment_us(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{field}: {error}") from None
    if at_us % US_PER_HOUR:
        raise InvalidRequest(f"{field}: sums are kept per hour; give a day or a full hour, got {text!r:.40}")
    return at_us


def _shown(group: Group, by: Sequence[str], tiers: Mapping[str, str]) -> UsageShown:
    tenant, *rest = group.key
    named: dict[str, str | None] = {
        name: iso(int(value) * US_PER_DAY)[:10] if name == "day" else str(value) or None
        for name, value in zip(by, rest, strict=True)
    }
    # A group that knows nothing sums to 0: that is unknown, not none.
    metered = group.energy_uj > 0 if group.unmetered is None else group.requests > group.unmetered
    covered = metered and (group.emissions_ng > 0 or group.unknown_uj == 0)
    return UsageShown(
        tenant=str(tenant),
        **{name: named.get(name) for name in GROUPINGS},
        requests=group.requests,
        tokens_in=group.tokens,
        unmetered_requests=group.unmetered,
        provisional_requests=group.provisional,
        energy_joules=decimal_joules(group.energy_uj) if metered else None,
        tier=tiers.get(str(tenant), "unknown"),
        loc_lifecycle_gco2e=decimal_grams(group.emissions_ng) if covered else None,
        uncovered_joules=decimal_joules(group.unknown_uj),
    )
