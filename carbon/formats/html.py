"""A page for people: one file, no script, readable aloud, on a screen and on paper."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from greenserve.carbon.formats import charts
from greenserve.carbon.formats.cells import UNKNOWN, known
from greenserve.carbon.formats.reading_order import in_reading_order
from greenserve.carbon.statement_document import BREAKDOWN
from greenserve.records import Statement

SHOWN = (
    "requests",
    "cache_hit",
    "energy_joules",
    "request_p50_joules",
    "request_p95_joules",
    "facility_joules",
    "intensity_mean_gco2e_per_kwh",
    "loc_lifecycle_gco2e",
    "tier",
)
"""Columns of the page's breakdown; the JSON, CSV and Parquet files have all."""
ADDED = ("requests", "cache_hit", "energy_joules", "facility_joules", "loc_lifecycle_gco2e", "embodied_gco2e")
"""Figures of the summary over the days: those that add."""
BAR = 100
PLACES = ("this_tenant", "other_tenants", "platform", "idle", "background", "foreign", "gap", "pending_after")
_UNITS = (
    ("_gco2e_per_kwh", "gCO2e/kWh"),
    ("_gco2e_per_s", "gCO2e/s"),
    ("_gco2e", "gCO2e"),
    ("_joules", "J"),
    ("_kwh", "kWh"),
    ("_ns", "ns"),
    ("_pct", "%"),
    ("_ppm", "ppm"),
    ("_s", "s"),
)
_WORDS = {"loc": "location-based", "sci": "SCI", "gco2e": "gCO2e", "p50": "p50", "p95": "p95"}


def render(statement: Statement) -> bytes:
    """The statement as HTML in UTF-8; every chart has its figures in a table on the same page."""
    document = in_reading_order(statement.document)
    breakdown = document["breakdown"]
    node = document["reconciliation"]
    page = _template().render(
        statement=document,
        totals=document["totals"],
        breakdown=breakdown,
        keys=BREAKDOWN,
        shown=SHOWN,
        colour=charts.COLOURS[0],
        summary=_summary(breakdown),
        added=ADDED,
        by_day=charts.by_day(breakdown, "loc_lifecycle_gco2e", "gCO2e", start=document["start"], end=document["end"]),
        tenant_rows=[{name: line[name] for name in ("tenant", *SHOWN)} for line in document["tenants"]],
        comparison=_flat(document["counterfactual"] or {}),
        scope_figures=_flat({name: value for name, value in document["scopes"].items() if name != "note"}),
        places=charts.stacked({words(place): Decimal(node[f"{place}_joules"]) for place in PLACES}, "J"),
    )
    return page.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"known": known, "label": label, "humane": charts.humane, "words": words}
    return environment.get_template("statement.html")


def _flat(members: Mapping[str, Any]) -> dict[str, Any]:
    """Members but those that are tables of their own."""
    tables = ("declared", "market_instruments", "baseline", "view")
    return {name: value for name, value in members.items() if name not in tables}


def label(name: str) -> str:
    """A member's name as words, its unit in brackets: `energy_joules` to `energy [J]`."""
    for ending, unit in _UNITS:
        if name.endswith(ending):
            return f"{words(name.removesuffix(ending))} [{unit}]"
    return words(name)


def words(name: str) -> str:
    """A member's name as words."""
    return " ".join(_WORDS.get(part, part) for part in name.split("_"))


def _summary(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sums over the days by model, variant and region, the most energy first; None where no day knows a figure."""
    sums: dict[tuple[str, ...], dict[str, Decimal | None]] = {}
    for line in lines:
        here = sums.setdefault(tuple(line[name] or UNKNOWN for name in BREAKDOWN[1:]), dict.fromkeys(ADDED))
        for figure in ADDED:
            if line[figure] is not None:
                here[figure] = (here[figure] or Decimal(0)) + Decimal(line[figure])
    longest = max((one["energy_joules"] or Decimal(0) for one in sums.values()), default=Decimal(0))
    return [
        dict(zip(BREAKDOWN[1:], key, strict=True))
        | {name: None if value is None else f"{value:f}" for name, value in figures.items()}
        | {"bar": charts.px(figures["energy_joules"], longest, BAR)}
        for key, figures in sorted(sums.items(), key=lambda item: (-(item[1]["energy_joules"] or 0), item[0]))
    ]
