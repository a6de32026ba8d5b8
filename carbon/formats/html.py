"""A page for people: one file, no script, readable aloud, on paper, light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from greenserve.carbon.statement import BREAKDOWN
from greenserve.records import Statement

BAR_PX = 400
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart: its label, the figure beside it, and its length [px]."""

    label: str
    figure: str
    length: int


def render(statement: Statement) -> bytes:
    """The statement as HTML in UTF-8; every chart has its figures in a table on the same page."""
    document: Mapping[str, Any] = statement.document
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["known"] = _known
    environment.filters["label"] = _label
    page = environment.get_template("statement.html").render(
        statement=document,
        totals=document["totals"],
        breakdown=document["breakdown"],
        keys=BREAKDOWN,
        energy_bars=_bars(_summed(document["breakdown"], ("model", "variant", "region"), "energy_joules"), "J"),
        day_bars=_bars(_summed(document["breakdown"], ("day",), "loc_lifecycle_gco2e"), "gCO2e"),
        unit_rows=[name for name in document["totals"] if name not in BREAKDOWN],
    )
    return page.encode()


def _summed(lines: Sequence[Mapping[str, Any]], by: tuple[str, ...], figure: str) -> dict[str, Decimal | None]:
    """Sums of a figure by some of the keys; None where no line knows it."""
    sums: dict[str, Decimal | None] = {}
    for line in lines:
        label = " / ".join(str(line[name] or UNKNOWN) for name in by)
        known, value = sums.get(label), line[figure]
        sums[label] = known if value is None else (known or Decimal(0)) + Decimal(value)
    return sums


def _bars(sums: Mapping[str, Decimal | None], unit: str) -> list[Bar]:
    longest = max((value for value in sums.values() if value is not None), default=Decimal(0))
    return [
        Bar(
            label=label,
            figure=UNKNOWN if value is None else f"{value:f} {unit}",
            length=0 if not value or not longest else max(1, int(value * BAR_PX / longest)),
        )
        for label, value in sums.items()
    ]


def _known(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _label(name: str) -> str:
    """A member's name as words, its unit in brackets: `energy_joules` to `energy [J]`."""
    for ending, unit in (
        ("_gco2e_per_kwh", "gCO2e/kWh"),
        ("_gco2e", "gCO2e"),
        ("_joules", "J"),
        ("_kwh", "kWh"),
        ("_ns", "ns"),
    ):
        if name.endswith(ending):
            return f"{_words(name.removesuffix(ending))} [{unit}]"
    return _words(name)


def _words(name: str) -> str:
    words = name.replace("loc_lifecycle", "location-based lifecycle").replace("loc_direct", "location-based direct")
    return words.replace("_", " ")
