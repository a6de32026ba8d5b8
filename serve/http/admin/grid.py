"""`/admin/v1/regions` and `/factors`: the grids that requests run on, and the constants behind every figure."""

from decimal import Decimal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import METHOD
from greenserve.carbon.ledger.rollup import ASSUMED_MG_PER_KWH
from greenserve.carbon.tally import BASIS_POINTS, CLASS_BP, GRID_BP, REQUEST_BP, decimal_g_per_kwh
from greenserve.records import IntensityReading
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut
from greenserve.units import US_PER_S


class IntensityShown(BaseModel):
    """A zone's grid intensity in force. `age_s` [s] is the time since it was retrieved; null where its time is odd.

    `level` is the step of the fallback chain (0 live .. 4 annual), `half_width` the 90 % one that goes with it [%],
    `observed` when the value was seen, or a forecast made; null where the source does not say.
    """

    gco2e_per_kwh: str
    basis: str
    kind: str
    origin: str
    provider: str
    start: str
    end: str
    retrieved: str
    age_s: int | None
    level: int | None
    half_width: str | None
    scope: str | None
    model: str | None
    observed: str | None


class RegionShown(BaseModel):
    """A region; its intensity is null where no source knows it: it is then ranked as the dirtiest."""

    region: str
    zone: str
    home: bool
    emulated: bool
    pue: str
    pue_source: str
    intensity: IntensityShown | None


class FactorShown(BaseModel):
    """A constant that figures are made with, its value in its unit, and where it comes from."""

    factor: str
    subject: str | None
    value: str | None
    unit: str
    source: str
    method: str


class GridPaths:
    """Show regions and factors. Nothing here blocks: all is in memory."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["grid"])
        router.get("/regions", responses={200: {"model": Page[RegionShown]}})(self.regions)
        router.get("/factors", responses={200: {"model": Page[FactorShown]}})(self.factors)
        return router

    async def regions(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Regions with the intensity that routing and accounting use now."""
        after, now_us = after_of(cursor, "regions", [str]), self._office.clock.unix_us()
        readings = self._office.gateway.router.readings
        home = self._office.config.regions[0].name
        ordered = sorted(self._office.config.regions, key=lambda region: region.name)
        items, next_cursor = cut(ordered, key=lambda region: (region.name,), after=after, limit=limit, name="regions")
        shown = [
            RegionShown(
                region=region.name,
                zone=region.zone,
                home=region.name == home,
                emulated=region.emulated,
                pue=_milli(region.pue_milli),
                pue_source=region.pue.source,
                intensity=_intensity(readings.get(region.zone), now_us),
            )
            for region in items
        ]
        return answer(Page(items=shown, next_cursor=next_cursor))

    async def factors(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Grid intensity by zone, PUE by region, and the method's own constants."""
        after = after_of(cursor, "factors", [str, str])
        ordered = sorted(self._all(), key=_factor_key)
        items, next_cursor = cut(ordered, key=_factor_key, after=after, limit=limit, name="factors")
        return answer(Page(items=items, next_cursor=next_cursor))

    def _all(self) -> list[FactorShown]:
        found = [
            _factor(
                "grid intensity",
                zone,
                None if reading is None else decimal_g_per_kwh(reading.mg_per_kwh),
                "gCO2e/kWh",
                "no source knows this zone" if reading is None else _source(reading),
            )
            for zone, reading in self._office.gateway.router.readings.items()
        ]
        found += [
            _factor("PUE", region.name, _milli(region.pue_milli), "1", region.pue.source)
            for region in self._office.config.regions
        ]
        coal = "what budgets, and only budgets, assume where the intensity is unknown"
        found.append(_factor("assumed intensity", None, decimal_g_per_kwh(ASSUMED_MG_PER_KWH), "gCO2e/kWh", coal))
        widths = {"of one request": REQUEST_BP, "of a class": CLASS_BP} | {f"{o} grid": bp for o, bp in GRID_BP.items()}
        found += [
            _factor("half width", name, f"{Decimal(100 * points) / BASIS_POINTS:f}", "%", "90 % ranges, E12")
            for name, points in widths.items()
        ]
        return found


def reading_shown(reading: IntensityReading, now_us: int) -> IntensityShown:
    """A reading as the API shows it."""
    age_us = now_us - reading.retrieved_us
    return IntensityShown(
        gco2e_per_kwh=decimal_g_per_kwh(reading.mg_per_kwh),
        basis=reading.basis,
        kind=reading.kind,
        origin=reading.origin,
        provider=reading.provider,
        start=iso(reading.start_us),
        end=iso(reading.end_us),
        retrieved=iso(reading.retrieved_us),
        age_s=age_us // US_PER_S if age_us >= 0 else None,
        level=reading.level,
        half_width=None if reading.u_grid_bp is None else f"{Decimal(100 * reading.u_grid_bp) / BASIS_POINTS:f}",
        scope=reading.scope,
        model=reading.model,
        observed=None if reading.observed_us is None else iso(reading.observed_us),
    )


def _intensity(reading: IntensityReading | None, now_us: int) -> IntensityShown | None:
    return None if reading is None else reading_shown(reading, now_us)


def _source(reading: IntensityReading) -> str:
    return f"{reading.provider}, {reading.origin}, {reading.basis}, {reading.kind}"


def _factor(factor: str, subject: str | None, value: str | None, unit: str, source: str) -> FactorShown:
    return FactorShown(factor=factor, subject=subject, value=value, unit=unit, source=source, method=METHOD)


def _factor_key(factor: FactorShown) -> tuple[str, str]:
    return factor.factor, factor.subject or ""


def _milli(value: int) -> str:
    return f"{Decimal(value).scaleb(-3):f}"
