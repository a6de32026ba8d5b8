"""`greenserve carbon equivalents`: what an amount of CO2e is as much as, each with factor, source and range."""

import asyncio
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from greenserve.carbon.equivalents import Equivalent, GridValue, equivalents_of
from greenserve.carbon.factors.equivalent_factors import equivalent_factors
from greenserve.carbon.tracker_settings import check_zone
from greenserve.cli.grid_seen import cells, see
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.table import COLUMNS
from greenserve.config import load_config
from greenserve.errors import ConfigInvalid, InvalidRequest
from greenserve.quantities import parse_emissions_ng, parse_mg_per_kwh
from greenserve.units import MG_PER_G, NG_PER_G, decimal_grams

INDENT = "    "


def equivalents(
    amount: Annotated[str, typer.Argument(help="Such as 1.2kgCO2e, 350gCO2e or 12mgCO2e.")],
    intensity: Annotated[str | None, typer.Option(help="For what runs on electricity, such as 215.8gCO2e/kWh.")] = None,
    zone: Annotated[str | None, typer.Option(help="The same from what is stored of a zone; nobody is asked.")] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file, for --zone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say what an amount of CO2e is as much as, to give people a sense of its size.

    It stands in no total and no statement. The range spans published values. Exit 2 for an amount that is none.
    """
    if intensity is not None and zone is not None:
        raise InvalidRequest("give --intensity or --zone, one of them")
    emissions_ng = _parsed(amount)
    grid = _stated(intensity) if intensity is not None else None if zone is None else _stored(zone, config)
    known = equivalent_factors()
    found = equivalents_of(emissions_ng, known.factors, grid)
    if as_json:
        print_json(
            "carbon-equivalents",
            {
                "emissions_g": decimal_grams(emissions_ng),
                "factors": known.name,
                "intensity": None if grid is None else {"mg_per_kwh": grid.mg_per_kwh, "source": grid.source},
                "equivalents": [_document(one) for one in found],
            },
        )
        return
    data.print(f"{_figure(Decimal(emissions_ng) / NG_PER_G)} gCO2e is as much as that of", markup=False)
    for line in (line for one in found for line in _lines(one)):
        data.print(line, markup=False)
    if grid is not None:
        for line in textwrap.wrap(f"electricity at {grid.mg_per_kwh / MG_PER_G:g} gCO2e/kWh: {grid.source}", COLUMNS):
            data.print(line, markup=False)
    messages.print(f"{known.name}: an illustration of size, in no total and no statement", markup=False)


def _lines(one: Equivalent) -> Iterator[str]:
    factor = one.factor
    if one.count is None:
        yield f"  unknown  {factor.unit}"
        yield f"{INDENT}{one.missing}"
        return
    low, high = ("unknown" if end is None else _figure(end) for end in (one.low, one.high))
    yield f"  {_figure(one.count)} [{low}, {high}] {factor.unit}"
    ends = f"low {factor.low:f}: {factor.low_source}; high {factor.high:f}: {factor.high_source}"
    said = f"{factor.factor:f} {factor.per} each, {factor.counts}: {factor.source}; {ends}"
    yield from textwrap.wrap(said, COLUMNS, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)


def _document(one: Equivalent) -> dict[str, Any]:
    factor = one.factor
    return {
        "name": factor.name,
        "unit": factor.unit,
        "count": _plain(one.count),
        "low": _plain(one.low),
        "high": _plain(one.high),
        "missing": one.missing,
        "per": factor.per,
        **{name: str(getattr(factor, name)) for name in ("factor", "source", "counts")},
        "factor_low": str(factor.low),
        "factor_low_source": factor.low_source,
        "factor_high": str(factor.high),
        "factor_high_source": factor.high_source,
    }


def _plain(value: Decimal | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _figure(value: Decimal) -> str:
    """Three digits, no exponent."""
    if not value:
        return "0"
    places = max(0, 2 - value.adjusted())
    return f"{value:,.{places}f}" if places else f"{value.quantize(Decimal(1).scaleb(value.adjusted() - 2)):,f}"


def _parsed(amount: str) -> int:
    try:
        return parse_emissions_ng(amount)
    except ValueError as error:
        raise InvalidRequest(f"AMOUNT: {error}") from None


def _stated(intensity: str) -> GridValue:
    try:
        mg_per_kwh = parse_mg_per_kwh(intensity)
    except ValueError as error:
        raise InvalidRequest(f"--intensity: {error}") from None
    return GridValue(mg_per_kwh=mg_per_kwh, half_width_bp=0, source="given")


def _stored(zone: str, config: Path | None) -> GridValue:
    loaded = load_config(config)
    try:
        check_zone(zone, loaded.intensity)
    except ConfigInvalid as error:
        raise InvalidRequest(f"--zone: {error}") from None
    seen = asyncio.run(see(loaded, [zone], offline=True, horizon_s=0.0))
    by_basis = seen.current[zone]
    reading = by_basis[loaded.intensity.basis] or next(filter(None, by_basis.values()), None)
    if reading is None:
        raise InvalidRequest(f"{zone}: no value is stored of it; `greenserve carbon now {zone}` asks, or --intensity G")
    _, width, level, age, by = cells(reading, seen.now_us)
    said = f"{zone}, {reading.basis}, +-{width}, level {level}, {age} old, by {by}"
    return GridValue(mg_per_kwh=reading.mg_per_kwh, half_width_bp=reading.u_grid_bp, source=said)
